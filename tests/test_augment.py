"""Augmentation: joints stay on what the picture shows there, every rule in its published proportion."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import person
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib import geometry
from gccpm_lib.augment import augmented_crop, cut_by_frame, degrade, hide_quadrangle, random_affine, tightened
from gccpm_lib.recipes import (
    COCO_CORRECTED,
    COCO_PHOTOGRAPHS,
    COCO_PUBLISHED,
    LIP_CORRECTED,
    LIP_PHOTOGRAPHS,
    LIP_PUBLISHED,
    RECIPES,
)
from gccpm_lib.skeletons import COCO, LIP, OUTSIDE

few = settings(max_examples=30, deadline=None)
HEIGHT, WIDTH = 300, 240


def plain(recipe, **more):
    """The recipe without whatever isn't asked for: no turn, no scale, no flip, nothing hidden or shuffled."""
    off = dict(
        rotation_probability=0.0, scale_probability=0.0, flip_probability=0.0, quadrangle_probability=0.0,
        channel_shuffle_probability=0.0, half_body_probability=0.0, scale_spread_from_box=False, half_turn_probability=0.0,
        cut_probability=0.0, box_jitter=0.0, degrade_probability=0.0, grey_probability=0.0, light_spread=0.0,
    )  # fmt: skip
    return replace(recipe, **(off | more))


def grid_person(recipe) -> tuple[np.ndarray, np.ndarray]:
    """Joints on a grid, each with labels 2 and 1 in turn, and a box around them; keypoints (K, 3), box (4,)."""
    K = recipe.skeleton.num_joints
    keypoints = np.array([(70 + 34 * (j % 4), 60 + 42 * (j // 4), 2 - j % 2) for j in range(K)], float)
    return keypoints, (50, 40, 150, 220)


def blob(x: float, y: float) -> np.ndarray:
    """A picture that is bright in a round spot at (x, y)."""
    columns, rows = np.arange(WIDTH) - x, np.arange(HEIGHT)[:, None] - y
    spot = 255 * np.exp(-(columns**2 + rows**2) / (2 * 5.0**2))
    return np.repeat(np.rint(spot)[:, :, None], 3, axis=2).astype(np.uint8)


def centre_of(crop: np.ndarray) -> np.ndarray:
    """x, y of the mean brightness of a crop that is dark elsewhere."""
    light = crop.astype(float).mean(axis=2)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("joint", [0, 3, 12])
def test_every_joint_stays_on_its_spot_of_the_picture(recipe, joint):
    recipe = replace(recipe, quadrangle_probability=0.0, cut_probability=0.0, light_spread=0.0, padding=0)
    recipe = replace(recipe, input_size=(384, 288) if recipe.crop == "box" else (256, 256))
    recipe = replace(recipe, box_jitter=0.0 if recipe.crop == "letterbox" else recipe.box_jitter)  # drawn before the affine
    keypoints, box = grid_person(recipe)
    image, who, compared = blob(*keypoints[joint, :2]), person(keypoints, box), 0
    for seed in range(40):
        crop, moved, _ = augmented_crop(np.random.default_rng(seed), image, who, recipe, recipe.input_size)
        _, mirrored = random_affine(np.random.default_rng(seed), who, image.shape[:2], recipe, recipe.input_size)
        name = recipe.skeleton.flip_order[joint] if mirrored else joint  # a right wrist in the mirror is a left one
        x, y = moved[name, :2]
        size = recipe.input_size[::-1]
        if 45 < x < size[0] - 45 and 45 < y < size[1] - 45:
            assert np.linalg.norm(centre_of(crop) - (x, y)) < 1.5
            assert moved[name, 2] == keypoints[joint, 2]
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_same_generator_gives_the_same_sample(recipe):
    keypoints, box = grid_person(recipe)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    first, again = (
        augmented_crop(np.random.default_rng([3, 1, 4]), image, person(keypoints, box), recipe, (96, 64)) for _ in range(2)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape == (96, 64, 3) and first[0].dtype == np.uint8 and first[2].shape == (3,)


def test_augmentation_changes_neither_picture_nor_person():
    keypoints, _ = grid_person(LIP_PUBLISHED)
    image, who = np.full((HEIGHT, WIDTH, 3), 9, np.uint8), person(keypoints)
    for seed in range(5):
        augmented_crop(np.random.default_rng(seed), image, who, LIP_PUBLISHED, (64, 64))
    assert (image == 9).all() and np.array_equal(who.keypoints, keypoints.astype(np.float32))


def test_missing_joints_stay_missing_and_pairs_swap_their_labels():
    keypoints = np.zeros((16, 3))
    keypoints[0] = 50, 60, 1
    recipe = plain(LIP_PUBLISHED, flip_probability=1.0)
    _, moved, _ = augmented_crop(np.random.default_rng(0), blob(50, 60), person(keypoints), recipe, (256, 256))
    assert moved[5, 2] == 1 and np.delete(moved[:, 2], 5).sum() == 0


def test_without_augmentation_a_lip_crop_is_the_letterbox():
    recipe = plain(LIP_PUBLISHED)
    affine, mirrored = random_affine(np.random.default_rng(0), person(np.zeros((16, 3))), (300, 240), recipe, (256, 256))
    np.testing.assert_allclose(affine, geometry.letterbox_to_affine((300, 240), (256, 256)))
    assert not mirrored


def test_without_augmentation_a_coco_crop_is_the_box():
    who = person(np.zeros((17, 3)), (50, 40, 150, 220))
    affine, _ = random_affine(np.random.default_rng(0), who, (300, 240), plain(COCO_PUBLISHED), (384, 288))
    np.testing.assert_allclose(affine, geometry.box_to_affine(who.box, (300, 240)))


# LIP


@few
@given(st.integers(0, 10**6))
def test_lip_turns_up_to_40_degrees_on_a_canvas_grown_to_fit(seed):
    recipe = plain(LIP_PUBLISHED, rotation_probability=1.0)
    affine, _ = random_affine(np.random.default_rng(seed), person(np.zeros((16, 3))), (HEIGHT, WIDTH), recipe, (256, 256))
    degrees = np.degrees(np.arctan2(affine[1, 0], affine[0, 0]))
    assert abs(degrees) <= 40
    corners = np.array([[x, y] for x in (-0.5, WIDTH - 0.5) for y in (-0.5, HEIGHT - 0.5)])
    moved = geometry.apply(affine, corners) + 0.5
    assert moved.min() > -1e-6 and moved.max() < 256 + 1e-6  # nothing is cut off
    assert np.ptp(moved, axis=0).max() == pytest.approx(256)  # the longest side fills the crop
    np.testing.assert_allclose(moved.mean(axis=0), (128, 128))


@pytest.mark.parametrize(
    "recipe, image, size", [(LIP_PUBLISHED, (30, 24), (32, 32)), (COCO_PUBLISHED, (300, 240), (384, 288))]
)
def test_a_half_turn_puts_every_pixel_on_the_opposite_one_as_often_as_asked(recipe, image, size):
    who, rng = person(np.zeros((recipe.skeleton.num_joints, 3)), (50, 40, 150, 220)), np.random.default_rng(0)
    upright, _ = random_affine(rng, who, image, plain(recipe), size)
    turned = [random_affine(rng, who, image, plain(recipe, half_turn_probability=0.3), size)[0] for _ in range(500)]
    different = [affine for affine in turned if not np.allclose(affine, upright)]
    assert 0.25 < len(different) / 500 < 0.35
    point = np.array([[10.0, 7.0]])
    total = geometry.apply(upright, point) + geometry.apply(different[0], point)
    middle = (size[1] / 2, size[0] / 2) if recipe.crop == "box" else ((size[1] - 1) / 2, (size[0] - 1) / 2)
    np.testing.assert_allclose(total / 2, [middle], atol=1e-9)


def test_lip_scales_half_of_the_pictures_by_the_published_range():
    recipe, rng = plain(LIP_PUBLISHED, scale_probability=0.5), np.random.default_rng(0)
    base = 256 / HEIGHT
    draw = [random_affine(rng, person(np.zeros((16, 3))), (HEIGHT, WIDTH), recipe, (256, 256))[0] for _ in range(2000)]
    factors = np.array([affine[0, 0] / base for affine in draw])
    changed = factors[abs(factors - 1) > 1e-9]
    assert 0.46 < len(changed) / len(factors) < 0.54
    assert 0.8 <= changed.min() < 0.81 and 1.49 < changed.max() <= 1.5 and changed.mean() == pytest.approx(1.15, abs=0.03)
    middle = geometry.apply(draw[0], np.array([[(WIDTH - 1) / 2, (HEIGHT - 1) / 2]]))
    np.testing.assert_allclose(middle, [[127.5, 127.5]])


def test_flips_hidden_quadrangles_and_shuffles_come_half_of_the_time():
    keypoints, _ = grid_person(LIP_PUBLISHED)
    recipe = plain(LIP_PUBLISHED, flip_probability=0.5, quadrangle_probability=0.5, channel_shuffle_probability=0.5)
    image, rng, counts = np.full((40, 40, 3), 9, np.uint8), np.random.default_rng(0), np.zeros(3)
    for _ in range(600):
        crop, moved, order = augmented_crop(rng, image, person(keypoints), recipe, (40, 40))
        counts += (moved[0, 0] != keypoints[0, 0], (crop == 128).any(), order.tolist() != [0, 1, 2])
    assert (abs(counts / 600 - (0.5, 0.5, 0.5 * 5 / 6)) < 0.07).all()


@pytest.mark.parametrize("recipe", [LIP_PUBLISHED, LIP_CORRECTED], ids=lambda r: r.name)
def test_channel_orders_come_equally_often_and_no_other(recipe):
    recipe, rng, counts = plain(recipe, channel_shuffle_probability=1.0), np.random.default_rng(0), {}
    image, who = np.zeros((16, 16, 3), np.uint8), person(np.zeros((16, 3)))
    for _ in range(1200):
        order = tuple(augmented_crop(rng, image, who, recipe, (16, 16))[2].tolist())
        counts[order] = counts.get(order, 0) + 1
    assert set(counts) == set(recipe.channel_orders) and all(140 < count < 265 for count in counts.values())


# the quadrangle


@few
@given(st.integers(0, 10**6), st.integers(20, 120), st.integers(20, 120))
def test_a_quadrangle_is_filled_convex_and_keeps_to_its_range(seed, height, width):
    crop = np.full((height, width, 3), 7, np.uint8)
    crop = hide_quadrangle(np.random.default_rng(seed), crop)
    hidden = (crop == 128).all(axis=2)
    assert hidden.any() and (crop[~hidden] == 7).all()
    rows, columns = np.nonzero(hidden)
    for first, last, side in ((columns.min(), columns.max(), width), (rows.min(), rows.max(), height)):
        assert first >= side / 3 - 0.3 * side - 2 and last <= 2 * side / 3 + 0.3 * side + 2
    outline, _ = cv2.findContours(hidden.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    assert len(outline) == 1
    filled = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), cv2.convexHull(outline[0]), 1)
    assert abs(filled.astype(int) - hidden).sum() <= 0.15 * hidden.sum() + 8  # convex but for the drawing of slopes


def test_published_lip_hides_a_part_of_the_picture_not_of_the_crop():
    """First in the published order, so that its sides are measured on the picture: at most 60 % of its width."""
    recipe = plain(LIP_PUBLISHED, quadrangle_probability=1.0)
    image, who = np.full((256, 64, 3), 9, np.uint8), person(np.zeros((16, 3)))
    for seed in range(20):
        crop, _, _ = augmented_crop(np.random.default_rng(seed), image, who, recipe, (256, 256))
        hidden = (crop[:, 98:158] == 128).all(axis=2)  # the picture lies in columns 96 to 159
        assert np.ptp(np.nonzero(hidden)[1]) <= 0.6 * 64 + 2


# COCO


def test_published_coco_scales_the_box_by_the_clipped_normal():
    rng, image = np.random.default_rng(0), (1000, 1000)
    recipe = plain(COCO_PUBLISHED, scale_spread_from_box=True)
    for side, negative in ((96.0, False), (480.0, True)):
        who = person(np.zeros((17, 3)), (200, 200, side + 1, side / 0.75 + 1))
        s = 1.25 * side / 200
        drawn = [random_affine(rng, who, image, recipe, (384, 288))[0] for _ in range(400)]
        factors = np.array([288 / affine[0, 0] / (1.25 * side) for affine in drawn])
        expected = np.clip(2 + s * np.random.default_rng(1).standard_normal(20000), 1 - s, 1 + s)
        assert 1 - s - 1e-9 <= factors.min() and factors.max() <= 1 + s + 1e-9
        np.testing.assert_allclose(
            np.quantile(factors, [0.1, 0.5, 0.9]), np.quantile(expected, [0.1, 0.5, 0.9]), atol=0.35 * s
        )
        assert (factors < 0).any() == negative  # the crop is then turned by 180 degrees
        assert (factors == 1 + s).mean() == pytest.approx((expected == 1 + s).mean(), abs=0.08)


def test_published_coco_flips_the_picture_and_leaves_the_box_where_it_was():
    who = person(np.zeros((17, 3)), (20, 30, 60, 80))
    flipping = plain(COCO_PUBLISHED, flip_probability=1.0)
    affine, mirrored = random_affine(np.random.default_rng(0), who, (HEIGHT, WIDTH), flipping, (384, 288))
    expected = geometry.compose(geometry.mirror(WIDTH), geometry.box_to_affine(who.box, (HEIGHT, WIDTH)))
    np.testing.assert_allclose(affine, expected)
    assert mirrored


def test_corrected_coco_mirrors_the_box_with_the_picture():
    who = person(np.zeros((17, 3)), (20, 30, 60, 80))
    corrected = plain(COCO_CORRECTED, flip_probability=1.0)
    affine, _ = random_affine(np.random.default_rng(0), who, (HEIGHT, WIDTH), corrected, (384, 288))
    centre = geometry.grow_box(who.box, (HEIGHT, WIDTH))[:2]
    np.testing.assert_allclose(geometry.apply(affine, np.array([centre])), [[144, 192]])


def test_corrected_coco_scales_and_turns_in_its_range_about_the_box():
    who, rng = person(np.zeros((17, 3)), (60, 60, 91, 121)), np.random.default_rng(0)
    recipe = replace(COCO_CORRECTED, flip_probability=0.0, half_body_probability=0.0)
    drawn = np.array([random_affine(rng, who, (HEIGHT, WIDTH), recipe, (384, 288))[0] for _ in range(800)])
    factors = 288 / np.hypot(drawn[:, 0, 0], drawn[:, 1, 0]) / (1.25 * 90)
    degrees = np.degrees(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    assert 0.65 <= factors.min() < 0.67 and 1.33 < factors.max() <= 1.35
    assert 40 < abs(degrees).max() <= 45 and 0.34 < (degrees == 0).mean() < 0.46
    np.testing.assert_allclose(drawn @ (105, 120, 1), np.tile([144.0, 192], (800, 1)))


def half_body_crops(keypoints) -> set[tuple[float, float, float]]:
    """Centre and width of all the crops that come up."""
    recipe, rng, found = plain(COCO_CORRECTED, half_body_probability=1.0), np.random.default_rng(0), set()
    for _ in range(20):
        affine, _ = random_affine(rng, person(keypoints, (10, 10, 200, 250)), (HEIGHT, WIDTH), recipe, (384, 288))
        back = geometry.invert(affine)
        found.add(tuple(np.round([*(back @ (144, 192, 1)), 288 / affine[0, 0]], 3)))
    return found


def test_half_body_crops_the_upper_or_the_lower_joints():
    keypoints, _ = grid_person(COCO_CORRECTED)
    expected = set()
    for joints in (keypoints[:11, :2], keypoints[11:, :2]):
        w, h = np.ptp(joints, axis=0)
        expected.add(tuple(np.round([*joints.mean(axis=0), 1.5 * max(w, 0.75 * h)], 3)))
    assert half_body_crops(keypoints) == expected


def test_half_body_needs_more_than_eight_labelled_joints():
    keypoints, _ = grid_person(COCO_CORRECTED)
    keypoints[[0, 1, 2, 3, 11, 12, 13, 14, 15], 2] = 0  # eight remain
    centre = geometry.grow_box((10, 10, 200, 250), (HEIGHT, WIDTH))
    assert half_body_crops(keypoints) == {tuple(np.round(centre[:3], 3))}


def test_half_body_comes_in_three_of_ten_crops():
    keypoints, box = grid_person(COCO_CORRECTED)
    recipe, rng = plain(COCO_CORRECTED, half_body_probability=0.3), np.random.default_rng(0)
    whole = geometry.box_to_affine(box, (HEIGHT, WIDTH))
    drawn = [random_affine(rng, person(keypoints, box), (HEIGHT, WIDTH), recipe, (384, 288))[0] for _ in range(600)]
    assert 0.25 < np.mean([not np.allclose(affine, whole) for affine in drawn]) < 0.35


def test_skeletons_of_the_recipes_are_those_of_the_data_sets():
    assert {(r.skeleton, r.crop) for r in RECIPES.values()} == {(LIP, "letterbox"), (COCO, "box")}


# everyday photographs


@pytest.mark.parametrize(
    "name, following, labels, pixels",
    [
        ("lip-published", 0.506385001421571, 895.404007, 1563629),
        ("lip-modern", 0.872195468024335, 979.98112, 1574458),
        ("coco-published", 0.5070681389233913, 634.556569, 1563068),
        ("coco-corrected", 0.5561597755338971, 1382.010007, 1565796),
        ("coco-modern", 0.5033639655536645, 1044.970515, 918089),
    ],
)
def test_what_photographs_add_leaves_the_other_recipes_as_they_were(name, following, labels, pixels):
    """Values from before the additions: the crop's labels, its pixels, and the random number that comes next."""
    recipe, rng = RECIPES[name], np.random.default_rng(5)
    keypoints, box = grid_person(recipe)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for _ in range(4):
        crop, moved, _ = augmented_crop(rng, image, person(keypoints, box), recipe, (64, 64))
    assert rng.random() == following and moved[:, :2].sum() == pytest.approx(labels, abs=1e-5)
    assert crop.sum() == pytest.approx(pixels, rel=1e-3)  # warps round a little differently from machine to machine


def test_the_frame_cuts_box_and_joints_and_says_which_are_outside():
    keypoints, box = grid_person(COCO_PHOTOGRAPHS)
    image, kinds = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), set()
    for seed in range(200):
        view, who = cut_by_frame(np.random.default_rng(seed), image, person(keypoints, box))
        height, width = view.shape[:2]
        x, y, w, h = who.box
        assert 0 <= x and 0 <= y and x + w <= width + 1e-6 and y + h <= height + 1e-6
        corner = (keypoints - who.keypoints)[0, :2]  # of the view, in the picture
        np.testing.assert_array_equal(view, image[int(corner[1]) :, int(corner[0]) :][:height, :width])
        inside = ((who.keypoints[:, :2] >= -0.5) & (who.keypoints[:, :2] <= (width - 0.5, height - 0.5))).all(axis=1)
        np.testing.assert_array_equal(who.keypoints[:, 2], np.where(inside, keypoints[:, 2], OUTSIDE))
        assert inside.sum() >= 3
        kinds.add((corner[0] > 0, corner[1] > 0, width < WIDTH and corner[0] == 0, height < HEIGHT and corner[1] == 0))
    assert len(kinds) == 4  # left, top, right, bottom


def test_nobody_is_cut_down_to_fewer_than_three_joints_and_missing_ones_stay_missing():
    keypoints, box = grid_person(COCO_PHOTOGRAPHS)
    keypoints[3:] = 0
    for seed in range(50):
        _, who = cut_by_frame(np.random.default_rng(seed), np.zeros((HEIGHT, WIDTH, 3), np.uint8), person(keypoints, box))
        assert (who.keypoints[:3, 2] > 0).all() and (who.keypoints[3:, 2] == 0).all()


def test_labelled_joints_beyond_the_crop_are_outside_where_the_recipe_says_so():
    keypoints = np.zeros((17, 3))
    keypoints[:3] = (100, 100, 2), (5, 5, 2), (101, 99, 1)  # the second is far outside the box
    who, image = person(keypoints, (80, 80, 40, 40)), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for counts, label in ((True, OUTSIDE), (False, 2)):
        recipe = plain(COCO_PHOTOGRAPHS, outside_counts=counts)
        _, moved, _ = augmented_crop(np.random.default_rng(0), image, who, recipe, (128, 96))
        assert moved[:4, 2].tolist() == [2, label, 1, 0]


def test_every_edge_of_the_box_moves_by_up_to_the_jitter():
    who, rng, recipe = person(np.zeros((17, 3)), (60, 60, 91, 121)), np.random.default_rng(0), plain(COCO_PHOTOGRAPHS)
    drawn = np.array(
        [random_affine(rng, who, (HEIGHT, WIDTH), replace(recipe, box_jitter=0.1), (384, 288))[0] for _ in range(500)]
    )
    back = np.array([geometry.invert(affine) @ (144, 192, 1) for affine in drawn])
    off = abs(back - (105, 120)).max(axis=0)  # both edges one way move the middle by a tenth of 91 and of 121
    assert 7 < off[0] <= 9.7 and 9 < off[1] <= 12.7


def test_the_frame_cuts_a_picture_of_one_person_too():
    keypoints, _ = grid_person(LIP_PHOTOGRAPHS)
    image, kinds = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), set()
    for seed in range(100):
        view, who = cut_by_frame(np.random.default_rng(seed), image, person(keypoints))
        corner = (keypoints - who.keypoints)[0, :2].astype(int)
        np.testing.assert_array_equal(view, image[corner[1] :, corner[0] :][: view.shape[0], : view.shape[1]])
        assert who.box is None and (who.keypoints[:, 2] > 0).sum() >= 3
        kinds.add((who.keypoints[:, 2] == OUTSIDE).any())
    assert True in kinds


def test_a_picture_of_one_person_loses_up_to_the_jitter_at_each_edge():
    keypoints = np.zeros((16, 3))
    keypoints[:2] = (120, 150, 2), (2, 150, 1)
    image, drawn = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), []
    recipe = plain(LIP_PHOTOGRAPHS, box_jitter=0.1)
    for seed in range(300):
        view, who = tightened(np.random.default_rng(seed), image, person(keypoints), recipe)
        left, top = (keypoints - who.keypoints)[0, :2].astype(int)
        np.testing.assert_array_equal(view, image[top : top + view.shape[0], left : left + view.shape[1]])
        assert who.keypoints[1, 2] == (1 if left <= 2 else OUTSIDE) and (who.keypoints[2:, 2] == 0).all()
        drawn.append((left, top, WIDTH - left - view.shape[1], HEIGHT - top - view.shape[0]))
    assert (np.max(drawn, axis=0) >= (22, 28, 22, 28)).all()
    assert (np.max(drawn, axis=0) <= (24, 30, 24, 30)).all() and np.min(drawn) == 0


def test_crops_are_degraded_made_grey_and_lit_as_often_as_asked():
    crop, rng = np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8), np.random.default_rng(0)
    assert degrade(rng, crop, plain(COCO_PHOTOGRAPHS)) is crop
    blurred = degrade(rng, crop, plain(COCO_PHOTOGRAPHS, degrade_probability=1.0))
    assert blurred.shape == crop.shape and blurred.std() < 0.7 * crop.std()
    assert abs(float(blurred.mean()) - crop.mean()) < 3
    grey = degrade(rng, crop, plain(COCO_PHOTOGRAPHS, grey_probability=1.0))
    assert (grey == grey[:, :, :1]).all()
    flat = np.full((8, 8, 3), 128, np.uint8)  # the middle value shows the brightness alone
    lit = [int(degrade(rng, flat, plain(COCO_PHOTOGRAPHS, light_spread=0.2))[0, 0, 0]) for _ in range(200)]
    assert 102 <= min(lit) < 108 and 148 < max(lit) <= 154
    assert degrade(rng, np.zeros_like(flat), plain(COCO_PHOTOGRAPHS, light_spread=0.2)).max() <= 31  # never folded over
