"""Augmentation: one random affine and one warp per person, then masking and channel order.

Every random number comes from the generator that is handed in, so that a sample depends on (seed, epoch, index) alone.
What the published LIP code fills with 128 beyond its rotated canvas shows picture here, as there is a single warp.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from gccpm_lib import geometry
from gccpm_lib.datasets.records import Person
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import OUTSIDE, lower_body

# A function of one's own: crop (h, w, 3) uint8 BGR, keypoints (K, 3) in its pixels, generator -> crop, keypoints
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def random_affine(
    rng: np.random.Generator, person: Person, image: tuple[int, int], recipe: Recipe, output: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Draw one picture -> crop affine. image and output are (height, width); returns (2, 3) and whether it mirrors."""
    make = _letterbox_affine if recipe.crop == "letterbox" else _box_affine
    return make(rng, person, image, recipe, output)


def _angle(rng: np.random.Generator, recipe: Recipe) -> float:
    turns = rng.random() < recipe.rotation_probability
    degrees = rng.uniform(-recipe.rotation_degrees, recipe.rotation_degrees) if turns else 0.0
    half_turn = recipe.half_turn_probability and rng.random() < recipe.half_turn_probability
    return degrees + 180 if half_turn else degrees


def _scale(rng: np.random.Generator, recipe: Recipe) -> float:
    return rng.uniform(*recipe.scale_range) if rng.random() < recipe.scale_probability else 1.0


def _letterbox_affine(rng, person, image, recipe, output):
    """LIP order: turn on a canvas (grown to fit or not), scale about its centre, fit it into the crop, mirror."""
    height, width = image
    degrees = _angle(rng, recipe)
    cosine, sine = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    grown = (height * cosine + width * sine, height * sine + width * cosine)
    canvas = grown if recipe.canvas_grows else image
    centre = ((width - 1) / 2, (height - 1) / 2)
    affine = geometry.compose(
        geometry.rotate_and_scale(centre, degrees, _scale(rng, recipe)),
        np.array([[1.0, 0.0, (canvas[1] - width) / 2], [0.0, 1.0, (canvas[0] - height) / 2]]),
        geometry.letterbox_to_affine(canvas, output),
    )
    mirrored = rng.random() < recipe.flip_probability
    return (geometry.compose(affine, geometry.mirror(output[1])) if mirrored else affine), mirrored


def _box_affine(rng, person, image, recipe, output):
    """COCO order: half body, scale of the box, mirror, crop of the box, turn about the crop's centre."""
    aspect = output[1] / output[0]
    box = _half_body_box(rng, person, recipe, aspect) or geometry.grow_box(
        _jittered(rng, person.box, recipe), image, aspect
    )
    x, y, width, _ = box
    if recipe.scale_spread_from_box:
        spread = width / 200  # width is 1.25 x the grown box already
        factor = np.clip(2 + spread * rng.standard_normal(), 1 - spread, 1 + spread) or 1e-6  # 0 has no affine
    else:
        factor = _scale(rng, recipe)
    degrees = _angle(rng, recipe)
    mirrored = rng.random() < recipe.flip_probability
    first = geometry.mirror(image[1]) if mirrored else np.eye(2, 3)
    if mirrored and recipe.mirror_box_centre:
        x = image[1] - 1 - x
    crop = geometry.centre_to_affine(x, y, width * factor, output)
    turn = geometry.rotate_and_scale((output[1] / 2, output[0] / 2), degrees, 1.0)
    return geometry.compose(first, crop, turn), mirrored


def _half_body_box(rng, person, recipe, aspect):
    """Centre x, y, width, height of the upper or the lower body, or None where the dice or the joints say no."""
    labelled = person.keypoints[:, 2] > 0
    if rng.random() >= recipe.half_body_probability or labelled.sum() <= recipe.half_body_joints:
        return None
    lower = lower_body(recipe.skeleton.joints)
    halves = [half for half in (labelled & ~lower, labelled & lower) if half.sum() >= 2]
    if not halves:
        return None
    points = person.keypoints[halves[int(rng.random() * len(halves))], :2].astype(np.float64)
    w, h = np.ptp(points, axis=0)
    w, h = max(w, h * aspect), max(h, w / aspect)
    return (*points.mean(axis=0), 1.5 * w, 1.5 * h) if w > 0 else None


def _jittered(rng, box, recipe):
    """The box (x, y, w, h) with each edge moved on its own, as a detector's edges are off."""
    if not recipe.box_jitter:
        return box
    x, y, w, h = box
    left, top, right, bottom = rng.uniform(-recipe.box_jitter, recipe.box_jitter, 4)
    return x + left * w, y + top * h, (1 + right - left) * w, (1 + bottom - top) * h


def cut_by_frame(rng: np.random.Generator, image: np.ndarray, person: Person) -> tuple[np.ndarray, Person]:
    """The picture as if its frame cut the person: a part of the picture (h, w, 3), and the person in it.

    Gone are the legs, one side, all but head and shoulders, or the top, for upright people; the box is what is left of it,
    joints beyond the frame are OUTSIDE. Unchanged where fewer than 3 labelled joints would be left.
    """
    x, y, w, h = person.box or geometry.box_of_joints(person.keypoints)
    kind, part = rng.choice(4, p=(0.4, 0.2, 0.3, 0.1)), rng.random()
    first, last = np.zeros(2), np.array(image.shape[1::-1], float)  # corners of the view: x, y
    if kind == 0:
        last[1] = y + h * (0.45 + 0.45 * part)  # legs
    elif kind == 1 and rng.random() < 0.5:
        first[0] = x + w * (0.15 + 0.35 * part)  # left in the picture
    elif kind == 1:
        last[0] = x + w * (0.85 - 0.35 * part)
    elif kind == 2:
        last[1] = y + h * (0.2 + 0.25 * part)  # head and shoulders
    else:
        first[1] = y + h * (0.1 + 0.3 * part)  # head, or all down to the trunk
    left, top = np.maximum(0, np.rint(first)).astype(int)
    right, bottom = np.minimum(image.shape[1::-1], np.rint(last)).astype(int)
    keypoints = person.keypoints - np.array([left, top, 0], np.float32)
    keypoints = _mark_outside(keypoints, (bottom - top, right - left))
    if (keypoints[:, 2] > 0).sum() < min(3, (person.keypoints[:, 2] > 0).sum()):
        return image, person
    x1, y1, x2, y2 = max(x, left), max(y, top), min(x + w, right), min(y + h, bottom)
    if x2 - x1 < 4 or y2 - y1 < 4:
        return image, person
    box = (x1 - left, y1 - top, x2 - x1, y2 - y1) if person.box else None
    return image[top:bottom, left:right], replace(person, keypoints=keypoints, box=box, picture_size=None)


def _mark_outside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labelled keypoints (K, 3) beyond a picture or crop (height, width) become OUTSIDE."""
    x, y, label = keypoints.T
    beyond = (x < -0.5) | (y < -0.5) | (x > size[1] - 0.5) | (y > size[0] - 0.5)
    marked = keypoints.copy()
    marked[(label > 0) & beyond, 2] = OUTSIDE
    return marked


def tightened(rng: np.random.Generator, image: np.ndarray, person: Person, recipe: Recipe) -> tuple[np.ndarray, Person]:
    """The picture without up to box_jitter of its width or height at each edge, as where it was cut too close.

    Joints that are cut away are OUTSIDE.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = rng.uniform(0, recipe.box_jitter, 4) * (width, height, width, height)
    x1, y1, x2, y2 = (int(v) for v in (left, top, width - right, height - bottom))
    if x2 - x1 < 4 or y2 - y1 < 4:
        return image, person
    keypoints = _mark_outside(person.keypoints - np.array([x1, y1, 0], np.float32), (y2 - y1, x2 - x1))
    return image[y1:y2, x1:x2], replace(person, keypoints=keypoints, picture_size=None)


def degrade(rng: np.random.Generator, crop: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A crop (h, w, 3) uint8 as a small or blurred person gives it, grey, or in other light, each as the recipe says."""
    size = crop.shape[1::-1]
    if recipe.degrade_probability and rng.random() < recipe.degrade_probability:
        factor = rng.uniform(1.5, 5)
        small = cv2.resize(crop, [max(4, round(side / factor)) for side in size], interpolation=cv2.INTER_AREA)
        crop = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    if recipe.grey_probability and rng.random() < recipe.grey_probability:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if recipe.light_spread:
        contrast, brightness = 1 + rng.uniform(-1, 1, 2) * recipe.light_spread
        levels = brightness * (128 + contrast * (np.arange(256) - 128))
        crop = cv2.LUT(crop, np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    return crop


def hide_quadrangle(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Copy of a picture or crop (h, w, 3) with a random convex quadrangle filled with 128.

    Its centre lies in the middle third; each of the eight half-sizes is drawn on its own from 1 px to 30 % of that side.
    """
    size = np.array(picture.shape[1::-1])  # width, height
    centre = rng.uniform(size / 3, 2 * size / 3)
    half_sizes = rng.uniform(1, np.maximum(1, 0.3 * size), (4, 2))
    corners = centre + half_sizes * ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return cv2.fillConvexPoly(picture.copy(), cv2.convexHull(corners.astype(np.int32)), (128, 128, 128))


def augmented_crop(
    rng: np.random.Generator, image: np.ndarray, person: Person, recipe: Recipe, output: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture (H, W, 3) uint8 BGR and its person -> crop (h, w, 3) uint8 BGR, keypoints (K, 3), channel order (3,).

    Keypoints are in crop pixels under their own names (left and right change places in a mirrored crop); the channel
    order is applied to the normalised picture.
    """
    if recipe.cut_probability and rng.random() < recipe.cut_probability:
        image, person = cut_by_frame(rng, image, person)
    if recipe.box_jitter and recipe.crop == "letterbox":
        image, person = tightened(rng, image, person, recipe)
    affine, mirrored = random_affine(rng, person, image.shape[:2], recipe, output)
    hides = rng.random() < recipe.quadrangle_probability
    if hides and recipe.crop == "letterbox":  # LIP: part of the picture, before it is turned
        image = hide_quadrangle(rng, image)
    crop = geometry.warp(image, affine, output, recipe.padding)
    keypoints = geometry.apply(affine, person.keypoints)
    if mirrored:
        keypoints = keypoints[recipe.skeleton.flip_order]
    if hides and recipe.crop == "box":  # COCO: part of the crop
        crop = hide_quadrangle(rng, crop)
    if recipe.outside_counts:
        keypoints = _mark_outside(keypoints, output)
    crop = degrade(rng, crop, recipe)
    shuffled = rng.random() < recipe.channel_shuffle_probability
    order = recipe.channel_orders[rng.integers(len(recipe.channel_orders))] if shuffled else (0, 1, 2)
    return crop, keypoints, np.array(order)


def own_augmentation(
    augmentation: Augmentation, crop: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """A crop and its keypoints from `augmented_crop`, after a function of one's own, which may change what it is given.

    The third column of keypoints is 0 missing, 1 occluded, 2 visible, -1 known to lie outside. Random numbers come from
    rng alone. A function that mirrors exchanges right and left itself. ValueError for a result of another form, and for
    an error in the function, so that it arrives in one line from a loader process too.
    """
    name, shape, joints = augmentation.__name__, crop.shape, keypoints.shape
    try:
        answer = augmentation(crop, keypoints, rng)
    except Exception as error:
        raise ValueError(f"augmentation {name}: {type(error).__name__}: {error}") from error
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ValueError(f"augmentation {name}: it gives {type(answer).__name__}; end it with return image, keypoints")
    image, points = (np.ascontiguousarray(part) for part in answer)
    if image.shape != shape or image.dtype != np.uint8:
        raise ValueError(f"augmentation {name}: image {image.shape} {image.dtype}; return it as it came, {shape} uint8")
    if points.shape != joints or not np.isfinite(points[points[:, 2] != 0]).all():
        raise ValueError(f"augmentation {name}: keypoints {points.shape}; return {joints}, finite where labelled")
    points = points.astype(keypoints.dtype)
    return image, _mark_outside(points, shape[:2]) if recipe.outside_counts else points
