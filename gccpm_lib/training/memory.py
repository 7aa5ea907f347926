"""Memory that a training gives back and takes again in every step."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names that malloc.h has for them, with M_ in front


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, until it ends; returns whether the system's C library (glibc) could be told so.

    By default large blocks go back to the system at once, and the next step gets them again page by page, each cleared
    first. Training on 2 CPU cores at 192 px spent a fifth of its time on that (reports/EXPERIMENTS.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return bool(mallopt) and all([mallopt(MMAP_MAX, 0), mallopt(TRIM_THRESHOLD, -1)])  # -1: as a size, without limit
