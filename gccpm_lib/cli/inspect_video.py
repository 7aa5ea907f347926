"""A predicted video in the keypoint inspector, in JupyterLab or as a page that works without network.

    from gccpm_lib.cli.inspect_video import inspect_video

    inspect_video("clip.mp4", "predictions.json")

`gccpm inspect clip.mp4 predictions.json` writes the page. Both show frames with their poses, every joint's x, y and score
over time before and after smoothing, and a list of the joints that jump.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib.cli import inputs, outputs
from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.files import write_beside
from gccpm_lib.geometry import box_of_joints
from gccpm_lib.progress import printable
from gccpm_lib.show import inspector_data, inspector_files, video_tracks
from gccpm_lib.show.inspector_data import Collection
from gccpm_lib.show.video_tracks import Jump, Track

MAX_JUMPS = 200  # listed, the greatest
PAGE_LIMIT_BYTES = 8_000_000  # of a page's frames and curves
QUALITY = 92  # of the frames' JPEG


def inspect_video(video: str | Path, results: str | Path, num_frames: int = 300):
    """The live inspector of a video and the JSON that `gccpm predict` wrote of it; at most num_frames frames are shown.

    DataError for a video that can't be read and for results of something else.
    """
    from gccpm_lib.show.inspector import Inspector  # needs the packages of notebooks, the page doesn't

    folder = tempfile.TemporaryDirectory(prefix="gccpm_frames_")
    widget = Inspector(collect_video(video, results, folder.name, num_frames), None, PAGE_LIMIT_BYTES)
    widget.frames_folder = folder  # goes with the widget
    return widget


def collect_video(video: str | Path, results: str | Path, folder: str | Path, num_frames: int) -> Collection:
    """What the inspector shows of a video: a row for each person of each chosen frame; the frames go into the folder."""
    (source,) = inputs.list_sources([str(video)])
    if source.kind != "video":
        raise DataError(f"{video}: not a video; give the one that was predicted")
    skeleton, sure_peak, tracks = video_tracks.read_tracks(results, source.name)
    before, after = (_jumps(tracks, name) for name in ("predicted", "smoothed"))
    paths = _save_frames(source, video_tracks.chosen_frames(tracks, before, num_frames), Path(folder))
    shown = [(track, row) for track in tracks for row, frame in enumerate(track.frames.tolist()) if frame in paths]
    nobody = np.zeros((skeleton.num_joints, 3), np.float32)  # has no labels
    boxes = {track.number: _box(track) for track in tracks}
    persons = [Person(paths[int(track.frames[row])], nobody, boxes[track.number]) for track, row in shown]
    sets = {"as predicted": [track.predicted[row] for track, row in shown]}
    sets["smoothed"] = [track.smoothed[row] for track, row in shown]
    drawn, step = video_tracks.curves(tracks)
    about = {
        "name": source.name,
        "unsure": sure_peak,
        "titles": [_title(track, row, len(tracks) > 1) for track, row in shown],
        "places": [[track.number, float(track.times[row])] for track, row in shown],
        "tracks": drawn,
        "step": step,
        "num_frames": len({frame for track in tracks for frame in track.frames.tolist()}),
        "jumps": [[own.track, own.time, own.joint, round(own.distance, 3), *own.scores] for own in before[:MAX_JUMPS]],
        "num_jumps": [len(before), len(after)],
    }
    suspicions = _told(before, shown, skeleton.joints)
    return replace(inspector_data.collect(persons, skeleton, sets), suspicions=suspicions, video=about)


def _jumps(tracks: list[Track], name: str) -> list[Jump]:
    """The jumps of all tracks, greatest first."""
    found = [jump for track in tracks for jump in video_tracks.jumps(track, getattr(track, name))]
    return sorted(found, key=lambda jump: -jump.distance)


def _told(found: list[Jump], shown: list[tuple[Track, int]], joints: tuple[str, ...]) -> dict[int, str]:
    """Row -> which joints jump there."""
    lines: dict[tuple[int, int], list[str]] = {}
    for jump in found:
        line = f"{joints[jump.joint]} jumps by {jump.distance:.2f} of the person's size"
        lines.setdefault((jump.track, jump.frame), []).append(line)
    keys = [(track.number, int(track.frames[row])) for track, row in shown]
    return {number: "; ".join(lines[key]) for number, key in enumerate(keys) if key in lines}


def _box(track: Track) -> tuple[float, float, float, float]:
    """Around all that the track's person does, so that what is shown stays in place from frame to frame."""
    return box_of_joints(track.predicted.reshape(-1, 3), 0.05)


def _title(track: Track, row: int, several: bool) -> str:
    person = f", person {track.number}" if several else ""
    return f"{track.times[row]:.2f} s, frame {track.frames[row]}{person}"


def _save_frames(source: inputs.Source, wanted: list[int], folder: Path) -> dict[int, Path]:
    """These frames of the video as JPEG files, by number; DataError where the video ends before the results do."""
    paths, missing = {}, set(wanted)
    for frame in inputs.read_frames([source]):
        if frame.image is not None and frame.index in missing:
            paths[frame.index] = folder / f"frame_{frame.index:07d}.jpg"
            write_beside(
                paths[frame.index], cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            )
            missing.discard(frame.index)
        if not missing:
            return paths
    raise DataError(f"{source.path}: ends before frame {min(missing)} of its results; give the video that was predicted")


# ------------------------------------------------------------------------------------------------ `gccpm inspect`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `gccpm inspect`."""
    add = parser.add_argument
    add("video", metavar="VIDEO", help="the video that was predicted")
    add("results", metavar="RESULTS.json", help="what gccpm predict wrote of it")
    add("--output-name", metavar="PAGE.html", help="default: VIDEO's name with .html, here")
    add("--num-frames", type=int, default=120, metavar="N", help="frames in the page at most; default 120")
    add("--overwrite", action="store_true", help="write over a page that is there already")


def write_page(options: argparse.Namespace) -> int:
    """Write the page of a predicted video. ValueError or OSError in one line."""
    page = Path(options.output_name or Path(options.video).with_suffix(".html").name)
    if options.num_frames < 2:
        raise ValueError(f"--num-frames {options.num_frames}: give at least 2")
    outputs.check_writable([page], [options.video, options.results], options.overwrite)
    with tempfile.TemporaryDirectory(prefix="gccpm_frames_") as folder:
        collection = collect_video(options.video, options.results, folder, options.num_frames)
        data = inspector_data.report_data(collection, PAGE_LIMIT_BYTES)
    video = collection.video
    write_beside(page, inspector_files.page_html(f"{video['name']}: joints over time", data))
    print(printable(_summary(video, data, collection.skeleton.joints, page)))
    return 0


def _summary(video: dict, data: dict, joints: tuple[str, ...], page: Path) -> str:
    jumps, left = video["num_jumps"]
    most = Counter(joints[jump[2]] for jump in video["jumps"]).most_common(3)
    which = f" (most: {', '.join(f'{joint} {count}' for joint, count in most)})" if most else ""
    people = f"{len(video['tracks'])} person{'' if len(video['tracks']) == 1 else 's'}"
    return (
        f"{people} in {video['num_frames']:,} frames, {jumps} jumps of joints{which}, {left} after smoothing; "
        f"{len(data['rows'])} pictures in {page}"
    )
