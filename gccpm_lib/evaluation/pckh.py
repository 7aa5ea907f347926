"""Evaluation: PCKh for LIP with confidence intervals, and COCO average precision of files. All scores in percent.

PCKh@0.5 counts a joint as found when it lies within half the head size |head top - neck| of the truth (Andriluka et al.,
CVPR 2014, as LIP uses it). Occluded joints count; missing ones don't; persons without a head size aren't scored.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gccpm_lib.datasets.coco_labels import read_json
from gccpm_lib.datasets.coco_skeletons import file_sigmas
from gccpm_lib.datasets.lip import read_annotations, read_predictions
from gccpm_lib.datasets.picture_names import near_miss
from gccpm_lib.datasets.records import DataError
from gccpm_lib.evaluation import bootstrap
from gccpm_lib.evaluation.average_precision import Matches, match, scores
from gccpm_lib.evaluation.coco_matching import labelled_category
from gccpm_lib.skeletons import COCO, LIP, SHARED_LIMBS

HEAD_TOP, NECK = LIP.joints.index("head_top"), LIP.joints.index("neck")
PAIRS = {  # columns of the paper's table that are the mean of two joints' percentages, however often each is labelled
    "Head": (8, 9), "Sho.": (12, 13), "Elb.": (11, 14), "Wri.": (10, 15), "Hip": (2, 3), "Knee": (1, 4), "Ank.": (0, 5),
}  # fmt: skip
AVERAGE = (*range(6), *range(8, 16))  # neither pelvis nor spine
POOLED = {"U.Body": tuple(range(8, 16)), "Avg.": AVERAGE}  # columns that count every joint of every person once
LIMB_JOINTS = tuple(LIP.find(side, limb) for limb in SHARED_LIMBS for side in ("right", "left"))


def normalised_distances(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances in head sizes, (N, 16) float64, nan where a joint or its person isn't scored.

    truth (N, 16, 3): x, y, label > 0 where labelled. found (N, 16, >=2): x, y; nan or negative values count as 1, each
    on its own, as the published scoring does.
    """
    truth, found = np.asarray(truth, np.float64), np.asarray(found, np.float64)[:, :, :2]
    found = np.where(found >= 0, found, 1.0)  # nan compares false
    head = np.linalg.norm(truth[:, HEAD_TOP, :2] - truth[:, NECK, :2], axis=1)
    scored = (truth[:, HEAD_TOP, 2] > 0) & (truth[:, NECK, 2] > 0) & (head > 0)
    scored = scored[:, None] & (truth[:, :, 2] > 0)
    distance = np.linalg.norm(found - truth[:, :, :2], axis=2)
    return np.divide(distance, head[:, None], out=np.full_like(distance, np.nan), where=scored)


def pckh(distances: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Distances (N, 16) in head sizes, nan where not scored -> the paper's columns in percent.

    Pair columns are the mean of their two joints' percentages; U.Body and Avg. pool joint instances, not columns. A column
    is nan where one of its two joints, or all of its joints, are never scored.
    """
    hits, scored = (distances <= threshold).sum(axis=0), (~np.isnan(distances)).sum(axis=0)
    return {name: float(value) for name, value in _columns(hits, scored).items()}


def _columns(hits: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """Per-joint counts (..., 16) -> columns; each value has the leading shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = 100 * hits / scored
        pairs = {name: percent[..., list(joints)].mean(-1) for name, joints in PAIRS.items()}
        pooled = {name: 100 * hits[..., list(j)].sum(-1) / scored[..., list(j)].sum(-1) for name, j in POOLED.items()}
    return pairs | pooled


def joint_pckh(distances: np.ndarray, joints=LIMB_JOINTS, threshold: float = 0.5) -> float:
    """Percent of the scored instances of these joints within the threshold, pooled."""
    distances = distances[:, list(joints)]
    scored = ~np.isnan(distances)
    return float(100 * (distances[scored] <= threshold).mean()) if scored.any() else float("nan")


def pckh_intervals(
    distances: np.ndarray, threshold=0.5, repeats=1000, seed=0, level=0.95, images: np.ndarray | None = None
) -> dict[str, tuple]:
    """Bootstrap interval (low, high) of every column, nan as in `pckh`: images are drawn with replacement.

    images (N,): each person's, as `bootstrap.images_of` gives it; None: every person has one of their own.
    """
    if not len(distances):
        return {}
    both = np.concatenate([distances <= threshold, ~np.isnan(distances)], axis=1)
    columns = _columns(*np.split(bootstrap.sums(both, repeats, seed, images), 2, axis=1))
    edges = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
    known = {name: values[~np.isnan(values)] for name, values in columns.items()}  # draws with instances of the column
    return {
        name: tuple(np.percentile(values, edges).tolist()) if len(values) else (np.nan, np.nan)
        for name, values in known.items()
    }


def paired_interval(
    distances: np.ndarray,
    baseline: np.ndarray,
    joints=AVERAGE,
    threshold=0.5,
    repeats=1000,
    seed=0,
    level=0.95,
    images=None,
) -> tuple[float, float, float]:
    """Difference of two pooled scores of the same persons and its bootstrap interval: (difference, low, high).

    Both arrays are (N, 16); every draw of images is the same for both. images as in `pckh_intervals`.
    """
    difference, drawn = paired_draws(distances, baseline, joints, threshold, repeats, seed, images)
    low, high = np.nanpercentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return difference, float(low), float(high)


def paired_draws(
    distances: np.ndarray, baseline: np.ndarray, joints=AVERAGE, threshold=0.5, repeats=1000, seed=0, images=None
) -> tuple[float, np.ndarray]:
    """What `paired_interval` goes by: the difference, and its value in every draw (repeats,)."""
    joints = list(joints)
    gain = ((distances <= threshold).astype(int) - (baseline <= threshold))[:, joints].sum(axis=1)
    scored = (~np.isnan(distances))[:, joints].sum(axis=1)
    gains, counts = bootstrap.sums(np.stack([gain, scored], axis=1), repeats, seed, images).T
    return float(100 * gain.sum() / scored.sum()), 100 * gains / counts


def pckh_curve(distances: np.ndarray, thresholds: np.ndarray, column: str = "Avg.") -> np.ndarray:
    """A column's percent at every threshold (in head sizes)."""
    return np.array([pckh(distances, threshold)[column] for threshold in thresholds])


def match_predictions(truth_csv: str | Path, predictions_csv: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, truth (N, 16, 3) and predictions (N, 16, 2) matched by file name, in the order of the truth.

    A picture without a prediction row is a DataError that names it; predictions of other pictures are left out.
    """
    names, truth = read_annotations(truth_csv)
    predicted_names, found = read_predictions(predictions_csv)
    rows = {name: row for row, name in enumerate(predicted_names)}
    absent = [name for name in names if name not in rows]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        near = near_miss(absent[0], rows)
        raise DataError(f"{predictions_csv}: no row for {absent[0]}{near}{more} of {truth_csv}; predict every picture")
    return names, truth, found[[rows[name] for name in names]]


def evaluate_lip(truth_csv: str | Path, predictions_csv: str | Path) -> dict[str, float]:
    """PCKh@0.5 of a prediction file: Head Sho. Elb. Wri. Hip Knee Ank. U.Body Avg. in percent."""
    _, truth, found = match_predictions(truth_csv, predictions_csv)
    return pckh(normalised_distances(truth, found))


def evaluate_coco(truth_json: str | Path, results_json: str | Path, sigmas=None) -> dict[str, float]:
    """Keypoint AP and AR of a COCO results file in percent: AP AP50 AP75 APM APL AR AR50 AR75 ARM ARL.

    Crowds and persons without keypoints aren't scored. Say beside an AP where its boxes came from and whether it is with
    flip. A score without an instance is nan. sigmas and errors as in `match_coco`.
    """
    return scores(match_coco(truth_json, results_json, sigmas))


def match_coco(truth_json: str | Path, results_json: str | Path, sigmas=None) -> Matches:
    """Read and match a COCO annotation file and a results file, for scores, intervals and curves.

    sigmas (K,): OKS constants; by default the truth's own (its category's "sigmas"), else COCO's by the joints' names.
    Raises DataError for a file that can't be read, no result at all, and whatever `match` refuses.
    """
    truth, results = read_json(truth_json), read_json(results_json)
    if sigmas is None:
        sigmas = _file_sigmas(truth_json, labelled_category(truth, str(truth_json)))
    return match(truth, results, sigmas, names=(str(truth_json), str(results_json)))


def _file_sigmas(truth_json: str | Path, category: dict) -> Sequence[float] | None:
    """OKS constants of a file's joints; None stands for COCO's."""
    own = category.get("sigmas") or category.get("keypoint_sigmas")
    if not category.get("keypoints"):
        return own
    if not own and category["keypoints"] == list(COCO.joints):
        return None  # known without reading a large file again
    return file_sigmas(truth_json, category)
