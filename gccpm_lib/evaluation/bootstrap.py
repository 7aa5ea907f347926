"""The bootstrap: persons or pictures drawn with replacement, a few draws at a time.

A draw is a row of counts, how often every item came. A thousand of them for a whole data set would fill a gigabyte, so they
are made in chunks; the numbers are the same whatever the chunks.
"""

from collections.abc import Iterator

import numpy as np

CHUNK = 2_000_000  # counts that are held at once: 16 MB


def draws(count: int, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """`repeats` draws of `count` items in chunks (r, count) int64: how often every item was drawn."""
    rng, shares, step = np.random.default_rng(seed), np.full(count, 1 / count), max(1, CHUNK // count)
    for start in range(0, repeats, step):
        yield rng.multinomial(count, shares, size=min(step, repeats - start))


def sums(values: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """Whole numbers of N items (N, C) -> their sums over the items of every draw (repeats, C) float64, exact below 2^53."""
    values = np.asarray(values, np.float64)  # as floating point the product is BLAS's, many times faster
    return np.concatenate([counts.astype(np.float64) @ values for counts in draws(len(values), repeats, seed)])
