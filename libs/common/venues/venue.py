"""What every venue file provides: its feeds and its REST requests, as text and values only. Pure.

A `Feed` is one kind of WebSocket: what to send, and how to read what comes. A `Venue` is its feeds,
the addresses of its servers, and the REST requests that discover markets, tell a strike, heal a
book, bring a result and fetch history. Nothing here connects, waits or knows the time: sockets,
retries and limits are the collector's, and the same for all venues.

The decision a reader would question: a request is a value (`Get`), and an answer is parsed by
whoever made the request. So a captured answer can be read again years later by the same code, and
no venue file ever holds a connection, a session or a callback.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from libs.common.venues.messages import Acknowledged, Frame, Message

Purpose = Literal[
    "clock",  # the venue's time
    "status",  # does the venue trade
    "list",  # markets of a series: next windows
    "market",  # all facts about one market
    "strike",  # a further source of a strike, where the market itself does not tell it yet
    "book",  # one whole book
    "top",  # best prices, to check a book against
    "terms",  # fee and rules of a series
    "candles",  # history: candles
    "trades",  # history: trades
    "settled",  # history: markets that have ended
    "cutoff",  # history: where the historical tier begins
]


class Get(msgspec.Struct, frozen=True):
    """One GET request. `target` is path and query behind the base address of `endpoint`.

    `subject` is what it asks about (market, instrument or series). `cost` is what it takes of the
    endpoint's allowance.
    """

    venue: str
    endpoint: str
    target: str
    purpose: Purpose
    subject: str
    cost: float = 1.0
    is_signed: bool = False


Fault = Literal[
    "throttled",  # 429: slower
    "restarting",  # 425: the matching engine restarts
    "unavailable",  # 5xx, or an error in place of an answer
    "not_json",  # a page of HTML, a truncated body
    "refused",  # 401, 403: key, clock or region
    "missing",  # 404: not there, or not there yet
    "bad_request",  # any other 4xx
    "unexpected",  # JSON, but not this answer: nothing in it may be believed
]


class Answer(msgspec.Struct, frozen=True):
    """What an answer told: messages, and the request for the next page if there is one.

    With a `fault` it told nothing: an empty list is never "all markets are gone".
    """

    messages: list[Message]
    next: Get | None = None
    fault: Fault | None = None
    detail: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    """A server: base address without a slash at its end, and how much may be asked of it.

    `rate_per_s` refills an allowance of `burst`; a `Get` takes its `cost` of it.
    """

    address: str
    rate_per_s: float
    burst: float


class Feed(Protocol):
    """One kind of WebSocket; stateless. All texts are complete messages ready to send."""

    name: str
    """Such as `kalshi.ws`; the feed of captures, gaps and metrics."""
    address: str
    carries: Literal["books", "index"]
    """Books of instruments, or the index of underlyings: then an instrument is an underlying. Of
    several feeds with books the venue's first is preferred and the others stand in for it."""
    is_signed: bool
    """The handshake needs the operator's key."""
    subscribe_s_max: float
    """The venue ends a connection that has not subscribed by then."""
    keepalive_text: str | None
    keepalive_s: float
    """What to send how often so that the venue does not hang up; None: nothing."""
    silence_s_max: float
    """Without any data (heartbeats are none) for so long, the connection is taken for dead."""
    message_bytes_max: int
    instruments_max: int
    """Instruments on one connection."""
    is_numbered: bool
    """Frames carry sequence numbers, so one proof of life holds for all instruments of a channel;
    else each instrument's own last message is its age."""

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return the texts that subscribe to all channels of `instruments`.

        Their requests are numbered from `request_id` on, one a text. `standing` is what this
        connection has been acknowledged so far.
        """

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that end the subscriptions of `instruments`.

        `standing` is what this connection has been acknowledged. Empty: not possible here.
        """

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts after which fresh snapshots of `instruments` come.

        Empty: only a new connection, or a book by REST, brings them.
        """

    def parse(self, text: str) -> Frame:
        """Read one received text; never raises: what is not understood is a `Reject`."""


class Series(msgspec.Struct, frozen=True):
    """One kind of market of a venue: what its name stands for."""

    name: str
    underlying: str
    length_s: int


class Venue(Protocol):
    """A venue; stateless."""

    name: str
    endpoints: Mapping[str, Endpoint]
    feeds: Sequence[Feed]
    series: Mapping[str, Series]
    """The series that can be recorded; empty for a spot venue."""
    products: Mapping[str, str]
    """Underlying to instrument, for a spot venue; else empty."""

    def clock(self) -> Get | None:
        """Ask for the venue's time; None: its answers' `Date` header must do."""

    def status(self) -> Get | None:
        """Ask whether the venue trades; None: it does not say."""

    def listing(self, series: str, *, now_ns: int, windows: int) -> list[Get]:
        """Ask for the market open at `now_ns` and the next `windows` of a series."""

    def market(self, market: str) -> Get:
        """Ask for all facts about one market: strike, status, result."""

    def strike(self, market: str, *, open_ns: int, close_ns: int, rule: str) -> list[Get]:
        """Ask further sources of a strike, in order of trust; empty: `market` is the only one.

        `rule` is the market's settlement rule, which decides what its strike is.
        """

    def book(self, instrument: str) -> Get:
        """Ask for one whole book."""

    def top(self, instrument: str) -> Get | None:
        """Ask for best prices from another source than `book`; None: there is none."""

    def terms(self, series: str) -> Get | None:
        """Ask for the fee and the rules of a series; None: they stand in each market."""

    def cutoff(self) -> Get | None:
        """Ask where the historical tier begins (`HistoryCutoff`); None: there is one tier only."""

    def settled(
        self, series: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the markets of a series that closed in [start, end): strikes and results."""

    def candles(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for one-minute candles of an instrument in [start, end), each within its limits."""

    def trades(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the trades of an instrument in [start, end); empty: the venue does not tell."""

    def answer(self, get: Get, *, status: int, text: str) -> Answer:
        """Read the answer to `get`; never raises."""
