"""LIP's train and val pictures, cut from COCO's again; its test pictures can't be had this way.

LIP's server is gone, but `<image>_<annotation>.jpg` is COCO picture <image> cut at the box of annotation <annotation> (see
`lip_origin.crop_of_box`). What is needed: COCO's pictures and person_keypoints files, and LIP's small csv files.

Pictures are written as JPEG of quality 98 with full colour resolution: half a grey level from COCO's pixels on average, 4
or less in 999 of 1,000 values, which nobody sees, and about 2 GB for LIP in full. lossless=True keeps every pixel: PNG
content, twice the bytes, under the same names in .jpg. OpenCV, Pillow and this library look at the content; programs
that go by the name (nvJPEG, DALI) can't read these.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from gccpm_lib.datasets import lip_origin
from gccpm_lib.datasets.lip_comparison import Rebuilt, check_convention, compare
from gccpm_lib.datasets.lip_origin import CocoPerson, LipList
from gccpm_lib.datasets.records import DataError, Person, read_person_image
from gccpm_lib.files import locked, write_beside
from gccpm_lib.progress import tqdm

JPEG = (cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
REPORT = "lip_from_coco.csv"


def lip_from_coco(
    coco_folder: str | Path,
    lip_folder: str | Path,
    labels_folder: str | Path | None = None,
    *,
    partial: bool = False,
    lossless: bool = False,
    num_threads: int = 2,
) -> Rebuilt:
    """Cut LIP's train and val pictures from COCO's into lip_folder, in LIP's layout, and compare the labels of both.

    coco_folder: `train2017`, `val2017`, `annotations/person_keypoints_{train,val}2017.json`, or 2014's names.
    labels_folder: lip_{train,val}_set.csv, or lists {train,val}_id.txt, with which there are pictures but no labels; None:
    lip_folder. partial=True makes what it can from the parts of COCO that are there.

    A person whose annotation is missing, of another picture, a crowd, or whose picture can't be read isn't made; its row is
    left out of the csv in lip_folder (one that was there stays beside it as lip_<split>_set_given.csv). lip_from_coco.csv
    lists every person. Pictures that are there are kept, so that the same call goes on after a kill or a full disk; one
    of another size than COCO's box gives is neither used nor replaced. Raises DataError naming file, row and remedy.
    """
    lip_folder = Path(lip_folder)
    lists = _read_lists(labels_folder or lip_folder)
    ids = [pair for people in lists for pair in people.ids]
    persons, unlabelled = lip_origin.read_coco_persons(coco_folder, {annotation for _, annotation in ids})
    people = [persons.get(annotation) for _, annotation in ids]
    rebuilt = compare(lists, ids, people, lip_folder)
    for part in lists:
        check_convention(part, rebuilt.table)
    paths, there = lip_origin.find_pictures(coco_folder, {image for image, _ in ids})
    if not partial:
        _check_parts(coco_folder, ids, people, unlabelled, paths, there)
    lip_folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(lip_folder.parent, f".{lip_folder.name}.lock"):
        _cut_all(rebuilt, ids, people, paths, lossless, num_threads)
        for part in lists:
            _write_rows(part, rebuilt.table, lip_folder)
        _write(lip_folder / REPORT, rebuilt.table.round(4).to_csv(index=False))
    return rebuilt


def _read_lists(labels_folder: str | Path) -> list[LipList]:
    lists = [part for split in lip_origin.SPLITS if (part := lip_origin.read_list(labels_folder, split))]
    if not lists:
        raise DataError(f"{labels_folder}: no lip_train_set.csv or lip_val_set.csv inside; put LIP's label files there")
    return lists


def _check_parts(coco_folder, ids, people, unlabelled: list[str], paths: dict[int, Path], there: set[str]) -> None:
    """DataError where a whole part of COCO isn't there and persons need it."""
    remedy = "or make what can be made without it (partial)"
    unknown = sum(person is None for person in people)
    if unlabelled and unknown:
        name = f"annotations/person_keypoints_{unlabelled[0]}2017.json"
        raise DataError(
            f"{coco_folder}: no {name}, and {unknown:,} persons are in no other file; unpack it there, {remedy}"
        )
    for split in lip_origin.SPLITS:
        lacking = sum(
            person is not None and person.split == split and image not in paths
            for (image, _), person in zip(ids, people, strict=True)
        )
        if lacking and split not in there:
            name = f"{split}2017"
            raise DataError(
                f"{coco_folder}: no folder {name}, and {lacking:,} persons need it; unpack {name}.zip there, {remedy}"
            )


def _cut_all(rebuilt: Rebuilt, ids, people, paths: dict[int, Path], lossless: bool, num_threads: int) -> None:
    """Write the pictures that aren't there yet, each COCO picture read once; sets made and problem in the table."""
    table = rebuilt.table
    wanted = sorted(np.flatnonzero(table["made"]).tolist(), key=lambda i: ids[i])
    by_image = [list(rows) for _, rows in groupby(wanted, key=lambda i: ids[i][0])]
    boxes = table[["left", "top", "width", "height"]].astype(object).to_numpy()

    def cut(rows: list[int]) -> list[tuple[int, str]]:
        source = paths.get(ids[rows[0]][0])
        return list(_cut_picture(source, people[rows[0]], [(i, rebuilt.paths[i], tuple(boxes[i])) for i in rows], lossless))

    problems = {}
    executor = ThreadPoolExecutor(num_threads)  # reading and writing pictures leaves Python's lock
    try:
        for found in tqdm(executor.map(cut, by_image), total=len(by_image), desc="LIP from COCO", unit="picture"):
            problems.update((i, problem) for i, problem in found if problem)
    finally:  # after an error or Ctrl-C nothing more is begun
        executor.shutdown(cancel_futures=True)
    for i, problem in problems.items():
        table.loc[i, ["made", "problem"]] = False, problem


def _cut_picture(source: Path | None, person: CocoPerson, crops, lossless: bool) -> Iterator[tuple[int, str]]:
    """The crops (row, target, (left, top, width, height)) of one COCO picture -> row and problem of each, "" for none."""
    image, problem = None, "" if source else "no picture in the COCO folder"
    for i, target, (left, top, width, height) in crops:
        there = _size_of(target)
        if there == (width, height):
            yield i, ""
            continue
        if there:
            yield i, f"picture of another size: {target} is {there[0]}x{there[1]}, COCO's box {width}x{height}; remove it"
            continue
        if image is None and not problem:
            try:
                empty = np.zeros((0, 3), np.float32)
                image = read_person_image(Person(source, empty, image_id=person.image_id, picture_size=person.picture_size))
            except DataError as error:
                problem = f"COCO picture unreadable: {error}"
        if not problem:
            _write(target, _encoded(image[top : top + height, left : left + width], lossless))
        yield i, problem


def _size_of(path: Path) -> tuple[int, int] | None:
    """Width, height of a picture by its header; None for none and for a damaged one."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow's readers fail in many ways
        return None


def _encoded(crop: np.ndarray, lossless: bool) -> bytes:
    """(H, W, 3) BGR -> JPEG or PNG; one channel where all three are the same, as LIP's grey pictures are."""
    grey = (crop == crop[:, :, :1]).all()
    crop = np.ascontiguousarray(crop[:, :, 0] if grey else crop)
    return cv2.imencode(*((".png", crop, PNG) if lossless else (".jpg", crop, JPEG)))[1].tobytes()


def _write_rows(part: LipList, table: pd.DataFrame, lip_folder: Path) -> None:
    """The rows of the persons that were made -> lip_folder's csv; one given there, with more rows, stays beside it."""
    made = table.loc[table["split"] == part.split, "made"]
    if part.rows is None or not made.any():
        return
    name = f"lip_{part.split}_set.csv"
    inside = lip_folder.resolve() in part.path.resolve().parents
    target = part.path.with_name(name) if inside else lip_folder / "TrainVal_pose_annotations" / name
    there = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    kept = [row for row, keep in zip(part.rows, made, strict=True) if keep]
    if there == kept:
        return
    if part.path == target:
        _write(target.with_name(f"lip_{part.split}_set_given.csv"), target.read_bytes())
    elif not set(there) <= set(part.rows):
        raise DataError(f"{target}: has other rows than {part.path}; move it away, and the same command goes on")
    _write(target, "".join(f"{row}\n" for row in kept))


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_beside(path, content)
    except OSError as error:  # a full disk names no file
        raise DataError(f"{path}: not written ({error.strerror}); mend that, and the same command goes on") from error
