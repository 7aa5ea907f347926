"""03's carried maps and loss by hand: the notebook's own cells, run here, against the library."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import lively_network, write_coco
from IPython.display import Markdown

from gccpm_lib import checkpoints, loading, recipes
from gccpm_lib.datasets.coco import read_coco
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.training import Run, objective, transfer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_train_coco.ipynb"
LAST = "initial_stage.heatmaps.1.0.weight"


def taught(tag: str) -> list[str]:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in cells if tag in cell["metadata"].get("tags", ())]


def test_the_rows_carried_by_hand_are_the_library_s(tmp_path):
    values = recipes.COCO_MODERN
    file = checkpoints.save_network(tmp_path / "lip.safetensors", lively_network(1), recipes.LIP_MODERN)
    untrained = GCCPM(values.num_heatmaps, 1, upsampling=values.upsampling)
    random_rows = untrained.state_dict()[LAST].clone()
    transfer.start_from(untrained, file, values, lambda line: None)
    run = Run("", "", checkpoint_path=str(file), from_mobilenet=False)
    names = dict(carries=True, run=run, values=values, skeleton=values.skeleton, untrained=untrained, pd=pd)
    names |= dict(random_rows=random_rows, checkpoints=checkpoints, recipes=recipes, Markdown=Markdown, display=print)
    first, second = taught("by-hand")
    exec(first, names)
    exec(second, names)
    nose, right_wrist = (values.skeleton.joints.index(joint) for joint in ("nose", "right_wrist"))
    assert len(names["came_from"]) == 12 and names["came_from"][right_wrist] == 10 and nose not in names["came_from"]
    assert torch.equal(names["rows"], names["by_library"]) and torch.equal(names["rows"][nose], random_rows[nose])


@pytest.mark.parametrize("recipe", ["coco-modern", "coco-published", "coco-photographs"])
def test_the_loss_by_hand_is_the_library_s(recipe, tmp_path):
    write_coco(tmp_path / "coco")
    values = dataclasses.replace(recipes.get_recipe(recipe), input_size=(64, 64))
    names = dict(persons=read_coco(tmp_path / "coco", "train"), values=values, seed=0, torch=torch, pd=pd)
    names |= dict(untrained=lively_network(1), normalise=normalise, objective=objective)
    for source in taught("loss-by-hand"):
        exec(source, names)
    assert len(names["images"]) == 8 and 0 < names["uncounted"] < 50 and loading.TrainingSet is names["TrainingSet"]
    assert names["by_hand"] == pytest.approx(names["library"], rel=1e-5)
