"""Heatmaps: keypoints -> target maps, maps -> keypoints. Cell (i, j) is row i, column j at stride 8."""

import cv2
import numpy as np

from gccpm_lib.recipes import STRIDE

LIP_CUTOFF = 4.6052  # exponents from here on are left empty: exp(-4.6052) is 1 %


def lip_targets(keypoints: np.ndarray, size=(256, 256), stride: int = STRIDE, sigma: float = 7.0) -> np.ndarray:
    """Targets of the LIP recipe, the last map the background.

    keypoints (K, 3): x, y in crop pixels, label > 0 where labelled; size (height, width) of the crop in pixels; sigma in
    pixels. Returns (K+1, h, w) float32. A cell stands for the pixel at its centre, (stride j + 3.5, stride i + 3.5); the
    Gaussian is cut at 1 % and at a window of +-4 sigma; a missing joint gives an empty map; background = 1 - maximum.
    """
    height, width = size
    x, y, labelled = _labelled(keypoints)
    centre = (stride - 1) / 2
    dx = stride * np.arange(width // stride) + centre - x[:, None]  # (K, w)
    dy = stride * np.arange(height // stride) + centre - y[:, None]  # (K, h)
    exponent = (dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / (2 * sigma**2)  # (K, h, w)
    inside = (
        (exponent < LIP_CUTOFF)
        & _in_window(x, 4 * sigma, width, stride)[:, None, :]
        & _in_window(y, 4 * sigma, height, stride)[:, :, None]
        & labelled[:, None, None]
    )
    targets = np.empty((len(keypoints) + 1, *exponent.shape[1:]), np.float32)
    targets[:-1] = np.where(inside, np.exp(-np.minimum(exponent, LIP_CUTOFF)), 0.0)
    targets[-1] = 1 - targets[:-1].max(axis=0)
    return targets


def _labelled(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y (K,) float64 with 0 where missing (a file's nan must not spread), and which joints are labelled."""
    keypoints = np.asarray(keypoints, np.float64)
    labelled = keypoints[:, 2] > 0
    return np.where(labelled, keypoints[:, 0], 0.0), np.where(labelled, keypoints[:, 1], 0.0), labelled


def _in_window(centre: np.ndarray, reach: float, size: int, stride: int) -> np.ndarray:
    """(K, cells) True in the cells that the published rule visits along one axis, its last one not included."""
    first = np.maximum(0, np.trunc(centre - reach)) // stride
    last = np.minimum(size, np.trunc(centre + reach)) // stride
    cells = np.arange(size // stride)
    return (cells >= first[:, None]) & (cells < last[:, None])


def coco_targets(
    keypoints: np.ndarray, size=(384, 288), stride: int = STRIDE, sigma: float = 3.0, whole_cells: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and weights of the COCO recipe.

    keypoints (K, 3): x, y in crop pixels, label > 0 where labelled; size (height, width) of the crop in pixels; sigma in
    cells. Returns (K, h, w) float32 and (K,) float32. The Gaussian sits on the whole cell int(x / stride + 0.5) and
    reaches +-3 sigma; a joint whose window misses the maps has weight 0. whole_cells False: it sits on x / stride
    itself, so that the maps say where in a cell the joint is.
    """
    h, w = size[0] // stride, size[1] // stride
    x, y, labelled = _labelled(keypoints)
    px, py = np.trunc(x / stride + 0.5), np.trunc(y / stride + 0.5)
    reach = int(3 * sigma)
    outside = (px - reach >= w) | (py - reach >= h) | (px + reach + 1 < 0) | (py + reach + 1 < 0)
    weights = (labelled & ~outside).astype(np.float32)
    if not whole_cells:
        px, py = x / stride, y / stride
    dx, dy = np.arange(w) - px[:, None], np.arange(h) - py[:, None]  # (K, w), (K, h)
    gx = np.where(abs(dx) <= reach, np.exp(-(dx**2) / (2 * sigma**2)), 0.0)
    gy = np.where(abs(dy) <= reach, np.exp(-(dy**2) / (2 * sigma**2)), 0.0)
    return (weights[:, None, None] * gy[:, :, None] * gx[:, None, :]).astype(np.float32), weights


def peaks(maps: np.ndarray) -> np.ndarray:
    """Maps (K, h, w) -> (K, 3): column and row of each map's first highest cell, and its value."""
    flat = maps.reshape(len(maps), -1)
    best = flat.argmax(axis=1)
    rows, columns = np.unravel_index(best, maps.shape[1:])
    return np.stack([columns, rows, flat[np.arange(len(maps)), best]], axis=1).astype(np.float64)


def decode(maps: np.ndarray, decoder: str = "argmax", stride: int = STRIDE, sigma: float = 3.0) -> np.ndarray:
    """Maps (K, h, w) of one crop -> keypoints (K, 3): x, y in crop pixels and the peak. Cell k stands for pixel 8 k.

    decoder: "argmax" whole cells; "quarter" a quarter cell towards the higher neighbour (Newell et al. 2016); "dark" the
    maximum of a parabola through the logarithm of the smoothed map (Zhang et al., CVPR 2020); sigma in cells.
    """
    found = peaks(maps)
    if decoder == "quarter":
        found[:, :2] += _quarter_steps(maps, found)
    elif decoder == "dark":
        found[:, :2] += _dark_steps(maps, found, sigma)
    elif decoder != "argmax":
        raise ValueError(f"decoder {decoder!r} is not known; known: 'argmax', 'quarter', 'dark'")
    found[:, :2] *= stride
    return found


def _quarter_steps(maps: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(K, 2) steps in cells; none at a border of the map."""
    steps = np.zeros((len(maps), 2))
    for step, map_, (column, row) in zip(steps, maps, found[:, :2].astype(int), strict=True):
        if 0 < column < map_.shape[1] - 1 and 0 < row < map_.shape[0] - 1:
            step[0] = 0.25 * np.sign(map_[row, column + 1] - map_[row, column - 1])
            step[1] = 0.25 * np.sign(map_[row + 1, column] - map_[row - 1, column])
    return steps


def _dark_steps(maps: np.ndarray, found: np.ndarray, sigma: float) -> np.ndarray:
    """(K, 2) steps in cells: minus inverse Hessian times gradient of the log map; none at a border or off a peak."""
    steps, reach = np.zeros((len(maps), 2)), int(np.ceil(1.5 * sigma)) + 2
    for step, map_, (column, row) in zip(steps, maps, found[:, :2].astype(int), strict=True):
        border = min(column, row, map_.shape[1] - 1 - column, map_.shape[0] - 1 - row)
        if border < 2:
            continue
        smooth = map_.astype(np.float64)
        if border >= reach:  # nearer to it, the smoothing would take in what lies beyond the border and shift the peak
            smooth = cv2.GaussianBlur(smooth, (0, 0), sigma / 2)
        log = np.log(np.maximum(smooth[row - 2 : row + 3, column - 2 : column + 3], 1e-10))  # (5, 5) around the peak
        gradient = np.array([log[2, 3] - log[2, 1], log[3, 2] - log[1, 2]]) / 2
        dxx, dyy = (log[2, 4] - 2 * log[2, 2] + log[2, 0]) / 4, (log[4, 2] - 2 * log[2, 2] + log[0, 2]) / 4
        dxy = (log[3, 3] - log[1, 3] - log[3, 1] + log[1, 1]) / 4
        determinant = dxx * dyy - dxy**2
        if determinant > 0 and dxx < 0:
            hessian_inverse = np.array([[dyy, -dxy], [-dxy, dxx]]) / determinant
            step[:] = np.clip(-hessian_inverse @ gradient, -1, 1)
    return steps
