"""The bootstrap: images drawn with replacement, with all their persons, a few draws at a time.

Persons of one image share its light, its blur and often their pose, so they aren't drawn on their own.

A draw is a row of counts, how often every item came. A thousand of them for a whole data set would fill a gigabyte, so they
are made in chunks; the numbers are the same whatever the chunks.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from gccpm_lib.datasets.records import Person

LIP_NAME = re.compile(r"(\d+)_\d+")  # <image>_<person>
CHUNK = 2_000_000  # counts that are held at once: 16 MB


def draws(count: int, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """`repeats` draws of `count` items in chunks (r, count) int64: how often every item was drawn."""
    rng, shares, step = np.random.default_rng(seed), np.full(count, 1 / count), max(1, CHUNK // count)
    for start in range(0, repeats, step):
        yield rng.multinomial(count, shares, size=min(step, repeats - start))


def images_of(persons: Sequence[Person]) -> np.ndarray:
    """The image of every person as a number, (N,) from 0 in the order in which the images come.

    LIP cuts each person out of its image and names the file <image>_<person>.jpg; any other file is an image of its own.
    """
    numbers, keys = {}, []
    for person in persons:
        lip = LIP_NAME.fullmatch(person.image_path.stem) if person.box is None else None
        keys.append(lip[1] if lip else str(person.image_path))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], int)


def sums(values: np.ndarray, repeats: int, seed: int, images: np.ndarray | None = None) -> np.ndarray:
    """Whole numbers of N persons (N, C) -> their sums over every draw (repeats, C) float64, exact below 2^53.

    images (N,): each person's image as `images_of` gives it, drawn whole; None: every row is drawn on its own.
    """
    values = np.asarray(values, np.float64)  # as floating point the product is BLAS's, many times faster
    if images is not None:
        rows, values = values, np.zeros((images.max() + 1, values.shape[1]))
        np.add.at(values, images, rows)
    return np.concatenate([counts.astype(np.float64) @ values for counts in draws(len(values), repeats, seed)])


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of no difference, from a difference's values over the draws (repeats,).

    Twice the share of draws on the rarer side of zero, zero itself on both; one draw more is counted on either side, so it
    is never 0 (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 4.11).
    """
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(differences)))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values of several comparisons -> adjusted for their number, in the same order (Holm, 1979).

    Rejecting what is below 0.05 errs in 5 % of such families at most, however the comparisons depend on each other. A nan
    stays nan and isn't counted.
    """
    p_values = np.asarray(p_values, np.float64)
    order = [i for i in np.argsort(p_values, kind="stable") if not np.isnan(p_values[i])]
    adjusted, largest = np.full(len(p_values), np.nan), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
