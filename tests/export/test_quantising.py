"""Quantising: INT8 files run in plain OpenVINO, stay near the network, and keep the layers that they are told to keep."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import lively_network, noise_picture, person
from IPython.display import Markdown

from gccpm_lib.export import engines, quantising
from gccpm_lib.export import files as exporting
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06_export.ipynb"
SMALL = replace(LIP_MODERN, input_size=(64, 64))
CROPS = np.stack([noise_picture(64, 64, seed) for seed in range(8)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    onnx_file = exporting.export_onnx(lively_network(1), SMALL, folder / "n.onnx")
    return folder, exporting.export_openvino(onnx_file, folder / "FP32", SMALL)


@pytest.fixture(scope="module")
def int8(exported):
    folder, ir_file = exported
    return quantising.quantise(ir_file, folder / "INT8", SMALL, CROPS)


def test_int8_runs_in_plain_openvino_and_stays_near(exported, int8):
    assert quantising.num_quantised(int8) > 30 and quantising.num_quantised(exported[1]) == 0
    compiled = exporting.openvino_core().compile_model(int8, "CPU")
    maps = compiled(CROPS[:1].transpose(0, 3, 1, 2))[0]
    reference = engines.open_network(exported[1], SMALL)(CROPS[:1])
    assert 0 < np.abs(maps - reference).mean() < 0.1 * reference.std()


def test_weights_are_stored_in_bytes(exported, int8):
    assert int8.with_suffix(".bin").stat().st_size < 0.3 * exported[1].with_suffix(".bin").stat().st_size


def test_int8_file_says_what_it_is(int8):
    assert exporting.read_description(int8) == exporting.description(SMALL)
    assert engines.open_predictor(int8).predict(noise_picture(80, 60)).shape == (1, 16, 3)


def test_kept_layers_are_the_first_and_the_last(exported, int8):
    model = exporting.read_openvino(exported[1])
    names = [op.get_friendly_name() for op in model.get_ordered_ops() if "Convolution" in op.get_type_name()]
    assert quantising.kept_layers(model, 1, 2) == [names[0], *names[-2:]]
    assert quantising.kept_layers(model, 0, 0) == []
    kept = quantising.quantise(exported[1], exported[0] / "kept", SMALL, CROPS, "first and last layers kept")
    assert quantising.num_quantised(kept) < quantising.num_quantised(int8)


def test_a_layer_is_rounded_in_the_file_as_by_hand(int8):
    """The notebook's own cells: scale, zero point and levels, against what OpenVINO hands on."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "by-hand" in cell["metadata"].get("tags", ())]
    names = {"quantising": quantising, "int8_file": int8, "crops": CROPS, "values": SMALL, "np": np, "Markdown": Markdown}
    for source in sources:
        exec(source, names)
    assert names["layer"].levels == 2 ** names["bits"] == 256 and names["layer"].before.shape[1] == SMALL.num_heatmaps
    assert names["off"] < 1e-2 and len(np.unique(names["q"])) > 5
    inside = (names["x"] > names["layer"].low) & (names["x"] < names["layer"].high)
    assert np.abs(names["by_hand"] - names["x"])[inside].max() <= 0.5001 * names["scale"]


def test_a_file_in_32_bits_has_no_rounded_layer(exported):
    with pytest.raises(ValueError, match="no layer is rounded to 8 bits"):
        quantising.rounded_layer(exported[1], CROPS[0], SMALL.num_heatmaps)


def test_unknown_level_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="'all layers'"):
        quantising.quantise(exported[1], tmp_path, SMALL, CROPS, "most")


@pytest.mark.parametrize(("recipe", "box"), [(LIP_MODERN, None), (COCO_MODERN, (10, 10, 40, 60))])
def test_calibration_crops_are_drawn_from_the_persons(tmp_path, recipe, box):
    recipe = replace(recipe, input_size=(64, 48) if box else (64, 64))
    for row in range(5):
        cv2.imwrite(str(tmp_path / f"{row}.png"), noise_picture(100, 80, row))
    persons = [person(np.zeros((16, 3)), box, tmp_path / f"{row}.png") for row in range(5)]
    crops = quantising.calibration_crops(persons, recipe, 3)
    assert crops.shape == (3, *recipe.input_size, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, quantising.calibration_crops(persons, recipe, 3))
    assert len(quantising.calibration_crops(persons, recipe, 99)) == 5


INTERRUPTED = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
import numpy as np
from gccpm_lib.export import engines, quantising
from gccpm_lib.recipes import LIP_MODERN
faulthandler.enable()  # Jupyter's kernels do so too
ir_file, folder = Path(sys.argv[1]), Path(sys.argv[2])
recipe = engines.model_recipe(ir_file)
first, second = (engines.OpenvinoNetwork(ir_file, recipe) for _ in range(2))
quantising.quantise(ir_file, folder / "INT8", recipe, np.zeros((2, 64, 64, 3), np.uint8))
del first
gc.collect()
del second
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted as usual")
"""


def test_an_interrupt_after_openvino_is_an_interrupt(exported, tmp_path):
    """Each Core brings a stack for signal handlers on CPUs with AMX; one left dangling turns Ctrl-C into a crash."""
    command = [sys.executable, "-c", INTERRUPTED, str(exported[1]), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.stdout.endswith("interrupted as usual\n"), (ended.returncode, ended.stderr[-500:])


@pytest.mark.parametrize(
    ("losses", "tried", "level"),
    [
        ([-0.4], 1, "all layers"),
        ([-0.6, -0.5], 2, "last layers kept"),
        ([-3.0, -0.9, -2.0], 4, "last layers kept"),  # none is good enough: quantised once more, as what loses least
        ([-3.0, -2.0, -0.9], 3, "first and last layers kept"),
    ],
)
def test_the_first_level_that_loses_little_enough_is_kept(monkeypatch, tmp_path, losses, tried, level):
    made, answers = [], iter(losses)
    monkeypatch.setattr(quantising, "quantise", lambda *given: made.append(given[-1]) or tmp_path / given[-1])
    kept, file, gains = quantising.choose_level(
        "ir.xml", tmp_path, SMALL, CROPS, lambda _: (next(answers), -9.0, 9.0), max_loss=0.5
    )
    assert (kept, file.name, len(made)) == (level, level, tried)
    assert [gain for gain, _, _ in gains.values()] == losses


def test_nobody_to_calibrate_with_is_refused():
    with pytest.raises(ValueError, match="lower num_choice_persons"):
        quantising.calibration_crops([], SMALL)
