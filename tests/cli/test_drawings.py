"""Drawn pictures and videos: their size, their times, whole or not there, and played by a browser."""

import os
import subprocess
import sys
from pathlib import Path

import browsing
import cv2
import numpy as np
import pytest
from conftest import frames_in, noise_picture

from gccpm_lib.cli import drawings as drawings_module
from gccpm_lib.cli.drawings import Drawings
from gccpm_lib.cli.inputs import Frame, Source
from gccpm_lib.skeletons import LIP

A, B = Source("picture", "in/a.jpg"), Source("picture", "in/b.png")
CLIP = Source("video", "in/clip.avi", 12.5, 4)


def poses(count=1) -> np.ndarray:
    return np.dstack([np.random.default_rng(0).uniform(5, 35, (count, 16, 2)), np.full((count, 16), 0.12)])


def drawn_clip(path, times, rate=25.0, size=(48, 64)):
    """Picture i has the brightness 10 i."""
    source = Source("video", "in/uneven.mkv", rate, 0)
    with Drawings({source: path}, LIP) as drawings:
        for number, time in enumerate(times):
            drawings.add(Frame(source, number, time, np.full((*size, 3), 10 * number, np.uint8)), poses(0))
    return path


def test_a_picture_is_seen_from_its_own_time_until_the_next_ones(tmp_path):
    frames, rate = frames_in(drawn_clip(tmp_path / "a.mp4", [0, 0.04, 0.08, 0.28, 0.6, 0.64]))
    seen = [round(frame.mean() / 10) for frame in frames]
    assert rate == 25 and seen == [0, 1] + [2] * 5 + [3] * 8 + [4, 5]


def test_a_picture_is_held_for_ten_minutes_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(drawings_module, "MAX_HELD", 2.0)
    assert len(frames_in(drawn_clip(tmp_path / "a.mp4", [0, 1e6]))[0]) == 51


def test_the_codec_is_one_that_browsers_play(tmp_path):
    capture = cv2.VideoCapture(str(drawn_clip(tmp_path / "a.mp4", [0, 0.04])))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert code.lower() in ("h264", "avc1", "vp90")


@pytest.mark.skipif(not browsing.CHROMIUM, reason=browsing.NO_CHROMIUM)
def test_a_browser_plays_a_drawn_video_to_its_end(tmp_path):
    path = drawn_clip(tmp_path / "a.mp4", np.arange(10) / 25, size=(120, 161))
    (tmp_path / "a.html").write_text(f'<video id="v" src="{path.name}" muted></video>')
    with browsing.chromium() as browser:
        page, bad = browsing.watched_page(browser)
        page.goto((tmp_path / "a.html").as_uri())
        played = page.evaluate(
            """() => new Promise((done) => {
              const v = document.getElementById("v");
              v.onended = () => done([v.videoWidth, v.videoHeight, v.duration]);
              v.onerror = () => done(v.error.message);
              v.play().catch((error) => done(String(error)));
            })"""
        )
    assert played[:2] == [160, 120] and played[2] == pytest.approx(0.4, abs=0.01) and not bad


def test_a_video_that_is_not_whole_is_told_and_not_left(tmp_path):
    """In a process of its own that may write 20,000 bytes into a file."""
    code = """
import resource, numpy as np
from pathlib import Path
from gccpm_lib.cli.drawings import Drawings
from gccpm_lib.cli.inputs import Frame, Source
from gccpm_lib.skeletons import LIP
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
clip, noise = Source("video", "a.avi", 25.0, 0), np.random.default_rng(0)
with Drawings({clip: Path("a.mp4")}, LIP) as drawings:
    for number in range(20):
        frame = noise.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        drawings.add(Frame(clip, number, number / 25, frame), np.zeros((0, 16, 3)))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "OSError: a.mp4: the drawn video couldn't be written whole; make room on the disk" in ended.stderr
    assert list(tmp_path.iterdir()) == []


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
    assert len(frames) == 1 and rate == 10 and abs(frames[0].astype(int) - 90).max() < 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mp4", "clip.mp4"]


def test_a_video_that_is_stopped_is_kept_as_far_as_it_got(tmp_path):
    with pytest.raises(KeyboardInterrupt), Drawings({CLIP: tmp_path / "clip.mp4"}, LIP) as drawings:
        drawings.add(Frame(CLIP, 0, 0.0, noise_picture(48, 64)), poses())
        raise KeyboardInterrupt
    assert len(frames_in(tmp_path / "clip.mp4")[0]) == 1


def test_a_frame_of_another_size_is_fitted_into_the_video(tmp_path):
    with Drawings({CLIP: tmp_path / "clip.mp4"}, LIP) as drawings:
        for number, size in enumerate([(48, 64), (24, 32)]):
            drawings.add(Frame(CLIP, number, number / 12.5, noise_picture(*size)), poses(0))
    assert len(frames_in(tmp_path / "clip.mp4")[0]) == 2


def test_a_video_that_cannot_be_written_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="can't write an mp4 video of 64x48"),
        Drawings({CLIP: tmp_path / "n/c.mp4"}, LIP) as d,
    ):
        d.add(Frame(CLIP, 0, 0.0, noise_picture(48, 64)), poses())
