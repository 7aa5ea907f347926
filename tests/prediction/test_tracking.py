"""Who is who in a video: greatest overlaps go on, short gaps are bridged, numbers are never given twice."""

import numpy as np
import pytest

from gccpm_lib.prediction.tracking import MAX_GAP, MIN_OVERLAP, Tracks, follow, overlap


def numbered(frames, rate=10.0) -> list[list[int]]:
    """Boxes of every frame -> their numbers."""
    tracks, found = Tracks(), []
    for index, boxes in enumerate(frames):
        tracks, numbers = follow(tracks, np.array(boxes, float).reshape(-1, 4), index / rate)
        found.append(numbers)
    return found


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 20)) == pytest.approx(50 / 250)
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == overlap((0, 0, 10, 10), (30, 40, 5, 5)) == 0


def test_people_keep_their_numbers_in_whatever_order_they_come():
    a, b = (0, 0, 40, 80), (100, 0, 40, 80)
    assert numbered([[a, b], [b, a], [(102, 0, 40, 80), (300, 0, 40, 80), (3, 0, 40, 80)]]) == [[1, 2], [2, 1], [2, 3, 1]]


def test_the_greatest_overlap_goes_on_and_the_other_is_new():
    boxes = (15, 0, 40, 80), (1, 0, 40, 80)
    assert overlap(*boxes) > MIN_OVERLAP
    assert numbered([[(0, 0, 40, 80)], boxes]) == [[1], [2, 1]]


def test_a_gap_of_up_to_a_second_is_bridged_and_a_longer_one_not():
    box = (0, 0, 40, 80)
    assert MAX_GAP == 1.0
    assert numbered([[box], *[[]] * 9, [box]]) == [[1], *[[]] * 9, [1]]
    assert numbered([[box], *[[]] * 10, [box]]) == [[1], *[[]] * 10, [2]]


def test_who_walks_on_while_hidden_is_known_where_he_must_be_by_then():
    """10 pixels a frame, half a second hidden: 60 pixels on, where his last box doesn't reach."""
    walk = [[(10 * index, 0, 40, 80)] for index in range(8)]
    hidden = [*walk, *[[]] * 5, [(130, 0, 40, 80)]]
    assert overlap((70, 0, 40, 80), (130, 0, 40, 80)) == 0
    assert numbered(hidden)[-1] == [1]


def test_a_number_is_never_given_twice():
    assert numbered([[(0, 0, 9, 9)], *[[]] * 20, [(500, 0, 9, 9)], *[[]] * 20, [(0, 0, 9, 9)]])[-1] == [3]
