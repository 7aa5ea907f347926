"""One rendered picture: bodies placed and dressed, a camera, what it sees, and the keypoints with their labels.

World axes as in bodies.py, picture axes as in scenes.py.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from gccpm_lib.rendering import backdrops, outfits, poses, scenes
from gccpm_lib.rendering.bodies import PELVIS, Body
from gccpm_lib.skeletons import MISSING, OCCLUDED, VISIBLE

NECK, HEAD_TOP = 8, 9


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn picture, still supersampled; opacity is that of the things in front of everybody."""

    colour: np.ndarray
    layer: scenes.Layer
    opacity: np.ndarray


def draw_turn(rng: np.random.Generator) -> float:
    """Degrees about the vertical, 0 facing the camera: people in photographs mostly do, but all views occur."""
    return rng.normal(0, 40) if rng.random() < 0.65 else rng.uniform(0, 360)


def _place(rng: np.random.Generator, body: Body, turn: float, shift: np.ndarray) -> Body:
    """The body turned about the vertical by degrees and moved; jumping people leave the ground."""
    matrix = poses.rotation("z", turn)
    if poses.PROTOTYPES[body.pose_name].stance == "air":
        shift = shift + [0, 0, rng.uniform(0, 0.35)]
    moved = [points @ matrix.T + shift for points in (body.vertices, body.lip, body.coco)]
    bones = matrix @ body.bones
    bones[:, :, 3] += shift
    return replace(body, vertices=moved[0], lip=moved[1], coco=moved[2], bones=bones)


def _dressed(rng: np.random.Generator, body: Body, person: int, turn: float) -> list[scenes.Mesh]:
    outfit = outfits.draw_outfit(rng, body.woman, body.age)
    return scenes.person_meshes(body, outfit, person) + (scenes.seat_meshes(rng, body, turn) if body.seated else [])


def _draw_camera(rng: np.random.Generator, target: np.ndarray, distance: float) -> scenes.Camera:
    height = rng.choice([rng.normal(1.35, 0.25), rng.uniform(1.9, 3.4), rng.uniform(0.25, 0.9)], p=[0.76, 0.14, 0.1])
    roll = rng.normal(0, 3) if rng.random() < 0.85 else rng.uniform(-28, 28)
    return scenes.aimed_camera(target, distance, max(float(height), 0.2), float(roll))


def _draw(rng: np.random.Generator, meshes: list[scenes.Mesh], camera: scenes.Camera, shape: tuple) -> Picture:
    """The meshes before a backdrop, sometimes with something before them, in a picture of shape (height, width)."""
    light = scenes.draw_light(rng)
    behind = backdrops.draw_backdrop(rng, camera, shape)
    behind = backdrops.cast_shadow(behind, np.concatenate([m.vertices for m in meshes]), camera, light)
    layer = scenes.draw_meshes(meshes, camera, shape, light)
    colour, opacity = backdrops.compose(behind, layer), np.zeros(shape, np.float32)
    if rng.random() < 0.14:
        front, opacity = backdrops.draw_foreground(rng, shape)
        colour = colour + (front - colour) * opacity[..., None]
    return Picture(colour, layer, opacity)


def label_joints(
    picture: Picture, camera: scenes.Camera, joints: np.ndarray, person: int, tolerances: np.ndarray
) -> np.ndarray:
    """World joints (K, 3) -> (K, 3) keypoints: x, y in supersampled pixels, and a label as in skeletons."""
    seen = camera.seen(joints)
    flat = camera.pixels(seen)
    height, width = picture.layer.depth.shape
    labels = np.full(len(joints), MISSING)
    for k, (x, y) in enumerate(np.rint(flat).astype(int)):
        if 0 <= x < width and 0 <= y < height and seen[k, 2] > 0.1:
            here = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
            allowed = np.where(picture.layer.person[here] == person, tolerances[k], 0.02)
            hidden = (picture.layer.depth[here] < seen[k, 2] - allowed) | (picture.opacity[here] > 0.5)
            labels[k] = OCCLUDED if hidden.mean() > 0.5 else VISIBLE
    return np.column_stack([flat, labels])


def draw_person(rng: np.random.Generator, people: list[Body]) -> tuple[np.ndarray, np.ndarray]:
    """A crop of the first of the bodies, the others around: BGR picture (H, W, 3) and LIP keypoints (16, 3)."""
    placed, meshes = [], []
    for i, body in enumerate(people):
        shift = np.zeros(3)
        if i:  # beside or behind, seldom in front
            across = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
            shift = np.array([across, rng.uniform(-0.5, 2.5), 0])
        turn = draw_turn(rng)
        placed.append(_place(rng, body, turn, shift))
        meshes += _dressed(rng, placed[-1], i, turn)
    target = placed[0]
    if rng.random() < 0.24 and poses.PROTOTYPES[target.pose_name].stance != "ground":  # would hide a lying person whole
        meshes += scenes.object_meshes(rng, target.lip[PELVIS])
    middle = (target.vertices.min(axis=0) + target.vertices.max(axis=0)) / 2
    camera, size = _crop(rng, _draw_camera(rng, middle, rng.uniform(2.3, 7)), target)
    shape = tuple(round(side * scenes.SUPERSAMPLING) for side in size[::-1])
    picture = _draw(rng, meshes, camera, shape)
    keypoints = label_joints(picture, camera, target.lip, 0, scenes.LIP_TOLERANCES)
    keypoints[:, :2] = (keypoints[:, :2] + 0.5) / scenes.SUPERSAMPLING - 0.5
    return backdrops.develop(rng, picture.colour, size), _inside(keypoints, size)


def _crop(rng: np.random.Generator, camera: scenes.Camera, target: Body) -> tuple[scenes.Camera, tuple[int, int]]:
    """The camera zoomed to a box around the target, and the final (width, height) in pixels, both even."""
    flat = camera.project(target.vertices)
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = high - low
    low, high = low - size * rng.uniform(0, 0.12, 2), high + size * rng.uniform(0, 0.12, 2)
    low, high = _cut(rng, low, high, camera.project(target.lip[[NECK, HEAD_TOP]]))
    size = high - low
    grow = np.maximum(0.38 * size[::-1] - size, 0) / 2  # no slivers
    low, high = low - grow, high + grow
    scale = rng.uniform(180, 300) / (high - low).max()
    final = tuple(int(2 * max(20, round(side * scale / 2))) for side in high - low)
    focal = scale * scenes.SUPERSAMPLING
    return replace(camera, focal=focal, centre=tuple(-low * focal - 0.5)), final


Corners = tuple[np.ndarray, np.ndarray]  # top left and bottom right of a box, x and y


def _cut(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, head: np.ndarray) -> Corners:
    """Sometimes cut a limb off at a border, seldom the head (2, 2)."""
    size, chance = high - low, rng.random()
    if chance < 0.16:
        high = high - size * [0, rng.uniform(0.12, 0.55)]
    elif chance < 0.23:
        high = high - size * [rng.uniform(0.08, 0.35), 0]
    elif chance < 0.3:
        low = low + size * [rng.uniform(0.08, 0.35), 0]
    elif chance < 0.32:
        low = low + size * [0, rng.uniform(0.05, 0.25)]
    if rng.random() < 0.95:
        room = 0.04 * size.max()
        low, high = np.minimum(low, head.min(axis=0) - room), np.maximum(high, head.max(axis=0) + room)
    return low, high


def draw_group(rng: np.random.Generator, people: list[Body]) -> tuple[np.ndarray, list[dict]]:
    """Bodies side by side and behind one another: BGR picture (H, W, 3) and COCO annotations without ids."""
    across = rng.permutation(len(people)) * rng.uniform(0.55, 1.1) + rng.normal(0, 0.1, len(people))
    placed, meshes = [], []
    for i, body in enumerate(people):
        turn = draw_turn(rng)
        placed.append(_place(rng, body, turn, np.array([across[i], rng.uniform(0, 2.2), 0])))
        meshes += _dressed(rng, placed[-1], i, turn)
    if rng.random() < 0.25:
        meshes += scenes.object_meshes(rng, placed[0].lip[PELVIS])
    everyone = np.concatenate([body.vertices for body in placed])
    camera = _draw_camera(rng, (everyone.min(axis=0) + everyone.max(axis=0)) / 2, rng.uniform(3.5, 7))
    camera, size = _wide_view(rng, camera, everyone)
    shape = tuple(round(side * scenes.SUPERSAMPLING) for side in size[::-1])
    picture = _draw(rng, meshes, camera, shape)
    found = [_annotation(picture, camera, body, i, size) for i, body in enumerate(placed)]
    return backdrops.develop(rng, picture.colour, size), [entry for entry in found if entry]


def _wide_view(
    rng: np.random.Generator, camera: scenes.Camera, points: np.ndarray
) -> tuple[scenes.Camera, tuple[int, int]]:
    """The camera zoomed to the points, sometimes too close, in a picture about 480 x 360 or 360 x 480."""
    flat = camera.project(points)
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = np.array([480, 360]) + 2 * rng.integers(-20, 21, 2)
    size = size if rng.random() < 0.75 else size[::-1]
    scale = (size / (high - low)).min() * rng.uniform(0.6, 1.12)
    focal = scale * scenes.SUPERSAMPLING
    room = size * scenes.SUPERSAMPLING - (high - low) * focal
    centre = room * (0.5 + np.where(room > 0, 0.5, 0.2) * rng.uniform(-1, 1, 2)) - low * focal - 0.5
    return replace(camera, focal=focal, centre=tuple(centre)), (int(size[0]), int(size[1]))


def _annotation(picture: Picture, camera: scenes.Camera, body: Body, person: int, size: tuple[int, int]) -> dict | None:
    """The COCO entry of a person, None for one of whom hardly anything is seen."""
    seen = ((picture.layer.person == person) & (picture.opacity < 0.5)).astype(np.float32)
    mask = cv2.resize(seen, size, interpolation=cv2.INTER_AREA) > 0.5
    if mask.sum() < 200:
        return None
    x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    keypoints = label_joints(picture, camera, body.coco, person, scenes.COCO_TOLERANCES)
    keypoints[:, :2] = (keypoints[:, :2] + 0.5) / scenes.SUPERSAMPLING - 0.5
    keypoints = np.round(_inside(keypoints, size)).astype(int)
    keypoints[keypoints[:, 2] == MISSING] = 0
    return {
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1)],
        "area": int(mask.sum()),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": keypoints.ravel().tolist(),
        "segmentation": [],
    }


def _inside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Keypoints whose rounded position is outside a picture of size (width, height) become missing."""
    rounded = np.round(keypoints[:, :2])
    keypoints[~((rounded >= 0) & (rounded < size)).all(axis=1), 2] = MISSING
    return keypoints
