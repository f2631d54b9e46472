"""What the venues' wire files share: a session, what it sends, and numbers as text.

A session is one client's connection to one feed, without the socket: texts and events go in, `sent`
fills with what goes out. The server owns sockets and time; so the whole protocol of a venue can be
tested by calling functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from services.simulator.live import Live
from services.simulator.world import Event, World

Query = Mapping[str, list[str]]


class Out(NamedTuple):
    """What a session sends: a text, or with `code` a close (1000 ...), or a ping (`PING`).

    `is_data` tells market data from answers and heartbeats: faults spare the latter.
    """

    text: str
    is_data: bool = False
    code: int = 0


WRONG_CLOCK_NS = 7_000_000_000
"""How far ahead a venue's clock is under the fault of that name, in stream time."""

PING = 9
"""`Out.code` of a ping frame, whose body is the text."""


class Answer(NamedTuple):
    """A REST answer: HTTP status and JSON text (or what `media` says)."""

    status: int
    text: str
    media: str = "application/json"


@dataclass
class Context:
    """What everything at the venues is written from: the world, its state as delivered, and the
    faults that are on, by venue."""

    world: World
    live: Live
    faults: dict[str, frozenset[str]] = field(default_factory=dict)

    def is_on(self, venue: str, fault: str) -> bool:
        """Tell whether a fault is on at a venue."""
        return fault in self.faults.get(venue, ())

    def venue_ns(self, venue: str, ns: int) -> int:
        """Return what the venue's clock shows at an instant."""
        return ns + WRONG_CLOCK_NS if self.is_on(venue, "wrong_clock") else ns


class Session(Protocol):
    """A client's connection to one feed."""

    sent: list[Out]

    def receive(self, text: str, now_ns: int) -> None:
        """Take a text of the client."""

    def hear(self, event: Event, texts: object) -> None:
        """Take an event of the world, with the texts that its venue's codec made of it."""

    def tick(self, now_ns: int) -> None:
        """Do what is due at an instant: heartbeats, pings, deadlines."""


def json_text(value: object) -> str:
    """Write a value as JSON."""
    return msgspec.json.encode(value).decode()


def answer(value: object, status: int = 200) -> Answer:
    """Answer with a value."""
    return Answer(status, json_text(value))


def first(query: Query, name: str, default: str = "") -> str:
    """Return the first value of a query parameter."""
    values = query.get(name)
    return values[0] if values else default


def whole(query: Query, name: str, default: int) -> int:
    """Return a query parameter as a whole number, the default where it is none."""
    text = first(query, name)
    return int(text) if text.removeprefix("-").isdigit() and len(text) < 19 else default


def dollars(price_e4: int) -> str:
    """Write a price of 1e-4 with four places.

    >>> dollars(4_900), dollars(-20)
    ('0.4900', '-0.0020')
    """
    sign, size = ("-", -price_e4) if price_e4 < 0 else ("", price_e4)
    return f"{sign}{size // 10_000}.{size % 10_000:04d}"


def hundredths(size_e6: int) -> str:
    """Write contracts of 1e-6 with two places, cut.

    >>> hundredths(813_440_000), hundredths(-54_000_000)
    ('813.44', '-54.00')
    """
    sign, size = ("-", -size_e6) if size_e6 < 0 else ("", size_e6)
    return f"{sign}{size // 1_000_000}.{size // 10_000 % 100:02d}"


def trimmed(value: int, places: int) -> str:
    """Write a whole number of 10^-places without needless zeros.

    >>> trimmed(150_000_000, 6), trimmed(1_234_567, 6), trimmed(5_100, 4)
    ('150', '1.234567', '0.51')
    """
    unit = 10**places
    text = f"{value // unit}.{value % unit:0{places}d}".rstrip("0")
    return text.removesuffix(".")
