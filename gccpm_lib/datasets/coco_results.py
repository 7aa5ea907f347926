"""Person records and predictions -> COCO's files: results for an evaluation, labels in the converted form."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_labels import PERSON
from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.files import write_beside


def result_rows(persons: Sequence[Person], keypoints: np.ndarray, scores: Sequence[float]) -> list[dict]:
    """Predictions as rows of a COCO results file: image_id, category_id, keypoints (x, y, 1 for every joint), score.

    keypoints (N, K, >=2): x, y in image pixels, written with two decimals; scores (N,) as they are. Raises DataError for
    a person without an image id and for nan, naming the row (counted from 1) and the image id.
    """
    points = np.asarray(keypoints, dtype=np.float64)[:, :, :2]
    triples = np.concatenate([points.round(2), np.ones_like(points[:, :, :1])], axis=2).reshape(len(points), -1)
    rows = []
    for person, triple, score in zip(persons, triples, scores, strict=True):
        where = f"row {len(rows) + 1}, image {person.image_id} ({person.name})"
        if person.image_id is None:
            raise DataError(f"{where}: a result needs an image id; predict the persons of an official label file")
        if not (np.isfinite(triple).all() and math.isfinite(score)):
            raise DataError(f"{where}: a keypoint or score is nan or infinite; predict this person again")
        row = {"image_id": person.image_id, "category_id": PERSON, "keypoints": triple.tolist(), "score": float(score)}
        rows.append(row)
    return rows


def write_results(path: str | Path, persons: Sequence[Person], keypoints: np.ndarray, scores: Sequence[float]) -> Path:
    """Write a COCO results file, see `result_rows`."""
    try:
        return write_beside(Path(path), json.dumps(result_rows(persons, keypoints, scores)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def write_converted(path: str | Path, persons: Sequence[Person], dataset_folder: str | Path) -> Path:
    """Write the converted form: bbox, keypoints and image_path (relative to the dataset folder, with /) of every person.

    Raises DataError for a person without a box and for a picture outside the dataset folder.
    """
    root, rows = Path(os.path.abspath(dataset_folder)), []
    for number, person in enumerate(persons, 1):
        image_path = Path(os.path.abspath(person.image_path))
        if person.box is None:
            raise DataError(f"{path}, row {number} ({person.name}): no box; give this person one")
        if not image_path.is_relative_to(root):
            raise DataError(f"{path}, row {number}: {person.image_path} isn't in {dataset_folder}; name its own folder")
        rows.append(
            {
                "bbox": list(map(float, person.box)),
                "keypoints": [
                    int(v) if v.is_integer() else v for v in person.keypoints.astype(np.float64).ravel().tolist()
                ],
                "image_path": image_path.relative_to(root).as_posix(),
            }
        )
    return write_beside(Path(path), json.dumps({"annotations": rows}))
