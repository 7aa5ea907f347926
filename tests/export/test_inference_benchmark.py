"""Inference benchmark: every engine answers alike, and what is timed is what is named."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import lively_network, noise_picture

from gccpm_lib.export import inference_benchmark as benchmark
from gccpm_lib.recipes import LIP_MODERN

SMALL = replace(LIP_MODERN, input_size=(64, 64))
CROPS = np.stack([noise_picture(64, 64, seed) for seed in range(4)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return benchmark.export_all(lively_network(1), SMALL, tmp_path_factory.mktemp("exported"), CROPS)


@pytest.fixture(scope="module")
def engines(exported):
    return benchmark.make_engines(exported, SMALL)


def test_every_engine_answers_alike(engines):
    reference = engines[benchmark.EAGER](CROPS)
    tolerance = {"PyTorch, tuned, BF16": 0.1, "OpenVINO BF16": 0.1, "OpenVINO INT8": 0.5}
    for name, run in engines.items():
        assert np.abs(run(CROPS) - reference).max() <= tolerance.get(name, 1e-3) * np.abs(reference).max(), name


def test_tuning_leaves_the_network_alone(exported):
    before = {key: value.clone() for key, value in exported.network.state_dict().items()}
    benchmark.make_engines(exported, SMALL)
    assert all((before[key] == value).all() for key, value in exported.network.state_dict().items())


def test_tables_have_a_row_per_engine_and_the_released_way_first(engines):
    jpegs = [cv2.imencode(".jpg", noise_picture(80, 60, seed))[1].tobytes() for seed in range(2)]
    for table in (
        benchmark.network_alone(engines, CROPS[0], rounds=2),
        benchmark.many_at_once(engines, CROPS, rounds=2),
        benchmark.whole_way(engines, SMALL, jpegs, rounds=2),
    ):
        assert list(table.index) == list(engines) and table.index[0] == benchmark.EAGER
        assert table.iloc[0]["times faster"] == 1 and (table["ms"] > 0).all()


def test_measure_counts_per_picture():
    slow, fast = (lambda seconds=seconds: time.sleep(seconds) for seconds in (0.04, 0.01))
    table = benchmark.measure({"slow": slow, "fast": fast}, rounds=3, pictures=4)
    assert table.loc["slow", "ms"] == pytest.approx(10, rel=0.5)
    assert table.loc["fast", "times faster"] == pytest.approx(4, rel=0.5)
    assert (table["lower quartile"] <= table["upper quartile"]).all()


def test_decoding_is_timed_on_the_same_maps(engines):
    predictor = benchmark.PosePredictor(engines["onnxruntime"], SMALL)
    table = benchmark.decoding(predictor, [noise_picture(80, 60)], rounds=2)
    assert list(table.index) == ["as published", "without enlarging"]


def test_peak_is_positive():
    assert benchmark.int8_peak(n=64, rounds=2) > 0
