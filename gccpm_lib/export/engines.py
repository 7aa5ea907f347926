"""Engines: one way to run a network, whatever its file: PyTorch, ONNX (onnxruntime) or OpenVINO.

    predictor = open_predictor("exported/FP32/human-pose-estimation.xml", flip=True)
    keypoints = predictor.predict(cv2.imread("person.jpg"))  # (1, 16, 3): x, y, score

An exported network is a callable, pictures (N, H, W, 3) uint8 BGR and a stage -> maps (N, num_heatmaps, h, w) float32,
that `PosePredictor` takes in place of a PyTorch network. onnxruntime and OpenVINO, the extra `export`, are imported where
such a file is opened, so that a PyTorch network can do without them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gccpm_lib import checkpoints
from gccpm_lib.datasets.records import DataError
from gccpm_lib.extras import extra
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.recipes import Recipe, check_input_size, map_names
from gccpm_lib.timing import usable_cores


class OnnxNetwork:
    """An ONNX file in onnxruntime on the CPU. num_threads 0: one per core."""

    def __init__(self, path: str | Path, recipe: Recipe, num_threads: int = 0):
        with extra("export"):
            import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or usable_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave cores to others
        _exporting().read_onnx(path)  # for its clear error
        self.path, self.recipe = path, recipe
        with running(path):
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self.names = [output.name for output in self.session.get_outputs()]
            batch, _, *self.size = self.session.get_inputs()[0].shape
            _, num_heatmaps, *_ = self.session.get_outputs()[-1].shape
        self.one_by_one = batch == 1
        check_maps(path, num_heatmaps, recipe)

    def __call__(self, pictures: np.ndarray, stage: int = -1) -> np.ndarray:
        check_size(pictures, self.size)
        data = normalise(torch.from_numpy(pictures), self.recipe).contiguous().numpy()
        batches = np.split(data, len(data)) if self.one_by_one else [data]
        name = self.session.get_inputs()[0].name
        with running(self.path):
            maps = np.concatenate([self.session.run([self.names[stage]], {name: batch})[0] for batch in batches])
        check_maps(self.path, maps.shape[1], self.recipe)
        return maps


class OpenvinoNetwork:
    """An OpenVINO IR on the CPU, compiled for short latency or, throughput=True, for many pictures at once.

    precision: what is computed in, "f32" or "bf16"; "" is OpenVINO's own choice for this machine. num_threads 0: one per
    core. The last output counts; an IR holds one stage only, unless it is of other make.
    """

    def __init__(
        self, path: str | Path, recipe: Recipe, num_threads: int = 0, precision: str = "f32", throughput: bool = False
    ):
        with extra("export"):
            import openvino as ov
            from openvino.preprocess import PrePostProcessor

        model = _exporting().read_openvino(path)
        shape = list(model.input().partial_shape)  # (N, 3, H, W) or (N, H, W, 3)
        channels_first = shape[1].is_static and shape[1].get_length() == 3
        self.size = [_length(side) for side in (shape[2:] if channels_first else shape[1:3])]
        self.takes_pixels = model.input().element_type == ov.Type.u8
        self.one_by_one, self.recipe = shape[0].is_static, recipe
        check_maps(path, _length(model.outputs[-1].partial_shape[1]), recipe)
        if channels_first:  # pictures come as cv2 reads them
            steps = PrePostProcessor(model)
            steps.input().tensor().set_layout(ov.Layout("NHWC"))
            steps.input().model().set_layout(ov.Layout("NCHW"))
            model = steps.build()
        options = {"PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY"}
        options |= {"INFERENCE_NUM_THREADS": num_threads} if num_threads else {}
        options |= {"INFERENCE_PRECISION_HINT": precision} if precision else {}
        with running(path):
            self.compiled = _exporting().openvino_core().compile_model(model, "CPU", options)
        count = self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.requests = [self.compiled.create_infer_request() for _ in range(count)]

    def __call__(self, pictures: np.ndarray, stage: int = -1) -> np.ndarray:
        check_size(pictures, self.size)
        if stage != -1:
            raise ValueError(f"stage {stage}: an OpenVINO model holds one stage; export it with stage={stage}")
        if not self.takes_pixels:  # a file of other make, without mean and scale built in
            pictures = normalise(torch.from_numpy(pictures), self.recipe).permute(0, 2, 3, 1).contiguous().numpy()
        last = len(self.compiled.outputs) - 1
        if not self.one_by_one:
            return self.compiled(pictures)[last]
        maps, running = [], []
        for i in range(len(pictures)):  # requests take turns: one is read before it is given the next picture
            if len(running) == len(self.requests):
                maps.append(self._finished(running.pop(0), last))
            request = self.requests[i % len(self.requests)]
            request.start_async({0: pictures[i : i + 1]})
            running.append(request)
        return np.stack(maps + [self._finished(request, last) for request in running])

    @staticmethod
    def _finished(request, output: int) -> np.ndarray:
        request.wait()
        return request.get_output_tensor(output).data[0].copy()


def _exporting():
    from gccpm_lib.export import files

    return files


@contextlib.contextmanager
def running(path: str | Path) -> Iterator[None]:
    """What an engine says of a file that it can't run becomes a DataError of one line."""
    try:
        yield
    except Exception as error:  # onnxruntime and OpenVINO raise classes of their own
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: can't be run ({reason}); export it again") from error


def _length(side) -> int | None:
    """Of a dimension of OpenVINO; None where it is free."""
    return side.get_length() if side.is_static else None


def check_size(pictures: np.ndarray, size: Sequence) -> None:
    """ValueError where the crops haven't the size that a file was exported for; a side that is no number is free."""
    if any(isinstance(want, int) and side != want for side, want in zip(pictures.shape[1:3], size, strict=True)):
        height, width = pictures.shape[1:3]
        raise ValueError(
            f"the exported network takes {size[0]} x {size[1]} pixels, not {height} x {width}; export it for this size, or "
            "predict at a single scale"
        )


def check_maps(path: str | Path, num_heatmaps: int | str | None, recipe: Recipe) -> None:
    """ValueError where a file puts out other maps than the recipe's joints; no number: it doesn't tell."""
    if isinstance(num_heatmaps, int) and num_heatmaps != recipe.num_heatmaps:
        raise ValueError(
            f"{path}: {num_heatmaps} maps, but {recipe.name} has {recipe.num_heatmaps} ({recipe.skeleton.name}); give the "
            "recipe that it was trained with"
        )


def open_network(path: str | Path, recipe: Recipe, upsampling: str | None = None, **options):
    """A file of any of the three kinds, or the name of a network that ships, as `PosePredictor` takes it.

    options go to the engine.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return OnnxNetwork(path, recipe, **options)
    if suffix == ".xml":
        return OpenvinoNetwork(path, recipe, **options)
    network = checkpoints.load_network(path, upsampling)
    check_maps(path, network.shape["num_heatmaps"], recipe)
    return network


def model_recipe(path: str | Path, name: str = "", input_size: Sequence[int] | None = None) -> Recipe:
    """The recipe to predict with, as the file says or by name; ValueError where neither does.

    input_size (height, width) overrides the file's, which an exported network can't; ValueError unless whole cells.
    """
    path = checkpoints.find_checkpoint(path)
    if not path.is_file():
        raise DataError(f"{path}: no such model; train one with 02 or 03, export it with 06, or correct the path")
    exported = path.suffix.lower() in (".onnx", ".xml")
    said = _exporting().read_description(path) if exported else checkpoints.read_checkpoint(path)
    if not (name or said.get("recipe")):
        raise ValueError(f"{path} doesn't say its recipe; give one, such as recipe='lip-published'")
    recipe = checkpoints.recipe_in(said, name, input_size)
    trained = checkpoints.recipe_in(said) if said.get("recipe") else recipe
    if map_names(trained) != map_names(recipe):
        raise ValueError(f"{path}: its maps are those of {trained.name}, not of {recipe.name}; leave the recipe out")
    if exported and not (said or input_size):
        recipe = replace(recipe, input_size=_input_size(path, recipe))
    check_input_size(recipe)
    return recipe


def _input_size(path: str | Path, recipe: Recipe) -> tuple[int, int]:
    """Height and width of an exported network of other make, the recipe's where they are free."""
    if Path(path).suffix.lower() == ".onnx":
        shape = _exporting().read_onnx(path).graph.input[0].type.tensor_type.shape.dim
        size = [side.dim_value for side in shape]
    else:
        size = [_length(side) for side in _exporting().read_openvino(path).input().partial_shape]
    return tuple(own or side for own, side in zip(size[2:], recipe.input_size, strict=True))


def open_predictor(
    path: str | Path, recipe: str = "", upsampling: str | None = None, input_size: Sequence[int] | None = None,
    scales: Sequence[float] = (1.0,), flip: bool = False, device: str = "auto",
) -> PosePredictor:  # fmt: skip
    """A model file by its suffix (.pt .pth .tar .safetensors, .onnx, .xml) -> PosePredictor with the same answers.

    path may be the name of a network that ships (checkpoints.find_checkpoint). recipe: for files that don't say theirs.
    upsampling: for published checkpoints. device: of a PyTorch network.
    """
    values = model_recipe(path, recipe, input_size)
    return PosePredictor(open_network(path, values, upsampling), values, scales, flip, device)
