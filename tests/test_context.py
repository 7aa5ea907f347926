"""Context blocks: shape in, shape out; alike in cost; what an output cell sees."""

import pytest
import torch
from conftest import lively_network

from gccpm_lib.network import GCCPM, count_macs, make_context

BLOCKS = ("ushape", "ppm", "aspp", "matched")


@pytest.mark.parametrize("context", [*BLOCKS, "none"])
@pytest.mark.parametrize("size", [(32, 32), (8, 6), (5, 7)])
def test_blocks_keep_the_shape(context, size):
    block = make_context(context, 20, "bilinear").eval()
    assert block(torch.zeros(2, 20, *size)).shape == (2, 20, *size)


@pytest.mark.parametrize("context", BLOCKS)
def test_blocks_train_on_a_single_picture(context):
    network = GCCPM(context=context).train()
    network(torch.randn(1, 3, 64, 64))[-1].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.refinement_stages.parameters())


def test_blocks_cost_alike():
    macs = {context: count_macs(GCCPM(context=context), (256, 256)) for context in (*BLOCKS, "none")}
    assert all(abs(macs[context] / macs["ushape"] - 1) < 0.03 for context in BLOCKS)
    assert macs["none"] < 0.7 * macs["ushape"]


def test_cost_in_units_of_the_squared_channels_is_as_documented():
    c, cells, expected = 40, 32 * 32, {"ushape": 117, "ppm": 110, "aspp": 116, "matched": 114, "none": 0}
    for context, units in expected.items():
        macs = count_block(make_context(context, c, "bilinear"), c)
        assert macs / cells / c**2 == pytest.approx(units, abs=0.6)


def count_block(block, c):
    class Pictures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.weight = block, torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.block(x.repeat(1, c, 1, 1)[:, :c])

    return count_macs(Pictures(), (32, 32))


@pytest.mark.parametrize(("context", "reaches"), [("ushape", False), ("ppm", True), ("aspp", True), ("none", False)])
def test_who_sees_the_far_corner_in_one_step(context, reaches):
    """Pooling sees the whole map at once, whatever its size; the U-shape reaches far but not across a map this large."""
    block = make_context(context, 20, "nearest").eval()
    x = torch.randn(1, 20, 96, 96, requires_grad=True)
    block(x)[0, :, 0, 0].sum().backward()
    assert bool(x.grad[0, :, -1, -1].abs().sum() > 0) == reaches


def test_networks_differ_in_their_block_alone():
    keys = {context: set(GCCPM(context=context).state_dict()) for context in (*BLOCKS, "none")}
    for context, own in keys.items():
        assert {key for key in own if "refinement_stages.0.trunk.0." not in key} == keys["none"], context
    assert lively_network(1, context="ppm").shape["context"] == "ppm"
