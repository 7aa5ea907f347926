"""Batch normalisation while training: whose samples make its statistics."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.training import distributed
from gccpm_lib.training.run import Run

ENOUGH = 16  # samples of a batch in one process: enough for statistics of their own
FLAT = ("none", "matched", "ppm", "aspp")  # context blocks whose norms see maps no smaller than the heatmaps
U_SHAPE = 4  # how many times smaller the maps at the bottom of a U-shaped block are


def with_joint_norms(network: nn.Module, run: Run, recipe: Recipe, device: str) -> nn.Module:
    """Batch normalisation over the joint batch of all processes, where sync_norm says so; None: where shares are small.

    Every norm then waits for the others. ValueError for the CPU, where PyTorch has no such norm.
    """
    on_cuda, several = torch.device(device).type == "cuda", distributed.num_processes() > 1
    if run.sync_norm and several and not on_cuda:
        raise ValueError("sync_norm=True: batch normalisation over several processes needs cuda; give sync_norm=False")
    small = recipe.batch_size / distributed.num_processes() < ENOUGH
    joint = several and on_cuda and (small if run.sync_norm is None else run.sync_norm)
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if joint else network


def fewest_values(network: nn.Module, count: int, height: int, width: int) -> int:
    """Values per channel in the smallest map that the network normalises, for so many images of this size."""
    shape = getattr(network, "shape", {})
    narrow = shape.get("num_refinement_stages", 0) > 0 and shape["context"] not in FLAT
    stride = STRIDE * U_SHAPE if narrow else STRIDE
    return count * math.ceil(height / stride) * math.ceil(width / stride)


@contextlib.contextmanager
def statistics_kept(network: nn.Module, kept: bool) -> Iterator[None]:
    """Inside, each process's own norms use their running statistics and leave them as they are, where kept says so.

    For a batch without a sample, and for one with a single value per channel, which has no variance.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training] if kept else []
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
