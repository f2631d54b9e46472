"""What an order may not do: THE table of limits, checked in the order path on the finished order.

In go an order and the account's situation at that instant; out comes the name of the first limit
it breaks. The decision a reader would question: `breach` repeats what the caller already respected
(sizing shrinks an order to the money limits' headroom), because a guard that trusts its caller is
no guard. Exposure is worst-case: cost of open positions plus limit price and highest fee of orders
on their way, across strategies, since one account pays for all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from libs.common.checks import ConfigError
from libs.common.events import Order
from libs.common.pricing import PRICE_ONE_E4
from services.trader.stages import Stage, parse_stage

SECOND_NS = 1_000_000_000
USD_E6 = 1_000_000


class TraderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every constant of the trader; each limit stands with its reason."""

    stage: Stage = "paper"

    capital_e6: int = 10_000 * USD_E6
    """Paper cash at the start."""

    order_e6_max: int = 50 * USD_E6
    """One order at its worst: twice a strategy's stake, so that only a bug can meet it."""

    market_e6_max: int = 100 * USD_E6
    """One market: four stakes. A forecast that is wrong is wrong for the market's whole life."""

    underlying_e6_max: int = 400 * USD_E6
    """One underlying: markets of the same hour win and lose together."""

    venue_e6_max: int = 600 * USD_E6
    """One venue: what a venue that fails to pay, or settles wrongly, can cost."""

    total_e6_max: int = 1_000 * USD_E6
    """Everything at risk at once: a tenth of the capital (BTC and ETH of one hour correlate)."""

    positions_max: int = 40
    """Open (strategy, market) pairs: what a person can still read through after a fault."""

    orders_per_minute_max: int = 20
    """A loop that goes wild is stopped within a minute; calm trading makes a few an hour."""

    cooldown_s: int = 60
    """Between orders of one strategy in one market: a standing edge is one opinion, not sixty."""

    loss_day_e6_max: int = 200 * USD_E6
    """Realised loss of a UTC day: a fifth of what may be at risk; trading stops until midnight."""

    drawdown_e6_max: int = 500 * USD_E6
    """Realised loss since the best moment: stops trading until a person says resume."""

    close_s_min: int = 30
    """No trade in the last seconds: half of the settling average is known to faster readers."""

    open_s_min: int = 10
    """No trade in the first seconds: the strike comes 0.7 s after open, quotes still probe."""

    age_intervals_max: int = 2
    """Age of the book in the market's own sample intervals: older is stale, and stale is blind."""

    bracket_intervals_max: int = 3
    """Sample intervals between the two snapshots of a fill: longer is an unobserved stretch."""

    bracket_s_max: int = 120
    """The same in seconds, and while the interval is unknown: twice the coarsest (a minute)."""

    clean_min: int = 3
    """Snapshots in a row that must be sound after a crossed, locked, stale or missing one."""

    collar_e4: int = 100
    """Limit price above the best quote: one cent of slippage is the most an edge here can bear."""

    distance_e6_max: int = 120_000
    """|p - mid|: models are bounded to 0.10, so a larger distance is a fault, not an opinion."""

    latency_ms: int = 250
    """Decision to matching engine, for every venue."""

    polymarket_delay_ms: int = 250
    """The venue's own delay of taker orders (since 2026-06-05), added to the latency."""

    market_keep_s: int = 3_600
    """A closed market without a position is forgotten after this: resolutions take minutes."""

    traded_keep_s: int = 7 * 86_400
    """A closed market that was traded is kept for this, to notice a second, different result."""

    unresolved_s: int = 3_600
    """A position whose market has not resolved this long after its close is reported once."""

    halting_rules: tuple[str, ...] = ("calibration", "clock")
    """Alert rules whose names begin so halt trading at any severity; a page halts always."""

    def __post_init__(self) -> None:
        """Refuse limits that are zero or negative, and the stage `live`; name every fault."""
        parse_stage(self.stage)
        numbers = {name: getattr(self, name) for name in self.__struct_fields__}
        faults = [
            f"{name} is {value}, expected a positive number"
            for name, value in numbers.items()
            if isinstance(value, int) and value <= 0
        ]
        if faults:
            raise ConfigError(f"trader settings: {'; '.join(faults)}")

    def latency_ns(self, venue: str) -> int:
        """Return nanoseconds from a decision to the matching engine of `venue`."""
        delay_ms = self.polymarket_delay_ms if venue == "polymarket" else 0
        return (self.latency_ms + delay_ms) * 1_000_000


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """The account as a new order sees it; money in 1e-6 USD, orders in flight at their worst."""

    market_e6: int
    underlying_e6: int
    venue_e6: int
    total_e6: int
    cash_e6: int
    positions: int
    orders_last_minute: int
    loss_day_e6: int
    drawdown_e6: int
    has_order: bool
    has_position: bool
    is_opposite: bool


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """The market and the account at the instant of an order."""

    account: Exposure
    open_ns: int
    close_ns: int
    quote_age_ns: int
    interval_ns: int
    clean: int
    best_e4: int
    distance_e6: int
    halted: str | None
    order_ns_last: int | None


class MoneyLimit(NamedTuple):
    """A limit on exposure: how much is left of it."""

    name: str
    left_e6: Callable[[Situation, TraderSettings], int]


class Limit(NamedTuple):
    """A limit that an order breaks or keeps."""

    name: str
    is_broken: Callable[[Order, Situation, TraderSettings], bool]


MONEY_LIMITS: tuple[MoneyLimit, ...] = (
    MoneyLimit("order", lambda at, limits: limits.order_e6_max),
    MoneyLimit("market", lambda at, limits: limits.market_e6_max - at.account.market_e6),
    MoneyLimit(
        "underlying", lambda at, limits: limits.underlying_e6_max - at.account.underlying_e6
    ),
    MoneyLimit("venue", lambda at, limits: limits.venue_e6_max - at.account.venue_e6),
    MoneyLimit("total", lambda at, limits: limits.total_e6_max - at.account.total_e6),
    MoneyLimit("cash", lambda at, limits: at.account.cash_e6),
)


def _is_too_early(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return order.ts_ns - at.open_ns < limits.open_s_min * SECOND_NS


def _is_too_late(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return at.close_ns - order.arrival_ns < limits.close_s_min * SECOND_NS


def _is_stale(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return not 0 <= at.quote_age_ns <= limits.age_intervals_max * at.interval_ns


def _is_off_collar(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return not at.best_e4 <= order.price_limit_e4 <= at.best_e4 + limits.collar_e4


def _is_cooling(order: Order, at: Situation, limits: TraderSettings) -> bool:
    if at.order_ns_last is None:
        return False
    return order.ts_ns - at.order_ns_last < limits.cooldown_s * SECOND_NS


def _is_too_often(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return at.account.orders_last_minute >= limits.orders_per_minute_max


def _is_too_many(order: Order, at: Situation, limits: TraderSettings) -> bool:
    return not at.account.has_position and at.account.positions >= limits.positions_max


LIMITS: tuple[Limit, ...] = (
    Limit("halted", lambda order, at, limits: at.halted is not None),
    Limit("too_early", _is_too_early),
    Limit("too_late", _is_too_late),
    Limit("stale", _is_stale),
    Limit("unclean", lambda order, at, limits: at.clean < limits.clean_min),
    Limit("price", lambda order, at, limits: not 0 < order.price_limit_e4 < PRICE_ONE_E4),
    Limit("collar", _is_off_collar),
    Limit("distance", lambda order, at, limits: at.distance_e6 > limits.distance_e6_max),
    Limit("in_flight", lambda order, at, limits: at.account.has_order),
    Limit("opposite", lambda order, at, limits: at.account.is_opposite),
    Limit("cooldown", _is_cooling),
    Limit("orders_per_minute", _is_too_often),
    Limit("positions", _is_too_many),
    Limit("loss_day", lambda order, at, limits: at.account.loss_day_e6 >= limits.loss_day_e6_max),
    Limit("drawdown", lambda order, at, limits: at.account.drawdown_e6 >= limits.drawdown_e6_max),
)
"""Checked top to bottom, before the money limits; the first one broken is the reason."""


def headroom(situation: Situation, settings: TraderSettings) -> tuple[int, str]:
    """Return the money in 1e-6 USD that the tightest money limit leaves, and that limit's name."""
    left = ((limit.left_e6(situation, settings), limit.name) for limit in MONEY_LIMITS)
    money_e6, name = min(left, key=lambda pair: pair[0])
    return max(money_e6, 0), name


def veto(order: Order, situation: Situation, settings: TraderSettings) -> str | None:
    """Return the first of LIMITS that `order` breaks, whatever its size, or None."""
    for limit in LIMITS:
        if limit.is_broken(order, situation, settings):
            return situation.halted if limit.name == "halted" else limit.name
    return None


def breach(order: Order, situation: Situation, settings: TraderSettings) -> str | None:
    """Return the name of the first limit that `order` breaks, or None: the last word on it."""
    reason = veto(order, situation, settings)
    if reason is not None:
        return reason
    cost_e6 = order.stake_e6 + order.fee_e6_max
    if order.size_e2 <= 0 or order.stake_e6 != order.size_e2 * order.price_limit_e4:
        return "size"
    for limit in MONEY_LIMITS:
        if cost_e6 > limit.left_e6(situation, settings):
            return limit.name
    return None
