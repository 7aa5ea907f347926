"""Rendered people: a data set that needs no download, written to disk in the LIP or in the COCO layout.

Every picture depends on (seed, split, index) alone, so the files are the same whatever the number of processes.
Files are written beside their final place and renamed when all are there: a folder that exists is complete.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch

from gccpm_lib.datasets.records import DataError
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.rendering import bodies, poses
from gccpm_lib.rendering.bodies import Body
from gccpm_lib.rendering.pictures import draw_group, draw_person
from gccpm_lib.skeletons import COCO, MISSING, OCCLUDED
from gccpm_lib.timing import usable_cores

VERSION = 2  # to be raised whenever the same seed draws other pictures
MARKER = "rendered.json"
CHUNK = 16  # pictures whose bodies are computed together; fixed, since sums may round differently in other batches
SPLITS = ("train", "val")


def render_lip(
    root: str | Path,
    num_train: int = 1500,
    num_val: int = 300,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw single people into the LIP layout under root, and return root.

    Pictures are person crops, the longer side 180 to 300 pixels, TrainVal_images/{train,val}_images/*.jpg; joints are
    rows of TrainVal_pose_annotations/lip_{train,val}_set.csv in pixels of the crop (x right, y down, pixel centres at
    integers): name, then x, y, v of 16 joints, v 0 visible and 1 occluded, nan,nan,nan outside the picture.
    num_workers is the number of processes (None: one per core, at most 8; 0 or 1: this one). Where root was rendered
    with the same arguments before, nothing is done. Raises DataError where root holds anything else.
    """
    return _render("lip", Path(root), (num_train, num_val), seed, num_workers, progress, _lip_chunk, _write_lip)


def render_coco(
    root: str | Path,
    num_train_images: int = 200,
    num_val_images: int = 50,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw groups of 1 to 4 people into the COCO layout under root, and return root.

    Pictures of about 480 x 360 pixels are {train,val}2017/%012d.jpg; annotations/person_keypoints_{train,val}2017.json
    has boxes (x, y, width, height) and areas of what is seen of each person, and 17 keypoints in pixels (x right, y
    down, pixel centres at integers) with v 0 outside the picture, 1 occluded, 2 visible. Segmentations are empty.
    The other arguments, and errors, are those of render_lip.
    """
    counts = (num_train_images, num_val_images)
    return _render("coco", Path(root), counts, seed, num_workers, progress, _coco_chunk, _write_coco)


@dataclass(frozen=True)
class Task:
    """The pictures first .. last - 1 of one split, to be written under folder."""

    folder: str
    seed: int
    split: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Plan:
    """Who is in a picture, drawn before the bodies are computed."""

    rng: np.random.Generator
    shapes: list[dict[str, float]]
    poses: list[dict[str, float]]
    names: list[str]


def _render(
    layout: str,
    root: Path,
    counts: tuple[int, int],
    seed: int,
    num_workers: int | None,
    progress: bool,
    work: Callable[[Task], list],
    write: Callable[[Path, int, list], None],
) -> Path:
    parameters = {"layout": layout, "num_train": counts[0], "num_val": counts[1], "seed": seed, "version": VERSION}
    if _is_there(root, parameters):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # a folder of its own for every caller: two that render the same at once cannot mix their files
    part = Path(tempfile.mkdtemp(prefix=f"{root.name}.part-", dir=root.parent))
    try:
        tasks = [
            Task(str(part), seed, split, first, min(first + CHUNK, count))
            for split, count in enumerate(counts)
            for first in range(0, count, CHUNK)
        ]
        _make_folders(part, layout)
        rows: list[list] = [[], []]
        with tqdm(total=sum(counts), desc=f"rendering {root.name}", unit="picture", disable=not progress) as bar:
            for task, done in zip(tasks, _results(work, tasks, num_workers), strict=True):
                rows[task.split].extend(done)
                bar.update(task.last - task.first)
        for split in (0, 1):
            write(part, split, rows[split])
        (part / MARKER).write_text(json.dumps(parameters, indent=1) + "\n", encoding="utf-8")
        _rename(part, root, parameters)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _is_there(root: Path, parameters: dict) -> bool:
    """True where root was rendered with these parameters, False where there is nothing; DataError otherwise."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{root}: holds files that were not rendered here; choose another folder") from error
    if found != parameters:
        raise DataError(f"{root}: rendered with {found}, not {parameters}; remove the folder or choose another one")
    return True


def _rename(part: Path, root: Path, parameters: dict) -> None:
    part.chmod(0o755)  # temporary folders are private
    try:
        os.rename(part, root)
    except OSError:
        if not _is_there(root, parameters):  # another caller may have been faster with the same pictures
            raise


def _results(work: Callable[[Task], list], tasks: list[Task], num_workers: int | None) -> Iterator[list]:
    if num_workers is None:
        num_workers = min(8, usable_cores())
    num_workers = min(num_workers, len(tasks))
    if num_workers <= 1:
        with _one_thread():
            yield from map(work, tasks)
        return
    # spawned, not forked: a forked child of a process that has used torch's threads can wait for them forever
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        try:
            yield from pool.map(work, tasks)
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads may round differently; the pictures must not depend on it."""
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    _start_worker()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)


def _make_folders(part: Path, layout: str) -> None:
    folders = ("TrainVal_images/train_images", "TrainVal_images/val_images", "TrainVal_pose_annotations")
    if layout == "coco":
        folders = ("train2017", "val2017", "annotations")
    for folder in folders:
        (part / folder).mkdir(parents=True)


def _plan(task: Task, index: int, num_people: Callable[[np.random.Generator], int]) -> Plan:
    rng = np.random.default_rng([task.seed, task.split, index])
    count = num_people(rng)
    names = [poses.draw_pose_name(rng) for _ in range(count)]
    return Plan(rng, [bodies.draw_shape(rng) for _ in names], [poses.draw_pose(rng, name) for name in names], names)


def _planned_bodies(plans: list[Plan]) -> Iterator[tuple[Plan, list[Body]]]:
    """One forward pass of the body model for all the plans of a chunk."""
    shapes, angles, names = ([x for plan in plans for x in getattr(plan, key)] for key in ("shapes", "poses", "names"))
    made = iter(bodies.make_bodies(shapes, angles, names))
    for plan in plans:
        yield plan, [next(made) for _ in plan.names]


def _lip_people(rng: np.random.Generator) -> int:
    return 1 + int(rng.choice([0, 1, 2], p=[0.72, 0.2, 0.08]))


def _lip_chunk(task: Task) -> list[str]:
    """Draw and write the pictures of one task; their csv rows."""
    plans = [_plan(task, index, _lip_people) for index in range(task.first, task.last)]
    rows = []
    for index, (plan, people) in enumerate(_planned_bodies(plans), task.first):
        name = f"{index + (0, 900000)[task.split]:06d}_{index * 7919 % 100000:05d}.jpg"
        image, keypoints = draw_person(plan.rng, people)
        _write_image(Path(task.folder, "TrainVal_images", f"{SPLITS[task.split]}_images", name), image, plan.rng)
        rows.append(",".join([name, *(_lip_cell(k) for k in keypoints)]))
    return rows


def _lip_cell(keypoint: np.ndarray) -> str:
    x, y, label = (round(float(value)) for value in keypoint)
    return "nan,nan,nan" if label == MISSING else f"{x},{y},{int(label == OCCLUDED)}"


def _write_lip(part: Path, split: int, rows: list[str]) -> None:
    text = "".join(row + "\n" for row in rows)
    (part / "TrainVal_pose_annotations" / f"lip_{SPLITS[split]}_set.csv").write_text(text, encoding="utf-8")


def _write_image(path: Path, image: np.ndarray, rng: np.random.Generator) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))]):
        raise DataError(f"{path}: could not be written; is the disk full?")


def _coco_people(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))


def _coco_chunk(task: Task) -> list[tuple[dict, list[dict]]]:
    """Draw and write the pictures of one task; the json entry of each picture and those of its people."""
    plans = [_plan(task, index, _coco_people) for index in range(task.first, task.last)]
    entries = []
    for index, (plan, people) in enumerate(_planned_bodies(plans), task.first):
        image_id = 2 * index + 1 + task.split  # no two pictures of the two splits share an id
        image, annotations = draw_group(plan.rng, people)
        name = f"{image_id:012d}.jpg"
        _write_image(Path(task.folder, f"{SPLITS[task.split]}2017", name), image, plan.rng)
        height, width = image.shape[:2]
        people_entries = [{"id": 10 * image_id + i, "image_id": image_id, **a} for i, a in enumerate(annotations)]
        entries.append(({"id": image_id, "file_name": name, "height": height, "width": width}, people_entries))
    return entries


def _write_coco(part: Path, split: int, entries: list[tuple[dict, list[dict]]]) -> None:
    skeleton = [[a + 1, b + 1] for a, b in COCO.limbs]
    person = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO.joints),
        "skeleton": skeleton,
    }
    content = {
        "info": {"description": "rendered people"},
        "licenses": [],
        "images": [image for image, _ in entries],
        "annotations": [annotation for _, people in entries for annotation in people],
        "categories": [person],
    }
    path = part / "annotations" / f"person_keypoints_{SPLITS[split]}2017.json"
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def render(dataset_folder: str | Path, recipe: Recipe, num_train: int, num_val: int, seed: int = 0) -> Path:
    """Draw people into the folder, in the recipe's layout: so many pictures of each split (LIP: one person in each)."""
    draw = render_lip if recipe.crop == "letterbox" else render_coco
    return draw(dataset_folder, num_train, num_val, seed)
