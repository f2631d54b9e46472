"""Import a recording: three Parquet files in, archive events out, every refused row counted.

Runs as the collector, offline, and writes the archive only, never a stream. What a recording does
not say is assumed late rather than early: a strike becomes known one second after the open, a
result 60 s after the close (docs/data.md, "Recordings"). Ids are derived from content, so that
importing twice, or after a kill, changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import columns, durable, sealing
from libs.common.archive import safe_name
from libs.common.checks import ArchiveError
from libs.common.events import (
    Event,
    Gap,
    Market,
    QuoteSnapshot,
    Resolution,
    SpotSnapshot,
    event_id,
    quote_id,
    set_seq,
)
from services.collector import gaps, validation
from services.collector.markets import RecordedMarket, judge_markets, market_facts
from services.collector.validation import ABSENT, Books, Reasons

_TEXT, _INT, _FLOAT = "text", "int64", "float64"
_LEVELS = "list of float64"
MARKET_COLUMNS = {
    "venue": _TEXT,
    "market": _TEXT,
    "series": _TEXT,
    "underlying": _TEXT,
    "comparator": _TEXT,
    "settlement_rule": _TEXT,
    "open_ns": _INT,
    "close_ns": _INT,
    "strike_usd": _FLOAT,
    "settlement_usd": _FLOAT,
    "result": _TEXT,
}
OPTIONAL_MARKET_COLUMNS = {"strike_known_ns": _INT, "result_known_ns": _INT}
QUOTE_COLUMNS = {
    "ts_ns": _INT,
    "venue": _TEXT,
    "market": _TEXT,
    "yes_bids_price": _LEVELS,
    "yes_bids_size": _LEVELS,
    "yes_asks_price": _LEVELS,
    "yes_asks_size": _LEVELS,
}
SPOT_COLUMNS = {"ts_ns": _INT, "underlying": _TEXT, "price_usd": _FLOAT, "source": _TEXT}


class Imported(msgspec.Struct):
    """What an import stored, dropped and flagged; `new` rows were not in the archive before."""

    markets: int
    quotes: int
    spot: int
    dropped: dict[str, int]
    flagged: dict[str, int]
    new: int


def import_recording(
    folder: Path, root: Path, *, on_progress: Callable[[str, float], None] | None = None
) -> Imported:
    """Import the recording in `folder` into the data folder `root`.

    Raises `ArchiveError` if a file is unreadable or a column is missing or of another type; then
    nothing was written.
    """
    tables = {
        name: _read(folder / f"{name}.parquet", expected, optional)
        for name, expected, optional in (
            ("markets", MARKET_COLUMNS, OPTIONAL_MARKET_COLUMNS),
            ("quotes", QUOTE_COLUMNS, {}),
            ("spot", SPOT_COLUMNS, {}),
        )
    }
    report = on_progress or (lambda step, share: None)
    dropped: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    report("markets", 0.0)
    recorded = judge_markets(tables["markets"], dropped, flagged)
    facts = market_facts(recorded)
    report("spot", 0.1)
    spot = _judge_spot(tables["spot"], dropped)
    report("quotes", 0.2)
    quotes, holes = _judge_quotes(tables["quotes"], recorded, dropped, flagged)
    report("numbering", 0.5)
    kinds = _numbered(facts, holes, spot, quotes)
    with durable.writer_lock(root, "collector"):
        new = 0
        for done, (event_type, table) in enumerate(kinds.items()):
            report("writing", 0.6 + 0.4 * done / len(kinds))
            new += sealing.add_late_rows(root, event_type, table) if table.num_rows else 0
    report("done", 1.0)
    return Imported(
        markets=len(recorded),
        quotes=kinds[QuoteSnapshot].num_rows,
        spot=kinds[SpotSnapshot].num_rows,
        dropped=dict(sorted(dropped.items())),
        flagged=dict(sorted(flagged.items())),
        new=new,
    )


def _read(path: Path, expected: dict[str, str], optional: dict[str, str]) -> pa.Table:
    """Read the named columns of a file and hold them to their types."""
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(
            f"cannot read {path}: {str(error).splitlines()[0][:160]}; "
            "a recording is a folder with markets.parquet, quotes.parquet and spot.parquet"
        ) from error
    arrays = {}
    for name, kind in {**expected, **optional}.items():
        if name not in table.column_names:
            if name in optional:
                continue
            raise ArchiveError(f"{path} lacks column {name} ({kind}): see docs/data.md")
        found = table.schema.field(name).type
        if table.num_rows and not _fits(found, kind):
            raise ArchiveError(f"{path} column {name} is {found}, expected {kind}")
        arrays[name] = (
            table.column(name) if table.num_rows else pa.chunked_array([[]], _arrow(kind))
        )
    return pa.table(arrays).combine_chunks()


def _fits(found: pa.DataType, kind: str) -> bool:
    types = pa.types
    if kind == _TEXT:
        value = found.value_type if types.is_dictionary(found) else found
        return bool(types.is_string(value) or types.is_large_string(value) or types.is_null(value))
    if kind == _INT:
        return bool(types.is_int64(found) or types.is_null(found))
    if kind == _FLOAT:
        return bool(types.is_float64(found) or types.is_null(found))
    is_list = types.is_list(found) or types.is_large_list(found)
    return bool(is_list and (types.is_float64(found.value_type) or types.is_null(found.value_type)))


def _arrow(kind: str) -> pa.DataType:
    return {
        _TEXT: pa.string(),
        _INT: pa.int64(),
        _FLOAT: pa.float64(),
        _LEVELS: pa.list_(pa.float64()),
    }[kind]


def _judge_spot(table: pa.Table, dropped: Counter[str]) -> list[SpotSnapshot]:
    n = table.num_rows
    reasons = Reasons(n)
    price = table["price_usd"].to_numpy(zero_copy_only=False).astype(float)
    places, sources = table["underlying"].to_pylist(), table["source"].to_pylist()
    named = [
        validation.is_name(a) and validation.is_name(b)
        for a, b in zip(places, sources, strict=True)
    ]
    reasons.drop(~np.array(named, bool), "bad_name")
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(~np.isfinite(price), "not_finite")
    reasons.drop(price <= 0, "price_not_positive")
    ts = table["ts_ns"].fill_null(0).to_numpy()
    seen: set[tuple[int, str, str]] = set()
    repeated = np.zeros(n, bool)
    for i in np.flatnonzero(reasons.kept).tolist():
        key = (int(ts[i]), places[i], sources[i])
        repeated[i] = key in seen
        seen.add(key)
    reasons.drop(repeated, "duplicate")
    for place in sorted({places[i] for i in np.flatnonzero(reasons.kept).tolist()}):
        rows = np.flatnonzero(reasons.kept & (np.array(places, object) == place))
        mask = np.zeros(n, bool)
        mask[rows] = validation.superseded(ts[rows], [sources[i] for i in rows.tolist()])
        reasons.drop(mask, "covered_by_finer_source")
    dropped.update(reasons.counts())
    kept = np.flatnonzero(reasons.kept).tolist()
    return [_spot(int(ts[i]), safe_name(places[i]), sources[i], float(price[i])) for i in kept]


def _spot(ts_ns: int, underlying: str, source: str, price_usd: float) -> SpotSnapshot:
    is_index = source.startswith("chainlink")
    return SpotSnapshot(
        ts_ns=ts_ns,
        id=event_id("SpotSnapshot", underlying, source, ts_ns, price_usd),
        underlying=underlying,
        source=source,
        last_usd=None if is_index else price_usd,
        index_usd=price_usd if is_index else None,
    )


def _judge_quotes(
    table: pa.Table,
    recorded: dict[tuple[str, str], RecordedMarket],
    dropped: Counter[str],
    flagged: Counter[str],
) -> tuple[list[QuoteSnapshot], list[Gap]]:
    n = table.num_rows
    reasons = Reasons(n)
    keys = list(zip(table["venue"].to_pylist(), table["market"].to_pylist(), strict=True))
    known = [recorded[key].market if key in recorded else None for key in keys]
    ts = table["ts_ns"].fill_null(0).to_numpy()
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(np.array([m is None for m in known], bool), "unknown_market")
    opens = np.array([m.open_ns if m else 0 for m in known], np.int64)
    closes = np.array([m.close_ns if m else 0 for m in known], np.int64)
    books = _books(table, reasons)
    reasons.drop((ts < opens) | (ts >= closes), "outside_life")
    _drop_repeated(keys, ts, books, reasons)
    dropped.update(reasons.counts())
    kept = np.flatnonzero(reasons.kept)
    books = Books(*(matrix[kept] for matrix in vars(books).values()))
    markets = [known[i] for i in kept.tolist()]
    holes = gaps.quote_gaps([entry.market for entry in recorded.values()], markets, ts[kept])
    flags = validation.book_flags(books) | holes.flags
    flagged.update(validation.flag_counts(books, flags))
    return _quotes(markets, ts[kept].tolist(), books, flags.tolist()), holes.gaps


def _books(table: pa.Table, reasons: Reasons) -> Books:
    sides: list[validation.Ints] = []
    for side, is_bid in (("bids", True), ("asks", False)):
        lists = [table[f"yes_{side}_{what}"].combine_chunks() for what in ("price", "size")]
        plain = [
            x.chunk(0) if isinstance(x, pa.ChunkedArray) and x.num_chunks else x for x in lists
        ]
        sides += validation.judge_side(plain[0], plain[1], reasons, is_bid=is_bid)
    return Books(*sides)


def _drop_repeated(
    keys: Sequence[tuple[str, str]], ts: np.ndarray[Any, Any], books: Books, reasons: Reasons
) -> None:
    """Drop a second row of one market and instant: the same again, or a contradiction."""
    first: dict[tuple[str, str, int], int] = {}
    same = np.zeros(len(keys), bool)
    other = np.zeros(len(keys), bool)
    for i in np.flatnonzero(reasons.kept).tolist():
        before = first.setdefault((*keys[i], int(ts[i])), i)
        if before != i:
            equal = all((m[i] == m[before]).all() for m in vars(books).values())
            same[i], other[i] = equal, not equal
    reasons.drop(same, "duplicate")
    reasons.drop(other, "contradicts_earlier_row")


def _quotes(
    markets: Sequence[Market | None], ts_ns: Sequence[int], books: Books, flags: Sequence[int]
) -> list[QuoteSnapshot]:
    quotes = []
    sides = [
        [tuple(v for v in row if v != ABSENT) for row in matrix.tolist()]
        for matrix in vars(books).values()
    ]
    for market, ts, flag, *levels in zip(markets, ts_ns, flags, *sides, strict=True):
        if market is not None:
            quotes.append(
                QuoteSnapshot(
                    ts_ns=ts,
                    id=quote_id(market.venue, market.market, ts, levels),
                    venue=market.venue,
                    market=market.market,
                    underlying=market.underlying,
                    yes_bids_price_e4=levels[0],
                    yes_bids_size_e2=levels[1],
                    yes_asks_price_e4=levels[2],
                    yes_asks_size_e2=levels[3],
                    flags=flag,
                )
            )
    return quotes


def _numbered(
    facts: dict[type[Event], list[Event]],
    holes: list[Gap],
    spot: list[SpotSnapshot],
    quotes: list[QuoteSnapshot],
) -> dict[type[Event], pa.Table]:
    """Number the rows of each (underlying, ts_ns) from 0: by type in this order, then by id."""
    kinds: dict[type[Event], Sequence[Event]] = {
        Market: facts[Market],
        Resolution: facts[Resolution],
        Gap: holes,
        SpotSnapshot: spot,
        QuoteSnapshot: quotes,
    }
    tagged = [
        (event.ts_ns, event.underlying, rank, event.id, event)  # type: ignore[attr-defined]
        for rank, events in enumerate(kinds.values())
        for event in events
    ]
    tagged.sort(key=lambda entry: entry[:4])
    place: tuple[int, str] | None = None
    seq = 0
    for ts_ns, underlying, _, _, event in tagged:
        seq = seq + 1 if place == (ts_ns, underlying) else 0
        place = (ts_ns, underlying)
        set_seq(event, seq)
    return {t: columns.to_table(t, sorted(e, key=_by_time)) for t, e in kinds.items()}


def _by_time(event: Event) -> tuple[int, int, str]:
    return (event.ts_ns, event.seq, event.id)
