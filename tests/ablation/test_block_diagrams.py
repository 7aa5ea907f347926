"""Diagrams of the context blocks: every convolution is in them, and they can be drawn."""

import pytest
import torch
from torch import nn

from gccpm_lib.ablation import block_diagrams
from gccpm_lib.network import make_context

BLOCKS = ("ushape", "ppm", "aspp", "matched")


@pytest.mark.parametrize("context", BLOCKS)
def test_every_convolution_is_drawn(context):
    steps = block_diagrams.trace(context, 20)
    drawn = sum(line.startswith(("1x1", "3x3")) for step in steps for line in step["text"].splitlines())
    assert drawn == sum(isinstance(m, nn.Conv2d) for m in make_context(context, 20, "bilinear").modules())


@pytest.mark.parametrize("context", [*BLOCKS, "none"])
def test_what_comes_out_is_what_the_block_gives(context):
    steps = block_diagrams.trace(context, 20, cells=16)
    out = make_context(context, 20, "bilinear").eval()(torch.zeros(1, 20, 16, 16))
    assert steps[0]["shape"] == (20, 16, 16) and steps[-1]["shape"] == tuple(out.shape[1:])
    names = {step["name"] for step in steps}
    assert all(set(step["inputs"]) <= names and step["inputs"] for step in steps[1:])


def test_ushape_goes_down_and_up():
    steps = {step["name"]: step for step in block_diagrams.trace("ushape", 20, cells=32)}
    assert {step["shape"][1] for step in steps.values()} == {32, 16, 8}
    joins = [step for step in steps.values() if step["kind"] == "join"]
    assert [len(step["inputs"]) for step in joins] == [2, 2] and [step["shape"][0] for step in joins] == [80, 60]


def test_no_two_boxes_in_one_place():
    for context in BLOCKS:
        places = list(block_diagrams._places(block_diagrams.trace(context, 20)).values())
        assert len(places) == len(set(places))


def test_drawing_has_a_panel_per_block():
    figure = block_diagrams.draw(BLOCKS, 145)
    assert len(figure.axes) == 4 and "ushape" in figure.axes[0].get_title(loc="left")


def test_the_forward_pass_is_the_codes_own():
    first = "def forward(self, x: Tensor) -> Tensor:\n    e1 = self.encoder1(x)"
    assert block_diagrams.forward_text("ushape").startswith(first)
    assert block_diagrams.forward_text("matched").startswith("# 6 of these in a row\ndef forward")
    assert "adaptive_avg_pool2d" in block_diagrams.forward_text("ppm")
