"""Which person of COCO each person of LIP is: ids by the picture's name, the crop by COCO's box, both labels compared.

LIP's train and val pictures are COCO's, cut at a person's box: `<image>_<annotation>.jpg` is COCO picture <image>, cut at
the box of COCO annotation <annotation>. A LIP split may hold persons of COCO's train and of its val split.
"""

import contextlib
import math
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gccpm_lib.datasets import lip
from gccpm_lib.datasets.coco_boxes import box_numbers
from gccpm_lib.datasets.coco_folders import SPLITS, labels_file, places
from gccpm_lib.datasets.coco_labels import Labels, check_joints, load_labels, stack_keypoints
from gccpm_lib.datasets.records import DataError
from gccpm_lib.skeletons import COCO, LIP, SHARED_LIMBS

YEARS = (2017, 2014)  # the same pictures and annotation ids under other names; the first year that is there is read
SHARED = [(LIP.find(side, limb), COCO.find(side, limb)) for limb in SHARED_LIMBS for side in ("right", "left")]
IN_LIP, IN_COCO = np.array(SHARED).T  # (12,) the shared joints' numbers in each skeleton
_LIP_NAME = re.compile(r"(\d{1,12})_(\d{1,15})\.jpg")
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val)2014_)?(\d{1,12})\.jpe?g")


@dataclass(frozen=True, eq=False)
class LipList:
    """The persons of one LIP split. Without a csv, from the split's list of ids, keypoints and rows are None."""

    split: str
    path: Path
    names: list[str]
    keypoints: np.ndarray | None  # (N, 16, 3) as `lip.read_annotations` gives them
    rows: list[str] | None  # the csv's lines

    @property
    def ids(self) -> list[tuple[int, int]]:
        """COCO's image and annotation id of every person. DataError for a name that doesn't say them."""
        found = [_LIP_NAME.fullmatch(name) for name in self.names]
        if None not in found:
            return [(int(match[1]), int(match[2])) for match in found]
        bad = [row for row, match in enumerate(found) if match is None]
        more = f" (nor are {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(
            f"{self.path}, row {bad[0] + 1}: {self.names[bad[0]]!r} is not <image>_<annotation>.jpg, the ids of a COCO "
            f"person{more}; use LIP's own file, or remove the row"
        )


def read_list(labels_folder: str | Path, split: str) -> LipList | None:
    """A split's csv, or its list of ids (<split>_id.txt); None where the folder has neither, three folders deep.

    A csv whose rows were set aside by an earlier call (see `lip_from_coco`) is read as it was given.
    """
    names = (f"lip_{split}_set_given.csv", f"lip_{split}_set.csv", f"{split}_id.txt")
    path = next(filter(None, (_found(labels_folder, name) for name in names)), None)
    if path is None:
        return None
    if path.suffix == ".csv":
        return LipList(split, path, *lip.read_annotations(path), path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    return LipList(split, path, [f"{stem}.jpg" for stem in lip.read_ids(path)], None, None)


def _found(folder: str | Path, name: str) -> Path | None:
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: folder missing; put LIP's lip_train_set.csv and lip_val_set.csv there")
    with contextlib.suppress(DataError):
        return lip.find_path(folder, name)
    return None


@dataclass(frozen=True, eq=False)
class CocoPerson:
    """One annotation of a COCO label file, as far as LIP needs it."""

    split: str  # of COCO
    where: str  # for messages
    image_id: int
    box: object  # as in the file: not checked
    crowd: bool
    picture_size: tuple[int, int] | None  # width, height; None: the file doesn't say
    keypoints: np.ndarray  # (17, 3); label 0 where the annotation has none


def read_coco_persons(coco_folder: str | Path, wanted: Collection[int]) -> tuple[dict[int, CocoPerson], list[str]]:
    """The wanted annotations of the train and val label files, by id, and the splits without a label file.

    Labels of 2017, or of 2014 where there are none. DataError where there are neither, and for files that can't be read.
    """
    files = _label_files(coco_folder)
    persons = {}
    for split, path in files.items():  # one file in memory at a time
        persons = _wanted_persons(load_labels(path), split, wanted) | persons
    return persons, [split for split in SPLITS if split not in files]


def _label_files(coco_folder: str | Path) -> dict[str, Path]:
    for year in YEARS:
        files = {}
        for split in SPLITS:
            with contextlib.suppress(DataError):
                files[split] = labels_file(coco_folder, split, f"person_keypoints_{split}{year}.json")
        if files:
            return files
    return {"train": labels_file(coco_folder, "train")}  # which says what is missing


def _wanted_persons(labels: Labels, split: str, wanted: Collection[int]) -> dict[int, CocoPerson]:
    if labels.images is None:
        raise DataError(f"{labels.path}: converted labels have no annotation ids; give COCO's official file")
    kept = [annotation for annotation in labels.annotations if annotation["id"] in wanted]
    labelled = [annotation for annotation in kept if annotation.get("keypoints")]
    if labelled:
        check_joints(labels, COCO)
    points = dict(zip((a["id"] for a in labelled), stack_keypoints(labels, labelled) if labelled else (), strict=True))
    nothing = np.zeros((COCO.num_joints, 3), np.float32)
    return {
        a["id"]: CocoPerson(
            split,
            labels.where(a),
            a["image_id"],
            a.get("bbox"),
            bool(a.get("iscrowd")),
            _size(labels.images[a["image_id"]]),
            points.get(a["id"], nothing).copy(),  # a view would keep the whole file's array
        )
        for a in kept
    }


def _size(image: dict) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return size if all(type(side) is int and side > 0 for side in size) else None


def find_pictures(coco_folder: str | Path, wanted: Collection[int]) -> tuple[dict[int, Path], set[str]]:
    """COCO's pictures by image id, as far as they are wanted and there, and the splits that have a picture folder.

    Folders `{train,val}{2017,2014}`, also below images/, nested up to three deep; which of them holds a picture is all one.
    """
    splits = {f"{place}{split}{year}": split for place in ("", "images/") for year in YEARS for split in SPLITS}
    paths, there = {}, set()
    for name, split in splits.items():
        for folder in places(coco_folder, (name,)):
            if folder.is_dir():
                there.add(split)
                paths = _pictures_in(folder, wanted) | paths
    return paths, there


def _pictures_in(folder: Path, wanted: Collection[int]) -> dict[int, Path]:
    with os.scandir(folder) as entries:
        found = ((_COCO_NAME.fullmatch(entry.name), entry.name) for entry in entries)
        return {int(match[1]): folder / name for match, name in found if match and int(match[1]) in wanted}


def crop_of_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """COCO's box x, y, width, height and the picture's width, height -> left, top, right, bottom of LIP's picture.

    MATLAB's imcrop with the box taken as 1-based pixels: columns max(1, round(x)) to min(W, round(x + w)) and rows
    likewise, both ends included, halves away from zero. Returned 0-based, right and bottom excluded, as slices are.
    ValueError where nothing of the box lies in the picture.
    """
    ends = [
        (max(1, _round(start)), min(side, _round(start + extent)))
        for start, extent, side in zip(box[:2], box[2:], size, strict=True)
    ]
    (left, right), (top, bottom) = ends
    if right < left or bottom < top:
        raise ValueError(f"bbox {list(box)} has no pixel inside its picture of {size[0]}x{size[1]}")
    return left - 1, top - 1, right, bottom


def _round(value: float) -> int:
    """To the nearest whole number, halves away from zero. The fraction is exact, where adding 0.5 isn't."""
    whole = math.trunc(value)
    return whole + (int(math.copysign(1, value)) if abs(value - whole) >= 0.5 else 0)


def origin_crop(name_ids: tuple[int, int], person: CocoPerson | None) -> tuple[int, int, int, int]:
    """The crop of a LIP person. DataError, "kind: detail", for one that can't be cut from this COCO annotation."""
    image_id, annotation_id = name_ids
    if person is None:
        raise DataError(f"COCO has no such annotation: {annotation_id}")
    if person.image_id != image_id:
        raise DataError(f"annotation of another picture: {person.where} is of image {person.image_id}")
    if person.crowd:
        raise DataError(f"a crowd, no person: {person.where}")
    if person.picture_size is None:
        raise DataError(f"picture without width and height: {person.where}")
    try:
        return crop_of_box(box_numbers(person.where, person.box), person.picture_size)
    except ValueError as error:  # DataError is one
        raise DataError(f"box that is no box: {error}") from error


def distances(lip_points: np.ndarray, coco_points: np.ndarray) -> tuple[int, float, float]:
    """LIP's (16, 3) and COCO's (17, 3) joints in the same frame -> joints that both label, median distance in pixels.

    The third number is the median distance where right and left of LIP change places. nan where no joint is labelled twice.
    """
    found = []
    for joints in (IN_LIP, LIP.flip_order[IN_LIP]):
        ours, theirs = lip_points[joints], coco_points[IN_COCO]
        both = (ours[:, 2] > 0) & (theirs[:, 2] > 0)
        apart = np.linalg.norm(ours[both, :2] - theirs[both, :2], axis=1)
        found.append((int(both.sum()), float(np.median(apart)) if len(apart) else math.nan))
    return *found[0], found[1][1]


def joints_outside(lip_points: np.ndarray, size: tuple[int, int], margin: float = 0.0) -> int:
    """How many labelled joints lie outside a crop of this width and height, by more than margin times its sides."""
    size = np.array(size)
    xy = lip_points[lip_points[:, 2] > 0, :2]
    return int(((xy < -margin * size) | (xy > size - 1 + margin * size)).any(axis=1).sum())
