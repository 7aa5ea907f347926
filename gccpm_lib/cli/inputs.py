"""Sources: pictures, folders of pictures, video files and webcams -> their frames, one after the other.

A damaged source raises nothing while it is read: its frame carries the error, and the other sources follow.
"""

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gccpm_lib.cli.containers import is_cut_off
from gccpm_lib.datasets.records import FOREIGN_PICTURES, DataError, Person, quiet_opencv, read_image, read_person_image

# What OpenCV reads, by suffix; a file with another one is asked what it is
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
PICTURES += (".pbm", ".pgm", ".ppm", ".pnm")
VIDEOS = (".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".ts")
VIDEOS += (".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogg", ".mjpeg", ".mjpg", ".dv")
ANIMATED = (".gif", ".png", ".webp", ".avif", ".tif", ".tiff")  # may hold several pictures
SECOND_TELLS = (".avi", ".divx")  # of whose first picture FFmpeg tells no time, but 0
USUAL_RATE = 25.0  # frames/s of a video or camera that doesn't tell its own
MAX_RATE = 120.0  # frames/s of a drawn video whose pictures come at uneven times
PROBED = 64  # frames whose times tell a video's rate
NAMES = 8  # at most, in a line that lists files

# OpenCV reads these once in a process, when it opens its first video
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # set it to 24 to see FFmpeg's warnings
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "1000000000")  # packets between two pictures; 4,096 else
os.environ.setdefault("OPENCV_FFMPEG_DECODE_ATTEMPTS", "1000000")  # of them without a picture; 64 else


@dataclass(frozen=True)
class Source:
    """A picture, a video or a camera."""

    kind: str  # "picture", "video" or "camera"
    path: str  # the file's; a camera's number
    rate: float = 0.0  # frames/s; 0: a picture
    num_frames: int = 1  # as the video's header says, which may be wrong; 0: it doesn't, or a camera

    @property
    def name(self) -> str:
        """The file's bare name; a camera's is "camera0"."""
        return f"camera{self.path}" if self.kind == "camera" else Path(self.path).name


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, one frame of a video or camera, or what hindered reading it."""

    source: Source
    index: int  # within the source, from 0
    time: float  # seconds since the source's first frame, as the video's own clock tells; rising from frame to frame
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
    with quiet_opencv():
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
    try:
        if path.is_dir():
            return _pictures_in(path)
        found = path.exists()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); correct the path") from error
    if not found:
        raise DataError(f"{path}: no such picture, video or folder; correct the path, or give camera:0 for a webcam")
    if not path.is_file():
        raise DataError(f"{path}: is a pipe or device, not a file; save what comes from it to a file first")
    return [_with_header(Source("video", given)) if _is_video(path) else Source("picture", given)]


def _pictures_in(folder: Path) -> list[Source]:
    inside = [path for path in sorted(folder.iterdir()) if _is_picture(path)]
    if not inside:
        raise DataError(f"{folder}: no pictures inside ({', '.join(PICTURES)}); {_held(folder) or 'it is empty'}")
    return [Source("picture", str(path)) for path in inside]


def _is_picture(path: Path) -> bool:
    """Whether a folder's entry is read, or refused by name: formats that nobody reads here are pictures too."""
    suffix = path.suffix.lower()
    return (suffix in PICTURES or suffix in FOREIGN_PICTURES) and not path.name.startswith(".") and path.is_file()


def _is_video(path: Path) -> bool:
    """By the suffix; of a file with an unknown one whether OpenCV opens it as a video and not as a picture."""
    suffix = path.suffix.lower()
    if suffix in VIDEOS or suffix in PICTURES or suffix in FOREIGN_PICTURES:
        return suffix in VIDEOS
    with open(path, "rb") as file:
        text = b"\0" not in file.read(4096)  # FFmpeg takes any text for a film of its letters
    return not (text or cv2.haveImageReader(str(path))) and _open(Source("video", str(path))).isOpened()


def remarks(inputs: Sequence[str], sources: Sequence[Source]) -> list[str]:
    """What the given folders and files hold that isn't read, in a line each."""
    folders = [Path(given) for given in inputs if Path(given).is_dir()]
    lines = [f"{folder}: not read: {held}" for folder in folders if (held := _held(folder))]
    counts = [(source, _num_pictures(source)) for source in sources if Path(source.path).suffix.lower() in ANIMATED]
    return lines + [
        f"{source.path}: only the first of its {count} pictures is predicted; save it as a video for all"
        for source, count in counts
        if count > 1
    ]


def _held(folder: Path) -> str:
    """The entries of a folder that aren't read, hidden ones left out."""
    rest = [path for path in sorted(folder.iterdir()) if not (path.name.startswith(".") or _is_picture(path))]
    return ", ".join(map(_entry, rest[:NAMES])) + (f" and {len(rest) - NAMES:,} more" if len(rest) > NAMES else "")


def _entry(path: Path) -> str:
    if path.is_dir():
        count = sum(name.lower().endswith(PICTURES) for _, _, names in os.walk(path) for name in names)
        told = f"a folder with {count:,} picture{'' if count == 1 else 's'}; give it by name" if count else "a folder"
        return f"{path.name}/ ({told})"
    return f"{path.name} (a video; give it by name)" if path.suffix.lower() in VIDEOS else path.name


def _num_pictures(source: Source) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags, and of pictures of half Pillow's limit
            with Image.open(source.path) as image:
                return getattr(image, "n_frames", 1)
    except Exception:  # damaged in one of many ways; it is told when it is read
        return 1


def _with_header(source: Source) -> Source:
    """With the rate and number of frames that the video's header or the camera tells."""
    capture = _open(source)
    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = rate if 0 < rate < 1e6 else USUAL_RATE
    if source.kind == "camera":
        return Source(source.kind, source.path, rate, 0)
    times = []
    while len(times) < PROBED and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return Source(source.kind, source.path, even_rate(rate, times), int(count) if 0 < count < 1e9 else 0)


def even_rate(rate: float, times: Sequence[float]) -> float:
    """Frames/s at which a video can show every picture at its time: the header's, or the one of the closest two pictures.

    times: of the first pictures, seconds. The header of a video with uneven times tells their mean, or anything.
    """
    seconds = np.array(times) - (times[0] if times else 0.0)
    gaps = np.diff(seconds)[np.diff(seconds) > 0]
    if not len(gaps) or (abs(seconds - np.arange(len(seconds)) / rate) < 0.5 / rate).all():
        return rate
    return max(min(float(1 / gaps.min()), MAX_RATE), rate if rate <= MAX_RATE else 0.0)


def _open(source: Source) -> cv2.VideoCapture:
    if source.kind == "camera":
        return cv2.VideoCapture(int(source.path))
    return cv2.VideoCapture(os.path.abspath(source.path), cv2.CAP_FFMPEG)  # else "a:b.mp4" is a protocol, "%d" a series


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


def _moving(source: Source) -> Iterator[Frame]:
    """A video's or camera's frames. A video's time is its own; where that doesn't rise, it goes on by the rate."""
    with quiet_opencv():
        capture, index, now, began, started = _open(source), 0, 0.0, None, time.perf_counter()
        try:
            opened = capture.isOpened()
            while opened:
                read, image = capture.read()
                if not read:
                    break
                own = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                clock = own if source.kind == "video" else time.perf_counter() - started
                began = clock if began is None else began
                if index == 1 and Path(source.path).suffix.lower() in SECOND_TELLS:
                    began = clock - 1 / source.rate
                if index:
                    now = clock - began if clock - began > now else now + 1 / source.rate
                yield Frame(source, index, now, image)
                index += 1
        finally:
            capture.release()
    error = _ending(source, opened, index)
    if error:
        yield Frame(source, index, now, None, error)


def _ending(source: Source, opened: bool, count: int) -> str:
    """What is wrong with a video or camera that gave `count` frames; "" where nothing is.

    A header may promise more frames than there are: where the sound is longer, or an edit list hides some.
    """
    if source.kind == "camera":
        problem = f"no more pictures after {count}" if opened else "can't be opened"
        return f"camera:{source.path}: {problem}; check that it is plugged in and that no other program uses it"
    if not opened:
        return f"{source.path}: can't be opened as a video; it is damaged, or in a format that OpenCV can't read"
    if not count:
        return f"{source.path}: not one frame could be read; it is damaged, or in a format that OpenCV can't read"
    if count < source.num_frames and is_cut_off(source.path):
        return (
            f"{source.path}: ends after {count} of the {source.num_frames} frames its header tells, cut off; copy it anew"
        )
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
