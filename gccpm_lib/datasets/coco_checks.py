"""What looks wrong in the labels of COCO's layout."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gccpm_lib.datasets.records import Person
from gccpm_lib.skeletons import Skeleton

SMALL_BOX = 8  # pixels


def label_problems(persons: Sequence[Person], sizes: np.ndarray, skeleton: Skeleton) -> pd.DataFrame:
    """What looks wrong in the labels: one row (row, image_id, annotation_id, name, joint, problem) each, rows from 1.

    Joints outside the picture or more than a quarter of the box outside their box, right and left of a pair on the same
    pixel, boxes under 8 pixels on a side, areas of 0. sizes (N, 2): width, height of every person's picture as it is read.
    """
    problems = []
    for row, (person, size) in enumerate(zip(persons, sizes, strict=True), 1):
        ids = (row, person.image_id, person.annotation_id, person.name)
        problems += [(*ids, joint, problem) for joint, problem in _problems(person, size, skeleton)]
    return pd.DataFrame(problems, columns=["row", "image_id", "annotation_id", "name", "joint", "problem"])


def _problems(person: Person, size: np.ndarray, skeleton: Skeleton) -> list[tuple[str, str]]:
    """(joint, problem); a box has no joint."""
    points, labelled = person.keypoints[:, :2], person.keypoints[:, 2] > 0
    corner, extent = np.array(person.box or (0, 0, *size), dtype=np.float64).reshape(2, 2)
    outside = labelled & ((points < -0.5) | (points > np.asarray(size) - 0.5)).any(axis=1)
    far = labelled & ~outside & ((points < corner - extent / 4) | (points > corner + 1.25 * extent)).any(axis=1)
    found = [("", "box under 8 pixels on a side")] if (extent < SMALL_BOX).any() else []
    found += [("", "area of 0: not scored")] if person.area == 0 else []
    found += [(skeleton.joints[j], "outside the picture") for j in np.flatnonzero(outside)]
    found += [(skeleton.joints[j], "far outside the box") for j in np.flatnonzero(far)]
    for a, b in skeleton.flip_pairs:
        if labelled[a] and labelled[b] and (points[a] == points[b]).all():
            found.append((skeleton.joints[a], f"on the same pixel as {skeleton.joints[b]}"))
    return found
