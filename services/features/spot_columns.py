"""Batch counterpart of `tracks`: one price feed as columns, looked up for many rows at once.

The same observations, look-backs, windows and prints as the streaming `Track`, by searchsorted and
cumsum instead of bisect and running totals. Positions are into the feed's observations, which are
sorted by rank and therefore by time.
"""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from libs.common.fair_value import PRINTS
from services.features.inputs import (
    FLOW_NS,
    IS_GAP,
    IS_STALE,
    MOMENTUM,
    PRICE_USD_MAX,
    PRINT_AGE_NS_MAX,
    RETURN_E9_MAX,
    RETURN_LONG,
    RETURN_SHORT,
    SECOND_NS,
    SQUARE_DIVISOR,
    VOL_15M,
    VOL_60M,
    VOL_SHORT,
    VOLUME_MAX,
    Horizon,
    Price,
    Window,
    feed_of,
    index_feed_of,
)
from services.features.table_columns import Floats, Ints, Mask, encode, floats, ints, look_back

_BOOK = ("bid_usd", "ask_usd", "bid_size", "ask_size", "depth_bid", "depth_ask")


class Spot(NamedTuple):
    """Spot snapshots of one underlying, sorted by rank; prices in 1e-6 USD, 0 where missing."""

    ts: Ints
    rank: Ints
    age: Ints
    price: Ints
    index_price: Ints
    book: tuple[Floats, ...]
    buy: Ints
    sell: Ints
    no_volume: Ints
    feed: Ints
    index_feed: Ints
    feeds: list[str]


def spot_of(table: pa.Table, rank: Ints) -> Spot:
    """Return the snapshots of `table` that are observations, prices validated.

    A stale snapshot is none; a snapshot whose index is its own feed's price has no other price.
    """
    sources = encode([table.column("source")])
    own = [feed_of(name) for name in sources.names]
    of_index = [index_feed_of(name) for name in sources.names]
    feeds = sorted({*own, *of_index})
    feed = np.array([feeds.index(name) for name in own], np.int64)[sources.codes[0]]
    index_feed = np.array([feeds.index(name) for name in of_index], np.int64)[sources.codes[0]]
    flags = ints(table, "flags")
    fresh = flags & IS_STALE == 0
    index = np.where(fresh, _prices(floats(table, "index_usd")), 0)
    bid, ask = floats(table, "bid_usd"), floats(table, "ask_usd")
    mid = np.where(bid <= ask, _prices((bid + ask) / 2.0), 0)
    price = np.where(mid > 0, mid, _prices(floats(table, "last_usd")))
    price = np.where(fresh & ~((index > 0) & (feed == index_feed)), price, 0)
    buy, has_buy = _volumes(floats(table, "taker_buy_volume"))
    sell, has_sell = _volumes(floats(table, "taker_sell_volume"))
    known = has_buy & has_sell & (flags & IS_GAP == 0)
    return Spot(
        ts=ints(table, "ts_ns"),
        rank=rank,
        age=np.maximum(ints(table, "age_ns"), 0),
        price=price,
        index_price=index,
        book=tuple(np.where(mid > 0, floats(table, name), np.nan) for name in _BOOK),
        buy=np.where(known, buy, 0),
        sell=np.where(known, sell, 0),
        no_volume=(~known).astype(np.int64),
        feed=feed,
        index_feed=index_feed,
        feeds=feeds,
    )


def _prices(usd: Floats) -> Ints:
    """Return prices in 1e-6 USD, 0 where `inputs.price_e6` says None."""
    valid = (usd > 0.0) & (usd < PRICE_USD_MAX)
    return np.rint(np.where(valid, usd, 0.0) * 1e6).astype(np.int64)


def _volumes(volume: Floats) -> tuple[Ints, Mask]:
    valid = (volume >= 0.0) & (volume < VOLUME_MAX)
    return np.rint(np.where(valid, volume, 0.0) * 1e8).astype(np.int64), valid


class Returns(NamedTuple):
    """Squared returns of a feed with their times: cumulative, from 0."""

    ts: Ints
    rank: Ints
    squares: Ints
    times: Ints


class Feed:
    """Observations of one feed: `ts`, `rank`, `age`, `price`, and what windows need."""

    def __init__(self, spot: Spot, name: str) -> None:
        """Collect the observations of feed `name`, its spot prices and its index alike."""
        code = spot.feeds.index(name)
        is_price = (spot.price > 0) & (spot.feed == code)
        is_index = (spot.index_price > 0) & (spot.index_feed == code)
        rows = np.flatnonzero(is_price | is_index)
        self.name = name
        self.ts, self.rank, self.age = spot.ts[rows], spot.rank[rows], spot.age[rows]
        self.price = np.where(is_index, spot.index_price, spot.price)[rows]
        # An index has no volume, even where it comes in the snapshot of a venue that has.
        self.buy = _running(np.where(is_price, spot.buy, 0)[rows])
        self.sell = _running(np.where(is_price, spot.sell, 0)[rows])
        self.no_volume = _running(np.where(is_price, spot.no_volume, 1)[rows])
        usd = (self.price / 1e6).tolist()
        logs = np.fromiter(map(math.log, usd), np.float64, len(usd))
        self.log = np.rint(logs * 1e9).astype(np.int64)
        self.long, self.short = self._returns(RETURN_LONG), self._returns(RETURN_SHORT)
        self.momentum = [column for horizon in MOMENTUM for column in self._momentum(horizon)]

    def known(self, rank: Ints) -> Ints:
        """Return how many observations each rank knows."""
        return np.searchsorted(self.rank, rank)

    def prices(self, rank: Ints, now_ns: Ints) -> Price:
        """Return the inputs that this feed gives as S to rows that know an observation."""
        known = self.known(rank)
        first, runs = _runs(known, now_ns)
        rank, now_ns, at = rank[first], now_ns[first], known[first] - 1
        columns = (
            self.price[at] / 1e6,
            (now_ns - self.ts[at] + self.age[at]) / 1e9,
            *(column[at] for column in self.momentum),
            *_window(self.long, rank, now_ns, VOL_15M),
            *_window(self.long, rank, now_ns, VOL_60M),
            *_window(self.short, rank, now_ns, VOL_SHORT),
        )
        return Price._make(np.repeat(column, runs) for column in columns)

    def flows(self, rank: Ints, now_ns: Ints) -> list[Floats]:
        """Return buy and sell volume (1e-8) per FLOW window, NaN where a snapshot had none."""
        end, volumes = self.known(rank), []
        first, runs = _runs(end, now_ns)
        end, now_ns = end[first], now_ns[first]
        for window_ns in FLOW_NS:
            start = np.minimum(np.searchsorted(self.ts, now_ns - window_ns, side="right"), end)
            whole = (start < end) & (self.no_volume[end] == self.no_volume[start])
            volumes += [
                np.where(whole, total[end] - total[start], np.nan)
                for total in (self.buy, self.sell)
            ]
        return [np.repeat(volume, runs) for volume in volumes]

    def prints_e6(self, end_ns: Ints) -> tuple[Ints, Mask]:
        """Return running sums of the 60 prints up to each `end_ns`, and which are all known.

        Shape (n, 60): column k is the sum of the first k + 1 prints (1e-6 USD).
        """
        steps = np.arange(PRINTS - 1, -1, -1) * SECOND_NS
        at_ns = end_ns[:, None] - steps[None, :]
        at = np.searchsorted(self.ts, at_ns.ravel(), side="right").reshape(at_ns.shape) - 1
        if not len(self.ts):
            return np.zeros(at.shape, np.int64), np.zeros(at.shape, np.bool_)
        known = (at >= 0) & (at_ns - self.ts[at] + self.age[at] <= PRINT_AGE_NS_MAX)
        sums = np.cumsum(np.where(known, self.price[at], 0), axis=1)
        return sums, np.logical_and.accumulate(known, axis=1)

    def _returns(self, horizon: Horizon) -> Returns:
        at = look_back(self.ts, self.ts, horizon)
        rows = np.flatnonzero(at >= 0)
        then = at[rows]
        moves = np.clip(self.log[rows] - self.log[then], -RETURN_E9_MAX, RETURN_E9_MAX)
        squares = _running(moves * moves // SQUARE_DIVISOR)
        return Returns(
            self.ts[rows], self.rank[rows], squares, _running(self.ts[rows] - self.ts[then])
        )

    def _momentum(self, horizon: Horizon) -> tuple[Floats, Floats]:
        at = look_back(self.ts, self.ts, horizon)
        return (
            np.where(at >= 0, self.log - self.log[at], np.nan),
            np.where(at >= 0, self.ts - self.ts[at], np.nan),
        )


def _runs(known: Ints, now_ns: Ints) -> tuple[Ints, Ints]:
    """Return the first row of each run that knows the same at the same time, and run lengths.

    Quotes of one instant share all of a feed's inputs, and they stand together.
    """
    is_new = np.ones(len(known), np.bool_)
    is_new[1:] = (known[1:] != known[:-1]) | (now_ns[1:] != now_ns[:-1])
    first = np.flatnonzero(is_new)
    return first, np.diff(first, append=len(known))


def _running(amounts: Ints) -> Ints:
    """Return running totals that begin with 0; differences stay exact even past 2**63."""
    totals = np.zeros(len(amounts) + 1, np.int64)
    np.cumsum(amounts, out=totals[1:])
    return totals


def _window(returns: Returns, rank: Ints, now_ns: Ints, window: Window) -> tuple[Floats, Floats]:
    """Return the sums of squares and of times over a window that is full enough, else NaN."""
    end = np.searchsorted(returns.rank, rank)
    start = np.minimum(np.searchsorted(returns.ts, now_ns - window.ns, side="right"), end)
    if not len(returns.ts):
        return np.full(len(rank), np.nan), np.full(len(rank), np.nan)
    first, last = np.minimum(start, len(returns.ts) - 1), np.maximum(end - 1, 0)
    full = (end - start >= window.count_min) & (
        returns.ts[last] - returns.ts[first] >= window.span_ns_min
    )
    return (
        np.where(full, returns.squares[end] - returns.squares[start], np.nan),
        np.where(full, returns.times[end] - returns.times[start], np.nan),
    )
