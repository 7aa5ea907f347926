"""Loading: what a sample holds, and that its position alone decides it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import person

from gccpm_lib import heatmaps
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import DataError
from gccpm_lib.loading import Key, TrainingSet, crop_size, epoch_batches, give_batches, make_loader, make_targets
from gccpm_lib.recipes import COCO_MODERN, COCO_PUBLISHED, LIP_MODERN, LIP_PUBLISHED
from gccpm_lib.skeletons import OUTSIDE

SMALL = replace(LIP_MODERN, input_size=(64, 64), batch_size=4, num_epochs=4)


def test_a_sample_has_picture_targets_weights_and_channel_order(tiny_lip):
    persons = read_lip(tiny_lip, "train")
    crop, targets, weights, order = TrainingSet(persons, SMALL, seed=0)[Key(0, 2, (64, 96))]
    assert crop.shape == (64, 96, 3) and crop.dtype == np.uint8
    assert targets.shape == (17, 8, 12) and targets.dtype == np.float32
    assert weights.shape == (17,) and weights.dtype == np.float32 and order.tolist() == [0, 1, 2]
    np.testing.assert_allclose(targets[16], 1 - targets[:16].max(axis=0))
    assert weights.sum() == 1 + (persons[2].keypoints[:, 2] > 0).sum() and (targets[:16][weights[:16] == 0] == 0).all()


def test_a_sample_depends_on_seed_epoch_and_index_alone(tiny_lip):
    persons = read_lip(tiny_lip, "train")
    base = TrainingSet(persons, SMALL, seed=0)
    keys = [Key(1, 3, (64, 64)), Key(1, 2, (64, 64)), Key(0, 3, (64, 64))]
    forwards, backwards = [base[key] for key in keys], [base[key] for key in reversed(keys)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(forwards[0][0], forwards[2][0])
    assert not np.array_equal(forwards[0][0], TrainingSet(persons, SMALL, seed=1)[keys[0]][0])


def test_a_missing_picture_is_named(tiny_lip):
    persons = read_lip(tiny_lip, "train")
    persons[1].image_path.unlink()
    with pytest.raises(DataError, match=persons[1].name):
        TrainingSet(persons, SMALL, seed=0)[Key(0, 1, (64, 64))]


def test_targets_are_those_of_the_recipe_with_its_sigma():
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(0, 100, (17, 2)), rng.integers(0, 3, 17)])
    targets, weights = make_targets(points[:16], (128, 96), replace(LIP_PUBLISHED, sigma=5.0))
    np.testing.assert_array_equal(targets, heatmaps.lip_targets(points[:16], (128, 96), sigma=5.0))
    np.testing.assert_array_equal(weights, [*(points[:16, 2] > 0), 1])
    for recipe in (COCO_PUBLISHED, COCO_MODERN):
        for a, b in zip(
            make_targets(points, (128, 96), recipe),
            heatmaps.coco_targets(points, (128, 96), sigma=recipe.sigma, whole_cells=recipe is COCO_PUBLISHED),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_an_outside_joint_has_an_empty_map_that_counts_and_a_missing_one_does_not():
    points = np.zeros((17, 3))
    points[:3] = (40, 40, 2), (40, 40, OUTSIDE), (40, 40, 0)
    for recipe in (COCO_MODERN, LIP_MODERN):
        targets, weights = make_targets(points[: recipe.skeleton.num_joints], (128, 96), recipe)
        assert weights[:3].tolist() == [1, 1, 0] and targets[0].max() > 0.5 and not targets[1:3].any()


def test_an_epoch_sees_every_person_once_in_an_order_of_its_own():
    epochs = [epoch_batches(10, epoch, SMALL, seed=0) for epoch in (0, 1)]
    for epoch, batches in enumerate(epochs):
        assert [len(batch) for batch in batches] == [4, 4, 2]
        keys = [key for batch in batches for key in batch]
        assert sorted(key.index for key in keys) == list(range(10))
        assert {key.epoch for key in keys} == {epoch} and {key.size for key in keys} == {(64, 64)}
    orders = [[key.index for batch in batches for key in batch] for batches in epochs]
    assert orders[0] != orders[1]
    assert epoch_batches(10, 0, SMALL, seed=0) == epochs[0] and epoch_batches(10, 0, SMALL, seed=1) != epochs[0]


def test_crops_grow_by_the_progressive_schedule_in_multiples_of_32():
    recipe = replace(LIP_MODERN, input_size=(256, 192), progressive=((0.5, 0.5), (0.75, 0.8)))
    assert [crop_size(recipe, part) for part in (0, 0.49, 0.5, 0.74, 0.75, 1)] == [
        (128, 96), (128, 96), (192, 160), (192, 160), (256, 192), (256, 192)
    ]  # fmt: skip
    assert crop_size(replace(recipe, input_size=(32, 32)), 0) == (32, 32)
    sizes = {key.size for batch in epoch_batches(8, 1, replace(SMALL, progressive=((0.5, 0.5),)), 0) for key in batch}
    assert sizes == {(32, 32)}


def test_all_crops_of_a_batch_have_one_size_in_the_epoch_in_which_it_changes():
    recipe = replace(SMALL, num_epochs=1, progressive=((0.5, 0.5),))
    batches = epoch_batches(16, 0, recipe, 0)
    assert [{key.size for key in batch} for batch in batches] == [{(32, 32)}] * 2 + [{(64, 64)}] * 2


def test_the_loader_gives_the_batches_asked_for_in_their_order(tiny_lip):
    training_set = TrainingSet(read_lip(tiny_lip, "train"), SMALL, seed=0)
    batches = epoch_batches(6, 0, SMALL, seed=0)
    loaded = list(make_loader(training_set, batches, num_workers=0))
    assert [tuple(batch.tensors[0].shape) for batch in loaded] == [(4, 64, 64, 3), (2, 64, 64, 3)]
    for keys, batch in zip(batches, loaded, strict=True):
        for row, key in enumerate(keys):
            for tensor, array in zip(batch.tensors, training_set[key], strict=True):
                assert torch.equal(tensor[row], torch.as_tensor(array))
    assert list(make_loader(training_set, [], num_workers=0)) == []


def test_a_loader_takes_the_next_epochs_batches(tiny_lip):
    training_set = TrainingSet(read_lip(tiny_lip, "train"), SMALL, seed=0)
    loader = make_loader(training_set, [], num_workers=0)
    for epoch in (0, 1):
        batches = epoch_batches(6, epoch, SMALL, seed=0)
        given, expected = (
            list(loaded) for loaded in (give_batches(loader, batches), make_loader(training_set, batches, 0))
        )
        assert len(given) == 2
        for a, b in zip(given, expected, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))
    assert len(batches) == 2 and batches == epoch_batches(6, 1, SMALL, seed=0)  # the caller's list is left alone


@pytest.mark.slow
def test_worker_processes_load_the_same_batches(tiny_lip):
    training_set = TrainingSet(read_lip(tiny_lip, "train"), SMALL, seed=0)
    batches = epoch_batches(6, 0, SMALL, seed=0)
    here, there = (list(make_loader(training_set, batches, num_workers=n)) for n in (0, 2))
    for a, b in zip(here, there, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


def test_box_recipes_give_samples_too(tiny_lip):
    image_path = read_lip(tiny_lip, "train")[0].image_path
    keypoints = np.array([(10 + j, 12 + 2 * j, 2) for j in range(17)])
    recipe = replace(COCO_PUBLISHED, input_size=(64, 48))
    who = person(keypoints, (2, 3, 30, 40), image_path)
    crop, targets, weights, _ = TrainingSet([who], recipe, seed=0)[Key(0, 0, (64, 48))]
    assert crop.shape == (64, 48, 3) and targets.shape == (17, 8, 6) and weights.shape == (17,)
