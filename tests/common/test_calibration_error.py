"""A perfect forecaster has calibration error near 0 and an ECE that only measures sample size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.calibration_error import (
    NOISE_QUANTILE,
    NOISE_SIMULATIONS,
    calibration_error,
    calibration_noise,
    cox,
    equal_mass_bins,
    expected_calibration_error,
    murphy,
    null_calibration_error,
    reliability_bins,
)


def _perfect(rng, n, shape=1.0):
    p = rng.beta(shape, shape, n)
    return p, (rng.random(n) < p).astype(float)


@pytest.mark.parametrize(
    ("windows", "expected"), [(60, 0.126), (100, 0.101), (500, 0.044), (5_000, 0.014)]
)
def test_perfect_forecaster_shows_the_known_null_ece(windows, expected):
    rng = np.random.default_rng(windows)
    repeats = 300 if windows <= 500 else 60
    found = np.mean(
        [
            expected_calibration_error(*_perfect(rng, windows), weight=np.ones(windows))
            for _ in range(repeats)
        ]
    )
    assert found == pytest.approx(expected, rel=0.08)


def test_simulated_null_matches_the_mean_ece_of_perfect_forecasters():
    rng = np.random.default_rng(2)
    p, _ = _perfect(rng, 400)
    weight = np.ones(400)
    observed = np.mean(
        [
            expected_calibration_error(p, (rng.random(400) < p).astype(float), weight=weight)
            for _ in range(200)
        ]
    )
    null = null_calibration_error(p, weight=weight, window=np.arange(400), rng=rng)
    assert null == pytest.approx(observed, rel=0.08)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 2.0))
def test_calibration_error_of_a_perfect_forecaster_is_near_zero(seed, shape):
    p, y = _perfect(np.random.default_rng(seed), 4_000, shape)
    error = calibration_error(p, y, weight=np.ones(4_000), block=np.arange(4_000) // 4)
    # Ten gaps of standard error 0.02: 0.05 needs a chi-square of 72 on 10, one seed in 1e11. A
    # tighter bound would be a quantile, which a search over seeds is sure to find its way past.
    assert error < 0.05


def test_half_of_all_perfect_forecasters_show_next_to_no_calibration_error():
    rng = np.random.default_rng(12)
    errors = []
    for _ in range(200):
        p, y = _perfect(rng, 4_000)
        errors.append(calibration_error(p, y, weight=np.ones(4_000), block=np.arange(4_000) // 4))
    assert np.quantile(errors, 0.5) < 0.006
    assert np.quantile(errors, 0.95) < 0.028


def test_squared_calibration_error_is_unbiased_where_raw_ece_is_not():
    rng = np.random.default_rng(4)
    errors, raw = [], []
    for _ in range(150):
        p, y = _perfect(rng, 100)
        errors.append(calibration_error(p, y, weight=np.ones(100), block=np.arange(100) // 2))
        raw.append(expected_calibration_error(p, y, weight=np.ones(100)))
    assert np.median(errors) < 0.05 < np.median(raw)


def test_a_known_shift_is_found_whatever_the_sample_size():
    rng = np.random.default_rng(5)
    p = rng.uniform(0.2, 0.8, 20_000)
    y = (rng.random(20_000) < p + 0.1).astype(float)
    error = calibration_error(p, y, weight=np.ones(20_000), block=np.arange(20_000) // 4)
    assert error == pytest.approx(0.1, abs=0.01)


def test_a_bin_seen_in_one_block_counts_as_no_error():
    p, y = np.full(50, 0.5), np.ones(50)
    assert calibration_error(p, y, weight=np.ones(50), block=np.zeros(50, int)) == 0.0


def test_correlated_blocks_do_not_pass_for_miscalibration():
    """Forty windows that fall together in each hour are one outcome, not forty."""
    rng = np.random.default_rng(8)
    block = np.repeat(np.arange(60), 40)
    p = np.full(len(block), 0.5)
    y = np.repeat((rng.random(60) < 0.5).astype(float), 40)
    honest = calibration_error(p, y, weight=np.ones(len(p)), block=block)
    as_if_independent = calibration_error(p, y, weight=np.ones(len(p)), block=np.arange(len(p)))
    assert honest <= as_if_independent


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
def test_murphy_parts_add_up_to_brier(rows):
    p = np.array([r[0] for r in rows])
    y = np.array([float(r[1]) for r in rows])
    parts = murphy(p, y, weight=np.ones(len(p)))
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(((p - y) ** 2).mean())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_bins_rise_with_p_and_equal_p_share_one(values):
    p = np.array(values)
    bins = equal_mass_bins(p, np.ones(len(p)))
    order = np.argsort(p, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    assert (bins >= 0).all()
    assert (bins < 10).all()
    for value in np.unique(p):
        assert len(np.unique(bins[p == value])) == 1


def test_cox_line_recovers_a_planted_distortion():
    rng = np.random.default_rng(9)
    z = rng.normal(0, 1.5, 40_000)
    y = (rng.random(40_000) < 1 / (1 + np.exp(-(0.3 + 0.7 * z)))).astype(float)
    line = cox(1 / (1 + np.exp(-z)), y, weight=np.ones(40_000))
    assert line == pytest.approx((0.3, 0.7), abs=0.05)


def test_cox_line_of_a_perfect_split_is_nan_not_an_error():
    assert np.isnan(cox(np.array([0.1, 0.9]), np.array([0.0, 1.0]), weight=np.ones(2)).slope)


def test_no_rows_score_nan_and_show_no_bins():
    empty, none = np.empty(0), np.empty(0, int)
    assert np.isnan(calibration_error(empty, empty, weight=empty, block=none))
    assert np.isnan(murphy(empty, empty, weight=empty).reliability)
    assert reliability_bins(empty, empty, weight=empty, block=none) == ()


@pytest.mark.parametrize(("blocks", "sort"), [(2, False), (2, True), (30, True), (400, False)])
def test_counted_noise_equals_the_noise_of_one_calibration_error_after_the_other(blocks, sort):
    rng = np.random.default_rng(blocks)
    p = np.round(rng.beta(0.5, 0.5, 3_000), 2)  # heaps of equal forecasts share a bin
    p = np.sort(p) if sort else p  # some bins then lie in one block alone
    window = np.arange(3_000) // 3
    block, weight = window * blocks // 1_000, rng.random(3_000)
    counted = calibration_noise(
        p, weight=weight, window=window, block=block, rng=np.random.default_rng(1)
    )
    again = np.random.default_rng(1)
    found = [
        calibration_error(p, (again.random(1_000)[window] < p) * 1.0, weight=weight, block=block)
        for _ in range(NOISE_SIMULATIONS)
    ]
    assert counted == pytest.approx(np.quantile(found, NOISE_QUANTILE), rel=1e-9)
