"""Empirical receptive fields of networks small enough to know the answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively_network, person
from torch import nn

from gccpm_lib.ablation.empirical_field import (
    GREEN,
    chosen_elbows,
    crop_fields,
    draw_field,
    empirical_fields,
    field_sizes,
    joint_maps,
    mean_size,
    size_percent,
)
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.skeletons import LIP


def empirical_field(network, crop, joint, **options):
    return empirical_fields(joint_maps([network], joint), crop, **options)[0]


class Middle(nn.Module):
    """Two maps of one crop: joint 0 has the mean of the cell (1, 2) there, joint 1 that of the whole crop everywhere."""

    def forward(self, x):
        cells = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8)
        first = torch.zeros_like(cells)
        first[:, :, 1, 2] = cells[:, :, 1, 2]
        return [torch.cat([first, cells.mean((2, 3), keepdim=True).expand_as(cells)], 1)]


def test_the_field_is_where_covering_matters():
    crop = torch.ones(3, 24, 40)
    expected = np.zeros((3, 5))
    expected[1, 2] = 1  # the patch takes all that joint 0 has
    np.testing.assert_allclose(empirical_field(Middle(), crop, 0, patch=8), expected, atol=1e-6)
    np.testing.assert_allclose(empirical_field(Middle(), crop, 1, patch=8), np.full((3, 5), 1 / 15), rtol=1e-5)


def test_a_larger_patch_reaches_its_neighbours_and_ends_at_the_border():
    field = empirical_field(Middle(), torch.ones(3, 24, 40), 0, patch=24)
    np.testing.assert_allclose(field, [[0, 1, 1, 1, 0]] * 3, atol=1e-6)
    # at a corner the patch of 24 pixels covers 16 x 16 of 24 x 40, in the middle 24 x 24
    whole = empirical_field(Middle(), torch.ones(3, 24, 40), 1, patch=24)
    assert whole[0, 0] == pytest.approx(256 / 960) and whole[1, 2] == pytest.approx(576 / 960)


def test_batches_change_nothing_and_the_crop_stays():
    network, crop = lively_network(1), torch.randn(3, 32, 40)
    before = crop.clone()
    one, many = (empirical_field(network, crop, 3, batch_size=size) for size in (1, 64))
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-5)
    assert torch.equal(crop, before)


def test_sizes_and_their_interval():
    assert size_percent(np.array([[0.05, 0.3], [0.21, 0.2]])) == 50
    assert mean_size([7.0] * 5) == (7, 7, 7)
    mean, low, high = mean_size([0, 10] * 50)
    assert mean == 5 and 3.5 < low < 5 < high < 6.5  # a proportion's standard error: 10 x 0.05


def test_drawn_green_where_it_matters():
    image = np.full((16, 16, 3), 100, np.uint8)
    drawn = draw_field(image, np.array([[1.0, 0], [0, 0]]), np.array([12, 12, 1.0]), np.array([12, 4, 2.0]))
    np.testing.assert_array_equal(drawn[0, 0], np.array(0.6 * 100 + 0.4 * np.array(GREEN)).astype(np.uint8))
    assert drawn[12, 12, 2] > 200 and drawn[12, 12, 0] < 100 and (image == 100).all()


def test_networks_that_begin_alike_are_begun_once():
    one, other = lively_network(1), lively_network(1, seed=1)
    other.load_state_dict({**other.state_dict(), **{k: v for k, v in one.state_dict().items() if "refinement" not in k}})
    crop = torch.randn(3, 32, 48)
    apart = [empirical_field(network, crop, 11, step=2) for network in (one, other)]
    alike = empirical_fields(joint_maps([one, other], 11, begin_alike=True), crop, step=2)
    assert apart[0].shape == (2, 3) and not np.allclose(*apart)
    np.testing.assert_allclose(alike, apart, rtol=1e-4)


def test_with_a_step_of_two_cells_the_patch_lies_between_them():
    field = empirical_field(Middle(), torch.ones(3, 32, 48), 0, patch=16, step=2)
    np.testing.assert_allclose(field, [[0, 1, 0], [0, 0, 0]], atol=1e-6)  # cell (1, 2) is of the second place


def test_the_elbows_that_are_asked_for():
    """LIP's right arm is 12, 11, 10, its left one 13, 14, 15; a body of a few joints at known places."""
    near, far = np.zeros((16, 3)), np.zeros((16, 3))
    near[[8, 9, 11]] = [(50, 20, 2), (50, 0, 2), (60, 30, 1)]
    far[[8, 9, 11, 14, 10]] = [(50, 20, 2), (50, 0, 2), (60, 20, 2), (90, 20, 2), (61, 20, 2)]
    chosen = chosen_elbows([person(near), person(far)], LIP)
    assert chosen == {"a hidden elbow": (0, 11), "an elbow far from everything": (1, 14)}
    assert chosen_elbows([], LIP) == {}


def test_one_persons_crop_with_its_fields_and_the_sizes_of_all(tiny_lip):
    persons, recipe = read_lip(tiny_lip, "val"), replace(LIP_MODERN, input_size=(32, 32), precision="float32")
    networks = {"a": lively_network(1), "b": lively_network(1, context="none")}
    elbow = next(j for j in (11, 14) if persons[0].keypoints[j, 2] > 0)
    fields, drawn = crop_fields(networks, persons[0], elbow, recipe)
    assert fields["a"].shape == (4, 4) and drawn["b"].shape == (32, 32, 3)
    sizes = field_sizes(networks, persons[:1], recipe, step=1)
    assert sizes["a"][0] == size_percent(fields["a"])
