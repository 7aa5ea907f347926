"""The guide: its pages, its links, the map of the library, and the numbers that it quotes."""

import json
import posixpath
import re
import tomllib
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from gccpm_lib.report import guide
from gccpm_lib.tools import badges
from gccpm_lib.weight_files import SHIPPED_NETWORK, find_checkpoint

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "notebooks" / "guide"
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
AGAIN = "run python -m gccpm_lib.report.guide"


def text_of(markup) -> list[str]:
    return BeautifulSoup(str(markup), "html.parser").get_text(" ").split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_page_is_in_the_list():
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (GUIDE / "README.md").read_text(encoding="utf-8"))
    assert {*listed, "README.md"} == {page.name for page in GUIDE.glob("*.md")}


def test_the_map_is_that_of_the_docstrings():
    assert (GUIDE / "library.md").read_text(encoding="utf-8") == guide.library_map(), AGAIN


def test_the_map_has_every_file_once():
    files = [path for path in (ROOT / "gccpm_lib").rglob("*.py") if path.stem != "__init__"]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", guide.library_map(), re.M)
    assert sorted(name for name, _ in rows) == sorted(path.stem for path in files)
    assert all(about for _, about in rows)


def test_the_committed_pages_say_what_the_guide_says():
    for source in GUIDE.glob("*.md"):
        name = "index" if source.stem == "README" else source.stem
        page = BeautifulSoup((ROOT / "reports" / "guide" / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        body = guide.page_body(ROOT, source.stem)
        body.h1.decompose()
        assert text_of(page.select_one(".prose")) == text_of(body), f"{name}: {AGAIN}"


def test_links_of_the_sites_pages_stay_on_the_site():
    for page in (ROOT / "reports" / "guide").glob("*.html"):
        for link in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select("a[href]"):
            if not re.match(r"https?:|#", link["href"]):
                target = posixpath.normpath(f"reports/guide/{link['href'].partition('#')[0]}")
                assert (ROOT / target).is_file() and target.startswith("reports/"), f"{page.name}: {link['href']}"


def test_a_page_of_the_guide_becomes_a_page_of_the_site(tmp_path):
    folder = tmp_path / "notebooks" / "guide"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/OWNER/REPOSITORY"\n')
    (tmp_path / "reports" / "a").mkdir(parents=True)
    (tmp_path / "reports" / "a" / "index.html").write_text("")
    (folder / "README.md").write_text("# All\n\n[One](one.md), [two](two.md), [gone](gone.md)\n")
    (folder / "one.md").write_text(
        "# First <script>alert(1)</script>\n\n[r](../../reports/a/index.html#b) [n](../../pyproject.toml) [x](https://x.org)\n"
    )
    (folder / "two.md").write_text("# Second\n")
    assert guide.publish_guide(tmp_path) == ["index", "one", "two"]
    page = BeautifulSoup((tmp_path / "reports" / "guide" / "one.html").read_text(), "html.parser")
    assert [link["href"] for link in page.select(".prose a")] == ["../a/index.html#b", "https://x.org"]
    assert [link["href"] for link in page.select("nav a")] == ["index.html", "two.html"] and not page.select("script")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/a/b"\n')
    assert guide.site_link(tmp_path, "../../pyproject.toml") == "https://github.com/a/b/blob/main/pyproject.toml"


def test_numbers_on_the_front_page_are_those_of_card_and_report():
    card = find_checkpoint(SHIPPED_NETWORK).with_suffix(".md").read_text(encoding="utf-8")
    single, flip = re.search(r"^\| 12 limb joints \| (.*?) \| (.*?) \|", card, re.M).groups()
    report = json.loads((ROOT / "reports" / "sample" / "metrics.json").read_text(encoding="utf-8"))
    headline = report["notebooks"]["04_evaluation"]["headline"]
    first, best = (headline[f"PCKh@0.5 Avg. (%), {name}"] for name in ("single scale", "multi-scale and flip"))
    people = json.loads((ROOT / "reports" / "lip_real" / "metrics.json").read_text(encoding="utf-8"))["notebooks"]
    measured = people["04_evaluation"]["metrics"]
    told = [
        "{:.1f} ({:.1f} to {:.1f})".format(measured["scores"][name]["Avg."], *measured["intervals_95"][name]["Avg."])
        for name in ("single scale", "multi-scale and flip")
    ]
    for page in (ROOT / "README.md", GUIDE / "numbers.md"):
        text = page.read_text(encoding="utf-8")
        assert f"12 limb joints {single} PCKh@0.5, {flip} with flip" in text
        assert f"{first} PCKh@0.5, {best} with multi-scale and flip" in text
        assert f"{told[0]} PCKh@0.5 Avg., single scale; {told[1]} with multi-scale and flip" in text


def test_badges_lead_to_the_notebook_and_writing_them_again_changes_nothing():
    address, path = "https://github.com/somebody/poses", "notebooks/01_data_prep.ipynb"
    cells = [{"cell_type": "markdown", "id": "0", "metadata": {}, "source": ["# One\n", "\n", "Two."]}]
    cells += [{"cell_type": "code", "id": "1", "metadata": {}, "source": ["1"]}]
    found = badges.with_badges({"cells": cells}, address, path)
    heading, _, last = found["cells"]
    assert "colab.research.google.com/github/somebody/poses/blob/main/notebooks/01_data_prep.ipynb" in heading["source"][-1]
    assert "mybinder.org/v2/gh/somebody/poses/main?labpath=notebooks%2F01_data_prep.ipynb" in heading["source"][-1]
    assert [cell["id"] for cell in found["cells"]] == ["0", "1", "2"] and last["source"] == ["1"]
    assert badges.with_badges(found, address, path) == found


@pytest.mark.parametrize("file", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda file: file.stem)
def test_every_notebook_has_its_badges(file):
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    notebook = json.loads(file.read_text(encoding="utf-8"))
    again = badges.with_badges(notebook, address, f"notebooks/{file.name}")
    assert again == notebook, "run python -m gccpm_lib.tools.badges"


def test_the_first_cell_does_nothing_but_on_colab(tmp_path, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    monkeypatch.chdir(tmp_path)
    code = TransformerManager().transform_cell(badges.INSTALL.format(address="https://github.com/a/b"))
    called = []
    exec(code, {"get_ipython": lambda: called.append("installed")})
    assert not called and Path.cwd() == tmp_path
    assert "get_ipython().system('git clone" in code and "'pip'" in code
