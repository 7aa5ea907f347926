"""A training that goes wrong says so: values that aren't finite, signals, loader processes, pictures that can't be read."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import assert_same_end, lively_network, quiet, small_run, write_coco, write_lip

from gccpm_lib.checkpoints import previous_of, read_checkpoint
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.loading import Batch, TrainingSet, epoch_batches, give_batches, make_loader, no_samples
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.training import loop as training
from gccpm_lib.training import signals
from gccpm_lib.training.average import Average
from gccpm_lib.training.loop import optimiser_step, train
from gccpm_lib.training.norms import fewest_values
from gccpm_lib.training.start import start


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "lip"
    write_lip(path, (("train", 6), ("val", 2)))
    return path


@pytest.fixture
def run(folder, tmp_path):
    """Two epochs of three batches of two, each followed by a checkpoint."""
    return replace(small_run(folder, tmp_path / "run"), checkpoint_after=1, num_val_persons=0)


def spoiled(monkeypatch, step: int, how) -> None:
    """From now on the step of that number goes wrong."""
    original, seen = training.optimiser_step, []

    def spoil(state, *rest):
        losses, count = original(state, *rest)
        seen.append(count)
        return how(state, losses) if len(seen) == step else losses, count

    monkeypatch.setattr(training, "optimiser_step", spoil)


def persons_of(run, epoch: int, batch: int) -> list[str]:
    recipe = run.full_recipe()
    keys = epoch_batches(6, epoch, recipe, run.seed)[batch]
    names = sorted(p.name for p in (Path(run.dataset_folder) / "TrainVal_images/train_images").iterdir())
    return [names[key.index] for key in keys]


def nan_loss(state, losses):
    return losses * torch.nan


def nan_weight(state, losses):
    with torch.no_grad():
        next(state.network.parameters())[0] = torch.inf
    return losses


@pytest.mark.parametrize("how", [nan_loss, nan_weight])
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_what_isnt_finite_stops_it_with_its_persons_and_both_checkpoints_stay(run, monkeypatch, how, device):
    """ "cpu:0" is treated as a GPU is: losses are read when they are shown or saved."""
    spoiled(monkeypatch, 5, how)
    with pytest.raises(FloatingPointError, match=r"epoch 2: .*not finite.*lower base_lr") as told:
        train(replace(run, device=device, log_after=1000), quiet)
    assert all(name in str(told.value) for name in persons_of(run, 1, 1)) and "\n" not in str(told.value)
    assert not any(name in str(told.value) for name in persons_of(run, 1, 0))
    saved = [read_checkpoint(file) for file in (run.checkpoint_file, previous_of(run.checkpoint_file))]
    assert [(s["epoch"], s["batch"]) for s in saved] == [(1, 1), (1, 0)]
    assert all(value.isfinite().all() for s in saved for value in s["trained"].values())


def test_persons_of_one_picture_are_told_apart(tmp_path, monkeypatch):
    write_coco(tmp_path / "coco")
    run = replace(small_run(tmp_path / "coco", tmp_path / "run"), recipe="coco-modern", num_val_persons=0)
    spoiled(monkeypatch, 1, nan_loss)
    with pytest.raises(FloatingPointError, match=r"\.jpg \(annotation \d+\), 0"):
        train(run, quiet)


# signals

CHILD = """
import sys
from gccpm_lib.training import loop as training
from gccpm_lib.training.__main__ import main

original = training.optimiser_step

def told(*arguments):
    print("step", flush=True)
    return original(*arguments)

training.optimiser_step = told
main(sys.argv[1])
"""


def child(run, *, code=CHILD) -> subprocess.Popen:
    """The run in a process group of its own."""
    file = Path(run.output_folder + ".json")
    file.write_text(json.dumps(dataclasses.asdict(run)))
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # as here: other sums are other bits
    command = [sys.executable, "-c", code, str(file)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def wait_for(process, line: str, times: int = 1) -> None:
    for said in process.stdout:
        times -= said == line + "\n"
        if not times:
            return
    raise AssertionError(process.stderr.read())


def workers_of(process) -> set[int]:
    """Processes of a child's session that aren't itself."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == process.pid and fields[0] != "Z" and int(stat.parent.name) != process.pid:
            found.add(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_sigterm_to_the_whole_group_saves_and_ends_with_143(run):
    """As schedulers send it: loader processes get it too, and leave it to the training."""
    whole = replace(run, output_folder=run.output_folder + "whole", checkpoint_after=1000)
    train(whole, quiet)
    run = replace(run, num_workers=1, checkpoint_after=1000)
    with child(run) as process:
        wait_for(process, "step", 2)
        os.killpg(process.pid, signal.SIGTERM)
        rest = process.communicate(timeout=60)
    assert process.returncode == 143 and "interrupted in epoch 1; run again" in rest[0]
    saved = read_checkpoint(run.checkpoint_file)
    assert saved["epoch"] == 0 and saved["batch"] >= 2
    train(replace(run, num_workers=0), quiet)
    assert_same_end(run, whole)


def test_sigterm_while_validating_ends_with_143_too(run, monkeypatch):
    monkeypatch.setattr(training, "predict", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        train(replace(run, num_val_persons=1), quiet)
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert read_checkpoint(run.checkpoint_file)["batch"] == 3


def test_the_first_interrupt_waits_and_the_second_doesnt():
    steps = []
    with pytest.raises(KeyboardInterrupt), signals.kept_back() as came:
        assert came() == 0
        os.kill(os.getpid(), signal.SIGINT)
        steps.append(came())
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("after the second")
    assert steps == [signal.SIGINT]


def test_a_second_interrupt_in_the_same_step_saves_nothing(run, monkeypatch):
    def impatient(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)  # never gets here

    monkeypatch.setattr(training, "optimiser_step", impatient)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(run, quiet)
    assert time.monotonic() - began < 5 and not run.checkpoint_file.exists()


# loader processes


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_loader_processes_end_with_a_training_that_is_killed(run):
    with child(replace(run, num_workers=2)) as process:
        wait_for(process, "step", 1)
        assert len(workers_of(process)) >= 2
        process.kill()
        process.wait()
        until = time.monotonic() + 20
        while workers_of(process) and time.monotonic() < until:
            time.sleep(0.2)
        assert not workers_of(process)


def test_an_error_in_a_loader_process_is_the_same_line(run, tmp_path):
    write_lip(tmp_path / "lip", (("train", 6), ("val", 2)))
    bad = tmp_path / "lip/TrainVal_images/train_images/103_3.jpg"
    bad.write_bytes(b"no picture")
    lines = []
    for number in (0, 1):
        broken = replace(run, dataset_folder=str(tmp_path / "lip"), num_workers=number)
        with pytest.raises(ValueError) as told:
            train(broken, quiet)
        lines.append((type(told.value), str(told.value)))
    assert lines[0] == lines[1] and "103_3.jpg: not a readable picture" in lines[0][1] and "\n" not in lines[0][1]


def test_a_loader_process_that_dies_is_told_in_one_line(folder):
    def killed(samples):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    recipe = replace(LIP_MODERN, input_size=(64, 64), batch_size=2)
    loader = make_loader(TrainingSet(read_lip(folder, "train"), recipe, 0), [], 0)
    loader.collate_fn = killed
    with pytest.raises(OSError, match=r"worker \(pid 7\) is killed .*lower num_workers or batch_size"):
        next(give_batches(loader, epoch_batches(6, 0, recipe, 0)))


# batches too small for statistics, and what isn't trained


@pytest.mark.parametrize("context", ["ushape", "none"])
@pytest.mark.parametrize("side", [8, 32])
def test_a_batch_of_one_at_the_smallest_crop_is_trained_on(run, context, side):
    run = replace(run, batch_size=1, input_size=(side, side), num_refinement_stages=1, context=context, num_epochs=1)
    history = train(replace(run, num_train_persons=2), quiet)
    assert all(0 <= loss < 1e4 for loss in history[0]["losses"])


@pytest.mark.parametrize(("size", "precision"), [(8, "float32"), (16, "float32"), (24, "bfloat16")])
def test_bfloat16_is_for_maps_wider_than_a_column(run, monkeypatch, size, precision):
    """oneDNN's bfloat16 gradient of a convolution of stride 2 over a column, (N, C, h, 1), has weights it never wrote."""
    asked = []
    monkeypatch.setattr(training, "autocast", lambda *how: asked.append(how) or contextlib.nullcontext())
    train(replace(run, input_size=(size, size), num_refinement_stages=1, num_epochs=1, num_train_persons=2), quiet)
    assert asked == [(precision, "cpu")]


def test_statistics_are_kept_where_a_channel_has_one_value():
    network = lively_network(1)
    sizes = ((1, 32, 32), (2, 32, 32), (1, 64, 40), (0, 64, 64))
    counts = [fewest_values(network, *size) for size in sizes]
    assert counts == [1, 2, 4, 0] and fewest_values(lively_network(0), 1, 32, 32) == 16


def test_what_the_optimiser_leaves_out_asks_for_no_gradient(run):
    recipe = replace(run, recipe="lip-published", frozen_layers=2).full_recipe()
    state = start(run, recipe)
    trained = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    asks = {name: parameter.requires_grad for name, parameter in state.network.named_parameters()}
    assert asks == {name: id(p) in trained for name, p in state.network.named_parameters()}
    assert not asks["cpm.0.1.weight"] and not asks["model.1.0.weight"] and asks["model.2.0.weight"]


def test_every_step_of_a_cosine_moves_the_weights(run, monkeypatch):
    """Each has the rate of its middle: with 6 steps 1/12, 3/12 ... of the way, of which 4 % are the warm-up."""
    rates, original = [], training.optimiser_step
    monkeypatch.setattr(training, "optimiser_step", lambda *a: rates.append(a[-1]) or original(*a))
    train(run, quiet)
    assert rates == pytest.approx([0.995, 0.887, 0.666, 0.397, 0.158, 0.018], abs=1e-3)
    monkeypatch.setattr(training, "optimiser_step", lambda *a: (rates.append(a[-1]), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        train(replace(run, output_folder=run.output_folder + "long", num_epochs=100), quiet)
    assert rates[-1] == pytest.approx(0.5 / 300 / 0.04)


def test_the_average_takes_whole_numbers_as_they_are():
    network = torch.nn.BatchNorm2d(2)
    average = Average(network, 0.75)
    for number, mean in ((1, 4.0), (2, 8.0), (3, 0.0)):
        network.num_batches_tracked.fill_(number)
        network.running_mean.fill_(mean)
        average.update(network)
    assert average.module.num_batches_tracked == 3 and average.n_averaged == 3
    assert average.module.running_mean.tolist() == [3.75, 3.75]  # 4, then 0.75 * 4 + 0.25 * 8 = 5, then 0.75 * 5


# what may change between two halves of a training


@pytest.mark.parametrize("changes", [{"num_val_persons": 2}, {"num_workers": 0, "log_after": 7}, {"on_bad_sample": "skip"}])
def test_what_trains_nothing_may_change(run, changes):
    train(replace(run, num_epochs=2), quiet)
    said = []
    train(replace(run, **changes), said.append)
    assert said == []


def test_the_validation_may_not_change_where_the_schedule_goes_by_it(run):
    run = replace(run, recipe="lip-published", num_epochs=1, num_val_persons=1, checkpoint_after=1000)
    train(run, quiet)
    said = []
    train(replace(run, num_val_persons=2), said.append)
    assert "num_val_persons 1 -> 2" in said[0]


def test_an_empty_batch_among_others_has_no_gradient_and_no_statistic_in_several_processes(run, monkeypatch):
    """Every process takes part in every step, so that an empty share goes through the network too."""
    monkeypatch.setattr(training, "_alone", lambda: False)
    recipe = replace(run.full_recipe(), precision="float32")
    images = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    real = Batch([images, torch.ones(2, 17, 8, 8), torch.ones(2, 17), torch.arange(3).repeat(2, 1)], [])
    ends = []
    for batches in ([real], [real, Batch(no_samples(recipe), [])]):
        state = start(run, recipe)
        state.network.train()
        optimiser_step(state, batches, recipe, "cpu", 1.0)
        ends.append(state.network.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
