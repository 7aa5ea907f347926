"""Pages made from notebooks written here: nothing loads from the network, nothing from the data runs as HTML."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from gccpm_lib import provenance
from gccpm_lib.report import index, notebook, pages, results
from gccpm_lib.report.notebook import RECORD_TYPE
from gccpm_lib.report.profiles import Profile
from gccpm_lib.report.sanitise import formula_html, harmless, markdown_html

ABOUT = {"title": "T", "report": "R", "failure": "", "status": "done", "previous": None, "next": None, "facts": {},
         "links": {}, "record": {"page": "</script><script>alert(9)</script>"}}  # fmt: skip
ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>.jpg"


def noise_png(side: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def soup() -> BeautifulSoup:
    """The page of a notebook with everything that can go wrong in it."""
    outputs = [
        new_output("stream", name="stderr", text="UserWarning: litter\n"),
        new_output("stream", name="stdout", text=f"epoch 1\n 10%|#\r 50%|##\r100%|####\nfile {HOSTILE}\n"),
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%| widget"}),
        new_output("display_data", {"text/html": f"<table><tr><td>{HOSTILE}</td></tr></table>"}),
        new_output("display_data", {"text/html": "<link rel=stylesheet href='https://far/x.css'><b>kept</b>"}),
        new_output("display_data", {"text/html": "<pre style='white-space:pre'>\n</pre>", "text/plain": ""}),
        new_output("display_data", {"text/markdown": "![far](https://far/x.png) [bad](javascript:alert(1))"}),
        new_output("display_data", {"application/javascript": "alert(3)", "text/plain": "js"}),
        *[new_output("display_data", {"image/png": noise_png(900), "text/plain": "<Figure>"}) for _ in range(2)],
    ]
    cells = [
        new_markdown_cell("# A title\n\nA question with $x_{i} \\le \\sigma^2$, [paper](https://arxiv.org)?"),
        new_code_cell("lr = 1e-3  # learning rate\nname = 'a'", metadata={"tags": ["parameters"]}),
        new_code_cell("lr = 0.01", metadata={"tags": ["injected-parameters"]}),
        new_markdown_cell("## Same\n\n### Part <script>alert(4)</script>"),
        new_code_cell("print('a < b')", outputs=outputs),
        new_markdown_cell("## Same"),
    ]
    about = {**ABOUT, "title": "A title", "report": "R & D", "next": {"name": "02 b", "title": "B <b>"}}
    page = pages.page_html(new_notebook(cells=cells), "demo", about)
    assert len(page) < 3_000_000
    return BeautifulSoup(page, "html.parser")


def test_nothing_is_loaded_from_elsewhere(soup):
    loaded = [tag.get(key) for tag in soup.find_all(["script", "img", "link", "iframe"]) for key in ("src", "href")]
    assert all(address.startswith("data:image/") for address in loaded if address)
    assert not re.search(r"url\(|@import", soup.find("style").string)
    assert "default-src 'none'" in soup.find("meta", attrs={"http-equiv": True})["content"]


def test_only_our_script_may_run(soup):
    (script,) = soup.select("script:not([type='application/json'])")
    assert soup.select_one("#record").string == '{"page": "\\u003c/script>\\u003cscript>alert(9)\\u003c/script>"}'
    assert pages.script_hash(script.string) in soup.find("meta", attrs={"http-equiv": True})["content"]
    assert not [tag for tag in soup.find_all(True) for key in tag.attrs if key.startswith("on")]
    assert not soup.find_all(href=re.compile("^javascript", re.IGNORECASE))


def test_code_is_folded_and_litter_gone(soup):
    assert soup.html["lang"] == "en" and soup.title.string == "A title – R & D"
    assert all(block.find_parent("details") for block in soup.select("main .highlight"))
    assert len(soup.select("main .output.scroll")) == 2  # without the blank one
    text = soup.main.get_text()
    assert HOSTILE in text and "100%|####" in text and "kept" in text
    assert not any(word in text for word in ("litter", "10%", "widget", "alert(3)", "<Figure>"))


def test_parameters_are_a_table(soup):
    rows = [[cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])] for row in soup.select("tbody tr")]
    assert ["lr", "0.01 default 0.001", "learning rate"] in rows and ["name", "'a'", ""] in rows


def test_contents_lead_to_headings(soup):
    links = [link["href"][1:] for link in soup.select("#contents a")]
    assert len(links) == len(set(links)) == 3
    assert all(soup.find(id=link).name in ("h2", "h3") for link in links)


def test_pictures_have_alt_texts_and_formulas_are_mathml(soup):
    assert [image["alt"] for image in soup.select("main figure img")] == ["Part <script>alert(4)</script>"] * 2
    formula = soup.select_one(".prose math")
    assert formula.get_text() == "xi≤σ2" and formula.msub.find_all("mi")[1].string == "i"


@pytest.mark.parametrize(("outputs", "shown"), [([], False), ([new_output("stream", text="a picture")], True)])
def test_a_text_about_pictures_stands_only_beside_pictures(outputs, shown):
    text = new_markdown_cell("## The worst\n\nLook at these.", metadata={"tags": ["about-pictures"]})
    cells = [new_code_cell("a = 1", metadata={"tags": ["parameters"]}), text, new_code_cell("", outputs=outputs)]
    cells[-1].execution_count = 1
    page = BeautifulSoup(pages.page_html(new_notebook(cells=cells), "demo", ABOUT), "html.parser").main.get_text()
    assert "The worst" in page and ("Look at these." in page) is shown and ("No pictures are shown" in page) is not shown


def test_a_heading_says_what_the_page_is_about_and_links_its_sources():
    about = {**ABOUT, "facts": {"data": "<code>data/lip</code>, 5 persons"}, "links": {"paper": "https://arxiv.org/abs/1"}}
    cells = [new_markdown_cell("# Title\n\nWhy?"), new_code_cell("a = 1", metadata={"tags": ["parameters"]})]
    soup = BeautifulSoup(pages.page_html(new_notebook(cells=cells), "demo", about), "html.parser")
    told = soup.h1.find_next_sibling()
    assert told["class"] == ["about"] and told.get_text(" ", strip=True) == "Data data/lip , 5 persons Paper"
    assert told.a["href"] == "https://arxiv.org/abs/1"


def embedded(image: Image.Image) -> Image.Image:
    """The picture as a page shows it."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    output = new_output("display_data", {"image/png": base64.b64encode(buffer.getvalue()).decode()})
    parameters = new_code_cell("a = 1", metadata={"tags": ["parameters"]})
    page = pages.page_html(new_notebook(cells=[parameters, new_code_cell("", outputs=[output])]), "demo", ABOUT)
    kind, data = BeautifulSoup(page, "html.parser").select_one("main figure img")["src"].split(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def test_charts_are_shown_exactly_and_photos_nearly():
    stripes = np.indices((300, 400)).sum(axis=0) // 7 % 5
    chart = Image.fromarray(
        np.array([[255, 255, 255], [0, 114, 178], [213, 94, 0], [0, 0, 0], [9, 9, 9]], np.uint8)[stripes]
    )
    assert np.array_equal(embedded(chart), chart)
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8))
    photo = coarse.resize((480, 360), Image.Resampling.BICUBIC)
    error = np.subtract(embedded(photo), photo, dtype=float)
    assert photo.getcolors(pages.FEW_COLOURS) is None and 0 < np.sqrt((error**2).mean()) < 3  # of 255


def test_a_picture_from_elsewhere_leaves_its_alt_text():
    assert (
        harmless("<p>a <img src=x onerror=alert(1) alt='b &lt;i&gt;'> <img src='https://far/x.png'>c</p>")
        == "<p>a b &lt;i&gt; c</p>"
    )


def test_pages_of_one_notebook_are_read_one_after_the_other():
    sources = {"01": "01", "02": "02", "01_coco": "01", "03": "03", "02_coco": "02"}
    profile = Profile("p", "P", "", {name: {} for name in sources}, sources, dict.fromkeys(sources, ""), {})
    assert index.reading_order(profile) == ["01", "01_coco", "02", "02_coco", "03"]


@pytest.mark.parametrize(
    ("formula", "element", "text"),
    [
        (r"\frac{1}{K} \sum_{k} b_k", "mfrac", "1K∑kbk"),
        (r"\begin{pmatrix} x' \\ y' \end{pmatrix}", "mtable", "(x′y′)"),
        (r"\sqrt{\text{a < b} & c}", "msqrt", "a\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}b&c"),
        (r"\left\lVert \hat H - T \right\rVert^2", "mover", "‖H^−T‖2"),
    ],
)
def test_a_formula_keeps_its_elements_through_the_sanitiser(formula, element, text):
    inline = BeautifulSoup(markdown_html(f"So ${formula}$ it is."), "html.parser")
    block = BeautifulSoup(markdown_html(f"$$\n{formula}\n$$"), "html.parser")
    assert [found.math["display"] for found in (inline, block)] == ["inline", "block"]
    assert all(found.math.find(element) and found.math.get_text() == text for found in (inline, block))
    assert inline.get_text().strip() == f"So {text} it is."


def test_every_element_that_the_converter_makes_of_our_formulas_is_let_through():
    texts = "\n".join(map(markdown_of, sorted((ROOT / "notebooks").rglob("*.*"))))
    formulas = re.findall(r"\$\$([^$]+)\$\$|\$([^$]+)\$", texts)
    assert len(formulas) > 20
    for displayed, inline in formulas:
        formula = displayed or inline
        made = BeautifulSoup(formula_html(formula), "html.parser")
        kept = BeautifulSoup(harmless(str(made)), "html.parser")
        assert made.math and [tag.name for tag in kept.find_all(True)] == [tag.name for tag in made.find_all(True)], formula


def markdown_of(path) -> str:
    """The Markdown of a notebook or of a page of the guide; '' of another file."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.suffix == ".ipynb" else []
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize(
    "formula",
    [r"\href{javascript:alert(1)}{x}", r"\style{color:red}{x}", r"\text{<img src=x onerror=alert(1)>}", r"\frac{"],
)
def test_nothing_in_a_formula_runs_or_leads_away(formula):
    page = BeautifulSoup(markdown_html(f"A ${formula}$ b."), "html.parser")
    assert page.get_text().startswith("A ") and not page.find_all(["img", "a", "script"])
    assert {name for tag in page.find_all(True) for name in tag.attrs} <= {"display"}


def test_only_mathml_s_own_elements_are_let_through():
    inside = "<annotation-xml encoding=text/html><img src=x></annotation-xml><mi onclick=a style=x:y href=b>x</mi>"
    assert harmless(f"<math>{inside}</math>") == "<math><mi>x</mi></math>"


def test_saved_figures_stay_small(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12))
    figure.add_subplot().imshow(np.random.default_rng(0).random((900, 900, 3)))
    path = notebook.save_figure(figure, tmp_path, "noise", "Noise & more")
    assert path == tmp_path / "figures" / "noise.png" and path.stat().st_size <= notebook.FIGURE_LIMIT_BYTES
    assert path.with_suffix(".txt").read_text() == "Noise & more"


def test_data_hash_sees_names_sizes_and_annotations(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "b.jpg").write_bytes(b"xx")
    first = provenance.data_hash(tmp_path)
    assert first == provenance.data_hash(tmp_path)
    (tmp_path / "a.csv").write_text("1,3")
    second = provenance.data_hash(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"xxx")
    assert len({first, second, provenance.data_hash(tmp_path)}) == 3
    with pytest.raises(ValueError, match="no such folder"):
        provenance.data_hash(tmp_path / "none")


def test_data_hash_is_the_same_through_links_and_ends_where_one_leads_back(tmp_path):
    whole, linked = tmp_path / "whole", tmp_path / "linked"
    (whole / "pictures").mkdir(parents=True)
    linked.mkdir()
    (whole / "pictures" / "a.jpg").write_bytes(b"xx")
    (linked / "pictures").symlink_to(whole / "pictures", target_is_directory=True)
    assert provenance.data_hash(linked) == provenance.data_hash(whole)
    (whole / "pictures" / "a.jpg").write_bytes(b"xxx")
    now = provenance.data_hash(linked)
    (linked / "back").symlink_to(linked, target_is_directory=True)
    (linked / "broken").symlink_to(tmp_path / "none")
    assert provenance.data_hash(linked) == now == provenance.data_hash(whole)


def test_cards_stand_in_the_order_in_which_they_were_recorded():
    """A notebook's file has its keys sorted; pairs stay as they are."""
    data = {RECORD_TYPE: {"headline": [["single scale", 1.0], ["flip", 2.0]], "metrics": {}}}
    written = json.loads(
        nbformat.writes(new_notebook(cells=[new_code_cell("", outputs=[new_output("display_data", data)])]))
    )
    assert list(results.record_of(written)["headline"]) == ["single scale", "flip"]


def test_badges_without_an_address_are_not_shown():
    badge = "[![Open in Colab](https://c/badge.svg)](https://c/github/{}/blob/main/notebooks/04.ipynb)"
    for address, shown in (("OWNER/REPOSITORY", False), ("a/b", True)):
        cell = new_markdown_cell("# T\n\nText.\n\n" + badge.format(address))
        page = pages.page_html(new_notebook(cells=[cell]), "demo", ABOUT)
        assert ("Open in Colab" in page) == shown and "Text." in page
