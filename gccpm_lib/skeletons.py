"""Skeletons: the joints of a data set, their limbs, flip pairs and OKS sigmas.

A keypoint array is always (K, 3): x (right) and y (down) in pixels with pixel centres at integers, and a label:
0 missing (x and y mean nothing), 1 labelled but occluded, 2 labelled and visible.
"""

from dataclasses import dataclass

import numpy as np

MISSING, OCCLUDED, VISIBLE = 0, 1, 2


@dataclass(frozen=True)
class Skeleton:
    """What is known about the joints of one data set; K = len(joints)."""

    name: str
    joints: tuple[str, ...]  # K names; "r_"/"l_" (or "right_"/"left_") mark the two sides
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
        name = self.joints[joint].lower()
        return "right" if name.startswith(("r_", "right_")) else "left" if name.startswith(("l_", "left_")) else "middle"


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
