"""02's loss and optimiser step by hand: the notebook's own cells, run here, against what `train` does."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import quiet, small_run, write_lip
from IPython.display import Markdown

from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.loading import TrainingSet, epoch_batches
from gccpm_lib.report import lesson
from gccpm_lib.skeletons import LIP
from gccpm_lib.training import loop, objective

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02_train_lip.ipynb"


@pytest.mark.parametrize("recipe", ["lip-modern", "lip-published"])
def test_the_step_by_hand_is_the_step_of_train(recipe, tmp_path):
    """A training of one batch ends where the notebook's step by hand does; AdamW and Adam."""
    write_lip(tmp_path / "lip", (("train", 4), ("val", 1)))
    run = replace(small_run(tmp_path / "lip", tmp_path / "run"), recipe=recipe, batch_size=4, num_epochs=1, ema_decay=0.0)
    run = replace(run, num_val_persons=0, num_refinement_stages=1)
    values, persons = run.full_recipe(), read_lip(run.dataset_folder, "train")
    names = dict(run=run, values=values, persons=persons, seed=run.seed, training=loop, objective=objective, lesson=lesson)
    names |= dict(
        TrainingSet=TrainingSet, epoch_batches=epoch_batches, LIP=LIP, torch=torch, np=np, pd=pd, Markdown=Markdown
    )
    exec("import dataclasses", names)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    taught = ["".join(cell["source"]) for cell in cells if "step-by-hand" in cell["metadata"].get("tags", ())]
    assert len(taught) == 5
    for source in taught:
        exec(source, names)
    (row,) = loop.train(run, quiet)
    assert row["losses"] == pytest.approx(names["stage_losses"], rel=1e-6)
    trained, before = read_checkpoint(run.checkpoint_file)["network"][names["name"]], names["w"].cpu()
    moved = (trained - before).abs().max()
    assert moved > 0 and (names["after"].cpu() - trained).abs().max() < 1e-3 * moved
