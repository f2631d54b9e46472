"""Coinbase Advanced Trade's WebSocket: the texts to send, and how to read what comes. Pure.

One text carries one channel and a number of the *connection*: acknowledgements and heartbeats take
numbers too, so all frames are of one sequence, whatever their channel. A book comes whole once, in
one text of several MB, and then as absolute sizes.

The decision a reader would question: there are two ways to read. The first decodes a whole text in
one go into types with only the fields that are used; it takes every good text, and the changes of
books are thousands a second. A text that it refuses is read a second time, part by part and slowly,
to keep what is good in it, its number above all, and to say what is not.

In the first, prices and sizes of books become floats inside the decoder, from their text, at a
tenth of the cost: it takes the grammar of JSON's own numbers only, and limits that no infinity and
no NaN passes. What it takes beyond a plain decimal is a number without quotes and an exponent; both
say one number only. Times of books are not read: it would cost half as much again, whole books say
1970, and how late a connection is, its heartbeats tell once a second.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from libs.common.venues.coinbase_wire import (
    UNREADABLE,
    Request,
    TradeRow,
    fault_of,
    moment_ns,
    product_of,
    quote_usd,
    read_trade,
    rejected_book,
    shown,
    size_or_none,
    snapshot,
    value_of,
    venue_error,
)
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    Frame,
    Heartbeat,
    Message,
    Price,
    TopOfBook,
    reject,
)
from libs.common.venues.numbers import (
    PRICE_USD_MAX,
    SIZE_MAX,
    WireError,
    name,
    price_usd,
    size_coins,
)

CHANNELS = ("level2", "market_trades", "ticker")
"""Per product; heartbeats come with them, because a quiet channel is closed after a minute."""

HEARTBEATS = '{"type":"subscribe","channel":"heartbeats"}'

KNOWN_UNUSED = frozenset(
    ("candles", "status", "ticker_batch", "user", "futures_balance_summary", "futures_positions")
)

Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class _Level(msgspec.Struct, gc=False):
    side: Literal["bid", "offer"]
    price_level: Annotated[float, msgspec.Meta(gt=0, le=PRICE_USD_MAX)]
    new_quantity: Annotated[float, msgspec.Meta(ge=0, le=SIZE_MAX)]


class _BookEvent(msgspec.Struct, gc=False):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[_Level]


class _LevelTexts(msgspec.Struct, gc=False):
    side: Literal["bid", "offer"]
    price_level: str
    new_quantity: str


class _BookTexts(msgspec.Struct, gc=False):
    """The same, to be judged level by level."""

    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[_LevelTexts]


class _TradesEvent(msgspec.Struct, gc=False):
    type: Literal["snapshot", "update"]
    trades: list[TradeRow]


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    price: str
    best_bid: str
    best_ask: str
    best_bid_quantity: str = ""
    best_ask_quantity: str = ""


class _TickerEvent(msgspec.Struct, gc=False):
    tickers: list[_Ticker]


class _StandingEvent(msgspec.Struct, gc=False):
    subscriptions: dict[str, list[str]]


_Event = _BookTexts | _TradesEvent | _TickerEvent | _StandingEvent


class _BookFrame(msgspec.Struct, tag_field="channel", tag="l2_data", gc=False):
    sequence_num: Number
    events: list[_BookEvent]


class _Envelope(msgspec.Struct, tag_field="channel", gc=False):
    timestamp: str
    sequence_num: Number


class _TradesFrame(_Envelope, tag="market_trades", gc=False):
    events: list[_TradesEvent]


class _TickerFrame(_Envelope, tag="ticker", gc=False):
    events: list[_TickerEvent]


class _StandingFrame(_Envelope, tag="subscriptions", gc=False):
    events: list[_StandingEvent]


class _HeartbeatsFrame(_Envelope, tag="heartbeats", gc=False):
    """Its events are not read: their `current_time` is no time, and the counter comes both ways."""


class _Parts(msgspec.Struct):
    """A text whose parts are still to be judged, each for itself."""

    channel: msgspec.Raw = msgspec.Raw()
    sequence_num: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    events: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    reason: msgspec.Raw = msgspec.Raw()


class _LooseTrades(msgspec.Struct):
    type: Literal["snapshot", "update"]
    trades: list[msgspec.Raw]


_decode = msgspec.json.Decoder(
    _BookFrame | _TradesFrame | _TickerFrame | _StandingFrame | _HeartbeatsFrame, strict=False
).decode
_decode_parts = msgspec.json.Decoder(_Parts).decode
_EVENTS: dict[str, type[_Event]] = {
    "l2_data": _BookTexts,
    "market_trades": _TradesEvent,
    "ticker": _TickerEvent,
    "subscriptions": _StandingEvent,
}


class AdvancedFeed:
    """`coinbase.ws`, the public market data of Advanced Trade."""

    name = "coinbase.ws"
    address = "wss://advanced-trade-ws.coinbase.com"
    carries: Literal["books", "index"] = "books"
    is_signed = False
    subscribe_s_max = 5.0
    keepalive_text: str | None = None
    keepalive_s = 0.0
    # The products here change many times a second; ten seconds without any data is no quiet hour.
    silence_s_max = 10.0
    # Whole books of several MB; common limits of 1 or 4 MiB lose them without a word.
    message_bytes_max = 32 * 1024 * 1024
    instruments_max = 10
    is_numbered = True

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return one text per channel; Coinbase does not number requests."""
        return [*_requests("subscribe", CHANNELS, instruments), HEARTBEATS]

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return one text per channel; heartbeats go on."""
        return _requests("unsubscribe", CHANNELS, instruments)

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the texts that end the books and begin them anew, on the same connection."""
        return [
            *_requests("unsubscribe", ("level2",), instruments),
            *_requests("subscribe", ("level2",), instruments),
        ]

    def parse(self, text: str) -> Frame:
        """Read one received text; never raises.

        >>> text = '{"channel":"heartbeats","timestamp":"1970-01-01T00:00:01Z","sequence_num":7}'
        >>> AdvancedFeed().parse(text).messages
        [Heartbeat(about_ns=1000000000)]
        """
        try:
            seen = _decode(text)
            if isinstance(seen, _BookFrame):
                if len(seen.events) == 1:
                    return Frame([_book(seen.events[0])], "", seen.sequence_num)
                return Frame(list(map(_book, seen.events)), "", seen.sequence_num)
            messages: list[Message] = []
            about_ns = moment_ns(seen.timestamp)
            if isinstance(seen, _HeartbeatsFrame):
                messages.append(Heartbeat(about_ns))
            else:
                for event in seen.events:
                    messages += _messages(event, about_ns)
            return Frame(messages, "", seen.sequence_num, about_ns)
        except (*UNREADABLE, WireError):
            return _frame_of_parts(text)


def _requests(
    verb: Literal["subscribe", "unsubscribe"], channels: Sequence[str], products: Sequence[str]
) -> list[str]:
    texts = (Request(verb, list(products), channel) for channel in channels)
    return [msgspec.json.encode(text).decode() for text in texts]


def _messages(event: _Event, about_ns: int | None) -> list[Message]:
    if isinstance(event, _BookTexts):
        return _book_of_texts(event)
    if isinstance(event, _TradesEvent):
        is_flow = event.type == "update"
        return [read_trade(trade, is_flow=is_flow) for trade in event.trades]
    if isinstance(event, _TickerEvent):
        return [_top(ticker, about_ns) for ticker in event.tickers]
    return [
        Acknowledged(channel) if _is_name(channel) else reject("bad_name", channel)
        for channel, products in event.subscriptions.items()
        if products
    ]


def _book(event: _BookEvent) -> Message:
    product = name(event.product_id)
    if event.type == "update":
        # A loop, since most have one level: a comprehension costs more to begin with.
        changes: list[tuple[bool, Price, Price]] = []
        for level in event.updates:
            changes.append((level.side == "bid", level.price_level, level.new_quantity))  # noqa: PERF401
        return BookChange(product, changes)
    bids = [(one.price_level, one.new_quantity) for one in event.updates if one.side == "bid"]
    asks = [(one.price_level, one.new_quantity) for one in event.updates if one.side == "offer"]
    return snapshot(product, bids, asks)


def _book_of_texts(event: _BookTexts) -> list[Message]:
    product = None
    try:
        product = name(event.product_id)
        levels = [
            _Level(level.side, price_usd(level.price_level), size_coins(level.new_quantity))
            for level in event.updates
        ]
        return [_book(_BookEvent(event.type, product, levels))]
    except WireError as error:
        return rejected_book(error.reason, str(error), product)


def _top(ticker: _Ticker, about_ns: int | None) -> Message:
    product = None
    try:
        product = name(ticker.product_id)
        return TopOfBook(
            product,
            quote_usd(ticker.best_bid),
            quote_usd(ticker.best_ask),
            size_or_none(ticker.best_bid_quantity),
            size_or_none(ticker.best_ask_quantity),
            quote_usd(ticker.price),
            about_ns,
        )
    except WireError as error:
        return reject(error.reason, str(error), instrument=product)


def _frame_of_parts(text: str) -> Frame:
    """Read a text that was refused as a whole: what is good of it, and why the rest is not."""
    try:
        parts = _decode_parts(text)
    except UNREADABLE:
        return Frame([reject(fault_of(text), text)])
    sequence = value_of(parts.sequence_num, Number)
    channel = value_of(parts.channel, str)
    if channel is None:
        if value_of(parts.type, str) == "error":
            said = (value_of(parts.message, str), value_of(parts.reason, str))
            return Frame([venue_error(*(words or "" for words in said))], "", sequence)
        return Frame([reject("wrong_shape", text)], "", sequence)
    is_timed = channel not in KNOWN_UNUSED and channel != "l2_data"
    about_ns, messages = _time_of(parts.timestamp) if is_timed else (None, [])
    if sequence is None:
        messages.append(reject("wrong_shape", f"sequence_num in {text}"))
    if channel == "heartbeats":
        messages.append(Heartbeat(about_ns))
    elif channel in _EVENTS:
        messages += _messages_of_parts(channel, parts.events, about_ns)
    elif channel not in KNOWN_UNUSED:
        messages = [reject("unknown_type", channel)]
    return Frame(messages, "", sequence, about_ns)


def _time_of(part: msgspec.Raw) -> tuple[int | None, list[Message]]:
    text = value_of(part, str)
    if text is None:
        return None, [reject("wrong_shape", "timestamp is no text")]
    try:
        return moment_ns(text), []
    except WireError as error:
        return None, [reject(error.reason, str(error))]


def _messages_of_parts(channel: str, events: msgspec.Raw, about_ns: int | None) -> list[Message]:
    is_book = channel == "l2_data"
    found = value_of(events, list[msgspec.Raw])
    if found is None:
        if is_book:
            return rejected_book("wrong_shape", "events is no list", None)
        return [reject("wrong_shape", f"events of {channel}")]
    messages: list[Message] = []
    for part in found:
        event = value_of(part, _EVENTS[channel])
        if event is not None:
            messages += _messages(event, about_ns)
        elif is_book:
            messages += rejected_book("wrong_shape", shown(part), product_of(part))
        elif loose := value_of(part, _LooseTrades):
            messages += [_trade_of_part(one, loose.type == "update") for one in loose.trades]
        else:
            messages.append(reject("wrong_shape", shown(part)))
    return messages


def _trade_of_part(part: msgspec.Raw, is_flow: bool) -> Message:
    trade = value_of(part, TradeRow)
    if trade is None:
        return reject("wrong_shape", shown(part), instrument=product_of(part))
    return read_trade(trade, is_flow=is_flow)


def _is_name(text: str) -> bool:
    try:
        return bool(name(text))
    except WireError:
        return False
