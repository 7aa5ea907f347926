"""Fast peaks against the published way of enlarging whole maps: the same pixel, always."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from gccpm_lib.prediction import peak_search
from gccpm_lib.prediction.peak_search import Term, enlarged_mean, fast_peaks, published_peaks


def window(side, size):
    """Where a picture of this size lies in the padded square: left, top, width, height."""
    factor = side / max(size)
    height, width = (max(1, round(factor * extent)) for extent in size)
    return (side - width) // 2, (side - height) // 2, width, height


def gaussians(rng, cells, joints, noise=0.01):
    """Maps of one or two bumps each, as a network makes them."""
    y, x = np.mgrid[:cells, :cells]
    maps = rng.normal(0, noise, (cells, cells, joints))
    for k in range(joints):
        for _ in range(rng.integers(1, 3)):
            cx, cy, sigma = *rng.uniform(0, cells, 2), rng.uniform(0.7, 2)
            maps[:, :, k] += rng.uniform(0.05, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return maps.astype(np.float32)


def random_terms(rng, joints=16):
    """Terms of one picture: one or two scales, perhaps mirrored, of bumps or of pure noise; and the picture's size."""
    size = tuple(rng.integers(20, 500, 2).tolist())
    terms = []
    for cells in rng.choice([4, 8, 12, 16, 32], rng.integers(1, 3), replace=False).tolist():
        for mirrored in (False, True)[: rng.integers(1, 3)]:
            noisy = rng.random() < 0.3
            maps = rng.normal(size=(cells, cells, joints)).astype(np.float32) if noisy else gaussians(rng, cells, joints)
            terms.append(Term(maps, window(8 * cells, size), mirrored))
    return terms, size


def assert_same(terms, size):
    fast, published = fast_peaks(terms, size), published_peaks(terms, size)
    np.testing.assert_array_equal(fast[:, :2], published[:, :2])
    np.testing.assert_allclose(fast[:, 2], published[:, 2], atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_same_pixel_as_published(seed):
    assert_same(*random_terms(np.random.default_rng(seed)))


@pytest.mark.slow
def test_same_pixel_as_published_on_thousands_of_maps():
    rng = np.random.default_rng(1)
    for _ in range(400):
        assert_same(*random_terms(rng))


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_flat_maps_have_their_peak_where_the_published_way_has_it(value):
    terms = [Term(np.full((8, 8, 3), value, np.float32), window(64, (50, 40)))]
    assert_same(terms, (50, 40))


def test_two_equal_peaks_are_decided_as_published():
    maps = np.zeros((16, 16, 2), np.float32)
    maps[3, 4, 0] = maps[12, 9, 0] = maps[3, 4, 1] = maps[3, 11, 1] = 1
    assert_same([Term(maps, window(128, (128, 128)))], (128, 128))
    assert_same([Term(maps, window(128, (300, 211)))], (300, 211))


def test_peak_in_the_corner_and_below_zero():
    maps = np.full((8, 8, 2), -1, np.float32)
    maps[0, 0, 0], maps[7, 7, 1] = 1, -0.5
    assert_same([Term(maps, window(64, (90, 70)))], (90, 70))


def test_extreme_shapes():
    rng = np.random.default_rng(0)
    for size in ((1, 300), (300, 1), (3, 3), (1080, 1920)):
        assert_same([Term(gaussians(rng, 32, 4), window(256, size))], size)


def test_whole_maps_are_seldom_needed(monkeypatch):
    """Or it wouldn't be fast: the published way is for the rare case that rounding decides."""
    calls, rng = [], np.random.default_rng(2)
    monkeypatch.setattr(peak_search, "published_peaks", lambda *a: calls.append(1) or published_peaks(*a))
    for _ in range(20):
        size = tuple(rng.integers(150, 500, 2).tolist())
        fast_peaks([Term(gaussians(rng, 32, 16), window(256, size))], size)
    assert len(calls) < 0.5 * 20


def test_a_bump_on_a_cell_is_found_at_its_middle():
    """Cell (5, 9) of a 256 pixel square covers pixels 40 to 47 down and 72 to 79 across."""
    maps = np.zeros((32, 32, 1), np.float32)
    maps[5, 9, 0] = 1
    x, y, value = fast_peaks([Term(maps, (0, 0, 256, 256))], (256, 256))[0]
    assert x in (75, 76) and y in (43, 44) and value == pytest.approx(1, abs=0.05)


def test_mirrored_maps_are_turned_back():
    rng = np.random.default_rng(3)
    maps = gaussians(rng, 16, 4)
    size = (100, 80)
    turned = [Term(maps[:, ::-1].copy(), window(128, size), mirrored=True)]
    np.testing.assert_allclose(enlarged_mean(turned, size), enlarged_mean([Term(maps, window(128, size))], size), atol=1e-5)


def test_a_picture_is_the_mean_of_its_terms():
    terms = [
        Term(np.full((cells, cells, 1), value, np.float32), window(8 * cells, (40, 40)), mirrored)
        for cells, value, mirrored in ((8, 1.0, False), (16, 3.0, False), (8, 8.0, True))
    ]
    assert enlarged_mean(terms, (40, 40))[20, 20, 0] == pytest.approx(4)


def test_numpys_own_threads_stand_still_during_the_search(monkeypatch):
    """They spin on after a product and slowed the next network call by up to two thirds."""
    counts = []
    monkeypatch.setattr(peak_search, "_fast_peaks", lambda *_: counts.append(openblas_threads()))
    before = openblas_threads()
    fast_peaks([], (8, 8))
    assert set(counts[0]) == {1} and openblas_threads() == before


def openblas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"]


def test_a_huge_picture_is_searched_smaller():
    """A photograph of 48 million pixels: the joints lie where the published way puts them, within a pixel's share."""
    maps = gaussians(np.random.default_rng(3), 32, 2, noise=0)
    terms = [Term(maps, window(256, (6000, 8000)))]
    small = published_peaks(terms, (1536, 2048))
    found = fast_peaks(terms, (6000, 8000))
    # 3.90625 pixels of the picture to one that was searched: x = (x' + 0.5) * 3.90625 - 0.5
    np.testing.assert_array_equal(found[:, :2], np.rint((small[:, :2] + 0.5) * 8000 / 2048 - 0.5))
    np.testing.assert_allclose(found[:, 2], small[:, 2], atol=1e-5)
    assert peak_search.limited((2048, 5)) == (2048, 5) and peak_search.limited((3, 4096)) == (2, 2048)
