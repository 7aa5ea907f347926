"""Sources: pictures, folders of pictures, video files and webcams -> their frames, one after the other.

A damaged source raises nothing while it is read: its frame carries the error, and the other sources follow.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib.datasets.records import DataError, Person, read_image, read_person_image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
USUAL_RATE = 25.0  # frames/s of a video or camera that doesn't tell its own


@dataclass(frozen=True)
class Source:
    """A picture, a video or a camera."""

    kind: str  # "picture", "video" or "camera"
    path: str  # the file's; a camera's number
    rate: float = 0.0  # frames/s; 0: a picture
    num_frames: int = 1  # as the video's header says; 0: it doesn't, or a camera

    @property
    def name(self) -> str:
        """The file's bare name; a camera's is "camera0"."""
        return f"camera{self.path}" if self.kind == "camera" else Path(self.path).name


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, one frame of a video or camera, or what hindered reading it."""

    source: Source
    index: int  # within the source, from 0
    time: float  # seconds since the source's first frame
    image: np.ndarray | None  # (H, W, 3) uint8 BGR; None where there is an error
    error: str = ""

    @property
    def number(self) -> int | None:
        """Number within a video or camera, from 0; None for a picture."""
        return None if self.source.kind == "picture" else self.index


def list_sources(inputs: Sequence[str]) -> list[Source]:
    """Files, folders of pictures and "camera:0" -> sources in this order, a folder's pictures sorted by name.

    Raises DataError for what isn't there, a folder without pictures and two sources of the same name.
    """
    sources = [source for given in inputs for source in _sources_of(given)]
    named = {}
    for source in sources:
        if source.name in named:
            raise DataError(
                f"{source.path}: {named[source.name]} has the same name, and the results couldn't be told apart; rename one"
            )
        named[source.name] = source.path
    return sources


def _sources_of(given: str) -> list[Source]:
    camera, path = re.fullmatch(r"camera:(\d+)", given), Path(given)
    if camera:
        return [_with_header(Source("camera", camera[1]))]
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))
        if not inside:
            raise DataError(f"{path}: no pictures inside ({', '.join(PICTURES)}); videos are given by name")
        return [Source("picture", str(p)) for p in inside]
    if not path.exists():
        raise DataError(f"{path}: no such picture, video or folder; correct the path, or give camera:0 for a webcam")
    return [_with_header(Source("video", given)) if path.suffix.lower() in VIDEOS else Source("picture", given)]


def _with_header(source: Source) -> Source:
    """With the rate and number of frames that the video's header or the camera tells."""
    capture = _open(source)
    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    known = source.kind == "video" and 0 < count < 1e9
    return Source(source.kind, source.path, rate if 0 < rate < 1e6 else USUAL_RATE, int(count) if known else 0)


def _open(source: Source) -> cv2.VideoCapture:
    """Open without the libraries' own lines on stderr: what went wrong is said once, by us."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # set it to 24 to see FFmpeg's warnings
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(int(source.path) if source.kind == "camera" else source.path)
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_frames(sources: Sequence[Source], labelled: Mapping[str, Person] | None = None) -> Iterator[Frame]:
    """The frames of all sources in order; what can't be read, or ends too early, comes as a frame with an error.

    labelled: pictures, by name, that are read in the frame of somebody's labels, see `read_person_image`.
    """
    for source in sources:
        own = (labelled or {}).get(source.name)
        yield from [_picture(source, own)] if source.kind == "picture" else _moving(source)


def _picture(source: Source, labelled: Person | None) -> Frame:
    try:
        return Frame(source, 0, 0.0, read_person_image(labelled) if labelled else read_image(source.path))
    except DataError as error:
        return Frame(source, 0, 0.0, None, str(error))
    except cv2.error as error:  # more pixels than OpenCV takes
        return Frame(source, 0, 0.0, None, f"{source.path}: not a readable picture ({error.err}); make it smaller")


def _moving(source: Source) -> Iterator[Frame]:
    capture, index, started = _open(source), 0, time.perf_counter()
    try:
        opened = capture.isOpened()
        while opened:
            read, image = capture.read()
            if not read:
                break
            now = time.perf_counter() - started if source.kind == "camera" else index / source.rate
            yield Frame(source, index, now, image)
            index += 1
    finally:
        capture.release()
    error = _ending(source, opened, index)
    if error:
        yield Frame(source, index, index / source.rate, None, error)


def _ending(source: Source, opened: bool, count: int) -> str:
    """What is wrong with a video or camera that gave `count` frames; "" where nothing is."""
    if source.kind == "camera":
        problem = f"no more pictures after {count}" if opened else "can't be opened"
        return f"camera:{source.path}: {problem}; check that it is plugged in and that no other program uses it"
    if not opened:
        return f"{source.path}: can't be opened as a video; it is damaged, or in a format that OpenCV can't read"
    if not count:
        return f"{source.path}: not one frame could be read; it is damaged, or in a format that OpenCV can't read"
    if count < source.num_frames:
        return f"{source.path}: ends after {count} of the {source.num_frames} frames its header tells; copy it anew"
    return ""


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Frames in lists of this size; a camera's come one by one, since the next ones have yet to happen."""
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size or frame.source.kind == "camera":
            yield batch
            batch = []
    if batch:
        yield batch
