"""Boxes: matched to pictures by name or number from both of COCO's forms, and found by a detector."""

import json
import socket
import threading

import cv2
import numpy as np
import pytest
import torch
from conftest import noise_picture
from torch import nn
from torchvision import models

from gccpm_lib.cli import boxes
from gccpm_lib.cli.boxes import Detector, WholePictures, covering, open_detector, read_boxes, read_people
from gccpm_lib.cli.inputs import Frame, Source
from gccpm_lib.datasets.records import DataError

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"


def picture(name: str) -> Source:
    return Source("picture", f"pictures/{name}")


def frame(source: Source, index=0, size=(60, 80)) -> Frame:
    return Frame(source, index, 0.0, noise_picture(*size))


def boxes_in(tmp_path, content, sources, min_score=0.0) -> tuple[list, dict]:
    """Boxes of each source's first frame as lists, and image ids."""
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    found = read_boxes(path, sources, min_score)
    return [own.tolist() for own in found.boxes_of([frame(source) for source in sources])], found.ids


def test_whole_pictures_are_one_sure_person_each():
    assert WholePictures().boxes_of([frame(picture("a.jpg"))])[0].tolist() == [[0, 0, 80, 60, 1]]


def test_people_of_a_folder_are_whole_pictures_or_those_of_a_file(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        assert cv2.imwrite(str(folder / name), noise_picture(60, 80))
    whole = read_people(folder, 17)
    assert [(person.name, person.box) for person in whole] == [("a.jpg", (0, 0, 80, 60)), ("b.jpg", (0, 0, 80, 60))]
    assert all(person.keypoints.shape == (17, 3) and not person.keypoints.any() for person in whole)
    rows = [{"file_name": "b.jpg", "bbox": [1, 2, 30, 40], "score": 0.5}, {"file_name": "b.jpg", "bbox": [79, 0, 9, 9]}]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    (one,) = read_people(folder, 5, tmp_path / "boxes.json")  # the second box has a single column inside
    assert (one.name, one.box, one.box_score, one.keypoints.shape) == ("b.jpg", (1, 2, 30, 40), 0.5, (5, 3))
    (folder / "c.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"c\.heic"):
        read_people(folder, 17)


def test_results_are_matched_by_file_name(tmp_path):
    rows = [
        {"file_name": "b.jpg", "bbox": [1, 2, 3, 4], "score": 0.5},
        {"file_name": "val2017/a.jpg", "bbox": [5, 6, 7, 8.5], "score": 0.25, "category_id": 1},
        {"file_name": "b.jpg", "bbox": [9, 9, 9, 9]},
        {"file_name": "b.jpg", "bbox": [0, 0, 1, 1], "category_id": 18},
        {"file_name": "elsewhere.jpg", "bbox": [0, 0, 1, 1]},
    ]
    found, ids = boxes_in(tmp_path, rows, [picture("a.jpg"), picture("b.jpg"), picture("c.jpg")])
    assert found == [[[5, 6, 7, 8.5, 0.25]], [[1, 2, 3, 4, 0.5], [9, 9, 9, 9, 1]], []] and ids == {}


def test_texts_as_image_ids_are_names(tmp_path):
    texts = ["a", "b.jpg", "anything", "007"]
    rows = [{"image_id": text, "bbox": [number, 2, 3, 4]} for number, text in enumerate(texts)]
    rows[2] |= {"file_name": "set\\c.jpg"}
    found, ids = boxes_in(tmp_path, rows, [picture(name) for name in ("a.jpg", "b.jpg", "c.jpg", "007.jpg")])
    assert [own[0][0] for own in found] == [0, 1, 2, 3] and ids == {}


def test_results_are_matched_by_the_number_in_the_pictures_name(tmp_path):
    rows = [{"image_id": 139, "bbox": [1, 2, 3, 4], "score": 0.5}, {"image_id": 7, "bbox": [5, 6, 7, 8], "score": 0.9}]
    sources = [picture("000000000139.jpg"), picture("a7.jpg"), picture("7.png")]
    found, ids = boxes_in(tmp_path, rows, sources)
    assert found == [[[1, 2, 3, 4, 0.5]], [], [[5, 6, 7, 8, 0.9]]] and ids == {"000000000139.jpg": 139, "7.png": 7}


def test_labels_are_matched_by_the_files_own_names_and_ids(tmp_path):
    labels = {
        "images": [{"id": 5, "file_name": "train/a.jpg"}, {"id": 6, "file_name": "b.jpg"}, {"id": 8}],
        "annotations": [
            {"id": 1, "image_id": 6, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 6, "bbox": [0, 0, 50, 50], "iscrowd": 1},
            {"id": 3, "image_id": 5, "bbox": [5, 6, 7, 8]},
            {"id": 4, "image_id": 8, "bbox": [9, 9, 9, 9]},
        ],
    }
    found, ids = boxes_in(tmp_path, labels, [picture("a.jpg"), picture("b.jpg"), picture("008.jpg")])
    assert found == [[[5, 6, 7, 8, 1]], [[1, 2, 3, 4, 1]], [[9, 9, 9, 9, 1]]]
    assert ids == {"a.jpg": 5, "b.jpg": 6, "008.jpg": 8}


def test_labels_in_the_converted_form_are_matched_by_path(tmp_path):
    labels = {"annotations": [{"image_path": "val/a.jpg", "bbox": [1, 2, 3, 4], "keypoints": [0] * 51}]}
    assert boxes_in(tmp_path, labels, [picture("a.jpg")]) == ([[[1, 2, 3, 4, 1]]], {})


def test_results_of_a_video_are_matched_by_name_and_frame(tmp_path):
    video, path = Source("video", "clip.mp4", 25, 3), tmp_path / "boxes.json"
    rows = [{"file_name": "clip.mp4", "frame": number, "bbox": [number, 2, 3, 4]} for number in (0, 2)]
    path.write_text(json.dumps(rows))
    found = read_boxes(path, [video]).boxes_of([frame(video, number) for number in range(3)])
    assert [own.tolist() for own in found] == [[[0, 2, 3, 4, 1]], [], [[2, 2, 3, 4, 1]]]
    with pytest.raises(DataError, match=r"row 1, image clip\.mp4: frame None is not a whole number"):
        boxes_in(tmp_path, [{"file_name": "clip.mp4", "bbox": [1, 2, 3, 4]}], [video])


def test_boxes_below_the_least_score_are_left_out(tmp_path):
    rows = [{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "score": score} for score in (0.3, 0.5, 0.7)]
    found, _ = boxes_in(tmp_path, rows, [picture("a.jpg")], min_score=0.5)
    assert [box[4] for box in found[0]] == [0.5, 0.7]
    with pytest.raises(DataError, match=r"no box with a score of 0.8 or more for a.jpg"):
        boxes_in(tmp_path, rows, [picture("a.jpg")], min_score=0.8)


@pytest.mark.parametrize(
    "content, told",
    [
        ([{"file_name": "z.jpg", "bbox": [1, 2, 3, 4]}], "no box .* for a.jpg or any other input"),
        ([], "no box"),
        (["a.jpg"], "row 1: no file_name or image_id"),
        ([{"bbox": [1, 2, 3, 4]}], "row 1: no file_name or image_id"),
        ([{"image_id": "z", "bbox": [1, 2, 3, 4]}], "no box .* for a.jpg or any other input"),
        ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], "row 1: no file_name or image_id"),
        ([{"file_name": "A.JPG", "bbox": [1, 2, 3, 4]}], r"for a.jpg \('A.JPG' is there: it differs in case\) or"),
        ([{"file_name": 3, "bbox": [1, 2, 3, 4]}], "row 1: no file_name or image_id"),
        ([{"file_name": "a.jpg", "bbox": [1, 2, 3]}], "row 1, image a.jpg: bbox must be four finite numbers"),
        ([{"file_name": "a.jpg", "keypoints": []}], "row 1, image a.jpg: bbox must be four finite numbers"),
        ([{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "score": "high"}], "row 1, image a.jpg: no finite score"),
        ([{"file_name": f"{f}/a.jpg", "bbox": [1, 2, 3, 4]} for f in "xy"], "row 2, .*: x/a.jpg and y/a.jpg have the same"),
        ({"images": []}, "no list 'annotations'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_row(tmp_path, content, told):
    with pytest.raises(DataError, match=f"boxes.json.*{told}"):
        boxes_in(tmp_path, content, [picture("a.jpg")])


def test_two_pictures_of_one_number_are_refused(tmp_path):
    rows = [{"image_id": 7, "bbox": [1, 2, 3, 4]}]
    with pytest.raises(DataError, match="same number"):
        boxes_in(tmp_path, rows, [picture("7.jpg"), picture("007.jpg")])


def test_a_box_covers_two_pixels_each_way_or_is_of_no_use():
    rows = [
        (0, 0, 80, 60), (-5, -5, 7, 7), (78, 58, 50, 50), (10.4, 10.4, 2, 2),  # good
        (-5, 0, 6, 60), (79, 0, 50, 50), (10, 10, 1.4, 30), (200, 10, 5, 5), (10, 10, -5, 5),  # one column at most
    ]  # fmt: skip
    assert covering(np.array(rows), (60, 80)).tolist() == [True] * 4 + [False] * 5
    assert covering(np.zeros((0, 5)), (60, 80)).shape == (0,)


def test_a_detectors_persons_come_as_boxes_falling_in_score():
    class Seeing(nn.Module):
        def forward(self, pictures):
            seen.extend(pictures)
            corners = torch.tensor([[1.0, 2, 11, 22], [0, 0, 5, 5], [3, 4, 8, 10], [0, 0, 9, 9]])
            answer = {
                "boxes": corners,
                "labels": torch.tensor([1, 18, 1, 1]),
                "scores": torch.tensor([0.5, 0.9, 0.75, 0.25]),
            }
            return [answer for _ in pictures]

    seen: list[torch.Tensor] = []
    frames = [frame(picture(f"{i}.jpg"), size=(20 + i, 30)) for i in range(6)]  # more than one batch
    found = Detector(Seeing(), person=1, min_score=0.5).boxes_of(frames)
    assert [own.tolist() for own in found] == [[[3, 4, 5, 6, 0.75], [1, 2, 10, 20, 0.5]]] * 6
    for shown, x in zip(frames, seen, strict=True):
        np.testing.assert_allclose(x.permute(1, 2, 0).numpy(), shown.image[:, :, ::-1] / 255, atol=1e-6)


@pytest.fixture(scope="module")
def weights() -> dict:
    """Of a detector that takes everything it looks at for a person."""
    torch.manual_seed(0)
    network = models.get_model(SMALL, weights=None, weights_backbone=None)
    torch.nn.init.constant_(network.roi_heads.box_predictor.cls_score.bias[1:2], 20.0)
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub; returns where it expects the small detector's weights."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints" / models.get_model_weights(SMALL).DEFAULT.url.rpartition("/")[2]


def test_a_detector_with_local_weights_finds_persons_inside_the_picture(weights, tmp_path, cache):
    torch.save(weights, tmp_path / "detector.pth")
    (found,) = open_detector(SMALL, tmp_path / "detector.pth").boxes_of([frame(picture("a.jpg"))])
    assert len(found) and (found[:, 4] > 0.9).all() and covering(found, (60, 80)).any()
    assert (found[:, :2] >= 0).all() and (found[:, :2] + found[:, 2:4] <= (80.01, 60.01)).all()


def test_weights_in_the_cache_are_taken_without_a_download(weights, cache, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    cache.parent.mkdir(parents=True)
    torch.save(weights, cache)
    assert open_detector(SMALL).person == 1
    assert capsys.readouterr() == ("", "")


def test_weights_that_cannot_be_had_are_one_line_with_the_file_to_give(cache, monkeypatch, capsys):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=f"no route to host.*--detector-weights {cache.name}"):
        open_detector(SMALL)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "downloading https://" in told and f"MB) to {cache}" in told


def test_a_server_that_does_not_answer_is_given_up(cache, monkeypatch):
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(boxes, "SECONDS_TO_WAIT", 0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/{cache.name}"
        download = torch.hub.download_url_to_file
        monkeypatch.setattr(torch.hub, "download_url_to_file", lambda _, *rest, **options: download(url, *rest, **options))
        given_up: list[BaseException] = []

        def open_it():
            with pytest.raises(ValueError, match="couldn't be downloaded") as caught:
                open_detector(SMALL)
            given_up.append(caught.value)

        thread = threading.Thread(target=open_it, daemon=True)
        thread.start()
        thread.join(20)
        assert given_up and socket.getdefaulttimeout() is None
        assert not list(cache.parent.glob("*"))


@pytest.mark.parametrize(
    "name, path, told",
    [
        ("fastest", "", "detector 'fastest' is not known; known: fasterrcnn"),
        (SMALL, "none.pth", "none.pth: detector weights missing"),
        (SMALL, "other.pth", "other.pth: does not fit"),
        (SMALL, "junk.pth", "junk.pth: not a checkpoint"),
    ],
)
def test_a_wrong_name_or_file_is_refused(tmp_path, name, path, told):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        open_detector(name, tmp_path / path if path else "")
