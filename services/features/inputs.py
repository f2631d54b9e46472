"""What a feature formula reads, and the exact integers behind it: shared by both paths.

The streaming engine and the batch builder look different (bisect on pruned lists, searchsorted on
whole columns) but must agree in every bit. They do because all that is summed is an integer: time
in ns, prices in 1e-6 USD, logs of prices in 1e-9, squared returns in 1e-15, volumes in 1e-8. Sums
of integers do not depend on the order of summation or on where a window began.

Bounds, so that int64 columns equal Python's unbounded integers: a price is below 1e9 USD (60 prints
sum to 6e16); a return is clipped to +-0.3 (a square is 9e13, so a window holds 1e5 of them, 27 per
second for an hour); a volume is below 1e8 (1e16, so 900 snapshots in the longest flow window, one
minute). `cumsum` over more may wrap, which leaves differences exact.

Missing is NaN, everywhere; the limits below say when something known is too old to be known.
"""

import math
from typing import NamedTuple

from libs.common.events import Comparator, Flag
from libs.common.fair_value import RULES, strike_boundary
from libs.common.ops import NAN, Value
from libs.common.pricing import TERMS

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

PRICE_USD_MAX = 1e9
VOLUME_MAX = 1e8
RETURN_E9_MAX = 300_000_000
SQUARE_DIVISOR = 1_000
"""Squares of returns in 1e-9 are kept in 1e-15, see the bounds above."""

SPOT_AGE_NS_MAX = 130 * SECOND_NS
"""Older spot is no spot. Recordings hold one-minute candles between sessions: two and a bit."""

INDEX_AGE_NS_MAX = 10 * SECOND_NS
"""Older than this the settlement feed gives way to the spot venue; the index ticks at 1 Hz."""

PRINT_AGE_NS_MAX = 2 * SECOND_NS
"""A past settlement print is known if the feed had a price at most this old then."""

MARKET_AGE_NS_MAX = 8 * DAY_NS
"""A market last heard of before is unknown; the longest listed market lives for a week."""

STRIKE_DELAY_NS_MAX = 3_600 * SECOND_NS
"""A strike that arrives later after the open says nothing about the basis now."""


class Horizon(NamedTuple):
    """A look back from T: the last observation at or before T - ns, if not before T - oldest_ns."""

    ns: int
    oldest_ns: int


MOMENTUM = (
    Horizon(5 * SECOND_NS, 10 * SECOND_NS),
    Horizon(15 * SECOND_NS, 30 * SECOND_NS),
    Horizon(60 * SECOND_NS, 130 * SECOND_NS),
    Horizon(300 * SECOND_NS, 370 * SECOND_NS),
)
"""Spot momentum. From one minute on, one-minute samples that come late by ten seconds still do."""

RETURN_LONG = Horizon(60 * SECOND_NS, 130 * SECOND_NS)
RETURN_SHORT = Horizon(1 * SECOND_NS, 5 * SECOND_NS)

MID_CHANGE = (MOMENTUM[1], MOMENTUM[2])
"""Momentum of the market's own mid."""

QUOTE_HISTORY_NS = MID_CHANGE[-1].oldest_ns


class Window(NamedTuple):
    """A trailing window of returns, and how full it must be to say anything."""

    ns: int
    count_min: int
    span_ns_min: int


# Five one-minute returns span four minutes; overlapping one-second samples of them need as long.
VOL_15M = Window(900 * SECOND_NS, 5, 240 * SECOND_NS)
VOL_60M = Window(3_600 * SECOND_NS, 15, 840 * SECOND_NS)
VOL_SHORT = Window(300 * SECOND_NS, 30, 60 * SECOND_NS)

FLOW_NS = (15 * SECOND_NS, 60 * SECOND_NS)
NEAR_E4 = 200
"""Depth "near the touch" is within 2 cents: a distance in price, because ticks are tapered."""


class Clock(NamedTuple):
    """Where in its life the market is, and in the UTC day; seconds."""

    time_left_s: Value = NAN
    elapsed_s: Value = NAN
    life_s: Value = NAN
    day_s: Value = NAN


class Contract(NamedTuple):
    """What decides: the boundary of YES in USD, and 1 for an average, 0 for a point rule."""

    boundary_usd: Value = NAN
    is_average: Value = NAN


class Book(NamedTuple):
    """The market's book: best prices and last trade (1e-4 USD), sizes (1e-2 contracts).

    `touch_15_e4` and `touch_60_e4` are bid + ask of this market a MID_CHANGE horizon ago.
    """

    bid_e4: Value = NAN
    ask_e4: Value = NAN
    bid_size: Value = NAN
    ask_size: Value = NAN
    bid_depth: Value = NAN
    ask_depth: Value = NAN
    near_depth: Value = NAN
    last_e4: Value = NAN
    age_s: Value = NAN
    touch_15_e4: Value = NAN
    touch_60_e4: Value = NAN


class Price(NamedTuple):
    """The price used as S: USD, age in s, log-returns (1e-9) with their times (ns), by horizon.

    `squares_*` and `times_*` are sums over a window: of squared returns (1e-15), of ns.
    """

    spot_usd: Value = NAN
    age_s: Value = NAN
    return_5: Value = NAN
    time_5: Value = NAN
    return_15: Value = NAN
    time_15: Value = NAN
    return_60: Value = NAN
    time_60: Value = NAN
    return_300: Value = NAN
    time_300: Value = NAN
    squares_15m: Value = NAN
    times_15m: Value = NAN
    squares_60m: Value = NAN
    times_60m: Value = NAN
    squares_short: Value = NAN
    times_short: Value = NAN


class Settlement(NamedTuple):
    """S against the settlement index: past prints of S's own feed (sum, USD), basis, its variance.

    `index_usd` is the settlement feed if fresh, `venue_usd` the spot venue, `venue_basis_usd` the
    basis between them: what `basis_deviation_bp` compares.
    """

    prints_usd: Value = NAN
    basis_usd: Value = NAN
    basis_variance: Value = NAN
    index_usd: Value = NAN
    venue_usd: Value = NAN
    venue_basis_usd: Value = NAN


class Venue(NamedTuple):
    """The spot venue's book (USD, units of the underlying) and taker volumes (1e-8 units)."""

    bid_usd: Value = NAN
    ask_usd: Value = NAN
    bid_size: Value = NAN
    ask_size: Value = NAN
    depth_bid: Value = NAN
    depth_ask: Value = NAN
    buy_15: Value = NAN
    sell_15: Value = NAN
    buy_60: Value = NAN
    sell_60: Value = NAN


class Inputs(NamedTuple):
    """All that the formulas read, for one row or a column of rows."""

    clock: Clock
    contract: Contract
    book: Book
    price: Price
    settlement: Settlement
    venue: Venue


NO_FEED = "_"
"""Feed of a settlement rule that is not known; no source has this name."""


def contract(
    series: tuple[str, str], rule: str, *, strike_usd: float | None, comparator: Comparator
) -> Contract:
    """Return what decides a market of `series` (venue, series).

    NaN where the strike, the rule, or the rounding of the settlement value is unknown.
    """
    kind = RULES.get(rule)
    is_average = NAN if kind is None else float(kind.is_average)
    if series not in TERMS or price_e6(strike_usd) is None or strike_usd is None:
        return Contract(NAN, is_average)
    unit_usd = TERMS[series].settlement_unit_usd
    return Contract(strike_boundary(strike_usd, comparator, unit_usd), is_average)


def feed_of(source: str) -> str:
    """Name the feed of a spot `source`: a venue's candles, trades and book are one price.

    >>> feed_of("coinbase_candle_1m"), feed_of("binance_spot"), feed_of("chainlink")
    ('coinbase', 'binance', 'chainlink')
    """
    return source.partition("_")[0]


def index_feed_of(source: str) -> str:
    """Name the feed of the `index_usd` of a snapshot from `source`.

    Chainlink is recorded as a source of its own; the index that arrives beside a spot venue's book
    is the CF Benchmarks index which Kalshi streams. A feed that is itself an average keeps its own
    name, which no settlement rule asks for: as S it would lag by half its window.

    >>> index_feed_of("coinbase"), index_feed_of("chainlink"), index_feed_of("chainlink_twap_60")
    ('cfbenchmarks', 'chainlink', 'chainlink_twap_60')
    """
    if "twap" in source:
        return source
    return "chainlink" if feed_of(source) == "chainlink" else "cfbenchmarks"


def price_e6(price_usd: float | None) -> int | None:
    """Return a price in 1e-6 USD, None unless it is finite, positive and below 1e9 USD.

    >>> price_e6(80_818.21), price_e6(float("nan"))
    (80818210000, None)
    """
    if price_usd is None or not 0.0 < price_usd < PRICE_USD_MAX:
        return None
    return round(price_usd * 1e6) or None


def log_price_e9(price: int) -> int:
    """Return the log of a price given in 1e-6 USD, in 1e-9: returns are differences of these."""
    return round(math.log(price / 1e6) * 1e9)


def square_e15(return_e9: int) -> int:
    """Return the square of a clipped log-return (1e-9), in 1e-15.

    >>> square_e15(100_000)  # one basis point
    10000000
    """
    clipped = min(max(return_e9, -RETURN_E9_MAX), RETURN_E9_MAX)
    return clipped * clipped // SQUARE_DIVISOR


def volume_e8(volume: float | None) -> int | None:
    """Return a traded volume in 1e-8 units, None unless it is in [0, 1e8)."""
    if volume is None or not 0.0 <= volume < VOLUME_MAX:
        return None
    return round(volume * 1e8)


UNUSABLE = ("unknown_market", "quarantined", "outside_life", "crossed", "locked", "stale")
"""Why a row is not used; the first that holds is named."""

QUARANTINED = "quarantined"
"""Status of a market whose settlement rule is not the one that its series had: what its result
means is for a person to read first, so nothing is forecast or learnt of it."""

IS_CROSSED = int(Flag.CROSSED)
IS_LOCKED = int(Flag.LOCKED)
IS_COARSE = int(Flag.COARSE)
IS_STALE = int(Flag.STALE)
IS_GAP = int(Flag.GAP)
