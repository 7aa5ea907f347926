"""COCO's label files: read without their outlines, and checked.

    official    {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "keypoints", "skeleton"}],
                 "annotations": [{"id", "image_id", "category_id", "bbox", "keypoints", "area", "iscrowd"}]}
    converted   {"annotations": [{"bbox", "keypoints", "image_path"}]}

bbox is x, y, width, height and keypoints is x1, y1, label1, ... in image pixels (x right, y down), label 0 missing,
1 occluded, 2 visible. A category may have "sigmas", K OKS constants, and "flip_pairs", pairs of names or 0-based indices.
"""

import contextlib
import functools
import json
import re
from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.records import RAISE, BadSamples, DataError
from gccpm_lib.skeletons import COCO, Skeleton, same_joints

PERSON = 1  # COCO's category id
LARGE = 2_000_000  # bytes; smaller files are parsed in less time than a file system's clock may take for one tick
# Outlines of people are half of an official file and most of its numbers. They are cut out of the text, where it is cheap.
_OUTLINES = re.compile(r'"segmentation"\s*:\s*\[[^"{}]*\]')


@dataclass(frozen=True, eq=False)
class Labels:
    """A label file: structure and ids are checked, boxes and keypoints are not yet."""

    path: Path
    images: dict[int, dict] | None  # by id; None: a converted file
    annotations: list[dict]  # of persons, crowds too
    category: dict | None  # the persons'; None: the file has no categories
    person_numbers: list[int]  # category ids that a results file may give them
    num_joints: int

    def where(self, annotation: dict) -> str:
        """The annotation's place for messages."""
        named = f"row {annotation['row']}" if self.images is None else f"{annotation['id']}"
        return f"{self.path}, annotation {named}"

    def image(self, record: dict) -> dict | None:
        """The image of an annotation or detection; None in a converted file."""
        return None if self.images is None else self.images[record["image_id"]]

    def picture_name(self, record: dict) -> tuple[str, str]:
        """Relative file name of an annotation's or detection's picture, and what it belongs to, for messages."""
        if self.images is None:
            return record["image_path"], f"annotation row {record['row']}"
        owner, name = f"image {record['image_id']}", self.image(record).get("file_name")
        if not isinstance(name, str):
            raise DataError(f"{self.path}, {owner}: no file_name; add it, or remove the image")
        return name, owner


def read_json(path: str | Path, remedy: str = "unpack or write it again"):
    """Content of a JSON file, without outlines of people. DataError, ending in the remedy, for one that can't be read.

    The last large file's content is remembered, as reading it takes seconds and is asked for by several in turn: it must
    not be changed. Only one, so that the training labels' half a gigabyte goes when the validation labels come.
    """
    try:
        status = Path(path).stat()
        read = _read_once if status.st_size >= LARGE else _parse
        return read(Path(path).resolve(), status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}); {remedy}") from error


def _parse(path: Path, *version):
    text = _OUTLINES.sub('"segmentation": 0', path.read_text(encoding="utf-8").removeprefix("\ufeff"))
    return json.loads(text)


_read_once = functools.lru_cache(maxsize=1)(_parse)  # by path, time of the last change and size


def load_labels(path: str | Path, bad: BadSamples = RAISE) -> Labels:
    """Read either form of a label file. Raises DataError for another structure, ids that are doubled or point nowhere.

    Images and annotations of which that is true are left out where there is a list to note them in.
    """
    path, content = Path(path), read_json(path)
    annotations, category = records(path, content, "annotations", bad), person_category(path, content)
    if "images" in content:
        images = _by_id(path, "image", records(path, content, "images", bad), bad)
        annotations = _checked_ids(path, annotations, images, content.get("categories"), bad)
        own = annotations if category is None else [a for a in annotations if _is_of(a, category)]
    else:
        images, own = None, []
        for row, annotation in enumerate(annotations, 1):
            annotation.setdefault("row", row)
            with bad.sample(f"{path.name}, annotation row {row}"):
                if not isinstance(annotation.get("image_path"), str):
                    raise DataError(
                        f"{path}, annotation row {row}: no image_path, and the file has no images; add the list 'images' "
                        "(official form), or a path to every annotation (converted form)"
                    )
                own.append(annotation)
    known = [item.get("id") for item in content.get("categories") or []]
    numbers = person_numbers(PERSON if category is None else category["id"], known)
    return Labels(path, images, own, category, numbers, _num_joints(own, category))


def official(labels: Labels, purpose: str) -> Labels:
    """The labels; DataError for a converted file, which has no image ids to be used for this purpose."""
    if labels.images is None:
        raise DataError(f"{labels.path}: a converted file has no image ids to be {purpose}; name the official label file")
    return labels


def records(path: str | Path, content, key: str, bad: BadSamples = RAISE) -> list[dict]:
    """The list of records under a key; DataError where there is none, or something else is in it."""
    path, listed = Path(path), content.get(key) if isinstance(content, dict) else None
    if not isinstance(listed, list) or (listed and not any(isinstance(record, dict) for record in listed)):
        raise DataError(f"{path}: no list {key!r} of records inside; give a COCO person-keypoints file")
    for row, record in enumerate(listed, 1):
        with bad.sample(f"{path.name}, {key} row {row}"):
            if not isinstance(record, dict):
                raise DataError(f"{path}, {key} row {row}: {str(record)[:40]!r} is no record; correct or remove it")
    return [record for record in listed if isinstance(record, dict)]


def _by_id(path: Path, kind: str, records: list[dict], bad: BadSamples) -> dict[int, dict]:
    known = {}
    for row, record in enumerate(records, 1):
        number = record.get("id")
        with bad.sample(f"{path.name}, {kind} row {row}"):
            if type(number) is not int:
                raise DataError(f"{path}, {kind} row {row}: id {number!r} is not a whole number; number the {kind}s")
            if number in known:
                raise DataError(f"{path}, {kind} {number}: id comes twice; remove or renumber one of them")
            known[number] = record
    return known


def _checked_ids(path: Path, annotations: list[dict], images: dict[int, dict], categories, bad) -> list[dict]:
    """The annotations whose image and category are in the file."""
    known = [None, *(category.get("id") for category in categories)] if categories else None
    good = []
    for number, annotation in _by_id(path, "annotation", annotations, bad).items():
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        with bad.sample(f"{path.name}, annotation {number}"):
            if type(image_id) is not int or image_id not in images:
                raise DataError(
                    f"{path}, annotation {number}: image_id {image_id!r} is not in images; add it, or remove this"
                )
            if known and category_id not in known:
                raise DataError(
                    f"{path}, annotation {number}: category_id {category_id!r} is not in categories; correct it"
                )
            good.append(annotation)
    return good


def _is_of(annotation: dict, category: dict) -> bool:
    return annotation.get("category_id") in (None, category.get("id"))


def person_category(path: str | Path, content: dict) -> dict | None:
    """The category with keypoints; of several the one called person. One alone need not list its keypoints."""
    categories = records(path, content, "categories") if "categories" in content else []
    if not categories:
        return None
    jointed = [category for category in categories if category.get("keypoints")] or categories
    persons = jointed if len(jointed) == 1 else [category for category in jointed if category.get("name") == "person"]
    if len(persons) != 1:
        raise DataError(f"{path}: {len(jointed)} categories could be the person's; call one of them 'person'")
    if type(persons[0].get("id")) is not int:
        raise DataError(f"{path}: the person's category has no id; number it as the annotations do")
    names = persons[0].get("keypoints") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}, category {persons[0]['id']}: keypoints must be a list of different names; correct them")
    return persons[0]


def person_numbers(category_id: int, known: Collection[int]) -> list[int]:
    """The category ids that a results file may give a person: the labels' own first, and COCO's 1 unless they use it."""
    return [category_id] if PERSON in known else [category_id, PERSON]


def check_areas(name: str | Path, annotations: list[dict]) -> None:
    """DataError where the area of every person with labelled joints is 0: no pose would be near enough to any of them."""
    areas = [a["area"] for a in annotations if a["num_keypoints"] and not a["iscrowd"]]
    if areas and not any(areas):
        raise DataError(f"{name}: the areas of all {len(areas)} labelled persons are 0, so nothing can be scored; add them")


def _num_joints(annotations: list[dict], category: dict | None) -> int:
    if category and category.get("keypoints"):
        return len(category["keypoints"])
    counts = Counter(
        len(a["keypoints"]) // 3 for a in annotations if isinstance(a.get("keypoints"), list) and a["keypoints"]
    )
    return max(counts, key=counts.get, default=0)  # what most have; the others are wrong


def check_joints(labels: Labels, skeleton: Skeleton | None) -> None:
    """DataError where a file has other joints, or another order of them, than the skeleton that is asked for."""
    names = tuple((labels.category or {}).get("keypoints") or ())
    if skeleton is None or (not names and labels.num_joints == skeleton.num_joints):
        return
    if same_joints(names, skeleton.joints):
        return
    pairs = enumerate(zip_longest(names, skeleton.joints), 1) if names else []
    first = next((f": joint {n} is {a}, not {b}" for n, (a, b) in pairs if not (a and b and same_joints([a], [b]))), "")
    raise DataError(
        f"{labels.path}: {labels.num_joints} joints against the {skeleton.num_joints} of {skeleton.name}{first}; "
        "use label files and a checkpoint of the same joints in the same order"
    )


def joint_names(labels: Labels, skeleton: Skeleton | None = None) -> tuple[str, ...]:
    """Names of a file's joints: as its readers are asked to call them, else its own, COCO's where it names none."""
    names = tuple((labels.category or {}).get("keypoints") or ())
    return (skeleton or COCO).joints if skeleton or not names else names


def packed(values, kind: str) -> array | None:
    """A list of numbers as float32 ("f") or float64 ("d"); None for anything else, true and false too."""
    if isinstance(values, list) and set(map(type, values)) <= {int, float}:
        with contextlib.suppress(OverflowError):  # a whole number beyond float64
            return array(kind, values)
    return None


def stack_keypoints(labels: Labels, annotations: list[dict]) -> np.ndarray:
    """(N, K, 3) float32: x, y, label of these annotations, x and y of label 0 set to 0.

    Raises DataError that names the annotation whose keypoints aren't 3 K finite numbers with labels 0, 1, 2.
    """
    K, rows = labels.num_joints, []
    for annotation in annotations:
        row = packed(annotation["keypoints"], "f")
        if row is None:
            raise DataError(f"{labels.where(annotation)}: keypoints must be a flat list of numbers; correct or remove it")
        if len(row) != 3 * K:
            raise DataError(f"{labels.where(annotation)}: {len(row)} numbers for {K} keypoints; write {3 * K}")
        rows.append(row)
    points = np.frombuffer(bytearray().join(rows), np.float32).reshape(len(rows), K, 3)
    _refuse(labels, annotations, ~np.isfinite(points), "a keypoint is nan or infinite")
    _refuse(labels, annotations, ~np.isin(points[:, :, 2:], (0, 1, 2)), "a keypoint's label is not 0, 1 or 2")
    points[points[:, :, 2] == 0] = 0
    return points


def _refuse(labels: Labels, annotations: list[dict], bad: np.ndarray, problem: str) -> None:
    if bad.any():
        raise DataError(f"{labels.where(annotations[int(bad.any(axis=(1, 2)).argmax())])}: {problem}; correct or remove it")
