"""Quotes and books around the true probability."""

import numpy as np
import pytest

from services.simulator.books import CENTS, FINE, LEVELS_SIDE, TAPERED, WHOLE
from services.simulator.life import KINDS, markets_at, settlement_of
from services.simulator.path import DAY_S
from services.simulator.prices import Prices
from services.simulator.quoting import Quotes, quotes_of

FIRST_DAY = 20_776
OPENS_S = [FIRST_DAY * DAY_S + 3_600 * hour for hour in range(2, 22)]


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices(4, first_day=FIRST_DAY, rows=1)


@pytest.fixture(scope="module")
def quoted(prices: Prices) -> list[Quotes]:
    return [
        quotes_of(market, prices)
        for kind in KINDS[:4]
        for open_s in OPENS_S
        for market in markets_at(kind, open_s, prices, 4)
    ]


def test_no_book_is_crossed_or_locked_and_every_price_is_on_the_grid(quoted: list[Quotes]) -> None:
    for quotes in quoted:
        for second in range(quotes.market.open_s, quotes.market.close_s, 37):
            bids, asks = quotes.book(second)
            grid = set(quotes.grid(second).prices_e4.tolist())
            assert set(bids) | set(asks) <= grid
            assert max(bids, default=0) < min(asks, default=10_000)
            assert max(len(bids), len(asks)) <= LEVELS_SIDE


def test_the_touch_is_the_best_level_of_the_book(quoted: list[Quotes]) -> None:
    for quotes in quoted:
        for second in range(quotes.market.open_s - 5, quotes.market.close_s, 61):
            bids, asks = quotes.book(second)
            assert quotes.touch(second) == (max(bids, default=None), min(asks, default=None))


def test_the_mid_is_near_the_truth(quoted: list[Quotes]) -> None:
    errors = []
    for quotes in quoted:
        for second in range(quotes.market.open_s, quotes.market.close_s, 60):
            bid, ask = quotes.touch(second)
            if bid is not None and ask is not None:
                errors.append((bid + ask) / 20_000 - quotes.probability(second))
    assert abs(np.mean(errors)) < 0.001
    assert np.std(errors) < 0.01


def test_outcomes_come_true_as_often_as_quoted(quoted: list[Quotes], prices: Prices) -> None:
    # 180 markets, few of them independent: a wide margin that a wrong side would still break.
    told = [quotes.probability(quotes.market.open_s + 120) for quotes in quoted]
    came = [settlement_of(quotes.market, prices).is_yes for quotes in quoted]
    assert abs(np.mean(told) - np.mean(came)) < 0.15
    assert np.corrcoef(told, came)[0, 1] > 0.3


def test_at_the_last_second_the_truth_is_all_but_the_outcome(
    quoted: list[Quotes], prices: Prices
) -> None:
    sure = [
        abs(
            quotes.probability(quotes.market.close_s - 1)
            - settlement_of(quotes.market, prices).is_yes
        )
        for quotes in quoted
    ]
    assert np.median(sure) < 1e-3


def test_a_side_is_missing_near_some_closes_and_never_in_the_middle(quoted: list[Quotes]) -> None:
    fifteen = [q for q in quoted if q.market.kind.name == "KXBTC15M"]
    last = [None in q.touch(q.market.close_s - 1) for q in fifteen]
    middle = [None in q.touch(q.market.open_s + 300) for q in fifteen]
    assert any(last)
    assert not any(middle)


def test_ticks_are_tapered_or_whole_and_turn_fine_at_the_extremes(quoted: list[Quotes]) -> None:
    for quotes in quoted:
        opened = quotes.grid(quotes.market.open_s)
        kind = quotes.market.kind
        wanted = WHOLE if kind.venue == "polymarket" else CENTS if kind.is_ladder else TAPERED
        assert opened is wanted
        if quotes.fine_s is not None:
            p = quotes.probability(quotes.fine_s)
            assert p < 0.035 or p > 0.965
            assert quotes.grid(quotes.fine_s + 1) is FINE


def test_before_it_begins_a_polymarket_window_is_worth_a_half(quoted: list[Quotes]) -> None:
    quotes = next(q for q in quoted if q.market.kind.venue == "polymarket")
    assert quotes.touch(quotes.market.open_s - 100) == (4_900, 5_100)


def test_a_second_can_be_drawn_alone(quoted: list[Quotes], prices: Prices) -> None:
    quotes = quoted[3]
    again = quotes_of(quotes.market, Prices(4, first_day=FIRST_DAY, rows=1))
    assert again.book(quotes.market.open_s + 500) == quotes.book(quotes.market.open_s + 500)
