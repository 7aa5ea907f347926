"""What predictions become on disk: csv, results, drawn pictures and videos; and where they must not go."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gccpm_lib.cli.boxes import read_boxes
from gccpm_lib.cli.inputs import Source
from gccpm_lib.cli.outputs import (
    Predicted,
    Results,
    check_writable,
    drawing_paths,
    image_ids,
    output_path,
)
from gccpm_lib.datasets.lip import read_predictions, write_predictions
from gccpm_lib.skeletons import COCO, LIP

A, B = Source("picture", "in/a.jpg"), Source("picture", "in/b.png")
CLIP = Source("video", "in/clip.avi", 12.5, 4)
CAMERA = Source("camera", "0", 25.0, 0)


def written(path: Path, found: list[Predicted], submission=False) -> Path:
    with Results(path, LIP, submission) as results:
        for predicted in found:
            results.add(predicted)
    return path


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


@pytest.mark.parametrize(
    "name, given, several, submission, told",
    [
        ("o.txt", [A], False, False, "must end in .csv"),
        ("o.json", [A], False, True, "submission form is a .csv of pictures with one person each"),
        ("o.csv", [A], True, True, "submission form"),
        ("o.csv", [CLIP], False, True, "submission form"),
    ],
)
def test_an_output_that_cannot_hold_the_results_is_refused(name, given, several, submission, told):
    with pytest.raises(ValueError, match=f"--output-name {name}: .*{told}"):
        output_path(name, given, several, submission)


@pytest.mark.parametrize("name", ["a,b.jpg", "a\nb.jpg"])
def test_a_name_that_lips_form_cannot_hold_is_refused_there_alone(name):
    odd = Source("picture", f"in/{name}")
    assert str(output_path(None, [A, odd], several=False)) == "predictions.csv"
    with pytest.raises(ValueError, match="submission form can't hold this name"):
        output_path("o.csv", [A, odd], several=False, submission=True)


def test_a_csv_of_nobody_is_a_header(tmp_path):
    nobody = Predicted(A, None, 1, poses(0), [])
    assert len(written(tmp_path / "o.csv", [nobody]).read_text().splitlines()) == 1


def test_a_table_names_its_columns_and_holds_every_person_with_scores(tmp_path):
    odd = Source("picture", 'in/a "b",\n=c.jpg')
    found = [Predicted(odd, None, 1, poses(2), [0.51234, 0.25]), Predicted(CLIP, 3, 2, poses(), [0.75], 0.24, [7])]
    table = pd.read_csv(written(tmp_path / "o.csv", found))
    assert table.columns[:7].tolist() == "file_name frame time person track_id score sure_peak".split()
    assert table.columns[7:10].tolist() == "r_ankle_x r_ankle_y r_ankle_score".split()
    assert table.columns[-1] == "l_wrist_score" and len(table.columns) == 7 + 3 * 16
    assert table["track_id"].fillna(-1).tolist() == [-1, -1, 7]
    assert table["file_name"].tolist() == [odd.name, odd.name, "clip.avi"] and table["person"].tolist() == [0, 1, 0]
    assert table["score"].tolist() == [0.5123, 0.25, 0.75] and table["frame"].fillna(-1).tolist() == [-1, -1, 3]
    assert table["time"][2] == 0.24
    assert table["sure_peak"].tolist() == [0.2] * 3
    np.testing.assert_allclose(table.iloc[1, 7::3].astype(float), poses(2)[1, :, 0], atol=0.005)
    assert (table.filter(like="_score") == 0.1235).all(axis=None)


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
    check_writable([tmp_path / "new" / "o.csv", tmp_path / "file"], [tmp_path / "other"], overwrite=True)
    assert (tmp_path / "file").read_text() == "old" and list((tmp_path / "new").iterdir()) == []


def test_what_is_there_is_written_over_on_demand_alone(tmp_path):
    (tmp_path / "o.csv").write_text("old")
    with pytest.raises(ValueError, match=r"o\.csv: exists already; give --overwrite"):
        check_writable([tmp_path / "o.csv"], [])
    check_writable([tmp_path / "o.csv"], [], overwrite=True)
    with pytest.raises(ValueError, match="it is a folder or device"):
        check_writable([Path("/dev/null")], [], overwrite=True)
    assert (tmp_path / "o.csv").read_text() == "old"


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


def test_lips_submission_form_is_written_on_demand(tmp_path):
    found = [Predicted(A, None, 1, poses(), [0.5]), Predicted(B, None, 2, poses() + 1, [0.5])]
    path = written(tmp_path / "o.csv", found, submission=True)
    names, points = read_predictions(path)
    assert names == ["a.jpg", "b.png"]
    np.testing.assert_array_equal(points, np.rint([poses()[0, :, :2], poses()[0, :, :2] + 1]))
    assert path.read_bytes() == write_predictions(tmp_path / "p.csv", names, points).read_bytes()
    with pytest.raises(ValueError, match="holds LIP's 16 joints, and COCO has others"):
        Results(tmp_path / "o.csv", COCO, submission=True)


def test_what_was_written_before_an_end_is_kept(tmp_path):
    for path, read in ((tmp_path / "o.csv", pd.read_csv), (tmp_path / "o.json", pd.read_json)):
        with pytest.raises(KeyboardInterrupt), Results(path, LIP) as results:
            for number in range(3):
                results.add(Predicted(CLIP, number, number, poses(), [0.5]))
            assert not path.exists()
            raise KeyboardInterrupt
        assert len(read(path)) == 3


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_rows_up_to_a_full_disk_are_kept_and_the_file_stays_readable(tmp_path, suffix):
    """In a process of its own that may write 10,000 bytes into a file."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from gccpm_lib.cli.inputs import Source
from gccpm_lib.cli.outputs import Predicted, Results
from gccpm_lib.skeletons import LIP
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
with Results(Path("o{suffix}"), LIP) as results:
    for number in range(1000):
        results.add(Predicted(Source("picture", "a.jpg"), None, number, np.full((1, 16, 3), 0.5), [0.5]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    (told,) = re.findall(rf"OSError: o{suffix}: File too large; (\d+) rows are kept; make room and go on", ended.stderr)
    path = tmp_path / f"o{suffix}"
    kept = len(pd.read_csv(path)) if suffix == ".csv" else len(json.loads(path.read_text()))
    assert kept == int(told) > 5


def test_results_have_every_person_with_scores_and_names(tmp_path):
    found = [Predicted(A, None, 7, poses(2), [0.5, 0.25]), Predicted(CLIP, 0, None, poses(0), [])]
    found.append(Predicted(CLIP, 3, None, poses(), [0.75], 0.24))
    rows = json.loads(written(tmp_path / "o.json", found).read_text())
    assert [(row.get("image_id"), row["file_name"], row.get("frame"), row["score"]) for row in rows] == [
        (7, "a.jpg", None, 0.5),
        (7, "a.jpg", None, 0.25),
        (None, "clip.avi", 3, 0.75),
    ]
    assert {row["category_id"] for row in rows} == {1} and rows[2]["time"] == 0.24 and "image_id" not in rows[2]
    assert all(row["joints"] == list(LIP.joints) for row in rows)
    keypoints = np.reshape(rows[1]["keypoints"], (16, 3))
    np.testing.assert_allclose(keypoints[:, :2], poses(2)[1, :, :2], atol=0.005)
    assert (keypoints[:, 2] == 0.1235).all()


def test_pycocotools_reads_the_results(tmp_path):
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    path = written(tmp_path / "o.json", [Predicted(A, None, 7, poses(2), [0.5, 0.25])])
    assert len(truth.loadRes(str(path)).getAnnIds(imgIds=[7])) == 2


def test_nobody_found_is_an_empty_list_and_boxes_can_be_made_of_results(tmp_path):
    assert json.loads(written(tmp_path / "o.json", [Predicted(A, None, 1, poses(0), [])]).read_text()) == []
    with pytest.raises(ValueError, match="row 1, image 1: bbox"):  # results of poses have none, and it is said
        read_boxes(written(tmp_path / "o.json", [Predicted(A, None, 1, poses(1), [1.0])]), [A])
