"""What a notebook shows under its title, and the answers that open on a click."""

import base64
import io
import json

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from gccpm_lib.report import lesson, pages
from gccpm_lib.report.notebook import RECORD_TYPE, record_metrics, run_folder
from gccpm_lib.report.sanitise import markdown_html


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty project folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_the_time_is_this_machine_s_where_it_ran_here_else_the_report_s(root):
    assert "isn't known" in lesson.told_time(root, "01_prep", "sample")
    page = {"wall_time_s": 42.0, "provenance": {"cpu": "EPYC", "cpu_count": 2}}
    write(root / "reports" / "sample" / "metrics.json", {"notebooks": {"01_prep": page}})
    assert "**40 seconds**, measured on 2 cores of EPYC" in lesson.told_time(root, "01_prep", "sample")
    executed = root / "runs" / "sample" / "notebooks" / "01_prep.ipynb"
    write(executed, {"metadata": {"papermill": {"duration": 185.2}}})
    assert "**3 minutes**, as last time here" in lesson.told_time(root, "01_prep", "sample")


def test_the_last_answer_is_one_s_own_before_the_report_s(root):
    assert lesson.last_answer(root, "01_prep", "sample") == ("There is no answer from an earlier run.", None)
    told = {"notebooks": {"01_prep": {"answer": {"text": "It is 3.", "picture": "a"}}}}
    write(root / "reports" / "sample" / "metrics.json", told)
    write(root / "reports" / "sample" / "figures" / "a.png", {})
    picture = root / "reports" / "sample" / "figures" / "a.png"
    assert lesson.last_answer(root, "01_prep", "sample") == ("The answer in the published report: It is 3.", picture)
    record_metrics(run_folder("sample"), "01_prep", {}, {}, answer="It is **4**.", picture="b")
    assert lesson.last_answer(root, "01_prep", "sample") == ("The answer of your last run: It is **4**.", None)


def test_a_page_has_answer_and_picture_between_its_title_and_its_question():
    buffer = io.BytesIO()
    Image.new("RGB", (800, 400), "red").save(buffer, "png")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    figure = new_output("display_data", data, metadata={"image/png": {"figure": "f", "caption": "Red"}})
    cells = [
        new_markdown_cell("# Title\n\nWhy?"),
        new_code_cell('lesson.first_screen("x")', metadata={"tags": ["first-screen"]}),
        new_code_cell("a = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("", outputs=[figure]),
    ]
    about = {"title": "T", "report": "R", "answer": {"text": "It is **4** <script>x</script>.", "picture": "f"}}
    soup = BeautifulSoup(pages.page_html(new_notebook(cells=cells), "demo", about), "html.parser")
    answer = soup.h1.find_next_sibling()
    assert answer["class"] == ["answer"] and answer.p.get_text() == "It is 4 ."
    assert answer.img["alt"] == "Red" and answer.img["src"].startswith("data:image/webp;base64,")
    assert answer.find_next("p", string="Why?") and "first_screen" not in soup.main.get_text()


@pytest.mark.parametrize(("layout", "told"), [("lip", "Heads."), ("coco", "Areas."), ("", "Heads.Areas.")])
def test_a_page_leaves_out_what_is_about_the_other_layout(layout, told):
    record = new_output("display_data", {RECORD_TYPE: {"layout": layout}})
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("a = 1", metadata={"tags": ["parameters"]}),
        new_markdown_cell("Heads.", metadata={"tags": ["lip"]}),
        new_markdown_cell("Areas.", metadata={"tags": ["coco"]}),
        new_code_cell("", outputs=[record]),
    ]
    soup = BeautifulSoup(pages.page_html(new_notebook(cells=cells), "demo", {"title": "T", "report": "R"}), "html.parser")
    assert "".join(p.get_text() for p in soup.select("main .prose p")) == told


def test_an_answer_is_folded_and_its_text_is_markdown():
    soup = BeautifulSoup(markdown_html(lesson.folded("Answer", "About **3** of $x^2$.").data), "html.parser")
    assert soup.details.summary.get_text() == "Answer" and not soup.details.get("open")
    assert soup.details.strong.get_text() == "3" and soup.details.math


def test_a_training_s_paths_are_the_project_s(root):
    names = {"experiment_name": "mine", "page_name": "03_train", "dataset_folder": "data/a", "recipe": None, "seed": 3}
    names |= {"checkpoint_path": "", "from_mobilenet": False, "base_lr": None}
    run = lesson.training_run(names, "coco-corrected", beginning="02_train")
    assert run.dataset_folder == str(root / "data" / "a") and (run.recipe, run.seed, run.base_lr) == (
        "coco-corrected",
        3,
        None,
    )
    assert run.output_folder == str(root / "runs" / "explore" / "mine" / "03_train")
    assert run.checkpoint_path == str(root / "runs" / "mine" / "02_train" / "checkpoint.pt")
    assert lesson.training_run(names | {"from_mobilenet": None}, "coco-modern", "02_train").checkpoint_path == ""


def test_exercises_keep_their_numbers():
    assert BeautifulSoup(markdown_html("2. Make it wider."), "html.parser").ol["start"] == "2"


@pytest.mark.parametrize(("outputs", "run", "there"), [([], 1, False), ([], None, True), (["3"], 1, True)])
def test_a_text_whose_code_shows_nothing_is_not_there(outputs, run, there):
    """Where it was run: a page of a run that failed before it keeps the text. What comes behind stays."""
    cells = [new_markdown_cell("# Title"), new_markdown_cell("## Only sometimes", metadata={"tags": ["if-shown"]})]
    made = [new_output("stream", name="stdout", text=text) for text in outputs]
    cells += [new_code_cell("hidden = 0", execution_count=run), new_code_cell("a = 1", execution_count=run, outputs=made)]
    cells += [new_markdown_cell("## Always"), new_code_cell("b = 1", execution_count=run)]
    soup = BeautifulSoup(pages.page_html(new_notebook(cells=cells), "demo", {"title": "T", "report": "R"}), "html.parser")
    said = soup.main.get_text()
    assert ("Only sometimes" in said, "hidden" in said) == (there, there) and "Always" in said and "b = 1" in said
