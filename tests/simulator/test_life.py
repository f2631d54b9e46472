"""The life of markets: names, instants, strikes, results."""

import itertools

import pytest

from services.simulator.life import KINDS, Kind, Market, markets_at, settlement_of, strike_of
from services.simulator.naming import NS_PER_S
from services.simulator.path import DAY_S
from services.simulator.prices import Prices

FIRST_DAY = 20_776
OPEN_S = FIRST_DAY * DAY_S + 14 * 3_600


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices(2, first_day=FIRST_DAY, rows=3)


def kind(name: str) -> Kind:
    return next(k for k in KINDS if k.name == name)


def one(name: str, open_s: int, prices: Prices) -> Market:
    return markets_at(kind(name), open_s, prices, 2)[0]


def test_a_quarter_hour_is_named_after_its_close_in_new_york(prices: Prices) -> None:
    assert one("KXBTC15M", OPEN_S, prices).name == "KXBTC15M-26NOV190915-15"


def test_a_ladder_has_five_rungs_a_step_apart_one_cent_below_round_numbers(prices: Prices) -> None:
    rungs = markets_at(kind("KXETHD"), OPEN_S, prices, 2)
    cents = [market.listed_cents for market in rungs]
    assert [b - a for a, b in itertools.pairwise(cents)] == [500] * 4
    assert all((c + 1) % 500 == 0 for c in cents)
    assert rungs[0].name == f"KXETHD-26NOV1910-T{cents[0] / 100:.2f}"


def test_the_middle_rung_is_the_nearest_to_the_index_when_the_ladder_is_listed(
    prices: Prices,
) -> None:
    rungs = markets_at(kind("KXBTCD"), OPEN_S, prices, 2)
    index_usd = int(prices.prints_e4(0, OPEN_S - 300, 1)[0]) / 10_000
    assert abs(rungs[2].listed_cents / 100 - index_usd) <= 50.01


def test_windows_chain_on_both_venues(prices: Prices) -> None:
    for name in ("KXBTC15M", "btc-updown-5m", "sol-updown-15m"):
        length_s = kind(name).length_s
        market, following = one(name, OPEN_S, prices), one(name, OPEN_S + length_s, prices)
        settled = settlement_of(market, prices)
        assert strike_of(following, prices) == (settled.settled_e4, settled.settled_cents)


def test_instants_come_in_order_and_within_their_ranges(prices: Prices) -> None:
    for name in ("KXBTC15M", "eth-updown-5m", "KXSOLD"):
        market = one(name, OPEN_S, prices)
        instants = [
            market.created_ns,
            market.open_ns,
            market.close_ns,
            market.determined_ns,
            market.finalized_ns,
        ]
        assert instants == sorted(instants)
    struck_ns = one("KXBTC15M", OPEN_S, prices).struck_ns()
    assert 0.6 <= (struck_ns - OPEN_S * NS_PER_S) / NS_PER_S <= 0.8


def test_a_tie_is_yes_in_a_window_and_no_on_a_ladder() -> None:
    prices = Prices(2, first_day=FIRST_DAY, rows=1)
    prices.tie(0, OPEN_S + 900, 900)
    window = one("KXBTC15M", OPEN_S, prices)
    assert settlement_of(window, prices).is_yes
    settled_cents = settlement_of(window, prices).settled_cents
    rung = Market(kind("KXBTCD"), OPEN_S + 900 - 3_600, 2, settled_cents)
    assert not settlement_of(rung, prices).is_yes


def test_a_market_that_was_never_struck_is_no(prices: Prices) -> None:
    opens = range(OPEN_S, OPEN_S + 90_000, 900)
    window = next(m for s in opens if settlement_of(m := one("KXBTC15M", s, prices), prices).is_yes)
    assert not settlement_of(window, prices, lambda name, *_: name == "missing_strike").is_yes


def test_a_late_strike_is_late_by_ninety_seconds(prices: Prices) -> None:
    market = one("KXBTC15M", OPEN_S, prices)
    late_ns = market.struck_ns(lambda name, *_: name == "late_strike")
    assert late_ns - market.struck_ns() == 90 * NS_PER_S
