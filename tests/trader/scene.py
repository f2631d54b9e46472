"""Small worlds for the trader's tests: one market, its quotes and forecasts, built by hand."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from libs.common.events import (
    Event,
    Fill,
    Forecast,
    Market,
    Order,
    QuoteSnapshot,
    Resolution,
    Side,
    Skip,
    Tick,
    event_id,
    quote_id,
)
from libs.common.pricing import TERMS
from services.trader.engine import TraderEngine
from services.trader.limits import Exposure, Situation, TraderSettings

S = 1_000_000_000
OPEN_NS = 1_790_000_100 * S
LIFE_S = 900
CLOSE_NS = OPEN_NS + LIFE_S * S


def at(second: float) -> int:
    """Return the instant `second` seconds after the open."""
    return OPEN_NS + round(second * S)


def market(name: str = "M1", **changes: Any) -> Market:
    """Return a Kalshi 15-minute market; `changes` replace fields."""
    venue, series = changes.get("venue", "kalshi"), changes.get("series", "KXBTC15M")
    terms = TERMS[venue, series]
    fields: dict[str, Any] = {
        "ts_ns": OPEN_NS,
        "id": event_id("Market", venue, name),
        "venue": venue,
        "market": name,
        "series": series,
        "underlying": "BTC-USD",
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "comparator": ">=",
        "settlement_rule": "mean60",
        "fee": terms.fee,
        "tick_ranges": terms.tick_ranges,
        "rule_fingerprint": "r",
        "strike_usd": 100_000.0,
    }
    return Market(**fields | changes)


def quote(
    second: float,
    bids: Sequence[tuple[int, int]] = ((5_400, 20_000),),
    asks: Sequence[tuple[int, int]] = ((5_500, 20_000),),
    **changes: Any,
) -> QuoteSnapshot:
    """Return a book of (price_e4, size_e2) levels `second` seconds after the open."""
    levels = [
        tuple(price for price, _ in bids),
        tuple(size for _, size in bids),
        tuple(price for price, _ in asks),
        tuple(size for _, size in asks),
    ]
    fields: dict[str, Any] = {
        "ts_ns": at(second),
        "venue": "kalshi",
        "market": "M1",
        "underlying": "BTC-USD",
        "yes_bids_price_e4": levels[0],
        "yes_bids_size_e2": levels[1],
        "yes_asks_price_e4": levels[2],
        "yes_asks_size_e2": levels[3],
    }
    fields |= changes
    name = quote_id(fields["venue"], fields["market"], fields["ts_ns"], levels)
    return QuoteSnapshot(**{"id": name} | fields)


def forecast(of: QuoteSnapshot, p: float = 0.62, **changes: Any) -> Forecast:
    """Return the champion's forecast made on the snapshot `of`."""
    fields: dict[str, Any] = {
        "ts_ns": of.ts_ns,
        "id": event_id("Forecast", of.id, changes.get("role", "champion")),
        "feature_id": event_id("FeatureRow", of.id),
        "feature_hash": "h",
        "venue": of.venue,
        "market": of.market,
        "series": "KXBTC15M",
        "underlying": of.underlying,
        "close_ns": CLOSE_NS,
        "role": "champion",
        "bundle": "b",
        "p_raw": p,
        "p": p,
        "base_p": p,
        "is_fallback": False,
        "bid_e4": of.yes_bids_price_e4[0] if of.yes_bids_price_e4 else None,
        "ask_e4": of.yes_asks_price_e4[0] if of.yes_asks_price_e4 else None,
    }
    return Forecast(**fields | changes)


def tick(second: float, underlying: str = "BTC-USD") -> Tick:
    """Return the end of a collector tick."""
    return Tick(
        ts_ns=at(second), id=event_id("Tick", underlying, at(second)), underlying=underlying
    )


def resolution(result: Side = "yes", second: float = LIFE_S + 60, **changes: Any) -> Resolution:
    """Return the venue's result of a market."""
    fields: dict[str, Any] = {
        "ts_ns": at(second),
        "venue": "kalshi",
        "market": "M1",
        "underlying": "BTC-USD",
        "about_ns": CLOSE_NS,
        "result": result,
        "source": "venue",
    }
    fields |= changes
    name = event_id("Resolution", fields["venue"], fields["market"], result, fields["source"])
    return Resolution(**{"id": name} | fields)


def run(engine: TraderEngine, events: Iterable[Event]) -> list[Event]:
    """Feed `events` and return everything that came out."""
    return [out for event in events for out in engine.handle(event)]


def step(second: float, p: float = 0.62, of: QuoteSnapshot | None = None) -> list[Event]:
    """Return one whole tick: snapshot, forecast, Tick."""
    shown = quote(second) if of is None else of
    return [shown, forecast(shown, p), tick(second)]


def trader(settings: TraderSettings | None = None, **changes: Any) -> TraderEngine:
    """Return an engine whose settings differ from the default by `changes`."""
    return TraderEngine(msgspec.structs.replace(settings or TraderSettings(), **changes))


def orders(events: Iterable[Event]) -> list[Order]:
    """Return the orders among `events`."""
    return [event for event in events if isinstance(event, Order)]


def fills(events: Iterable[Event]) -> list[Fill]:
    """Return the fills among `events`."""
    return [event for event in events if isinstance(event, Fill)]


def reasons(events: Iterable[Event], strategy: str = "edge") -> list[str]:
    """Return the reasons of the skips of `strategy`."""
    return [e.reason for e in events if isinstance(e, Skip) and e.strategy == strategy]


def order(**changes: Any) -> Order:
    """Return an order that keeps every limit in `situation()`."""
    fields: dict[str, Any] = {
        "ts_ns": at(60),
        "id": event_id("Order", "edge", "kalshi", "M1", at(60), "yes"),
        "strategy": "edge",
        "venue": "kalshi",
        "market": "M1",
        "underlying": "BTC-USD",
        "side": "yes",
        "forecast_id": event_id("Forecast", 1),
        "price_limit_e4": 5_500,
        "size_e2": 1_000,
        "stake_e6": 5_500_000,
        "fee_e6_max": 180_000,
        "p": 0.62,
        "edge": 0.05,
        "arrival_ns": at(60.25),
    }
    return Order(**fields | changes)


def situation(account: dict[str, Any] | None = None, **changes: Any) -> Situation:
    """Return a situation in which `order()` keeps every limit."""
    money: dict[str, Any] = {
        "market_e6": 0,
        "underlying_e6": 0,
        "venue_e6": 0,
        "total_e6": 0,
        "cash_e6": 1_000_000_000,
        "positions": 0,
        "orders_last_minute": 0,
        "loss_day_e6": 0,
        "drawdown_e6": 0,
        "has_order": False,
        "has_position": False,
        "is_opposite": False,
    }
    fields: dict[str, Any] = {
        "account": Exposure(**money | (account or {})),
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "quote_age_ns": 0,
        "interval_ns": S,
        "clean": 3,
        "best_e4": 5_500,
        "distance_e6": 70_000,
        "halted": None,
        "order_ns_last": None,
    }
    return Situation(**fields | changes)
