"""Clothes, skin and hair of the rendered people: what colour a point of the body has, and hair and skirt meshes.

Garments are thresholds on smooth coordinates of the body (how far along the arm or leg, how high on the trunk), so
that their edges are sharp at any resolution. Colours are BGR floats in 0..255; lengths are metres on the template.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np

from gccpm_lib.rendering.bodies import Body, load_template
from gccpm_lib.rendering.outfits import Fabric, Outfit

# Columns of the body coordinates; t runs 0 shoulder or hip, 1 elbow or knee, 2 wrist or ankle, 3 fingers or toes.
ARM, LEG, HEAD, ARM_T, LEG_T, X, Y, Z, ACROSS = range(9)
COLUMN_BONES = {
    ARM: ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"),
    LEG: ("upperleg", "lowerleg", "foot", "toe"),
    HEAD: ("neck02", "neck03", "head", "eye"),
}


@lru_cache(maxsize=1)
def body_coordinates() -> np.ndarray:
    """(V, 9) float32 coordinates of the template's vertices, in the columns ARM .. ACROSS."""
    template = load_template()
    labels, rest = template.model.bone_labels, template.rest
    out = np.zeros((len(rest), 9), np.float32)
    for column, names in COLUMN_BONES.items():
        bones = [i for i, label in enumerate(labels) if label.startswith(names)]
        out[:, column] = template.skin_weights[:, bones].sum(axis=1)
    out[:, [X, Y, Z]] = rest
    for column, kind, end in ((ARM_T, "arm", "finger3-1"), (LEG_T, "leg", "toe3-1")):
        for side, here in (("R", rest[:, 0] <= 0), ("L", rest[:, 0] > 0)):
            limb = template.limbs[f"{side.lower()}_{kind}"]
            tip = template.bone_poses[template.bone(f"{end}.{side}"), :3, 3]
            out[here, column] = _along(rest[here], np.vstack([limb.joints, tip]))
            if kind == "arm":
                out[here, ACROSS] = (rest[here] - limb.joints[1]) @ limb.hinge
    out[:, ACROSS] = np.where(out[:, ARM] > 0.5, out[:, ACROSS], rest[:, 0])
    return out


def _along(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(N,) position of each point along a chain of joints: i + the part of the i-th stretch that is nearest."""
    best, nearest = np.zeros(len(points)), np.full(len(points), np.inf)
    for i, (a, b) in enumerate(pairwise(joints)):
        part = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distance = np.linalg.norm(points - a - part[:, None] * (b - a), axis=1)
        closer = distance < nearest
        best[closer], nearest[closer] = i + part[closer], distance[closer]
    return best


def fabric_colour(fabric: Fabric, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """(N, 3) colour of the cloth at N texture coordinates (metres)."""
    a, b = across / fabric.period, along / fabric.period
    wave_a, wave_b = (a % 1) < 0.5, (b % 1) < 0.5
    noise = _lookup(fabric.tile, across * 160, along * 160)
    second = {
        "plain": np.zeros(len(a)),
        "hoops": wave_b.astype(float),
        "stripes": ((a * 1.7) % 1 < 0.35).astype(float),
        "checks": 0.5 * wave_a + 0.5 * wave_b,
        "print": (_lookup(fabric.tile, across / fabric.period * 30, along / fabric.period * 30) > 0.7).astype(float),
        "blocks": (np.abs(along - 0.28) < 0.08).astype(float),
        "mottled": np.clip(0.5 + 0.3 * _lookup(fabric.tile, across * 500, along * 500), 0, 1),
    }[fabric.pattern]
    colour = fabric.colour + second[:, None] * (fabric.second - fabric.colour)
    return colour * (1 + 0.07 * noise[:, None])


def _lookup(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return tile[v.astype(int) % tile.shape[0], u.astype(int) % tile.shape[1]]


def body_colour(outfit: Outfit, at: np.ndarray) -> np.ndarray:
    """(N, 9) body coordinates -> (N, 3) colour of skin, hair or cloth there."""
    arm, leg, head = at[:, ARM] > 0.5, at[:, LEG] > 0.5, at[:, HEAD] > 0.6
    colour = np.repeat(outfit.skin[None], len(at), axis=0)
    trousers = np.where(leg, at[:, LEG_T] < outfit.leg, at[:, Z] < outfit.waist) & ~arm & ~head
    _dress(colour, trousers, outfit.trousers, at)
    if outfit.socks is not None:
        colour[leg & (at[:, LEG_T] > min(1.75, outfit.shoe_top)) & ~trousers] = outfit.socks
    _dress_trunk(colour, outfit, at, arm, head)
    if outfit.skirt is not None:  # where legs reach through the skirt they must not show
        _dress(
            colour,
            ~arm & (at[:, Z] < outfit.waist) & (~leg | (at[:, LEG_T] < outfit.skirt_length * 0.97)),
            outfit.skirt,
            at,
        )
    colour[leg & (at[:, LEG_T] > outfit.shoe_top)] = outfit.shoe
    sole = leg & (at[:, Z] < load_template().rest[:, 2].min() + 0.022)
    colour[sole] = colour[sole] * 0.5
    _paint_head(colour, outfit, at, head)
    return colour


def _dress(colour: np.ndarray, where: np.ndarray, fabric: Fabric, at: np.ndarray) -> None:
    along = np.where(at[where, ARM] > 0.5, 0.3 - 0.28 * at[where, ARM_T], at[where, Z])
    colour[where] = fabric_colour(fabric, at[where, ACROSS] + 1, along + 1)


def _dress_trunk(colour: np.ndarray, outfit: Outfit, at: np.ndarray, arm: np.ndarray, head: np.ndarray) -> None:
    x, y, z = at[:, X], at[:, Y], at[:, Z]
    scoop = np.where(y < 0, np.clip(1 - (x / 0.1) ** 2, 0, 1), 0.2) * max(outfit.neckline, 0)
    trunk = ~arm & ~head & (z > outfit.hem) & (z < 0.525 - min(outfit.neckline, 0) - scoop)
    if outfit.sleeve < 0:
        trunk &= np.abs(x) < 0.135
    shirt = trunk | (arm & (at[:, ARM_T] < outfit.sleeve))
    _dress(colour, shirt, outfit.shirt, at)
    front = trunk & (y < -0.02)
    if outfit.inner is not None:
        _dress(colour, front & (np.abs(x) < outfit.opening + 0.12 * np.clip(z - 0.3, 0, 1)), outfit.inner, at)
    elif outfit.opening > 0.045:  # a row of buttons or a zip
        colour[front & (np.abs(x) < 0.006)] *= 0.6
    if outfit.tie is not None:
        colour[front & (np.abs(x) < 0.02 + 0.02 * (0.4 - z)) & (z > 0.12)] = outfit.tie
    belt = ~arm & (np.abs(z - outfit.waist) < 0.014) & (outfit.hem > outfit.waist - 0.02)
    colour[belt] = 0.4 * outfit.shoe


def hair_mask(at: np.ndarray, style: str) -> np.ndarray:
    """(N,) signed height (metres) above the hair line: positive on the scalp, negative on face, ears and neck."""
    line = np.interp(
        at[:, Y], [-0.15, -0.11, -0.07, -0.04, -0.02, 0.01, 0.11], [0.745, 0.72, 0.695, 0.64, 0.615, 0.575, 0.545]
    )
    ear = (np.abs(at[:, X]) > 0.074) & (np.abs(at[:, Y] + 0.013) < 0.035) & (at[:, Z] < 0.64)
    above = at[:, Z] - line
    if style == "balding":
        above = np.minimum(above, 0.7 - at[:, Z])
    if style == "none":
        above = np.full(len(at), -1.0)
    return np.where(ear | (at[:, HEAD] < 0.5), -1.0, above)


def _paint_head(colour: np.ndarray, outfit: Outfit, at: np.ndarray, head: np.ndarray) -> None:
    x, y, z = np.abs(at[:, X]), at[:, Y], at[:, Z]
    face = head & (y < -0.058)
    if outfit.beard:
        jaw = head & (y < -0.033) & (z < 0.584) & (z > 0.522) & ~((x < 0.022) & (np.abs(z - 0.578) < 0.006))
        colour[jaw] += (outfit.hair - colour[jaw]) * outfit.beard * 0.85
    colour[face & ((x / 0.025) ** 2 + ((z - 0.578) / 0.009) ** 2 < 1)] *= np.array([0.72, 0.66, 0.86])
    colour[face & (np.abs(x - 0.012) < 0.006) & (np.abs(z - 0.6) < 0.005)] *= 0.6  # nostrils
    socket = face & (((x - 0.031) / 0.024) ** 2 + ((z - 0.648) / 0.015) ** 2 < 1)
    colour[socket] *= 0.78
    eye = face & (((x - 0.031) / 0.016) ** 2 + ((z - 0.648) / 0.008) ** 2 < 1)
    colour[eye] = np.where((np.abs(x[eye] - 0.031) < 0.008)[:, None], (30, 30, 34), (215, 222, 226))
    brow = face & (x > 0.012) & (x < 0.055) & (np.abs(z - 0.669 + 0.15 * np.abs(x - 0.035)) < 0.005)
    colour[brow] = outfit.brow
    above = hair_mask(at, outfit.hair_style)
    streaks = 1 + 0.12 * np.sin(at[:, X] * 260 + 3 * np.sin(at[:, Z] * 40))
    scalp = above > 0
    colour[scalp] = (outfit.hair * streaks[:, None])[scalp]
    if outfit.hair_style == "cap":
        cap = head & (z > 0.697 + 0.12 * (y + 0.02)) | (head & (y < -0.09) & (z > 0.687) & (z < 0.702))
        colour[cap] = outfit.shoe * 0.5 + outfit.shirt.second * 0.5


def stand_off(outfit: Outfit) -> np.ndarray:
    """(V,) metres that clothes and hair stand off the skin, along the vertex normals."""
    at = body_coordinates()
    arm, leg, head = at[:, ARM], at[:, LEG], at[:, HEAD]
    sleeve = np.clip((outfit.sleeve - at[:, ARM_T]) * 6 + 1, 0, 1) * (0.6 + 0.4 * np.clip(at[:, ARM_T], 0, 1)) * arm
    trunk = (1 - arm) * (1 - leg) * (1 - head) * np.clip((0.5 - at[:, Z]) * 15, 0, 1)
    legs = np.clip((outfit.leg - at[:, LEG_T]) * 6 + 1, 0, 1) * (0.5 + 0.5 * np.clip(at[:, LEG_T], 0, 2)) * leg
    thick = {"none": 0.0, "balding": 0.005, "short": 0.012, "thick": 0.04, "cap": 0.012}.get(outfit.hair_style, 0.016)
    hair = thick * np.clip(hair_mask(at, outfit.hair_style) * 25, 0, 1)
    shoes = 0.006 * (at[:, LEG_T] > outfit.shoe_top) * leg
    return outfit.looseness * (sleeve * 0.8 + trunk + legs * 0.8) + hair + shoes


def grid_faces(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """(F, 3) both sides of the triangles of a rows x columns grid of vertices; closed joins last and first column."""
    r, c = np.mgrid[0 : rows - 1, 0 : columns - (0 if closed else 1)]
    a, b = (r * columns + c).ravel(), (r * columns + (c + 1) % columns).ravel()
    faces = np.concatenate([np.stack([a, b, a + columns], 1), np.stack([b, b + columns, a + columns], 1)])
    return np.concatenate([faces, faces[:, ::-1]])


def hair_mesh(outfit: Outfit, body: Body) -> tuple[np.ndarray, np.ndarray] | None:
    """World vertices (N, 3) and faces (F, 3) of hair that hangs, or None."""
    if outfit.hair_style in ("long", "bob"):
        points, rows, columns, closed = *_curtain(0.37 if outfit.hair_style == "long" else 0.5), False
    elif outfit.hair_style in ("ponytail", "bun"):
        points, rows, columns, closed = *_tail(outfit.hair_style), True
    else:
        return None
    template = load_template()
    head = np.clip((points[:, 2] - 0.42) / 0.14, 0, 1)[:, None]
    moved = [points @ body.bones[i][:, :3].T + body.bones[i][:, 3] for i in map(template.bone, ("head", "spine01"))]
    return head * moved[0] + (1 - head) * moved[1], grid_faces(rows, columns, closed)


def _curtain(end: float) -> tuple[np.ndarray, int, int]:
    heights = np.concatenate([[0.774, 0.769, 0.752, 0.725], np.linspace(0.69, end, 9)])[:, None]
    widths = np.interp(heights, [end, 0.69, 0.725, 0.752, 0.769, 0.774], [1.12, 1.06, 0.96, 0.78, 0.45, 0.02])
    spread = np.interp(heights, [0.35, 0.55, 0.69, 0.75], [80, 108, 118, 120])
    angles = np.radians(np.linspace(-1, 1, 21)[None] * spread)
    back = np.interp(heights, [0.37, 0.45, 0.55], [0.045, 0.03, 0.0])
    x, y = 0.09 * widths * np.sin(angles), -0.022 + back + 0.112 * widths * np.cos(angles)
    return np.stack([x, y, np.broadcast_to(heights, x.shape)], axis=2).reshape(-1, 3), 13, 21


def _tail(style: str) -> tuple[np.ndarray, int, int]:
    t, angles = np.linspace(0, 1, 9)[:, None], np.linspace(0, 2 * np.pi, 11)[None, :-1]
    if style == "bun":
        radius = 0.045 * np.sin(np.pi * t) + 0.001
        parts = radius * np.cos(angles), 0.08 + 0.07 * t, 0.72 + 0.02 * t + radius * np.sin(angles)
    else:
        radius = 0.012 + 0.028 * np.sin(np.pi * t)
        parts = radius * np.cos(angles), 0.07 + 0.07 * np.sin(0.7 * np.pi * t) + radius * np.sin(angles), 0.69 - 0.3 * t
    return np.stack(np.broadcast_arrays(*parts), axis=2).reshape(-1, 3), 9, 10


def skirt_hangs(body: Body) -> bool:
    """Whether a skirt mesh would look right: the thighs side by side, and not drawn up to the chest."""
    r_knee, r_hip, l_hip, l_knee, pelvis, thorax = body.lip[[1, 2, 3, 4, 6, 7]]
    right, left, up = (v / np.linalg.norm(v) for v in (r_knee - r_hip, l_knee - l_hip, thorax - pelvis))
    return bool(right @ left > 0.6 and max(right @ up, left @ up) < 0.3)


def skirt_mesh(outfit: Outfit, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """World vertices (N, 3) and faces (F, 3) of a skirt from the waist around both legs."""
    r_ankle, r_knee, r_hip, l_hip, l_knee, l_ankle, pelvis, thorax = body.lip[:8]
    t = np.linspace(-0.2, outfit.skirt_length, 12)
    chain = [-0.2, 0, 1, 2]
    up = (thorax - pelvis) * 0.22
    right = np.stack([np.interp(t, chain, c) for c in np.stack([r_hip + up, r_hip, r_knee, r_ankle], 1)], 1)
    left = np.stack([np.interp(t, chain, c) for c in np.stack([l_hip + up, l_hip, l_knee, l_ankle], 1)], 1)
    down = np.gradient((right + left) / 2, axis=0)
    side = left - right
    width = np.linalg.norm(side, axis=1, keepdims=True)
    front = np.cross(down, side)
    front /= np.linalg.norm(front, axis=1, keepdims=True) + 1e-9
    girth = np.interp(t, [-0.2, 0, 2], [0.05, 0.085, 0.13])[:, None]
    angles = np.linspace(0, 2 * np.pi, 25)[None, :-1, None]
    half = side / 2 * (1 + 2 * girth / np.maximum(width, 0.1))
    ring = half[:, None] * np.cos(angles) + (front * (girth + 0.055))[:, None] * np.sin(angles)
    return (((right + left) / 2)[:, None] + ring).reshape(-1, 3), grid_faces(12, 24, closed=True)
