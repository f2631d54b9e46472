"""Archive tables as arrays in one order, with names as codes: what batch works on.

Order is everything here. `rank` is the place of a row of any of the three tables in the one order
of events (ts_ns, underlying, seq, id); a row may use exactly what has a smaller rank. Arrays of one
group are sorted by rank, so "the last one known" is a searchsorted on ranks, and "the last one at
or before t - 60 s" a searchsorted on times, as bisect is on the streaming path.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from libs.common.archive import id_array
from libs.common.columns import ABSENT, level_matrix
from services.features.inputs import (
    MID_CHANGE,
    NEAR_E4,
    SECOND_NS,
    Book,
    Horizon,
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Names(NamedTuple):
    """A text column of several tables as codes into one list of names."""

    names: list[str]
    codes: tuple[Ints, ...]


def encode(columns: Sequence[pa.ChunkedArray]) -> Names:
    """Encode text `columns` to codes of one list of names, in alphabetical order."""
    chunks = [chunk.cast(pa.string()) for column in columns for chunk in column.chunks]
    whole = pa.chunked_array(chunks, pa.string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.string())
    coded = whole.dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    codes = place[coded.indices.to_numpy()] if names else np.empty(0, np.int64)
    bounds = np.cumsum([len(column) for column in columns])[:-1]
    return Names([names[i] for i in order], tuple(np.split(codes, bounds)))


def ints(table: pa.Table, name: str) -> Ints:
    """Return an integer column without nulls."""
    values: Ints = table.column(name).to_numpy().astype(np.int64, copy=False)
    return values


def floats(table: pa.Table, name: str) -> Floats:
    """Return a numeric column as floats, NaN where null."""
    values: Floats = table.column(name).to_numpy().astype(np.float64, copy=False)
    return values


def ranks(tables: Sequence[pa.Table], underlyings: Sequence[Ints]) -> list[Ints]:
    """Return each row's place in the order (ts_ns, underlying, seq, id) over all `tables`."""
    ts = np.concatenate([ints(table, "ts_ns") for table in tables])
    seq = np.concatenate([ints(table, "seq") for table in tables])
    place = np.concatenate(list(underlyings))
    within = place * (int(seq.max(initial=0)) + 1) + seq
    order = np.lexsort((within, ts))
    tied = (np.diff(ts[order]) == 0) & (np.diff(within[order]) == 0)
    if tied.any():
        ids = np.concatenate([id_array(table.column("id")) for table in tables])
        order = np.lexsort((ids, seq, place, ts))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    bounds = np.cumsum([table.num_rows for table in tables])[:-1]
    return list(np.split(rank, bounds))


class AsOf(NamedTuple):
    """Rows grouped by key and sorted by rank in each group, ready for "the last one known"."""

    order: Ints
    keys: Ints
    packed: Ints
    span: int


def as_of(keys: Ints, rank: Ints, *, span: int) -> AsOf:
    """Index rows by (key, rank); `span` is above every rank, and keys x span below 2**63."""
    order = np.lexsort((rank, keys))
    return AsOf(order, keys[order], keys[order] * span + rank[order], span)


def last_known(index: AsOf, keys: Ints, rank: Ints) -> Ints:
    """Return the row of `index` that each (key, rank) knows last, -1 where there is none."""
    at = np.searchsorted(index.packed, keys * index.span + rank) - 1
    found = np.where(at >= 0, at, 0)
    if not len(index.order):
        return np.full(len(keys), -1, np.int64)
    return np.where((at >= 0) & (index.keys[found] == keys), index.order[found], -1)


def look_back(times: Ints, now_ns: Ints, horizon: Horizon) -> Ints:
    """Return the position in sorted `times` of the observation a horizon ago, -1: none."""
    at = np.searchsorted(times, now_ns - horizon.ns, side="right") - 1
    if not len(times):
        return at
    return np.where((at >= 0) & (times[at] >= now_ns - horizon.oldest_ns), at, -1)


class Sides(NamedTuple):
    """Both sides of the quotes' books: per level, best first, ABSENT where there is none."""

    bids: list[Ints]
    bid_sizes: list[Ints]
    asks: list[Ints]
    ask_sizes: list[Ints]


def sides(quotes: pa.Table) -> Sides:
    """Return the book sides of a quote table."""
    names = ("yes_bids_price_e4", "yes_bids_size_e2", "yes_asks_price_e4", "yes_asks_size_e2")
    matrices = (level_matrix(quotes.column(name)) for name in names)
    return Sides(*(list(np.ascontiguousarray(matrix.T)) for matrix in matrices))


def book_inputs(quotes: pa.Table, books: Sides, *, ts: Ints, keys: Ints) -> Book:
    """Return the market-book inputs of quotes sorted by rank; `keys` tells markets apart."""
    bid, ask = books.bids[0], books.asks[0]
    bid_size, ask_size = books.bid_sizes[0], books.ask_sizes[0]
    has_bid, has_ask = bid != ABSENT, ask != ABSENT
    has_bids = has_bid & _is_sized(books.bids, books.bid_sizes)
    has_asks = has_ask & _is_sized(books.asks, books.ask_sizes)
    near_bids = [bid - price <= NEAR_E4 for price in books.bids]
    near_asks = [price - ask <= NEAR_E4 for price in books.asks]
    near = _sum(books.bid_sizes, near_bids) + _sum(books.ask_sizes, near_asks)
    return Book(
        _floats(bid, has_bid),
        _floats(ask, has_ask),
        _floats(bid_size, has_bid & (bid_size != ABSENT)),
        _floats(ask_size, has_ask & (ask_size != ABSENT)),
        _floats(_sum(books.bid_sizes), has_bids),
        _floats(_sum(books.ask_sizes), has_asks),
        _floats(near, has_bids & has_asks),
        floats(quotes, "last_price_e4"),
        np.maximum(ints(quotes, "age_ns"), 0) / 1e9,
        *_touches((bid, ask), ts, keys),
    )


def _is_sized(prices: Sequence[Ints], sizes: Sequence[Ints]) -> Mask:
    """Tell which sides have a size for each level and no more."""
    has = np.ones(len(prices[0]), np.bool_)
    for price, size in zip(prices, sizes, strict=True):
        has &= (price != ABSENT) == (size != ABSENT)
    return has


def _sum(sizes: Sequence[Ints], masks: Sequence[Mask] | None = None) -> Ints:
    """Sum the sizes of the levels that are there (and in `masks`); integers, so order is free."""
    total = np.zeros(len(sizes[0]), np.int64)
    for level, size in enumerate(sizes):
        present = np.maximum(size, 0)
        total += present if masks is None else present * masks[level]
    return total


def _floats(values: Ints, defined: Mask) -> Floats:
    floats_ = values.astype(np.float64)
    if not defined.all():
        floats_[~defined] = np.nan
    return floats_


def _touches(touch: tuple[Ints, Ints], ts: Ints, keys: Ints) -> list[Floats]:
    """Return bid + ask of the same market one MID_CHANGE horizon ago, NaN where unknown.

    All markets are looked up at once on one axis: each market's life is shifted behind the life
    before it. The axis is as long as all lives together: 1e4 markets of a week fit in int64.
    """
    bid, ask = touch
    order = np.argsort(keys.astype(np.int32), kind="stable")
    counted = order[((bid != ABSENT) & (ask != ABSENT) & (bid <= ask))[order]]
    found = [np.full(len(ts), np.nan) for _ in MID_CHANGE]
    if not len(counted):
        return found
    first = np.flatnonzero(np.diff(keys[counted], prepend=-1))
    last = np.append(first[1:], len(counted)) - 1
    start, life = ts[counted[first]], ts[counted[last]] - ts[counted[first]]
    offset = np.cumsum(life + SECOND_NS) - life
    of_key = np.searchsorted(keys[counted[first]], keys)
    of_key[of_key == len(first)] = 0
    has = keys[counted[first]][of_key] == keys
    shift, end = offset[of_key] - start[of_key], (offset + life)[of_key]
    axis = ts[counted] + shift[counted]
    for horizon, column in zip(MID_CHANGE, found, strict=True):
        rows = order[(has & (ts - horizon.ns >= start[of_key]))[order]]
        # A quote may outlive the last one counted of its market by more than the horizon.
        then_ns = np.minimum(ts - horizon.ns + shift, end)[rows]
        at = np.searchsorted(axis, then_ns, side="right") - 1
        then = counted[at]
        recent = ts[then] >= ts[rows] - horizon.oldest_ns
        column[rows[recent]] = (bid[then] + ask[then])[recent]
    return found
