"""Exporting: a network as ONNX and as OpenVINO IR, in files that say what they are.

    onnx_file = export_onnx(network, recipe, "exported/human-pose-estimation.onnx")
    export_openvino(onnx_file, "exported/FP32", recipe)  # human-pose-estimation.xml and .bin

ONNX: input `data` (N, 3, H, W) float32, normalised as the recipe says; outputs `stage_{i}_output_1_heatmaps`
(N, num_heatmaps, H/8, W/8), i = 0 the initial stage. OpenVINO: input `data` (N, 3, H, W) uint8 BGR, as cv2 reads it,
with the recipe's channel order, mean and scale built in; one output, by default the last stage. Both carry the recipe's
name, sigma, input size and skeleton (`read_description`).
"""

import copy
import functools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from gccpm_lib.checkpoints import described
from gccpm_lib.datasets.records import DataError
from gccpm_lib.extras import extra
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import STRIDE, Recipe

with extra("export"):
    import onnx
    import openvino as ov
    from onnx import ModelProto
    from openvino.preprocess import ColorFormat, PrePostProcessor

INPUT = "data"
DESCRIPTION = "gccpm"  # the key of what the file says about itself
NAME = "human-pose-estimation"  # as the released scripts name it
PRECISIONS = ("FP32", "FP16")
LOOPS = {"Loop", "Scan", "If", "SequenceMap", "TensorIterator"}
MAX_ELEMENTS = 2**31  # numbers in one value of a graph; a crop of 8,192 x 8,192 pixels makes 2**29


def stage_name(stage: int) -> str:
    """Name of a stage's output, 0 the initial stage."""
    return f"stage_{stage}_output_1_heatmaps"


def description(recipe: Recipe) -> dict:
    """What a file says about itself: all that predicting with it takes, in plain JSON."""
    return described(recipe)


def export_onnx(network: GCCPM, recipe: Recipe, path: str | Path, dynamic_batch: bool = False) -> Path:
    """Network -> one ONNX file with all stages, for the recipe's input_size; checked by onnx before it is put in place.

    dynamic_batch: any number of pictures at once; otherwise one. Raises ValueError for a size that isn't whole cells.
    """
    path = Path(path)
    if any(side % STRIDE for side in recipe.input_size):
        raise ValueError(f"input_size {list(recipe.input_size)} must be multiples of {STRIDE} pixels")
    network = copy.deepcopy(network).cpu().float().eval()  # the caller's stays where it is
    example = torch.zeros(2 if dynamic_batch else 1, 3, *recipe.input_size)  # torch takes a 1 for a constant
    names = [stage_name(i) for i in range(network.shape["num_refinement_stages"] + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    torch.onnx.export(
        network.to(memory_format=torch.contiguous_format),
        (example,),
        beside,
        dynamo=True,
        input_names=[INPUT],
        output_names=names,
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}} if dynamic_batch else None,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(beside)
    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(description(recipe))})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, beside)
    return beside.replace(path)


def export_openvino(
    onnx_file: str | Path,
    folder: str | Path,
    recipe: Recipe,
    precision: str = "FP32",
    stage: int = -1,
    layout: str = "NCHW",
) -> Path:
    """ONNX file of `export_onnx` -> human-pose-estimation.xml and .bin in the folder; the .xml's path.

    precision: of the stored weights, "FP32" or "FP16". stage: the output that is kept, -1 the last; what comes behind it
    is cut off. layout: of the input, "NCHW" as the model zoo's demos give it, or "NHWC" as cv2 reads a picture.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not known; known: {', '.join(PRECISIONS)}")
    names = output_names(onnx_file)
    if not -len(names) <= stage < len(names):
        raise ValueError(f"{onnx_file}: no stage {stage}; it has {len(names)}: {', '.join(names)}")
    model = ov.convert_model(onnx_file, output=names[stage])
    return save_openvino(with_pixels(model, recipe, layout), Path(folder) / f"{NAME}.xml", recipe, precision == "FP16")


def with_pixels(model: ov.Model, recipe: Recipe, layout: str = "NCHW") -> ov.Model:
    """The model with uint8 BGR pictures as its input: channel order, mean and scale of the recipe become part of it."""
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout(layout)).set_color_format(ColorFormat.BGR)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    pixels = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if recipe.channels == "rgb":
        pixels.convert_color(ColorFormat.RGB)
    pixels.mean(list(recipe.mean)).scale(list(recipe.std))
    return steps.build()


def save_openvino(model: ov.Model, path: Path, recipe: Recipe, half: bool) -> Path:
    """Write the .xml and its .bin, both beside and then renamed, with what the file says about itself."""
    model.set_rt_info(json.dumps(description(recipe)), [DESCRIPTION])
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}.part.xml")
    ov.save_model(model, beside, compress_to_fp16=half)
    beside.with_suffix(".bin").replace(path.with_suffix(".bin"))
    return beside.replace(path)


def output_names(onnx_file: str | Path) -> list[str]:
    """Names of an ONNX file's outputs, initial stage first."""
    return [output.name for output in read_onnx(onnx_file).graph.output]


def read_onnx(path: str | Path) -> ModelProto:
    """DataError where it isn't an ONNX file, keeps data outside its folder, or holds what no such network does.

    The `onnx` package refuses external data that is absolute, outside the folder, a link or pipe, or shorter than told.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf and the operating system have their own classes
        raise DataError(
            f"{path}: not a readable ONNX file ({' '.join(str(error).split())[:120]}); export it again"
        ) from error
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    _check_operations(path, [node.op_type for node in nodes])
    _check_elements(path, _onnx_shapes(model))
    return model


def _onnx_shapes(model: ModelProto) -> list[list[int]]:
    """Known lengths of the sides of every value of a graph, as far as ONNX can tell them without running it."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:  # weights don't matter, lists of sizes do
        if np.prod(tensor.dims, dtype=float) > 64:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # it will be told when the file is run
        graph = bare.graph
    values = [value.type.tensor_type.shape.dim for value in [*graph.value_info, *graph.output, *graph.input]]
    return [[side.dim_value for side in sides] for sides in values] + [list(t.dims) for t in graph.initializer]


def _check_operations(path: str | Path, names: Iterable[str]) -> None:
    """DataError for operations that repeat or branch: such a graph may never end."""
    odd = sorted(set(names) & LOOPS)
    if odd:
        raise DataError(f"{path}: has {', '.join(odd)}, which no network of this kind needs; don't use this file")


def _check_elements(path: str | Path, shapes: Iterable[Sequence[int]]) -> None:
    """DataError for a value that would fill the memory; sides of 0 are free."""
    largest = max((math.prod(side for side in sides if side > 0) for sides in shapes), default=0)
    if largest > MAX_ELEMENTS:
        raise DataError(f"{path}: claims {largest:,} numbers for one of its values; don't use this file")


@functools.cache
def openvino_core() -> ov.Core:
    """The process's one Core, never given up.

    On CPUs with AMX a Core brings its own stack for signal handlers. Of two, the one made later puts back the stack of
    the earlier when it goes; if that is gone already, the next Ctrl-C kills the process (seen with OpenVINO 2026).
    """
    return ov.Core()


def read_openvino(path: str | Path) -> ov.Model:
    """IR file -> model; DataError where it can't be read or its .bin is missing."""
    path = Path(path)
    if path.is_file() and not path.with_suffix(".bin").is_file():
        raise DataError(f"{path}: {path.with_suffix('.bin').name} is missing beside it; copy both files")
    try:
        model = openvino_core().read_model(path)
    except Exception as error:  # openvino raises RuntimeError and more
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: not a readable OpenVINO model ({reason}); export it again") from error
    operations = model.get_ops()
    _check_operations(path, (operation.get_type_name() for operation in operations))
    shapes = (output.partial_shape for operation in operations for output in operation.outputs())
    _check_elements(path, ([side.get_length() for side in s if side.is_static] for s in shapes if s.rank.is_static))
    return model


def read_description(path: str | Path) -> dict:
    """What an exported file says about itself, see `description`; {} for a file of other make."""
    if Path(path).suffix.lower() == ".onnx":
        text = {item.key: item.value for item in read_onnx(path).metadata_props}.get(DESCRIPTION, "{}")
    else:
        model = read_openvino(path)
        text = model.get_rt_info([DESCRIPTION]).astype(str) if model.has_rt_info([DESCRIPTION]) else "{}"
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: what it says about itself is no JSON object; export it again") from error


def largest_difference(maps: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference between two sets of maps."""
    return float(np.abs(np.asarray(maps, np.float64) - np.asarray(reference, np.float64)).max())
