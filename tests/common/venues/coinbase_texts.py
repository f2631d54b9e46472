"""Coinbase's texts for its tests: recorded ones, where they are, and short ones made by hand."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from libs.common.venues.messages import (
    DETAIL_LENGTH_MAX,
    Acknowledged,
    BookChange,
    BookSnapshot,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)

RECORDINGS = Path(
    os.environ.get("HAWK_RECORDINGS") or Path(__file__).parents[3].parent / "shared/data/recordings"
)
WIRE = RECORDINGS.parent / "wire/coinbase"
CAPTURE = "exchange_feed_capture.txt.zst"

AT = "2026-09-01T12:00:00.250000Z"
AT_NS = 1_788_264_000_250_000_000

EXTREMES: list[Any] = [
    None, True, False, 0, -1, 5, 10**30, 1e308, "", "0", "-1", "nan", "NaN", "inf", "Infinity",
    "1e999", "1e400", "1_0", " 1", "+1", "9" * 200, "9" * 5_000, "\u0663", "\x00", "\u202e",
    "../../x", [], {}, [[]], ["x"], [None], "x" * 300, "0001-01-01T00:00:00Z",
]  # fmt: skip
"""Values that no field of a venue is meant to hold."""

NESTED = "[" * 100_000 + "]" * 100_000

NOT_READABLE = {
    "nothing": "",
    "white space": "  ",
    "truncated": '{"channel":"l2_data","sequence_num":',
    "html": "<html><body>maintenance</body></html>",
    "nan": '{"channel":"l2_data","type":"l2update","sequence_num":NaN}',
    "nested": "[" * 100_000,
    "nested inside": f'{{"channel":"l2_data","type":"snapshot","events":{NESTED}}}',
    "surrogate": '{"channel":"\ud800"}',
    "two values": "{} {}",
    "byte order mark": "\ufeff{}",
}  # fmt: skip
NOT_A_MESSAGE = {"list": "[1]", "number": "5", "text": '"x"', "null": "null", "empty": "{}"}


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def wire(name: str) -> str:
    """Text of a recorded file; skips where there is none."""
    path = WIRE / name
    if not path.exists():
        pytest.skip("no recorded messages: set HAWK_RECORDINGS to a folder beside wire/")
    if name.endswith(".zst"):
        return str(pa.input_stream(str(path), compression="zstd").read().decode())
    return path.read_text()


def envelope(channel: str, events: Any, *, sequence: Any = 7, **others: Any) -> str:
    """Write a text of Advanced Trade."""
    fields = {"channel": channel, "timestamp": AT, "sequence_num": sequence, "events": events}
    return json.dumps(fields | others)


def level(side: Any = "bid", price: Any = "100.50", size: Any = "2") -> dict[str, Any]:
    """Return a level of Advanced Trade."""
    return {"side": side, "event_time": AT, "price_level": price, "new_quantity": size}


def book(kind: Any, levels: Any, *, product: Any = "BTC-USD") -> dict[str, Any]:
    """Return an event of a book."""
    return {"type": kind, "product_id": product, "updates": levels}


def trade(**others: Any) -> dict[str, Any]:
    """Return a trade of Advanced Trade, whose maker bought."""
    row = {"trade_id": "11", "product_id": "BTC-USD", "price": "100.50", "size": "0.25"}
    return row | {"side": "BUY", "time": AT} | others


def tick(**others: Any) -> dict[str, Any]:
    """Return a ticker of Advanced Trade."""
    prices = {"price": "100.25", "best_bid": "100.00", "best_ask": "100.50"}
    sizes = {"best_bid_quantity": "3", "best_ask_quantity": "4"}
    return {"type": "ticker", "product_id": "BTC-USD", **prices, **sizes} | others


@st.composite
def mutated(draw: st.DrawFn, originals: list[str]) -> str:
    """Return one of `originals` with a value dropped, replaced or repeated somewhere."""
    message = json.loads(draw(st.sampled_from(originals)))
    node = message
    while inner := [v for v in children(node) if isinstance(v, dict | list) and v]:
        if draw(st.booleans()):
            break
        node = draw(st.sampled_from(inner))
    keys = sorted(node) if isinstance(node, dict) else range(len(node))
    key = draw(st.sampled_from(keys))
    action = draw(st.sampled_from(("drop", "replace", "repeat")))
    if action == "drop":
        del node[key]
    elif action == "replace":
        node[key] = draw(st.sampled_from(EXTREMES) | st.text(max_size=5) | st.floats(width=32))
    elif isinstance(node, list):
        node.append(node[key])
    return json.dumps(message, ensure_ascii=draw(st.booleans()))


def children(node: Any) -> list[Any]:
    """Return the values inside."""
    return list(node.values()) if isinstance(node, dict) else list(node)


def check(message: Message) -> None:
    """Fail unless a message is within what it documents."""
    for name in (getattr(message, "instrument", None), getattr(message, "trade_id", None)):
        assert name is None or (name.isprintable() and name.isascii() and 0 < len(name) <= 200)
    if isinstance(message, BookSnapshot):
        for side in (message.bids, message.asks):
            assert len(dict(side)) == len(side)
            assert all(0 < price <= 1e9 and 0 < size <= 1e12 for price, size in side)
    elif isinstance(message, BookChange):
        assert all(0 < price <= 1e9 and 0 <= size <= 1e12 for _, price, size in message.changes)
    elif isinstance(message, Trade):
        assert 0 < message.price <= 1e9
        assert 0 <= message.size <= 1e12
    elif isinstance(message, TopOfBook):
        told = (message.bid, message.ask, message.last)
        assert all(price is None or 0 < price <= 1e9 for price in told)
    elif isinstance(message, Reject):
        assert message.detail.isprintable() and len(message.detail) <= DETAIL_LENGTH_MAX
    elif isinstance(message, VenueError):
        assert message.text.isprintable() and len(message.text) <= DETAIL_LENGTH_MAX
    elif isinstance(message, Acknowledged):
        assert message.channel.isprintable()
