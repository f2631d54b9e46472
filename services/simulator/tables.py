"""A simulated day as Arrow tables, in the import format and for the truth beside it.

In go windows, books and spot; out come tables with the schemas of the four files. List columns are
built from flat arrays: a day of three underlyings has 78,000 books, and Python lists of them would
take longer than everything else together.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from libs.common.events import LEVELS_MAX
from services.simulator.flow import Quotes
from services.simulator.markets import NS_PER_S, Windows
from services.simulator.path import HISTORY_S, Day, Floats, Underlying

SPOT_SOURCE = "coinbase_trade"

_TEXT, _LEVELS = pa.string(), pa.list_(pa.float64())
SCHEMAS = {
    "markets.parquet": pa.schema(
        [
            ("venue", _TEXT),
            ("market", _TEXT),
            ("series", _TEXT),
            ("underlying", _TEXT),
            ("comparator", _TEXT),
            ("settlement_rule", _TEXT),
            ("open_ns", pa.int64()),
            ("close_ns", pa.int64()),
            ("strike_usd", pa.float64()),
            ("settlement_usd", pa.float64()),
            ("result", _TEXT),
            ("strike_known_ns", pa.int64()),
            ("result_known_ns", pa.int64()),
        ]
    ),
    "quotes.parquet": pa.schema(
        [
            ("ts_ns", pa.int64()),
            ("venue", _TEXT),
            ("market", _TEXT),
            ("yes_bids_price", _LEVELS),
            ("yes_bids_size", _LEVELS),
            ("yes_asks_price", _LEVELS),
            ("yes_asks_size", _LEVELS),
        ]
    ),
    "spot.parquet": pa.schema(
        [
            ("ts_ns", pa.int64()),
            ("underlying", _TEXT),
            ("price_usd", pa.float64()),
            ("source", _TEXT),
        ]
    ),
    "truth.parquet": pa.schema(
        [
            ("ts_ns", pa.int64()),
            ("venue", _TEXT),
            ("market", _TEXT),
            ("p_true", pa.float64()),
            ("shift", pa.float64()),
        ]
    ),
}


def markets_table(days: list[Windows]) -> pa.Table:
    """List every market of a day in order of opening."""
    return pa.concat_tables([_windows_table(windows) for windows in days]).sort_by(
        [("open_ns", "ascending"), ("venue", "ascending"), ("market", "ascending")]
    )


def quotes_tables(quoted: list[tuple[Windows, Quotes]]) -> tuple[pa.Table, pa.Table]:
    """Merge the books of all series in time order; return quotes and truth, row for row."""
    ts_ns = np.concatenate([quotes.ts_ns for _, quotes in quoted])
    order = np.argsort(ts_ns, kind="stable")
    firsts = np.cumsum([0, *(len(windows.names) for windows, _ in quoted)])
    market = np.concatenate(
        [first + quotes.window for first, (_, quotes) in zip(firsts, quoted, strict=False)]
    )[order]
    names = pa.array([name for windows, _ in quoted for name in windows.names])
    venues = pa.array([w.series.venue for w, _ in quoted for _ in w.names])
    keys = [pa.array(ts_ns[order]), venues.take(market), names.take(market)]
    bids = np.concatenate([quotes.bids for _, quotes in quoted])[order]
    asks = np.concatenate([quotes.asks for _, quotes in quoted])[order]

    def levels(name: str, count: NDArray[np.int64]) -> pa.ListArray:
        values = np.concatenate([getattr(quotes, name) for _, quotes in quoted])[order]
        return _lists(values / 10_000.0 if name.endswith("_e4") else values, count)

    books = [levels("bid_e4", bids), levels("bid_size", bids)]
    books += [levels("ask_e4", asks), levels("ask_size", asks)]
    truth = [
        pa.array(np.concatenate([getattr(quotes, name) for _, quotes in quoted])[order])
        for name in ("p_true", "shift")
    ]
    return (
        pa.table([*keys, *books], schema=SCHEMAS["quotes.parquet"]),
        pa.table([*keys, *truth], schema=SCHEMAS["truth.parquet"]),
    )


def spot_table(
    chosen: tuple[Underlying, ...],
    day: Day,
    *,
    seconds: NDArray[np.int64],
    known_ns: NDArray[np.int64],
    is_recorded: NDArray[np.bool_],
) -> pa.Table:
    """List last trades in the order they became known.

    `seconds`: (m,) seconds of the day whose price is told; `known_ns`, `is_recorded`: (n, m) by
    underlying.
    """
    price = day.spot_usd[:, HISTORY_S + seconds]
    names = np.repeat(np.arange(len(chosen)), len(seconds))[is_recorded.ravel()]
    ts_ns = known_ns[is_recorded]
    order = np.argsort(ts_ns, kind="stable")
    columns = [
        pa.array(ts_ns[order]),
        pa.array([underlying.name for underlying in chosen]).take(pa.array(names[order])),
        pa.array(price[is_recorded][order]),
        pa.array([SPOT_SOURCE]).take(pa.array(np.zeros(len(order), dtype=np.int64))),
    ]
    return pa.table(columns, schema=SCHEMAS["spot.parquet"])


def _windows_table(windows: Windows) -> pa.Table:
    series, n = windows.series, len(windows.names)
    columns = {
        "venue": [series.venue] * n,
        "market": list(windows.names),
        "series": [series.name] * n,
        "underlying": [series.underlying.name] * n,
        "comparator": [series.comparator] * n,
        "settlement_rule": [series.settlement_rule] * n,
        "open_ns": windows.open_ns,
        "close_ns": windows.open_ns + series.length_s * NS_PER_S,
        "strike_usd": windows.strike_usd,
        "settlement_usd": windows.settlement_usd,
        "result": np.where(windows.is_yes, "yes", "no").tolist(),
        "strike_known_ns": windows.strike_known_ns,
        "result_known_ns": windows.result_known_ns,
    }
    return pa.table(columns, schema=SCHEMAS["markets.parquet"])


def _lists(values: Floats, count: NDArray[np.int64]) -> pa.ListArray:
    """Turn rows of `values` (n, LEVELS_MAX), of which `count` exist, into lists."""
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    flat = values[np.arange(LEVELS_MAX) < count[:, None]]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
