"""The path is what its docstring says, and the moments of a settlement are exact."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.path import (
    BASIS_MEAN,
    BASIS_SD,
    DAY_S,
    HISTORY_S,
    PRINTS,
    SHOCK_CORRELATION,
    UNDERLYINGS,
    Day,
    Floats,
    settlement_moments,
    settlements,
)
from tests.simulator.conftest import DAYS, draw_days


def standard_shocks(day: Day) -> Floats:
    increments = np.diff(day.index_usd[:, HISTORY_S:], axis=1)
    shocks: Floats = (increments - day.drift_usd) / np.sqrt(day.variance_usd2)
    return shocks


def test_shocks_are_independent_standard_gaussians_given_drift_and_variance(
    days: list[Day],
) -> None:
    for shocks in np.hstack([standard_shocks(day) for day in days]):
        n = len(shocks)
        assert abs(shocks.mean()) < 4 / n**0.5
        assert abs(shocks.var() - 1) < 4 * (2 / n) ** 0.5
        assert abs((shocks**4).mean() - 3) < 4 * (96 / n) ** 0.5
        for lag in (1, 5, 60):
            assert abs((shocks[lag:] * shocks[:-lag]).mean()) < 4 / n**0.5


def test_size_of_a_shock_says_nothing_about_the_variance_that_follows(days: list[Day]) -> None:
    # A leverage effect would make the variance path informative about the price path.
    shocks = np.hstack([standard_shocks(day) for day in days])[0]
    log_variance = np.log(np.hstack([day.variance_usd2 for day in days])[0])
    later = log_variance[60:] - log_variance[:-60]
    assert abs(np.corrcoef(shocks[:-60], later)[0, 1]) < 4 / len(later) ** 0.5
    assert abs(np.corrcoef(shocks[:-60] ** 2, later)[0, 1]) < 4 / len(later) ** 0.5


def test_shocks_of_two_underlyings_correlate_as_stated(days: list[Day]) -> None:
    first, second, _ = np.hstack([standard_shocks(day) for day in days])
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(SHOCK_CORRELATION, abs=0.01)


def test_volatility_moves_and_its_mean_is_near_the_stated_one(days: list[Day]) -> None:
    for row, underlying in enumerate(UNDERLYINGS):
        variance = np.hstack([day.variance_usd2[row] for day in days])
        base = underlying.level_usd * underlying.vol_per_sqrt_s
        assert 0.4 < variance.mean() / base**2 < 2.5
        by_quarter = np.log(variance.reshape(-1, 900).mean(axis=1)) / 2
        assert 0.25 < by_quarter.std() < 0.8  # 0.54 on real candles, sampling error included


def test_jumps_are_rare_and_large(days: list[Day]) -> None:
    variance = np.hstack([day.variance_usd2[0] for day in days])
    jumps = variance > 50 * np.median(variance)
    assert 4 * DAYS < jumps.sum() < 32 * DAYS


def test_spot_is_the_index_less_a_slow_basis(days: list[Day]) -> None:
    for row in range(len(UNDERLYINGS)):
        gap = np.hstack([(day.index_usd - day.spot_usd)[row, HISTORY_S + 1 :] for day in days])
        level = np.hstack([day.index_usd[row, HISTORY_S + 1 :] for day in days])
        by_minute = (gap / level).reshape(-1, 60).mean(axis=1)
        assert by_minute.mean() == pytest.approx(BASIS_MEAN, abs=BASIS_SD)
        assert 0.4 * BASIS_SD < by_minute.std() < 1.8 * BASIS_SD
        assert np.corrcoef(by_minute[1:], by_minute[:-1])[0, 1] > 0.95


def test_a_day_begins_where_the_last_one_ended(days: list[Day]) -> None:
    for before, after in pairwise(days):
        assert np.array_equal(
            before.index_usd[:, -HISTORY_S - 1 :], after.index_usd[:, : HISTORY_S + 1]
        )
        assert np.array_equal(
            before.spot_usd[:, -HISTORY_S - 1 :], after.spot_usd[:, : HISTORY_S + 1]
        )


def test_an_underlying_alone_has_the_path_it_has_in_company(days: list[Day]) -> None:
    alone = draw_days(1, UNDERLYINGS[1:2])[0]
    assert np.array_equal(alone.index_usd[0], days[0].index_usd[1])
    assert np.array_equal(alone.spot_usd[0], days[0].spot_usd[1])


def test_settlement_of_one_window_equals_its_settlement_among_many(days: list[Day]) -> None:
    prints = days[0].index_usd[0, HISTORY_S:]
    many = settlements(prints, 300)
    for k in (0, 7, len(many) - 1):
        end = 300 * (k + 1)
        assert settlements(prints[end - PRINTS : end + 1], PRINTS)[0] == many[k]
        assert many[k] == pytest.approx(prints[end - 59 : end + 1].mean(), rel=1e-14)


@given(
    seed=st.integers(0, 2**32 - 1),
    length_s=st.sampled_from([60, 75, 300]),
    second=st.integers(0, 299),
)
def test_moments_equal_the_sum_over_prints_written_out(
    seed: int, length_s: int, second: int
) -> None:
    second = min(second, length_s - 1)
    chance = np.random.default_rng(seed)
    drift, variance = chance.normal(size=length_s), chance.uniform(0.1, 9.0, size=length_s)
    prints = 1_000.0 + np.concatenate([[0.0], np.cumsum(chance.normal(size=length_s))])
    mean, spread = settlement_moments(prints, drift=drift, variance=variance, length_s=length_s)
    # Print t is a row of ones over the increments s < j <= t; the average is the mean of the rows.
    rows = np.array(
        [
            [1.0 if second < j <= t else 0.0 for j in range(1, length_s + 1)]
            for t in range(length_s - 59, length_s + 1)
        ]
    )
    weights = rows.mean(axis=0)
    known = np.where(
        np.arange(length_s - 59, length_s + 1) <= second, prints[length_s - 59 :], prints[second]
    )
    assert mean[0, second] == pytest.approx(known.mean() + weights @ drift, rel=1e-12)
    assert spread[0, second] == pytest.approx(weights**2 @ variance, rel=1e-12)


def test_constant_variance_gives_the_discrete_print_form() -> None:
    length_s, variance = 900, 16.0
    flat = np.full(length_s + 1, 80_000.0)
    mean, spread = settlement_moments(
        flat, drift=np.zeros(length_s), variance=np.full(length_s, variance), length_s=length_s
    )
    assert mean[0] == pytest.approx(80_000.0, abs=1e-6)
    for left_s in (900, 120, 60):
        expected = variance * (left_s - 60 + 20.5028)
        assert spread[0, length_s - left_s] == pytest.approx(expected, rel=1e-5)
    for left_s in (59, 30, 1):
        m = left_s
        expected = variance * (m * (m + 1) * (2 * m + 1) / 6) / 3_600
        assert spread[0, length_s - left_s] == pytest.approx(expected, rel=1e-12)


def test_price_levels_stay_positive_and_finite(days: list[Day]) -> None:
    for day in days:
        assert np.isfinite(day.index_usd).all() and (day.index_usd > 0).all()
        assert (day.variance_usd2 > 0).all() and day.variance_usd2.shape == (3, DAY_S)
