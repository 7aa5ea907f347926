"""Every kind of error worked out by hand, tolerances by their formulas, properties of the shares."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.evaluation import joint_errors
from gccpm_lib.evaluation.joint_errors import GOOD, INVERSION, JITTER, MISS, NOT_SCORED, SWAP, UNDETECTED
from gccpm_lib.evaluation.pckh import normalised_distances, pckh
from gccpm_lib.skeletons import COCO, LIP, Skeleton

few = settings(max_examples=30, deadline=None)
SQRT_2_LN_2 = 1.1774100225154747
EYES = Skeleton("eyes", ("nose", "left_eye", "right_eye"), (), ((1, 2),), (0.05, 0.1, 0.1))
# with an area of 10000 / (2 ln 2) the tolerances are 10, 20 and 20 pixels
AREA = 10000 / (2 * math.log(2))


def labelled(*places, area=AREA, path="a.jpg", box=(0, 0, 9, 9)) -> Person:
    """A person with joints at these x (None: not labelled) on one line."""
    keypoints = [(0, 0, 0) if x is None else (x, 50, 2) for x in places]
    return Person(Path(path), np.array(keypoints, np.float32), box, 1, 5, area)


def at(*rows) -> np.ndarray:
    return np.array([[(x, 50) for x in row] for row in rows], float)


def lip_person(path="a.jpg") -> Person:
    """Head of 20 pixels, joints 100 pixels apart."""
    keypoints = np.array([(100 + 100 * j, 200, 1 + j % 2) for j in range(16)], np.float32)
    keypoints[9, :2] = keypoints[8, :2] - (0, 20)
    return Person(Path(path), keypoints)


# tolerances and errors


def test_coco_tolerance_by_its_formula():
    person = Person(Path("a.jpg"), np.full((17, 3), 2, np.float32), (0, 0, 1, 1), 1, 2, 6400.0)
    tolerance = joint_errors.tolerances([person], COCO)[0]
    np.testing.assert_allclose(tolerance, [80 * 2 * sigma * SQRT_2_LN_2 for sigma in COCO.sigmas], rtol=1e-12)
    similarity = np.exp(-(tolerance**2) / (2 * 6400 * (2 * np.array(COCO.sigmas)) ** 2))
    np.testing.assert_allclose(similarity, 0.5, rtol=1e-12)


def test_lip_tolerance_is_half_a_head():
    persons = [lip_person() for _ in range(4)]
    persons[1].keypoints[3, 2] = 0
    persons[2].keypoints[8, 2] = 0
    persons[3].keypoints[9, :2] = persons[3].keypoints[8, :2]  # a head of no size
    tolerance = joint_errors.tolerances(persons, LIP)
    expected = np.full((4, 16), 10.0)
    expected[1, 3] = np.nan
    expected[2:] = np.nan
    np.testing.assert_array_equal(tolerance, expected)


def test_joints_without_a_label_have_no_tolerance_and_no_error():
    persons = [labelled(100, None, 300)]
    np.testing.assert_allclose(joint_errors.tolerances(persons, EYES), [[10, np.nan, 20]])
    np.testing.assert_allclose(joint_errors.errors(persons, at((110, 0, 290)), EYES), [[1, np.nan, 0.5]])


def test_lip_errors_are_twice_the_normalised_distances():
    rng = np.random.default_rng(0)
    persons = [lip_person(f"{n}.jpg") for n in range(20)]
    for person in persons:
        person.keypoints[:, 2] *= rng.random(16) > 0.1
    truth = np.stack([person.keypoints for person in persons])
    found = truth[:, :, :2] + rng.normal(0, 12, (20, 16, 2))
    found[3, 4] = (-7, 60)  # counts as (1, 60)
    error = joint_errors.errors(persons, found, LIP)
    np.testing.assert_array_equal(error, normalised_distances(truth, found) / 0.5)
    moved = np.where(found < 0, 1, found)
    distance = np.linalg.norm(moved - truth[:, :, :2], axis=2)
    np.testing.assert_allclose(error, distance / joint_errors.tolerances(persons, LIP), rtol=1e-12)


@pytest.mark.parametrize("skeleton, person", [(EYES, labelled(100, None, 300)), (LIP, lip_person())])
def test_an_undetected_person_is_infinitely_far_where_labelled(skeleton, person):
    found = np.full((1, skeleton.num_joints, 3), np.nan)
    error = joint_errors.errors([person], found, skeleton)
    np.testing.assert_array_equal(error, np.where(person.keypoints[None, :, 2] > 0, np.inf, np.nan))
    expected = np.where(person.keypoints[None, :, 2] > 0, UNDETECTED, NOT_SCORED)
    np.testing.assert_array_equal(joint_errors.kinds([person], found, skeleton), expected)


def test_a_person_without_area_and_joints_without_sigmas_are_named():
    with pytest.raises(DataError, match=r"a\.jpg, annotation 5: no area; add it"):
        joint_errors.tolerances([labelled(1, 2, 3, area=None)], EYES)
    with pytest.raises(DataError, match="eyes: joints without sigmas"):
        joint_errors.tolerances([labelled(1, 2, 3, box=None)], EYES)


# kinds: tolerances are 10 (nose) and 20 (eyes) pixels


def kinds_of(persons, *found) -> list:
    return joint_errors.kinds(persons, at(*found), EYES).tolist()


def test_good_and_jitter_by_similarity():
    limit = 10 * math.sqrt(math.log(0.85) / math.log(0.5))  # pixels where exp(-(d / 10)^2 ln 2) = 0.85
    person = labelled(100, None, None)
    shifts = {0: GOOD, limit - 0.001: GOOD, limit + 0.001: JITTER, 9.99: JITTER, 10.01: MISS}
    for shift, kind in shifts.items():
        assert kinds_of([person], (100 + shift, 0, 0))[0][0] == kind
        assert kinds_of([person], (100 - shift, 0, 0))[0][0] == kind
    assert joint_errors.kinds([person], at((100, 0, 0)), EYES).dtype == np.int8


def test_exactly_the_limit_is_still_jitter():
    persons, found = [lip_person()], lip_person().keypoints[None, :, :2].copy()
    found[:, :, 1] += 10  # half a head: 1 tolerance without rounding
    assert (joint_errors.errors(persons, found, LIP) == 1).all()
    assert (joint_errors.kinds(persons, found, LIP) == JITTER).all()
    assert set(pckh(normalised_distances(persons[0].keypoints[None], found)).values()) == {100}
    found[:, :, 1] += 0.001
    assert not (joint_errors.kinds(persons, found, LIP) == JITTER).any()


def test_inversion_is_on_the_label_of_the_partner():
    person = labelled(100, 200, 300)
    assert kinds_of([person], (100, 300, 200)) == [[GOOD, INVERSION, INVERSION]]
    assert kinds_of([person], (100, 281, 300)) == [[GOOD, INVERSION, GOOD]]
    assert kinds_of([person], (100, 279, 300)) == [[GOOD, MISS, GOOD]]
    assert kinds_of([person], (200, 100, 300)) == [[MISS, MISS, GOOD]]  # the nose is nobody's partner


def test_near_both_labels_of_a_pair_isnt_an_inversion():
    person = labelled(100, 200, 215)  # eyes 15 pixels apart, tolerance 20
    assert kinds_of([person], (100, 215, 200)) == [[GOOD, JITTER, JITTER]]


def test_partner_without_a_label_cant_be_inverted_with():
    assert kinds_of([labelled(100, 200, None)], (100, 300, 300)) == [[GOOD, MISS, NOT_SCORED]]


def test_swap_is_on_another_person_of_the_picture():
    persons = [labelled(100, 200, 300), labelled(1100, 1200, 1300)]
    right = (1100, 1200, 1300)
    assert kinds_of(persons, (1100, 1200, 300), right) == [[SWAP, SWAP, GOOD], [GOOD] * 3]
    assert kinds_of(persons, (1100, 1300, 300), right)[0] == [SWAP, SWAP, GOOD]  # the other's partner too
    assert kinds_of(persons, (1200, 1100, 300), right)[0] == [MISS, MISS, GOOD]  # neither the joint nor its partner
    apart = [persons[0], labelled(1100, 1200, 1300, path="b.jpg")]
    assert kinds_of(apart, (1100, 1200, 300), right)[0] == [MISS, MISS, GOOD]


def test_swap_needs_the_others_label_and_not_its_prediction():
    persons = [labelled(100, 200, 300), labelled(None, 1200, 1300)]
    assert kinds_of(persons, (1100, 200, 300), (1100, 1200, 1300)) == [[MISS, GOOD, GOOD], [NOT_SCORED, GOOD, GOOD]]
    missing = at((1200, 1200, 300), (0, 0, 0))
    missing[1] = np.nan
    assert joint_errors.kinds(persons, missing, EYES).tolist() == [[MISS, SWAP, GOOD], [NOT_SCORED, UNDETECTED, UNDETECTED]]


def test_swap_is_measured_with_the_others_tolerance():
    persons = [labelled(100, 200, 300), labelled(1100, 1200, 1300, area=AREA / 16)]  # tolerances 2.5 and 5
    assert kinds_of(persons, (100, 1206, 300), (1100, 1200, 1300))[0][1] == MISS
    assert kinds_of(persons, (100, 1204, 300), (1100, 1200, 1300))[0][1] == SWAP
    assert kinds_of(persons, (100, 200, 300), (1100, 219, 1300))[1][1] == SWAP  # the large one's 20 pixels


def test_where_inversion_and_swap_apply_the_closer_decides():
    for gap, expected in ((0, INVERSION), (9, INVERSION), (11, SWAP), (20, SWAP)):
        persons = [labelled(100, 200, 300), labelled(1100, 320, 1300)]  # the other's left eye beside this right eye
        assert kinds_of(persons, (100, 300 + gap, 300), (1100, 320, 1300))[0][1] == expected
    equal = [labelled(100, 200, 300), labelled(1100, 320, 1300)]
    assert kinds_of(equal, (100, 310, 300), (1100, 320, 1300))[0][1] == INVERSION


def test_the_closest_of_several_persons_counts():
    others = [labelled(1000 * n, 1000 * n + 200, 1000 * n + 400) for n in range(1, 4)]
    persons = [labelled(0, 200, 400), *others]
    found = at(*[(1000 * n, 1000 * n + 200, 1000 * n + 400) for n in range(4)])
    found[0, 0, 0], found[3, 1, 0] = 2005, 1405
    assert joint_errors.kinds(persons, found, EYES).tolist() == [
        [SWAP, GOOD, GOOD],
        [GOOD, GOOD, GOOD],
        [GOOD, GOOD, GOOD],
        [GOOD, SWAP, GOOD],
    ]


def test_lip_inversion():
    person, found = lip_person(), lip_person().keypoints[None, :, :2].copy()
    found[0, 0] = found[0, 5] + (9, 0)
    found[0, 10] = (-40, 900)
    kinds = joint_errors.kinds([person], found, LIP)[0]
    assert kinds[0] == INVERSION and kinds[10] == MISS and (np.delete(kinds, [0, 10]) == GOOD).all()


# shares


def test_shares_by_hand():
    kinds = np.array([[GOOD, JITTER, NOT_SCORED], [GOOD, MISS, NOT_SCORED], [INVERSION, SWAP, NOT_SCORED]])
    shares = joint_errors.kind_shares(kinds, EYES)
    assert list(shares.index) == ["nose", "left_eye", "right_eye", "all"]
    assert list(shares.columns) == ["good", "jitter", "inversion", "swap", "miss"]
    third = 100 / 3
    np.testing.assert_allclose(
        shares.to_numpy(),
        [[2 * third, 0, third, 0, 0], [0, third, 0, third, third], [np.nan] * 5, [third] + [third / 2] * 4],
    )


def test_undetected_has_a_column_only_where_there_is_any():
    kinds = np.array([[GOOD, UNDETECTED, NOT_SCORED]])
    shares = joint_errors.kind_shares(kinds, EYES)
    assert list(shares.columns)[-1] == "undetected" and shares.loc["all", "undetected"] == 50
    assert joint_errors.kind_shares(np.zeros((0, 3), np.int8), EYES).isna().all().all()


def crowd(seed, skeleton) -> tuple[list[Person], np.ndarray]:
    """Persons close together in few pictures, predictions near them, some persons not detected."""
    rng, K = np.random.default_rng(seed), skeleton.num_joints
    keypoints = np.concatenate([rng.uniform(0, 200, (12, K, 2)), rng.integers(0, 3, (12, K, 1))], axis=2).astype(np.float32)
    box = (0, 0, 200, 200) if skeleton.sigmas else None
    persons = [
        Person(Path(f"{rng.integers(4)}.jpg"), points, box, 1, n, rng.uniform(500, 9000))
        for n, points in enumerate(keypoints)
    ]
    found = keypoints[:, :, :2] + rng.normal(0, 1, (12, K, 2)) * rng.choice([1, 10, 60], (12, K, 1))
    found[rng.random(12) < 0.2] = np.nan
    return persons, found


@few
@given(st.integers(0, 10**6), st.sampled_from([COCO, LIP, EYES]))
def test_shares_sum_to_100_and_found_is_what_pckh_finds(seed, skeleton):
    persons, found = crowd(seed, skeleton)
    kinds, error = joint_errors.kinds(persons, found, skeleton), joint_errors.errors(persons, found, skeleton)
    shares = joint_errors.kind_shares(kinds, skeleton)
    sums = shares.sum(axis=1)[~shares.isna().any(axis=1)]
    np.testing.assert_allclose(sums, 100)
    np.testing.assert_array_equal(kinds == NOT_SCORED, np.isnan(error))
    np.testing.assert_array_equal((kinds == GOOD) | (kinds == JITTER), error <= 1)
    np.testing.assert_array_equal(kinds == UNDETECTED, np.isposinf(error))


@few
@given(st.integers(0, 10**6), st.sampled_from([COCO, LIP, EYES]))
def test_the_truth_itself_is_all_good(seed, skeleton):
    persons, _ = crowd(seed, skeleton)
    kinds = joint_errors.kinds(persons, np.stack([person.keypoints for person in persons]), skeleton)
    assert set(np.unique(kinds)) <= {GOOD, NOT_SCORED} and (kinds == GOOD).any()


@few
@given(st.integers(0, 10**6))
def test_kinds_are_the_rule_written_as_loops(seed):
    persons, found = crowd(seed, COCO)
    kinds = joint_errors.kinds(persons, found, COCO)
    partner = {**{a: b for a, b in COCO.flip_pairs}, **{b: a for a, b in COCO.flip_pairs}}

    def similarity(guess, person, joint):
        x, y, label = person.keypoints[joint].astype(float)
        square = (guess[0] - x) ** 2 + (guess[1] - y) ** 2
        return math.exp(-square / (2 * person.area * (2 * COCO.sigmas[joint]) ** 2)) if label > 0 else 0

    for n, person in enumerate(persons):
        others = [other for other in persons if other is not person and other.image_path == person.image_path]
        for j in range(17):
            if person.keypoints[j, 2] == 0:
                expected = NOT_SCORED
            elif np.isnan(found[n, j]).any():
                expected = UNDETECTED
            else:
                own = similarity(found[n, j], person, j)
                inverted = similarity(found[n, j], person, partner[j]) if j in partner else 0
                swapped = max([similarity(found[n, j], o, k) for o in others for k in (j, partner.get(j, j))], default=0)
                expected = GOOD if own >= 0.85 else JITTER if own >= 0.5 else MISS
                if own < 0.5 and max(inverted, swapped) >= 0.5:
                    expected = INVERSION if inverted >= swapped else SWAP
            assert kinds[n, j] == expected


def test_no_persons_at_all():
    for skeleton in (COCO, LIP):
        empty = np.zeros((0, skeleton.num_joints, 2))
        assert joint_errors.kinds([], empty, skeleton).shape == empty.shape[:2]
        assert joint_errors.errors([], empty, skeleton).shape == empty.shape[:2]


def leaning(degrees: float, hips=(40, 60)) -> Person:
    """A LIP person whose trunk is turned by so much from upright, clockwise."""
    keypoints = np.ones((16, 3), np.float32) * (500, 500, 2)
    way = 100 * np.array([math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))])
    for joint in ("right_hip", "left_hip"):
        keypoints[LIP.find(*joint.split("_")), :2] = hips
    for joint in ("right_shoulder", "left_shoulder"):
        keypoints[LIP.find(*joint.split("_")), :2] = hips + way
    return Person(Path("a.jpg"), keypoints)


def test_trunks_are_measured_from_upright_to_either_side():
    persons = [leaning(degrees) for degrees in (0, 30, -30, 90, -120, 180)]
    np.testing.assert_allclose(joint_errors.trunk_angles(persons, LIP), [0, 30, 30, 90, 120, 180], atol=1e-4)
    persons[0].keypoints[LIP.find("left", "hip"), 2] = 0
    assert np.isnan(joint_errors.trunk_angles(persons[:1], LIP)).all()
    assert np.isnan(joint_errors.trunk_angles([labelled(1, 2, 3)], EYES)).all()


def test_limb_joints_are_pooled_by_direction_and_unknown_directions_have_a_row():
    persons = [leaning(degrees) for degrees in (0, 45, 46, 135, 136, 180)]
    persons.append(leaning(0))
    persons[-1].keypoints[LIP.find("right", "shoulder"), 2] = 0
    errors = np.zeros((7, 16))
    errors[1] = 2  # one of the two upright ones
    errors[4:6, LIP.find("left", "wrist")] = 2  # one limb joint of twelve
    errors[6, LIP.find("left", "wrist")], errors[6, LIP.find("right", "shoulder")] = 2, np.nan  # one of eleven
    table = joint_errors.by_direction(persons, errors, LIP)
    assert table["persons"].to_dict() == {"upright": 2, "leaning or lying": 2, "upside down": 2, "not known": 1}
    np.testing.assert_allclose(table["limb joints found (%)"], [50, 100, 100 * 11 / 12, 100 * 10 / 11])
