"""The 1 euro filter against its formula, and each person of a video smoothed on its own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gccpm_lib.prediction.smoothing import one_euro, smooth

HALF = 1 / (2 * math.pi)  # seconds between samples at which a cutoff of 1 Hz weighs the new sample 1/2, 3 Hz 3/4


def filtered(values, times, **options) -> np.ndarray:
    state, found = None, []
    for value, time in zip(values, times, strict=True):
        state = one_euro(state, np.asarray(value, float), time, **options)
        found.append(state.value)
    return np.array(found)


def test_the_first_sample_stays_as_it_is():
    state = one_euro(None, np.array([3.0, -7.5]), 0.4)
    assert state.value.tolist() == [3, -7.5] and state.speed.tolist() == [0, 0]


@given(st.floats(-1e4, 1e4), st.floats(0, 100), st.floats(0.001, 10))
def test_a_constant_signal_stays_as_it_is(value, beta, interval):
    found = filtered([value] * 5, interval * np.arange(5), beta=beta)
    np.testing.assert_allclose(found, value, rtol=1e-12)


def test_the_second_sample_is_the_formulas():
    first = one_euro(None, np.array([0.0]), 0.0)
    at_rest = one_euro(first, np.array([10.0]), HALF, min_cutoff=1, beta=0, speed_cutoff=1)
    assert at_rest.value[0] == pytest.approx(5)
    assert at_rest.speed[0] == pytest.approx(10 * math.pi)  # half of 10 / HALF
    fast = one_euro(first, np.array([10.0]), HALF, min_cutoff=1, beta=2 / (10 * math.pi), speed_cutoff=1)  # 1 + 2 = 3 Hz
    assert fast.value[0] == pytest.approx(7.5)


def test_the_speed_is_measured_from_the_filtered_value_and_is_filtered_itself():
    times = (0, HALF, 2 * HALF)
    state = None
    for value, time in zip((0.0, 10.0, 10.0), times, strict=True):
        state = one_euro(state, np.array([value]), time, min_cutoff=1, beta=0, speed_cutoff=1)
    assert state.value[0] == pytest.approx(7.5)  # halfway from 5 to 10
    assert state.speed[0] == pytest.approx(10 * math.pi)  # half of (10 - 5) / HALF and half of 10 pi


def test_every_number_is_filtered_on_its_own():
    values = np.array([[[0.0, 1], [2, 3]], [[5, 1], [2, 9]]])
    found = filtered(values, (0, 0.1), beta=0.5)[1]
    for index in np.ndindex(2, 2):
        assert found[index] == pytest.approx(filtered(values[:, *index], (0, 0.1), beta=0.5)[1])


def test_lag_falls_with_beta_and_trembling_with_the_cutoff():
    times = np.arange(60) / 30
    lags = [100 * times[-1] - filtered(100 * times, times, beta=beta)[-1] for beta in (0, 0.01, 0.1)]
    assert lags[0] > 1.5 * lags[1] > 3 * lags[2] > 0
    noise = np.random.default_rng(0).normal(0, 1, 300)
    calm, lively = (filtered(noise, np.arange(300) / 30, beta=0, min_cutoff=cutoff)[50:].std() for cutoff in (0.5, 5))
    assert calm < lively < 1


def test_the_chosen_values_calm_a_joint_at_rest_and_follow_a_waving_arm():
    times, trembling = np.arange(500) / 25, np.random.default_rng(0).normal(0, 0.01, 500)
    wave = 0.2 * np.sin(2 * np.pi * times)
    for truth, least, most in ((0 * times, 0.003, 0.006), (wave, 0.0, 0.025)):
        errors = (filtered(truth + trembling, times) - truth)[25:]
        assert least < np.sqrt(np.mean(errors**2)) < most


@pytest.mark.parametrize("time", [1.0, 0.9])
def test_a_time_that_is_not_later_is_refused(time):
    with pytest.raises(ValueError, match="doesn't come after"):
        one_euro(one_euro(None, np.zeros(2), 1.0), np.zeros(2), time)


def pose(left: float, top: float, height=80.0) -> np.ndarray:
    """A head above a foot, and their scores."""
    return np.array([(left, top, 0.9), (left + 5, top + height, 0.4)])


def test_people_are_smoothed_by_their_numbers_in_whatever_order_they_come():
    people, first = smooth({}, [1, 2], np.array([pose(20, 0), pose(120, 0)]), 0.0)
    np.testing.assert_array_equal(first, [pose(20, 0), pose(120, 0)])
    moved = np.array([pose(130, 0), pose(30, 0), pose(300, 0)])
    people, found = smooth(people, [2, 1, 3], moved, 1 / 30)
    assert 120 < found[0, 0, 0] < 130 and 20 < found[1, 0, 0] < 30
    np.testing.assert_array_equal(found[2], moved[2])
    np.testing.assert_array_equal(found[:, :, 2], moved[:, :, 2])
    assert moved[0, 0, 0] == 130 and sorted(people) == [1, 2, 3]


def test_whoever_comes_back_goes_on_from_where_he_was():
    people, _ = smooth({}, [1], np.array([pose(20, 0)]), 0.0)
    people, nobody = smooth(people, [], np.zeros((0, 2, 3)), 1 / 30)
    assert nobody.shape == (0, 2, 3)
    _, found = smooth(people, [1], np.array([pose(30, 0)]), 2 / 30)
    assert 20 < found[0, 0, 0] < 30


def test_a_video_of_twice_the_size_is_smoothed_alike():
    rng, found = np.random.default_rng(0), {}
    steps = rng.normal(0, 4, (10, 2, 3))
    for scale in (1, 2):
        people, found[scale] = {}, []
        for number, step in enumerate(steps):
            poses = (pose(20, 0) + step)[None]
            people, smoothed = smooth(people, [1], poses * (scale, scale, 1), number / 25)
            found[scale].append(smoothed / (scale, scale, 1))
    np.testing.assert_allclose(found[1], found[2], rtol=1e-9)
