"""Labels of other tools -> a label file in COCO's format, which 01, 03 and 04 read: one function for each tool.

    from gccpm_lib.datasets.other_tools import from_labelme
    print(*from_labelme("my_photos", "my_data/annotations/person_keypoints_train2017.json").assumed, sep="\\n")

Pictures stay where they are; put them, or links to them, into `my_data/train2017`. What a tool leaves open is assumed and
said. Coordinates in the written file are pixels, x right and y down, pixel centres at integers.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
import yaml
from PIL import Image

from gccpm_lib.datasets.coco_labels import read_json
from gccpm_lib.datasets.records import DataError
from gccpm_lib.files import write_beside

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
BOX_MARGIN = 1.25  # a box made from joints: their extent times this
AREA_OF_BOX = 0.53  # a person's part of the box, the mean of COCO's


@dataclass(frozen=True)
class Written:
    """A label file and what had to be assumed to write it."""

    path: Path
    num_images: int
    num_persons: int
    assumed: tuple[str, ...]


@dataclass
class _Picture:
    """One image: its name, size in pixels, and persons as (joint name -> (x, y, v), box or None)."""

    file_name: str
    width: int
    height: int
    persons: list[tuple[dict[str, tuple[float, float, int]], list[float] | None]] = field(default_factory=list)


def from_cvat(labels: str | Path, target: str | Path) -> Written:
    """CVAT's export "COCO Keypoints 1.0": annotations/person_keypoints_default.json, nearly COCO's own form.

    Boxes without an extent are made from the joints. Raises DataError where the file isn't such an export.
    """
    labels = Path(labels)
    content = read_json(labels, "export as COCO Keypoints 1.0 and give annotations/person_keypoints_default.json")
    try:
        joints = next(category["keypoints"] for category in content["categories"] if category.get("keypoints"))
        pictures = {row["id"]: _Picture(row["file_name"], row["width"], row["height"]) for row in content["images"]}
        for row in content["annotations"]:
            points = np.asarray(row["keypoints"], float).reshape(-1, 3).tolist()
            named = {name: (x, y, int(v)) for name, (x, y, v) in zip(joints, points, strict=True) if v}
            box = row.get("bbox") if min(row.get("bbox", (0, 0, 0, 0))[2:]) > 0 else None
            pictures[row["image_id"]].persons.append((named, box))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise DataError(f"{labels}: not CVAT's COCO Keypoints 1.0 ({error!r}); export it again in that form") from error
    skeleton = next(c.get("skeleton", []) for c in content["categories"] if c.get("keypoints"))
    return _write(target, pictures.values(), joints, [], {"skeleton": skeleton})


def from_label_studio(export: str | Path, target: str | Path, joints: Sequence[str] | None = None) -> Written:
    """Label Studio's JSON export (keypoints, and rectangles around persons where there are several).

    A keypoint belongs to the rectangle that it names as its parent, else to the only one that holds it, else to the only
    person of the image. Positions are percent of the image. joints: their order; None: as they first appear.
    Raises DataError, naming the task, where it can't be told whose joint one is.
    """
    export, pictures, assumed = Path(export), [], set()
    for task in read_json(export, "export as JSON"):
        where = f"{export}: task {task.get('id')}"
        done = [answer for answer in task.get("annotations", []) if not answer.get("was_cancelled")]
        if not done:
            assumed.add("tasks without an annotation are left out")
            continue
        if len(done) > 1:
            assumed.add("of several annotations of one task the last is taken")
        pictures.append(_label_studio_picture(task, done[-1]["result"], where, assumed))
    return _write(target, pictures, joints or _in_order(pictures), sorted(assumed))


def _label_studio_picture(task: dict, result: list[dict], where: str, assumed: set[str]) -> _Picture:
    shapes = [row for row in result if row.get("type") in ("keypointlabels", "rectanglelabels")]
    if not shapes:
        assumed.add("images without any shape are left out")
        return _Picture("", 0, 0)
    width, height = shapes[0]["original_width"], shapes[0]["original_height"]
    scale = np.array([width, height]) / 100
    boxes = {row["id"]: _scaled_box(row["value"], scale) for row in shapes if row["type"] == "rectanglelabels"}
    persons = {key: ({}, box) for key, box in boxes.items()} or {"": ({}, None)}
    for row in shapes:
        if row["type"] != "keypointlabels":
            continue
        x, y = np.array([row["value"]["x"], row["value"]["y"]]) * scale
        name = row["value"]["keypointlabels"][0]
        owner = _owner(row.get("parentID") or row.get("parent_id"), x, y, boxes, f"{where}: {name}")
        if name in persons[owner][0]:
            raise DataError(f"{where}: {name} is there twice; draw a rectangle around each person, or remove one")
        persons[owner][0][name] = (x, y, 2)
    if not boxes:
        assumed.add("an image without a rectangle holds one person")
    return _Picture(_image_name(task), width, height, list(persons.values()))


def _owner(parent: str | None, x: float, y: float, boxes: dict[str, list[float]], where: str) -> str:
    """Whose joint it is: the key of a box, "" where there is none."""
    if not boxes:
        return ""
    if parent in boxes:
        return parent
    around = [key for key, (left, top, w, h) in boxes.items() if left <= x <= left + w and top <= y <= top + h]
    if len(around) != 1:
        raise DataError(f"{where}: lies in {len(around)} rectangles; make it a part of one, or draw it inside one alone")
    return around[0]


def _scaled_box(value: dict, scale: np.ndarray) -> list[float]:
    return [*(np.array([value["x"], value["y"]]) * scale).tolist(), *(np.array([value["width"], value["height"]]) * scale)]


def _image_name(task: dict) -> str:
    """The image's own name: without the folder, the address and the eight characters that an upload is given."""
    address = urlparse(str(next(iter(task["data"].values()))))
    path = parse_qs(address.query).get("d", [address.path])[0]
    return re.sub(r"^[0-9a-f]{8}-", "", PurePosixPath(unquote(path)).name)


def from_yolo_pose(
    folder: str | Path, target: str | Path, split: str = "train", joints: Sequence[str] | None = None
) -> Written:
    """YOLO-pose as Roboflow exports it (data.yaml, train/images, train/labels) or with images/train and labels/train.

    Positions are parts of the image. data.yaml's flip_idx gives the flip pairs. joints: their names where data.yaml has no
    kpt_names; None: joint_0, joint_1 and so on. Raises DataError naming the file and line.
    """
    folder = Path(folder)
    about = _read_yaml(folder / "data.yaml", "give the folder that holds data.yaml")
    count, per_joint = about.get("kpt_shape") or (0, 0)
    if not count:
        raise DataError(f"{folder / 'data.yaml'}: no kpt_shape: boxes alone; export the keypoint form")
    named = next(iter((about.get("kpt_names") or {}).values()), None)
    names = list(joints or named or [f"joint_{i}" for i in range(count)])
    if len(names) != count:
        raise DataError(f"{folder / 'data.yaml'}: kpt_shape says {count} joints, {len(names)} names were given")
    assumed = [] if joints or named else ["data.yaml has no names of joints: they are called joint_0, joint_1, ..."]
    if per_joint == 2:
        assumed.append("there are no visibilities: a joint at (0, 0) is missing, every other one visible")
    images = next((f for f in (folder / split / "images", folder / "images" / split) if f.is_dir()), None)
    if images is None:
        raise DataError(f"{folder}: neither {split}/images nor images/{split}; unpack the export there")
    pictures = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        label = Path(str(images).replace("images", "labels")) / f"{path.stem}.txt"
        picture = _Picture(path.name, *_size(path))
        for number, line in enumerate(label.read_text(encoding="utf-8").splitlines() if label.exists() else [], 1):
            if line.strip():
                picture.persons.append(_yolo_person(line, names, per_joint, picture, f"{label}:{number}"))
        pictures.append(picture)
    pairs = [[i, j] for i, j in enumerate(about.get("flip_idx") or []) if i < j]
    return _write(target, pictures, names, assumed, {"flip_pairs": pairs} if pairs else {})


def _yolo_person(line: str, names: list[str], per_joint: int, picture: _Picture, where: str):
    try:
        _, cx, cy, w, h, *rest = map(float, line.split())
        points = np.array(rest).reshape(len(names), per_joint)
    except ValueError as error:
        raise DataError(
            f"{where}: {len(line.split())} numbers for {len(names)} joints ({error}); export it again"
        ) from error
    size = np.array([picture.width, picture.height])
    left_top = (np.array([cx, cy]) - np.array([w, h]) / 2) * size
    seen = points[:, 2] if per_joint == 3 else 2 * points.any(axis=1)
    xy = points[:, :2] * size
    named = {n: (x, y, int(v)) for n, (x, y), v in zip(names, xy.tolist(), seen, strict=True) if v > 0}
    return named, [*left_top.tolist(), *(np.array([w, h]) * size).tolist()]


def from_labelme(folder: str | Path, target: str | Path, joints: Sequence[str] | None = None) -> Written:
    """labelme's files, one JSON beside each image: points whose label is the joint, grouped to persons by group_id.

    A rectangle of the same group is the person's box. A point with the flag "hidden" (or "occluded") counts as occluded.
    joints: their order; None: as they first appear. Raises DataError naming file and joint.
    """
    folder, pictures, assumed = Path(folder), [], set()
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError(f"{folder}: no labelme file (*.json) in it; give the folder that labelme saved to")
    for path in files:
        content = read_json(path, "save it with labelme again")
        persons: dict = defaultdict(lambda: ({}, None))
        for shape in content.get("shapes", []):
            key, points = shape.get("group_id"), np.asarray(shape["points"], float)
            named, _ = persons[key]
            if shape.get("shape_type") == "rectangle":
                (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
                persons[key] = named, [left, top, right - left, bottom - top]
            elif shape.get("shape_type") == "point":
                if shape["label"] in named:
                    raise DataError(
                        f"{path}: {shape['label']} twice in group {key}; give each person a group id of its own"
                    )
                flags = shape.get("flags") or {}
                hidden = any(flags.get(name) for name in ("hidden", "occluded"))
                named[shape["label"]] = (*points[0].tolist(), 1 if hidden else 2)
                if key is None:
                    assumed.add("points without a group id belong to one person of their image")
            else:
                assumed.add(f"shapes of the kind {shape.get('shape_type')!r} are left out")
        name = PurePosixPath(str(content["imagePath"]).replace("\\", "/")).name
        people = [person for person in persons.values() if person[0]]
        pictures.append(_Picture(name, content["imageWidth"], content["imageHeight"], people))
    return _write(target, pictures, joints or _in_order(pictures), sorted(assumed))


def _in_order(pictures: Iterable[_Picture]) -> list[str]:
    """The joints as they first appear."""
    return list(dict.fromkeys(name for picture in pictures for named, _ in picture.persons for name in named))


def _write(
    target: str | Path,
    pictures: Iterable[_Picture],
    joints: Sequence[str],
    assumed: Sequence[str],
    more: dict | None = None,
) -> Written:
    """Write the label file; DataError where there is nobody in it or a joint isn't in the order."""
    images, annotations, assumed = [], [], list(assumed)
    pictures = [picture for picture in pictures if picture.file_name]
    for image_id, picture in enumerate(pictures, 1):
        size = {"width": int(picture.width), "height": int(picture.height)}
        images.append({"id": image_id, "file_name": picture.file_name, **size})
        for named, box in picture.persons:
            if unknown := [name for name in named if name not in joints]:
                raise DataError(f"{picture.file_name}: joint {unknown[0]!r} isn't in the order; known: {', '.join(joints)}")
            if not named:
                continue
            if box is None:
                box = _box_of(named, picture)
                assumed.append(f"boxes that weren't drawn are the joints' extent x {BOX_MARGIN}")
            points = [named.get(name, (0, 0, 0)) for name in joints]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [round(float(value), 2) for value in box],
                    "area": round(AREA_OF_BOX * float(box[2] * box[3]), 2),
                    "keypoints": [round(float(value), 2) for point in points for value in point],
                    "num_keypoints": len(named),
                }
            )
    if not annotations:
        raise DataError(f"{target}: nobody has a joint; label at least one person")
    assumed.append(f"areas are {AREA_OF_BOX} x the box, so that AP is approximate")
    category = {"id": 1, "name": "person", "keypoints": list(joints), "skeleton": [], **(more or {})}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    path = write_beside(Path(target), json.dumps(content))
    return Written(path, len(images), len(annotations), tuple(dict.fromkeys(assumed)))


def _box_of(named: dict, picture: _Picture) -> list[float]:
    """The joints' extent with a margin, inside the image."""
    xy = np.array([point[:2] for point in named.values()])
    centre, half = (xy.min(axis=0) + xy.max(axis=0)) / 2, np.maximum((np.ptp(xy, axis=0)) / 2 * BOX_MARGIN, 8)
    first = np.maximum(centre - half, 0)
    return [*first.tolist(), *(np.minimum(centre + half, [picture.width, picture.height]) - first).tolist()]


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _read_yaml(path: Path, remedy: str):
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not a readable YAML file ({' '.join(str(error).split())}); {remedy}") from error
