"""Notebooks as people work with them: a kernel of their own, any folder, interrupts, bars to watch."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
import pytest
from browsing import CHROMIUM, NO_CHROMIUM, chromium, jupyterlab, watched_page
from conftest import write_lip
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook

from gccpm_lib.report import notebook, runner

ROOT = Path(__file__).parents[2]
BAR = "application/vnd.jupyter.widget-view+json"
TINY = """
input_size, batch_size, num_epochs, num_val_persons, log_after = [64, 64], 4, 2, 4, 1
dataset_folder = "data/tiny_lip"
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A project with the notebooks and a small LIP folder, and nothing that was run."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write_lip(tmp_path / "data" / "tiny_lip", (("train", 24), ("val", 4)))
    return tmp_path


@contextmanager
def kernel(folder: Path):
    """A started kernel as JupyterLab has one for a notebook in the folder: (manager, client)."""
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    manager, client = start_new_kernel(kernel_name="python3", cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)})
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run_cell(client, source: str, seen=lambda message: None) -> list[dict]:
    """What a cell puts out, as {type, text, kinds, ename}; `seen` is called with each as it comes."""
    outputs = []

    def hook(message):
        content, kind = message["content"], message["msg_type"]
        if kind in ("stream", "display_data", "execute_result", "error"):
            text, kinds = content.get("text", ""), set(content.get("data", {}))
            outputs.append({"type": content.get("name", kind), "text": text, "kinds": kinds, "ename": content.get("ename")})
            seen(outputs[-1])

    client.execute_interactive(source, output_hook=hook, allow_stdin=False, timeout=300)
    return outputs


def printed(outputs: list[dict], kind: str = "stdout") -> str:
    return "".join(output["text"] for output in outputs if output["type"] == kind)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_ends_and_isnt_repeated(project):
    cells = [
        cell for cell in nbformat.read(project / "notebooks" / "02_train_lip.ipynb", 4).cells if cell.cell_type == "code"
    ]
    before = [cell.source for cell in cells]
    place = before.index("history = training.train(run)")
    checkpoint = project / "runs" / "sample" / "02_train_lip" / "checkpoint.pt"
    with kernel(project / "notebooks") as (manager, client):
        litter = [run_cell(client, source) for source in (*before[:2], TINY, *before[2:place])]
        assert not [output for outputs in litter for output in outputs if output["type"] in ("stderr", "error")]
        sent = []

        def interrupt(output):
            if "batch 2/6" in output["text"] and not sent:
                sent.append(manager.interrupt_kernel())

        first = run_cell(client, before[place], interrupt)
        assert sent and first[-1]["ename"] == "KeyboardInterrupt" and any(BAR in output["kinds"] for output in first)
        (line,) = [line for line in printed(first).splitlines() if "interrupted" in line]
        assert line == f"interrupted in epoch 1; run again to continue from {checkpoint}" and checkpoint.is_file()
        reached = int(printed(first).rpartition(" batch ")[2].partition("/")[0])
        assert reached < 6

        second = run_cell(client, before[place])
        begun = next(line for line in printed(second).splitlines() if " batch " in line)
        assert begun.startswith(f"epoch 1 batch {reached + 1}/6:") and not printed(second, "stderr")
        assert "epoch 2/2: " in printed(second)
        third = run_cell(client, before[place] + "\nprint(len(history))")
        assert printed(third) == "2\n" and len(third) == 1
        after = [run_cell(client, source) for source in before[place + 1 :]]
        assert not [output for outputs in after for output in outputs if output["type"] in ("stderr", "error")]


@pytest.mark.slow
def test_a_notebook_runs_from_any_folder(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    small = {"num_examples": 6, "input_size": [64, 64], "dataset_folder": str(project / "data" / "tiny_lip")}
    options = {"cwd": elsewhere, "kernel_name": "python3", "progress_bar": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        source, target = project / "notebooks" / "01_data_prep.ipynb", elsewhere / "done.ipynb"
        papermill.execute_notebook(source, target, {**small, "experiment_name": str(elsewhere / "results")}, **options)
    assert (elsewhere / "results" / "metrics" / "01_data_prep.json").is_file()
    assert {path.name for path in elsewhere.iterdir()} == {"done.ipynb", "results"}


def test_the_project_is_found_from_inside_it_else_by_the_library(project, monkeypatch, tmp_path_factory):
    for folder in (project, project / "notebooks", project / "data" / "tiny_lip"):
        monkeypatch.chdir(folder)
        assert notebook.project_root() == project
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert notebook.project_root() == ROOT


@pytest.mark.parametrize("batch", [True, False])
def test_bars_are_for_those_who_watch(tmp_path, monkeypatch, batch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    source = "from gccpm_lib.progress import tqdm\nprint(sum(tqdm(range(4), leave=False)))"
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), tmp_path / "bars.ipynb")
    files = tmp_path / "bars.ipynb", tmp_path / "done.ipynb"
    if batch:
        assert runner._execute(*files, {}, tmp_path) is None
    else:
        papermill.execute_notebook(*files, kernel_name="python3", progress_bar=False)
    outputs = nbformat.read(tmp_path / "done.ipynb", 4).cells[-1].outputs
    assert [BAR in output.get("data", {}) for output in outputs] == ([False] if batch else [True, False])
    assert outputs[-1].text == "6\n"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_every_notebook_opens_in_jupyterlab_on_its_question(project, tmp_path_factory):
    names = sorted(path.name for path in (project / "notebooks").glob("*.ipynb"))
    with jupyterlab(project, tmp_path_factory.mktemp("settings")) as address, chromium() as browser:
        for name in names:
            page, _ = watched_page(browser, viewport={"width": 1280, "height": 800})
            page.context.set_offline(False)  # the server is on this machine
            page.goto(address.format(f"notebooks/{name}"))
            page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
            title, question = page.locator(".jp-RenderedMarkdown h1").first, page.locator(".jp-RenderedMarkdown p").first
            assert title.inner_text().startswith(name[:2]) and "?" in title.inner_text()
            for place in (title, question, page.locator(".jp-CodeCell").first):  # seen without scrolling
                box = place.bounding_box()
                assert 0 <= box["y"] and box["y"] + min(box["height"], 200) <= 800
            assert page.locator(".jp-Dialog").count() == 0
            page.context.close()
    for path in (project / "notebooks").glob("*.ipynb"):
        assert path.read_bytes() == (ROOT / "notebooks" / path.name).read_bytes()  # opening changes nothing
