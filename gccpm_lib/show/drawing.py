"""Drawing: poses on pictures, contact sheets, curves. Figures are Matplotlib's; pictures are RGB when they leave here.

The person's right is orange with round joints, the left blue with square ones, the middle grey: colours that colour-blind
readers can tell apart, and shapes for print. Occluded and unsure joints are hollow and the limbs that end there dashed,
missing joints absent. Small people get no white borders, which would cover them.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gccpm_lib import geometry
from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import OCCLUDED, UNSURE, VISIBLE, Skeleton

COLOURS = {"right": "#D55E00", "left": "#0072B2", "middle": "#7A7A7A"}  # Okabe and Ito's vermilion and blue
SHOWN_SCORES = ("Avg.", "Head", "Wri.", "Ank.", "AP", "AP50", "AP75", "AR")  # of the training curves
BORDERED = 220  # pixels of a person's square from which joints and limbs have white borders
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def draw_pose(
    image: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton, side: int = 256, box: Sequence[float] | None = None
) -> np.ndarray:
    """Picture (H, W, 3) uint8 BGR with a pose (K, 3) on it -> RGB square of this many pixels, letterboxed in white.

    The third column is a label (0 missing, 1 occluded, 2 visible) of the truth; predictions are drawn as visible where
    it is another number above 0. box (x, y, w, h): only the square around it is shown, with COCO's margin.
    """
    affine = geometry.letterbox_to_affine(image.shape[:2], (side, side))
    if box is not None:
        affine = geometry.box_to_affine(box, image.shape[:2], (side, side))
    canvas = cv2.cvtColor(geometry.warp(image, affine, (side, side), 255), cv2.COLOR_BGR2RGB)
    _draw_joints_and_limbs(canvas, geometry.apply(affine, keypoints), skeleton, side)
    return canvas


def draw_poses(image: np.ndarray, poses: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Picture (H, W, 3) uint8 BGR with several poses (N, K, 3) on it -> RGB of the picture's own size.

    The third column is as in `draw_pose`. Lines and joints are as thick as suits the size of each person.
    """
    canvas = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    for pose in poses:
        known = pose[pose[:, 2] > 0, :2]
        extent = 1.3 * float(np.ptp(known, axis=0).max()) if len(known) else 0.0  # what a crop around the person would have
        _draw_joints_and_limbs(canvas, pose, skeleton, int(min(extent, max(canvas.shape))))
    return canvas


def _draw_joints_and_limbs(canvas: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton, side: int) -> None:
    """Draw a pose (K, 3) on an RGB canvas, as thick as it should be on a square of this many pixels."""
    points, known, hollow = keypoints[:, :2], keypoints[:, 2] > 0, keypoints[:, 2] == OCCLUDED
    width, radius = max(1, side // 110), max(2 if side >= BORDERED else 1, side // 70)
    for a, b in skeleton.limbs:
        if known[a] and known[b]:
            sides = {skeleton.side(a), skeleton.side(b)} - {"middle"}
            colour = _rgb(COLOURS[sides.pop() if len(sides) == 1 else "middle"])
            for start, end in _dashes(points[a], points[b], 3 * radius) if hollow[a] or hollow[b] else [points[[a, b]]]:
                if side >= BORDERED:
                    cv2.line(canvas, _pixel(start), _pixel(end), (255, 255, 255), width + 2, cv2.LINE_AA)
                cv2.line(canvas, _pixel(start), _pixel(end), colour, width, cv2.LINE_AA)
    for joint in np.flatnonzero(known):
        _draw_joint(canvas, points[joint], skeleton.side(joint), hollow[joint], radius, side >= BORDERED)


def _dashes(start: np.ndarray, end: np.ndarray, length: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ends of the dashes, about this long with wider gaps, from one point to the other; at least two of them."""
    count = int(np.clip(np.linalg.norm(end - start) / (2.5 * length), 2, 100))
    first = np.arange(count)[:, None] / (count - 0.6)
    return [(start + at * (end - start), start + (at + 0.4 / (count - 0.6)) * (end - start)) for at in first]


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return tuple(np.clip(np.rint(point), -10000, 10000).astype(int).tolist())


def _draw_joint(canvas: np.ndarray, point: np.ndarray, side: str, hollow: bool, radius: int, bordered: bool) -> None:
    (x, y), white, colour = _pixel(point), (255, 255, 255), _rgb(COLOURS[side])
    inside, ring = (white, colour) if hollow else (colour, white if bordered else colour)
    if side == "left":
        corners = (x - radius, y - radius), (x + radius, y + radius)
        cv2.rectangle(canvas, *corners, inside, -1)
        cv2.rectangle(canvas, *corners, ring, 1)
    else:
        cv2.circle(canvas, (x, y), radius, inside, -1, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), radius, ring, 1, cv2.LINE_AA)


def as_visible(keypoints: np.ndarray) -> np.ndarray:
    """Predictions (..., 3) with their score replaced by the label of a visible joint, for `draw_pose`."""
    return np.concatenate([keypoints[..., :2], np.full_like(keypoints[..., 2:], VISIBLE)], axis=-1)


def by_score(keypoints: np.ndarray, sure_peak: float = UNSURE) -> np.ndarray:
    """Predictions (..., 3) with the label of a visible joint from a score of sure_peak on, else of an occluded one.

    A part of the body that isn't in the picture, or that the network can't tell, is then drawn hollow.
    """
    labels = np.where(keypoints[..., 2:] >= sure_peak, VISIBLE, OCCLUDED)
    return np.concatenate([keypoints[..., :2], labels], axis=-1)


def gallery(
    pictures: Sequence[np.ndarray], titles: Sequence[str] | None = None, columns: int = 6, heat_scale: float | None = None
) -> Figure:
    """Contact sheet of RGB pictures (or 2-D maps), each under its title. Maps share one scale, which is shown.

    heat_scale: the pictures come from `heat_overlay`, and the scale of their colours is shown up to this height.
    """
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(1.9 * columns, (2.1 if titles else 1.9) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    maps = [picture for picture in pictures if picture.ndim == 2]
    highest = max((float(picture.max()) for picture in maps), default=0.0)
    for i, picture in enumerate(pictures):
        shown = axes[i].imshow(picture) if picture.ndim == 3 else axes[i].imshow(picture, "magma", vmin=0, vmax=highest)
        if titles:
            axes[i].set_title(titles[i], fontsize=8, parse_math=False)
    if maps:
        figure.colorbar(shown, ax=list(axes), shrink=0.8, pad=0.01).ax.tick_params(labelsize=7)
    if heat_scale:
        scale = ScalarMappable(Normalize(0, heat_scale), "inferno")
        figure.colorbar(scale, ax=list(axes), shrink=0.8, pad=0.01, label="height of the map").ax.tick_params(labelsize=7)
    return figure


def heat_overlay(crop: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Crop (h, w, 3) uint8 BGR with the maximum over joint maps (K, h/8, w/8) in 0..1 laid over it -> RGB.

    0 leaves the picture as it is, 1 is bright yellow: inferno's colours, whose scale `gallery` shows with heat_scale.
    """
    heat = np.clip(cv2.resize(maps.max(axis=0), crop.shape[1::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    mixed = crop * (1 - 0.7 * heat[:, :, None]) + colours * (0.7 * heat[:, :, None])
    return cv2.cvtColor(mixed.astype(np.uint8), cv2.COLOR_BGR2RGB)


def training_curves(history: Sequence[dict]) -> Figure:
    """Losses of every stage, validation scores and learning rate over the epochs, from `training.train`'s history."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss_axis, score_axis, rate_axis = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    for stage, losses in enumerate(zip(*[row["losses"] for row in history], strict=True)):
        loss_axis.plot(epochs, losses, "-" if stage else "o-", color=SERIES[stage % len(SERIES)], label=f"stage {stage}")
    loss_axis.legend()
    validated = [row for row in history if "val" in row]
    shown = [column for column in SHOWN_SCORES if validated and column in validated[0]["val"]]
    for i, column in enumerate(shown):
        values = [row["val"][column] for row in validated]
        score_axis.plot([row["epoch"] for row in validated], values, "o-", color=SERIES[i], label=column)
    if shown:
        score_axis.legend()
    rate_axis.plot(epochs, [row["lr"] for row in history], "o-", color=SERIES[0])
    titles = (
        "training loss",
        "validation PCKh@0.5 (%)" if "Avg." in shown else "validation AP and AR (%)",
        "learning rate at the end of the epoch",
    )
    for axis, title in zip((loss_axis, score_axis, rate_axis), titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    return figure


def epoch_examples(history: Sequence[dict], subjects: Sequence[Person], skeleton: Skeleton) -> Figure | None:
    """The same persons after the first, a middle and the last validated epoch; None where no epoch was validated."""
    validated = [row for row in history if "examples" in row]
    moments = [validated[i] for i in sorted({0, len(validated) // 2, len(validated) - 1})] if validated else []
    shown = [(row, person, found) for row in moments for person, found in zip(subjects, row["examples"], strict=False)]
    pictures = [
        draw_pose(read_person_image(person), as_visible(np.array(found)), skeleton, box=person.box)
        for _, person, found in shown
    ]
    return gallery(pictures, [f"epoch {row['epoch']}" for row, _, _ in shown]) if shown else None


def box_and_crop(image: np.ndarray, person: Person, recipe: Recipe) -> Figure:
    """A scene (H, W, 3) uint8 BGR with a person's box and the frame cut out around it; beside it the crop with labels."""
    affine = geometry.box_to_affine(person.box, image.shape[:2], recipe.input_size)
    (height, width), (x, y, w, h) = recipe.input_size, person.box
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height], [0, 0]])
    frame = geometry.apply(geometry.invert(affine), corners)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(image[:, :, ::-1])
    left.plot([x, x + w, x + w, x, x], [y, y, y + h, y + h, y], color=SERIES[1], label="box")
    left.plot(frame[:, 0], frame[:, 1], "--", color=SERIES[0], label="crop")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)
    crop = geometry.warp(image, affine, recipe.input_size, recipe.padding)
    right.imshow(draw_pose(crop, geometry.apply(affine, person.keypoints), recipe.skeleton))
    for axis in (left, right):
        axis.set_axis_off()
    return figure


def joint_bars(values: dict[str, np.ndarray], joints: Sequence[str], title: str) -> Figure:
    """Grouped horizontal bars: one group per joint, one bar per named series (K,)."""
    figure = Figure(figsize=(8, 0.34 * len(joints) + 1), layout="constrained")
    axis = figure.subplots()
    height = 0.8 / len(values)
    for i, (name, series) in enumerate(values.items()):
        axis.barh(np.arange(len(joints)) + i * height, series, height, label=name, color=SERIES[i % len(SERIES)])
    axis.set_yticks(np.arange(len(joints)) + 0.4 - height / 2, joints, parse_math=False)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10)
    axis.grid(axis="x", alpha=0.3)
    axis.legend()
    return figure


def stacked_bars(shares: pd.DataFrame, title: str) -> Figure:
    """Horizontal bars of percentages: one bar per row, one part per column, the first one light."""
    figure = Figure(figsize=(8, 0.3 * len(shares) + 1.2), layout="constrained")
    axis, left = figure.subplots(), np.zeros(len(shares))
    for column, colour in zip(shares.columns, ("#D9D9D9", *SERIES), strict=False):
        axis.barh(range(len(shares)), shares[column], left=left, color=colour, label=column, edgecolor="white")
        left = left + shares[column].to_numpy()
    axis.set_yticks(range(len(shares)), shares.index, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=10)
    axis.legend(ncols=len(shares.columns), loc="upper center", bbox_to_anchor=(0.5, -0.04), frameon=False)
    return figure


def curves(x: np.ndarray, series: dict[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """Named curves over one axis; few points are marked, and with one x the axis has the names."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis, marker = figure.subplots(), "o" if len(x) < 10 else None
    if len(x) == 1:
        axis.scatter(list(series), [y[0] for y in series.values()], color=SERIES[0])
        axis.set(xlabel=f"{xlabel} {x[0]:g}", ylabel=ylabel)
        axis.grid(alpha=0.3)
        return figure
    for i, (name, y) in enumerate(series.items()):
        axis.plot(x, y, marker=marker, color=SERIES[i % len(SERIES)], linestyle=("-", "--", ":", "-.")[i % 4], label=name)
    if np.issubdtype(x.dtype, np.integer):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def scatter(table: pd.DataFrame, costs: dict[str, str], y: str, low: str, high: str) -> Figure:
    """A named point per row: column y over every cost (column -> axis label), a panel each; bars from low to high."""
    figure = Figure(figsize=(4.3 * len(costs) + 1.6, 3.8), layout="constrained")
    for axis, (cost, label) in zip(
        figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs.items(), strict=True
    ):
        for i, (name, row) in enumerate(table.iterrows()):
            bars = [[row[y] - row[low]], [row[high] - row[y]]]
            style = dict(fmt="osD^vP*X"[i % 8], color=SERIES[i % len(SERIES)], capsize=3)
            axis.errorbar(row[cost], row[y], bars, label=name, **style)
        axis.set(xlabel=label, ylabel=y if axis.get_subplotspec().is_first_col() else "")
        axis.grid(alpha=0.3)
    figure.axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def pose_rows(
    persons: Sequence[Person],
    rows: dict[str, np.ndarray],
    skeleton: Skeleton,
    photos: bool = True,
    names: Sequence[str] | None = None,
) -> Figure:
    """A column per person, a named row per set of poses (N, K, 3). photos False: on white paper instead of the pictures.

    names: of the persons, told in the first row.
    """
    images = [read_person_image(person) for person in persons]
    if not photos:
        images = [np.full_like(image, 255) for image in images]
    drawn = [
        draw_pose(image, pose, skeleton, box=person.box)
        for poses in rows.values()
        for person, image, pose in zip(persons, images, poses, strict=True)
    ]
    titles = [row for row in rows for _ in persons]
    if names:
        titles[: len(names)] = [f"{name}, {row}" for name, row in zip(names, titles, strict=False)]
    return gallery(drawn, titles, len(persons))
