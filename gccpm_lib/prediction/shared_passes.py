"""Several ways to predict from one network, which sees every crop once.

    settings = {"single scale": {}, "flip": {"flip": True}, "initial stage": {"stage": 0}}
    found = predict_settings(network, recipe, settings, persons)  # {"single scale": (N, K, 3), ...}

Flip needs the upright crop that the single scale needs, and one pass gives the maps of every stage: what a setting has
computed the others get. Every setting's result is the one that a PosePredictor of its own gives, bit for bit.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from gccpm_lib.datasets.records import Person
from gccpm_lib.devices import choose
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe


class SharedNetwork:
    """A network as `PosePredictor` takes it that remembers all stages' maps of every crop until it is told to forget."""

    def __init__(self, network: nn.Module, recipe: Recipe, device="auto"):
        device = choose(device)
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.recipe, self.device, self.known = recipe, device, {}

    def __call__(self, pictures: np.ndarray, stage: int = -1) -> np.ndarray:
        key = pictures.shape, hashlib.sha256(np.ascontiguousarray(pictures)).digest()
        if key not in self.known:
            with torch.inference_mode():
                outputs = self.network(normalise(torch.from_numpy(pictures).to(self.device), self.recipe))
            self.known[key] = torch.stack(outputs).float().cpu().numpy()  # (stages, N, num_heatmaps, h, w), one wait
        return self.known[key][stage]

    def forget(self) -> None:
        self.known.clear()


def predict_settings(
    network: nn.Module,
    recipe: Recipe,
    settings: Mapping[str, Mapping],
    persons: Sequence[Person],
    device="auto",
    batch_size: int = 16,
) -> dict[str, np.ndarray]:
    """Name -> (N, K, 3) of the persons, for every setting: options of `PosePredictor`, a "recipe" with other decoder too.

    Maps are kept for one batch of persons at a time. Errors as `PosePredictor.predict_persons`.
    """
    shared = SharedNetwork(network, recipe, device)
    predictors = {name: PosePredictor(shared, **{"recipe": recipe, **options}) for name, options in settings.items()}
    found = {name: [np.zeros((0, recipe.skeleton.num_joints, 3))] for name in settings}
    with tqdm(total=len(persons), desc="predict", unit="person", leave=False) as bar:
        for start in range(0, len(persons), batch_size):
            batch = persons[start : start + batch_size]
            for name, predictor in predictors.items():
                found[name].append(predictor.predict_batch(batch))
            shared.forget()
            bar.update(len(batch))
    return {name: np.concatenate(batches) for name, batches in found.items()}
