"""COCO person keypoints: label files and pictures -> Person records, and back into COCO's files.

    <dataset_folder>/{train2017,val2017}/000000000139.jpg
    <dataset_folder>/annotations/person_keypoints_{train,val}2017.json

The label file may have the official or the converted form (see coco_labels) and any number of joints; folders may be
nested (see coco_folders). Coordinates are image pixels as in the file, x right, y down; boxes are x, y, width, height.
"""

import contextlib
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_boxes import box_numbers, check_box, framed, known_size, label_extents
from gccpm_lib.datasets.coco_checks import label_problems
from gccpm_lib.datasets.coco_folders import labels_file, picture_paths
from gccpm_lib.datasets.coco_labels import (
    PERSON,
    Labels,
    check_areas,
    check_joints,
    joint_names,
    load_labels,
    read_json,
    stack_keypoints,
)
from gccpm_lib.datasets.coco_results import result_rows, write_converted, write_results
from gccpm_lib.datasets.coco_skeletons import read_skeleton
from gccpm_lib.datasets.corrections import (
    corrected,
    corrected_keypoints,
    find_corrections,
    read_corrections,
    split_names,
)
from gccpm_lib.datasets.picture_names import ImageNames, bare
from gccpm_lib.datasets.records import DataError, Person, Skip, noted
from gccpm_lib.skeletons import Skeleton

__all__ = [
    "label_problems", "labels_file", "read_coco", "read_detections", "read_skeleton", "read_truth", "result_rows",
    "write_converted", "write_results",
]  # fmt: skip


def read_coco(
    dataset_folder: str | Path,
    split: str,
    labels: str = "",
    skeleton: Skeleton | None = None,
    skipped: list[Skip] | None = None,
) -> list[Person]:
    """Persons of "train" or "val" in file order; crowds and persons without a labelled keypoint are left out.

    labels: another label file than the official one, as in `labels_file`, or corrections, see `corrections`. skeleton: the
    joints that it must have. Pictures aren't opened, but must be there. Image and annotation ids are None in a converted
    file. Raises DataError naming the file, the id and the remedy; with a list of skipped annotations, bad ones are added to
    it instead.
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
    extents = label_extents(file, kept, points)
    boxes = [check_box(file.where(a), a.get("bbox"), framed(_image(file, a), extents)) for a in kept]
    paths = _picture_paths(file, dataset_folder, split, kept)
    rows = zip(paths, points, boxes, kept, strict=True)
    persons = [_person(file, *row, extents) for row in rows]
    _, changes = split_names(labels)
    if changes:
        joints = joint_names(file, skeleton)
        persons = corrected(persons, find_corrections(dataset_folder, changes), joints, skipped)
    return [person for person in persons if (person.keypoints[:, 2] > 0).any()]


def _person(file: Labels, path: Path, keypoints: np.ndarray, box: tuple, annotation: dict, extents: dict) -> Person:
    if file.images is None:
        return Person(path, keypoints, box)
    return Person(
        path,
        keypoints,
        box,
        annotation["image_id"],
        annotation["id"],
        _area(file, annotation),
        picture_size=known_size(_image(file, annotation)),
        label_extent=extents[annotation["image_id"]],
    )


def _good(file: Labels, annotations: list[dict], dataset_folder, split: str, skipped: list[Skip]) -> list[dict]:
    """The annotations that can be read and whose pictures are there; the others are noted."""
    good = []
    for a in annotations:
        with noted(skipped, file.where(a)):
            points = stack_keypoints(file, [a])
            check_box(file.where(a), a.get("bbox"), framed(_image(file, a), label_extents(file, [a], points)))
            _area(file, a)
            good.append((a, *_picture_name(file, a)))
    paths = picture_paths(file.path, dataset_folder, split, {name: owner for _, name, owner in good}, skipped)
    return [a for a, name, _ in good if name in paths]


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
    file, an unknown image, areas that are all 0, and an annotation without area, keypoints of the right length or a box
    (which is left out where there is a list to note it in).
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
    _, changes = split_names(labels)
    if changes:
        filled = _corrected_truth(file, filled, find_corrections(dataset_folder, changes))
    counts = (stack_keypoints(file, filled)[:, :, 2] > 0).sum(axis=1)
    rows = [_truth_row(file, a, count) for a, count in zip(filled, counts.tolist(), strict=True)]
    check_areas(file.path, rows)
    return {
        "images": [file.images[image_id] for image_id in file.images if image_id in chosen],
        "annotations": rows,
        "categories": [{"name": "person", **(file.category or {}), "id": PERSON}],
    }


def _corrected_truth(file: Labels, annotations: list[dict], path: Path) -> list[dict]:
    """Annotations with corrected keypoints; a rejected person's are all missing, so that nobody is scored against them."""
    own = defaultdict(list)
    for correction in read_corrections(path):
        own[correction.key].append(correction)
    result, joints = [], joint_names(file)
    for a in annotations:
        mended = own.get((bare(_picture_name(file, a)[0]), a["id"]), [])
        if mended:
            points = np.reshape(np.array(a["keypoints"], np.float32), (-1, 3))
            is_rejected = any(not correction.joint for correction in mended)
            points = 0 * points if is_rejected else corrected_keypoints(points, mended, joints, path)
            a = {**a, "keypoints": points.ravel().tolist()}
        result.append(a)
    return result


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
    path: str | Path,
    dataset_folder: str | Path,
    split: str,
    labels: str = "",
    min_score: float = 0.0,
    skipped: list[Skip] | None = None,
) -> list[Person]:
    """A detector's COCO results file -> persons in file order: box, box_score, image_id; keypoints are zeros (K, 3).

    The file is [{"image_id" or "file_name", "category_id", "bbox", "score"}]; only persons are read, by the label file's
    number for them or COCO's 1, and only scores of at least min_score. Raises DataError naming the row (counted from 1)
    and the image; with a list of skipped rows, bad ones are added to it instead.
    """
    file = _official(load_labels(labels_file(dataset_folder, split, labels), skipped), "detected in")
    jointed = [a for a in file.annotations if a.get("keypoints")]
    extents = {}
    with contextlib.suppress(DataError):  # bad labels: told by whoever reads them
        extents = label_extents(file, jointed, stack_keypoints(file, jointed))
    names, found, rows = ImageNames(file.images), [], _detected_rows(path, skipped)
    numbers = [row.get("category_id") for _, row in rows]
    person = next((number for number in reversed(file.person_numbers) if number in numbers), file.person_numbers[0])
    for where, row in rows:
        if row.get("category_id") not in (None, person):
            continue
        with noted(skipped, where):
            if type(row.get("score")) not in (int, float) or not -1e9 < row["score"] < 1e9:
                raise DataError(f"{where}: no finite score; write the detector's score into every row")
            image_id = names.id_of(row)
            if image_id is None:
                raise DataError(f"{where}: {names.strange(row)} is not in {file.path}; remove it, or name its labels")
            if row["score"] >= min_score:
                box = check_box(where, row.get("bbox"), framed(file.images[image_id], extents))
                found.append(({**row, "image_id": image_id}, box))
    if not found:
        others = sorted({str(number) for number in numbers} - {str(person), "None"})[:5]
        said = f" (a person is category_id {person}, there are {', '.join(others)})" if others else ""
        raise DataError(f"{path}: no person with a score of {min_score} or more inside{said}; detect persons first")
    paths = _picture_paths(file, dataset_folder, split, [row for row, _ in found])
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


def _detected_rows(path: str | Path, skipped: list[Skip] | None) -> list[tuple[str, dict]]:
    """The rows of a results file that say which image they are about, each with its place for messages."""
    rows, good = read_json(path), []
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: no list of detections inside; write COCO's results form with image_id, bbox and score")
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        with noted(skipped, where):
            if not isinstance(row, dict) or not {"image_id", "file_name"} & row.keys():
                raise DataError(f"{where}: no image_id; write it again with image_id, category_id, bbox and score")
            good.append((f"{where}, image {row.get('image_id', row.get('file_name'))}", row))
    return good
