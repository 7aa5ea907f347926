"""COCO person keypoints: label files and pictures -> Person records, and back into COCO's files.

    <dataset_folder>/{train2017,val2017}/000000000139.jpg
    <dataset_folder>/annotations/person_keypoints_{train,val}2017.json

The label file may have the official or the converted form (see coco_labels) and any number of joints; folders may be
nested (see coco_folders). Coordinates are image pixels as in the file, x right, y down; boxes are x, y, width, height.
"""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_boxes import box_numbers, check_box, framed, known_size, label_extents
from gccpm_lib.datasets.coco_checks import label_problems
from gccpm_lib.datasets.coco_detections import read_detections
from gccpm_lib.datasets.coco_folders import labels_file, picture_paths, record_pictures
from gccpm_lib.datasets.coco_labels import (
    PERSON,
    Labels,
    check_areas,
    check_joints,
    joint_names,
    load_labels,
    official,
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
from gccpm_lib.datasets.picture_names import bare
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person
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
    bad: BadSamples = RAISE,
) -> list[Person]:
    """Persons of "train" or "val" in file order; crowds and persons without a labelled keypoint are left out.

    labels: another label file than the official one, as in `labels_file`, or corrections, see `corrections`. skeleton: the
    joints that it must have. Pictures aren't opened, but must be there. Image and annotation ids are None in a converted
    file. Raises DataError naming the file, the id and the remedy; where bad ones are skipped, they are
    left out.
    """
    file = load_labels(labels_file(dataset_folder, split, labels), bad)
    check_joints(file, skeleton)
    kept = [a for a in file.annotations if not a.get("iscrowd") and a.get("keypoints")]
    if bad.skip:
        kept = _good(file, kept, dataset_folder, split, bad)
    points = stack_keypoints(file, kept)
    labelled = (points[:, :, 2] > 0).any(axis=1)
    kept, points = [a for a, keep in zip(kept, labelled, strict=True) if keep], points[labelled]
    if not kept:
        raise DataError(f"{file.path}: no person with a labelled keypoint inside; name another label file")
    extents = label_extents(file, kept, points)
    boxes = [check_box(file.where(a), a.get("bbox"), framed(file.image(a), extents)) for a in kept]
    paths = record_pictures(file, dataset_folder, split, kept)
    rows = zip(paths, points, boxes, kept, strict=True)
    persons = [_person(file, *row, extents) for row in rows]
    _, changes = split_names(labels)
    if changes:
        joints = joint_names(file, skeleton)
        persons = corrected(persons, find_corrections(dataset_folder, changes), joints, bad)
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
        picture_size=known_size(file.image(annotation)),
        label_extent=extents[annotation["image_id"]],
    )


def _good(file: Labels, annotations: list[dict], dataset_folder, split: str, bad: BadSamples) -> list[dict]:
    """The annotations that can be read and whose pictures are there; the others are noted."""
    good = []
    for a in annotations:
        with bad.sample(file.where(a)):
            points = stack_keypoints(file, [a])
            check_box(file.where(a), a.get("bbox"), framed(file.image(a), label_extents(file, [a], points)))
            _area(file, a)
            good.append((a, *file.picture_name(a)))
    paths = picture_paths(file.path, dataset_folder, split, {name: owner for _, name, owner in good}, bad)
    return [a for a, name, _ in good if name in paths]


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
    bad: BadSamples = RAISE,
) -> dict:
    """What pycocotools evaluates against: images, annotations (crowds and persons without keypoints too), categories.

    Persons are category 1, as in result files. image_ids restricts it to these images. Raises DataError for a converted
    file, an unknown image, areas that are all 0, and an annotation without area, keypoints of the right length or a box
    (which is left out where there is a list to note it in).
    """
    file = official(load_labels(labels_file(dataset_folder, split, labels), bad), "evaluated against")
    chosen = file.images.keys() if image_ids is None else dict.fromkeys(map(int, image_ids))
    strangers = [image_id for image_id in chosen if image_id not in file.images]
    if strangers:
        raise DataError(f"{file.path}: no image {strangers[0]} inside; choose from this file's images")
    unlabelled = [0] * (3 * file.num_joints)
    annotations = [a for a in file.annotations if a["image_id"] in chosen]
    filled = [{**a, "keypoints": a.get("keypoints") or unlabelled} for a in annotations]
    if bad.skip:
        filled = [a for a in filled if _is_good_truth(file, a, bad)]
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
        mended = own.get((bare(file.picture_name(a)[0]), a["id"]), [])
        if mended:
            points = np.reshape(np.array(a["keypoints"], np.float32), (-1, 3))
            is_rejected = any(not correction.joint for correction in mended)
            points = 0 * points if is_rejected else corrected_keypoints(points, mended, joints, path)
            a = {**a, "keypoints": points.ravel().tolist()}
        result.append(a)
    return result


def _is_good_truth(file: Labels, annotation: dict, bad: BadSamples) -> bool:
    with bad.sample(file.where(annotation)):
        stack_keypoints(file, [annotation])
        _truth_row(file, annotation, 0)
        return True
    return False


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
