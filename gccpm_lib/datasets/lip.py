"""Look Into Person, single-person pose: folders and csv files -> Person records.

    <dataset_folder>/TrainVal_images/{train_images,val_images}/<image>_<person>.jpg
    <dataset_folder>/TrainVal_pose_annotations/lip_{train,val}_set.csv      name.jpg,x1,y1,v1,...,x16,y16,v16
    <dataset_folder>/Testing_images/{testing_images/,test_id.txt}

A missing joint is nan,nan,nan; v = 1 means occluded and 0 visible, which the reader turns into labels 1 and 2. Archives
often nest a folder in one of the same name; folders are found either way. Coordinates are image pixels.
"""

import math
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets.corrections import corrected, find_corrections, split_names
from gccpm_lib.datasets.picture_names import file_names, near_miss, too_long
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person, Skip
from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import LIP, MISSING, OCCLUDED, VISIBLE

SPLITS = ("train", "val")
K = LIP.num_joints
NO_NUMBER = ("nan", "NaN", "NAN")  # of a missing joint
MAX_COORDINATE = 1e6  # pixels; what is farther away was never measured in a picture


def find_path(dataset_folder: str | Path, name: str) -> Path:
    """Folder or file of this name in the data set, at the top or nested up to three folders deep."""
    dataset_folder = Path(dataset_folder)
    if not dataset_folder.is_dir():
        raise DataError(f"{dataset_folder}: folder missing; unpack LIP there or correct dataset_folder")
    for depth in range(4):
        found = sorted(dataset_folder.glob("*/" * depth + name))
        if found:
            return found[0]
    raise DataError(f"{dataset_folder}: no {name} inside, three folders deep; unpack the LIP archive that holds it there")


def read_lip(dataset_folder: str | Path, split: str, bad: BadSamples = RAISE, labels: str = "") -> list[Person]:
    """Persons of "train" or "val" in file order; pictures aren't opened, but must be there. DataError names file and row.

    Bad rows are errors, or left out where bad ones are skipped. labels: a csv of corrections on top of LIP's file, see
    `corrections`; "": none.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not known; known: {SPLITS}")
    images = find_path(dataset_folder, f"{split}_images")
    labels_csv = find_path(dataset_folder, f"lip_{split}_set.csv")
    names, keypoints = read_annotations(labels_csv, bad)
    there = file_names(images)
    missing = [name for name in names if name not in there]
    if bad.skip and len(missing) < len(names):
        bad.skipped.extend(Skip(name, f"{labels_csv}: no picture {images / name}") for name in missing)
    elif missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        where, near = f"{labels_csv}, row {names.index(missing[0]) + 1}", near_miss(missing[0], there)
        raise DataError(
            f"{where}: no picture {images / missing[0]}{near}{more}; unpack their archive, or remove their rows"
        )
    persons = [Person(images / name, points) for name, points in zip(names, keypoints, strict=True) if name in there]
    own_file, changes = split_names(labels)
    if own_file:
        raise DataError(
            f"labels {own_file!r}: LIP's label file is {labels_csv.name}; only a csv of corrections can be added"
        )
    return corrected(persons, find_corrections(dataset_folder, changes), LIP.joints, bad) if changes else persons


def read_test_images(dataset_folder: str | Path) -> list[Path]:
    """Pictures of the test split in the order of test_id.txt; empty where the data set has no test split."""
    try:
        folder, ids = find_path(dataset_folder, "testing_images"), find_path(dataset_folder, "test_id.txt")
    except DataError:
        return []
    return [folder / f"{stem}.jpg" for stem in read_ids(ids)]


def read_ids(path: str | Path) -> list[str]:
    """A split's list of ids, a stem a line, as in test_id.txt. DataError for an unreadable file or doubled stems."""
    names = {}
    for line in filter(str.strip, _read_text(Path(path)).splitlines()):
        name = f"{line.strip()}.jpg"
        _check_name(f"{path}, row {len(names) + 1}", name, names)
        names[name] = line.strip()
    return list(names.values())


def read_annotations(path: str | Path, bad: BadSamples = RAISE) -> tuple[list[str], np.ndarray]:
    """Annotation csv -> names, keypoints (N, 16, 3) float32: x, y, label (0 missing, 1 occluded, 2 visible).

    A joint with nan or a negative coordinate is missing. Warns of flags other than 0 and 1, which are read as visible.
    """
    names, cells = read_rows(path, 3 * K, bad)
    cells = cells.reshape(-1, K, 3)
    missing = ~(cells[:, :, :2] >= 0).all(axis=2)  # nan compares false
    odd = ~missing & ~np.isin(cells[:, :, 2], (0, 1))
    if odd.any():
        row, joint = np.argwhere(odd)[0]
        warnings.warn(
            f"{path}: {odd.sum():,} flags are neither 0 (visible) nor 1 (occluded), the first {cells[row, joint, 2]:g} of "
            f"{names[row]}, {LIP.joints[joint]}; read as visible",
            stacklevel=2,
        )
    labels = np.where(missing, MISSING, np.where(cells[:, :, 2] == 1, OCCLUDED, VISIBLE))
    xy = np.where(missing[:, :, None], 0, cells[:, :, :2])
    return names, np.concatenate([xy, labels[:, :, None]], axis=2).astype(np.float32)


def annotation_row(name: str, keypoints: np.ndarray) -> str:
    """The line of an annotation csv, with its end, that `read_annotations` reads as name and keypoints (16, 3)."""
    cells = ["nan,nan,nan" if label == MISSING else f"{x:g},{y:g},{int(label == OCCLUDED)}" for x, y, label in keypoints]
    return ",".join([name, *cells]) + "\n"


def prediction_row(name: str, keypoints: np.ndarray) -> str:
    """The line of the submission format, with its end: name, then x, y of every joint of (16, >=2) as whole pixels."""
    return ",".join([name, *map(str, np.rint(keypoints[:, :2]).astype(int).ravel())]) + "\n"


def read_predictions(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Prediction csv -> names, coordinates (N, 16, 2) float64, nan where the file says nan."""
    names, cells = read_rows(path, 2 * K)
    return names, cells.reshape(-1, K, 2)


def write_predictions(path: str | Path, names: Sequence[str], keypoints: np.ndarray) -> Path:
    """Write the submission format: name.jpg,x1,y1,...,x16,y16 with integers. keypoints (N, 16, >=2)."""
    path = Path(path)
    comma = next((name for name in names if "," in name), None)
    if comma is not None:
        raise DataError(f"{path}: {comma!r} has a comma, which this csv format has no way to write; rename the picture")
    return write_beside(path, "".join(prediction_row(*person) for person in zip(names, keypoints, strict=True)))


def read_rows(path: str | Path, num_columns: int, bad: BadSamples = RAISE) -> tuple[list[str], np.ndarray]:
    """csv of a name and num_columns numbers per row -> names, (N, num_columns) float64; nan cells allowed.

    Raises DataError for an empty file, a wrong column count, a cell that is no number, a name with a path in it or a
    name that comes twice, with the row (1-based); such rows are left out where bad ones are skipped.
    """
    path, rows = Path(path), {}
    lines = _read_text(path).rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{path}: empty; unpack it again")
    for row, line in enumerate(lines, 1):
        with bad.sample(f"{path.name}, row {row}"):
            where, (name, *cells) = f"{path}, row {row}", line.split(",")
            if len(cells) != num_columns:
                raise DataError(
                    f"{where}: {len(cells) + 1} columns instead of {num_columns + 1}; correct or remove the row"
                )
            _check_name(where, name, rows)
            rows[name] = [_coordinate(where, column, cell) for column, cell in enumerate(cells, 2)]
    if not rows:
        raise DataError(f"{path}: every row is bad, the first: {bad.skipped[-len(lines)].reason}")
    return list(rows), np.array(list(rows.values()))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable text file ({error}); unpack it again") from error


def _coordinate(where: str, column: int, cell: str) -> float:
    if cell in NO_NUMBER:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value) or "_" in cell:
        raise DataError(f"{where}, column {column}: {cell[:40]!r} is not a number; write a number or nan")
    if abs(value) > MAX_COORDINATE:
        raise DataError(f"{where}: a coordinate of {value:g}; correct or remove the row")
    return value


def _check_name(where: str, name: str, seen: Collection[str]) -> None:
    if long := too_long(name):
        raise DataError(f"{where}: {long}; correct it")
    if not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise DataError(f"{where}: {name!r} must be a bare file name; remove the path")
    if name in seen:
        raise DataError(f"{where}: {name} comes twice; remove one of the rows")


def label_problems(persons: list[Person], sizes: np.ndarray) -> pd.DataFrame:
    """What looks wrong in the labels: one row (row, name, joint, problem) each, rows 1-based as in the csv file.

    Joints more than a quarter of the picture outside it or at 0, 0, right and left of a pair on one pixel, no head size.
    """
    problems = []
    for row, (person, size) in enumerate(zip(persons, sizes, strict=True), 1):
        points, labelled = person.keypoints[:, :2], person.keypoints[:, 2] > 0
        far = labelled & ((points < -size / 4) | (points > 1.25 * size)).any(axis=1)
        problems += [(row, person.name, LIP.joints[j], "far outside the picture") for j in np.flatnonzero(far)]
        for a, b in LIP.flip_pairs:
            if labelled[a] and labelled[b] and (points[a] == points[b]).all():
                problems.append((row, person.name, LIP.joints[a], f"on the same pixel as {LIP.joints[b]}"))
        corner = labelled & (points == 0).all(axis=1)
        problems += [(row, person.name, LIP.joints[j], "at 0, 0: a missing joint is nan") for j in np.flatnonzero(corner)]
        head, neck = LIP.joints.index("head_top"), LIP.joints.index("neck")
        if not (labelled[head] and labelled[neck]):
            problems.append((row, person.name, "head_top", "head top or neck missing: not scored"))
    return pd.DataFrame(problems, columns=["row", "name", "joint", "problem"])
