"""What only a GPU can show: the CPU's numbers, the same bits twice, no waiting. Skipped where there is none."""

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_same_end, lively_network, noise_picture, quiet, small_run, write_lip

from gccpm_lib import checkpoints
from gccpm_lib.ablation import receptive_field
from gccpm_lib.loading import Batch
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.recipes import COCO_CORRECTED, LIP_CORRECTED, RECIPES, STRIDE
from gccpm_lib.training import loop as training
from gccpm_lib.training.loop import optimiser_step
from gccpm_lib.training.run import Run
from gccpm_lib.training.start import start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
CUDA = "cuda"


@pytest.fixture
def exact(monkeypatch):
    """float32 is float32: no TF32, so that a GPU's numbers are the CPU's but for the order of sums."""
    monkeypatch.setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee")


@pytest.fixture
def run(tmp_path) -> Run:
    """Ten persons, two epochs, one refinement stage, checkpoints after every second batch."""
    write_lip(tmp_path / "lip", (("train", 10), ("val", 3)))
    return replace(
        small_run(tmp_path / "lip", tmp_path / "one"),
        num_refinement_stages=1,
        device=CUDA,
        deterministic=True,
        ema_decay=0.9,
    )


def elsewhere(run: Run, name: str, **values) -> Run:
    return replace(run, output_folder=str(Path(run.output_folder).parent / name), **values)


def batch_of(recipe, count=4) -> Batch:
    """Noise as a loader gives it, in memory that a GPU reads without waiting."""
    height, width = recipe.input_size
    dice = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=dice)
    maps = torch.rand(count, recipe.num_heatmaps, height // STRIDE, width // STRIDE, generator=dice)
    order = torch.tensor([[2, 0, 1]] * count)
    tensors = [images, maps, torch.ones(count, recipe.num_heatmaps), order]
    return Batch([tensor.pin_memory() for tensor in tensors], [])


def small(name: str) -> tuple:
    return (64, 64) if RECIPES[name].crop == "letterbox" else (64, 48)


def after_a_step(tmp_path, device: str, **values):
    """Losses (stages,) and the trained weights after one optimiser step on two micro-batches."""
    run = Run("data", str(tmp_path / device), device=device, num_refinement_stages=1, **values)
    recipe = run.full_recipe()
    state = start(run, recipe, say=quiet)
    state.network.train()
    losses, count = optimiser_step(state, [batch_of(recipe), batch_of(recipe, 3)], recipe, device, 1.0)
    assert count == 7
    gradients = {n: p.grad.cpu() for n, p in state.network.named_parameters() if p.grad is not None}
    return losses.cpu(), gradients


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_has_the_cpus_losses_and_gradients(exact, tmp_path, name):
    """Gradients by ||cuda - cpu|| / ||cpu||. The CPU's own float32 is 1 % from float64 here, as the normalisation over few
    values magnifies rounding; the 10 bits of TF32 would be 40 % off."""
    values = {"recipe": name, "precision": "float32", "input_size": small(name)}
    (here, ours), (there, theirs) = (after_a_step(tmp_path, device, **values) for device in ("cpu", CUDA))
    assert here.isfinite().all() and torch.allclose(here, there, rtol=1e-4)
    assert ours.keys() == theirs.keys()
    cpu, cuda = (torch.cat([g[k].flatten() for k in ours]).double() for g in (ours, theirs))
    assert (cuda - cpu).norm() / cpu.norm() < 0.05


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_and_stays_finite(tmp_path, precision):
    """float16's first steps overflow and are left out until the scale of the loss has come down."""
    values = {"recipe": "lip-modern", "input_size": (64, 64), "device": CUDA, "num_refinement_stages": 1}
    run = Run("data", str(tmp_path), precision=precision, **values)
    recipe = run.full_recipe()
    state = start(run, recipe, say=quiet)
    state.network.train()
    before = state.network.model[1][0].weight.detach().clone()
    exact_losses, _ = after_a_step(tmp_path, CUDA, recipe="lip-modern", input_size=(64, 64), precision="float32")
    batches = [batch_of(recipe), batch_of(recipe, 3)]
    losses = [optimiser_step(state, batches, recipe, CUDA, 1.0)[0].cpu() for _ in range(30)]
    assert torch.allclose(exact_losses, losses[0], rtol=0.05) and losses[-1].sum() < losses[0].sum()
    assert all(tensor.isfinite().all() for tensor in state.network.state_dict().values())
    assert not torch.equal(before, state.network.model[1][0].weight)


@pytest.mark.parametrize("values", [{}, {"precision": "bfloat16"}, {"context": "none"}, {"context": "aspp"}], ids=str)
def test_a_deterministic_training_gives_the_same_bits_twice(run, values):
    run = replace(run, **values)
    training.train(run, quiet)
    other = elsewhere(run, "two")
    training.train(other, quiet)
    assert_same_end(run, other)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_interrupted_training_ends_in_the_same_bits(run, batch):
    def stop(line):
        if f"batch {batch}/" in line:
            raise KeyboardInterrupt

    training.train(run, quiet)
    other = elsewhere(run, "broken", num_workers=1)
    with pytest.raises(KeyboardInterrupt):
        training.train(other, stop)
    training.train(other, quiet)
    assert_same_end(run, other)


def test_a_training_goes_on_on_another_device(run):
    """Begun on the GPU, ended on the CPU and the other way round: the checkpoint holds no device."""
    ends = []
    for name, first, second in (("down", CUDA, "cpu"), ("up", "cpu", CUDA)):
        other = elsewhere(run, name, device=first)
        with pytest.raises(KeyboardInterrupt):
            training.train(other, lambda line: exec("raise KeyboardInterrupt") if "epoch 1/2" in line else None)
        ends.append(training.train(replace(other, device=second), quiet)[-1]["losses"])
    straight = training.train(elsewhere(run, "straight"), quiet)[-1]["losses"]
    assert np.allclose(ends, [straight] * 2, rtol=0.05)


def test_a_step_never_waits_for_the_gpu(tmp_path):
    """PyTorch raises at each call that waits for the device."""
    run = Run("data", str(tmp_path), device=CUDA, num_refinement_stages=1, input_size=(64, 64), ema_decay=0.9)
    recipe = run.full_recipe()
    state = start(run, recipe, say=quiet)
    batches = [batch_of(recipe), batch_of(recipe, 3)]
    optimiser_step(state, batches, recipe, CUDA, 1.0)  # the optimiser's state and mean and std are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimiser_step(state, batches, recipe, CUDA, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_frozen_outputs_are_kept_and_used(run, tmp_path):
    training.train(run, quiet)
    base = elsewhere(
        run,
        "own",
        checkpoint_path=str(run.checkpoint_file),
        from_mobilenet=False,
        fresh_refinement=True,
        refinement_only=True,
    )
    training.train(base, quiet)
    kept = elsewhere(base, "kept", frozen_folder=str(tmp_path / "frozen"))
    training.train(kept, quiet)
    again = elsewhere(kept, "again")
    training.train(again, quiet)
    assert_same_end(kept, again)
    losses = [json.loads(r.checkpoint_file.with_name("history.json").read_text())[-1]["losses"] for r in (base, kept)]
    assert np.allclose(*losses, rtol=0.02)  # the kept ones passed through the recipe's precision


def test_torchrun_with_one_gpu_is_the_training_of_one_process(run, tmp_path):
    training.train(run, quiet)
    other = elsewhere(run, "torchrun")
    (tmp_path / "run.json").write_text(json.dumps(dataclasses.asdict(other)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    ended = subprocess.run(
        [*command, "-m", "gccpm_lib.training", str(tmp_path / "run.json")],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_same_end(run, other)


@pytest.mark.parametrize("options", [{}, {"flip": True}, {"scales": (0.75, 1.0, 1.25), "flip": True}], ids=str)
@pytest.mark.parametrize("recipe", [LIP_CORRECTED, COCO_CORRECTED], ids=lambda r: r.name)
def test_predictions_are_the_cpus(exact, recipe, options):
    recipe = replace(recipe, input_size=small(recipe.name))
    images, boxes = [noise_picture(70, 60), noise_picture(50, 80)], [[(5, 5, 30, 40)], [(0, 0, 50, 45)]]
    found = []
    for device in ("cpu", CUDA):
        network = lively_network(1, num_heatmaps=recipe.num_heatmaps)
        predictor = PosePredictor(network, recipe, device=device, precision="float32", **options)
        found.append(np.concatenate(predictor.predict_many(images, boxes)))
    assert np.allclose(found[0][..., 2], found[1][..., 2], atol=1e-3)
    assert np.median(np.abs(found[0] - found[1])) < 1e-2  # a tie of two peaks may fall otherwise


def test_receptive_fields_are_the_cpus(exact):
    crops = normalise(torch.from_numpy(np.stack([noise_picture(64, 64, seed) for seed in range(2)])), LIP_CORRECTED)
    fields = [receptive_field.effective_field(lively_network(0).to(device), crops, 16) for device in ("cpu", CUDA)]
    assert np.allclose(*fields, rtol=1e-2, atol=1e-4 * fields[0].max())


@pytest.mark.slow
def test_a_compiled_training_has_the_same_losses(run):
    """torch.compile takes minutes at the first step and computes in another order."""
    plain = training.train(replace(run, deterministic=False), quiet)
    compiled = training.train(elsewhere(run, "compiled", compile=True, deterministic=False), quiet)
    assert np.allclose(plain[0]["losses"], compiled[0]["losses"], rtol=0.05)
    checkpoints.load_network(elsewhere(run, "compiled").checkpoint_file)  # without the compiler's prefix
