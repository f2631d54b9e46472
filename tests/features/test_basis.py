import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.features.basis import (
    CONTRIBUTION_AGE_NS_MAX,
    CONTRIBUTIONS_MAX,
    SHRINKAGE,
    Basis,
    BasisHistory,
    StrikeWatch,
    Terms,
    difference_e6,
    estimate,
)
from services.features.inputs import SECOND_NS

OPEN = 1_000 * SECOND_NS
WAITING = Terms("mean60", OPEN, OPEN + 900 * SECOND_NS, None)
STRUCK = WAITING._replace(strike_usd=100.0)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=20))
def test_the_estimate_is_a_shrunk_mean_with_the_variance_of_a_new_window(
    differences: list[int],
) -> None:
    usd = [d / 1e6 for d in differences]
    n = len(usd)
    made = estimate(differences)
    assert made.usd == pytest.approx(statistics.fmean(usd) * n / (n + SHRINKAGE), abs=1e-9)
    expected = statistics.variance(usd) * (1 + 1 / n)
    assert made.variance == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_fewer_than_three_windows_are_no_evidence() -> None:
    assert estimate([10**7, 10**7]) == Basis(0.0, 0.0)


def test_only_the_last_twenty_within_a_day_count() -> None:
    history = BasisHistory()
    for i in range(30):
        history.add(i * SECOND_NS, i * 10**6)
    last = [i * 10**6 for i in range(30)][-CONTRIBUTIONS_MAX:]
    assert history.estimate(30 * SECOND_NS) == estimate(last)
    later = CONTRIBUTION_AGE_NS_MAX + 25 * SECOND_NS
    assert history.estimate(later) == estimate(last[-4:])
    assert history.estimate(2 * later) == Basis()


def test_a_strike_counts_once_per_window_when_it_arrives_after_the_open() -> None:
    watch = StrikeWatch()
    assert watch.observe(OPEN - 1, "a", WAITING) is None
    assert watch.observe(OPEN - 1, "b", WAITING) is None
    arrival = watch.observe(OPEN + SECOND_NS, "a", STRUCK)
    assert arrival is not None
    assert arrival.strike_e6 == 100_000_000
    assert watch.observe(OPEN + SECOND_NS, "b", STRUCK) is None
    assert watch.observe(OPEN + 2 * SECOND_NS, "a", STRUCK) is None


@pytest.mark.parametrize("ts_ns", [OPEN - SECOND_NS, OPEN, OPEN + 3_601 * SECOND_NS])
def test_a_strike_known_by_the_open_or_an_hour_after_is_no_average_of_it(ts_ns: int) -> None:
    watch = StrikeWatch()
    watch.observe(OPEN - 2 * SECOND_NS, "a", WAITING)
    assert watch.observe(ts_ns, "a", STRUCK) is None


def test_a_market_discovered_with_its_strike_teaches_nothing() -> None:
    assert StrikeWatch().observe(OPEN + SECOND_NS, "ladder", STRUCK) is None


def test_a_rule_without_fair_value_teaches_nothing() -> None:
    watch = StrikeWatch()
    watch.observe(OPEN, "a", WAITING._replace(rule="coin"))
    assert watch.observe(OPEN + SECOND_NS, "a", STRUCK._replace(rule="coin")) is None


def test_a_difference_above_a_hundredth_of_the_price_is_not_a_basis() -> None:
    assert difference_e6(100_990_000, 6_000_000_000) == 990_000
    assert difference_e6(101_010_000, 6_000_000_000) is None
