"""Answers of Coinbase's REST servers, read: books, trades, candles, products, the time. Pure.

Candles come newest first, their columns low before high before open, intervals without a trade are
left out, and rows from outside the asked range may come along. Here they leave oldest first and
within the range.

The decision a reader would question: an answer about another product than the one that was asked
is refused whole, and so is a book with a bad level. A bad candle or trade is left out alone.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from libs.common.venues.coinbase_wire import (
    UNREADABLE,
    TradeRow,
    fault_of,
    moment_ns,
    quote_usd,
    read_trade,
    snapshot,
    value_of,
)
from libs.common.venues.messages import (
    Candle,
    Heartbeat,
    MarketFacts,
    MarketStatus,
    Message,
    Reject,
    TopOfBook,
    Trade,
    reject,
)
from libs.common.venues.numbers import (
    PRICE_USD_MAX,
    SIZE_MAX,
    TIME_NS_MAX,
    WireError,
    milliseconds_ns,
    name,
    price_usd,
    scaled,
    seconds_ns,
    size_coins,
)
from libs.common.venues.venue import Answer, Fault, Get

NS = 1_000_000_000
MINUTE_NS = 60 * NS

ADVANCED, EXCHANGE = "advanced", "exchange"
"""Endpoints."""

TRADES_LIMIT = 1_000
"""Trades of one answer; as many as this mean that there may be more."""

T = TypeVar("T")

_RANGE = re.compile(r"[?&]start=(\d{1,12})&end=(\d{1,12})", re.ASCII)

_FAULTS: dict[int, Fault] = {
    401: "refused",
    403: "refused",
    404: "missing",
    425: "restarting",
    429: "throttled",
}


class _Row(msgspec.Struct, gc=False):
    price: str
    size: str


class _PriceBook(msgspec.Struct):
    product_id: str
    bids: list[_Row]
    asks: list[_Row]
    time: str = ""


class _BookAnswer(msgspec.Struct):
    pricebook: _PriceBook


class _TradesAnswer(msgspec.Struct):
    trades: list[TradeRow]
    best_bid: str
    best_ask: str


class _CandleRow(msgspec.Struct, gc=False):
    start: str
    low: str
    high: str
    open: str
    close: str
    volume: str


class _CandlesAnswer(msgspec.Struct):
    candles: list[_CandleRow]


class _Product(msgspec.Struct):
    product_id: str
    status: str = ""
    is_disabled: bool = False
    trading_disabled: bool = False
    cancel_only: bool = False
    view_only: bool = False


class _Time(msgspec.Struct):
    epoch_millis: str = msgspec.field(name="epochMillis")


class _Said(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()
    errors: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


_ExchangeRow = tuple[int, float, float, float, float, float]
"""Row of the Exchange: start in seconds, low, high, open, close, volume."""


def read_answer(get: Get, *, status: int, text: str) -> Answer:
    """Read the answer to `get`; never raises."""
    fault = _fault_of(status)
    if fault is None:
        fault = _error_in(text)
    if fault is not None:
        return _faulty(fault, text)
    try:
        return _READERS.get(get.purpose, _unasked)(get, text)
    except WireError as error:
        return _faulty("unexpected", str(error))
    except UNREADABLE as error:
        if fault_of(text) == "malformed":
            return _faulty("not_json", text)
        # An error is told with 200 too, as a message in place of what was asked.
        said = value_of(text, _Said)
        return _faulty("unavailable" if said and bytes(said.message) else "unexpected", str(error))


def _fault_of(status: int) -> Fault | None:
    if 200 <= status < 300:
        return None
    if status in _FAULTS:
        return _FAULTS[status]
    if status >= 500:
        return "unavailable"
    return "bad_request" if status >= 400 else "unexpected"


def _error_in(text: str) -> Fault | None:
    """Return what an error body means; None if there is none. A list has none."""
    said = value_of(text, _Said)
    if said is None:
        return None
    told = bytes(said.error) + bytes(said.errors)
    if not told.replace(b"null", b"").strip(b'[]"'):
        return None
    return "throttled" if b"rate_limit" in told else "unavailable"


def _faulty(fault: Fault, text: str) -> Answer:
    # The detail of a reject is what may be printed of any text.
    return Answer([], fault=fault, detail=reject("malformed", text).detail)


def _unasked(get: Get, text: str) -> Answer:
    raise WireError("unknown_type", f"{get.purpose} is nothing that Coinbase is asked")


def _time(get: Get, text: str) -> Answer:
    found = msgspec.json.decode(text, type=_Time)
    return Answer([Heartbeat(milliseconds_ns(scaled(found.epoch_millis, 0)))])


def _product(get: Get, text: str) -> Answer:
    found = msgspec.json.decode(text, type=_Product)
    product = _same(found.product_id, get)
    is_stopped = found.is_disabled or found.trading_disabled or found.cancel_only or found.view_only
    status: MarketStatus | None = "open" if found.status == "online" else None
    if is_stopped:
        status = "paused"
    return Answer([MarketFacts(product, underlying=product, instruments=(product,), status=status)])


def _book(get: Get, text: str) -> Answer:
    found = msgspec.json.decode(text, type=_BookAnswer).pricebook
    product = _same(found.product_id, get)
    bids, asks = (
        [(price_usd(row.price), size_coins(row.size)) for row in side]
        for side in (found.bids, found.asks)
    )
    about_ns = moment_ns(found.time) or None if found.time else None
    book = snapshot(product, bids, asks, about_ns)
    if not (book.bids or book.asks):
        raise WireError("wrong_shape", "a book without a level")
    return Answer([book])


def _top(get: Get, text: str) -> Answer:
    found = msgspec.json.decode(text, type=_TradesAnswer)
    last = price_usd(found.trades[0].price) if found.trades else None
    if found.trades:
        _same(found.trades[0].product_id, get)
    top = TopOfBook(get.subject, quote_usd(found.best_bid), quote_usd(found.best_ask), last=last)
    return Answer([top])


def _trades(get: Get, text: str) -> Answer:
    """Read trades, newest first; they are history, so none of them is flow.

    The side is that of the order that rested, as on the WebSocket: in a recorded answer the trades
    at the best ask are SELL.
    """
    found = msgspec.json.decode(text, type=_TradesAnswer)
    read = [read_trade(row, is_flow=False) for row in found.trades]
    trades = [message for message in read if isinstance(message, Trade)]
    for trade in trades:
        _same(trade.instrument, get)
    start_ns, end_ns = _range_ns(get)
    messages: list[Message] = [one for one in trades if start_ns <= (one.about_ns or 0) < end_ns]
    messages += [one for one in read if isinstance(one, Reject)]
    return Answer(messages, _older(get, trades) if len(read) >= TRADES_LIMIT else None)


def _older(get: Get, trades: list[Trade]) -> Get | None:
    """Ask for what is older than a full answer; the second that was cut comes again, whole."""
    start_ns, end_ns = _range_ns(get)
    oldest_ns = min((trade.about_ns or 0 for trade in trades), default=0)
    next_end_s = oldest_ns // NS + 1
    if oldest_ns <= start_ns or next_end_s * NS >= end_ns:
        return None
    target = re.sub(r"([?&]end=)\d+", rf"\g<1>{next_end_s}", get.target)
    return msgspec.structs.replace(get, target=target)


def _candles(get: Get, text: str) -> Answer:
    """Read candles of a minute, oldest first, within the asked range.

    The newest is still forming if the range reaches into the present minute: the caller asks for
    finished minutes only, then it is none of the range.
    """
    if get.endpoint == EXCHANGE:
        rows = msgspec.json.decode(text, type=list[_ExchangeRow])
        read = [_checked(_of_row, row, get.subject) for row in rows]
    else:
        found = msgspec.json.decode(text, type=_CandlesAnswer).candles
        read = [_checked(_of_texts, row, get.subject) for row in found]
    start_ns, end_ns = _range_ns(get)
    candles = {one.start_ns: one for one in read if isinstance(one, Candle)}
    kept = [candles[ts_ns] for ts_ns in sorted(candles) if start_ns <= ts_ns < end_ns]
    return Answer([*kept, *(one for one in read if isinstance(one, Reject))])


def _checked(read: Callable[[T, str], Candle], row: T, product: str) -> Candle | Reject:
    try:
        return read(row, product)
    except WireError as error:
        return reject(error.reason, str(error), instrument=product)


def _of_texts(row: _CandleRow, product: str) -> Candle:
    prices = (price_usd(row.low), price_usd(row.high), price_usd(row.open), price_usd(row.close))
    return _candle(product, scaled(row.start, 0), prices=prices, volume=size_coins(row.volume))


def _of_row(row: _ExchangeRow, product: str) -> Candle:
    start_s, low, high, first, last, volume = row
    if low <= 0 or high > PRICE_USD_MAX or not 0 <= volume <= SIZE_MAX:
        raise WireError("out_of_range", str(row))
    return _candle(product, start_s, prices=(low, high, first, last), volume=volume)


def _candle(
    product: str, start_s: int, *, prices: tuple[float, float, float, float], volume: float
) -> Candle:
    """Return a candle from its prices in Coinbase's order: low, high, open, close."""
    low, high, first, last = prices
    if not low <= min(first, last) <= max(first, last) <= high:
        raise WireError("out_of_range", f"low, high, open, close {prices} at {start_s}")
    start_ns = seconds_ns(start_s)
    return Candle(product, start_ns, start_ns + MINUTE_NS, first, high, low, last, volume)


def _same(product: str, get: Get) -> str:
    """Return the product if it is the one that was asked for."""
    if product != get.subject:
        raise WireError("wrong_shape", f"{product}, asked was {get.subject}")
    return name(product)


def _range_ns(get: Get) -> tuple[int, int]:
    """Return the asked range; all times where none was asked."""
    found = _RANGE.search(get.target)
    return (int(found[1]) * NS, int(found[2]) * NS) if found else (0, TIME_NS_MAX)


_READERS: dict[str, Callable[[Get, str], Answer]] = {
    "clock": _time,
    "market": _product,
    "book": _book,
    "top": _top,
    "trades": _trades,
    "candles": _candles,
}
