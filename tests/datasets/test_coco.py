"""The COCO reader: what is read, in which form, and what each broken input is told."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_picture, person, write_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gccpm_lib.datasets import coco, layouts
from gccpm_lib.datasets.coco_boxes import check_box
from gccpm_lib.datasets.records import BadSamples, DataError, Person, picture_sizes, read_person_image
from gccpm_lib.geometry import grow_box
from gccpm_lib.recipes import COCO_MODERN
from gccpm_lib.skeletons import COCO, DEFAULT_SIGMA

OFFICIAL = "annotations/person_keypoints_val2017.json"
CATEGORY = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO.joints)}


def triples(count=17, label=2, start=10) -> list[int]:
    """x1, y1, label1, ... of joints on a line."""
    return [value for j in range(count) for value in (start + j, start + 2 * j, label)]


def annotation(number: int, image_id: int, /, **changes) -> dict:
    known = {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 1200.5}
    known |= {"bbox": [5.5, 6, 30, 50], "keypoints": triples(), "segmentation": [[1.5, 2, 3, 4e1, -5.0, 6]]}
    return {key: value for key, value in {**known, **changes}.items() if value is not None}


def image(number: int, /, **changes) -> dict:
    known = {"id": number, "file_name": f"{number:012d}.jpg", "width": 100, "height": 80, "license": 3}
    return {key: value for key, value in {**known, **changes}.items() if value is not None}


def official(annotations=None, **changes) -> dict:
    """Content of an official file: pictures 7 and 9, by default two persons in 7 and one in 9."""
    annotations = [annotation(70, 7), annotation(90, 9), annotation(71, 7)] if annotations is None else annotations
    known = {"info": {}, "images": [image(7), image(9)], "annotations": annotations, "categories": [CATEGORY]}
    return {key: value for key, value in {**known, **changes}.items() if value is not None}


def write(folder: Path, content, pictures="val2017", name=OFFICIAL) -> Path:
    """Write a label file and empty pictures for what it lists; they are never opened."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    for record in content.get("images", []) if isinstance(content, dict) else []:
        picture = folder / pictures / str(record.get("file_name"))
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.touch()
    return path


# the official form


def test_persons_are_read_in_file_order(tmp_path):
    keypoints = [float(value) for value in triples()]
    keypoints[:9] = [3.25, 4.5, 1, 99, 98, 0, 0, 0, 2]  # occluded, missing with coordinates, the first pixel
    write(tmp_path, official([annotation(90, 9), annotation(70, 7, keypoints=keypoints, area=None)]))
    first, second = coco.read_coco(tmp_path, "val")
    assert (first.image_id, first.annotation_id, first.area, first.box_score) == (9, 90, 1200.5, 1.0)
    assert first.image_path == tmp_path / "val2017" / "000000000009.jpg"
    assert (second.image_id, second.annotation_id, second.area) == (7, 70, None)
    assert second.box == (5.5, 6.0, 30.0, 50.0) and all(type(v) is float for v in second.box)
    assert second.keypoints.dtype == np.float32 and second.keypoints.shape == (17, 3)
    np.testing.assert_array_equal(second.keypoints[:4], [[3.25, 4.5, 1], [0, 0, 0], [0, 0, 2], [13, 16, 2]])


def test_crowds_persons_without_keypoints_and_other_categories_are_left_out(tmp_path):
    annotations = [
        annotation(1, 7, iscrowd=1, segmentation={"size": [80, 100], "counts": [1, 2]}),
        annotation(2, 7, keypoints=[0] * 51, num_keypoints=None),
        annotation(3, 7, keypoints=[12, 13, 0] * 17, num_keypoints=9),  # the labels say it, not the count
        annotation(4, 7, keypoints=[]),
        annotation(5, 7, keypoints=None),
        annotation(6, 7, category_id=18, keypoints=None),
        annotation(7, 7, keypoints=[1, 1, 1] + [0] * 48, num_keypoints=None),
        annotation(8, 7, category_id=None),
    ]
    write(tmp_path, official(annotations, categories=[{"id": 18, "name": "dog"}, CATEGORY]))
    assert [p.annotation_id for p in coco.read_coco(tmp_path, "val")] == [7, 8]


@pytest.mark.parametrize(
    "categories", [[{**CATEGORY, "id": 5}], [{"id": 5, "name": "human"}], [{"id": 5, "keypoints": list(COCO.joints)}]]
)
def test_one_category_may_have_any_id(tmp_path, categories):
    write(tmp_path, official([annotation(1, 7, category_id=5)], categories=categories))
    assert len(coco.read_coco(tmp_path, "val")) == 1
    truth = coco.read_truth(tmp_path, "val")
    assert truth["categories"][0]["id"] == truth["annotations"][0]["category_id"] == 1


def test_of_several_categories_with_keypoints_the_person_is_read(tmp_path):
    hand = {"id": 2, "name": "hand", "keypoints": ["thumb"]}
    annotations = [annotation(1, 7, category_id=2, keypoints=[1, 2, 2]), annotation(2, 7)]
    path = write(tmp_path, official(annotations, categories=[hand, CATEGORY]))
    assert [p.annotation_id for p in coco.read_coco(tmp_path, "val")] == [2] and coco.read_skeleton(path) == COCO


def test_a_file_without_categories_is_read(tmp_path):
    path = write(tmp_path, official(categories=None))
    assert len(coco.read_coco(tmp_path, "val")) == 3 and coco.read_skeleton(path) is None


@pytest.mark.parametrize(
    "text", [json.dumps(official()), json.dumps(official(), indent=1), "\ufeff" + json.dumps(official())]
)
def test_layout_of_the_text_doesnt_matter(tmp_path, text):
    write(tmp_path, official())
    write(tmp_path, text)
    assert [p.annotation_id for p in coco.read_coco(tmp_path, "val")] == [70, 90, 71]


def test_a_record_may_end_in_its_outline_and_texts_may_mention_one(tmp_path):
    outline_last = {**annotation(1, 7), "segmentation": [[1, 2], []]}
    name = '"segmentation": [1, 2].jpg'
    write(tmp_path, official([outline_last], images=[image(7, file_name=name)], info={"segmentation": [[[]]]}))
    assert coco.read_coco(tmp_path, "val")[0].name == name


# folders


@pytest.mark.parametrize("pictures", ["val2017", "images/val2017", "val", "images/val", "images", "."])
@pytest.mark.parametrize("nested", [".", "coco", "a/b/c"])
def test_picture_folders_are_found_under_every_usual_name_and_nested(tmp_path, pictures, nested):
    write(tmp_path / nested, official(), pictures=pictures)
    persons = coco.read_coco(tmp_path, "val")
    assert len(persons) == 3 and all(p.image_path.is_file() for p in persons)


def test_the_folder_that_holds_the_pictures_is_taken(tmp_path):
    write(tmp_path, official(), pictures="images")
    (tmp_path / "val2017").mkdir()
    (tmp_path / "labels" / "val").mkdir(parents=True)
    assert coco.read_coco(tmp_path, "val")[0].image_path.parent == tmp_path / "images"


def test_file_names_may_have_folders(tmp_path):
    write(tmp_path, official(images=[image(7, file_name="day 1/a.b.jpg"), image(9, file_name="./9.jpg")]))
    paths = [p.image_path for p in coco.read_coco(tmp_path, "val")]
    assert paths == [tmp_path / "val2017" / name for name in ("day 1/a.b.jpg", "9.jpg", "day 1/a.b.jpg")]


def test_label_files_are_found_by_name_nested_or_by_path(tmp_path):
    plain, other = write(tmp_path, official()), write(tmp_path, official(), name="annotations/mine.json")
    top, outside = write(tmp_path, official(), name="top.json"), write(tmp_path / "else", official(), name="deep/er.json")
    assert coco.labels_file(tmp_path, "val") == plain
    assert coco.labels_file(str(tmp_path), "train", "mine.json") == other
    assert coco.labels_file(tmp_path, "train", "annotations/mine.json") == other
    assert coco.labels_file(tmp_path, "val", "top.json") == top
    assert coco.labels_file(tmp_path / "val2017", "val", str(outside)) == outside
    assert coco.labels_file(tmp_path / "val2017", "val", os.path.relpath(outside)) == Path(os.path.relpath(outside))
    assert coco.labels_file(tmp_path, "val", "er.json") == outside  # nested
    write(tmp_path / "a" / "b" / "c", official(), name="annotations/person_keypoints_train2017.json")
    assert coco.labels_file(tmp_path, "train").parent == tmp_path / "a" / "b" / "c" / "annotations"


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"split 'test'.*train.*val"):
        coco.labels_file(tmp_path, "test")
    with pytest.raises(DataError, match=r"nowhere: folder missing; unpack COCO there or correct dataset_folder"):
        coco.read_coco(tmp_path / "nowhere", "val")
    with pytest.raises(DataError, match=r"no annotations/person_keypoints_val2017\.json inside.*; unpack"):
        coco.read_coco(tmp_path, "val")
    with pytest.raises(DataError, match=r"no annotations/mine\.json inside.*; correct the label file's name"):
        coco.read_coco(tmp_path, "val", "mine.json")
    with pytest.raises(DataError, match=r": no /nowhere\.json inside"):
        coco.labels_file(tmp_path, "val", "/nowhere.json")
    path = tmp_path / OFFICIAL
    path.parent.mkdir()
    path.write_text(json.dumps(official()))
    with pytest.raises(DataError, match=r"no folder val2017 inside, three folders deep; unpack the pictures there"):
        coco.read_coco(tmp_path, "val")


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path):
    write(tmp_path, official([annotation(i, i) for i in range(1, 6)], images=[image(i) for i in range(1, 7)]))
    (tmp_path / "val2017" / "000000000006.jpg").unlink()  # nobody is in it
    assert len(coco.read_coco(tmp_path, "val")) == 5
    (tmp_path / "val2017" / "000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"val2017\.json, image 2: no picture \S+/val2017/000000000002\.jpg; unpack"):
        coco.read_coco(tmp_path, "val")
    for number in (1, 4, 5):
        (tmp_path / "val2017" / f"{number:012d}.jpg").unlink()
    with pytest.raises(DataError, match=r"image 1: no picture \S+000000000001\.jpg and 3 more; unpack the archive"):
        coco.read_coco(tmp_path, "val")


# what is wrong is named, with its file, id and remedy


def changed(**changes) -> dict:
    """A good file whose second annotation, 90, has these changes."""
    return official([annotation(70, 7), annotation(90, 9, **changes)])


def keypoints_with(place: int, value) -> list:
    values = triples()
    values[place] = value
    return values


A90, OUTSIDE = r"annotation 90: ", r"has no area inside its picture of 100x80 pixels; correct or remove it"
BROKEN = {
    "cut off": (json.dumps(official())[:-40], r"not a readable JSON file \(.*\); unpack or write it again"),
    "cut off in an outline": ('{"annotations": [{"segmentation": [[1, 2], [3,', r"not a readable JSON file"),
    "empty": ("", r"not a readable JSON file"),
    "nested endlessly": ("[" * 10**5, r"not a readable JSON file"),
    "a list": ("[]", r"no list 'annotations' of records inside; give a COCO"),
    "no annotations": (official(annotations="none"), r"no list 'annotations' of records"),
    "no images": (official(images=None), r"annotation row 1: no image_path, and the file has no images; add"),
    "images of another kind": (official(images={"7": 1}), r"no list 'images' of records"),
    "an annotation of another kind": (official([[1]]), r"no list 'annotations' of records"),
    "categories of another kind": (official(categories=["person"]), r"no list 'categories' of records"),
    "two persons": (
        official(categories=[CATEGORY, {**CATEGORY, "id": 2}]),
        r"2 categories could be the person's; call one",
    ),
    "a category without id": (official(categories=[{"keypoints": ["nose"]}]), r"the person's category has no id; number"),
    "keypoint numbers for names": (official(categories=[{**CATEGORY, "keypoints": [1, 2]}]), r"category 1: keypoints must"),
    "a name twice": (official(categories=[{**CATEGORY, "keypoints": ["a", "a"]}]), r"category 1: keypoints must be"),
    "an unknown image": (changed(image_id=8), A90 + r"image_id 8 is not in images; add it, or remove"),
    "no image id": (changed(image_id=None), A90 + r"image_id None is not in images"),
    "a list as image id": (changed(image_id=[7]), A90 + r"image_id \[7\] is not in images"),
    "an unknown category": (changed(category_id=3), A90 + r"category_id 3 is not in categories; correct it"),
    "an image id twice": (official(images=[image(7), image(9), image(7)]), r"image 7: id comes twice; remove"),
    "an image without id": (official(images=[image(7), {}]), r"image row 2: id None is not a whole number; number"),
    "an annotation id twice": (official([annotation(70, 7), annotation(70, 9)]), r"annotation 70: id comes twice"),
    "an annotation without id": (official([annotation(None, 7)]), r"annotation row 1: id None is not a whole number"),
    "too few keypoints": (changed(keypoints=triples(16)), A90 + r"48 numbers for 17 keypoints; write 51"),
    "too many numbers": (changed(keypoints=triples() + [1]), A90 + r"52 numbers for 17 keypoints"),
    "a word": (changed(keypoints=keypoints_with(3, "5")), A90 + r"keypoints must be a flat list of numbers; correct"),
    "null": (changed(keypoints=keypoints_with(3, None)), A90 + r"keypoints must be a flat list of numbers"),
    "true": (changed(keypoints=keypoints_with(3, True)), A90 + r"keypoints must be a flat list of numbers"),
    "lists of three": (changed(keypoints=[[1, 2, 2]] * 17), A90 + r"keypoints must be a flat list"),
    "keypoints of another kind": (changed(keypoints={"nose": 1}), A90 + r"keypoints must be a flat list"),
    "nan": (changed(keypoints=keypoints_with(4, float("nan"))), A90 + r"a keypoint is nan or infinite; correct"),
    "infinity": (changed(keypoints=keypoints_with(4, float("inf"))), A90 + r"a keypoint is nan or infinite"),
    "beyond float32": (changed(keypoints=keypoints_with(4, 1e300)), A90 + r"a keypoint is nan or infinite"),
    "beyond float64": (changed(keypoints=keypoints_with(4, 10**400)), A90 + r"keypoints must be a flat list of numbers"),
    "a label nan": (changed(keypoints=keypoints_with(5, float("nan"))), A90 + r"a keypoint is nan"),
    "label 3": (changed(keypoints=keypoints_with(5, 3)), A90 + r"a keypoint's label is not 0, 1 or 2; correct"),
    "label -1": (changed(keypoints=keypoints_with(5, -1)), A90 + r"a keypoint's label is not 0, 1 or 2"),
    "label 1.5": (changed(keypoints=keypoints_with(5, 1.5)), A90 + r"a keypoint's label is not 0, 1 or 2"),
    "no box": (changed(bbox=None), A90 + r"bbox must be four finite numbers"),
    "three numbers": (changed(bbox=[1, 2, 3]), A90 + r"bbox must be four finite numbers"),
    "a word in the box": (changed(bbox=[1, 2, 3, "4"]), A90 + r"bbox must be four finite numbers"),
    "nan in the box": (changed(bbox=[1, 2, 3, float("nan")]), A90 + r"bbox must be four finite numbers"),
    "a box without area": (changed(bbox=[5, 5, 0, 0]), A90 + r"bbox \[5\.0, 5\.0, 0\.0, 0\.0\] " + OUTSIDE),
    "a negative width": (changed(bbox=[50, 5, -20, 30]), A90 + ".*" + OUTSIDE),
    "a negative height": (changed(bbox=[50, 50, 20, -3]), A90 + ".*" + OUTSIDE),
    "a box right of the picture": (changed(bbox=[100, 5, 20, 30]), A90 + ".*" + OUTSIDE),
    "a box beyond the last pixel's centre": (changed(bbox=[99.5, 5, 20, 30]), A90 + ".*" + OUTSIDE),
    "a box below the picture": (changed(bbox=[10, 80, 20, 30]), A90 + ".*" + OUTSIDE),
    "a box left of the picture": (changed(bbox=[-20, 5, 20, 30]), A90 + ".*" + OUTSIDE),
    "a box above the picture": (changed(bbox=[5, -31, 20, 30]), A90 + ".*" + OUTSIDE),
    "an area of another kind": (changed(area="big"), A90 + r"area 'big' is not a number of pixels"),
    "an area nan": (changed(area=float("nan")), A90 + r"area nan is not a number of pixels"),
    "nobody labelled": (official([annotation(1, 7, iscrowd=1)]), r"no person with a labelled keypoint inside; name"),
    "nobody at all": (official([]), r"no person with a labelled keypoint inside"),
    "no file name": (official(images=[image(7), image(9, file_name=None)]), r"image 9: no file_name; add it"),
    "a number as file name": (official(images=[image(7), image(9, file_name=9)]), r"image 9: no file_name"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_labels_are_refused_by_file_id_and_remedy(tmp_path, problem):
    content, message = BROKEN[problem]
    write(tmp_path, official())
    path = tmp_path / OFFICIAL
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=r"^[^;]*person_keypoints_val2017\.json(:|,) " + message) as caught:
        coco.read_coco(tmp_path, "val")
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/etc/a.jpg", "c:\\a.jpg", "c:a.jpg", "b\\a.jpg", "", "a\0"])
def test_file_names_that_leave_the_data_set_are_refused(tmp_path, name):
    write(tmp_path, official())
    path = tmp_path / OFFICIAL
    path.write_text(json.dumps(official(images=[image(7), image(9, file_name=name)])))
    with pytest.raises(DataError, match=r"image 9: .* must be a relative path inside the data set; correct it"):
        coco.read_coco(tmp_path, "val")
    path.write_text(json.dumps({"annotations": [{"bbox": [0, 0, 5, 5], "keypoints": triples(), "image_path": name}]}))
    with pytest.raises(DataError, match=r"annotation row 1: .* must be a relative path inside the data set"):
        coco.read_coco(tmp_path, "val")


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = write(tmp_path, official())
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"val2017\.json: not a readable JSON file"):
        coco.read_coco(tmp_path, "val")


@pytest.mark.parametrize(
    "box", [[0, 0, 100, 80], [-5, -5, 20, 20], [90, 70, 50, 50], [50, 10, 0, 40], [50, 10, 1, 40], [0, 10, 0, 40]]
)
def test_boxes_that_cover_something_are_read_as_they_are(tmp_path, box):
    write(tmp_path, changed(bbox=box))
    assert coco.read_coco(tmp_path, "val")[1].box == tuple(box)


edges = st.one_of(st.floats(-120, 120), st.integers(-3, 101))


@settings(max_examples=300, deadline=None)
@given(st.tuples(edges, edges, edges, edges))
def test_a_box_is_refused_exactly_where_the_rule_or_common_sense_refuses_it(box):
    x, y, w, h = box
    good = min(w, h) >= 0 and x + max(w, 1) > 0 and y + max(h, 1) > 0
    try:
        grow_box(box, (80, 100))
    except ValueError:
        good = False
    try:
        assert check_box("a.json", list(box), {"width": 100, "height": 80}) == box and good
    except DataError:
        assert not good


@pytest.mark.parametrize("size", [{"width": None, "height": None}, {"width": 0, "height": "?"}])
def test_without_a_size_the_far_sides_dont_matter(tmp_path, size):
    images = [image(7, **size), image(9, **size)]
    write(tmp_path, official([annotation(70, 7, bbox=[5000, 5000, 3, 3])], images=images))
    assert coco.read_coco(tmp_path, "val")[0].box == (5000, 5000, 3, 3)
    write(tmp_path, official([annotation(70, 7, bbox=[-50, 5, 20, 20])], images=images))
    with pytest.raises(DataError, match=r"annotation 70: .* no area inside its picture; correct"):
        coco.read_coco(tmp_path, "val")


# the converted form


def converted_row(path="train2017/1.jpg", **changes) -> dict:
    return {"bbox": [1, 2, 30, 40], "keypoints": triples(14), "image_path": path, **changes}


@pytest.mark.parametrize("paths", [("1.jpg", "x/2.jpg"), ("train2017/1.jpg", "train2017/x/2.jpg")])
@pytest.mark.parametrize("nested", [".", "coco"])
def test_the_converted_form_is_read(tmp_path, paths, nested):
    rows = [converted_row(paths[0]), converted_row(paths[1]), converted_row(paths[0], bbox=[0, 0, 9, 9.5], area=5)]
    folder = tmp_path / nested / "train2017"
    (folder / "x").mkdir(parents=True)
    (folder / "1.jpg").touch()
    (folder / "x" / "2.jpg").touch()
    path = write(tmp_path, {"annotations": rows}, name="annotations/person_keypoints_converted_all.json")
    persons = coco.read_coco(tmp_path, "train", path.name)
    assert [p.image_path for p in persons] == [folder / "1.jpg", folder / "x" / "2.jpg", folder / "1.jpg"]
    assert {(p.image_id, p.annotation_id, p.area) for p in persons} == {(None, None, None)}
    assert persons[2].box == (0, 0, 9, 9.5) and persons[0].keypoints.shape == (14, 3)
    assert coco.read_skeleton(path) is None


CONVERTED_BROKEN = {
    "no path": ([converted_row(), converted_row(None)], r"annotation row 2: no image_path"),
    "another number of keypoints": (
        [converted_row(), converted_row(keypoints=triples(13))],
        r"annotation row 2: 39 numbers for 14 keypoints; write 42",
    ),
    "no multiple of three": ([converted_row(keypoints=[1] * 41)], r"annotation row 1: 41 numbers for 13 keypoints"),
    "a box left of the picture": ([converted_row(bbox=[-9, 0, 5, 5])], r"annotation row 1: bbox .* has no area"),
    "no picture": (
        [converted_row(), converted_row("train2017/3.jpg"), converted_row("train2017/3.jpg")],
        r"annotation row 2: no picture \S+3\.jpg; unpack",
    ),
    "keypoints of another kind": ([converted_row(keypoints="abc")], r"annotation row 1: keypoints must be a flat list"),
}


@pytest.mark.parametrize("problem", CONVERTED_BROKEN)
def test_broken_converted_labels_are_refused_by_row(tmp_path, problem):
    rows, message = CONVERTED_BROKEN[problem]
    write(tmp_path, {"annotations": rows}, name="c.json")
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "1.jpg").touch()
    with pytest.raises(DataError, match=r"c\.json, " + message):
        coco.read_coco(tmp_path, "train", "c.json")


def test_what_needs_image_ids_refuses_the_converted_form(tmp_path):
    write(tmp_path, {"annotations": [converted_row()]}, name="c.json")
    with pytest.raises(
        DataError, match=r"c\.json: a converted file has no image ids to be evaluated against; name the off"
    ):
        coco.read_truth(tmp_path, "val", "c.json")
    with pytest.raises(DataError, match=r"c\.json: a converted file has no image ids to be detected in"):
        coco.read_detections("found.json", tmp_path, "val", "c.json")


coordinates = st.floats(-1e4, 1e4, width=32)
records = st.tuples(
    st.sampled_from(["a.jpg", "b c.jpg", "deeper/é.jpg"]),
    st.tuples(st.floats(-3, 500), st.floats(-3, 500), st.floats(4, 600), st.floats(4, 600)),
    st.lists(st.tuples(coordinates, coordinates, st.integers(0, 2)), min_size=3, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, min_size=1, max_size=6))
def test_what_is_written_converted_is_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("coco")
    persons = []
    for name, box, points in rows:
        path = folder / "train2017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        points = np.array([(x, y, label) if label else (0, 0, 0) for x, y, label in [*points, (1, 1, 1)]])
        persons.append(person(points, box, path))
    coco.write_converted(folder / "annotations" / "new.json", persons, os.path.relpath(folder))
    assert [path.name for path in (folder / "annotations").iterdir()] == ["new.json"]
    found = coco.read_coco(folder, "train", "new.json")
    assert [(p.image_path, p.box) for p in found] == [(p.image_path, p.box) for p in persons]
    for a, b in zip(found, persons, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_the_converted_form_is_the_readmes(tmp_path):
    points = [(3, 4.5, 2), (0, 0, 0)]
    coco.write_converted(tmp_path / "c.json", [person(points, (1, 2.5, 3, 4), tmp_path / "train2017" / "1.jpg")], tmp_path)
    expected = {"bbox": [1.0, 2.5, 3.0, 4.0], "keypoints": [3, 4.5, 2, 0, 0, 0], "image_path": "train2017/1.jpg"}
    assert json.loads((tmp_path / "c.json").read_text()) == {"annotations": [expected]}


def test_what_cant_be_converted_is_refused(tmp_path):
    good = person([(1, 1, 2)], (0, 0, 9, 9), tmp_path / "a" / "1.jpg")
    with pytest.raises(DataError, match=r"c\.json, row 2 \(1\.jpg\): no box"):
        coco.write_converted(tmp_path / "c.json", [good, person([(1, 1, 2)], None, tmp_path / "a" / "1.jpg")], tmp_path)
    with pytest.raises(DataError, match=r"c\.json, row 1: \S+1\.jpg isn't in .*; name its own folder"):
        coco.write_converted(tmp_path / "c.json", [good], tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


# skeletons


def skeleton_of(tmp_path, **changes):
    return coco.read_skeleton(write(tmp_path, official(categories=[{**CATEGORY, **changes}])))


FOURTEEN = (
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip "
    "left_knee right_knee left_ankle right_ankle top_head neck"
).split()
TWENTY_THREE = [*COCO.joints, *(f"{side}_{toe}" for side in ("left", "right") for toe in ("big_toe", "small_toe", "heel"))]


def test_cocos_joints_give_cocos_skeleton(tmp_path):
    official_limbs = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10]]
    official_limbs += [[9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]
    assert [tuple(j - 1 for j in limb) for limb in official_limbs] == list(COCO.limbs)
    assert skeleton_of(tmp_path) is COCO
    assert skeleton_of(tmp_path, skeleton=official_limbs) is COCO
    assert skeleton_of(tmp_path, sigmas=list(COCO.sigmas), name="people") is COCO


def test_fourteen_joints_are_read(tmp_path):
    skeleton = skeleton_of(tmp_path, keypoints=FOURTEEN, skeleton=[[13, 14], [14, 1]], name=None)
    assert skeleton.name == "person_keypoints_val2017" and skeleton.joints == tuple(FOURTEEN)
    assert skeleton.limbs == ((12, 13), (13, 0))
    assert skeleton.flip_pairs == tuple((j, j + 1) for j in range(0, 12, 2))
    assert skeleton.sigmas == (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089) + (
        DEFAULT_SIGMA,
        DEFAULT_SIGMA,
    )


def test_twenty_three_joints_are_read(tmp_path):
    annotations = [annotation(1, 7, keypoints=triples(23))]
    path = write(tmp_path, official(annotations, categories=[{**CATEGORY, "keypoints": TWENTY_THREE, "name": "feet"}]))
    skeleton = coco.read_skeleton(path)
    assert skeleton.name == "feet" and skeleton.num_joints == 23 and skeleton.limbs == ()
    assert skeleton.flip_pairs == COCO.flip_pairs + ((17, 20), (18, 21), (19, 22))
    assert skeleton.sigmas == COCO.sigmas + (DEFAULT_SIGMA,) * 6
    assert coco.read_coco(tmp_path, "val")[0].keypoints.shape == (23, 3)


@pytest.mark.parametrize("key", ["sigmas", "keypoint_sigmas"])
def test_sigmas_and_flip_pairs_of_the_file_come_first(tmp_path, key):
    joints = ["nose", "lankle", "rankle", "crown"]
    skeleton = skeleton_of(tmp_path, keypoints=joints, flip_pairs=[["rankle", "lankle"]], **{key: [0.1, 0.2, 0.2, 1]})
    assert skeleton.flip_pairs == ((1, 2),) and skeleton.sigmas == (0.1, 0.2, 0.2, 1.0)
    assert skeleton_of(tmp_path, keypoints=joints, flip_pairs=[[2, 1], [3, 0]]).flip_pairs == ((0, 3), (1, 2))
    assert skeleton_of(tmp_path, sigmas=[0.05] * 17).sigmas == (0.05,) * 17  # COCO's names, not its constants


SKELETON_BROKEN = {
    "no partner": ({"keypoints": ["left_ear", "nose", "l_eye"]}, r"without a partner: left_ear, l_eye; .*flip pairs"),
    "both sides": ({"keypoints": ["left_right_ear", "nose"]}, r"'left_right_ear' says both right and left; keep"),
    "unknown flip name": ({"flip_pairs": [["nose", "tail"]]}, r"flip_pairs must be pairs of joints' names, or numbers"),
    "flip pair beyond": ({"flip_pairs": [[0, 17]]}, r"flip_pairs must be pairs .* or numbers from 0 to 16; correct"),
    "flip pair twice": ({"flip_pairs": [[0, 1], [1, 2]]}, r"a joint comes twice in flip_pairs; name each at most once"),
    "flip pair with itself": ({"flip_pairs": [[3, 3]]}, r"a joint comes twice in flip_pairs"),
    "flip pairs of another kind": ({"flip_pairs": 5}, r"flip_pairs must be pairs"),
    "few sigmas": ({"sigmas": [0.1]}, r"1 sigmas for 17 keypoints; give one each"),
    "sigma 0": ({"sigmas": [0.0] * 17}, r"sigmas must be numbers above 0; correct"),
    "a word": ({"sigmas": ["a"] * 17}, r"sigmas must be numbers above 0"),
}


@pytest.mark.parametrize("problem", SKELETON_BROKEN)
def test_broken_skeletons_are_refused_by_file_and_category(tmp_path, problem):
    changes, message = SKELETON_BROKEN[problem]
    with pytest.raises(DataError, match=r"val2017\.json, category 1: .*" + message):
        skeleton_of(tmp_path, **changes)


@pytest.mark.parametrize(
    "limbs, drawn, told",
    [
        (
            [[4, 3], [32, 33]],
            ((3, 2),),
            r"1: not drawn, as no pairs of joint numbers from 1 to 3: \[32, 33\]; correct",
        ),
        (
            [[0, 1], [1, 2]],
            ((0, 1), (1, 2)),
            r"1: skeleton counts joints from 0, where COCO does from 1; correct",
        ),
        ([[0, 1], [2, 3]], ((0, 1),), r"from 0, where .*; not drawn, as no pairs of joint numbers from 0 to 2: \[2, 3\]"),
        ([[1, 2, 3], ["nose", "hat"], [1, 2], 7], ((0, 1),), r"from 1 to 3: \[1, 2, 3\], \['nose', 'hat'\], 7;"),
        ("nose", (), r": nose;"),
    ],
)
def test_limbs_that_cant_be_drawn_are_left_out_and_told(tmp_path, limbs, drawn, told):
    joints = ["nose", "hat", "chin", "crown"][: 4 if drawn == ((3, 2),) else 3]
    told = told.replace("1 to 3", f"1 to {len(joints)}")
    with pytest.warns(UserWarning, match=told):
        assert skeleton_of(tmp_path, keypoints=joints, skeleton=limbs, flip_pairs=[]).limbs == drawn


@pytest.mark.parametrize("joints", [["1", "2"], ["linkes_auge", "rechtes_auge", "nase"]])
def test_joints_without_sides_are_told_unless_the_file_gives_its_pairs(tmp_path, joints, recwarn):
    with pytest.warns(UserWarning, match=r'category 1: no joint\'s name says right or left \(.*add "flip_pairs"'):
        assert skeleton_of(tmp_path, keypoints=joints).lacks_sides()
    recwarn.clear()
    assert skeleton_of(tmp_path, keypoints=joints, flip_pairs=[joints[:2]]).flip_pairs == ((0, 1),)
    assert skeleton_of(tmp_path, keypoints=joints, flip_pairs=[]).flip_pairs == ()
    assert not skeleton_of(tmp_path, keypoints=["tip"]).lacks_sides() and not recwarn.list


@pytest.mark.parametrize("write_name", [str.title, lambda n: n.replace("_", "-"), lambda n: n.replace("_", " ").upper()])
def test_joints_are_the_same_however_their_names_are_written(tmp_path, write_name):
    joints = [write_name(name) for name in COCO.joints]
    assert skeleton_of(tmp_path, keypoints=joints) is COCO
    assert len(coco.read_coco(tmp_path, "val", skeleton=COCO)) == 3
    path = write(tmp_path, official(categories=[{**CATEGORY, "keypoints": [*joints[1:], joints[0]]}]))
    with pytest.raises(DataError, match=rf"{path.name}: 17 joints .*: joint 1 is {joints[1]}, not nose"):
        coco.read_coco(tmp_path, "val", skeleton=COCO)


# truth and results


def truth_file(tmp_path) -> Path:
    annotations = [
        annotation(70, 7),
        annotation(0, 9, iscrowd=1, keypoints=None),
        annotation(71, 7, keypoints=[0] * 51, num_keypoints=None),
        annotation(91, 9, keypoints=[50, 40, 1, 5, 6, 2] + [0] * 45, num_keypoints=None, area=2000, bbox=[40, 30, 30, 30]),
    ]
    return write(tmp_path, official(annotations))


def test_the_truth_is_the_file_without_outlines(tmp_path):
    truth_file(tmp_path)
    truth = coco.read_truth(tmp_path, "val")
    assert [a["id"] for a in truth["annotations"]] == [70, 0, 71, 91]
    assert [a["num_keypoints"] for a in truth["annotations"]] == [17, 0, 0, 2]
    assert [a["iscrowd"] for a in truth["annotations"]] == [0, 1, 0, 0]
    assert truth["annotations"][0]["keypoints"] == triples() and truth["annotations"][1]["keypoints"] == [0] * 51
    assert truth["annotations"][3]["area"] == 2000 and truth["annotations"][3]["bbox"] == [40, 30, 30, 30]
    assert [i["id"] for i in truth["images"]] == [7, 9] and truth["categories"] == [CATEGORY]
    assert "segmentation" not in json.dumps(truth)


def test_the_truth_is_restricted_to_images(tmp_path):
    truth_file(tmp_path)
    truth = coco.read_truth(tmp_path, "val", image_ids=np.array([9]))
    assert [a["id"] for a in truth["annotations"]] == [0, 91] and [i["id"] for i in truth["images"]] == [9]
    assert coco.read_truth(tmp_path, "val", image_ids=[])["annotations"] == []
    with pytest.raises(DataError, match=r"val2017\.json: no image 8 inside; choose"):
        coco.read_truth(tmp_path, "val", image_ids=[9, 8])


@pytest.mark.parametrize(
    "changes, message", [({"area": None}, r"no area, which the score needs"), ({"bbox": None}, r"bbox must be four finite")]
)
def test_truth_that_cant_be_scored_is_refused(tmp_path, changes, message):
    write(tmp_path, changed(**changes))
    with pytest.raises(DataError, match=r"val2017\.json, annotation 90: " + message):
        coco.read_truth(tmp_path, "val")


def test_pycocotools_scores_the_written_results_against_the_truth(tmp_path):
    """Perfect predictions of the scored persons: 100. The crowd and the person without keypoints don't count."""
    from pycocotools.coco import COCO as CocoFile
    from pycocotools.cocoeval import COCOeval

    truth_file(tmp_path)
    persons = coco.read_coco(tmp_path, "val")
    found = [p.keypoints for p in persons]
    path = coco.write_results(tmp_path / "found.json", persons, found, [0.5, 0.75])
    truth = CocoFile()
    truth.dataset = coco.read_truth(tmp_path, "val")
    truth.createIndex()
    scored = COCOeval(truth, truth.loadRes(str(path)), "keypoints")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_results_are_written_in_cocos_form(tmp_path):
    points = np.array([[[1.234, 5.678, 0.9], [100, -3.014, 0.1]]])
    score = 0.1234567890123
    persons = [Person(Path("a.jpg"), np.zeros((2, 3)), None, 139)]
    path = coco.write_results(tmp_path / "new" / "r.json", persons, points, [score])
    row = {"image_id": 139, "category_id": 1, "keypoints": [1.23, 5.68, 1, 100, -3.01, 1], "score": score}
    assert json.loads(path.read_text()) == [row] and [p.name for p in path.parent.iterdir()] == ["r.json"]
    assert coco.result_rows(persons, points[:, :, :2], np.float32([0.5])) == [{**row, "score": 0.5}]


def test_results_that_say_nothing_are_refused(tmp_path):
    someone, nobody = Person(Path("a.jpg"), np.zeros((1, 3)), None, 139), Person(Path("b.jpg"), np.zeros((1, 3)))
    points = np.ones((2, 1, 2))
    with pytest.raises(DataError, match=r"r\.json: row 2, image None \(b\.jpg\): a result needs an image id"):
        coco.write_results(tmp_path / "r.json", [someone, nobody], points, [1, 1])
    with pytest.raises(DataError, match=r"row 2, image 139 \(a\.jpg\): a keypoint or score is nan"):
        coco.write_results(tmp_path / "r.json", [someone, someone], points, [1, float("nan")])
    points[0, 0, 1] = np.nan
    with pytest.raises(DataError, match=r"row 1, image 139 \(a\.jpg\): a keypoint or score is nan"):
        coco.write_results(tmp_path / "r.json", [someone, someone], points, [1, 1])
    with pytest.raises(ValueError):
        coco.write_results(tmp_path / "r.json", [someone], np.ones((2, 1, 2)), [1, 1])
    assert list(tmp_path.iterdir()) == []


# a detector's boxes


def detection(image_id=7, /, **changes) -> dict:
    known = {"image_id": image_id, "category_id": 1, "bbox": [10, 10.5, 20, 30], "score": 0.75}
    return {key: value for key, value in {**known, **changes}.items() if value is not None}


def read_found(tmp_path, rows, category=1, **options) -> list[Person]:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows) if not isinstance(rows, str) else rows)
    annotations = [annotation(70, 7, category_id=category)]
    write(tmp_path, official(annotations, categories=[{**CATEGORY, "id": category}]))
    return coco.read_detections(path, tmp_path, "val", **options)


def test_detections_become_persons_in_file_order(tmp_path):
    rows = [detection(9), detection(7, category_id=18, bbox=None), detection(7, score=1), detection(9, score=0.25)]
    found = read_found(tmp_path, rows)
    assert [(p.image_id, p.box_score) for p in found] == [(9, 0.75), (7, 1.0), (9, 0.25)]
    assert found[0].box == (10, 10.5, 20, 30) and found[0].annotation_id is None and found[0].area is None
    assert found[0].keypoints.shape == (17, 3) and found[0].keypoints.dtype == np.float32 and not found[0].keypoints.any()
    assert found[0].image_path == tmp_path / "val2017" / "000000000009.jpg"
    assert [p.box_score for p in read_found(tmp_path, rows, min_score=0.75)] == [0.75, 1.0]


def test_detections_have_the_persons_category_of_the_labels(tmp_path):
    assert len(read_found(tmp_path, [detection(category_id=5), detection(category_id=1)], category=5)) == 1


def test_a_detectors_person_is_1_whatever_number_the_labels_give(tmp_path):
    rows = [detection(score=0.5), detection(category_id=3, score=0.25)]  # 3 is COCO's car
    assert [p.box_score for p in read_found(tmp_path, rows, category=3)] == [0.5]
    assert [p.box_score for p in read_found(tmp_path, rows[1:], category=3)] == [0.25]
    write(
        tmp_path, official([annotation(70, 7, category_id=3)], categories=[{**CATEGORY, "id": 3}, {"id": 1, "name": "dog"}])
    )
    (tmp_path / "found.json").write_text(json.dumps(rows))
    assert [p.box_score for p in coco.read_detections(tmp_path / "found.json", tmp_path, "val")] == [0.25]


def test_detections_are_matched_by_file_name_where_they_have_one(tmp_path):
    rows = [detection(7, file_name="000000000009.jpg"), detection("nine", file_name="val2017/000000000009.jpg")]
    assert [p.image_id for p in read_found(tmp_path, rows)] == [9, 9]
    with pytest.raises(DataError, match=r"file_name '9\.JPG' is not in"):
        read_found(tmp_path, [detection(7, file_name="9.JPG")])
    with pytest.raises(DataError, match=r"\('000000000009\.jpg' is there: it differs in case\)"):
        read_found(tmp_path, [detection(7, file_name="000000000009.JPG")])


def test_bad_detections_are_skipped_where_there_is_a_list_for_them(tmp_path):
    bad = BadSamples("skip")
    rows = [detection(), detection(8), detection(score=None), detection(bbox=[900, 0, 5, 5]), 5, detection(None)]
    assert len(read_found(tmp_path, rows, bad=bad)) == 1
    assert [skip.name.rpartition("row ")[2] for skip in bad.skipped] == ["5", "6", "2, image 8", "3, image 7", "4, image 7"]


DETECTIONS_BROKEN = {
    "empty list": ([], r"no list of detections inside; write"),
    "another kind": ({"annotations": []}, r"no list of detections inside"),
    "cut off": ("[{", r"not a readable JSON file"),
    "a row of another kind": ([detection(), 5], r"row 2: no file_name or image_id; write"),
    "no image id": ([detection(), detection(None)], r"row 2: no file_name or image_id; write"),
    "an unknown image": ([detection(), detection(8)], r"row 2, image 8: image_id 8 is not in \S+val2017\.json; remove"),
    "a list as image id": ([detection([7])], r"row 1: no file_name or image_id"),
    "no score": ([detection(score=None)], r"row 1, image 7: no finite score; write"),
    "score nan": ([detection(score=float("nan"))], r"row 1, image 7: no finite score"),
    "no box": ([detection(bbox=None)], r"row 1, image 7: bbox must be four finite numbers"),
    "a box outside": ([detection(bbox=[100, 0, 5, 5])], r"row 1, image 7: bbox .* has no area inside"),
    "a box without area": ([detection(), detection(bbox=[10, 10, 0, 0])], r"row 2, image 7: bbox .* has no area inside"),
    "no person": (
        [detection(category_id=3)],
        r"no person .* or more inside \(a person is category_id 1, there are 3\); detect",
    ),
}


@pytest.mark.parametrize("problem", DETECTIONS_BROKEN)
def test_broken_detections_are_refused_by_row_and_image(tmp_path, problem):
    rows, message = DETECTIONS_BROKEN[problem]
    with pytest.raises(DataError, match=r"found\.json(:|,) " + message):
        read_found(tmp_path, rows)


def test_a_detection_in_a_missing_picture_is_refused(tmp_path):
    read_found(tmp_path, [detection()])
    (tmp_path / "val2017" / "000000000009.jpg").unlink()
    (tmp_path / "found.json").write_text(json.dumps([detection(7), detection(9)]))
    with pytest.raises(DataError, match=r"image 9: no picture"):
        coco.read_detections(tmp_path / "found.json", tmp_path, "val")


# EXIF tags and sizes


def turned(folder: Path, size, box, joint) -> tuple[list[Person], list[str]]:
    """A picture stored as 120 x 60 that is shown as 60 x 120, one label with this size in the file -> persons, problems."""
    joints = [0] * 51
    joints[:3] = [*joint, 2]
    images = [image(7, width=size[0], height=size[1])]
    write(folder, official([annotation(70, 7, bbox=box, keypoints=joints)], images=images))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((60, 120, 3), np.uint8)).save(folder / "val2017" / "000000000007.jpg", exif=exif)
    persons = coco.read_coco(folder, "val")
    return persons, layouts.check_labels(persons, picture_sizes(persons), COCO_MODERN).problem.tolist()


@pytest.mark.parametrize(
    "size, box, joint, read",
    [
        ((120, 60), [5, 75, 50, 40], (20, 90), (60, 120)),  # the size as stored beside labels of the turned picture
        ((120, 60), [20, 5, 90, 50], (90, 39), (120, 60)),
        ((60, 120), [20, 5, 90, 50], (90, 39), (120, 60)),
        ((60, 120), [5, 20, 50, 90], (20, 90), (60, 120)),
    ],
)
def test_pictures_are_read_and_checked_in_the_frame_of_their_labels(tmp_path, size, box, joint, read):
    persons, problems = turned(tmp_path, size, box, joint)
    assert read_person_image(persons[0]).shape[1::-1] == read and problems == []
    assert persons[0].box == tuple(box)


def test_a_frame_that_nothing_tells_is_said(tmp_path):
    _, problems = turned(tmp_path, (120, 60), [5, 5, 40, 40], (20, 30))
    assert problems == [layouts.UNSURE_FRAME]


@pytest.mark.parametrize("size", [(0, 0), (None, None), (0, 60), (120.5, 60)])
def test_a_size_of_0_is_not_known(tmp_path, size):
    persons, problems = turned(tmp_path, size, [5, 20, 50, 90], (20, 90))
    assert persons[0].picture_size is None and problems == []
    assert read_person_image(persons[0]).shape == (120, 60, 3)


# labels that look wrong

SIZE = np.array([[100, 80]])


def labelled_person(**joints) -> Person:
    """All 17 joints inside the box 20, 10, 40, 40, but for the given ones."""
    points = np.array([(22 + 2 * j, 12 + 2 * j, 2) for j in range(17)], np.float32)
    for name, point in joints.items():
        points[COCO.joints.index(name)] = point
    return Person(Path("a.jpg"), points, (20, 10, 40, 40), 139, 7)


def test_good_labels_have_no_problem():
    table = coco.label_problems([labelled_person()], SIZE, COCO)
    assert table.empty and list(table.columns) == ["row", "image_id", "annotation_id", "name", "joint", "problem"]


@pytest.mark.parametrize(
    "point, problem",
    [
        ((10, 30, 2), None),  # a quarter of the box's width outside it
        ((9.9, 30, 1), "far outside the box"),
        ((70, 60, 2), None),
        ((70.1, 30, 2), "far outside the box"),
        ((30, 60.1, 2), "far outside the box"),
        ((9.9, 30, 0), None),  # missing
        ((-0.6, 30, 2), "outside the picture"),
        ((99.6, 30, 2), "outside the picture"),
        ((30, 79.6, 2), "outside the picture"),
        ((30, -0.4, 2), "far outside the box"),
    ],
)
def test_joints_far_outside_are_found(point, problem):
    table = coco.label_problems([labelled_person(), labelled_person(left_knee=point)], np.repeat(SIZE, 2, axis=0), COCO)
    assert table.to_numpy().tolist() == ([[2, 139, 7, "a.jpg", "left_knee", problem]] if problem else [])


def test_pairs_on_one_pixel_and_small_boxes_are_found():
    same = labelled_person(left_ear=(30, 30, 2), right_ear=(30, 30, 1))
    small = Person(Path("b.jpg"), np.zeros((17, 3), np.float32), (20, 10, 40, 7.9))
    table = coco.label_problems([same, small], np.repeat(SIZE, 2, axis=0), COCO)
    assert table["problem"].tolist() == ["on the same pixel as right_ear", "box under 8 pixels on a side"]
    assert table["joint"].tolist() == ["left_ear", ""] and table["row"].tolist() == [1, 2]
    both_missing = labelled_person(left_ear=(30, 30, 0), right_ear=(30, 30, 0))
    assert coco.label_problems([both_missing], SIZE, COCO).empty


def test_without_a_box_the_picture_is_the_box():
    far = Person(Path("a.jpg"), np.full((17, 3), 2, np.float32) * [1, 1, 0], None)
    far.keypoints[0] = (99, 79, 2)
    assert coco.label_problems([far], SIZE, COCO).empty
    far.keypoints[0] = (100, 79, 2)
    assert coco.label_problems([far], SIZE, COCO)["problem"].tolist() == ["outside the picture"]


# a whole small data set, and one of the official size


def test_persons_can_be_read_from_pictures_that_exist(tmp_path):
    import cv2

    from gccpm_lib.datasets.records import read_image

    write(tmp_path, official())
    for number in (7, 9):
        cv2.imwrite(str(tmp_path / "val2017" / f"{number:012d}.jpg"), noise_picture(80, 100))
    assert {read_image(p.image_path).shape for p in coco.read_coco(tmp_path, "val")} == {(80, 100, 3)}


MEASURE = """
import resource, sys, time
import torch
from gccpm_lib.datasets import coco
started = time.perf_counter()
persons = coco.read_coco(sys.argv[1], "train")
seconds = time.perf_counter() - started
skeleton = coco.read_skeleton(coco.labels_file(sys.argv[1], "train"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
print(len(persons), skeleton.num_joints, seconds, peak)
"""


def write_official_size(folder: Path) -> Path:
    """Labels as large as train2017's: 118,287 pictures, 262,465 persons of whom 149,813 have keypoints, with outlines."""
    rng = random.Random(0)
    ids = sorted(rng.sample(range(1, 581930), 118287))
    (folder / "train2017").mkdir()
    for number in ids:
        (folder / "train2017" / f"{number:012d}.jpg").touch()
    path = folder / "annotations" / "person_keypoints_train2017.json"
    path.parent.mkdir()
    with path.open("w") as file:
        url = "http://images.example.org/train2017/000000000000.jpg"
        file.write('{"images": [')
        file.write(", ".join(json.dumps(image(i, coco_url=url, flickr_url=url, width=640, height=480)) for i in ids))
        file.write('], "annotations": [')
        for n in range(262465):
            labelled = n * 149813 // 262465 < (n + 1) * 149813 // 262465
            labels = [rng.choice((0, 1, 2, 2)) if labelled and j else 2 * labelled for j in range(17)]
            points = [
                v for label in labels for v in ((rng.randrange(640), rng.randrange(480), label) if label else (0, 0, 0))
            ]
            changes = {
                "keypoints": points,
                "bbox": [round(rng.uniform(0, side), 2) for side in (300, 200)] + [round(rng.uniform(20, 240), 2)] * 2,
                "segmentation": [[round(rng.uniform(0, 480), 2) for _ in range(rng.randrange(20, 100))]],
            }
            file.write((", " if n else "") + json.dumps(annotation(200000 + n, ids[rng.randrange(64115)], **changes)))
        file.write('], "categories": ' + json.dumps([CATEGORY]) + "}")
    return path


@pytest.mark.slow
def test_labels_of_the_official_size_take_less_than_two_gigabytes(tmp_path):
    path = write_official_size(tmp_path)
    assert 200e6 < path.stat().st_size < 300e6
    run = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    count, num_joints, seconds, peak = map(float, run.stdout.split())
    print(f"{seconds:.1f} s, peak {peak:.2f} GiB")
    assert (count, num_joints) == (149813, 17) and peak < 1.86  # GiB: 2 GB


@pytest.mark.parametrize("name", ["x" * 10_000_000, "a/" * 3000 + "b.jpg", "ü" * 128 + ".jpg"])
def test_names_that_no_file_can_have_are_told_by_their_beginning(tmp_path, name):
    write_coco(tmp_path)
    labels = tmp_path / "annotations" / "person_keypoints_train2017.json"
    labels.write_text(labels.read_text().replace("000000000001.jpg", name))
    with pytest.raises(DataError, match=rf"image 1: a name of {len(name):,} characters that begins '.{{40}}'; correct it$"):
        coco.read_coco(tmp_path, "train")
