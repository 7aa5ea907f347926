"""Label and result files from real bug reports, where they are on disk: each is read rightly or told in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from gccpm_lib.cli.boxes import read_boxes
from gccpm_lib.cli.inputs import Source, read_frames
from gccpm_lib.datasets import coco, layouts
from gccpm_lib.datasets.records import DataError, picture_sizes, read_person_image
from gccpm_lib.evaluation import evaluate_coco
from gccpm_lib.evaluation.validation import read_validation
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN

FAULTS = Path(__file__).parents[2] / "../shared/data/faults"
LABELS = "annotations/person_keypoints_{}2017.json"
pytestmark = pytest.mark.skipif(not FAULTS.exists(), reason="the files of bug reports aren't on disk")


def test_a_person_without_keypoints_is_no_error():
    assert evaluate_coco(FAULTS / "A2" / LABELS.format("val"), FAULTS / "A2/r.json")["AP"] == 100


def test_what_drawing_and_mirroring_lack_is_said():
    with pytest.warns(UserWarning, match=r"not drawn, .*\[32, 33\]"):
        coco.read_skeleton(FAULTS / "A5" / LABELS.format("train"))
    with pytest.warns(UserWarning, match="right or left"):
        assert layouts.with_skeleton(COCO_MODERN, FAULTS / "A20").skeleton.flip_pairs == ()


def test_a_detectors_person_is_1():
    assert len(coco.read_detections(FAULTS / "F2b/det.json", FAULTS / "F2b", "val")) == 1


def test_boxes_with_texts_as_ids_are_matched_by_name():
    source = Source("picture", str(FAULTS / "F7b/photo_1.jpg"))
    (frame,) = read_frames([source])
    assert read_boxes(FAULTS / "F7b/predictions.json", [source]).boxes_of([frame])[0].tolist() == [[10, 5, 60, 75, 0.9]]


def test_results_that_are_numbered_otherwise_are_matched_by_name(tmp_path):
    """The labels themselves as results, numbered along the names."""
    content = json.loads((FAULTS / "F9/labels.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    counted = {name: number for number, name in enumerate(sorted(names.values()), 1)}
    rows = [
        {"image_id": counted[names[a["image_id"]]], "file_name": names[a["image_id"]], "category_id": 1, "score": 1.0}
        | {"keypoints": a["keypoints"]}
        for a in content["annotations"]
    ]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    assert evaluate_coco(FAULTS / "F9/labels.json", tmp_path / "r.json")["AP"] == pytest.approx(100)


def test_the_same_pixels_are_predicted_whatever_their_exif_tag_says():
    images = []
    for folder in ("plain", "turned"):
        source = Source("picture", str(FAULTS / "H1" / folder / "p.jpg"))
        (frame,) = read_frames([source], read_boxes(FAULTS / "H1/labels.json", [source]).labelled)
        images.append(frame.image)
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("fault, size, dot", [("X2", (120, 60), (90, 39)), ("X3", (60, 120), (20, 90))])
def test_labels_and_pictures_lie_in_one_frame(fault, size, dot):
    persons = layouts.read_persons(FAULTS / fault, "train", COCO_MODERN)
    image = read_person_image(persons[0])
    y, x = np.nonzero((image[:, :, 2] > 150) & (image[:, :, 1] < 100))  # the red dot
    assert image.shape[1::-1] == size and (x.mean().round(), y.mean().round()) == dot
    assert tuple(persons[0].keypoints[0, :2]) == dot
    assert layouts.check_labels(persons, picture_sizes(persons), COCO_MODERN).empty


@pytest.mark.parametrize(
    "fault, recipe, told", [("L1", LIP_MODERN, "head top and neck"), ("N4", COCO_MODERN, "areas of all")]
)
def test_whom_nobody_can_score_is_told_before_any_work(fault, recipe, told):
    with pytest.raises(DataError, match=told):
        read_validation(FAULTS / fault, layouts.with_skeleton(recipe, FAULTS / fault))
