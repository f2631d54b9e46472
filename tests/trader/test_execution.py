"""The end of an order: fills at the bracket, and the reason for what is left."""

from typing import Any

import msgspec

from libs.common.events import FeeSchedule
from services.trader.execution import attempt, ending, skip, span_ns_max
from services.trader.limits import TraderSettings
from services.trader.paper import Level
from services.trader.state import MarketState
from tests.trader.scene import S, market, order, quote

SETTINGS = TraderSettings()


def state(second: float = 60, **changes: Any) -> MarketState:
    fields: dict[str, Any] = {"market": market(), "quote": quote(second), "clean": 3}
    return MarketState(**fields | changes)


def test_a_fill_is_paid_at_the_displayed_price_with_its_fee() -> None:
    (fill,), rest, taken = attempt(order(), state(), quote(61), SETTINGS)
    assert rest is None
    assert (fill.price_e4, fill.size_e2, fill.fee_e6) == (5_500, 1_000, 180_000)
    # 0.07 x 10 x 0.55 x 0.45 = 0.17325 exact, the rest is the venue's cent.
    assert fill.rounding_e6 == 180_000 - 173_250
    assert list(taken) == [Level(5_500, 1_000)]


def test_attempting_changes_nothing() -> None:
    before = state()
    kept = msgspec.json.encode(before)
    attempt(order(), before, quote(61), SETTINGS)
    assert msgspec.json.encode(before) == kept


def test_levels_are_walked_up_to_the_limit_price() -> None:
    asks = [(5_500, 300), (5_600, 300), (5_700, 9_000)]
    wide = order(price_limit_e4=5_600, fee_e6_max=200_000)
    fills, rest, _ = attempt(
        wide, state(quote=quote(60, asks=asks)), quote(61, asks=asks), SETTINGS
    )
    assert [(f.price_e4, f.size_e2) for f in fills] == [(5_500, 300), (5_600, 300)]
    assert rest == "unfilled: depth"
    assert len({f.id for f in fills}) == 2


def test_an_empty_side_fills_nothing() -> None:
    assert attempt(order(), state(), quote(61, asks=[]), SETTINGS)[:2] == ([], "unfilled: depth")


def test_a_price_that_ran_away_fills_nothing() -> None:
    moved = attempt(order(), state(), quote(61, asks=[(5_600, 9_000)]), SETTINGS)
    assert moved[:2] == ([], "unfilled: price_moved")


def test_an_order_is_bound_to_the_fee_it_was_made_with() -> None:
    dear = FeeSchedule(name="dear", rate_e4=1_400, exponent=1, round_e6=10_000)
    got = attempt(order(), state(market=market(fee=dear)), quote(61), SETTINGS)
    assert got[:2] == ([], "unfilled: fee")


def test_a_market_without_a_quote_a_fee_or_with_a_result_fills_nothing() -> None:
    for changes in ({"quote": None}, {"market": market(fee=None)}, {"result": "yes"}):
        got = attempt(order(), state(**changes), quote(61), SETTINGS)
        assert got[:2] == ([], "unfilled: closed")


def test_a_bracket_is_three_intervals_of_the_market_at_most() -> None:
    assert span_ns_max(state(interval_ns=S), SETTINGS) == 3 * S
    assert span_ns_max(state(interval_ns=10 * S), SETTINGS) == 30 * S
    assert span_ns_max(state(interval_ns=60 * S), SETTINGS) == 120 * S
    assert span_ns_max(state(interval_ns=S // 10), SETTINGS) == 3 * S
    assert span_ns_max(state(), SETTINGS) == 120 * S


def test_a_skip_names_its_forecast_and_an_ending_its_order() -> None:
    ended = ending(order(), "unfilled: depth", 5)
    assert (ended.order_id, ended.forecast_id) == (order().id, order().forecast_id)
    assert skip("edge", market(), "no_edge", ts_ns=5, forecast_id="f").order_id is None
