"""What `gccpm predict` leaves on disk: where each file goes, and the keypoints as csv, COCO's results or LIP's csv."""

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gccpm_lib.cli.boxes import number_of
from gccpm_lib.cli.inputs import PICTURES, VIDEOS, Source
from gccpm_lib.datasets.coco_labels import PERSON
from gccpm_lib.datasets.lip import prediction_row
from gccpm_lib.skeletons import LIP, UNSURE, Skeleton


@dataclass(frozen=True, eq=False)
class Predicted:
    """One picture or video frame with its persons."""

    source: Source
    number: int | None  # of the frame within its video, from 0; None for a picture
    image_id: int | None  # None: it isn't known
    keypoints: np.ndarray  # (N, K, 3) x, y in picture pixels, score
    scores: list[float]  # (N,) of the persons
    time: float = 0.0  # seconds since the video's first frame
    track_ids: Sequence[int] = ()  # (N,) who is who in a video, see `prediction.tracking`
    unsmoothed: np.ndarray | None = None  # (N, K, 3) the keypoints before smoothing, where they were smoothed


def output_path(name: str | None, sources: Sequence[Source], several: bool, submission: bool = False) -> Path:
    """Where the keypoints go; None: predictions.csv for pictures of one person each, else predictions.json.

    several: more than one person per picture may be found. Raises ValueError for another suffix and for what LIP's
    submission form can't hold: several persons, videos, names with a comma or a line break.
    """
    simple = not several and all(source.kind == "picture" for source in sources)
    path = Path(name or ("predictions.csv" if simple or submission else "predictions.json"))
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"--output-name {path}: must end in .csv (a table) or .json (COCO's results)")
    if submission and (path.suffix.lower() != ".csv" or not simple):
        raise ValueError(f"--output-name {path}: LIP's submission form is a .csv of pictures with one person each")
    odd = [source.name for source in sources if set(",\r\n") & set(source.name)] if submission else []
    if odd:
        raise ValueError(f"{odd[0]}: LIP's submission form can't hold this name; rename it")
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


def check_writable(paths: Iterable[Path], inputs: Iterable[str | Path], overwrite: bool = False) -> None:
    """Make the folders of files that will be written and try to write there.

    ValueError where that fails, hits an input or, unless overwrite, a file that is there already.
    """
    kept = {Path(name).resolve() for name in inputs}
    for path in paths:
        if path.resolve() in kept:
            raise ValueError(f"{path}: is an input and would be written over; give another name for the results")
        part = path.with_name(path.name + ".part")
        try:
            if path.exists() and not path.is_file():
                raise IsADirectoryError("it is a folder or device")
            if path.exists() and not overwrite:
                raise ValueError(f"{path}: exists already; give --overwrite, or another name for the results")
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


class Results(contextlib.AbstractContextManager):
    """The keypoints' file, written row by row beside its path and renamed at the end.

    By suffix a csv with a header, one row per person, or COCO's results; both say the peak from which a joint's score is
    sure. With submission LIP's csv: name, then x and y of the 16 joints as whole pixels. Whatever ends it early, the rows
    up to then are kept; a killed process leaves them in PATH.part. Nothing is written where nothing was predicted.
    """

    def __init__(self, path: Path, skeleton: Skeleton, submission: bool = False, sure_peak: float = UNSURE):
        if submission and skeleton.joints != LIP.joints:
            raise ValueError(f"LIP's submission form holds LIP's {LIP.num_joints} joints, and {skeleton.name} has others")
        self.path, self.skeleton, self.part = path, skeleton, path.with_name(path.name + ".part")
        self.sure_peak = sure_peak
        self.is_table, self.submission = path.suffix.lower() == ".csv", submission
        self.num_rows, self.file = 0, None

    def add(self, predicted: Predicted) -> None:
        """Append a picture's or frame's persons. OSError, naming the file, where the disk is full: what was there stays."""
        if self.file is None:
            self.file = open(self.part, "wb")
            self._append(self._header() if self.is_table and not self.submission else "" if self.is_table else "[")
        self._append("".join(self._lines(predicted)))
        self.num_rows += len(predicted.keypoints)

    def _append(self, text: str) -> None:
        end = self.file.tell()
        try:
            self.file.write(text.encode(errors="surrogateescape"))  # a file's name may be any bytes
            self.file.flush()
        except OSError as error:
            self._cut_at(end)
            raise OSError(f"{self.path}: {error.strerror}; {self.num_rows} rows are kept; make room and go on") from error

    def _cut_at(self, end: int) -> None:
        """Start anew behind the last whole row: the file's own buffer would try the rest again."""
        with contextlib.suppress(OSError):
            self.file.close()
        self.file = open(self.part, "r+b")
        self.file.truncate(end)
        self.file.seek(end)

    def _header(self) -> str:
        columns = [f"{joint}_{value}" for joint in self.skeleton.joints for value in ("x", "y", "score")]
        return _csv_line(["file_name", "frame", "time", "person", "track_id", "score", "sure_peak", *columns])

    def _lines(self, predicted: Predicted) -> Iterable[str]:
        if not self.is_table:
            for number, row in enumerate(predicted_rows(predicted, self.skeleton, self.sure_peak), self.num_rows):
                yield (",\n" if number else "\n") + json.dumps(row)
            return
        for person, (keypoints, score) in enumerate(zip(predicted.keypoints, predicted.scores, strict=True)):
            if self.submission:
                yield prediction_row(predicted.source.name, keypoints)
                continue
            moment = ["", ""] if predicted.number is None else [predicted.number, round(predicted.time, 6)]
            track = predicted.track_ids[person] if predicted.track_ids else ""
            scores = [round(score, 4), self.sure_peak]
            yield _csv_line([predicted.source.name, *moment, person, track, *scores, *_rounded(keypoints)])

    def __exit__(self, *error) -> None:
        if self.file is not None:
            self._append("" if self.is_table else "\n]\n")
            self.file.close()
            self.part.replace(self.path)


def _csv_line(cells: Sequence) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _rounded(keypoints: np.ndarray) -> list[float]:
    """x, y, score of every joint in a row, pixels with two decimals and scores with four."""
    return np.column_stack([keypoints[:, :2].round(2), keypoints[:, 2].round(4)]).ravel().tolist()


def predicted_rows(predicted: Predicted, skeleton: Skeleton, sure_peak: float) -> list[dict]:
    """Rows of a COCO results file: the joints' scores are the third numbers.

    Beyond what COCO asks for: file_name, the joints' names, the peak from which they are sure and, for a video, frame, time
    in seconds, track_id and, where they were smoothed, unsmoothed_keypoints. Without image_id where that isn't known:
    `evaluate_coco` goes by file_name.
    """
    known = {} if predicted.image_id is None else {"image_id": predicted.image_id}
    more = {"file_name": predicted.source.name, "joints": list(skeleton.joints), "sure_peak": sure_peak}
    more |= {} if predicted.number is None else {"frame": predicted.number, "time": round(predicted.time, 6)}
    found = zip(predicted.keypoints, predicted.scores, strict=True)
    rows = [{"keypoints": _rounded(keypoints), "score": score} for keypoints, score in found]
    tracks = [{"track_id": number} for number in predicted.track_ids] or [{}] * len(rows)
    if predicted.unsmoothed is not None:
        rough = [{"unsmoothed_keypoints": _rounded(keypoints)} for keypoints in predicted.unsmoothed]
        tracks = [track | own for track, own in zip(tracks, rough, strict=True)]
    return [known | {"category_id": PERSON} | row | more | track for row, track in zip(rows, tracks, strict=True)]
