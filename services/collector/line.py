"""One connection to a venue's feed: what is subscribed, in sequence, alive, and the books. Pure.

In go received texts with their times, out come the messages that are not about books, and what the
wire needs: a new subscription, a fresh snapshot, or an end. A gap in the numbers voids the books of
its channel at once; if the one missing frame comes late, what came before it is put in its place
behind it. Any other duplicate or late number is dropped whole. Sockets are elsewhere.

The decision a reader would question: a heartbeat proves nothing but the connection. Venues have
kept sockets alive for hours without any data on them, so the age of a book counts from the last
*data* of its channel, and silence of data alone ends a connection.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    BookVoid,
    Frame,
    Heartbeat,
    IndexValue,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.venue import Feed
from services.collector.book import Book
from services.collector.held import FRAMES_MAX, Held, held_before

NS = 1_000_000_000

SNAPSHOT_S_MAX = 5.0
"""A snapshot that was asked for comes within it, or is asked for again; real ones take < 1 s."""

TRIES_MAX = 3
"""Snapshots asked for in vain before the whole connection is given up."""

RENEW_S, RENEW_BESIDE_S = 20, 120
"""Where only a new connection brings a fresh book, none is ended younger than this, and later while
other books of it are believed: they are lost with it, and by REST the one can be seen meanwhile."""

REJECTS_MAX, REJECTS_S = 10, 60.0
"""More rejected texts than this in that time: the connection is taken for damaged."""

HARMLESS = ("unknown_type", "unknown_schema")
"""Rejects that a new connection would bring again: venues add kinds of messages."""

_DATA = (BookSnapshot, BookChange, TopOfBook, Trade, IndexValue)


class Line:
    """One open connection of `feed`; `hangup` says why it should end, if it should."""

    def __init__(self, feed: Feed, connection: int, now_ns: int) -> None:
        """Start with nothing subscribed."""
        self.feed, self.connection = feed, connection
        self.frames = 0
        self._parse, self._is_numbered = feed.parse, feed.is_numbered
        self.books: dict[str, Book] = {}
        self.hangup: str | None = None
        self.is_refused = False
        self.sends: list[str] = []
        self.counts: Counter[str] = Counter()
        """What happened since the last look: `gap`, `duplicate`, `heal`, rejects."""
        self._opened_ns = now_ns
        self._standing: list[Acknowledged] = []
        self._request_id = 1
        self._last: dict[str, int] = {}
        self._held: dict[str, Held] = {}
        self._channel_of: dict[str, str] = {}
        self._alive_ns: dict[str, int] = {}
        self._told_ns = 0
        """The newest time that the venue has told here, never ahead of its arrival; 0: none yet."""
        self._asked: dict[str, tuple[int, int]] = {}
        self._first_asked_ns: dict[str, int] = {}
        """When a snapshot that has not come was first asked for: the answer is no older."""
        self._reject_times: deque[int] = deque(maxlen=REJECTS_MAX + 1)
        self._error_times: deque[int] = deque(maxlen=TRIES_MAX)
        self._data_ns = now_ns
        self.has_missed = False
        """Trades may be among what was not read; whoever takes note of it sets it back."""

    def want(self, instruments: Sequence[str], now_ns: int) -> None:
        """Subscribe to what is new in `instruments`, unsubscribe what is no longer there."""
        wanted = list(dict.fromkeys(instruments))[: self.feed.instruments_max]
        new = [name for name in wanted if name not in self.books]
        gone = [name for name in self.books if name not in wanted]
        if gone:
            texts = self.feed.unsubscribe(
                gone, request_id=self._request_id, standing=self._standing
            )
            self._say(texts)
            for name in gone:
                for known in (self.books, self._channel_of, self._alive_ns):
                    known.pop(name, None)
                for question in (self._asked, self._first_asked_ns):
                    question.pop(name, None)
        if new:
            standing = self._standing
            self._say(self.feed.subscribe(new, request_id=self._request_id, standing=standing))
            for name in new:
                self.books[name] = Book()
                if self.feed.carries == "books":
                    self._asked[name] = (now_ns, 0)
                    self._first_asked_ns[name] = now_ns

    def receive(self, ts_ns: int, text: str) -> tuple[Frame, Sequence[Message]]:
        """Take one text; return its frame, and the messages that are not about books or us.

        The one path that runs for every text: what usually holds is asked first, and inline.
        """
        frame = self._parse(text)
        self.frames += 1
        channel, number = frame.channel, frame.sequence
        about_ns = frame.about_ns
        if about_ns is not None and about_ns > self._told_ns:
            self._told_ns = about_ns if about_ns < ts_ns else ts_ns
        if number is not None:
            if self._last.get(channel) == number - 1:
                self._last[channel] = number
            elif (held := self._held.get(channel)) is not None and held.number == number:
                return frame, self._put_right(held, frame, ts_ns)
            elif not self._follows(channel, number, ts_ns):
                return frame, ()
            if self._held and channel in self._held:
                self._hold(frame)
        others: list[Message] = []
        for message in frame.messages:
            if type(message) is BookChange:
                book = self.books.get(message.instrument)
                if book is not None:
                    self._change(book, message, channel, ts_ns)
            elif isinstance(message, BookSnapshot):
                self._replace(message, channel, ts_ns)
            else:
                self._other(message, channel, ts_ns, others)
        return frame, others

    def oversized(self, ts_ns: int, detail: str) -> Reject:
        """Note a text that was too large, or no text, to be read."""
        self._reject(refused := reject("too_large", detail), ts_ns)
        return refused

    def age_ns(self, instrument: str, now_ns: int) -> int:
        """Return how old the newest state of this book is that the venue has surely told.

        A connection that is slower than the market shows a fresh stream of yesterday's books, so
        what counts is the venue's own time. A text without one is as old as the newest that came
        before it on the connection, or as the question that it answers. Only of a connection that
        never told a time at all, what arrives is as old as its arrival.
        """
        key = self._channel_of.get(instrument, "") if self._is_numbered else instrument
        return now_ns - self._alive_ns.get(key, self._opened_ns)

    @property
    def has_data(self) -> bool:
        """Tell whether any data has come."""
        return self._data_ns > self._opened_ns

    def confirm(self, instrument: str, now_ns: int) -> None:
        """Note that another source has just shown the same book."""
        self._alive_ns[instrument] = max(now_ns, self._alive_ns.get(instrument, 0))

    def tend(self, now_ns: int) -> None:
        """Ask again for snapshots that did not come; end a connection that is dead."""
        silence_ns = int(self.feed.silence_s_max * NS)
        if self.books and now_ns - self._data_ns > 2 * silence_ns:
            self._end("silent")
            return
        quiet = [
            name
            for name, book in self.books.items()
            if book.void_reason is None
            and name not in self._asked
            and self.age_ns(name, now_ns) > silence_ns
        ]
        # Asking for a snapshot is the one question whose answer proves that data still comes. Where
        # only a new connection answers it, none is made while data comes: REST refutes a book.
        if quiet and (now_ns - self._data_ns > silence_ns or self._can_ask(quiet)):
            self.resync(quiet, now_ns)
        late = [
            name
            for name, (asked_ns, _) in self._asked.items()
            if now_ns - asked_ns > SNAPSHOT_S_MAX * NS
        ]
        if not late:
            return
        is_vain = all(tries + 1 >= TRIES_MAX for _, tries in map(self._asked.__getitem__, late))
        if is_vain and not self._has_book():
            self._end("no_snapshot")
            return
        # One instrument that has no book must not take the others' connection with it.
        self.resync(late, now_ns)

    def resync(self, instruments: Iterable[str], now_ns: int) -> None:
        """Ask for fresh snapshots; where the feed cannot, only a new connection brings them."""
        names = [name for name in instruments if name in self.books]
        if not names or self.feed.carries == "index":
            return  # a print stands for itself
        standing = self._standing_for(names)
        texts = self.feed.resync(names, request_id=self._request_id, standing=standing)
        if not texts:
            # The venue may send one by itself (after a changed tick size); only then a new line.
            was_asked = any(name in self._asked for name in names)
            for name in names:
                self._asked[name] = (now_ns, 0)
            renew_s = RENEW_BESIDE_S if self._has_book() else RENEW_S
            if was_asked and now_ns - self._opened_ns > renew_s * NS:
                self._end("resync")
            return
        self._say(texts)
        for name in names:
            self._asked[name] = (now_ns, self._asked.get(name, (0, -1))[1] + 1)
            self._first_asked_ns.setdefault(name, now_ns)

    def _can_ask(self, names: Sequence[str]) -> bool:
        standing = self._standing_for(names)
        return bool(self.feed.resync(names, request_id=self._request_id, standing=standing))

    def _has_book(self) -> bool:
        return any(book.void_reason is None for book in self.books.values())

    def void(self, instrument: str, reason: str, now_ns: int) -> None:
        """Stop believing a book and ask for a fresh one."""
        book = self.books.get(instrument)
        if book is None:
            return
        is_asked = instrument in self._asked
        book.void(reason)
        self.counts[reason] += 1
        if not is_asked:
            self.resync([instrument], now_ns)

    def _follows(self, channel: str, number: int, ts_ns: int) -> bool:
        """Tell whether to use a frame by its number; a jump voids the books of its channel."""
        last = self._last.get(channel)
        if last is not None and number <= last:
            self.counts["duplicate"] += 1
            return False
        self._last[channel] = number
        if last is not None:
            self.counts["gap"] += 1
            self.has_missed = True
            hit = [n for n in self.books if self._channel_of.get(n, channel) == channel]
            self._held.pop(channel, None)
            if number == last + 2:
                self._held[channel] = held_before(last + 1, {n: self.books[n] for n in hit})
            for name in hit:
                self.books[name].void("sequence_gap")
            self.resync([name for name in hit if name not in self._asked], ts_ns)
        return True

    def _hold(self, frame: Frame) -> None:
        frames = self._held[frame.channel].frames
        frames.append(frame)
        if len(frames) > FRAMES_MAX:
            del self._held[frame.channel]

    def _put_right(self, held: Held, late: Frame, ts_ns: int) -> Sequence[Message]:
        """Take the frame that was missing, and again the changes that came before it."""
        del self._held[late.channel]
        self.counts["reordered"] += 1
        back = held.restore(self.books)
        others: list[Message] = []
        for frame in (late, *held.frames):
            for message in frame.messages:
                if isinstance(message, BookChange):
                    if message.instrument in back:
                        self._change(self.books[message.instrument], message, late.channel, ts_ns)
                elif frame is late and isinstance(message, BookSnapshot):
                    book = self.books.get(message.instrument)
                    if book is not None and (book.void_reason or message.instrument in back):
                        self._replace(message, late.channel, ts_ns)
                        back.add(message.instrument)
                elif frame is late:
                    self._other(message, late.channel, ts_ns, others)
        return others

    def _change(self, book: Book, change: BookChange, channel: str, ts_ns: int) -> None:
        name = change.instrument
        self._data_ns = ts_ns
        if self._is_numbered:
            self._alive_ns[channel] = self._told_ns or ts_ns
            if self._channel_of.get(name) != channel:
                # Another subscription tells the same book; added up, it would be twice as deep.
                self.counts["other_channel"] += name in self._channel_of
                return
        else:
            self._tells(name, ts_ns)
        if book.void_reason is not None:
            return
        fault = book.apply(change)
        if fault is None:
            book.note_top(ts_ns, change)
            if self._asked:
                self._asked.pop(name, None)
        else:
            self.counts[fault] += 1
            self.resync([name], ts_ns)

    def _replace(self, snapshot: BookSnapshot, channel: str, ts_ns: int) -> None:
        name = snapshot.instrument
        book = self.books.get(name)
        if book is None:
            return
        asked_ns = self._first_asked_ns.pop(name, 0)
        if 0 < self._told_ns < asked_ns:
            self._told_ns = asked_ns
        self._data(name, channel, ts_ns)
        self._channel_of[name] = channel
        if book.void_reason not in (None, "no_book"):
            self.counts["heal"] += 1
        self._asked.pop(name, None)
        before = (book.bids, book.asks) if book.void_reason is None else None
        fault = book.replace(snapshot)
        if before is not None:
            is_same = before == (book.bids, book.asks)
            self.counts["snapshot_equal" if is_same else "snapshot_differs"] += 1
        if fault is not None:
            self.counts[fault] += 1
            self._end(fault)
        book.note_top(ts_ns)

    def _other(self, message: Message, channel: str, ts_ns: int, others: list[Message]) -> None:
        if isinstance(message, Acknowledged):
            self._standing.append(message)
        elif isinstance(message, BookVoid):
            self.void(message.instrument, message.reason, ts_ns)
        elif isinstance(message, Reject):
            self._reject(message, ts_ns)
            others.append(message)
        elif isinstance(message, VenueError):
            self._error(message, ts_ns)
            others.append(message)
        elif not isinstance(message, Heartbeat):
            if isinstance(message, _DATA):
                name = getattr(message, "instrument", "")
                self._data(name, channel, ts_ns)
            others.append(message)

    def _data(self, instrument: str, channel: str, ts_ns: int) -> None:
        """Note a sign of life of the data."""
        self._data_ns = ts_ns
        if self._is_numbered:
            self._alive_ns[channel] = self._told_ns or ts_ns
        else:
            self._tells(instrument, ts_ns)

    def _tells(self, instrument: str, ts_ns: int) -> None:
        """Note that the frame at hand is about an instrument, which REST may have shown since."""
        told_ns = self._told_ns or ts_ns
        self._alive_ns[instrument] = max(told_ns, self._alive_ns.get(instrument, 0))

    def _reject(self, message: Reject, ts_ns: int) -> None:
        self.counts[message.reason] += 1
        if message.reason in HARMLESS:
            return
        self.has_missed = True
        self._reject_times.append(ts_ns)
        times = self._reject_times
        if len(times) > REJECTS_MAX and ts_ns - times[0] <= REJECTS_S * NS:
            self._end("rejects")

    def _error(self, error: VenueError, ts_ns: int) -> None:
        self.counts["error"] += 1
        if error.remedy == "resubscribe":
            names = [error.instrument] if error.instrument else list(self.books)
            new = [name for name in names if name in self.books and name not in self._asked]
            for name in new:
                self.books[name].void("venue_error")
            self.resync(new, ts_ns)
            # What is asked of a subscription that has ended is refused again, for ever.
            self._error_times.append(ts_ns)
            times = self._error_times
            if len(times) == times.maxlen and ts_ns - times[0] <= REJECTS_S * NS:
                self._end(f"error_{error.code}")
        elif error.remedy in ("reconnect", "stop"):
            self.is_refused = error.remedy == "stop"
            self._end(f"error_{error.code}")

    def _standing_for(self, instruments: Sequence[str]) -> list[Acknowledged]:
        """Return the subscriptions that carry these books; all, where a channel is not known."""
        channels = {self._channel_of.get(name) for name in instruments}
        if None in channels or not self.feed.is_numbered:
            return self._standing
        own = [ack for ack in self._standing if str(ack.subscription) in channels]
        return own or self._standing

    def _say(self, texts: Sequence[str]) -> None:
        self._request_id += len(texts)
        self.sends += texts

    def _end(self, reason: str) -> None:
        if self.hangup is None:
            self.hangup = reason
