"""The inspector in a real browser: a published page without network, and (slow) JupyterLab with a kernel.

Tolerances are 10 pixels (heads of 20), so predictions n pixels beside the label have an error of n / 10.
"""

import csv
import io
import time
from dataclasses import replace
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from browsing import CHROMIUM, NO_CHROMIUM, chromium, jupyterlab, watched_page
from conftest import write_lip
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import Page, expect

from gccpm_lib.datasets.records import Person
from gccpm_lib.report import pages
from gccpm_lib.show.inspector import Inspector, inspect
from gccpm_lib.skeletons import LIP

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
COUNT, WIDTH, HEIGHT = 30, 120, 80
LIP_WITH_SIGMAS = replace(LIP, sigmas=(0.1,) * 16)
R_WRIST, R_HIP = LIP.joints.index("r_wrist"), LIP.joints.index("r_hip")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


# ------------------------------------------------------------------------------------------------ a published page


def name_of(i: int) -> str:
    return HOSTILE if i == 0 else f"{i:02d}.jpg"


def people(folder: Path) -> list[Person]:
    """Pictures with a red left and a blue right half, joints in two rows; person i has its r_wrist occluded if i is odd."""
    persons = []
    for i in range(COUNT):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, : WIDTH // 2, 2] = picture[:, WIDTH // 2 :, 0] = 255
        path = folder / name_of(i)
        path.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())
        keypoints = np.array([(8 + 14 * (k % 8), 30 + 30 * (k // 8), 2) for k in range(16)], np.float32)
        keypoints[LIP.joints.index("head_top"), :2] = keypoints[LIP.joints.index("neck"), :2] - (0, 20)
        keypoints[R_WRIST, 2] = 1 + (i % 2 == 0)
        keypoints[R_HIP, 2] = 0 if i == 7 else 2
        persons.append(Person(path, keypoints))
    return persons


def predictions(persons: list[Person]) -> dict[str, np.ndarray]:
    """PyTorch: person i is i pixels off downwards, with the score 0.5; its last one isn't detected. INT8 the other way."""
    truth = np.stack([person.keypoints for person in persons]).astype(float)
    truth[:, :, 2] = 0.5
    right, wrong = truth.copy(), truth.copy()
    right[:, :, 1] += np.arange(COUNT)[:, None]
    wrong[:, :, 1] += np.arange(COUNT)[::-1, None]
    right[-1] = np.nan
    return {"PyTorch": right, "INT8": wrong}


def heatmaps(_person: Person) -> tuple[np.ndarray, np.ndarray]:
    maps = np.zeros((16, HEIGHT // 8, WIDTH // 8), np.float32)
    maps[:, 3, 4] = 1
    return maps, np.array([[8, 0, 3.5], [0, 8, 3.5]])


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of a small executed notebook with an inspector in it."""
    folder = tmp_path_factory.mktemp("report")
    persons = people(folder)
    return written_page(inspect(persons, LIP, predictions(persons), heatmaps), folder / "report.html")


def written_page(widget: Inspector, path: Path) -> Path:
    """The published page of a notebook that displayed the widget."""
    data, metadata = widget._repr_mimebundle_()
    parameters = new_code_cell("lr = 1  # rate", metadata={"tags": ["parameters"]})
    cell = new_code_cell("inspect(persons)", outputs=[new_output("display_data", data, metadata=metadata)])
    about = {"title": "A", "report": "B", "failure": "", "status": "done", "previous": None, "next": None}
    path.write_text(pages.page_html(new_notebook(cells=[parameters, cell]), "demo", about))
    return path


def opened(browser, report: Path, **options):
    """Page and list of whatever must not happen."""
    page, bad = watched_page(browser, **options)
    page.goto(report.as_uri())
    page.wait_for_selector(".gccpm-inspector[data-index]")
    return page, bad


@pytest.fixture
def page(browser, report):
    page, bad = opened(browser, report)
    yield page
    page.wait_for_timeout(100)
    assert bad == []
    page.context.close()


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).select_option(option)


def names(page: Page) -> list[str]:
    """Whom the inspector goes through, in order, by its keys."""
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("Home")
    count, found = int(page.locator(".pager span").inner_text().removeprefix("of ")), []
    for place in range(count):
        expect(page.locator(".pager input")).to_have_value(str(place + 1))
        page.wait_for_timeout(20)
        found.append(page.locator(".name").inner_text())
        page.keyboard.press("ArrowRight")
    return found


def find(page: Page, text: str) -> None:
    page.get_by_label("File name").fill(text)
    expect(page.locator(".name")).to_contain_text(text)


def spot(page: Page, x: float, y: float, frame=(0, 0, WIDTH, HEIGHT)) -> tuple[float, float]:
    """Where on the screen a point of the picture is while all of it is shown."""
    box = page.locator("canvas[role=img]").bounding_box()
    scale = min(box["width"] / frame[2], box["height"] / frame[3])
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + (x + 0.5 - frame[0] - frame[2] / 2) * scale, middle[1] + (y + 0.5 - frame[1] - frame[3] / 2) * scale


def hover(page: Page, x: float, y: float, frame=(0, 0, WIDTH, HEIGHT)) -> list[str]:
    page.mouse.move(*spot(page, x, y, frame))
    return page.locator(".tip").inner_text().split("\n")


def drawn(page: Page) -> str:
    return page.locator("canvas[role=img]").evaluate("canvas => canvas.toDataURL()")


def colour(page: Page, x: float, y: float) -> list[int]:
    """Red, green, blue on the canvas at a point of the picture."""
    box = page.locator("canvas[role=img]").bounding_box()
    left, top = spot(page, x, y)
    script = "(canvas, at) => [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3)"
    return page.locator("canvas[role=img]").evaluate(script, [left - box["x"], top - box["y"]])


def test_hovering_a_joint_tells_everything_about_it(page):
    page.locator("canvas[role=img]").scroll_into_view_if_needed()
    find(page, "12.jpg")
    told = ["r_wrist", "label: visible, x 36.0, y 60.0", "prediction: x 36.0, y 72.0", "score 0.50"]
    assert hover(page, 36, 60) == [*told, "error 1.20 tolerances: wrong"]
    assert hover(page, 36, 72) == [*told, "error 1.20 tolerances: wrong"]
    expect(page.locator("tr.near")).to_have_text("r_wristvisible0.501.20")
    find(page, "29.jpg")
    told = ["r_wrist", "label: occluded, x 36.0, y 60.0", "prediction: not detected", "error ∞ tolerances: wrong"]
    assert hover(page, 36, 60) == told
    find(page, "07.jpg")
    told = ["r_hip", "label: missing", "prediction: x 36.0, y 37.0", "score 0.50", "error: not scored"]
    assert hover(page, 36, 37) == told
    page.mouse.move(*spot(page, 70, 5))
    expect(page.locator(".tip")).to_be_hidden()


def test_the_worst_the_middle_and_the_best_are_paged_by_keys_in_the_chosen_order(page):
    worst_first = [*range(29, 21, -1), *range(18, 10, -1), *range(7, -1, -1)]
    expect(page.locator("footer")).to_contain_text("24 of 30 persons: the 8 worst, 8 around the median and the 8 best")
    assert names(page) == [name_of(i) for i in worst_first]
    choose(page, "Order", "best first")
    assert names(page) == [name_of(i) for i in reversed(worst_first)]
    choose(page, "Order", "as in the file")
    page.keyboard.press("End")
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("End")
    expect(page.locator(".name")).to_have_text(name_of(29))
    page.get_by_label("Previous person (left arrow)").click()
    expect(page.locator(".name")).to_have_text(name_of(28))


def test_every_set_has_its_own_errors(page):
    choose(page, "Predictions", "INT8")
    expect(page.locator(".facts")).to_contain_text("row 30 · mean error 0.00 · 0 of 16 joints wrong")
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("Home")
    expect(page.locator(".facts")).to_contain_text("row 1 · mean error 2.90 · 16 of 16 joints wrong · 0 occluded")


def test_filters_keep_whom_they_say(page):
    choose(page, "… is", "wrong (error > 1)")
    assert names(page) == [name_of(i) for i in [*range(29, 21, -1), *range(18, 10, -1)]]
    choose(page, "Persons", "with occluded joints")
    assert names(page) == [name_of(i) for i in (29, 27, 25, 23, 17, 15, 13, 11)]
    choose(page, "Persons", "without occluded joints")
    assert names(page) == [name_of(i) for i in (28, 26, 24, 22, 18, 16, 14, 12)]
    choose(page, "Persons", "all")
    choose(page, "Joint", "r_hip")
    choose(page, "… is", "not labelled")
    assert names(page) == [name_of(7)]
    choose(page, "… is", "found")
    assert names(page) == [name_of(i) for i in (6, 5, 4, 3, 2, 1, 0)]
    page.get_by_label("File name").fill("5.")
    assert names(page) == [name_of(5)]
    page.get_by_label("File name").fill("nobody has this")
    expect(page.locator(".message")).to_have_text("No person passes these filters.")
    expect(page.locator(".pager span")).to_have_text("of 0")


def test_marks_are_shown_filtered_and_downloaded(page):
    canvas = page.locator("canvas[role=img]")
    canvas.focus()
    page.keyboard.press("m")
    page.keyboard.press("End")
    expect(page.locator(".name")).to_have_text(HOSTILE)
    page.keyboard.press("m")
    expect(page.locator(".facts")).to_contain_text("⚑ suspicious")
    expect(page.locator(".thumb.marked")).to_have_count(1)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".facts")).not_to_contain_text("suspicious")
    page.get_by_label("Mark this label as suspicious (m)").click()
    page.keyboard.press("m")  # and taken back
    expect(page.locator("footer")).to_contain_text("2 labels marked as suspicious")
    choose(page, "Persons", "marked as suspicious")
    assert names(page) == ["29.jpg", HOSTILE]
    with page.expect_download() as download:
        page.get_by_text("Download the list (csv)").click()
    lines = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert lines == [["row", "name", "annotation_id"], ["1", HOSTILE, ""], ["30", "29.jpg", ""]]


def test_a_hostile_file_name_is_text(page):
    find(page, HOSTILE)
    expect(page.locator(".name")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
    expect(page.locator(".thumb")).to_have_attribute("title", f"{HOSTILE}, error 0.00")


@pytest.mark.parametrize("key", ["t", "p", "l", "n", "s", "h", "+"])
def test_switches_change_the_picture_and_change_it_back(page, key):
    find(page, "12.jpg")
    before = drawn(page)
    page.locator("canvas[role=img]").focus()
    page.keyboard.press(key)
    page.wait_for_timeout(100)
    assert drawn(page) != before
    page.keyboard.press("-" if key == "+" else key)
    assert drawn(page) == before


def test_wheel_and_drag_zoom_and_move_and_0_shows_all_again(page):
    find(page, "12.jpg")
    canvas = page.locator("canvas[role=img]")
    canvas.scroll_into_view_if_needed()
    page.mouse.move(*spot(page, 70, 5))
    whole, scrolled = drawn(page), page.evaluate("scrollY")
    canvas.focus()
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(100)
    zoomed = drawn(page)
    page.mouse.down()
    page.mouse.move(*spot(page, 60, 20), steps=3)
    page.mouse.up()
    assert len({whole, zoomed, drawn(page)}) == 3 and page.evaluate("scrollY") == scrolled
    page.keyboard.press("0")
    page.mouse.move(*spot(page, 70, 5))
    assert drawn(page) == whole


def test_who_scrolls_past_is_not_held_up(page):
    page.mouse.move(*spot(page, 70, 5))
    before = drawn(page)
    page.mouse.wheel(0, 40)
    page.wait_for_timeout(200)
    assert drawn(page) == before and page.evaluate("scrollY") > 0


def test_a_click_chooses_a_joint_with_its_heatmap_and_its_scale(page):
    find(page, "12.jpg")
    page.locator("canvas[role=img]").scroll_into_view_if_needed()
    expect(page.get_by_label("Heatmap of the chosen joint, or the highest of all (h)")).to_have_attribute(
        "aria-pressed", "false"
    )
    page.mouse.click(*spot(page, 36, 60))
    expect(page.locator("tr.chosen")).to_contain_text("r_wrist")
    expect(page.get_by_label("Heatmap of the chosen joint, or the highest of all (h)")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.keyboard.press(".")
    expect(page.locator("tr.chosen")).to_contain_text("r_elbow")
    page.keyboard.press("Escape")
    expect(page.locator("tr.chosen")).to_have_count(0)
    expect(page.get_by_label("Heatmap of the chosen joint, or the highest of all (h)")).to_have_attribute(
        "aria-pressed", "false"
    )


def test_an_order_begins_at_its_first_person_and_zoom_is_kept(page):
    find(page, "12.jpg")
    page.get_by_label("File name").fill("")
    choose(page, "Order", "best first")
    expect(page.locator(".name")).to_have_text(HOSTILE)
    choose(page, "Order", "most joints missed")
    expect(page.locator(".name")).to_have_text("11.jpg")  # the first in the file of those whose every joint is off
    choose(page, "… is", "a little off")
    expect(page.locator(".pager span")).to_have_text("of 3")  # 5, 6 and 7 pixels of 10
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("Home")
    whole = drawn(page)
    page.keyboard.press("+")
    page.wait_for_timeout(50)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    zoomed = drawn(page)
    page.keyboard.press("0")
    assert zoomed != whole and drawn(page) == whole


def test_two_predictions_are_shown_at_once_and_unsure_joints_are_hollow(page):
    find(page, "12.jpg")
    before = drawn(page)
    choose(page, "Compare with", "INT8")
    expect(page.locator(".facts")).to_contain_text("mean error 1.20 · INT8 1.70")
    expect(page.locator(".sheet thead")).to_have_text("jointlabelscoreerrorINT8")
    assert drawn(page) != before
    choose(page, "Compare with", "nothing")
    assert drawn(page) == before
    page.get_by_role("slider").fill("0.5")
    assert drawn(page) != before
    page.get_by_label("File name").fill("")
    choose(page, "… is", "unsure")
    expect(page.locator(".pager span")).to_have_text("of 23")  # all but the one who wasn't detected


def test_grid_keys_links_and_saved_pictures(page, report):
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("g")
    expect(page.locator(".stage")).to_be_hidden()
    page.locator(".thumb", has_text="1.20").click()
    expect(page.locator(".stage")).to_be_visible()
    expect(page.locator(".name")).to_have_text("12.jpg")
    page.keyboard.press("?")
    expect(page.locator(".keys")).to_contain_text("mark as suspicious")
    with page.expect_download() as download:
        page.get_by_label("Save the picture as it is shown (i)").click()
    assert download.value.suggested_filename == "12_pose.png"
    picture = cv2.imread(str(download.value.path()))
    assert picture.shape[1] > 300 and picture.std() > 10
    page.get_by_label("Link to this person (k)").click()
    assert page.url.endswith("#person=12.jpg")
    page.goto("about:blank")
    page.goto(report.as_uri() + "#person=12.jpg")
    expect(page.locator(".name")).to_have_text("12.jpg")


def test_tab_reaches_the_thumbnails_and_arrows_go_through_them(page):
    page.locator("canvas[role=img]").focus()
    page.locator('.thumb[aria-current="true"]').focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".name")).to_have_text("28.jpg")
    expect(page.locator('.thumb[aria-current="true"]')).to_be_focused()
    assert page.locator('.thumb[tabindex="0"]').count() == 1


MIDDLE_OF_GREEN = """canvas => {
  const { width, height } = canvas, [xs, ys] = [[], []];
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  for (let i = 0; i < (width * height * 2) / 3; i += 1) {  // below stands the scale of the heatmap
    if (data[4 * i + 1] > 100) xs.push(0.5 + (i % width)), ys.push(0.5 + Math.floor(i / width));
  }
  return [xs, ys].map((list) => list.reduce((a, b) => a + b) / list.length);
}"""


def test_pixels_lie_where_coordinates_say(page):
    """The picture turns from red to blue between the columns 59 and 60; a map's highest cell covers 32 to 39, 24 to 31."""
    find(page, "12.jpg")
    canvas = page.locator("canvas[role=img]")
    canvas.focus()
    page.keyboard.press("t")
    page.keyboard.press("p")
    red, blue = colour(page, 58.5, 70), colour(page, 60.5, 70)
    assert red[0] > 150 > 100 > red[2] and blue[2] > 150 > 100 > blue[0]
    dark, far = colour(page, 35.5, 27.5), colour(page, 35.5, 50)
    page.keyboard.press("h")
    page.wait_for_timeout(200)
    bright = colour(page, 35.5, 27.5)
    assert bright[1] > 150 > 50 > dark[1] and colour(page, 35.5, 50) == far
    box = page.locator("canvas[role=img]").bounding_box()
    middle = page.locator("canvas[role=img]").evaluate(MIDDLE_OF_GREEN)
    expected = spot(page, 35.5, 27.5)
    assert np.allclose(middle, (expected[0] - box["x"], expected[1] - box["y"]), atol=1.5)


def test_a_person_in_a_box_is_shown_in_pixels_of_the_whole_picture(browser, tmp_path):
    picture = np.full((300, 400, 3), 128, np.uint8)
    path = tmp_path / "scene.png"
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    keypoints = people(tmp_path)[1].keypoints + (200, 100, 0)
    person = Person(path, keypoints.astype(np.float32), (195, 95, 120, 80), 4, 77, 6400.0)
    widget = inspect([person], LIP_WITH_SIGMAS, keypoints[None] + (0, 0, 0.25))
    frame = widget.report_data()["examples"][0]["frame"]
    assert frame[0] > 100 and frame[1] > 10
    page, bad = opened(browser, written_page(widget, tmp_path / "box.html"))
    page.locator("canvas[role=img]").scroll_into_view_if_needed()
    expect(page.locator(".facts")).to_contain_text("row 1 · annotation 77 · mean error 0.00")
    told = ["r_wrist", "label: occluded, x 236.0, y 160.0", "prediction: x 236.0, y 160.0", "score 1.25"]
    assert hover(page, 236, 160, frame) == [*told, "error 0.00 tolerances: found"]
    assert bad == []
    page.context.close()


def test_labels_without_predictions_are_shown_alone(browser, tmp_path):
    page, bad = opened(browser, written_page(inspect(people(tmp_path), LIP), tmp_path / "labels.html"))
    visible = page.locator(".tools button:visible")
    assert visible.all_inner_texts() == ["Labels", "Limbs", "Names", "Grid", "Full screen", "Link", "Save picture", "Keys"]
    assert names(page)[0] == HOSTILE and page.locator(".pager span").inner_text() == "of 24"
    page.locator("canvas[role=img]").scroll_into_view_if_needed()
    find(page, HOSTILE)
    assert hover(page, 36, 60) == ["r_wrist", "label: visible, x 36.0, y 60.0"]
    assert bad == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(browser, report, scheme):
    page, bad = opened(
        browser, report, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    script = "(e) => getComputedStyle(e).color.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
    ground = "(e) => getComputedStyle(e).backgroundColor.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
    root = page.locator(".gccpm-inspector")
    difference = root.evaluate(ground) - root.evaluate(script)
    assert difference > 400 if scheme == "light" else difference < -400
    find(page, "12.jpg")
    page.locator("canvas[role=img]").scroll_into_view_if_needed()
    page.touchscreen.tap(*spot(page, 36, 60))
    expect(page.locator(".tip")).to_contain_text("r_wrist")
    stage, sheet = (page.locator(name).bounding_box() for name in (".stage", ".sheet"))
    assert sheet["x"] >= stage["x"] + stage["width"] and sheet["y"] == stage["y"]  # beside the picture
    for control in page.locator(".gccpm-inspector :is(button, select):visible, .sheet tbody tr").all():
        assert control.bounding_box()["height"] >= 44
    page.get_by_label("File name").fill("")
    page.locator(".stage").scroll_into_view_if_needed()
    session, first = page.context.new_cdp_session(page), page.locator(".name").inner_text()
    for kind, x in (("touchStart", 180), ("touchMove", 140), ("touchMove", 90), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": stage["y"] + 150}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator(".name")).not_to_have_text(first)
    assert bad == []
    page.context.close()


# ------------------------------------------------------------------------------------------------ live in JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own on an empty folder; (folder, address of a notebook in it by name)."""
    folder = tmp_path_factory.mktemp("lab")
    with jupyterlab(folder, tmp_path_factory.mktemp("settings")) as address:
        yield folder, address


def run_all(browser, lab, name: str, *sources: str) -> Page:
    """A notebook of these cells, opened in JupyterLab and run until its inspector shows somebody."""
    folder, address = lab
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)
    page = browser.new_page(viewport={"width": 1300, "height": 1100})
    page.goto(address.format(name))
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_selector(".gccpm-inspector[data-index]", timeout=90_000)
    return page


@pytest.mark.slow
def test_live_in_jupyterlab_it_pages_filters_and_writes_marks(browser, lab):
    folder, _ = lab
    labels = write_lip(folder / "lip")["val"]
    page = run_all(
        browser, lab, "small.ipynb",
        "import numpy as np\nfrom gccpm_lib.datasets.lip import read_lip\nfrom gccpm_lib.show.inspector import inspect\n"
        "from gccpm_lib.skeletons import LIP\npersons = read_lip('lip', 'val')\n"
        "found = np.stack([person.keypoints for person in persons]) + np.arange(3)[:, None, None] * (1, 0, 0)",
        "inspector = inspect(persons, LIP, found, marked_csv='marked.csv')\ninspector",
        "'first cell'",
    )  # fmt: skip
    root, order = page.locator(".gccpm-inspector"), list(labels)[::-1]
    expect(page.locator(".gccpm-inspector .name")).to_have_text(order[0])
    root.scroll_into_view_if_needed()
    x, y, label = (float(value) for value in labels[order[0]][LIP.joints.index("neck")])
    frame = (0, 0, *cv2.imread(str(next((folder / "lip").rglob(order[0])))).shape[1::-1])
    told = hover(page, x, y, frame)
    assert told[:2] == ["neck", f"label: {'occluded' if label == 1 else 'visible'}, x {x:.1f}, y {y:.1f}"]
    page.locator("canvas[role=img]").click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".gccpm-inspector .name")).to_have_text(order[1])
    page.keyboard.press("m")
    expect(page.locator("footer")).to_contain_text("1 label marked as suspicious; the list is marked.csv")
    page.get_by_label("File name").fill(order[2][:5])
    expect(page.locator(".gccpm-inspector .name")).to_have_text(order[2])
    page.get_by_label("Mark this label as suspicious (m)").click()
    page.keyboard.press("b")  # in JupyterLab: insert a cell; m: make it Markdown
    rows = [list(labels).index(name) + 1 for name in order]
    for _ in range(50):
        if (folder / "marked.csv").is_file() and (folder / "marked.csv").read_text().count("\n") == 3:
            break
        time.sleep(0.1)
    lines = list(csv.reader((folder / "marked.csv").open()))
    assert lines == [["row", "name", "annotation_id"], [str(rows[2]), order[2], ""], [str(rows[1]), order[1], ""]]
    assert page.locator(".jp-CodeCell").count() == 3 and page.locator(".jp-MarkdownCell").count() == 0
    page.close()


@pytest.mark.slow
def test_a_notebook_reopened_without_its_kernel_shows_a_still_picture(browser, lab):
    folder, address = lab
    write_lip(folder / "still")
    source = (
        "from gccpm_lib.datasets.lip import read_lip\nfrom gccpm_lib.show.inspector import inspect\n"
        "from gccpm_lib.skeletons import LIP\ninspect(read_lip('still', 'val'), LIP)"
    )
    page = run_all(browser, lab, "still.ipynb", source)
    still = page.locator(".jp-RenderedImage img")
    expect(still).to_have_count(1)
    expect(still).to_be_hidden()  # the live inspector is there
    page.keyboard.press("Control+s")
    for _ in range(100):
        outputs = nbformat.read(folder / "still.ipynb", as_version=4).cells[0].outputs
        if outputs:
            break
        time.sleep(0.1)
    page.close()
    saved = new_notebook(cells=[new_code_cell(source, outputs=outputs)])  # no widget's state, no kernel
    nbformat.write(saved, folder / "again.ipynb")
    page = browser.new_page()
    page.goto(address.format("again.ipynb"))
    expect(page.locator(".jp-RenderedImage img")).to_be_visible(timeout=90_000)
    page.close()


PAGING = """async (place) => {
  const root = document.querySelector(".gccpm-inspector"), number = root.querySelector(".pager input");
  const shown = (from) => new Promise((resolve) => {
    const look = () => (root.dataset.index === from ? requestAnimationFrame(look) : resolve(performance.now()));
    look();
  });
  const times = [];
  for (let i = 0; i < 25; i += 1) {
    const from = root.dataset.index, start = performance.now();
    if (place === "next") root.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    else {
      number.value = 1 + ((i + 1) * 7919) % 10000;
      number.dispatchEvent(new Event("change"));
    }
    times.push(await shown(from) - start);
    await new Promise((resolve) => setTimeout(resolve, place === "next" ? 30 : 300));
  }
  return times;
}"""


@pytest.mark.slow
def test_ten_thousand_persons_are_paged_in_time(browser, lab, record_property):
    folder, _ = lab
    rng = np.random.default_rng(0)
    for i in range(20):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC))
    page = run_all(
        browser, lab, "large.ipynb",
        "import numpy as np\nfrom pathlib import Path\nfrom gccpm_lib.datasets.records import Person\n"
        "from gccpm_lib.show.inspector import inspect\nfrom gccpm_lib.skeletons import LIP\n"
        "rng = np.random.default_rng(0)\n"
        "truth = np.concatenate([rng.uniform(50, 400, (10000, 16, 2)), rng.integers(1, 3, (10000, 16, 1))], 2)\n"
        "persons = [Person(Path(f'{i % 20}.jpg'), points) for i, points in enumerate(truth.astype(np.float32))]",
        "inspect(persons, LIP, {name: truth + rng.normal(0, 9, truth.shape) for name in ('PyTorch', 'INT8')})",
    )  # fmt: skip
    expect(page.locator(".pager span")).to_have_text("of 10,000")
    medians = {}
    for place in ("next", "anywhere"):
        times = page.evaluate(PAGING, place)
        medians[place] = float(np.median(times))
        record_property(f"median_ms_{place}", medians[place])
        print(f"{place}: median {np.median(times):.0f} ms, worst {max(times):.0f} ms")
    assert max(medians.values()) < 150
    assert page.locator(".thumb").count() < 30
    page.close()
