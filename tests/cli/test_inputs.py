"""Sources: what is listed, which frames come, and what is said of damaged ones."""

import cv2
import numpy as np
import pytest
from conftest import CODECS, cut, noise_picture, write_video

from gccpm_lib.cli import inputs as sources
from gccpm_lib.cli.inputs import Source, batches, list_sources, read_frames
from gccpm_lib.datasets.records import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.jpg", "C.JPG", ".hidden.jpg"):
        cv2.imwrite(str(tmp_path / name), noise_picture(20, 30))
    (tmp_path / "notes.txt").write_text("not a picture")
    write_video(tmp_path / "clip.avi")
    return tmp_path


def frames_of(*inputs) -> list[sources.Frame]:
    return list(read_frames(list_sources([str(path) for path in inputs])))


def test_a_folder_gives_its_pictures_by_name_and_what_is_given_keeps_its_order(folder):
    video = write_video(folder / "z.avi")
    listed = list_sources([str(video), str(folder)])
    assert [source.name for source in listed] == ["z.avi", "C.JPG", "a.jpg", "b.png"]
    assert [source.kind for source in listed] == ["video"] + 3 * ["picture"]


def test_a_picture_is_one_frame_without_a_number(folder):
    (frame,) = frames_of(folder / "b.png")
    np.testing.assert_array_equal(frame.image, noise_picture(20, 30))
    assert (frame.index, frame.number, frame.time, frame.error) == (0, None, 0, "")


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_gives_all_its_frames_with_their_times(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}")
    (source,) = list_sources([str(path)])
    assert (source.kind, source.name, source.rate, source.num_frames) == ("video", f"clip{suffix}", 12.5, 6)
    frames = frames_of(path)
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4, 5] and not any(frame.error for frame in frames)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32, 0.4])
    brightness = [frame.image.mean() for frame in frames]
    assert brightness == pytest.approx([0, 10, 20, 30, 40, 50], abs=4) and frames[0].image.shape == (48, 64, 3)


def test_a_video_that_was_cut_off_gives_its_frames_and_says_so(tmp_path):
    path = cut(write_video(tmp_path / "clip.avi", 20), 0.6)
    *frames, last = frames_of(path)
    assert 0 < len(frames) < 20 and not any(frame.error for frame in frames)
    assert last.image is None and last.error.startswith(f"{path}: ends after {len(frames)} of the 20 frames")


def test_what_cannot_be_opened_is_one_frame_with_an_error_and_the_rest_follows(folder):
    cut(folder / "a.jpg", 0.5)
    headless = cut(write_video(folder / "headless.mp4"), 0.6)  # an mp4 says last what is in it
    junk = folder / "junk.mkv"
    junk.write_bytes(b"nothing" * 50)
    frames = frames_of(headless, junk, folder)
    told = [(frame.source.name, bool(frame.error)) for frame in frames]
    assert told == [("headless.mp4", True), ("junk.mkv", True), ("C.JPG", False), ("a.jpg", True), ("b.png", False)]
    assert all(str(frame.source.path) in frame.error and frame.image is None for frame in frames if frame.error)


@pytest.mark.parametrize(
    "given, told",
    [("none.jpg", "no such picture"), ("camera:", "no such picture"), ("empty", "no pictures inside .*videos are given")],
)
def test_nothing_to_read_is_refused_with_its_name(tmp_path, monkeypatch, given, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "empty" / "clip.avi")
    with pytest.raises(DataError, match=f"{given}: {told}"):
        list_sources([given])


def test_two_of_the_same_name_are_refused(folder):
    (folder / "inside").mkdir()
    cv2.imwrite(str(folder / "inside" / "a.jpg"), noise_picture(20, 30))
    with pytest.raises(DataError, match="has the same name"):
        list_sources([str(folder), str(folder / "inside")])


def test_a_camera_that_is_not_there_is_an_error_of_one_line(capfd):
    (frame,) = frames_of("camera:97")
    assert frame.error.startswith("camera:97: can't be opened") and frame.source.name == "camera97"
    assert capfd.readouterr() == ("", "")


def test_a_camera_has_the_times_of_the_clock_and_no_known_end(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.avi", 3)
    open_video = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: open_video(str(path)))
    *frames, last = frames_of("camera:0")
    assert [frame.number for frame in frames] == [0, 1, 2] and frames[0].source.num_frames == 0
    assert 0 <= frames[0].time < frames[1].time < frames[2].time < 10
    assert last.error.startswith("camera:0: no more pictures after 3")


def test_a_video_is_closed_when_nobody_reads_on(tmp_path, monkeypatch):
    released, capture = [], cv2.VideoCapture(str(write_video(tmp_path / "clip.avi")))

    class Capture:
        isOpened, read = capture.isOpened, capture.read

        def release(self):
            released.append(True)

    monkeypatch.setattr(cv2, "VideoCapture", lambda path: Capture())
    frames = read_frames([Source("video", "clip.avi", 25, 6)])
    next(frames)
    frames.close()
    assert released == [True]


def test_frames_come_in_batches_and_those_of_a_camera_alone():
    pictures = [sources.Frame(Source("picture", f"{i}.jpg"), 0, 0, None) for i in range(5)]
    camera = sources.Frame(Source("camera", "0", 25, 0), 0, 0, None)
    assert list(batches(iter(pictures), 2)) == [pictures[:2], pictures[2:4], pictures[4:]]
    assert list(batches(iter([camera, camera]), 2)) == [[camera], [camera]]
    assert list(batches(iter([]), 2)) == []
