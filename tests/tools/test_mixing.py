"""Means of weights: between two networks of the same joints, and of other ones by name."""

import numpy as np
import pytest
import torch
from conftest import lively_network

from gccpm_lib import checkpoints
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import COCO_MODERN, COCO_PHOTOGRAPHS, LIP_MODERN
from gccpm_lib.tools import mixing


def saved(path, recipe, seed):
    torch.manual_seed(seed)
    network = GCCPM(recipe.num_heatmaps, 1, upsampling=recipe.upsampling).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return checkpoints.save_network(path, network, recipe), network.state_dict()


def test_a_share_of_nothing_is_the_base_and_of_everything_the_other(tmp_path):
    one, own = saved(tmp_path / "a.safetensors", LIP_MODERN, 0)
    other, theirs = saved(tmp_path / "b.safetensors", LIP_MODERN, 1)
    for share in (0.0, 0.25, 1.0):
        network, recipe = mixing.mixed(one, other, share)
        assert recipe == checkpoints.recipe_of(one)
        for key, value in network.state_dict().items():
            expected = (1 - share) * own[key].double() + share * theirs[key].double()
            np.testing.assert_allclose(value.double(), expected, atol=1e-6, err_msg=key)


def test_maps_go_by_name_and_those_that_the_other_lacks_stay(tmp_path):
    one, own = saved(tmp_path / "a.safetensors", LIP_MODERN, 0)
    other, theirs = saved(tmp_path / "b.safetensors", COCO_PHOTOGRAPHS, 1)
    network, _ = mixing.mixed(one, other, 1.0)
    weights, last = network.state_dict(), "refinement_stages.0.heatmaps.1.0.weight"
    assert torch.equal(weights[last][12], theirs[last][6])  # r_shoulder, right_shoulder
    assert torch.equal(weights[last][9], own[last][9])  # head_top
    reader = "refinement_stages.0.trunk.0.encoder1.0.0.weight"
    assert torch.equal(weights[reader][:, 128 + 12], theirs[reader][:, 128 + 6])
    assert torch.equal(weights[reader][:, 128 + 9], own[reader][:, 128 + 9])
    assert torch.equal(weights[reader][:, :128], theirs[reader][:, :128])


def test_the_file_says_what_it_is_a_mean_of_and_other_pixel_values_are_refused(tmp_path, capsys):
    for name, recipe in (("a", LIP_MODERN), ("b", COCO_PHOTOGRAPHS), ("c", COCO_MODERN)):
        checkpoints.save_network(tmp_path / f"{name}.safetensors", lively_network(17), recipe)
    target = tmp_path / "m.safetensors"
    mixing.main([str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), str(target), "--share", "0.3"])
    about = checkpoints.read_checkpoint(target)["about"]
    assert about["steps"][-1]["share"] == 0.3 and str(target) in capsys.readouterr().out
    with pytest.raises(ValueError, match="other pixel values"):
        mixing.mixed(tmp_path / "a.safetensors", tmp_path / "c.safetensors", 0.5)
