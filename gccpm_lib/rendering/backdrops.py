"""What is behind and before the rendered people: rooms, streets, gardens, soft shapes, the camera's flaws.

Pictures are (H, W, 3) float32 BGR in 0..255. World axes as in bodies.py, camera as in scenes.py.
"""

from dataclasses import replace

import cv2
import numpy as np

from gccpm_lib.rendering.outfits import NEUTRALS, draw_colour
from gccpm_lib.rendering.poses import rotation
from gccpm_lib.rendering.scenes import Camera, Layer, Light

WALL_SHAPE = (160, 320)  # pixels of the picture that is hung up as the far wall
FLOOR_SIZE = 192


def draw_backdrop(rng: np.random.Generator, camera: Camera, shape: tuple[int, int]) -> np.ndarray:
    """A picture (height, width, 3) of a floor that meets a far wall, skyline or nothing, where the camera sees them."""
    kind = str(rng.choice(["room", "street", "garden", "soft"], p=[0.42, 0.22, 0.24, 0.12]))
    if kind == "soft":
        blobs = _noise(rng, (7, 7), 1) * 30 + _noise(rng, (7, 7), 3) * 10 + draw_colour(rng).astype(np.float32)
        return cv2.resize(blobs, shape[::-1], interpolation=cv2.INTER_CUBIC)
    distance = rng.uniform(0.9, 4.5) if kind == "room" else rng.uniform(7, 25)
    metres = rng.uniform(2.6, 4.0) if kind == "room" else distance * rng.uniform(0.7, 1.1)
    half = (shape[0] // 2 + 1, shape[1] // 2 + 1)  # half resolution: nothing behind people needs to be sharp
    near = replace(camera, focal=camera.focal / 2, centre=(camera.centre[0] / 2, camera.centre[1] / 2))
    rays = near.rays(*half)
    to_wall = (distance - camera.position[1]) / np.maximum(rays[..., 1], 1e-3)
    to_floor = camera.position[2] / np.maximum(-rays[..., 2], 1e-4)
    on_floor = to_floor < to_wall
    where = camera.position + rays * np.minimum(to_floor, to_wall)[..., None]
    wall = {"room": _room_wall, "street": _street, "garden": _garden}[kind](rng)
    scale = WALL_SHAPE[0] / metres
    picture = _sample(wall, where[..., 0] * scale + rng.uniform(0, 320), (metres - where[..., 2]) * scale)
    turned = where @ rotation("z", rng.uniform(-45, 45)) * rng.uniform(40, 90) + rng.uniform(0, FLOOR_SIZE)
    floor = _sample(_floor(rng, kind), turned[..., 0], turned[..., 1])
    fade = np.clip(to_floor / 25, 0, 1)[..., None]
    floor = floor * (1 - fade) + floor.mean(axis=(0, 1)) * fade
    picture = np.where(on_floor[..., None], floor, picture)
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.3, 1.8))
    return cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _sample(canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look up a canvas at pixel positions, mirrored beyond its sides, its last row below and first row above."""
    height, width = canvas.shape[:2]
    x = np.abs((x % (2 * width)) - width)
    if height == width:  # floors repeat both ways
        y = np.abs((y % (2 * height)) - height)
    return cv2.remap(canvas, x.astype(np.float32), np.clip(y, 0, height - 1).astype(np.float32), cv2.INTER_LINEAR)


def _noise(rng: np.random.Generator, cells: tuple[int, int], channels: int) -> np.ndarray:
    return rng.normal(size=(*cells, channels)).astype(np.float32)


def _grain(rng: np.random.Generator, shape: tuple[int, int], scales: tuple[int, ...]) -> np.ndarray:
    """(H, W, 1) sum of smooth grey noises, each of so many cells across, standard deviation about 1."""
    total = np.zeros(shape, np.float32)
    for cells in scales:
        grid = _noise(rng, (max(2, cells * shape[0] // shape[1]), cells), 1)[..., 0]
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return total[..., None] / np.sqrt(len(scales))


def _floor(rng: np.random.Generator, kind: str) -> np.ndarray:
    if kind == "garden" and rng.random() < 0.75:
        colour = np.array([rng.uniform(30, 70), rng.uniform(90, 150), rng.uniform(60, 120)])
        return (colour * (1 + 0.16 * _grain(rng, (FLOOR_SIZE, FLOOR_SIZE), (10, 40, 96)))).astype(np.float32)
    canvas = np.tile(NEUTRALS[rng.integers(len(NEUTRALS))] * 0.7 + 50, (FLOOR_SIZE, FLOOR_SIZE, 1)).astype(np.float32)
    canvas *= 1 + rng.uniform(0.02, 0.1) * _grain(rng, (FLOOR_SIZE, FLOOR_SIZE), (6, 24, 96))
    step = int(rng.integers(8, 48))
    if rng.random() < 0.35:  # tiles
        canvas[::step] *= 0.75
        canvas[:, ::step] *= 0.75
    elif rng.random() < 0.5:  # planks
        for start in range(0, FLOOR_SIZE, step):
            canvas[:, start : start + step] *= rng.uniform(0.85, 1.1)
            canvas[:, start] *= 0.7
    return canvas


def _room_wall(rng: np.random.Generator) -> np.ndarray:
    colour = np.clip(NEUTRALS[rng.integers(len(NEUTRALS))] * 0.35 + 130 + rng.normal(0, 22, 3), 20, 250)
    if rng.random() < 0.3:
        colour = draw_colour(rng) * 0.7 + 50
    wall = np.tile(colour, (*WALL_SHAPE, 1)).astype(np.float32)
    wall *= 1 + 0.04 * _grain(rng, WALL_SHAPE, (4, 12))
    if rng.random() < 0.3:
        _paper(rng, wall)
    for _ in range(rng.integers(2, 8)):
        _hang(rng, wall)
    if rng.random() < 0.6:
        wall[-7:] = draw_colour(rng)
    return wall


def _paper(rng: np.random.Generator, wall: np.ndarray) -> None:
    """Stripes or bricks."""
    step = int(rng.integers(5, 18))
    if rng.random() < 0.5:
        for start in range(0, WALL_SHAPE[1], 2 * step):
            wall[:, start : start + step] *= 0.88
        return
    for row, top in enumerate(range(0, WALL_SHAPE[0], step)):
        wall[top] *= 0.8
        wall[top : top + step, (row % 2) * step :: 2 * step] *= 0.8


def _hang(rng: np.random.Generator, wall: np.ndarray) -> None:
    """A window, a picture, a door, a shelf or furniture at a random place."""
    height, width = WALL_SHAPE
    kind = rng.choice(["window", "picture", "door", "shelf", "furniture", "lamp"])
    x, w = int(rng.integers(0, width - 20)), int(rng.integers(14, 70))
    spans = {"window": (20, 90), "picture": (35, 80), "door": (50, 160), "shelf": (10, 160), "furniture": (100, 160)}
    if kind == "lamp":
        from_lamp = np.mgrid[:height, :width] - np.array([rng.integers(20, 80), x])[:, None, None]
        glow = np.exp(-(from_lamp**2).sum(axis=0) / 300)
        wall += (glow[..., None] * np.array([90, 120, 140])).astype(np.float32)
        return
    top, bottom = spans[kind]
    top += int(rng.integers(-8, 30)) * (kind != "window")
    colour = np.array([250, 245, 235]) if kind == "window" else draw_colour(rng)
    wall[top:bottom, x : x + w] = draw_colour(rng) * 0.5 + 90
    inside = wall[top + 2 : bottom - 2, x + 2 : x + w - 2]
    inside[:] = colour
    if kind in ("picture", "window"):
        shape = inside.shape[:2]
        if min(shape) > 2:
            inside += cv2.resize(_noise(rng, (4, 4), 3) * (38 if kind == "picture" else 12), shape[::-1])
        wall[top:bottom, x + w // 2 : x + w // 2 + 2] *= 0.8
    elif kind == "shelf":
        for row in range(top, bottom - 6, 16):
            for column in range(x + 2, min(x + w - 3, width - 4), 4):
                wall[row + int(rng.integers(1, 6)) : row + 14, column : column + 3] = draw_colour(rng)


def _sky(rng: np.random.Generator) -> np.ndarray:
    top = np.array([rng.uniform(180, 250), rng.uniform(150, 210), rng.uniform(100, 190)])
    low = top * 0.4 + np.array([240, 235, 230]) * 0.6
    t = np.linspace(0, 1, WALL_SHAPE[0])[:, None, None]
    sky = np.broadcast_to(top * (1 - t) + low * t, (*WALL_SHAPE, 3)) * rng.uniform(0.75, 1.05)
    return (sky * (1 + 0.05 * _grain(rng, WALL_SHAPE, (5, 11)))).astype(np.float32)


def _street(rng: np.random.Generator) -> np.ndarray:
    canvas, x = _sky(rng), 0
    while x < WALL_SHAPE[1]:
        w, top = int(rng.integers(28, 90)), int(rng.integers(-60, 110))
        top = max(top, 0)
        canvas[top:, x : x + w] = NEUTRALS[rng.integers(len(NEUTRALS))] * 0.6 + rng.uniform(20, 90)
        step, pane = int(rng.integers(9, 18)), draw_colour(rng) * 0.5 + rng.uniform(0, 90)
        for row in range(top + 4, WALL_SHAPE[0] - 22, step):
            for column in range(x + 3, x + w - 5, step):
                canvas[row : row + step // 2, column : column + step // 2] = pane * rng.uniform(0.7, 1.2)
        x += w
    for _ in range(rng.integers(0, 5)):  # parked cars, doors, signs
        x, w, h = rng.integers(0, 300), rng.integers(12, 60), rng.integers(10, 34)
        canvas[WALL_SHAPE[0] - h :, x : x + w] = draw_colour(rng)
    return canvas * (1 + 0.05 * _grain(rng, WALL_SHAPE, (60, 150)))


def _garden(rng: np.random.Generator) -> np.ndarray:
    canvas = _sky(rng)
    leaves = np.array([rng.uniform(20, 60), rng.uniform(60, 120), rng.uniform(40, 100)])
    ragged = _grain(rng, WALL_SHAPE, (8, 20, 50))[..., 0] * rng.uniform(8, 40)
    line = rng.uniform(20, 150)
    grove = (np.mgrid[: WALL_SHAPE[0], : WALL_SHAPE[1]][0] + ragged) > line
    texture = leaves * (1 + 0.33 * _grain(rng, WALL_SHAPE, (12, 40, 110)))
    canvas[grove] = texture[grove]
    for _ in range(rng.integers(0, 6)):
        x, w = int(rng.integers(0, WALL_SHAPE[1])), int(rng.integers(2, 9))
        canvas[int(rng.integers(0, 100)) :, x : x + w] = np.array([40, 55, 70]) * rng.uniform(0.5, 1.4)
    return canvas


def cast_shadow(picture: np.ndarray, vertices: np.ndarray, camera: Camera, light: Light) -> np.ndarray:
    """The picture with the shadow of world vertices (N, 3) on the ground; soft, the softer the farther."""
    slope = light.direction[:2] / max(light.direction[2], 0.35)
    ground = vertices[::4].copy()
    ground[:, :2] -= ground[:, 2:] * slope
    contact = vertices[vertices[:, 2] < 0.1] * [1, 1, 0]
    ground[:, 2] = 0
    for points, strength, sigma in ((ground, 0.35, 3.0), (contact, 0.45, 3.5)):
        mask = np.zeros(picture.shape[:2], np.float32)
        pixel = np.rint(camera.project(points)).astype(int)
        pixel = pixel[(pixel >= 0).all(axis=1) & (pixel < mask.shape[::-1]).all(axis=1)]
        mask[pixel[:, 1], pixel[:, 0]] = 1
        mask = cv2.GaussianBlur(cv2.dilate(mask, np.ones((5, 5))), (0, 0), sigma)
        picture = picture * (1 - strength * np.clip(mask, 0, 1))[..., None]
    return picture


def draw_foreground(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A plant, a soft-edged shape or a bar before everything: colour (H, W, 3) and opacity (H, W) in 0..1."""
    height, width = shape
    alpha = np.zeros(shape, np.float32)
    kind = rng.choice(["plant", "shape", "bar", "corner"])
    size = max(height, width)
    if kind == "plant":
        root = np.array([rng.uniform(0, width), height * rng.uniform(0.8, 1.15)])
        for _ in range(rng.integers(8, 30)):
            angle, length = rng.normal(-np.pi / 2, 0.6), size * rng.uniform(0.08, 0.45)
            centre = root + length * np.array([np.cos(angle), np.sin(angle)])
            axes = (int(size * rng.uniform(0.03, 0.09)) + 1, int(size * rng.uniform(0.008, 0.025)) + 1)
            middle = tuple(np.rint(centre).astype(int).tolist())
            cv2.ellipse(alpha, middle, axes, float(np.degrees(angle)), 0, 360, 1.0, -1)
        colour = np.array([rng.uniform(20, 70), rng.uniform(70, 140), rng.uniform(30, 110)])
    elif kind == "shape":
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0.35, 1) * height))
        axes = (int(size * rng.uniform(0.05, 0.16)) + 1, int(size * rng.uniform(0.05, 0.2)) + 1)
        cv2.ellipse(alpha, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        colour = draw_colour(rng)
    elif kind == "bar":
        a, b = (rng.uniform(-0.1, 1.1, 2) * [width, height] for _ in range(2))
        ends = [tuple(np.rint(p).astype(int).tolist()) for p in (a, b)]
        cv2.line(alpha, *ends, 1.0, max(2, int(size * rng.uniform(0.01, 0.05))), cv2.LINE_AA)
        colour = draw_colour(rng)
    else:
        side = rng.choice([0, width])
        points = np.array([[side, height], [abs(side - width * rng.uniform(0.15, 0.6)), height],
                           [side, height * rng.uniform(0.45, 0.85)]])  # fmt: skip
        cv2.fillConvexPoly(alpha, np.rint(points).astype(np.int32), 1.0)
        colour = draw_colour(rng)
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.5, 3))
    return (colour * (1 + 0.12 * _grain(rng, shape, (8, 60)))).astype(np.float32), alpha


def compose(behind: np.ndarray, layer: Layer) -> np.ndarray:
    return np.where(np.isfinite(layer.depth)[..., None], layer.colour, behind).astype(np.float32)


def develop(rng: np.random.Generator, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Supersampled picture -> uint8 picture of size (width, height), as a camera would have it."""
    picture = cv2.resize(np.clip(picture, 0, 255).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.1))
    picture = 255 * np.power(np.clip(picture / 255, 0, 1), rng.uniform(0.65, 1.15))
    picture = (picture - 128) * rng.uniform(0.75, 1.15) + 128 + rng.normal(0, 10)
    picture = picture * (1 + rng.normal(0, 0.05, 3))
    picture = picture + rng.normal(size=picture.shape) * rng.uniform(0.5, 6)
    return np.clip(picture, 0, 255).astype(np.uint8)
