"""Devices: which is chosen, and that nothing on the way is left on another or waits for it, proven without a GPU.

PyTorch's fake tensors have a shape and a device but no values: mixing devices fails as on a GPU, and so does asking for a
value (`.item()`, `nonzero`). Backward on a fake "cuda" needs the driver, so whole training steps are walked on "meta",
which mixes with the CPU no more than cuda does; what asks for cuda by name (autocast, SyncBatchNorm) is walked forward.
"""

import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_same_end, lively_network, noise_picture, quiet, small_run, write_lip
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gccpm_lib import devices
from gccpm_lib.ablation import receptive_field
from gccpm_lib.export.inference_benchmark import EagerNetwork, TunedNetwork
from gccpm_lib.loading import Batch, no_samples
from gccpm_lib.prediction import predictor as predicting
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.prediction.shared_passes import SharedNetwork
from gccpm_lib.recipes import COCO_CORRECTED, LIP_CORRECTED, RECIPES, STRIDE
from gccpm_lib.training import distributed, norms
from gccpm_lib.training import loop as training
from gccpm_lib.training.loop import batch_losses, optimiser_step
from gccpm_lib.training.run import Run, State, Sums
from gccpm_lib.training.start import start

WALKED = "meta"
SCALES = (0.75, 1.0, 1.25)


class Copies(TorchDispatchMode):
    """Counts copies from one device to another: "to" and "from" the one that isn't the CPU."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        given, got = ({t.device.type for t in tree_leaves(x) if isinstance(t, torch.Tensor)} for x in (arguments, result))
        if given and got and given != got:
            self.seen["from" if got == {"cpu"} else "to"] += 1
        return result


@pytest.fixture
def pretended(monkeypatch):
    """Inside, tensors are fake, networks made before can be moved, and .numpy() gives zeros."""
    kinds = torch.utils._foreach_utils._get_fused_kernels_supported_devices() + [WALKED]
    for name in ("optimizer", "adam"):
        module = sys.modules[f"torch.optim.{name}"]
        monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: kinds, raising=False)
    monkeypatch.setattr(FakeTensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.float32), raising=False)
    monkeypatch.setattr(
        training,
        "autocast",
        lambda precision, device: contextlib.nullcontext() if device == WALKED else devices.autocast(precision, device),
    )
    predicting.on_device.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
    predicting.on_device.cache_clear()


@pytest.fixture
def pretended_cuda(pretended, monkeypatch):
    """The same, and the machine's card computes in half precision and bfloat16."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    devices.computes_in_bf16.cache_clear()
    yield "cuda:0"
    devices.computes_in_bf16.cache_clear()


def batch_of(recipe, count=2) -> Batch:
    height, width = recipe.input_size
    images = torch.zeros((count, height, width, 3), dtype=torch.uint8)
    maps = torch.zeros(count, recipe.num_heatmaps, height // STRIDE, width // STRIDE)
    return Batch([images, maps, torch.zeros(count, recipe.num_heatmaps), torch.zeros((count, 3), dtype=torch.int64)], [])


def started(tmp_path, device, **values) -> tuple[State, object]:
    """A new training on that device; its network is made before tensors are fake, as its weights are read."""
    run = Run("data", str(tmp_path / "run"), device=device, **{"input_size": (64, 64), **values})
    recipe = run.full_recipe()
    if recipe.crop == "box":
        recipe = replace(recipe, input_size=(64, 48))
    with real():
        network = lively_network(recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gccpm_lib.training.start.GCCPM", lambda *_, **__: network.train())
        return start(replace(run, from_mobilenet=False), recipe, say=quiet), recipe


def real() -> contextlib.AbstractContextManager:
    return torch._subclasses.fake_tensor.unset_fake_temporarily()


# ------------------------------------------------------------------------------------------------------ training steps


@pytest.mark.parametrize("values", [
    *({"recipe": name, "num_refinement_stages": 1} for name in RECIPES),
    {"precision": "float16", "frozen_layers": 5, "num_refinement_stages": 0},
    {"context": "aspp", "ema_decay": 0.0},
    {"context": "ppm", "ema_decay": 0.9},
], ids=lambda values: " ".join(map(str, values.values())))  # fmt: skip
def test_a_training_step_stays_on_its_device_and_waits_for_nothing(pretended, tmp_path, values):
    """Four tensors go to it for every micro-batch, and nothing comes back."""
    state, recipe = started(tmp_path, WALKED, **values)
    for _ in range(2):
        with Copies() as copies:
            losses, count = optimiser_step(state, [batch_of(recipe), batch_of(recipe, 3)], recipe, WALKED, 0.5)
        assert count == 5 and losses.device.type == WALKED and len(losses) == 1 + recipe.num_refinement_stages
    assert copies.seen == {"to": 2 * 4}
    assert {p.device.type for p in state.network.parameters()} == {WALKED}
    assert {p.grad.device.type for p in state.network.parameters() if p.requires_grad} == {WALKED}
    if state.average:
        assert {v.device.type for v in state.average.module.state_dict().values()} == {WALKED}


def test_a_step_without_a_readable_picture_stays_there_too(pretended, tmp_path):
    state, recipe = started(tmp_path, WALKED, num_refinement_stages=0, on_bad_sample="skip")
    optimiser_step(state, [batch_of(recipe), Batch(no_samples(recipe), [])], recipe, WALKED, 1.0)
    with Copies() as copies:
        losses, count = optimiser_step(state, [Batch(no_samples(recipe), [])], recipe, WALKED, 1.0)
    assert count == 0 and losses.device.type == WALKED and not copies.seen


def test_losses_come_back_in_one_copy_and_in_double_precision_on_the_cpu_alone(pretended):
    """MPS has no double precision."""
    sums = Sums()
    for _ in range(3):
        sums.add(torch.zeros(2, device=WALKED), 4, [])
    with Copies() as copies, contextlib.suppress(fake_tensor.DataDependentOutputException):  # whether they are finite
        sums.read()
    assert copies.seen == {"from": 1} and sums.losses.dtype == torch.float64 and sums.losses.device.type == "cpu"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["lip-published", "coco-modern"])
def test_the_forward_pass_of_a_step_on_cuda(pretended_cuda, tmp_path, name, precision):
    seen = []
    state, recipe = started(tmp_path, pretended_cuda, recipe=name, precision=precision, num_refinement_stages=1)
    state.network.cpm.register_forward_hook(lambda module, given, got: seen.append(got.dtype))
    for constants in (2, 0):  # mean and std go there once
        with Copies() as copies, torch.no_grad():
            losses = batch_losses(state, batch_of(recipe), recipe, pretended_cuda)
        assert copies.seen == {"to": 4 + constants}
    assert losses.device == torch.device(pretended_cuda) and losses.dtype == torch.float32
    assert seen == 2 * [getattr(torch, precision)]
    assert state.scaler.is_enabled() == (precision == "float16")


@pytest.mark.parametrize(
    "sync_norm, batch_size, joint", [(None, 32, False), (None, 31, True), (True, 64, True), (False, 2, False)]
)
def test_norms_are_joint_where_shares_are_small(monkeypatch, sync_norm, batch_size, joint):
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    run = Run("data", "out", sync_norm=sync_norm, batch_size=batch_size)
    network = norms.with_joint_norms(nn.Sequential(nn.BatchNorm2d(2)), run, run.full_recipe(), "cuda:1")
    assert type(network[0]) is (nn.SyncBatchNorm if joint else nn.BatchNorm2d)


def test_joint_norms_are_for_cuda(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    run = Run("data", "out", sync_norm=True, device="cpu")
    with pytest.raises(ValueError, match=r"sync_norm=True: .* needs cuda"):
        norms.with_joint_norms(nn.BatchNorm2d(2), run, run.full_recipe(), "cpu")


# ---------------------------------------------------------------------------------------------------------- predicting


@pytest.mark.parametrize("options", [{}, {"flip": True}, {"scales": SCALES}, {"scales": SCALES, "flip": True}], ids=str)
@pytest.mark.parametrize("recipe", [LIP_CORRECTED, COCO_CORRECTED], ids=lambda r: r.name)
def test_predicting_waits_once_a_pass(pretended, recipe, options):
    with real():
        network = lively_network(0)
    recipe = replace(recipe, input_size=(64, 64) if recipe.crop == "letterbox" else (64, 48))
    predictor = PosePredictor(network, recipe, device=WALKED, **options)
    images, boxes = [noise_picture(70, 60), noise_picture(50, 80)], [[(5, 5, 30, 40)], [(0, 0, 50, 45), (10, 10, 30, 30)]]
    predictor.predict_many(images, boxes)
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    with Copies() as copies:
        found = predictor.predict_many(images, boxes)
    assert [part.shape for part in found] == [(1, recipe.skeleton.num_joints, 3), (2, recipe.skeleton.num_joints, 3)]
    assert copies.seen == {"to": len(passes), "from": len(passes)}


def test_predicting_on_cuda_in_half_precision(pretended_cuda):
    with real():
        network = lively_network(0)
    recipe = replace(LIP_CORRECTED, input_size=(64, 64))
    predictor, seen = PosePredictor(network, recipe, device=pretended_cuda, precision="bfloat16"), []
    network.cpm.register_forward_hook(lambda module, given, got: seen.append(got.dtype))
    assert predictor.maps(np.zeros((2, 64, 64, 3), np.uint8)).dtype == np.float32 and seen == [torch.bfloat16]


@pytest.mark.parametrize("make", [SharedNetwork, EagerNetwork, TunedNetwork])
def test_other_ways_to_run_a_network_stay_on_their_device(pretended, make):
    recipe = replace(LIP_CORRECTED, input_size=(64, 64))
    with real():
        run = make(lively_network(1), recipe)
    run.network, run.device = run.network.to(WALKED), WALKED
    run(np.zeros((1, 64, 64, 3), np.uint8))
    with Copies() as copies:
        run(np.ones((2, 64, 64, 3), np.uint8), 0)
    assert copies.seen == {"to": 1, "from": 1}


def test_receptive_fields_are_found_on_the_networks_device(pretended):
    with real():
        network = lively_network(0)
    crops = normalise(torch.zeros((3, 64, 64, 3), dtype=torch.uint8), LIP_CORRECTED)
    with Copies() as copies:
        field = receptive_field.effective_field(network.to(WALKED), crops, 16)
    assert field.shape == (64, 64) and copies.seen["from"] == 1


# ------------------------------------------------------------------------------------- when a training asks the device


def test_losses_are_read_where_they_are_shown_and_change_nothing(tmp_path, monkeypatch):
    """ "cpu:0" is the CPU, but not the word for which reading costs nothing."""
    write_lip(tmp_path / "lip", (("train", 10), ("val", 0)))
    run = replace(small_run(tmp_path / "lip", tmp_path / "a"), num_val_persons=0, log_after=2, checkpoint_after=1000)
    reads, original = [], Sums.read
    monkeypatch.setattr(Sums, "read", lambda sums: (reads.append(len(sums.unread)), original(sums))[1])
    training.train(replace(run, device="cpu:0"), quiet)
    assert [n for n in reads if n] == [2, 2, 1] * 2  # after batches 2 and 4, and at the end of either epoch
    other = replace(run, output_folder=str(tmp_path / "b"), log_after=1000, device="cpu")
    training.train(other, quiet)
    assert_same_end(run, other)


def test_several_processes_ask_each_other_rarely(tmp_path, monkeypatch):
    write_lip(tmp_path / "lip", (("train", 24), ("val", 0)))
    run = replace(
        small_run(tmp_path / "lip", tmp_path / "a"), num_val_persons=0, num_epochs=1, batch_size=1, input_size=(32, 32)
    )
    asked, steps = [], []
    monkeypatch.setattr(training, "_alone", lambda: False)
    monkeypatch.setattr(distributed, "agreed", lambda number: asked.append(len(steps)) or number)
    original = training.optimiser_step
    monkeypatch.setattr(training, "optimiser_step", lambda *a: steps.append(1) or original(*a))
    training.train(replace(run, log_after=1000), quiet)
    assert asked == [10, 20, 24]


# ------------------------------------------------------------------------------------------------------------ choosing


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch):
    there = {"cuda": True, "mps": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    chosen = [devices.choose()]
    for kind in there:
        there[kind] = False
        chosen.append(devices.choose("auto"))
    assert chosen == ["cuda", "mps", "cpu"] and Run("data", "out").device == "auto"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_isnt_there_is_told_in_one_line():
    for name in ("cuda", "mps", "nonsense"):
        with pytest.raises(ValueError, match=f"device '{name}': this machine has none .*give 'auto'") as told:
            devices.choose(name)
        assert "\n" not in str(told.value)


def test_settings_of_a_training_are_put_back():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.conv.fp32_precision, torch.are_deterministic_algorithms_enabled()
    with devices.training_settings("cuda", deterministic=False):
        assert cudnn.benchmark and cudnn.conv.fp32_precision == "tf32" and not torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch, devices.training_settings("cuda", deterministic=True):
        assert not cudnn.benchmark and torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        patch.delenv("CUBLAS_WORKSPACE_CONFIG")
    assert before == (cudnn.benchmark, cudnn.conv.fp32_precision, torch.are_deterministic_algorithms_enabled())


def test_every_predictor_of_a_notebook_is_given_the_notebooks_device():
    """By default it would take a device of its own choice, whatever the parameter says."""
    calls = []
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("0*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
            calls += [(path.name, line) for line in source.splitlines() if "PosePredictor(network" in line]
    assert calls and not [call for call in calls if "device" not in call[1]]
