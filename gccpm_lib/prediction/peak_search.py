"""The published decoding's peaks, without enlarging whole maps.

As published, every map is enlarged 8 times (cubic), the padding cut off, the rest enlarged to the picture's size (cubic
again), maps of several scales and of the mirrored picture averaged, and a joint is the first highest pixel. All of it is
linear and separable: a map M of the picture's size is the sum of A M B^T over scales and mirrors, with banded matrices A
and B. So a block of pixels has an upper bound from the cells in its reach, and only blocks whose bound reaches the best
value found so far need be computed. What is left is rounding: where the two highest pixels are closer than floating point
can tell, the map is enlarged the published way. The peaks are therefore the same to a pixel (of pictures up to LARGEST).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from threadpoolctl import ThreadpoolController

from gccpm_lib.heatmaps import peaks
from gccpm_lib.recipes import STRIDE

LARGEST = 2048  # pixels: maps of larger pictures are searched at this size, which takes a few hundred MB at the most
BLOCK = 16  # pixels of the picture per side that share a bound
UNIT = 2.0**-24  # half a unit in the last place of 1
# Roundings on the way from a map to a pixel, each at most UNIT times the sum of the magnitudes: 4 in each of OpenCV's four
# passes, 4 in each of the two matrices, 8 in each of our two products, 8 for the means; twice, as two pixels are compared.
ROUNDINGS = 2 * (4 * 4 + 2 * 4 + 2 * 8 + 8)


@dataclass(frozen=True, eq=False)
class Term:
    """Maps of one forward pass and how they lie in the picture; a picture's maps are the mean of its terms."""

    maps: np.ndarray  # (h, w, K) float32 of the padded square
    window: tuple[int, int, int, int]  # left, top, width, height of the picture in the square, in pixels of the square
    mirrored: bool = False  # the maps are those of the mirrored picture, right and left already exchanged


def enlarge(term: Term, size: tuple[int, int]) -> np.ndarray:
    """The published way: maps -> (H, W, K) of a picture of this height and width."""
    left, top, width, height = term.window
    large = cv2.resize(term.maps, None, fx=STRIDE, fy=STRIDE, interpolation=cv2.INTER_CUBIC)
    inside = large[top : top + height, left : left + width]
    maps = cv2.resize(inside, size[::-1], interpolation=cv2.INTER_CUBIC)
    maps = maps if maps.ndim == 3 else maps[:, :, None]  # OpenCV drops a single channel
    return maps[:, ::-1] if term.mirrored else maps


def enlarged_mean(terms: Sequence[Term], size: tuple[int, int]) -> np.ndarray:
    """Mean of the terms' maps at the picture's size, (H, W, K)."""
    total = enlarge(terms[0], size)
    for term in terms[1:]:
        total = total + enlarge(term, size)
    return total / len(terms)


def published_peaks(terms: Sequence[Term], size: tuple[int, int]) -> np.ndarray:
    """Peaks (K, 3) x, y, value in picture pixels from maps of the picture's size."""
    return peaks(enlarged_mean(terms, size).transpose(2, 0, 1))


def fast_peaks(terms: Sequence[Term], size: tuple[int, int]) -> np.ndarray:
    """`published_peaks`, the same pixels and values up to rounding, from the few blocks that can hold them.

    A picture of more than LARGEST pixels along a side is searched as if it had as many, and the joints are scaled back: a
    pixel of a two-thousandth of the picture is far below what a map of 32 cells can tell.
    """
    searched = limited(size)
    if searched != size:
        found = fast_peaks(terms, searched)
        found[:, :2] = np.rint((found[:, :2] + 0.5) * np.divide(size[::-1], searched[::-1]) - 0.5)
        return found
    # NumPy's threads gain nothing in products this small and spin on for a while, in the way of the network's next picture.
    with _blas_threads().limit(limits=1):
        return _fast_peaks(terms, size)


def limited(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width, shrunk together to LARGEST at the most."""
    factor = min(1, LARGEST / max(size))
    return tuple(max(1, round(factor * side)) for side in size)


@functools.cache
def _blas_threads() -> ThreadpoolController:
    return ThreadpoolController().select(internal_api="openblas")


def _fast_peaks(terms: Sequence[Term], size: tuple[int, int]) -> np.ndarray:
    layers = [_layer(term, size) for term in terms]
    bounds = sum(map(_bounds, layers)) / len(layers)  # (K, blocks down, blocks across)
    slack = UNIT * ROUNDINGS * sum(map(_magnitude, layers)) / len(layers)  # (K,)
    able = bounds >= (_lower_bounds(layers, bounds) - slack)[:, None, None]
    ranges = np.concatenate([_range(able.any(axis=2)), _range(able.any(axis=1))], axis=1).tolist()
    found = [_peak(layers, k, *blocks, slack[k]) for k, blocks in enumerate(ranges)]
    if None in found:
        whole = published_peaks(terms, size)
        found = [whole[k] if peak is None else peak for k, peak in enumerate(found)]
    return np.array(found, np.float64)


@dataclass(frozen=True, eq=False)
class Axis:
    """What the pixels along one side of the picture take from the cells along that side of the maps."""

    matrix: np.ndarray  # (pixels, cells) float32, banded
    first: np.ndarray  # of every block of pixels: the first cell that it listens to
    last: np.ndarray  # and the last one + 1
    positive: float  # the most that a pixel's weights above zero add up to
    negative: float  # and those below, without their sign


@dataclass(frozen=True, eq=False)
class Layer:
    """A term, ready to be searched: its maps at the picture's size are down @ maps @ across^T."""

    down: Axis
    across: Axis
    maps: np.ndarray  # (K, h, w)
    term: Term


def _layer(term: Term, size: tuple[int, int]) -> Layer:
    left, top, width, height = term.window
    cells_down, cells_across, _ = term.maps.shape
    across = _axis(cells_across, left, width, size[1], term.mirrored)
    maps = np.ascontiguousarray(term.maps.transpose(2, 0, 1))
    return Layer(_axis(cells_down, top, height, size[0], False), across, maps, term)


@functools.lru_cache(maxsize=256)
def _axis(cells: int, start: int, length: int, size: int, mirrored: bool) -> Axis:
    """OpenCV's own resizing of unit vectors, one channel per cell."""
    unit = np.eye(cells, dtype=np.float32)[:, None, :]  # (cells, 1, cells)
    large = cv2.resize(unit, (1, STRIDE * cells), interpolation=cv2.INTER_CUBIC)[start : start + length]
    matrix = cv2.resize(large, (1, size), interpolation=cv2.INTER_CUBIC).reshape(size, cells)
    matrix = np.ascontiguousarray(matrix[::-1]) if mirrored else matrix
    used = [np.flatnonzero(np.abs(matrix[i : i + BLOCK]).max(axis=0)) for i in range(0, size, BLOCK)]
    first, last = np.array([u[0] for u in used]), np.array([u[-1] + 1 for u in used])
    positive, negative = (float(np.maximum(sign * matrix, 0).sum(axis=1).max()) for sign in (1, -1))
    return Axis(matrix, first, last, positive, negative)


def _bounds(layer: Layer) -> np.ndarray:
    """Upper bound of every block of pixels, (K, blocks down, blocks across).

    A pixel is a sum of cells with weights that add up to 1, some below zero: at most p times the highest cell in reach
    plus n times the lowest one's depth below zero, p and n being the most that positive and negative weights add up to.
    """
    down, across = layer.down, layer.across
    positive = down.positive * across.positive + down.negative * across.negative
    negative = down.positive * across.negative + down.negative * across.positive
    reach = np.ones([int((axis.last - axis.first).max()) for axis in (down, across)], np.uint8)
    high, low = (filter_(layer.term.maps, reach, anchor=(0, 0)) for filter_ in (cv2.dilate, cv2.erode))  # (h, w, K)
    high, low = (maps.reshape(layer.term.maps.shape)[down.first][:, across.first] for maps in (high, low))
    return (positive * np.maximum(high, 0) + negative * np.maximum(-low, 0)).transpose(2, 0, 1)


def _magnitude(layer: Layer) -> np.ndarray:
    """(K,) the most that weights times cells, all without their signs, can add up to in any pixel."""
    down, across = layer.down, layer.across
    gain = (down.positive + down.negative) * (across.positive + across.negative)
    return gain * np.abs(layer.maps).max(axis=(1, 2))


def _lower_bounds(layers: list[Layer], bounds: np.ndarray) -> np.ndarray:
    """(K,) the highest of a few pixels of each map, spread over its most promising block."""
    rows, columns = np.unravel_index(bounds.reshape(len(bounds), -1).argmax(axis=1), bounds.shape[1:])
    spread, total = np.arange(BLOCK // 8, BLOCK, BLOCK // 4), 0.0
    for layer in layers:
        a, b = (
            axis.matrix[np.minimum(BLOCK * blocks[:, None] + spread, len(axis.matrix) - 1)]  # (K, 4, cells)
            for axis, blocks in ((layer.down, rows), (layer.across, columns))
        )
        total = total + a @ layer.maps @ b.transpose(0, 2, 1)
    return total.max(axis=(1, 2)) / len(layers)


def _range(able: np.ndarray) -> np.ndarray:
    """(K, blocks) -> (K, 2): the first block that may hold the peak and the last one + 1."""
    return np.stack([able.argmax(axis=1), able.shape[1] - able[:, ::-1].argmax(axis=1)], axis=1)


def _peak(layers: list[Layer], k: int, top: int, bottom: int, left: int, right: int, slack: float):
    """x, y, value of the highest pixel of map k in a range of blocks; None where another is too close to tell."""
    values = _pixels(layers, k, top, bottom, left, right)
    y, x = divmod(int(values.argmax()), values.shape[1])
    if np.count_nonzero(values >= values[y, x] - slack) > 1:  # look closer
        closer = UNIT * ROUNDINGS * _pixels(layers, k, top, bottom, left, right, magnitudes=True)
        if np.count_nonzero(values + closer >= values[y, x]) > 1:
            return None
    return BLOCK * left + x, BLOCK * top + y, values[y, x]


def _pixels(layers: list[Layer], k: int, top: int, bottom: int, left: int, right: int, magnitudes=False) -> np.ndarray:
    """Map k in a range of blocks, each product over the cells in reach alone; magnitudes: without any signs."""
    total = 0.0
    for layer in layers:
        rows, columns = _cells(layer.down, top, bottom), _cells(layer.across, left, right)
        a = layer.down.matrix[BLOCK * top : BLOCK * bottom, rows]
        b = layer.across.matrix[BLOCK * left : BLOCK * right, columns].T
        m = layer.maps[k, rows, columns]
        total = total + (np.abs(a) @ np.abs(m) @ np.abs(b) if magnitudes else a @ m @ b)
    return total / len(layers)


def _cells(axis: Axis, first: int, last: int) -> slice:
    """The cells that the blocks from first to last - 1 listen to."""
    ends = (first, last - 1)  # mirrored, the first block listens to the last cells
    return slice(min(axis.first[i] for i in ends), max(axis.last[i] for i in ends))
