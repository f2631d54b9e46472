"""What came behind one missing frame of a numbered feed, in case that it comes late. Pure.

In go the books as they stood before it and the frames behind it, out come the books again. The
decision a reader would question: one missing frame is waited for, never two. Neighbours change
places; where more is missing, something was lost, and only a snapshot helps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.common.venues.messages import Frame, Price
from services.collector.book import Book

FRAMES_MAX = 100
"""Frames that are kept: a second of a busy market."""

Sides = tuple[dict[Price, Price], dict[Price, Price]]


@dataclass
class Held:
    """Frames behind the missing `number`, and the sides of the books before it."""

    number: int
    sides: dict[str, Sides]
    frames: list[Frame] = field(default_factory=list)

    def restore(self, books: Mapping[str, Book]) -> set[str]:
        """Put back the books that nothing but the gap has voided; return their names.

        One of which a snapshot has come meanwhile is newer than what is held.
        """
        back: set[str] = set()
        for name, (bids, asks) in self.sides.items():
            book = books.get(name)
            if book is not None and book.void_reason == "sequence_gap":
                book.restore(bids, asks)
                back.add(name)
        return back


def held_before(number: int, books: Mapping[str, Book]) -> Held:
    """Begin to hold what comes behind a missing frame; call it before the books are void."""
    believed = {name: book for name, book in books.items() if book.void_reason is None}
    return Held(number, {name: (book.bids, book.asks) for name, book in believed.items()})
