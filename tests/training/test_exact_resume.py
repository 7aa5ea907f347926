"""Whatever ends a training, the next goes on from the last whole checkpoint and ends bit by bit as an uninterrupted one."""

import random
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_same_end, quiet, small_run, write_lip

from gccpm_lib.checkpoints import previous_of, read_checkpoint
from gccpm_lib.training.loop import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four epochs of five batches, saved after every second one and validated after every epoch."""
    folder = tmp_path_factory.mktemp("data")
    write_lip(folder / "lip", (("train", 10), ("val", 3)))
    return replace(small_run(folder / "lip", folder / "whole"), num_epochs=4)


@pytest.fixture(scope="module")
def whole(run):
    train(replace(run, checkpoint_after=1000), quiet)
    return run


@pytest.fixture
def again(run, tmp_path):
    return replace(run, output_folder=str(tmp_path / "again"))


def test_other_random_numbers_drawn_meanwhile_change_nothing(whole, again):
    def say(line):
        torch.manual_seed(len(line))
        np.random.seed(len(line))  # noqa: NPY002 - the global state is what is disturbed
        random.seed(len(line))
        torch.rand(3)

    train(again, say)
    assert_same_end(again, whole)


def test_a_full_disk_leaves_the_checkpoint_whole_and_says_so(whole, again):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = []

    def say(line):
        said.append(line)
        if len(said) == 3:  # batch 3 of 5: one checkpoint is there
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))

    try:
        with pytest.raises(OSError, match=r"checkpoint\.pt: could not be written .* the checkpoint before is untouched"):
            train(again, say)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saved = read_checkpoint(again.checkpoint_file)
    assert (saved["epoch"], saved["batch"]) == (0, 2)
    assert not list(again.checkpoint_file.parent.glob("*.part"))
    train(again, quiet)
    assert_same_end(again, whole)


@pytest.mark.parametrize("damage", ["cut off", "empty", "gone"])
def test_from_a_damaged_checkpoint_the_one_before_takes_over_and_it_is_said(whole, again, damage):
    class Stop(Exception):
        pass

    said = []

    def say(line):
        said.append(line)
        if len(said) == 5:
            raise Stop

    with pytest.raises(Stop):
        train(again, say)
    file = again.checkpoint_file
    assert read_checkpoint(previous_of(file))["batch"] == 4 and read_checkpoint(file)["batch"] == 5
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 5000 if damage == "cut off" else 0])
    said.clear()
    train(again, said.append)
    assert "going on from checkpoint.previous.pt" in said[0] and "checkpoint.pt" in said[0]
    assert_same_end(again, whole)


def test_a_history_that_a_kill_left_behind_the_checkpoint_is_mended(again):
    train(again, quiet)
    history = again.checkpoint_file.with_name("history.json")
    text = history.read_text()
    history.write_text("[")
    train(again, quiet)
    assert history.read_text() == text
