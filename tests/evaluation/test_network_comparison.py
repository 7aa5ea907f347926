"""Networks beside each other: their own scores, and differences that are paired."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import lively_network

from gccpm_lib.evaluation import comparison
from gccpm_lib.evaluation.validation import read_validation
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.rendering.rendered import render_lip

RECIPE = replace(LIP_MODERN, input_size=(64, 64))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    render_lip(folder, num_train=1, num_val=6, seed=3)
    return read_validation(folder, RECIPE)


def test_every_row_is_what_the_network_scores_alone(people):
    networks = {name: (lively_network(seed), RECIPE) for name, seed in (("a", 0), ("b", 1))}
    table = comparison.compare(networks, {"here": people}).set_index(["network", "setting"])
    assert list(table.index) == [("a", "single scale"), ("a", "flip"), ("b", "single scale"), ("b", "flip")]
    for (name, setting), row in table.iterrows():
        found = PosePredictor(networks[name][0], RECIPE, flip=setting == "flip").predict_persons(people.subjects)
        assert (row["metric"], row["score"]) == ("PCKh@0.5 Avg.", people.scores(found)["Avg."])
        assert row["low"] <= row["score"] <= row["high"] and row["persons"] == 6
    assert table["gain"].isna().tolist() == [True, True, False, False]
    scores = table["score"]
    np.testing.assert_allclose(table.loc["b", "gain"], scores["b"] - scores["a"])


def test_a_network_beside_itself_gains_nothing(people):
    network = lively_network(0)
    table = comparison.compare({"a": (network, RECIPE), "again": (network, RECIPE)}, {"here": people})
    assert (table[["gain", "gain low", "gain high"]].iloc[2:] == 0).all(axis=None)


def test_the_table_to_be_read_has_intervals_beside_their_numbers(people):
    network = lively_network(0)
    compared = comparison.compare({"a": (network, RECIPE), "again": (network, RECIPE)}, {"here": people})
    compared.loc[0, ["score", "low", "high"]] = 71.64, 69.96, 73.34
    table = comparison.as_table(compared)
    assert table.index.names == ["people", "network", "setting"] and list(table["persons"]) == [6] * 4
    assert table["PCKh@0.5 Avg."].iloc[0] == "71.6 (70.0 to 73.3)"
    assert table.xs("single scale", level="setting")["gain"].tolist() == ["", "+0.0 (+0.0 to +0.0)"]
    assert list(table.columns).index("gain") < list(table.columns).index("persons")
    assert "gain" not in comparison.as_table(comparison.compare({"a": (network, RECIPE)}, {"here": people}))


def test_other_joints_are_refused_by_name(people):
    with pytest.raises(ValueError, match="b finds other joints than here"):
        comparison.compare({"b": (lively_network(0), COCO_MODERN)}, {"here": people})
