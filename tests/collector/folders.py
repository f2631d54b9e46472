"""Recordings written by hand: one market, a few rows, every column of the import format."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

S = 1_000_000_000
OPEN_NS = 1_780_000_200 // 900 * 900 * S
CLOSE_NS = OPEN_NS + 900 * S

LEVELS = pa.list_(pa.float64())
MARKETS = pa.schema(
    [
        *((n, pa.string()) for n in ("venue", "market", "series", "underlying", "comparator")),
        ("settlement_rule", pa.string()),
        ("open_ns", pa.int64()),
        ("close_ns", pa.int64()),
        ("strike_usd", pa.float64()),
        ("settlement_usd", pa.float64()),
        ("result", pa.string()),
    ]
)
KNOWN = pa.schema([("strike_known_ns", pa.int64()), ("result_known_ns", pa.int64())])
QUOTES = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("venue", pa.string()),
        ("market", pa.string()),
        *((f"yes_{s}_{w}", LEVELS) for s in ("bids", "asks") for w in ("price", "size")),
    ]
)
SPOT = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("underlying", pa.string()),
        ("price_usd", pa.float64()),
        ("source", pa.string()),
    ]
)


def market(name: str = "M-1", **changes: Any) -> dict[str, Any]:
    """Return a resolved 15-minute market."""
    return {
        "venue": "kalshi",
        "market": name,
        "series": "KXBTC15M",
        "underlying": "BTC-USD",
        "comparator": ">=",
        "settlement_rule": "mean60",
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "strike_usd": 100_000.0,
        "settlement_usd": 100_010.0,
        "result": "yes",
    } | changes


def quote(second: float, **changes: Any) -> dict[str, Any]:
    """Return a clean two-sided book `second` seconds after the open."""
    return {
        "ts_ns": OPEN_NS + int(second * S),
        "venue": "kalshi",
        "market": "M-1",
        "yes_bids_price": [0.49, 0.48],
        "yes_bids_size": [10.0, 2.5],
        "yes_asks_price": [0.51, 0.52],
        "yes_asks_size": [7.0, 0.01],
    } | changes


def spot(second: float, **changes: Any) -> dict[str, Any]:
    """Return a trade `second` seconds after the open."""
    return {
        "ts_ns": OPEN_NS + int(second * S),
        "underlying": "BTC-USD",
        "price_usd": 100_000.0 + second,
        "source": "coinbase_trade",
    } | changes


def write(
    folder: Path,
    *,
    markets: list[dict[str, Any]] | None = None,
    quotes: list[dict[str, Any]] | None = None,
    spots: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a recording and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [market()] if markets is None else markets
    extra = [f for f in KNOWN if any(f.name in row for row in rows)]
    for name, content, schema in (
        ("markets", rows, pa.schema([*MARKETS, *extra])),
        ("quotes", quotes or [], QUOTES),
        ("spot", spots or [], SPOT),
    ):
        pq.write_table(pa.Table.from_pylist(content, schema), folder / f"{name}.parquet")
    return folder
