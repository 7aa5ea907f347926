"""Labels corrected in a real browser: the live widget in a page, its messages answered by Python as in JupyterLab."""

import base64
import csv
import json
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from browsing import CHROMIUM, NO_CHROMIUM, chromium, watched_page
from conftest import csv_row, small_run, write_coco, write_lip
from playwright.sync_api import expect

from gccpm_lib.datasets.coco import read_coco
from gccpm_lib.datasets.corrections import corrections_file, read_corrections
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import DataError
from gccpm_lib.files import sha256
from gccpm_lib.show import inspector_files
from gccpm_lib.show.inspector import Inspector, inspect
from gccpm_lib.show.label_editor import LabelEditor, exchange_groups
from gccpm_lib.skeletons import COCO, LIP
from gccpm_lib.training import train
from gccpm_lib.training.loop import read_training

WRIST, ELBOW = LIP.joints.index("r_wrist"), LIP.joints.index("r_elbow")
WIDTH, HEIGHT = 120, 80

# An anywidget's model in a page: what it sends is answered by `ask`, which Python gives the page.
HOST = """
const [handlers, values] = [{}, VALUES];
const model = {
  get: (name) => values[name],
  set(name, value) { values[name] = value; },
  save_changes() {},
  on: (name, callback) => { (handlers[name] ??= []).push(callback); },
  off() {},
  async send(content) {
    const [reply, buffers] = await ask(content);
    const views = buffers.map((text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer));
    (handlers["msg:custom"] ?? []).forEach((callback) => callback(reply, views));
  },
};
const url = URL.createObjectURL(new Blob([MODULE], { type: "text/javascript" }));
import(url).then((module) => module.default.render({ model, el: document.body }));
"""


@contextmanager
def live(browser, widget: Inspector, **options):
    """A page with the widget in it, as a notebook shows it, and the list of whatever must not happen."""
    page, bad = watched_page(browser, **options)

    def ask(request):
        sent = []
        widget.send = lambda content, buffers: sent.append([content, [base64.b64encode(data).decode() for data in buffers]])
        widget._answer(widget, request, [])
        return sent[0]

    page.expose_function("ask", ask)
    values = {name: getattr(widget, name) for name in ("marked", "row", "marked_csv", "corrections_csv", "corrector")}
    host = HOST.replace("VALUES", json.dumps(values)).replace("MODULE", json.dumps(inspector_files.module_text()))
    head = f"<meta name=viewport content='width=device-width'><style>{inspector_files.style_text()}</style>"
    page.set_content(f"<!doctype html>{head}<body></body>")
    page.add_script_tag(content=host)
    page.wait_for_selector(".gccpm-inspector[data-index]")
    page.locator(".stage").scroll_into_view_if_needed()
    yield page
    page.wait_for_timeout(100)
    assert bad == []
    page.context.close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with chromium() as browser:
        yield browser


@pytest.fixture
def lip(tmp_path) -> Path:
    """Two pictures for training, joints far from each other; the r_elbow of the first isn't labelled."""
    points = np.array([(8 + 14 * (k % 8), 20 + 40 * (k // 8), 2) for k in range(16)], np.float32)
    folder = tmp_path / "lip"
    for split, names in (("train", ("a.jpg", "b.jpg")), ("val", ("c.jpg",))):
        images = folder / "TrainVal_images" / f"{split}_images"
        images.mkdir(parents=True)
        (folder / "TrainVal_pose_annotations").mkdir(exist_ok=True)
        rows = []
        for name in names:
            assert cv2.imwrite(str(images / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
            own = points.copy()
            own[ELBOW] *= name != "a.jpg"
            rows.append(csv_row(name, own))
        (folder / "TrainVal_pose_annotations" / f"lip_{split}_set.csv").write_text("".join(rows))
    return folder


def spot(page, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a point of a whole picture is."""
    box = page.locator("canvas[role=img]").bounding_box()
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + (x + 0.5 - WIDTH / 2) * scale, middle[1] + (y + 0.5 - HEIGHT / 2) * scale


def drag(page, start, end) -> None:
    page.mouse.move(*spot(page, *start))
    page.mouse.down()
    page.mouse.move(*spot(page, *end), steps=4)
    page.mouse.up()


def told(page, text: str) -> None:
    expect(page.locator(".told")).to_contain_text(text)


def test_joints_are_dragged_exchanged_undone_and_trained_with(browser, lip, tmp_path):
    persons, path = read_lip(lip, "train"), corrections_file(lip, "train")
    labels = next(lip.rglob("lip_train_set.csv"))
    before, own = sha256(labels), [person.keypoints.copy() for person in persons]
    widget = inspect(persons, LIP, corrections_csv=path)
    with live(browser, widget) as page:
        page.get_by_label("Correct labels (e)").click()
        page.get_by_label("Corrected by").fill("anna")
        x, y, _ = own[0][WRIST].tolist()
        drag(page, (x, y), (x + 10, y + 6))
        told(page, "1 joint of 1 person corrected")
        found = read_corrections(path)
        assert [(c.name, c.joint, c.by, c.was) for c in found] == [("a.jpg", "r_wrist", "anna", (x, y, 2))]
        assert np.allclose(found[0].now[:2], (x + 10, y + 6), atol=0.5) and found[0].now[2] == 2

        page.get_by_label("Hidden: something covers the joint (o)").click()
        told(page, "1 joint of 1 person corrected")
        expect(page.locator("tr.chosen")).to_contain_text("r_wristoccluded ✎")
        page.get_by_role("button", name="Exchange right and left of legs (2)").click()
        told(page, "7 joints of 1 person corrected")  # hips, knees and ankles
        page.get_by_label("Undo (u)").click()
        told(page, "1 joint of 1 person corrected")
        page.locator("canvas[role=img]").focus()
        page.keyboard.press("1")
        told(page, "6 joints of 1 person corrected")

        page.keyboard.press("ArrowRight")  # a joint is chosen: it moves by a pixel, which had none
        told(page, "6 joints of 1 person corrected")
        page.keyboard.press("Control+z")
        page.wait_for_timeout(300)
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")
        expect(page.locator(".name")).to_have_text("b.jpg")
        page.keyboard.press("r")
        told(page, "6 joints of 2 persons corrected, 1 of them rejected")
        expect(page.locator(".facts")).to_contain_text("✗ rejected")
        expect(page.locator(".thumb.rejected")).to_have_count(1)
    moved = np.array([*np.round(found[0].now[:2], 2), 1], np.float32)
    expected = own[0][LIP.flip_order]
    expected[:6] = own[0][:6]
    expected[LIP.joints.index("l_wrist")] = moved
    again = read_lip(lip, "train", labels=path.name)
    assert [person.name for person in again] == ["a.jpg"] and sha256(labels) == before
    np.testing.assert_allclose(again[0].keypoints, expected, atol=0.01)
    run = small_run(lip, tmp_path / "out")
    run = type(run)(**{**run.__dict__, "train_labels": path.name, "num_val_persons": 0, "num_epochs": 1})
    np.testing.assert_array_equal(read_training(run)[1][0].keypoints, again[0].keypoints)
    assert len(train(run, say=lambda _: None)) == 1


def test_by_touch_a_missing_joint_is_placed_and_a_joint_dragged(browser, lip):
    widget = inspect(read_lip(lip, "train"), LIP, corrections_csv=corrections_file(lip, "train"))
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
    with live(browser, widget, **phone) as page:
        page.get_by_label("Correct labels (e)").tap()
        page.locator("tr", has_text="r_elbow").locator("th").tap()
        page.locator(".stage").scroll_into_view_if_needed()
        page.touchscreen.tap(*spot(page, 60, 40))
        told(page, "1 joint of 1 person corrected")
        (placed,) = read_corrections(widget.corrections_csv)
        assert placed.joint == "r_elbow" and placed.was[2] == 0
        assert np.allclose(placed.now, (60, 40, 2), atol=1)
        session = page.context.new_cdp_session(page)
        x, y, _ = widget.editor.labelled[0][WRIST].tolist()
        for kind, points in (
            ("touchStart", [(x, y)]),
            ("touchMove", [(x + 4, y + 9)]),
            ("touchMove", [(x + 5, y + 12)]),
            ("touchEnd", []),
        ):
            at = [dict(zip("xy", spot(page, *point), strict=True)) for point in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        told(page, "2 joints of 1 person corrected")
        dragged = next(own for own in read_corrections(widget.corrections_csv) if own.joint == "r_wrist")
        assert np.allclose(dragged.now, (x + 5, y + 12, 2), atol=1)


def test_suspicious_labels_come_first_and_say_why(browser, lip):
    table = pd.DataFrame({"row": [2], "joint": ["neck"], "problem": ["far outside the picture"]})
    with live(browser, inspect(read_lip(lip, "train"), LIP, suspicious=table)) as page:
        expect(page.locator(".name")).to_have_text("b.jpg")
        expect(page.locator(".suspicion")).to_have_text("neck: far outside the picture")
        expect(page.get_by_label("Correct labels (e)")).to_be_hidden()
        page.get_by_label("Order", exact=True).select_option("as in the file")
        expect(page.locator(".name")).to_have_text("a.jpg")


# without a browser


def test_corrections_are_shown_again_and_errors_follow_them(tmp_path):
    write_coco(tmp_path / "coco")
    persons, path = read_coco(tmp_path / "coco", "val"), tmp_path / "c.csv"
    found = np.stack([person.keypoints for person in persons]).astype(float)
    widget = inspect(persons, COCO, found, corrections_csv=path)
    points = persons[1].keypoints.copy()
    joint = int(np.flatnonzero(points[:, 2])[0])
    points[joint, :2] += (300, 0)
    reply, buffers = widget.editor.answer({"kind": "correct", "row": 1, "points": points.ravel().tolist(), "by": "ben"})
    assert reply["state"]["corrected"][joint][3] == "ben" and reply["undoable"] == 1
    assert np.frombuffer(buffers[1], "<f4")[joint] > 4 and widget.collection.errors[0, 1, joint] > 4
    np.testing.assert_array_equal(persons[1].keypoints, read_coco(tmp_path / "coco", "val")[1].keypoints)  # as given
    for given in (persons, read_coco(tmp_path / "coco", "val", str(path))):  # also persons read with them on top
        again = inspect(given, COCO, found, corrections_csv=path)
        np.testing.assert_array_equal(again.collection.persons[1].keypoints, points)
        np.testing.assert_array_equal(again.editor.labelled[1], persons[1].keypoints)
    widget.editor.answer({"kind": "undo"})
    assert widget.collection.errors[0, 1, joint] == 0 and len(path.read_text().splitlines()) == 1
    with pytest.raises(ValueError, match="nothing to undo"):
        widget.editor.answer({"kind": "undo"})


def test_two_inspectors_of_one_file_keep_each_others_corrections(tmp_path):
    write_lip(tmp_path / "lip")
    persons, path = read_lip(tmp_path / "lip", "val"), tmp_path / "c.csv"
    editors = [LabelEditor(inspect(persons, LIP).collection, path) for _ in range(2)]
    for row, (editor, by) in enumerate(zip(editors, ("anna", "ben"), strict=True)):
        editor.correct(row, persons[row].keypoints, True, by)
    assert [(own.row, own.by, own.joint) for own in read_corrections(path)] == [(1, "anna", ""), (2, "ben", "")]
    first = read_corrections(path)[0]
    points = persons[0].keypoints.copy()
    points[8, 2] = 3 - points[8, 2]
    editors[0].correct(0, points, True, "carl")
    own = [correction for correction in read_corrections(path) if correction.row == 1]
    assert [(correction.joint, correction.by) for correction in own] == [("", "anna"), ("neck", "carl")] and own[0] == first


@pytest.mark.parametrize("point", [(np.nan, 1, 2), (1, 2, 3), (1e7, 1, 2)])
def test_what_cannot_be_a_label_changes_nothing(tmp_path, point):
    write_lip(tmp_path / "lip")
    persons, path = read_lip(tmp_path / "lip", "val"), tmp_path / "c.csv"
    editor, points = LabelEditor(inspect(persons, LIP).collection, path), persons[0].keypoints.copy()
    points[0] = point
    with pytest.raises(ValueError, match="nothing was changed"):
        editor.correct(0, points, False, "anna")
    assert not path.exists() and not editor.history


def test_a_file_of_something_else_is_never_written_over(tmp_path):
    write_lip(tmp_path / "lip")
    (tmp_path / "c.csv").write_text("precious\n")
    with pytest.raises(DataError, match="no list of corrections"):
        inspect(read_lip(tmp_path / "lip", "val"), LIP, corrections_csv=tmp_path / "c.csv")
    assert list(csv.reader((tmp_path / "c.csv").open())) == [["precious"]]


def test_arms_and_legs_are_found_by_their_names():
    assert exchange_groups(LIP) == {
        "arms": [[10, 15], [11, 14], [12, 13]],
        "legs": [[0, 5], [1, 4], [2, 3]],
        "all": [[0, 5], [1, 4], [2, 3], [10, 15], [11, 14], [12, 13]],
    }
    assert exchange_groups(COCO)["legs"] == [[11, 12], [13, 14], [15, 16]] and len(exchange_groups(COCO)["all"]) == 8
