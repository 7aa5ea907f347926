"""Several processes: the joint batch's gradient, every sample once, an interrupt that all obey, an exact continuation."""

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_same_end, lively_network, quiet, small_run, write_lip

from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.files import FolderBusy, locked
from gccpm_lib.loading import Batch, TrainingSet, epoch_batches, make_loader, no_samples
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.training import distributed
from gccpm_lib.training import loop as training
from gccpm_lib.training.run import State

SIZES = (5, 4, 1)  # joint batches; the last has fewer samples than there are processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "lip"
    write_lip(path, (("train", 10), ("val", 3)))
    return path


def step_on(folder, file) -> None:
    """One accumulated step of a network whose norms use their running statistics; the first process writes the end."""
    recipe = replace(LIP_MODERN, input_size=(64, 64), precision="float32")
    persons = read_lip(folder, "train")
    keys = epoch_batches(len(persons), 0, replace(recipe, batch_size=10), 0)[0]
    starts = [sum(SIZES[:i]) for i in range(len(SIZES))]
    with distributed.joined("cpu"):
        shares = [distributed.share(keys[a : a + n]) for a, n in zip(starts, SIZES, strict=True)]
        batches = list(make_loader(TrainingSet(persons, recipe, 0), shares, 0))
        network = lively_network(1).eval()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        optimizer.param_groups[0]["initial_lr"] = 1e-3
        state = State(network, optimizer, None, model=distributed.parallel(network))
        losses, total = training.optimiser_step(state, batches, recipe, "cpu", 1.0)
        if distributed.rank() == 0:
            gradients = {name: value.grad for name, value in network.named_parameters()}
            torch.save({"gradients": gradients, "losses": losses, "total": total}, file)


def test_gradients_are_those_of_one_process_with_the_joint_batch(folder, tmp_path):
    step_on(folder, tmp_path / "one.pt")
    script = tmp_path / "step.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[str(Path(__file__).parents[i]) for i in (0, 1)]!r}; import test_distributed\n"
        f"test_distributed.step_on({str(folder)!r}, {str(tmp_path / 'two.pt')!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert one["total"] == two["total"] == sum(SIZES)
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-6, atol=0)
    assert len(one["gradients"]) > 100
    for name, gradient in one["gradients"].items():
        assert (two["gradients"][name] - gradient).norm() <= 1e-6 * gradient.norm(), name


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_sample_counts_once(processes, monkeypatch):
    monkeypatch.setattr(distributed, "num_processes", lambda: processes)
    for batch in epoch_batches(11, 0, replace(LIP_MODERN, batch_size=4), 0):
        counted = []
        for rank in range(processes):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            counted += distributed.share(batch)
        assert sorted(key.index for key in counted) == sorted(key.index for key in batch)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_exactly(folder, tmp_path):
    run = replace(small_run(folder, tmp_path / "run"), batch_size=3, checkpoint_after=1000)  # batches of 3, 3, 3 and 1
    whole = replace(run, output_folder=str(tmp_path / "whole"))
    history = training.train(whole, quiet, num_processes=2)
    assert [row["epoch"] for row in history] == [1, 2] and "val" in history[0]
    assert read_checkpoint(whole.checkpoint_file)["num_processes"] == 2
    said = []

    def say(line):
        said.append(line)
        if line.startswith("epoch 1 batch 2/4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(run, say, num_processes=2)
    assert read_checkpoint(run.checkpoint_file)["epoch"] == 0 and any("interrupted in epoch 1" in line for line in said)
    training.train(run, quiet, num_processes=2)
    assert_same_end(run, whole)
    said.clear()
    training.train(replace(run, num_epochs=2), said.append)  # one process: nothing left to do, but told
    assert said == ["trained by 2 process(es) before, 1 now: the end will differ a little"]


def test_gradients_are_added_up_once_a_step(monkeypatch, tmp_path):
    """All but the last micro-batch keep theirs to themselves."""
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(distributed, "total", lambda count: 2 * count)
    monkeypatch.setattr(distributed, "summed", lambda values: values)
    recipe, calls = replace(LIP_MODERN, input_size=(64, 64), num_refinement_stages=0, precision="float32"), []

    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 17, 8, stride=8)

        @contextlib.contextmanager
        def no_sync(self):
            calls.append("no_sync")
            yield

        def forward(self, x):
            calls.append(len(x))
            return [self.layer(x)]

    network = Shared()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    optimizer.param_groups[0]["initial_lr"] = 1e-3
    tensors = [torch.zeros((2, 64, 64, 3), dtype=torch.uint8), torch.ones(2, 17, 8, 8), torch.ones(2, 17)]
    batch = Batch([*tensors, torch.arange(3).repeat(2, 1)], [])
    batches = [batch, Batch(no_samples(recipe), []), batch]
    training.optimiser_step(State(network, optimizer, None), batches, recipe, "cpu", 1.0)
    assert calls == ["no_sync", 2, "no_sync", 0, 2]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_what_was_dealt_out_comes_back_in_order(processes, monkeypatch):
    rows = np.arange(14).reshape(7, 2)
    monkeypatch.setattr(distributed, "num_processes", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.share(rows))
    monkeypatch.setattr(distributed.dist, "all_gather_object", lambda found, own: found.__setitem__(slice(None), parts))
    assert distributed.interleaved(parts[0]).tolist() == rows.tolist()


def test_a_failure_in_the_processes_is_told(folder, tmp_path):
    run = replace(small_run(folder, tmp_path / "run"), input_size=(100, 100))
    with pytest.raises(RuntimeError, match="2 processes failed"):
        training.train(run, quiet, num_processes=2)


def test_processes_that_see_other_checkpoints_are_refused(monkeypatch):
    distributed.check_agreement((1, 3), Path("run"))  # one process agrees with itself
    monkeypatch.setattr(distributed, "from_first", lambda _: (1, 3))
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with pytest.raises(
        ValueError, match=r"process 1 stands at .*\(0, 0\), the first process at \(1, 3\); output_folder must"
    ):
        distributed.check_agreement((0, 0), Path("run"))


def test_a_folder_is_trained_in_by_one_at_a_time(folder, tmp_path):
    run = small_run(folder, tmp_path / "run")
    with locked(tmp_path, ".run.lock"), pytest.raises(FolderBusy, match=r"\.run\.lock.*another"):
        training.train(run, quiet)
    training.train(replace(run, num_epochs=1, num_train_persons=2, num_val_persons=0), quiet)


def test_half_precision_is_scaled_and_continued_exactly(folder, tmp_path):
    run = replace(small_run(folder, tmp_path / "run"), precision="float16", num_epochs=1, num_val_persons=0)
    run = replace(run, num_train_persons=3, batch_size=1, input_size=(32, 32), checkpoint_after=1)
    whole = replace(run, output_folder=str(tmp_path / "whole"))
    training.train(whole, quiet)
    assert read_checkpoint(whole.checkpoint_file)["scaler"]["scale"] > 1
    said = []

    def say(line):
        said.append(line)
        if len(said) == 2:
            raise RuntimeError("the power goes off")

    with pytest.raises(RuntimeError, match="power"):
        training.train(run, say)
    training.train(run, quiet)
    assert_same_end(run, whole)
    assert read_checkpoint(run.checkpoint_file)["scaler"] == read_checkpoint(whole.checkpoint_file)["scaler"]
