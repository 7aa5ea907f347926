"""What a full run needs, estimated: hours by GPU, memory and disk. Nothing here was measured on a GPU.

    python -m gccpm_lib.tools.estimates  # the tables of README's "What a full run needs"

Hours are counted multiply-accumulates over a stated peak times an assumed share of it. Only the CPU's row rests on
measured speed. Training costs three forward passes: forward, gradients of the activations, gradients of the weights.
"""

import functools
from dataclasses import dataclass

import pandas as pd
import torch

from gccpm_lib.network import GCCPM, count_macs, count_parameters
from gccpm_lib.recipes import COCO_CORRECTED, LIP_CORRECTED, Recipe

# Assumed share of the peak that small convolutions with batch normalisation between them reach, from and to. Tensor cores
# wait for memory most of the time.
SHARES = {"float32 cores": (0.3, 0.6), "TF32 tensor cores": (0.1, 0.3)}
NUM_WORKERS = 8  # loading processes of the published profiles
# Measured on Linux with PyTorch 2.14.1 for CPUs and label files of 150,000 persons: the imports of the training process and
# of a worker (without what all workers share), and the record of a person in each of these processes.
PROCESS_GB, WORKER_GB, RECORD_KB = 0.75, 0.1, 1.8


@dataclass(frozen=True)
class Job:
    """A training in full."""

    name: str
    recipe: Recipe
    train_persons: int  # each is a sample of every epoch
    val_persons: int  # scored after every epoch
    pictures_gb: float | None  # on disk; None: not known here

    def forward_macs(self) -> int:
        """Multiply-accumulates of one picture, counted on the network without computing it."""
        return _forward_macs(self.recipe)

    def operations(self) -> float:
        """Floating-point operations of the whole training and its validations."""
        return 2 * self.forward_macs() * self.recipe.num_epochs * (3 * self.train_persons + self.val_persons)


@dataclass(frozen=True)
class Device:
    """A GPU and what float32 convolutions run on there: PyTorch lets cuDNN take TF32 where there is any."""

    name: str
    arithmetic: str  # a key of SHARES
    peak_tflops: float  # dense, without sparsity


@dataclass(frozen=True)
class MeasuredSpeed:
    """A speed of training on this project's machine, from reports/EXPERIMENTS.md."""

    name: str
    side: int  # pixels of the crop
    num_refinement_stages: int
    images_per_s: tuple[float, float]


LIP_RUN = Job("LIP", LIP_CORRECTED, 30_462, 1000, None)
COCO_RUN = Job("COCO", COCO_CORRECTED, 149_813, 1000, 19.0)  # cocodataset.org: train2017 18 GB, val2017 1 GB
JOBS = (LIP_RUN, COCO_RUN)
DEVICES = (  # peaks as NVIDIA states them in the named paper, halved where it counts sparsity
    Device("T4", "float32 cores", 8.1),  # T4 datasheet
    Device("V100 SXM2", "float32 cores", 15.7),  # V100 datasheet
    Device("RTX 3090", "TF32 tensor cores", 35.6),  # Ampere GA102 whitepaper
    Device("RTX 4090", "TF32 tensor cores", 82.6),  # Ada whitepaper
    Device("A100", "TF32 tensor cores", 156.0),  # A100 datasheet
    Device("H100 SXM", "TF32 tensor cores", 494.7),  # H100 datasheet: 989 with sparsity
)
CPU = MeasuredSpeed("2 cores of an AMD EPYC", 128, 1, (8.1, 10.9))


@functools.cache
def _forward_macs(recipe: Recipe) -> int:
    return count_macs(_network(recipe), recipe.input_size)


def hours(job: Job, operations_per_s: float) -> float:
    """Hours of a training at a sustained speed."""
    return job.operations() / operations_per_s / 3600


def cpu_operations_per_s(speed: MeasuredSpeed = CPU) -> tuple[float, float]:
    """What the measured training sustained, from and to."""
    with torch.device("meta"):
        macs = count_macs(GCCPM(num_refinement_stages=speed.num_refinement_stages), (speed.side, speed.side))
    return tuple(2 * 3 * macs * images for images in speed.images_per_s)


def time_table() -> pd.DataFrame:
    """A row per device: the assumption, hours and pictures per second of every job, as text "from to"."""
    rows = {f"{CPU.name} (measured, scaled)": (_cpu_assumption(), cpu_operations_per_s())}
    for device in DEVICES:
        low, high = SHARES[device.arithmetic]
        assumption = f"{100 * low:.0f} to {100 * high:.0f} % of {device.peak_tflops:g} TFLOP/s ({device.arithmetic})"
        rows[device.name] = assumption, (low * device.peak_tflops * 1e12, high * device.peak_tflops * 1e12)
    return pd.DataFrame(
        {name: {"assumed": assumption, **_columns(speeds)} for name, (assumption, speeds) in rows.items()}
    ).T.rename_axis("estimate for")


def _columns(operations_per_s: tuple[float, float]) -> dict[str, str]:
    slow, fast = operations_per_s
    times = {f"{job.name}, hours": f"{_short(hours(job, fast))} to {_short(hours(job, slow))}" for job in JOBS}
    pictures = [fast / (6 * job.forward_macs()) for job in JOBS]
    return {**times, "pictures/s to load, at most": " / ".join(map(_short, pictures))}


def _cpu_assumption() -> str:
    (low, high), side = CPU.images_per_s, CPU.side
    return f"{low:g} to {high:g} pictures/s of {CPU.num_refinement_stages + 1} stages at {side} x {side} px, by GMAC"


def needs_table() -> pd.DataFrame:
    """What every job needs beside time, a column each, as text."""
    return pd.DataFrame({job.name: _needs(job) for job in JOBS}).rename_axis("estimate")


def _needs(job: Job) -> dict[str, str]:
    recipe, parameters = job.recipe, count_parameters(_network(job.recipe))
    height, width = recipe.input_size
    memory = PROCESS_GB + NUM_WORKERS * WORKER_GB + (NUM_WORKERS + 1) * job.train_persons * RECORD_KB / 1e6
    disk = "as its archives" if job.pictures_gb is None else f"{job.pictures_gb:g} GB as its archives say"
    return {
        "recipe, input, stages": f"{recipe.name}, {height} x {width}, {recipe.num_refinement_stages + 1}",
        "samples x epochs": f"{job.train_persons:,} x {recipe.num_epochs}",
        "GMAC of a forward pass (counted)": f"{job.forward_macs() / 1e9:.2f}",
        "operations in all": f"{job.operations():.1e}",
        f"GPU memory at batch {recipe.batch_size}, at least": f"{training_bytes(recipe) / 1e9:.1f} GB",
        f"memory with {NUM_WORKERS} workers": f"{memory:.1f} GB",
        "disk for pictures": disk,
        "disk for a checkpoint (weights and Adam's two moments)": f"{12 * parameters / 1e9:.2f} GB",
    }


def training_bytes(recipe: Recipe) -> int:
    """Weights, gradients and Adam's moments, and what a batch keeps for its backward pass, in float32; no workspace."""
    network, kept = _network(recipe).train(), {}
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


def _network(recipe: Recipe) -> GCCPM:
    """The recipe's network without numbers in it."""
    with torch.device("meta"):
        return GCCPM(
            recipe.num_heatmaps, recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling
        )


def _short(value: float) -> str:
    """Two digits that count: 0.71, 6.9, 44, 17,000."""
    return f"{float(f'{value:.2g}'):,.10g}"


def as_markdown(table: pd.DataFrame) -> str:
    """The table as README shows it."""
    lines = [[table.index.name, *table.columns], ["---"] * (1 + len(table.columns))]
    lines += [[name, *row] for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(as_markdown(time_table()), as_markdown(needs_table()), sep="\n\n")
