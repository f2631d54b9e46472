"""How often a book was proven right by another source of the same venue. Pure.

A venue tells its best prices on a second channel (a ticker, the other outcome's token, a REST
answer). Where they equal ours at their arrival, were ours a moment before, or become ours before
the next sample, the book of that tick is *proven*; where they never do, the tick is contradicted.

The decision a reader would question: two channels are not in step, so what counts is whether a top
was ever right within RECENT_NS, by its prices alone. On a real Kalshi quarter hour 88 % of tickers
equal the book when they arrive and 855 of 856 within three seconds, sizes half as often, because a
ticker is told once a second and is older than the book. Only a row of contradicted ticks voids one.
"""

from collections import deque

from libs.common.venues.messages import TopOfBook
from services.collector.book import Book

RECENT_NS = 3_000_000_000
"""How far a top may lag behind the book: Kalshi tells a ticker once a second, some later."""

PENDING_MAX = 8
"""Tops of one interval that still wait for a book that fits."""

CONTRADICTED_MAX = 10
"""Ticks contradicted in a row after which the book is taken for wrong."""


class Proof:
    """Proven and contradicted ticks of one instrument on one feed."""

    __slots__ = ("_in_a_row", "_is_proven", "_pending", "_snapshots", "compared", "equal")

    def __init__(self) -> None:
        """Start with nothing compared."""
        self.compared = self.equal = 0
        """Tops compared at the instant of their arrival, and those equal then."""
        self._pending: deque[tuple[int, TopOfBook]] = deque(maxlen=PENDING_MAX)
        self._is_proven = False
        self._in_a_row = self._snapshots = 0

    def told(self, top: TopOfBook, book: Book, ts_ns: int) -> None:
        """Compare the venue's own best prices with the book's, now and a moment ago."""
        if book.void_reason is not None:
            return
        self._begin(book)
        is_equal = agrees(top, book)
        self.compared += 1
        self.equal += is_equal
        if is_equal or was_top(top, book, ts_ns - RECENT_NS):
            self._is_proven = True
        else:
            self._pending.append((ts_ns, top))

    def tick(self, book: Book) -> bool | None:
        """End an interval: True proven, False contradicted, None: nothing to compare with."""
        self._begin(book)
        verdict: bool | None = None
        if self._is_proven:
            verdict = True
        elif self._pending:
            verdict = any(
                agrees(top, book) or was_top(top, book, ts_ns) for ts_ns, top in self._pending
            )
        self._is_proven = False
        self._pending.clear()
        if verdict is not None:
            self._in_a_row = 0 if verdict else self._in_a_row + 1
        return verdict

    def reset(self) -> None:
        """Forget what was compared with a book that is void now."""
        self._is_proven = False
        self._pending.clear()
        self._in_a_row = 0

    def _begin(self, book: Book) -> None:
        """Begin anew with a book that was replaced: what spoke against the old one is over."""
        if book.snapshots != self._snapshots:
            self._snapshots = book.snapshots
            self.reset()

    def is_refuted(self) -> bool:
        """Tell whether the book has been contradicted for so long that it must be wrong."""
        if self._in_a_row < CONTRADICTED_MAX:
            return False
        self._in_a_row = 0
        return True


def agrees(top: TopOfBook, book: Book) -> bool:
    """Tell whether best prices are those of the book.

    Levels are looked up before the best of a deep book is searched for: most tops that do not fit
    name a level that is not there.
    """
    bid, ask = top.bid, top.ask
    has_bid = bid in book.bids if bid is not None else not book.bids
    has_ask = ask in book.asks if ask is not None else not book.asks
    return has_bid and has_ask and book.best() == (bid, ask)


def was_top(top: TopOfBook, book: Book, since_ns: int) -> bool:
    """Tell whether the book's best prices were these at any time since then.

    Deep books do not remember their tops.
    """
    wanted = (top.bid, top.ask)
    return any(best == wanted and until_ns >= since_ns for until_ns, best in book.tops)
