"""What a contract costs and on which grid it trades: terms by (venue, series), fees exactly.

The table is the only place that says what an imported market's fee and ticks are; a live venue
reads them from its own messages and compares. All arithmetic is in integers: fee = rate x count x
p (1 - p), with rate in 1e-4, count in 1e-2 and price in 1e-4, so the product has a known
denominator and one rounding, up, at the end.

A series that is not in the table has no fee schedule, and a trader does not trade it: a guessed
fee is a guessed profit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.checks import check
from libs.common.events import FeeSchedule, TickRange

PRICE_ONE_E4 = 10_000
"""One dollar, the pay-out of a winning contract, in 1e-4 USD."""

# Kalshi taker fee 0.07 x C x P x (1 - P) (venue fee page, read 2026-09-18). The venue rounds to
# 1e-6 and floors the balance to the member's cent grid, rebating the difference; the whole order
# rounded up to a cent is a safe upper bound for paper.
KALSHI_FEE = FeeSchedule(name="kalshi_quadratic", rate_e4=700, exponent=1, round_e6=10_000)

# Polymarket crypto fee rate 0.07, exponent 1, at 5 decimals (feeSchedule of Gamma markets, autumn
# 2026). Earlier markets had other schedules; paper prices them at today's.
POLYMARKET_FEE = FeeSchedule(name="polymarket_crypto_v2", rate_e4=700, exponent=1, round_e6=10)

# Kalshi `tapered_deci_cent`: 0.1 cent below 0.10 and above 0.90, 1 cent between.
TAPERED_DECI_CENT = (
    TickRange(start_e4=0, end_e4=1_000, step_e4=10),
    TickRange(start_e4=1_000, end_e4=9_000, step_e4=100),
    TickRange(start_e4=9_000, end_e4=10_000, step_e4=10),
)
LINEAR_CENT = (TickRange(start_e4=0, end_e4=10_000, step_e4=100),)

# Polymarket: 1 cent, 0.1 cent beyond 0.04 / 0.96 (tick_size_change messages).
POLYMARKET_TICKS = (
    TickRange(start_e4=0, end_e4=400, step_e4=10),
    TickRange(start_e4=400, end_e4=9_600, step_e4=100),
    TickRange(start_e4=9_600, end_e4=10_000, step_e4=10),
)


@dataclass(frozen=True)
class Terms:
    """Fee and tick grid of a series, its settlement rounding, and the smallest order it takes.

    `settlement_unit_usd` is the rounding of the settlement value (0 = not rounded): a tie is half a
    unit wide. An order is at least `size_e2_min` contracts and worth at least `notional_e6_min`.
    """

    fee: FeeSchedule
    tick_ranges: tuple[TickRange, ...]
    settlement_unit_usd: float
    size_e2_min: int
    size_e2_step: int
    notional_e6_min: int = 0


_KALSHI_15M = Terms(KALSHI_FEE, TAPERED_DECI_CENT, 0.01, 1, 1)
_KALSHI_HOURLY = Terms(KALSHI_FEE, LINEAR_CENT, 0.01, 1, 1)
# Polymarket takes 5 shares at least, and a marketable order of one dollar at least.
_POLYMARKET = Terms(POLYMARKET_FEE, POLYMARKET_TICKS, 0.0, 500, 1, notional_e6_min=1_000_000)

TERMS: dict[tuple[str, str], Terms] = {
    ("kalshi", "KXBTC15M"): _KALSHI_15M,
    ("kalshi", "KXETH15M"): _KALSHI_15M,
    ("kalshi", "KXSOL15M"): _KALSHI_15M,
    ("kalshi", "KXBTCD"): _KALSHI_HOURLY,
    ("kalshi", "KXETHD"): _KALSHI_HOURLY,
    ("kalshi", "KXSOLD"): _KALSHI_HOURLY,
    ("polymarket", "btc-updown-5m"): _POLYMARKET,
    ("polymarket", "eth-updown-5m"): _POLYMARKET,
    ("polymarket", "sol-updown-5m"): _POLYMARKET,
    ("polymarket", "btc-updown-15m"): _POLYMARKET,
    ("polymarket", "eth-updown-15m"): _POLYMARKET,
    ("polymarket", "sol-updown-15m"): _POLYMARKET,
    ("polymarket", "updown-1h"): _POLYMARKET,
}


def fee_e6(schedule: FeeSchedule, *, price_e4: int, size_e2: int) -> int:
    """Return the taker fee in 1e-6 USD of one fill, exact, rounded up to the schedule's unit.

    >>> fee_e6(KALSHI_FEE, price_e4=5000, size_e2=10_000)  # 100 contracts at 0.50: $1.75
    1750000
    >>> fee_e6(KALSHI_FEE, price_e4=5000, size_e2=100)  # 1 contract: $0.0175, up to 2 cents
    20000
    """
    return order_fee_e6(schedule, ((price_e4, size_e2),))


def order_fee_e6(
    schedule: FeeSchedule, fills: Sequence[tuple[int, int]], *, round_e6: int | None = None
) -> int:
    """Return the taker fee in 1e-6 USD of an order filled at several (price_e4, size_e2).

    The exact fees of the fills are summed first and rounded up once, because venues round per
    order; `round_e6` overrides the schedule's unit (1: the fee before the venue's rounding).

    >>> order_fee_e6(KALSHI_FEE, ((5000, 100), (5100, 100)))  # 0.0175 + 0.017493, up to 4 cents
    40000
    """
    power = schedule.exponent
    raw = 0
    for price_e4, size_e2 in fills:
        check(0 <= price_e4 <= PRICE_ONE_E4 and size_e2 >= 0, f"fee of {size_e2} at {price_e4}")
        spread: int = (price_e4 * (PRICE_ONE_E4 - price_e4)) ** power
        raw += size_e2 * spread
    # rate 1e-4, count 1e-2, spread 1e-8 per power; the result is wanted in units of round_e6.
    unit = schedule.round_e6 if round_e6 is None else round_e6
    units: int = -(-schedule.rate_e4 * raw * 1_000_000 // (10 ** (6 + 8 * power) * unit))
    return units * unit


def floor_to_tick(price_e4: int, ticks: tuple[TickRange, ...]) -> int:
    """Return the highest grid price at or below `price_e4`.

    >>> floor_to_tick(4567, TAPERED_DECI_CENT), floor_to_tick(937, TAPERED_DECI_CENT)
    (4500, 930)
    """
    for tick in ticks:
        if tick.start_e4 <= price_e4 < tick.end_e4:
            return tick.start_e4 + (price_e4 - tick.start_e4) // tick.step_e4 * tick.step_e4
    return price_e4


def ceil_to_tick(price_e4: int, ticks: tuple[TickRange, ...]) -> int:
    """Return the lowest grid price at or above `price_e4`.

    >>> ceil_to_tick(4567, TAPERED_DECI_CENT), ceil_to_tick(8_901, TAPERED_DECI_CENT)
    (4600, 9000)
    """
    floor = floor_to_tick(price_e4, ticks)
    return floor if floor == price_e4 else tick_above(floor, ticks)


def tick_above(price_e4: int, ticks: tuple[TickRange, ...]) -> int:
    """Return the grid price after the grid price `price_e4`; 10_000 is the last.

    >>> tick_above(4500, TAPERED_DECI_CENT), tick_above(990, TAPERED_DECI_CENT)
    (4600, 1000)
    """
    for tick in ticks:
        if tick.start_e4 <= price_e4 < tick.end_e4:
            return min(price_e4 + tick.step_e4, tick.end_e4)
    return min(price_e4, PRICE_ONE_E4)
