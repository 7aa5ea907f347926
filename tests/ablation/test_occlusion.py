"""Covering: the patch hides the joint, isn't centred on it, and only that joint is asked for."""

import cv2
import numpy as np
import pytest
from conftest import noise_picture, person

from gccpm_lib.ablation import occlusion as covering
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.skeletons import LIP


@pytest.fixture
def persons(tmp_path):
    made = []
    for row in range(6):
        keypoints = np.column_stack([np.linspace(20, 80, 16), np.linspace(20, 80, 16)[::-1], np.full(16, 2)])
        keypoints[9, :2] = keypoints[8, :2] + (0, -12)  # a head of 12 pixels
        assert cv2.imwrite(str(tmp_path / f"{row}.png"), noise_picture(100, 100, row))
        made.append(person(keypoints, path=tmp_path / f"{row}.png"))
    return made


def test_only_visible_limb_joints_are_chosen(persons):
    allowed = {LIP.joints.index(f"{side}_{limb}") for side in "rl" for limb in covering.LIMB_ENDS}
    joints = covering.choose_joints(persons, LIP)
    assert set(joints.tolist()) <= allowed and len(set(joints.tolist())) > 1
    assert (covering.choose_joints(persons, LIP) == joints).all()
    for p in persons:
        p.keypoints[sorted(allowed), 2] = 1
    assert (covering.choose_joints(persons, LIP) == -1).all()


def test_without_a_head_size_nothing_is_chosen(persons):
    persons[0].keypoints[9, 2] = 0
    assert covering.choose_joints(persons, LIP)[0] == -1


def test_the_joint_lies_under_the_patch_but_not_in_its_middle(persons):
    joints, offsets = covering.choose_joints(persons, LIP), []
    for row, picture in enumerate(covering.covered_pictures(persons, joints, LIP)):
        grey = (picture == 128).all(axis=2)
        x, y = persons[row].keypoints[joints[row], :2]
        assert grey[round(y), round(x)] and grey.sum() == pytest.approx(13 * 13, abs=30)
        ys, xs = np.nonzero(grey)
        offsets.append((xs.mean() - x, ys.mean() - y))
    assert np.abs(offsets).max() > 1 and np.abs(offsets).max() <= 4


def test_only_the_covered_joint_is_predicted(persons):
    class Predictor:
        recipe = LIP_MODERN

        def predict_many(self, pictures, boxes):
            assert boxes == [None] * 5 and all((picture == 128).all(axis=2).any() for picture in pictures)
            return [np.full((1, 16, 3), 7.0)] * 5

    joints = np.array([0, -1, 4, 4, 10, 15])
    pictures = covering.covered_pictures(persons, joints, LIP)
    found = covering.predict_covered(Predictor(), persons, joints, pictures)
    mask = covering.chosen_mask(joints, 16)
    assert mask.sum() == 5 and (found[mask] == 7).all() and np.isnan(found[~mask]).all()
