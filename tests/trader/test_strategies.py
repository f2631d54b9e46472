"""Strategies: what is cheap, by how much, and up to which price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import FeeSchedule
from libs.common.pricing import (
    KALSHI_FEE,
    LINEAR_CENT,
    POLYMARKET_FEE,
    TAPERED_DECI_CENT,
    floor_to_tick,
    order_fee_e6,
)
from services.trader.strategies import (
    STRATEGIES,
    Offer,
    cheap_side,
    earns_margin,
    fee_unit_e6,
    price_limit_e4,
    side_floor_e4,
)

prices = st.integers(1, 9_999)
OLD_FEE = FeeSchedule(name="early_2026", rate_e4=2_500, exponent=2, round_e6=10)


def test_the_table_has_unique_names_and_growing_margins() -> None:
    assert [s.name for s in STRATEGIES] == ["edge", "edge_wide"]
    assert STRATEGIES[0].margin_e6 < STRATEGIES[1].margin_e6


def test_yes_is_cheap_when_the_forecast_is_above_the_ask() -> None:
    # 0.60 - 0.55 - 0.07 x 0.55 x 0.45 = 0.032675
    assert cheap_side(0.60, bid_e4=5_400, ask_e4=5_500, fee=KALSHI_FEE) == Offer(
        "yes", 5_500, 600_000, 32_675
    )


def test_no_is_cheap_when_the_forecast_is_below_the_bid() -> None:
    # (1 - 0.48) - (1 - 0.54) - 0.07 x 0.46 x 0.54 = 0.042612
    assert cheap_side(0.48, bid_e4=5_400, ask_e4=5_500, fee=KALSHI_FEE) == Offer(
        "no", 4_600, 520_000, 42_612
    )


@given(st.floats(0, 1), prices, prices)
def test_probabilities_are_rounded_against_us(p: float, one: int, other: int) -> None:
    bid_e4, ask_e4 = min(one, other), max(one, other)
    offer = cheap_side(p, bid_e4=bid_e4, ask_e4=ask_e4, fee=KALSHI_FEE)
    truth = p if offer.side == "yes" else 1 - p
    assert offer.p_e6 <= truth * 1e6 + 1e-6
    assert offer.edge_e6 <= truth * 1e6 - offer.best_e4 * 100 + 1e-6


@given(st.floats(0, 1), prices, prices)
def test_both_sides_are_never_cheap_at_once(p: float, one: int, other: int) -> None:
    bid_e4, ask_e4 = min(one, other), max(one, other)
    offer = cheap_side(p, bid_e4=bid_e4, ask_e4=ask_e4, fee=KALSHI_FEE)
    swapped = cheap_side(1 - p, bid_e4=10_000 - ask_e4, ask_e4=10_000 - bid_e4, fee=KALSHI_FEE)
    assert abs(swapped.edge_e6 - offer.edge_e6) <= 1
    if offer.edge_e6 > 1:
        assert swapped.side != offer.side


@pytest.mark.parametrize("fee", [KALSHI_FEE, POLYMARKET_FEE, OLD_FEE])
def test_unit_fee_is_the_exact_fee_of_one_contract_rounded_up(fee: FeeSchedule) -> None:
    for price_e4 in range(0, 10_001, 7):
        exact = order_fee_e6(fee, ((price_e4, 100),), round_e6=1)
        assert fee_unit_e6(fee, price_e4) == exact


@given(prices, st.integers(-50_000, 200_000), st.sampled_from(("yes", "no")))
def test_a_limit_price_is_on_the_grid_near_the_touch_and_earns_the_margin(
    price: int, extra: int, side: str
) -> None:
    best_e4 = side_floor_e4(side, price, TAPERED_DECI_CENT)  # type: ignore[arg-type]
    margin = 10_000
    edge = margin + 1 + max(extra, 0)
    p_e6 = best_e4 * 100 + fee_unit_e6(KALSHI_FEE, best_e4) + edge
    offer = Offer(side, best_e4, p_e6, edge)  # type: ignore[arg-type]
    limit = price_limit_e4(offer, margin, collar_e4=100, fee=KALSHI_FEE, ticks=TAPERED_DECI_CENT)
    if limit is None:
        assert best_e4 in (0, 10_000)
        return
    assert best_e4 <= limit <= best_e4 + 100
    yes_e4 = limit if side == "yes" else 10_000 - limit
    assert floor_to_tick(yes_e4, TAPERED_DECI_CENT) == yes_e4
    assert p_e6 - limit * 100 - fee_unit_e6(KALSHI_FEE, limit) >= margin


def test_a_best_price_off_the_grid_has_no_limit_price() -> None:
    offer = Offer("yes", 5_550, 700_000, 100_000)
    assert price_limit_e4(offer, 10_000, collar_e4=40, fee=KALSHI_FEE, ticks=LINEAR_CENT) is None


def test_no_prices_follow_the_yes_grid() -> None:
    assert side_floor_e4("no", 4_655, LINEAR_CENT) == 4_600
    assert side_floor_e4("yes", 4_655, LINEAR_CENT) == 4_600
    assert side_floor_e4("no", 996, TAPERED_DECI_CENT) == 990


def test_cent_rounding_can_eat_the_edge_of_a_small_order() -> None:
    offer = Offer("yes", 5_000, 530_000, 12_500)
    assert earns_margin(offer, 10_000, size_e2=10_000, price_e4=5_000, fee=KALSHI_FEE)
    # One contract pays 2 cents where the exact fee is 1.75.
    assert not earns_margin(offer, 10_001, size_e2=100, price_e4=5_000, fee=KALSHI_FEE)
    assert earns_margin(offer, 10_000, size_e2=100, price_e4=5_000, fee=KALSHI_FEE)
