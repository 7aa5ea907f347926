"""Drawing the rendered people: camera, z-buffer, light, rooms and landscapes behind, objects in front.

World axes as in bodies.py (z up, metres, the ground at z = 0, the camera looks along +y). Picture axes: x right,
y down, pixel centres at integers. Everything is drawn at SUPERSAMPLING times the final size and then averaged.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from gccpm_lib.rendering import clothes, outfits
from gccpm_lib.rendering.bodies import Body, load_template
from gccpm_lib.rendering.poses import rotation

SUPERSAMPLING = 1.5
SAMPLE_SPACING = 0.8  # pixels between the points that a triangle is drawn with; above 0.87 pixels can fall between
LATTICE_SIZES = np.array([1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 70, 100, 140, 200, 280, 400, 560])
# Metres that the nearest surface may lie before a LIP joint that still counts as visible: about the limb's radius.
LIP_TOLERANCES = np.array([9, 11, 19, 19, 11, 9, 24, 24, 17, 15, 8, 10, 14, 14, 10, 8]) / 100
COCO_TOLERANCES = np.array([4, 5, 5, 6, 6, 14, 14, 10, 10, 8, 8, 19, 19, 11, 11, 9, 9]) / 100


@dataclass(frozen=True, eq=False)
class Mesh:
    """A thing to draw: person is its index among the people, or -1 for an object."""

    vertices: np.ndarray  # (N, 3) world metres
    faces: np.ndarray  # (F, 3) counter-clockwise seen from outside
    person: int
    coordinates: np.ndarray  # (N, k) what colour() is a function of
    outfit: outfits.Outfit | None = None
    fabric: outfits.Fabric | None = None
    normals: np.ndarray | None = None  # (N, 3) unit, world axes; None: every face is flat


@dataclass(frozen=True)
class Camera:
    """Where the camera is and how it looks; focal and centre are in (supersampled) pixels."""

    position: np.ndarray  # (3,)
    axes: np.ndarray  # (3, 3) rows: picture right, picture down, forward
    focal: float
    centre: tuple[float, float]

    def seen(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) -> (N, 3) camera coordinates: right, down, forward in metres."""
        return (points - self.position) @ self.axes.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) -> (N, 2) pixels."""
        return self.pixels(self.seen(points))

    def pixels(self, seen: np.ndarray) -> np.ndarray:
        return seen[:, :2] / np.maximum(seen[:, 2:], 0.05) * self.focal + self.centre

    def rays(self, height: int, width: int) -> np.ndarray:
        """(height, width, 3) world directions through the pixel centres."""
        x, y = np.meshgrid(np.arange(width) - self.centre[0], np.arange(height) - self.centre[1])
        return np.stack([x / self.focal, y / self.focal, np.ones_like(x)], axis=2) @ self.axes


def aimed_camera(target: np.ndarray, distance: float, height: float, roll: float) -> Camera:
    """A camera `distance` metres before target (3,), at `height` metres, rolled by degrees; focal 1, centre 0."""
    position = np.array([target[0], target[1] - distance, height])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.array([1.0, 0, 0])
    down = np.cross(forward, right)
    axes = rotation("z", roll) @ np.stack([right, down, forward])
    return Camera(position, axes, 1.0, (0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Layer:
    """What the z-buffer saw; all (H, W), depth inf and mesh -1 where nothing was drawn."""

    depth: np.ndarray  # metres along the camera's axis
    mesh: np.ndarray
    person: np.ndarray
    colour: np.ndarray  # (H, W, 3)


def _lattice(n: int) -> np.ndarray:
    """(n (n + 1) / 2, 2) weights of the second and third corner, spread evenly over a triangle."""
    i, j = np.mgrid[:n, :n]
    keep = i + j < n
    return ((np.stack([i[keep], j[keep]], axis=1) + 1 / 3) / n).astype(np.float32)


LATTICES = [_lattice(int(n)) for n in LATTICE_SIZES]
LATTICE_STARTS = np.cumsum([0] + [len(lattice) for lattice in LATTICES])
ALL_LATTICES = np.concatenate(LATTICES)


def _faces_in_view(flat: np.ndarray, faces: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the faces that look at the camera and reach into the picture, and their longest edges in pixels."""
    x, y = ([values[faces[:, i]] for i in range(3)] for values in (flat[0], flat[1]))
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    inside = (np.maximum(np.maximum(*x[:2]), x[2]) >= 0) & (np.minimum(np.minimum(*x[:2]), x[2]) < shape[1])
    inside &= (np.maximum(np.maximum(*y[:2]), y[2]) >= 0) & (np.minimum(np.minimum(*y[:2]), y[2]) < shape[0])
    chosen = np.flatnonzero((area < 0) & inside)
    chosen = chosen[(flat[2][faces[chosen]] < 10).all(axis=1)]  # nothing nearer than 10 cm
    edges = [np.hypot(x[i][chosen] - x[i - 1][chosen], y[i][chosen] - y[i - 1][chosen]) for i in range(3)]
    return chosen, np.maximum(np.maximum(*edges[:2]), edges[2])


def _samples(flat: np.ndarray, faces: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points spread over the faces in view, dense enough that every covered pixel has one.

    flat is (3, N) float32: x and y in pixels and 1 / depth, which is linear over a face in the picture as depth is not.
    Returns such points (3, M), the face index (M,) and the index of the point's weights in ALL_LATTICES (M,).
    """
    front, longest = _faces_in_view(flat, faces, shape)
    size = np.minimum(np.searchsorted(LATTICE_SIZES, longest / SAMPLE_SPACING), len(LATTICE_SIZES) - 1)
    points, owners, places = [np.zeros((3, 0), np.float32)], [np.zeros(0, int)], [np.zeros(0, int)]
    for k, lattice in enumerate(LATTICES):
        chosen = front[size == k]
        first, second, third = (flat[:, faces[chosen, i], None] for i in range(3))
        spread = first + (second - first) * lattice[:, 0] + (third - first) * lattice[:, 1]
        points.append(spread.reshape(3, -1))
        owners.append(np.repeat(chosen, len(lattice)))
        places.append(np.tile(np.arange(LATTICE_STARTS[k], LATTICE_STARTS[k + 1]), len(chosen)))
    return np.concatenate(points, axis=1), np.concatenate(owners), np.concatenate(places)


def draw_meshes(meshes: list[Mesh], camera: Camera, shape: tuple[int, int], light: "Light") -> Layer:
    """Z-buffer and shade the meshes into an empty picture of (height, width)."""
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes])
    face_mesh = np.repeat(np.arange(len(meshes)), [len(m.faces) for m in meshes])
    faces = np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=False)])
    seen = camera.seen(np.concatenate([m.vertices for m in meshes]))
    flat = np.stack([*camera.pixels(seen).T, 1 / np.maximum(seen[:, 2], 0.05)]).astype(np.float32)
    points, owners, places = _samples(flat, faces, shape)
    winner, depth = _nearest(points, shape)
    hit = np.flatnonzero(winner >= 0)
    owner, weight = owners[winner[hit]], ALL_LATTICES[places[winner[hit]]]
    mesh, person = np.full(winner.shape, -1), np.full(winner.shape, -1)
    mesh[hit] = face_mesh[owner]
    person[hit] = np.array([m.person for m in meshes])[mesh[hit]]
    colour = np.zeros((len(winner), 3), np.float32)
    for index, here in enumerate(meshes):
        mine = np.flatnonzero(mesh[hit] == index)
        corners = faces[owner[mine]] - starts[index]
        shade = light.shade(_normals(here, corners, weight[mine]))
        colour[hit[mine]] = _albedo(here, _blend(here.coordinates, corners, weight[mine])) * shade
    depth, mesh, person = (a.reshape(shape) for a in (depth, mesh, person))
    return Layer(depth, mesh, person, _darken_creases(colour.reshape(*shape, 3), depth))


def _nearest(points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(H * W,) index of the nearest point in each pixel, -1 for none, and its depth, inf for none."""
    column, row = np.rint(points[0]).astype(np.int64), np.rint(points[1]).astype(np.int64)
    index = np.flatnonzero((column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0]))
    # one integer that sorts by nearness and carries the point's index
    key = (points[2, index] * np.float32(1e8)).astype(np.int64) << 32 | index
    best = np.full(shape[0] * shape[1], -1)
    np.maximum.at(best, row[index] * shape[1] + column[index], key)
    winner = np.where(best >= 0, best & 0xFFFFFFFF, -1)
    depth = np.full(len(best), np.inf)
    depth[best >= 0] = 1 / points[2, winner[best >= 0]]
    return winner, depth


def _blend(values: np.ndarray, corners: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N, k) values inside triangles: corners (N, 3) index values, weight (N, 2) is that of the last two corners."""
    first, second, third = (values[corners[:, i]] for i in range(3))
    return first + (second - first) * weight[:, :1] + (third - first) * weight[:, 1:]


def _normals(mesh: Mesh, corners: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals of surface points, world axes."""
    if mesh.normals is not None:
        normal = _blend(mesh.normals, corners, weight)
    else:
        a, b, c = (mesh.vertices[corners[:, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
    return normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals, averaged over the faces around each vertex by their area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal, flat = np.cross(b - a, c - a), faces.T.ravel()
    smooth = np.stack([np.bincount(flat, np.tile(normal[:, i], 3), len(vertices)) for i in range(3)], axis=1)
    return smooth / (np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12)


def _albedo(mesh: Mesh, at: np.ndarray) -> np.ndarray:
    if mesh.fabric is not None:
        return clothes.fabric_colour(mesh.fabric, at[:, 0] + 5, at[:, 1] + 5)
    return clothes.body_colour(mesh.outfit, at)


def _darken_creases(colour: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Darken what lies behind its surroundings: a cheap stand-in for the light that does not reach into creases."""
    finite = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    drawn = np.isfinite(depth).astype(np.float32)
    around = cv2.blur(finite, (15, 15)) / np.maximum(cv2.blur(drawn, (15, 15)), 1e-3)
    behind = np.clip(finite - around, 0, 0.12) * drawn
    return colour * (1 - 3.0 * behind[..., None])


@dataclass(frozen=True, eq=False)
class Light:
    """One lamp far away, and the light from everywhere."""

    direction: np.ndarray  # (3,) unit, world axes, towards the lamp
    strength: np.ndarray  # (3,) BGR
    ambient: np.ndarray  # (3,) BGR

    def shade(self, normals: np.ndarray) -> np.ndarray:
        """(N, 3) unit normals -> (N, 3) factors on the albedo."""
        lambert = np.clip((normals @ self.direction + 0.2) / 1.2, 0, 1)[:, None]
        return self.ambient * (1 + 0.25 * normals[:, 2:]) + self.strength * lambert


def draw_light(rng: np.random.Generator) -> Light:
    """A random light for one picture: where it comes from, how strong it is, and its colour."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 1.3)
    towards_camera = -abs(np.cos(azimuth)) if rng.random() < 0.7 else np.cos(azimuth)
    direction = np.array([np.sin(azimuth) * np.cos(height), towards_camera * np.cos(height), np.sin(height)])
    tint = 1 + rng.normal(0, 0.05, 3)
    ambient = rng.uniform(0.38, 0.75)
    return Light(direction, (1.12 - ambient) * tint, ambient * (1 + rng.normal(0, 0.04, 3)))


def person_meshes(body: Body, outfit: outfits.Outfit, person: int) -> list[Mesh]:
    """The dressed body, and its hanging hair and its skirt where it has them."""
    template, at = load_template(), clothes.body_coordinates()
    normals = vertex_normals(body.vertices, template.faces)
    vertices = body.vertices + normals * clothes.stand_off(outfit)[:, None]
    meshes = [Mesh(vertices, template.faces, person, at, outfit=outfit, normals=normals)]
    hair = clothes.hair_mesh(outfit, body)
    if hair is not None:
        fabric = outfits.Fabric("stripes", outfit.hair, outfit.hair * 0.88, 0.02, outfit.shirt.tile)
        strands = np.stack([np.arange(len(hair[0])) % 21 * 0.011, np.zeros(len(hair[0]))], axis=1)
        meshes.append(Mesh(*hair, person, strands, fabric=fabric))
    if outfit.skirt is not None and clothes.skirt_hangs(body):
        vertices, faces = clothes.skirt_mesh(outfit, body)
        rows = np.stack([np.arange(len(vertices)) % 24 * 0.03, np.arange(len(vertices)) // 24 * 0.06], axis=1)
        meshes.append(Mesh(vertices, faces, person, rows, fabric=outfit.skirt))
    return meshes


def box_mesh(low: np.ndarray, high: np.ndarray, turn: float, fabric: outfits.Fabric) -> Mesh:
    """An axis-aligned box turned about the vertical through its middle by degrees."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    size, middle = high - low, (high + low) / 2
    points = (corners - 0.5) * size
    vertices = points[quads].reshape(-1, 3)  # own corners for every side, so that the edges stay sharp
    along = [(1, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 1)]
    texture = np.concatenate([points[quad][:, list(pair)] for quad, pair in zip(quads, along, strict=True)])
    faces = np.concatenate([[(4 * i, 4 * i + 1, 4 * i + 2), (4 * i, 4 * i + 2, 4 * i + 3)] for i in range(6)])
    return Mesh(vertices @ rotation("z", turn).T + middle, faces, -1, texture, fabric=fabric)


def seat_meshes(rng: np.random.Generator, body: Body, turn: float) -> list[Mesh]:
    """A box, bench or chair under somebody who sits; body is already turned by `turn` degrees."""
    pelvis, fabric = body.lip[6], outfits.draw_fabric(rng, plain=0.6)
    top = max(pelvis[2] - 0.12, 0.08)
    half, back = rng.uniform(0.2, 0.3), rotation("z", turn) @ np.array([0, 1.0, 0])
    centre = np.array([pelvis[0], pelvis[1], 0]) - back * rng.uniform(0.0, 0.1)
    thin = rng.random() < 0.5
    width = half if rng.random() < 0.7 else rng.uniform(0.5, 1.2)
    low, high = np.array([-width, -half, top - 0.06 if thin else 0.0]), np.array([width, half, top])
    meshes = [box_mesh(centre + low, centre + high, turn, fabric)]
    if thin:
        for x in (-0.9, 0.9):
            for y in (-0.9, 0.9):
                foot = centre + rotation("z", turn) @ np.array([x * width, y * half, 0])
                meshes.append(box_mesh(foot - [0.02, 0.02, 0], foot + [0.02, 0.02, top - 0.06], turn, fabric))
    if rng.random() < 0.5:
        middle = centre + back * (half + 0.03)
        meshes.append(box_mesh(middle + [-width, -0.025, top], middle + [width, 0.025, top + 0.45], turn, fabric))
    return meshes


def object_meshes(rng: np.random.Generator, around: np.ndarray) -> list[Mesh]:
    """Boxes, poles or a table before somebody who stands at around (3,)."""
    x, y = around[0] + rng.normal(0, 0.3), around[1] - rng.uniform(0.5, 1.1)
    fabric, turn = outfits.draw_fabric(rng, plain=0.6), rng.uniform(-40, 40)
    base = np.array([x, y, 0])
    kind = rng.choice(["box", "pole", "table", "rail"])
    if kind == "box":
        half, height = rng.uniform(0.12, 0.4), rng.uniform(0.3, 1.0)
        return [box_mesh(base - [half, half * 0.7, 0], base + [half, half * 0.7, height], turn, fabric)]
    if kind == "pole":
        half = rng.uniform(0.02, 0.07)
        return [box_mesh(base - [half, half, 0], base + [half, half, 3.0], turn, fabric)]
    half, height = rng.uniform(0.35, 0.8), rng.uniform(0.6, 0.95)
    thick = 0.05 if kind == "table" else 0.03
    depth = 0.3 if kind == "table" else 0.02
    top = box_mesh(base + [-half, -depth, height - thick], base + [half, depth, height], turn / 4, fabric)
    legs = [base + rotation("z", turn / 4) @ np.array([s * half * 0.9, 0, 0]) for s in (-1, 1)]
    return [top] + [box_mesh(f - [0.025, 0.025, 0], f + [0.025, 0.025, height - thick], turn, fabric) for f in legs]
