"""Numbers, times and names of venues' texts, strictly: what is not exactly one is refused. Pure.

Venues send decimals as text. `float()` and `int()` would also take `nan`, `1_000`, white space and
the digits of other scripts, and `1e999` becomes infinite; here a decimal is ASCII digits with at
most one point. Contract prices and sizes become integers without passing through a float, and times
become nanoseconds without passing through anything that rounds to microseconds.

The decision a reader would question: contract prices are remembered by their text. There are at
most 10,001 of them, each written in two or three ways; a hit costs a tenth of parsing and has been
judged before. What is remembered is bounded, because a hostile venue could send endless zeros.
"""

import re
from functools import lru_cache

from libs.common.venues.messages import RejectReason

PRICE_ONE_E4 = 10_000
PRICE_USD_MAX = 1e9
"""A spot price above it is damage; the highest coin ever was below 1e6 USD."""

SIZE_MAX = 1e12
"""Coins or contracts; more than all there are. In 1e-6 it still fits 63 bits."""

NAME_LENGTH_MAX = 200
"""Longest id: token ids have 78 digits, condition ids 66; a 10 kB id is an attack."""

TIME_NS_MAX = 7_258_118_400_000_000_000
"""Start of the year 2200; a later time is damage."""

_CACHE = 65_536
_DECIMAL = re.compile(r"(-?)(\d{1,18})(?:\.(\d{1,18}))?", re.ASCII)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|\+00(?::?00)?)", re.ASCII
)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class WireError(ValueError):
    """A value that is not what its field must hold; caught by the parser, which rejects."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason: RejectReason = reason


@lru_cache(_CACHE)
def price_e4(text: str) -> int:
    """Return a contract price in 1e-4 USD, from 0 to 10,000, exactly.

    >>> price_e4("0.7600"), price_e4("0.001"), price_e4("1")
    (7600, 10, 10000)
    """
    value = scaled(text, 4)
    if not 0 <= value <= PRICE_ONE_E4:
        raise WireError("out_of_range", text)
    return value


def size_e6(text: str) -> int:
    """Return a size in 1e-6 contracts, 0 or more, exactly.

    >>> size_e6("1602.00"), size_e6("0.123456")
    (1602000000, 123456)
    """
    value = scaled(text, 6)
    if not 0 <= value <= SIZE_MAX * 1e6:
        raise WireError("out_of_range", text)
    return value


def change_e6(text: str) -> int:
    """Return a signed change of a size in 1e-6 contracts, exactly.

    >>> change_e6("-54.00")
    -54000000
    """
    value = scaled(text, 6)
    if abs(value) > SIZE_MAX * 1e6:
        raise WireError("out_of_range", text)
    return value


def scaled(text: str, digits: int) -> int:
    """Return a plain decimal times 10^`digits`; raise `WireError` if it is finer than that.

    >>> scaled("-0.50", 4)
    -5000
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise WireError("bad_number", text)
    sign, whole, part = found.groups(default="")
    kept, rest = part[:digits], part[digits:]
    if rest.strip("0"):
        raise WireError("bad_number", text)
    value = int(whole + kept.ljust(digits, "0"))
    return -value if sign else value


def price_usd(text: str) -> float:
    """Return a spot price, above 0.

    >>> price_usd("68900.50")
    68900.5
    """
    value = _plain(text)
    if not 0.0 < value <= PRICE_USD_MAX:
        raise WireError("out_of_range", text)
    return value


def size_coins(text: str) -> float:
    """Return a spot size, 0 or more.

    >>> size_coins("0.00000000")
    0.0
    """
    value = _plain(text)
    if not 0.0 <= value <= SIZE_MAX:
        raise WireError("out_of_range", text)
    return value


def time_ns(text: str) -> int:
    """Return an RFC 3339 time in UTC as nanoseconds, exactly.

    >>> time_ns("2026-04-07T14:30:00.123456789Z"), time_ns("1970-01-01T00:00:00Z")
    (1775572200123456789, 0)
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise WireError("bad_time", text)
    date, fraction = text[:10], found[7] or ""
    hour, minute, second = int(found[4]), int(found[5]), int(found[6])
    if hour > 23 or minute > 59 or second > 59:
        raise WireError("bad_time", text)
    seconds = _day(date) * 86_400 + hour * 3_600 + minute * 60 + second
    return in_range_ns(seconds * 1_000_000_000 + int(fraction.ljust(9, "0")), text)


def seconds_ns(seconds: int) -> int:
    """Return unix seconds as nanoseconds; raise `WireError` outside 1970 to 2200."""
    return in_range_ns(seconds * 1_000_000_000, str(seconds))


def milliseconds_ns(milliseconds: int) -> int:
    """Return unix milliseconds as nanoseconds; raise `WireError` outside 1970 to 2200."""
    return in_range_ns(milliseconds * 1_000_000, str(milliseconds))


def in_range_ns(ts_ns: int, text: str) -> int:
    """Return `ts_ns`; raise `WireError` if no venue can mean it."""
    if not 0 <= ts_ns < TIME_NS_MAX:
        raise WireError("bad_time", text)
    return ts_ns


@lru_cache(_CACHE)
def name(text: str) -> str:
    """Return an id; raise `WireError` unless it is short, printable and no path.

    Ids stand in logs, terminals and files' columns. They never name a file, and a text that would
    climb out of a folder is no id of any venue.

    >>> name("KXBTC15M-26MAY131630-30")
    'KXBTC15M-26MAY131630-30'
    """
    is_short = 0 < len(text) <= NAME_LENGTH_MAX
    if not is_short or not text.isascii() or not text.isprintable() or _has_path(text):
        raise WireError("bad_name", text)
    return text


def _has_path(text: str) -> bool:
    return any(sign in text for sign in ("/", "\\", "..", " "))


def _plain(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None:
        raise WireError("bad_number", text)
    return float(text)


@lru_cache(64)
def _day(date: str) -> int:
    """Return the days from 1970-01-01 to a date (H. Hinnant, days_from_civil)."""
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    is_date = 1 <= month <= 12 and 1 <= day <= _DAYS_IN_MONTH[month - 1]
    if not is_date or (month == 2 and day == 29 and not is_leap):
        raise WireError("bad_time", date)
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146_097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - 719_468
    )
