"""What predictions become on disk: csv, results, drawn pictures and videos; and where they must not go."""

import json

import cv2
import numpy as np
import pytest
from conftest import frames_in, noise_picture

from gccpm_lib.cli.boxes import read_boxes
from gccpm_lib.cli.inputs import Frame, Source
from gccpm_lib.cli.outputs import (
    Drawings,
    Predicted,
    check_writable,
    drawing_paths,
    image_ids,
    output_path,
    write_keypoints,
)
from gccpm_lib.datasets.lip import read_predictions
from gccpm_lib.skeletons import LIP

A, B = Source("picture", "in/a.jpg"), Source("picture", "in/b.png")
CLIP = Source("video", "in/clip.avi", 12.5, 4)
CAMERA = Source("camera", "0", 25.0, 0)


def poses(count=1) -> np.ndarray:
    points = np.random.default_rng(0).uniform(5, 35, (count, 16, 3))
    points[:, :, 2] = 0.12346
    return points


@pytest.mark.parametrize(
    "sources, several, expected",
    [([A, B], False, "predictions.csv"), ([A, CLIP], False, "predictions.json"), ([A], True, "predictions.json")],
)
def test_pictures_of_one_person_go_to_a_csv_and_everything_else_to_json(sources, several, expected):
    assert str(output_path(None, sources, several)) == expected
    assert str(output_path("o.JSON", sources, several)) == "o.JSON"


@pytest.mark.parametrize("name, told", [("o.txt", "must end in .csv"), ("o.csv", "one person per picture")])
def test_an_output_that_cannot_hold_the_results_is_refused(name, told):
    with pytest.raises(ValueError, match=f"--output-name {name}: .*{told}"):
        output_path(name, [A], several=True)


def test_a_name_with_a_comma_goes_to_json_and_is_refused_in_a_csv():
    odd = Source("picture", "in/a,b.jpg")
    assert str(output_path(None, [A, odd], several=False)) == "predictions.json"
    with pytest.raises(ValueError, match=r"a,b\.jpg: a csv can't hold a name with a comma"):
        output_path("o.csv", [A, odd], several=False)


def test_a_csv_of_nobody_is_an_empty_file(tmp_path):
    nobody = Predicted(A, None, 1, poses(0), [])
    assert write_keypoints(tmp_path / "o.csv", [nobody]).read_text() == ""


def test_pictures_and_videos_are_drawn_into_a_folder_under_their_names():
    drawn = drawing_paths("drawn", [A, B, CLIP, CAMERA])
    assert [str(path) for path in drawn.values()] == ["drawn/a.jpg", "drawn/b.jpg", "drawn/clip.mp4", "drawn/camera0.mp4"]
    assert drawing_paths(None, [A]) == {} and str(drawing_paths("x/drawn.mp4", [CLIP])[CLIP]) == "x/drawn.mp4"


@pytest.mark.parametrize(
    "visualize, sources, told",
    [
        ("drawn.mp4", [A], "a file is for one video"),
        ("drawn.mp4", [CLIP, CAMERA], "a file is for one video"),
        ("drawn.avi", [CLIP], "give a folder, or for one video a file that ends in .mp4"),
        ("drawn.jpg", [A], "give a folder"),
        ("drawn", [A, Source("picture", "a.png")], "in/a.jpg would be drawn to drawn/a.jpg too"),
    ],
)
def test_drawings_without_a_place_of_their_own_are_refused(visualize, sources, told):
    with pytest.raises(ValueError, match=told):
        drawing_paths(visualize, sources)


def test_a_place_that_cannot_be_written_is_refused_and_a_good_one_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "file" / "o.csv", tmp_path / "folder.csv"):
        with pytest.raises(ValueError, match="can't be written"):
            check_writable([path], [])
    check_writable([tmp_path / "new" / "o.csv", tmp_path / "file"], [tmp_path / "other"])
    assert (tmp_path / "file").read_text() == "old" and list((tmp_path / "new").iterdir()) == []


def test_an_input_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is an input"):
        check_writable([tmp_path / "x" / ".." / "a.jpg"], ["a.jpg"])


@pytest.mark.parametrize(
    "names, known, expected",
    [
        (["12.jpg", "0007.jpg"], {}, {"12.jpg": 12, "0007.jpg": 7}),
        (["12.jpg", "a.jpg"], {}, {}),
        (["7.jpg", "007.jpg"], {}, {}),
        (["12.jpg", "13.jpg"], {"12.jpg": 5}, {"12.jpg": 5}),
    ],
)
def test_image_ids_are_the_known_ones_or_the_pictures_numbers(names, known, expected):
    sources = [Source("picture", name) for name in names]
    assert image_ids(sources, known) == expected
    assert image_ids([*sources, CLIP], known) == expected  # a video's frames have none


def test_a_csv_has_one_row_per_picture_and_frame(tmp_path):
    found = [Predicted(A, None, 1, poses(), [0.5]), Predicted(CLIP, 3, 2, poses() + 1, [0.5])]
    names, points = read_predictions(write_keypoints(tmp_path / "o.csv", found))
    assert names == ["a.jpg", "clip.avi_000003"]
    np.testing.assert_array_equal(points, np.rint([poses()[0, :, :2], poses()[0, :, :2] + 1]))


def test_results_have_every_person_with_scores_and_names(tmp_path):
    found = [Predicted(A, None, 7, poses(2), [0.5, 0.25]), Predicted(CLIP, 0, None, poses(0), [])]
    found.append(Predicted(CLIP, 3, None, poses(), [0.75]))
    rows = json.loads(write_keypoints(tmp_path / "o.json", found).read_text())
    assert [(row.get("image_id"), row["file_name"], row.get("frame"), row["score"]) for row in rows] == [
        (7, "a.jpg", None, 0.5),
        (7, "a.jpg", None, 0.25),
        (None, "clip.avi", 3, 0.75),
    ]
    assert {row["category_id"] for row in rows} == {1} and "image_id" not in rows[2]
    keypoints = np.reshape(rows[1]["keypoints"], (16, 3))
    np.testing.assert_allclose(keypoints[:, :2], poses(2)[1, :, :2], atol=0.005)
    assert (keypoints[:, 2] == 0.1235).all()


def test_pycocotools_reads_the_results(tmp_path):
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    path = write_keypoints(tmp_path / "o.json", [Predicted(A, None, 7, poses(2), [0.5, 0.25])])
    assert len(truth.loadRes(str(path)).getAnnIds(imgIds=[7])) == 2


def test_nobody_found_is_an_empty_list_and_boxes_can_be_made_of_results(tmp_path):
    assert json.loads(write_keypoints(tmp_path / "o.json", [Predicted(A, None, 1, poses(0), [])]).read_text()) == []
    with pytest.raises(ValueError, match="row 1: bbox"):  # results of poses have none, and it is said
        read_boxes(write_keypoints(tmp_path / "o.json", [Predicted(A, None, 1, poses(1), [1.0])]), [A])


def test_a_picture_is_drawn_at_its_own_size_with_all_persons(tmp_path):
    image = noise_picture(40, 60)
    with Drawings({A: tmp_path / "d" / "a.jpg"}, LIP) as drawings:
        drawings.add(Frame(A, 0, 0.0, image), poses(2))
        drawings.add(Frame(B, 0, 0.0, image), poses(2))  # not wanted
    drawn = cv2.imread(str(tmp_path / "d" / "a.jpg"))
    assert drawn.shape == image.shape and abs(drawn.astype(int) - image).max() > 50
    assert abs(drawn[:, 45:].astype(int) - image[:, 45:]).mean() < 12  # nobody there: JPEG's loss alone
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["a.jpg"]


def test_videos_are_drawn_at_their_rate_and_size_and_appear_when_they_are_whole(tmp_path):
    image, other = np.full((48, 64, 3), 90, np.uint8), Source("video", "b.mkv", 10.0, 1)
    paths = {CLIP: tmp_path / "clip.mp4", other: tmp_path / "b.mp4"}
    with Drawings(paths, LIP) as drawings:
        for number in range(4):
            drawings.add(Frame(CLIP, number, number / 12.5, image), poses(2))
            assert not (tmp_path / "clip.mp4").exists()
        drawings.add(Frame(other, 0, 0.0, image[:30, :40]), poses(0))
        assert (tmp_path / "clip.mp4").exists()
    frames, rate = frames_in(tmp_path / "clip.mp4")
    assert len(frames) == 4 and rate == 12.5 and frames[0].shape == image.shape
    assert abs(frames[3].astype(int) - 90).max() > 50
    frames, rate = frames_in(tmp_path / "b.mp4")
    assert len(frames) == 1 and rate == 10 and abs(frames[0].astype(int) - 90).max() < 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mp4", "clip.mp4"]


def test_a_video_that_is_stopped_is_kept_as_far_as_it_got(tmp_path):
    with pytest.raises(KeyboardInterrupt), Drawings({CLIP: tmp_path / "clip.mp4"}, LIP) as drawings:
        drawings.add(Frame(CLIP, 0, 0.0, noise_picture(48, 64)), poses())
        raise KeyboardInterrupt
    assert len(frames_in(tmp_path / "clip.mp4")[0]) == 1


def test_a_frame_of_another_size_is_fitted_into_the_video(tmp_path):
    with Drawings({CLIP: tmp_path / "clip.mp4"}, LIP) as drawings:
        for size in ((48, 64), (24, 32)):
            drawings.add(Frame(CLIP, 0, 0.0, noise_picture(*size)), poses(0))
    assert len(frames_in(tmp_path / "clip.mp4")[0]) == 2


def test_a_video_that_cannot_be_written_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="can't write an mp4 video of 64x48"),
        Drawings({CLIP: tmp_path / "n/c.mp4"}, LIP) as d,
    ):
        d.add(Frame(CLIP, 0, 0.0, noise_picture(48, 64)), poses())
