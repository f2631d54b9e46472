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
from libs.common.checks import ArchiveError
from libs.common.events import (
    Gap,
    Market,
    QuoteSnapshot,
    Resolution,
    SpotSnapshot,
)
from services.collector import gaps, snapshot_tables, validation
from services.collector.markets import RecordedMarket, judge_markets, market_facts
from services.collector.validation import Books, Reasons

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
    # Numbered in this order within an instant (docs/data.md, "Recordings").
    kinds = snapshot_tables.numbered(
        {
            Market: columns.to_table(Market, facts[Market]),
            Resolution: columns.to_table(Resolution, facts[Resolution]),
            Gap: columns.to_table(Gap, holes),
            SpotSnapshot: spot,
            QuoteSnapshot: quotes,
        }
    )
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
        table.validate(full=True)  # text that is not UTF-8 passes the reader unseen
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
        if table.column_names.count(name) > 1:
            raise ArchiveError(f"{path} has more than one column {name}")
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


def _judge_spot(table: pa.Table, dropped: Counter[str]) -> pa.Table:
    reasons = Reasons(table.num_rows)
    price = table["price_usd"].to_numpy(zero_copy_only=False).astype(float)
    places, sources = table["underlying"].to_pylist(), table["source"].to_pylist()
    is_good = {name: validation.is_place(name) for name in {*places}}
    is_good_source = {name: validation.is_name(name) for name in {*sources}}
    reasons.drop(~np.array([is_good[name] for name in places], bool), "bad_name")
    reasons.drop(~np.array([is_good_source[name] for name in sources], bool), "bad_name")
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(~np.isfinite(price), "not_finite")
    reasons.drop(price <= 0, "price_not_positive")
    ts_ns = table["ts_ns"].fill_null(0).to_numpy()
    # A bad name is not spread into an array: its length would be every row's.
    place = np.array([name if is_good[name] else "" for name in places], str)
    source = np.array([name if is_good_source[name] else "" for name in sources], str)
    reasons.drop(_repeated((price, source, place, ts_ns), reasons.kept), "duplicate")
    for name in np.unique(place[reasons.kept]).tolist():
        rows = np.flatnonzero(reasons.kept & (place == name))
        mask = np.zeros(table.num_rows, bool)
        mask[rows] = validation.superseded(ts_ns[rows], source[rows])
        reasons.drop(mask, "covered_by_finer_source")
    dropped.update(reasons.counts())
    kept = np.flatnonzero(reasons.kept)
    return snapshot_tables.spot_table(ts_ns[kept], place[kept], source[kept], price[kept])


def _repeated(keys: Sequence[Any], kept: validation.Bools) -> validation.Bools:
    """Mark kept rows whose `keys` (last is the most significant) all stood in an earlier row."""
    rows = np.flatnonzero(kept)
    columns = [np.asarray(key)[rows] for key in keys]
    order = np.lexsort(columns)  # stable: of equal rows the first in the file stays first
    same = np.ones(max(len(rows) - 1, 0), bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    marked = np.zeros(len(kept), bool)
    marked[rows[order[1:][same]]] = True
    return marked


def _judge_quotes(
    table: pa.Table,
    recorded: dict[tuple[str, str], RecordedMarket],
    dropped: Counter[str],
    flagged: Counter[str],
) -> tuple[pa.Table, list[Gap]]:
    reasons = Reasons(table.num_rows)
    markets = [entry.market for entry in recorded.values()]
    code = _codes(table, list(recorded))
    ts_ns = table["ts_ns"].fill_null(0).to_numpy()
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(code < 0, "unknown_market")
    opens = np.array([m.open_ns for m in markets] + [0], np.int64)[code]
    closes = np.array([m.close_ns for m in markets] + [0], np.int64)[code]
    books = _books(table, reasons)
    reasons.drop((ts_ns < opens) | (ts_ns >= closes), "outside_life")
    content = [column for matrix in vars(books).values() for column in matrix.T]
    reasons.drop(_repeated((*content, ts_ns, code), reasons.kept), "duplicate")
    reasons.drop(_repeated((ts_ns, code), reasons.kept), "contradicts_earlier_row")
    dropped.update(reasons.counts())
    kept = np.flatnonzero(reasons.kept)
    until_ns = int(ts_ns[kept].max(initial=0))
    books = Books(*(matrix[kept] for matrix in vars(books).values()))
    holes = gaps.quote_gaps(markets, code[kept], ts_ns[kept], until_ns=until_ns)
    flags = validation.book_flags(books) | holes.flags
    flagged.update(validation.flag_counts(books, flags))
    quotes = snapshot_tables.quote_table(markets, code[kept], ts_ns[kept], books, flags=flags)
    return quotes, holes.gaps


def _codes(table: pa.Table, keys: list[tuple[str, str]]) -> validation.Ints:
    """Return per row the place of its (venue, market) in `keys`, -1 where it is not among them."""
    index = {key: i for i, key in enumerate(keys)}
    names = zip(table["venue"].to_pylist(), table["market"].to_pylist(), strict=True)
    return np.fromiter((index.get(name, -1) for name in names), np.int64, table.num_rows)


def _books(table: pa.Table, reasons: Reasons) -> Books:
    sides: list[validation.Ints] = []
    for side, is_bid in (("bids", True), ("asks", False)):
        prices = pa.concat_arrays(table[f"yes_{side}_price"].chunks)
        sizes = pa.concat_arrays(table[f"yes_{side}_size"].chunks)
        sides += validation.judge_side(prices, sizes, reasons, is_bid=is_bid)
    return Books(*sides)
