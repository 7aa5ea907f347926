"""`gccpm predict`: a csv in LIP's form, drawn pictures, and bad pictures that don't stop the good ones."""

import cv2
import numpy as np
import pytest
import torch

from gccpm_lib.__main__ import main
from gccpm_lib.checkpoints import save_checkpoint
from gccpm_lib.datasets.lip import read_predictions
from gccpm_lib.network import GCCPM


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    network = GCCPM(num_refinement_stages=0)
    path = tmp_path_factory.mktemp("checkpoint") / "network.pt"
    content = {"network": network.state_dict(), "shape": network.shape, "recipe": "lip-modern", "input_size": [64, 64]}
    save_checkpoint(path, content)
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (60, 40, 3), dtype=np.uint8))
    return folder


def predict(pictures, checkpoint, tmp_path, *more):
    return main(
        ["predict", str(pictures), "--checkpoint-path", str(checkpoint), "--output-name", str(tmp_path / "o.csv"), *more]
    )


def test_folder_is_predicted_and_drawn(pictures, checkpoint, tmp_path):
    assert predict(pictures, checkpoint, tmp_path, "--flip", "--visualize", str(tmp_path / "drawn")) == 0
    names, points = read_predictions(tmp_path / "o.csv")
    assert names == ["a.jpg", "b.png"]
    assert points.shape == (2, 16, 2) and (points >= 0).all() and (points <= (39, 59)).all()
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.jpg", "b.jpg"]


def test_cut_off_picture_is_named_and_the_others_are_done(pictures, checkpoint, tmp_path, capsys):
    (pictures / "a.jpg").write_bytes((pictures / "a.jpg").read_bytes()[:300])
    assert predict(pictures, checkpoint, tmp_path) == 1
    assert "a.jpg" in capsys.readouterr().err
    assert read_predictions(tmp_path / "o.csv")[0] == ["b.png"]


@pytest.mark.parametrize("arguments", [["missing.jpg"], ["."]])
def test_nothing_to_predict_is_one_line(arguments, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *arguments, "--checkpoint-path", str(checkpoint)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_missing_checkpoint_is_one_line(pictures, tmp_path, capsys):
    assert predict(pictures, tmp_path / "none.pt", tmp_path) == 2
    assert "none.pt" in capsys.readouterr().err
