"""Skeletons: the order of joints, their sides and pairs."""

import numpy as np
import pytest

from gccpm_lib.skeletons import COCO, LIP, MISSING, OCCLUDED, VISIBLE, Skeleton


def test_lip_has_the_order_of_its_csv_files():
    assert LIP.joints == tuple(
        "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis spine neck head_top "
        "r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist".split()
    )
    assert set(LIP.flip_pairs) == {(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)}


def test_coco_has_the_order_and_constants_of_its_evaluation():
    from pycocotools.cocoeval import Params

    assert COCO.num_joints == 17 and COCO.joints[0] == "nose" and COCO.joints[16] == "right_ankle"
    np.testing.assert_allclose(COCO.sigmas, Params(iouType="keypoints").kpt_oks_sigmas)


@pytest.mark.parametrize("skeleton", [LIP, COCO], ids=lambda s: s.name)
def test_a_pair_is_the_same_joint_of_the_two_sides(skeleton):
    for a, b in skeleton.flip_pairs:
        assert {skeleton.side(a), skeleton.side(b)} == {"right", "left"}
        assert skeleton.joints[a].split("_")[1:] == skeleton.joints[b].split("_")[1:]
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    assert {skeleton.side(j) for j in range(skeleton.num_joints) if j not in paired} == {"middle"}


@pytest.mark.parametrize("skeleton", [LIP, COCO], ids=lambda s: s.name)
def test_flipping_twice_changes_nothing(skeleton):
    order = skeleton.flip_order
    assert sorted(order) == list(range(skeleton.num_joints))
    assert (order[order] == np.arange(skeleton.num_joints)).all() and (order != np.arange(len(order))).any()


@pytest.mark.parametrize("skeleton", [LIP, COCO], ids=lambda s: s.name)
def test_limbs_reach_every_joint_and_mirror_onto_limbs(skeleton):
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert set().union(*limbs) == set(range(skeleton.num_joints))
    assert {frozenset(skeleton.flip_order[list(limb)].tolist()) for limb in limbs} == limbs


def test_labels_grow_with_what_is_seen():
    assert (MISSING, OCCLUDED, VISIBLE) == (0, 1, 2)


def test_impossible_skeletons_are_refused():
    with pytest.raises(AssertionError, match="joint out of range"):
        Skeleton("two", ("a", "b"), limbs=((0, 2),), flip_pairs=())
    with pytest.raises(AssertionError, match="1 sigmas for 2 joints"):
        Skeleton("two", ("a", "b"), limbs=(), flip_pairs=(), sigmas=(0.1,))
