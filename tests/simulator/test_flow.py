"""Books are possible, the mid is efficient without an edge, and the planted fault can be seen."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from libs.common.pricing import TERMS
from services.simulator.flow import (
    LEVELS_MAX,
    Quotes,
    imbalance_of,
    planted,
    price_grid,
    sight,
)
from services.simulator.path import HISTORY_S, Day, Floats
from tests.simulator.conftest import Quoted

AtEdge = Callable[[float], list[Quoted]]


def mid_of(quotes: Quotes) -> Floats:
    """Return the mid of each row, NaN without both sides."""
    both = (quotes.bids > 0) & (quotes.asks > 0)
    mid: Floats = np.where(both, (quotes.bid_e4[:, 0] + quotes.ask_e4[:, 0]) / 20_000, np.nan)
    return mid


def scores(quoted: list[Quoted]) -> tuple[Floats, Floats]:
    """Return per market the expected and the realised Brier of mid minus that of truth."""
    expected, realised = [], []
    for _, _, windows, _, quotes in quoted:
        mid, p, n = mid_of(quotes), quotes.p_true, len(windows.names)
        result = windows.is_yes[quotes.window]
        has_mid = np.isfinite(mid).reshape(n, -1).any(axis=1)
        for values, out in (
            ((mid - p) ** 2, expected),
            ((mid - result) ** 2 - (p - result) ** 2, realised),
        ):
            out.append(np.nanmean(values.reshape(n, -1)[has_mid], axis=1))
    return np.concatenate(expected), np.concatenate(realised)


def test_books_lie_on_the_grid_in_order_and_never_meet(quoted: AtEdge) -> None:
    for _, _, windows, _, quotes in quoted(1.0):
        grid = price_grid(TERMS[windows.series.venue, windows.series.name])
        levels = np.arange(LEVELS_MAX)
        for prices, count, sign in (
            (quotes.bid_e4, quotes.bids, -1),
            (quotes.ask_e4, quotes.asks, 1),
        ):
            exists = levels < count[:, None]
            assert np.isin(prices[exists], grid).all()
            assert (prices[exists] > 0).all() and (prices[exists] < 10_000).all()
            steps = sign * np.diff(prices, axis=1)
            assert (steps[exists[:, 1:]] > 0).all()
        both = (quotes.bids > 0) & (quotes.asks > 0)
        assert (quotes.bid_e4[both, 0] < quotes.ask_e4[both, 0]).all()
        assert (np.minimum(quotes.bid_size, quotes.ask_size) >= 0.01).all()


def test_spread_is_mostly_one_tick_and_wider_when_spot_is_fast(quoted: AtEdge) -> None:
    width, pace = [], []
    for _, _, windows, seen, quotes in quoted(0.0):
        grid = price_grid(TERMS[windows.series.venue, windows.series.name])
        both = np.flatnonzero((quotes.bids > 0) & (quotes.asks > 0))
        sides = [np.searchsorted(grid, side[both, 0]) for side in (quotes.bid_e4, quotes.ask_e4)]
        width.append(sides[1] - sides[0])
        pace.append(seen.pace[both])
    ticks, fast = np.concatenate(width), np.concatenate(pace) > 1.3
    assert 0.75 < (ticks == 1).mean() < 0.88  # 0.81 on Kalshi
    assert ticks.max() <= 6
    assert ticks[fast].mean() > ticks[~fast].mean() + 0.05


def test_sides_leave_near_the_close_and_the_one_that_stays_is_right(quoted: AtEdge) -> None:
    rows, left_s, right = [], [], []
    for _, _, windows, seen, quotes in quoted(0.0):
        if windows.series.length_s < 3_600:
            alone = (quotes.bids > 0) ^ (quotes.asks > 0)
            rows.append(alone)
            left_s.append(windows.series.length_s - (seen.second % windows.series.length_s)[alone])
            is_yes = windows.is_yes[quotes.window]
            right.append(((quotes.bids > 0) == is_yes)[alone])
    assert 0.05 < np.concatenate(rows).mean() < 0.08  # 6.4 % on Kalshi
    assert 20 <= np.median(np.concatenate(left_s)) <= 50  # 43 s on Kalshi
    assert np.concatenate(right).mean() > 0.98


def test_an_hourly_side_is_absent_only_below_a_cent_or_near_the_close(quoted: AtEdge) -> None:
    alone_at = []
    for _, _, windows, seen, quotes in quoted(0.0):
        if windows.series.length_s == 3_600:
            early = windows.series.length_s - seen.second % 3_600 > 1_800
            alone = early & ((quotes.bids > 0) ^ (quotes.asks > 0))
            alone_at.append(np.minimum(quotes.p_true, 1 - quotes.p_true)[alone])
    sure = np.concatenate(alone_at)
    # A wide spread around 1.5 cents reaches down to nothing.
    assert sure.max() < 0.035
    assert np.median(sure) < 0.01


def test_without_an_edge_the_mid_is_as_good_as_the_truth(quoted: AtEdge) -> None:
    expected, realised = scores(quoted(0.0))
    assert expected.mean() < 3e-5
    # Three windows share an outcome, as in the tests of the truth.
    assert abs(realised.mean()) < 4 * realised.std() * (3 / len(realised)) ** 0.5
    for _, _, _, _, quotes in quoted(0.0):
        assert not quotes.shift.any()
        error = (mid_of(quotes) - quotes.p_true)[np.isfinite(mid_of(quotes))]
        assert abs(error.mean()) < 4e-4
        assert np.abs(error).max() < 0.035


@pytest.mark.parametrize(("edge", "low", "high"), [(1.0, 0.005, 0.0075), (0.5, 0.001, 0.002)])
def test_oracle_gain_is_as_stated(quoted: AtEdge, edge: float, low: float, high: float) -> None:
    expected, realised = scores(quoted(edge))
    assert low < expected.mean() < high
    standard_error = realised.std() * (3 / len(realised)) ** 0.5
    assert realised.mean() > 0
    assert abs(realised.mean() - expected.mean()) < 4 * standard_error


def test_edge_changes_prices_but_neither_truth_sizes_nor_times(quoted: AtEdge) -> None:
    for with_edge, without in zip(quoted(1.0), quoted(0.0), strict=True):
        for name in ("ts_ns", "window", "bid_size", "ask_size", "p_true"):
            first, second = (getattr(q.quotes, name) for q in (with_edge, without))
            assert np.array_equal(first, second)
        assert not np.array_equal(with_edge.quotes.bid_e4, without.quotes.bid_e4)


def test_planted_shift_follows_from_what_the_recording_shows(quoted: AtEdge) -> None:
    """Recompute it from recorded prices and levels alone: no hidden state enters."""
    for day, row, windows, seen, quotes in quoted(1.0)[:9]:
        exists = np.arange(LEVELS_MAX)
        deep = (quotes.bids == LEVELS_MAX) & (quotes.asks == LEVELS_MAX)
        imbalance = imbalance_of(
            np.where(exists < quotes.bids[:, None], quotes.bid_size, 0.0)[deep],
            np.where(exists < quotes.asks[:, None], quotes.ask_size, 0.0)[deep],
        )
        spot = day.spot_usd[row]
        now = HISTORY_S + seen.second[deep] - 1
        squares = (spot[10:] - spot[:-10]) ** 2
        usual = np.array([squares[t - 909 : t - 9].mean() / 10 for t in now]) ** 0.5
        move = (spot[now] - spot[now - 60]) / (usual * 60**0.5)
        left_s = windows.series.length_s - (seen.second[deep] % windows.series.length_s)
        assert -planted(imbalance, move, left_s) == pytest.approx(quotes.shift[deep], abs=1e-6)


@given(
    imbalance=st.floats(-1, 1),
    move=st.floats(-6, 6),
    left_s=st.floats(0, 3_600),
)
def test_planted_fault_is_odd_bounded_and_over_before_the_close(
    imbalance: float, move: float, left_s: float
) -> None:
    def at(i: float, m: float) -> float:
        return float(planted(np.array([i]), np.array([m]), np.array([left_s]))[0])

    assert abs(at(imbalance, move)) <= 0.55 + 1e-12
    assert at(-imbalance, -move) == pytest.approx(-at(imbalance, move), abs=1e-12)
    assert at(imbalance, 2.0) == at(-imbalance, 2.0)  # a fast minute silences the book
    if left_s <= 30:
        assert at(imbalance, move) == 0.0


def test_pressure_of_the_book_lasts_for_minutes(quoted: AtEdge) -> None:
    quotes = quoted(0.0)[0].quotes
    imbalance = imbalance_of(quotes.bid_size, quotes.ask_size)
    assert 0.5 < np.corrcoef(imbalance[6:], imbalance[:-6])[0, 1] < 0.8
    assert abs(imbalance.mean()) < 0.15 and 0.4 < imbalance.std() < 0.65


def test_book_says_nothing_about_the_result_beyond_the_truth(quoted: AtEdge) -> None:
    for every in range(9):
        parts = quoted(0.0)[every::9]
        imbalance = np.concatenate(
            [imbalance_of(q.quotes.bid_size, q.quotes.ask_size)[::60] for q in parts]
        )
        surprise = np.concatenate(
            [(q.windows.is_yes[q.quotes.window] - q.quotes.p_true)[::60] for q in parts]
        )
        assert abs(np.corrcoef(imbalance, surprise)[0, 1]) < 5 / len(surprise) ** 0.5


def test_sight_uses_nothing_later_than_a_second_ago(days: list[Day]) -> None:
    spot = days[0].spot_usd[0]
    whole = sight(spot, 10)
    cut = spot.copy()
    noon = 43_200
    cut[HISTORY_S + noon :] += 500.0 * np.sin(np.arange(43_201))
    changed = sight(cut, 10)
    until = np.searchsorted(whole.second, noon, side="right")
    assert whole.second[until - 1] == noon
    assert np.array_equal(whole.move[:until], changed.move[:until])
    assert np.array_equal(whole.pace[:until], changed.pace[:until])
    assert not np.array_equal(whole.move[until], changed.move[until])


def anchored_rows(quoted: list[Quoted]) -> dict[str, Floats]:
    """Give each two-sided row with a minute left its truth, result, mid and a fair value.

    The fair value is kinder than a live one: the basis' true mean, spot a second old.
    """
    parts: dict[str, list[Floats]] = {name: [] for name in ("p", "y", "mid", "fair", "log_left")}
    for day, row, windows, seen, quotes in quoted:
        left_s = windows.series.length_s - seen.second % windows.series.length_s
        kept = np.isfinite(mid_of(quotes)) & (left_s >= 60)
        spot, now = day.spot_usd[row], HISTORY_S + seen.second[kept] - 1
        basis = (day.index_usd[row] - spot).mean()
        squares = np.cumsum((spot[60:] - spot[:-60]) ** 2)
        variance = (squares[now - 60] - squares[now - 1_860]) / (1_800 * 60)
        spread = np.sqrt(variance * (left_s[kept] - 60 + 20.5028 + 1) + 0.5 * basis**2)
        strike = windows.strike_usd[quotes.window[kept]]
        parts["fair"].append(ndtr((spot[now] + basis - strike) / spread))
        parts["mid"].append(mid_of(quotes)[kept])
        parts["p"].append(quotes.p_true[kept])
        parts["y"].append(windows.is_yes[quotes.window[kept]].astype(np.float64))
        parts["log_left"].append(np.log(left_s[kept] / 60))
    return {name: np.concatenate(values) for name, values in parts.items()}


def test_an_anchored_logistic_recovers_less_than_half_of_the_oracle_gain(quoted: AtEdge) -> None:
    """Fit and score on the same rows, which flatters it."""
    rows = anchored_rows(quoted(1.0))
    market, fair = (
        np.log(q / (1 - q)) for q in (np.clip(rows[n], 1e-3, 0.999) for n in ("mid", "fair"))
    )
    gap = fair - market
    terms = np.column_stack([np.ones_like(gap), market, gap, gap * rows["log_left"]])
    weights = np.zeros(4)
    for _ in range(8):
        p = 1 / (1 + np.exp(-(market + terms @ weights)))
        slope = terms * (p * (1 - p))[:, None]
        weights += np.linalg.solve(terms.T @ slope, terms.T @ (rows["y"] - p))
    p = 1 / (1 + np.exp(-(market + terms @ weights)))
    recovered = 1 - np.mean((p - rows["p"]) ** 2) / np.mean((rows["mid"] - rows["p"]) ** 2)
    assert 0.1 < recovered < 0.45
