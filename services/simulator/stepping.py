"""One second of one book: from what rests at its beginning to what rests at its end.

In go two books and the trades of the second, out come its events in order, each with the levels
that changed and the best five a side after it. Levels leave between 0.05 and 0.45 s, come between
0.5 and 0.95 s, and change size anywhere between; trades of the old touch come before everything,
the last trade of a spot product after everything.
"""

from heapq import nlargest, nsmallest
from typing import NamedTuple

import numpy as np

from services.simulator.books import Book, Side
from services.simulator.chance import units, word, words
from services.simulator.naming import NS_PER_S

TOP = 5
Levels = tuple[tuple[int, int], ...]

_LEAVE, _COME, _ANY = (0.05, 0.45), (0.5, 0.95), (0.05, 0.95)
FIRST_TRADE_NS, _TRADE_STEP_NS, _LAST_TRADE_NS = 10_000_000, 15_000_000, 970_000_000


class Change(NamedTuple):
    """A level after a change: `side` 0 is bid; `size` is what rests now, `delta` how it moved."""

    side: int
    price: int
    size: int
    delta: int


class Traded(NamedTuple):
    """A trade: `is_buy` tells that the taker bought. What exceeds the level that it hits was hidden
    there, and changes no level."""

    price: int
    size: int
    is_buy: bool
    trade_id: int


class BookEvent(NamedTuple):
    """What happened to one book at one instant, and its best five levels a side since."""

    ns: int
    name: str
    changes: tuple[Change, ...]
    trade: Traded | None
    bids: Levels
    asks: Levels


class Plan(NamedTuple):
    """What a second has to do: from `old` to `new` in batches of `batch_ns`, with `trades`, the
    last of them at the end of the second where `ends_with_trade`."""

    name: str
    key: int
    second: int
    old: Book
    new: Book
    batch_ns: int
    trades: tuple[Traded, ...]
    ends_with_trade: bool


def changes_of(plan: Plan) -> list[BookEvent]:
    """Return the events of a plan in order; the last one leaves the book at `plan.new`."""
    last = plan.trades[-1] if plan.ends_with_trade else None
    new = plan.new if last is None else _with_room(plan.new, last)
    early = plan.trades if last is None else plan.trades[:-1]
    work = (dict(plan.old[0]), dict(plan.old[1]))
    state = _State(plan, work)
    for i, trade in enumerate(early):
        state.trade(FIRST_TRADE_NS + i * _TRADE_STEP_NS, trade)
    for offset_ns, batch in _batches(plan, work, new):
        state.change(offset_ns, batch)
    if last is not None:
        state.trade(_LAST_TRADE_NS, last)
    return state.events


class _State:
    """The book as it moves through the second, and the events so far."""

    def __init__(self, plan: Plan, work: Book) -> None:
        self._plan, self._work = plan, work
        self._start_ns = plan.second * NS_PER_S
        self._bids, self._asks = top(work)
        self.events: list[BookEvent] = []

    def change(self, offset_ns: int, batch: list[tuple[int, int, int]]) -> None:
        """Set levels (side, price, size) at one instant."""
        changes = []
        for side, price, size in batch:
            delta = size - self._work[side].get(price, 0)
            if delta:
                _set(self._work[side], price, size)
                changes.append(Change(side, price, size, delta))
        if changes:
            self._emit(offset_ns, tuple(changes), None)

    def trade(self, offset_ns: int, trade: Traded) -> None:
        """Take a trade's size from the level that it hits, where so much rests."""
        side = 1 if trade.is_buy else 0
        rests, size = self._work[side].get(trade.price, 0), trade.size
        changes: tuple[Change, ...] = ()
        if rests > size:
            self._work[side][trade.price] = rests - size
            changes = (Change(side, trade.price, rests - size, -size),)
        self._emit(offset_ns, changes, trade)

    def _emit(self, offset_ns: int, changes: tuple[Change, ...], trade: Traded | None) -> None:
        # Most changes are behind the best five; sorting hundreds of levels for them is the cost.
        bids, asks = self._bids, self._asks
        if any(c.side == 0 and (len(bids) < TOP or c.price >= bids[-1][0]) for c in changes):
            self._bids = _top_bids(self._work[0])
        if any(c.side == 1 and (len(asks) < TOP or c.price <= asks[-1][0]) for c in changes):
            self._asks = _top_asks(self._work[1])
        self.events.append(
            BookEvent(
                self._start_ns + offset_ns, self._plan.name, changes, trade, self._bids, self._asks
            )
        )


def top(book: Book) -> tuple[Levels, Levels]:
    """Return the best five levels a side, best first."""
    return _top_bids(book[0]), _top_asks(book[1])


def _top_bids(bids: Side) -> Levels:
    return tuple((price, bids[price]) for price in nlargest(TOP, bids))


def _top_asks(asks: Side) -> Levels:
    return tuple((price, asks[price]) for price in nsmallest(TOP, asks))


def _batches(plan: Plan, work: Book, new: Book) -> list[tuple[int, list[tuple[int, int, int]]]]:
    """Place the differences between two books within the second, grouped by instant."""
    placed: dict[int, list[tuple[int, int, int]]] = {}
    for side in (0, 1):
        old, then = work[side], new[side]
        prices = sorted({p for p, _ in old.items() ^ then.items()})
        if not prices:
            continue
        drawn = units(words(word(plan.key, plan.second, side), np.array(prices)))
        for price, part in zip(prices, drawn.tolist(), strict=True):
            size = then.get(price, 0)
            low, high = _LEAVE if not size else _COME if price not in old else _ANY
            offset_ns = int((low + (high - low) * part) * NS_PER_S)
            offset_ns -= offset_ns % plan.batch_ns
            placed.setdefault(offset_ns, []).append((side, price, size))
    return sorted(placed.items())


def _with_room(new: Book, last: Traded) -> Book:
    """Return `new` with what the last trade will take on top of the level it hits."""
    side = 1 if last.is_buy else 0
    rests = new[side].get(last.price, 0)
    if not rests:
        return new
    grown = {**new[side], last.price: rests + last.size}
    return (new[0], grown) if side else (grown, new[1])


def _set(side: Side, price: int, size: int) -> None:
    if size:
        side[price] = size
    else:
        side.pop(price, None)
