"""Coinbase Exchange's WebSocket, the fallback: the texts to send, and how to read what comes. Pure.

Messages are flat, one kind each. `level2_batch` is the book that needs no key: whole once, then
absolute sizes every 50 ms. Its `sequence` numbers the *full* feed of a product, of which this is a
part, so they jump in good order and say nothing about loss.

The decision a reader would question: a `last_match` is read as a trade that is no flow. It is sent
on subscribing and may be hours old; its price is still the last one.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from libs.common.venues.coinbase_wire import (
    UNREADABLE,
    Request,
    fault_of,
    moment_ns,
    product_of,
    quote_usd,
    rejected_book,
    size_or_none,
    snapshot,
    venue_error,
)
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    Frame,
    Heartbeat,
    Message,
    TopOfBook,
    Trade,
    reject,
)
from libs.common.venues.numbers import WireError, name, price_usd, size_coins

CHANNELS = ("level2_batch", "ticker", "matches", "heartbeat")
BOOK_CHANNELS = ("level2_batch",)
BOOK_TYPES = ("snapshot", "l2update")

KNOWN_UNUSED = frozenset(
    ("status", "auction", "received", "open", "done", "change", "activate", "rfq_match")
)
"""Kinds of channels that are not subscribed here."""

_TAKER: dict[str, Literal["buy", "sell"]] = {"buy": "sell", "sell": "buy"}


class _Snapshot(msgspec.Struct, tag_field="type", tag="snapshot", gc=False):
    product_id: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    time: str = ""


class _Update(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    product_id: str
    changes: list[tuple[Literal["buy", "sell"], str, str]]
    time: str = ""


class _Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    product_id: str
    price: str
    best_bid: str
    best_ask: str
    best_bid_size: str = ""
    best_ask_size: str = ""
    time: str = ""


class _Match(msgspec.Struct, tag_field="type", tag="match", gc=False):
    product_id: str
    trade_id: int
    side: Literal["buy", "sell"]
    size: str
    price: str
    time: str


class _LastMatch(_Match, tag_field="type", tag="last_match", gc=False):
    """A match from before the subscription."""


class _Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    time: str


class _Channel(msgspec.Struct, gc=False):
    name: str
    product_ids: list[str] = []


class _Standing(msgspec.Struct, tag_field="type", tag="subscriptions", gc=False):
    channels: list[_Channel]


class _Error(msgspec.Struct, tag_field="type", tag="error", gc=False):
    message: str = ""
    reason: str = ""


class _Kind(msgspec.Struct):
    type: str


_Text = _Snapshot | _Update | _Ticker | _Match | _LastMatch | _Heartbeat | _Standing | _Error
_decode = msgspec.json.Decoder(_Text).decode
_KINDS = (*BOOK_TYPES, "ticker", "match", "last_match", "heartbeat", "subscriptions", "error")


class ExchangeFeed:
    """`coinbase.exchange`, the public market data of Coinbase Exchange."""

    name = "coinbase.exchange"
    address = "wss://ws-feed.exchange.coinbase.com"
    carries: Literal["books", "index"] = "books"
    is_signed = False
    subscribe_s_max = 5.0
    keepalive_text: str | None = None
    keepalive_s = 0.0
    silence_s_max = 10.0
    message_bytes_max = 32 * 1024 * 1024
    instruments_max = 10
    is_numbered = False

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return one text for all channels; Coinbase does not number requests."""
        return [_request("subscribe", instruments, CHANNELS)]

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return one text for all channels."""
        return [_request("unsubscribe", instruments, CHANNELS)]

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that end the books and begin them anew, on the same connection."""
        return [
            _request("unsubscribe", instruments, BOOK_CHANNELS),
            _request("subscribe", instruments, BOOK_CHANNELS),
        ]

    def parse(self, text: str) -> Frame:
        """Read one received text; never raises.

        >>> ExchangeFeed().parse('{"type":"heartbeat","time":"1970-01-01T00:00:01Z"}').messages
        [Heartbeat(about_ns=1000000000)]
        """
        try:
            seen = _decode(text)
        except UNREADABLE:
            return Frame(_refused(text))
        if isinstance(seen, _Update | _Snapshot):
            return _book(seen)
        try:
            return _read(seen)
        except WireError as error:
            return Frame([reject(error.reason, str(error), instrument=product_of(text))])


def _request(
    verb: Literal["subscribe", "unsubscribe"], products: Sequence[str], channels: Sequence[str]
) -> str:
    request = Request(verb, list(products), channels=list(channels))
    return msgspec.json.encode(request).decode()


def _book(seen: _Update | _Snapshot) -> Frame:
    product = None
    try:
        product = name(seen.product_id)
        about_ns = _time(seen.time)
        if isinstance(seen, _Update):
            changes = [
                (side == "buy", price_usd(price), size_coins(size))
                for side, price, size in seen.changes
            ]
            return Frame([BookChange(product, changes, False, about_ns)], about_ns=about_ns)
        bids, asks = (
            [(price_usd(price), size_coins(size)) for price, size in side]
            for side in (seen.bids, seen.asks)
        )
        return Frame([snapshot(product, bids, asks, about_ns)], about_ns=about_ns)
    except WireError as error:
        return Frame(rejected_book(error.reason, str(error), product))


def _read(seen: _Text) -> Frame:
    """Read what is not a book; raise `WireError` where a value is none."""
    if isinstance(seen, _Ticker):
        # Not the time it was sent: the first one tells a trade that may be old.
        return Frame([_top(seen)])
    if isinstance(seen, _Match):
        trade = _trade(seen)
        return Frame([trade], about_ns=trade.about_ns if trade.is_flow else None)
    if isinstance(seen, _Heartbeat):
        about_ns = _time(seen.time)
        return Frame([Heartbeat(about_ns)], about_ns=about_ns)
    if isinstance(seen, _Standing):
        standing = [channel.name for channel in seen.channels if channel.product_ids]
        return Frame([Acknowledged(name(channel)) for channel in standing])
    if isinstance(seen, _Error):
        return Frame([venue_error(seen.message, seen.reason)])
    return _book(seen)


def _top(seen: _Ticker) -> TopOfBook:
    return TopOfBook(
        name(seen.product_id),
        quote_usd(seen.best_bid),
        quote_usd(seen.best_ask),
        size_or_none(seen.best_bid_size),
        size_or_none(seen.best_ask_size),
        quote_usd(seen.price),
        _time(seen.time),
    )


def _trade(seen: _Match) -> Trade:
    return Trade(
        name(seen.product_id),
        name(str(seen.trade_id)),
        price_usd(seen.price),
        size_coins(seen.size),
        _TAKER[seen.side],
        _time(seen.time),
        not isinstance(seen, _LastMatch),
    )


def _time(text: str) -> int | None:
    return moment_ns(text) or None if text else None


def _refused(text: str) -> list[Message]:
    """Return why a text is not one of those that are read here."""
    try:
        kind = msgspec.json.decode(text, type=_Kind).type
    except UNREADABLE:
        # Without numbers no gap will tell later that this was a book.
        return rejected_book(fault_of(text), text, None)
    if kind in BOOK_TYPES:
        return rejected_book("wrong_shape", text, product_of(text))
    if kind in KNOWN_UNUSED:
        return []
    return [reject("wrong_shape" if kind in _KINDS else "unknown_type", text)]
