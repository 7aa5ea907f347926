"""Several data sets pooled into one in COCO's layout, by links: a network learns from all of their people at once.

    pool_coco("data/photographs", [Source("data/coco", repeat=8), Source("data/lip", layout="lip")], val="data/coco")

A joint keeps its place by its name (LIP's l_shoulder is COCO's left_shoulder); joints that a source doesn't label are
missing, so that a training leaves their maps out.
"""

import itertools
import json
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.coco_folders import labels_file
from gccpm_lib.datasets.records import DataError, Person, picture_sizes
from gccpm_lib.files import link, write_beside
from gccpm_lib.skeletons import COCO, LIP, Skeleton, split_side

JOINT_MARGIN = 0.1  # a body is so much larger than the extent of its joints, on each side


@dataclass(frozen=True)
class Source:
    """A data set whose training persons are taken: the first so many (None: all) but those of the pictures left out.

    repeat: how often each of them comes in an epoch.
    """

    folder: str | Path
    layout: str = "coco"  # or "lip"
    repeat: int = 1
    num_persons: int | None = None
    leave_out: Collection[str] = ()  # file names of pictures


def pool_coco(root: str | Path, sources: Sequence[Source], val: str | Path) -> Path:
    """Write a folder in COCO's layout with the training persons of all the sources and the validation split of `val`.

    Pictures are linked, train2017/<number of the source> is its picture folder. Keypoints are COCO's 17, in image pixels; a
    LIP person's box is the extent of its joints grown by a tenth on each side, its area is half of that. Raises
    FileExistsError where root exists, DataError for a source that can't be read.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root}: exists already; remove it or give another folder")
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a writing that was interrupted
    for folder in ("train2017", "annotations"):
        (part / folder).mkdir(parents=True)
    images, annotations = [], []
    for number, source in enumerate(sources):
        persons, pictures = _read(source)
        link(pictures, part / "train2017" / str(number))
        _add(images, annotations, persons * source.repeat, pictures, str(number))
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(COCO.joints),
        "skeleton": [[a + 1, b + 1] for a, b in COCO.limbs],
    }
    content = {"images": images, "annotations": annotations, "categories": [category]}
    write_beside(part / "annotations" / "person_keypoints_train2017.json", json.dumps(content))
    val_pictures = Path(os.path.commonpath([p.image_path.resolve().parent for p in coco.read_coco(val, "val")]))
    link(val_pictures, part / "val2017")
    link(labels_file(val, "val").resolve(), part / "annotations" / "person_keypoints_val2017.json")
    part.rename(root)
    return root


def _read(source: Source) -> tuple[list[Person], Path]:
    """The source's training persons with COCO's joints, and the folder that its picture names are relative to."""
    if source.layout == "coco":
        persons = coco.read_coco(source.folder, "train")
        skeleton = coco.read_skeleton(labels_file(source.folder, "train")) or COCO
    elif source.layout == "lip":
        persons, skeleton = lip.read_lip(source.folder, "train"), LIP
    else:
        raise ValueError(f"layout {source.layout!r} is not known; known: 'coco', 'lip'")
    names = {person.name for person in persons}
    strangers = sorted(set(source.leave_out) - names)
    if strangers:
        raise DataError(f"{source.folder}: {strangers[0]}, to be left out, isn't among the pictures; correct leave_out")
    kept = [_with_coco_joints(p, skeleton) for p in persons if p.name not in set(source.leave_out)]
    kept = [person for person in kept if (person.keypoints[:, 2] > 0).any()]
    kept = kept[: source.num_persons]
    return kept, Path(os.path.commonpath([person.image_path.resolve().parent for person in kept]))


def _with_coco_joints(person: Person, skeleton: Skeleton) -> Person:
    """The same person with COCO's joints, by name, and a box and an area where there were none."""
    named = dict(zip(map(split_side, skeleton.joints), person.keypoints, strict=True))
    keypoints = np.stack([named.get(split_side(name), np.zeros(3)) for name in COCO.joints])
    box, area = person.box, person.area
    if box is None:
        points = person.keypoints[person.keypoints[:, 2] > 0, :2]
        low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1)
        box = (*(low - JOINT_MARGIN * size), *((1 + 2 * JOINT_MARGIN) * size))
    if area is None:
        area = box[2] * box[3] / 2
    return Person(person.image_path, keypoints, tuple(map(float, box)), area=float(area))


def _add(images: list[dict], annotations: list[dict], persons: Sequence[Person], pictures: Path, prefix: str) -> None:
    """Append the persons and their pictures, numbered on; a picture's name begins with its source's folder."""
    sizes, known, number = picture_sizes(persons), {}, itertools.count(len(annotations) + 1)
    for person, (width, height) in zip(persons, sizes.tolist(), strict=True):
        name = f"{prefix}/{person.image_path.resolve().relative_to(pictures).as_posix()}"
        if name not in known:
            known[name] = len(images) + 1
            images.append({"id": known[name], "file_name": name, "width": width, "height": height})
        annotations.append(
            {
                "id": next(number),
                "image_id": known[name],
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [round(value, 2) for value in person.box],
                "area": round(person.area, 2),
                "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
                "keypoints": [round(value, 2) for value in person.keypoints.astype(float).ravel().tolist()],
            }
        )
