"""Covering joints on purpose: occlusion whose truth is known, also where a data set has no occlusion flags.

A grey patch as large as a head hides one elbow, wrist, knee or ankle of a person; whoever finds the joint all the same has
worked it out from the rest of the body.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.evaluation.joint_errors import tolerances
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.skeletons import Skeleton

LIMB_ENDS = ("elbow", "wrist", "knee", "ankle")
GREY = (128, 128, 128)


def choose_joints(persons: Sequence[Person], skeleton: Skeleton, seed: int = 0) -> np.ndarray:
    """One visible limb joint of each person, drawn by (seed, row); -1 where there is none. (N,)"""
    limbs = [skeleton.find(side, limb) for limb in LIMB_ENDS for side in ("right", "left")]
    sizes, chosen = tolerances(persons, skeleton), np.full(len(persons), -1)
    for row, person in enumerate(persons):
        able = [j for j in limbs if j is not None and person.keypoints[j, 2] == 2 and np.isfinite(sizes[row, j])]
        if able:
            chosen[row] = np.random.default_rng([seed, row]).choice(able)
    return chosen


def cover(image: np.ndarray, point: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """Picture (H, W, 3) with a grey square of this many pixels over the point (x, y), which isn't in its middle.

    The middle is moved by up to a quarter of the side, lest the patch itself points at the joint.
    """
    middle = point[:2] + rng.uniform(-side / 4, side / 4, 2)
    corners = [tuple(np.rint(middle + sign * side / 2).astype(int).tolist()) for sign in (-1, 1)]
    return cv2.rectangle(image.copy(), *corners, GREY, -1)


def covered_pictures(persons: Sequence[Person], joints: np.ndarray, skeleton: Skeleton, seed: int = 0) -> list[np.ndarray]:
    """The pictures of all persons with a joint chosen (not -1), that joint covered."""
    sizes = 2 * tolerances(persons, skeleton)
    return [
        cover(read_person_image(person), person.keypoints[joint], sizes[row, joint], np.random.default_rng([seed, row, 1]))
        for row, (person, joint) in enumerate(zip(persons, joints, strict=True))
        if joint >= 0
    ]


def predict_covered(
    predictor: PosePredictor, persons: Sequence[Person], joints: np.ndarray, pictures: Sequence[np.ndarray]
) -> np.ndarray:
    """Predictions (N, K, 3) from the covered pictures; nan but for the one covered joint of each person."""
    rows = np.flatnonzero(joints >= 0)
    boxes = [None if persons[row].box is None else [persons[row].box] for row in rows]
    answers = predictor.predict_many(pictures, boxes)
    found = np.full((len(persons), predictor.recipe.skeleton.num_joints, 3), np.nan)
    for row, answer in zip(rows, answers, strict=True):
        found[row, joints[row]] = answer[0, joints[row]]
    return found


def chosen_mask(joints: np.ndarray, num_joints: int) -> np.ndarray:
    """Mask (N, K) of the joints that `choose_joints` chose."""
    return np.arange(num_joints) == joints[:, None]
