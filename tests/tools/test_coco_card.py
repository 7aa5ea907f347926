"""Cards of COCO networks: the calibration by hand, and a card whose numbers are those of its file."""

import hashlib

import numpy as np
import pytest

from gccpm_lib import checkpoints
from gccpm_lib.datasets.coco import read_coco
from gccpm_lib.datasets.coco_pool import Source, pool_coco
from gccpm_lib.rendering.rendered import render_coco, render_lip
from gccpm_lib.skeletons import UNSURE
from gccpm_lib.tools import coco_card
from gccpm_lib.training import loop as training


def joints(*pairs):
    """Errors (1, K) and found (1, K, 3) of joints given by their peak and error."""
    peaks, errors = np.array(pairs, float).T
    return errors[None], np.stack([peaks * 0, peaks * 0, peaks], axis=1)[None]


def test_the_sure_peak_misjudges_the_fewest_joints():
    errors, found = joints((0.1, 3), (0.2, np.nan), (0.3, 0.5), (0.4, 2), (0.6, 0.5), (0.7, 0.2))
    assert coco_card.sure_peak(errors, found) == 0.3  # one wrong joint is left above; from 0.6 on one right one is lost
    errors, found = joints((0.1, 0.2), (0.5, 0.3))
    assert coco_card.sure_peak(errors, found) == 0.1
    errors, found = joints((0.1, 2), (0.5, np.nan))
    assert coco_card.sure_peak(errors, found) > 0.5


def test_a_card_is_of_its_file_and_needs_somebody_left_out(tmp_path, capsys):
    render_coco(tmp_path / "coco", num_train_images=3, num_val_images=2, seed=3, num_workers=0)
    render_lip(tmp_path / "lip", num_train=1, num_val=2, seed=3, num_workers=0)
    left_out = read_coco(tmp_path / "coco", "train")[0].name
    pool = pool_coco(tmp_path / "pool", [Source(tmp_path / "coco", leave_out=[left_out])], val=tmp_path / "coco")
    run = training.Run(
        str(pool), str(tmp_path / "run"), "coco-photographs", checkpoint_path="gccpm-2stage-leeds", from_mobilenet=False,
        input_size=(64, 48), num_epochs=1, batch_size=4, num_val_persons=0,
    )  # fmt: skip
    training.train(run, say=lambda _: None)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "data.md").write_text("Painted by *nobody*.\n")
    arguments = [str(run.checkpoint_file), "--name", "gccpm-test", "--folder", tmp_path / "shelf"]
    arguments += ["--scenes", tmp_path / "coco", "--photos", tmp_path / "lip", "--data", tmp_path / "data.md"]
    coco_card.main([str(argument) for argument in [*arguments, "--trained-on", pool, "--num-photos", 1]])
    file, card = tmp_path / "shelf" / "gccpm-test.safetensors", (tmp_path / "shelf" / "gccpm-test.md").read_text()
    about = checkpoints.read_checkpoint(file)["about"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card and "Painted by *nobody*." in card
    assert "first 1\n" in card
    peak = checkpoints.recipe_of(file).sure_peak
    assert f"From {peak:.2f} on" in card and peak != UNSURE and about["steps"][-1]["recipe"] == "coco-photographs"
    assert about["steps"][0]["began_with"] == "MobileNet" and about["steps"][-1]["dataset"] == "pool"
    with pytest.raises(ValueError, match="left out no picture"):
        coco_card.held_out(tmp_path / "coco", tmp_path / "coco")
