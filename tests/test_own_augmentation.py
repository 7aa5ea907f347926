"""An augmentation of one's own: a function (image, keypoints, rng) -> image, keypoints that training takes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_same_end, quiet, small_run, write_lip
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from gccpm_lib.augment import own_augmentation
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.loading import Key, TrainingSet, epoch_batches, make_loader
from gccpm_lib.recipes import LIP_CORRECTED, LIP_MODERN
from gccpm_lib.skeletons import OUTSIDE
from gccpm_lib.training.loop import train
from gccpm_lib.training.run import Run

SMALL = replace(LIP_MODERN, input_size=(32, 32), batch_size=2)


def shifted(image, keypoints, rng):
    """Three pixels to the right; what comes in at the left is black."""
    image[:, 3:], image[:, :3] = image[:, :-3].copy(), 0
    keypoints[:, 0] += 3
    return image, keypoints


def dimmed(image, keypoints, rng):
    return (image * rng.uniform(0.5, 1)).astype(np.uint8), keypoints


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Two epochs of two batches, validated on one person."""
    folder = tmp_path_factory.mktemp("own")
    write_lip(folder / "lip", (("train", 4), ("val", 1)))
    changes = dict(input_size=(32, 32), num_val_persons=1, augmentation=dimmed)
    return replace(small_run(folder / "lip", folder / "run"), **changes)


def elsewhere(run, tmp_path, **changes) -> Run:
    return replace(run, output_folder=str(tmp_path / "again"), **changes)


def test_by_hand_picture_and_joints_move_together():
    image = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    moved, keypoints = own_augmentation(
        shifted, image, np.array([[1.0, 2, 2], [3, 2, 1], [0, 0, 0]]), np.random.default_rng(0), LIP_CORRECTED
    )
    assert moved[2].tolist() == [[0, 0, 0]] * 3 + [[30, 31, 32], [33, 34, 35]]
    assert keypoints.tolist() == [[4, 2, 2], [6, 2, 1], [3, 0, 0]]
    counted = replace(LIP_CORRECTED, outside_counts=True)  # x = 6 lies beyond the five columns
    outside = own_augmentation(lambda *given: given[:2], moved, keypoints, np.random.default_rng(0), counted)[1]
    assert outside[:, 2].tolist() == [2, OUTSIDE, 0]


def test_the_sample_is_that_without_it_and_then_changed(run):
    persons, key = read_lip(run.dataset_folder, "train"), Key(1, 2, (32, 32))
    plain, own = (TrainingSet(persons, SMALL, 7, augmentation=function)[key] for function in (None, shifted))
    np.testing.assert_array_equal(own[0][:, 3:], plain[0][:, :-3])
    assert (own[0][:, :3] == 0).all() and (own[3] == plain[3]).all() and not np.array_equal(own[1], plain[1])


def test_every_training_person_once_an_epoch_and_nobody_of_the_validation(run, tmp_path):
    seen = []

    def counted(image, keypoints, rng):
        seen.append((image.shape, keypoints.shape))
        return image, keypoints

    history = train(elsewhere(run, tmp_path, augmentation=counted), quiet)
    assert seen == [((32, 32, 3), (16, 3))] * 8 and "val" in history[0]  # 4 persons, 2 epochs
    assert [row["losses"] for row in history] == [  # changed nothing, so it trained as without it
        row["losses"] for row in train(replace(run, output_folder=str(tmp_path / "without"), augmentation=None), quiet)
    ]


def test_the_same_seed_gives_the_same_batch_and_another_another(run):
    persons = read_lip(run.dataset_folder, "train")
    keys = epoch_batches(4, 0, SMALL, 0)
    one, same, other = (
        next(iter(make_loader(TrainingSet(persons, SMALL, seed, augmentation=dimmed), keys, 0))).tensors
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True)) and not torch.equal(one[0], other[0])


def test_broken_off_and_gone_on_with_bit_by_bit_and_a_changed_function_is_another_run(run, tmp_path):
    train(run, quiet)
    halves = elsewhere(run, tmp_path)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(halves, stop)
    train(halves, quiet)
    assert_same_end(halves, run)
    saved = json.loads((tmp_path / "again" / "run.json").read_text())
    assert saved["augmentation"]["name"] == "dimmed" and "rng.uniform(0.5, 1)" in saved["augmentation"]["source"]
    said = []
    train(replace(halves, augmentation=shifted), said.append)
    assert "augmentation dimmed (text " in said[0] and ") -> shifted (text " in said[0] and "moved to again.1" in said[0]
    with pytest.raises(ValueError, match=r"keeps its source text for people alone; .*Run\(augmentation=dimmed"):
        train(Run(**saved), quiet)


@pytest.mark.parametrize("changes, message", [
    (lambda image, keypoints, rng: image, "it gives ndarray; end it with return image, keypoints"),
    (lambda image, keypoints, rng: (image[:16], keypoints), r"image \(16, 32, 3\) .* as it came, \(32, 32, 3\)"),
    (lambda image, keypoints, rng: (image / 2, keypoints), r"image \(32, 32, 3\) float64; return it as it came"),
    (lambda image, keypoints, rng: (image, keypoints[:, :2]), r"keypoints \(16, 2\); return \(16, 3\)"),
    (lambda image, keypoints, rng: (image, keypoints * np.nan), r"keypoints \(16, 3\); return .*, finite where labelled"),
    (lambda image, keypoints, rng: (image + missing, keypoints), "NameError: name 'missing' is not defined"),  # noqa: F821
])  # fmt: skip
@pytest.mark.parametrize("on_bad_sample", ["error", "skip"])
def test_a_wrong_function_is_one_line_and_never_a_skipped_person(run, tmp_path, changes, message, on_bad_sample):
    with pytest.raises(ValueError, match=f"^augmentation <lambda>: {message}") as caught:
        train(elsewhere(run, tmp_path, augmentation=changes, on_bad_sample=on_bad_sample), quiet)
    assert "\n" not in str(caught.value)


def test_what_is_no_function_and_several_processes_are_refused(run):
    with pytest.raises(ValueError, match="augmentation 'dimmed': give a function made by def"):
        train(replace(run, augmentation="dimmed"), quiet)
    with pytest.raises(ValueError, match=r"augmentation dimmed: .*num_processes=1"):
        train(run, quiet, num_processes=2)


@pytest.mark.slow
def test_from_a_notebooks_cell_into_loader_processes(run, tmp_path):
    """What a cell defines has no module to be found in; spawned processes get it by its content, the block's class too."""
    cells = [
        "from torch import nn\nfrom gccpm_lib.training.loop import train\nfrom gccpm_lib.training.run import Run",
        "import numpy as np\n\n\ndef darker(image, keypoints, rng):\n"
        "    return np.uint8(image * rng.uniform(0.5, 1)), keypoints",
        "class Plain(nn.Module):\n    def __init__(self, channels, upsampling):\n        super().__init__()\n\n"
        "    def forward(self, x):\n        return x",
        "from gccpm_lib import loading\nloading.multiprocessing.get_all_start_methods = lambda: ['spawn']",
        f"run = dict(dataset_folder={run.dataset_folder!r}, input_size=(32, 32), batch_size=2, num_epochs=1,"
        " num_val_persons=0, num_refinement_stages=1, context=Plain, augmentation=darker)",
        f"one, two = (train(Run(output_folder={str(tmp_path)!r} + f'/{{n}}', num_workers=n, **run), str) for n in (0, 2))\n"
        "assert one[0]['losses'] == two[0]['losses']",
    ]
    NotebookClient(new_notebook(cells=[new_code_cell(cell) for cell in cells]), timeout=300).execute()
    saved = json.loads((tmp_path / "2" / "run.json").read_text())
    assert saved["context"]["source"].startswith("class Plain(nn.Module):")
    assert "np.uint8" in saved["augmentation"]["source"]
