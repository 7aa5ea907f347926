"""Scores against how often they are right: groups and shares counted by hand."""

import numpy as np

from gccpm_lib.evaluation import reliability


def test_groups_are_equal_and_rise_with_the_score():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    errors = np.array([[0.5, 3.0], [2.0, 1.0], [0.9, 0.1], [1.1, 1.2], [np.nan, 0.3]])  # 9 scored joints
    table = reliability.by_score(errors, scores, groups=3)
    assert table["joints"].tolist() == [3, 3, 3]
    np.testing.assert_allclose(table["score"], [0.2, 0.5, 0.8])  # of 0.1 to 0.3, 0.4 to 0.6, 0.7 to 0.9
    np.testing.assert_allclose(table["found (%)"], [100 / 3, 200 / 3, 200 / 3])
    assert ((table["low"] <= table["found (%)"]) & (table["found (%)"] <= table["high"])).all()


def test_what_isnt_detected_or_scored_is_in_no_group():
    errors, scores = np.array([[np.inf, 0.2, np.nan]]), np.array([[np.nan, 0.7, 0.7]])
    table = reliability.by_score(errors, scores)
    assert table["joints"].tolist() == [1] and table[["found (%)", "low", "high"]].to_numpy().tolist() == [[100] * 3]
    assert not len(reliability.by_score(np.full((2, 3), np.nan), np.zeros((2, 3))))


def test_persons_of_one_image_are_drawn_together():
    """Two persons of one image are one draw: the interval is a point."""
    errors, scores = np.array([[0.0], [2.0]]), np.array([[0.5], [0.5]])
    (row,) = reliability.by_score(errors, scores, np.array([0, 0]), groups=1).itertuples(index=False)
    assert (row[2], row[3], row[4]) == (50, 50, 50)
    (row,) = reliability.by_score(errors, scores, np.array([0, 1]), groups=1).itertuples(index=False)
    assert (row[3], row[4]) == (0, 100)
