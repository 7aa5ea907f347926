"""Bodies for the rendered people: random shapes of the anny body model, posed, with their LIP and COCO joints.

World axes: x to the left of a person who looks along -y, z up, metres, the ground at z = 0. Angles are in degrees.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from gccpm_lib.extras import extra
from gccpm_lib.rendering.poses import PROTOTYPES, limb_rotation, rotation, spine_rotation

with extra("render"):
    import anny

PELVIS = 6  # in the LIP order
_JOINT_BONES = ("foot", "lowerleg01", "upperleg01", "wrist", "lowerarm01", "upperarm01")
_SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
_NECK = ("neck01", "neck02", "neck03", "head")


def about(direction: np.ndarray, degrees: float) -> np.ndarray:
    """(3, 3) right-handed rotation about a unit vector (Rodrigues)."""
    x, y, z = direction
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _frame(direction: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """(3, 3) columns: unit direction, unit hinge made perpendicular to it, and their cross product."""
    direction = direction / np.linalg.norm(direction)
    hinge = hinge - direction * (hinge @ direction)
    hinge = hinge / np.linalg.norm(hinge)
    return np.stack([direction, hinge, np.cross(direction, hinge)], axis=1)


@dataclass(frozen=True)
class Limb:
    """How one arm or leg rests: its joints (3, 3), and what turns its rest position into hanging straight down."""

    joints: np.ndarray  # shoulder, elbow, wrist or hip, knee, ankle at rest
    neutral: np.ndarray  # (3, 3) rotation from rest to straight down, elbow hinge along -x, knee hinge along x
    hinge: np.ndarray  # (3,) unit axis of positive flexion at rest
    rest_flexion: float


@dataclass(frozen=True, eq=False)
class Template:
    """The body model and what is the same for everybody; V = 13,718 vertices, F triangles, B bones."""

    model: anny.Anny
    faces: np.ndarray  # (F, 3)
    rest: np.ndarray  # (V, 3) the average adult in the model's reference pose
    bone_poses: np.ndarray  # (B, 4, 4) of the same
    skin_weights: np.ndarray  # (V, B)
    regressor: np.ndarray  # (17, V) COCO joints from vertices
    limbs: dict[str, Limb]
    head_top: np.ndarray  # indices of the vertices around the top of the skull

    def bone(self, name: str) -> int:
        return self.model.bone_labels.index(name)


@dataclass(frozen=True, eq=False)
class Body:
    """One posed body on the ground, before it is turned towards a camera."""

    vertices: np.ndarray  # (V, 3)
    lip: np.ndarray  # (16, 3) joints in LIP order
    coco: np.ndarray  # (17, 3) joints in COCO order
    bones: np.ndarray  # (B, 3, 4) what moves the template's bones (and what hangs on them, such as hair) to here
    pose_name: str
    woman: float  # 0 man .. 1 woman
    age: float  # 0.5 teen .. 1 old

    @property
    def seated(self) -> bool:
        return PROTOTYPES[self.pose_name].stance == "seat"


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The body model, loaded once per process (minutes the first time on a machine, then about a second)."""
    model = anny.Anny(skinning_method="lbs").to(dtype=torch.float32)
    with torch.no_grad():
        output = model()
    regressor = anny.KeypointsRegressor.coco(model).regression_weights[:17].numpy()
    rest, bone_poses = output["vertices"][0].double().numpy(), output["bone_poses"][0].double().numpy()
    heads, labels = bone_poses[:, :3, 3], model.bone_labels
    limbs = {}
    for side in "RL":
        for kind, bones in (
            ("arm", ("upperarm01", "lowerarm01", "wrist")),
            ("leg", ("upperleg01", "lowerleg01", "foot")),
        ):
            limbs[f"{side.lower()}_{kind}"] = _rest_limb(kind, heads[[labels.index(f"{b}.{side}") for b in bones]])
    top = np.argsort(-rest[:, 2])[:30]
    weights = model.dense_vertex_bone_weights.numpy()
    return Template(model, model.faces.numpy(), rest, bone_poses, weights, regressor, limbs, top)


def _rest_limb(kind: str, joints: np.ndarray) -> Limb:
    upper, lower = np.diff(joints, axis=0)
    if kind == "arm":
        hinge, down_hinge = np.cross(upper, lower), np.array([-1.0, 0, 0])
    else:
        hinge, down_hinge = np.array([1.0, 0, 0]), np.array([1.0, 0, 0])
    frame = _frame(upper, hinge)
    cosine = upper @ lower / np.linalg.norm(upper) / np.linalg.norm(lower)
    rest_flexion = float(np.degrees(np.arccos(cosine))) if kind == "arm" else 0.0
    return Limb(joints, _frame(np.array([0, 0, -1.0]), down_hinge) @ frame.T, frame[:, 1], rest_flexion)


def bone_rotations(pose: dict[str, float]) -> dict[str, np.ndarray]:
    """(3, 3) rotation of every moved bone relative to its parent, in axes that are aligned with the world at rest."""
    limbs, turns = load_template().limbs, {"root": rotation("y", pose["roll"]) @ rotation("x", pose["pitch"])}
    for name in _SPINE:
        turns[name] = spine_rotation(pose, 1 / len(_SPINE))
    for name in _NECK:
        part = 1 / len(_NECK)
        nod = rotation("x", pose["nod"] * part)
        turns[name] = rotation("z", pose["look"] * part) @ rotation("y", pose["tilt"] * part) @ nod
    for side, label in (("r", "R"), ("l", "L")):
        turns |= {f"{bone}.{label}": turn for bone, turn in _arm_rotations(pose, side, limbs[f"{side}_arm"]).items()}
        turns |= {f"{bone}.{label}": turn for bone, turn in _leg_rotations(pose, side, limbs[f"{side}_leg"]).items()}
    return turns


def _arm_rotations(pose: dict[str, float], side: str, limb: Limb) -> dict[str, np.ndarray]:
    swing = limb_rotation(pose, side, "arm", twist=0.5)
    raised = np.degrees(np.arccos(np.clip(swing[2, 2], -1, 1)))  # of the upper arm above hanging down
    sign = 1 if side == "l" else -1
    clavicle = rotation("y", -sign * np.clip(0.3 * (raised - 40), 0, 35))  # shoulders rise with the arms
    half_twist = rotation("z", sign * 0.5 * pose[f"{side}_arm_twist"])
    return {
        "clavicle": clavicle,
        "upperarm01": clavicle.T @ swing @ limb.neutral,
        "upperarm02": limb.neutral.T @ half_twist @ limb.neutral,
        "lowerarm01": about(limb.hinge, pose[f"{side}_elbow"] - limb.rest_flexion),
    }


def _leg_rotations(pose: dict[str, float], side: str, limb: Limb) -> dict[str, np.ndarray]:
    half_twist = rotation("z", (1 if side == "l" else -1) * 0.5 * pose[f"{side}_leg_twist"])
    return {
        "upperleg01": limb_rotation(pose, side, "leg", twist=0.5) @ limb.neutral,
        "upperleg02": limb.neutral.T @ half_twist @ limb.neutral,
        "lowerleg01": about(limb.hinge, pose[f"{side}_knee"]),
        "foot": rotation("x", pose[f"{side}_foot"]),
    }


def draw_shape(rng: np.random.Generator) -> dict[str, float]:
    """Random phenotypes in the model's 0..1 units: teens to old people, thin to heavy, short to tall."""
    return {
        "gender": float(np.clip(rng.normal(rng.integers(2), 0.12), 0, 1)),  # 0 man, 1 woman
        "age": float(rng.uniform(0.52, 0.98)),
        "muscle": float(rng.beta(3, 3)),
        "weight": float(rng.beta(2.2, 2.8)),
        "height": float(rng.beta(4, 5)),
        "proportions": float(rng.beta(3, 2)),
    }


def make_bodies(shapes: list[dict[str, float]], poses: list[dict[str, float]], names: list[str]) -> list[Body]:
    """One forward pass for all the bodies; each stands on (or lies on) the ground with its pelvis above the origin."""
    template = load_template()
    model = template.model
    deltas = torch.eye(4).repeat(len(poses), model.bone_count, 1, 1)
    for i, pose in enumerate(poses):
        for bone, turn in bone_rotations(pose).items():
            deltas[i, template.bone(bone), :3, :3] = torch.from_numpy(turn)
    phenotypes = {key: torch.tensor([shape[key] for shape in shapes]) for key in shapes[0]}
    with torch.no_grad():
        output = model(pose_parameters=deltas, phenotype_kwargs=phenotypes)
    vertices, bone_poses = output["vertices"].double().numpy(), output["bone_poses"].double().numpy()
    return [_placed(v, b, shape, name) for v, b, shape, name in zip(vertices, bone_poses, shapes, names, strict=True)]


def _placed(vertices: np.ndarray, bone_poses: np.ndarray, shape: dict[str, float], name: str) -> Body:
    template, standing = load_template(), PROTOTYPES[name].stance == "feet"
    turn = _balance(vertices, bone_poses[:, :3, 3]) if standing else np.eye(3)
    vertices, bone_poses = vertices @ turn.T, bone_poses[:, :3].copy()
    bone_poses = turn @ bone_poses
    lip = lip_joints(vertices, bone_poses[:, :, 3])
    offset = -np.array([*lip[PELVIS, :2], vertices[:, 2].min()])
    transforms = bone_poses @ np.linalg.inv(template.bone_poses)
    transforms[:, :, 3] += offset
    coco = template.regressor @ vertices + offset
    return Body(vertices + offset, lip + offset, coco, transforms, name, shape["gender"], shape["age"])


def _balance(vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that brings the middle of a standing body most of the way above its feet, the lower one first."""
    feet = heads[[load_template().bone("foot.R"), load_template().bone("foot.L")]]
    weight = np.exp(-(feet[:, 2] - feet[:, 2].min()) / 0.08)[:, None]
    lean = vertices.mean(axis=0) - (feet * weight).sum(axis=0) / weight.sum()
    lean = lean / np.linalg.norm(lean)
    axis = np.cross(lean, [0, 0, 1.0])
    sine = np.linalg.norm(axis)
    return about(axis / (sine + 1e-9), 0.85 * float(np.degrees(np.arctan2(sine, lean[2]))))


def lip_joints(vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) and bone heads (B, 3) -> (16, 3) joints in LIP order."""
    bone = load_template().bone
    right, left = ({b: heads[bone(f"{b}.{side}")] for b in _JOINT_BONES} for side in "RL")
    pelvis = (right["upperleg01"] + left["upperleg01"]) / 2
    thorax = (right["upperarm01"] + left["upperarm01"]) / 2
    neck = (heads[bone("neck01")] + heads[bone("neck02")]) / 2
    top = vertices[load_template().head_top].mean(axis=0)
    return np.stack(
        [right["foot"], right["lowerleg01"], right["upperleg01"], left["upperleg01"], left["lowerleg01"], left["foot"],
         pelvis, thorax, neck, top,
         right["wrist"], right["lowerarm01"], right["upperarm01"],
         left["upperarm01"], left["lowerarm01"], left["wrist"]]
    )  # fmt: skip
