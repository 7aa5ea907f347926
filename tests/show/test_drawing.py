"""Drawing: joints where they should be, in the right colours and shapes; figures with the right curves."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from gccpm_lib.show import drawing
from gccpm_lib.show.drawing import COLOURS
from gccpm_lib.skeletons import COCO, LIP


def rgb(side: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[side][1:]))


def one_joint(joint: int, x: float, y: float, label: float = 2) -> np.ndarray:
    keypoints = np.zeros((16, 3))
    keypoints[joint] = x, y, label
    return keypoints


def test_the_picture_comes_out_as_an_rgb_square_on_white():
    image = np.zeros((50, 100, 3), np.uint8)
    image[:] = (200, 100, 50)  # blue, green, red
    canvas = drawing.draw_pose(image, np.zeros((16, 3)), LIP, side=100)
    assert canvas.shape == (100, 100, 3) and canvas.dtype == np.uint8
    assert canvas[50, 50].tolist() == [50, 100, 200] and canvas[10, 50].tolist() == [255] * 3


@pytest.mark.parametrize("joint, side", [(0, "right"), (5, "left"), (9, "middle")])
def test_a_visible_joint_is_filled_with_the_colour_of_its_side(joint, side):
    canvas = drawing.draw_pose(np.zeros((100, 100, 3), np.uint8), one_joint(joint, 30, 60), LIP, side=200)
    assert tuple(canvas[120, 60]) == rgb(side)  # pixel (30, 60) goes to (60.5, 120.5)


def test_an_occluded_joint_is_hollow_and_a_missing_one_absent():
    image = np.zeros((100, 100, 3), np.uint8)
    hollow = drawing.draw_pose(image, one_joint(0, 30, 60, 1), LIP, side=200)
    assert tuple(hollow[120, 60]) == (255, 255, 255) and (hollow == rgb("right")).all(axis=2).any()
    missing = drawing.draw_pose(image, one_joint(0, 30, 60, 0), LIP, side=200)
    np.testing.assert_array_equal(missing, drawing.draw_pose(image, np.zeros((16, 3)), LIP, side=200))


def test_left_joints_are_square_and_right_ones_round():
    image = np.zeros((100, 100, 3), np.uint8)
    right, left = (drawing.draw_pose(image, one_joint(j, 50, 50), LIP, side=700) for j in (0, 5))
    r, at = 10, 354
    assert right[at - r, at - r].sum() == 0 and left[at - r + 1, at - r + 1].sum() > 0


def test_a_limb_is_drawn_between_two_known_joints_alone():
    keypoints = one_joint(0, 20, 50)
    keypoints[1] = (80, 50, 2)
    image = np.zeros((100, 100, 3), np.uint8)
    assert abs(drawing.draw_pose(image, keypoints, LIP, side=100)[50, 50] - np.array(rgb("right"))).max() < 40
    keypoints[1, 2] = 0
    assert drawing.draw_pose(image, keypoints, LIP, side=100)[50, 50].sum() == 0


def test_several_poses_are_drawn_on_the_picture_as_it_is():
    image = np.full((60, 90, 3), (200, 100, 50), np.uint8)  # blue, green, red
    canvas = drawing.draw_poses(image, np.array([one_joint(0, 20, 30), one_joint(5, 70, 40)]), LIP)
    assert canvas.shape == image.shape and tuple(canvas[5, 5]) == (50, 100, 200)
    assert tuple(canvas[30, 20]) == rgb("right") and tuple(canvas[40, 70]) == rgb("left")
    assert (image == (200, 100, 50)).all()
    assert (drawing.draw_poses(image, np.zeros((0, 16, 3)), LIP) == (50, 100, 200)).all()


def test_small_people_are_drawn_with_thinner_lines():
    image = np.zeros((400, 400, 3), np.uint8)

    def thickness(reach: float) -> int:
        pose = one_joint(0, 200 - reach / 2, 200)
        pose[1] = (200 + reach / 2, 200, 2)
        return (drawing.draw_poses(image, pose[None], LIP)[:, 200] > 0).any(axis=1).sum()

    assert 0 < thickness(40) < thickness(380)


def test_small_people_are_not_covered_by_white_borders():
    """Someone 40 pixels tall on a dark picture: nothing white, and most of the person's place still shows the picture."""
    image, pose = np.full((100, 100, 3), 40, np.uint8), np.zeros((16, 3))
    pose[[0, 1, 2, 6, 7, 8, 9]] = [(45, y, 2) for y in (70, 60, 50, 49, 42, 35, 30)]
    pose[[3, 4, 5]] = [(55, y, 2) for y in (50, 60, 70)]
    canvas = drawing.draw_poses(image, pose[None], LIP)
    assert (canvas.min(axis=2) < 200).all()
    assert (canvas[28:72, 40:60] == 40).all(axis=2).mean() > 0.6


def test_a_limb_to_an_unsure_joint_is_dashed():
    image = np.zeros((300, 300, 3), np.uint8)
    pose = one_joint(0, 50, 150)
    pose[1] = (250, 150, 2)
    sure = drawing.draw_poses(image, pose[None], LIP)[150, 70:230].any(axis=1)
    pose[1, 2] = 1
    unsure = drawing.draw_poses(image, pose[None], LIP)[150, 70:230].any(axis=1)
    assert sure.all() and 0.3 < unsure.mean() < 0.8 and np.diff(unsure.astype(int)).clip(0).sum() >= 3


def test_joints_far_outside_and_small_or_large_scores_are_drawn_without_an_error():
    keypoints = np.array([[1e9 * (-1) ** j, -1e7, 0.3 + j] for j in range(17)])
    assert drawing.draw_pose(np.zeros((10, 20, 3), np.uint8), keypoints, COCO).shape == (256, 256, 3)


def test_drawing_changes_neither_picture_nor_keypoints():
    image, keypoints = np.full((40, 40, 3), 7, np.uint8), one_joint(0, 5, 5)
    drawing.draw_pose(image, keypoints, LIP)
    assert (image == 7).all() and keypoints[0].tolist() == [5, 5, 2]


def test_predictions_become_visible_joints():
    found = drawing.as_visible(np.array([[[1.0, 2, 0.01], [3, 4, 1.0]]]))
    assert found.tolist() == [[[1, 2, 2], [3, 4, 2]]]


def test_unsure_joints_become_occluded_ones():
    poses = np.array([[[1.0, 2, 0.19], [3, 4, 0.2], [5, 6, -0.1], [7, 8, 0.6]]])
    assert drawing.by_score(poses).tolist() == [[[1, 2, 1], [3, 4, 2], [5, 6, 1], [7, 8, 2]]]
    assert drawing.by_score(poses, 0.5)[0, :, 2].tolist() == [1, 1, 1, 2]  # a network's own peak


def test_a_map_lights_up_where_it_is_high_and_leaves_the_rest():
    crop, maps = np.full((64, 64, 3), 100, np.uint8), np.zeros((2, 8, 8), np.float32)
    maps[1, 2, 5] = 1
    overlay = drawing.heat_overlay(crop, maps)
    difference = abs(overlay.astype(int) - 100).sum(axis=2)
    assert overlay.shape == crop.shape and (difference[:, :20] == 0).all()
    assert difference[16:24, 40:48].min() > difference[40:].max()


def test_a_map_on_a_white_crop_leaves_no_dark_specks():
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 3:5, 3:5] = 1  # cubic resizing falls below zero around it
    overlay = drawing.heat_overlay(np.full((64, 64, 3), 255, np.uint8), maps)
    assert overlay[:, :16].min() >= 250


def rows(count: int, validated=True) -> list[dict]:
    row = {"losses": [1.0, 0.5], "lr": 1e-3}
    score = {"val": dict.fromkeys(("Avg.", "Head", "Wri.", "Ank."), 20.0)} if validated else {}
    return [{"epoch": epoch, **row, **score} for epoch in range(1, count + 1)]


def drawn(figure: Figure) -> Figure:
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def test_training_curves_show_losses_scores_and_rates():
    loss, score, rate = drawn(drawing.training_curves(rows(3))).axes
    assert [line.get_label() for line in loss.lines] == ["stage 0", "stage 1"]
    assert [line.get_label() for line in score.lines] == ["Avg.", "Head", "Wri.", "Ank."]
    assert rate.lines[0].get_xydata().tolist() == [[1, 1e-3], [2, 1e-3], [3, 1e-3]]


def test_training_curves_of_one_epoch_or_without_validation_are_drawn():
    assert not drawn(drawing.training_curves(rows(1, validated=False))).axes[1].lines


def test_a_gallery_shows_each_picture_under_its_title():
    pictures = [np.zeros((8, 8, 3), np.uint8)] * 4 + [np.zeros((4, 4))]
    figure = drawn(drawing.gallery(pictures, [f"$t{i}" for i in range(5)], columns=3))
    assert [len(axis.images) for axis in figure.axes[:6]] == [1, 1, 1, 1, 1, 0]
    assert [axis.get_title() for axis in figure.axes[:6]] == ["$t0", "$t1", "$t2", "$t3", "$t4", ""]
    assert len(drawing.gallery(pictures[:1]).axes) == 6


def test_bars_and_curves_are_named():
    axis = drawn(drawing.joint_bars({"a": np.arange(3.0), "b": np.ones(3)}, ["x", "y", "z"], "title")).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"] and len(axis.patches) == 6
    assert [text.get_text() for text in axis.get_yticklabels()] == ["x", "y", "z"]
    axis = drawn(drawing.curves(np.arange(3), {"a": np.arange(3)}, "distance", "percent")).axes[0]
    assert axis.get_xlabel() == "distance" and axis.get_ylabel() == "percent" and len(axis.lines) == 1
    axis = drawn(drawing.curves(np.arange(1, 2), {"a": np.array([3.0]), "b": np.array([4.0])}, "epoch", "loss")).axes[0]
    assert axis.collections[0].get_offsets().data.tolist() == [[0, 3], [1, 4]] and axis.get_xlabel() == "epoch 1"
    assert [text.get_text() for text in axis.get_xticklabels()] == ["a", "b"]


def test_maps_share_one_scale_which_is_shown():
    figure = drawing.gallery([np.full((2, 2), 0.25), np.full((2, 2), 1.0)], ["low", "high"], columns=2)
    low, high, bar = figure.axes
    assert low.images[0].get_clim() == high.images[0].get_clim() == (0, 1)
    assert bar.get_label() == "<colorbar>"
    assert len(drawing.gallery([np.zeros((2, 2, 3))], columns=1).axes) == 1  # pictures need none
    overlays = [drawing.heat_overlay(np.zeros((16, 16, 3), np.uint8), np.ones((1, 2, 2)))] * 2
    scale = drawing.gallery(overlays, columns=2, heat_scale=0.5).axes[-1]
    assert scale.get_ylim() == (0, 0.5) and scale.get_ylabel() == "height of the map"
