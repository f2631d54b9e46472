"""One order book as a venue tells it: two plain dicts from price to size. Pure.

An update is one write into a dict, some 50 ns; nothing is kept sorted, because a book is looked at
once a second and changed a hundred times. The best few levels are picked from all of them then.

The decision a reader would question: a book knows why it is not to be believed. After a gap in the
sequence, a size below zero or a rejected message it is *void* with the reason, at once, and only a
whole new snapshot makes it right again. A book that is nearly right is worse than none.
"""

from collections import deque
from heapq import nlargest, nsmallest

from libs.common.venues.messages import BookChange, BookSnapshot, Level, Price

LEVELS_MAX_KNOWN = 200_000
"""Levels of one side; the fullest real book (BTC-USD) has some 30,000. More is an attack."""


TOPS_REMEMBERED, TOPS_LEVELS_MAX = 256, 2_000
"""Former best prices of a book, kept while it has so few levels that looking for the best costs
microseconds: contracts, not coins. Three seconds of the busiest market have some hundred."""


class Book:
    """The book of one instrument; `void_reason` None means that it is to be believed."""

    __slots__ = ("_top", "absent_removed", "asks", "bids", "snapshots", "tops", "void_reason")

    def __init__(self) -> None:
        """Start without a book."""
        self.bids: dict[Price, Price] = {}
        self.asks: dict[Price, Price] = {}
        self.void_reason: str | None = "no_book"
        self.absent_removed = 0
        """Removals of levels that were not there: a hint that something was missed."""
        self.snapshots = 0
        """Whole books that it was replaced by."""
        self.tops: deque[tuple[int, tuple[Price | None, Price | None]]] = deque(
            maxlen=TOPS_REMEMBERED
        )
        """Former best prices, each with the time until which it stood."""
        self._top: tuple[Price | None, Price | None] = (None, None)

    def replace(self, snapshot: BookSnapshot) -> str | None:
        """Take a whole book; return why it cannot be believed, if so."""
        self.bids, self.asks = dict(snapshot.bids), dict(snapshot.asks)
        if max(len(self.bids), len(self.asks)) > LEVELS_MAX_KNOWN:
            return self.void("too_many_levels")
        self.void_reason = None
        self.snapshots += 1
        return None

    def apply(self, change: BookChange) -> str | None:
        """Take changed levels; return why the book is void from now on, if it is.

        A void book ignores them: only a snapshot helps it.
        """
        if self.void_reason is not None:
            return None
        bids, asks = self.bids, self.asks
        if change.is_signed:
            return self._add(change)
        for is_bid, price, size in change.changes:
            side = bids if is_bid else asks
            if size:
                side[price] = size
            elif side.pop(price, None) is None:
                self.absent_removed += 1
        if len(bids) > LEVELS_MAX_KNOWN or len(asks) > LEVELS_MAX_KNOWN:
            return self.void("too_many_levels")
        return None

    def _add(self, change: BookChange) -> str | None:
        """Add signed sizes; a level below zero means that a change was missed."""
        for is_bid, price, size in change.changes:
            side = self.bids if is_bid else self.asks
            left = side.get(price, 0) + size
            if left > 0:
                side[price] = left
            elif left == 0:
                side.pop(price, None)
            else:
                return self.void("negative_level")
        if len(self.bids) > LEVELS_MAX_KNOWN or len(self.asks) > LEVELS_MAX_KNOWN:
            return self.void("too_many_levels")
        return None

    def note_top(self, ts_ns: int, change: BookChange | None = None) -> None:
        """Remember the best prices that stood until `ts_ns`, if `change` has moved them.

        Without `change` the whole book is new. Only where the best level has gone is the next one
        searched for.
        """
        bids, asks = self.bids, self.asks
        if len(bids) + len(asks) > TOPS_LEVELS_MAX:
            return
        if change is None:
            bid, ask = self.best()
        else:
            bid, ask = self._top
            for is_bid, price, _ in change.changes:
                if is_bid:
                    if price in bids:
                        bid = price if bid is None or price > bid else bid
                    elif price == bid:
                        bid = max(bids, default=None)
                elif price in asks:
                    ask = price if ask is None or price < ask else ask
                elif price == ask:
                    ask = min(asks, default=None)
        if (bid, ask) != self._top:
            self.tops.append((ts_ns, self._top))
            self._top = (bid, ask)

    def void(self, reason: str) -> str:
        """Forget the book, and remember why; return the reason."""
        self.bids, self.asks = {}, {}
        self.void_reason = reason
        return reason

    def restore(self, bids: dict[Price, Price], asks: dict[Price, Price]) -> None:
        """Believe these sides again, which a void book had before."""
        self.bids, self.asks, self.void_reason = bids, asks, None

    def best(self) -> tuple[Price | None, Price | None]:
        """Return best bid and best ask; None where a side is empty."""
        return (max(self.bids, default=None), min(self.asks, default=None))

    def levels(self, n: int, *, size_min: Price = 0) -> tuple[list[Level], list[Level]]:
        """Return the best `n` bids and asks of at least `size_min`, best first.

        >>> book = Book()
        >>> book.replace(BookSnapshot("X", bids=[(1, 5), (2, 6)], asks=[(4, 7)]))
        >>> book.levels(1)
        ([(2, 6)], [(4, 7)])
        """
        bids = (level for level in self.bids.items() if level[1] >= size_min)
        asks = (level for level in self.asks.items() if level[1] >= size_min)
        return nlargest(n, bids), nsmallest(n, asks)
