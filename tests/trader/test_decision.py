"""One decision as a pure function: an order, or the reason for none."""

from typing import Any

import pytest

from libs.common.events import Order
from libs.common.pricing import LINEAR_CENT, TERMS
from services.trader.decision import Chance, best_offer, decide, distance_e6, unusable
from services.trader.limits import TraderSettings
from services.trader.paper import Level
from services.trader.strategies import STRATEGIES, Offer
from tests.trader.scene import forecast, market, quote, situation

SETTINGS = TraderSettings()
EDGE = STRATEGIES[0]


def chance(p: float = 0.62, size_e2: int = 20_000, **changes: Any) -> Chance:
    shown = quote(60)
    own = market(**changes)
    made = forecast(shown, p)
    fee = TERMS["kalshi", "KXBTC15M"].fee
    offer = best_offer(made, shown, fee)
    book = [Level(offer.best_e4, size_e2)]
    return Chance(made, own, shown, fee, TERMS[own.venue, own.series], offer, book)


def test_an_order_says_what_it_may_cost() -> None:
    order = decide(chance(), EDGE, situation(), SETTINGS)
    assert isinstance(order, Order)
    assert order.stake_e6 == order.size_e2 * order.price_limit_e4
    assert 24_900_000 < order.stake_e6 + order.fee_e6_max <= EDGE.stake_e6
    assert order.edge == pytest.approx(0.62 - 0.55 - 0.017325)
    assert order.price_limit_e4 == 5_600 and order.bounds == ("stake",)


def test_the_tightest_limit_bounds_the_size_and_is_named() -> None:
    order = decide(chance(), EDGE, situation({"venue_e6": 590_000_000}), SETTINGS)
    assert isinstance(order, Order)
    assert order.bounds == ("venue",)
    assert order.stake_e6 + order.fee_e6_max <= 10_000_000


def test_the_depth_bounds_the_size() -> None:
    order = decide(chance(size_e2=700), EDGE, situation(), SETTINGS)
    assert isinstance(order, Order)
    assert (order.size_e2, order.bounds) == (700, ("depth",))


def test_no_depth_is_no_order() -> None:
    assert decide(chance(size_e2=0), EDGE, situation(), SETTINGS) == "size_min"


def test_an_exhausted_limit_is_the_reason() -> None:
    full = situation({"total_e6": 1_000_000_000})
    assert decide(chance(), EDGE, full, SETTINGS) == "total"


def test_a_remainder_too_small_to_earn_its_fee_names_the_limit() -> None:
    nearly = situation({"market_e6": 99_900_000})
    assert decide(chance(p=0.585), EDGE, nearly, SETTINGS) == "market"


def test_a_small_order_may_not_earn_its_rounded_fee() -> None:
    # Edge 0.58 - 0.55 - 0.0173 = 0.0127 per contract, but a tenth of one pays a cent, too.
    assert decide(chance(p=0.58, size_e2=10), EDGE, situation(), SETTINGS) == (
        "no_edge_after_rounding"
    )


def test_a_veto_comes_before_the_size() -> None:
    assert decide(chance(), EDGE, situation(halted="halted: kill"), SETTINGS) == "halted: kill"


def test_a_touch_off_the_grid_is_no_order() -> None:
    odd = chance(tick_ranges=LINEAR_CENT)._replace(offer=Offer("yes", 5_510, 580_000, 11_700))
    assert decide(odd, EDGE, situation(best_e4=5_510), SETTINGS) == "off_grid"


def test_distance_is_from_the_mid() -> None:
    assert distance_e6(forecast(quote(60), 0.62), quote(60)) == 75_000


def test_a_usable_row_has_no_reason_against_it() -> None:
    assert unusable(forecast(quote(60)), market(), quote(60)) is None
    assert unusable(forecast(quote(60)), market(), None) == "no_quote"
