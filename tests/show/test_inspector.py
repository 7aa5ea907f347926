"""What the inspector sends and embeds: numbers worked out by hand, hostile names, sizes, marks; and its place in a page."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import noise_picture, write_coco, write_lip
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from gccpm_lib.datasets.coco import read_coco
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.report import pages
from gccpm_lib.show import inspector_data, inspector_files
from gccpm_lib.show.inspector import answer, inspect
from gccpm_lib.show.inspector_data import collect, examples, report_data
from gccpm_lib.show.inspector_files import INSPECTOR_TYPE, STILL
from gccpm_lib.show.inspector_still import still_png
from gccpm_lib.skeletons import COCO, LIP

ROOT = Path(__file__).parents[2]
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"


def lip_person(path, number=0) -> Person:
    """Joints 30 pixels apart on a line, a head of 20 pixels: the tolerance is 10."""
    keypoints = np.array([(30 * k + number, 50, 2) for k in range(16)], np.float32)
    keypoints[9, :2] = keypoints[8, :2] - (0, 20)
    return Person(path, keypoints)


def off_by(persons, *pixels) -> np.ndarray:
    """Predictions so many pixels to the right of each person's labels, score 0.5."""
    found = np.stack([person.keypoints for person in persons]).astype(float)
    found[:, :, 0] += np.array(pixels)[:, None]
    found[:, :, 2] = 0.5
    return found


def floats(data) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data) if isinstance(data, str) else data, "<f4")


@pytest.fixture
def persons(tmp_path) -> list[Person]:
    """Four persons whose pictures exist, 100 wide and 60 high."""
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), noise_picture(60, 100, number))
    return [lip_person(tmp_path / f"{number}.jpg", number) for number in range(4)]


# errors and order


def test_person_errors_are_means_of_capped_errors():
    errors = np.array([[1, 2, np.nan], [0, 100, np.inf], [np.nan, np.nan, np.nan], [0.5, np.nan, np.nan]])
    np.testing.assert_allclose(inspector_data.person_errors(errors), [1.5, 8 / 3, np.nan, 0.5], rtol=1e-6)


def test_examples_are_a_third_worst_a_third_around_the_median_and_a_third_best():
    means = np.array([0.1 * n for n in range(11)] + [np.nan])
    assert examples(means, 9) == [10, 9, 8, 6, 5, 4, 2, 1, 0]
    assert examples(means[::-1], 6) == [1, 2, 5, 6, 10, 11]
    assert examples(means, 24) == list(range(10, -1, -1))
    assert examples(np.array([0.5, np.inf, 0.5, 0.7]), 3) == [1, 3, 2]


def test_examples_of_persons_without_errors_are_spread_evenly():
    assert examples(np.full(101, np.nan), 5) == [0, 25, 50, 75, 100]
    assert examples(np.full(2, np.nan), 5) == [0, 1]


def test_predictions_of_other_persons_and_no_person_are_refused(persons):
    with pytest.raises(ValueError, match=r"INT8: predictions of shape \(3, 16, 3\) instead of \(4, 16, 3\)"):
        collect(persons, LIP, {"INT8": np.zeros((3, 16, 3))})
    with pytest.raises(ValueError, match="no person"):
        collect([], LIP)


# what is sent live


def test_the_table_has_what_sorting_and_filtering_need(persons):
    persons[1].keypoints[3, 2], persons[2].keypoints[4, 2] = 0, 1
    found = {"a": off_by(persons, 0, 5, 10, 20), "b": off_by(persons, 20, 10, 5, 0)}
    found["a"][3, 0] = np.nan
    content, (labels, errors, means, scores, kinds) = answer(collect(persons, LIP, found), {"kind": "table"})
    assert content["names"] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"] and content["rows"] == [0, 1, 2, 3]
    assert content["sets"] == ["a", "b"] and content["total"] == 4 and not content["heatmaps"]
    assert content["sides"][:2] == ["right", "right"] and content["sides"][8] == "middle"
    labels = np.frombuffer(labels, np.uint8).reshape(4, 16)
    assert labels[1, 3] == 0 and labels[2, 4] == 1 and labels.sum() == 4 * 32 - 3
    errors = floats(errors).reshape(2, 4, 16)
    assert errors[0, 3, 0] == np.inf and np.isnan(errors[:, 1, 3]).all()
    np.testing.assert_allclose(errors[1, 0], 2)
    np.testing.assert_allclose(floats(means).reshape(2, 4), [[0, 0.5, 1, (4 + 15 * 2) / 16], [2, 1, 0.5, 0]], rtol=1e-6)
    np.testing.assert_allclose(floats(scores).reshape(2, 4, 16)[1], 0.5)
    names = [content["kind_names"][code] for code in np.frombuffer(kinds, np.int8).reshape(2, 4, 16)[:, :, 8].ravel()]
    assert names == ["good", "jitter", "jitter", "miss", "miss", "jitter", "jitter", "good"]  # errors 0, 0.5, 1, 2
    json.dumps(content)


def test_persons_without_labels_have_scores_and_no_errors(persons):
    bare = [Person(person.image_path, np.zeros((17, 3), np.float32), (0, 0, 50, 50)) for person in persons]
    found = np.full((4, 17, 3), 0.25)
    content, (_, errors, means, scores, kinds) = answer(collect(bare, COCO, found), {"kind": "table"})
    assert np.isnan(floats(errors)).all() and np.isnan(floats(means)).all() and (floats(scores) == 0.25).all()
    assert set(np.frombuffer(kinds, np.int8)) == {-1} and content["sets"] == ["prediction"]


def test_suspicious_labels_are_told_and_come_first_in_a_report(persons):
    table = pd.DataFrame({"row": [4, 2, 4], "joint": ["neck", "", "r_hip"], "problem": ["outside", "tiny box", "outside"]})
    collection = collect(persons, LIP, suspicious=table)
    assert collection.suspicions == {3: "neck: outside; r_hip: outside", 1: "tiny box"}
    assert report_data(collection)["rows"] == [1, 3, 0, 2]
    assert inspector_data.first_in_line([5, 4, 3, 2], [9, 8, 2]) == [2, 8, 5, 4]  # half of them
    with pytest.raises(ValueError, match="row 5 of 4 persons"):
        collect(persons, LIP, suspicious=table.assign(row=5))


def test_a_picture_comes_at_the_asked_size_with_all_joints(persons):
    found = off_by(persons, 0, 5, 10, 20)
    found[2, 7] = np.nan
    reply, buffers = answer(collect(persons, LIP, found), {"kind": "pictures", "rows": [2, 0], "side": 50})
    assert [about["frame"] for about in reply["pictures"]] == [[0, 0, 100, 60]] * 2 and len(buffers) == 4
    assert cv2.imdecode(np.frombuffer(buffers[0], np.uint8), cv2.IMREAD_COLOR).shape == (30, 50, 3)
    joints = floats(buffers[1]).reshape(2, 16, 3)
    np.testing.assert_array_equal(joints[0], persons[2].keypoints)
    np.testing.assert_array_equal(joints[1], found[2].astype(np.float32))
    large, _ = answer(collect(persons, LIP), {"kind": "pictures", "rows": [0], "side": 5000})
    assert large["pictures"][0]["frame"] == [0, 0, 100, 60]  # never enlarged


def test_a_person_in_a_box_is_cut_out_as_the_network_sees_it(tmp_path):
    write_coco(tmp_path / "coco")
    persons = read_coco(tmp_path / "coco", "val")
    person = persons[0]  # box 5, 5, 50, 80 in a picture of 120 x 90
    about, jpeg, _ = inspector_data.picture(collect(persons, COCO), 0, 400)
    # clipped to 49 x 79, the short side grown to 59.25, times 1.25: 74.06 x 98.75 around (29.5, 44.5)
    assert about["frame"] == [0, 0, 67, 90] and person.box == (5, 5, 50, 80)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (90, 67, 3)
    content, _ = inspector_data.table(collect(persons, COCO), range(4))
    assert content["annotation_ids"] == [1010, 1011, 1020, 1021]


def test_a_box_outside_the_picture_shows_the_whole_picture(persons):
    lost = Person(persons[0].image_path, persons[0].keypoints, (500, 500, 20, 20), 1, 2, 100.0)
    assert inspector_data.picture(collect([lost], LIP), 0, 400)[0]["frame"] == [0, 0, 100, 60]


def test_a_missing_picture_is_told_and_its_joints_are_still_there(persons):
    persons[1].image_path.unlink()
    about, jpeg, joints = inspector_data.picture(collect(persons, LIP), 1, 400)
    assert jpeg == b"" and "1.jpg: picture missing" in about["problem"]
    assert about["frame"] == [-9, 20, 470, 40]  # ten pixels around x 1 to 451 and y 30 to 50
    np.testing.assert_array_equal(floats(joints).reshape(1, 16, 3)[0], persons[1].keypoints)


def test_heatmaps_share_one_scale_from_0_to_1(persons):
    maps = np.zeros((16, 4, 5), np.float32)
    maps[0, 1, 2], maps[1, 3, 4], maps[2, 0, 0], maps[3, 0, 0] = 0.4, 0.05, -1, 1.25
    affine = np.array([[8, 0, 3.5], [0, 4, 1.5]])
    about, (png,) = answer(collect(persons, LIP, heatmaps=lambda _: (maps, affine)), {"kind": "heatmap", "row": 0})
    assert about["affine"] == [8, 0, 0, 4, 3.5, 1.5] and about["size"] == [5, 4]
    assert about["peaks"] == [0.4, 0.05, 0, 1.25, *[0] * 12]
    grey = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).reshape(16, 4, 5)
    assert [grey[0, 1, 2], grey[1, 3, 4], grey[2].max(), grey[3, 0, 0]] == [102, 13, 0, 255]


def test_every_request_is_answered_also_a_bad_one(persons, monkeypatch):
    widget, sent = inspect(persons, LIP), []
    monkeypatch.setattr(widget, "send", lambda content, buffers: sent.append((content, len(buffers))))
    for request in ({"kind": "table", "id": "a"}, {"kind": "sell", "id": "b"}, {"kind": "heatmap", "row": 99, "id": "c"}):
        widget._answer(widget, request, [])
    assert [content["id"] for content, _ in sent] == ["a", "b", "c"] and [count for _, count in sent] == [5, 0, 0]
    assert "'sell' is not known" in sent[1][0]["problem"] and sent[2][0]["problem"]


# what a report carries


def test_a_report_carries_24_examples_that_stay_below_the_limit(tmp_path):
    write_lip(tmp_path / "lip", (("train", 1), ("val", 40)))
    persons = read_lip(tmp_path / "lip", "val")
    maps = lambda _: (np.zeros((16, 4, 4), np.float32), np.eye(3)[:2])  # noqa: E731
    collection = collect(persons, LIP, off_by(persons, *range(40)), maps)
    data = report_data(collection)
    order = np.argsort(-collection.means[0], kind="stable")
    assert data["rows"] == [*order[:8], *order[16:24], *order[32:]] and data["total"] == 40
    assert len(data["examples"]) == 24 and len(floats(data["arrays"]["errors"])) == 24 * 16
    assert data["names"] == [persons[row].name for row in data["rows"]]
    assert all(example["heatmap"]["size"] == [4, 4] for example in data["examples"])
    full = len(json.dumps(data))
    for limit in (full - 1, full // 3):
        smaller = report_data(collection, limit)
        assert len(json.dumps(smaller)) <= limit
    assert 3 <= len(smaller["examples"]) < 24


def test_small_pictures_are_tried_before_examples_are_left_out(tmp_path):
    persons = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (500, 600, 3), dtype=np.uint8))
        persons.append(lip_person(path))
    collection = collect(persons, LIP, off_by(persons, *range(6)))
    data = report_data(collection, 400_000)
    sizes = {cv2.imdecode(np.frombuffer(base64.b64decode(e["jpeg"]), np.uint8), 1).shape[1] for e in data["examples"]}
    assert len(data["examples"]) == 6 and 150_000 < len(json.dumps(data)) <= 400_000
    assert sizes <= set(inspector_data.REPORT_SIDES) and max(sizes) < 600


# marks


def test_marks_are_written_beside_what_the_file_says_of_others(persons, tmp_path):
    path = tmp_path / "runs" / "marked.csv"
    path.parent.mkdir()
    path.write_text('row,name,annotation_id\n7,"other, one.jpg",\n9,2.jpg,\n')
    widget = inspect(persons, LIP, marked_csv=path)
    assert widget.marked == [2]
    widget.marked = [2, 0]
    lines = list(csv.reader(path.open()))
    assert lines == [["row", "name", "annotation_id"], ["7", "other, one.jpg", ""], ["1", "0.jpg", ""], ["3", "2.jpg", ""]]
    widget.marked = []
    assert path.read_text().splitlines()[1:] == ['7,"other, one.jpg",']
    assert not path.with_name("marked.csv.part").exists()


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", "'=1", "'"])
def test_no_name_is_a_formula_to_a_spreadsheet(tmp_path, start):
    people = [
        Person(tmp_path / name, np.zeros((16, 3), np.float32)) for name in (start + ".jpg", "a=1.jpg", f"'{start}.jpg")
    ]
    path = inspector_data.write_marked(tmp_path / "m.csv", people, [0, 1])
    written = [line[1] for line in csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))][1:]
    assert written == [f"'{start}.jpg", "a=1.jpg"]
    assert inspector_data.read_marked(path, people) == ([0, 1], [])


def test_hostile_names_and_persons_of_one_picture_are_kept_apart_in_the_csv(tmp_path):
    name = '<img src=x onerror=alert(1)>,"x"\n=1+1.jpg'
    people = [Person(tmp_path / name, np.zeros((16, 3), np.float32), annotation_id=number) for number in (4, 5)]
    path = inspector_data.write_marked(tmp_path / "m.csv", people, [1])
    assert list(csv.reader(path.open(newline="")))[1:] == [["2", name, "5"]]
    assert inspector_data.read_marked(path, people) == ([1], [])


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"row,name,annotation_id\n1,2\n", b"\xff\xfe"])
def test_another_file_is_never_written_over(persons, tmp_path, content):
    path = tmp_path / "precious.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"precious\.csv.*(give another|correct)"):
        inspect(persons, LIP, marked_csv=path)
    assert path.read_bytes() == content


# notebooks and pages

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"


def page_of(*outputs) -> str:
    cells = [new_code_cell("a = 1", metadata={"tags": ["parameters"]}), new_code_cell("", outputs=list(outputs))]
    about = {"title": "T", "report": "R", "failure": "", "status": "done", "previous": None, "next": None}
    return pages.page_html(new_notebook(cells=cells), "demo", about)


def test_a_page_carries_the_data_as_data_and_the_module_once():
    data = {"names": [HOSTILE], "text": "\u2028é"}
    output = new_output("display_data", {INSPECTOR_TYPE: data, WIDGET_TYPE: {"model_id": "x"}, "text/plain": "Inspector"})
    html = page_of(output, output)
    soup = BeautifulSoup(html, "html.parser")
    embedded = soup.select("main .inspector > script[type='application/json']")
    assert [json.loads(script.string) for script in embedded] == [data, data]
    assert not soup.find("img") and "alert" not in soup.get_text() and "Inspector" not in soup.get_text()
    programs = [script.string for script in soup.find_all("script") if script.get("type") != "application/json"]
    policy = soup.find("meta", attrs={"http-equiv": True})["content"]
    assert len(programs) == 2 and "startReports();" in programs[1]
    allowed = re.search("script-src ([^;]*);", policy)[1].split()
    assert allowed == [f"'{pages.script_hash(script)}'" for script in programs]


def test_a_page_shows_the_still_picture_where_scripts_dont_run(persons):
    picture = {"image/png": base64.b64encode(still_png(collect(persons, LIP))).decode()}
    output = new_output("display_data", picture, metadata={"image/png": {STILL: True, "alt": "Keypoint inspector"}})
    (image,) = BeautifulSoup(page_of(output), "html.parser").select("main img")
    assert image.parent.parent.name == "noscript" and image["src"].startswith("data:image/webp;base64,")


def test_the_still_picture_has_labels_above_and_the_first_predictions_below(persons):
    found = off_by(persons, 0, 5, 10, 20)
    found[3] = np.nan
    persons[1].image_path.unlink()
    labels, both = (
        cv2.imdecode(np.frombuffer(still_png(collection), np.uint8), cv2.IMREAD_COLOR)
        for collection in (collect(persons, LIP), collect(persons, LIP, {"a": found, "b": found}))
    )
    assert labels.shape[1] == both.shape[1] and 1.9 < both.shape[0] / labels.shape[0] < 2.1
    for person in persons[:1] + persons[2:]:
        person.image_path.unlink()
    assert still_png(collect(persons, LIP)) is None


def test_pages_without_an_inspector_stay_as_they_were():
    html = page_of(new_output("display_data", {WIDGET_TYPE: {"model_id": "x"}, "text/plain": "0%| bar"}))
    assert html.count("<script") == 1 and "gccpm-inspector" not in html and "0%| bar" not in html


def test_the_module_can_stand_inside_a_script_element():
    text = inspector_files.module_text()
    assert not re.search(r"</script|<!--", text, re.IGNORECASE)
    text = text.replace("http://www.w3.org/2000/svg", "")  # a name, at which nothing is asked for
    assert "export default" in text and not re.search(r"^import\b|\bfetch\(|https?:", text, re.MULTILINE)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_an_executed_notebook_carries_the_examples_and_little_else(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_lip(tmp_path / "lip")
    source = (
        "from gccpm_lib.datasets.lip import read_lip\nfrom gccpm_lib.show.inspector import inspect\n"
        "from gccpm_lib.skeletons import LIP\ninspect(read_lip('lip', 'val'), LIP)"
    )
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    notebook = nbformat.reads(nbformat.writes(notebook), as_version=4)
    live, still = notebook.cells[0].outputs
    data = live.data
    assert len(data[INSPECTOR_TYPE]["examples"]) == 3 and WIDGET_TYPE in data
    assert still.metadata["image/png"][STILL] and len(still.data["image/png"]) < 300_000
    exported = BeautifulSoup(HTMLExporter().from_notebook_node(notebook)[0], "html.parser")
    assert [image["src"][:22] for image in exported.select("main img")] == ["data:image/png;base64,"]
    assert "run the cell to use it" in data["text/plain"]
    script = len(json.dumps(inspector_files.module_text() + inspector_files.style_text()))
    assert len(json.dumps(notebook.metadata.get("widgets", {}))) < script + 10_000
