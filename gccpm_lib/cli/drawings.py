"""Drawn pictures and videos of `gccpm predict`."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib.cli.inputs import Frame, Source
from gccpm_lib.datasets.records import quiet_opencv
from gccpm_lib.files import write_beside
from gccpm_lib.show import drawing
from gccpm_lib.skeletons import UNSURE, Skeleton

# What browsers play, the better first; OpenCV's own build for PyPI has the second one. The last plays in players only.
CODECS = ("avc1", "vp09", "mp4v")
MAX_HELD = 600.0  # seconds that a drawn video shows one picture at most


class Drawings(contextlib.AbstractContextManager):
    """Draws frames with their poses to the sources' files, each renamed when it is whole; with no paths, nothing.

    A video keeps its size (an odd width or height loses a pixel: the format has none) and its pictures their times: one
    that is to be seen longer is repeated. The sound is left out.
    """

    def __init__(self, paths: Mapping[Source, Path], skeleton: Skeleton, sure_peak: float = UNSURE):
        self.paths, self.skeleton, self.sure_peak = paths, skeleton, sure_peak
        self.video: _Video | None = None  # the one being written

    def add(self, frame: Frame, poses: np.ndarray) -> None:
        """Draw poses (N, K, 3), joints below sure_peak hollow, on the frame; a source's frames come one after the other."""
        if frame.source not in self.paths:
            return
        path = self.paths[frame.source]
        drawn = drawing.draw_poses(frame.image, drawing.by_score(poses, self.sure_peak), self.skeleton)
        drawn = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        if frame.source.kind == "picture":
            write_beside(path, cv2.imencode(".jpg", drawn)[1].tobytes())
            return
        if self.video is None or self.video.source != frame.source:
            self.finish()
            self.video = _Video(frame.source, path, drawn.shape[1::-1])
        self.video.show(drawn, frame.time)

    def finish(self) -> None:
        """Complete the video that is being written, if any. OSError where it isn't whole, as on a full disk."""
        video, self.video = self.video, None
        if video is not None:
            video.finish()

    def __exit__(self, *error) -> None:
        self.finish()


class _Video:
    """A video file of constant rate that shows each picture from its own time until the next one's."""

    def __init__(self, source: Source, path: Path, size: tuple[int, int]):
        self.source, self.path, self.size = source, path, size
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")  # the suffix tells OpenCV the format
        self.writer = _open(self.part, source.rate, size)
        if self.writer is None:
            raise ValueError(f"{path}: this OpenCV can't write an mp4 video of {size[0]}x{size[1]} pixels; draw no video")
        self.waiting: np.ndarray | None = None  # the last picture: how long it is seen is known with the next one
        self.written = 0

    def show(self, picture: np.ndarray, time: float) -> None:
        """From this time on, seconds since the first picture."""
        if self.waiting is not None:
            due = round(time * self.source.rate) - self.written
            self._write(min(due, round(MAX_HELD * self.source.rate)))
        self.waiting = picture if picture.shape[1::-1] == self.size else cv2.resize(picture, self.size)

    def _write(self, count: int) -> None:
        with quiet_opencv():  # a full disk is told at the end
            for _ in range(max(count, 1)):
                self.writer.write(self.waiting)
                self.written += 1

    def finish(self) -> None:
        """Write the last picture and put the file in its place; OSError where frames are missing in it."""
        self._write(1)
        self.writer.release()
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self.part.absolute()), cv2.CAP_FFMPEG)
            whole = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            capture.release()
        if whole < self.written:
            self.part.unlink(missing_ok=True)
            raise OSError(f"{self.path}: the drawn video couldn't be written whole; make room on the disk")
        self.part.replace(self.path)


def _open(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter | None:
    with quiet_opencv():
        for codec in CODECS:
            writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, size)
            if writer.isOpened():
                return writer
    path.unlink(missing_ok=True)
    return None
