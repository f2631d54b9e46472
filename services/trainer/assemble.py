"""From the archive's tables to a `Dataset`, with every row left out counted by its reason.

In go the rows table of `libs.common.rows` and the resolutions. A reader may question how little is
forgiven: a label counts only if the venue said it, said it after the close and never said the
opposite, and one infinite feature value refuses the whole table. A trainer that repairs its input
learns the repair.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, log

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from libs.common.model import GAP_CLIP_S, logit
from libs.common.rows import (
    FAIR_VALUE,
    FEATURE_SET_KEY,
    MID,
    ROW_COLUMNS,
    TIME_LEFT,
    feature_names,
)
from libs.common.scoring import HOUR_NS, FloatArray, IntArray, block_of, time_left_bucket
from services.trainer.dataset import (
    COVERAGE_SLOTS,
    ROWS_PER_BUCKET_MAX,
    ROWS_UNTHINNED_MAX,
    Dataset,
    row_weights,
    thinned,
)


@dataclass(frozen=True)
class Assembly:
    """A dataset, or None with the fault that forbids one; rows left out counted by reason."""

    dataset: Dataset | None
    left_out: Mapping[str, int]
    fault: str | None = None


@dataclass(frozen=True)
class _Market:
    """What the rows table and the resolutions say about one market."""

    venue: str
    market: str
    series: str
    underlying: str
    open_ns: int
    close_ns: int


def assemble(rows: pa.Table, resolutions: pa.Table) -> Assembly:
    """Join rows and labels into a dataset; name the fault where that cannot be.

    `resolutions`: columns venue, market, result ("yes" / "no"), source, ts_ns (when known).
    """
    fault = schema_fault(rows, resolutions)
    if fault is not None:
        return Assembly(None, {}, fault)
    if rows.num_rows == 0:
        return Assembly(None, {}, "no quotes: not one feature row was made")
    of_row, markets = _markets(rows)
    labels = _labels(resolutions, markets)
    kept, left_out = _usable(rows, of_row, markets, labels)
    if len(kept) == 0:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        return Assembly(None, left_out, f"no quotes that can be learnt from: {reasons}")
    dataset = _dataset(rows, kept, of_row=of_row, markets=markets, labels=labels)
    if np.isinf(dataset.features).any():
        name = dataset.names[int(np.isinf(dataset.features).any(axis=0).argmax())]
        return Assembly(None, left_out, f"schema: feature {name} holds an infinite value")
    return Assembly(dataset, left_out)


def schema_fault(rows: pa.Table, resolutions: pa.Table) -> str | None:
    """Say what is wrong with the tables' columns, or None.

    >>> schema_fault(pa.table({}), pa.table({}))
    'schema: the rows table lacks column ts_ns'
    """
    for name in (*ROW_COLUMNS.names, MID, FAIR_VALUE, TIME_LEFT):
        if name not in rows.column_names:
            return f"schema: the rows table lacks column {name}"
    for name in ("venue", "market", "result", "source", "ts_ns"):
        if name not in resolutions.column_names:
            return f"schema: the resolutions table lacks column {name}"
    for name in feature_names(rows):
        if not pa.types.is_float64(rows.schema.field(name).type):
            kind = rows.schema.field(name).type
            return f"schema: feature {name} is {kind}, expected double"
    if FEATURE_SET_KEY not in (rows.schema.metadata or {}):
        return "schema: the rows table names no feature set"
    return None


def _column(table: pa.Table, name: str) -> IntArray:
    values: IntArray = table.column(name).to_numpy()
    return values


def _words(table: pa.Table, name: str) -> tuple[IntArray, list[str | None]]:
    """Return codes and vocabulary of a text column; the last code stands for null."""
    column = table.column(name)
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    vocabulary: list[str | None] = [*whole.dictionary.to_pylist(), None]
    codes = pc.fill_null(whole.indices, len(vocabulary) - 1).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), vocabulary


def _markets(rows: pa.Table) -> tuple[IntArray, list[_Market]]:
    """Return the market code of each row and the markets, in order of (close, venue, market)."""
    venue, venues = _words(rows, "venue")
    market, names = _words(rows, "market")
    keys, first, of_row = np.unique(
        venue * len(names) + market, return_index=True, return_inverse=True
    )
    series, underlying = _words(rows, "series"), _words(rows, "underlying")
    opens, closes = _column(rows, "open_ns"), _column(rows, "close_ns")
    found = [
        _Market(
            str(venues[venue[i]]),
            str(names[market[i]]),
            str(series[1][series[0][i]]),
            str(underlying[1][underlying[0][i]]),
            int(opens[i]),
            int(closes[i]),
        )
        for i in first.tolist()
    ]
    order = sorted(
        range(len(keys)), key=lambda k: (found[k].close_ns, found[k].venue, found[k].market)
    )
    place = np.empty(len(keys), np.int64)
    place[order] = np.arange(len(keys))
    return place[of_row], [found[k] for k in order]


def _labels(resolutions: pa.Table, markets: list[_Market]) -> list[tuple[float, int] | str]:
    """Return per market (y, known_ns), or the reason why it has no label."""
    columns = [resolutions.column(c).to_pylist() for c in ("venue", "market", "result", "source")]
    known = _column(resolutions, "ts_ns").tolist()
    told: dict[tuple[str, str], list[tuple[int, str]]] = {}
    doubtful: set[tuple[str, str]] = set()
    for venue, market, result, source, ts_ns in zip(*columns, known, strict=True):
        if source == "venue" and result in ("yes", "no"):
            told.setdefault((venue, market), []).append((ts_ns, result))
        else:
            doubtful.add((venue, market))
    return [_label(m, told, doubtful) for m in markets]


def _label(
    market: _Market,
    told: Mapping[tuple[str, str], list[tuple[int, str]]],
    doubtful: set[tuple[str, str]],
) -> tuple[float, int] | str:
    key = (market.venue, market.market)
    said = told.get(key)
    if said is None:
        return "label not from the venue" if key in doubtful else "unresolved"
    if len({result for _, result in said}) > 1:
        return "label contradicted"
    ts_ns, result = min(said)
    if ts_ns < market.close_ns:
        # A result known before its close is another market's, or tomorrow's: never a label.
        return "label known before the close"
    return float(result == "yes"), ts_ns


def _usable(
    rows: pa.Table,
    of_row: IntArray,
    markets: list[_Market],
    labels: list[tuple[float, int] | str],
) -> tuple[IntArray, dict[str, int]]:
    """Return the rows to keep, in order of time, and how many are not, by first reason."""
    ts, left = _column(rows, "ts_ns"), _feature(rows, TIME_LEFT)
    life = np.array([(m.open_ns, m.close_ns) for m in markets], np.int64)[of_row]
    keep = np.ones(rows.num_rows, bool)
    counts: Counter[str] = Counter()
    unusable, reasons = _words(rows, "unusable")
    unlabelled = [label if isinstance(label, str) else "" for label in labels]
    faults: list[tuple[str, npt.NDArray[np.bool_]]] = [
        (f"unusable: {reason}", unusable == code) for code, reason in enumerate(reasons[:-1])
    ]
    faults += [
        (reason, np.array([u == reason for u in unlabelled])[of_row])
        for reason in sorted(set(unlabelled) - {""})
    ]
    outside = (ts < life[:, 0]) | (ts >= life[:, 1]) | ~(left > 0)
    faults.append(("outside the market's life", outside))
    faults.append(("one-sided", np.isnan(_feature(rows, MID))))
    order = np.lexsort((ts, of_row))
    repeated = np.zeros(rows.num_rows, bool)
    repeated[order[1:]] = (np.diff(of_row[order]) == 0) & (np.diff(ts[order]) == 0)
    faults.append(("repeated", repeated))
    for reason, bad in faults:
        if (n := int((keep & bad).sum())) > 0:
            counts[reason] += n
        keep &= ~bad
    kept = np.flatnonzero(keep)
    return kept[np.argsort(ts[kept], kind="stable")], dict(counts)


def _dataset(
    rows: pa.Table,
    kept: IntArray,
    *,
    of_row: IntArray,
    markets: list[_Market],
    labels: list[tuple[float, int] | str],
) -> Dataset:
    """Build the arrays of the kept rows (thinned where they are many)."""
    market = of_row[kept]
    bucket = time_left_bucket(_feature(rows, TIME_LEFT)[kept])
    coverage = _coverage(_column(rows, "ts_ns")[kept], market, markets)
    mass = np.ones(len(kept))
    if len(kept) > ROWS_UNTHINNED_MAX:
        few, mass = thinned(market, bucket, rows_max=ROWS_PER_BUCKET_MAX)
        kept, market, bucket = kept[few], market[few], bucket[few]
    window = _codes([(m.close_ns, m.underlying) for m in markets])[market]
    close_ns = np.array([m.close_ns for m in markets], np.int64)
    y, known_ns = _label_arrays(labels)
    series_names = tuple(sorted({m.series for m in markets}))
    series = np.array([series_names.index(m.series) for m in markets], np.int64)
    names = feature_names(rows)
    mid, fair, left = (_feature(rows, n)[kept] for n in (MID, FAIR_VALUE, TIME_LEFT))
    market_logit, gap = _logits(mid, fair)
    return Dataset(
        names=names,
        series_names=series_names,
        feature_set=rows.schema.metadata[FEATURE_SET_KEY].decode(),
        embargo_ns=max(HOUR_NS, *(m.close_ns - m.open_ns for m in markets)),
        features=_matrix(rows, names, kept),
        y=y[market],
        mid=mid,
        fair_value=fair,
        time_left_s=left,
        market_logit=market_logit,
        gap=gap,
        log_time=np.array([log(max(t, GAP_CLIP_S) / 60.0) for t in left.tolist()]),
        ts_ns=_column(rows, "ts_ns")[kept],
        known_ns=known_ns[market],
        market=market,
        window=window,
        block=block_of(close_ns)[market],
        series=series[market],
        bucket=bucket,
        weight=row_weights(market, bucket, window=window, coverage=coverage[market]),
        mass=mass,
    )


def _feature(rows: pa.Table, name: str) -> FloatArray:
    """Return a feature column, NaN where null."""
    values: FloatArray = rows.column(name).to_numpy(zero_copy_only=False)
    return values


def _matrix(rows: pa.Table, names: tuple[str, ...], kept: IntArray) -> FloatArray:
    matrix = np.empty((len(kept), len(names)))
    for i, name in enumerate(names):
        matrix[:, i] = _feature(rows, name)[kept]
    return matrix


def _codes(keys: list[tuple[int, str]]) -> IntArray:
    """Number the keys in sorted order."""
    place = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] for key in keys], np.int64)


def _label_arrays(labels: list[tuple[float, int] | str]) -> tuple[FloatArray, IntArray]:
    known = [(np.nan, 0) if isinstance(label, str) else label for label in labels]
    return np.array([y for y, _ in known]), np.array([ns for _, ns in known], np.int64)


def _coverage(ts_ns: IntArray, market: IntArray, markets: list[_Market]) -> FloatArray:
    """Return per market the share of COVERAGE_SLOTS of its life that hold a row."""
    life = np.array([(m.open_ns, m.close_ns) for m in markets], np.int64)[market]
    # Multiply before dividing: 20 x nanoseconds of a year still fits 63 bits.
    slot = (ts_ns - life[:, 0]) * COVERAGE_SLOTS // (life[:, 1] - life[:, 0])
    held = np.unique(market * COVERAGE_SLOTS + slot) // COVERAGE_SLOTS
    return np.bincount(held, minlength=len(markets)) / COVERAGE_SLOTS


def _logits(mid: FloatArray, fair: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return market logits and their gap to fair value's (0 where missing), by `math` as served."""
    prices, place = np.unique(mid, return_inverse=True)  # a price grid: few values, many rows
    market = np.array([logit(p) for p in prices.tolist()])[place]
    fairs = np.array([0.0 if isnan(f) else logit(f) for f in fair.tolist()])
    return market, np.where(np.isnan(fair), 0.0, fairs - market)
