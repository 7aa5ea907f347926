"""04's PCKh and OKS by hand: the notebook's own cells, run here, against numbers worked out on paper and the library's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_coco, write_lip

from gccpm_lib.evaluation import joint_errors
from gccpm_lib.evaluation import validation as scoring
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_evaluation.ipynb"


def run_cells(validation, found) -> dict:
    """Names after the cells tagged by-hand, for these predictions; "told" is what they displayed."""
    persons, skeleton, told = validation.persons, validation.skeleton, []
    errors = joint_errors.errors(persons, found, skeleton)
    names = dict(
        validation=validation, persons=persons, skeleton=skeleton, found=found, errors=errors, np=np, replace=replace
    )
    names |= dict(scored=~np.isnan(errors), truth=np.stack([p.keypoints for p in persons]), is_lip=validation.truth is None)
    names |= dict(scoring=scoring, display=told.append, Markdown=str, told=told)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    taught = ["".join(cell["source"]) for cell in cells if "by-hand" in cell["metadata"].get("tags", ())]
    assert len(taught) == 5
    for source in taught:
        exec(source, names)
    return names


def test_pckh_by_hand_is_the_library_s(tmp_path):
    """A head of 20 pixels: joints 10 pixels off are found, those 11 off aren't; pelvis and spine don't count."""
    write_lip(tmp_path)
    validation = scoring.read_validation(tmp_path, LIP_MODERN)
    for person in validation.persons:
        person.keypoints[:] = [(50, 50, 2)] * 16
        person.keypoints[9, :2] = 50, 30  # the head's top; the neck is at 50, 50
    found = np.stack([person.keypoints for person in validation.persons]).astype(float)
    found[1, :4, 0] += (10, 11, 11, -10)  # right ankle and left hip are found, right knee and right hip are not
    found[1, 6:8, 0] += 100
    names = run_cells(validation, found)
    assert names["example"] == 1 and names["by_hand"] == pytest.approx(100 * 12 / 14)
    assert names["library"] == pytest.approx(names["by_hand"])
    np.testing.assert_allclose(names["distances"][:4], [0.5, 0.55, 0.55, 0.5])
    assert names["told"] == ["By hand 12 of 14 joints, **85.7143 %**; the library: 85.7143 %."]


def test_oks_by_hand_is_the_library_s(tmp_path):
    """One joint of two is off by 2 sigma sqrt(2 area): its similarity is 1 / e. The nose's sigma is 0.026."""
    write_coco(tmp_path)
    validation = scoring.read_validation(tmp_path, COCO_MODERN)
    for i, person in enumerate(validation.persons):
        person.keypoints[:, 2] = 0
        person.keypoints[:2] = [(20, 20, 2), (30, 20, 2)]
        validation.persons[i] = replace(person, area=5000.0)
    found = np.stack([person.keypoints for person in validation.persons]).astype(float)
    found[0, 0, 0] += 2 * 0.026 * np.sqrt(2 * 5000)
    names = run_cells(validation, found)
    assert names["person"].annotation_id == validation.persons[names["example"]].annotation_id
    names = run_cells(replace(validation, persons=validation.persons[:1]), found[:1])
    assert names["by_hand"] == pytest.approx((1 + np.exp(-1)) / 2)
    assert names["library"] == pytest.approx(names["by_hand"])
    assert names["told"] == ["By hand an OKS of **0.683940**; the library: 0.683940."]
