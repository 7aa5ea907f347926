"""Scoring: both data sets through one face; boxes of a detector; the predictions' own file forms."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import noise_picture, write_coco, write_lip
from PIL import Image

from gccpm_lib.datasets.layouts import body_sizes, extents, with_skeleton
from gccpm_lib.datasets.records import DataError, read_person_image
from gccpm_lib.evaluation.pckh import evaluate_coco, evaluate_lip
from gccpm_lib.evaluation.validation import read_validation, some_images
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.skeletons import LIP


@pytest.fixture(scope="module")
def lip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lip") / "lip"
    write_lip(folder)
    return folder


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco") / "coco"
    write_coco(folder)
    return folder


def labels_of(validation):
    """The labels as if they had been predicted, every joint with the score 0.5."""
    points = np.stack([person.keypoints for person in validation.persons]).astype(np.float64)
    points[:, :, 2] = 0.5
    return points


@pytest.mark.parametrize("recipe", [LIP_MODERN, COCO_MODERN], ids=lambda recipe: recipe.name)
def test_the_labels_themselves_score_full(recipe, lip_folder, coco_folder):
    validation = read_validation(lip_folder if recipe is LIP_MODERN else coco_folder, recipe)
    found = labels_of(validation)
    far = found + (60, 60, 0)
    assert validation.scores(found)[validation.main_score] == pytest.approx(100)
    assert validation.scores(far)[validation.main_score] < 20
    assert validation.intervals(found)[validation.main_score] == pytest.approx((100, 100))
    gain, low, high = validation.gain(found, far)
    assert low <= gain <= high and gain > 80


@pytest.mark.parametrize("recipe", [LIP_MODERN, COCO_MODERN], ids=lambda recipe: recipe.name)
def test_some_images_are_scored_as_if_there_were_no_others(recipe, lip_folder, coco_folder):
    validation = read_validation(lip_folder if recipe is LIP_MODERN else coco_folder, recipe)
    found = labels_of(validation)
    first = validation.persons[0].image_path
    in_first = [person.image_path == first for person in validation.persons]
    found[~np.array(in_first)] += (60, 60, 0)
    one, rows = some_images(validation, 1)
    assert rows.tolist() == np.flatnonzero(in_first).tolist() and {person.image_path for person in one.persons} == {first}
    assert one.scores(found[rows])[validation.main_score] == pytest.approx(100)
    whole, rows = some_images(validation, 1000)
    assert len(rows) == len(validation.persons)
    assert whole.scores(found) == pytest.approx(validation.scores(found), nan_ok=True)


def test_names_of_what_is_scored(lip_folder, coco_folder):
    lip, coco = (read_validation(f, r) for f, r in ((lip_folder, LIP_MODERN), (coco_folder, COCO_MODERN)))
    assert (lip.metric, lip.main_score, lip.box_source) == ("PCKh@0.5 Avg.", "Avg.", "whole pictures")
    assert (coco.metric, coco.main_score, coco.box_source) == ("AP", "AP", "ground-truth boxes")


def test_the_first_persons_come_with_whoever_is_in_their_pictures(lip_folder, coco_folder):
    assert len(read_validation(lip_folder, LIP_MODERN, num_persons=2).persons) == 2
    some = read_validation(coco_folder, COCO_MODERN, num_persons=1)
    assert len(some.persons) == 2 and [image["id"] for image in some.truth["images"]] == [101]


def test_boxes_of_a_detector(coco_folder, tmp_path):
    everybody = read_validation(coco_folder, COCO_MODERN)
    rows = [
        {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 0.5 + 0.1 * i}
        for i, p in enumerate(everybody.persons[:3])
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(rows[::-1]))  # the third person first, the fourth not detected
    validation = read_validation(coco_folder, COCO_MODERN, boxes_path=tmp_path / "boxes.json")
    assert validation.box_source == "boxes of boxes.json" and len(validation.subjects) == 3 and len(validation.persons) == 4
    sure = read_validation(coco_folder, COCO_MODERN, boxes_path=tmp_path / "boxes.json", min_box_score=0.55)
    assert [round(box.box_score, 1) for box in sure.subjects] == [0.7, 0.6]
    found = labels_of(everybody)[[2, 1, 0]]
    np.testing.assert_allclose(validation.person_scores(found), [0.5 * 0.7, 0.5 * 0.6, 0.5 * 0.5])
    aligned = validation.by_person(found)
    np.testing.assert_array_equal(aligned[:3], labels_of(everybody)[:3])
    assert np.isnan(aligned[3]).all()
    assert validation.scores(found)["AR"] == pytest.approx(75)


def test_predictions_are_written_in_the_data_sets_own_form(lip_folder, coco_folder, tmp_path):
    for folder, recipe in ((lip_folder, LIP_MODERN), (coco_folder, COCO_MODERN)):
        validation = read_validation(folder, recipe)
        path = validation.write_predictions(tmp_path / "found", labels_of(validation))
        if recipe is LIP_MODERN:
            truth = next(folder.rglob("lip_val_set.csv"))
            assert evaluate_lip(truth, path)["Avg."] == 100
        else:
            assert evaluate_coco(folder / "annotations" / "person_keypoints_val2017.json", path)["AP"] == pytest.approx(100)


def test_curves_end_where_the_scores_are(lip_folder, coco_folder):
    lip, coco = (read_validation(f, r) for f, r in ((lip_folder, LIP_MODERN), (coco_folder, COCO_MODERN)))
    thresholds, series, *_ = lip.curves(labels_of(lip))
    assert series["all"].tolist() == [100] * len(thresholds)
    recalls, series, *_ = coco.curves(labels_of(coco))
    assert len(recalls) == 101 and series["OKS 0.9"].tolist() == [100] * 101


def test_sizes_that_people_are_measured_by(lip_folder, coco_folder):
    lip, coco = (read_validation(f, r) for f, r in ((lip_folder, LIP_MODERN), (coco_folder, COCO_MODERN)))
    first = lip.persons[0].keypoints
    assert body_sizes(lip.persons, LIP_MODERN)[0] == pytest.approx(np.hypot(*(first[8, :2] - first[9, :2])))
    assert body_sizes(coco.persons, COCO_MODERN).tolist() == pytest.approx([2000**0.5] * 4)
    assert extents(coco.persons, np.zeros((4, 2))).tolist() == [[50, 80]] * 4
    assert extents(lip.persons, np.ones((3, 2))).tolist() == [[1, 1]] * 3


def test_joints_come_from_the_file(tmp_path, coco_folder):
    names = (
        "head",
        "neck",
        *(f"{s}_{j}" for s in ("left", "right") for j in ("hand", "elbow", "hip", "knee", "foot")),
        "tail",
        "hat",
    )
    write_coco(tmp_path / "own", names, skeleton=((1, 2),))
    recipe = with_skeleton(COCO_MODERN, tmp_path / "own")
    assert recipe.skeleton.joints == names and recipe.num_heatmaps == 14 and recipe.skeleton.limbs == ((0, 1),)
    validation = read_validation(tmp_path / "own", recipe)
    assert validation.scores(labels_of(validation))["AP"] == pytest.approx(100)
    assert with_skeleton(COCO_MODERN, coco_folder) == COCO_MODERN
    with pytest.raises(DataError, match="keypoint"):
        replace(validation, skeleton=COCO_MODERN.skeleton).scores(np.zeros((4, 17, 3)))


def test_what_a_reader_has_to_know(lip_folder, coco_folder):
    assert read_validation(lip_folder, LIP_MODERN).caveats() == [
        "only 3 persons: look at the intervals before you compare with anything"
    ]
    validation = read_validation(coco_folder, COCO_MODERN)
    few, boxes = validation.caveats()  # four equal areas are too few to be suspicious
    assert "only 4 persons" in few and "ground-truth boxes" in boxes
    many = replace(validation, persons=[*validation.persons] * 2)
    assert "8 of the 8 areas are 0.5 x the box" in many.caveats()[1]
    flat = replace(validation, persons=[replace(validation.persons[0], area=0.0), *validation.persons[1:]])
    assert flat.caveats()[1] == "1 of the 4 areas are 0: these persons count as missed"
    lip = read_validation(lip_folder, LIP_MODERN)
    headless = np.where(np.arange(16)[:, None] == LIP.joints.index("neck"), 0, lip.persons[0].keypoints)
    fewer = replace(lip, persons=[replace(lip.persons[0], keypoints=headless), *lip.persons[1:]])
    assert fewer.caveats()[1] == "1 of them without head top or neck, which aren't scored"


def test_labels_by_which_nobody_can_be_scored_are_refused_before_anything_is_predicted(tmp_path):
    write_coco(tmp_path / "coco")
    labels = tmp_path / "coco" / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(labels.read_text())
    content["annotations"] = [{**a, "area": 0} for a in content["annotations"]]
    labels.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"person_keypoints_val2017\.json: the areas of all \d+ labelled persons are 0, so"):
        read_validation(tmp_path / "coco", COCO_MODERN)
    write_lip(tmp_path / "lip")
    csv = next((tmp_path / "lip").rglob("lip_val_set.csv"))
    neck = 1 + 3 * LIP.joints.index("neck")
    rows = [row.split(",") for row in csv.read_text().splitlines()]
    csv.write_text("".join(",".join([*row[:neck], "nan", "nan", "nan", *row[neck + 3 :]]) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"none of the 3 val persons has head top and neck labelled"):
        read_validation(tmp_path / "lip", LIP_MODERN)


def test_a_file_and_the_notebook_count_the_same_persons_whatever_num_keypoints_says(tmp_path):
    """A person whose num_keypoints says 0 is scored, one without keypoints isn't."""
    write_coco(tmp_path)
    labels = tmp_path / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(labels.read_text())
    a, b, c, d = content["annotations"]
    content["annotations"] = [{**a, "num_keypoints": 0}, {**b, "keypoints": []}, {**c, "num_keypoints": 99}, d]
    labels.write_text(json.dumps(content))
    validation = read_validation(tmp_path, COCO_MODERN)
    found = labels_of(validation)
    assert len(found) == 3
    found[0] += 1000  # the first person is missed
    results = validation.write_predictions(tmp_path / "results", found)
    own = validation.scores(found)
    assert evaluate_coco(labels, results) == pytest.approx(own, nan_ok=True)
    assert own["AR"] == pytest.approx(200 / 3)


def test_a_name_with_a_dot_keeps_it(lip_folder, tmp_path):
    validation = read_validation(lip_folder, LIP_MODERN)
    path = validation.write_predictions(tmp_path / "found_v1.2", labels_of(validation))
    assert path.name == "found_v1.2.csv" and path.exists()


def test_validation_of_other_joints_is_refused(tmp_path):
    write_coco(tmp_path / "coco", COCO_MODERN.skeleton.joints[::-1])
    with pytest.raises(DataError, match=r"person_keypoints_val2017\.json: .*joint 1 is right_ankle, not nose"):
        read_validation(tmp_path / "coco", COCO_MODERN)


def test_picture_of_another_size_is_refused_by_its_id(tmp_path):
    write_coco(tmp_path / "coco")
    path = tmp_path / "coco" / "val2017" / "000000000101.jpg"
    cv2.imwrite(str(path), noise_picture(120, 90))
    validation = read_validation(tmp_path / "coco", COCO_MODERN)
    with pytest.raises(DataError, match="image 101: 90 x 120 pixels, but 120 x 90 in the label file"):
        read_person_image(validation.persons[0])
    turned = Image.fromarray(noise_picture(90, 120))
    exif = turned.getexif()
    exif[0x0112] = 6  # a viewer would show it upright, 90 x 120; the labels are of the picture as it is stored
    turned.save(path, exif=exif)
    assert read_person_image(validation.persons[0]).shape == (90, 120, 3)


def test_the_ceiling_is_higher_where_targets_sit_on_the_joint(coco_folder):
    validation = read_validation(coco_folder, COCO_MODERN)
    small = replace(COCO_MODERN, input_size=(64, 48))
    whole = validation.ceiling(replace(small, whole_cells=True))
    assert whole == validation.ceiling(replace(small, whole_cells=True, decoder="argmax"))
    assert whole < validation.ceiling(small) <= 100
    assert validation.ceiling(replace(small, input_size=(768, 576))) == pytest.approx(100)
