import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.checks import InvariantError
from libs.common.fair_value import (
    PRINTS,
    RULES,
    Outlook,
    average_moments,
    distance_sd,
    fair_value,
    normal_cdf,
    point_moments,
    prints_to_come,
    strike_boundary,
)
from libs.common.ops import COLUMNS, SCALARS

RULE_NAMES = st.sampled_from(sorted(RULES))
PRICES = st.floats(50.0, 150.0)
TIMES = st.floats(0.001, 4_000.0)


def outlook(spot: float = 100.0, **changes: float) -> Outlook:
    tau = changes.get("time_left_s", 300.0)
    past = PRINTS - prints_to_come(tau)
    start = Outlook(spot_usd=spot, sigma_usd=0.05, time_left_s=tau, known_sum_usd=past * 100.0)
    return start._replace(**changes)


def value(rule: str, known: Outlook, strike: float = 100.0, unit: float = 0.0) -> float:
    p = fair_value(rule, known, strike_usd=strike, comparator=">=", unit_usd=unit)
    assert p is not None
    return p


@given(RULE_NAMES, PRICES, PRICES, TIMES)
def test_fair_value_never_falls_as_spot_rises(rule: str, a: float, b: float, tau: float) -> None:
    low, high = sorted((a, b))
    assert value(rule, outlook(low, time_left_s=tau)) <= value(rule, outlook(high, time_left_s=tau))


@given(RULE_NAMES, PRICES, PRICES, TIMES)
def test_fair_value_never_rises_with_the_strike(rule: str, a: float, b: float, tau: float) -> None:
    low, high = sorted((a, b))
    known = outlook(time_left_s=tau)
    assert value(rule, known, high) <= value(rule, known, low)


@given(RULE_NAMES, st.floats(0.0, 5.0), TIMES)
def test_yes_and_no_are_symmetric_about_the_strike(rule: str, gap: float, tau: float) -> None:
    above = value(rule, outlook(100.0, time_left_s=tau), 100.0 - gap)
    below = value(rule, outlook(100.0, time_left_s=tau), 100.0 + gap)
    assert above + below == pytest.approx(1.0, abs=1e-12)


@given(RULE_NAMES, st.floats(0.5, 20.0), TIMES)
def test_certainty_as_variance_vanishes(rule: str, gap: float, tau: float) -> None:
    known = outlook(time_left_s=tau, sigma_usd=1e-6)
    assert value(rule, known, 100.0 - gap) == 1.0
    assert value(rule, known, 100.0 + gap) < 1e-12


@given(TIMES)
def test_average_has_less_variance_than_point_and_is_continuous(tau: float) -> None:
    average = average_moments(outlook(time_left_s=tau)).variance
    assert 0.0 < average <= point_moments(outlook(time_left_s=tau)).variance
    # Right of a print the variance of the average has lost nothing yet.
    nearby = average_moments(outlook(time_left_s=tau + 1e-9)).variance
    assert nearby == pytest.approx(average, rel=1e-5)


@pytest.mark.parametrize("tau", [900.0, 60.0])
def test_variance_before_the_last_minute_is_the_published_formula(tau: float) -> None:
    assert average_moments(outlook(time_left_s=tau, sigma_usd=1.0)).variance == pytest.approx(
        tau - 60.0 + 20.5028, abs=1e-4
    )


@pytest.mark.parametrize(("tau", "m", "phi"), [(59.9, 60, 0.9), (30.25, 31, 0.25), (0.5, 1, 0.5)])
def test_variance_in_the_last_minute_is_the_published_formula(
    tau: float, m: int, phi: float
) -> None:
    expected = (phi * m**2 + (m - 1) * m * (2 * m - 1) / 6) / 3600
    known = outlook(time_left_s=tau, sigma_usd=1.0)
    assert average_moments(known).variance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tau", [300.0, 60.0, 59.0, 42.5, 10.0, 3.25])
@pytest.mark.parametrize("strike", [99.9, 100.0, 100.2])
def test_average_rule_agrees_with_monte_carlo(tau: float, strike: float) -> None:
    rng = np.random.default_rng(7)
    sigma, n = 0.05, 40_000
    due = np.array([t for t in (tau - k for k in range(59, -1, -1)) if t >= 0])
    steps = np.diff(due, prepend=0.0)
    walks = 100.0 + np.cumsum(rng.normal(size=(n, len(due))) * sigma * np.sqrt(steps), axis=1)
    mean = (walks.sum(axis=1) + (PRINTS - len(due)) * 100.05) / PRINTS
    known = outlook(time_left_s=tau, sigma_usd=sigma, known_sum_usd=(PRINTS - len(due)) * 100.05)
    simulated = float((mean >= strike).mean())
    assert value("mean60", known, strike) == pytest.approx(simulated, abs=0.012)


def test_point_rule_agrees_with_monte_carlo() -> None:
    rng = np.random.default_rng(8)
    age, tau, sigma, sd = 20.0, 100.0, 0.05, 0.3
    ends = 100.0 + rng.normal(size=40_000) * math.sqrt(sigma**2 * (age + tau) + sd**2) + 0.2
    known = outlook(
        time_left_s=tau, spot_age_s=age, basis_usd=0.2, basis_variance=sd**2, sigma_usd=sigma
    )
    assert value("chainlink_point", known, 100.4) == pytest.approx((ends >= 100.4).mean(), abs=0.01)


def test_without_prints_to_come_the_known_average_decides() -> None:
    done = outlook(time_left_s=-0.5, known_sum_usd=60 * 100.0)
    assert value("mean60", done, 100.0) == 1.0
    assert value("mean60", done, 100.001) == 0.0
    strict = fair_value("mean60", done, strike_usd=100.0, comparator=">", unit_usd=0.0)
    assert strict == 0.0
    # 99.995 rounds up to 100.00; 100.005 rounds up to 100.01 > 100.00.
    below = done._replace(known_sum_usd=60 * 99.995)
    assert value("mean60", below, 100.0, unit=0.01) == 1.0


@given(RULE_NAMES, TIMES, st.floats(0.01, 1.0))
def test_a_tie_is_worth_half_a_unit_to_each_side(rule: str, tau: float, unit: float) -> None:
    known = outlook(time_left_s=tau)
    at_least = fair_value(rule, known, strike_usd=100.0, comparator=">=", unit_usd=unit)
    above = fair_value(rule, known, strike_usd=100.0, comparator=">", unit_usd=unit)
    assert at_least == value(rule, known, 100.0 - unit / 2)
    assert above == value(rule, known, 100.0 + unit / 2)


def test_basis_variance_is_whole_only_where_known_prints_carry_it() -> None:
    late = outlook(time_left_s=29.5, basis_variance=4.0, sigma_usd=0.0)
    assert average_moments(late).variance == 4.0
    of_index = late._replace(known_has_basis=0.0)
    assert average_moments(of_index).variance == pytest.approx(4.0 * 0.25)


def test_age_of_spot_counts_for_the_prints_still_to_come() -> None:
    late = outlook(time_left_s=29.5, sigma_usd=1.0)
    aged = average_moments(late._replace(spot_age_s=8.0)).variance
    assert aged - average_moments(late).variance == pytest.approx(0.25 * 8.0)


def test_an_unknown_print_or_rule_gives_no_value() -> None:
    known = outlook(time_left_s=30.0, known_sum_usd=math.nan)
    assert fair_value("mean60", known, strike_usd=1.0, comparator=">=", unit_usd=0.0) is None
    assert fair_value("coin", outlook(), strike_usd=1.0, comparator=">=", unit_usd=0.0) is None
    gone = outlook(spot=math.nan)
    assert fair_value("mean60", gone, strike_usd=1.0, comparator=">=", unit_usd=0.0) is None


def test_an_unknown_comparator_is_a_bug() -> None:
    with pytest.raises(InvariantError):
        strike_boundary(1.0, "<", 0.0)  # type: ignore[arg-type]


@given(st.lists(st.tuples(PRICES, st.floats(-5.0, 4_000.0), st.floats(0.0, 1.0)), min_size=1))
def test_columns_and_scalars_give_the_same_bits(rows: list[tuple[float, float, float]]) -> None:
    spot, tau, sigma = (np.array(column) for column in zip(*rows, strict=True))
    for moments in (average_moments, point_moments):
        with np.errstate(all="ignore"):
            known = Outlook(spot, sigma, tau, known_sum_usd=spot * 3.0, known_has_basis=sigma * 0)
            column = normal_cdf(distance_sd(moments(known, COLUMNS), 100.0, COLUMNS), COLUMNS)
        for i, (s, t, v) in enumerate(rows):
            one = Outlook(s, v, t, known_sum_usd=s * 3.0, known_has_basis=v * 0)
            p = normal_cdf(distance_sd(moments(one, SCALARS), 100.0, SCALARS), SCALARS)
            assert p.hex() == float(column[i]).hex()
