"""Contracts settle as their rule says, and their true probability is true."""

from collections.abc import Callable

import numpy as np
import pytest

from libs.common.pricing import TERMS
from services.simulator.markets import (
    NS_PER_S,
    Windows,
    rounded,
    series_of,
    threshold,
    windows_of,
)
from services.simulator.path import HISTORY_S, UNDERLYINGS, Day, Floats
from tests.simulator.conftest import Quoted, generator

DAY_NS = 86_400 * NS_PER_S


def windows_for(day: Day, row: int, j: int, *, midnight_ns: int = 0) -> Windows:
    series = series_of(UNDERLYINGS[row])[j]
    return windows_of(series, day, row, midnight_ns=midnight_ns, generator=generator(0, 9))


def truths(days: list[Day], left_s: int) -> tuple[Floats, Floats]:
    """Gather P(YES) and result of every window at `left_s` before its close."""
    all_windows = [windows_for(day, row, j) for day in days for row in range(3) for j in range(3)]
    p = np.concatenate([w.p_true[:, -left_s] for w in all_windows])
    return p, np.concatenate([w.is_yes for w in all_windows]).astype(np.float64)


def test_every_series_has_terms() -> None:
    for underlying in UNDERLYINGS:
        for series in series_of(underlying):
            assert (series.venue, series.name) in TERMS


def test_strike_is_the_settlement_of_the_window_before_also_across_midnight(
    days: list[Day],
) -> None:
    for row in range(3):
        for j in (0, 1):
            chain = [windows_for(day, row, j) for day in days]
            strikes = np.concatenate([w.strike_usd for w in chain])
            settled = np.concatenate([w.settlement_usd for w in chain])
            assert np.array_equal(strikes[1:], settled[:-1])


def test_hourly_strike_lies_a_cent_below_a_round_number_near_the_index(days: list[Day]) -> None:
    for row, underlying in enumerate(UNDERLYINGS):
        windows = windows_for(days[0], row, 2)
        opens = days[0].index_usd[row, HISTORY_S : HISTORY_S + 86_400 : 3_600]
        step = underlying.strike_step_usd
        assert (np.abs(windows.strike_usd - opens) <= step / 2 + 0.02).all()
        rungs = (windows.strike_usd + 0.01) / step
        assert rungs == pytest.approx(np.round(rungs), abs=1e-9)
        assert np.array_equal(windows.strike_known_ns, windows.open_ns)


def test_result_is_what_comparator_strike_and_settlement_say(days: list[Day]) -> None:
    for j, compare in ((0, np.greater_equal), (1, np.greater_equal), (2, np.greater)):
        windows = windows_for(days[1], 0, j)
        expected = compare(windows.settlement_usd, windows.strike_usd)
        assert np.array_equal(windows.is_yes, expected)
        assert 0.2 < windows.is_yes.mean() < 0.8


def test_kalshi_settles_in_whole_cents_and_polymarket_unrounded(days: list[Day]) -> None:
    cents = windows_for(days[0], 0, 0).settlement_usd * 100
    assert cents == pytest.approx(np.round(cents), abs=1e-6)
    millionths = windows_for(days[0], 0, 1).settlement_usd
    assert np.abs(millionths * 100 - np.round(millionths * 100)).max() > 0.1


@pytest.mark.parametrize("comparator", [">=", ">"])
@pytest.mark.parametrize("cents", [-1, 0, 1])
def test_threshold_is_where_the_rounded_settlement_turns_yes(comparator: str, cents: int) -> None:
    strike = np.array([64_000.0 + cents / 100])
    edge = threshold(strike, comparator, 0.01)  # type: ignore[arg-type]
    for shift, is_above in ((1e-4, True), (-1e-4, False)):
        settled = rounded(edge + shift, 0.01)
        is_yes = settled >= strike if comparator == ">=" else settled > strike
        assert bool(is_yes[0]) is is_above


def test_facts_become_known_after_they_exist(days: list[Day]) -> None:
    for j, (low, high) in enumerate(((5, 60), (60, 120), (5, 60))):
        windows = windows_for(days[0], 0, j, midnight_ns=20_000 * DAY_NS)
        delay_s = (windows.result_known_ns - windows.open_ns) / NS_PER_S - windows.series.length_s
        assert low <= delay_s.min() <= delay_s.max() <= high
        assert (windows.strike_known_ns >= windows.open_ns).all()
    fifteen = windows_for(days[0], 0, 0)
    assert np.median(fifteen.strike_known_ns - fifteen.open_ns) == pytest.approx(0.7e9, abs=0.05e9)


def test_names_are_unique_over_the_hour_that_autumn_repeats(days: list[Day]) -> None:
    first_of_november_ns = 1_793_491_200 * NS_PER_S
    for j in range(3):
        names = windows_for(days[0], 0, j, midnight_ns=first_of_november_ns).names
        assert len(set(names)) == len(names)


def test_start_moves_time_and_names_only(days: list[Day]) -> None:
    here, there = (windows_for(days[0], 0, 0, midnight_ns=n * DAY_NS) for n in (0, 100))
    assert np.array_equal(here.strike_usd, there.strike_usd)
    assert np.array_equal(here.p_true, there.p_true)
    assert np.array_equal(here.result_known_ns + 100 * DAY_NS, there.result_known_ns)


@pytest.mark.parametrize("left_s", [300, 240, 120, 75, 59, 30, 10])
def test_truth_is_calibrated(days: list[Day], left_s: int) -> None:
    p, result = truths(days, left_s)
    # About three windows share one outcome: series overlap, underlyings correlate.
    assert abs((result - p).sum()) < 4 * np.sqrt(3 * (p * (1 - p)).sum())
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (p > low) & (p <= low + 0.2)
        sd = np.sqrt(3 * (p * (1 - p))[inside].sum())
        assert abs((result - p)[inside].sum()) < 4 * max(sd, 0.5)


@pytest.mark.parametrize("left_s", [240, 120, 45])
def test_no_distortion_of_truth_scores_better(days: list[Day], left_s: int) -> None:
    p, result = truths(days, left_s)
    logit = np.log(np.clip(p, 1e-9, 1 - 1e-9) / np.clip(1 - p, 1e-9, 1))
    best = np.mean((p - result) ** 2)
    for stretch, shift in ((0.7, 0.0), (1.4, 0.0), (1.0, 0.3), (1.0, -0.3)):
        other = 1 / (1 + np.exp(-(stretch * logit + shift)))
        assert np.mean((other - result) ** 2) > best


@pytest.mark.parametrize(
    ("j", "left_s"), [(0, 700), (0, 90), (0, 40), (1, 250), (1, 20), (2, 2_000)]
)
def test_truth_agrees_with_a_monte_carlo_of_the_future(
    days: list[Day], j: int, left_s: int
) -> None:
    """Draw the increments to come, form the 60 prints, round, compare: no formula shared."""
    day, row, n = days[2], 1, 4_000_000 // max(left_s, 200)
    windows = windows_for(day, row, j)
    series = windows.series
    # The window whose outcome is least sure at this moment says most.
    k = int(np.argmin(np.abs(windows.p_true[:, -left_s] - 0.4)))
    close = (k + 1) * series.length_s
    now = close - left_s
    chance = np.random.default_rng(5)
    sd = np.sqrt(day.variance_usd2[row, now:close])
    steps = day.drift_usd[row, now:close] + sd * chance.standard_normal((n, left_s))
    future = day.index_usd[row, HISTORY_S + now] + np.cumsum(steps, axis=1)
    known = day.index_usd[row, HISTORY_S + close - 59 : HISTORY_S + now + 1]
    prints = np.hstack([np.tile(known, (n, 1)), future])[:, -60:]
    settled = rounded(prints.mean(axis=1), series.unit_usd)
    strike = windows.strike_usd[k]
    is_yes = settled >= strike if series.comparator == ">=" else settled > strike
    p = windows.p_true[k, -left_s]
    assert 0.05 < p < 0.95
    assert abs(is_yes.mean() - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_quotes_carry_the_truth_of_their_own_instant(
    quoted: Callable[[float], list[Quoted]],
) -> None:
    for _, _, windows, seen, quotes in quoted(0.0)[:9]:
        age_s = seen.second % windows.series.length_s
        assert np.array_equal(quotes.p_true, windows.p_true[quotes.window, age_s])
        assert np.array_equal((quotes.ts_ns - windows.open_ns[quotes.window]) // NS_PER_S, age_s)
