"""Figures of what a score says: one person with the circles in which joints count as found, and the reliability diagram."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.evaluation import joint_errors
from gccpm_lib.show.drawing import SERIES
from gccpm_lib.skeletons import Skeleton

FOUND, MISSED = SERIES[:2]
NAME = dict(fontsize=9, parse_math=False, bbox=dict(boxstyle="round,pad=0.15", facecolor="white", edgecolor="none"))


def tolerance_circles(person: Person, pose: np.ndarray, skeleton: Skeleton) -> Figure:
    """A person's picture with a circle of one tolerance around each label, and a line from it to the joint of the pose.

    pose (K, >=2) in picture pixels. Solid blue: found; dashed vermilion, with the joint's name: not found. Joints that
    aren't scored have no circle. Errors as `joint_errors.errors`.
    """
    radii = joint_errors.tolerances([person], skeleton)[0]
    errors = joint_errors.errors([person], pose[None], skeleton)[0]
    figure = Figure(figsize=(6.5, 6.5), layout="constrained")
    axis = figure.subplots()
    axis.imshow(read_person_image(person)[:, :, ::-1])
    for joint in np.flatnonzero(np.isfinite(errors)):
        (x, y), at, found = person.keypoints[joint, :2], pose[joint, :2], errors[joint] <= 1
        style = dict(color=FOUND if found else MISSED, linestyle="-" if found else "--")
        axis.add_patch(Circle((x, y), radii[joint], fill=False, linewidth=1.8, **style))
        axis.plot([x, at[0]], [y, at[1]], linewidth=1.8, **style)
        axis.plot(*at, "o" if found else "X", color=style["color"], markeredgecolor="white", markersize=7)
        if not found:
            axis.annotate(skeleton.joints[joint], at, (4, 4), textcoords="offset points", **NAME)
    _show_around(axis, person, pose, radii)
    axis.set_axis_off()
    return figure


def _show_around(axis, person: Person, pose: np.ndarray, radii: np.ndarray) -> None:
    """Cut the axis down to the circles, the joints and the picture."""
    scored = np.isfinite(radii)
    ends = [person.keypoints[scored, :2] + sign * radii[scored, None] for sign in (-1, 1)] + [pose[scored, :2]]
    (left, top), (right, bottom) = (f(np.concatenate(ends), axis=0) for f in (np.nanmin, np.nanmax))
    margin = 0.05 * max(right - left, bottom - top)
    axis.set(xlim=(left - margin, right + margin), ylim=(bottom + margin, top - margin))


def reliability_diagram(table: pd.DataFrame, sure_peak: float) -> Figure:
    """Rows of `reliability.by_score`: percent found over the score, with intervals; a line at sure_peak, and at one half.

    Joints left of the first line are drawn hollow by `gccpm predict`.
    """
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axis = figure.subplots()
    bars = [table["found (%)"] - table["low"], table["high"] - table["found (%)"]]
    axis.errorbar(table["score"], table["found (%)"], np.maximum(bars, 0), fmt="o-", color=SERIES[0], capsize=3)
    axis.axvline(sure_peak, color=SERIES[1], linestyle="--", label=f"sure from {sure_peak:.2f} on, as the file says")
    axis.axhline(50, color="#7A7A7A", linestyle=":", label="right as often as wrong")
    axis.set(xlabel="score of the joint (height of its peak)", ylabel="found (%)", ylim=(0, 103), xlim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure
