"""Settings predicted together: the same keypoints as one by one, from fewer passes through the network."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import lively_network, noise_picture, person

from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.prediction.shared_passes import SharedNetwork, predict_settings
from gccpm_lib.recipes import COCO_PUBLISHED, LIP_PUBLISHED

LIP_SMALL, COCO_SMALL = replace(LIP_PUBLISHED, input_size=(64, 64)), replace(COCO_PUBLISHED, input_size=(96, 72))
SETTINGS = {
    "single scale": {},
    "flip": {"flip": True},
    "multi-scale and flip": {"scales": (0.75, 1.0, 1.25), "flip": True},
    "initial stage": {"stage": 0},
}
SETTINGS_COCO = SETTINGS | {name: {"recipe": replace(COCO_SMALL, decoder=name)} for name in ("argmax", "quarter", "dark")}


@pytest.fixture
def persons(tmp_path):
    """Five pictures of one shape, each with a box."""
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), noise_picture(90, 70, number))
    boxes = [(5 + number, 10, 40, 60) for number in range(5)]
    return [person(np.zeros((16, 3)), box, tmp_path / f"{number}.png") for number, box in enumerate(boxes)]


@pytest.mark.parametrize("recipe, settings", [(LIP_SMALL, SETTINGS), (COCO_SMALL, SETTINGS_COCO)], ids=["lip", "coco"])
def test_every_setting_gives_what_it_gives_alone_to_the_last_bit(persons, recipe, settings):
    network = lively_network(1)
    together = predict_settings(network, recipe, settings, persons, batch_size=2)
    assert list(together) == list(settings)
    for name, options in settings.items():
        alone = PosePredictor(network, **{"recipe": recipe, **options}).predict_persons(persons, batch_size=2)
        np.testing.assert_array_equal(together[name], alone, err_msg=name)
    assert not np.array_equal(together["single scale"], together["initial stage"])


@pytest.mark.parametrize("recipe, settings", [(LIP_SMALL, SETTINGS), (COCO_SMALL, SETTINGS_COCO)], ids=["lip", "coco"])
def test_the_network_sees_every_crop_once(persons, recipe, settings):
    network, seen = lively_network(1), []
    network.register_forward_hook(lambda module, inputs, outputs: seen.append(tuple(inputs[0].shape)))
    predict_settings(network, recipe, settings, persons, batch_size=5)
    scales = {64: (48, 64, 80), 96: (72, 96, 120)}[recipe.input_size[0]]
    assert sorted(height for _, _, height, _ in seen) == sorted(2 * scales)  # each upright and mirrored
    assert {count for count, *_ in seen} == {5}


def test_maps_are_forgotten_batch_by_batch(persons, monkeypatch):
    sizes, forget = [], SharedNetwork.forget
    monkeypatch.setattr(SharedNetwork, "forget", lambda self: sizes.append(len(self.known)) or forget(self))
    predict_settings(lively_network(0), LIP_SMALL, SETTINGS, persons, batch_size=2)
    assert sizes == [6, 6, 6]  # three scales, upright and mirrored; five persons in batches of two


def test_no_persons_give_empty_arrays():
    found = predict_settings(lively_network(0), LIP_SMALL, SETTINGS, [])
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(SETTINGS, (0, 16, 3))
