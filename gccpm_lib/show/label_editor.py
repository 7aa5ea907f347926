"""Labels mended while they are looked at: what the live inspector's corrections do, and the csv in which they are kept."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gccpm_lib.datasets import corrections
from gccpm_lib.datasets.corrections import Correction
from gccpm_lib.show import inspector_data
from gccpm_lib.show.inspector_data import Collection
from gccpm_lib.skeletons import MISSING, Skeleton

LIMBS = {"arms": ("shoulder", "elbow", "wrist", "hand"), "legs": ("hip", "knee", "ankle", "foot", "heel", "toe")}
DECIMALS = 2  # of a corrected coordinate, in pixels


def user_name() -> str:
    """Who works here, as far as the system tells."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


class LabelEditor:
    """The corrections of a collection: its persons' labels and errors follow them, its csv is written at every step."""

    def __init__(self, collection: Collection, path: str | Path):
        """DataError as `corrections.read_corrections`, and where the csv's lines don't fit the labels."""
        self.collection, self.path = collection, Path(path)
        self.labelled = [person.keypoints for person in collection.persons]  # as the label file has them
        self.history: list[tuple[int, list[Correction]]] = []  # row and its corrections before each step
        self.own = corrections.by_person(collection.persons, corrections.read_corrections(path), path)
        for row, mended in self.own.items():
            self.labelled[row] = self._uncorrected(row, mended)
            self._show(row)

    def _uncorrected(self, row: int, mended: Sequence[Correction]) -> np.ndarray:
        """The label file's labels of somebody who may have been read with corrections on top."""
        back = [replace(own, now=own.was, was=own.now) for own in mended]
        return corrections.corrected_keypoints(self.labelled[row], back, self.collection.skeleton.joints, self.path)

    def correct(self, row: int, points: np.ndarray, rejected: bool, by: str) -> None:
        """A person's labels (K, 3) are now these, or he is rejected. ValueError for what can't be a label."""
        points = np.array(points, np.float64).reshape(self.labelled[row].shape)
        if not (np.isfinite(points).all() and (abs(points) < 1e6).all() and np.isin(points[:, 2], (0, 1, 2)).all()):
            raise ValueError("labels must be finite pixels with the label 0, 1 or 2; nothing was changed")
        points[:, :2] = points[:, :2].round(DECIMALS)
        before = self.own.get(row, [])
        self._keep(row, self._changes(row, points.astype(np.float32), rejected, by or user_name()))
        self.history.append((row, before))

    def undo(self) -> int | None:
        """Take the last step back; the row it was about, None where there is none."""
        if not self.history:
            return None
        row, before = self.history[-1]
        self._keep(row, before)
        self.history.pop()
        return row

    def _changes(self, row: int, points: np.ndarray, rejected: bool, by: str) -> list[Correction]:
        """What differs from the label file; what was corrected so before keeps its hand and time."""
        person, joints, was = self.collection.persons[row], self.collection.skeleton.joints, self.labelled[row]
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = Correction(row + 1, person.name, person.annotation_id, "", _point(np.zeros(3)), _point(np.zeros(3)), by, at)
        found = [about] if rejected else []
        for joint, (new, old) in enumerate(zip(points, was, strict=True)):
            if _point(new) != _point(old):
                found.append(replace(about, joint=joints[joint], now=_point(new), was=_point(old)))
        known = {(own.joint, own.now): own for own in self.own.get(row, [])}
        return [known.get((own.joint, own.now), own) for own in found]

    def _keep(self, row: int, mended: list[Correction]) -> None:
        """Write the csv with these corrections of a person, others' as they stand in it by now, then show them."""
        key = corrections.person_key(self.collection.persons[row])
        others = [own for own in corrections.read_corrections(self.path) if own.key != key]
        corrections.write_corrections(self.path, [*others, *mended])
        self.own[row] = mended
        self._show(row)

    def _show(self, row: int) -> None:
        collection, mended = self.collection, self.own.get(row, [])
        points = corrections.corrected_keypoints(self.labelled[row], mended, collection.skeleton.joints, self.path)
        picture = collection.persons[row].image_path
        collection.persons[row] = replace(collection.persons[row], keypoints=points)
        inspector_data.measure(collection, [r for r, other in enumerate(collection.persons) if other.image_path == picture])

    def state(self, row: int) -> dict:
        """What the page tells of a person: {rejected, corrected: {joint index: [was x, y, label, by, at]}}."""
        mended, joints = self.own.get(row, []), self.collection.skeleton.joints
        told = {joints.index(own.joint): [*own.was, own.by, own.at] for own in mended if own.joint}
        return {"rejected": any(not own.joint for own in mended), "corrected": told}

    def answer(self, request: Mapping) -> tuple[dict, list[bytes]]:
        """{kind: "correct", row, points, rejected, by} or {kind: "undo"} -> the person's state, labels and errors."""
        if request["kind"] == "undo":
            row = self.undo()
            if row is None:
                raise ValueError("nothing to undo")
        else:
            row = int(request["row"])
            self.correct(row, request["points"], bool(request.get("rejected")), str(request.get("by") or ""))
        _, arrays = inspector_data.table(self.collection, [row])
        points = self.collection.persons[row].keypoints.astype("<f4").tobytes()
        return {"row": row, "state": self.state(row), **self.counts()}, [
            points,
            arrays["errors"],
            arrays["means"],
            arrays["kinds"],
        ]

    def counts(self) -> dict:
        """How much is corrected by now, and whether there is a step to undo."""
        mended = [own for some in self.own.values() for own in some]
        return {
            "joints_corrected": sum(bool(own.joint) for own in mended),
            "persons_corrected": sum(bool(some) for some in self.own.values()),
            "persons_rejected": sum(not own.joint for own in mended),
            "undoable": len(self.history),
        }

    def table(self) -> dict:
        """What the page needs at its start."""
        states = {row: self.state(row) for row, mended in self.own.items() if mended}
        return {"states": states, "groups": exchange_groups(self.collection.skeleton), **self.counts()}


def exchange_groups(skeleton: Skeleton) -> dict[str, list[list[int]]]:
    """The pairs of joints whose sides are exchanged together: of the arms, of the legs and all."""
    words = {pair: skeleton.joints[pair[0]].lower() for pair in skeleton.flip_pairs}
    groups = {
        group: [list(pair) for pair, name in words.items() if any(word in name for word in limbs)]
        for group, limbs in LIMBS.items()
    }
    groups["all"] = [list(pair) for pair in skeleton.flip_pairs]
    return {group: pairs for group, pairs in groups.items() if pairs}


def _point(point: np.ndarray) -> corrections.Point:
    x, y, label = (float(value) for value in point)
    return (0.0, 0.0, MISSING) if label == MISSING else (x, y, int(label))
