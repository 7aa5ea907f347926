"""What stands before the refinement stages, where they alone are trained: computed once and kept on disk, batch by batch.

It puts out the same for every training that begins with the same weights and sees the same samples, whatever context block
or depth comes behind. A sample of 128 x 128 pixels takes about 91 kB, of which its targets 17.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gccpm_lib import checkpoints
from gccpm_lib.datasets.records import Skip, fingerprint
from gccpm_lib.devices import autocast
from gccpm_lib.files import write_beside
from gccpm_lib.loading import Batch, Key, give_batches
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.provenance import told_function
from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.training import distributed
from gccpm_lib.training.run import Run


class KeptBatch(Batch):
    """What the frozen part puts out for a batch's samples.

    tensors: features (N, C, h/8, w/8), targets (N, H, h/8, w/8), weights (N, H), initial heatmaps (N, H, h/8, w/8).
    """

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return tuple(STRIDE * side for side in self.tensors[0].shape[2:])


def kept_batches(
    network: GCCPM, loader: DataLoader, batches: Sequence[list[Key]], run: Run, recipe: Recipe
) -> Iterator[KeptBatch]:
    """The batches as they leave the frozen part, from run.frozen_folder or else computed and put there.

    Features and heatmaps are in the recipe's precision. ValueError with several processes, which would each need all.
    """
    if distributed.num_processes() > 1:
        raise ValueError("frozen_folder: one process alone keeps what is frozen; leave it out with several")
    names = _names(network, loader, batches, run, recipe)
    files = [Path(run.frozen_folder) / f"{name}.pt" for name in names]
    loaded = give_batches(loader, [keys for keys, file in zip(batches, files, strict=True) if not file.is_file()])
    for file in files:
        if not file.is_file():
            tensors, skipped = _computed(network, next(loaded), recipe, run.device)
            buffer = io.BytesIO()
            torch.save([tensors, [tuple(skip) for skip in skipped]], buffer)
            write_beside(file, buffer.getvalue())
        tensors, skipped = torch.load(file, weights_only=True)
        yield KeptBatch(tensors, [Skip(*skip) for skip in skipped])


def _names(network: GCCPM, loader: DataLoader, batches: Sequence[list[Key]], run: Run, recipe: Recipe) -> list[str]:
    """A name for each batch: the hash of all that its content comes from."""
    frozen = {key: value for key, value in network.state_dict().items() if not key.startswith("refinement_stages.")}
    same = asdict(replace(recipe, context="", num_refinement_stages=0))
    data = fingerprint(loader.dataset.persons, recipe.skeleton)
    own = [told_function(run.augmentation)] if run.augmentation else []
    whole = json.dumps([checkpoints.weights_hash(frozen), data, same, run.seed, run.on_bad_sample, *own], default=str)
    start = hashlib.sha256(whole.encode())
    names = []
    for keys in batches:
        digest = start.copy()
        digest.update(repr(keys).encode())
        names.append(digest.hexdigest()[:32])
    return names


@torch.no_grad()
def _computed(network: GCCPM, batch: Batch, recipe: Recipe, device: str) -> tuple[list[Tensor], list[Skip]]:
    images, targets, weights, orders = batch.tensors
    with autocast(recipe.precision, device):
        features = network.cpm(network.model(normalise(images.to(device), recipe, orders.to(device))))
        heatmaps = network.initial_stage(features)
    return [features.cpu(), targets, weights, heatmaps.cpu()], batch.skipped
