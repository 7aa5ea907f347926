"""COCO keypoint scores: AP and AR in percent with bootstrap intervals, precision curves, and which persons were found.

Matching is pycocotools' (see coco_matching). Averaging is written here a second time, with a weight for every image,
because a bootstrap averages a thousand times over images drawn anew; with every weight 1 it gives pycocotools' numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from gccpm_lib.evaluation import bootstrap
from gccpm_lib.evaluation.coco_matching import ALL, LARGE, MEDIUM, Matches
from gccpm_lib.evaluation.coco_matching import match as match  # also offered here

COCO_SCORES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the OKS
RECALLS = np.linspace(0, 1, 101)  # where precision is read
_PARTS = {  # end of a score's name -> its area range and thresholds
    "": (ALL, slice(None)), "50": (ALL, [0]), "75": (ALL, [5]), "M": (MEDIUM, slice(None)), "L": (LARGE, slice(None)),
}  # fmt: skip


def scores(matches: Matches, weights: np.ndarray | None = None) -> dict[str, float]:
    """COCO_SCORES in percent, as pycocotools; nan where no person is of that size.

    weights (I,) whole numbers: how often every image counts; once by default.
    """
    weights = np.ones(len(matches.image_ids), int) if weights is None else weights
    return {name: float(values[0]) for name, values in _weighted_scores(matches, COCO_SCORES, [weights]).items()}


def intervals(matches: Matches, repeats=1000, seed=0, level=0.95) -> dict[str, tuple[float, float]]:
    """Bootstrap interval (low, high) of every score: images are drawn with replacement.

    Repeated images make the precision a little better where scores rank badly: in few images the middle of an AP's
    interval can lie above the AP. nan for a size that no person has.
    """
    drawn = _weighted_scores(matches, COCO_SCORES, _draw(matches, repeats, seed))
    return {name: _percentiles(values, level) for name, values in drawn.items()}


def paired_interval(
    matches: Matches, baseline: Matches, name="AP", repeats=1000, seed=0, level=0.95
) -> tuple[float, float, float]:
    """Gain of a score over the baseline's and its bootstrap interval: (difference, low, high).

    Every draw of images is the same for both; ValueError when they aren't of the same images.
    """
    if not np.array_equal(matches.image_ids, baseline.image_ids):
        raise ValueError("matches and baseline are not of the same images")
    drawn, baseline_drawn = (_weighted_scores(m, (name,), _draw(m, repeats, seed))[name] for m in (matches, baseline))
    return scores(matches)[name] - scores(baseline)[name], *_percentiles(drawn - baseline_drawn, level)


def precision_curves(matches: Matches, thresholds=(0.5, 0.75, 0.9)) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Recalls (101,) 0 to 1, and for every OKS threshold the precision (101,) in percent; persons of all sizes."""
    unknown = [value for value in thresholds if not np.isclose(THRESHOLDS, value).any()]
    if unknown:
        raise ValueError(f"threshold {unknown[0]} is not one of COCO's: {THRESHOLDS.round(2).tolist()}")
    once, curves = np.ones(len(matches.image_ids), int), {}
    for value in thresholds:
        counted = _counted(matches, ALL, int(np.isclose(THRESHOLDS, value).argmax()))
        curves[value] = 100 * _curve(*counted, once, matches.persons[ALL].sum())[0]
    return RECALLS, curves


def _draw(matches: Matches, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """`repeats` rows (I,): how often every image is drawn."""
    return (row for chunk in bootstrap.draws(len(matches.image_ids), repeats, seed) for row in chunk)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]  # draws without a person of that size
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _weighted_scores(matches: Matches, names, weights: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Scores (R,) in percent for each of R rows of image weights (I,)."""
    areas = {_PARTS[name[2:]][0] for name in names}
    counted = {area: [_counted(matches, area, t) for t in range(len(THRESHOLDS))] for area in areas}
    values = []
    for times in weights:
        means = {}
        for area, detections in counted.items():
            persons = times @ matches.persons[area]
            precisions, recalls = zip(*(_curve(*one, times, persons) for one in detections), strict=True)
            means["AP", area], means["AR", area] = np.array(precisions).mean(axis=1), np.array(recalls)
        values.append([100 * means[name[:2], _PARTS[name[2:]][0]][_PARTS[name[2:]][1]].mean() for name in names])
    return dict(zip(names, np.array(values, np.float64).reshape(-1, len(names)).T, strict=True))


def _counted(matches: Matches, area: int, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections that aren't ignored: their images and whether each has found a person."""
    kept = ~matches.ignored[area, threshold]
    return matches.images[kept], matches.matched[area, threshold][kept]


def _curve(images: np.ndarray, right: np.ndarray, weights: np.ndarray, persons: int) -> tuple[np.ndarray, float]:
    """Precision at the 101 recalls and the final recall, 0 to 1, each detection counting as often as its image.

    The precision at a recall is the best at that recall or above; it can only peak at a right detection, so the wrong
    ones are left out after counting.
    """
    if not persons:
        return np.full(len(RECALLS), np.nan), np.nan
    times = weights[images]
    found, all_so_far = times[right].cumsum(), times.cumsum()[right]
    precision = found / (all_so_far + np.spacing(1))
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # 0 beyond the final recall
    recall = found / persons
    return best[np.searchsorted(recall, RECALLS)], recall[-1] if len(recall) else 0.0


def person_oks(truth: np.ndarray, found: np.ndarray, areas: np.ndarray, sigmas) -> np.ndarray:
    """OKS (N,) of aligned pairs: truth (N, K, 3), found (N, K, >=2), areas (N,) in square pixels, sigmas (K,).

    nan for a person without a labelled joint; a predicted joint that is nan counts as infinitely far.
    """
    truth, found, areas = (np.asarray(values, np.float64) for values in (truth, found, areas))
    squares = ((found[:, :, :2] - truth[:, :, :2]) ** 2).sum(axis=2)
    exponents = squares / (2 * np.asarray(sigmas)) ** 2 / (areas[:, None] + np.spacing(1)) / 2
    labelled = truth[:, :, 2] > 0
    total = np.where(labelled & ~np.isnan(exponents), np.exp(-exponents), 0).sum(axis=1)
    count = labelled.sum(axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def match_persons(truth_keypoints, areas, image_ids, found, found_image_ids, found_scores, sigmas) -> np.ndarray:
    """Index of every labelled person's prediction, (N,) int, -1 without one.

    Predictions choose in order of falling score: each takes the free person of its image with the highest OKS, if that
    is at least 0.1. truth_keypoints (N, K, 3), areas (N,), image_ids (N,); found (M, K, >=2) and its ids and scores (M,).
    """
    truth_keypoints, areas, found = np.asarray(truth_keypoints), np.asarray(areas), np.asarray(found)
    taken, free = np.full(len(truth_keypoints), -1), defaultdict(list)
    for person, image_id in enumerate(image_ids):
        free[image_id].append(person)
    for row in np.argsort(-np.asarray(found_scores, np.float64), kind="stable"):
        rivals = free[found_image_ids[row]]
        if not rivals:
            continue
        similarity = person_oks(truth_keypoints[rivals], found[[row] * len(rivals)], areas[rivals], sigmas)
        best = int(np.nan_to_num(similarity, nan=-1).argmax())
        if similarity[best] >= 0.1:
            taken[rivals.pop(best)] = row
    return taken
