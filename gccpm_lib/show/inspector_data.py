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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib import geometry
from gccpm_lib.datasets.records import DataError, Person, read_person_image
from gccpm_lib.evaluation import joint_errors
from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import Skeleton

Heatmaps = Callable[[Person], tuple[np.ndarray, np.ndarray]]  # as `PosePredictor.heatmaps`
ERROR_CAP = 4.0  # tolerances; so that one wild joint doesn't decide over a person alone
REPORT_SIDES = (640, 512, 416, 336, 272, 224, 176, 128)  # pixels of the longer side: the first that fits the limit
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")  # and ' itself, so that two names never become one
MARKED_COLUMNS = ["row", "name", "annotation_id"]  # row counts from 1, as in the label file


@dataclass(frozen=True, eq=False)
class Collection:
    """Persons with what was predicted for them; S named sets of predictions, N persons, K joints."""

    persons: Sequence[Person]
    skeleton: Skeleton
    predictions: Mapping[str, np.ndarray]  # S names -> (N, K, 3): x, y, score; nan where nothing was detected
    errors: np.ndarray  # (S, N, K) float32 in tolerances, see joint_errors; nan not scored, inf not detected
    heatmaps: Heatmaps | None = None

    @property
    def means(self) -> np.ndarray:
        """(S, N) float32: see `person_errors`."""
        return person_errors(self.errors)


def collect(
    persons: Sequence[Person],
    skeleton: Skeleton,
    predictions: np.ndarray | Mapping[str, np.ndarray] | None = None,
    heatmaps: Heatmaps | None = None,
) -> Collection:
    """Check and measure. predictions: (N, K, 3) x, y, score, or a dict of such arrays by name.

    ValueError for no person and for arrays of another shape; DataError as `joint_errors.tolerances`.
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
    errors = [joint_errors.errors(persons, found, skeleton) for found in predictions.values()]
    return Collection(persons, skeleton, predictions, np.array(errors, np.float32).reshape(-1, *shape[:2]), heatmaps)


def person_errors(errors: np.ndarray) -> np.ndarray:
    """Errors (..., K) in tolerances -> (...): mean over the scored joints, each capped at 4; nan where none is scored."""
    scored = ~np.isnan(errors)
    total, count = np.where(scored, np.minimum(errors, ERROR_CAP), 0).sum(axis=-1), scored.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)


# ------------------------------------------------------------------------------------------------ one message each


def table(collection: Collection, rows: Sequence[int]) -> tuple[dict, dict[str, bytes]]:
    """What sorting and filtering need of these persons: names and the skeleton, and arrays.

    Arrays: labels (n, K) uint8, errors (S, n, K) and means (S, n) float32.
    """
    skeleton, rows = collection.skeleton, list(rows)
    persons = [collection.persons[row] for row in rows]
    content = {
        "joints": list(skeleton.joints),
        "sides": [skeleton.side(joint) for joint in range(skeleton.num_joints)],
        "limbs": [list(limb) for limb in skeleton.limbs],
        "sets": list(collection.predictions),
        "rows": rows,
        "names": [person.name for person in persons],
        "annotation_ids": [person.annotation_id for person in persons],
        "heatmaps": collection.heatmaps is not None,
        "total": len(collection.persons),
    }
    arrays = {
        "labels": np.array([person.keypoints[:, 2] for person in persons]).astype(np.uint8).tobytes(),
        "errors": np.ascontiguousarray(collection.errors[:, rows], "<f4").tobytes(),
        "means": np.ascontiguousarray(collection.means[:, rows], "<f4").tobytes(),
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
    """One person's maps: {affine, size}, and a grey PNG of all K maps below each other.

    affine: the (2, 3) cell -> picture column by column, as a canvas takes it; size: cells across and down of one map.
    Each map is scaled to its own peak (0.1 at least, so that noise stays dark).
    """
    maps, affine = collection.heatmaps(collection.persons[row])
    peaks = maps.max(axis=(1, 2))
    scaled = np.clip(maps / np.maximum(peaks, 0.1)[:, None, None], 0, 1)
    png = cv2.imencode(".png", (255 * scaled).astype(np.uint8).reshape(-1, maps.shape[2]))[1].tobytes()
    size = [int(maps.shape[2]), int(maps.shape[1])]
    return {"affine": np.ravel(affine, "F").tolist(), "size": size}, png


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


def report_data(collection: Collection, limit_bytes: int = 700_000, count: int = 24) -> dict:
    """The inspector of a report: examples by the first set's errors with everything embedded, as JSON.

    Pictures shrink, then examples are left out, until the JSON text has at most limit_bytes.
    """
    sides = iter(REPORT_SIDES)
    side = next(sides)
    while True:
        means = collection.means[0] if len(collection.means) else np.full(len(collection.persons), np.nan)
        data = _report_data(collection, examples(means, count), side)
        if len(json.dumps(data)) <= limit_bytes or count <= 3:
            return data
        side = next(sides, side)
        count -= 3 if side == REPORT_SIDES[-1] else 0


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
    if not path.exists():
        return [], []
    try:
        lines = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable csv file ({error}); remove it or give another marked_csv") from error
    if not lines or lines[0] != MARKED_COLUMNS or any(len(line) != 3 for line in lines):
        raise DataError(f"{path}: no list of marked labels ({','.join(MARKED_COLUMNS)}); give another marked_csv")
    known = {tuple(_key(person)): row for row, person in enumerate(persons)}
    rows = {known[tuple(line[1:])] for line in lines[1:] if tuple(line[1:]) in known}
    return sorted(rows), [line for line in lines[1:] if tuple(line[1:]) not in known]


def _key(person: Person) -> list[str]:
    """Name and annotation id as the file has them; a name that a spreadsheet would compute gets a ' in front."""
    name = f"'{person.name}" if person.name.startswith(FORMULA_STARTS) else person.name
    return [name, "" if person.annotation_id is None else str(person.annotation_id)]
