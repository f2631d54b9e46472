"""Names, ids and instants as the venues write them: tickers, slugs, tokens, time stamps.

In go whole numbers, out come texts. Ids that a client hands back (tokens, condition ids) carry
their market's series and opening in their last digits, so nothing has to be remembered to find the
market again, however old it is.

A reader would question the calendar written out here. Pure files read no clock and import no
datetime; the rule of US Eastern time (second Sunday of March to first Sunday of November, at two in
the morning) has stood since 2007.
"""

from functools import lru_cache
from hashlib import sha256

import numpy as np

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
HOUR_S, DAY_S = 3_600, 86_400

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_SERIES_DIGITS, _OPEN_DIGITS = 2, 12
_TOKEN_DIGITS = 77


def rfc3339(ns: int, *, digits: int = 6) -> str:
    """Write an instant with up to nine `digits` of a second, cut.

    >>> rfc3339(1_780_272_000_123_456_789), rfc3339(1_780_272_000_000_000_000, digits=0)
    ('2026-06-01T00:00:00.123456Z', '2026-06-01T00:00:00Z')
    """
    second, part = divmod(ns, NS_PER_S)
    fraction = f".{part:09d}"[: digits + 1] if digits else ""
    return f"{_second_text(second)}{fraction}Z"


@lru_cache(maxsize=256)
def _second_text(second: int) -> str:
    return str(np.datetime_as_string(np.datetime64(second, "s")))


def unix_s(text: str) -> int | None:
    """Read an instant: unix seconds, or RFC 3339 in UTC; None where it is neither.

    >>> unix_s("1780272000"), unix_s("2026-06-01T00:00:00Z"), unix_s("soon")
    (1780272000, 1780272000, None)
    """
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        instant = np.datetime64(text.removesuffix("Z").removesuffix("+00:00"), "s")
    except ValueError:
        return None
    return None if np.isnat(instant) else int(instant.astype(np.int64))


def eastern_offset_s(at_s: int) -> int:
    """Return US Eastern time less UTC at unix second `at_s`.

    >>> [eastern_offset_s(s) // HOUR_S for s in (1_793_509_199, 1_793_512_800, 1_780_272_000)]
    [-4, -5, -4]
    """
    year = int(np.datetime64(at_s, "s").astype("datetime64[Y]").astype(np.int64)) + 1970
    starts_s = _sunday_s(year, 3, nth=2) + 7 * HOUR_S
    ends_s = _sunday_s(year, 11, nth=1) + 6 * HOUR_S
    return -4 * HOUR_S if starts_s <= at_s < ends_s else -5 * HOUR_S


def eastern_stamp(at_s: int) -> str:
    """Write the Eastern minute of a ticker. In the hour that autumn repeats two would be equal; the
    second then says so with an R, which is this simulator's own.

    >>> eastern_stamp(1_786_942_800)
    '26AUG170100'
    """
    offset_s = eastern_offset_s(at_s)
    text = np.datetime_as_string(np.datetime64(at_s + offset_s, "s"))
    month = _MONTHS[int(text[5:7]) - 1]
    repeats = offset_s == -5 * HOUR_S and eastern_offset_s(at_s - HOUR_S) == -4 * HOUR_S
    return f"{text[2:4]}{month}{text[8:13].replace('T', '')}{text[14:16]}{'R' * repeats}"


def eastern_words(at_s: int) -> str:
    """Write an Eastern instant as titles do.

    >>> eastern_words(1_786_942_800)
    'August 17, 1:00AM ET'
    """
    local_s = at_s + eastern_offset_s(at_s)
    text = np.datetime_as_string(np.datetime64(local_s, "s"))
    names = "January February March April May June July August September October November December"
    hour = int(text[11:13])
    half = "AM" if hour < 12 else "PM"
    month = names.split()[int(text[5:7]) - 1]
    return f"{month} {int(text[8:10])}, {hour % 12 or 12}:{text[14:16]}{half} ET"


def eastern_rule_words(at_s: int, *, is_hour: bool = False) -> tuple[str, str]:
    """Write time and date of an Eastern instant as rules do.

    >>> eastern_rule_words(1_786_942_800), eastern_rule_words(1_786_942_800, is_hour=True)[0]
    (('1:00 AM EDT', 'Aug 17, 2026'), '1 AM EDT')
    """
    offset_s = eastern_offset_s(at_s)
    text = np.datetime_as_string(np.datetime64(at_s + offset_s, "s"))
    names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
    hour = int(text[11:13])
    half = "AM" if hour < 12 else "PM"
    zone = "EDT" if offset_s == -4 * 3_600 else "EST"
    minutes = "" if is_hour else f":{text[14:16]}"
    date = f"{names.split()[int(text[5:7]) - 1]} {int(text[8:10])}, {text[:4]}"
    return f"{hour % 12 or 12}{minutes} {half} {zone}", date


def digest(key: str) -> str:
    """Return 64 hexadecimal digits that `key` alone decides."""
    return sha256(key.encode()).hexdigest()


def uuid_of(key: str) -> str:
    """Return a version 4 shaped UUID that `key` alone decides."""
    h = digest(key)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:32]}"


def token_id(series: int, open_s: int, outcome: int) -> str:
    """Name an outcome token: 77 digits, the last fifteen of which lead back.

    >>> token_place(token_id(4, 1_780_272_000, 1))
    (4, 1780272000, 1)
    """
    tail = f"{series:0{_SERIES_DIGITS}d}{outcome}{open_s:0{_OPEN_DIGITS}d}"
    head = str(int(digest(f"token {tail}"), 16))
    return (
        "1" + head[: _TOKEN_DIGITS - 1 - len(tail)].ljust(_TOKEN_DIGITS - 1 - len(tail), "7") + tail
    )


def token_place(token: str) -> tuple[int, int, int] | None:
    """Return series, opening and outcome (0 or 1) of a token, None for a text that is none."""
    if len(token) != _TOKEN_DIGITS or not token.isdigit():
        return None
    tail = token[-_SERIES_DIGITS - 1 - _OPEN_DIGITS :]
    place = int(tail[:2]), int(tail[3:]), int(tail[2])
    return place if place[2] <= 1 and token == token_id(*place) else None


def condition_id(series: int, open_s: int) -> str:
    """Name a market's condition: 0x and 64 digits, the last sixteen of which lead back.

    >>> condition_place(condition_id(4, 1_780_272_000))
    (4, 1780272000)
    """
    tail = f"{series:04x}{open_s:012x}"
    return "0x" + digest(f"condition {tail}")[:48] + tail


def condition_place(text: str) -> tuple[int, int] | None:
    """Return series and opening of a condition id, None for a text that is none."""
    try:
        place = int(text[-16:-12], 16), int(text[-12:], 16)
    except ValueError:
        return None
    return place if text == condition_id(*place) else None


def _sunday_s(year: int, month: int, *, nth: int) -> int:
    """Return midnight UTC of the nth Sunday of a month."""
    first = np.datetime64(f"{year}-{month:02d}-01", "D").astype(np.int64)
    # 1970-01-04 was a Sunday: day 3.
    until_sunday = (3 - int(first)) % 7
    return (int(first) + until_sunday + 7 * (nth - 1)) * DAY_S


def place_of_stamp(text: str) -> int | None:
    """Read the Eastern minute of a ticker back as unix seconds; None for anything else.

    >>> place_of_stamp("26AUG170100"), place_of_stamp("26AUG99")
    (1786942800, None)
    """
    core = text.removesuffix("R")
    if len(core) != 11 or core[2:5] not in _MONTHS or not (core[:2] + core[5:]).isdigit():
        return None
    month = _MONTHS.index(core[2:5]) + 1
    try:
        local = np.datetime64(f"20{core[:2]}-{month:02d}-{core[5:7]}T{core[7:9]}:{core[9:11]}", "s")
    except ValueError:
        return None
    for hours in (4, 5):
        at_s = int(local.astype(np.int64)) + hours * HOUR_S
        if eastern_stamp(at_s) == text:
            return at_s
    return None
