"""Words that all of Polymarket's messages share: slugs, outcomes, prices, ticks, underlyings. Pure.

Text in, checked values out; a value that is none of the venue's raises `WireError`, which the file
that reads the message turns into a rejection.

The decision a reader would question: a window's slug carries its start (`btc-updown-15m-<epoch>`),
so slugs may be built to ask for a window, but a fact is only taken from the answer. A market
belongs to a series if its slug follows the grammar *and* the times that the venue tells for it are
those of the slug.
"""

import re
from collections.abc import Sequence

import msgspec

from libs.common.events import Side, TickRange
from libs.common.pricing import POLYMARKET_TICKS
from libs.common.venues.messages import Price
from libs.common.venues.numbers import (
    PRICE_ONE_E4,
    PRICE_USD_MAX,
    WireError,
    milliseconds_ns,
    name,
    price_e4,
    scaled,
    size_e6,
)
from libs.common.venues.venue import Series

SERIES = {
    f"{asset}-updown-{length}": Series(f"{asset}-updown-{length}", f"{asset.upper()}-USD", seconds)
    for asset in ("btc", "eth", "sol")
    for length, seconds in (("5m", 300), ("15m", 900))
}

SIDES: dict[str, Side] = {"Up": "yes", "Yes": "yes", "Down": "no", "No": "no"}
"""Outcome labels that say which token is YES; teams and `Long`/`Short` do not."""

_SLUG = re.compile(r"([a-z]+-updown-\d+m)-(\d{9,11})", re.ASCII)
_PAIR = re.compile(r"([a-z0-9]{2,12})/usd", re.ASCII)
_GRID_TOLERANCE = 1e-6


class Level(msgspec.Struct, gc=False):
    """A price level as the venue writes it, on WebSocket and REST alike."""

    price: str
    size: str


def window(slug: str) -> tuple[Series, int] | None:
    """Return the series of a slug and its start in unix seconds; None: of no series known here.

    >>> window("btc-updown-15m-1773306900")[1], window("nvda-above-240-on-january-30-2026")
    (1773306900, None)
    """
    found = _SLUG.fullmatch(slug)
    if found is None or found[1] not in SERIES:
        return None
    series, start_s = SERIES[found[1]], int(found[2])
    return None if start_s % series.length_s else (series, start_s)


def yes_first(labels: Sequence[str], values: Sequence[str]) -> tuple[str, str]:
    """Return two outcomes' values, that of Up or Yes first; their order on the wire is not fixed.

    >>> yes_first(["Down", "Up"], ["0.2", "0.8"])
    ('0.8', '0.2')
    """
    if len(values) != 2 or len(labels) != 2:
        raise WireError("wrong_shape", f"{len(labels)} outcomes, {len(values)} values")
    sides = [SIDES.get(label) for label in labels]
    if sides == ["yes", "no"]:
        return values[0], values[1]
    if sides == ["no", "yes"]:
        return values[1], values[0]
    raise WireError("unknown_type", f"outcomes {'/'.join(labels)}")


def tokens(labels: Sequence[str], ids: Sequence[str]) -> tuple[str, str]:
    """Return the names of a market's two books, that of Up or Yes first."""
    yes, no = (name(token) for token in yes_first(labels, ids))
    if yes == no:
        raise WireError("bad_name", yes)
    return yes, no


def open_price_e4(text: str) -> int:
    """Return a price at which an order can rest, in 1e-4 USD: above 0 and below 1."""
    price = price_e4(text)
    if not 0 < price < PRICE_ONE_E4:
        raise WireError("out_of_range", text)
    return price


def edge_e4(text: str) -> int | None:
    """Return a best price; None where the side is empty, which is told as nothing, 0 or 1."""
    price = price_e4(text) if text else 0
    return price if 0 < price < PRICE_ONE_E4 else None


def levels(side: Sequence[Level]) -> list[tuple[Price, Price]]:
    """Return a side of a book in the venue's order, which is not reliable; size 0 is no level."""
    found = {open_price_e4(level.price): size_e6(level.size) for level in side}
    if len(found) != len(side):
        raise WireError("wrong_shape", "a price twice on one side")
    return [(price, size) for price, size in found.items() if size]


def text_ms_ns(text: str) -> int:
    """Return a time that is told as a text of unix milliseconds, in nanoseconds."""
    return milliseconds_ns(scaled(text, 0))


def tick_ranges(step_e4: int) -> tuple[TickRange, ...]:
    """Return the price grid of a market whose tick is `step_e4`.

    A market of whole cents turns to tenths when its price nears 0 or 1, so it gets the grid that
    it may reach; an order on that grid can still be refused before the venue has switched.
    """
    if step_e4 == 100:
        return POLYMARKET_TICKS
    if step_e4 not in (1, 10, 1_000):
        raise WireError("out_of_range", f"tick of {step_e4}e-4")
    return (TickRange(start_e4=0, end_e4=PRICE_ONE_E4, step_e4=step_e4),)


def number_e4(value: float) -> int:
    """Return a JSON number from 0 to 1 in 1e-4, exactly: a tick, a rate, a probability.

    >>> number_e4(0.07), number_e4(0.595)
    (700, 5950)
    """
    if not 0.0 <= value <= 1.0:
        raise WireError("out_of_range", str(value))
    rounded = round(value * 10_000)
    if abs(value * 10_000 - rounded) > _GRID_TOLERANCE:
        raise WireError("bad_number", str(value))
    return rounded


def usd(value: str | float) -> float:
    """Return a price of an underlying, from a number, a decimal, or an integer scaled by 1e18.

    The feeds tell one price in all three ways. They cannot be mixed up: no coin costs a million
    million USD, and none that is traded here less than a thousandth of a cent.

    >>> usd("65245.5"), usd("65245500000000000000000"), usd(65245.5)
    (65245.5, 65245.5, 65245.5)
    """
    if isinstance(value, str):
        value = _decimal(value)
    elif value >= _SCALED_MIN:
        value /= 1e18
    if not 0.0 < value <= PRICE_USD_MAX:
        raise WireError("out_of_range", str(value))
    return value


_SCALED_MIN = 1e12
_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,30})?", re.ASCII)
_SCALED = re.compile(r"\d{13,30}", re.ASCII)


def _decimal(text: str) -> float:
    if _SCALED.fullmatch(text):
        return int(text) / 10**18
    if _DECIMAL.fullmatch(text) is None:
        raise WireError("bad_number", text)
    return float(text)


def underlying(symbol: str) -> str:
    """Return Hawk's name of a symbol of the price feeds.

    >>> underlying("btc/usd")
    'BTC-USD'
    """
    found = _PAIR.fullmatch(symbol)
    if found is None:
        raise WireError("bad_name", symbol)
    return f"{found[1].upper()}-USD"
