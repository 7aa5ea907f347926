"""The start that cells share is computed once, and what comes behind it is each cell's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively_network, noise_picture, quiet, small_run, write_lip

from gccpm_lib.ablation import comparison as ablation
from gccpm_lib.ablation.comparison import Variant
from gccpm_lib.ablation.shared_start import SharedStart
from gccpm_lib.checkpoints import load_network, save_network
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.recipes import LIP_MODERN

FLOAT = replace(LIP_MODERN, precision="float32")


def test_maps_are_the_networks_own_and_the_start_is_computed_once():
    network, known = lively_network(1), {}
    crops = np.stack([noise_picture(32, 48, seed) for seed in (0, 1, 0)])
    with torch.inference_mode():
        expected = [maps.numpy() for maps in network(normalise(torch.from_numpy(crops), FLOAT))]
    shared = SharedStart(network, FLOAT, known)
    for stage in (0, -1):
        np.testing.assert_allclose(shared(crops, stage), expected[stage], rtol=1e-4, atol=1e-5)
    assert len(known) == 2
    network.model = None  # not needed again
    np.testing.assert_allclose(shared(crops[::-1], 1), expected[1][::-1], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    write_lip(folder / "lip", (("train", 4), ("val", 2)))
    save_network(folder / "start.safetensors", lively_network(1), LIP_MODERN)
    given = replace(small_run(folder / "lip", folder / "cells"), num_refinement_stages=None, input_size=(32, 32))
    start = dict(checkpoint_path=str(folder / "start.safetensors"), from_mobilenet=False, fresh_refinement=True)
    return replace(given, refinement_only=True, num_epochs=1, num_val_persons=0, **start)


def test_without_refinement_the_start_is_what_is_compared(base):
    variants = ablation.make_variants(["none", "aspp"], [0, 1])
    histories = ablation.train_cells(base, variants, [0], say=quiet)
    assert {variant.name for variant, _ in histories} == {"none 1", "aspp 1"}
    start = load_network(base.checkpoint_path).state_dict()
    for variant in variants:
        after = ablation.cell_network(base, variant, 0).state_dict()
        assert all(torch.equal(after[key], start[key]) for key in after if not key.startswith("refinement_stages."))
    crops, known = noise_picture(32, 32)[None], {}
    first = ablation.predictor(base, Variant("none", 0), 0, known).maps(crops)
    again = ablation.predictor(base, Variant("aspp", 1), 0, known)
    again.stage = 0
    np.testing.assert_allclose(again.maps(crops), first, rtol=1e-2, atol=1e-2)  # bfloat16, where the CPU has it
    assert len(known) == 1
