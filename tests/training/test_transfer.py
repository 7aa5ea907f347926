"""Transfer: maps go over by name; a reordered skeleton is the same network; other widths start anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively_network, noise_picture

from gccpm_lib.checkpoints import load_network, save_checkpoint
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.skeletons import LIP, Skeleton
from gccpm_lib.training import transfer


def write(path, network, recipe):
    content = {"network": network.state_dict(), "shape": network.shape, "recipe": recipe.name}
    save_checkpoint(path, content | {"skeleton": recipe.skeleton.as_dict(), "sigma": recipe.sigma})
    return path


def started(path, recipe, num_refinement_stages=1, context="ushape"):
    network = GCCPM(recipe.num_heatmaps, num_refinement_stages, context=context, upsampling=recipe.upsampling)
    transfer.start_from(network, path, recipe, say=lambda line: None)
    return network.eval()


def maps(network, recipe, seed=0):
    picture = torch.from_numpy(noise_picture(64, 64, seed))[None]
    with torch.inference_mode():
        return [output[0].numpy() for output in network(normalise(picture, recipe))]


def test_same_recipe_is_loaded_as_it_is(tmp_path):
    path = write(tmp_path / "a.pt", lively_network(1), LIP_MODERN)
    for a, b in zip(maps(started(path, LIP_MODERN), LIP_MODERN), maps(load_network(path), LIP_MODERN), strict=True):
        np.testing.assert_array_equal(a, b)


def test_published_file_says_no_recipe_and_is_loaded_as_it_is(tmp_path):
    torch.save(lively_network(1).state_dict(), tmp_path / "published.pth")
    network = started(tmp_path / "published.pth", COCO_MODERN)
    assert torch.equal(network.state_dict()["cpm.0.0.weight"], lively_network(1).state_dict()["cpm.0.0.weight"])


@pytest.mark.parametrize("context", ["ushape", "ppm", "aspp", "matched", "none"])
def test_joints_in_another_order_give_the_same_maps_in_that_order(tmp_path, context):
    order = np.random.default_rng(3).permutation(16)
    turned = replace(LIP_MODERN, skeleton=Skeleton("turned", tuple(LIP.joints[i] for i in order), (), ()))
    path = write(tmp_path / "a.pt", lively_network(2, context=context), LIP_MODERN)
    before, after = maps(load_network(path), LIP_MODERN), maps(started(path, turned, 2, context), turned)
    for a, b in zip(before, after, strict=True):
        assert np.ptp(a) > 0.1
        np.testing.assert_allclose(b[:16], a[order], atol=1e-5)  # sums run in another order
        np.testing.assert_allclose(b[16], a[16], atol=1e-5)  # the background stays the last


def test_lip_gives_coco_its_limbs(tmp_path):
    source = lively_network(1)
    path = write(tmp_path / "a.pt", source, LIP_MODERN)
    recipe = replace(COCO_MODERN, upsampling="bilinear", channels="bgr", mean=LIP_MODERN.mean, std=LIP_MODERN.std)
    network = started(path, recipe)
    initial, wanted = maps(network, recipe)[0], maps(source, LIP_MODERN)[0]
    for coco_name, lip_name in (("left_shoulder", "l_shoulder"), ("right_ankle", "r_ankle"), ("left_wrist", "l_wrist")):
        a, b = COCO_MODERN.skeleton.joints.index(coco_name), LIP.joints.index(lip_name)
        np.testing.assert_allclose(initial[a], wanted[b], atol=1e-6)
    nose = network.state_dict()["refinement_stages.0.trunk.0.encoder1.0.0.weight"][:, 128]
    assert not nose.any()  # no map of the source is a nose: refinement doesn't listen to it at first
    shoulder = network.state_dict()["refinement_stages.0.trunk.0.decoder1.0.0.weight"][:, 128 + 5]
    assert torch.equal(shoulder, source.state_dict()["refinement_stages.0.trunk.0.decoder1.0.0.weight"][:, 128 + 13])


def test_another_number_of_maps_keeps_what_fits(tmp_path):
    path, said = write(tmp_path / "a.pt", lively_network(1), LIP_MODERN), []
    four = Skeleton("four", ("l_wrist", "r_wrist", "nose", "tail"), (), ((0, 1),))
    recipe = replace(COCO_MODERN, skeleton=four)
    network = GCCPM(4, 1)
    transfer.start_from(network, path, recipe, said.append)
    own, given = network.state_dict(), lively_network(1).state_dict()
    assert torch.equal(own["cpm.1.0.weight"], given["cpm.1.0.weight"])
    assert torch.equal(
        own["refinement_stages.0.trunk.2.trunk.0.0.weight"], given["refinement_stages.0.trunk.2.trunk.0.0.weight"]
    )
    assert torch.equal(own["initial_stage.heatmaps.1.0.weight"][0], given["initial_stage.heatmaps.1.0.weight"][15])
    assert len(said) == 1 and "2 of 4 maps" in said[0]


def test_first_layer_sees_other_pixel_values_as_before(tmp_path):
    source = lively_network(0)
    path = write(tmp_path / "a.pt", source, LIP_MODERN)
    network = started(path, COCO_MODERN, 0)
    picture = torch.from_numpy(noise_picture(64, 64))[None]
    with torch.inference_mode():
        before = source.model[0](normalise(picture, LIP_MODERN))
        after = network.model[0](normalise(picture, COCO_MODERN))
    # inside; at the border zeros are padded, which are other colours in the two
    torch.testing.assert_close(after[:, :, 1:-1, 1:-1], before[:, :, 1:-1, 1:-1], atol=1e-4, rtol=1e-4)


def test_another_depth_is_refused_with_the_remedy(tmp_path):
    path = write(tmp_path / "a.pt", lively_network(1), LIP_MODERN)
    with pytest.raises(ValueError, match="num_refinement_stages"):
        started(path, COCO_MODERN, num_refinement_stages=2)


def test_fresh_refinement_keeps_the_rest_and_allows_another_depth_and_block(tmp_path):
    path = write(tmp_path / "a.pt", lively_network(1), LIP_MODERN)
    torch.manual_seed(1)
    untouched = GCCPM(num_refinement_stages=2, context="ppm")
    torch.manual_seed(1)
    network = GCCPM(num_refinement_stages=2, context="ppm")
    transfer.start_from(network, path, LIP_MODERN, lambda line: None, fresh_refinement=True)
    own, source, initial = network.state_dict(), lively_network(1).state_dict(), untouched.state_dict()
    for key, value in own.items():
        assert torch.equal(value, (initial if key.startswith("refinement_stages.") else source)[key]), key
