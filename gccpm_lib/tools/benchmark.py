"""Benchmark: how fast this machine trains, loads and scores, as ratios measured in one run.

    gccpm benchmark [--input-size 128] [--dataset-folder data/rendered_lip]

Variants take turns, round by round, so that a busy moment hits them all; medians are printed with their spread. Absolute
numbers are this machine's, with the threads named; ratios carry over better.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from gccpm_lib.datasets.lip import read_lip, write_predictions
from gccpm_lib.devices import computes_in_bf16
from gccpm_lib.evaluation.pckh import evaluate_lip
from gccpm_lib.loading import Batch, TrainingSet, epoch_batches
from gccpm_lib.network import GCCPM, count_macs
from gccpm_lib.provenance import describe
from gccpm_lib.recipes import LIP_CORRECTED, LIP_MODERN
from gccpm_lib.report.notebook import project_root
from gccpm_lib.timing import interleaved
from gccpm_lib.training.loop import optimiser_step
from gccpm_lib.training.objective import parameter_groups
from gccpm_lib.training.run import State


def training_step(
    side: int, batch_size: int, tuned: bool, precision: str = "float32", compiled: bool = False
) -> Callable[[], None]:
    """One optimiser step of the 2-stage network; not tuned: contiguous tensors, plain optimiser, as the released code."""
    recipe = dataclasses.replace(LIP_MODERN, precision=precision, input_size=(side, side))
    layout = torch.channels_last if tuned else torch.contiguous_format
    network = GCCPM().to(memory_format=layout).train()
    optimizer = torch.optim.AdamW(parameter_groups(network, recipe), fused=tuned)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    state = State(network, optimizer, None, model=torch.compile(network) if compiled else network)
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 255, (batch_size, side, side, 3), dtype=np.uint8))
    if not tuned:  # laid out channel by channel, as a contiguous network expects it
        network.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    targets = torch.rand(batch_size, 17, side // 8, side // 8)
    tensors = [pictures, targets, torch.ones(batch_size, 17), torch.arange(3).repeat(batch_size, 1)]
    batch = Batch(tensors, [])
    return lambda: optimiser_step(state, [batch], recipe, "cpu", 1.0)


def report_training(side: int, batch_size: int, rounds: int) -> None:
    """Images per second of each way to train, and their ratio to the untuned one."""
    variants = {
        "eager, fp32, contiguous": training_step(side, batch_size, tuned=False),
        "channels last, fused optimiser": training_step(side, batch_size, tuned=True),
        "the same, compiled": training_step(side, batch_size, tuned=True, compiled=True),
    }
    if computes_in_bf16("cpu"):
        variants["channels last, fused, bf16"] = training_step(side, batch_size, tuned=True, precision="bfloat16")
    seconds = interleaved(variants, rounds)
    base = statistics.median(next(iter(seconds.values())))
    print(f"training, 2-stage network, {side} x {side}, batch {batch_size}, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        median, spread = statistics.median(times), (max(times) - min(times)) / statistics.median(times)
        print(f"  {name:32s} {batch_size / median:6.1f} images/s  x {base / median:.2f}  spread {100 * spread:.0f} %")
    gflops = 3 * 2 * count_macs(GCCPM(), (side, side)) / 1e9 * batch_size / min(map(statistics.median, seconds.values()))
    print(f"  fastest: {gflops:.0f} GFLOP/s of {matrix_peak():.0f} that a float32 matrix product reaches here")


def matrix_peak(n: int = 2048) -> float:
    """GFLOP/s of a float32 matrix product of this machine, the median of 5."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    seconds = interleaved({"product": lambda: torch.mm(a, b)}, 5)["product"]
    return 2 * n**3 / statistics.median(seconds) / 1e9


def report_loader(dataset_folder: Path, count: int = 700) -> None:
    """Augmented samples with targets per second on one core, from pictures on disk."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    persons = read_lip(dataset_folder, "train")
    samples = TrainingSet(persons, LIP_CORRECTED, seed=0)
    keys = [key for batch in epoch_batches(len(persons), 0, LIP_CORRECTED, 0) for key in batch][:count]
    seconds = interleaved({"loader": lambda: [samples[key] for key in keys]}, 3)["loader"]
    print(f"loader, 256 x 256, corrected recipe, 1 thread: {len(keys) / statistics.median(seconds):.0f} samples/s")


def report_scoring(num_persons: int = 10_000) -> None:
    """Seconds to score as many persons as LIP's validation set has, from file to table."""
    points = np.random.default_rng(0).integers(0, 250, (num_persons, 16, 2))
    names = [f"{i}_{i}.jpg" for i in range(num_persons)]
    with tempfile.TemporaryDirectory() as folder:
        predictions = write_predictions(Path(folder) / "found.csv", names, points)
        rows = (",".join(f"{x},{y},0" for x, y in person) for person in points)
        truth = Path(folder) / "truth.csv"
        truth.write_text("".join(f"{name},{row}\n" for name, row in zip(names, rows, strict=True)), encoding="utf-8")
        seconds = interleaved({"scoring": lambda: evaluate_lip(truth, predictions)}, 5)["scoring"]
    print(f"scoring {num_persons:,} persons: {statistics.median(seconds):.3f} s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser(prog="gccpm benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--input-size", type=int, default=128, help="side of the training crops")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dataset-folder", type=Path, default=project_root() / "data" / "rendered_lip")
    options = parser.parse_args(arguments)
    for key, value in describe(project_root()).items():
        print(f"{key}: {value}")
    report_training(options.input_size, options.batch_size, options.rounds)
    report_scoring()
    if options.dataset_folder.exists():
        report_loader(options.dataset_folder)
    if sys.platform == "linux":  # macOS counts in other units, Windows has no such count
        import resource

        print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
