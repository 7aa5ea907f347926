"""Several data sets pooled into one in COCO's layout, by links: a network learns from all of their people at once.

    pool_coco("data/photographs", [Source("data/coco", repeat=8), Source("data/lip", layout="lip")], val="data/coco")

A joint keeps its place by its name (LIP's l_shoulder is COCO's left_shoulder); joints that a source doesn't label are
missing, so that a training leaves their maps out. lip_pool.py does the same in LIP's layout.
"""

import itertools
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gccpm_lib import geometry
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.coco_folders import labels_file
from gccpm_lib.datasets.coco_labels import PERSON
from gccpm_lib.datasets.records import DataError, Person, picture_sizes
from gccpm_lib.files import link, new_folder, write_beside
from gccpm_lib.skeletons import COCO, LIP, Skeleton, split_side


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
    images, annotations = [], []
    with new_folder(Path(root)) as part:
        for folder in ("train2017", "annotations"):
            (part / folder).mkdir()
        for number, source in enumerate(sources):
            persons = [_with_box(person) for person in read_source(source, COCO)]
            pictures = Path(os.path.commonpath([person.image_path.resolve().parent for person in persons]))
            link(pictures, part / "train2017" / str(number))
            _add(images, annotations, persons * source.repeat, pictures, str(number))
        limbs = [[a + 1, b + 1] for a, b in COCO.limbs]
        category = {"id": PERSON, "name": "person", "keypoints": list(COCO.joints), "skeleton": limbs}
        content = {"images": images, "annotations": annotations, "categories": [category]}
        write_beside(part / "annotations" / "person_keypoints_train2017.json", json.dumps(content))
        val_pictures = Path(os.path.commonpath([p.image_path.resolve().parent for p in coco.read_coco(val, "val")]))
        link(val_pictures, part / "val2017")
        link(labels_file(val, "val").resolve(), part / "annotations" / "person_keypoints_val2017.json")
    return Path(root)


def read_source(source: Source, skeleton: Skeleton) -> list[Person]:
    """The source's training persons who have one of the skeleton's joints, with all of those, by name.

    Raises DataError for a picture to be left out that isn't there, ValueError for an unknown layout.
    """
    if source.layout == "coco":
        persons = coco.read_coco(source.folder, "train")
        own = coco.read_skeleton(labels_file(source.folder, "train")) or COCO
    elif source.layout == "lip":
        persons, own = lip.read_lip(source.folder, "train"), LIP
    else:
        raise ValueError(f"layout {source.layout!r} is not known; known: 'coco', 'lip'")
    names = {person.name for person in persons}
    strangers = sorted(set(source.leave_out) - names)
    if strangers:
        raise DataError(f"{source.folder}: {strangers[0]}, to be left out, isn't among the pictures; correct leave_out")
    kept = [_with_joints(p, own, skeleton) for p in persons if p.name not in set(source.leave_out)]
    return [person for person in kept if (person.keypoints[:, 2] > 0).any()][: source.num_persons]


def _with_joints(person: Person, own: Skeleton, skeleton: Skeleton) -> Person:
    """The same person with another skeleton's joints, by name; whom a box is missing gets that of its own joints."""
    named = dict(zip(map(split_side, own.joints), person.keypoints, strict=True))
    keypoints = np.stack([named.get(split_side(name), np.zeros(3)) for name in skeleton.joints])
    box = person.box or geometry.box_of_joints(person.keypoints)
    return replace(person, keypoints=keypoints, box=tuple(map(float, box)))


def _with_box(person: Person) -> Person:
    """What COCO's labels hold of a person: an area too, half of the box where nobody measured it."""
    area = person.box[2] * person.box[3] / 2 if person.area is None else person.area
    return Person(person.image_path, person.keypoints, person.box, area=float(area))


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
                "category_id": PERSON,
                "iscrowd": 0,
                "bbox": [round(value, 2) for value in person.box],
                "area": round(person.area, 2),
                "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
                "keypoints": [round(value, 2) for value in person.keypoints.astype(float).ravel().tolist()],
            }
        )
