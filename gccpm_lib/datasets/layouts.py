"""Layouts: which reader a recipe's data needs. LIP's recipes read LIP's folders, COCO's recipes read COCO's."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person, unsure_frames
from gccpm_lib.recipes import Recipe

UNSURE_FRAME = "turned by its EXIF tag, and the labels fit the picture either way: compare them"


def read_persons(
    dataset_folder: str | Path, split: str, recipe: Recipe, labels: str = "", bad: BadSamples = RAISE
) -> list[Person]:
    """Persons of "train" or "val" in file order; pictures aren't opened.

    labels: COCO's label file ("": the official name), a csv of corrections on top of the official file, or both as in
    "mine.json + corrections.csv", see `corrections`; LIP's file has one name, so corrections alone.

    Raises DataError where the folder doesn't hold what the recipe needs, and for a bad row, unless bad ones are skipped.
    """
    if recipe.crop == "letterbox":
        return lip.read_lip(dataset_folder, split, bad, labels)
    return coco.read_coco(dataset_folder, split, labels, recipe.skeleton, bad)


def with_skeleton(recipe: Recipe, dataset_folder: str | Path, train_labels: str = "", val_labels: str = "") -> Recipe:
    """The recipe with the joints that a COCO folder's label files list; LIP's joints are fixed.

    A converted training file lists none: then those of the validation file count, or the recipe's own.
    """
    if recipe.crop == "letterbox":
        return recipe
    skeleton = coco.read_skeleton(coco.labels_file(dataset_folder, "train", train_labels))
    if skeleton is None:
        with contextlib.suppress(DataError):  # no validation file
            skeleton = coco.read_skeleton(coco.labels_file(dataset_folder, "val", val_labels))
    return replace(recipe, skeleton=skeleton) if skeleton else recipe


def check_labels(persons: Sequence[Person], sizes: np.ndarray, recipe: Recipe) -> pd.DataFrame:
    """What looks wrong in the labels, a row (row, name, joint, problem) each; sizes (N, 2) are the pictures' w, h as read.

    Pictures with an EXIF tag that turns them are told where nothing says whether their labels were made before or after.
    """
    table = (
        lip.label_problems(persons, sizes)
        if recipe.crop == "letterbox"
        else coco.label_problems(persons, sizes, recipe.skeleton)
    )
    unsure = [(row, persons[row - 1].name, "", UNSURE_FRAME) for row in 1 + np.flatnonzero(unsure_frames(persons))]
    return pd.concat([table, pd.DataFrame(unsure, columns=["row", "name", "joint", "problem"])], ignore_index=True)


def extents(persons: Sequence[Person], sizes: np.ndarray) -> np.ndarray:
    """(N, 2) width, height in pixels of what a person's crop is made from: the box, or the whole picture (sizes)."""
    own = [sizes[i] if person.box is None else person.box[2:] for i, person in enumerate(persons)]
    return np.array(own, np.float64).reshape(-1, 2)


def body_sizes(persons: Sequence[Person], recipe: Recipe) -> np.ndarray:
    """(N,) pixels that distances are measured by, nan where unknown: head top to neck (LIP), root of the area (COCO)."""
    if recipe.crop == "box":
        return np.sqrt(np.array([np.nan if person.area is None else person.area for person in persons], np.float64))
    head, neck = (recipe.skeleton.joints.index(name) for name in ("head_top", "neck"))
    keypoints = np.stack([person.keypoints for person in persons])
    size = np.linalg.norm(keypoints[:, head, :2] - keypoints[:, neck, :2], axis=1)
    return np.where((keypoints[:, [head, neck], 2] > 0).all(axis=1) & (size > 0), size, np.nan)
