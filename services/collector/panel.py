"""All lines and all polled books: what can be seen of an instrument, and by which feed. Pure.

A venue may have several feeds (Coinbase: Advanced Trade, then Exchange); the first one, in the
venue's own order, whose book is to be believed and fresh is looked at. A book asked for by REST
stands in where no socket has one.

The decision a reader would question: a book by REST never repairs the book of a socket. It was true
at an unknown moment between two of the socket's changes; mixed in, it would be a book that never
was. It is looked at instead of the other, or held against it.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from libs.common.events import LEVELS_MAX
from libs.common.venues.messages import BookSnapshot, TopOfBook
from libs.common.venues.venue import Feed, Venue
from services.collector.book import Book
from services.collector.line import Line
from services.collector.proof import Proof, agrees
from services.collector.sampler import STALE_S_MAX, Sight, is_stale
from services.collector.tape import Tape

NS = 1_000_000_000

FALLBACK_S = 10
"""A feed that has shown no book for so long has its successor connected beside it."""

GHOST_E4 = (200, 9_800)
"""A book by REST with its bid at or below the one and its ask at or above the other says nothing:
Polymarket has served such ghosts while the market stood at 0.5 (py-clob-client issue 180)."""


class Panel:
    """Lines by feed, polled books, trades and proofs by instrument."""

    def __init__(self, venues: Mapping[str, Venue]) -> None:
        """Start with no line open."""
        self._venue_of: dict[str, Venue] = {}
        self._feed: dict[str, Feed] = {}
        self._worked_ns: dict[str, int] = {}
        self._feeds_of_venue = {name: [f.name for f in v.feeds] for name, v in venues.items()}
        for venue in venues.values():
            for feed in venue.feeds:
                self._feed[feed.name] = feed
                self._venue_of[feed.name] = venue
            for endpoint in venue.endpoints:
                self._venue_of[endpoint] = venue
        self._lines: dict[str, Line] = {}
        self._polled: dict[str, tuple[Book, int, str]] = {}
        self._tapes: dict[str, Tape] = {}
        self._proofs: dict[tuple[str, str], Proof] = {}
        self._compared = self._equal = 0
        self.truth: Counter[tuple[str, str]] = Counter()
        """Ticks by feed: `proven`, `contradicted`, `uncompared`."""

    def venue_of(self, feed: str) -> Venue:
        """Return the venue of a feed or endpoint."""
        return self._venue_of[feed]

    def lines(self) -> list[Line]:
        """Return all open lines."""
        return list(self._lines.values())

    def wanted(
        self, has_key: frozenset[str], has_work: Callable[[Feed], bool], now_ns: int
    ) -> list[str]:
        """Return the feeds to connect: index feeds, and of those with books the first that works.

        The next one is connected beside a feed that shows no book for FALLBACK_S.
        """
        names: list[str] = []
        for venue, feeds in self._feeds_of_venue.items():
            is_covered = False
            for feed in map(self._feed.__getitem__, feeds):
                if (feed.is_signed and venue not in has_key) or not has_work(feed):
                    continue
                if feed.carries == "index":
                    names.append(feed.name)
                elif not is_covered:
                    names.append(feed.name)
                    is_covered = self._is_working(feed.name, now_ns)
        return names

    def _is_working(self, feed: str, now_ns: int) -> bool:
        """Tell whether a feed shows a book, or has not been without one for long."""
        line = self._lines.get(feed)
        if line is not None and any(book.void_reason is None for book in line.books.values()):
            self._worked_ns[feed] = now_ns
        return now_ns - self._worked_ns.setdefault(feed, now_ns) <= FALLBACK_S * NS

    def line(self, feed: str, connection: int) -> Line | None:
        """Return a line, None if that connection is not the one that is open."""
        line = self._lines.get(feed)
        return line if line is not None and line.connection == connection else None

    def opened(self, feed: str, connection: int, now_ns: int) -> Line:
        """Begin a line; one that was still open is forgotten."""
        self.break_tapes(self._lines.get(feed))
        self._lines[feed] = line = Line(self._feed[feed], connection, now_ns)
        return line

    def closed(self, feed: str, connection: int) -> None:
        """Forget a line; trades may be missed from now on."""
        line = self.line(feed, connection)
        if line is not None:
            self.break_tapes(line)
            del self._lines[feed]

    def tape(self, instrument: str) -> Tape:
        """Return the trades of an instrument."""
        if instrument not in self._tapes:
            self._tapes[instrument] = Tape()
        return self._tapes[instrument]

    def polled(self, snapshot: BookSnapshot, endpoint: str, now_ns: int) -> None:
        """Take a book that was asked for by REST at `now_ns`: how old it was then nobody says."""
        name = snapshot.instrument
        if name in self._polled and self._polled[name][1] > now_ns:
            return  # an answer that was overtaken
        book = Book()
        if book.replace(snapshot) is not None or _is_ghost(book, self._venue_of[endpoint]):
            return
        self._polled[name] = (book, now_ns, endpoint)
        for line in self.lines_of(self._venue_of[endpoint]):
            own = line.books.get(name)
            if own is None or own.void_reason is not None:
                continue
            # The same best prices are no sign of life: below them a frozen book may be another.
            if not line.feed.is_numbered and book.levels(LEVELS_MAX) == own.levels(LEVELS_MAX):
                line.confirm(name, now_ns)
            bid, ask = book.best()
            self._proof(line, name).told(TopOfBook(name, bid, ask), own, now_ns)

    def compare_polled(self, top: TopOfBook) -> None:
        """Hold a polled top against the polled book: a ghost is forgotten."""
        polled = self._polled.get(top.instrument)
        if polled is not None and not agrees(top, polled[0]):
            del self._polled[top.instrument]

    def told(self, top: TopOfBook, line: Line, now_ns: int) -> None:
        """Hold what a feed says of its best prices against the book of the same line."""
        book = line.books.get(top.instrument)
        if book is not None:
            self._proof(line, top.instrument).told(top, book, now_ns)

    def sight(self, venue: Venue, instrument: str, now_ns: int, interval_ns: int) -> Sight:
        """Return the best that can be seen of an instrument now."""
        found: Sight | None = None
        reason = "not_connected"
        for line in self.lines_of(venue):
            book = line.books.get(instrument)
            if book is None:
                continue
            if book.void_reason is not None:
                reason = book.void_reason
                continue
            sight = Sight(book, line.age_ns(instrument, now_ns))
            if not is_stale(sight.age_ns, interval_ns):
                return sight
            found = found if found and found.age_ns <= sight.age_ns else sight
        polled = self._polled.get(instrument)
        if polled is not None:
            sight = Sight(polled[0], now_ns - polled[1], is_polled=True)
            found = found if found and found.age_ns <= sight.age_ns else sight
        if found is None:
            return Sight(None, 0, reason)
        if found.age_ns > STALE_S_MAX * NS:
            return Sight(None, found.age_ns, "frozen")
        return found

    def prove(self, venue: Venue, instrument: str, now_ns: int) -> None:
        """End an interval of an instrument: count whether its books were proven."""
        for line in self.lines_of(venue):
            book = line.books.get(instrument)
            if book is None:
                continue
            proof = self._proof(line, instrument)
            if book.void_reason is not None:
                proof.reset()
                continue
            verdict = proof.tick(book)
            kind = {True: "proven", False: "contradicted", None: "uncompared"}[verdict]
            self.truth[line.feed.name, kind] += 1
            if proof.is_refuted():
                line.void(instrument, "refuted", now_ns)

    def compare_mirror(self, venue: Venue, instruments: tuple[str, ...], now_ns: int) -> None:
        """Hold the book of YES against that of NO, seen in the mirror."""
        for line in self.lines_of(venue):
            yes, no = (line.books.get(name) for name in instruments[:2])
            if yes is None or no is None or no.void_reason is not None:
                continue
            bid, ask = no.best()
            mirrored = TopOfBook(
                instruments[0],
                None if ask is None else 10_000 - ask,
                None if bid is None else 10_000 - bid,
            )
            self._proof(line, instruments[0]).told(mirrored, yes, now_ns)

    def carries_trades(self, venue: Venue, instrument: str, now_ns: int, interval_ns: int) -> bool:
        """Tell whether a connection that is alive brings the trades of an instrument."""
        return any(
            instrument in line.books and not is_stale(line.age_ns(instrument, now_ns), interval_ns)
            for line in self.lines_of(venue)
        )

    def forget(self, instrument: str) -> None:
        """Forget a market that is over."""
        self._polled.pop(instrument, None)
        self._tapes.pop(instrument, None)
        for key in [key for key in self._proofs if key[1] == instrument]:
            proof = self._proofs.pop(key)
            self._compared += proof.compared
            self._equal += proof.equal

    def truth_ratios(self) -> dict[str, float]:
        """Return per feed the share of compared ticks that were proven."""
        ratios = {}
        for feed in self._feed:
            proven, contradicted = self.truth[feed, "proven"], self.truth[feed, "contradicted"]
            if proven + contradicted:
                ratios[feed] = proven / (proven + contradicted)
        return ratios

    def connected(self) -> dict[str, bool]:
        """Tell for each feed whether a connection stands."""
        return {feed: feed in self._lines for feed in self._feed}

    def agreement(self) -> tuple[int, int]:
        """Return how many tops were compared at their arrival, and how many were equal."""
        proofs = self._proofs.values()
        compared = self._compared + sum(p.compared for p in proofs)
        return compared, self._equal + sum(p.equal for p in proofs)

    def lines_of(self, venue: Venue) -> list[Line]:
        """Return the open lines of a venue, in its own order."""
        names = self._feeds_of_venue[venue.name]
        return [self._lines[name] for name in names if name in self._lines]

    def _proof(self, line: Line, instrument: str) -> Proof:
        key = (line.feed.name, instrument)
        if key not in self._proofs:
            self._proofs[key] = Proof()
        return self._proofs[key]

    def break_tapes(self, line: Line | None) -> None:
        """Note that trades of a line may have been missed.

        An index has none; what it is subscribed to bears the name of another venue's product.
        """
        carries_trades = line is not None and line.feed.carries == "books"
        for name in line.books if line is not None and carries_trades else ():
            if name in self._tapes:
                self._tapes[name].broken()


def _is_ghost(book: Book, venue: Venue) -> bool:
    """Tell whether a book of contracts is as wide as if nobody quoted."""
    bid, ask = book.best()
    if not venue.series or bid is None or ask is None:
        return False
    return bid <= GHOST_E4[0] and ask >= GHOST_E4[1]
