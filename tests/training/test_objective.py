"""Optimiser groups by name, losses against loops, learning rates by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import COCO_PUBLISHED, LIP_CORRECTED, LIP_MODERN, LIP_PUBLISHED, RECIPES
from gccpm_lib.training.objective import learning_rate_factor, parameter_groups, plateau_factor, stage_losses


def meta_network(stages=2) -> GCCPM:
    with torch.device("meta"):
        return GCCPM(num_refinement_stages=stages)


def rates_by_name(network, recipe) -> dict[str, tuple[float, float]]:
    """Parameter name -> (lr, weight decay); fails where a parameter is in two groups."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    rates = {}
    for group in parameter_groups(network, recipe):
        for parameter in group["params"]:
            assert names[id(parameter)] not in rates
            rates[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    return rates


def published_lip_rate(name: str) -> tuple[float, float] | None:
    """The specification's sentence on one parameter, None where it is in no group."""
    *place, index, last = name.split(".")
    in_backbone_layer = place[0] == "model" and place[1] != "0"
    norm = index in ("1", "4") if in_backbone_layer else index == "1"
    if norm and place[0] == "cpm":
        return None
    if norm:
        return (8e-5 if last == "bias" else 4e-5, 0)
    refinement = place[0] == "refinement_stages"
    if last == "bias":
        return (3.2e-4 if refinement else 8e-5, 0)
    depthwise = in_backbone_layer and index == "0"
    return (1.6e-4 if refinement else 4e-5, 0 if depthwise else 5e-4)


def test_published_lip_rates_and_decays_by_name():
    network = meta_network()
    rates = rates_by_name(network, LIP_PUBLISHED)
    for name, _ in network.named_parameters():
        expected = published_lip_rate(name)
        assert (name in rates) == (expected is not None), name
        if expected:
            assert rates[name] == pytest.approx(expected), name


def test_frozen_layers_are_in_no_group():
    network = meta_network()
    rates = rates_by_name(network, replace(LIP_MODERN, frozen_layers=2))
    left_out = {name for name, _ in network.named_parameters()} - rates.keys()
    assert left_out == {name for name, _ in network.named_parameters() if name.startswith(("model.0.", "model.1."))}


@pytest.mark.parametrize(
    "name, rate, decay",
    [
        ("model.0.0.weight", 4e-5, 5e-4),
        ("model.5.0.weight", 4e-5, 0),  # depthwise
        ("model.5.3.weight", 4e-5, 5e-4),
        ("model.5.4.weight", 4e-5, 0),
        ("model.5.4.bias", 8e-5, 0),
        ("cpm.1.0.weight", 4e-5, 5e-4),
        ("cpm.1.0.bias", 8e-5, 0),
        ("initial_stage.heatmaps.1.0.weight", 4e-5, 5e-4),
        ("initial_stage.heatmaps.1.0.bias", 8e-5, 0),
        ("refinement_stages.1.trunk.0.encoder1.0.0.weight", 1.6e-4, 5e-4),
        ("refinement_stages.1.trunk.0.encoder1.0.0.bias", 3.2e-4, 0),
        ("refinement_stages.1.trunk.0.encoder1.0.1.weight", 4e-5, 0),
        ("refinement_stages.1.trunk.0.encoder1.0.1.bias", 8e-5, 0),
        ("refinement_stages.0.heatmaps.1.0.weight", 1.6e-4, 5e-4),
    ],
)
def test_published_lip_rate_of_one_parameter(name, rate, decay):
    assert rates_by_name(meta_network(), LIP_PUBLISHED)[name] == pytest.approx((rate, decay))


def test_published_lip_leaves_out_the_norms_of_cpm_alone_and_corrected_nothing():
    network = meta_network()
    everything = {name for name, _ in network.named_parameters()}
    left_out = everything - set(rates_by_name(network, LIP_PUBLISHED))
    assert left_out == {f"cpm.{i}.1.{name}" for i in (0, 1) for name in ("weight", "bias")}
    assert set(rates_by_name(network, LIP_CORRECTED)) == everything


def test_published_coco_trains_everything_alike():
    network = meta_network()
    rates = rates_by_name(network, COCO_PUBLISHED)
    assert set(rates) == {name for name, _ in network.named_parameters()} and set(rates.values()) == {(1e-3, 0)}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_groups_are_ready_for_the_optimiser_with_absolute_rates(recipe):
    optimizer = torch.optim.Adam(parameter_groups(GCCPM(num_refinement_stages=0), recipe))
    rates = {group["lr"] for group in optimizer.param_groups}
    assert min(rates) == pytest.approx(recipe.base_lr)
    assert max(group["weight_decay"] for group in optimizer.param_groups) == recipe.weight_decay


def losses_by_loops(outputs, targets, weights, recipe) -> list[float]:
    """The specification's two sentences, value by value."""
    N, H, h, w = targets.shape
    losses = []
    for output in outputs:
        total = 0.0
        for n in range(N):
            for k in range(H):
                weight = weights[n][k] if weights is not None and recipe.mask_missing and k < len(weights[n]) else 1.0
                square = sum(
                    (weight * output[n, k] - weight * targets[n, k]).flatten().tolist()[i] ** 2 for i in range(h * w)
                )
                total += square / 2 / N if recipe.loss == "sum" else 0.5 * square / (N * h * w) / H
        losses.append(total)
    return losses


@pytest.mark.parametrize("recipe", [LIP_PUBLISHED, LIP_MODERN, COCO_PUBLISHED], ids=lambda r: r.name)
@pytest.mark.parametrize("num_weights", [None, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_are_the_published_formulas(recipe, num_weights, dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(3, 5, 2, 4, generator=generator, dtype=dtype) for _ in range(2)]
    targets = torch.rand(3, 5, 2, 4, generator=generator, dtype=dtype)
    weights = None if num_weights is None else torch.randint(0, 2, (3, num_weights), generator=generator).to(dtype)
    losses = stage_losses(outputs, targets, weights, recipe)
    assert all(loss.ndim == 0 and loss.dtype == dtype for loss in losses)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert [x.item() for x in losses] == pytest.approx(losses_by_loops(outputs, targets, weights, recipe), rel=tolerance)


def test_published_lip_doesnt_mask_missing_joints():
    outputs, targets = [torch.ones(2, 17, 4, 4)], torch.zeros(2, 17, 4, 4)
    assert stage_losses(outputs, targets, torch.zeros(2, 17), LIP_PUBLISHED)[0] == 17 * 16 / 2
    assert stage_losses(outputs, targets, torch.zeros(2, 16), LIP_MODERN)[0] == 16 / 2  # the background remains


def test_a_masked_joint_gets_no_gradient():
    output = torch.ones(1, 17, 2, 2, requires_grad=True)
    weights = torch.ones(1, 17)
    weights[0, 3] = 0
    sum(stage_losses([output], torch.zeros(1, 17, 2, 2), weights, COCO_PUBLISHED)).backward()
    assert (output.grad[0, 3] == 0).all() and (output.grad[0, 4] != 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 100), st.sampled_from([50.0, 49.6, 49.4, 49.0])), max_size=40))
def test_plateau_is_pytorchs_scheduler(errors):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5, threshold=1e-2)
    for count, error in enumerate(errors, 1):
        scheduler.step(error)
        assert plateau_factor(errors[:count]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_plateau_by_hand():
    assert plateau_factor([]) == 1
    assert plateau_factor([50.0] * 6) == 1  # the best and five without progress
    assert plateau_factor([50.0] * 7) == pytest.approx(0.1)
    assert plateau_factor([50.0] * 13) == pytest.approx(0.01)
    assert plateau_factor([50.0] * 6 + [49.4]) == 1  # more than one percent better
    assert plateau_factor([50.0] * 6 + [49.6]) == pytest.approx(0.1)


def test_published_lip_goes_by_the_plateau_of_the_errors():
    assert learning_rate_factor(LIP_PUBLISHED, 7.5, [50.0] * 7) == pytest.approx(0.1)


def test_steps_fall_to_a_tenth_at_170_and_200():
    factors = [learning_rate_factor(COCO_PUBLISHED, epoch, []) for epoch in (0, 169.99, 170, 199.99, 200, 209.9)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_rises_linearly_and_falls_to_zero():
    recipe = replace(LIP_MODERN, warmup=0.2, num_epochs=10)
    factors = [learning_rate_factor(recipe, epoch, []) for epoch in (0, 1, 2, 6, 10)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5, 0])
    third = learning_rate_factor(recipe, 2 + 8 / 3, [])
    assert third == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert (np.diff([learning_rate_factor(recipe, e, []) for e in np.linspace(2, 10, 50)]) < 0).all()


def test_cosine_without_warm_up_begins_at_the_full_rate():
    assert learning_rate_factor(replace(LIP_MODERN, warmup=0.0), 0, []) == 1
