"""What `gccpm predict` leaves on disk: keypoints as LIP's csv or COCO's results, drawn pictures and videos."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib.cli.boxes import number_of
from gccpm_lib.cli.inputs import PICTURES, VIDEOS, Frame, Source
from gccpm_lib.datasets.coco_results import PERSON
from gccpm_lib.datasets.lip import write_predictions
from gccpm_lib.files import write_beside
from gccpm_lib.show import drawing
from gccpm_lib.skeletons import Skeleton


@dataclass(frozen=True, eq=False)
class Predicted:
    """One picture or video frame with its persons."""

    source: Source
    number: int | None  # of the frame within its video, from 0; None for a picture
    image_id: int | None  # None: it isn't known
    keypoints: np.ndarray  # (N, K, 3) x, y in picture pixels, score
    scores: list[float]  # (N,) of the persons


def output_path(name: str | None, sources: Sequence[Source], several: bool) -> Path:
    """Where the keypoints go; None: predictions.csv where that can hold them, else predictions.json.

    several: more than one person per picture may be found. Raises ValueError for another suffix and for what a csv can't
    hold: several persons, names with a comma.
    """
    commas = [source.name for source in sources if "," in source.name]
    simple = not (several or commas) and all(source.kind == "picture" for source in sources)
    path = Path(name or ("predictions.csv" if simple else "predictions.json"))
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"--output-name {path}: must end in .csv (LIP's form) or .json (COCO's results)")
    if several and path.suffix.lower() == ".csv":
        raise ValueError(f"--output-name {path}: the csv has one person per picture; with boxes give a name in .json")
    if commas and path.suffix.lower() == ".csv":
        raise ValueError(f"{commas[0]}: a csv can't hold a name with a comma; rename it or give --output-name in .json")
    return path


def drawing_paths(visualize: str | None, sources: Sequence[Source]) -> dict[Source, Path]:
    """Where each source is drawn: in a folder, pictures as NAME.jpg and videos as NAME.mp4, or one video to one file.

    {} where visualize is None. Raises ValueError where two sources would be drawn to one file.
    """
    if visualize is None:
        return {}
    path, suffix = Path(visualize), Path(visualize).suffix.lower()
    if suffix in PICTURES or (suffix in VIDEOS and suffix != ".mp4"):
        raise ValueError(f"--visualize {path}: give a folder, or for one video a file that ends in .mp4")
    if suffix == ".mp4":
        if len(sources) > 1 or sources[0].kind == "picture":
            raise ValueError(f"--visualize {path}: a file is for one video; give a folder instead")
        return {sources[0]: path}
    paths = {source: path / f"{Path(source.name).stem}{_drawn_suffix(source)}" for source in sources}
    owners = {}
    for source, target in paths.items():
        if owners.setdefault(target, source) is not source:
            raise ValueError(f"{source.path}: {owners[target].path} would be drawn to {target} too; rename one of them")
    return paths


def _drawn_suffix(source: Source) -> str:
    return ".jpg" if source.kind == "picture" else ".mp4"


def check_writable(paths: Iterable[Path], inputs: Iterable[str | Path]) -> None:
    """Make the folders of files that will be written and try to write there; ValueError where it fails or hits an input."""
    kept = {Path(name).resolve() for name in inputs}
    for path in paths:
        if path.resolve() in kept:
            raise ValueError(f"{path}: is an input and would be written over; give another name for the results")
        part = path.with_name(path.name + ".part")
        try:
            if path.is_dir():
                raise IsADirectoryError("it is a folder")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(b"")
            part.unlink()
        except OSError as error:
            raise ValueError(f"{path}: can't be written ({error.strerror or error}); give another place") from error


def image_ids(sources: Sequence[Source], known: Mapping[str, int]) -> dict[str, int]:
    """Image id by picture: the known ones, else the numbers that all pictures are named by. No other has one.

    A number made up here would be some other picture's in a label file.
    """
    numbers = {source.name: number_of(source) for source in sources if source.kind == "picture"}
    if known or None in numbers.values() or len(set(numbers.values())) < len(numbers):
        return dict(known)
    return numbers


def write_keypoints(path: Path, found: Sequence[Predicted]) -> Path:
    """Write LIP's csv or COCO's results, by suffix; a video's frames are NAME_000012 in a csv."""
    if path.suffix.lower() == ".csv":
        found = [p for p in found if len(p.keypoints)]
        names = [p.source.name if p.number is None else f"{p.source.name}_{p.number:06d}" for p in found]
        joints = [p.keypoints for p in found]
        return write_predictions(path, names, np.concatenate(joints)) if found else write_beside(path, "")
    return write_beside(path, json.dumps([row for p in found for row in result_rows(p)]))


def result_rows(predicted: Predicted) -> list[dict]:
    """Rows of a COCO results file: the joints' scores are the third numbers; also file_name and, for a video, frame.

    Without image_id where that isn't known: `evaluate_coco` goes by file_name.
    """
    frame = {} if predicted.number is None else {"frame": predicted.number}
    known = {} if predicted.image_id is None else {"image_id": predicted.image_id}
    rows = []
    for keypoints, score in zip(predicted.keypoints, predicted.scores, strict=True):
        triples = np.column_stack([keypoints[:, :2].round(2), keypoints[:, 2].round(4)])
        row = {"category_id": PERSON, "keypoints": triples.ravel().tolist(), "score": score}
        rows.append(known | row | {"file_name": predicted.source.name} | frame)
    return rows


class Drawings(contextlib.AbstractContextManager):
    """Draws frames with their poses to the sources' files, each renamed when it is whole; with no paths, nothing.

    A video keeps its rate and size (an odd width or height loses a pixel: the format has none), without its sound.
    """

    def __init__(self, paths: Mapping[Source, Path], skeleton: Skeleton):
        self.paths, self.skeleton = paths, skeleton
        self.video: tuple[Source, cv2.VideoWriter, tuple[int, int]] | None = None  # the one being written, its size

    def add(self, frame: Frame, poses: np.ndarray) -> None:
        """Draw poses (N, K, 3), unsure joints hollow, on the frame; a source's frames come one after the other."""
        if frame.source not in self.paths:
            return
        drawn = drawing.draw_poses(frame.image, drawing.by_score(poses), self.skeleton)
        drawn = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        if frame.source.kind == "picture":
            write_beside(self.paths[frame.source], cv2.imencode(".jpg", drawn)[1].tobytes())
            return
        if self.video is None or self.video[0] != frame.source:
            self.finish()
            self._begin(frame)
        _, writer, size = self.video
        writer.write(drawn if drawn.shape[1::-1] == size else cv2.resize(drawn, size))

    def finish(self) -> None:
        """Complete the video that is being written, if any."""
        if self.video is not None:
            source, writer, _ = self.video
            writer.release()
            _part(self.paths[source]).replace(self.paths[source])
            self.video = None

    def __exit__(self, *error) -> None:
        self.finish()

    def _begin(self, frame: Frame) -> None:
        path, size = self.paths[frame.source], frame.image.shape[1::-1]
        writer = cv2.VideoWriter(str(_part(path)), cv2.VideoWriter_fourcc(*"mp4v"), frame.source.rate, size)
        if not writer.isOpened():
            raise ValueError(f"{path}: this OpenCV can't write an mp4 video of {size[0]}x{size[1]} pixels; draw no video")
        self.video = frame.source, writer, size


def _part(path: Path) -> Path:
    return path.with_name(f"{path.stem}.part{path.suffix}")  # the suffix tells OpenCV the format
