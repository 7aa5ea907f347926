"""Skeletons: the joints of a data set, their limbs, flip pairs and OKS sigmas.

A keypoint array is always (K, 3): x (right) and y (down) in pixels with pixel centres at integers, and a label:
0 missing (x and y mean nothing), 1 labelled but occluded, 2 labelled and visible.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MISSING, OCCLUDED, VISIBLE = 0, 1, 2
OUTSIDE = -1  # in augmented crops alone: known to lie beyond what is shown
UNSURE = 0.2  # up to this peak the published COCO rule leaves a joint out of its person's score
SHARED_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # the 12 joints that every data set of bodies has
# OKS constant of a joint COCO does not have: most of its body joints are near it (0.062 to 0.107); it is the shoulder's
DEFAULT_SIGMA = 0.079
_SIDES = {"right": "right", "r": "right", "left": "left", "l": "left"}
_LOWER_BODY = {"hip", "knee", "ankle", "foot", "heel", "toe", "leg", "thigh", "shin"}
# a small letter or digit before a capital one (leftKnee), or a capital before a capitalised word (LShoulder)
_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def split_side(name: str) -> tuple[str, str]:
    """Joint name -> side ('right', 'left' or 'middle': the person's own) and the rest in lower case, joined by "_".

    Words end at whatever is no letter or digit and at camelCase borders; a word left, right, l or r is the side:
    "left_eye", "r_ankle", "wrist-left", "LShoulder", "hand l". Raises ValueError for a name with both sides.
    """
    words = [word for word in re.split(r"[\W_]+", _CAMEL_BORDER.sub("_", name).lower()) if word]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    if len(sides) > 1:
        raise ValueError(f"joint {name!r} says both right and left; keep the one it belongs to")
    return (sides.pop() if sides else "middle"), "_".join(word for word in words if word not in _SIDES)


def same_joints(joints: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists name the same joints in the same order, however they are written: "Left Shoulder", "l_shoulder"."""
    try:
        return [*map(split_side, joints)] == [*map(split_side, others)]
    except ValueError:  # a name with both sides
        return [*joints] == [*others]


@dataclass(frozen=True)
class Skeleton:
    """What is known about the joints of one data set; K = len(joints)."""

    name: str
    joints: tuple[str, ...]  # K names; the sides are marked as `split_side` reads them
    limbs: tuple[tuple[int, int], ...]  # pairs of joint indices to draw, 0-based
    flip_pairs: tuple[tuple[int, int], ...]  # joints that change places in a mirrored picture
    sigmas: tuple[float, ...] = ()  # K OKS constants (COCO keypoint evaluation); empty where the data set has none

    def __post_init__(self):
        K = len(self.joints)
        assert not self.sigmas or len(self.sigmas) == K, f"{self.name}: {len(self.sigmas)} sigmas for {K} joints"
        assert all(0 <= j < K for pair in self.limbs + self.flip_pairs for j in pair), f"{self.name}: joint out of range"

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def flip_order(self) -> np.ndarray:
        """(K,) indices: `mirrored[flip_order]` puts mirrored joints (or maps) back under their own names."""
        order = np.arange(self.num_joints)
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return order

    def side(self, joint: int) -> str:
        """'right', 'left' or 'middle': the person's own side, from the joint's name."""
        return split_side(self.joints[joint])[0]

    def find(self, side: str, rest: str) -> int | None:
        """Index of the joint that `split_side` takes apart so, as in find("right", "hip"); None where there is none."""
        return next((j for j, name in enumerate(self.joints) if split_side(name) == (side, rest)), None)

    def lacks_sides(self) -> bool:
        """True where no two joints change places in a mirrored picture, which is right only for a body without sides."""
        return self.num_joints > 1 and not self.flip_pairs

    def as_dict(self) -> dict:
        """The same in lists, strings and numbers alone, for checkpoints and JSON."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "limbs": [list(pair) for pair in self.limbs],
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "sigmas": list(self.sigmas),
        }

    @staticmethod
    def from_dict(content: dict) -> "Skeleton":
        """What `as_dict` gave -> an equal Skeleton. Raises ValueError for anything else."""
        try:
            return Skeleton(
                name=str(content["name"]),
                joints=tuple(str(name) for name in content["joints"]),
                limbs=tuple((int(a), int(b)) for a, b in content["limbs"]),
                flip_pairs=tuple((int(a), int(b)) for a, b in content["flip_pairs"]),
                sigmas=tuple(float(sigma) for sigma in content["sigmas"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
            raise ValueError(f"not a skeleton ({error!r}); take what Skeleton.as_dict gives") from error


def flip_pairs_of(joints: tuple[str, ...] | list[str]) -> tuple[tuple[int, int], ...]:
    """Joint names -> pairs of indices that change places in a mirrored picture, lower index first, ordered by it.

    Raises ValueError that names every joint without a partner on the other side and every one named twice.
    """
    places = {}
    for index, name in enumerate(joints):
        places.setdefault(split_side(name), []).append(index)
    twice = [joints[j] for indices in places.values() if len(indices) > 1 for j in indices]
    alone = [joints[indices[0]] for key, indices in places.items() if _lacks_partner(key, places)]
    if twice or alone:
        found = [("without a partner", alone), ("named twice", twice)]
        told = " and ".join(f"joints {problem}: {', '.join(names)}" for problem, names in found if names)
        raise ValueError(f"{told}; name both sides alike, as in right_ear and left_ear, or list the flip pairs")
    pairs = [(indices[0], places["left", rest][0]) for (side, rest), indices in places.items() if side == "right"]
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


def _lacks_partner(key: tuple[str, str], places: dict) -> bool:
    """Whether a joint has a side and no partner, or a side that can't be told from its word (lankle beside rankle)."""
    side, rest = key
    if side != "middle":
        return ("left" if side == "right" else "right", rest) not in places
    marks = (("left", "right"), ("right", "left"), ("l", "r"), ("r", "l"))
    return any(rest.startswith(a) and (side, b + rest.removeprefix(a)) in places for a, b in marks)


def sigmas_of(joints: tuple[str, ...] | list[str]) -> tuple[float, ...]:
    """Joint names -> OKS constants: COCO's where COCO has the joint (l_shoulder is left_shoulder), else DEFAULT_SIGMA."""
    known = dict(zip(map(split_side, COCO.joints), COCO.sigmas, strict=True))
    return tuple(known.get(split_side(name), DEFAULT_SIGMA) for name in joints)


def lower_body(joints: tuple[str, ...] | list[str]) -> np.ndarray:
    """Joint names -> (K,) bool, true from the hips down: a word of the name is hip, knee, ankle, foot, toe and so on."""
    words = [{word.removesuffix("s") for word in split_side(name)[1].split("_")} for name in joints]
    return np.array([not _LOWER_BODY.isdisjoint(of_joint) for of_joint in words], dtype=bool)


# Look Into Person (Gong et al., CVPR 2017): 16 joints in the order of the LIP csv files.
LIP = Skeleton(
    name="LIP",
    joints=(
        "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "spine",
        "neck", "head_top", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
    ),
    limbs=((0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
           (10, 11), (11, 12), (12, 8), (13, 8), (13, 14), (14, 15)),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
)  # fmt: skip

# COCO person keypoints; sigmas from the keypoint evaluation page (cocodataset.org/#keypoints-eval).
COCO = Skeleton(
    name="COCO",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
        "left_ankle", "right_ankle",
    ),
    limbs=((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
           (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
            0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)  # fmt: skip
