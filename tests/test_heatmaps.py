"""Targets against the specification written out as loops, and decoders against what they should find."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.heatmaps import coco_targets, decode, lip_targets, peaks

few = settings(max_examples=30, deadline=None)
# Inside, on borders, far outside, negative, halves (where rounding shows).
coordinate = st.one_of(
    st.floats(-150, 550), st.integers(-150, 550).map(float), st.sampled_from([-84.0, -28.0, 0.0, 3.5, 4.0, 255.5, 256.0])
)
joint = st.one_of(
    st.tuples(coordinate, coordinate, st.sampled_from([0.0, 1.0, 2.0])),
    st.just((math.nan, math.nan, 0.0)),
)


def lip_by_loops(keypoints, size, sigma=7.0) -> np.ndarray:
    """The specification's formula, cell by cell."""
    height, width = size
    maps = np.zeros((len(keypoints) + 1, height // 8, width // 8))
    for k, (x, y, label) in enumerate(keypoints):
        if label == 0:
            continue
        for i in range(max(0, int(y - 4 * sigma)) // 8, min(height, int(y + 4 * sigma)) // 8):
            for j in range(max(0, int(x - 4 * sigma)) // 8, min(width, int(x + 4 * sigma)) // 8):
                exponent = ((8 * j + 3.5 - x) ** 2 + (8 * i + 3.5 - y) ** 2) / (2 * sigma**2)
                if exponent < 4.6052:
                    maps[k, i, j] = min(1, maps[k, i, j] + math.exp(-exponent))
    maps[-1] = 1 - maps[:-1].max(axis=0)
    return maps


def coco_by_loops(keypoints, size, sigma=3) -> tuple[np.ndarray, np.ndarray]:
    """The specification's formula, cell by cell."""
    h, w = size[0] // 8, size[1] // 8
    maps, weights = np.zeros((len(keypoints), h, w)), np.zeros(len(keypoints))
    for k, (x, y, label) in enumerate(keypoints):
        if label == 0:
            continue
        px, py = int(x / 8 + 0.5), int(y / 8 + 0.5)
        if px - 3 * sigma >= w or py - 3 * sigma >= h or px + 3 * sigma + 1 < 0 or py + 3 * sigma + 1 < 0:
            continue
        weights[k] = 1
        for i in range(h):
            for j in range(w):
                if abs(i - py) <= 3 * sigma and abs(j - px) <= 3 * sigma:
                    maps[k, i, j] = math.exp(-((i - py) ** 2 + (j - px) ** 2) / (2 * sigma**2))
    return maps, weights


@few
@given(st.lists(joint, min_size=1, max_size=6), st.sampled_from([(256, 256), (256, 192), (128, 200)]))
def test_lip_targets_are_the_published_formula(keypoints, size):
    targets = lip_targets(np.array(keypoints), size)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, lip_by_loops(keypoints, size), atol=1e-6)


@few
@given(st.lists(joint, min_size=1, max_size=6), st.sampled_from([(384, 288), (256, 192)]))
def test_coco_targets_are_the_published_formula(keypoints, size):
    targets, weights = coco_targets(np.array(keypoints), size)
    expected_targets, expected_weights = coco_by_loops(keypoints, size)
    assert targets.dtype == weights.dtype == np.float32
    np.testing.assert_array_equal(weights, expected_weights)
    np.testing.assert_allclose(targets, expected_targets, atol=1e-6)


def test_other_sigmas_follow_the_same_formulas():
    keypoints = np.random.default_rng(0).uniform(0, 128, (5, 3)) + (0, 0, 1)
    np.testing.assert_allclose(
        lip_targets(keypoints, (128, 128), sigma=5), lip_by_loops(keypoints, (128, 128), 5), atol=1e-6
    )
    np.testing.assert_allclose(
        coco_targets(keypoints, (128, 128), sigma=1)[0], coco_by_loops(keypoints, (128, 128), 1)[0], atol=1e-6
    )


def test_lip_value_of_one_cell_by_hand():
    targets = lip_targets(np.array([[100.0, 60, 2]]))
    assert targets[0, 7, 12] == pytest.approx(math.exp(-((99.5 - 100) ** 2 + (59.5 - 60) ** 2) / 98))
    assert targets[1, 7, 12] == pytest.approx(1 - targets[0, 7, 12])
    assert targets[0, 7, 16] == 0 and targets[0, 7, 15] == 0 and targets[0, 7, 14] > 0  # window: int(128) // 8 is excluded


def test_lip_missing_joint_is_empty_and_all_background():
    targets = lip_targets(np.array([[np.nan, np.nan, 0], [50, 50, 0]]))
    assert (targets[:2] == 0).all() and (targets[2] == 1).all()


def test_occluded_and_visible_joints_have_the_same_target():
    occluded, visible = np.array([[50.0, 70, 1]]), np.array([[50.0, 70, 2]])
    np.testing.assert_array_equal(lip_targets(occluded), lip_targets(visible))
    for a, b in zip(coco_targets(occluded), coco_targets(visible), strict=True):
        np.testing.assert_array_equal(a, b)


def test_coco_joint_ten_cells_left_keeps_its_weight_with_an_empty_map():
    targets, weights = coco_targets(np.array([[-84.0, 100, 2], [-92.0, 100, 2]]))  # px = int(-10.0), int(-11.0)
    np.testing.assert_array_equal(weights, [1, 0])
    assert (targets == 0).all()


def test_coco_peak_is_one_in_the_nearest_cell_and_truncates_toward_zero():
    targets, _ = coco_targets(np.array([[100.0, 60, 2], [-10.0, 60, 2]]))
    assert targets[0, 8, 13] == 1  # 12.5 + 0.5, 7.5 + 0.5
    assert targets[1, 8, 0] == 1  # int(-0.75) is 0, not -1


@few
@given(st.floats(10, 245), st.floats(10, 245))
def test_targets_of_a_mirrored_joint_are_mirrored_away_from_the_window_edge(x, y):
    maps = lip_targets(np.array([[x, y, 2]]))[0]
    mirrored = lip_targets(np.array([[255 - x, y, 2]]))[0][:, ::-1]
    both = (maps > 0) & (mirrored > 0)  # the published window isn't symmetric: its last cell is left out
    np.testing.assert_allclose(maps[both], mirrored[both], atol=1e-6)
    assert maps.max() == pytest.approx(mirrored.max(), abs=1e-6)


def test_coco_gaussian_is_symmetric_about_its_peak():
    targets, _ = coco_targets(np.array([[8.0 * 18, 8 * 24, 2]]))
    patch = targets[0, 24 - 9 : 24 + 10, 18 - 9 : 18 + 10]
    np.testing.assert_array_equal(patch, patch[::-1])
    np.testing.assert_array_equal(patch, patch.T)
    assert (targets > 0).sum() == 19 * 19


@few
@given(st.floats(0, 279), st.floats(0, 375), st.sampled_from(["argmax", "quarter", "dark"]))
def test_decoding_an_encoded_joint_is_within_half_a_cell(x, y, decoder):
    targets, _ = coco_targets(np.array([[x, y, 2]]))
    found = decode(targets, decoder)[0]
    assert abs(found[0] - x) <= 4 + 1e-6 and abs(found[1] - y) <= 4 + 1e-6 and found[2] == 1


@few
@given(st.floats(10, 25), st.floats(10, 35))
def test_dark_finds_the_centre_of_a_gaussian_between_cells(x, y):
    rows, columns = np.mgrid[:48, :36]
    gaussian = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))[None].astype(np.float32)
    np.testing.assert_allclose(decode(gaussian, "dark")[0, :2] / 8, (x, y), atol=0.02)


@few
@given(st.floats(20, 260), st.floats(20, 350), st.sampled_from([1.0, 3.0]))
def test_without_whole_cells_the_maps_say_where_in_a_cell_the_joint_is(x, y, sigma):
    point = np.array([[x, y, 2]])
    targets, weights = coco_targets(point, sigma=sigma, whole_cells=False)
    cell = np.array([round(y / 8), round(x / 8)])
    expected = np.exp(-((cell[1] - x / 8) ** 2 + (cell[0] - y / 8) ** 2) / (2 * sigma**2))
    assert targets[0][tuple(cell)] == pytest.approx(expected, rel=1e-6) and weights[0] == 1
    np.testing.assert_allclose(decode(targets, "dark", sigma=sigma)[0, :2], (x, y), atol=0.5)
    assert (coco_targets(point, sigma=sigma)[1] == weights).all()


def test_quarter_steps_to_the_higher_neighbour_by_hand():
    map_ = np.zeros((1, 5, 5), np.float32)
    map_[0, 2, 2], map_[0, 2, 3], map_[0, 1, 2] = 1, 0.5, 0.5
    np.testing.assert_array_equal(decode(map_, "quarter"), [[8 * 2.25, 8 * 1.75, 1]])


def test_no_step_at_the_border_of_the_map():
    map_ = np.zeros((1, 6, 6), np.float32)
    map_[0, 0, 3], map_[0, 0, 4] = 1, 0.5
    for decoder in ("quarter", "dark"):
        np.testing.assert_array_equal(decode(map_, decoder), [[24, 0, 1]])


def test_a_cell_stands_for_eight_pixels_and_the_first_of_equal_peaks_wins():
    maps = np.zeros((2, 4, 6))
    maps[0, 3, 5] = maps[1, 1, 2] = maps[1, 2, 1] = 0.5
    np.testing.assert_array_equal(peaks(maps), [[5, 3, 0.5], [2, 1, 0.5]])
    np.testing.assert_array_equal(decode(maps), [[40, 24, 0.5], [16, 8, 0.5]])


def test_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match=r"decoder 'best'.*known.*'dark'"):
        decode(np.zeros((1, 4, 4)), "best")
