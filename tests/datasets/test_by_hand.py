"""01's affine and target by hand: the notebook's own cells, run here, against the library, in all recipes."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_coco, write_lip
from IPython.display import Markdown

from gccpm_lib import geometry, loading
from gccpm_lib.datasets import layouts, records
from gccpm_lib.recipes import RECIPES

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_data_prep.ipynb"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_affine_and_target_by_hand_are_the_library_s(recipe, tmp_path):
    (write_lip if recipe.crop == "letterbox" else write_coco)(tmp_path / "data")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    taught = ["".join(cell["source"]) for cell in cells if "by-hand" in cell["metadata"].get("tags", ())]
    assert len(taught) == 4
    for one in layouts.read_persons(tmp_path / "data", "train", recipe):
        names = {"values": recipe, "skeleton": recipe.skeleton, "one": one, "image": records.read_person_image(one)}
        names |= {"np": np, "geometry": geometry, "loading": loading, "Markdown": Markdown}
        for source in taught:
            exec(source, names)
        assert names["affine"] == pytest.approx(names["library"], abs=1e-12)
        assert names["target"] == pytest.approx(names["library_maps"][names["joint"]], abs=1e-6)
        assert names["target"].max() > 0.4
