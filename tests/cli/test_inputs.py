"""Sources: what is listed, which frames come, and what is said of damaged ones."""

import os
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from conftest import CODECS, cut, noise_picture, write_video
from PIL import Image

from gccpm_lib.cli import inputs as sources
from gccpm_lib.cli.containers import is_cut_off
from gccpm_lib.cli.inputs import Source, batches, list_sources, read_frames
from gccpm_lib.datasets.records import DataError

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg, which encodes the videos, isn't installed")


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


def encoded(path, *options, lengths=(1.0,), rate=10):
    """A film of 1 second of colours by ffmpeg, with a longer sound where a second length is given."""
    sources = ["-f", "lavfi", "-i", f"testsrc=size=64x48:rate={rate}:duration={lengths[0]}"]
    for length in lengths[1:]:
        sources += ["-f", "lavfi", "-i", f"sine=frequency=300:duration={length}"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *sources, *options, str(path)], check=True)
    return path


def times_of(path) -> list[float]:
    frames = frames_of(path)
    assert not any(frame.error for frame in frames)
    return [frame.time for frame in frames]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov", ".mp4"])
def test_a_video_ends_where_its_pictures_end_though_its_sound_goes_on(tmp_path, suffix):
    path = encoded(tmp_path / f"a{suffix}", "-c:v", "mpeg4", lengths=(1.0, 2.0))
    assert times_of(path) == pytest.approx(np.arange(10) / 10, abs=0.002)


@needs_ffmpeg
def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path):
    whole = encoded(tmp_path / "whole.mp4", "-c:v", "mpeg4", "-g", "10", rate=10, lengths=(3.0,))
    cut_at = ["-ss", "1.3", "-i", str(whole), "-c", "copy", str(tmp_path / "a.mp4")]
    subprocess.run(["ffmpeg", "-v", "error", *cut_at], check=True)
    (source,) = list_sources([str(tmp_path / "a.mp4")])
    assert len(times_of(tmp_path / "a.mp4")) < source.num_frames


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_pictures_at_uneven_times_keep_them(tmp_path, suffix):
    """Of 10 pictures a second the fifth to the seventh second's are left out but for the first of each."""
    chosen = ["-vf", "select='lt(t,4)+not(mod(n,10))'", "-fps_mode", "vfr", "-c:v", "mpeg4"]
    path = encoded(tmp_path / f"a{suffix}", *chosen, lengths=(7.0,))
    assert times_of(path) == pytest.approx([*np.arange(40) / 10, 4, 5, 6], abs=0.002)


@needs_ffmpeg
def test_pictures_that_are_far_apart_in_a_file_are_found(tmp_path):
    """A picture every 150 seconds, with 6,500 packets of sound between two."""
    path = encoded(tmp_path / "a.mp4", "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "8k", rate="1/150", lengths=(450, 450))
    assert times_of(path) == [0, 150, 300]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".m4v", ".ts", ".mts", ".mpg", ".wmv", ".flv", ".3gp", ".ogv", ".bin"])
def test_every_suffix_of_a_video_is_one(tmp_path, suffix):
    codec = {".flv": "flv1", ".mpg": "mpeg1video", ".wmv": "wmv2", ".ogv": "libtheora"}.get(suffix, "mpeg4")
    size = ["-s", "176x144"] if suffix == ".3gp" else []
    container = ["-f", "matroska"] if suffix == ".bin" else []
    path = encoded(tmp_path / f"a{suffix}", "-c:v", codec, *size, *container, rate=25)
    (source,) = list_sources([str(path)])
    assert source.kind == "video" and len(times_of(path)) == 25


@pytest.mark.parametrize("name", ["12:30.mp4", "a%03d.mp4", "-y.mp4", "a\nb.mp4", "ü ß.mp4"])
def test_a_videos_name_is_its_files_alone(tmp_path, monkeypatch, name):
    """Not a protocol, not a series of pictures, not an option."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4").rename(tmp_path / name)
    assert len(times_of(name)) == 6


@pytest.mark.parametrize(
    "times, rate, expected",
    [
        (np.arange(64) / 30, 30.0, 30.0),
        ((np.arange(64) * 1000 / 29.97).round() / 1000, 29.97, 29.97),  # whole milliseconds, as in Matroska
        (np.r_[np.arange(40) / 25, 1.6 + np.arange(1, 9) / 5], 17.05, 25.0),  # the header tells a mean
        (np.arange(64) / 30, 1000.0, 30.0),  # or its clock
        ([], 25.0, 25.0),
        ([0.0], 25.0, 25.0),
    ],
)
def test_the_rate_shows_every_picture_at_its_time(times, rate, expected):
    assert sources.even_rate(rate, list(times)) == pytest.approx(expected, rel=0.002)


def test_times_that_do_not_rise_go_on_by_the_rate(tmp_path, monkeypatch):
    told = iter([0.0, 40.0, 80.0, 0.0, 60.0, 500.0])
    path = write_video(tmp_path / "clip.avi", rate=25)
    (source,) = list_sources([str(path)])
    open_video = cv2.VideoCapture

    class Capture:
        def __init__(self, *given):
            self.video = open_video(*given)
            self.isOpened, self.read, self.release = self.video.isOpened, self.video.read, self.video.release

        def get(self, _):
            return next(told)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert [frame.time for frame in read_frames([source])] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.5])


def test_what_a_folder_holds_and_is_not_read_is_told(tmp_path):
    for name in ("a.jpg", "in/b.jpg", "in/deeper/c.PNG", "none/x.txt", "notes.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), noise_picture(9, 9)) if "." in name[-4:] and name[-3:] in ("jpg", "PNG") else None
        (tmp_path / name).touch()
    write_video(tmp_path / "clip.avi")
    (told,) = sources.remarks([str(tmp_path)], list_sources([str(tmp_path)]))
    assert told == (
        f"{tmp_path}: not read: clip.avi (a video; give it by name), in/ (a folder with 2 pictures; give it by name), "
        "none/ (a folder), notes.txt"
    )
    for number in range(30):
        (tmp_path / f"x{number:02d}.xml").touch()
    (told,) = sources.remarks([str(tmp_path)], list_sources([str(tmp_path)]))
    assert told.endswith("x03.xml and 26 more")


def test_formats_that_nobody_reads_are_in_a_folder_too_and_refused_by_name(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    (frame,) = frames_of(tmp_path)
    assert "IMG_1.HEIC: HEIC, a format that isn't read here" in frame.error


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_of_an_animated_picture_the_first_is_read_and_it_is_told(tmp_path, suffix):
    first, *others = [Image.fromarray(np.full((20, 30, 3), 50 * i, np.uint8)) for i in range(4)]
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, duration=100)
    listed = list_sources([str(tmp_path)])
    assert sources.remarks([], listed) == [
        f"{tmp_path}/a.{suffix}: only the first of its 4 pictures is predicted; save it as a video for all"
    ]
    (frame,) = read_frames(listed)
    assert frame.image.shape == (20, 30, 3) and frame.image.max() < 5


def test_a_text_is_no_video(tmp_path):
    (tmp_path / "notes.txt").write_text("FFmpeg would film these letters\n" * 100)
    (frame,) = frames_of(tmp_path / "notes.txt")
    assert "notes.txt: not a readable picture" in frame.error and frame.source.kind == "picture"


@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.jpg", "pipe"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: is a pipe or device, not a file"):
        list_sources([str(tmp_path / name)])


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_cut_off_container_is_known_by_its_own_lengths(tmp_path, suffix, share):
    path = write_video(tmp_path / f"clip{suffix}", 20)
    assert not is_cut_off(path)
    with open(path, "ab") as file:
        file.write(b"something behind its end" * 20)
    assert not is_cut_off(path)
    path.write_bytes(path.read_bytes()[:-480])
    cut(path, share)
    assert is_cut_off(path) or (suffix == ".mp4" and share == 0.99 and not frames_of(path)[0].image)


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
    [
        ("none.jpg", "no such picture"),
        ("camera:", "no such picture"),
        ("empty", r"no pictures inside .*clip\.avi \(a video; give it by name\)"),
    ],
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
        isOpened, read, get = capture.isOpened, capture.read, capture.get

        def release(self):
            released.append(True)

    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Capture())
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
