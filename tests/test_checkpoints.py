"""Checkpoints: every wrapping of a published file, what must be refused, MobileNet's weights, safe writing."""

import argparse
import os
import pickle
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively_network, noise_picture
from safetensors.torch import save_file

from gccpm_lib import checkpoints
from gccpm_lib.checkpoints import (
    load_backbone,
    load_network,
    load_weights,
    network_weights,
    read_checkpoint,
    recipe_of,
    save_checkpoint,
)
from gccpm_lib.network import GCCPM
from gccpm_lib.prediction.predictor import normalise
from gccpm_lib.recipes import LIP_PUBLISHED, RECIPES


def maps_of(network, seed=0) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)))[-1]


def prefixed(weights) -> dict:
    return {f"module.{key}": value for key, value in weights.items()}


def without_counters(weights) -> dict:
    return {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}


COUNTERS = {"iter": np.int64(7), "current_epoch": np.float64(1.0), "scheduler": {"best": np.float64(20.5)}}
WRAPPINGS = {
    "bare": lambda w: w,
    "prefixed": prefixed,
    "wrapped": lambda w: {"state_dict": w, "optimizer": {"state": {}}, **COUNTERS},
    "wrapped and prefixed": lambda w: {"state_dict": prefixed(w), "optimizer": {"state": {}}, "current_epoch": 1},
    "without counters": without_counters,
    "model": lambda w: {"model": w, "epoch": 3},
    "net": lambda w: {"net": w, "acc": 0.5},
    "a state_dict in a model": lambda w: {"model": {"state_dict": prefixed(w)}},
    "compiled": lambda w: {f"_orig_mod.{key}": value for key, value in w.items()},
    "compiled in parallel": lambda w: {f"module._orig_mod.{key}": value for key, value in w.items()},
    "parallel twice": lambda w: prefixed(prefixed(w)),
    "of a trainer's module": lambda w: {"state_dict": {f"model.{key}": value for key, value in w.items()}},
    "of a trainer's compiled module": lambda w: {"state_dict": {f"net._orig_mod.{k}": v for k, v in w.items()}},
}


@pytest.mark.parametrize("name", WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_every_wrapping_gives_the_same_maps(tmp_path, name, zipped):
    network = lively_network(0, num_channels=16)
    path = tmp_path / "published.pth.tar"
    torch.save(WRAPPINGS[name](network.state_dict()), path, _use_new_zipfile_serialization=zipped)
    loaded = load_network(path, upsampling="bilinear")
    assert not loaded.training
    torch.testing.assert_close(maps_of(loaded), maps_of(network), rtol=0, atol=1e-6)


def test_scalars_of_old_numpy_are_read(tmp_path):
    """Numpy below 2 wrote its scalars under numpy.core; numpy from 2 on under numpy._core."""
    path = tmp_path / "old.pth"
    torch.save({"current_epoch": np.float64(1.0), "iter": np.int64(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    path.write_bytes(old)
    assert read_checkpoint(path) == {"current_epoch": 1.0, "iter": 3}


def test_safetensors_are_read(tmp_path):
    network = lively_network(0, num_channels=16)
    save_file(network.state_dict(), tmp_path / "published.safetensors")
    torch.testing.assert_close(maps_of(load_network(tmp_path / "published.safetensors", "bilinear")), maps_of(network))


@pytest.mark.parametrize("stages", [0, 1, 5])
def test_depth_heatmaps_and_channels_are_read_from_the_file(tmp_path, stages):
    shape = dict(num_heatmaps=5, num_channels=8)
    network = lively_network(stages, **shape)
    torch.save(prefixed(network.state_dict()), tmp_path / "published.pth")
    loaded = load_network(tmp_path / "published.pth", upsampling="nearest")
    assert loaded.shape == dict(shape, num_refinement_stages=stages, context="ushape", upsampling="nearest")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_a_published_file_warns_when_upsampling_is_not_given(tmp_path, recwarn):
    torch.save(lively_network(0).state_dict(), tmp_path / "published.pth")
    with pytest.warns(UserWarning, match="upsampling='nearest'"):
        assert load_network(tmp_path / "published.pth").shape["upsampling"] == "bilinear"
    recwarn.clear()
    load_network(tmp_path / "published.pth", upsampling="nearest")
    assert not recwarn.list


def our_file(path, **more):
    network = lively_network(1, num_channels=32, upsampling="nearest")
    save_checkpoint(path, {"network": network.state_dict(), "shape": network.shape, **more})
    return network


def test_our_own_file_keeps_its_upsampling_without_a_warning(tmp_path, recwarn):
    network = our_file(tmp_path / "checkpoint.pt")
    loaded = load_network(tmp_path / "checkpoint.pt")
    assert loaded.shape["upsampling"] == "nearest" and not recwarn.list
    torch.testing.assert_close(maps_of(loaded), maps_of(network), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="trained with upsampling 'nearest', asked for 'bilinear'"):
        load_network(tmp_path / "checkpoint.pt", upsampling="bilinear")


def test_another_depth_is_refused_naming_the_keys():
    one, two = GCCPM(num_refinement_stages=1), GCCPM(num_refinement_stages=2)
    with pytest.raises(ValueError, match=r"a\.pth.*missing.*refinement_stages\.1\."):
        load_weights(two, one.state_dict(), "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth.*left over.*refinement_stages\.1\."):
        load_weights(one, two.state_dict(), "a.pth")


def test_another_skeleton_is_refused_naming_the_keys():
    with pytest.raises(ValueError, match=r"of another shape.*initial_stage\.heatmaps\.1\.0\.weight \(19, .*\(17, "):
        load_weights(GCCPM(num_refinement_stages=0), GCCPM(19, num_refinement_stages=0).state_dict())


def test_refused_weights_leave_the_network_as_it_was():
    network = lively_network(0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError):
        load_weights(network, GCCPM(19, num_refinement_stages=0).state_dict())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_file_without_one_of_its_stages_is_refused(tmp_path):
    weights = lively_network(3, num_channels=32).state_dict()
    torch.save({k: v for k, v in weights.items() if not k.startswith("refinement_stages.1.")}, tmp_path / "gap.pth")
    with pytest.raises(ValueError, match=r"gap\.pth.*\[0, 2\]"):
        load_network(tmp_path / "gap.pth", upsampling="bilinear")


def test_a_file_without_one_layer_is_refused(tmp_path):
    weights = lively_network(1, num_channels=32).state_dict()
    del weights["refinement_stages.0.trunk.2.initial.0.weight"]
    torch.save(weights, tmp_path / "hole.pth")
    with pytest.raises(ValueError, match=r"hole\.pth.*refinement_stages\.0\.trunk\.2\.initial\.0\.weight"):
        load_network(tmp_path / "hole.pth", upsampling="bilinear")


@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, {}], ids=["other network", "empty"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth.*not a GCCPM network"):
        load_network(tmp_path / "other.pth", upsampling="bilinear")


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), "text"], ids=["list", "tensor", "text"])
def test_a_file_without_named_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth"):
        load_network(tmp_path / "other.pth", upsampling="bilinear")


@pytest.mark.parametrize("ending", [".pth", ".pth.tar", ".safetensors"])
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_cut_off_file_is_refused_by_name(tmp_path, ending, part):
    path = tmp_path / f"cut{ending}"
    weights = lively_network(0, num_channels=8).state_dict()
    if ending == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=ending == ".pth")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cut{ending}.*cut off"):
        load_network(path, upsampling="bilinear")


def test_a_key_beside_the_network_is_not_lost_with_its_prefix(tmp_path):
    weights = {f"model.{key}": value for key, value in lively_network(0, num_channels=8).state_dict().items()}
    torch.save({"state_dict": weights | {"loss.\x1b[31mscale": torch.ones(1)}}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"more\.pth.*left over \(1\): loss\.scale"):
        load_network(tmp_path / "more.pth", upsampling="bilinear")


@pytest.mark.parametrize(
    "content, told",
    [
        (lambda: torch.nn.Linear(2, 2), r"it holds objects of .*torch\.nn\.modules\.linear\.Linear; save the network's"),
        (
            lambda: {"state_dict": {}, "args": argparse.Namespace(a=1), "acc": np.float64(1)},
            r"of argparse\.Namespace; s",
        ),
        (
            lambda: {"epoch": 3, "weights": {"a": torch.zeros(1)}},
            r"it has no tensor at its top or under network, s",
        ),
        (
            lambda: {f"backbone.{n}": torch.zeros(1) for n in "abcde"},
            r"its 5 tensors begin backbone\.a, .*\.b, backbone\.c\)",
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_refusals_name_what_is_in_the_file(tmp_path, content, told, zipped):
    torch.save(content(), tmp_path / "other.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=told) as error:
        load_network(tmp_path / "other.pth", upsampling="bilinear")
    assert str(error.value).isprintable() and "weights_only" not in str(error.value)


def test_pages_and_pointers_in_place_of_a_file_are_named(tmp_path):
    for content, told in ((b"<!DOCTYPE html>", "a web page"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS")):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(ValueError, match=told):
            read_checkpoint(tmp_path / "a.pth")


def test_a_missing_file_is_named_with_a_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt.*checkpoint_path"):
        load_network(tmp_path / "none.pt")


class Evil:
    """Unpickling it would create a file."""

    def __init__(self, target, call=os.system):
        self.target, self.call = target, call

    def __reduce__(self):
        command = f"touch '{self.target}'"
        return self.call, (command if self.call is os.system else f"__import__('os').system({command!r})",)


@pytest.mark.parametrize("call", [os.system, eval, exec], ids=lambda c: c.__name__)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "old format", "bare pickle"])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path, form, call):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    content = {"state_dict": lively_network(0, num_channels=8).state_dict(), "extra": Evil(trace, call)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps({"extra": Evil(trace, call)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match=r"evil\.pth"):
        load_network(path, upsampling="bilinear")
    assert not trace.exists()


def test_a_recipe_is_read_from_our_own_file_and_asked_for_a_published_one(tmp_path):
    our_file(tmp_path / "ours.pt", recipe="lip-modern", input_size=[128, 96])
    recipe = recipe_of(tmp_path / "ours.pt")
    assert recipe.name == "lip-modern" and recipe.input_size == (128, 96)
    assert recipe_of(tmp_path / "ours.pt", "lip-published", (64, 64)) == replace(LIP_PUBLISHED, input_size=(64, 64))
    torch.save(lively_network(0, num_channels=8).state_dict(), tmp_path / "published.pth")
    with pytest.raises(ValueError, match=r"published\.pth doesn't say its recipe"):
        recipe_of(tmp_path / "published.pth")
    assert recipe_of(tmp_path / "published.pth", "lip-published") == LIP_PUBLISHED


# MobileNet


def test_the_readmes_mobilenet_file_is_loaded_as_it_is(tmp_path):
    source, network = lively_network(0, seed=1), lively_network(0, seed=2)
    elsewhere = {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("model.")}
    file = {f"module.model.{key}": value for key, value in source.model.state_dict().items()}
    for layer in (12, 13):
        file |= {
            f"module.model.{layer}.0.weight": torch.zeros(512, 1, 3, 3),
            f"module.model.{layer}.1.bias": torch.zeros(512),
        }
    file |= {"module.fc.weight": torch.zeros(1000, 1024), "module.fc.bias": torch.zeros(1000)}
    path = tmp_path / "mobilenet_sgd_68.848.pth.tar"
    torch.save({"epoch": 12, "state_dict": without_counters(file), "best_prec1": np.float64(68.848)}, path)
    load_backbone(network, path, LIP_PUBLISHED)
    for key, value in without_counters(source.model.state_dict()).items():
        assert torch.equal(network.model.state_dict()[key], value), key
    assert all(torch.equal(network.state_dict()[key], value) for key, value in elsewhere.items())


def test_a_mobilenet_file_without_a_layer_is_refused(tmp_path):
    file = {f"model.{k}": v for k, v in lively_network(0).model.state_dict().items() if not k.startswith("4.3.")}
    torch.save(file, tmp_path / "mobilenet.pth")
    with pytest.raises(ValueError, match=r"mobilenet\.pth.*missing.*4\.3\.weight"):
        load_backbone(GCCPM(num_refinement_stages=0), tmp_path / "mobilenet.pth")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shipped_weights_see_each_recipes_pixels_as_they_saw_their_own(recipe):
    adapted, plain = lively_network(0), lively_network(0)
    load_backbone(adapted, recipe=recipe)
    load_backbone(plain)
    picture = torch.from_numpy(noise_picture(96, 96))[None]
    with torch.inference_mode():
        trained_on = plain.model[0](picture.flip(3).permute(0, 3, 1, 2).float() / 127.5 - 1)
        seen = adapted.model[0](normalise(picture, recipe))
        torch.testing.assert_close(seen[..., 1:-1, 1:-1], trained_on[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
        deep = [net.model[1:4](first)[..., 4:-4, 4:-4] for net, first in ((adapted, seen), (plain, trained_on))]
    torch.testing.assert_close(*deep, rtol=1e-3, atol=1e-3)


def test_shipped_weights_touch_the_backbone_alone_and_mean_something():
    network, before = lively_network(0), lively_network(0).state_dict()
    load_backbone(network, recipe=LIP_PUBLISHED)
    after = network.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith("model."))
    assert all(value.dtype == before[key].dtype and value.isfinite().all() for key, value in after.items())
    assert not any(torch.equal(after[key], before[key]) for key in after if key.startswith("model.") and "weight" in key)


# writing


def test_writing_keeps_the_checkpoint_before(tmp_path):
    path = tmp_path / "new" / "checkpoint.pt"
    for number in range(3):
        save_checkpoint(path, {"number": number})
    assert read_checkpoint(path) == {"number": 2}
    assert read_checkpoint(path.with_name("checkpoint.previous.pt")) == {"number": 1}
    assert sorted(p.name for p in path.parent.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"number": 1})

    def fail(checkpoint, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"checkpoint\.pt: could not be written.*untouched"):
        save_checkpoint(path, {"number": 2})
    assert read_checkpoint(path) == {"number": 1} and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_writing_works_without_hard_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(checkpoints.os, "link", no_links)
    for number in range(2):
        save_checkpoint(tmp_path / "checkpoint.pt", {"number": number})
    assert read_checkpoint(tmp_path / "checkpoint.previous.pt") == {"number": 0}


@pytest.mark.parametrize("length", [0, 200])
def test_a_damaged_file_never_takes_the_place_of_the_whole_one_before_it(tmp_path, monkeypatch, length):
    path = tmp_path / "checkpoint.pt"
    for number in range(2):
        save_checkpoint(path, {"number": number})
    path.write_bytes(path.read_bytes()[:length])

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints.os, "replace", killed)
        save_checkpoint(path, {"number": 2})
    assert read_checkpoint(tmp_path / "checkpoint.previous.pt") == {"number": 0}
    save_checkpoint(path, {"number": 2})
    assert read_checkpoint(path) == {"number": 2}
    assert read_checkpoint(tmp_path / "checkpoint.previous.pt") == {"number": 0}


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(checkpoints.os, "replace", lambda *a: done.append("rename") or replace(*a))
    monkeypatch.setattr(
        checkpoints.os,
        "fsync",
        lambda h: done.append("folder" if stat.S_ISDIR(os.fstat(h).st_mode) else "file") or fsync(h),
    )
    save_checkpoint(tmp_path / "checkpoint.pt", {"number": 1})
    assert done == ["file", "rename", "folder"]


def test_weights_are_found_without_their_wrapping():
    assert set(network_weights({"state_dict": {"module.a": torch.zeros(1), "epoch": 3}})) == {"a"}
