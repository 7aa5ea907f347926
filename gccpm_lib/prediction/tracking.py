"""Tracking: who is who from frame to frame of a video, over short gaps too.

A person goes on with the track whose box, moved on at its last speed, overlaps his the most, greatest overlaps first. Who
is hidden or not found for up to a second keeps his number; two who pass through each other may change theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_OVERLAP = 0.3  # intersection over union from which two boxes may be the same person's
MAX_GAP = 1.0  # seconds that a track goes on without its person
SPEED_SHARE = 0.5  # weight of the last step in a track's speed


@dataclass(frozen=True, eq=False)
class Track:
    """A person as last seen."""

    number: int  # from 1, in the order in which people come
    box: np.ndarray  # (4,) x, y, w, h
    speed: np.ndarray  # (2,) of its centre, pixels/s
    time: float  # seconds


@dataclass(frozen=True, eq=False)
class Tracks:
    """The people of a video so far: those who may still go on, and how many there were."""

    alive: tuple[Track, ...] = ()
    count: int = 0


def follow(tracks: Tracks, boxes: np.ndarray, time: float) -> tuple[Tracks, list[int]]:
    """The next frame's boxes (N, >=4) x, y, w, h -> tracks to go on with, and every box's number. time in seconds."""
    alive = [track for track in tracks.alive if time - track.time <= MAX_GAP]
    matched = _matched(alive, boxes, time)
    numbers, seen, count = [], {}, tracks.count
    for row, box in enumerate(boxes):
        before = matched.get(row)
        count += before is None
        number = count if before is None else before.number
        numbers.append(number)
        seen[number] = Track(number, np.array(box[:4], np.float64), _speed(before, box, time), time)
    kept = [track for track in alive if track.number not in seen]
    return Tracks((*kept, *seen.values()), count), numbers


def _matched(alive: Sequence[Track], boxes: np.ndarray, time: float) -> dict[int, Track]:
    """Row of a box -> the track that it goes on with."""
    expected = [np.r_[track.box[:2] + track.speed * (time - track.time), track.box[2:]] for track in alive]
    pairs = [(overlap(own, box), t, row) for t, own in enumerate(expected) for row, box in enumerate(boxes)]
    found, taken = {}, set()
    for value, t, row in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if value >= MIN_OVERLAP and t not in taken and row not in found:
            found[row] = alive[t]
            taken.add(t)
    return found


def _speed(before: Track | None, box: Sequence[float], time: float) -> np.ndarray:
    if before is None or time <= before.time:
        return np.zeros(2)
    step = (np.array(box[:2]) + np.array(box[2:4]) / 2) - (before.box[:2] + before.box[2:] / 2)
    return SPEED_SHARE * step / (time - before.time) + (1 - SPEED_SHARE) * before.speed


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))
