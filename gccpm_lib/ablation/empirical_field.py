"""The empirical receptive field: which parts of the crop a joint's answer depends on, found by covering them.

A grey patch slides over the crop from cell to cell; where covering changes the joint's heatmap, the network looked there.
The gradient (receptive_field.py) tells what a small change of a pixel would do; this tells what happens without the pixels.
Figure 7 of the paper shows such fields; the method: Zeiler and Fergus, "Visualizing and Understanding Convolutional
Networks", ECCV 2014.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from gccpm_lib.evaluation.bootstrap import draws
from gccpm_lib.recipes import STRIDE

PATCH = 32  # pixels of a side
CHANGED = 0.1  # a map that moves by this part of its own size has changed
GREEN, RED, WHITE = (60, 200, 60), (40, 40, 230), (255, 255, 255)  # BGR


@torch.no_grad()
def empirical_field(
    network: nn.Module, crop: Tensor, joint: int, stage: int = -1, patch: int = PATCH, batch_size: int = 32
) -> np.ndarray:
    """How much covering each cell changes a joint's heatmap, (H/8, W/8): |covered - whole| / |whole|, Euclidean norms.

    crop (3, H, W), normalised; it is brought to the network's device. The patch is centred on the cell and has the value 0,
    which is the mean colour. stage: 0 the initial one, -1 the last.
    """
    crop = crop.to(next((p.device for p in network.parameters()), crop.device))
    height, width = crop.shape[1] // STRIDE, crop.shape[2] // STRIDE
    whole = network(crop[None])[stage][0, joint].float()
    changes = []
    cells = [(row, column) for row in range(height) for column in range(width)]
    for start in range(0, len(cells), batch_size):
        covered = torch.stack([_covered(crop, *cell, patch) for cell in cells[start : start + batch_size]])
        maps = network(covered)[stage][:, joint].float()
        changes.append((maps - whole).flatten(1).norm(dim=1))
    smallest = torch.finfo(whole.dtype).tiny
    return (torch.cat(changes) / whole.norm().clamp_min(smallest)).reshape(height, width).cpu().numpy()


def _covered(crop: Tensor, row: int, column: int, patch: int) -> Tensor:
    """The crop with a patch over the middle of a cell; pixels beyond the crop aren't there."""
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
