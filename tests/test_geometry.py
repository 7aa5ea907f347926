"""Affines: composing, inverting, mirroring, fitting boxes and pictures."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib import geometry

few = settings(max_examples=30, deadline=None)
number = st.floats(-200, 200, allow_nan=False)
similarity = st.builds(
    lambda x, y, degrees, factor: geometry.rotate_and_scale((x, y), degrees, factor),
    number, number, st.floats(-180, 180), st.floats(0.1, 10),
)  # fmt: skip
points = st.lists(st.tuples(number, number), min_size=1, max_size=5).map(np.array)


@few
@given(similarity, points)
def test_inverting_undoes_an_affine(affine, xy):
    np.testing.assert_allclose(geometry.apply(geometry.invert(affine), geometry.apply(affine, xy)), xy, atol=1e-6)


@few
@given(similarity, similarity, points)
def test_composed_affines_act_in_the_order_given(first, second, xy):
    one_by_one = geometry.apply(second, geometry.apply(first, xy))
    np.testing.assert_allclose(geometry.apply(geometry.compose(first, second), xy), one_by_one, atol=1e-6)


def test_composing_nothing_changes_nothing():
    np.testing.assert_array_equal(geometry.compose(), np.eye(2, 3))


def test_apply_keeps_labels_and_its_input():
    keypoints = np.array([[1, 2, 0.5], [3, 4, 2]], np.float32)
    moved = geometry.apply(np.array([[2.0, 0, 1], [0, 3, -1]]), keypoints)
    np.testing.assert_array_equal(moved, [[3, 5, 0.5], [7, 11, 2]])
    np.testing.assert_array_equal(keypoints[0], [1, 2, 0.5])


def test_mirror_swaps_first_and_last_pixel_and_undoes_itself():
    mirror = geometry.mirror(10)
    np.testing.assert_array_equal(geometry.apply(mirror, np.array([[0, 3], [9, 3]])), [[9, 3], [0, 3]])
    np.testing.assert_array_equal(geometry.compose(mirror, mirror), np.eye(2, 3))


def test_mirroring_by_warp_is_flipping_the_array():
    image = np.random.default_rng(0).integers(0, 256, (7, 10, 3), dtype=np.uint8)
    np.testing.assert_array_equal(geometry.warp(image, geometry.mirror(10), (7, 10), 0), image[:, ::-1])


def test_a_positive_angle_turns_clockwise_as_seen_and_the_centre_stays():
    affine = geometry.rotate_and_scale((5, 7), 90, 2)
    np.testing.assert_allclose(geometry.apply(affine, np.array([[5, 7], [6, 7]])), [[5, 7], [5, 9]], atol=1e-12)


@few
@given(st.tuples(*[st.integers(1, 500)] * 4))
def test_letterbox_fits_pixel_edges_and_centres(sides):
    height, width, out_height, out_width = sides
    affine = geometry.letterbox_to_affine((height, width), (out_height, out_width))
    left, top, right, bottom = geometry.apply(affine, np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])).ravel()
    margins = np.array([left + 0.5, out_width - 0.5 - right, top + 0.5, out_height - 0.5 - bottom])
    assert margins[0] == pytest.approx(margins[1], abs=1e-6) and margins[2] == pytest.approx(margins[3], abs=1e-6)
    assert margins.min() == pytest.approx(0, abs=1e-6) and affine[0, 0] == affine[1, 1]


def test_letterbox_by_warp_agrees_with_resizing():
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8), (40, 40))
    large = geometry.warp(image, geometry.letterbox_to_affine((40, 40), (80, 80)), (80, 80), 0)
    difference = abs(large.astype(int) - cv2.resize(image, (80, 80)))[2:-2, 2:-2]
    assert difference.max() <= 4 and difference.mean() < 0.5


def published_box(box, image, output):
    """The specification's rule, line by line: centre, crop width and scale."""
    (x, y, w, h), (H, W) = box, image
    x1 = max(0, x)
    y1 = max(0, y)
    x2 = min(W - 1, x1 + max(0, w - 1))
    y2 = min(H - 1, y1 + max(0, h - 1))
    assert x2 >= x1 and y2 >= y1
    w, h = x2 - x1, y2 - y1
    centre = (x1 + w / 2, y1 + h / 2)
    aspect = output[1] / output[0]
    if w > aspect * h:
        h = w / aspect
    elif w < aspect * h:
        w = h * aspect
    return centre, w * 1.25, h * 1.25


@few
@given(st.floats(-50, 90), st.floats(-50, 110), st.floats(60, 300), st.floats(60, 300))
def test_box_goes_to_the_crop_by_the_published_rule(x, y, w, h):
    image, output = (120, 100), (384, 288)
    centre, width, height = published_box((x, y, w, h), image, output)
    np.testing.assert_allclose(geometry.grow_box((x, y, w, h), image), (*centre, width, height))
    assert width / height == pytest.approx(0.75)
    affine = geometry.box_to_affine((x, y, w, h), image, output)
    corners = np.array(centre) + np.array([[0, 0], [-width / 2, -height / 2], [width / 2, height / 2]])
    np.testing.assert_allclose(geometry.apply(affine, corners), [[144, 192], [0, 0], [288, 384]], atol=1e-9)


def test_a_box_by_hand():
    # 61 x 41 pixels from (10, 20): extent 60 x 40, height grown to 80, times 1.25: 75 x 100; scale 288 / 75
    affine = geometry.box_to_affine((10, 20, 61, 41), (200, 300))
    s = 288 / 75
    np.testing.assert_allclose(affine, [[s, 0, 144 - s * 40], [0, s, 192 - s * 40]])


def test_a_box_is_not_edited_in_place():
    box = np.array([-5.0, -5, 500, 500])
    geometry.box_to_affine(box, (100, 100))
    np.testing.assert_array_equal(box, [-5, -5, 500, 500])


@pytest.mark.parametrize("box", [(100, 0, 10, 10), (0, 90, 10, 10), (5, 5, 0, 0), (5, 5, 1, 1)])
def test_a_box_without_area_in_the_picture_is_refused(box):
    with pytest.raises(ValueError, match=r"no area inside a picture of 100x80"):
        geometry.box_to_affine(box, (80, 100))


def test_warp_pads_outside_with_the_given_value():
    image = np.full((10, 10, 3), 200, np.uint8)
    crop = geometry.warp(image, np.array([[1.0, 0, 5], [0, 1, 0]]), (10, 20), 128)
    assert (crop[:, :4] == 128).all() and (crop[:, 5:15] == 200).all() and (crop[:, 16:] == 128).all()
    assert crop.shape == (10, 20, 3) and crop.dtype == np.uint8
