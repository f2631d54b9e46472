"""What passes between the sockets and the observer: received things in, things to do out. Pure.

The observer is fed every received text, opened and closed connection, REST answer, and the time,
each stamped once with the stream time of its arrival. What comes out is facts for the archive and
wishes of the wire. A raw capture is the first of the two written down, so feeding a capture is what
rebuilding an archive means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from libs.common.venues.venue import Get
from services.collector.instants import Instant


class Opened(NamedTuple):
    """A connection of `feed` stands; numbers of connections only rise."""

    ts_ns: int
    feed: str
    connection: int


class Closed(NamedTuple):
    """A connection has ended."""

    ts_ns: int
    feed: str
    connection: int
    reason: str


class Refused(NamedTuple):
    """A venue does not want this connection (401, 403): a key, a clock or a region is wrong."""

    ts_ns: int
    feed: str
    detail: str


class Received(NamedTuple):
    """One text of a connection."""

    ts_ns: int
    feed: str
    connection: int
    text: str


class Oversized(NamedTuple):
    """A text that was larger than the feed's limit, or not text at all, and was not read."""

    ts_ns: int
    feed: str
    connection: int
    detail: str


class Answered(NamedTuple):
    """An answer to `get`; status 0 and a text of why where there was none.

    `venue_ns` is the venue's clock as the answer told it, `sent_ns` when it was asked.
    """

    ts_ns: int
    get: Get
    status: int
    text: str
    sent_ns: int = 0
    venue_ns: int | None = None


class Passed(NamedTuple):
    """Time went by."""

    ts_ns: int


Arrival = Opened | Closed | Refused | Received | Oversized | Answered | Passed


class Send(NamedTuple):
    """Send `texts` over a connection."""

    feed: str
    connection: int
    texts: Sequence[str]


class Hangup(NamedTuple):
    """End a connection; it is opened again after a wait, a long one if `is_refused`."""

    feed: str
    connection: int
    reason: str
    is_refused: bool = False


class Fetch(NamedTuple):
    """Ask a venue by REST. What is urgent goes first when the allowance is short."""

    get: Get
    is_urgent: bool = False


Severity = Literal["page", "warn", "info"]


class Notice(NamedTuple):
    """A condition that a person should know: fires or resolves the alert `rule`."""

    rule: str
    is_firing: bool
    evidence: str
    severity: Severity = "warn"


@dataclass
class Wishes:
    """What the observer wants after one arrival: facts first, then the wire."""

    instants: list[Instant]
    sends: list[Send]
    hangups: list[Hangup]
    fetches: list[Fetch]
    notices: list[Notice]
