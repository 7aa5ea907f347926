"""Smoothing: the 1 euro filter (Casiez, Roussel and Vogel, CHI 2012) over the joints of each person in a video.

A joint at rest is held still, a fast one is followed closely: with filtered value X and speed V, sampled T seconds apart,

    V = a(f_speed) (x - X_before) / T + (1 - a(f_speed)) V_before,    a(f) = 1 / (1 + 1 / (2 pi f T))
    X = a(f) x + (1 - a(f)) X_before,    f = f_min + beta |V|

A person is followed from frame to frame by the greatest overlap of boxes, and no further: whoever isn't found in one frame
starts anew in the next, unsmoothed, and two who pass through each other may change places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# With these a trembling by 1 % of the person's size is halved at rest, and an arm that waves once a second by 20 % of it to
# each side is followed with an error of 2 % (root mean square, 25 frames/s).
MIN_CUTOFF = 1.0  # Hz, f_min: lower is calmer at rest
BETA = 10.0  # Hz per (person's size per second): higher lags less in movement
SPEED_CUTOFF = 1.0  # Hz, f_speed, as the paper proposes
MIN_OVERLAP = 0.3  # intersection over union from which two boxes may be the same person's


@dataclass(frozen=True, eq=False)
class State:
    """What the filter remembers; value and speed are of any one shape."""

    time: float  # seconds
    value: np.ndarray  # filtered
    speed: np.ndarray  # filtered, per second


@dataclass(frozen=True, eq=False)
class Track:
    """A person in the last frame."""

    box: np.ndarray  # (4,) x, y, w, h
    size: float  # pixels, the longer side of the first pose: the unit of speed, whatever the video's resolution
    state: State  # of the joints, (K, 2)


def one_euro(
    state: State | None, value: np.ndarray, time: float, min_cutoff=MIN_CUTOFF, beta=BETA, speed_cutoff=SPEED_CUTOFF
) -> State:
    """The next state, each number filtered on its own; state None: value is the first and stays as it is.

    Cutoffs in Hz, beta in Hz per unit of speed, time in seconds. Raises ValueError for a time that isn't later.
    """
    if state is None:
        return State(time, value, np.zeros_like(value))
    elapsed = time - state.time
    if elapsed <= 0:
        raise ValueError(f"time {time} s doesn't come after {state.time} s; smooth a video's frames in their order")
    share = weight(speed_cutoff, elapsed)
    speed = share * (value - state.value) / elapsed + (1 - share) * state.speed
    share = weight(min_cutoff + beta * abs(speed), elapsed)
    return State(time, share * value + (1 - share) * state.value, speed)


def weight(cutoff, elapsed: float):
    """Weight of a new sample in a low-pass filter of this cutoff frequency (Hz), sampled every `elapsed` seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * elapsed))


def smooth(tracks: Sequence[Track], boxes: np.ndarray, poses: np.ndarray, time: float) -> tuple[list[Track], np.ndarray]:
    """The persons of the frame before and of this one -> the persons to remember, and this frame's poses smoothed.

    boxes (N, >=4) x, y, w, h and poses (N, K, 3) x, y, score in picture pixels; scores stay as they are. time in seconds.
    """
    smoothed, following = np.array(poses, dtype=np.float64), []
    for row, before in enumerate(_followed(tracks, boxes)):
        size = before.size if before else max(float(np.ptp(poses[row, :, :2], axis=0).max()), 1.0)
        state = one_euro(before.state if before else None, smoothed[row, :, :2], time, beta=BETA / size)
        following.append(Track(np.array(boxes[row][:4]), size, state))
        smoothed[row, :, :2] = state.value
    return following, smoothed


def _followed(tracks: Sequence[Track], boxes: np.ndarray) -> list[Track | None]:
    """For every box the track it goes on with, None for a new person: greatest overlaps first, each track once."""
    found: list[Track | None] = [None] * len(boxes)
    pairs = [(overlap(track.box, box), t, row) for t, track in enumerate(tracks) for row, box in enumerate(boxes)]
    free = set(range(len(tracks)))
    for value, t, row in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if value >= MIN_OVERLAP and t in free and found[row] is None:
            found[row] = tracks[t]
            free.remove(t)
    return found


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))
