"""Engines: a PyTorch, an ONNX and an OpenVINO file of one network answer alike."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from conftest import lively_network, noise_picture

from gccpm_lib.checkpoints import save_checkpoint
from gccpm_lib.datasets.records import DataError
from gccpm_lib.export import engines
from gccpm_lib.export import files as exporting
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN, LIP_PUBLISHED

RECIPES = {"lip": replace(LIP_MODERN, input_size=(64, 64)), "coco": replace(COCO_MODERN, input_size=(64, 48))}


def write_all(folder, recipe, dynamic_batch=False):
    """One network as .pt, .onnx and .xml."""
    network = lively_network(1, upsampling=recipe.upsampling)
    content = {"network": network.state_dict(), "shape": network.shape, **exporting.description(recipe)}
    save_checkpoint(folder / "n.pt", content)
    onnx_file = exporting.export_onnx(network, recipe, folder / "n.onnx", dynamic_batch)
    return [folder / "n.pt", onnx_file, exporting.export_openvino(onnx_file, folder, recipe)]


@pytest.fixture(scope="module", params=RECIPES)
def files(request, tmp_path_factory):
    recipe = RECIPES[request.param]
    return recipe, write_all(tmp_path_factory.mktemp("files"), recipe)


@pytest.mark.parametrize("flip", [False, True])
def test_same_answers(files, flip):
    recipe, paths = files
    image, boxes = noise_picture(90, 110), [(5, 5, 60, 80), (30, 10, 70, 70), (0, 0, 110, 90)]
    answers = [engines.open_predictor(path, flip=flip).predict(image, boxes) for path in paths]
    assert answers[0].shape == (3, recipe.skeleton.num_joints, 3)
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], atol=1e-2)


def test_files_bring_their_recipe_along(files):
    recipe, paths = files
    assert all(engines.open_predictor(path).recipe == recipe for path in paths)


def test_dynamic_batch_runs_at_once(tmp_path):
    recipe = RECIPES["lip"]
    torch_file, onnx_file, ir_file = write_all(tmp_path, recipe, dynamic_batch=True)
    pictures = np.stack([noise_picture(64, 64, seed) for seed in range(3)])
    reference = engines.open_predictor(torch_file).maps(pictures)
    for path in (onnx_file, ir_file):
        network = engines.open_network(path, recipe)
        assert not network.one_by_one
        np.testing.assert_allclose(network(pictures), reference, atol=1e-4)


def test_many_pictures_keep_their_order(files):
    recipe, paths = files
    height, width = recipe.input_size
    pictures = np.stack([noise_picture(height, width, seed) for seed in range(9)])
    network = engines.open_network(paths[2], recipe, throughput=True)
    one_by_one = np.concatenate([network(picture[None]) for picture in pictures])
    np.testing.assert_allclose(network(pictures), one_by_one, atol=1e-5)


def test_another_size_is_refused_with_the_remedy(files):
    _, paths = files
    for path in paths[1:]:
        with pytest.raises(ValueError, match="exported network takes"):
            engines.open_predictor(path, input_size=(96, 96)).predict(noise_picture(50, 50))
        with pytest.raises(ValueError, match="single scale"):
            engines.open_predictor(path, scales=(0.75, 1.0)).predict(noise_picture(50, 50))


def test_an_ir_holds_one_stage(files):
    recipe, paths = files
    with pytest.raises(ValueError, match="export it with stage=0"):
        engines.open_network(paths[2], recipe)(np.zeros((1, *recipe.input_size, 3), np.uint8), 0)
    assert engines.open_network(paths[1], recipe)(np.zeros((1, *recipe.input_size, 3), np.uint8), 0).shape[1] == 17


def test_a_file_of_other_make_needs_a_recipe(files, tmp_path):
    recipe, paths = files
    model = onnx.load(paths[1])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="doesn't say its recipe"):
        engines.open_predictor(tmp_path / "other.onnx")
    predictor = engines.open_predictor(tmp_path / "other.onnx", recipe=recipe.name)
    assert predictor.recipe.input_size == recipe.input_size
    known = engines.open_predictor(paths[1]).predict(noise_picture(70, 60))
    np.testing.assert_array_equal(predictor.predict(noise_picture(70, 60))[:, :, 2], known[:, :, 2])


def test_another_skeleton_is_refused(tmp_path):
    network = lively_network(0, num_heatmaps=5)
    recipe = RECIPES["lip"]
    save_checkpoint(tmp_path / "n.pt", {"network": network.state_dict(), "shape": network.shape})
    paths = [tmp_path / "n.pt", exporting.export_onnx(network, recipe, tmp_path / "n.onnx")]
    paths.append(exporting.export_openvino(paths[1], tmp_path, recipe))
    for path in paths:
        with pytest.raises(ValueError, match="5 maps, but lip-published has 17"):
            engines.open_predictor(path, recipe=LIP_PUBLISHED.name, upsampling="bilinear" if path.suffix == ".pt" else None)


def test_missing_files_are_named(tmp_path):
    for name in ("a.onnx", "a.xml"):
        with pytest.raises(DataError, match="no such model"):
            engines.open_predictor(tmp_path / name)
