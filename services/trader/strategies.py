"""What is worth buying: THE table of strategies, and the edge they share.

In go a forecast and the best quotes; out come the cheap side and what it is expected to earn per
contract after the fee. A strategy is a margin on that edge and a stake. Two run side by side, with
profit and loss apart, because the interesting question is not whether an edge is shown but how
large it must be before it is more than the forecast's own error. All in integers, probabilities
rounded against us.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import msgspec

from libs.common.events import FeeSchedule, Side, TickRange
from libs.common.pricing import PRICE_ONE_E4, ceil_to_tick, fee_e6, floor_to_tick, order_fee_e6

ONE_E6 = 1_000_000
CONTRACT_E2 = 100


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """A margin per contract that the edge must exceed, and the dollars of one order."""

    name: str
    margin_e6: int
    stake_e6: int


STRATEGIES: tuple[Strategy, ...] = (
    # Beyond fee and spread, 0.5-1 cent goes to slippage; below that an edge is noise.
    Strategy(name="edge", margin_e6=10_000, stake_e6=25_000_000),
    # The same with room for adverse selection: a 0.03 edge is the hurdle seen at mid prices.
    Strategy(name="edge_wide", margin_e6=30_000, stake_e6=25_000_000),
)


class Offer(NamedTuple):
    """The side that is cheap: its best price, its probability, its edge per contract after fee."""

    side: Side
    best_e4: int
    p_e6: int
    edge_e6: int


def cheap_side(p: float, *, bid_e4: int, ask_e4: int, fee: FeeSchedule) -> Offer:
    """Return the better of buying YES at the ask and NO at 1 - bid, however little it earns.

    Edge per contract: p - ask - fee(ask) for YES, (1 - p) - no_ask - fee(no_ask) for NO.

    >>> from libs.common.pricing import KALSHI_FEE
    >>> cheap_side(0.60, bid_e4=5400, ask_e4=5500, fee=KALSHI_FEE)
    Offer(side='yes', best_e4=5500, p_e6=600000, edge_e6=32675)
    """
    no_ask_e4 = PRICE_ONE_E4 - bid_e4
    yes_e6 = floor(p * ONE_E6)
    no_e6 = ONE_E6 - ceil(p * ONE_E6)
    yes_edge_e6 = yes_e6 - ask_e4 * 100 - fee_unit_e6(fee, ask_e4)
    no_edge_e6 = no_e6 - no_ask_e4 * 100 - fee_unit_e6(fee, no_ask_e4)
    if yes_edge_e6 >= no_edge_e6:
        return Offer("yes", ask_e4, yes_e6, yes_edge_e6)
    return Offer("no", no_ask_e4, no_e6, no_edge_e6)


def fee_unit_e6(schedule: FeeSchedule, price_e4: int) -> int:
    """Return the fee of one contract before the venue's rounding, rounded up to 1e-6 USD."""
    if schedule.exponent == 1:  # every schedule in force; the general form costs six times more
        return -(-schedule.rate_e4 * price_e4 * (PRICE_ONE_E4 - price_e4) // ONE_E6)
    return order_fee_e6(schedule, ((price_e4, CONTRACT_E2),), round_e6=1)


def price_limit_e4(
    offer: Offer, margin_e6: int, *, collar_e4: int, fee: FeeSchedule, ticks: Sequence[TickRange]
) -> int | None:
    """Return the dearest grid price of the side that still earns the margin, None if off the grid.

    At most `collar_e4` above the best price. None: not even the best price is on the venue's grid,
    so no order at it could exist.
    """
    ceiling_e4 = min(offer.best_e4 + collar_e4, (offer.p_e6 - margin_e6) // 100, PRICE_ONE_E4 - 1)
    price_e4 = side_floor_e4(offer.side, ceiling_e4, ticks)
    while price_e4 > offer.best_e4:
        if offer.p_e6 - price_e4 * 100 - fee_unit_e6(fee, price_e4) >= margin_e6:
            return price_e4
        price_e4 = side_floor_e4(offer.side, price_e4 - 1, ticks)
    return offer.best_e4 if price_e4 == offer.best_e4 else None


def side_floor_e4(side: Side, price_e4: int, ticks: Sequence[TickRange]) -> int:
    """Return the highest price of `side` at or below `price_e4` that the venue's YES grid has."""
    grid = tuple(ticks)
    if side == "yes":
        return floor_to_tick(price_e4, grid)
    return PRICE_ONE_E4 - ceil_to_tick(PRICE_ONE_E4 - price_e4, grid)


def earns_margin(
    offer: Offer, margin_e6: int, *, size_e2: int, price_e4: int, fee: FeeSchedule
) -> bool:
    """Tell whether `size_e2` contracts at `price_e4` earn the margin after the order's real fee.

    The fee is rounded up per order, which on a small order can eat the whole edge.
    """
    gain_e8 = size_e2 * (offer.p_e6 - price_e4 * 100 - margin_e6)
    return gain_e8 >= 100 * fee_e6(fee, price_e4=price_e4, size_e2=size_e2)
