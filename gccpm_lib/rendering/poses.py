"""Poses for the rendered people: hand-made prototypes, and random poses around them.

A pose is a dict of the joint angles named in ANGLES, in degrees. Axes as in bodies.py: x to the left of the person,
who looks along -y, z up, metres.
"""

from dataclasses import dataclass

import numpy as np

TRUNK_ANGLES = ("pitch", "roll", "bend", "side", "turn", "nod", "tilt", "look")
LIMB_ANGLES = ("arm_flex", "arm_out", "arm_twist", "elbow", "leg_flex", "leg_out", "leg_twist", "knee", "foot")
ANGLES = TRUNK_ANGLES + tuple("r_" + a for a in LIMB_ANGLES) + tuple("l_" + a for a in LIMB_ANGLES)
# pitch and roll turn the whole body (forward, to its left); bend, side and turn are the spine's; nod, tilt and look
# the neck's. Limbs: flex forward, out to the side, twist outward from hanging straight down; elbow and knee flexion;
# foot is the toes down.
LOWEST = (-95, -95, -20, -28, -40, -30, -25, -65) + 2 * (-55, -15, -85, 3, -35, -12, -30, 0, -25)
HIGHEST = (95, 95, 65, 28, 40, 40, 25, 65) + 2 * (178, 165, 85, 145, 125, 60, 45, 140, 45)
NOISE = (4, 3, 7, 6, 9, 9, 6, 20) + 2 * (15, 9, 15, 18, 9, 5, 7, 10, 7)


@dataclass(frozen=True)
class Prototype:
    """One way to hold the body; strength is the range of the factor between standing (0) and the prototype (1)."""

    weight: float
    strength: tuple[float, float]
    trunk: tuple[float, ...]  # in the order of TRUNK_ANGLES
    right: tuple[float, ...]  # in the order of LIMB_ANGLES
    left: tuple[float, ...]
    stance: str = "feet"  # what carries the body: feet, air, seat or ground


_UPRIGHT = (0, 0, 2, 0, 0, 4, 0, 0)
_STAND = (3, 9, 0, 18, 0, 5, 8, 4, 0)
PROTOTYPES = {
    "stand": Prototype(5, (1, 1), _UPRIGHT, _STAND, _STAND),
    "walk": Prototype(5, (0.4, 1.2), (3, 0, 2, 0, 8, 2, 0, -4),
                      (-28, 8, 0, 25, 30, 2, 4, 8, -4), (32, 8, -8, 35, -20, 2, 5, 22, 18)),
    "run": Prototype(3, (0.6, 1.15), (10, 0, 8, 0, 10, -6, 0, -6),
                     (-48, 14, 0, 92, 65, 2, 0, 85, 5), (38, 8, -25, 98, -24, 2, 2, 38, 30), stance="air"),
    "sprint": Prototype(1.5, (0.7, 1.1), (16, 0, 8, 0, -10, -8, 0, 6),
                        (55, 6, -25, 100, -28, 2, 2, 85, 35), (-50, 14, 0, 95, 55, 2, 0, 45, 0), stance="air"),
    "hands on hips": Prototype(2, (0.8, 1.05), (0, 0, 0, 4, 0, 3, 0, 0),
                               (-22, 46, -52, 98, 0, 8, 12, 3, 0), (-22, 46, -52, 98, 5, 9, 12, 10, 0)),
    "arms folded": Prototype(1.5, (0.85, 1.0), (0, 0, 3, 0, 0, 6, 0, 0),
                             (38, 10, -58, 95, 0, 6, 8, 3, 0), (45, 10, -58, 88, 2, 6, 8, 4, 0)),
    "hold": Prototype(2, (0.5, 1.1), (0, 0, 6, 0, 0, 14, 0, 0),
                      (38, 8, -22, 85, 0, 5, 8, 4, 0), (34, 8, -22, 88, 2, 5, 8, 4, 0)),
    "sit": Prototype(4, (0.93, 1.05), (-4, 0, 6, 0, 0, 4, 0, 0),
                     (28, 10, -15, 60, 84, 7, 4, 84, 2),
                     (26, 10, -15, 62, 84, 7, 4, 80, 2), stance="seat"),
    "sit, leg out": Prototype(2, (0.93, 1.03), (-10, 0, 10, 0, 4, 4, 0, 0),
                              (-20, 16, 0, 25, 82, 10, 6, 40, 8),
                              (35, 12, -20, 75, 86, 8, 4, 88, 2), stance="seat"),
    "sit on the ground": Prototype(1.5, (0.95, 1.03), (-14, 0, 24, 0, 0, 4, 0, 0),
                                   (40, 14, -25, 55, 92, 34, 25, 98, 15),
                                   (40, 14, -25, 55, 92, 32, 25, 92, 15), stance="ground"),
    "squat": Prototype(1.5, (0.85, 1.0), (28, 0, 16, 0, 0, -10, 0, 0),
                       (62, 10, -15, 50, 118, 16, 14, 122, -18), (66, 10, -15, 55, 116, 16, 14, 122, -18)),
    "kneel": Prototype(1.2, (0.92, 1.03), (4, 0, 8, 0, 0, 8, 0, 0),
                       (45, 8, -15, 50, 84, 6, 4, 88, 0),
                       (20, 12, -10, 50, -2, 5, 3, 88, 35), stance="ground"),
    "bend": Prototype(2.5, (0.5, 1.05), (42, 0, 42, 0, 0, -8, 0, 0),
                      (72, 8, -8, 18, 46, 4, 6, 12, 0), (76, 8, -8, 22, 40, 4, 6, 10, 0)),
    "reach up": Prototype(2, (0.85, 1.05), (-2, 0, -4, -8, 0, -14, 0, 0),
                          (158, 12, 0, 18, 0, 4, 6, 3, 6), (5, 12, 0, 22, 2, 4, 6, 6, 6)),
    "reach out": Prototype(2, (0.5, 1.1), (6, 0, 10, 0, 12, 4, 0, 0),
                           (82, 6, 0, 18, 8, 4, 6, 10, 0), (25, 14, -10, 40, -8, 4, 6, 8, 8)),
    "cheer": Prototype(1.5, (0.75, 1.05), (-2, 0, -6, 0, 0, -10, 0, 0),
                       (18, 148, 20, 25, 0, 9, 8, 3, 0), (18, 142, 20, 30, 0, 9, 8, 3, 0)),
    "arms wide": Prototype(1.5, (0.5, 1.1), _UPRIGHT, (10, 86, 10, 15, 0, 14, 8, 4, 0), (8, 84, 5, 18, 2, 14, 8, 5, 0)),
    "wave": Prototype(1.5, (0.9, 1.05), _UPRIGHT, (20, 80, 62, 100, 0, 5, 8, 3, 0), _STAND),
    "phone": Prototype(1.5, (0.92, 1.03), (0, 0, 3, 0, 0, 4, -6, 0), (58, 28, -8, 132, 0, 5, 8, 3, 0), _STAND),
    "jump": Prototype(2, (0.5, 1.1), (4, 0, 0, 0, 0, -6, 0, 0),
                      (30, 120, 5, 28, 48, 14, 8, 82, 32), (25, 112, 5, 32, -8, 12, 6, 58, 35), stance="air"),
    "kick": Prototype(1.5, (0.6, 1.05), (-12, 0, 8, 0, 12, 8, 0, 0),
                      (-28, 48, 0, 32, 82, 8, 6, 22, 30), (52, 44, 0, 42, -10, 4, 8, 14, 0)),
    "lunge": Prototype(2, (0.6, 1.05), (8, 0, 2, 0, 0, 0, 0, 0),
                       (-25, 16, 0, 55, 82, 5, 3, 82, 0), (45, 14, -10, 55, -28, 5, 3, 32, -10)),
    "throw": Prototype(2, (0.7, 1.05), (-4, 0, -2, -6, -22, 2, 0, 16),
                       (0, 98, 72, 92, -14, 12, 10, 22, 6), (74, 34, 0, 28, 34, 10, 4, 18, -4)),
    "swing": Prototype(2, (0.7, 1.05), (12, 0, 16, 0, 28, 0, 0, -20),
                       (72, -8, -10, 35, 24, 14, 6, 32, -6), (60, 34, 0, 38, 18, 14, 6, 26, -4)),
    "lie on the back": Prototype(1, (0.97, 1.03), (-87, 0, 2, 0, 0, 4, 0, 0),
                                 (2, 28, 8, 25, 4, 8, 10, 12, 30),
                                 (6, 40, 12, 30, 14, 8, 10, 28, 20), stance="ground"),
    "lie on the front": Prototype(0.7, (0.97, 1.03), (86, 0, -8, 0, 0, -18, 0, 25),
                                  (128, 38, 10, 62, 0, 8, 8, 8, 40),
                                  (135, 34, 10, 58, 4, 10, 8, 20, 40), stance="ground"),
    "lie on the side": Prototype(0.7, (0.97, 1.03), (0, 84, 6, 0, 0, 6, -10, 0),
                                 (42, 6, -10, 48, 48, 4, 0, 62, 15),
                                 (62, 4, -8, 72, 24, 2, 0, 42, 15), stance="ground"),
    "crawl": Prototype(1, (0.9, 1.05), (74, 0, 4, 0, 0, -22, 0, 0),
                       (78, 8, 0, 14, 78, 6, 2, 88, 38),
                       (92, 8, 0, 18, 62, 6, 2, 80, 38), stance="ground"),
}  # fmt: skip
_MIDDLE_SIGNS = np.array([1, -1, 1, -1, -1, 1, -1, -1])  # of the trunk angles in a mirrored pose
# Shoulder and hip of the left side, and lengths of upper and lower arm and leg, of an average body.
_STARTS = {"arm": np.array([0.165, -0.013, 0.427]), "leg": np.array([0.102, 0.004, -0.007])}
_LENGTHS = {"arm": (0.253, 0.227), "leg": (0.391, 0.403)}
# Rough spheres (x, y, z, radius, in the pelvis frame of an average body) that hands should stay out of.
_TRUNK_SPHERES = np.array(
    [
        (0, -0.02, 0.36, 0.13),
        (0, -0.03, 0.22, 0.13),
        (0, -0.02, 0.08, 0.14),
        (0, 0, -0.04, 0.15),
        (0, -0.05, 0.65, 0.11),
    ]
)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) right-handed rotation about the axis 'x', 'y' or 'z'."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix


def draw_pose_name(rng: np.random.Generator) -> str:
    weights = np.array([p.weight for p in PROTOTYPES.values()])
    return str(rng.choice(list(PROTOTYPES), p=weights / weights.sum()))


def draw_pose(rng: np.random.Generator, name: str) -> dict[str, float]:
    """A pose near a prototype: the least self-crossing of a few draws, mirrored half of the time, within the limits."""
    best, least = {}, np.inf
    for _ in range(6):
        pose = _draw_once(rng, name)
        crossing = _crossing(pose)
        if crossing < least:
            best, least = pose, crossing
        if least < 0.02:
            break
    return best


def _draw_once(rng: np.random.Generator, name: str) -> dict[str, float]:
    prototype, stand = PROTOTYPES[name], PROTOTYPES["stand"]
    goal = np.array(prototype.trunk + prototype.right + prototype.left, float)
    base = np.array(stand.trunk + stand.right + stand.left, float)
    angles = base + rng.uniform(*prototype.strength) * (goal - base)
    angles = angles + rng.normal(size=len(ANGLES)) * np.array(NOISE) * rng.uniform(0.4, 1.2)
    angles = np.clip(angles, LOWEST, HIGHEST)
    if rng.random() < 0.5:
        trunk, right, left = np.split(angles, [len(TRUNK_ANGLES), len(TRUNK_ANGLES) + len(LIMB_ANGLES)])
        angles = np.concatenate([trunk * _MIDDLE_SIGNS, left, right])
    return dict(zip(ANGLES, angles.tolist(), strict=True))


def spine_rotation(pose: dict[str, float], part: float = 1.0) -> np.ndarray:
    return rotation("z", pose["turn"] * part) @ rotation("y", pose["side"] * part) @ rotation("x", pose["bend"] * part)


def limb_rotation(pose: dict[str, float], side: str, kind: str, twist: float = 1.0) -> np.ndarray:
    """(3, 3) rotation of an upper arm or thigh from hanging straight down; twist is the part of its twist to keep."""
    sign = 1 if side == "l" else -1
    flex, out, turn = (pose[f"{side}_{kind}_{what}"] for what in ("flex", "out", "twist"))
    return rotation("x", -flex) @ rotation("y", -sign * out) @ rotation("z", sign * turn * twist)


def _limb_points(pose: dict[str, float], limb: str) -> np.ndarray:
    """(5, 3) start, middle joint, middle of the lower part, end, and hand or sole, in the pelvis frame."""
    side, kind = limb.split("_")
    upper, lower = _LENGTHS[kind]
    swing, start = limb_rotation(pose, side, kind), _STARTS[kind] * ([1, 1, 1] if side == "l" else [-1, 1, 1])
    if kind == "arm":
        spine = spine_rotation(pose)
        swing, start = spine @ swing, spine @ (start - [0, 0, 0.1]) + [0, 0, 0.1]
    fold = rotation("x", -pose[f"{side}_elbow"]) if kind == "arm" else rotation("x", pose[f"{side}_knee"])
    joint = start + swing @ [0, 0, -upper]
    direction = swing @ fold @ [0, 0, -1.0]
    return np.stack([start, joint] + [joint + direction * lower * part for part in (0.5, 1.0, 1.45)])


def _crossing(pose: dict[str, float]) -> float:
    """How deep (metres, summed) arms reach into trunk, head, legs and each other, and the legs into each other."""
    limbs = {limb: _limb_points(pose, limb) for limb in ("r_arm", "l_arm", "r_leg", "l_leg")}
    spine = spine_rotation(pose)
    centres = (_TRUNK_SPHERES[:, :3] - [0, 0, 0.1]) @ spine.T + [0, 0, 0.1]
    obstacles = np.concatenate([centres] + [_along(limbs[leg][:4]) for leg in ("r_leg", "l_leg")])
    radii = np.concatenate([_TRUNK_SPHERES[:, 3], np.full(len(obstacles) - len(centres), 0.075)])
    depth = 0.0
    for arm in ("r_arm", "l_arm"):
        gaps = np.linalg.norm(limbs[arm][1:, None] - obstacles[None], axis=2) - radii - 0.035
        depth += -np.minimum(gaps, 0).sum()
    depth += _too_near(_along(limbs["r_arm"][1:]), _along(limbs["l_arm"][1:]), 0.085)
    return depth + 2 * _too_near(_along(limbs["r_leg"][:4])[2:], _along(limbs["l_leg"][:4])[2:], 0.13)


def _along(points: np.ndarray) -> np.ndarray:
    """Points and the middles between them."""
    return np.concatenate([points, (points[1:] + points[:-1]) / 2])


def _too_near(a: np.ndarray, b: np.ndarray, distance: float) -> float:
    return float(np.maximum(distance - np.linalg.norm(a[:, None] - b[None], axis=2), 0).sum())
