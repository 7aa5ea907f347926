"""One 2x3 affine per person: picture -> crop.

Coordinates are x right, y down in pixels, with pixel centres at integers. An affine is (2, 3) float64 and maps column
vectors (x, y, 1). Several steps are composed into one affine, so that a picture is warped once.
"""

import cv2
import numpy as np


def compose(*affines: np.ndarray) -> np.ndarray:
    """Affines (2, 3) in the order in which they are applied -> one (2, 3)."""
    total = np.eye(3)
    for affine in affines:
        total = np.vstack([affine, (0, 0, 1)]) @ total
    return total[:2]


def invert(affine: np.ndarray) -> np.ndarray:
    """(2, 3) picture -> crop becomes (2, 3) crop -> picture."""
    return np.linalg.inv(np.vstack([affine, (0, 0, 1)]))[:2]


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points (..., >=2): the first two columns are x, y; further columns (labels, scores) are kept."""
    moved = np.array(points, dtype=np.float64)
    moved[..., :2] = points[..., :2] @ affine[:, :2].T + affine[:, 2]
    return moved


def mirror(width: int) -> np.ndarray:
    """(2, 3) that mirrors a picture of this width: x -> width - 1 - x."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def rotate_and_scale(centre: tuple[float, float], degrees: float, factor: float) -> np.ndarray:
    """(2, 3) that turns (clockwise as seen, y points down) and grows a picture about a centre (x, y)."""
    cosine, sine = factor * np.cos(np.radians(degrees)), factor * np.sin(np.radians(degrees))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, np.asarray(centre) - linear @ centre])


def letterbox_to_affine(image: tuple[float, float], output: tuple[int, int]) -> np.ndarray:
    """Sizes (height, width) -> (2, 3) that fits the whole picture into the output, centred, aspect kept.

    Pixel edges go to pixel edges as in `cv2.resize`: x' = (x + 0.5) s - 0.5 + margin.
    """
    (height, width), (out_height, out_width) = image, output
    s = min(out_height / height, out_width / width)
    left, top = (out_width - width * s) / 2, (out_height - height * s) / 2
    return np.array([[s, 0.0, 0.5 * s - 0.5 + left], [0.0, s, 0.5 * s - 0.5 + top]])


def grow_box(box, image: tuple[int, int], aspect=0.75, margin=1.25) -> tuple[float, float, float, float]:
    """Box (x, y, w, h) -> (centre x, centre y, w, h) of its crop by the published COCO rule.

    The box is clipped to the picture (height, width), its short side grown to the aspect w / h, both sides times margin.
    Raises ValueError for a box that lies outside the picture or has no extent.
    """
    x, y, w, h = (float(v) for v in box)
    height, width = image
    x1, y1 = max(0.0, x), max(0.0, y)
    x2, y2 = min(width - 1.0, x1 + max(0.0, w - 1)), min(height - 1.0, y1 + max(0.0, h - 1))
    w, h = x2 - x1, y2 - y1
    if not (np.isfinite(box).all() and w >= 0 and h >= 0 and w + h > 0):
        raise ValueError(f"box {tuple(map(float, box))} has no area inside a picture of {width}x{height} pixels")
    centre_x, centre_y = x1 + w / 2, y1 + h / 2
    w, h = max(w, h * aspect), max(h, w / aspect)
    return centre_x, centre_y, w * margin, h * margin


def box_of_joints(keypoints: np.ndarray, margin: float = 0.1) -> tuple[float, float, float, float]:
    """Labelled keypoints of (K, 3) -> the box (x, y, w, h) of their extent, grown by margin of it on each side.

    Skin ends beyond the joints. Without a labelled joint the box has no extent.
    """
    points = keypoints[keypoints[:, 2] > 0, :2].astype(np.float64)
    if not len(points):
        return 0.0, 0.0, 0.0, 0.0
    low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1)
    x, y, w, h = (float(v) for v in (*(low - margin * size), *((1 + 2 * margin) * size)))
    return x, y, w, h


def centre_to_affine(centre_x: float, centre_y: float, width: float, output: tuple[int, int]) -> np.ndarray:
    """(2, 3) that maps a centre to the middle of the output (height, width) and a width to the output's width."""
    out_height, out_width = output
    s = out_width / width
    return np.array([[s, 0.0, out_width / 2 - s * centre_x], [0.0, s, out_height / 2 - s * centre_y]])


def box_to_affine(box, image: tuple[int, int], output: tuple[int, int] = (384, 288)) -> np.ndarray:
    """Box (x, y, w, h) in a picture (height, width) -> (2, 3) picture -> crop of size output (height, width).

    The published COCO rule, see `grow_box`; one uniform scale, box centre to crop centre (width / 2, height / 2).
    """
    centre_x, centre_y, w, _ = grow_box(box, image, aspect=output[1] / output[0])
    return centre_to_affine(centre_x, centre_y, w, output)


def warp(image: np.ndarray, affine: np.ndarray, output: tuple[int, int], padding: int) -> np.ndarray:
    """Picture (H, W, 3) uint8 through a picture -> crop affine -> (height, width, 3), bilinear, padding outside."""
    height, width = output
    return cv2.warpAffine(
        image,
        affine,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(padding,) * 3,
    )
