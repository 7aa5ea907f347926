"""Labels that a prediction contradicts: exchanged sides are put right, joints astray are dropped, the rest stays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_network
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.checkpoints import save_network
from gccpm_lib.datasets.corrections import Correction, write_corrections
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.rendering.rendered import render_lip
from gccpm_lib.skeletons import LIP
from gccpm_lib.training import label_cleaning
from gccpm_lib.training.label_cleaning import ARMS, LEGS, cleaned
from gccpm_lib.training.run import Run

HEAD = 19.0  # of people whose joints reach over 100 pixels


def people(count: int, seed: int = 0) -> np.ndarray:
    """Visible joints at random places, among them two 100 pixels apart: a head counts 19 pixels."""
    keypoints = np.full((count, 16, 3), 2.0)
    keypoints[:, :, :2] = np.random.default_rng(seed).uniform(200, 299, (count, 16, 2))
    keypoints[:, 6, :2], keypoints[:, 7, :2] = (200, 200), (300, 300)
    keypoints[:, 8, :2], keypoints[:, 9, :2] = (250, 250), (250, 240)  # a smaller head than the extent says
    return keypoints


def sure(keypoints: np.ndarray) -> np.ndarray:
    """Predictions on the labels, all peaks 1."""
    return np.concatenate([keypoints[:, :, :2], np.ones_like(keypoints[:, :, 2:])], axis=2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_labels_that_the_network_agrees_with_stay(seed):
    labels = people(3, seed)
    corrected, counts = cleaned(labels, sure(labels))
    np.testing.assert_array_equal(corrected, labels)
    assert counts == {"arms": 0, "legs": 0, "joints": 0}


@pytest.mark.parametrize("name, group", [("arms", ARMS), ("legs", LEGS)])
def test_exchanged_sides_are_put_right_and_only_those(name, group):
    truth = people(2)
    wrong = truth.copy()
    wrong[0, list(group)] = truth[0, LIP.flip_order][list(group)]
    corrected, counts = cleaned(wrong, sure(truth))
    np.testing.assert_array_equal(corrected, truth)
    assert counts == {"arms": 0, "legs": 0, "joints": 0} | {name: 1}


def test_what_was_changed_is_told_by_person_and_joint():
    wrong = people(3)
    truth = wrong.copy()
    truth[1, list(ARMS)] = wrong[1, LIP.flip_order][list(ARMS)]
    found = sure(truth)
    found[1, 15, 0] += 2.5 * HEAD  # the joint that l_wrist is now, r_wrist before
    corrected, _ = cleaned(wrong, found)
    persons = [Person(Path(f"{row}.jpg"), own) for row, own in enumerate(wrong)]
    assert label_cleaning.changes(persons, corrected).values.tolist() == [
        [2, "1.jpg", "", "right and left arms were exchanged by a network"],
        [2, "1.jpg", "l_wrist", "far from where a network is sure of it"],
    ]
    assert label_cleaning.changes(persons, wrong).empty


def test_what_people_corrected_stays():
    """The network has the arms of both exchanged and both head tops astray; somebody has corrected the first person."""
    labels = people(2)
    turned = labels.copy()
    turned[:, list(ARMS)] = labels[:, LIP.flip_order][:, list(ARMS)]
    found = sure(turned)
    found[:, 9, 0] += 3 * HEAD
    by_hand = np.zeros((2, 16), bool)
    by_hand[0, [9, 10]] = True
    corrected, counts = cleaned(labels, found, by_hand)
    np.testing.assert_array_equal(corrected[0], labels[0])
    assert counts == {"arms": 1, "legs": 0, "joints": 1} and corrected[1, 9, 2] == 0
    np.testing.assert_array_equal(corrected[1, list(ARMS)], turned[1, list(ARMS)])


def test_a_training_takes_corrections_and_cleaning_together(tmp_path):
    source = render_lip(tmp_path / "lip", num_train=4, num_val=2, seed=4, progress=False)
    file = save_network(tmp_path / "n.safetensors", lively_network(0), replace(LIP_MODERN, input_size=(64, 64)))
    moved, val = tmp_path / "train_corrections.csv", tmp_path / "val_corrections.csv"
    train, (first, *_) = read_lip(source, "train"), read_lip(source, "val")
    was = (*map(float, train[1].keypoints[9, :2]), int(train[1].keypoints[9, 2]))
    mended = Correction(2, train[1].name, None, "head_top", (3.0, 4.0, 2), was, "anna", "2026-11-26T00:00:00Z")
    gone = Correction(1, train[0].name, None, "", *((0.0, 0.0, 0),) * 2, "anna", "2026-11-26T00:00:00Z")
    write_corrections(moved, [mended, gone])
    write_corrections(val, [replace(gone, name=first.name)])
    run = Run(str(source), str(tmp_path / "o"), device="cpu", train_labels=moved.name, val_labels=val.name)
    clean = label_cleaning.cleaned_run(run, file, tmp_path / "runs" / "deep")
    persons = read_lip(clean.dataset_folder, "train", labels=clean.train_labels)
    assert [person.name for person in persons] == [person.name for person in train[1:]]
    assert persons[0].keypoints[9].tolist() == [3, 4, 2]
    assert len(read_lip(clean.dataset_folder, "val", labels=clean.val_labels)) == 1
    plain = label_cleaning.cleaned_run(replace(run, train_labels=""), file, tmp_path / "runs" / "deep")
    assert plain.dataset_folder != clean.dataset_folder and len(read_lip(plain.dataset_folder, "train")) == 4
    with pytest.raises(DataError, match="no such corrections") as raised:
        label_cleaning.cleaned_run(replace(run, train_labels="other.csv"), file, tmp_path / "runs" / "deep")
    assert "\n" not in str(raised.value)


def test_a_gain_too_small_to_mean_anything_changes_nothing():
    labels = people(1)
    labels[0, list(LEGS), :2] = [(250 + 1.5 * (j > 2), 210 + 10 * min(j, 5 - j)) for j in range(6)]  # legs 1.5 pixels apart
    found = sure(labels[:, LIP.flip_order])
    found[0, list(ARMS)] = sure(labels)[0, list(ARMS)]
    assert cleaned(labels, found)[1] == {"arms": 0, "legs": 0, "joints": 0}


def test_a_joint_astray_is_dropped_where_the_network_is_sure():
    labels = people(1)
    found = sure(labels)
    found[0, 9, 0] += 2.05 * HEAD
    corrected, counts = cleaned(labels, found)
    assert counts == {"arms": 0, "legs": 0, "joints": 1} and (corrected[0, 9] == 0).all()
    np.testing.assert_array_equal(np.delete(corrected, 9, axis=1), np.delete(labels, 9, axis=1))
    found[0, 9, 2] = 0.49
    assert cleaned(labels, found)[1]["joints"] == 0
    found[0, 9] = (labels[0, 9, 0] + 1.95 * HEAD, labels[0, 9, 1], 1)
    assert cleaned(labels, found)[1]["joints"] == 0


def test_missing_joints_stay_missing_and_count_for_nothing():
    labels = people(2)
    labels[0] = 0
    labels[1, list(ARMS)] = 0
    corrected, counts = cleaned(labels, sure(people(2)) + (500, 0, 0))
    assert (corrected[0] == 0).all() and counts == {"arms": 0, "legs": 0, "joints": 10}


def test_whoever_has_few_labels_is_left_alone():
    labels = people(1)
    labels[0, :9] = 0
    assert cleaned(labels, sure(labels) + (500, 0, 0))[1] == {"arms": 0, "legs": 0, "joints": 0}


def test_a_head_larger_than_the_extent_says_is_what_counts():
    labels = people(1)
    labels[0, 9, :2] = labels[0, 8, :2] + (0, 30)  # the extent says 19
    found = sure(labels)
    found[0, 0, 0] += 2.5 * HEAD
    assert cleaned(labels, found)[1]["joints"] == 0
    found[0, 0, 0] += HEAD
    assert cleaned(labels, found)[1]["joints"] == 1


def test_the_written_set_has_the_same_pictures_and_validation_labels(tmp_path):
    source, target = render_lip(tmp_path / "lip", num_train=5, num_val=3, seed=1, progress=False), tmp_path / "cleaned"
    recipe = replace(LIP_MODERN, input_size=(64, 64))
    file = save_network(tmp_path / "n.safetensors", lively_network(0), recipe)
    label_cleaning.main([str(file), str(source), str(target)])
    before, after = (read_lip(folder, "train") for folder in (source, target))
    assert [person.name for person in after] == [person.name for person in before]
    assert all(person.image_path.exists() for person in after)
    own = (source / "TrainVal_pose_annotations" / "lip_val_set.csv").read_bytes()
    assert (target / "TrainVal_pose_annotations" / "lip_val_set.csv").read_bytes() == own
    counts = label_cleaning.counts_of(target)
    assert counts["persons"] == 5 and set(counts) == {"arms", "legs", "joints", "persons"}
    assert label_cleaning.counts_of(source) is None
    with pytest.raises(FileExistsError, match="remove it"):
        label_cleaning.main([str(file), str(source), str(target)])


def test_what_is_written_is_read_as_it_was(tmp_path):
    source = render_lip(tmp_path / "lip", num_train=4, num_val=1, seed=2, progress=False)
    persons = read_lip(source, "train")
    labels = np.stack([person.keypoints for person in persons])
    label_cleaning.write_labels(source, tmp_path / "same", [person.name for person in persons], labels, {})
    again = np.stack([person.keypoints for person in read_lip(tmp_path / "same", "train")])
    np.testing.assert_allclose(again, labels, rtol=1e-5)


def test_a_flat_layout_is_cleaned_too(tmp_path):
    """Its labels lie beside the pictures' folders; those of the cleaned set have to be found first."""
    nested, flat = render_lip(tmp_path / "lip", num_train=3, num_val=1, seed=2, progress=False), tmp_path / "flat"
    flat.mkdir()
    for path in [*nested.glob("TrainVal_images/*"), *nested.glob("TrainVal_pose_annotations/*")]:
        path.rename(flat / path.name)
    persons = read_lip(flat, "train")
    labels = np.stack([person.keypoints for person in persons])
    labels[0, 0] = 0
    label_cleaning.write_labels(flat, tmp_path / "target", [person.name for person in persons], labels, {})
    assert read_lip(tmp_path / "target", "train")[0].keypoints[0, 2] == 0
    assert all(person.image_path.exists() for split in ("train", "val") for person in read_lip(tmp_path / "target", split))


def test_a_network_of_other_joints_is_refused_before_anything_is_written(tmp_path):
    file = save_network(tmp_path / "n.safetensors", lively_network(0), COCO_MODERN)
    with pytest.raises(ValueError, match="need a LIP network"):
        label_cleaning.write_cleaned(file, tmp_path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_cleaned_once_is_found_again_and_made_anew_for_other_labels(tmp_path, monkeypatch):
    source = render_lip(tmp_path / "lip", num_train=3, num_val=1, seed=4, progress=False)
    file = save_network(tmp_path / "n.safetensors", lively_network(0), replace(LIP_MODERN, input_size=(64, 64)))
    first = label_cleaning.cleaned_once(file, source, tmp_path / "runs")
    assert first.name.startswith("lip_cleaned_") and label_cleaning.counts_of(first)["persons"] == 3
    with monkeypatch.context() as patched:
        patched.setattr(label_cleaning, "write_cleaned", None)
        assert label_cleaning.cleaned_once(file, source, tmp_path / "runs") == first
    labels = source / "TrainVal_pose_annotations" / "lip_train_set.csv"
    labels.write_text(labels.read_text().splitlines()[0] + "\n")
    second = label_cleaning.cleaned_once(file, source, tmp_path / "runs")
    assert second != first and label_cleaning.counts_of(second)["persons"] == 1


def test_an_interrupted_writing_leaves_nothing_in_the_way(tmp_path):
    source = render_lip(tmp_path / "lip", num_train=2, num_val=1, seed=4, progress=False)
    (tmp_path / "target.part" / "TrainVal_images").mkdir(parents=True)
    (tmp_path / "target.part" / "TrainVal_images" / "train_images").symlink_to(tmp_path)
    label_cleaning.write_labels(source, tmp_path / "target", ["a.jpg"], np.zeros((1, 16, 3)), {})
    assert not (tmp_path / "target.part").exists() and (tmp_path / "target" / "cleaned.json").exists()
