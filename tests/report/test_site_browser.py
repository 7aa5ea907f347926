"""The published pages in a real browser, from disk and without network: the committed reports, and hostile names on a page.

What needs today's templates is skipped on pages that older ones made; `gccpm publish` makes them again.
"""

import base64
import csv
import io
import json
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from browsing import CHROMIUM, FAINT_TEXTS, NO_CHROMIUM, chromium, watched_page
from conftest import noise_picture
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Page, expect

from gccpm_lib.__main__ import main
from gccpm_lib.report import pages

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
REPORTS = Path(__file__).parents[2] / "reports"
COMMITTED = sorted(path.relative_to(REPORTS) for path in REPORTS.rglob("*.html"))
INDEXES = [path for path in COMMITTED if path.name == "index.html"]
BOOKS = [path for path in COMMITTED if path.name[0].isdigit()]  # the pages of notebooks
INSPECTED = [path for path in BOOKS if path.parts[0] == "sample" and path.name[:2] in ("01", "02", "03", "04", "06")]

HEADING_LEVELS = "(all) => all.filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1]))"
CUT_OFF = """() => [...document.querySelectorAll("main *")].filter((one) =>
  one.checkVisibility() && one.clientWidth && getComputedStyle(one).overflow !== "visible" &&
  !one.closest(".stage, td, th, .facts") &&
  (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1)
).map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def opened(browser, path: Path, **options) -> tuple[Page, list[str]]:
    page, bad = watched_page(browser, **options)
    page.goto(path.as_uri())
    if page.locator(".inspector").count():
        page.wait_for_selector(".gccpm-inspector[data-index]")
    return page, bad


def closed(page: Page) -> None:
    page.wait_for_timeout(50)
    page.context.close()


def check_form(page: Page) -> None:
    """What holds for every page: pictures with texts, headings in order, a phone's width, size."""
    assert all(page.locator("main img").evaluate_all("(all) => all.map((one) => one.alt.trim())"))
    loaded = page.locator("main img:not([loading])").evaluate_all("(all) => all.map((one) => one.naturalWidth)")
    assert all(width > 1 for width in loaded)
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all(HEADING_LEVELS)
    assert levels.count(1) == 1 and all(below <= above + 1 for above, below in zip([0, *levels], levels, strict=False))
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def check_reading(page: Page) -> None:
    """Contrast in light, dark and on paper, which is white also for those who read in the dark; nothing cut off there."""
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"color_scheme": "dark", "media": "print"}):
        page.emulate_media(**options)
        assert page.evaluate(FAINT_TEXTS) == [], options
    page.set_viewport_size({"width": 700, "height": 990})  # a sheet of A4 with its margins
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == 700
    assert page.evaluate(CUT_OFF) == []
    page.emulate_media(media="screen", color_scheme="light")


def by_todays_templates(path: Path) -> bool:
    return pages.style_sheet() in path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ committed pages


@pytest.mark.parametrize("name", COMMITTED, ids=str)
def test_every_page_loads_alone_and_fits(browser, name):
    assert (REPORTS / name).stat().st_size < 3_000_000
    page, bad = opened(browser, REPORTS / name)
    check_form(page)
    assert bad == []
    closed(page)


@pytest.mark.parametrize("name", COMMITTED, ids=str)
def test_every_page_is_readable_in_light_and_dark_and_on_paper(browser, name):
    if not by_todays_templates(REPORTS / name):
        pytest.skip("made by older templates: gccpm publish")
    page, bad = opened(browser, REPORTS / name)
    if page.locator("#all-code").count():
        page.locator("#all-code").check()
    check_reading(page)
    assert bad == []
    closed(page)


@pytest.mark.parametrize("name", BOOKS, ids=str)
def test_contents_lead_there_code_unfolds_and_neighbours_exist(browser, name):
    page, bad = opened(browser, REPORTS / name, viewport={"width": 1280, "height": 900})
    links = page.locator("#contents a")
    assert links.count() >= 3
    for i in (0, links.count() - 1):
        links.nth(i).click()
        heading = page.locator("[id='" + links.nth(i).get_attribute("href")[1:] + "']")
        assert heading.inner_text().startswith(links.nth(i).inner_text())
        assert -1 <= heading.bounding_box()["y"] < 900
    code = page.locator("details.code")
    assert code.evaluate_all("(all) => all.filter((one) => one.open).length") == 0
    page.locator("#all-code").check()
    assert code.evaluate_all("(all) => all.filter((one) => !one.open).length") == 0
    page.locator("#all-code").uncheck()
    code.first.locator("summary").click()
    assert code.evaluate_all("(all) => all.filter((one) => one.open).length") == 1
    assert bad == []  # following links cuts pictures off that are still loading
    neighbours = page.locator(".neighbours a, .bar a")
    for place in [link.get_attribute("href") for link in neighbours.all()]:
        assert (REPORTS / name).with_name(place).is_file()
    place = neighbours.last.get_attribute("href")
    neighbours.last.click()
    expect(page.locator("h1")).to_be_visible()
    assert page.url.endswith(place)
    page.context.close()


@pytest.mark.parametrize("name", INDEXES, ids=str)
def test_links_of_the_index_pages_lead_to_files(browser, name):
    page, bad = opened(browser, REPORTS / name)
    for link in page.locator("a[href]").all():
        target = link.get_attribute("href").partition("#")[0]
        assert not target or (REPORTS / name).parent.joinpath(target).resolve().is_file(), target
    pictures = page.locator("img")
    for i in range(pictures.count()):
        pictures.nth(i).scroll_into_view_if_needed()
        page.wait_for_function("(one) => one.complete && one.naturalWidth > 1", arg=pictures.nth(i).element_handle())
    assert bad == []
    closed(page)


def shown_person(page: Page) -> tuple[dict, np.ndarray, dict]:
    """The embedded data, the joints (1 + sets, K, 3) of the person on the canvas and its frame."""
    data = json.loads(page.locator(".inspector > script").first.text_content())
    example = data["examples"][int(page.locator(".gccpm-inspector").get_attribute("data-index"))]
    joints = np.frombuffer(base64.b64decode(example["joints"]), "<f4").reshape(-1, len(data["joints"]), 3)
    return data, joints, example["frame"]


@pytest.mark.parametrize("name", INSPECTED, ids=str)
def test_the_inspector_is_there_and_works(browser, name):
    page, bad = opened(browser, REPORTS / name, viewport={"width": 1280, "height": 1000})
    canvas = page.locator("canvas[role=img]")
    canvas.scroll_into_view_if_needed()
    data, joints, (left, top, width, height) = shown_person(page)
    at = next(k for k in range(len(data["joints"])) if joints[0, k, 2] > 0)
    box, (x, y) = canvas.bounding_box(), joints[0, at, :2].tolist()
    scale = min(box["width"] / width, box["height"] / height)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] + (x + 0.5 - left - width / 2) * scale, middle[1] + (y + 0.5 - top - height / 2) * scale)
    expect(page.locator(".tip")).to_contain_text("label: ")
    canvas.focus()
    first = page.locator(".name").inner_text()
    page.keyboard.press("m")
    expect(page.locator("footer")).to_contain_text("1 label marked as suspicious")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".pager input")).to_have_value("2")
    page.get_by_label("Persons", exact=True).select_option("marked as suspicious")
    expect(page.locator(".pager span")).to_have_text("of 1")
    expect(page.locator(".name")).to_have_text(first)
    assert bad == []
    closed(page)


# ------------------------------------------------------------------------------------------------ hostile names

BAD = "<img src=x onerror=alert(1)>"
RTL, SEPARATOR = "\u202e", "\u2028"
NAMES = [
    f"{BAD}.jpg",
    '"><script>alert(1)</script>.png',  # a folder, and a file in it
    "new\nline.jpg",
    f"=1+1|{RTL}gpj.exe{SEPARATOR}\U0001f608.jpg",
    "@sum(a1).jpg",
    "--><!-- $x_{$ $x^$ {{7*7}} ${7*7} `x` **y**.jpg",
]
JOINTS = (
    f"left_{BAD}",
    f"right_{BAD}",
    "</script><script>alert(2)</script>",
    "<!--",
    "$\\frac$",
    f"neck{SEPARATOR}'\"&amp;",
)
CODE = {
    "read": "from gccpm_lib.datasets import coco\nfrom gccpm_lib.report import notebook\n"
    "from gccpm_lib.show import drawing\n"
    "from gccpm_lib.show.inspector import inspect\nimport numpy as np\nimport pandas as pd\n"
    "folder = notebook.resolve('data')\nskeleton = coco.read_skeleton(coco.labels_file(folder, 'val'))\n"
    "persons = coco.read_coco(folder, 'val', skeleton=skeleton)\nresults = notebook.run_folder(experiment_name)\n"
    "names = [person.name for person in persons]\nprint(*names, sep='\\n')\n"
    "print('\\x1b[31mred <b>not bold</b>\\x1b[0m')",
    "inspect": "found = np.stack([p.keypoints for p in persons]) + np.arange(len(persons))[:, None, None] * (2, 0, 0)\n"
    "inspect(persons, skeleton, {'<u>set</u>': found})",
    "table": "pd.DataFrame({skeleton.joints[0]: names}, index=[skeleton.joints[2]] * len(names))",
    "figure": "figure = drawing.joint_bars({names[0]: np.arange(len(skeleton.joints))}, skeleton.joints, names[0])\n"
    "notebook.show_figure(figure, results, '01_hostile_bars', names[0])\n"
    "figure = drawing.gallery([np.zeros((9, 9, 3), np.uint8)] * len(names), names)\n"
    "notebook.show_figure(figure, results, '01_hostile_gallery', names[1])",
    "record": "headline = {names[0]: names[0], skeleton.joints[2]: 1.5}\n"
    "notebook.record_metrics(results, '01_hostile', headline, {})",
    "fail": "raise ValueError('\\x1b[31m' + " + repr(f"{BAD}</script><script>alert(3)</script>") + ")",
}  # fmt: skip


def write_hostile_data(folder: Path) -> None:
    """A COCO folder whose pictures and joints have the names above, one person each."""
    (folder / "annotations").mkdir(parents=True)
    images, annotations = [], []
    for number, name in enumerate(NAMES, 1):
        path = folder / "val2017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", noise_picture(90, 120, number))[1].tobytes())
        images.append({"id": number, "file_name": name, "height": 90, "width": 120})
        joints = [value for k in range(len(JOINTS)) for value in (20 + 12 * k, 30 + 5 * number, 2)]
        about = {"bbox": [5, 5, 100, 80], "area": 4000.0, "iscrowd": 0, "num_keypoints": len(JOINTS)}
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": joints, **about})
    category = {"id": 1, "name": f"person{BAD}", "keypoints": list(JOINTS), "skeleton": [[1, 2], [2, 3]]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))


def write_hostile_notebook(path: Path, *names: str) -> None:
    title = f"# 01 Title {BAD}\n\nWhat does <script>alert(4)</script> say?\n\n## Part `{BAD}`"
    parameters = new_code_cell(f'experiment_name = "x"  # {BAD}\nwho = ""  # </script>', metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell(title), parameters, *[new_code_cell(CODE[name]) for name in names]]
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory) -> Path:
    """The reports of a small project where everything that can have a name has a hostile one; its second notebook fails."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "notebooks" / "profiles").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    write_hostile_data(root / "data")
    write_hostile_notebook(root / "notebooks" / "01_hostile.ipynb", "read", "inspect", "table", "figure", "record")
    write_hostile_notebook(root / "notebooks" / "02_failing.ipynb", "fail")
    profile = {
        "title": f"Title {BAD}",
        "description": f"About {BAD}<script>alert(5)</script>",
        "notebooks": {"01_hostile": {"label": BAD, "who": f"{BAD}</script>"}, "02_failing": {}},
        "cover": "01_hostile_gallery",
    }
    (root / "notebooks" / "profiles" / "bad.yaml").write_text(json.dumps(profile))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PYTHONPATH", str(REPORTS.parent))
        assert main(["reproduce", "--profile", "bad"]) == 1
    return root / "reports"


@pytest.mark.parametrize("name", ["index.html", "bad/index.html", "bad/01_hostile.html", "bad/02_failing.html"])
def test_nothing_that_has_a_name_runs_and_pages_stay_readable(browser, hostile_site, name):
    page, bad = opened(browser, hostile_site / name)
    assert page.locator("img[onerror], [src=x], main script:not([type='application/json'])").count() == 0
    check_form(page)
    if page.locator("#all-code").count():
        page.locator("#all-code").check()
    check_reading(page)
    page.wait_for_timeout(100)
    assert bad == []
    closed(page)


def test_hostile_names_are_read_as_text(browser, hostile_site):
    page, bad = opened(browser, hostile_site / "bad" / "01_hostile.html")
    text = page.locator("main").text_content()
    for name in NAMES:
        assert name.rpartition("/")[2] in text
    assert all(joint in text for joint in JOINTS) and "red <b>not bold</b>" in text and f"'{BAD}</script>'" in text
    assert [one.strip() for one in page.locator("thead th").all_inner_texts()].count(JOINTS[0]) == 1
    canvas = page.locator("canvas[role=img]")
    page.get_by_label("Order").select_option("as in the file")
    found = []
    for place in range(len(NAMES)):
        canvas.focus()
        page.keyboard.press("Home")
        for _ in range(place):
            page.keyboard.press("ArrowRight")
        expect(page.locator(".pager input")).to_have_value(str(place + 1))
        expect(page.locator(".gccpm-inspector")).to_have_attribute("data-index", str(len(NAMES) - 1 - place))
        found.append(page.locator(".name").text_content())
        page.keyboard.press("m")
    assert found == [name.rpartition("/")[2] for name in NAMES]
    with page.expect_download() as download:
        page.get_by_text("Download the list (csv)").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_bytes().decode(), newline="")))[1:]
    assert [row[1].removeprefix("'") for row in rows] == found
    assert not [row[1] for row in rows if row[1][0] in "=+-@\t\r"]
    assert bad == []
    closed(page)


def test_a_hostile_error_is_text(browser, hostile_site):
    page, bad = opened(browser, hostile_site / "bad" / "02_failing.html")
    expect(page.locator(".banner")).to_contain_text(BAD)
    expect(page.locator("pre.error")).to_contain_text(f"{BAD}</script><script>alert(3)</script>")
    assert "\x1b" not in page.locator("body").text_content() and bad == []
    closed(page)


def test_hostile_titles_and_numbers_are_text_on_the_index_pages(browser, hostile_site):
    for name in ("index.html", "bad/index.html"):
        page, bad = opened(browser, hostile_site / name)
        text = page.locator("main").text_content()
        assert all(told in text for told in (f"Title {BAD}", NAMES[0], JOINTS[2]))
        assert bad == []
        closed(page)


# ------------------------------------------------------------------------------------------------ keyboard


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser, hostile_site):
    page, _ = opened(browser, hostile_site / "bad" / "01_hostile.html")
    outlines = []
    for number in range(8):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(
            "[document.activeElement.innerText, getComputedStyle(document.activeElement).outlineWidth]"
        )
        assert number or text == "Skip to the text"
        outlines.append(outline)
    assert set(outlines) == {"2px"}
    closed(page)
