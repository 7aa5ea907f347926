"""Skeletons: the order of joints, their sides and pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.skeletons import (
    COCO,
    DEFAULT_SIGMA,
    LIP,
    MISSING,
    OCCLUDED,
    VISIBLE,
    Skeleton,
    flip_pairs_of,
    lower_body,
    sigmas_of,
    split_side,
)


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


# what names say


@pytest.mark.parametrize(
    "name, side, rest",
    [
        ("left_eye", "left", "eye"),
        ("r_ankle", "right", "ankle"),
        ("wrist-left", "left", "wrist"),
        ("LShoulder", "left", "shoulder"),
        ("leftKnee", "left", "knee"),
        ("hand l", "left", "hand"),
        ("RIGHT_EYE", "right", "eye"),
        ("LBigToe", "left", "big_toe"),
        ("Right.hip2", "right", "hip2"),
        ("foot2R", "right", "foot2"),
        ("left_l_ear", "left", "ear"),
        ("l", "left", ""),
        ("nose", "middle", "nose"),
        ("head_top", "middle", "head_top"),
        ("larynx", "middle", "larynx"),
        ("upright", "middle", "upright"),
    ],
)
def test_names_are_split_into_side_and_rest(name, side, rest):
    assert split_side(name) == (side, rest)


@pytest.mark.parametrize("name", ["left_right_ear", "LEarR", "r l"])
def test_a_name_with_both_sides_is_refused(name):
    with pytest.raises(ValueError, match=rf"joint '{name}' says both right and left; keep"):
        split_side(name)


words = st.lists(st.text("aelnrtw", min_size=2, max_size=6), min_size=1, max_size=3)  # none of them says a side
MARKS = {"right": ("right", "r"), "left": ("left", "l")}


@given(words, st.sampled_from(["right", "left", "middle"]), st.booleans(), st.booleans(), st.sampled_from("_ -./"))
@settings(max_examples=60, deadline=None)
def test_every_way_to_write_a_name_says_the_same(words, side, first, short, separator):
    mark = [MARKS[side][short]] if side != "middle" else []
    all_words = mark + words if first else words + mark
    expected = (side, "_".join(words))
    camel = all_words[0] + "".join(word.capitalize() for word in all_words[1:])
    for name in (separator.join(all_words), separator.join(all_words).upper(), camel, camel[0].upper() + camel[1:]):
        assert split_side(name) == expected
    assert split_side("_".join(mark + [expected[1]])) == expected


def test_pairs_follow_from_names():
    assert flip_pairs_of(LIP.joints) == LIP.flip_pairs and flip_pairs_of(COCO.joints) == COCO.flip_pairs
    assert flip_pairs_of(["REye", "nose", "ear l", "ear_right", "leftEye"]) == ((0, 4), (2, 3))
    assert flip_pairs_of(["nose", "neck"]) == () == flip_pairs_of([])


@given(st.permutations(COCO.joints))
def test_pairs_are_those_of_the_same_names_in_any_order(joints):
    pairs = flip_pairs_of(joints)
    assert all(a < b for a, b in pairs) and list(pairs) == sorted(pairs)
    named = {frozenset((joints[a], joints[b])) for a, b in pairs}
    assert named == {frozenset((COCO.joints[a], COCO.joints[b])) for a, b in COCO.flip_pairs}


@pytest.mark.parametrize(
    "joints, message",
    [
        (["left_ear", "nose", "r_eye"], r"^joints without a partner: left_ear, r_eye; name both sides alike, .*flip pairs"),
        (["left_ear", "r_ear", "l_ear"], r"^joints named twice: left_ear, l_ear; "),
        (["nose", "l_eye", "Nose"], r"without a partner: l_eye and joints named twice: nose, Nose; "),
        (["lankle", "rankle", "neck", "leftear", "rightear"], r"partner: lankle, rankle, leftear, rightear; "),
    ],
)
def test_names_that_dont_pair_are_all_named(joints, message):
    with pytest.raises(ValueError, match=message):
        flip_pairs_of(joints)


def test_sigmas_are_cocos_where_coco_has_the_joint():
    assert sigmas_of(COCO.joints) == COCO.sigmas
    expected = (0.079, 0.089, 0.107, 0.026, DEFAULT_SIGMA, DEFAULT_SIGMA)
    assert sigmas_of(["l_shoulder", "RAnkle", "hip right", "Nose", "neck", "shoulder"]) == expected
    assert DEFAULT_SIGMA == COCO.sigmas[COCO.joints.index("left_shoulder")]


def test_the_lower_body_begins_at_the_hips():
    assert np.flatnonzero(lower_body(COCO.joints)).tolist() == list(range(11, 17))
    assert np.flatnonzero(lower_body(LIP.joints)).tolist() == [0, 1, 2, 3, 4, 5]  # not the pelvis
    assert lower_body("LBigToe toes heel.r upper_leg thigh shins rFoot ANKLE".split()).all()
    assert not lower_body(["legend", "whip", "nose"]).any() and lower_body([]).dtype == bool


@pytest.mark.parametrize("skeleton", [LIP, COCO], ids=lambda s: s.name)
def test_joints_are_found_by_side_and_rest(skeleton):
    assert skeleton.joints[skeleton.find("right", "hip")] in ("r_hip", "right_hip")
    assert [skeleton.find(*split_side(name)) for name in skeleton.joints] == list(range(skeleton.num_joints))
    assert skeleton.find("middle", "hip") is None and skeleton.find("left", "tail") is None


@pytest.mark.parametrize("skeleton", [LIP, COCO, Skeleton("one", ("a",), (), ())], ids=lambda s: s.name)
def test_skeletons_survive_json(skeleton):
    import json

    content = json.loads(json.dumps(skeleton.as_dict()))
    assert content == skeleton.as_dict()
    found = Skeleton.from_dict(content)
    assert found == skeleton and hash(found) == hash(skeleton)


@pytest.mark.parametrize(
    "changes", [{"joints": None}, {"limbs": [[0, 99]]}, {"limbs": [[1]]}, {"flip_pairs": 3}, {"sigmas": ["a"]}]
)
def test_what_is_no_skeleton_is_refused(changes):
    with pytest.raises(ValueError, match=r"not a skeleton .*; take what Skeleton\.as_dict gives"):
        Skeleton.from_dict({**LIP.as_dict(), **changes})
    with pytest.raises(ValueError, match=r"not a skeleton .*'name'"):
        Skeleton.from_dict({})
