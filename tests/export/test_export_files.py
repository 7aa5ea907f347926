"""Exporting: what plain onnxruntime and OpenVINO, outside the library, find in the files."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
import torch
from conftest import lively_network, noise_picture

from gccpm_lib.datasets.records import DataError
from gccpm_lib.export import files as exporting
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.skeletons import Skeleton

SMALL_LIP, SMALL_COCO = replace(LIP_MODERN, input_size=(64, 64)), replace(COCO_MODERN, input_size=(64, 48))


def network_of(recipe, stages=1, **shape):
    return lively_network(stages, upsampling=recipe.upsampling, **shape)


def maps_of(network, recipe, pictures):
    with torch.inference_mode():
        return [maps.numpy() for maps in network(normalise(torch.from_numpy(pictures), recipe))]


@pytest.fixture(scope="module", params=[SMALL_LIP, SMALL_COCO], ids=["lip", "coco"])
def exported(request, tmp_path_factory):
    recipe = request.param
    network = network_of(recipe)
    path = exporting.export_onnx(network, recipe, tmp_path_factory.mktemp("exported") / "human-pose-estimation.onnx")
    return network, recipe, path


def test_onnx_names_shapes_and_parity(exported):
    network, recipe, path = exported
    session = onnxruntime.InferenceSession(path)
    (data,) = session.get_inputs()
    height, width = recipe.input_size
    assert (data.name, data.shape, data.type) == ("data", [1, 3, height, width], "tensor(float)")
    names = [output.name for output in session.get_outputs()]
    assert names == ["stage_0_output_1_heatmaps", "stage_1_output_1_heatmaps"]
    picture = noise_picture(height, width)[None]
    found = session.run(None, {"data": normalise(torch.from_numpy(picture), recipe).numpy()})
    for maps, reference in zip(found, maps_of(network, recipe, picture), strict=True):
        assert exporting.largest_difference(maps, reference) <= 1e-4


def test_onnx_is_one_checked_file(exported):
    _, _, path = exported
    assert [file.name for file in path.parent.iterdir() if not file.is_dir()] == [path.name]
    onnx.checker.check_model(str(path), full_check=True)


def test_dynamic_batch(tmp_path):
    network = network_of(SMALL_LIP)
    path = exporting.export_onnx(network, SMALL_LIP, tmp_path / "n.onnx", dynamic_batch=True)
    pictures = np.stack([noise_picture(64, 64, seed) for seed in range(3)])
    session = onnxruntime.InferenceSession(path)
    for count in (1, 3):
        data = normalise(torch.from_numpy(pictures[:count]), SMALL_LIP).contiguous().numpy()
        maps = session.run(["stage_1_output_1_heatmaps"], {"data": data})[0]
        assert exporting.largest_difference(maps, maps_of(network, SMALL_LIP, pictures[:count])[1]) <= 1e-4


@pytest.mark.parametrize("context", ["none", "ppm", "aspp", "matched"])
def test_every_context_block_can_be_exported(context, tmp_path):
    network = network_of(SMALL_LIP, context=context)
    path = exporting.export_onnx(network, SMALL_LIP, tmp_path / "n.onnx")
    picture = noise_picture(64, 64)[None]
    maps = onnxruntime.InferenceSession(path).run(None, {"data": normalise(torch.from_numpy(picture), SMALL_LIP).numpy()})
    assert exporting.largest_difference(maps[-1], maps_of(network, SMALL_LIP, picture)[-1]) <= 1e-4


def run_plainly(path, picture, layout):
    """The IR in OpenVINO alone, given a picture as cv2 reads it."""
    compiled = exporting.openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert compiled.input().element_type == ov.Type.u8 and len(compiled.outputs) == 1
    data = picture[None] if layout == "NHWC" else picture.transpose(2, 0, 1)[None]
    return compiled.output().get_any_name(), compiled(data)[0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_openvino_takes_plain_pictures(exported, tmp_path, layout):
    network, recipe, onnx_file = exported
    path = exporting.export_openvino(onnx_file, tmp_path, recipe, layout=layout)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["human-pose-estimation.bin", "human-pose-estimation.xml"]
    picture = noise_picture(*recipe.input_size)
    name, maps = run_plainly(path, picture, layout)
    assert name == "stage_1_output_1_heatmaps"
    assert exporting.largest_difference(maps, maps_of(network, recipe, picture[None])[1]) <= 1e-4


def test_half_precision_halves_the_file(exported, tmp_path):
    network, recipe, onnx_file = exported
    sizes, picture = {}, noise_picture(*recipe.input_size)
    for precision in ("FP32", "FP16"):
        path = exporting.export_openvino(onnx_file, tmp_path / precision, recipe, precision)
        sizes[precision] = path.with_suffix(".bin").stat().st_size
        reference = maps_of(network, recipe, picture[None])[1]
        assert (
            exporting.largest_difference(run_plainly(path, picture, "NCHW")[1], reference) < 0.02 * np.abs(reference).max()
        )
    assert sizes["FP16"] < 0.51 * sizes["FP32"]


def test_any_stage_can_be_the_output(exported, tmp_path):
    network, recipe, onnx_file = exported
    picture = noise_picture(*recipe.input_size)
    name, maps = run_plainly(exporting.export_openvino(onnx_file, tmp_path, recipe, stage=0), picture, "NCHW")
    assert name == "stage_0_output_1_heatmaps"
    assert exporting.largest_difference(maps, maps_of(network, recipe, picture[None])[0]) <= 1e-4


def test_files_say_what_they_are(exported, tmp_path):
    _, recipe, onnx_file = exported
    ir_file = exporting.export_openvino(onnx_file, tmp_path, recipe, "FP16")
    for path in (onnx_file, ir_file):
        said = exporting.read_description(path)
        assert said == exporting.description(recipe)
        assert Skeleton.from_dict(said["skeleton"]) == recipe.skeleton


def test_exporting_leaves_the_network_as_it_was(tmp_path):
    network = network_of(SMALL_LIP)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    exporting.export_onnx(network, SMALL_LIP, tmp_path / "n.onnx")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_wrong_requests_are_refused(exported, tmp_path):
    _, recipe, onnx_file = exported
    with pytest.raises(ValueError, match="multiples of 8"):
        exporting.export_onnx(lively_network(), replace(recipe, input_size=(60, 64)), tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"stage 2.*has 2"):
        exporting.export_openvino(onnx_file, tmp_path, recipe, stage=2)
    with pytest.raises(ValueError, match="FP32, FP16"):
        exporting.export_openvino(onnx_file, tmp_path, recipe, "INT4")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"a\.onnx"):
        exporting.read_description(tmp_path / "a.onnx")
    (tmp_path / "a.xml").write_text("<net/>")
    with pytest.raises(DataError, match=r"a\.bin is missing"):
        exporting.read_openvino(tmp_path / "a.xml")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.xml"):
        exporting.read_openvino(tmp_path / "a.xml")
