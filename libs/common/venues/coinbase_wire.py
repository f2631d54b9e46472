"""What the two feeds and the answers of Coinbase have in common: numbers, times, faults. Pure.

The feeds differ in every name, but prices are text, sizes absolute, times RFC 3339 and errors one
sentence in both, and what cannot be read is handled the same way.

The decision a reader would question: a book message of which nothing can be read, not even whose
book it is, asks for all books again. A lost change would make one of them wrong for good.
"""

from functools import lru_cache
from typing import Literal, TypeVar

import msgspec

from libs.common.venues.messages import (
    DETAIL_LENGTH_MAX,
    BookSnapshot,
    BookVoid,
    Level,
    Message,
    RejectReason,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.numbers import WireError, name, price_usd, size_coins, time_ns

TAKER: dict[str, Literal["buy", "sell"]] = {"BUY": "sell", "SELL": "buy"}
"""Coinbase tells the side of the order that rested, so who took is the other one."""

NO_QUOTE = ("", "0", "0.00")
"""What stands in place of a best price when that side is empty."""

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeEncodeError)
"""What decoding a text can raise: not JSON or another shape, nested too deep, lone surrogates."""

T = TypeVar("T")


class Request(msgspec.Struct, omit_defaults=True):
    """What is sent; the order of fields is that of the documentation."""

    type: Literal["subscribe", "unsubscribe"]
    product_ids: list[str] = []
    channel: str = ""
    channels: list[str] = []


class TradeRow(msgspec.Struct, gc=False):
    """A trade, in `market_trades` and in the answers; `side` is that of the order that rested."""

    trade_id: str
    product_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    time: str


class _OfProduct(msgspec.Struct):
    product_id: str


def moment_ns(text: str) -> int:
    """Return a time as `time_ns` does, in a third of its time: the second is remembered.

    >>> moment_ns("2026-04-07T14:30:00.123456Z") == time_ns("2026-04-07T14:30:00.123456Z")
    True
    """
    fraction = text[20:-1]
    if fraction.isdecimal() and fraction.isascii() and len(fraction) <= 9 and text[-1] == "Z":
        return _second_ns(text[:20]) + int(fraction.ljust(9, "0"))
    return time_ns(text)


def quote_usd(text: str) -> float | None:
    """Return a best price; None where that side is empty."""
    return None if text in NO_QUOTE else price_usd(text)


def size_or_none(text: str) -> float | None:
    """Return a size; None where it is not told."""
    return size_coins(text) if text else None


def venue_error(message: str, reason: str) -> VenueError:
    """Return an error of either feed; its code is one of four words, for metrics."""
    text = f"{message}: {reason}" if reason else message
    said = ascii(text[:DETAIL_LENGTH_MAX])[1:-1][:DETAIL_LENGTH_MAX]
    low = text.lower()
    if "authenticat" in low:
        # Everything here is public. What asks for a key will ask for it again.
        return VenueError("authentication", said, "stop")
    if "rate limit" in low or "too many" in low:
        return VenueError("rate_limit", said, "reconnect")
    return VenueError("subscription" if "subscri" in low else "other", said, "reconnect")


def snapshot(
    product: str, bids: list[Level], asks: list[Level], about_ns: int | None = None
) -> BookSnapshot:
    """Return a whole book; a size of 0 is no level, and one price with two sizes is no book."""
    for side in (bids, asks):
        sizes = dict(side)
        if len(sizes) != len(side):
            raise WireError("wrong_shape", f"{product}: one price twice in a whole book")
        if 0.0 in sizes.values():
            side[:] = [level for level in side if level[1]]
    return BookSnapshot(product, bids, asks, about_ns)


def fault_of(text: str) -> RejectReason:
    """Return what is wrong with a text that was refused: no JSON, or JSON of another shape."""
    return "malformed" if value_of(text, msgspec.Raw) is None else "wrong_shape"


def rejected_book(reason: RejectReason, detail: str, product: str | None) -> list[Message]:
    """Return what a book message becomes that cannot be used: half a book is another book.

    Whose book it was may be unknown; then all of them are asked for again.
    """
    refused = reject(reason, detail, instrument=product)
    if product is None:
        return [refused, VenueError("unreadable_book", "book of no product", "resubscribe")]
    return [refused, BookVoid(product, "rejected")]


def read_trade(trade: TradeRow, *, is_flow: bool) -> Message:
    """Return a trade, or why it is none."""
    product = None
    try:
        product = name(trade.product_id)
        return Trade(
            product,
            name(trade.trade_id),
            price_usd(trade.price),
            size_coins(trade.size),
            TAKER[trade.side],
            moment_ns(trade.time),
            is_flow,
        )
    except WireError as error:
        return reject(error.reason, str(error), instrument=product)


def product_of(part: str | msgspec.Raw) -> str | None:
    """Return the product that a part of a text names, if that is readable."""
    found = value_of(part, _OfProduct)
    try:
        return name(found.product_id) if found else None
    except WireError:
        return None


def value_of(part: str | msgspec.Raw, kind: type[T]) -> T | None:
    """Decode a part of a text; None if it is not there or not of this type."""
    try:
        return msgspec.json.decode(part, type=kind)
    except UNREADABLE:
        return None


def shown(part: msgspec.Raw) -> str:
    """Return the beginning of a part, for the detail of a reject."""
    return bytes(part)[:DETAIL_LENGTH_MAX].decode(errors="replace")


@lru_cache(64)
def _second_ns(text: str) -> int:
    """Return the time of a second, written with the point behind it."""
    if text[-1] != ".":
        raise WireError("bad_time", text)
    return time_ns(f"{text[:-1]}Z")
