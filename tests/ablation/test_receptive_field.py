"""Effective receptive fields of networks small enough to know the answer."""

import numpy as np
import pytest
import torch
from conftest import lively_network
from torch import nn

from gccpm_lib.ablation import receptive_field


class Blur(nn.Module):
    """Two maps: a 3 x 3 mean of the input around a pixel, and the pixel itself, at a stride of 8."""

    def forward(self, x):
        mean = nn.functional.avg_pool2d(nn.functional.pad(x.sum(1, keepdim=True), (1, 1, 1, 1)), 3, stride=8)
        return [torch.cat([mean, x.sum(1, keepdim=True)[:, :, ::8, ::8]], 1)]


def test_field_of_a_known_network():
    """Half of the pictures ask a 3 x 3 mean, half a single pixel: 1/2 + 1/18 in the middle, 1/18 around."""
    field = receptive_field.effective_field(Blur(), torch.randn(2, 3, 16, 16), num_joints=2)
    expected = np.zeros((16, 16))
    expected[7:10, 7:10] = 1 / 18
    expected[8, 8] += 1 / 2
    assert field == pytest.approx(expected, abs=1e-6)


def test_area_by_hand():
    field = np.zeros((10, 10))
    field[0, 0], field[0, 1], field[0, 2] = 0.5, 0.3, 0.2
    assert receptive_field.area_percent(field, 0.5) == 1
    assert receptive_field.area_percent(field, 0.7) == 2
    assert receptive_field.area_percent(field, 0.9) == 3
    assert receptive_field.area_percent(np.full((10, 10), 0.01)) == 90


def test_context_widens_what_the_last_stage_sees():
    crops = torch.randn(4, 3, 192, 192)
    areas = {}
    for context in ("none", "ushape"):
        network = lively_network(1, context=context)
        areas[context] = receptive_field.area_percent(receptive_field.effective_field(network, crops, 16))
    assert areas["ushape"] > areas["none"]
