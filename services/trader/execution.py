"""The end of an order: its fills at the second bracketing snapshot, and why the rest is not filled.

In go an order, its market's state and that snapshot; out come Fill events and, for what is left, a
reason. Every order is immediate-or-cancel: this one attempt is all it gets.
"""

from typing import NamedTuple

from libs.common.events import Fill, Market, Order, QuoteSnapshot, Skip, event_id
from services.trader.limits import SECOND_NS, TraderSettings
from services.trader.paper import (
    Bracket,
    Level,
    Taken,
    charges,
    levels,
    refusal,
    remaining,
    taken_after,
    walk,
)
from services.trader.state import MarketState


class Attempt(NamedTuple):
    """What an order got; `rest` is why the remainder got nothing, None if it is all filled."""

    fills: list[Fill]
    rest: str | None
    taken: Taken


def attempt(
    order: Order, state: MarketState, after: QuoteSnapshot, settings: TraderSettings
) -> Attempt:
    """Try `order` between the last snapshot of `state` and `after`; change nothing."""
    taken = state.taken.get(order.side, ())
    market, before = state.market, state.quote
    if before is None or market.fee is None or state.result is not None:
        return Attempt([], "unfilled: closed", taken)
    bracket = Bracket(before, after, state.has_gap)
    reason = refusal(
        bracket,
        no_fill_from_ns=market.close_ns - settings.close_s_min * SECOND_NS,
        span_ns_max=span_ns_max(state, settings),
    )
    if reason is not None:
        return Attempt([], reason, taken)
    books = [remaining(levels(quote, order.side), taken) for quote in (before, after)]
    taking = walk(*books, size_e2=order.size_e2, price_limit_e4=order.price_limit_e4)
    owed = charges(market.fee, taking)
    if sum(charge.fee_e6 for charge in owed) > order.fee_e6_max:
        # The fee schedule changed while the order was on its way: it was bound to the old one.
        return Attempt([], "unfilled: fee", taken)
    fills = [
        Fill(
            ts_ns=after.ts_ns,
            id=event_id("Fill", order.id, level.price_e4),
            order_id=order.id,
            strategy=order.strategy,
            venue=order.venue,
            market=order.market,
            underlying=order.underlying,
            side=order.side,
            price_e4=level.price_e4,
            size_e2=level.size_e2,
            fee_e6=charge.fee_e6,
            rounding_e6=charge.rounding_e6,
        )
        for level, charge in zip(taking, owed, strict=True)
    ]
    filled_e2 = sum(level.size_e2 for level in taking)
    rest = None if filled_e2 == order.size_e2 else _shortfall(order, books)
    return Attempt(fills, rest, taken_after(taken, books, filled_e2))


def skip(
    strategy: str, market: Market, reason: str, *, ts_ns: int, forecast_id: str | None = None
) -> Skip:
    """Make the Skip of a strategy that makes no order in `market`."""
    return Skip(
        ts_ns=ts_ns,
        id=event_id("Skip", strategy, market.venue, market.market, ts_ns, reason, None),
        strategy=strategy,
        venue=market.venue,
        market=market.market,
        underlying=market.underlying,
        reason=reason,
        forecast_id=forecast_id,
    )


def ending(order: Order, reason: str, ts_ns: int) -> Skip:
    """Make the Skip that ends `order`, or what is left of it."""
    return Skip(
        ts_ns=ts_ns,
        id=event_id("Skip", order.strategy, order.venue, order.market, ts_ns, reason, order.id),
        strategy=order.strategy,
        venue=order.venue,
        market=order.market,
        underlying=order.underlying,
        reason=reason,
        forecast_id=order.forecast_id,
        order_id=order.id,
    )


def span_ns_max(state: MarketState, settings: TraderSettings) -> int:
    """Return the longest stretch between two snapshots of this market that counts as observed."""
    longest_ns = settings.bracket_s_max * SECOND_NS
    if state.interval_ns == 0:
        return longest_ns
    return min(longest_ns, settings.bracket_intervals_max * state.sample_ns)


def _shortfall(order: Order, books: list[list[Level]]) -> str:
    touches = [min((price for price, size in book if size), default=None) for book in books]
    if any(touch is None for touch in touches):
        return "unfilled: depth"
    moved = any(touch is not None and touch > order.price_limit_e4 for touch in touches)
    return "unfilled: price_moved" if moved else "unfilled: depth"
