"""COCO person keypoints: label files and pictures -> Person records, and back into COCO's files.

    <dataset_folder>/{train2017,val2017}/000000000139.jpg
    <dataset_folder>/annotations/person_keypoints_{train,val}2017.json

The label file may have the official or the converted form (see coco_labels) and any number of joints; folders may be
nested (see coco_folders). Coordinates are image pixels as in the file, x right, y down; boxes are x, y, width, height.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets.coco_folders import labels_file, picture_paths
from gccpm_lib.datasets.coco_labels import (
    Labels,
    box_numbers,
    check_box,
    check_joints,
    load_labels,
    read_json,
    read_skeleton,
    stack_keypoints,
)
from gccpm_lib.datasets.coco_results import PERSON, result_rows, write_converted, write_results
from gccpm_lib.datasets.records import DataError, Person, Skip, noted
from gccpm_lib.skeletons import Skeleton

__all__ = [
    "check_labels", "labels_file", "read_coco", "read_detections", "read_skeleton", "read_truth", "result_rows",
    "write_converted", "write_results",
]  # fmt: skip

SMALL_BOX = 8  # pixels


def read_coco(
    dataset_folder: str | Path,
    split: str,
    labels: str = "",
    skeleton: Skeleton | None = None,
    skipped: list[Skip] | None = None,
) -> list[Person]:
    """Persons of "train" or "val" in file order; crowds and persons without a labelled keypoint are left out.

    labels: another label file than the official one, as in `labels_file`. skeleton: the joints that it must have. Pictures
    aren't opened, but must be there. Image and annotation ids are None in a converted file. Raises DataError naming the
    file, the id and the remedy; with a list of skipped annotations, bad ones are added to it instead.
    """
    file = load_labels(labels_file(dataset_folder, split, labels), skipped)
    check_joints(file, skeleton)
    kept = [a for a in file.annotations if not a.get("iscrowd") and a.get("keypoints")]
    if skipped is not None:
        kept = _good(file, kept, dataset_folder, split, skipped)
    points = stack_keypoints(file, kept)
    labelled = (points[:, :, 2] > 0).any(axis=1)
    kept, points = [a for a, keep in zip(kept, labelled, strict=True) if keep], points[labelled]
    if not kept:
        raise DataError(f"{file.path}: no person with a labelled keypoint inside; name another label file")
    boxes = [check_box(file.where(a), a.get("bbox"), _image(file, a)) for a in kept]
    paths = _picture_paths(file, dataset_folder, split, kept)
    official = file.images is not None
    return [
        Person(path, keypoints, box, a["image_id"], a["id"], _area(file, a), picture_size=_picture_size(_image(file, a)))
        if official
        else Person(path, keypoints, box)
        for path, keypoints, box, a in zip(paths, points, boxes, kept, strict=True)
    ]


def _good(file: Labels, annotations: list[dict], dataset_folder, split: str, skipped: list[Skip]) -> list[dict]:
    """The annotations that can be read and whose pictures are there; the others are noted."""
    good = []
    for a in annotations:
        with noted(skipped, file.where(a)):
            stack_keypoints(file, [a])
            check_box(file.where(a), a.get("bbox"), _image(file, a))
            _area(file, a)
            good.append((a, *_picture_name(file, a)))
    paths = picture_paths(file.path, dataset_folder, split, {name: owner for _, name, owner in good}, skipped)
    return [a for a, name, _ in good if name in paths]


def _picture_size(image: dict) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return size if all(type(side) is int for side in size) else None


def _image(file: Labels, record: dict) -> dict | None:
    return None if file.images is None else file.images[record["image_id"]]


def _picture_paths(file: Labels, dataset_folder: str | Path, split: str, records: list[dict]) -> list[Path]:
    """The picture of every annotation or detection."""
    names, owners = [], {}
    for record in records:
        name, owner = _picture_name(file, record)
        names.append(name)
        owners.setdefault(name, owner)
    paths = picture_paths(file.path, dataset_folder, split, owners)
    return [paths[name] for name in names]


def _picture_name(file: Labels, record: dict) -> tuple[str, str]:
    """Relative file name, and what it belongs to, for messages."""
    if file.images is None:
        return record["image_path"], f"annotation row {record['row']}"
    owner, name = f"image {record['image_id']}", file.images[record["image_id"]].get("file_name")
    if not isinstance(name, str):
        raise DataError(f"{file.path}, {owner}: no file_name; add it, or remove the image")
    return name, owner


def _area(file: Labels, annotation: dict) -> float | None:
    area = annotation.get("area")
    if area is None:
        return None
    if type(area) not in (int, float) or not 0 <= area < 1e12:
        raise DataError(f"{file.where(annotation)}: area {area!r} is not a number of pixels; correct or remove it")
    return float(area)


def read_truth(
    dataset_folder: str | Path,
    split: str,
    labels: str = "",
    image_ids: Collection[int] | None = None,
    skipped: list[Skip] | None = None,
) -> dict:
    """What pycocotools evaluates against: images, annotations (crowds and persons without keypoints too), categories.

    Persons are category 1, as in result files. image_ids restricts it to these images. Raises DataError for a converted
    file, an unknown image, and an annotation without area, keypoints of the right length or a box (which is left out where
    there is a list to note it in).
    """
    file = _official(load_labels(labels_file(dataset_folder, split, labels), skipped), "evaluated against")
    chosen = file.images.keys() if image_ids is None else dict.fromkeys(map(int, image_ids))
    strangers = [image_id for image_id in chosen if image_id not in file.images]
    if strangers:
        raise DataError(f"{file.path}: no image {strangers[0]} inside; choose from this file's images")
    unlabelled = [0] * (3 * file.num_joints)
    annotations = [a for a in file.annotations if a["image_id"] in chosen]
    filled = [{**a, "keypoints": a.get("keypoints") or unlabelled} for a in annotations]
    if skipped is not None:
        filled = [a for a in filled if _is_good_truth(file, a, skipped)]
    counts = (stack_keypoints(file, filled)[:, :, 2] > 0).sum(axis=1)
    return {
        "images": [file.images[image_id] for image_id in file.images if image_id in chosen],
        "annotations": [_truth_row(file, a, count) for a, count in zip(filled, counts.tolist(), strict=True)],
        "categories": [{"name": "person", **(file.category or {}), "id": PERSON}],
    }


def _is_good_truth(file: Labels, annotation: dict, skipped: list[Skip]) -> bool:
    with noted(skipped, file.where(annotation)):
        stack_keypoints(file, [annotation])
        _truth_row(file, annotation, 0)
        return True
    return False


def _official(file: Labels, purpose: str) -> Labels:
    if file.images is None:
        raise DataError(f"{file.path}: a converted file has no image ids to be {purpose}; name the official label file")
    return file


def _truth_row(file: Labels, annotation: dict, num_keypoints: int) -> dict:
    area = _area(file, annotation)
    if area is None:
        raise DataError(f"{file.where(annotation)}: no area, which the score needs; add it in square pixels")
    return {
        "id": annotation["id"],
        "image_id": annotation["image_id"],
        "category_id": PERSON,
        "iscrowd": int(bool(annotation.get("iscrowd"))),
        "area": area,
        "bbox": list(box_numbers(file.where(annotation), annotation.get("bbox"))),
        "keypoints": annotation["keypoints"],
        "num_keypoints": num_keypoints,
    }


def read_detections(
    path: str | Path, dataset_folder: str | Path, split: str, labels: str = "", min_score: float = 0.0
) -> list[Person]:
    """A detector's COCO results file -> persons in file order: box, box_score, image_id; keypoints are zeros (K, 3).

    The file is [{"image_id", "category_id", "bbox", "score"}]; only the label file's person category is read, and only
    scores of at least min_score. Raises DataError naming the row (counted from 1) and the image id.
    """
    file = _official(load_labels(labels_file(dataset_folder, split, labels)), "detected in")
    rows = _detected_rows(path, (file.category or {}).get("id", PERSON))
    found = []
    for where, row in rows:
        if type(row["image_id"]) is not int or row["image_id"] not in file.images:
            raise DataError(f"{where}: not in {file.path}; detect in this split's pictures, or remove the row")
        if row["score"] >= min_score:
            found.append((row, check_box(where, row.get("bbox"), file.images[row["image_id"]])))
    if not found:
        raise DataError(f"{path}: no person with a score of {min_score} or more inside; detect persons first")
    paths = _picture_paths(file, dataset_folder, split, [row for row, _ in found])
    return [
        Person(
            path,
            np.zeros((file.num_joints, 3), np.float32),
            box,
            row["image_id"],
            box_score=float(row["score"]),
            picture_size=_picture_size(file.images[row["image_id"]]),
        )
        for path, (row, box) in zip(paths, found, strict=True)
    ]


def _detected_rows(path: str | Path, category_id: int) -> list[tuple[str, dict]]:
    """The persons' rows of a results file, each with its place for messages."""
    rows, persons = read_json(path), []
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: no list of detections inside; write COCO's results form with image_id, bbox and score")
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict) or "image_id" not in row:
            raise DataError(f"{where}: no image_id; write it again with image_id, category_id, bbox and score")
        where += f", image {row['image_id']}"
        if row.get("category_id", category_id) != category_id:
            continue
        if type(row.get("score")) not in (int, float) or not -1e9 < row["score"] < 1e9:
            raise DataError(f"{where}: no finite score; write the detector's score into every row")
        persons.append((where, row))
    return persons


def check_labels(persons: Sequence[Person], sizes: np.ndarray, skeleton: Skeleton) -> pd.DataFrame:
    """What looks wrong in the labels: one row (row, image_id, annotation_id, name, joint, problem) each, rows from 1.

    Joints outside the picture or more than a quarter of the box outside their box, right and left of a pair on the same
    pixel, boxes under 8 pixels on a side. sizes (N, 2): width, height of every person's picture.
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
    found += [(skeleton.joints[j], "outside the picture") for j in np.flatnonzero(outside)]
    found += [(skeleton.joints[j], "far outside the box") for j in np.flatnonzero(far)]
    for a, b in skeleton.flip_pairs:
        if labelled[a] and labelled[b] and (points[a] == points[b]).all():
            found.append((skeleton.joints[a], f"on the same pixel as {skeleton.joints[b]}"))
    return found
