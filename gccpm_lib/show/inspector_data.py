"""What the keypoint inspector shows, as plain data: errors of all persons, pictures, heatmaps, examples, marked labels.

Arrays leave here as little-endian bytes, pictures as JPEG, heatmaps as PNG. Coordinates are x right, y down in picture
pixels, pixel centres at integers.
"""

import base64
import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from gccpm_lib import geometry
from gccpm_lib.datasets.corrections import read_csv, to_csv
from gccpm_lib.datasets.records import DataError, Person, read_person_image
from gccpm_lib.evaluation import joint_errors
from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import UNSURE, Skeleton

Heatmaps = Callable[[Person], tuple[np.ndarray, np.ndarray]]  # as `PosePredictor.heatmaps`
ERROR_CAP = 4.0  # tolerances; so that one wild joint doesn't decide over a person alone
REPORT_SIDES = (640, 512, 416, 336, 272, 224, 176, 128)  # pixels of the longer side: the first that fits the limit
MARKED_COLUMNS = ["row", "name", "annotation_id"]  # row counts from 1, as in the label file


@dataclass(frozen=True, eq=False)
class Collection:
    """Persons with what was predicted for them; S named sets of predictions, N persons, K joints."""

    persons: list[Person]
    skeleton: Skeleton
    predictions: Mapping[str, np.ndarray]  # S names -> (N, K, 3): x, y, score; nan where nothing was detected
    errors: np.ndarray  # (S, N, K) float32 in tolerances, see joint_errors; nan not scored, inf not detected
    kinds: np.ndarray  # (S, N, K) int8: codes of joint_errors.KINDS or NOT_SCORED
    heatmaps: Heatmaps | None = None
    suspicions: Mapping[int, str] = field(default_factory=dict)  # row (from 0) -> what is suspicious about its labels
    video: Mapping | None = None  # of a video's frames: curves, jumps and titles, see `cli.inspect_video`

    @property
    def means(self) -> np.ndarray:
        """(S, N) float32: see `person_errors`."""
        return person_errors(self.errors)


def collect(
    persons: Sequence[Person],
    skeleton: Skeleton,
    predictions: np.ndarray | Mapping[str, np.ndarray] | None = None,
    heatmaps: Heatmaps | None = None,
    suspicious: pd.DataFrame | None = None,
) -> Collection:
    """Check and measure. predictions: (N, K, 3) x, y, score, or a dict of such arrays by name.

    suspicious: a table with the columns row (from 1), joint and problem, as `layouts.check_labels` gives it. ValueError for
    no person, for arrays of another shape and rows beyond the persons; DataError as `joint_errors.tolerances`.
    """
    if not len(persons):
        raise ValueError("no person to inspect; check the folder and the split")
    if predictions is None:
        predictions = {}
    elif not isinstance(predictions, Mapping):
        predictions = {"prediction": predictions}
    predictions = {str(name): np.asarray(found, np.float64) for name, found in predictions.items()}
    shape = (len(persons), skeleton.num_joints, 3)
    for name, found in predictions.items():
        if found.shape != shape:
            raise ValueError(f"{name}: predictions of shape {found.shape} instead of {shape}; predict these very persons")
    errors = np.full((len(predictions), *shape[:2]), np.nan, np.float32)
    kinds = np.full(errors.shape, joint_errors.NOT_SCORED, np.int8)
    told = suspicions(suspicious, len(persons))
    collection = Collection(list(persons), skeleton, predictions, errors, kinds, heatmaps, told)
    measure(collection, range(len(persons)))
    return collection


def measure(collection: Collection, rows: Sequence[int]) -> None:
    """Fill in errors and kinds of these persons; whoever has no label, as in pictures of one's own, isn't scored."""
    rows = list(rows)
    collection.errors[:, rows], collection.kinds[:, rows] = np.nan, joint_errors.NOT_SCORED
    rows = [row for row in rows if (collection.persons[row].keypoints[:, 2] > 0).any()]
    persons = [collection.persons[row] for row in rows]
    for number, found in enumerate(collection.predictions.values() if rows else ()):
        collection.errors[number, rows] = joint_errors.errors(persons, found[rows], collection.skeleton)
        collection.kinds[number, rows] = joint_errors.kinds(persons, found[rows], collection.skeleton)


def suspicions(table: pd.DataFrame | None, count: int) -> dict[int, str]:
    """Table (row from 1, joint, problem) -> row from 0 and all its problems in a line; ValueError for other rows."""
    told: dict[int, list[str]] = {}
    for row, joint, problem in (
        zip(table["row"], table["joint"], table["problem"], strict=True) if table is not None else ()
    ):
        if not 1 <= row <= count:
            raise ValueError(f"suspicious: row {row} of {count} persons; give the rows of these very persons")
        told.setdefault(int(row) - 1, []).append(f"{joint}: {problem}" if joint else str(problem))
    return {row: "; ".join(dict.fromkeys(problems)) for row, problems in told.items()}


def person_errors(errors: np.ndarray) -> np.ndarray:
    """Errors (..., K) in tolerances -> (...): mean over the scored joints, each capped at 4; nan where none is scored."""
    scored = ~np.isnan(errors)
    total, count = np.where(scored, np.minimum(errors, ERROR_CAP), 0).sum(axis=-1), scored.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)


# ------------------------------------------------------------------------------------------------ one message each


def table(collection: Collection, rows: Sequence[int]) -> tuple[dict, dict[str, bytes]]:
    """What sorting and filtering need of these persons: names and the skeleton, and arrays.

    Arrays: labels (n, K) uint8, errors and scores (S, n, K) float32, kinds (S, n, K) int8, means (S, n) float32.
    """
    skeleton, rows = collection.skeleton, list(rows)
    persons = [collection.persons[row] for row in rows]
    content = {
        "joints": list(skeleton.joints),
        "sides": [skeleton.side(joint) for joint in range(skeleton.num_joints)],
        "limbs": [list(limb) for limb in skeleton.limbs],
        "sets": list(collection.predictions),
        "rows": rows,
        "names": [collection.video["titles"][row] if collection.video else collection.persons[row].name for row in rows],
        "annotation_ids": [person.annotation_id for person in persons],
        "heatmaps": collection.heatmaps is not None,
        "kind_names": list(joint_errors.KINDS),
        "suspicions": {row: collection.suspicions[row] for row in rows if row in collection.suspicions},
        "unsure": collection.video["unsure"] if collection.video else UNSURE,
        "total": len(collection.persons),
        "video": collection.video,
    }
    scores = [found[rows, :, 2] for found in collection.predictions.values()]
    arrays = {
        "labels": np.array([person.keypoints[:, 2] for person in persons]).astype(np.uint8).tobytes(),
        "errors": np.ascontiguousarray(collection.errors[:, rows], "<f4").tobytes(),
        "means": np.ascontiguousarray(collection.means[:, rows], "<f4").tobytes(),
        "scores": np.array(scores, "<f4").tobytes(),
        "kinds": np.ascontiguousarray(collection.kinds[:, rows]).tobytes(),
    }
    return content, arrays


def picture(collection: Collection, row: int, side: int, quality: int = 85) -> tuple[dict, bytes, bytes]:
    """One person to draw: {frame, problem}, JPEG of the frame at most `side` pixels wide and high, joints.

    frame: x, y, width, height of the shown part in picture pixels (edges, not centres). Joints are float32 (1 + S, K, 3):
    the labels, then every set. A picture that can't be read gives no JPEG, a frame around the labels and the problem.
    """
    person = collection.persons[row]
    points = np.stack([person.keypoints, *(found[row] for found in collection.predictions.values())])
    joints = np.ascontiguousarray(points, "<f4").tobytes()
    try:
        image = read_person_image(person)
    except DataError as error:
        known = person.keypoints[person.keypoints[:, 2] > 0, :2]
        x, y = np.floor(known.min(axis=0)) - 10 if len(known) else (0, 0)
        width, height = np.ceil(np.ptp(known, axis=0)) + 20 if len(known) else (100, 100)
        return {"frame": [float(x), float(y), float(width), float(height)], "problem": str(error)}, b"", joints
    x, y, width, height = frame = _frame(person, image.shape[:2])
    shown = image[y : y + height, x : x + width]
    factor = min(1, side / max(width, height))
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return {"frame": list(frame), "problem": ""}, jpeg, joints


def _frame(person: Person, image: tuple[int, int]) -> tuple[int, int, int, int]:
    """x, y, width, height: what the network sees around a box, inside the picture (height, width); else all of it."""
    height, width = image
    try:
        x, y, w, h = geometry.grow_box(person.box, image)
    except (TypeError, ValueError):  # no box, or one that lies outside
        return 0, 0, width, height
    left, top = max(0, math.floor(x - w / 2)), max(0, math.floor(y - h / 2))
    right, bottom = min(width, math.ceil(x + w / 2)), min(height, math.ceil(y + h / 2))
    return left, top, right - left, bottom - top


def heatmap(collection: Collection, row: int) -> tuple[dict, bytes]:
    """One person's maps: {affine, size, peaks}, and a grey PNG of all K maps below each other.

    affine: the (2, 3) cell -> picture column by column, as a canvas takes it; size: cells across and down of one map;
    peaks: each map's highest value. Black is 0 and white 1, the height of a target, in every map of every person.
    """
    maps, affine = collection.heatmaps(collection.persons[row])
    grey = np.rint(255 * np.clip(maps, 0, 1)).astype(np.uint8).reshape(-1, maps.shape[2])
    png = cv2.imencode(".png", grey)[1].tobytes()
    size, peaks = [int(maps.shape[2]), int(maps.shape[1])], maps.max(axis=(1, 2)).astype(float).round(3)
    return {"affine": np.ravel(affine, "F").tolist(), "size": size, "peaks": peaks.tolist()}, png


# ------------------------------------------------------------------------------------------------ for a report


def examples(means: np.ndarray, count: int = 24) -> list[int]:
    """Persons' errors (N,) -> rows of a third worst, a third around the median, a third best, worst first.

    Persons without an error (nan) are left out; where nobody has one, rows are spread evenly.
    """
    order = np.argsort(-means, kind="stable")[: np.count_nonzero(~np.isnan(means))]  # nan sorts last
    if not len(order):
        return np.unique(np.linspace(0, len(means) - 1, count).astype(int)).tolist()
    if len(order) <= count:
        return order.tolist()
    third = count // 3
    middle = (len(order) - third) // 2
    return [*order[:third].tolist(), *order[middle : middle + third].tolist(), *order[len(order) - third :].tolist()]


def first_in_line(rows: list[int], suspicious: Sequence[int]) -> list[int]:
    """The same number of rows, of which up to half are suspicious ones, in front."""
    first = sorted(suspicious)[: max(len(rows) // 2, 1)]
    return first + [row for row in rows if row not in first][: len(rows) - len(first)]


def report_data(collection: Collection, limit_bytes: int = 700_000, count: int = 24) -> dict:
    """The inspector of a report: examples by the first set's errors with everything embedded, as JSON.

    Pictures shrink, then examples are left out, until the JSON text has at most limit_bytes. Of a video all rows are shown
    that have room.
    """
    count = len(collection.persons) if collection.video else count
    sides = iter(REPORT_SIDES)
    side = next(sides)
    while True:
        means = collection.means[0] if len(collection.means) else np.full(len(collection.persons), np.nan)
        rows = examples(means, count)
        rows = rows if collection.video else first_in_line(rows, collection.suspicions)
        data = _report_data(collection, rows, side)
        if len(json.dumps(data)) <= limit_bytes or count <= 3:
            return data
        side = next(sides, side)
        count -= max(3, count // 10) if side == REPORT_SIDES[-1] else 0


def _report_data(collection: Collection, rows: list[int], side: int) -> dict:
    content, arrays = table(collection, rows)
    shown = []
    for row in rows:
        about, jpeg, joints = picture(collection, row, side, quality=80)
        item = {**about, "jpeg": _text(jpeg), "joints": _text(joints)}
        if collection.heatmaps is not None:
            maps, png = heatmap(collection, row)
            item["heatmap"] = {**maps, "png": _text(png)}
        shown.append(item)
    return {**content, "arrays": {name: _text(data) for name, data in arrays.items()}, "examples": shown}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ------------------------------------------------------------------------------------------------ marked labels


def marked_csv_text(persons: Sequence[Person], rows: Sequence[int], others: Sequence[list[str]] = ()) -> str:
    """csv text of marked persons (rows from 0), after lines of other persons that are kept as they were."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # lines end in \r\n, so that both are quoted where a name has them
    writer.writerow(MARKED_COLUMNS)
    writer.writerows(others)
    writer.writerows([row + 1, *_key(persons[row])] for row in sorted(rows))
    return text.getvalue()


def write_marked(path: Path, persons: Sequence[Person], rows: Sequence[int], others: Sequence[list[str]] = ()) -> Path:
    """Write the csv file of `marked_csv_text`."""
    return write_beside(path, marked_csv_text(persons, rows, others))


def read_marked(path: Path, persons: Sequence[Person]) -> tuple[list[int], list[list[str]]]:
    """csv file -> rows (from 0) of the persons marked in it, and its lines about other persons; nothing if there is none.

    DataError for a file that isn't such a csv.
    """
    lines = read_csv(path, MARKED_COLUMNS, "marked labels")
    known = {tuple(_key(person)): row for row, person in enumerate(persons)}
    rows = {known[tuple(line[1:])] for line in lines if tuple(line[1:]) in known}
    return sorted(rows), [line for line in lines if tuple(line[1:]) not in known]


def _key(person: Person) -> list[str]:
    """Name and annotation id as the file has them; a name that a spreadsheet would compute gets a ' in front."""
    return [to_csv(person.name), "" if person.annotation_id is None else str(person.annotation_id)]
