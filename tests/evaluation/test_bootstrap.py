"""The bootstrap's draws: the same whatever the chunks, and their sums."""

import numpy as np
import pytest

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
