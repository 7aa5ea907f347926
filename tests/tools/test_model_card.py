"""Model cards: every number is that of the file; steps, intervals and neighbours worked out by hand."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_network

from gccpm_lib import checkpoints, weight_files
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import Person
from gccpm_lib.evaluation import pckh
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.rendering.rendered import render_coco, render_lip
from gccpm_lib.skeletons import COCO
from gccpm_lib.tools import model_card
from gccpm_lib.training import loop as training


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network trained in two steps of one epoch, its file and its card; a folder, its checkpoint and the arguments."""
    folder = tmp_path_factory.mktemp("card")
    render_lip(folder / "photos", num_train=8, num_val=6, seed=3)
    render_lip(folder / "rendered", num_train=4, num_val=3, seed=4)
    render_coco(folder / "coco", num_train_images=1, num_val_images=2, seed=3)
    common = dict(
        dataset_folder=str(folder / "photos"), num_epochs=1, batch_size=4, num_val_persons=0, num_refinement_stages=1
    )
    first = training.Run(output_folder=str(folder / "one"), input_size=(32, 32), **common)
    second = training.Run(
        output_folder=str(folder / "two"), input_size=(64, 64), sigma=5.0, half_turn_probability=0.25,
        checkpoint_path=str(first.checkpoint_file), from_mobilenet=False, base_lr=1e-4, **common,
    )  # fmt: skip
    other = training.Run(output_folder=str(folder / "other"), recipe="lip-published", input_size=(32, 32), **common)
    for run in (first, second, other):
        training.train(run, say=lambda _: None)
    (folder / "shelf").mkdir()
    (folder / "data.md").write_text("Painted by *nobody*.\n")
    arguments = [
        second.checkpoint_file,
        "--name",
        "gccpm-test",
        "--folder",
        folder / "shelf",
        "--photos",
        folder / "photos",
    ]
    arguments += ["--rendered", folder / "rendered", "--scenes", folder / "coco", "--data", folder / "data.md"]
    arguments += ["--lip", folder / "rendered"]
    arguments = [str(argument) for argument in arguments]
    model_card.main([*arguments, "--published", str(other.checkpoint_file)])
    return folder, second.checkpoint_file, arguments


def test_the_file_says_how_its_network_came_about(published):
    folder, _, _ = published
    about = checkpoints.read_checkpoint(folder / "shelf" / "gccpm-test.safetensors")["about"]
    assert [step["input_size"] for step in about["steps"]] == [[32, 32], [64, 64]]
    assert about["trained_on"].startswith("photos (fingerprint ") and about["terms"].startswith("research use")


def test_the_card_says_what_stands_beside_it(published):
    card = (published[0] / "shelf" / "gccpm-test.md").read_text()
    _, beside = card.split("### Beside it: lip-published")
    assert "| 1 | MobileNet | photos | lip-published | 32 x 32 |" in beside and "\nPainted by *nobody*.\n" in card
    assert "3 rendered people" in card and "6 other persons" in card
    assert "LIP's own people: 3 persons of LIP's validation set" in card and "give a wide interval" in card
    (rendered,) = re.findall(r"none of them trained on: (.*) PCKh@0.5 Avg. with flip", card)  # the same three persons
    assert f"at a single scale, {rendered} with flip." in card


def test_the_card_tells_corrected_labels_and_values_of_its_own():
    step = dict(number=1, began_with="MobileNet", dataset="photos", recipe="lip-modern", input_size=[64, 32], sigma=5.0)
    step |= dict(
        base_lr=1e-3,
        batch_size=16,
        data="a",
        frozen_layers=0,
        half_turn_probability=0.0,
        epochs=2,
        planned_epochs=2,
        pictures=1234,
        hours=0.5,
    )
    other = step | dict(
        number=2, dataset="photos_cleaned", data="b", began_with="step 1", half_turn_probability=0.3, epochs=1
    )
    other |= dict(changes={"ema_decay": 0.5, "rotation_degrees": 3}, cleaned=dict(persons=1000, arms=1, legs=2, joints=3))
    steps = [step | dict(changes={}, cleaned=None), other, other | dict(number=3, began_with="step 2", epochs=2)]
    rows = model_card.template("training_steps.md.j2").module.training(steps).split("|---|\n")[1]
    assert (
        rows
        == """\
| 1 | MobileNet | photos | lip-modern | 64 x 32 | 5 | 0.001 | 16 | 0 | never | 2 | 1,234 | 0.50 |
| 2 | step 1 | photos_cleaned | lip-modern | 64 x 32 | 5 | 0.001 | 16 | 0 | 30 % | 1 of 2 | 1,234 | 0.50 |
| 3 | step 2 | photos_cleaned | lip-modern | 64 x 32 | 5 | 0.001 | 16 | 0 | 30 % | 2 | 1,234 | 0.50 |

- Steps 2, 3: other values than the recipe's, besides those above: `ema_decay` 0.5, `rotation_degrees` 3.
- The training labels of `photos_cleaned` were corrected by a network (`training.label_cleaning`): of 1,000 persons
  1 had the labels of their arms change sides and 2 of their legs; 3 joints were dropped.
"""
    )


def test_a_training_on_other_labels_is_refused_and_the_old_files_stay(published):
    folder, _, arguments = published
    other = training.Run(
        str(folder / "rendered"), str(folder / "elsewhere"), input_size=(64, 64), num_epochs=1, num_val_persons=0
    )
    training.train(other, say=lambda _: None)
    before = {path: path.read_bytes() for path in (folder / "shelf").iterdir()}
    with pytest.raises(ValueError, match=r"not on .*photos"):
        model_card.main([*arguments, "--published", str(other.checkpoint_file)])
    assert {path: path.read_bytes() for path in (folder / "shelf").iterdir()} == before


def test_a_training_on_validation_persons_or_other_photographs_gets_no_card(published, tmp_path):
    folder, checkpoint, arguments = published
    saved = checkpoints.read_checkpoint(checkpoint)
    saved["run"]["train_and_val"] = True
    checkpoints.save_checkpoint(tmp_path / "both.pt", saved)
    with pytest.raises(ValueError, match="trained on the validation persons too"):
        model_card.main([str(tmp_path / "both.pt"), *arguments[1:]])
    with pytest.raises(ValueError, match="not on its train split"):
        model_card.main([*arguments, "--photos", str(folder / "rendered")])


def test_the_card_gives_the_scores_of_the_file(published):
    folder, _, _ = published
    file, card = folder / "shelf" / "gccpm-test.safetensors", (folder / "shelf" / "gccpm-test.md").read_text()
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    network, persons = checkpoints.load_network(file), read_lip(folder / "photos", "val")
    truth = np.stack([person.keypoints for person in persons])
    for column, flip in enumerate((False, True)):
        predictor = PosePredictor(network, checkpoints.recipe_of(file), flip=flip)
        distances = pckh.normalised_distances(truth, predictor.predict_persons(persons))
        (row,) = re.findall(r"^\| 12 limb joints \| (.*) \|$", card, re.M)[:1]
        score, low, high = map(float, re.findall(r"[\d.]+", row.split("|")[column]))
        assert score == pytest.approx(pckh.joint_pckh(distances), abs=0.051) and low <= score <= high
    assert "32 x 32" in card and "64 x 64" in card and "25 %" in card
    assert "{{" not in card and "undefined" not in card.lower()


def test_the_half_precision_file_predicts_as_the_checkpoint(published):
    folder, checkpoint, _ = published
    whole = checkpoints.load_network(checkpoint).state_dict()
    half = checkpoints.load_network(folder / "shelf" / "gccpm-test.safetensors").state_dict()
    for key, value in whole.items():
        np.testing.assert_allclose(half[key], value, rtol=1e-3, atol=1e-6, err_msg=key)


def test_groups_are_the_papers_columns_with_intervals_around_them():
    rng = np.random.default_rng(0)
    distances = np.where(rng.random((80, 16)) < 0.1, np.nan, rng.random((80, 16)))
    distances[:50, 15] = np.nan  # left wrists are labelled less often than right ones
    table = model_card.columns(distances)
    columns = pckh.pckh(distances)
    assert [*table.index] == ["Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.", "Avg.", "12 limb joints"]
    for name in ("Sho.", "Wri.", "Ank.", "Avg."):
        assert table.loc[name, "found"] == pytest.approx(columns[name])
        np.testing.assert_allclose(table.loc[name, ["low", "high"]], pckh.pckh_intervals(distances)[name])
    assert table.loc["12 limb joints", "found"] == pytest.approx(pckh.joint_pckh(distances))


def test_joints_are_counted_by_the_height_of_their_peak():
    found = np.zeros((1, 16, 3))
    found[0, :5, 2] = 0.19, 0.2, 0.9, 0.1, 0.5
    errors = np.full((1, 16), np.nan)
    errors[0, :4] = 1.2, 1.0, 1.02, 0.2
    table = model_card.by_peak(errors, found, 0.2, 0.5)
    assert table["joints"].to_list() == [2, 1, 1] and table["found (%)"].to_list() == [50, 100, 0]
    assert table["without a label"].to_list() == [11, 0, 1]
    assert list(table.index) == ["below 0.2", "0.2 to 0.5", "from 0.5 on"]
    assert np.isnan(model_card.by_peak(errors[:, 5:], found[:, 5:], 0.2)["found (%)"]).all()


def test_predictions_differ_by_what_was_moved():
    keypoints = np.zeros((2, 16, 3))
    keypoints[:, pckh.HEAD_TOP, 1], keypoints[:, :, 2] = -10, 1  # a head of 10 pixels
    persons = [Person(Path("a.jpg"), k) for k in keypoints]
    moved = keypoints.copy()
    moved[0, 0, :2] += (30, 40)
    moved[1, 1, 0] += 4
    answer = model_card.parity(moved, keypoints, persons)
    assert answer == {"same": 100 * 30 / 32, "farthest": 50, "points": pytest.approx(-100 / 24)}


def test_a_lip_networks_joints_are_read_under_cocos_names(tmp_path):
    import cv2

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8))
    network, recipe = lively_network(0), replace(LIP_MODERN, input_size=(64, 64))
    person = Person(path, np.zeros((17, 3), np.float32), (20, 30, 40, 60), 1, 1, 100.0)
    predictor = PosePredictor(network, recipe, flip=True)
    found = model_card.in_box(predictor, person)
    own = predictor.predict(cv2.imread(str(path)), [(15, 22.5, 50, 75)])[0]
    for name, lip_name in (("left_wrist", "l_wrist"), ("right_ankle", "r_ankle"), ("left_hip", "l_hip")):
        np.testing.assert_array_equal(found[COCO.joints.index(name)], own[recipe.skeleton.joints.index(lip_name)])
    assert np.isnan(found[COCO.joints.index("nose")]).all() and np.isfinite(found).all(axis=1).sum() == 12


def test_a_neighbour_is_whoever_covers_most_of_the_box():
    boxes = {"a": [(0, 0, 10, 10), (5, 5, 10, 10), (9, 0, 10, 10), (50, 50, 5, 5)], "b": [(0, 0, 10, 10)]}
    persons = [Person(Path(path), np.zeros((17, 3)), box) for path, own in boxes.items() for box in own]
    shares = [model_card._others_share(person, persons) for person in persons]
    np.testing.assert_allclose(shares, [0.25, 0.3, 0.3, 0, 0])


def test_the_shipped_networks_card_is_of_the_shipped_file():
    for name in weight_files.shipped_networks():
        file = weight_files.find_checkpoint(name)
        card = file.with_suffix(".md").read_text()
        assert hashlib.sha256(file.read_bytes()).hexdigest() in card, f"{name}: run gccpm_lib.tools.model_card again"
        about = checkpoints.read_checkpoint(name)["about"]
        assert all(f"{step['pictures']:,}" in card for step in about["steps"]) and about["terms"] in card
