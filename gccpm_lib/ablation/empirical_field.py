"""The empirical receptive field: which parts of the crop a joint's answer depends on, found by covering them.

A grey patch slides over the crop from cell to cell; where covering changes the joint's heatmap, the network looked there.
The gradient (receptive_field.py) tells what a small change of a pixel would do; this tells what happens without the pixels.
Figure 7 of the paper shows such fields; the method: Zeiler and Fergus, "Visualizing and Understanding Convolutional
Networks", ECCV 2014.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from gccpm_lib import geometry
from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.devices import autocast
from gccpm_lib.evaluation.bootstrap import draws
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise, person_crops
from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.skeletons import OCCLUDED, VISIBLE, Skeleton

PATCH = 16  # pixels of a side
CHANGED = 0.2  # a map that moves by this part of its own size has changed
GREEN, RED, WHITE = (60, 200, 60), (40, 40, 230), (255, 255, 255)  # BGR


Maps = Callable[[Tensor], Sequence[Tensor]]  # crops (N, 3, H, W) -> a joint's maps (N, h, w), one tensor per network


def joint_maps(networks: Sequence[GCCPM], joint: int, stage: int = -1, begin_alike: bool = False) -> Maps:
    """What networks say of a joint; stage: 0 the initial one, -1 the last.

    begin_alike: they have the same weights before the refinement stages, which are then computed with the first alone.
    """

    def maps(crops: Tensor) -> list[Tensor]:
        if not begin_alike:
            return [network(crops)[stage][:, joint].float() for network in networks]
        features = networks[0].cpm(networks[0].model(crops))
        heatmaps = networks[0].initial_stage(features)
        return [network.refine(features, heatmaps)[stage][:, joint].float() for network in networks]

    return maps


@torch.no_grad()
def empirical_fields(maps: Maps, crop: Tensor, patch: int = PATCH, step: int = 1, batch_size: int = 32) -> list[np.ndarray]:
    """How much covering each place changes each network's map, (H/8/step, W/8/step): |covered - whole| / |whole|.

    Norms are Euclidean. crop (3, H, W), normalised. The patch has the value 0, which is the mean colour; it slides by
    `step` cells and is centred on the middle of those that a value stands for.
    """
    height, width = (side // STRIDE // step for side in crop.shape[1:])
    middles = [(step * row + (step - 1) / 2, step * column + (step - 1) / 2) for row, column in np.ndindex(height, width)]
    whole = [m[0] for m in maps(crop[None])]
    changes = [[] for _ in whole]
    for start in range(0, len(middles), batch_size):
        covered = torch.stack([_covered(crop, *middle, patch) for middle in middles[start : start + batch_size]])
        for own, before, after in zip(changes, whole, maps(covered), strict=True):
            own.append((after - before).flatten(1).norm(dim=1) / before.norm().clamp_min(torch.finfo(before.dtype).tiny))
    return [torch.cat(own).reshape(height, width).cpu().numpy() for own in changes]


def _covered(crop: Tensor, row: float, column: float, patch: int) -> Tensor:
    """The crop with a patch over the middle of a cell, half cells allowed; pixels beyond the crop aren't there."""
    y, x = (round(STRIDE * cell + (STRIDE - 1) / 2 - patch / 2 + 0.5) for cell in (row, column))
    covered = crop.clone()
    covered[:, max(0, y) : max(0, y + patch), max(0, x) : max(0, x + patch)] = 0
    return covered


def size_percent(field: np.ndarray, changed: float = CHANGED) -> float:
    """The part of the crop, in percent, whose covering changes the map by more than `changed`."""
    return 100 * float((field > changed).mean())


def mean_size(sizes: Sequence[float], seed: int = 0, repeats: int = 1000) -> tuple[float, float, float]:
    """Mean of the sizes of many persons and the middle 95 % of its bootstrap over persons: (mean, low, high)."""
    values = np.asarray(sizes, np.float64)
    means = np.concatenate([counts @ values / len(values) for counts in draws(len(values), repeats, seed)])
    return float(values.mean()), *(float(bound) for bound in np.percentile(means, (2.5, 97.5)))


def draw_field(image: np.ndarray, field: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The crop (H, W, 3) BGR with what the joint depends on in green, its predicted place red, the truth a white ring.

    predicted and truth: (x, y, ...) in pixels of the crop.
    """
    mask = cv2.resize((field > CHANGED).astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)[..., None]
    canvas = np.where(mask, (0.6 * image + 0.4 * np.array(GREEN)), image).astype(np.uint8)
    radius = max(3, round(min(image.shape[:2]) / 28))
    place, there = (tuple(round(float(value)) for value in point[:2]) for point in (predicted, truth))
    cv2.circle(canvas, there, radius + 2, WHITE, max(1, radius // 3), cv2.LINE_AA)
    return cv2.circle(canvas, place, max(2, radius // 2), RED, -1, cv2.LINE_AA)


def chosen_elbows(persons: Sequence[Person], skeleton: Skeleton) -> dict[str, tuple[int, int]]:
    """Two elbows to ask for: "a hidden elbow", labelled occluded, and "an elbow far from everything".

    Far: visible, and the farthest from the nearest joint that isn't of its own arm, in parts of the person's extent. Each
    as (row, joint); left out where there is none.
    """
    found, best = {}, 0.0
    for row, person in enumerate(persons):
        for side in ("right", "left"):
            arm = [skeleton.find(side, part) for part in ("shoulder", "elbow", "wrist")]
            elbow, points = arm[1], person.keypoints
            labelled = points[:, 2] > 0
            if points[elbow, 2] == OCCLUDED:
                found.setdefault("a hidden elbow", (row, elbow))
            labelled[arm] = False
            if points[elbow, 2] != VISIBLE or not labelled.any():
                continue
            extent = np.ptp(points[points[:, 2] > 0, :2], axis=0).max()
            distance = np.linalg.norm(points[labelled, :2] - points[elbow, :2], axis=1).min() / max(extent, 1)
            if distance > best:
                best, found["an elbow far from everything"] = distance, (row, elbow)
    return dict(sorted(found.items()))


def crop_fields(
    networks: Mapping[str, GCCPM], person: Person, joint: int, recipe: Recipe, step: int = 1, begin_alike: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A person's crop as the recipe cuts it -> each network's field of a joint, and the crop with it drawn in, RGB.

    Of whole pictures (LIP) alone. Computed on the CPU in the recipe's precision; begin_alike as in `joint_maps`.
    """
    image = person_crops([person], recipe)[0]
    crop = normalise(torch.from_numpy(image[None]), recipe)[0]
    maps = joint_maps(list(networks.values()), joint, begin_alike=begin_alike)
    with autocast(recipe.precision, "cpu"):
        fields = dict(zip(networks, empirical_fields(maps, crop, step=step), strict=True))
        with torch.no_grad():
            whole = [m[0].numpy() for m in maps(crop[None])]
    to_crop = geometry.letterbox_to_affine(read_person_image(person).shape[:2], recipe.input_size)
    truth = geometry.apply(to_crop, person.keypoints[joint : joint + 1])[0]
    drawn = {}
    for (name, field), map_ in zip(fields.items(), whole, strict=True):
        row, column = np.unravel_index(map_.argmax(), map_.shape)
        place = STRIDE * np.array([column, row]) + (STRIDE - 1) / 2
        drawn[name] = draw_field(image, field, place, truth)[:, :, ::-1]
    return fields, drawn


def field_sizes(
    networks: Mapping[str, GCCPM], persons: Sequence[Person], recipe: Recipe, step: int = 2, begin_alike: bool = False
) -> dict[str, tuple[float, float, float]]:
    """By network: the mean size of the field in percent and its interval, over each person's first labelled elbow."""
    elbows = [recipe.skeleton.find(side, "elbow") for side in ("right", "left")]
    sizes = {name: [] for name in networks}
    for person in persons:
        joint = next((j for j in elbows if person.keypoints[j, 2] > 0), None)
        if joint is not None:
            fields, _ = crop_fields(networks, person, joint, recipe, step, begin_alike)
            for name, field in fields.items():
                sizes[name].append(size_percent(field))
    return {name: mean_size(of_persons) for name, of_persons in sizes.items()}
