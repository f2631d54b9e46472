"""How fast are feature rows made from tables, against pandas, and do both paths agree?

`python -m benchmarks.features --json` prints one line per bar. The input is synthetic and seeded:
130k quotes a second apart on three series of one underlying, spot with book and volumes. Reference
is `benchmarks.features_pandas`: the same features by groupby, rolling and merge_asof, market by
market, on frames whose books are already flat; its values must agree to 1e-9 where both are
defined. `pandas_at_once_s` is the same pandas code over all markets in one pass: it leans on there
being one underlying and one feed, promises no equal bits, and is the harder rival. Rounds are
interleaved, the figure is the ratio of medians. Not shown: several underlyings, or recordings out
of order.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.features_pandas import Frames, frames, reference_rows
from libs.common import columns
from libs.common.events import Event, Market, QuoteSnapshot, SpotSnapshot
from services.features.batch import build_rows
from services.features.catalog import NAMES
from services.features.engine import FeatureEngine

SEED = 20_260_511
SECONDS = 43_400
ROUNDS = 3
START_NS = 1_778_475_600_000_000_000
SECOND_NS = 1_000_000_000
PHASE_NS = 250_000_000
RATIO_MAX = 0.2
DIFFERENCE_MAX = 1e-9
UNDERLYING = "BTC-USD"
SERIES = (
    ("kalshi", "KXBTC15M", "mean60", 900),
    ("polymarket", "btc-updown-5m", "chainlink_twap60", 300),
    ("polymarket", "updown-1h", "binance_1h_close", 3_600),
)


def synthetic_tables(seed: int, seconds: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return archive tables of markets, spot and quotes over `seconds` of one underlying."""
    rng = np.random.default_rng(seed)
    price = 80_000.0 * np.exp(np.cumsum(rng.normal(size=seconds) * 6e-5))
    spot = _spot(price, rng)
    markets, quotes = [], []
    for place, (venue, series, rule, life_s) in enumerate(SERIES):
        windows = np.arange(seconds) // life_s
        names = [f"{series}-{window}" for window in range(windows[-1] + 1)]
        quotes.append(_quotes(price, (venue, names), windows * life_s, rng=rng, seq=place))
        for window, name in enumerate(names):
            known = slice(max(window * life_s - 60, 0), window * life_s + 1)
            strike = float(price[known].mean() + 9.6 + rng.normal() * 5.0)
            markets += _life((venue, series, rule, name), window * life_s, life_s, strike=strike)
    return _table(Market, markets), spot, pa.concat_tables(quotes).sort_by(_ORDER)


_ORDER = [("ts_ns", "ascending"), ("seq", "ascending")]


def _ids(prefix: int, n: int) -> pa.Array:
    return pa.array([(prefix * 10_000_000 + i).to_bytes(8, "big") for i in range(n)], pa.binary(8))


def _filled(event_type: type[Event], arrays: dict[str, object], n: int) -> pa.Table:
    """Return a table of `event_type` with columns not given null."""
    made = []
    for field in columns.schema(event_type):
        values = arrays.get(field.name)
        made.append(
            pa.nulls(n, field.type) if values is None else pa.array(values).cast(field.type)
        )
    return pa.table(made, schema=columns.schema(event_type))


def _spot(price: np.ndarray, rng: np.random.Generator) -> pa.Table:
    n = len(price)
    ts = START_NS + np.arange(n) * SECOND_NS + PHASE_NS
    volumes = rng.exponential(size=(6, n))
    arrays = {
        "ts_ns": ts,
        "seq": np.full(n, 3),
        "id": _ids(1, n),
        "underlying": [UNDERLYING] * n,
        "source": ["coinbase"] * n,
        "bid_usd": np.round(price - 0.5, 2),
        "ask_usd": np.round(price + 0.5, 2),
        "bid_size": volumes[0],
        "ask_size": volumes[1],
        "depth_bid": volumes[2] * 10,
        "depth_ask": volumes[3] * 10,
        "last_usd": np.round(price, 2),
        "taker_buy_volume": np.round(volumes[4], 8),
        "taker_sell_volume": np.round(volumes[5], 8),
        "age_ns": np.zeros(n, np.int64),
        "flags": np.zeros(n, np.int32),
    }
    return _filled(SpotSnapshot, arrays, n)


def _quotes(
    price: np.ndarray,
    names: tuple[str, list[str]],
    opens: np.ndarray,
    *,
    rng: np.random.Generator,
    seq: int,
) -> pa.Table:
    n = len(price)
    move = (price - price[opens]) / price[opens]
    bid = np.clip(np.round(5_000 + move * 1e6, -2), 500, 9_400).astype(np.int64)
    steps = np.arange(5) * 100
    sizes = rng.integers(100, 100_000, size=(2, n * 5))
    starts = pa.array(np.arange(n + 1) * 5, pa.int32())

    def levels(values: np.ndarray) -> pa.Array:
        return pa.ListArray.from_arrays(starts, pa.array(values.ravel()))

    window = opens // max(int(np.diff(np.unique(opens)).min(initial=n)), 1)
    arrays = {
        "ts_ns": START_NS + np.arange(n) * SECOND_NS + PHASE_NS,
        "seq": np.full(n, 4 + seq),
        "id": _ids(10 + seq, n),
        "venue": [names[0]] * n,
        "market": [names[1][i] for i in window.tolist()],
        "underlying": [UNDERLYING] * n,
        "yes_bids_price_e4": levels(bid[:, None] - steps),
        "yes_bids_size_e2": levels(sizes[0]),
        "yes_asks_price_e4": levels(bid[:, None] + 100 + steps),
        "yes_asks_size_e2": levels(sizes[1]),
        "last_price_e4": bid + 100 * rng.integers(0, 2, size=n),
        "age_ns": np.zeros(n, np.int64),
        "flags": np.zeros(n, np.int32),
    }
    return _filled(QuoteSnapshot, arrays, n)


def _life(
    names: tuple[str, str, str, str], open_s: int, life_s: int, *, strike: float
) -> list[Market]:
    """Return a market without strike at its open, and with it a second later."""
    venue, series, rule, name = names
    open_ns = START_NS + open_s * SECOND_NS
    return [
        Market(
            ts_ns=open_ns + late_s * SECOND_NS,
            id=f"{open_s:08x}{life_s:04x}{late_s:04x}",
            venue=venue,
            market=name,
            series=series,
            underlying=UNDERLYING,
            open_ns=open_ns,
            close_ns=open_ns + life_s * SECOND_NS,
            comparator=">=",
            settlement_rule=rule,
            fee=None,
            tick_ranges=(),
            rule_fingerprint="",
            strike_usd=round(strike, 2) if late_s else None,
        )
        for late_s in (0, 1)
    ]


def _table(event_type: type[Event], events: Sequence[Event]) -> pa.Table:
    return columns.to_table(event_type, sorted(events, key=lambda e: (e.ts_ns, e.id)))


def streamed_rows(tables: Sequence[pa.Table]) -> tuple[list[Event], float]:
    """Return the rows of the streaming engine and the seconds it took, decoding left out."""
    events: list[Event] = []
    for kind, table in zip((Market, SpotSnapshot, QuoteSnapshot), tables, strict=True):
        events += columns.from_table(kind, table)
    events.sort(key=lambda e: (e.ts_ns, e.seq, e.id))
    engine, rows = FeatureEngine(UNDERLYING), []
    begin = time.perf_counter()
    for event in events:
        rows += engine.handle(event)
    return rows, time.perf_counter() - begin


def is_bit_equal(rows: Sequence[Event], table: pa.Table) -> bool:
    """Tell whether every streamed value has the bits of its place in the batch table."""
    if [row.quote_id for row in rows] != [i.hex() for i in table["quote_id"].to_pylist()]:
        return False
    for name in NAMES:
        streamed = np.array([row.values[name] for row in rows], np.float64)
        column = table[name].to_numpy()
        nothing = np.isnan(streamed) & np.isnan(column)
        if not (nothing | (streamed.view(np.int64) == column.view(np.int64))).all():
            return False
    return True


def worst_difference(table: pa.Table, reference: pd.DataFrame) -> tuple[float, str]:
    """Return the largest difference to pandas, relative above 1, and its feature."""
    worst = (0.0, "")
    for name in NAMES:
        own, other = table[name].to_numpy(), reference[name].to_numpy()
        both = np.isfinite(own) & np.isfinite(other)
        gap = np.abs(own - other)[both] / np.maximum(1.0, np.abs(other[both]))
        worst = max(worst, (float(gap.max(initial=0.0)), name))
    return worst


def interleaved(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median seconds of each call, timed in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in times]


def speed(tables: Sequence[pa.Table], flat: Frames) -> dict[str, object]:
    """Time batch against pandas, market by market and at once."""
    batch_s, pandas_s, at_once_s = interleaved(
        (
            lambda: build_rows(*tables),
            lambda: reference_rows(flat, by_market=True),
            lambda: reference_rows(flat, by_market=False),
        )
    )
    ratio = batch_s / pandas_s
    return {
        "bar": "features.batch_time_over_pandas",
        "value": round(ratio, 3),
        "limit": RATIO_MAX,
        "holds": ratio <= RATIO_MAX,
        "batch_s": round(batch_s, 3),
        "pandas_s": round(pandas_s, 3),
        "pandas_at_once_s": round(at_once_s, 3),
        "ratio_to_pandas_at_once": round(batch_s / at_once_s, 3),
        "rounds": ROUNDS,
    }


def agreement(table: pa.Table, flat: Frames) -> dict[str, object]:
    """Compare the values of batch with pandas."""
    reference = reference_rows(flat, by_market=True)
    gap, feature = worst_difference(table, reference)
    return {
        "bar": "features.batch_agrees_with_pandas",
        "value": gap,
        "limit": DIFFERENCE_MAX,
        "holds": gap <= DIFFERENCE_MAX,
        "worst_feature": feature,
        "features_compared": sum(int(np.isfinite(reference[name]).any()) for name in NAMES),
    }


def equality(tables: Sequence[pa.Table], table: pa.Table) -> dict[str, object]:
    """Compare the bits of batch with the streaming engine."""
    rows, stream_s = streamed_rows(tables)
    equal = is_bit_equal(rows, table)
    return {
        "bar": "features.streaming_bit_equal_to_batch",
        "value": int(equal),
        "limit": 1,
        "holds": equal,
        "stream_us_per_row": round(stream_s / len(rows) * 1e6, 1),
    }


def bars(seed: int, seconds: int) -> list[dict[str, object]]:
    """Measure every bar of the features; each is one line of output."""
    tables = synthetic_tables(seed, seconds)
    flat, table = frames(*tables), build_rows(*tables)
    about = {
        "seed": seed,
        "n": table.num_rows,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "pyarrow": pa.__version__,
    }
    found = (speed(tables, flat), agreement(table, flat), equality(tables, table))
    return [{**bar, **about} for bar in found]


def main() -> int:
    """Print the bars, as JSON lines or in words; exit 1 if one does not hold."""
    parser = argparse.ArgumentParser(description="Speed and agreement of feature rows.")
    parser.add_argument("--json", action="store_true", help="one JSON object per bar")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="length of the recording")
    options = parser.parse_args()
    made = bars(SEED, options.seconds)
    for bar in made:
        text = ", ".join(f"{key} {value}" for key, value in bar.items())
        print(json.dumps(bar) if options.json else text)
    return 0 if all(bar["holds"] for bar in made) else 1


if __name__ == "__main__":
    raise SystemExit(main())
