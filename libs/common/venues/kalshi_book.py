"""A Kalshi book in terms of YES: levels, best prices, trades. Pure.

Kalshi takes bids only, for YES and for NO. A bid for NO at p is the same offer as an ask of YES at
1 - p, and everything behind the venue's files knows YES alone. In go fields of the wire, out come
prices in 1e-4 USD and sizes in 1e-6 contracts; what cannot be raises `WireError`.

The decision a reader would question: a level of size 0 is left out, not refused. It is the same
book, and refusing it would void a book that is right.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from libs.common.venues.messages import Level
from libs.common.venues.numbers import PRICE_ONE_E4, WireError, price_e4, size_e6


def levels(told: Sequence[tuple[str, str]], *, is_bid: bool) -> list[Level]:
    """Return the bids (told for YES) or asks (told for NO) of a book, each price once."""
    side: list[Level] = []
    for price, size in told:
        count = size_e6(size)
        level = level_price(price, is_bid=is_bid)
        if count:
            side.append((level, count))
    if len({price for price, _ in side}) != len(side):
        raise WireError("wrong_shape", "a price stands twice")
    return side


def level_price(text: str, *, is_bid: bool) -> int:
    """Return the price of YES in 1e-4 for a bid for YES or, turned round, for a bid for NO.

    >>> level_price("0.0800", is_bid=True), level_price("0.5400", is_bid=False)
    (800, 4600)
    """
    price = price_e4(text)
    if not 0 < price < PRICE_ONE_E4:
        raise WireError("out_of_range", text)
    return price if is_bid else PRICE_ONE_E4 - price


def edge(price: str, size: str) -> tuple[int, int] | tuple[None, None]:
    """Return a best price and its size; size 0 is an empty side, whatever its price says.

    >>> edge("0.8500", "3.72"), edge("1.0000", "0.00")
    ((8500, 3720000), (None, None))
    """
    price_told, count = price_e4(price), size_e6(size)
    if not count:
        return None, None
    if not 0 < price_told < PRICE_ONE_E4:
        raise WireError("out_of_range", price)
    return price_told, count


def traded_size(text: str) -> int:
    """Return the size of a trade in 1e-6 contracts, above 0."""
    size = size_e6(text)
    if not size:
        raise WireError("out_of_range", text)
    return size


class Taken(Protocol):
    """The three fields by which a trade tells its taker; the first that is there counts."""

    taker_outcome_side: Literal["yes", "no"] | None
    taker_book_side: Literal["bid", "ask"] | None
    taker_side: Literal["yes", "no"] | None


def taker(told: Taken) -> Literal["buy", "sell"] | None:
    """Return what the taker did in terms of YES; None if it is not told."""
    side = told.taker_outcome_side or told.taker_book_side or told.taker_side
    if side is None:
        return None
    return "buy" if side in ("yes", "bid") else "sell"
