"""Events as columns and back: the schema of the archive's Parquet files.

Every event type has a flat schema, `ts_ns, seq, id` first, so that the files are plain Parquet for
pandas, DuckDB and Polars. Prices, sizes and fees stay scaled integers (exact, and half the bytes of
floats); a book side is a list column, best level first; features become one float64 column each;
the few nested fields (fee schedule, tick ranges, scores) are JSON text. An event that goes through
a table comes back with the same body, byte for byte (property test).

Lists rather than a column per level: row by row, zstd finds the ladder that moved by one level
(prices of a side 1.0 B a row instead of 4.1, sizes 9.4 instead of 11, on recorded Kalshi books).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pyarrow as pa

from libs.common.checks import ArchiveError
from libs.common.events import (
    ID_BYTES,
    LEVELS_MAX,
    Event,
    FeatureRow,
    QuoteSnapshot,
    set_seq,
)

_LEVELS = ("yes_bids_price_e4", "yes_bids_size_e2", "yes_asks_price_e4", "yes_asks_size_e2")
_SMALL_INTS = frozenset(
    {"flags", "bid_e4", "ask_e4", "price_e4", "last_price_e4", "price_limit_e4"}
)
_IDS = frozenset({"id", "quote_id", "feature_id", "forecast_id", "order_id", "feature_id_last"})
_SCALARS: dict[object, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
}

ABSENT = -1
"""Price or size of a level that is not there, in `level_matrix`."""

FEATURE_PREFIX = "feature."
"""Features stand as `feature.<name>` in files, so that no feature name can collide with a field."""


def level_matrix(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Spread a book-level column to (n, LEVELS_MAX) integers, ABSENT where there is no level."""
    chunks = column.chunks or [pa.array([], column.type)]
    lists = pa.concat_arrays(chunks) if len(chunks) > 1 else chunks[0]
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    flat = lists.flatten().to_numpy()
    starts = np.cumsum(lengths) - lengths
    matrix = np.full((len(lengths), LEVELS_MAX), ABSENT, np.int64)
    for level in range(LEVELS_MAX):
        has = lengths > level
        matrix[has, level] = flat[starts[has] + level]
    return matrix


@cache
def schema(event_type: type[Event]) -> pa.Schema:
    """Return the Parquet schema of `event_type` (of a FeatureRow: without its feature columns)."""
    fields = [("ts_ns", pa.int64()), ("seq", pa.int64()), ("id", pa.binary(ID_BYTES))]
    for name, hint in _body_fields(event_type):
        if event_type is QuoteSnapshot and name in _LEVELS:
            fields.append((name, pa.list_(pa.int32() if "price" in name else pa.int64())))
        elif not (event_type is FeatureRow and name == "values"):
            fields.append((name, _arrow_type(name, hint)))
    return pa.schema(fields)


def to_table(event_type: type[Event], events: Sequence[Event]) -> pa.Table:
    """Turn `events`, all of `event_type`, into a table in the order given."""
    arrays: list[pa.Array] = []
    names: list[str] = []
    for name, kind in zip(schema(event_type).names, schema(event_type).types, strict=True):
        values = [_encode(getattr(event, name), kind) for event in events]
        arrays.append(pa.array(values, kind))
        names.append(name)
    if event_type is FeatureRow:
        for name in _feature_names(events):
            names.append(FEATURE_PREFIX + name)
            arrays.append(pa.array([e.values.get(name) for e in events], pa.float64()))  # type: ignore[attr-defined]
    return pa.table(arrays, names=names)


def from_table(event_type: type[Event], table: pa.Table) -> list[Event]:
    """Turn rows of `table` into events; raise `ArchiveError` if a column is missing."""
    missing = [name for name in schema(event_type).names if name not in table.column_names]
    if missing:
        raise ArchiveError(
            f"{event_type.__name__} table lacks column {missing[0]}: "
            "the file was written by another version or is damaged; run `hawk verify`"
        )
    names = ["ts_ns", "id", *(name for name, _ in _body_fields(event_type))]
    columns = [_decoded(event_type, name, table) for name in names]
    # Column order is field order, so one positional call per row; `values` dicts are made per row.
    events = [
        event_type(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)
    ]
    for event, seq in zip(events, table.column("seq").to_pylist(), strict=True):
        set_seq(event, seq)
    return events


@cache
def _body_fields(event_type: type[Event]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(event_type)
    names = [name for name in event_type.__struct_fields__ if name not in ("ts_ns", "id", "seq")]
    return tuple((name, hints[name]) for name in names)


def _arrow_type(name: str, hint: object) -> pa.DataType:
    if name in _IDS:
        return pa.binary(ID_BYTES)
    if name in _SMALL_INTS:
        return pa.int32()
    options = [o for o in get_args(hint) if o is not NoneType]
    if get_origin(hint) is UnionType and len(options) == 1:
        hint = options[0]
    if get_origin(hint) is Literal:
        return pa.string()
    return _SCALARS.get(hint, pa.string())  # what is nested is JSON text


def _encode(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_fixed_size_binary(kind):
        return bytes.fromhex(value)
    if pa.types.is_string(kind) and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return value


def _feature_names(events: Iterable[Event]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for event in events:
        names.update(dict.fromkeys(event.values))  # type: ignore[attr-defined]
    return tuple(names)


def _decoded(event_type: type[Event], name: str, table: pa.Table) -> list[Any]:
    if event_type is QuoteSnapshot and name in _LEVELS:
        return [tuple(level) for level in table.column(name).to_pylist()]
    if event_type is FeatureRow and name == "values":
        features = [c for c in table.column_names if c.startswith(FEATURE_PREFIX)]
        keys = [c.removeprefix(FEATURE_PREFIX) for c in features]
        rows = zip(*(table.column(c).to_pylist() for c in features), strict=True)
        return [dict(zip(keys, row, strict=True)) for row in rows]
    values: list[Any] = table.column(name).to_pylist()
    decode = _decoder(event_type, name)
    return values if decode is None else [None if v is None else decode(v) for v in values]


@cache
def _decoder(event_type: type[Event], name: str) -> Callable[[Any], Any] | None:
    if name in ("ts_ns", "seq"):
        return None
    if pa.types.is_fixed_size_binary(schema(event_type).field(name).type):
        return bytes.hex
    hint = get_type_hints(event_type).get(name)
    base = (
        [o for o in get_args(hint) if o is not NoneType] if isinstance(hint, UnionType) else [hint]
    )
    if len(base) == 1 and (base[0] in _SCALARS or get_origin(base[0]) is Literal):
        return None
    return msgspec.json.Decoder(hint).decode
