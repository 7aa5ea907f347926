"""Smoothing: the 1 euro filter (Casiez, Roussel and Vogel, CHI 2012) over the joints of each person in a video.

A joint at rest is held still, a fast one is followed closely: with filtered value X and speed V, sampled T seconds apart,

    V = a(f_speed) (x - X_before) / T + (1 - a(f_speed)) V_before,    a(f) = 1 / (1 + 1 / (2 pi f T))
    X = a(f) x + (1 - a(f)) X_before,    f = f_min + beta |V|

People are told apart by their numbers, see `tracking`: whoever has a new one starts unsmoothed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# With these a trembling by 1 % of the person's size is halved at rest, and an arm that waves once a second by 20 % of it to
# each side is followed with an error of 2 % (root mean square, 25 frames/s).
MIN_CUTOFF = 1.0  # Hz, f_min: lower is calmer at rest
BETA = 10.0  # Hz per (person's size per second): higher lags less in movement
SPEED_CUTOFF = 1.0  # Hz, f_speed, as the paper proposes


@dataclass(frozen=True, eq=False)
class FilterState:
    """What the filter remembers; value and speed are of any one shape."""

    time: float  # seconds
    value: np.ndarray  # filtered
    speed: np.ndarray  # filtered, per second


@dataclass(frozen=True, eq=False)
class Person:
    """What is remembered of somebody."""

    size: float  # pixels, the longer side of the first pose: the unit of speed, whatever the video's resolution
    state: FilterState  # of the joints, (K, 2)


def one_euro(
    state: FilterState | None, value: np.ndarray, time: float, min_cutoff=MIN_CUTOFF, beta=BETA, speed_cutoff=SPEED_CUTOFF
) -> FilterState:
    """The next state, each number filtered on its own; state None: value is the first and stays as it is.

    Cutoffs in Hz, beta in Hz per unit of speed, time in seconds. Raises ValueError for a time that isn't later.
    """
    if state is None:
        return FilterState(time, value, np.zeros_like(value))
    elapsed = time - state.time
    if elapsed <= 0:
        raise ValueError(f"time {time} s doesn't come after {state.time} s; smooth a video's frames in their order")
    share = weight(speed_cutoff, elapsed)
    speed = share * (value - state.value) / elapsed + (1 - share) * state.speed
    share = weight(min_cutoff + beta * abs(speed), elapsed)
    return FilterState(time, share * value + (1 - share) * state.value, speed)


def weight(cutoff, elapsed: float):
    """Weight of a new sample in a low-pass filter of this cutoff frequency (Hz), sampled every `elapsed` seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * elapsed))


def smooth(
    people: Mapping[int, Person], numbers: Sequence[int], poses: np.ndarray, time: float
) -> tuple[dict[int, Person], np.ndarray]:
    """People so far and a frame's poses -> people to remember, and the poses smoothed.

    numbers (N,): whose poses (N, K, 3) x, y, score in picture pixels these are; scores stay as they are. time in seconds.
    """
    smoothed, known = np.array(poses, dtype=np.float64), dict(people)
    for row, number in enumerate(numbers):
        before, points = known.get(number), smoothed[row, :, :2]
        size = before.size if before else max(float(np.ptp(points, axis=0).max()), 1.0)
        state = one_euro(before.state if before else None, points.copy(), time, beta=BETA / size)
        known[number] = Person(size, state)
        smoothed[row, :, :2] = state.value
    return known, smoothed
