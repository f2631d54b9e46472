"""What Kalshi says about a market, in Hawk's words: status, strike, ticks, fee, rule. Pure.

The WebSocket and the REST answers tell the same facts in other shapes; both files take them apart
and come here for their meaning. In go the values of single fields, out come parts of `MarketFacts`;
what cannot be understood raises `WireError`, which the caller turns into a rejection.

The decision a reader would question: a rule is known only if its whole text is, word for word, once
dates, times and amounts are taken out. A market whose text gained half a sentence is settled by a
rule that nobody here has read.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from libs.common.events import Comparator, FeeSchedule, Side, TickRange, event_id
from libs.common.pricing import KALSHI_FEE
from libs.common.venues.messages import MarketStatus
from libs.common.venues.numbers import PRICE_USD_MAX, WireError, price_e4
from libs.common.venues.venue import Series

SERIES = {
    series.name: series
    for series in (
        Series("KXBTC15M", "BTC-USD", 900),
        Series("KXETH15M", "ETH-USD", 900),
        Series("KXSOL15M", "SOL-USD", 900),
        Series("KXBTCD", "BTC-USD", 3_600),
        Series("KXETHD", "ETH-USD", 3_600),
        Series("KXSOLD", "SOL-USD", 3_600),
    )
}

COMPARATORS: dict[str, Comparator] = {"greater_or_equal": ">=", "greater": ">"}
"""Strike types that are one strike from below; `between`, `less` and the rest are not recorded."""

STATUSES: dict[str, MarketStatus] = {
    "initialized": "listed",
    "active": "open",
    "inactive": "paused",
    "closed": "closed",
    "determined": "determined",
    "disputed": "determined",
    "amended": "determined",
    "finalized": "settled",
}
"""Words of `status` in an answer; the words of the same parameter in a query are others."""

_RESULTS: dict[str, Side | None] = {"yes": "yes", "no": "no", "scalar": None, "": None}

# A fee that is not a rate on p (1 - p), or whose override was taken back without saying to what, is
# the whole pay-out: an upper bound under which nothing is ever worth trading.
UNKNOWN_FEE = FeeSchedule(name="kalshi_unknown", rate_e4=10_000, exponent=0, round_e6=10_000)

_MULTIPLIER_MAX = 100.0
_RULE_LENGTH_MAX = 4_000
"""Real rules have up to 600 characters; a longer one is neither known nor shared."""


class PriceRange(msgspec.Struct, frozen=True, gc=False):
    """One band of prices and its step, in dollars as text."""

    start: str
    end: str
    step: str


def series_of(ticker: str) -> Series | None:
    """Return the series of a market or event, or None if it is not one of ours.

    >>> series_of("KXBTC15M-26AUG170100-00").length_s
    900
    """
    return SERIES.get(ticker.partition("-")[0])


def market_status(status: str, result: str) -> MarketStatus:
    """Return Hawk's word for a status; a market that ended without yes or no is void."""
    if status not in STATUSES:
        raise WireError("unknown_type", status)
    if status == "finalized" and market_result(result) is None:
        return "void"
    return STATUSES[status]


def market_result(result: str) -> Side | None:
    """Return the result, None where there is none or it is neither side (`scalar`, a refund)."""
    if result not in _RESULTS:
        raise WireError("unknown_type", result)
    return _RESULTS[result]


def strike_usd(floor_strike: float | None) -> float | None:
    """Return a strike in USD, above 0; None is "not struck", now or (some windows) ever."""
    if floor_strike is not None and not 0.0 < floor_strike <= PRICE_USD_MAX:
        raise WireError("out_of_range", str(floor_strike))
    return floor_strike


def tick_ranges(ranges: Sequence[PriceRange]) -> tuple[TickRange, ...] | None:
    """Return the grid of prices; None if it is not told.

    The name beside it (`price_level_structure`) is not read: the ranges say it all, and new names
    appear every few months.
    """
    ticks: list[TickRange] = []
    for band in ranges:
        tick = TickRange(
            start_e4=price_e4(band.start), end_e4=price_e4(band.end), step_e4=price_e4(band.step)
        )
        is_next = not ticks or ticks[-1].end_e4 == tick.start_e4
        if not is_next or tick.start_e4 >= tick.end_e4 or tick.step_e4 == 0:
            raise WireError("out_of_range", f"{band.start} to {band.end} step {band.step}")
        ticks.append(tick)
    return tuple(ticks) or None


def fee_schedule(fee_type: str | None, multiplier: float | None) -> FeeSchedule:
    """Return the taker's fee; `pricing.KALSHI_FEE` only for `quadratic` times 1.

    The multiplier is one of 0.07 (docs.kalshi.com, fee rounding, read 2026-09-18).

    >>> fee_schedule("quadratic", 1) is KALSHI_FEE, fee_schedule("quadratic", 1.25).rate_e4
    (True, 875)
    >>> fee_schedule("flat", 1).name
    'kalshi_unknown'
    """
    if fee_type is None or multiplier is None or not fee_type.startswith("quadratic"):
        return UNKNOWN_FEE
    if not 0.0 <= multiplier <= _MULTIPLIER_MAX or not (
        fee_type.isascii() and fee_type.isidentifier()
    ):
        raise WireError("out_of_range", f"{fee_type} x {multiplier}")
    if fee_type == "quadratic" and multiplier == 1.0:
        return KALSHI_FEE
    # Rounded up: a fee may be overestimated. 1e-9 is below any real multiplier's last digit.
    rate_e4 = math.ceil(KALSHI_FEE.rate_e4 * multiplier - 1e-9)
    name = f"kalshi_{fee_type[:60]}_x{multiplier:g}"
    return FeeSchedule(name=name, rate_e4=rate_e4, exponent=1, round_e6=KALSHI_FEE.round_e6)


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_AMOUNT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_TAKEN_OUT = (
    (re.compile(r"\bKX[A-Z0-9]+(?:-[A-Z0-9.]+)+", re.ASCII), "<ticker>"),
    (re.compile(rf"\b{_MONTH} \d{{1,2}}, \d{{4}}\b", re.ASCII), "<date>"),
    (re.compile(r"\b\d{1,2}(?::\d\d)? [AP]M(?: E[DS]?T)?\b", re.ASCII), "<time>"),
    # Only what stands where a strike does: "60 RTI prices" and "2 decimal places" are the rule.
    (re.compile(rf"\$ ?(?:{_AMOUNT})", re.ASCII), "<amount>"),
    (re.compile(rf"(?<=\babove )(?:{_AMOUNT})\b", re.ASCII), "<amount>"),
)

_INDEX_NAMES = {
    "BTC-USD": ("BRTI", "Bitcoin Real-Time Index (BRTI)"),
    "ETH-USD": ("ETHUSD_RTI", "Ethereum Real-Time Index (ERTI)"),
    "SOL-USD": ("SOLUSD_RTI",),
}
_AVERAGE = "the simple average of the sixty seconds of CF Benchmarks' {index} before <time>"
_PRIMARY = {
    900: f"If {_AVERAGE} on <date> is at least {_AVERAGE} on <date>, then the market resolves to"
    " Yes.",
    3_600: f"If {_AVERAGE} is above <amount> at <time> on <date>, then the market resolves to Yes.",
}
_SECONDARY = (
    "Not all cryptocurrency price data is the same. While checking a source like Google or Coinbase"
    " may help guide your decision, the price used to determine this market is based on CF"
    " Benchmarks' corresponding Real Time Index (RTI). At the last minute before expiration, 60 RTI"
    " prices are collected. The official and final value is the average of these prices{rounding}."
)
_WORDED: dict[int, Comparator] = {900: ">=", 3_600: ">"}
_ROUNDING = {900: ", rounded to the nearest 2 decimal places", 3_600: ""}


def settlement(
    series: Series, strike_type: str | None, rule: str | None
) -> tuple[Comparator | None, str | None]:
    """Return how the settlement is compared, and the rule, by which it may be "unknown" after all.

    A market tells its strike type only when it is struck. Before, the known rule says it in words
    ("is at least", "is above"); a strike type that says otherwise is another rule.
    """
    worded = _WORDED[series.length_s] if rule == "mean60" else None
    if not strike_type:
        return worded, rule
    if strike_type not in COMPARATORS:
        raise WireError("unknown_type", strike_type)
    told = COMPARATORS[strike_type]
    return told, rule if worded in (None, told) else "unknown"


def rule_of(series: Series, primary: str, secondary: str) -> str | None:
    """Return `mean60` if both texts are the known ones of `series`, else "unknown".

    Texts of markets of 2026-07 to 2026-09. An empty secondary text is not the known one: it is the
    one that says how many prices are averaged and how the average is rounded. None: not told.
    """
    if not primary:
        return None
    if normalised(secondary) != _SECONDARY.format(rounding=_ROUNDING[series.length_s]):
        return "unknown"
    known = {_PRIMARY[series.length_s].format(index=n) for n in _INDEX_NAMES[series.underlying]}
    return "mean60" if normalised(primary) in known else "unknown"


def fingerprint(primary: str, secondary: str) -> str | None:
    """Return a hash of the rule that all markets of a series share; None if no text is told."""
    if not primary:
        return None
    return event_id("kalshi_rule", normalised(primary), normalised(secondary))


def normalised(text: str) -> str:
    """Return a rule's text with tickers, dates, times and amounts taken out.

    >>> normalised("above $72,749.99 at 5 PM EDT on Aug 17, 2026: 60 prices")
    'above <amount> at <time> on <date>: 60 prices'
    """
    return text if len(text) > _RULE_LENGTH_MAX else _normalised(text)


# The rungs of a ladder share their secondary text, and it arrives with each.
@lru_cache(256)
def _normalised(text: str) -> str:
    text = " ".join(text.split())
    for pattern, name in _TAKEN_OUT:
        text = pattern.sub(name, text)
    return text
