"""What a full training needs on other machines, estimated: hours by GPU, memory, disk (`gccpm estimate`).

One time of a full training is on record: LIP, 70 epochs, batch 64, 38 hours on one P100, about 84.4 PCKh@0.5 (a user, in
issue 1 of the paper's repository). With five refinement stages that is a fifth of the card's float32 peak, and the same
share is assumed of every other card. `gccpm plan` measures the machine at hand instead.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from gccpm_lib.network import GCCPM, count_macs, count_parameters
from gccpm_lib.recipes import COCO_CORRECTED, LIP_CORRECTED, Recipe

# Measured on Linux with PyTorch 2.14.1 for CPUs and label files of 150,000 persons: the imports of the training process and
# of a worker (without what all workers share), and the record of a person in each of these processes.
PROCESS_GB, WORKER_GB, RECORD_KB = 0.75, 0.1, 1.8


@dataclass(frozen=True)
class Training:
    """How much is computed: every person once an epoch, and after each epoch the validation persons."""

    name: str
    recipe: Recipe
    num_train_persons: int
    num_val_persons: int
    pictures_gb: float | None = None  # on disk; None: not known

    @property
    def operations(self) -> float:
        """Floating-point operations: 2 per multiply-accumulate, and training costs three forward passes."""
        samples = 3 * self.num_train_persons + self.num_val_persons
        return 2 * forward_macs(self.recipe) * self.recipe.num_epochs * samples


LIP_RUN = Training("LIP", LIP_CORRECTED, 30_462, 1000)
COCO_RUN = Training("COCO", COCO_CORRECTED, 149_813, 1000, 19.0)  # cocodataset.org: train2017 18 GB, val2017 1 GB
ON_RECORD_HOURS, ON_RECORD_EPOCHS = 38, 70
# float32 TFLOP/s outside the tensor cores, as NVIDIA's data sheets and white papers state them
PEAKS = {"P100": 9.3, "T4": 8.1, "V100 SXM2": 15.7, "RTX 3090": 35.6, "RTX 4090": 82.6, "A100": 19.5, "H100 SXM": 67.0}


def share_of_peak() -> float:
    """The part of the P100's float32 peak that the training on record reached: 0.2."""
    operations = LIP_RUN.operations * ON_RECORD_EPOCHS / LIP_RUN.recipe.num_epochs
    return operations / (ON_RECORD_HOURS * 3600) / (PEAKS["P100"] * 1e12)


def time_table() -> pd.DataFrame:
    """A row per card: float32 peak, hours of both trainings at the share of the peak on record, images/s to load."""
    rows = {}
    for name, peak in PEAKS.items():
        speed = share_of_peak() * peak * 1e12
        hours = {f"{run.name}, hours": short(run.operations / speed / 3600) for run in (LIP_RUN, COCO_RUN)}
        images = [speed / (6 * forward_macs(run.recipe)) for run in (LIP_RUN, COCO_RUN)]
        rows[name] = {"float32 TFLOP/s": f"{peak:g}", **hours, "images/s to load": " / ".join(map(short, images))}
    return pd.DataFrame(rows).T.rename_axis("estimate for")


def needs_table(num_workers: int = 8) -> pd.DataFrame:
    """What each training needs beside time, a column each, as text."""
    return pd.DataFrame({run.name: _needs(run, num_workers) for run in (LIP_RUN, COCO_RUN)}).rename_axis("estimate")


def _needs(run: Training, num_workers: int) -> dict[str, str]:
    recipe = run.recipe
    height, width = recipe.input_size
    return {
        "recipe, input, stages": f"{recipe.name}, {height} x {width}, {recipe.num_refinement_stages + 1}",
        "persons x epochs": f"{run.num_train_persons:,} x {recipe.num_epochs}",
        "GMAC of a forward pass (counted)": f"{forward_macs(recipe) / 1e9:.2f}",
        f"GPU memory at batch {recipe.batch_size}, at least": f"{training_bytes(recipe) / 1e9:.1f} GB",
        f"main memory with {num_workers} loader processes": f"{main_memory_gb(run.num_train_persons, num_workers):.1f} GB",
        "disk for images": "as its archives" if run.pictures_gb is None else f"{run.pictures_gb:g} GB as its archives say",
        "disk for a checkpoint": f"{checkpoint_bytes(recipe) / 1e9:.2f} GB",
    }


def main_memory_gb(num_persons: int, num_workers: int) -> float:
    """Main memory of the training process and its loader processes; the records of all persons are in each."""
    return PROCESS_GB + num_workers * WORKER_GB + (num_workers + 1) * num_persons * RECORD_KB / 1e6


def checkpoint_bytes(recipe: Recipe) -> int:
    """Weights and Adam's two moments, and the averaged weights where the recipe has them, in float32."""
    return 4 * (4 if recipe.ema_decay else 3) * count_parameters(empty_network(recipe))


def forward_macs(recipe: Recipe) -> int:
    """Multiply-accumulates of one image, counted on the network without computing it."""
    return count_macs(empty_network(recipe), recipe.input_size)


def training_bytes(recipe: Recipe) -> int:
    """Weights, gradients and Adam's moments, and what a batch keeps for its backward pass, in float32; no workspace."""
    network, kept = empty_network(recipe).train(), {}
    parameters = {id(parameter) for parameter in network.parameters()}

    def keep(tensor):
        if id(tensor) not in parameters:
            kept[tensor.untyped_storage()._cdata] = tensor  # the tensor stays, so that its number isn't given again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(torch.zeros(recipe.batch_size, 3, *recipe.input_size, device="meta"))
    total = 16 * count_parameters(network) + sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del outputs
    return total


def empty_network(recipe: Recipe) -> GCCPM:
    """The recipe's network without numbers in it."""
    with torch.device("meta"):
        return GCCPM(
            recipe.num_heatmaps, recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling
        )


def short(value: float) -> str:
    """Two digits that count: 0.71, 6.9, 44, 17,000."""
    return f"{float(f'{value:.2g}'):,.10g}"


def as_markdown(table: pd.DataFrame) -> str:
    """The table as the guide shows it."""
    lines = [[table.index.name, *table.columns], ["---"] * (1 + len(table.columns))]
    lines += [[name, *row] for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    argparse.ArgumentParser(prog="gccpm estimate", description=__doc__).parse_args(arguments)
    print(as_markdown(time_table()), as_markdown(needs_table()), sep="\n\n")


if __name__ == "__main__":
    main()
