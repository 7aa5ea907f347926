"""`gccpm inspect`: a predicted video as a page, read in a real browser, and as the live inspector."""

import json
from pathlib import Path

import numpy as np
import pytest
from browsing import CHROMIUM, FAINT_TEXTS, NO_CHROMIUM, chromium, watched_page
from conftest import write_video
from playwright.sync_api import expect

from gccpm_lib.__main__ import main
from gccpm_lib.cli.inspect_video import inspect_video
from gccpm_lib.show.inspector import answer
from gccpm_lib.skeletons import LIP

HOSTILE = "<img src=x onerror=alert(1)></script>.avi"
WRIST = LIP.joints.index("r_wrist")


def pose(frame: int) -> np.ndarray:
    """16 joints in two rows; the right wrist is 30 pixels away in frame 12 alone, where its score is low."""
    keypoints = np.array([(6 + 7 * (k % 8), 14 + 20 * (k // 8), 0.75) for k in range(16)])
    if frame == 12:
        keypoints[WRIST] = (50, 10, 0.1)
    return keypoints


@pytest.fixture
def predicted(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A video of 25 frames, 12.5 a second, with one person who is there all the time and one in the last ten frames."""
    monkeypatch.chdir(tmp_path)
    video = tmp_path / HOSTILE.replace("/", "_")
    write_video(tmp_path / "clip.avi", 25).rename(video)
    rows = []
    for track, frames in ((1, range(25)), (2, range(15, 25))):
        about = {
            "file_name": video.name,
            "track_id": track,
            "joints": list(LIP.joints),
            "sure_peak": 0.3,
            "category_id": 1,
            "score": 1,
        }
        rows += [about | {"frame": i, "time": i / 12.5, "keypoints": pose(i).ravel().tolist()} for i in frames]
    Path("predictions.json").write_text(json.dumps(rows))
    return video, Path("predictions.json")


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_the_page_shows_joints_over_time_and_goes_to_jumps(predicted, capsys):
    video, results = predicted
    assert main(["inspect", str(video), str(results), "--output-name", "page.html"]) == 0
    told = capsys.readouterr().out
    assert (
        told == "2 persons in 25 frames, 2 jumps of joints (most: r_wrist 2), 2 after smoothing; 35 pictures in page.html\n"
    )
    with chromium() as browser:
        page, bad = watched_page(browser, viewport={"width": 1280, "height": 900})
        page.goto(Path("page.html").absolute().as_uri())
        page.wait_for_selector(".gccpm-inspector[data-index]")
        expect(page.locator("h1")).to_have_text(f"{video.name}: joints over time")
        expect(page.locator(".name")).to_have_text("0.00 s, frame 0, person 1")
        jumps = page.locator(".jumps li")
        assert [text.split(" · ")[:3] for text in jumps.all_inner_texts()] == [
            ["0.96 s", "person 1", "r_wrist"],
            ["1.04 s", "person 1", "r_wrist"],
        ]
        jumps.get_by_role("button").first.click()
        expect(page.locator(".name")).to_have_text("0.96 s, frame 12, person 1")
        expect(page.locator(".curves .told")).to_contain_text("r_wrist, person 1 at 0.96 s: x 50.0 → ")
        expect(page.locator(".suspicion")).to_contain_text(
            "r_wrist jumps by 0.78 of the person"
        )  # from (20, 34) to (50, 10), of 49 pixels
        expect(page.locator("path.smoothed")).to_have_count(2)
        score = page.get_by_role("img", name="score of r_wrist over time")
        score.click(position={"x": 2, "y": 5})
        expect(page.locator(".name")).to_have_text("0.00 s, frame 0, person 1")
        page.get_by_label("In the video").select_option("person 2")
        expect(page.locator(".pager")).to_contain_text("of 10")
        expect(page.locator(".curves .ends")).to_have_text("1.20 s1.92 s")
        page.get_by_label("Play the frames").click()
        expect(page.locator(".name")).to_have_text("1.92 s, frame 24, person 2")
        assert page.evaluate(FAINT_TEXTS) == [] and bad == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_live_inspector_has_the_same(predicted):
    widget = inspect_video(*predicted, num_frames=6)  # 11 to 13, where the wrist jumps, 0, 10 and 24, where there are two
    table, _ = answer(widget.collection, {"kind": "table"})
    assert table["total"] == 7 and table["unsure"] == 0.3 and len(table["video"]["jumps"]) == 2
    reply, (jpeg, joints) = answer(widget.collection, {"kind": "pictures", "rows": [0], "side": 64})
    assert jpeg[:2] == b"\xff\xd8" and not reply["pictures"][0]["problem"]
    np.testing.assert_allclose(np.frombuffer(joints, "<f4").reshape(3, 16, 3)[1], pose(0), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: [row | {"frame": row["frame"] + 90} for row in rows], "ends before frame 90 of its results"),
        (lambda rows: [], "no results of"),
    ],
)
def test_results_of_another_video_are_one_line(predicted, change, told, capsys):
    video, results = predicted
    results.write_text(json.dumps(change(json.loads(results.read_text()))))
    assert main(["inspect", str(video), str(results), "--output-name", "page.html"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not Path("page.html").exists()


def test_a_page_that_is_there_stays(predicted, capsys):
    Path("page.html").write_text("mine")
    assert main(["inspect", *map(str, predicted), "--output-name", "page.html"]) == 2
    assert "exists already" in capsys.readouterr().err and Path("page.html").read_text() == "mine"
