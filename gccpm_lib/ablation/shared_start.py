"""Networks that begin alike: where the refinement stages alone were trained, what stands before them is computed once.

The same pictures go through many cells; a picture's features and initial heatmaps are kept under its hash.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from gccpm_lib.devices import autocast, choose
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.recipes import Recipe


class SharedStart:
    """A network as `PosePredictor` calls an exported one: crops (N, H, W, 3) uint8 BGR, stage -> maps (N, H, h, w) float32.

    known: hash of a crop -> its features and initial heatmaps; give the same dict to all networks that begin alike.
    """

    def __init__(self, network: GCCPM, recipe: Recipe, known: dict[bytes, tuple[Tensor, Tensor]], device: str = "cpu"):
        self.device = choose(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.recipe, self.known = recipe, known

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray, stage: int) -> np.ndarray:
        with autocast(self.recipe.precision, self.device):
            features, heatmaps = self.begun(pictures)
            return self.network.refine(features, heatmaps)[stage].float().cpu().numpy()

    def begun(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features (N, C, h, w) and initial heatmaps (N, H, h, w) of crops, computed for those alone that weren't seen."""
        names = [hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest() for picture in pictures]
        new = {name: i for i, name in enumerate(names) if name not in self.known}
        if new:
            x = normalise(torch.from_numpy(pictures[list(new.values())]).to(self.device), self.recipe)
            features = self.network.cpm(self.network.model(x))
            pairs = zip(features.cpu(), self.network.initial_stage(features).cpu(), strict=True)
            self.known.update(zip(new, pairs, strict=True))
        return tuple(torch.stack(tensors).to(self.device) for tensors in zip(*map(self.known.get, names), strict=True))
