"""Kalshi's texts for its tests: recorded ones, where they are, and short ones made by hand."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from libs.common.venues.messages import (
    BookChange,
    BookSnapshot,
    IndexValue,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
)

RECORDINGS = Path(
    os.environ.get("HAWK_RECORDINGS") or Path(__file__).parents[3].parent / "shared/data/recordings"
)
WIRE = RECORDINGS.parent / "wire/kalshi"
CAPTURE = "kxbtc15m_2026-05-13.capture.jsonl.zst"
RANGE = "kxbtc_range_2026-04-18_frames.jsonl"

BTC = "KXBTC15M-26AUG170100-00"
MS = 1_786_942_800_123
"""2026-08-17 05:00:00.123 UTC."""
NS = MS * 1_000_000

PRIMARY_15M = (
    "If the simple average of the sixty seconds of CF Benchmarks' BRTI before 1:00 AM EDT on Aug"
    " 17, 2026 is at least the simple average of the sixty seconds of CF Benchmarks' BRTI before"
    " 12:45 AM EDT on August 17, 2026, then the market resolves to Yes."
)
PRIMARY_HOURLY = (
    "If the simple average of the sixty seconds of CF Benchmarks' Bitcoin Real-Time Index (BRTI)"
    " before 5 PM EDT is above 72749.99 at 5 PM EDT on Aug 17, 2026, then the market resolves to"
    " Yes."
)
_SECONDARY = (
    "Not all cryptocurrency price data is the same. While checking a source like Google or"
    " Coinbase may help guide your decision, the price used to determine this market is based on"
    " CF Benchmarks' corresponding Real Time Index (RTI). At the last minute before expiration, 60"
    " RTI prices are collected. The official and final value is the average of these prices"
)
SECONDARY_15M = f"{_SECONDARY}, rounded to the nearest 2 decimal places."
SECONDARY_HOURLY = f"{_SECONDARY}."


def frame(kind: str, msg: object, *, sid: int | None = 2, seq: int | None = 7) -> str:
    """Write a frame; without a number where `sid` or `seq` is None."""
    numbers = {"sid": sid, "seq": seq}
    return json.dumps(
        {"type": kind, **{k: v for k, v in numbers.items() if v is not None}, "msg": msg}
    )


def delta(**changes: object) -> dict[str, Any]:
    """Return the `msg` of a delta."""
    return {
        "market_ticker": BTC,
        "price_dollars": "0.9600",
        "delta_fp": "-54.00",
        "side": "yes",
        "ts_ms": MS,
    } | changes


def snapshot(**changes: object) -> dict[str, Any]:
    """Return the `msg` of a snapshot."""
    return {
        "market_ticker": BTC,
        "yes_dollars_fp": [["0.0800", "300.00"], ["0.2200", "333.00"]],
        "no_dollars_fp": [["0.5400", "20.00"], ["0.5600", "146.25"]],
    } | changes


def ticker(**changes: object) -> dict[str, Any]:
    """Return the `msg` of a ticker."""
    return {
        "market_ticker": BTC,
        "price_dollars": "0.4800",
        "yes_bid_dollars": "0.4500",
        "yes_ask_dollars": "0.5300",
        "yes_bid_size_fp": "300.00",
        "yes_ask_size_fp": "150.50",
        "ts_ms": MS,
    } | changes


def trade(**changes: object) -> dict[str, Any]:
    """Return the `msg` of a trade."""
    return {
        "trade_id": "d91bc706-ee49-470d-82d8-11418bda6fed",
        "market_ticker": BTC,
        "yes_price_dollars": "0.3600",
        "no_price_dollars": "0.6400",
        "count_fp": "136.00",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "is_block_trade": False,
        "ts_ms": MS,
    } | changes


def index(**changes: object) -> dict[str, Any]:
    """Return the `msg` of an index print."""
    return {
        "index_id": "BRTI",
        "received_at": MS,
        "data": json.dumps({"type": "value", "id": "BRTI", "time": MS - 100, "value": "68000.12"}),
        "avg_60s_data": {
            "value": "67999.50000000",
            "window_size": 60,
            "window_start_ts_ms": MS - 60_100,
            "window_end_ts_exclusive": MS - 100,
        },
    } | changes


def market(**changes: object) -> dict[str, Any]:
    """Return a market object of REST: a struck quarter hour."""
    return {
        "ticker": BTC,
        "event_ticker": BTC[:-3],
        "market_type": "binary",
        "open_time": "2026-08-17T04:45:00Z",
        "close_time": "2026-08-17T05:00:00Z",
        "latest_expiration_time": "2026-08-24T05:00:00Z",
        "updated_time": "2026-08-17T04:45:00.707862Z",
        "status": "active",
        "result": "",
        "expiration_value": "",
        "strike_type": "greater_or_equal",
        "floor_strike": 63441.03,
        "custom_strike": {"round_digits": "2"},
        "yes_bid_dollars": "0.9520",
        "yes_ask_dollars": "0.9530",
        "yes_bid_size_fp": "8.00",
        "yes_ask_size_fp": "813.44",
        "last_price_dollars": "0.9530",
        "price_level_structure": "a_name_of_next_year",
        "price_ranges": [
            {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
            {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
            {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
        ],
        "rules_primary": PRIMARY_15M,
        "rules_secondary": SECONDARY_15M,
    } | changes


@lru_cache(1)
def captured() -> tuple[dict[str, Any], ...]:
    """Return the entries of the recorded session; skips where there is none."""
    path = WIRE / CAPTURE
    if not path.exists():
        pytest.skip(f"no recorded frames: {CAPTURE}")
    with pa.input_stream(str(path), compression="zstd") as stream:
        return tuple(map(json.loads, stream.read().decode().splitlines()))


def range_frames() -> list[str]:
    """Return the recorded frames of a range series; skips where there are none."""
    path = WIRE / RANGE
    if not path.exists():
        pytest.skip(f"no recorded frames: {RANGE}")
    return [json.loads(line)["raw"] for line in path.read_text().splitlines()]


EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 10**400, 1e308, "", "0", "1", "-1", "NaN", "Infinity",
    "1e999", "0.00001", "9" * 200, "\u0660", "\x00", "\x1b[2J", "../../etc", "x" * 300, [], {},
    [[]], ["x"], [["0.5", "1"]], [["0.5000", "1"], ["0.5", "2"]],
]  # fmt: skip
"""Values that a field is not meant to hold, or only in part."""

ODD_TEXTS = [
    "", " ", "null", "5", "[]", "{}", "[" * 100_000, '{"a":' * 100_000, "<html>down</html>", "{",
    '{"type":"orderbook_delta","msg":' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"type":"orderbook_delta","sid":1,"seq":' + "9" * 5_000 + "}",
    '{"type":"orderbook_delta","sid":1,"seq":1,"msg":{"ts_ms":' + "9" * 5_000 + "}}",
    '{"type":"ticker","msg":NaN}', '{"type":"ticker","msg":1e999}', '{"type":"\ud800"}',
    '{"type":"\\ud800"}', "\ufeff{}", "\x00", '{"type":5}', '{"type":["ticker"]}',
    '{"type":"error","msg":{"code":' + "9" * 5_000 + "}}",
]  # fmt: skip
"""What is no answer and no frame of this venue."""


@st.composite
def mutated(draw: st.DrawFn, originals: list[Any]) -> str:
    """One of `originals` as text, with a field somewhere dropped, replaced or written twice."""
    message = json.loads(json.dumps(draw(st.sampled_from(originals))))
    node = message
    while True:
        inner = [v for v in node.values() if isinstance(v, dict) and v]
        inner += [v[0] for v in node.values() if isinstance(v, list) and v and v[0] != []]
        inner = [v for v in inner if isinstance(v, dict)]
        if not inner or draw(st.booleans()):
            break
        node = draw(st.sampled_from(inner))
    key = draw(st.sampled_from(sorted(node)))
    action = draw(st.sampled_from(["drop", "replace", "twice"]))
    value = draw(st.sampled_from(EXTREMES) | st.text(max_size=20) | st.integers())
    if action == "drop":
        del node[key]
    elif action == "replace":
        node[key] = value
    text = json.dumps(message)
    if action == "twice":
        text = f"{text[:-1]}, {json.dumps(key)}: {json.dumps(value)}}}"
    return text


def assert_sound(messages: list[Message]) -> None:
    """Check every message against what the vocabulary promises."""
    for message in messages:
        named = getattr(message, "instrument", None) or getattr(message, "market", None)
        assert named is None or (named.isprintable() and 0 < len(named) <= 200)
        if isinstance(message, BookSnapshot):
            for side in (message.bids, message.asks):
                assert all(0 < price < 10_000 and size > 0 for price, size in side)
                assert len(dict(side)) == len(side)
        elif isinstance(message, BookChange):
            assert all(0 < price < 10_000 for _, price, _ in message.changes)
        elif isinstance(message, TopOfBook):
            known = [p for p in (message.bid, message.ask, message.last) if p is not None]
            assert all(0 < price <= 10_000 for price in known)
        elif isinstance(message, Trade):
            assert 0 < message.price < 10_000
            assert message.size > 0
        elif isinstance(message, IndexValue):
            assert 0 < message.value_usd <= 1e9
            assert 0 <= message.window_s <= 60
        elif isinstance(message, MarketFacts):
            assert message.strike_usd is None or 0 < message.strike_usd <= 1e9
        elif isinstance(message, Reject):
            assert message.detail.isprintable()
            assert len(message.detail) <= 200
