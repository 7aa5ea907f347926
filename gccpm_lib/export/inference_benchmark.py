"""How fast a network answers: the same network in every engine, in one run, the engines taking turns.

Latency is one picture after the other; throughput is many pictures at once. Measured alone (a crop that is ready) and the
whole way from the bytes of a JPEG to joints. Absolute numbers are this machine's, with the threads named; ratios to the
released code's way (PyTorch as it is, float32, contiguous, published decoding) carry over better.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.fx.experimental.optimization import fuse

from gccpm_lib.devices import autocast, choose, computes_in_bf16
from gccpm_lib.export.engines import OnnxNetwork, OpenvinoNetwork
from gccpm_lib.export.files import NAME, export_onnx, export_openvino
from gccpm_lib.export.quantising import quantise
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.peak_search import fast_peaks, published_peaks
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.recipes import Recipe
from gccpm_lib.timing import interleaved

EAGER = "PyTorch, as released"


class EagerNetwork:
    """The released code's way: float32, contiguous, one picture as it is."""

    def __init__(self, network: GCCPM, recipe: Recipe, device: str = "cpu"):
        self.network, self.recipe, self.device = network.to(device).eval(), recipe, device

    def __call__(self, pictures: np.ndarray, stage: int = -1) -> np.ndarray:
        with torch.no_grad():
            batch = normalise(torch.from_numpy(pictures).to(self.device), self.recipe).contiguous()
            return self.network(batch)[stage].cpu().numpy()


class TunedNetwork:
    """PyTorch with batch normalisation folded into the convolutions, channels last, bfloat16 if the recipe says so and
    the device computes in it."""

    def __init__(self, network: GCCPM, recipe: Recipe, device: str = "cpu"):
        self.network = fuse(network.eval()).to(device, memory_format=torch.channels_last)
        self.recipe, self.device = recipe, device

    def __call__(self, pictures: np.ndarray, stage: int = -1) -> np.ndarray:
        with torch.inference_mode(), autocast(self.recipe.precision, self.device):
            maps = self.network(normalise(torch.from_numpy(pictures).to(self.device), self.recipe))[stage]
        return maps.float().cpu().numpy()


@dataclass(frozen=True)
class Exported:
    """A network and the files that it was written to."""

    network: GCCPM
    onnx_file: Path
    fp32_file: Path
    int8_file: Path


def export_all(network: GCCPM, recipe: Recipe, folder: Path, crops: np.ndarray) -> Exported:
    """Write ONNX, OpenVINO FP32 and INT8 (calibrated with crops (N, H, W, 3) uint8 BGR) into the folder."""
    onnx_file = export_onnx(network, recipe, folder / f"{NAME}.onnx")
    fp32_file = export_openvino(onnx_file, folder / "FP32", recipe)
    return Exported(network, onnx_file, fp32_file, quantise(fp32_file, folder / "INT8", recipe, crops))


def make_engines(exported: Exported, recipe: Recipe, device: str = "cpu", throughput: bool = False) -> dict[str, Callable]:
    """Name -> the network in that engine, called as `PosePredictor` calls it, the released code's way first.

    bfloat16 is left out where this machine doesn't compute in it. device "cuda" or "mps" adds its row.
    """
    device = choose(device)
    network, exact, half = exported.network, replace(recipe, precision="float32"), replace(recipe, precision="bfloat16")
    engines = {
        EAGER: EagerNetwork(copy_of(network), recipe),
        "PyTorch, tuned": TunedNetwork(copy_of(network), exact),
        "onnxruntime": OnnxNetwork(exported.onnx_file, recipe),
        "OpenVINO FP32": OpenvinoNetwork(exported.fp32_file, recipe, throughput=throughput),
    }
    if computes_in_bf16("cpu"):
        engines["PyTorch, tuned, BF16"] = TunedNetwork(copy_of(network), half)
        engines["OpenVINO BF16"] = OpenvinoNetwork(exported.fp32_file, recipe, precision="bf16", throughput=throughput)
    engines["OpenVINO INT8"] = OpenvinoNetwork(exported.int8_file, recipe, precision="", throughput=throughput)
    if device != "cpu":
        engines[f"PyTorch, tuned, {device}"] = TunedNetwork(copy_of(network), half, device)
    return engines


def copy_of(network: GCCPM) -> GCCPM:
    """Another network with the same weights, so that one engine's tuning doesn't touch another's."""
    copied = GCCPM(**network.shape).eval()
    copied.load_state_dict(network.state_dict())
    return copied


def measure(calls: dict[str, Callable[[], object]], rounds: int, pictures: int = 1) -> pd.DataFrame:
    """A row per call, which takes this many pictures: ms per picture (median and quartiles) and how many times faster than
    the first call. The calls take turns; a first round warms up."""
    rows, base = {}, None
    for name, seconds in interleaved(calls, rounds).items():
        low, middle, high = (1e3 * s / pictures for s in statistics.quantiles(seconds, n=4))
        base = base or middle
        rows[name] = {"ms": middle, "lower quartile": low, "upper quartile": high, "times faster": base / middle}
    return pd.DataFrame(rows).T


def network_alone(engines: dict[str, Callable], crop: np.ndarray, rounds: int) -> pd.DataFrame:
    """`measure` with one crop (H, W, 3) uint8 BGR that is ready."""
    return measure({name: lambda run=run: run(crop[None]) for name, run in engines.items()}, rounds)


def many_at_once(engines: dict[str, Callable], crops: np.ndarray, rounds: int) -> pd.DataFrame:
    """`measure` with all crops (N, H, W, 3) in one call, per crop."""
    return measure({name: lambda run=run: run(crops) for name, run in engines.items()}, rounds, len(crops))


def whole_way(engines: dict[str, Callable], recipe: Recipe, jpegs: Sequence[bytes], rounds: int) -> pd.DataFrame:
    """`measure` from the bytes of JPEGs to joints, per picture; the released code's way decodes as published."""
    calls = {}
    for name, run in engines.items():
        predictor = PosePredictor(run, recipe, peak_search="published" if name == EAGER else "fast")
        calls[name] = lambda predictor=predictor: [predictor.predict(_decoded(jpeg)) for jpeg in jpegs]
    return measure(calls, rounds, len(jpegs))


def decoding(predictor: PosePredictor, images: Sequence[np.ndarray], rounds: int) -> pd.DataFrame:
    """`measure` of finding joints in maps that are ready, as published and without enlarging them, per picture (LIP)."""
    terms = [(term, image.shape[:2]) for term, image in zip(predictor.picture_terms(images), images, strict=True)]
    ways = {"as published": published_peaks, "without enlarging": fast_peaks}
    return measure({n: lambda find=find: [find(*t) for t in terms] for n, find in ways.items()}, rounds, len(images))


def _decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def int8_peak(n: int = 2048, rounds: int = 9) -> float:
    """Giga-operations per second of an int8 matrix product of this machine (a multiplication and an addition are two)."""
    a, b = (torch.randint(-128, 127, (n, n), dtype=torch.int8, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    return _peak(lambda: torch._int_mm(a, b), n, rounds)


def _peak(product: Callable[[], object], n: int, rounds: int) -> float:
    product()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return 2 * n**3 / statistics.median(seconds) / 1e9
