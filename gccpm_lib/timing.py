"""Timing: variants measured in turns, so that a busy moment hits them all; and the cores there are to measure on."""

import os
import time
from collections.abc import Callable


def usable_cores() -> int:
    """Processor cores that this process may use; all of the machine where the system doesn't tell (macOS, Windows)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def interleaved(variants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in every round, the variants taking turns; a first round warms up and isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, step in variants.items():
            started = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds
