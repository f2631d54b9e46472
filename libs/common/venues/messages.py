"""What a venue says, typed: the one vocabulary between wire text and everything behind it. Pure.

Each venue's file turns its own text into these; books, samples and captures know nothing else. A
message speaks of an *instrument*, the name under which the venue streams a book: a product
(`BTC-USD`), a ticker (`KXBTC15M-...`), or one outcome's token (Polymarket has two a market).

Units: on a spot venue a price is `float` USD and a size `float` coins. On a venue of contracts a
price is `int` in 1e-4 USD and a size `int` in 1e-6 contracts (Polymarket tells six decimals; sizes
become 1e-2 where a snapshot is taken), so that signed changes add up exactly. A book is always told
in prices of the instrument itself: a venue that has bids only (Kalshi) is turned into bids and asks
of YES by its own file.

The decision a reader would question: what cannot be understood is a message too (`Reject`). A
parser never raises and never guesses; what it leaves out is counted where everything is counted.
"""

from typing import Literal

import msgspec

from libs.common.events import Comparator, FeeSchedule, Side, TickRange

Price = float | int
Level = tuple[Price, Price]
"""Price and size, both of the venue's kind (above)."""

RejectReason = Literal[
    "malformed",  # not JSON, not UTF-8, nested too deep, a number of 5,000 digits
    "too_large",  # beyond the feed's message_bytes_max
    "wrong_shape",  # JSON, but a field is missing or of another type
    "unknown_type",  # a kind of message that this file has no word for
    "bad_number",  # NaN, infinite, not a plain decimal, or finer than the venue's own grid
    "out_of_range",  # a price or size that cannot be: negative, zero price, contract above 1 USD
    "bad_time",  # not a time between 1970 and 2200
    "bad_name",  # an id that is empty, too long or not printable
    "unknown_schema",  # a version of the protocol that nobody here has read the documentation of
]

DETAIL_LENGTH_MAX = 200
"""Characters of a rejected text that are kept: enough to recognise it, too few to fill a log."""


class Message(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Base of all messages."""


class BookSnapshot(Message, frozen=True, gc=False):
    """A whole book; what was known before is void. A side that the venue omits is empty.

    Levels come in any order, each price once, sizes positive.
    """

    instrument: str
    bids: list[Level]
    asks: list[Level]
    about_ns: int | None = None


class BookChange(Message, frozen=True, gc=False):
    """Changed levels: (is_bid, price, size). With `is_signed` a size is added, else it replaces.

    An absolute size of 0 removes the level. They are applied in order.
    """

    instrument: str
    changes: list[tuple[bool, Price, Price]]
    is_signed: bool = False
    about_ns: int | None = None


class BookVoid(Message, frozen=True, gc=False):
    """The venue said that the book known so far is no longer right (a changed tick size)."""

    instrument: str
    reason: str


class TopOfBook(Message, frozen=True, gc=False):
    """Best prices as the venue itself sees them, from a channel that is not the book's.

    None where that side is empty; a size is None where the channel does not tell sizes.
    """

    instrument: str
    bid: Price | None
    ask: Price | None
    bid_size: Price | None = None
    ask_size: Price | None = None
    last: Price | None = None
    about_ns: int | None = None


class Trade(Message, frozen=True, gc=False):
    """One trade; `taker` is who crossed the spread, in the instrument's own terms.

    `is_flow` is False for trades that happened before the subscription (a history sent along).
    """

    instrument: str
    trade_id: str
    price: Price
    size: Price
    taker: Literal["buy", "sell"] | None
    about_ns: int | None = None
    is_flow: bool = True


class IndexValue(Message, frozen=True, gc=False):
    """One print of a settlement index, or with `window_s` its average over that window."""

    index: str
    underlying: str
    value_usd: float
    about_ns: int
    window_s: int = 0


MarketStatus = Literal["listed", "open", "paused", "closed", "determined", "settled", "void"]
"""Hawk's words for the life of a market; each venue file maps its own.

listed: exists, not trading yet. open: takes orders. paused: inside its life, takes none.
closed: trading has ended, no result yet. determined: has a result that may still be disputed.
settled: the result is final and paid. void: ended without a result (cancelled, refunded).
"""


class MarketFacts(Message, frozen=True, gc=False):
    """What one message tells about a market; None is *not told*, never *none*.

    `instruments` are the names of its books, YES first (Kalshi: the ticker; Polymarket: the token
    of Up, then of Down). `rule` is the settlement rule (`mean60`, ...), "unknown" where the venue's
    text is none that this file knows; `fingerprint` hashes the rule's text and the fee with dates,
    names and amounts taken out, so that markets of one series share it. `strike_trust` orders the
    sources of a strike, 0 is the venue's own statement.
    """

    market: str
    series: str | None = None
    underlying: str | None = None
    instruments: tuple[str, ...] | None = None
    open_ns: int | None = None
    close_ns: int | None = None
    comparator: Comparator | None = None
    strike_usd: float | None = None
    strike_trust: int = 0
    rule: str | None = None
    fee: FeeSchedule | None = None
    tick_ranges: tuple[TickRange, ...] | None = None
    fingerprint: str | None = None
    status: MarketStatus | None = None
    result: Side | None = None
    settlement_usd: float | None = None
    about_ns: int | None = None


class ExchangeStatus(Message, frozen=True, gc=False):
    """Whether the venue as a whole trades now (a weekly pause, maintenance)."""

    is_trading: bool
    resume_ns: int | None = None


class Heartbeat(Message, frozen=True, gc=False):
    """A sign of life of the connection, which says nothing about the data."""

    about_ns: int | None = None


class Acknowledged(Message, frozen=True, gc=False):
    """A subscription stands. `subscription` is the venue's number for it, where it has one."""

    channel: str
    subscription: int | None = None
    request_id: int | None = None


class VenueError(Message, frozen=True, gc=False):
    """The venue refused something. What helps: a new subscription, a new connection, or nothing.

    "stop" means that trying again soon does harm (a bad key, a ban).
    """

    code: str
    text: str
    remedy: Literal["ignore", "resubscribe", "reconnect", "stop"]
    request_id: int | None = None
    instrument: str | None = None


class Candle(Message, frozen=True, gc=False):
    """One finished interval of history: spot prices, or a contract's best quotes at its end.

    `start_ns` inclusive, `end_ns` exclusive. For a contract `bid` and `ask` are the quotes at the
    end (None: the side was empty or is not told); for spot they are None. None prices: no trade.
    """

    instrument: str
    start_ns: int
    end_ns: int
    open: Price | None = None
    high: Price | None = None
    low: Price | None = None
    close: Price | None = None
    volume: Price | None = None
    bid: Price | None = None
    ask: Price | None = None


class HistoryCutoff(Message, frozen=True, gc=False):
    """What ended before `ts_ns` is told by the venue's historical requests only."""

    ts_ns: int


class Reject(Message, frozen=True, gc=False):
    """A text, or a part of one, that was not understood; counted by `reason`, never stored whole.

    `detail` is printable and at most DETAIL_LENGTH_MAX long.
    """

    reason: RejectReason
    detail: str
    instrument: str | None = None


class Frame(msgspec.Struct, frozen=True, gc=False):
    """All messages of one received text, and its place in a sequence.

    `sequence` counts within `channel` and rises by one a frame; None where the venue does not
    number. `about_ns` is the venue's clock when it sent this, for measuring the offset of clocks.
    """

    messages: list[Message]
    channel: str = ""
    sequence: int | None = None
    about_ns: int | None = None


def reject(reason: RejectReason, text: str, *, instrument: str | None = None) -> Reject:
    """Return a rejection whose `detail` is safe to print anywhere.

    >>> reject("malformed", "a\\x1b[2J").detail
    'a\\\\x1b[2J'
    """
    shown = ascii(text[:DETAIL_LENGTH_MAX])[1:-1]
    return Reject(reason, shown[:DETAIL_LENGTH_MAX], instrument)
