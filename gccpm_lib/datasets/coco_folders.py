"""COCO's folders: the label file and the pictures, at the top of the data set or nested as archives leave them."""

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gccpm_lib.datasets.coco_labels import Labels
from gccpm_lib.datasets.corrections import split_names
from gccpm_lib.datasets.picture_names import bare, file_names, near_miss, too_long
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Skip

SPLITS = ("train", "val")


def labels_file(dataset_folder: str | Path, split: str, labels: str = "") -> Path:
    """Label file of "train" or "val": the official one, or `labels`: a name in the folder or in annotations/, or a path.

    Corrections that are named with it are another file, see `corrections`. Folders may be nested up to three deep. Raises
    DataError where there is none.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not known; known: {SPLITS}")
    labels, _ = split_names(labels)
    name = labels or f"person_keypoints_{split}2017.json"
    names = (name,) if Path(name).is_absolute() else (f"annotations/{name}", name)
    found = next((path for path in places(dataset_folder, names) if path.is_file()), None)
    if found is None and labels and Path(labels).is_file():
        found = Path(labels)
    if found is None:
        remedy = "correct the label file's name" if labels else "unpack COCO's annotations there, or name a label file"
        raise DataError(f"{dataset_folder}: no {names[0]} inside, three folders deep; {remedy}")
    return found


def places(dataset_folder: str | Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Existing files and folders of these names: of each name the one at the top first, then nested up to three deep."""
    levels = [[Path(dataset_folder)]]
    if not levels[0][0].is_dir():
        raise DataError(f"{dataset_folder}: folder missing; unpack COCO there or correct dataset_folder")
    for name in names:
        for depth in range(4):
            if depth == len(levels):
                levels.append(sorted(inside for folder in levels[-1] for inside in _subfolders(folder)))
            yield from (folder / name for folder in levels[depth] if (folder / name).exists())


def _subfolders(folder: Path) -> list[Path]:
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.is_dir()]
    return []


def picture_paths(
    labels_path: Path, dataset_folder: str | Path, split: str, names: dict[str, str], bad: BadSamples = RAISE
) -> dict[str, Path]:
    """Relative file name -> path in the picture folder; names gives, for messages, what each belongs to ("image 139").

    Pictures aren't opened: their folders are listed, each once. Raises DataError for names that lead out of the data set
    and for missing pictures; missing ones are left out where bad ones are skipped.
    """
    inside = {}
    for name, owner in names.items():
        with bad.sample(f"{labels_path.name}, {owner}"):
            if long := too_long(name):
                raise DataError(f"{labels_path}, {owner}: {long}; correct it")
            if not _is_relative(name):
                hint = ": write / between folders" if "\\" in name else ""
                raise DataError(
                    f"{labels_path}, {owner}: {name!r} must be a relative path inside the data set; correct it{hint}"
                )
            inside[name] = owner
    names = inside
    folder = _picture_folder(dataset_folder, split, list(islice(names, 100)))
    listings, paths, missing = {}, {}, []
    for name in names:
        path = folder / name
        parent, _, own = name.rpartition("/")
        if parent not in listings:
            listings[parent] = file_names(folder / parent)
        paths[name] = path
        if own not in listings[parent]:
            missing.append(name)
    if bad.skip and len(missing) < len(names):
        bad.skipped.extend(Skip(name, f"{labels_path}, {names[name]}: no picture {folder / name}") for name in missing)
        return {name: paths[name] for name in names.keys() - set(missing)}
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        near = near_miss(bare(missing[0]), listings[missing[0].rpartition("/")[0]])
        raise DataError(
            f"{labels_path}, {names[missing[0]]}: no picture {folder / missing[0]}{near}{more}; unpack the archive that "
            "holds them, or remove their annotations"
        )
    return paths


def record_pictures(labels: Labels, dataset_folder: str | Path, split: str, records: list[dict]) -> list[Path]:
    """The picture of every annotation or detection, see `picture_paths`."""
    names, owners = [], {}
    for record in records:
        name, owner = labels.picture_name(record)
        names.append(name)
        owners.setdefault(name, owner)
    paths = picture_paths(labels.path, dataset_folder, split, owners)
    return [paths[name] for name in names]


def _is_relative(name: str) -> bool:
    """True for a path that stays inside its folder, on every operating system."""
    return bool(name) and not (name[0] == "/" or name[1:2] == ":" or set(name) & {"\\", "\0"} or ".." in name.split("/"))


def _picture_folder(dataset_folder: str | Path, split: str, names: list[str]) -> Path:
    """The first of the usual folders that holds one of these pictures; if none does, the first that exists."""
    usual = (f"{split}2017", f"images/{split}2017", split, f"images/{split}", "images")
    # last the data set itself and the folders in it: names may begin with the picture folder's
    for place in places(dataset_folder, (*usual, ".")):
        if any((place / name).is_file() for name in names):
            return place
    found = next((place for place in places(dataset_folder, usual) if place.is_dir()), None)
    if found is None:
        raise DataError(f"{dataset_folder}: no folder {usual[0]} inside, three folders deep; unpack the pictures there")
    return found
