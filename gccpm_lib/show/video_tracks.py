"""Joints over a video's time: tracks from the results of `gccpm predict`, before and after smoothing, and their jumps."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_labels import read_json
from gccpm_lib.datasets.records import DataError
from gccpm_lib.prediction import smoothing
from gccpm_lib.skeletons import COCO, LIP, UNSURE, Skeleton, same_joints, split_side

# The hand of a thrower moves at 12 m/s, seven times his height a second
MAX_SPEED = 7.0  # person's sizes a second: a joint that is faster has jumped
MIN_JUMP = 0.1  # person's sizes: less is trembling, however short the time
MAX_POINTS = 20_000  # persons in frames whose curves are drawn


@dataclass(frozen=True, eq=False)
class Track:
    """One person of a video in F of its frames, in their order; K joints."""

    number: int
    frames: np.ndarray  # (F,) int, from 0
    times: np.ndarray  # (F,) seconds
    predicted: np.ndarray  # (F, K, 3) x, y in picture pixels, score
    smoothed: np.ndarray  # (F, K, 3)

    @property
    def size(self) -> float:
        """Pixels of the person's longer side, the median over the frames."""
        return max(float(np.median(np.ptp(self.predicted[:, :, :2], axis=1).max(axis=1))), 1.0)


@dataclass(frozen=True)
class Jump:
    """A joint that is elsewhere in one frame than in the frame before."""

    track: int
    frame: int  # where it is elsewhere
    time: float  # seconds
    joint: int
    distance: float  # in person's sizes
    scores: tuple[float, float]  # before and after


def read_tracks(path: str | Path, name: str) -> tuple[Skeleton, float, list[Track]]:
    """Results of `gccpm predict`, JSON -> skeleton, the peak from which a joint is sure, and the tracks of this video.

    Results without smoothing are smoothed here as `--smooth` does. DataError for a file without this video, or one that
    something else wrote.
    """
    content = read_json(Path(path))
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    own = [row for row in rows if row.get("file_name") == name]
    if not own:
        names = sorted({str(row["file_name"]) for row in rows if "frame" in row and "file_name" in row})
        told = f"it has {', '.join(names[:5])}" if names else "it has no video; give the JSON that gccpm predict wrote"
        raise DataError(f"{path}: no results of {name}; {told}")
    try:
        joints = tuple(str(joint) for joint in own[0]["joints"])
        by_track: dict[int, list[dict]] = {}
        for row in sorted(own, key=lambda row: int(row["frame"])):
            by_track.setdefault(int(row["track_id"]), []).append(row)
        tracks = [_track(number, some, len(joints)) for number, some in sorted(by_track.items())]
        return skeleton_of(joints), float(own[0].get("sure_peak", UNSURE)), tracks
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not what gccpm predict writes of a video ({error!r}); predict {name} again") from error


def _track(number: int, rows: Sequence[dict], num_joints: int) -> Track:
    frames, times = (np.array([row[key] for row in rows]) for key in ("frame", "time"))
    if (np.diff(frames) <= 0).any() or (np.diff(times) <= 0).any():
        raise ValueError(f"track {number} has a frame twice, or times that don't rise")
    predicted, written = (
        np.array([row.get(key, row["keypoints"]) for row in rows], np.float64).reshape(len(rows), num_joints, 3)
        for key in ("unsmoothed_keypoints", "keypoints")
    )
    is_smoothed = "unsmoothed_keypoints" in rows[0]
    return Track(number, frames, times, predicted, written if is_smoothed else smoothed(predicted, times))


def smoothed(keypoints: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(F, K, 3) of one person, times (F,) in seconds -> the same after `smoothing.smooth`."""
    people, found = {}, []
    for pose, time in zip(keypoints, times, strict=True):
        people, poses = smoothing.smooth(people, [0], pose[None], float(time))
        found.append(poses[0])
    return np.array(found)


def skeleton_of(joints: tuple[str, ...]) -> Skeleton:
    """The data sets' own skeleton where the joints are theirs, else one with those of their limbs that it has."""
    for known in (LIP, COCO):
        if same_joints(joints, known.joints):
            return known
    places = {split_side(name): index for index, name in enumerate(joints)}
    pairs = [[places.get(split_side(known.joints[j])) for j in limb] for known in (COCO, LIP) for limb in known.limbs]
    limbs = {tuple(sorted(pair)) for pair in pairs if None not in pair}
    return Skeleton("video", joints, tuple(sorted(limbs)), ())


def jumps(track: Track, keypoints: np.ndarray) -> list[Jump]:
    """Where joints (F, K, 3) of a track are farther from one frame to the next than a body moves; greatest first."""
    steps = np.linalg.norm(np.diff(keypoints[:, :, :2], axis=0), axis=2) / track.size
    limits = np.maximum(MAX_SPEED * np.diff(track.times), MIN_JUMP)
    found = [
        Jump(
            track.number,
            int(track.frames[row + 1]),
            float(track.times[row + 1]),
            int(joint),
            float(steps[row, joint]),
            (float(keypoints[row, joint, 2]), float(keypoints[row + 1, joint, 2])),
        )
        for row, joint in np.argwhere(steps > limits[:, None])
    ]
    return sorted(found, key=lambda jump: -jump.distance)


def chosen_frames(tracks: Sequence[Track], found: Sequence[Jump], count: int) -> list[int]:
    """At most `count` frames to look at: up to half of them at the greatest jumps, before and after, the others evenly."""
    everything = np.unique(np.concatenate([track.frames for track in tracks]))
    if len(everything) <= count:
        return everything.tolist()
    at_jumps = dict.fromkeys(frame for jump in found for frame in (jump.frame, jump.frame - 1))
    chosen = [frame for frame in at_jumps if frame in everything][: count // 2]
    others = np.setdiff1d(everything, chosen)
    evenly = others[np.linspace(0, len(others) - 1, count - len(chosen)).astype(int)]
    return sorted([*chosen, *evenly.tolist()])


def curves(tracks: Sequence[Track]) -> tuple[list[dict], int]:
    """What the page draws of each track, and that every n-th frame is drawn where there are more than MAX_POINTS.

    {number, count, times, predicted, smoothed}: base64 of little-endian float32 times (count,) and keypoints (count, K, 3).
    """
    step = -(-sum(len(track.frames) for track in tracks) // MAX_POINTS)
    found = []
    for track in tracks:
        arrays = {name: getattr(track, name)[::step] for name in ("times", "predicted", "smoothed")}
        texts = {name: base64.b64encode(array.astype("<f4").tobytes()).decode() for name, array in arrays.items()}
        found.append({"number": track.number, "count": len(arrays["times"]), **texts})
    return found, step
