"""The observer: what arrives from the venues becomes facts at the ticks of a clock. Pure.

In goes one `Arrival` after another, each with the stream time of its arrival; out come `Wishes`:
instants for the archive, and what to send, ask or hang up. The shell feeds it from sockets, an
import from a raw capture, a test from a list; nothing else differs.

The decision a reader would question: time moves only by arrivals. A tick is taken when the first
thing behind it arrives (the shell makes sure that something does), before that thing is looked at.
So what a tick saw is decided by the stamps of arrival alone, and a capture gives the same ticks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from libs.common.events import Event, Market
from libs.common.venues.messages import (
    BookSnapshot,
    ExchangeStatus,
    Heartbeat,
    IndexValue,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)
from libs.common.venues.venue import Feed, Venue
from services.collector.clocks import Offset
from services.collector.instants import instant
from services.collector.lifecycle import Markets
from services.collector.line import Line
from services.collector.panel import Panel
from services.collector.rejects import Rejects
from services.collector.requests import Requests
from services.collector.sampling import Sampling, Scene
from services.collector.tape import IndexTape
from services.collector.traffic import (
    Answered,
    Arrival,
    Closed,
    Fetch,
    Hangup,
    Opened,
    Oversized,
    Received,
    Refused,
    Send,
    Wishes,
)
from services.collector.troubles import (
    CLOCK_OFFSET,
    FEED_UNREADABLE,
    VENUE_DARK,
    VENUE_PAUSED,
    VENUE_REFUSED,
    Troubles,
)

NS = 1_000_000_000

SUSPENDED_S = 10
"""A longer time without any arrival is one gap, not a tick a second: the machine slept."""


@dataclass(frozen=True)
class Plan:
    """What to observe: series with their sample interval in seconds, by venue name.

    With `is_recorded` a capture is replayed: underlyings without any sign of them are not missed.
    `has_key` names the venues whose signed feeds can be opened. `rules` and `accepted` are those of
    `lifecycle.Markets`, rules by venue; `unresolved` are markets of an earlier run without result,
    `accounted_ns` is up to when their rows and gaps reach.
    Clocks may differ by `offset_ns_max`.
    """

    venues: Mapping[str, Venue]
    series: Mapping[str, Mapping[str, int]]
    underlyings: Sequence[str]
    has_key: frozenset[str] = frozenset()
    rules: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    unresolved: tuple[Market, ...] = ()
    accounted_ns: Mapping[tuple[str, str], int] = field(default_factory=dict)
    offset_ns_max: int = 250_000_000
    is_recorded: bool = False


class Observer:
    """All venues, from the tick behind `born_ns` on; the run before ended at `start_ns`."""

    def __init__(self, plan: Plan, *, start_ns: int, born_ns: int) -> None:
        """Start with no connection and no market."""
        self._plan = plan
        self.counts: Counter[tuple[str, str]] = Counter()
        """What happened, by feed and kind, since the start."""
        self.markets = {
            name: Markets(
                venue,
                list(plan.series.get(name, {})),
                rules=plan.rules.get(name, {}),
                accepted=plan.accepted,
                unresolved=[m for m in plan.unresolved if m.venue == name],
            )
            for name, venue in plan.venues.items()
        }
        self.panel = Panel(plan.venues)
        self.index = IndexTape()
        self.offsets = {name: Offset() for name in plan.venues}
        self.sampling = Sampling(
            Scene(self.markets, self.panel, self.index, plan.series, plan.underlyings),
            born_ns=born_ns,
            accounted_ns=plan.accounted_ns,
            misses_unseen=not plan.is_recorded,
        )
        self._requests = Requests(plan.venues, self.markets)
        self._tick_ns = (born_ns // NS + 1) * NS
        self._now_ns = born_ns
        self._wishes = _nothing()
        self._troubles, self._rejects = Troubles(), Rejects()
        self._missed: list[Event] = []
        self._facts: list[Event] = []
        self._said_ns = born_ns
        if 0 < start_ns < self._tick_ns - NS:
            self._missed = self.sampling.unobserved(
                start_ns, self._tick_ns - NS, "not_running", ts_ns=self._tick_ns
            )

    @property
    def tick_ns(self) -> int:
        """The next tick."""
        return self._tick_ns

    def is_open(self, arrival: Received) -> bool:
        """Tell whether the connection of a text is one that was seen to open."""
        return self.panel.line(arrival.feed, arrival.connection) is not None

    def feeds(self) -> list[str]:
        """Return the feeds that should be connected now."""
        return self.panel.wanted(self._plan.has_key, self._has_work, self._now_ns)

    def handle(self, arrival: Arrival) -> Wishes:
        """Take what arrived; return what follows."""
        self._now_ns = max(arrival.ts_ns, self._now_ns)
        self._advance()
        if isinstance(arrival, Received):
            self._received(arrival)
        elif isinstance(arrival, Answered):
            self._answered(arrival)
        elif isinstance(arrival, Opened):
            self.settle_counts()
            line = self.panel.opened(arrival.feed, arrival.connection, self._now_ns)
            self._want(line)
            self._collect(line)
        elif isinstance(arrival, Closed):
            self.settle_counts()
            self.counts[arrival.feed, "closed"] += 1
            self.panel.closed(arrival.feed, arrival.connection)
        elif isinstance(arrival, Refused):
            self.counts[arrival.feed, "refused"] += 1
            self._state(VENUE_REFUSED, arrival.feed, True, arrival.detail)
        elif isinstance(arrival, Oversized):
            found = self.panel.line(arrival.feed, arrival.connection)
            if found is not None:
                self._message(found.oversized(self._now_ns, arrival.detail), found)
                self._collect(found)
        if self._facts:
            self._tell_facts()
        wishes, self._wishes = self._wishes, _nothing()
        return wishes

    def lost(self, since_ns: int) -> None:
        """Account for what was observed since then and could not be kept, at the next tick."""
        self._missed += self.sampling.unobserved(
            since_ns, self._tick_ns, "journal_unwritable", ts_ns=self._tick_ns
        )

    def _advance(self) -> None:
        """Take every tick up to now."""
        behind_ns = self._now_ns - self._tick_ns
        if behind_ns > SUSPENDED_S * NS:
            last_ns = self._now_ns // NS * NS
            start_ns, self._tick_ns = self._tick_ns - NS, last_ns
            late = [msgspec.structs.replace(event, ts_ns=last_ns) for event in self._missed]
            self._missed = []
            self._emit(
                last_ns,
                late + self.sampling.unobserved(start_ns, last_ns, "suspended", ts_ns=last_ns),
            )
            self._tick_ns += NS
            return
        while self._tick_ns <= self._now_ns:
            self._tick(self._tick_ns)
            self._tick_ns += NS

    def _tick(self, ts_ns: int) -> None:
        opened: list[Event] = []
        for markets in self.markets.values():
            opened += markets.opened(ts_ns, self.sampling.near_usd())
        self._emit(ts_ns, self._missed + opened + self.sampling.tick(ts_ns))
        self._missed = []
        for line in self.panel.lines():
            self._want(line, ts_ns)
            line.tend(ts_ns)
            if line.has_data:
                self._state(VENUE_REFUSED, line.feed.name, False, "")
            self._collect(line)
        for name, markets in self.markets.items():
            for life in markets.released(ts_ns):
                self.sampling.forget(name, life)
                self._wishes.notices += self._troubles.end(f"{name} {life.facts.market}")
        self._wishes.notices += self._troubles.tick(ts_ns)
        for who, is_dark in self.sampling.dark(ts_ns):
            self._state(VENUE_DARK, who, is_dark, "no book of it has been seen for a while")
        self._ask(ts_ns)

    def _want(self, line: Line, ts_ns: int | None = None) -> None:
        now_ns = self._now_ns if ts_ns is None else ts_ns
        line.want(self._instruments(line.feed, now_ns), now_ns)

    def _instruments(self, feed: Feed, now_ns: int) -> list[str]:
        """Return what a feed should be subscribed to."""
        if feed.carries == "index":
            return list(self._plan.underlyings)
        venue = self.panel.venue_of(feed.name)
        products = [venue.products[u] for u in self._plan.underlyings if u in venue.products]
        return products + self.markets[venue.name].instruments(now_ns)

    def _is_ours(self, venue: Venue, instrument: str) -> bool:
        """Tell whether an instrument is one that we asked for."""
        if self.markets[venue.name].market_of(instrument) is not None:
            return True
        return instrument in venue.products.values()

    def _has_work(self, feed: Feed) -> bool:
        """Tell whether there is anything to subscribe to."""
        venue = self.panel.venue_of(feed.name)
        is_recorded = bool(venue.products) or bool(self._plan.series.get(venue.name))
        return is_recorded and bool(self._instruments(feed, self._now_ns))

    def _received(self, arrival: Received) -> None:
        line = self.panel.line(arrival.feed, arrival.connection)
        if line is None:
            return
        _, others = line.receive(self._now_ns, arrival.text)
        if line.has_missed:
            line.has_missed = False
            self.panel.break_tapes(line)
        for message in others:
            self._message(message, line)
        if line.sends or line.hangup is not None:
            self._collect(line)

    def _answered(self, arrival: Answered) -> None:
        get = arrival.get
        venue = self._plan.venues[get.venue]
        self._requests.answered(get)
        feed = get.endpoint
        if arrival.status == 0:
            self.counts[feed, "no_answer"] += 1
            return
        answer = venue.answer(get, status=arrival.status, text=arrival.text)
        self.counts[feed, "answer"] += 1
        if answer.fault is not None:
            self.counts[feed, answer.fault] += 1
            if answer.fault == "refused":
                self._state(VENUE_REFUSED, feed, True, f"{arrival.status} to {get.purpose}")
            return
        self._offset(arrival, answer.messages)
        for message in answer.messages:
            if isinstance(message, BookSnapshot) and self._is_ours(venue, message.instrument):
                self.panel.polled(message, feed, arrival.sent_ns or self._now_ns)
            elif isinstance(message, TopOfBook):
                self.panel.compare_polled(message)
            else:
                self._message(message, None, feed)
        if answer.next is not None and self._requests.is_next(self._now_ns):
            self._fetch(Fetch(answer.next))

    def _message(self, message: Message, line: Line | None, feed: str = "") -> None:
        feed = line.feed.name if line else feed
        venue = self.panel.venue_of(feed)
        if isinstance(message, TopOfBook):
            if line is not None:
                self.panel.told(message, line, self._now_ns)
        elif isinstance(message, Trade):
            markets = self.markets[venue.name]
            if not self._is_ours(venue, message.instrument):
                return
            if self.panel.tape(message.instrument).add(message):
                self.sampling.traded(message, markets.market_of(message.instrument))
        elif isinstance(message, IndexValue):
            self.index.add(message, self._now_ns)
            self.markets[venue.name].saw_index(message)
        elif isinstance(message, MarketFacts):
            self._learn(venue.name, message)
        elif isinstance(message, ExchangeStatus):
            self._state(VENUE_PAUSED, venue.name, not message.is_trading, "it does not trade")
        elif isinstance(message, VenueError) and message.remedy == "stop":
            self._state(VENUE_REFUSED, feed, True, f"{message.code} {message.text}")
        elif isinstance(message, Reject):
            self.counts[feed, message.reason] += line is None  # a line counts its own
            evidence = self._rejects.note(feed, message, self._now_ns)
            if evidence is not None:
                self._state(FEED_UNREADABLE, feed, True, evidence)

    def _learn(self, venue: str, facts: MarketFacts) -> None:
        markets = self.markets[venue]
        self._facts += markets.learn(facts, self._facts_ns())
        for told in markets.notices:
            self._wishes.notices += self._troubles.begin(*told, ts_ns=self._now_ns)
        markets.notices.clear()

    def _facts_ns(self) -> int:
        """Return when what arrives now became known: behind all that was said, times only rise."""
        return max(self._now_ns, self._said_ns + 1)

    def _tell_facts(self) -> None:
        """Say the facts of one arrival as an instant of their own, or with the next tick."""
        if self._facts_ns() < self._tick_ns:
            self._emit(self._facts_ns(), self._facts)
        else:
            self._missed += self._facts
        self._facts = []

    def _state(self, rule: str, who: str, is_so: bool, evidence: str) -> None:
        """Note that a trouble of somebody is there, or is not."""
        if is_so:
            self._wishes.notices += self._troubles.begin(rule, who, evidence, ts_ns=self._now_ns)
        else:
            self._wishes.notices += self._troubles.end(who, rule=rule)

    def _offset(self, arrival: Answered, messages: Sequence[Message]) -> None:
        """Note how far the venue's clock is from ours; alert while it is too far.

        An answer that tells the time is exact, the `Date` of any other knows whole seconds only.
        """
        venue = arrival.get.venue
        told = next((m.about_ns for m in messages if isinstance(m, Heartbeat)), None)
        middle_ns = (arrival.sent_ns + arrival.ts_ns) // 2
        if told is not None:
            offset_ns = told - middle_ns
        elif arrival.venue_ns is not None:
            rough_ns = arrival.venue_ns - middle_ns
            offset_ns = 0 if abs(rough_ns) <= NS else rough_ns
        else:
            return
        changed = self.offsets[venue].add(offset_ns, self._plan.offset_ns_max)
        if changed is not None:
            median_s = self.offsets[venue].median_ns / 1e9
            text = f"its clock is {median_s:+.3f} s from ours: is this machine's set?"
            self._state(CLOCK_OFFSET, venue, changed, text)

    def _ask(self, ts_ns: int) -> None:
        """Ask by REST for what is due."""
        wanted = self._requests.due(ts_ns)
        wanted += [Fetch(get, is_urgent=True) for get in self.sampling.books_wanted(ts_ns)]
        for fetch in wanted:
            self._fetch(fetch)

    def _fetch(self, fetch: Fetch) -> None:
        if self._requests.is_wanted(fetch.get, self._now_ns):
            self._wishes.fetches.append(fetch)

    def _collect(self, line: Line) -> None:
        """Take over what a line wants of the wire."""
        name = line.feed.name
        self._count(line)
        if line.sends:
            self._wishes.sends.append(Send(name, line.connection, tuple(line.sends)))
            line.sends.clear()
        if line.hangup is not None:
            # Codes are the venue's, and its imagination is not bounded.
            kind = "error" if line.hangup.startswith("error_") else line.hangup
            self.counts[name, f"hangup_{kind}"] += 1
            self._wishes.hangups.append(Hangup(name, line.connection, line.hangup, line.is_refused))
            self.panel.closed(name, line.connection)

    def settle_counts(self) -> None:
        """Bring `counts` up to date; otherwise done at each tick."""
        for line in self.panel.lines():
            self._count(line)

    def _count(self, line: Line) -> None:
        self.counts[line.feed.name, "frame"] += line.frames
        line.frames = 0
        for kind, count in line.counts.items():
            self.counts[line.feed.name, kind] += count
        line.counts.clear()

    def _emit(self, ts_ns: int, events: Sequence[Event]) -> None:
        self._said_ns = ts_ns
        self._wishes.instants.append(instant(ts_ns, events))


def _nothing() -> Wishes:
    return Wishes([], [], [], [], [])
