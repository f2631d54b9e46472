"""Everything that can be made to go wrong at the simulated venues, and when it did.

In go switches with their stream time, out comes what is on, and what was on at any instant: some
faults decide the life of a market by what was on when it opened. The table says of each what a
client sees. `Mangler` is what the faults of delivery do to one connection's messages.

A reader would question that some switches are never forgotten. A strike that never came must not
come later because a list was cut. That list has a limit, and past it switching is refused.
"""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from libs.common.checks import UsageError
from services.simulator.chance import unit, word
from services.simulator.naming import NS_PER_S
from services.simulator.wire import Out

VENUES = ("coinbase", "kalshi", "polymarket")
EVERY = "all"
SWITCHES_MAX = 20_000
KEPT_S = 3_600.0
"""So long all switches are kept: the truth of an instant is asked for shortly behind it."""

REMEMBERED = ("late_strike", "missing_strike")
"""Faults of which is asked later whether they were on when a market opened."""


class Fault(NamedTuple):
    """What a fault is; `hides` tells that the live feeds of the venue cannot be observed while it
    is on, `hides_rest` the same of its REST answers."""

    what: str
    hides: bool = False
    hides_rest: bool = False


FAULTS = {
    "drop": Fault("connections break, and new ones are broken off at once", hides=True),
    "freeze": Fault("connections stay open, pings and heartbeats go on, data is lost", hides=True),
    "sequence_gap": Fault("every ten seconds a message of each numbered feed is lost"),
    "duplicate": Fault("one message in five is sent twice"),
    "reorder": Fault("one message in ten of a numbered feed changes places with the next"),
    "late_strike": Fault("the strike of a window that opens now comes 90 s later than usual"),
    "missing_strike": Fault("a window that opens now never gets a strike, and settles as NO"),
    "crossed_book": Fault("the best bid of every book stands above its best ask"),
    "empty_side": Fault("every book lacks one side"),
    "big_snapshot": Fault("a Coinbase level2 snapshot has five million characters"),
    "slow_reader": Fault(
        "messages are held back and come in bursts every five seconds", hides=True
    ),
    "throttle": Fault("REST and new connections are answered with 429", hides_rest=True),
    "restart": Fault("REST is answered with 425", hides_rest=True),
    "server_error": Fault("REST and new connections are answered with 5xx", hides_rest=True),
    "html": Fault("REST is answered with 200 and an HTML page", hides_rest=True),
    "wrong_clock": Fault("the venue's time stamps are seven seconds ahead"),
    "schema_change": Fault("the fields that carry prices have another name", hides=True),
    "maintenance": Fault("Kalshi pauses: connections end, books stand still", hides=True),
    "tie": Fault("windows that close now settle exactly at their strike"),
    "reversed_outcomes": Fault("Gamma tells outcomes as Down, Up"),
    "ghost_book": Fault("Polymarket's /book answers 0.01 / 0.99"),
}
"""Every fault by name; unless it says otherwise it can be switched on at each venue."""

ONLY = {
    "big_snapshot": ("coinbase",),
    "restart": ("polymarket",),
    "maintenance": ("kalshi",),
    "reversed_outcomes": ("polymarket",),
    "ghost_book": ("polymarket",),
    "late_strike": ("kalshi", "polymarket"),
    "missing_strike": ("kalshi", "polymarket"),
    "tie": ("kalshi", "polymarket"),
}
"""Venues at which a fault means anything, where not all three."""

CONTENT = ("maintenance", "crossed_book", "empty_side")
"""Faults that change what a venue's book says: part of the truth."""


class Switch(NamedTuple):
    """One fault at one venue from `on_ns` to `off_ns` (None: until switched off)."""

    name: str
    venue: str
    on_ns: int
    off_ns: int | None

    def holds(self, ns: int) -> bool:
        """Tell whether the fault is on at an instant."""
        return self.on_ns <= ns and not self.is_over(ns)

    def is_over(self, ns: int) -> bool:
        """Tell whether the fault has gone off by an instant."""
        return self.off_ns is not None and self.off_ns <= ns


class Board:
    """The switches that are on or were of late, and of old those that are asked for."""

    def __init__(self) -> None:
        self.switches: list[Switch] = []
        self._past: list[Switch] = []

    def switch_on(
        self, name: str, venue: str, *, now_ns: int, seconds: float | None
    ) -> list[Switch]:
        """Switch a fault on at a venue (or `all` it makes sense at) for stream seconds.

        Raises `UsageError` for a name, venue or duration that is none.
        """
        if name not in FAULTS:
            raise UsageError(f"fault {name!r}: one of {', '.join(FAULTS)}")
        if venue != EVERY and venue not in ONLY.get(name, VENUES):
            raise UsageError(f"venue {venue!r} of {name}: all, {', '.join(ONLY.get(name, VENUES))}")
        if seconds is not None and not 0 < seconds < 1e7:
            raise UsageError(f"seconds {seconds}: above 0")
        self._forget(now_ns)
        if len(self.switches) + len(self._past) >= SWITCHES_MAX:
            raise UsageError(f"{SWITCHES_MAX} switches are remembered, which is the limit")
        venues = ONLY.get(name, VENUES) if venue == EVERY else (venue,)
        off_ns = None if seconds is None else now_ns + round(seconds * NS_PER_S)
        self.switch_off(name, venue, now_ns=now_ns)
        new = [Switch(name, one, now_ns, off_ns) for one in venues]
        self.switches += new
        return new

    def switch_off(self, name: str, venue: str, *, now_ns: int) -> list[Switch]:
        """Switch a fault off; return what had been on."""
        ended = []
        for i, switch in enumerate(self.switches):
            is_meant = switch.name == name and venue in (EVERY, switch.venue)
            if is_meant and switch.holds(now_ns):
                self.switches[i] = switch._replace(off_ns=now_ns)
                ended.append(self.switches[i])
        return ended

    def _forget(self, now_ns: int) -> None:
        """Put aside what is long over, and keep of it what decides the life of markets."""
        since_ns = now_ns - round(KEPT_S * NS_PER_S)
        over = [s for s in self.switches if s.is_over(since_ns)]
        self.switches = [s for s in self.switches if not s.is_over(since_ns)]
        self._past += [s for s in over if s.name in REMEMBERED]

    def was_on(self, name: str, venue: str, ns: int) -> bool:
        """Tell whether a fault was on at a venue at an instant."""
        switches = chain(reversed(self.switches), reversed(self._past))
        return any(s.name == name and s.venue == venue and s.holds(ns) for s in switches)

    def active(self, ns: int) -> dict[str, frozenset[str]]:
        """Return the faults that are on, by venue."""
        found: dict[str, set[str]] = {}
        for switch in self.switches:
            if switch.holds(ns):
                found.setdefault(switch.venue, set()).add(switch.name)
        return {venue: frozenset(names) for venue, names in found.items()}


def cycle(seed: int, number: int) -> tuple[str, str, float]:
    """Return the fault that a seeded cycle switches on at its `number`-th turn: name, venue and
    stream seconds. Every round goes through all faults once, in an order of its own."""
    names = list(FAULTS)
    turn, place = divmod(number, len(names))
    order = sorted(names, key=lambda name: word(seed, turn, names.index(name)))
    name = order[place]
    venues = ONLY.get(name, VENUES)
    venue = venues[word(seed, number, 1) % len(venues)]
    seconds = 5.0 + 40.0 * unit(seed, number, 2)
    # A window has to open or close while one of these is on.
    return name, venue, 330.0 if name in ("tie", "late_strike", "missing_strike") else seconds


GAP_S, BURST_S = 10, 5
RENAMES = {
    "coinbase": (('"price_level":', '"price_tier":'), ('"price":', '"rate":')),
    "kalshi": (('_dollars":', '_usd":'), ('"floor_strike":', '"strike":')),
    "polymarket": (('"price":', '"px":'), ('"value":', '"val":')),
}
"""What `schema_change` calls the fields that carry prices."""


NUMBERED = frozenset({"coinbase.ws", "kalshi.ws", "polymarket.polybolt"})
"""Feeds whose messages carry a sequence. On the others a loss could not be seen by anybody, and a
book that is wrong for ever would say nothing about a client."""


class Mangler:
    """What faults of delivery do to the messages of one connection to `feed`."""

    def __init__(self, venue: str, feed: str) -> None:
        self._venue, self._is_numbered = venue, feed in NUMBERED
        self._count = 0
        self._gap_ns = 0
        self._late: Out | None = None
        self._held: list[Out] = []
        self._burst_ns = 0

    def mangle(
        self, sent: list[Out], active: Mapping[str, frozenset[str]], now_ns: int
    ) -> list[Out]:
        """Return what really goes out of `sent`; `reorder` and bursts keep some for later."""
        faults = active.get(self._venue, frozenset())
        if not faults and not self._held and self._late is None:
            return sent
        out: list[Out] = []
        for message in sent:
            out += self._one(message, faults, now_ns) if message.is_data else [message]
        if self._late is not None and "reorder" not in faults:
            out.append(self._late)
            self._late = None
        if "slow_reader" in faults and now_ns < self._burst_ns:
            self._held += out
            return []
        if "slow_reader" in faults:
            self._burst_ns = now_ns + BURST_S * NS_PER_S
        released, self._held = self._held, []
        return released + out

    def _one(self, message: Out, faults: frozenset[str], now_ns: int) -> list[Out]:
        self._count += 1
        if "freeze" in faults:
            return []
        if "sequence_gap" in faults and self._is_numbered and now_ns >= self._gap_ns:
            self._gap_ns = now_ns + GAP_S * NS_PER_S
            return []
        if "schema_change" in faults:
            text = message.text
            for old, new in RENAMES[self._venue]:
                text = text.replace(old, new)
            message = message._replace(text=text)
        if self._late is not None:
            swapped, self._late = [message, self._late], None
            return swapped
        if "reorder" in faults and self._is_numbered and self._count % 10 == 0:
            self._late = message
            return []
        return [message] * (2 if "duplicate" in faults and self._count % 5 == 0 else 1)
