"""A Kalshi book in terms of YES: levels, best prices, sizes of trades."""

import pytest

from libs.common.venues.kalshi_book import edge, level_price, levels, traded_size
from libs.common.venues.numbers import WireError


def test_both_legs_meet_in_prices_of_yes() -> None:
    assert levels([("0.49", "1"), ("0.5", "2.5")], is_bid=True) == [
        (4900, 1_000_000),
        (5000, 2_500_000),
    ]
    assert levels([("0.49", "1")], is_bid=False) == [(5100, 1_000_000)]


def test_a_price_that_stands_twice_is_no_book() -> None:
    with pytest.raises(WireError):
        levels([("0.5", "1"), ("0.50", "2")], is_bid=True)


@pytest.mark.parametrize("price", ["0", "1", "1.0000", "-0.1", "0.00001", "", "nan", " 0.5"])
def test_a_level_stands_between_nothing_and_a_dollar(price: str) -> None:
    with pytest.raises(WireError):
        level_price(price, is_bid=True)


def test_an_empty_edge_says_so_by_its_size() -> None:
    assert edge("0.4500", "0.00") == (None, None)
    with pytest.raises(WireError):
        edge("0.0000", "0.01")
    with pytest.raises(WireError):
        edge("what", "0.00")


@pytest.mark.parametrize("size", ["0", "0.00", "-1", "1e3", ""])
def test_a_trade_has_a_size(size: str) -> None:
    with pytest.raises(WireError):
        traded_size(size)
