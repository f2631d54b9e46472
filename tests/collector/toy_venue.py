"""A venue whose texts are Hawk's own messages as JSON, and a short way to drive an observer.

What the observer does must not depend on any venue's grammar, so most tests speak this one. Times
are seconds behind `OPEN_NS`, the open of the window `T-1`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from libs.common.events import Event, FeeSchedule, Gap, Market, QuoteSnapshot, SpotSnapshot
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    BookVoid,
    ExchangeStatus,
    Frame,
    Heartbeat,
    IndexValue,
    MarketFacts,
    Message,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.venue import Answer, Endpoint, Get, Purpose, Series, Venue
from services.collector.observer import Observer, Plan
from services.collector.traffic import (
    Answered,
    Arrival,
    Closed,
    Fetch,
    Hangup,
    Notice,
    Opened,
    Passed,
    Received,
    Send,
)

S = 1_000_000_000
OPEN_NS = 1_780_000_200 // 900 * 900 * S
FEE = FeeSchedule(name="toy", rate_e4=700, exponent=1, round_e6=10_000)

_Any = (
    BookSnapshot
    | BookChange
    | BookVoid
    | TopOfBook
    | Trade
    | IndexValue
    | MarketFacts
    | ExchangeStatus
    | Heartbeat
    | Acknowledged
    | VenueError
)


class _Wire(msgspec.Struct):
    messages: list[_Any]
    channel: str = ""
    sequence: int | None = None
    about_ns: int | None = None


_FRAME = msgspec.json.Decoder(_Wire)
_MESSAGES = msgspec.json.Decoder(list[_Any])


def wire(
    *messages: Message, channel: str = "", sequence: int | None = None, about_ns: int | None = None
) -> str:
    """Write one text of the venue."""
    return msgspec.json.encode(Frame(list(messages), channel, sequence, about_ns)).decode()


class ToyFeed:
    """One feed; `is_numbered` and `can_resync` as a venue may have it."""

    address = "wss://toy.example/ws"
    is_signed = False
    subscribe_s_max = 5.0
    keepalive_text: str | None = None
    keepalive_s = 0.0
    silence_s_max = 20.0
    message_bytes_max = 1_000_000
    instruments_max = 100

    def __init__(
        self,
        name: str = "toy.ws",
        *,
        carries: Literal["books", "index"] = "books",
        is_numbered: bool = True,
        can_resync: bool = True,
    ) -> None:
        self.name, self.carries = name, carries
        self.is_numbered, self.can_resync = is_numbered, can_resync

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        return [f"subscribe {' '.join(instruments)}"]

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        return [f"unsubscribe {' '.join(instruments)}"]

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        return [f"resync {' '.join(instruments)}"] if self.can_resync else []

    def parse(self, text: str) -> Frame:
        try:
            told = _FRAME.decode(text)
        except (ValueError, RecursionError):
            return Frame([reject("malformed", text)])
        return Frame(list(told.messages), told.channel, told.sequence, told.about_ns)


class Toy:
    """A venue of contracts with one series of quarter hours, or of spot with `products`."""

    def __init__(
        self,
        name: str = "toy",
        *,
        feeds: Sequence[ToyFeed] = (),
        products: Mapping[str, str] | None = None,
        series: Sequence[Series] = (Series("TOY15", "BTC-USD", 900),),
    ) -> None:
        self.name = name
        self.endpoints: Mapping[str, Endpoint] = {
            f"{name}.rest": Endpoint("https://toy.example", 10.0, 10.0)
        }
        self.feeds = tuple(feeds) or (ToyFeed(f"{name}.ws"),)
        self.products: Mapping[str, str] = products or {}
        self.series: Mapping[str, Series] = {} if products else {s.name: s for s in series}

    def clock(self) -> Get | None:
        return None

    def status(self) -> Get | None:
        return None

    def listing(self, series: str, *, now_ns: int, windows: int) -> list[Get]:
        return [self.get("list", series)]

    def market(self, market: str) -> Get:
        return self.get("market", market)

    def strike(self, market: str, *, open_ns: int, close_ns: int, rule: str = "") -> list[Get]:
        return []

    def book(self, instrument: str) -> Get:
        return self.get("book", instrument)

    def top(self, instrument: str) -> Get | None:
        return self.get("top", instrument)

    def terms(self, series: str) -> Get | None:
        return None

    def cutoff(self) -> Get | None:
        return None

    def settled(
        self, series: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        return []

    def candles(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        return []

    def trades(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        return []

    def answer(self, get: Get, *, status: int, text: str) -> Answer:
        if status != 200:
            return Answer([], fault="unavailable")
        try:
            return Answer(list(_MESSAGES.decode(text)))
        except (ValueError, RecursionError):
            return Answer([], fault="not_json")

    def get(self, purpose: Purpose, subject: str) -> Get:
        return Get(self.name, f"{self.name}.rest", f"/{purpose}/{subject}", purpose, subject)


def facts(name: str = "T-1", window: int = 0, **changes: object) -> MarketFacts:
    """Tell a struck and open quarter hour, `window` windows behind the first."""
    open_ns = OPEN_NS + window * 900 * S
    told = MarketFacts(
        name,
        series="TOY15",
        underlying="BTC-USD",
        instruments=(name,),
        open_ns=open_ns,
        close_ns=open_ns + 900 * S,
        comparator=">=",
        strike_usd=100_000.0,
        rule="mean60",
        fee=FEE,
        fingerprint="f-1",
        status="open",
    )
    return msgspec.structs.replace(told, **changes)


def book(name: str = "T-1", bid: int = 4_900, ask: int = 5_100, size: int = 10) -> BookSnapshot:
    """Tell a book of one level a side, `size` in contracts."""
    return BookSnapshot(name, [(bid, size * 1_000_000)], [(ask, size * 1_000_000)])


def change(bid: int, size: int, name: str = "T-1", *, is_signed: bool = False) -> BookChange:
    """Tell a changed bid."""
    return BookChange(name, [(True, bid, size * 1_000_000)], is_signed)


class Run:
    """An observer under test: what it was fed, and everything that came out."""

    def __init__(
        self,
        *venues: Venue,
        start_s: float = -1.0,
        born_s: float | None = None,
        interval_s: int = 1,
        unresolved: Sequence[Market] = (),
    ) -> None:
        """Start `start_s` behind the open; with `born_s` a run before ended at `start_s`."""
        made = venues if venues else (Toy(),)
        self.plan = Plan(
            venues={venue.name: venue for venue in made},
            series={v.name: dict.fromkeys(v.series, interval_s) for v in made if v.series},
            underlyings=("BTC-USD",),
            unresolved=tuple(unresolved),
            accounted_ns={(m.venue, m.market): at(start_s) for m in unresolved},
        )
        begin_ns = at(start_s if born_s is None else born_s)
        self.born_ns, self.start_ns = begin_ns, at(start_s) if born_s is not None else -1
        self.observer = Observer(self.plan, start_ns=self.start_ns, born_ns=begin_ns)
        self.instants: list[tuple[int, dict[str, list[Event]]]] = []
        self.fed: list[Arrival] = []
        self.sends: list[Send] = []
        self.hangups: list[Hangup] = []
        self.fetches: list[Fetch] = []
        self.notices: list[Notice] = []
        self._sequence: dict[tuple[str, int, str], int] = {}

    def feed(self, *arrivals: Arrival) -> None:
        """Hand over arrivals and keep what follows."""
        for arrival in arrivals:
            self.fed.append(arrival)
            wishes = self.observer.handle(arrival)
            self.instants += wishes.instants
            self.sends += wishes.sends
            self.hangups += wishes.hangups
            self.fetches += wishes.fetches
            self.notices += wishes.notices

    def open(self, second: float, feed: str = "toy.ws", connection: int = 1) -> None:
        """Open a connection."""
        self.feed(Opened(at(second), feed, connection))

    def close(self, second: float, feed: str = "toy.ws", connection: int = 1) -> None:
        """Close a connection."""
        self.feed(Closed(at(second), feed, connection, "test"))

    def hear(
        self, second: float, *messages: Message, feed: str = "toy.ws", connection: int = 1
    ) -> None:
        """Receive messages in one text, numbered in order as the feed does it."""
        sequence = None
        if feed.startswith("toy"):
            key = (feed, connection, "")
            sequence = self._sequence[key] = self._sequence.get(key, -1) + 1
        self.feed(Received(at(second), feed, connection, wire(*messages, sequence=sequence)))

    def skip(self, frames: int = 1, feed: str = "toy.ws", connection: int = 1) -> None:
        """Lose frames on the way."""
        key = (feed, connection, "")
        self._sequence[key] = self._sequence.get(key, -1) + frames

    def answer(
        self, second: float, *messages: Message, purpose: Purpose = "list", subject: str = "TOY15"
    ) -> None:
        """Answer a REST request of the first venue."""
        venue = next(iter(self.plan.venues.values()))
        get = Get(venue.name, f"{venue.name}.rest", f"/{purpose}/{subject}", purpose, subject)
        text = msgspec.json.encode(messages).decode()
        self.feed(Answered(at(second), get, 200, text))

    def until(self, second: float) -> None:
        """Let time pass as the shell does, a second at a time."""
        now_ns = self.fed[-1].ts_ns if self.fed else self.born_ns
        end_ns = at(second)
        ticks = range((now_ns // S + 1) * S, end_ns + 1, S)
        self.feed(*(Passed(ts_ns) for ts_ns in [*ticks, end_ns]))

    def events(self) -> list[Event]:
        """Return all facts so far."""
        return [e for _, groups in self.instants for events in groups.values() for e in events]

    def quotes(self, market: str = "T-1") -> dict[float, QuoteSnapshot]:
        """Return the snapshots of a market by their second."""
        found = (e for e in self.events() if isinstance(e, QuoteSnapshot) and e.market == market)
        return {second_of(e.ts_ns): e for e in found}

    def gaps(self, market: str | None = "T-1") -> dict[float, Gap]:
        """Return the gaps of a market (None: of spot) by the second at which they end."""
        found = (e for e in self.events() if isinstance(e, Gap) and e.market == market)
        return {second_of(e.end_ns): e for e in found if market or e.feed == "spot"}

    def series_gaps(self, series: str = "TOY15") -> dict[float, Gap]:
        """Return the gaps of a series by the second at which they end."""
        found = (e for e in self.events() if isinstance(e, Gap) and e.feed == series)
        return {second_of(e.end_ns): e for e in found}

    def spots(self) -> dict[float, SpotSnapshot]:
        """Return the snapshots of spot by their second."""
        return {second_of(e.ts_ns): e for e in self.events() if isinstance(e, SpotSnapshot)}

    def markets(self, market: str = "T-1") -> list[Market]:
        """Return what was said of a market."""
        return [e for e in self.events() if isinstance(e, Market) and e.market == market]


def at(second: float) -> int:
    """Return a time in ns."""
    return OPEN_NS + round(second * 1_000) * 1_000_000


def second_of(ts_ns: int) -> float:
    """Return the second of a time."""
    return (ts_ns - OPEN_NS) / S


def watched(**options: float) -> Run:
    """Return a run with T-1 open and its book seen at 0.5 s: bid 0.49, ask 0.51."""
    run = Run(**options)  # type: ignore[arg-type]
    run.answer(-0.9, facts())
    run.open(-0.8)
    run.hear(-0.7, book())
    run.until(0.4)
    run.hear(0.5, change(4_800, 3))
    return run


def times_covered(run: Run, market: str, interval_ns: int = S) -> dict[int, int]:
    """Return how many rows stand for each tick of a market: its quotes, and gaps that cover it."""
    rows: dict[int, int] = {}
    for event in run.events():
        if isinstance(event, QuoteSnapshot) and event.market == market:
            rows[event.ts_ns] = rows.get(event.ts_ns, 0) + 1
        elif isinstance(event, Gap) and event.market == market:
            first = (event.start_ns // interval_ns + 1) * interval_ns
            for ts_ns in range(first, event.end_ns + 1, interval_ns):
                rows[ts_ns] = rows.get(ts_ns, 0) + 1
    return rows
