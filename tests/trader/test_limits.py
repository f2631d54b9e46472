"""Limits: each with a test that bypasses the caller, and all against random histories."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.checks import ConfigError
from libs.common.events import Event, Fill, Flag, Forecast, Order, QuoteSnapshot, Settlement, Skip
from services.trader.account import DAY_NS
from services.trader.engine import TraderEngine
from services.trader.limits import (
    LIMITS,
    MONEY_LIMITS,
    SECOND_NS,
    TraderSettings,
    breach,
    headroom,
)
from tests.trader import scene
from tests.trader.sequences import STRATEGIES, TIGHT, history

DEFAULT = TraderSettings()
ROOM_E6 = 5_500_000 + 180_000  # what scene.order() can cost

BREAKING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # limit: changes of the order, of the situation, of the account
    "halted": ({}, {"halted": "halted"}, {}),
    "too_early": ({"ts_ns": scene.at(9.9), "arrival_ns": scene.at(60)}, {}, {}),
    "too_late": ({"ts_ns": scene.at(869.8), "arrival_ns": scene.at(870.1)}, {}, {}),
    "stale": ({}, {"quote_age_ns": 2 * SECOND_NS + 1}, {}),
    "unclean": ({}, {"clean": 2}, {}),
    "price": ({"price_limit_e4": 10_000}, {"best_e4": 10_000}, {}),
    "collar": ({"price_limit_e4": 5_700, "stake_e6": 5_700_000}, {}, {}),
    "distance": ({}, {"distance_e6": 120_001}, {}),
    "in_flight": ({}, {}, {"has_order": True}),
    "opposite": ({}, {}, {"is_opposite": True}),
    "cooldown": ({}, {"order_ns_last": scene.at(0.1)}, {}),
    "orders_per_minute": ({}, {}, {"orders_last_minute": 20}),
    "positions": ({}, {}, {"positions": 40}),
    "loss_day": ({}, {}, {"loss_day_e6": 200_000_000}),
    "drawdown": ({}, {}, {"drawdown_e6": 500_000_000}),
    "size": ({"size_e2": 0, "stake_e6": 0}, {}, {}),
    "order": ({"fee_e6_max": 45_000_000}, {}, {}),
    "market": ({}, {}, {"market_e6": 100_000_000 - ROOM_E6 + 1}),
    "underlying": ({}, {}, {"underlying_e6": 400_000_000 - ROOM_E6 + 1}),
    "venue": ({}, {}, {"venue_e6": 600_000_000 - ROOM_E6 + 1}),
    "total": ({}, {}, {"total_e6": 1_000_000_000 - ROOM_E6 + 1}),
    "cash": ({}, {}, {"cash_e6": ROOM_E6 - 1}),
}


def test_an_order_within_all_limits_breaks_none() -> None:
    assert breach(scene.order(), scene.situation(), DEFAULT) is None


@pytest.mark.parametrize("name", BREAKING)
def test_each_limit_stops_an_order_that_comes_past_the_caller(name: str) -> None:
    of_order, of_situation, of_account = BREAKING[name]
    situation = scene.situation(of_account, **of_situation)
    assert breach(scene.order(**of_order), situation, DEFAULT) == name


def test_every_limit_of_the_tables_has_a_breaking_case() -> None:
    named = {limit.name for limit in LIMITS} | {limit.name for limit in MONEY_LIMITS}
    assert set(BREAKING) == named | {"size"}


@pytest.mark.parametrize("name", [limit.name for limit in MONEY_LIMITS if limit.name != "order"])
def test_exposure_exactly_at_a_money_limit_is_allowed(name: str) -> None:
    of_account = {
        key: value + (1 if key == "cash_e6" else -1) for key, value in BREAKING[name][2].items()
    }
    assert breach(scene.order(), scene.situation(of_account), DEFAULT) is None


def test_an_open_position_may_be_added_to_when_there_are_too_many() -> None:
    situation = scene.situation({"positions": 40, "has_position": True})
    assert breach(scene.order(), situation, DEFAULT) is None


def test_a_book_from_the_future_is_stale() -> None:
    assert breach(scene.order(), scene.situation(quote_age_ns=-1), DEFAULT) == "stale"


def test_stake_that_is_not_price_times_size_is_refused() -> None:
    assert breach(scene.order(stake_e6=1), scene.situation(), DEFAULT) == "size"


def test_headroom_is_the_tightest_money_limit_and_never_negative() -> None:
    assert headroom(scene.situation({"total_e6": 990_000_000}), DEFAULT) == (10_000_000, "total")
    assert headroom(scene.situation({"venue_e6": 700_000_000}), DEFAULT) == (0, "venue")


def test_zero_and_negative_limits_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"total_e6_max is 0.*cooldown_s is -1"):
        TraderSettings(total_e6_max=0, cooldown_s=-1)


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"total_e6_maximum": 1}, TraderSettings)


def test_polymarket_adds_its_taker_delay() -> None:
    assert DEFAULT.latency_ns("kalshi") == 250_000_000
    assert DEFAULT.latency_ns("polymarket") == 500_000_000


class Watcher:
    """Keeps its own books from the trader's outputs alone, and checks every order against them."""

    def __init__(self, limits: TraderSettings) -> None:
        self.limits = limits
        self.flying: dict[str, Order] = {}
        self.held: dict[tuple[str, str, str], list[Fill]] = defaultdict(list)
        self.times: list[int] = []
        self.last: dict[tuple[str, str, str], int] = {}
        self.decisions: set[tuple[str, str, str, int, str]] = set()
        self.realised_e6 = self.peak_e6 = self.day = self.day_realised_e6 = 0
        self.cash_e6 = limits.capital_e6
        self.killed = False

    def see(self, event: Event, outputs: Sequence[Event], quotes: dict[str, QuoteSnapshot]) -> None:
        if event.ts_ns // DAY_NS > self.day:
            self.day, self.day_realised_e6 = event.ts_ns // DAY_NS, self.realised_e6
        for out in outputs:
            if isinstance(out, Order):
                assert isinstance(event, Forecast)
                self.order(out, event, quotes[out.market])
            elif isinstance(out, Fill):
                self.fill(out)
            elif isinstance(out, Settlement):
                self.settle(out)
            elif isinstance(out, Skip) and out.order_id is not None:
                del self.flying[out.order_id]
            elif isinstance(out, Skip) and out.reason.startswith("resume: "):
                self.peak_e6, self.killed = self.realised_e6, False
            elif isinstance(out, Skip) and out.reason.startswith("kill: "):
                self.killed = True

    def order(self, order: Order, forecast: Forecast, quote: QuoteSnapshot) -> None:
        limits, key = self.limits, (order.strategy, order.venue, order.market)
        decision = (*key, order.ts_ns, order.side)
        assert decision not in self.decisions, "one decision, one order"
        self.decisions.add(decision)
        assert not forecast.is_fallback and forecast.role == "champion"
        assert forecast.id == order.forecast_id and 0 <= forecast.p <= 1
        assert not quote.flags & (Flag.CROSSED | Flag.LOCKED | Flag.COARSE | Flag.STALE)
        assert quote.yes_bids_price_e4 and quote.yes_asks_price_e4 and quote.yes_asks_size_e2
        assert not self.killed
        self.flying[order.id] = order
        assert len([o for o in self.flying.values() if (o.strategy, o.venue, o.market) == key]) == 1
        held = [(f, f.price_e4 * f.size_e2 + f.fee_e6) for fs in self.held.values() for f in fs]
        risk = [*held, *((o, o.stake_e6 + o.fee_e6_max) for o in self.flying.values())]
        assert sum(c for _, c in risk) <= limits.total_e6_max
        assert sum(c for i, c in risk if i.underlying == order.underlying) <= (
            limits.underlying_e6_max
        )
        assert sum(c for i, c in risk if i.venue == order.venue) <= limits.venue_e6_max
        assert sum(c for i, c in risk if (i.venue, i.market) == key[1:]) <= limits.market_e6_max
        flying_e6 = sum(o.stake_e6 + o.fee_e6_max for o in self.flying.values())
        assert flying_e6 <= self.cash_e6
        assert len({(i.strategy, i.venue, i.market) for i, _ in risk}) <= limits.positions_max
        self.times = [*(t for t in self.times if order.ts_ns - t < 60 * SECOND_NS), order.ts_ns]
        assert len(self.times) <= limits.orders_per_minute_max
        assert order.ts_ns - self.last.get(key, 0) >= limits.cooldown_s * SECOND_NS
        self.last[key] = order.ts_ns
        assert self.day_realised_e6 - self.realised_e6 < limits.loss_day_e6_max
        assert self.peak_e6 - self.realised_e6 < limits.drawdown_e6_max
        assert forecast.close_ns - order.arrival_ns >= limits.close_s_min * SECOND_NS
        assert all(f.side == order.side for f in self.held.get(key, []))

    def fill(self, fill: Fill) -> None:
        order = self.flying[fill.order_id]
        self.held[fill.strategy, fill.venue, fill.market].append(fill)
        assert fill.price_e4 <= order.price_limit_e4 and fill.size_e2 > 0
        self.cash_e6 -= fill.price_e4 * fill.size_e2 + fill.fee_e6
        self.realised_e6 -= fill.fee_e6
        mine = [
            f for f in self.held[fill.strategy, fill.venue, fill.market] if f.order_id == order.id
        ]
        assert sum(f.fee_e6 for f in mine) <= order.fee_e6_max
        if sum(f.size_e2 for f in mine) == order.size_e2:
            del self.flying[order.id]
        assert sum(f.size_e2 for f in mine) <= order.size_e2

    def settle(self, settlement: Settlement) -> None:
        fills = self.held.pop((settlement.strategy, settlement.venue, settlement.market))
        self.cash_e6 += settlement.payout_e6
        self.realised_e6 += settlement.payout_e6 - sum(f.price_e4 * f.size_e2 for f in fills)
        self.peak_e6 = max(self.peak_e6, self.realised_e6)
        cost_e6 = sum(f.price_e4 * f.size_e2 + f.fee_e6 for f in fills)
        assert settlement.pnl_e6 == settlement.payout_e6 - cost_e6


@settings(max_examples=120)
@given(st.integers(0, 2**32 - 1))
def test_no_history_breaks_any_limit(seed: int) -> None:
    engine, watcher = TraderEngine(TIGHT, STRATEGIES), Watcher(TIGHT)
    quotes: dict[str, QuoteSnapshot] = {}
    for event in history(seed):
        outputs = engine.handle(event)
        if isinstance(event, QuoteSnapshot):
            quotes[event.market] = event
        watcher.see(event, outputs, quotes)
        assert engine.ledger.cash_e6 == watcher.cash_e6
        assert engine.ledger.realised_e6() == watcher.realised_e6


def test_random_histories_do_trade() -> None:
    outputs = [
        out
        for seed in range(30)
        for out in scene.run(TraderEngine(TIGHT, STRATEGIES), history(seed))
    ]
    assert len(scene.orders(outputs)) > 100
    assert len(scene.fills(outputs)) > 30
    met = set(scene.reasons(outputs))
    assert {"fallback", "unsound_book", "unclean", "stale", "opposite", "too_late"} <= met
