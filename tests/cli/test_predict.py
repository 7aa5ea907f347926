"""`gccpm predict`: pictures, folders, videos and boxes; and bad input that doesn't stop the good."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import cut, frames_in, lively_network, noise_picture, write_video
from PIL import Image

from gccpm_lib import weight_files
from gccpm_lib.__main__ import main
from gccpm_lib.checkpoints import load_network, recipe_of, save_checkpoint
from gccpm_lib.datasets.lip import read_lip, read_predictions
from gccpm_lib.evaluation.pckh import normalised_distances, pckh
from gccpm_lib.export.engines import open_predictor
from gccpm_lib.prediction.predictor import PosePredictor, person_score
from gccpm_lib.rendering.rendered import render_lip
from gccpm_lib.skeletons import LIP


def save(folder: Path, recipe: str, input_size, **shape) -> Path:
    network, path = lively_network(0, **shape), folder / "network.pt"
    content = {"network": network.state_dict(), "shape": network.shape, "recipe": recipe, "input_size": input_size}
    save_checkpoint(path, content)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("lip"), "lip-modern", [64, 64])


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("a.jpg", "b.png")):
        cv2.imwrite(str(folder / name), noise_picture(60, 40, number))
    return folder


@pytest.fixture
def predict(checkpoint, tmp_path, monkeypatch):
    """Run the command in an empty folder; its exit status."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return lambda *arguments: main(["predict", "--checkpoint-path", str(checkpoint), *map(str, arguments)])


def rows_in(path: str) -> list[dict]:
    return json.loads(Path(path).read_text())


def test_a_folder_is_predicted_and_drawn(predict, pictures, capsys):
    assert predict(pictures, "--flip", "--visualize", "drawn") == 0
    table = pd.read_csv("predictions.csv")
    assert table["file_name"].tolist() == ["a.jpg", "b.png"]
    x, y = (table.filter(regex=f"_{axis}$") for axis in "xy")
    assert x.shape == (2, 16) and (x >= 0).all(axis=None) and (x <= 39).all(axis=None) and (y <= 59).all(axis=None)
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["a.jpg", "b.jpg"]
    assert cv2.imread("drawn/b.jpg").shape == (60, 40, 3)
    told = capsys.readouterr().out
    assert told.startswith("2 pictures predicted, each picture as one person, ") and told.count("\n") == 1
    assert told.endswith("; where several people are, --boxes or --detector say whom\n")
    assert "frames/s; keypoints in predictions.csv, drawn in drawn" in told


def test_results_are_those_of_the_predictor(predict, pictures, checkpoint):
    assert predict(pictures, "--multiscale", "--flip", "--output-name", "deep/o.json") == 0
    predictor = open_predictor(checkpoint, scales=(0.75, 1.0, 1.25), flip=True)
    rows = rows_in("deep/o.json")
    assert [row["file_name"] for row in rows] == ["a.jpg", "b.png"] and not any("image_id" in row for row in rows)
    for row in rows:
        (expected,) = predictor.predict(cv2.imread(str(pictures / row["file_name"])))
        np.testing.assert_allclose(np.reshape(row["keypoints"], (16, 3)), expected, atol=0.006)
        assert row["score"] == pytest.approx(person_score(expected), rel=1e-3)


def test_a_video_is_predicted_frame_by_frame_and_drawn(predict, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.avi", 5)
    assert predict(clip, "--batch-size", 2, "--visualize", "drawn") == 0
    rows = rows_in("predictions.json")
    assert [(row["file_name"], row["frame"], row["track_id"]) for row in rows] == [("clip.avi", i, 1) for i in range(5)]
    frames, rate = frames_in("drawn/clip.mp4")
    assert len(frames) == 5 and rate == 12.5 and frames[0].shape == (48, 64, 3)
    assert capsys.readouterr().out.startswith("5 frames predicted, each frame as one person")


def test_batches_of_any_size_give_the_same(predict, pictures, tmp_path):
    clip, found = write_video(tmp_path / "clip.mp4", 3), []
    for size in (1, 2, 16):
        assert predict(clip, pictures, "--batch-size", size, "--overwrite") == 0
        found.append(np.array([row["keypoints"] for row in rows_in("predictions.json")]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)
    np.testing.assert_allclose(found[0], found[2], atol=1e-3)


def test_boxes_of_a_file_are_predicted_and_pictures_without_one_have_no_row(predict, pictures, checkpoint):
    boxes = [(2, 3, 30, 50), (10, 10, 25, 25)]
    rows = [{"file_name": "b.png", "bbox": box, "score": score} for box, score in zip(boxes, (0.5, 0.25), strict=True)]
    Path("boxes.json").write_text(json.dumps([*rows, {"file_name": "b.png", "bbox": [0, 0, 9, 9], "score": 0.01}]))
    assert predict(pictures, "--boxes", "boxes.json", "--min-box-score", 0.1) == 0
    rows = rows_in("predictions.json")
    assert [row["file_name"] for row in rows] == ["b.png", "b.png"]
    expected = open_predictor(checkpoint).predict(cv2.imread(str(pictures / "b.png")), boxes)
    for row, keypoints, score in zip(rows, expected, (0.5, 0.25), strict=True):
        np.testing.assert_allclose(np.reshape(row["keypoints"], (16, 3)), keypoints, atol=0.006)
        assert row["score"] == pytest.approx(person_score(keypoints) * score, rel=1e-3)


def test_image_ids_are_those_of_the_label_file(predict, pictures):
    labels = {
        "images": [{"id": 41, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 41, "bbox": [2, 3, 30, 50]}],
    }
    Path("labels.json").write_text(json.dumps(labels))
    assert predict(pictures, "--boxes", "labels.json") == 0
    assert [row["image_id"] for row in rows_in("predictions.json")] == [41]


def test_a_picture_with_an_exif_tag_is_predicted_in_the_frame_of_the_label_file(predict, tmp_path, checkpoint):
    """The same pixels, told to be turned on display or not, under labels of the size as stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for name, tag in (("plain", Image.Exif()), ("turned", exif)):
        (tmp_path / name).mkdir()
        Image.fromarray(noise_picture(40, 60)).save(tmp_path / name / "p.jpg", exif=tag, quality=95)
        image = {"id": 1, "file_name": "p.jpg", "width": 60, "height": 40}
        labels = {"images": [image], "annotations": [{"id": 1, "image_id": 1, "bbox": [25, 5, 30, 30]}]}
        Path("labels.json").write_text(json.dumps(labels))
        assert predict(tmp_path / name, "--boxes", "labels.json", "--output-name", f"{name}.json") == 0
        found.append(rows_in(f"{name}.json"))
    assert found[0] == found[1]
    image |= {"width": 50}
    Path("labels.json").write_text(json.dumps(labels))
    assert predict(tmp_path / "turned", "--boxes", "labels.json") == 1


def test_a_box_outside_its_picture_is_told_and_the_others_are_done(predict, pictures, capsys):
    rows = [{"file_name": "a.jpg", "bbox": box} for box in ([100, 0, 30, 50], [2, 3, 30, 50])]
    Path("boxes.json").write_text(json.dumps(rows))
    assert predict(pictures, "--boxes", "boxes.json") == 1
    assert "a.jpg: less than 2 x 2 of its pixels are inside a box (1 left out)" in capsys.readouterr().err
    assert len(rows_in("predictions.json")) == 1


def test_a_detector_finds_whom_to_predict(predict, pictures, tmp_path):
    from torchvision import models

    torch.manual_seed(0)
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = models.get_model(name, weights=None, weights_backbone=None)
    torch.nn.init.constant_(network.roi_heads.box_predictor.cls_score.bias[1:2], 20.0)  # everything is a person
    torch.save(network.state_dict(), tmp_path / "detector.pth")
    assert predict(pictures, "--detector", name, "--detector-weights", tmp_path / "detector.pth") in (0, 1)
    assert {row["file_name"] for row in rows_in("predictions.json")} == {"a.jpg", "b.png"}


def test_a_video_is_smoothed_and_its_first_frame_is_not(predict, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(4):
        writer.write(noise_picture(48, 64, number))
    writer.release()
    found = {}
    for name, more in (("rough", ()), ("smooth", ("--smooth",))):
        assert predict(path, "--output-name", f"{name}.json", *more) == 0
        found[name] = np.array([row["keypoints"] for row in rows_in(f"{name}.json")]).reshape(4, 16, 3)
    np.testing.assert_array_equal(found["smooth"][0], found["rough"][0])
    np.testing.assert_array_equal(found["smooth"][:, :, 2], found["rough"][:, :, 2])
    kept = np.array([row["unsmoothed_keypoints"] for row in rows_in("smooth.json")]).reshape(4, 16, 3)
    np.testing.assert_array_equal(kept, found["rough"])
    steps = {name: abs(np.diff(keypoints[:, :, :2], axis=0)).sum() for name, keypoints in found.items()}
    assert 0 < steps["smooth"] < 0.9 * steps["rough"]


def test_a_damaged_picture_in_a_batch_is_named_and_the_others_are_done(predict, pictures, capsys):
    cv2.imwrite(str(pictures / "c.jpg"), noise_picture(60, 40))
    cut(pictures / "a.jpg", 0.95)
    (pictures / "bb.jpg").write_text("no picture")
    assert predict(pictures) == 1
    told = capsys.readouterr()
    assert told.err.count("a.jpg: picture truncated") == 1 and told.err.count("bb.jpg: not a readable picture") == 1
    assert "2 pictures predicted, each picture as one person, 2 problems" in told.out
    assert pd.read_csv("predictions.csv")["file_name"].tolist() == ["b.png", "c.jpg"]


def test_a_video_that_ends_early_is_done_so_far(predict, tmp_path, capsys):
    clip = cut(write_video(tmp_path / "clip.avi", 20), 0.6)
    assert predict(clip, "--visualize", "drawn.mp4") == 1
    count = len(rows_in("predictions.json"))
    assert 0 < count < 20 and len(frames_in("drawn.mp4")[0]) == count
    assert f"clip.avi: ends after {count} of the 20 frames" in capsys.readouterr().err


def test_with_nothing_readable_nothing_is_written(predict, tmp_path, capsys):
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk" * 100)
    assert predict(junk, "--visualize", "drawn") == 1
    told = capsys.readouterr()
    assert "junk.mp4: can't be opened as a video" in told.err and "nothing written" in told.out
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_ctrl_c_writes_what_was_done(predict, tmp_path, monkeypatch, capsys):
    once, calls = PosePredictor.predict_many, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return once(*arguments)

    monkeypatch.setattr(PosePredictor, "predict_many", interrupted)
    clip = write_video(tmp_path / "clip.avi", 9)
    assert predict(clip, "--batch-size", 2, "--visualize", "drawn") == 130
    assert len(rows_in("predictions.json")) == 4 == len(frames_in("drawn/clip.mp4")[0])
    assert capsys.readouterr().out.startswith("stopped: 4 frames predicted")


def test_an_error_on_the_way_leaves_what_was_done(predict, tmp_path, monkeypatch):
    once, calls = PosePredictor.predict_many, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return once(*arguments)

    monkeypatch.setattr(PosePredictor, "predict_many", failing)
    with pytest.raises(MemoryError):
        predict(write_video(tmp_path / "clip.avi", 9), "--batch-size", 4)
    assert len(rows_in("predictions.json")) == 4


def test_a_damaged_network_is_told(predict, pictures, monkeypatch, capsys):
    nan = np.full((1, 16, 3), np.nan)
    monkeypatch.setattr(PosePredictor, "predict_many", lambda self, images, boxes: [nan for _ in images])
    assert predict(pictures) == 1
    assert "a.jpg: a joint is nan or infinite" in capsys.readouterr().err and not Path("predictions.csv").exists()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["missing.jpg"], "missing.jpg: no such picture"),
        (["."], "no pictures inside"),
        (["PICTURES", "PICTURES"], "has the same name"),
        (["PICTURES", "--output-name", "o.xml"], "must end in .csv"),
        (["PICTURES", "--output-name", "o.csv", "--boxes", "b.json", "--lip-submission"], "with one person each"),
        (["PICTURES", "--output-name", "o.json", "--lip-submission"], "LIP's submission form is a .csv"),
        (["PICTURES", "--output-name", "PICTURES/a.jpg/o.csv"], "can't be written"),
        (["PICTURES", "--visualize", "PICTURES/b.png"], "give a folder"),
        (["PICTURES", "--visualize", "PICTURES"], "is an input"),
        (["PICTURES", "--boxes", "b.json"], "b.json: not a readable JSON file"),
        (["PICTURES", "--boxes", "b.json", "--detector", "d"], "give one of them"),
        (["PICTURES", "--detector", "fastest"], "detector 'fastest' is not known"),
        (["PICTURES", "--detector-weights", "d.pth"], "needs --detector"),
        (["PICTURES", "--min-box-score", "0.5"], "needs --boxes or --detector"),
        (["PICTURES", "--smooth"], "--smooth is for videos"),
        (["PICTURES", "--recipe", "coco-modern"], "network.pt: "),
        (["PICTURES", "--device", "abacus"], "give 'auto'"),
        (["PICTURES", "--recipe", "unknown"], "recipe 'unknown' is not known"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_predicted(predict, pictures, arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(PosePredictor, "predict_many", None)
    assert predict(*[argument.replace("PICTURES", str(pictures)) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("gccpm: ") and len(error.splitlines()) == 1
    assert told in error


def test_results_and_drawings_that_are_there_are_left_alone(predict, pictures, capsys):
    assert predict(pictures, "--output-name", "o.json", "--visualize", "drawn") == 0
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for name, told in (("o.json", "o.json: exists already"), ("new.json", "drawn/a.jpg: exists already")):
        assert predict(pictures, "--output-name", name, "--visualize", "drawn", "--flip") == 2
        assert f"{told}; give --overwrite" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert predict(pictures, "--output-name", "o.json", "--visualize", "drawn", "--flip", "--overwrite") == 0
    assert Path("o.json").read_bytes() != before[Path("o.json")]


def test_lips_submission_form_holds_the_same_joints(predict, pictures):
    assert (
        predict(pictures, "--output-name", "o.csv")
        == 0
        == predict(pictures, "--output-name", "lip.csv", "--lip-submission")
    )
    names, points = read_predictions("lip.csv")
    table = pd.read_csv("o.csv")
    assert names == table["file_name"].tolist()
    np.testing.assert_allclose(points[:, :, 0], table.filter(regex="_x$"), atol=0.51)


def test_pictures_without_anybody_are_told(predict, pictures, capsys):
    Path("boxes.json").write_text(json.dumps([{"file_name": "b.png", "bbox": [2, 3, 30, 50]}]))
    assert predict(pictures, "--boxes", "boxes.json") == 0
    told = capsys.readouterr()
    assert "gccpm: nobody found in 1 of 2 pictures (a.jpg)" in told.err
    assert told.out.startswith("2 pictures predicted, 1 person, ")


def test_whole_pictures_with_few_sure_joints_are_told(predict, pictures, monkeypatch, capsys):
    def found(_, images, boxes):
        scores = np.where(np.arange(16) < (7 if len(images) == 2 else 8), 0.3, 0.1)
        return [np.dstack([np.ones((1, 16, 2)), scores[None]]) for _ in images]

    monkeypatch.setattr(PosePredictor, "predict_many", found)
    assert predict(pictures) == 0
    told = capsys.readouterr().err
    assert "fewer than half of the joints are sure in 2 of 2 pictures (a.jpg, b.png): nobody, several" in told
    assert predict(pictures / "a.jpg", "--overwrite") == 0
    assert "sure" not in capsys.readouterr().err


def test_what_a_folder_holds_beside_pictures_is_told(predict, pictures, capsys):
    write_video(pictures / "clip.avi")
    assert predict(pictures) == 0
    assert f"gccpm: {pictures}: not read: clip.avi (a video; give it by name)\n" in capsys.readouterr().err


def test_names_cannot_steer_the_terminal(predict, pictures, capsys):
    odd = pictures / "a\x1b[31m\nb.jpg"
    (pictures / "a.jpg").rename(odd)
    assert predict(odd, "--output-name", "o.json") == 0 and rows_in("o.json")[0]["file_name"] == odd.name
    cut(odd, 0.5)
    assert predict(odd, "--output-name", "p.json") == 1
    told = capsys.readouterr().err
    assert "a\\x1b[31m\\nb.jpg: picture truncated" in told and "\x1b[31m" not in told


def test_times_are_the_videos_own(predict, tmp_path):
    clip = write_video(tmp_path / "clip.mkv", 4)
    assert predict(clip, "--output-name", "o.json") == 0 == predict(clip, "--output-name", "o.csv")
    expected = [0, 0.08, 0.16, 0.24]
    assert [row["time"] for row in rows_in("o.json")] == expected == pd.read_csv("o.csv")["time"].tolist()
    assert {tuple(row["joints"]) for row in rows_in("o.json")} == {LIP.joints}


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_batch_size_that_is_none_is_refused(predict, pictures, size, capsys):
    with pytest.raises(SystemExit):
        predict(pictures, "--batch-size", size)
    assert "not a whole number above 0" in capsys.readouterr().err


def test_without_a_network_the_one_that_ships_predicts(pictures, tmp_path):
    files = [tmp_path / "default.csv", tmp_path / "named.csv"]
    assert main(["predict", str(pictures), "--output-name", str(files[0])]) == 0
    named = ["--checkpoint-path", weight_files.SHIPPED_NETWORK]
    assert main(["predict", str(pictures), "--output-name", str(files[1]), *named]) == 0
    assert files[0].read_text() == files[1].read_text() != ""


def test_exported_files_take_no_device(pictures, capsys):
    assert main(["predict", str(pictures), "--checkpoint-path", "n.onnx", "--device", "cuda"]) == 2
    assert "exported files run on the CPU" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--recipe=coco-modern", "--upsampling=nearest"])
def test_the_network_that_ships_takes_no_options_of_published_files(pictures, option, capsys):
    assert main(["predict", str(pictures), option]) == 2
    assert "says its recipe itself" in capsys.readouterr().err


def test_the_network_that_ships_finds_people_who_fill_the_picture(tmp_path):
    """Rendered people, the like of whom it has never seen; twice as many joints as a guess would find."""
    persons = read_lip(render_lip(tmp_path / "people", num_train=1, num_val=12, seed=5, progress=False), "val")
    network, recipe = load_network(weight_files.SHIPPED_NETWORK), recipe_of(weight_files.SHIPPED_NETWORK)
    found = PosePredictor(network, recipe).predict_persons(persons)
    distances = normalised_distances(np.stack([person.keypoints for person in persons]), found)
    assert pckh(distances)["Avg."] > 50


def test_a_missing_checkpoint_is_one_line(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(pictures), "--checkpoint-path", "none.pt"]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_the_video_libraries_own_complaints_are_not_shown(checkpoint, tmp_path):
    """In a process of its own: FFmpeg asks once, when it is first used, how much it shall say."""
    headless = cut(write_video(tmp_path / "headless.mp4"), 0.6)
    command = [sys.executable, "-m", "gccpm_lib", "predict", headless, "camera:97", "--checkpoint-path", checkpoint]
    command += ["--output-name", tmp_path / "o.json"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    shown = [line for line in result.stderr.replace("\r", "\n").splitlines() if line.strip() and "predict:" not in line]
    assert result.returncode == 1 and len(shown) == 2 and all(line.startswith("gccpm: ") for line in shown)
