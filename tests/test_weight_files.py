"""Weight files from elsewhere: none runs code, none lies about its size; our .safetensors predict from one file alone."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from argparse import ArgumentParser
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import lively_network, noise_picture
from safetensors import safe_open
from safetensors.torch import save_file

from gccpm_lib import weight_files
from gccpm_lib.checkpoints import load_network, read_checkpoint, recipe_of, save_network
from gccpm_lib.cli import predict as predict_command
from gccpm_lib.export import engines
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.skeletons import Skeleton
from gccpm_lib.training.checkpointing import start_hash
from gccpm_lib.training.run import Run

RECIPE = replace(LIP_MODERN, input_size=(64, 64), sigma=5.0)


class Evil:
    """Unpickling it would create a file."""

    def __init__(self, trace, call):
        self.trace, self.call = str(trace), call

    def __reduce__(self):
        if self.call is open:
            return open, (self.trace, "w")
        code = f"open({self.trace!r}, 'w')"
        return self.call, (f"touch '{self.trace}'" if self.call is os.system else code,)


def zipped(content: bytes) -> bytes:
    """What torch.save writes around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/byteorder", b"little")
        file.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    """The form before PyTorch 0.1.10: a tar of pickles."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def legacy(content: bytes) -> bytes:
    """PyTorch 0.1.10 to 1.5: magic number, protocol, system, then the pickle itself."""
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + content + pickle.dumps([], 2)


WRAPPERS = {"bare": bytes, "zip": zipped, "legacy": legacy, "tar": tarred}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("call", [os.system, eval, exec, open], ids=lambda call: call.__name__)
@pytest.mark.parametrize("form", WRAPPERS)
@pytest.mark.parametrize("name", ["a.pt", "a.pth.tar", "a.tar", "a.bin", "a.safetensors"])
def test_no_pickle_runs_code(tmp_path, form, call, name):
    trace = tmp_path / "trace"
    payload = pickle.dumps({"state_dict": Evil(trace, call)}, 2)
    pickle.loads(payload)
    assert trace.exists()  # the payload does its work where it is let
    trace.unlink()
    (tmp_path / name).write_bytes(WRAPPERS[form](payload))
    with pytest.raises(ValueError, match=rf"^\S*{name}: not a checkpoint of tensors, or cut off; nothing in it was run \("):
        read_checkpoint(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED], ids=["compressed", "overlapping"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, method):
    """Compressed zeros; and one part that the directory at the end lists thousands of times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}, 2))
        file.writestr("archive/data/0", b"\0" * 20_000_000 if method == zipfile.ZIP_DEFLATED else b"\0" * 20_000)
        if method == zipfile.ZIP_STORED:
            file.filelist += [file.filelist[1]] * 3000
            file._didModify = True
    (tmp_path / "bomb.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"bomb\.pt: .*unpack to more than the file"):
        read_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("flip_at", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_damaged_zip_is_refused(tmp_path, flip_at):
    """PyTorch's own reader takes numbers whose bits have changed for numbers."""
    path = tmp_path / "damaged.pt"
    torch.save(lively_network(0, num_channels=8).state_dict(), path)
    content = bytearray(path.read_bytes())
    start = int(flip_at * len(content))
    content[start : start + 64] = bytes(byte ^ 255 for byte in content[start : start + 64])  # parts stand 64 bytes apart
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.pt: "):
        read_checkpoint(path)


def lying_header(header: dict | bytes, data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


BIAS = "initial_stage.heatmaps.1.0.bias"
HEADERS = {
    "longer than the file": lying_header({}, length=2**40),
    "length beyond 64 bits": lying_header({}, length=2**64 - 1),
    "no JSON": lying_header(b"{nonsense"),
    "nested": lying_header(b"[" * 100_000),
    "offsets behind the end": lying_header({BIAS: {"dtype": "F32", "shape": [17], "data_offsets": [0, 10**12]}}),
    "shape larger than its bytes": lying_header({BIAS: {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 64]}}),
    "shape that overflows": lying_header({BIAS: {"dtype": "F32", "shape": [2**62, 16], "data_offsets": [0, 64]}}),
    "negative offsets": lying_header({BIAS: {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]}}),
    "unknown dtype": lying_header({BIAS: {"dtype": "OBJ", "shape": [16], "data_offsets": [0, 64]}}),
    "no header at all": b"",
    "a tensor twice": lying_header(b"{%s,%s}" % ((b'"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}',) * 2)),
    "more tensors than any network": lying_header(
        {f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    ),
}


@pytest.mark.parametrize("lie", HEADERS)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, lie):
    (tmp_path / "lie.safetensors").write_bytes(HEADERS[lie])
    with pytest.raises(ValueError, match=r"lie\.safetensors"):
        load_network(tmp_path / "lie.safetensors", "bilinear")


# sizes


WRONG_SHAPES = {
    "stages": ({"num_refinement_stages": 10**9}, "says num_refinement_stages 1000000000, not 1"),
    "heatmaps": ({"num_heatmaps": 10**12}, "says num_heatmaps 1000000000000, not 17"),
    "text": ({"num_channels": "many"}, "says num_channels many, not 8"),
    "nan": ({"num_channels": float("nan")}, "says num_channels nan, not 8"),
    "context of another type": ({"context": ["ushape"]}, "its shape makes no sense"),
    "unknown context": ({"context": "evil"}, "context 'evil' is not known"),
    "unknown upsampling": ({"upsampling": "evil"}, "upsampling 'evil' is not known"),
    "no upsampling": ({"upsampling": None}, "its shape makes no sense"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("lie", WRONG_SHAPES)
def test_an_absurd_shape_is_refused(tmp_path, lie, suffix):
    network, (changes, message) = lively_network(1, num_channels=8), WRONG_SHAPES[lie]
    path, shape = tmp_path / f"lie{suffix}", {**network.shape, **changes}
    if suffix == ".pt":
        torch.save({"network": network.state_dict(), "shape": shape}, path)
    else:
        save_file(network.state_dict(), path, {"shape": json.dumps(shape)})
    with pytest.raises(ValueError, match=rf"lie\{suffix}: .*{message}"):
        load_network(path)


SAID = {
    "shape": ["{", "[]", "null", "3", "[" * 5000, '{"context": 3}'],
    "recipe": ["{", "[]", "3", "lip-modern"],
    "sigma": ["NaN", "Infinity", "-1", "0", '"7"', "true", "1e999", "[7]"],
    "sure_peak": ["NaN", "-1", "0", '"0.5"', "null", "[0.5]"],
    "input_size": ["[1000000000, 1000000000]", "[64]", "[64, 64.5]", "64", "[-64, 64]", "{}", "[true, 64]", "null"],
    "skeleton": ["{}", "[]", '{"name": 1}', '{"name": "a", "joints": [], "limbs": [], "flip_pairs": [], "sigmas": []}',
                 '{"name": "a", "joints": ["b"], "limbs": [[0, Infinity]], "flip_pairs": [], "sigmas": []}'],
}  # fmt: skip


@pytest.mark.parametrize("key, text", [(key, text) for key, texts in SAID.items() for text in texts])
def test_metadata_that_makes_no_sense_is_refused(tmp_path, key, text):
    path = tmp_path / "lie.safetensors"
    save_file({"a": torch.zeros(1)}, path, {key: text})
    for read in (read_checkpoint, load_network, recipe_of, engines.open_predictor):
        with pytest.raises(ValueError, match=r"lie\.safetensors"):
            read(path)


@pytest.mark.parametrize("shape", [(10**9,), (10**12,), (1001,)])
def test_one_number_shown_as_a_million_is_refused(tmp_path, shape):
    """A tensor of PyTorch may say any size with steps of zero; the file holds one number of it."""
    weights = lively_network(0, num_channels=8).state_dict()
    weights[BIAS] = torch.zeros(1).expand(shape)
    torch.save(weights, tmp_path / "lie.pt")
    with pytest.raises(ValueError, match=r"lie\.pt: .*(bytes in a file of|no such network has so many)"):
        load_network(tmp_path / "lie.pt", "bilinear")


@pytest.mark.parametrize("tensor", [torch.empty(10**9, device="meta"), torch.zeros(17).to_sparse()], ids=["meta", "sparse"])
def test_tensors_without_numbers_are_refused(tmp_path, tensor):
    torch.save({**lively_network(0, num_channels=8).state_dict(), BIAS: tensor}, tmp_path / "lie.pt")
    with pytest.raises(ValueError, match=rf"lie\.pt: {BIAS} is not a plain tensor"):
        load_network(tmp_path / "lie.pt", "bilinear")


def test_a_small_file_that_asks_for_a_large_network_gets_none(tmp_path):
    """50 stages of 1000 maps would take gigabytes; the file names their first layers and holds nothing of them."""
    weights = {BIAS: torch.zeros(1000), "cpm.1.0.bias": torch.zeros(2048)}
    weights |= {f"refinement_stages.{stage}.x": torch.zeros(1) for stage in range(50)}
    save_file(weights, tmp_path / "lie.safetensors")
    with pytest.raises(ValueError, match=r"lie\.safetensors: does not fit this network"):
        load_network(tmp_path / "lie.safetensors", "bilinear")
    save_file({**weights, "refinement_stages.50.x": torch.zeros(1)}, tmp_path / "lie.safetensors")
    with pytest.raises(ValueError, match="num_refinement_stages 51: no such network has so many"):
        load_network(tmp_path / "lie.safetensors", "bilinear")


# our own .safetensors


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("recipe", [RECIPE, replace(COCO_MODERN, input_size=(64, 32))], ids=lambda r: r.name)
def test_one_file_predicts(tmp_path, recipe, half, recwarn):
    network = lively_network(1, upsampling=recipe.upsampling, num_channels=16)
    path = save_network(tmp_path / "n.safetensors", network, recipe, half, {"licence": "CC0", "scores": {"AP": 61.5}})
    loaded = load_network(path)
    assert loaded.shape == network.shape and not loaded.training and not recwarn.list
    for key, value in loaded.state_dict().items():
        own = network.state_dict()[key]
        assert value.dtype == own.dtype
        assert torch.equal(value, own.half().to(own.dtype) if half and own.is_floating_point() else own)
    assert recipe_of(path) == engines.model_recipe(path) == recipe
    picture = noise_picture(70, 60)
    predictor = engines.open_predictor(path)
    np.testing.assert_array_equal(predictor.predict(picture), PosePredictor(loaded, recipe).predict(picture))
    assert read_checkpoint(path)["about"] == {"licence": "CC0", "scores": {"AP": 61.5}}
    with safe_open(path, framework="pt") as file:
        assert all(
            isinstance(json.loads(text), dict | list | str | float) for k, text in file.metadata().items() if k != "format"
        )


def test_half_precision_is_half_the_size_and_what_it_cant_hold_is_refused(tmp_path):
    network = lively_network(0, num_channels=16)
    sizes = [save_network(tmp_path / f"{half}.safetensors", network, RECIPE, half).stat().st_size for half in (False, True)]
    assert sizes[1] < 0.52 * sizes[0]
    network.cpm[0][0].weight.data[0, 0, 0, 0] = 1e5  # above float16's 65504
    with pytest.raises(ValueError, match=r"big\.safetensors: cpm\.0\.0\.weight is nan, infinite or too large for half"):
        save_network(tmp_path / "big.safetensors", network, RECIPE, half=True)
    assert not (tmp_path / "big.safetensors").exists()
    with pytest.raises(ValueError, match=r"n\.pt: networks are published as \.safetensors"):
        save_network(tmp_path / "n.pt", network, RECIPE)


def test_own_joints_come_along(tmp_path):
    joints = ("nose", "left_hip", "right_hip")
    recipe = replace(COCO_MODERN, input_size=(64, 32), skeleton=Skeleton("ape", joints, ((1, 2),), ((1, 2),), (0.1,) * 3))
    save_network(
        tmp_path / "n.safetensors", lively_network(0, num_heatmaps=3, num_channels=8, upsampling="nearest"), recipe
    )
    predictor = engines.open_predictor(tmp_path / "n.safetensors")
    assert predictor.recipe == recipe and predictor.predict(noise_picture(40, 30)).shape == (1, 3, 3)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of shipped weights with one network, from which the MobileNet is left out."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(weight_files, "SHIPPED", folder)
    (folder / weight_files.SHIPPED_BACKBONE.name).touch()
    network = lively_network(0, num_channels=8)
    save_network(folder / "gccpm-v1.5.safetensors", network, RECIPE)
    save_network(folder / "gccpm-2stage-leeds.safetensors", network, RECIPE)
    return network


@pytest.mark.parametrize("name", ["gccpm-2stage-leeds", "gccpm-v1.5"])
def test_a_shipped_network_is_found_by_name(shipped, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for key, value in load_network(name).state_dict().items():
        assert torch.equal(value, shipped.state_dict()[key])
    assert recipe_of(name) == RECIPE and engines.open_predictor(name).recipe == RECIPE
    run = Run("data", "out", checkpoint_path=name)
    assert start_hash(run) == start_hash(replace(run, checkpoint_path=str(weight_files.find_checkpoint(name)))) != ""


def test_unknown_names_are_told_the_known_ones_and_paths_stay_paths(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (load_network, recipe_of, engines.open_predictor):
        with pytest.raises(FileNotFoundError, match=r"gccpm-big: .*those that do: gccpm-2stage-leeds, gccpm-v1\.5$"):
            read("gccpm-big")
    for path in ("weights/gccpm-2stage-leeds", "./gccpm-2stage-leeds", "gccpm-2stage-leeds.pt", "../gccpm-2stage-leeds"):
        with pytest.raises(FileNotFoundError, match="checkpoint missing"):
            load_network(path)
    torch.save(shipped.state_dict(), "mine")
    assert load_network("mine", "bilinear").shape == shipped.shape


def test_gccpm_predict_takes_the_file(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", noise_picture(50, 40))
    parser = ArgumentParser()
    predict_command.add_arguments(parser)
    answers = []
    for given in ("gccpm-2stage-leeds", "weights/gccpm-2stage-leeds.safetensors"):
        options = parser.parse_args(["a.png", "--checkpoint-path", given, "--output-name", "found.csv", "--overwrite"])
        assert predict_command.predict(options) == 0
        answers.append((tmp_path / "found.csv").read_text())
    assert answers[0] == answers[1] and "\na.png," in answers[0]


def test_odd_keys_and_complex_numbers_are_no_weights(tmp_path):
    network = lively_network()
    weights = network.state_dict()
    torch.save({**weights, 3: torch.ones(2)}, tmp_path / "odd.pt")
    assert load_network(tmp_path / "odd.pt").shape == network.shape
    key = next(iter(weights))
    torch.save({**weights, key: weights[key].to(torch.complex64)}, tmp_path / "complex.pt")
    with pytest.raises(ValueError, match="is not a plain tensor"):
        load_network(tmp_path / "complex.pt")
    torch.save({**weights, "cpm.1.0.bias": torch.ones(0)}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="num_channels 0: no such network"):
        load_network(tmp_path / "empty.pt")
