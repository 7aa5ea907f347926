"""Signal 9 in a batch, while saving and while validating: the training goes on and ends bit by bit as one left alone."""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import assert_same_end, quiet, small_run, write_lip

from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.training.loop import train

# `python -m gccpm_lib.training run.json`, which says on its way into each of the three phases.
CHILD = """
import sys, torch
from gccpm_lib.training import loop as training
from gccpm_lib.training.__main__ import main

torch.set_num_threads(1)

def told(phase, function):
    def call(*arguments, **options):
        print(f"phase {phase}", flush=True)
        return function(*arguments, **options)
    return call

training.optimiser_step = told("batch", training.optimiser_step)
torch.save = told("saving", torch.save)
training.PosePredictor.predict_persons = told("validating", training.PosePredictor.predict_persons)
main(sys.argv[1])
"""
LONGEST = {"batch": 0.15, "saving": 0.08, "validating": 0.15}  # seconds into a phase; more would often be the next one


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two epochs of three batches, saved after each and validated after every epoch, in one go."""
    folder = tmp_path_factory.mktemp("data")
    write_lip(folder / "lip", (("train", 6), ("val", 2)))
    run = replace(small_run(folder / "lip", folder / "whole"), num_epochs=2, checkpoint_after=1)
    train(run, quiet)
    return run


def killed_in(phase: str, occurrence: int, run_file, rng: random.Random) -> bool:
    """Train in a process of its own and kill it a little after it enters a phase; False if it had ended by then."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # as here: other sums are other bits
    command = [sys.executable, "-c", CHILD, str(run_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            occurrence -= line == f"phase {phase}\n"
            if occurrence == 0:
                time.sleep(rng.uniform(0, LONGEST[phase]))
                process.kill()
                break
        process.stdout.read()
    assert process.returncode in (0, -9)
    return process.returncode == -9


def kill_and_finish(whole, folder, phases: list[str], seed: int) -> None:
    """Kill a training in each phase in turn, then let it end; it must end as `whole` did."""
    run = replace(whole, output_folder=str(folder / "killed"))
    run_file = folder / "run.json"
    run_file.write_text(json.dumps(dataclasses.asdict(run)))
    rng, kills, positions = random.Random(seed), 0, []
    for phase in phases:
        kills += killed_in(phase, 1 if phase == "validating" else rng.randint(1, 2), run_file, rng)
        saved = read_checkpoint(run.checkpoint_file) if run.checkpoint_file.exists() else {"epoch": 0, "batch": 0}
        positions.append((saved["epoch"], saved["batch"]))
    assert kills == len(phases), f"the training ended after {kills} kills, at {positions}; make it longer"
    assert positions == sorted(positions) and positions[-1] > (0, 0)  # a kill never costs what was saved before
    train(run, quiet)
    assert_same_end(run, whole)


def test_a_training_killed_in_every_phase_ends_as_one_that_was_not(whole, tmp_path):
    kill_and_finish(whole, tmp_path, ["validating", "batch", "saving"], seed=0)


@pytest.mark.slow
def test_a_training_killed_twenty_times_ends_as_one_that_was_not(whole, tmp_path):
    phases = [*["batch", "saving"] * 8, *["validating"] * 4]
    random.Random(1).shuffle(phases)
    long = replace(whole, output_folder=str(tmp_path / "long"), num_epochs=24)
    train(long, quiet)
    kill_and_finish(long, tmp_path, phases, seed=2)
