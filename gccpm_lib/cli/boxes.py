"""Boxes: whom to predict in a picture or video frame, from a file or from one of torchvision's detectors.

A box is x, y, w, h in picture pixels and a score. Files are COCO's: results, [{"image_id" or "file_name", "bbox", "score"}]
(of a video: "file_name" and "frame", from 0), or labels, {"images", "annotations"}. They are matched by bare file name,
else by image id: a picture's name, with or without its suffix, or the number that is its name, as in 000000000139.jpg.
"""

import contextlib
import http.client
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gccpm_lib import checkpoints
from gccpm_lib.cli.inputs import Frame, Source, list_sources, read_frames
from gccpm_lib.datasets.coco_boxes import box_numbers, known_extents, known_size
from gccpm_lib.datasets.coco_detections import detection_rows, finite_score
from gccpm_lib.datasets.coco_labels import PERSON, Labels, load_labels, read_json
from gccpm_lib.datasets.picture_names import bare, near_miss
from gccpm_lib.datasets.records import DataError, Person

DETECTOR_BATCH = 4  # pictures: a detector's maps are some hundred megabytes each
SECONDS_TO_WAIT = 30  # for an answer, before a download is given up
# Their published weights go with batch normalisation that adds nothing to the variance; so torchvision builds them, too
NO_EPSILON = ("fasterrcnn", "keypointrcnn", "maskrcnn", "retinanet")


@dataclass(frozen=True, eq=False)
class WholePictures:
    """Every picture is one person."""

    ids: dict[str, int] = field(default_factory=dict)
    labelled: dict[str, Person] = field(default_factory=dict)

    def boxes_of(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """One box (1, 5) for every frame, all of it, with the score 1."""
        return [np.array([[0.0, 0.0, *frame.image.shape[1::-1], 1.0]]) for frame in frames]


@dataclass(frozen=True, eq=False)
class BoxFile:
    """The boxes of a file, for the given sources."""

    boxes: dict[tuple[str, int | None], np.ndarray]  # by source and number of the frame: (N, 5) x, y, w, h, score
    ids: dict[str, int]  # image ids by picture, as far as the file tells them
    labelled: dict[str, Person]  # by picture: the size and labels by which its frame is known, see `records.frame_of`

    def boxes_of(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """Boxes (N, 5) of every frame, (0, 5) where the file has none."""
        return [self.boxes.get((frame.source.name, frame.number), np.zeros((0, 5))) for frame in frames]


def read_boxes(path: str | Path, sources: Sequence[Source], min_score: float = 0.0) -> BoxFile:
    """The boxes of the sources with a score of at least min_score; a box without a score counts as sure.

    Crowds and other categories than persons are left out. Raises DataError naming the row or annotation that is wrong, and
    for a file without a box for any of the sources.
    """
    content = read_json(path)
    labels = None if isinstance(content, list) else load_labels(path)
    rows = list(_persons(path, content) if labels is None else _label_rows(labels))
    numbers, kinds = _numbers(sources), {source.name: source.kind for source in sources}
    found, ids, full_names = {}, {}, {}
    for where, row in rows:
        full_name = row["file_name"] if isinstance(row.get("file_name"), str) else numbers.get(row["image_id"], "")
        name = bare(full_name)
        if name not in kinds or row["score"] < min_score:
            continue
        if full_names.setdefault(name, full_name) != full_name:
            raise DataError(f"{where}: {full_names[name]} and {full_name} have the same name; rename one of the pictures")
        frame = None if kinds[name] == "picture" else _frame(where, row)
        found.setdefault((name, frame), []).append((*box_numbers(where, row.get("bbox")), row["score"]))
        ids[name] = row.get("image_id")
    if not found:
        near = near_miss(sources[0].name, (bare(str(row.get("file_name", ""))) for _, row in rows))
        raise DataError(
            f"{path}: no box with a score of {min_score:g} or more for {sources[0].name}{near} or any other input; boxes "
            "of persons (category_id 1) are matched by file_name, or by image_id where it is the picture's name or number"
        )
    boxes = {key: np.array(rows, dtype=np.float64) for key, rows in found.items()}
    ids = {name: number for name, number in ids.items() if type(number) is int}
    return BoxFile(boxes, ids, {} if labels is None else _labelled(labels, sources, ids))


def _labelled(labels: Labels, sources: Sequence[Source], ids: dict[str, int]) -> dict[str, Person]:
    """What the label file says about the frame of each picture whose image it knows."""
    extents = known_extents(labels)
    return {
        source.name: Person(
            Path(source.path),
            np.zeros((0, 3), np.float32),
            image_id=ids[source.name],
            picture_size=known_size(labels.images[ids[source.name]]),
            label_extent=extents.get(ids[source.name]),
        )
        for source in sources
        if source.kind == "picture" and source.name in ids
    }


def number_of(source: Source) -> int | None:
    """The number that a picture is named by (000000000139.jpg: 139), None for another name and for videos."""
    stem = Path(source.path).stem
    return int(stem) if source.kind == "picture" and stem.isascii() and stem.isdigit() else None


def _numbers(sources: Sequence[Source]) -> dict[int | str, str]:
    """Names by what an image_id may be: the name, that without suffix, its number. DataError for 1.jpg beside 001.jpg."""
    names = {Path(source.name).stem: source.name for source in sources} | {source.name: source.name for source in sources}
    for source in sources:
        number = number_of(source)
        if number is not None and names.setdefault(number, source.name) != source.name:
            raise DataError(f"{source.path}: {names[number]} has the same number, so boxes can't be matched; rename one")
    return names


def _persons(path: str | Path, rows: list) -> Iterator[tuple[str, dict]]:
    """Place (for messages) and row of every person in a results file, with a score."""
    for where, row in detection_rows(path, rows):
        if row.get("category_id", PERSON) == PERSON:
            yield where, {**row, "score": finite_score(where, {"score": 1.0} | row)}


def _frame(where: str, row: dict) -> int:
    if type(row.get("frame")) is not int:
        raise DataError(f"{where}: frame {row.get('frame')!r} is not a whole number; number a video's frames from 0")
    return row["frame"]


def _label_rows(labels: Labels) -> Iterator[tuple[str, dict]]:
    """Place and row of every person in a label file, with the picture's name."""
    for annotation in labels.annotations:
        if annotation.get("iscrowd"):
            continue
        if labels.images is None:
            named = {"file_name": annotation["image_path"]}
        else:
            image_id = annotation["image_id"]
            file_name = labels.images[image_id].get("file_name")
            named = {"image_id": image_id} | ({"file_name": file_name} if isinstance(file_name, str) else {})
        yield labels.where(annotation), {**named, "bbox": annotation.get("bbox"), "score": 1.0}


def covering(boxes: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """Boxes (N, >=4) -> (N,) bool: covers at least 2 x 2 pixels of a picture (height, width), as every crop has to."""
    corner, extent = np.array(boxes, dtype=np.float64)[:, :2], np.asarray(boxes)[:, 2:4]
    first, last = np.maximum(np.rint(corner), 0), np.minimum(np.rint(corner + extent), picture[::-1])
    return (last - first >= 2).all(axis=1)


@dataclass(frozen=True, eq=False)
class Detector:
    """One of torchvision's detectors, ready to find persons."""

    network: nn.Module  # list of (3, H, W) float32 RGB in 0..1 -> list of {"boxes": x1, y1, x2, y2, "labels", "scores"}
    person: int  # its label of a person
    min_score: float
    device: str = "cpu"
    ids: dict[str, int] = field(default_factory=dict)  # it knows of no image ids
    labelled: dict[str, Person] = field(default_factory=dict)

    def boxes_of(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """Boxes (N, 5) of the persons in every frame, falling in score."""
        found = []
        for start in range(0, len(frames), DETECTOR_BATCH):
            pictures = [torch.from_numpy(f.image[:, :, ::-1].copy()) for f in frames[start : start + DETECTOR_BATCH]]
            with torch.inference_mode():
                answers = self.network([picture.to(self.device).permute(2, 0, 1) / 255 for picture in pictures])
            found += [self._persons({key: value.cpu().double().numpy() for key, value in a.items()}) for a in answers]
        return found

    def _persons(self, answer: dict[str, np.ndarray]) -> np.ndarray:
        chosen = (answer["labels"] == self.person) & (answer["scores"] >= self.min_score)
        corners, scores = answer["boxes"][chosen], answer["scores"][chosen]
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], scores])
        return boxes[np.argsort(-scores, kind="stable")]


def open_detector(name: str, weights: str | Path = "", min_score: float = 0.5, device: str = "cpu") -> Detector:
    """A detector by its name in torchvision.models.detection, with a local state_dict or torchvision's own weights.

    Those are taken from torch.hub's cache, or downloaded, which is said on stderr. Raises ValueError for an unknown name,
    weights that don't fit and, naming the file to give, weights that can't be had.
    """
    from torchvision import models  # takes a second, which nobody else should wait for

    known = models.list_models(module=models.detection)
    if name not in known:
        raise ValueError(f"detector {name!r} is not known; known: {', '.join(known)}")
    published = models.get_model_weights(name).DEFAULT
    path = Path(weights) if weights else _cached(published.url, published.meta.get("_file_size", 0))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: detector weights missing; correct --detector-weights")
    network = models.get_model(name, weights=None, weights_backbone=None)
    try:
        checkpoints.load_weights(network, checkpoints.network_weights(checkpoints.read_checkpoint(path)), path)
    except ValueError as error:
        raise ValueError(f"{error}; give a state_dict of torchvision's {name} for 91 categories") from error
    if name in [f"{kind}_resnet50_fpn" for kind in NO_EPSILON]:
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.eps = 0.0
    person = published.meta["categories"].index("person")
    return Detector(network.to(device).eval(), person, min_score, device)


def _cached(url: str, megabytes: float) -> Path:
    """The weights' file in torch.hub's cache, downloaded if it isn't there. ValueError where it can't be had."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    print(f"gccpm: downloading {url} ({megabytes:.0f} MB) to {path}", file=sys.stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _patience(SECONDS_TO_WAIT):
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ValueError(
            f"{path.name} couldn't be downloaded ({error}); get {url} elsewhere and give --detector-weights {path.name}"
        ) from error
    return path


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Network connections give up after so many seconds without an answer; torch.hub itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read_people(folder: str | Path, num_joints: int, boxes: str | Path = "", detector: str = "") -> list[Person]:
    """The people in a folder's pictures, as records without labels: keypoints (K, 3) are all 0, MISSING.

    Boxes come from a file, see `read_boxes`, or a detector, see `open_detector`; with neither every picture is one person.
    DataError for a picture that can't be read, and the errors of these two.
    """
    sources = list_sources([str(folder)])
    finder = read_boxes(boxes, sources) if boxes else open_detector(detector) if detector else WholePictures()
    people = []
    for frame in read_frames(sources, finder.labelled):
        if frame.error:
            raise DataError(frame.error)
        known = finder.labelled.get(frame.source.name) or Person(Path(frame.source.path), np.zeros((0, 3), np.float32))
        (found,) = finder.boxes_of([frame])
        for x, y, w, h, score in found[covering(found, frame.image.shape[:2])].tolist():
            missing = np.zeros((num_joints, 3), np.float32)
            people.append(replace(known, keypoints=missing, box=(x, y, w, h), box_score=score))
    return people
