"""The plan of a training: where its values come from, every hole of the data at once, and hours that add up."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import noise_picture, write_coco, write_lip

from gccpm_lib.recipes import COCO_CORRECTED, LIP_CORRECTED, LIP_MODERN
from gccpm_lib.report.profiles import read_profile
from gccpm_lib.tools import plan as plans
from gccpm_lib.tools.plan import Measured, batch_that_fits, parameter_sources, plan
from gccpm_lib.training.estimates import training_bytes

ROOT = Path(__file__).parents[2]
SMALL = (
    "input_size: [64, 64], num_refinement_stages: 0, batch_size: 2, num_val_persons: 2, device: cpu, from_mobilenet: true"
)


def write_profile(folder: Path, notebook: str, dataset: Path, more: str = "") -> str:
    path = folder / "mine.yaml"
    path.write_text(f"notebooks:\n  {notebook}: {{dataset_folder: {dataset}, {SMALL}{more}}}\n")
    return str(path)


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_sound_training_is_measured(tmp_path, capsys):
    write_lip(tmp_path / "lip")  # 6 train and 3 val persons
    profile = write_profile(tmp_path, "02_train_lip", tmp_path / "lip", ", num_epochs: 7, num_workers: 0")
    assert plan(profile, [], num_steps=2) == 0
    told = capsys.readouterr().out
    assert "21 (7 epochs of 3 batches of 2)" in told  # 6 persons in batches of 2, seven times
    assert "6 to train on, 2 to validate" in told and "8; every header was read" in told
    for what in ("training speed", "loading speed", "hours", "batch that fits", "disk"):
        assert what in told


def holes(folder: Path) -> list[str]:
    """Ten holes of different kinds in a COCO folder; what the plan must name for each."""
    write_coco(folder, counts=(("train", 10), ("val", 2)))
    images, labels = folder / "train2017", folder / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(labels.read_text())
    (images / f"{1:012d}.jpg").unlink()  # missing
    (images / f"{2:012d}.jpg").write_bytes(b"")  # empty
    (images / f"{3:012d}.jpg").write_text("<html>not found</html>")  # something else
    cv2.imwrite(str(images / f"{4:012d}.jpg"), noise_picture(45, 60))  # another size than labelled
    rows = content["annotations"]
    rows[8]["keypoints"] = rows[8]["keypoints"][:-3]  # image 5: a joint too few
    rows[10]["keypoints"][0] = float("nan")  # image 6
    rows[12]["bbox"] = [5, 5, -50, 80]  # image 7
    rows[14]["image_id"] = 999  # no such image
    rows[16]["keypoints"][0] = "12"  # image 9: a text
    rows[18]["bbox"] = [5, 5, 50]  # image 10: three numbers
    labels.write_text(json.dumps(content))
    return [f"{i:012d}.jpg" for i in (1, 2, 3, 4)] + [str(rows[i]["id"]) for i in (8, 10, 12, 14, 16, 18)]


def test_ten_kinds_of_holes_are_told_at_once(tmp_path, capsys):
    named = holes(tmp_path / "coco")
    profile = write_profile(tmp_path, "03_train_coco", tmp_path / "coco")
    assert plan(profile, [], num_steps=1) == 1
    told = capsys.readouterr().out.split("would stop it:")[1]
    assert all(name in told for name in named), told


def test_holes_that_the_run_skips_stop_nothing(tmp_path, capsys):
    holes(tmp_path / "coco")
    profile = write_profile(tmp_path, "03_train_coco", tmp_path / "coco", ", on_bad_sample: skip")
    assert plan(profile, [], num_steps=1) == 0
    assert "left out as bad samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("device=cuda", "device 'cuda': this machine has none"),
        ("dataset_folder=nowhere", "nowhere"),
        ("input_size=[60, 60]", "multiples of 8"),
        ("checkpoint_path=gone/network.pt", "gone/network.pt: no such file"),
    ],
)
def test_what_would_stop_it_is_told(tmp_path, capsys, setting, message):
    write_lip(tmp_path / "lip")
    profile = write_profile(tmp_path, "02_train_lip", tmp_path / "lip")
    assert plan(profile, [f"02_train_lip.{setting}"], num_steps=1) == 1
    assert message in capsys.readouterr().out.split("would stop it:")[1]


def test_each_value_has_its_source(tmp_path):
    write_lip(tmp_path / "lip")
    settings = ["02_train_lip.base_lr=1e-4"]
    profile = read_profile(ROOT, write_profile(tmp_path, "02_train_lip", tmp_path / "lip"), settings)
    rows = parameter_sources(ROOT, profile, "02_train_lip", settings, LIP_MODERN)
    found = {name: (value, source) for name, value, source in rows}
    assert found["base_lr"] == (1e-4, "--set")
    assert found["batch_size"] == (2, "profile")
    assert found["ema_decay"] == (LIP_MODERN.ema_decay, "recipe lip-modern")
    assert found["seed"] == (0, "default")


def test_hours_and_batch_by_hand(tmp_path):
    recipe = replace(LIP_CORRECTED, num_epochs=10, batch_size=32)
    run = plans.Run("d", "o", num_val_persons=360, num_workers=4)
    measured = Measured(32, 100.0, 20.0, 10.0, None)
    facts = dict(plans._needs(run, recipe, 28_800, measured, "cpu"))
    # four loader processes give 80 images/s, less than the 100 that training takes: 288,000 / 80 s are an hour;
    # 10 x 360 persons at 10 a second are 6 minutes
    assert facts["hours"] == "1 to train, 0.1 to validate"
    assert facts["optimiser steps"].startswith("9,000 ")
    alone = dict(plans._needs(replace(run, num_workers=0), recipe, 28_800, measured, "cpu"))
    assert alone["hours"].startswith("4.8 ")  # 288,000 x (1/100 + 1/20) s
    assert batch_that_fits(recipe, measured, round(training_bytes(recipe) / 0.9) + 9) == 32


def test_hours_of_an_overlong_step_come_from_smaller_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "LONGEST_S", 1e-9)
    write_coco(tmp_path / "coco")
    run = plans.Run(
        str(tmp_path / "coco"), str(tmp_path / "out"), "coco-corrected", input_size=(64, 64), num_refinement_stages=0
    )
    recipe, persons = plans.read_training(replace(run, device="cpu"))
    measured = plans.measure(replace(run, device="cpu"), recipe, persons, 1)
    assert measured.batch_size == 1 and recipe.batch_size == COCO_CORRECTED.batch_size
    assert np.isfinite([measured.images_per_s, measured.loaded_per_s, measured.validated_per_s]).all()
