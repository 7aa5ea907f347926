"""Corrections of labels: made by people in the inspector, kept in a csv of their own, applied when labels are read.

    row,name,annotation_id,joint,x,y,label,was_x,was_y,was_label,by,at

One line for each corrected joint; a line without a joint rejects the person, who is then neither trained on nor scored.
row counts from 1 as in the label file, label is missing, occluded or visible, x and y are picture pixels, at is UTC. The
label file itself never changes: readers take the csv on top of it, as labels="c.csv" or labels="mine.json + c.csv".
"""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person
from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import MISSING, same_joints

COLUMNS = ["row", "name", "annotation_id", "joint", "x", "y", "label", "was_x", "was_y", "was_label", "by", "at"]
LABELS = ("missing", "occluded", "visible")  # names of the labels 0, 1, 2
REJECTED = "rejected"
JOIN = " + "  # between a label file and the corrections on top of it
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")  # and ' itself, so that two texts never become one
Point = tuple[float, float, int]  # x, y, label


@dataclass(frozen=True)
class Correction:
    """One joint's corrected label, or (no joint) a rejected person."""

    row: int  # the person's, from 1
    name: str  # of the picture
    annotation_id: int | None
    joint: str  # "": the whole person is rejected
    now: Point
    was: Point
    by: str
    at: str  # 2026-11-26T00:12:00Z

    @property
    def key(self) -> tuple[str, int | None]:
        """Whose label it is."""
        return self.name, self.annotation_id


def corrections_file(dataset_folder: str | Path, split: str) -> Path:
    """Where corrections of a split's labels are kept: a csv beside the data set's folder, which stays as it is."""
    folder = Path(dataset_folder).absolute()
    return folder.with_name(f"{folder.name}_{split}_corrections.csv")


def split_names(labels: str) -> tuple[str, str]:
    """What readers are given as labels -> label file ("": the official one) and csv of corrections ("": none)."""
    names = str(labels).split(JOIN)
    is_csv = names[-1].lower().endswith(".csv")
    if len(names) > 2 or (len(names) == 2 and not is_csv):
        raise DataError(f"{labels!r}: give a label file, a csv of corrections, or both as in 'mine.json + corrections.csv'")
    return (JOIN.join(names[:-1]), names[-1]) if is_csv else (names[0], "")


def find_corrections(dataset_folder: str | Path, name: str) -> Path:
    """The csv of this name: in the data set's folder, in its annotations/, beside it, or wherever the path leads."""
    folder = Path(dataset_folder).absolute()
    for path in (folder / name, folder / "annotations" / name, folder.parent / name, Path(name)):
        if path.is_file():
            return path
    raise DataError(f"{folder.parent / name}: no such corrections, neither in {folder.name}/; correct the name in labels")


def read_corrections(path: str | Path) -> list[Correction]:
    """The csv's lines; [] where there is no file. DataError names the file and line, counted from 1 without the header."""
    found = [_correction(f"{path}, line {n}", line) for n, line in enumerate(read_csv(path, COLUMNS, "corrections"), 1)]
    counts = Counter((own.key, own.joint) for own in found)
    twice = next((number for number, own in enumerate(found, 1) if counts[own.key, own.joint] > 1), None)
    if twice:
        own = found[twice - 1]
        raise DataError(f"{path}, line {twice}: {own.joint or 'the person'} of {own.name} comes twice; remove one line")
    return found


def read_csv(path: str | Path, columns: list[str], what: str) -> list[list[str]]:
    """A csv's lines without its header, each of as many cells; [] where there is no file. DataError for any other file.

    what: of what it is a list, for messages.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        lines = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable csv file ({error}); remove it or give another one") from error
    if not lines or lines[0] != columns:
        raise DataError(f"{path}: no list of {what} ({','.join(columns)}); give another file")
    wrong = next((number for number, line in enumerate(lines) if len(line) != len(columns)), None)
    if wrong:
        raise DataError(f"{path}, line {wrong}: {len(lines[wrong])} cells instead of {len(columns)}; correct or remove it")
    return lines[1:]


def _correction(where: str, line: list[str]) -> Correction:
    try:
        row, name, annotation, joint, x, y, label, was_x, was_y, was_label, by, at = line
        was = _point(was_x, was_y, was_label) if joint else (0.0, 0.0, MISSING)
        if not joint and label != REJECTED:
            raise ValueError(f"no joint, and the label is {label!r}")
        now = _point(x, y, label) if joint else (0.0, 0.0, MISSING)
        return Correction(
            int(row), from_csv(name), int(annotation) if annotation else None, joint, now, was, from_csv(by), at
        )
    except ValueError as error:
        raise DataError(f"{where}: not a correction ({error}); correct or remove the line") from error


def _point(x: str, y: str, label: str) -> Point:
    if label not in LABELS:
        raise ValueError(f"label {label!r} is none of {', '.join(LABELS)}")
    if label == LABELS[MISSING]:
        return 0.0, 0.0, MISSING
    point = float(x), float(y), LABELS.index(label)
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in point):
        raise ValueError("a coordinate is no number of pixels")
    return point


def write_corrections(path: str | Path, corrections: Iterable[Correction]) -> Path:
    """Write the csv, ordered by row, beside and then renamed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # lines end in \r\n, so that both are quoted where a name has them
    writer.writerow(COLUMNS)
    for own in sorted(corrections, key=lambda correction: correction.row):
        points = [*_cells(own.now), *_cells(own.was)] if own.joint else ["", "", REJECTED, "", "", ""]
        number = "" if own.annotation_id is None else own.annotation_id
        writer.writerow([own.row, to_csv(own.name), number, own.joint, *points, to_csv(own.by), own.at])
    return write_beside(Path(path), text.getvalue())


def _cells(point: Point) -> list[str]:
    x, y, label = point
    shown = ["", ""] if label == MISSING else [np.format_float_positional(np.float32(v), trim="-") for v in (x, y)]
    return [*shown, LABELS[label]]


def to_csv(text: str) -> str:
    """A text as a csv has it: one that a spreadsheet would compute gets a ' in front."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def from_csv(text: str) -> str:
    """The text that `to_csv` wrote so."""
    return text[1:] if text.startswith("'") else text


# ------------------------------------------------------------------------------------------------ on top of labels


def corrected(persons: Sequence[Person], path: str | Path, joints: Sequence[str], bad: BadSamples = RAISE) -> list[Person]:
    """Persons with the corrections of a csv on top of their labels; rejected ones are left out.

    DataError for a correction of somebody who isn't there (left out where bad ones are skipped), of an unknown
    joint, and of a label that has changed since.
    """
    corrections = read_corrections(path)
    own = by_person(persons, corrections, path)
    result = []
    for row, person in enumerate(persons):
        mended = own.get(row, [])
        if not any(not correction.joint for correction in mended):
            points = corrected_keypoints(person.keypoints, mended, joints, path) if mended else person.keypoints
            result.append(replace(person, keypoints=points))
    known = {person_key(person) for person in persons}
    for key in dict.fromkeys(correction.key for correction in corrections if correction.key not in known):
        with bad.sample(told_key(key)):
            raise DataError(
                f"{path}: {told_key(key)} isn't among these {len(persons):,} persons; name the corrections of this split, "
                "or remove the lines"
            )
    return result


def by_person(persons: Sequence[Person], corrections: Iterable[Correction], path) -> dict[int, list[Correction]]:
    """Row (from 0) -> this person's corrections; those of others are left out.

    DataError where a corrected picture has several persons that no annotation id tells apart.
    """
    rows = defaultdict(list)
    for row, person in enumerate(persons):
        rows[person_key(person)].append(row)
    found = defaultdict(list)
    for correction in corrections:
        own = rows.get(correction.key, [])
        if len(own) > 1:
            raise DataError(
                f"{path}: {told_key(correction.key)} is {len(own)} persons without ids; use the official labels"
            )
        if own:
            found[own[0]].append(correction)
    return dict(found)


def person_key(person: Person) -> tuple[str, int | None]:
    """By what a person is known in the csv."""
    return person.name, person.annotation_id


def told_key(key: tuple[str, int | None]) -> str:
    """The same for messages."""
    return key[0] if key[1] is None else f"{key[0]}, annotation {key[1]}"


def corrected_keypoints(
    keypoints: np.ndarray, corrections: Sequence[Correction], joints: Sequence[str], path
) -> np.ndarray:
    """A person's labels (K, 3) with these corrections on top; where they are on top already, nothing changes.

    DataError for a joint that isn't among these names and a label that is neither what it was nor what it should be.
    """
    points = np.array(keypoints, np.float32)
    for own in corrections:
        if not own.joint:
            continue
        where = f"{path}, {told_key(own.key)}, {own.joint}"
        joint = joint_index(own.joint, joints)
        if joint is None:
            raise DataError(f"{where}: no such joint, there are {', '.join(joints)}; correct or remove the line")
        if not (_same(points[joint], own.was) or _same(points[joint], own.now)):
            raise DataError(f"{where}: the label has changed since it was corrected; correct it again, or remove the line")
        points[joint] = own.now
    return points


def joint_index(joint: str, joints: Sequence[str]) -> int | None:
    """Where a corrected joint is among these names, however they are written; None where it isn't."""
    return next((k for k, name in enumerate(joints) if name == joint or same_joints([name], [joint])), None)


def _same(point: np.ndarray, other: Point) -> bool:
    is_missing = int(point[2]) == MISSING
    return int(point[2]) == other[2] and (is_missing or bool((point[:2] == np.float32(other[:2])).all()))


# ------------------------------------------------------------------------------------------------ what was corrected


def corrections_table(dataset_folder: str | Path, splits: Sequence[str]) -> pd.DataFrame:
    """What was corrected in these splits, by whom and when: split, row, name, joint, was, now, moved (px), by, at.

    Empty where nothing was. Notebook 01 shows it below its inspector. DataError as `read_corrections`.
    """
    rows = [
        (split, own.row, told_key(own.key), own.joint or "whole person", *_told(own), own.by, own.at)
        for split in splits
        for own in read_corrections(corrections_file(dataset_folder, split))
    ]
    return pd.DataFrame(rows, columns=["split", "row", "name", "joint", "was", "now", "moved (px)", "by", "at"])


def _told(own: Correction) -> tuple[str, str, float]:
    if not own.joint:
        return "labelled", REJECTED, math.nan
    both = MISSING not in (own.was[2], own.now[2])
    moved = math.hypot(own.now[0] - own.was[0], own.now[1] - own.was[1]) if both else math.nan
    return LABELS[own.was[2]], LABELS[own.now[2]], round(moved, 1)
