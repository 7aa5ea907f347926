"""The bootstrap's draws: the same whatever the chunks, and their sums."""

import numpy as np
import pytest
from conftest import person

from gccpm_lib.evaluation import bootstrap


@pytest.mark.parametrize("chunk", [1, 7, 35, 2_000_000])
def test_chunks_dont_change_the_draws(monkeypatch, chunk):
    monkeypatch.setattr(bootstrap, "CHUNK", chunk)
    chunks = list(bootstrap.draws(7, repeats=12, seed=3))
    assert all(part.size <= max(chunk, 7) for part in chunks)
    at_once = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=12)
    np.testing.assert_array_equal(np.concatenate(chunks), at_once)


def test_sums_are_those_of_the_drawn_items():
    values = np.array([[1, 0], [0, 1], [10, 5]])
    counts = np.concatenate(list(bootstrap.draws(3, repeats=50, seed=0)))
    assert (counts.sum(axis=1) == 3).all()
    expected = [[row[0] + 10 * row[2], row[1] + 5 * row[2]] for row in counts.tolist()]
    np.testing.assert_array_equal(bootstrap.sums(values, repeats=50, seed=0), expected)


def test_the_image_of_a_person_is_told_by_its_name():
    """LIP: <image>_<person>.jpg. Other names, and every picture of COCO's layout, stand for themselves."""
    lip = [person([], path=f"images/{name}") for name in ("7_1.jpg", "8_2.jpg", "7_3.jpg", "im_1.jpg", "im_2.jpg", "9.jpg")]
    assert bootstrap.images_of(lip).tolist() == [0, 1, 0, 2, 3, 4]
    coco = [person([], (0, 0, 5, 5), path=path) for path in ("1_1.jpg", "1_2.jpg", "1_1.jpg")]
    assert bootstrap.images_of(coco).tolist() == [0, 1, 0]


def test_an_image_is_drawn_with_all_its_persons():
    values, images = np.array([[1], [10], [100]]), np.array([0, 1, 0])
    counts = np.concatenate(list(bootstrap.draws(2, repeats=50, seed=0)))  # two images, of 101 and of 10
    np.testing.assert_array_equal(bootstrap.sums(values, 50, 0, images)[:, 0], counts @ [101, 10])


def test_p_value_by_hand():
    """Of 99 draws 2 lie at or below zero: 2 x 3 / 100; where all draws are zero there is nothing to tell apart."""
    assert bootstrap.p_value(np.array([1.0] * 97 + [0.0, -1.0])) == pytest.approx(0.06)
    assert bootstrap.p_value(-np.ones(99)) == pytest.approx(0.02)
    assert bootstrap.p_value(np.zeros(99)) == 1


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 are taken 4, 3, 2 and 1 times, and none is smaller than the one before."""
    assert bootstrap.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert bootstrap.holm([0.5, np.nan, 0.001])[[0, 2]] == pytest.approx([0.5, 0.002])
    assert np.isnan(bootstrap.holm([0.5, np.nan])[1]) and bootstrap.holm([0.9, 0.9]).tolist() == [1, 1]
