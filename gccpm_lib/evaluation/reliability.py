"""Reliability: a joint's score, the height of its peak, against how often the joint is right."""

import numpy as np
import pandas as pd

from gccpm_lib.evaluation import bootstrap


def by_score(
    errors: np.ndarray, scores: np.ndarray, images: np.ndarray | None = None, groups: int = 10, repeats=1000, seed: int = 0
) -> pd.DataFrame:
    """Scored joints in order of their score, cut into equal groups: a row each, the lowest scores first.

    errors (N, K) in tolerances, nan where a joint isn't scored; scores (N, K); images as in `pckh.pckh_intervals`. Columns:
    joints, score (their mean), found (%) with the middle 95 % of the bootstrap over images (low, high).
    """
    known = ~np.isnan(errors) & np.isfinite(scores)
    group = np.full(errors.shape, -1)
    ranks = np.argsort(np.argsort(scores[known], kind="stable"), kind="stable")
    group[known] = ranks * groups // max(len(ranks), 1)
    rows = {}
    for number in np.unique(group[known]):
        inside, right = group == number, (group == number) & (errors <= 1)
        hits, count = bootstrap.sums(np.stack([right.sum(axis=1), inside.sum(axis=1)], axis=1), repeats, seed, images).T
        shares = 100 * hits[count > 0] / count[count > 0]
        low, high = np.percentile(shares, [2.5, 97.5])
        rows[number] = inside.sum(), scores[inside].mean(), 100 * right.sum() / inside.sum(), low, high
    columns = ["joints", "score", "found (%)", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"joints": int})
