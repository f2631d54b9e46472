"""Events to test with: strategies for every type from its own annotations, and a few by hand."""

from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from libs.common import events
from libs.common.archive import HOUR_NS
from libs.common.events import Event, FeatureRow, QuoteSnapshot, SpotSnapshot, Tick, event_id

T0_NS = 1_780_000_000 // 3600 * HOUR_NS
"""A whole hour of 2026."""

INT32 = {"flags", "bid_e4", "ask_e4", "price_e4", "last_price_e4", "price_limit_e4"}
IDS = {"id", "quote_id", "feature_id", "forecast_id", "order_id", "feature_id_last"}

names = st.text(max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
ids = st.binary(min_size=8, max_size=8).map(bytes.hex)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)

FEATURE_NAMES = ("mid", "x.y", "é")
"""Rows of one feature set hold the same features in the same order."""

features = st.tuples(*(st.none() | floats for _ in FEATURE_NAMES)).map(
    lambda row: dict(zip(FEATURE_NAMES, row, strict=True))
)


def field_strategy(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for one field of an event."""
    options = [o for o in get_args(hint) if o is not NoneType]
    if isinstance(hint, UnionType) and NoneType in get_args(hint):
        return st.none() | field_strategy(name, options[0])
    if name in IDS:
        return ids
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        element = int32 if "price_e4" in name else int64
        inner = names if get_args(hint)[0] is str else element
        if get_args(hint)[0] is events.TickRange:
            inner = struct_strategy(events.TickRange)
        return st.lists(inner, max_size=events.LEVELS_MAX).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(names, st.none() | floats, max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct_strategy(hint)
    return {int: int32 if name in INT32 else int64, float: floats, bool: st.booleans(), str: names}[
        hint
    ]


def struct_strategy(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return a strategy for a struct, every field drawn."""
    hints = get_type_hints(kind)
    fields = {name: field_strategy(name, hints[name]) for name in kind.__struct_fields__}
    if issubclass(kind, Event):
        fields |= {"ts_ns": st.integers(T0_NS, T0_NS + HOUR_NS - 1), "seq": st.just(0)}
    if kind is FeatureRow:
        fields["values"] = features
    return st.builds(kind, **fields)


def tick(number: int, *, ts_ns: int = T0_NS) -> Tick:
    """Return a tick, a second after the one before it."""
    at_ns = ts_ns + number * 1_000_000_000
    return Tick(ts_ns=at_ns, id=event_id("Tick", "BTC-USD", at_ns), underlying="BTC-USD")


def spot(number: int, *, ts_ns: int = T0_NS, underlying: str = "BTC-USD") -> SpotSnapshot:
    """Return a spot snapshot, a second after the one before it."""
    at_ns = ts_ns + number * 1_000_000_000
    return SpotSnapshot(
        ts_ns=at_ns,
        id=event_id("SpotSnapshot", underlying, "test", at_ns),
        underlying=underlying,
        source="test",
        last_usd=100_000.0 + number,
    )


def quote(number: int, *, ts_ns: int = T0_NS, market: str = "M-1") -> QuoteSnapshot:
    """Return a quote snapshot, a second after the one before it."""
    at_ns = ts_ns + number * 1_000_000_000
    return QuoteSnapshot(
        ts_ns=at_ns,
        id=event_id("QuoteSnapshot", market, at_ns),
        venue="kalshi",
        market=market,
        underlying="BTC-USD",
        yes_bids_price_e4=(4900, 4800),
        yes_bids_size_e2=(100, 200 + number),
        yes_asks_price_e4=(5100,),
        yes_asks_size_e2=(300,),
    )


def model_event(number: int, *, ts_ns: int = T0_NS, **changes: Any) -> events.ModelEvent:
    """Return an activation."""
    fields: dict[str, Any] = {
        "ts_ns": ts_ns + number,
        "id": event_id("ModelEvent", ts_ns, number),
        "bundle": "a" * 24,
        "action": "activated",
        "reason": f"reason {number}",
        "cause": "operator",
        "generation": number + 1,
    }
    return events.ModelEvent(**(fields | changes))
