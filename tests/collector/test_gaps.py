"""Gaps: an interval that was not observed is said so, by the recording's own rhythm."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import Flag, Gap, Market
from services.collector.gaps import GAP_NS_MIN, Holes, quote_gaps

S = 1_000_000_000


def market(number: int = 0, *, open_s: int = 0, close_s: int = 900) -> Market:
    return Market(
        ts_ns=open_s * S,
        id="",
        venue="kalshi",
        market=f"M-{number}",
        series="KXBTC15M",
        underlying="BTC-USD",
        open_ns=open_s * S,
        close_ns=close_s * S,
        comparator=">=",
        settlement_rule="mean60",
        fee=None,
        tick_ranges=(),
        rule_fingerprint="",
    )


def holes(times: Any, markets: list[Market] | None = None, codes: Any = None) -> Holes:
    ts_ns = np.array([int(t * S) for t in times], np.int64)
    code = np.zeros(len(ts_ns), np.int64) if codes is None else np.array(codes, np.int64)
    return quote_gaps(markets or [market()], code, ts_ns, until_ns=10_000 * S)


def spans(gaps: list[Gap]) -> list[tuple[float, float]]:
    return [(gap.start_ns / S, gap.end_ns / S) for gap in gaps]


def test_a_steady_rhythm_has_no_gap() -> None:
    for interval in (1, 10, 60):
        found = holes(range(0, 900, interval))
        assert found.gaps == []
        assert not found.flags.any()


def test_a_hole_is_a_gap_known_when_it_ends_and_flags_the_next_quote() -> None:
    times = [*range(300), *range(400, 900)]
    found = holes(times)
    assert spans(found.gaps) == [(299, 400)]
    assert found.gaps[0].ts_ns == 400 * S
    assert found.gaps[0].reason == "not_recorded"
    assert np.flatnonzero(found.flags).tolist() == [300]
    assert found.flags[300] == int(Flag.GAP)


def test_a_late_start_and_an_early_end_are_gaps() -> None:
    found = holes(range(100, 800))
    assert spans(found.gaps) == [(0, 100), (799, 900)]
    assert np.flatnonzero(found.flags).tolist() == [0]


def test_a_market_without_a_quote_is_one_gap() -> None:
    assert spans(holes([]).gaps) == [(0, 900)]
    assert holes([], [market(open_s=0, close_s=4)]).gaps == []


@pytest.mark.parametrize(
    ("interval", "hole", "is_gap"), [(1, 5, 0), (1, 6, 1), (10, 30, 0), (10, 31, 1)]
)
def test_three_intervals_and_five_seconds_are_no_gap(interval: int, hole: int, is_gap: int) -> None:
    before = list(range(0, 440, interval))
    times = [*before, *range(before[-1] + hole, 900, interval)]
    assert len(holes(times).gaps) == is_gap


def test_markets_are_judged_apart_whatever_the_order_of_rows() -> None:
    one, two = market(0), market(1)
    times = [(t, 0) for t in range(900)] + [(t, 1) for t in range(0, 900, 10) if not 300 < t < 500]
    rng = np.random.default_rng(1)
    mixed = [times[i] for i in rng.permutation(len(times))]
    found = holes([t for t, _ in mixed], [one, two], [c for _, c in mixed])
    assert [(gap.market, gap.start_ns // S, gap.end_ns // S) for gap in found.gaps] == [
        ("M-1", 300, 500)
    ]
    (flagged,) = np.flatnonzero(found.flags)
    assert mixed[flagged] == (500, 1)


@given(st.lists(st.integers(0, 899), unique=True, max_size=60))
def test_gaps_lie_between_neighbouring_observations_and_flags_count_them(times: list[int]) -> None:
    found = holes(times)
    edges = [0, *sorted(times), 900]
    between = set(pairwise(edges))
    assert all((g.start_ns // S, g.end_ns // S) in between for g in found.gaps)
    assert all(g.end_ns - g.start_ns > GAP_NS_MIN for g in found.gaps)
    ends_in_quote = [g for g in found.gaps if g.end_ns // S in set(times)]
    assert np.count_nonzero(found.flags) == len(ends_in_quote)
    assert len({g.id for g in found.gaps}) == len(found.gaps)


def test_a_market_that_outlives_the_recording_was_not_missed() -> None:
    code, ts_ns = np.zeros(100, np.int64), np.arange(100) * S
    assert quote_gaps([market()], code, ts_ns, until_ns=99 * S).gaps == []
    assert spans(quote_gaps([market()], code, ts_ns, until_ns=900 * S).gaps) == [(99, 900)]


@given(st.lists(st.integers(0, 899), unique=True, min_size=1, max_size=60), st.integers(1, 899))
def test_the_future_changes_no_past_gap(times: list[int], cut: int) -> None:
    times = sorted(times)
    past = [t for t in times if t < cut]
    whole, part = holes(times), holes(past)
    assert whole.flags[: len(past)].tolist() == part.flags.tolist()
    assert [g for g in whole.gaps if g.end_ns < cut * S] == [
        g for g in part.gaps if g.end_ns < cut * S
    ]
