"""Joints over a video's time, computed by hand."""

import json

import numpy as np
import pytest

from gccpm_lib.datasets.records import DataError
from gccpm_lib.prediction import smoothing
from gccpm_lib.show import video_tracks
from gccpm_lib.show.video_tracks import Jump, Track
from gccpm_lib.skeletons import COCO, LIP

NAMES = ("head", "left_hand")


def track(x, times=None, number=1) -> Track:
    """Two joints: the first stays at (0, 0), the second is at these x, 100 pixels below it; scores 0.5 and 0.25."""
    keypoints = np.array([[(0, 0, 0.5), (value, 100, 0.25)] for value in x], float)
    times = np.arange(len(x)) / 25 if times is None else np.array(times)
    return Track(number, np.arange(len(x)), times, keypoints, keypoints)


def row(frame: int, x: float, **more) -> dict:
    keypoints = [0, 0, 0.5, x, 100, 0.25]
    return {
        "file_name": "a.mp4",
        "frame": frame,
        "time": frame / 25,
        "track_id": 1,
        "joints": list(NAMES),
        "keypoints": keypoints,
    } | more


def test_a_joint_that_is_faster_than_a_body_has_jumped():
    """The person's size is 100 pixels: at 25 frames a second 28 of them are seven sizes a second."""
    still = track([0, 0, 27, 56, 56, 0])
    found = video_tracks.jumps(still, still.predicted)
    assert found == [Jump(1, 5, 0.2, 1, 0.56, (0.25, 0.25)), Jump(1, 3, 0.12, 1, 0.29, (0.25, 0.25))]
    gap = track([0, 60], times=[0, 0.1])  # in a tenth of a second 70 pixels are no jump
    assert video_tracks.jumps(gap, gap.predicted) == []
    fast = track([0, 9, 20], times=[0, 0.001, 0.002])  # a tenth of the size is the least
    assert [jump.frame for jump in video_tracks.jumps(fast, fast.predicted)] == [2]


def test_frames_at_jumps_are_chosen_and_the_others_evenly():
    long = track([0] * 101)
    jump = Jump(1, 34, 34 / 25, 1, 0.5, (0, 0))
    assert video_tracks.chosen_frames([long], [], 5) == [0, 25, 50, 75, 100]
    assert video_tracks.chosen_frames([long], [jump], 5) == [0, 33, 34, 51, 100]
    assert video_tracks.chosen_frames([long], [jump], 200) == list(range(101))


def test_curves_of_a_long_video_are_thinned_and_say_so():
    drawn, step = video_tracks.curves([track([0] * 30_000), track([0] * 15_000, number=2)])
    assert step == 3 and [(one["number"], one["count"]) for one in drawn] == [(1, 10_000), (2, 5_000)]
    assert video_tracks.curves([track([0] * 10)])[1] == 1


def test_results_are_read_and_smoothed_as_predict_does(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([row(1, 30.0), row(0, 0.0), row(0, 5.0, file_name="b.mp4")]))
    skeleton, sure_peak, (found,) = video_tracks.read_tracks(path, "a.mp4")
    assert skeleton.joints == NAMES and sure_peak == 0.2 and found.frames.tolist() == [0, 1]
    assert found.predicted[:, 1, 0].tolist() == [0, 30]
    people, first = smoothing.smooth({}, [1], found.predicted[:1], 0.0)
    _, second = smoothing.smooth(people, [1], found.predicted[1:], 0.04)
    np.testing.assert_allclose(found.smoothed, [first[0], second[0]])
    assert 0 < found.smoothed[1, 1, 0] < 30


def test_results_that_were_smoothed_say_what_they_were_before(tmp_path):
    path, rough = tmp_path / "p.json", [0, 0, 0.5, 7, 100, 0.25]
    path.write_text(json.dumps([row(0, 3.0, unsmoothed_keypoints=rough, sure_peak=0.4)]))
    _, sure_peak, (found,) = video_tracks.read_tracks(path, "a.mp4")
    assert (found.predicted[0, 1, 0], found.smoothed[0, 1, 0], sure_peak) == (7, 3, 0.4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "no results of a.mp4; it has no video; give the JSON"),
        ({"images": []}, "it has no video"),
        ([row(0, 1, file_name="b.mp4")], "no results of a.mp4; it has b.mp4"),
        ([row(0, 1, track_id=None)], "not what gccpm predict writes"),
        ([row(0, 1), row(0, 2)], "track 1 has a frame twice"),
        ([row(0, 1, keypoints=[1, 2, 3])], "not what gccpm predict writes"),
    ],
)
def test_other_files_are_one_line(tmp_path, content, told):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=told) as raised:
        video_tracks.read_tracks(path, "a.mp4")
    assert "\n" not in str(raised.value)


def test_limbs_are_known_of_known_joints():
    assert video_tracks.skeleton_of(LIP.joints) is LIP and video_tracks.skeleton_of(COCO.joints) is COCO
    found = video_tracks.skeleton_of(("l_knee", "l_ankle", "tail", "l_hip"))
    assert sorted(map(sorted, found.limbs)) == [[0, 1], [0, 3]]
