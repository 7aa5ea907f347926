"""A context block of one's own: a function or class (channels, upsampling), from training to export."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import lively_network, quiet, small_run, write_lip
from torch import nn

from gccpm_lib.ablation import comparison as ablation
from gccpm_lib.checkpoints import load_network, read_checkpoint, save_network
from gccpm_lib.export.files import export_onnx
from gccpm_lib.network import GCCPM, context_name, told_context
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.training import loop as training


class Mean(nn.Module):
    """Adds the mean of the whole map to every cell."""

    def __init__(self, channels: int, upsampling: str):
        super().__init__()
        self.change = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.change(x.mean((2, 3), keepdim=True))


def doubled(channels: int, upsampling: str) -> nn.Module:
    return nn.Sequential(Mean(channels, upsampling), Mean(channels, upsampling))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_lip(folder / "lip", (("train", 4), ("val", 1)))
    changes = dict(num_refinement_stages=1, input_size=(32, 32), context=Mean, num_val_persons=0)
    return replace(small_run(folder / "lip", folder / "run"), **changes)


def test_the_block_stands_in_front_of_every_stage():
    network = GCCPM(num_refinement_stages=2, context=doubled)
    assert [len(stage.trunk[0]) for stage in network.refinement_stages] == [2, 2]
    assert context_name(doubled) == "doubled" and ablation.Variant(Mean, 2).name == "Mean 2"
    assert told_context("ppm") == "ppm" and told_context(Mean)["source"].startswith("class Mean(nn.Module):")


def test_trained_broken_off_and_gone_on_with(run, tmp_path):
    whole = training.train(run, quiet)
    halves = replace(run, output_folder=str(tmp_path / "halves"))

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(halves, stop)
    assert [row["losses"] for row in training.train(halves, quiet)] == [row["losses"] for row in whole]
    saved = json.loads((tmp_path / "halves" / "run.json").read_text())
    assert saved["context"]["name"] == "Mean" and "x.mean((2, 3)" in saved["context"]["source"]
    said = []
    training.train(replace(halves, context=doubled), said.append)
    assert "another run's checkpoint" in said[0] and (tmp_path / "halves.1").is_dir()


def test_a_file_is_read_with_the_function_alone(run, tmp_path):
    """Its source text is there for people; it is never executed."""
    training.train(run, quiet)
    with pytest.raises(ValueError, match=r"block of one's own, Mean; give it again: load_network\(..., context=Mean\)"):
        load_network(run.checkpoint_file)
    with pytest.raises(ValueError, match="trained with context Mean, asked for doubled"):
        load_network(run.checkpoint_file, context=doubled)
    network = load_network(run.checkpoint_file, context=Mean)
    assert network.shape["context"] is Mean
    published = save_network(tmp_path / "own.safetensors", network, LIP_MODERN)
    assert read_checkpoint(published)["shape"]["context"]["name"] == "Mean"
    again = load_network(published, context=Mean)
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(again(x), network(x))
    with pytest.raises(ValueError, match="trained with context ushape, asked for Mean"):
        save_network(tmp_path / "ushape.safetensors", lively_network(1), LIP_MODERN)
        load_network(tmp_path / "ushape.safetensors", context=Mean)


def test_exported_and_refused_in_other_processes(run, tmp_path):
    network = GCCPM(context=Mean).eval()
    assert export_onnx(network, LIP_MODERN, tmp_path / "own.onnx").stat().st_size > 1e6
    with pytest.raises(ValueError, match="num_processes=1"):
        training.train(run, quiet, num_processes=2)
