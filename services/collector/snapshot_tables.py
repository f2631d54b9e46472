"""Accepted rows of a recording as archive tables, column by column. Pure.

Only the ids are made row by row; everything else is arrays, because a month of spot at one row a
second is 2.6 million rows per underlying.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common import columns
from libs.common.archive import id_array
from libs.common.columns import ABSENT
from libs.common.events import (
    ID_BYTES,
    Event,
    Market,
    QuoteSnapshot,
    SpotSnapshot,
    event_id,
    quote_id,
)
from services.collector.validation import Books, Floats, Ints

Names = np.ndarray[Any, np.dtype[np.str_]]

INDEX_SOURCES = ("chainlink",)
"""Sources whose price is a settlement index, not a trade."""


def spot_table(ts_ns: Ints, place: Names, source: Names, price_usd: Floats) -> pa.Table:
    """Return spot snapshots: the price is the last trade, of an index source the index."""
    rows = zip(place.tolist(), source.tolist(), ts_ns.tolist(), price_usd.tolist(), strict=True)
    ids = [bytes.fromhex(event_id("SpotSnapshot", *row)) for row in rows]
    is_index = np.char.startswith(source, INDEX_SOURCES[0]) if len(source) else np.zeros(0, bool)
    return _table(
        SpotSnapshot,
        {
            "ts_ns": pa.array(ts_ns),
            "id": pa.array(ids, pa.binary(ID_BYTES)),
            "underlying": pa.array(place),
            "source": pa.array(source),
            "last_usd": pa.array(price_usd, mask=is_index),
            "index_usd": pa.array(price_usd, mask=~is_index),
        },
    )


def quote_table(
    markets: Sequence[Market], codes: Ints, ts_ns: Ints, books: Books, *, flags: Ints
) -> pa.Table:
    """Return quote snapshots of `markets[codes]`."""
    levels = list(vars(books).values())
    named = [(m.venue, m.market) for m in markets]
    texts = zip(*([_filled(row) for row in matrix.tolist()] for matrix in levels), strict=True)
    rows = zip(codes.tolist(), ts_ns.tolist(), texts, strict=True)
    ids = [
        bytes.fromhex(quote_id(named[code][0], named[code][1], ts, sides))
        for code, ts, sides in rows
    ]
    names = ("yes_bids_price_e4", "yes_bids_size_e2", "yes_asks_price_e4", "yes_asks_size_e2")
    return _table(
        QuoteSnapshot,
        {
            "ts_ns": pa.array(ts_ns),
            "id": pa.array(ids, pa.binary(ID_BYTES)),
            "venue": _named([m.venue for m in markets], codes),
            "market": _named([m.market for m in markets], codes),
            "underlying": _named([m.underlying for m in markets], codes),
            **{name: _lists(matrix, name) for name, matrix in zip(names, levels, strict=True)},
            "flags": pa.array(flags.astype(np.int32)),
        },
    )


def numbered(kinds: Mapping[type[Event], pa.Table]) -> dict[type[Event], pa.Table]:
    """Number the rows of each (underlying, ts_ns) from 0: by kind as given, then by id."""
    tables = list(kinds.values())
    if not sum(table.num_rows for table in tables):
        return dict(kinds)
    ts_ns = np.concatenate([t["ts_ns"].to_numpy() for t in tables])
    ids = np.concatenate([id_array(t["id"]) for t in tables])
    rank = np.repeat(np.arange(len(tables)), [t.num_rows for t in tables])
    places = pa.concat_arrays([chunk for t in tables for chunk in t["underlying"].chunks])
    place = places.dictionary_encode().indices.to_numpy()
    order = np.lexsort((ids, rank, place, ts_ns))
    is_new = np.r_[True, (np.diff(ts_ns[order]) != 0) | (np.diff(place[order]) != 0)]
    starts = np.flatnonzero(is_new)
    seq = np.empty(len(order), np.int64)
    seq[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    result, offset = {}, 0
    for kind, table in kinds.items():
        own = seq[offset : offset + table.num_rows]
        offset += table.num_rows
        place_of = table.schema.get_field_index("seq")
        result[kind] = table.set_column(place_of, "seq", pa.array(own))
    return result


def _table(kind: type[Event], arrays: dict[str, pa.Array]) -> pa.Table:
    """Complete `arrays` to the schema of `kind`: integers 0, everything else null."""
    n = len(arrays["ts_ns"])
    full = []
    for field in columns.schema(kind):
        if field.name in arrays:
            full.append(arrays[field.name].cast(field.type))
        elif field.name in ("seq", "age_ns", "flags"):
            full.append(pa.array(np.zeros(n, np.int64)).cast(field.type))
        else:
            full.append(pa.nulls(n, field.type))
    return pa.table(full, schema=columns.schema(kind))


def _filled(row: list[int]) -> list[int]:
    return [value for value in row if value != ABSENT]


def _named(names: Sequence[str], codes: Ints) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(codes))


def _lists(matrix: Ints, name: str) -> pa.Array:
    there = matrix != ABSENT
    offsets = np.r_[0, np.cumsum(there.sum(1))].astype(np.int32)
    values = pa.array(matrix[there], columns.schema(QuoteSnapshot).field(name).type.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
