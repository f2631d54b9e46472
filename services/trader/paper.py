"""Paper fills: what an order would have taken from the recorded book, decided against us.

In go an order and the two snapshots that bracket its arrival at the venue; out come fills at
displayed prices, or the reason for none. The decision a reader would question: the order meets the
*worse of both* books at every price. At a price only as many contracts are for sale as both books
show at that price or better, because between two snapshots anything may have happened and what
favoured us may have happened after we arrived. Unknown sizes, an unobserved stretch, a crossed,
locked, rounded or stale row mean no fill. There is no fill at the mid, ever.

What was taken stays taken: a recording does not know of paper orders and goes on displaying what
they bought, so each level's own taken size is subtracted, for all strategies, until the level is
gone from the book.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from libs.common.events import LEVELS_MAX, FeeSchedule, Flag, QuoteSnapshot, Side
from libs.common.pricing import PRICE_ONE_E4, order_fee_e6

UNSOUND = int(Flag.CROSSED | Flag.LOCKED | Flag.COARSE | Flag.STALE | Flag.ROUNDED_TO_BOUND)
"""Flags of a row whose prices are not prices that somebody offered at that instant."""


Taken = Sequence[tuple[int, int]]
"""Own purchases still subtracted from a side of the book: (price, size), in order of price."""


class Level(NamedTuple):
    """A price of one side, per contract of that side, and the contracts for sale there."""

    price_e4: int
    size_e2: int


class Bracket(NamedTuple):
    """The last snapshot before an order's arrival and the first at or after it."""

    before: QuoteSnapshot
    after: QuoteSnapshot
    has_gap: bool


class Charge(NamedTuple):
    """Fee of one fill of an order, and the part of it that is the venue's rounding."""

    fee_e6: int
    rounding_e6: int


def is_sound(quote: QuoteSnapshot) -> bool:
    """Tell whether the row's prices can be traded: no bad flag, not crossed or locked by price."""
    if quote.flags & UNSOUND:
        return False
    bids, asks = quote.yes_bids_price_e4, quote.yes_asks_price_e4
    return not (bids and asks and bids[0] >= asks[0])


def levels(quote: QuoteSnapshot, side: Side) -> list[Level]:
    """Return what is for sale to a buyer of `side`, best first; empty where sizes are unknown."""
    prices = prices_e4(quote, side)
    sizes = quote.yes_asks_size_e2 if side == "yes" else quote.yes_bids_size_e2
    if len(prices) != len(sizes):
        return []
    return [Level(price, size) for price, size in zip(prices, sizes, strict=True)]


def prices_e4(quote: QuoteSnapshot, side: Side) -> tuple[int, ...]:
    """Return the prices displayed to a buyer of `side`, best first.

    NO is bought from YES bids, at 1 - bid.
    """
    if side == "yes":
        return quote.yes_asks_price_e4
    return tuple(PRICE_ONE_E4 - price for price in quote.yes_bids_price_e4)


def remaining(book: Sequence[Level], taken: Taken) -> list[Level]:
    """Return `book` less what was already `taken` at each price."""
    if not taken:
        return list(book)
    gone = dict(taken)
    return [Level(price, max(size - gone.get(price, 0), 0)) for price, size in book]


def refusal(bracket: Bracket, *, no_fill_from_ns: int, span_ns_max: int) -> str | None:
    """Return why nothing can be filled between these snapshots, or None.

    `no_fill_from_ns` is the instant from which the market is not traded (close less a margin),
    `span_ns_max` the longest stretch between two snapshots that counts as observed.
    """
    before, after, has_gap = bracket
    if after.ts_ns > no_fill_from_ns:
        return "unfilled: too_late"
    if has_gap or after.flags & Flag.GAP or after.ts_ns - before.ts_ns > span_ns_max:
        return "unfilled: gap"
    if not is_sound(before) or not is_sound(after):
        return "unfilled: unsound_book"
    return None


def walk(
    before: Sequence[Level], after: Sequence[Level], *, size_e2: int, price_limit_e4: int
) -> list[Level]:
    """Return the fills of an order that meets the worse of two books at every price.

    >>> walk([Level(5000, 100)], [Level(5000, 20), Level(5100, 500)],
    ...      size_e2=90, price_limit_e4=5100)
    [Level(price_e4=5000, size_e2=20), Level(price_e4=5100, size_e2=70)]
    """
    prices = sorted({level.price_e4 for level in (*before, *after)})
    fills: list[Level] = []
    filled = 0
    for price_e4 in prices:
        if price_e4 > price_limit_e4 or filled >= size_e2:
            break
        reachable = min(reachable_e2(before, price_e4), reachable_e2(after, price_e4), size_e2)
        if reachable > filled:
            fills.append(Level(price_e4, reachable - filled))
            filled = reachable
    return fills


def reachable_e2(book: Iterable[Level], price_e4: int) -> int:
    """Return the contracts for sale at `price_e4` or better."""
    return sum(level.size_e2 for level in book if level.price_e4 <= price_e4)


def taken_after(taken: Taken, books: Iterable[Sequence[Level]], size_e2: int) -> list[Level]:
    """Return `taken` with the `size_e2` just bought, as it is spread over each of the `books`.

    The two books of a bracket may show the same contracts at different prices; the larger claim
    counts at each price, so that no later order can buy them from either.
    """
    claims: dict[int, int] = {}
    for book in books:
        left = size_e2
        for price_e4, size in book:
            claim = min(size, left)
            left -= claim
            claims[price_e4] = max(claims.get(price_e4, 0), claim)
    old = dict(taken)
    sums = ((p, old.get(p, 0) + claims.get(p, 0)) for p in sorted({*old, *claims}))
    return [Level(price_e4, size) for price_e4, size in sums if size]


def still_taken(taken: Taken, shown_e4: Sequence[int]) -> list[Level]:
    """Forget levels that are gone from a sound book, whose prices are `shown_e4`, best first.

    >>> still_taken([(5000, 100), (5100, 40)], (5100, 5200))
    [Level(price_e4=5100, size_e2=40)]
    """
    # A full book may hide deeper levels; a level nearer than its last is shown or does not exist.
    deepest_e4 = shown_e4[-1] if len(shown_e4) >= LEVELS_MAX else PRICE_ONE_E4
    return [Level(p, size) for p, size in taken if p in shown_e4 or p > deepest_e4]


def charges(fee: FeeSchedule, fills: Sequence[Level]) -> list[Charge]:
    """Return the fee of each fill of one order; their sum is the order's fee, rounded up once.

    After n fills the order owes the rounded-up sum of their exact fees; each fill carries the
    increase. So the sum is exact for every number of levels, and for every part of the order.

    >>> from libs.common.pricing import KALSHI_FEE
    >>> charges(KALSHI_FEE, [Level(5000, 100), Level(5100, 100)])
    [Charge(fee_e6=20000, rounding_e6=2500), Charge(fee_e6=20000, rounding_e6=2507)]
    """
    result: list[Charge] = []
    fee_e6 = exact_e6 = 0
    for n in range(1, len(fills) + 1):
        owed_e6 = order_fee_e6(fee, fills[:n])
        exact_owed_e6 = order_fee_e6(fee, fills[:n], round_e6=1)
        step_e6 = owed_e6 - fee_e6
        result.append(Charge(step_e6, step_e6 - (exact_owed_e6 - exact_e6)))
        fee_e6, exact_e6 = owed_e6, exact_owed_e6
    return result
