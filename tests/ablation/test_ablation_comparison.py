"""Ablation: the grid, cells that differ in nothing but their block, differences worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import person, write_lip
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib import checkpoints
from gccpm_lib.ablation import comparison as ablation
from gccpm_lib.ablation.comparison import Difference, Variant
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.skeletons import COCO, LIP
from gccpm_lib.training.run import Run


def test_depth_zero_has_no_context_and_stands_once():
    grid = ablation.make_variants(["none", "ushape"], [2, 0, 1])
    assert [v.name for v in grid] == ["no refinement", "none 1", "ushape 1", "none 2", "ushape 2"]
    assert ablation.make_variants(["ppm"], [1]) == [Variant("ppm", 1)]
    some = ablation.make_variants(["none", "ppm"], [1, 2], ["none"])
    assert [v.name for v in some] == ["none 1", "ppm 1", "none 2"]


def test_comparisons_ask_the_question_first_and_name_trained_variants_only():
    grid = ablation.make_variants(["none", "ushape", "ppm", "matched"], [0, 1])
    pairs = [(a.name, b.name) for a, b in ablation.comparisons(grid)]
    assert ("ushape 1", "none 1") in pairs and ("ushape 1", "matched 1") in pairs and ("ushape 1", "ppm 1") in pairs
    assert pairs[-1] == ("none 1", "no refinement") and ("ppm 1", "no refinement") not in pairs  # nothing is claimed of it
    assert not [pair for pair in pairs if pair[0] == pair[1] or (pair[1], pair[0]) in pairs]
    assert ablation.comparisons([Variant("ushape", 1)]) == []


def test_costs_are_counted_and_measured():
    recipe = replace(LIP_MODERN, input_size=(64, 64))
    costs = ablation.costs(ablation.make_variants(["none", "ushape"], [0, 1]), recipe, rounds=3)
    assert costs.loc["ushape 1", "parameters (M)"] == pytest.approx(11.00, abs=0.01)  # the README's table
    assert costs.loc["no refinement", "GMAC"] == pytest.approx(3.81 / 16, abs=0.005)
    assert (costs["latency_ms"] > 0).all() and (costs["spread_ms"] >= 0).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    write_lip(folder / "lip")
    base = Run(
        str(folder / "lip"), str(folder / "cells"), input_size=(32, 32), batch_size=2, num_epochs=1, num_val_persons=0
    )
    variants = ablation.make_variants(["none", "ppm"], [0, 1])
    return base, variants, ablation.train_cells(base, variants, [0, 1], say=lambda line: None)


def test_cells_of_a_seed_start_and_see_the_same(trained):
    base, _, histories = trained
    assert len(histories) == 3 * 2
    runs = [json.loads((folder / "run.json").read_text()) for folder in base_folder(base).glob("*/")]
    assert {run["seed"] for run in runs} == {0, 1}
    differing = {key for run in runs for key in run if run[key] != runs[0][key]}
    assert differing == {"context", "num_refinement_stages", "seed", "output_folder"}


def base_folder(base):
    return ablation.cell_run(base, Variant("none", 0), 0).checkpoint_file.parents[1]


def test_same_seed_same_trunk_before_training():
    """The layers that all variants share are built first, so that a seed gives them the same values."""
    networks = []
    for context in ("none", "ushape", "aspp"):
        torch.manual_seed(5)
        networks.append(GCCPM(context=context).state_dict())
    shared = [key for key in networks[0] if not key.startswith("refinement_stages.")]
    assert all(torch.equal(networks[0][key], other[key]) for other in networks[1:] for key in shared)


def test_finished_cells_are_not_trained_again(trained):
    base, variants, histories = trained
    files = sorted(base_folder(base).glob("*/checkpoint.pt"))
    before = [file.stat().st_mtime_ns for file in files]
    again = ablation.train_cells(base, variants, [0, 1], say=lambda line: None)
    assert again == histories and [file.stat().st_mtime_ns for file in files] == before


def test_predictor_is_the_cell(trained):
    base, variants, _ = trained
    predictor = ablation.predictor(base, variants[-1], 1)
    assert predictor.network.shape["context"] == "ppm" and predictor.recipe.input_size == (32, 32)
    saved = checkpoints.read_checkpoint(ablation.cell_run(base, variants[-1], 1).checkpoint_file)
    assert saved["run"]["seed"] == 1


def test_errors_leave_pelvis_and_spine_out():
    truth = np.column_stack([np.arange(16) * 10.0, np.zeros(16), np.full(16, 2)])
    persons = [person(truth)]  # neck is joint 8, head top 9: a head of 10 pixels, so a tolerance of 5
    found = truth.copy()
    found[0, 1] = 4.0
    found[1, 1] = 6.0
    errors = ablation.cell_errors(persons, found[None], LIP)
    assert np.isnan(errors[0, [6, 7]]).all() and errors[0, 0] == pytest.approx(0.8) and errors[0, 1] == pytest.approx(1.2)
    assert ablation.pooled_percent(errors) == pytest.approx(100 * 13 / 14)
    assert ablation.scored_joints(COCO) == list(range(17))


def test_difference_by_hand():
    ours = np.array([[[0.5, 0.5], [0.5, np.nan]], [[0.5, 2.0], [0.5, 0.5]]])  # (2 seeds, 2 persons, 2 joints)
    theirs = np.array([[[0.5, 2.0], [2.0, 0.5]], [[0.5, 2.0], [0.5, 2.0]]])
    # Seed 0: 3 of 3 against 1 of 3 (the joint that one of them lacks counts in neither). Seed 1: 3 of 4 against 2 of 4.
    difference = ablation.difference(ours, theirs)
    assert difference.by_seed == pytest.approx((100 * 2 / 3, 25))
    assert difference.gain == pytest.approx(100 * 3 / 7)
    assert difference.low <= difference.gain <= difference.high


def test_nothing_scored_is_no_difference():
    empty = np.full((2, 3, 4), np.nan)
    difference = ablation.difference(empty, empty)
    assert np.isnan(difference.gain) and not difference.resolved


@pytest.mark.parametrize(
    ("gain", "p_value", "by_seed", "verdict"),
    [
        (1.25, 0.04, (1.0, 1.5), "better"),
        (-1.25, 0.04, (-1.0, -1.5), "worse"),
        (0.75, 0.05, (1.0, 1.5), "not resolved"),  # the choice of images alone explains it
        (1.25, 0.04, (3.0, -0.1), "not resolved"),  # the seeds disagree
        (1.25, float("nan"), (1.0, 1.5), "not resolved"),
    ],
)
def test_resolved_needs_images_and_seeds(gain, p_value, by_seed, verdict):
    difference = Difference(gain, gain - 1, gain + 1, by_seed, p_value)
    assert difference.verdict == verdict and difference.text == f"{gain:+.1f} ({gain - 1:+.1f} to {gain + 1:+.1f})"


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_difference_is_antisymmetric_and_none_against_itself(seed):
    rng = np.random.default_rng(seed)
    ours, theirs = rng.uniform(0, 2, (2, 2, 12, 3))
    ours[rng.random(ours.shape) < 0.2] = np.nan
    there, back = (ablation.difference(*both, repeats=200) for both in ((ours, theirs), (theirs, ours)))
    assert there.gain == pytest.approx(-back.gain) and (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value
    same = ablation.difference(ours, ours, repeats=200)
    assert (same.gain, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_a_clear_gain_is_resolved_and_noise_is_not():
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0, 2, (2, 200, 14))
    assert ablation.difference(theirs * 0.7, theirs).verdict == "better"
    assert ablation.difference(rng.permuted(theirs, axis=1), theirs).verdict == "not resolved"


def test_persons_of_one_image_are_drawn_together():
    """Ten copies of twenty persons tell no more than the twenty."""
    rng = np.random.default_rng(0)
    theirs, ours = rng.uniform(0, 2, (2, 1, 20, 14))
    once = ablation.difference(ours, theirs)
    alone, together = (
        ablation.difference(*(np.repeat(e, 10, axis=1) for e in (ours, theirs)), images)
        for images in (None, np.repeat(np.arange(20), 10))
    )
    assert (together.low, together.high, together.p_value) == (once.low, once.high, once.p_value)
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_many_comparisons_are_corrected():
    """0.03 is resolved alone and isn't one of three: Holm takes 3 x 0.01, then 2 x 0.02, and no less than before."""
    differences = {name: Difference(1.0, 0.1, 2.0, (1.0, 1.0), p) for name, p in (("a", 0.03), ("b", 0.01), ("c", 0.02))}
    after = ablation.corrected(differences)
    assert {name: round(d.p_value, 9) for name, d in after.items()} == {"a": 0.04, "b": 0.03, "c": 0.04}
    twice = ablation.corrected({"a": differences["a"], "c": replace(differences["c"], p_value=0.04)})
    assert [d.verdict for d in twice.values()] == ["not resolved"] * 2


def test_groups_by_label_and_by_what_is_missing():
    whole, cut = np.full((16, 3), 2.0), np.full((16, 3), 2.0)
    whole[3, 2], cut[0, 2] = 1, 0
    masks = ablation.groups([person(whole), person(cut)], LIP)
    assert masks["occluded joints"].sum() == 1 and masks["occluded joints"][0, 3]
    assert masks["visible joints"].sum() == 30
    assert masks["persons with all joints"].sum() == 16 and not masks["persons with all joints"][1].any()
    assert masks["persons with joints missing"].sum() == 15
    assert "occluded joints" not in ablation.groups([person(cut)], LIP)


def test_a_missing_pelvis_is_no_sign_of_a_cut_off_body():
    keypoints = np.full((16, 3), 2.0)
    keypoints[[6, 7], 2] = 0
    assert "persons with joints missing" not in ablation.groups([person(keypoints)], LIP)


def test_most_different_persons_first_and_only_where_there_is_a_gain():
    theirs = np.full((1, 4, 3), 2.0)
    ours = theirs.copy()
    ours[0, 2, :2], ours[0, 1, 0] = 0.1, 0.1
    theirs[0, 3, 0] = 0.1
    assert ablation.most_different(ours, theirs, 3).tolist() == [2, 1]
    assert ablation.most_different(theirs, ours, 3).tolist() == [3]


def test_table_tells_how_far_the_seeds_lie_apart():
    errors = np.array([[[0.5, 0.5, 2, 2]], [[0.5, 0.5, 0.5, 2]]])
    row = ablation.table({"a": errors}).loc["a"]
    assert row.to_dict() == {"found (%)": 62.5, "seed 0": 50, "seed 1": 75, "seed spread": 25}
