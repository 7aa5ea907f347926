"""Boxes and picture sizes of COCO's label files: checked, and brought into the frame in which the labels lie."""

import contextlib
import math

import numpy as np

from gccpm_lib.datasets.coco_labels import Labels, packed, stack_keypoints
from gccpm_lib.datasets.records import DataError
from gccpm_lib.geometry import grow_box


def box_numbers(where: str, box) -> tuple[float, float, float, float]:
    """bbox -> x, y, width, height. Raises DataError unless they are finite."""
    numbers = packed(box, "d")
    if numbers is None or len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: bbox must be four finite numbers (x, y, width, height); correct or remove it")
    return tuple(numbers)


def check_box(where: str, box, image: dict | None) -> tuple[float, float, float, float]:
    """bbox -> x, y, width, height. DataError unless they are finite and cover some of the picture.

    The published rule for boxes decides what has an extent. Without the picture's size its far sides aren't known.
    """
    x, y, w, h = box_numbers(where, box)
    height, width = _size(image)
    if 0 <= x < width - 1 and 0 <= y < height - 1 and w > 1 and h > 1:
        return x, y, w, h  # as nearly all are; the rule accepts them, but takes its time
    try:
        grow_box((x, y, w, h), (height, width))
        inside = w >= 0 and h >= 0 and x + max(w, 1) > 0 and y + max(h, 1) > 0  # the rule moves boxes in from the left
    except ValueError:
        inside = False
    if not inside:
        size = f" of {width}x{height} pixels" if width < math.inf else ""
        raise DataError(f"{where}: bbox {[x, y, w, h]} has no area inside its picture{size}; correct or remove it")
    return x, y, w, h


def _size(image: dict | None) -> tuple[float, float]:
    """Height, width of a picture by its record, inf where they aren't known: not given, or 0."""
    height, width = (image or {}).get("height"), (image or {}).get("width")
    known = all(type(side) in (int, float) and 0 < side < 1e9 for side in (height, width))
    return (height, width) if known else (math.inf, math.inf)


def known_size(image: dict) -> tuple[int, int] | None:
    """Width, height of a picture by its record, in whole pixels; None where they aren't known."""
    height, width = _size(image)
    whole = width < math.inf and float(width).is_integer() and float(height).is_integer()
    return (int(width), int(height)) if whole else None


def label_extents(labels: Labels, annotations: list[dict], points: np.ndarray) -> dict[int, tuple[float, float]]:
    """Largest x and y of the labelled joints (N, K, 3) of these annotations in each picture, by image id."""
    if labels.images is None or not points.size:
        return {}
    images, index = np.unique([a["image_id"] for a in annotations], return_inverse=True)
    extents = np.zeros((len(images), 2))
    np.maximum.at(extents, index, np.where(points[:, :, 2:] > 0, points[:, :, :2], 0).max(axis=1))
    return dict(zip(images.tolist(), map(tuple, extents.tolist()), strict=True))


def known_extents(labels: Labels) -> dict[int, tuple[float, float]]:
    """`label_extents` of a whole file; {} where keypoints are wrong, which whoever reads them tells."""
    jointed = [annotation for annotation in labels.annotations if annotation.get("keypoints")]
    with contextlib.suppress(DataError):
        return label_extents(labels, jointed, stack_keypoints(labels, jointed))
    return {}


def framed(image: dict | None, extents: dict[int, tuple[float, float]]) -> dict | None:
    """A picture's record with width and height exchanged where its labels, by their extent, fit the picture only so.

    Programs that don't look at a picture's EXIF tag write the size as stored beside labels of the turned picture.
    """
    size = known_size(image) if image else None
    x, y = extents.get(image["id"], (0, 0)) if image else (0, 0)
    if size is None or (x <= size[0] and y <= size[1]) or x > size[1] or y > size[0]:
        return image
    return {**image, "width": size[1], "height": size[0]}
