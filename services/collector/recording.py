"""Import a recording: three Parquet files in, archive events out, every refused row counted.

Runs as the collector, offline, and writes the archive only, never a stream. What a recording does
not say is assumed late rather than early: a strike becomes known one second after the open, a
result 60 s after the close (docs/data.md, "Recordings"). Ids are derived from content, so that
importing twice, or after a kill, changes nothing.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import durable, sealing
from libs.common.checks import ArchiveError
from libs.common.events import QuoteSnapshot, SpotSnapshot
from services.collector import snapshot_tables
from services.collector.judgement import judge

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

_FILES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "markets": (MARKET_COLUMNS, OPTIONAL_MARKET_COLUMNS, "open_ns"),
    "quotes": (QUOTE_COLUMNS, {}, "ts_ns"),
    "spot": (SPOT_COLUMNS, {}, "ts_ns"),
}
"""Columns, optional columns, and the time by which a part of a recording is read."""


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
    report = on_progress or (lambda step, share: None)
    judged = judge(read_recording(folder), report=report)
    report("numbering", 0.5)
    # Numbered in this order within an instant (docs/data.md, "Recordings").
    kinds = snapshot_tables.numbered(judged.kinds)
    with durable.writer_lock(root, "collector"):
        new = 0
        for done, (event_type, table) in enumerate(kinds.items()):
            report("writing", 0.6 + 0.4 * done / len(kinds))
            new += sealing.add_late_rows(root, event_type, table) if table.num_rows else 0
    report("done", 1.0)
    return Imported(
        markets=judged.markets,
        quotes=kinds[QuoteSnapshot].num_rows,
        spot=kinds[SpotSnapshot].num_rows,
        dropped=dict(sorted(judged.dropped.items())),
        flagged=dict(sorted(judged.flagged.items())),
        new=new,
    )


def read_recording(folder: Path, *, span_ns: tuple[int, int] | None = None) -> dict[str, pa.Table]:
    """Read the tables `markets`, `quotes` and `spot` of the recording in `folder`.

    `span_ns` reads the markets that open in it and the rows of its time alone. Raises
    `ArchiveError` if a file is unreadable or a column is missing or of another type.
    """
    tables = {}
    for name, (expected, optional, time) in _FILES.items():
        path = folder / f"{name}.parquet"
        tables[name] = _checked(_read(path, time, span_ns), path, expected, optional)
    return tables


def _read(path: Path, time: str, span_ns: tuple[int, int] | None) -> pa.Table:
    try:
        if span_ns is None:
            table = pq.ParquetFile(path).read()
        else:
            span = [(time, ">=", span_ns[0]), (time, "<", span_ns[1])]
            table = pq.read_table(path, filters=span, partitioning=None)
        table.validate(full=True)  # text that is not UTF-8 passes the reader unseen
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(
            f"cannot read {path}: {str(error).splitlines()[0][:160]}; "
            "a recording is a folder with markets.parquet, quotes.parquet and spot.parquet"
        ) from error
    return table


def _checked(
    table: pa.Table, path: Path, expected: dict[str, str], optional: dict[str, str]
) -> pa.Table:
    """Return the named columns of `table`, held to their types."""
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
