"""INT8: an OpenVINO model quantised after training (nncf), with crops of the data for calibration.

Weights and activations of the convolutions become 8-bit integers; ranges come from what the calibration crops cause. Where
that costs accuracy, the layers that suffer most stay as they were: the first, which sees raw pixels, and the last ones,
whose heatmaps are what is read.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.records import Person
from gccpm_lib.export.files import NAME, openvino_core, read_openvino, save_openvino
from gccpm_lib.extras import extra
from gccpm_lib.prediction.predictor import person_crops
from gccpm_lib.recipes import Recipe

with extra("export"):
    import nncf
    import openvino as ov

# What is kept in float32, from nothing on, until accuracy is good enough: (first convolutions, last convolutions).
LEVELS = {"all layers": (0, 0), "last layers kept": (0, 2), "first and last layers kept": (1, 4)}


def calibration_crops(persons: Sequence[Person], recipe: Recipe, count: int = 128, seed: int = 0) -> np.ndarray:
    """Crops (count, H, W, 3) uint8 BGR of persons drawn at random, as the network gets them when it predicts.

    ValueError where there is nobody to draw.
    """
    if not persons:
        raise ValueError("no training persons are left to calibrate with; lower num_choice_persons")
    chosen = np.random.default_rng(seed).permutation(len(persons))[:count]
    return person_crops([persons[i] for i in chosen], recipe)


def quantise(ir_file: str | Path, folder: str | Path, recipe: Recipe, crops: np.ndarray, level: str = "all layers") -> Path:
    """IR of `export_openvino` (NCHW, uint8) -> human-pose-estimation.xml and .bin in the folder, in INT8; the .xml's path.

    crops (N, H, W, 3) uint8 BGR; level: a name of LEVELS. ValueError for another level.
    """
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is not known; known: {', '.join(map(repr, LEVELS))}")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = read_openvino(ir_file)
    kept = kept_layers(model, *LEVELS[level])
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(crops.transpose(0, 3, 1, 2)[:, None])),
        subset_size=len(crops),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=kept) if kept else None,
    )
    return save_openvino(quantised, Path(folder) / f"{NAME}.xml", recipe, half=False)


def choose_level(
    ir_file: str | Path,
    folder: str | Path,
    recipe: Recipe,
    crops: np.ndarray,
    gain: Callable[[Path], tuple[float, float, float]],
    max_loss: float,
) -> tuple[str, Path, dict[str, tuple[float, float, float]]]:
    """The first of LEVELS that loses at most max_loss points; where none does, the one that loses least.

    gain: an INT8 file -> points gained over the network with its interval (low, high), on persons whom no score is
    reported of: a level chosen on those who score it would look better than it is. Returns the level, its file in the
    folder and what every level that was tried gained.
    """
    gains = {}
    for level in LEVELS:
        file = quantise(ir_file, folder, recipe, crops, level)
        gains[level] = gain(file)
        if gains[level][0] >= -max_loss:
            return level, file, gains
    best = max(gains, key=lambda one: gains[one][0])
    return best, file if best == level else quantise(ir_file, folder, recipe, crops, best), gains


def kept_layers(model: ov.Model, first: int, last: int) -> list[str]:
    """Names of the first and the last convolutions, in order of computation."""
    names = [op.get_friendly_name() for op in model.get_ordered_ops() if "Convolution" in op.get_type_name()]
    return names[:first] + names[len(names) - last :]


def num_quantised(ir_file: str | Path) -> int:
    """How many places of a model are rounded to 8 bits; 0 for one that isn't quantised."""
    return sum(op.get_type_name() == "FakeQuantize" for op in read_openvino(ir_file).get_ordered_ops())


@dataclass(frozen=True)
class Rounded:
    """What a layer of an INT8 file puts out for one crop, and what the next layer gets of it."""

    name: str
    before: np.ndarray  # (1, C, h, w) float32
    after: np.ndarray  # the same, on `levels` values from low to high
    low: float
    high: float
    levels: int


def rounded_layer(int8_file: str | Path, crop: np.ndarray, num_channels: int) -> Rounded:
    """The last layer of so many channels that is rounded with one range for all, or of any number where none has so many.

    int8_file: of `quantise`; crop (H, W, 3) uint8 BGR. ValueError where no layer is rounded.
    """
    model = read_openvino(int8_file)
    places = [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize" and _ranges(op)[0].size == 1]
    if not places:
        raise ValueError(f"{int8_file}: no layer is rounded to 8 bits; give a file of 06's INT8 folder")
    wanted = [op for op in places if op.get_output_partial_shape(0)[1] == num_channels]
    place = (wanted or places)[-1]
    part = ov.Model([place.input_value(0), place.output(0)], model.get_parameters())
    found = openvino_core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(crop.transpose(2, 0, 1)[None])
    low, high = (float(end.item()) for end in _ranges(place)[:2])
    levels = int(place.get_attributes()["levels"])
    return Rounded(place.get_friendly_name(), found[0].copy(), found[1].copy(), low, high, levels)


def _ranges(place: ov.Node) -> list[np.ndarray]:
    """Lower and upper end of what a FakeQuantize takes, and of what it gives."""
    return [place.input_value(i).get_node().get_data() for i in range(1, 5)]
