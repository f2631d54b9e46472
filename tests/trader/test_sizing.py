"""Sizing: a stake becomes a count on the venue's grid, and never costs more than the stake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pricing import KALSHI_FEE, TERMS, Terms, fee_e6
from services.trader.sizing import contracts_e2, fee_e6_max, is_tradable
from services.trader.strategies import fee_unit_e6

KALSHI = TERMS["kalshi", "KXBTC15M"]
POLYMARKET = TERMS["polymarket", "btc-updown-5m"]
WHOLE = Terms(KALSHI_FEE, KALSHI.tick_ranges, 0.01, 100, 100)

terms_of_venues = st.sampled_from((KALSHI, POLYMARKET, WHOLE))


def size(budget_e6: int, price_e4: int, terms: Terms) -> int:
    return contracts_e2(budget_e6, price_limit_e4=price_e4, fee=terms.fee, terms=terms)


def worst_e6(size_e2: int, price_e4: int, terms: Terms) -> int:
    fee = fee_e6_max(terms.fee, price_limit_e4=price_e4, size_e2=size_e2)
    return size_e2 * price_e4 + fee


@given(st.integers(0, 10**9), st.integers(1, 9_999), terms_of_venues)
def test_an_order_never_costs_more_than_its_budget(budget: int, price: int, terms: Terms) -> None:
    size_e2 = size(budget, price, terms)
    assert size_e2 == 0 or is_tradable(size_e2, price, terms)
    assert worst_e6(size_e2, price, terms) <= budget or size_e2 == 0


@given(st.integers(10**7, 10**9), st.integers(1, 9_999), terms_of_venues)
def test_no_more_than_one_rounding_unit_of_the_budget_is_left(
    budget: int, price: int, terms: Terms
) -> None:
    size_e2 = size(budget, price, terms) + terms.size_e2_step
    dearest = min(price, 5_000)
    exact_e8 = size_e2 * (price * 100 + fee_unit_e6(terms.fee, dearest))
    assert exact_e8 > 100 * (budget - terms.fee.round_e6)


@given(st.integers(1, 10**6), st.integers(1, 9_999), st.integers(1, 9_999))
def test_the_highest_fee_bounds_a_fill_at_any_price_up_to_the_limit(
    size_e2: int, limit_e4: int, price_e4: int
) -> None:
    bound = fee_e6_max(KALSHI_FEE, price_limit_e4=limit_e4, size_e2=size_e2)
    assert fee_e6(KALSHI_FEE, price_e4=min(price_e4, limit_e4), size_e2=size_e2) <= bound


def test_a_stake_of_25_dollars_at_half_a_dollar_buys_48_30_contracts() -> None:
    # 48.30 x 0.50 = 24.15, fee 0.07 x 48.30 x 0.25 = 0.84525, up to 0.85: exactly 25.00.
    assert size(25_000_000, 5_000, KALSHI) == 4_830


@pytest.mark.parametrize(
    ("budget_e6", "price_e4", "expected_e2"),
    [
        (2_400_000, 5_000, 0),  # 4.63 shares: below five
        (3_000_000, 5_000, 579),
        (900_000, 1_000, 0),  # eight shares, but worth less than a dollar
        (1_200_000, 1_000, 1_128),
    ],
)
def test_polymarket_takes_five_shares_and_a_dollar_at_least(
    budget_e6: int, price_e4: int, expected_e2: int
) -> None:
    assert size(budget_e6, price_e4, POLYMARKET) == expected_e2


def test_sizes_off_the_grid_are_not_tradable() -> None:
    assert not is_tradable(150, 5_000, WHOLE)
    assert is_tradable(200, 5_000, WHOLE)
    assert not is_tradable(0, 5_000, KALSHI)


def test_nothing_is_bought_for_nothing() -> None:
    assert size(0, 5_000, KALSHI) == 0
    assert size(-5, 5_000, KALSHI) == 0
    assert size(25_000_000, 0, KALSHI) == 0
