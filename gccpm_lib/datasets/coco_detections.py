"""A detector's COCO results file, [{"image_id" or "file_name", "category_id", "bbox", "score"}] -> Person records."""

import math
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_boxes import check_box, framed, known_extents, known_size
from gccpm_lib.datasets.coco_folders import labels_file, record_pictures
from gccpm_lib.datasets.coco_labels import load_labels, official, read_json
from gccpm_lib.datasets.picture_names import ImageNames
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person


def read_detections(
    path: str | Path,
    dataset_folder: str | Path,
    split: str,
    labels: str = "",
    min_score: float = 0.0,
    bad: BadSamples = RAISE,
) -> list[Person]:
    """A detector's COCO results file -> persons in file order: box, box_score, image_id; keypoints are zeros (K, 3).

    The file is [{"image_id" or "file_name", "category_id", "bbox", "score"}]; only persons are read, by the label file's
    number for them or COCO's 1, and only scores of at least min_score. Raises DataError naming the row (counted from 1)
    and the image; where bad ones are skipped, they are left out.
    """
    file = official(load_labels(labels_file(dataset_folder, split, labels), bad), "detected in")
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: no list of detections inside; write COCO's results form with image_id, bbox and score")
    rows = detection_rows(path, rows, bad)
    names, extents, found = ImageNames(file.images), known_extents(file), []
    numbers = [row.get("category_id") for _, row in rows]
    person = next((number for number in reversed(file.person_numbers) if number in numbers), file.person_numbers[0])
    for where, row in rows:
        if row.get("category_id") not in (None, person):
            continue
        with bad.sample(where):
            score = finite_score(where, row)
            image_id = names.id_of(row)
            if image_id is None:
                raise DataError(f"{where}: {names.strange(row)} is not in {file.path}; remove it, or name its labels")
            if score >= min_score:
                box = check_box(where, row.get("bbox"), framed(file.images[image_id], extents))
                found.append(({**row, "image_id": image_id}, box))
    if not found:
        others = sorted({str(number) for number in numbers} - {str(person), "None"})[:5]
        said = f" (a person is category_id {person}, there are {', '.join(others)})" if others else ""
        raise DataError(f"{path}: no person with a score of {min_score} or more inside{said}; detect persons first")
    paths = record_pictures(file, dataset_folder, split, [row for row, _ in found])
    return [
        Person(
            path,
            np.zeros((file.num_joints, 3), np.float32),
            box,
            row["image_id"],
            box_score=float(row["score"]),
            picture_size=known_size(file.images[row["image_id"]]),
            label_extent=extents.get(row["image_id"]),
        )
        for path, (row, box) in zip(paths, found, strict=True)
    ]


def detection_rows(path: str | Path, rows: list, bad: BadSamples = RAISE) -> list[tuple[str, dict]]:
    """Place, for messages, and row of every detection. DataError for a row that doesn't say which image it is about."""
    good = []
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        with bad.sample(where):
            name, image_id = (row.get("file_name"), row.get("image_id")) if isinstance(row, dict) else (None, None)
            if not isinstance(name, str) and not isinstance(image_id, str | int):
                raise DataError(f"{where}: no file_name or image_id; write it again with one, category_id, bbox and score")
            good.append((f"{where}, image {name if image_id is None else image_id}", row))
    return good


def finite_score(where: str, row: dict) -> float:
    """A row's score; DataError where it has none, or no finite one."""
    score = row.get("score")
    if type(score) not in (int, float) or not math.isfinite(score):
        raise DataError(f"{where}: no finite score; write the detector's score into every row")
    return float(score)
