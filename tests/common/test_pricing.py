"""Pricing: fees exact against rational arithmetic, grids, and the table of terms."""

from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.checks import InvariantError
from libs.common.events import FeeSchedule, TickRange
from libs.common.pricing import (
    KALSHI_FEE,
    LINEAR_CENT,
    POLYMARKET_FEE,
    POLYMARKET_TICKS,
    PRICE_ONE_E4,
    TAPERED_DECI_CENT,
    TERMS,
    ceil_to_tick,
    fee_e6,
    floor_to_tick,
    order_fee_e6,
    tick_above,
)

prices = st.integers(0, PRICE_ONE_E4)
sizes = st.integers(0, 10**8)
schedules = st.builds(
    FeeSchedule,
    name=st.just("any"),
    rate_e4=st.integers(0, 2_500),
    exponent=st.integers(0, 3),
    round_e6=st.sampled_from((1, 10, 100, 10_000)),
)
grids = st.sampled_from((TAPERED_DECI_CENT, LINEAR_CENT, POLYMARKET_TICKS))


def exact_usd(schedule: FeeSchedule, price_e4: int, size_e2: int) -> Fraction:
    """Return rate x count x (p (1 - p))^exponent as venues print it, in dollars."""
    price, count = Fraction(price_e4, 10**4), Fraction(size_e2, 10**2)
    return Fraction(schedule.rate_e4, 10**4) * count * (price * (1 - price)) ** schedule.exponent


@given(schedules, prices, sizes)
def test_fee_is_the_exact_formula_rounded_up_once(
    schedule: FeeSchedule, price_e4: int, size_e2: int
) -> None:
    unit = Fraction(schedule.round_e6, 10**6)
    expected = ceil(exact_usd(schedule, price_e4, size_e2) / unit) * schedule.round_e6
    assert fee_e6(schedule, price_e4=price_e4, size_e2=size_e2) == expected


@given(prices, sizes)
def test_fee_agrees_with_decimal_arithmetic(price_e4: int, size_e2: int) -> None:
    price, count = Decimal(price_e4).scaleb(-4), Decimal(size_e2).scaleb(-2)
    dollars = (Decimal("0.07") * count * price * (1 - price)).quantize(
        Decimal("0.01"), rounding=ROUND_CEILING
    )
    assert fee_e6(KALSHI_FEE, price_e4=price_e4, size_e2=size_e2) == int(dollars.scaleb(6))


@given(schedules, st.lists(st.tuples(prices, sizes), max_size=5))
def test_an_order_rounds_its_fee_once_over_all_fills(
    schedule: FeeSchedule, fills: list[tuple[int, int]]
) -> None:
    unit = Fraction(schedule.round_e6, 10**6)
    exact = sum((exact_usd(schedule, *fill) for fill in fills), Fraction(0))
    total = order_fee_e6(schedule, fills)
    assert total == ceil(exact / unit) * schedule.round_e6
    assert order_fee_e6(schedule, fills, round_e6=1) == ceil(exact * 10**6)
    assert total <= sum(fee_e6(schedule, price_e4=p, size_e2=n) for p, n in fills)


@pytest.mark.parametrize(
    ("schedule", "price_e4", "size_e2", "expected_e6"),
    [
        (KALSHI_FEE, 5_000, 100, 20_000),  # 1 at 0.50: raw 0.0175, the balance moves by 0.52
        (KALSHI_FEE, 5_000, 10_000, 1_750_000),  # 100 at 0.50: exactly $1.75
        (KALSHI_FEE, 4_200, 1_000, 180_000),  # 10 at 0.42: raw 0.17052
        (KALSHI_FEE, 9_500, 10_000, 340_000),  # 100 at 0.95: raw 0.3325
        (KALSHI_FEE, 9_530, 1, 10_000),  # a hundredth of a contract still pays a cent
        (POLYMARKET_FEE, 5_000, 500, 87_500),  # 5 at 0.50: 0.0875, no rounding at 5 decimals
        (POLYMARKET_FEE, 9_990, 500, 350),  # 5 at 0.999: raw 0.00034965
    ],
)
def test_fees_of_real_examples(
    schedule: FeeSchedule, price_e4: int, size_e2: int, expected_e6: int
) -> None:
    assert fee_e6(schedule, price_e4=price_e4, size_e2=size_e2) == expected_e6


@pytest.mark.parametrize(
    ("price_e4", "cents"), [(6_000, 168), (7_000, 147), (8_000, 112), (9_000, 63), (9_500, 34)]
)
def test_cost_hurdle_per_hundred_contracts(price_e4: int, cents: int) -> None:
    assert fee_e6(KALSHI_FEE, price_e4=price_e4, size_e2=10_000) == cents * 10_000
    assert fee_e6(KALSHI_FEE, price_e4=10_000 - price_e4, size_e2=10_000) == cents * 10_000


@given(sizes)
def test_certain_prices_cost_no_fee(size_e2: int) -> None:
    assert fee_e6(KALSHI_FEE, price_e4=0, size_e2=size_e2) == 0
    assert fee_e6(KALSHI_FEE, price_e4=PRICE_ONE_E4, size_e2=size_e2) == 0


@pytest.mark.parametrize(("price_e4", "size_e2"), [(-1, 1), (10_001, 1), (5_000, -1)])
def test_a_fee_of_what_cannot_be_is_a_bug(price_e4: int, size_e2: int) -> None:
    with pytest.raises(InvariantError):
        fee_e6(KALSHI_FEE, price_e4=price_e4, size_e2=size_e2)


def grid_of(ticks: tuple[TickRange, ...]) -> list[int]:
    points = [p for t in ticks for p in range(t.start_e4, t.end_e4, t.step_e4)]
    return [*points, PRICE_ONE_E4]


@given(prices, grids)
def test_floor_and_ceil_are_the_nearest_grid_prices(
    price_e4: int, ticks: tuple[TickRange, ...]
) -> None:
    grid = grid_of(ticks)
    assert floor_to_tick(price_e4, ticks) == max(p for p in grid if p <= price_e4)
    assert ceil_to_tick(price_e4, ticks) == min(p for p in grid if p >= price_e4)


@given(prices, grids)
def test_floor_changes_nothing_that_is_on_the_grid(
    price_e4: int, ticks: tuple[TickRange, ...]
) -> None:
    floor = floor_to_tick(price_e4, ticks)
    assert floor_to_tick(floor, ticks) == floor == ceil_to_tick(floor, ticks)


@pytest.mark.parametrize("ticks", [TAPERED_DECI_CENT, LINEAR_CENT, POLYMARKET_TICKS])
def test_tick_above_walks_the_whole_grid(ticks: tuple[TickRange, ...]) -> None:
    grid = grid_of(ticks)
    assert [tick_above(p, ticks) for p in grid] == [*grid[1:], PRICE_ONE_E4]


@pytest.mark.parametrize("key", TERMS, ids="/".join)
def test_terms_have_a_grid_without_holes_and_a_usable_fee(key: tuple[str, str]) -> None:
    terms = TERMS[key]
    assert terms.tick_ranges[0].start_e4 == 0
    assert terms.tick_ranges[-1].end_e4 == PRICE_ONE_E4
    for lower, upper in zip(terms.tick_ranges, terms.tick_ranges[1:], strict=False):
        assert lower.end_e4 == upper.start_e4
    for tick in terms.tick_ranges:
        assert tick.step_e4 > 0 and (tick.end_e4 - tick.start_e4) % tick.step_e4 == 0
    assert terms.fee.rate_e4 > 0 and terms.fee.round_e6 > 0
    assert terms.size_e2_min > 0 and terms.size_e2_step > 0
    assert terms.settlement_unit_usd >= 0
