"""Which series to record, from one line of text: parse it, refuse what is not known. Pure.

The decision a reader would question: a series is looked up in every venue's own table and nowhere
else. A name that no venue file knows cannot be recorded, because nobody has said what its markets
settle on; a guess here would be a wrong label for ever.
"""

from collections.abc import Mapping

from libs.common.checks import ConfigError
from libs.common.venues.venue import Venue

INTERVAL_S_MAX = 60
"""Seconds between two samples; beyond it a window of five minutes has too few."""


def parse_selection(text: str, venues: Mapping[str, Venue]) -> dict[str, dict[str, int]]:
    """Return the sample interval in seconds of each chosen series, by venue.

    Raises `ConfigError` that names every fault and what can be chosen.
    """
    chosen: dict[str, dict[str, int]] = {}
    faults: list[str] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, seconds = entry.partition("@")
        interval_s = _interval_s(seconds) if seconds or "@" in entry else 1
        venue = next((v.name for v in venues.values() if name in v.series), None)
        if interval_s is None:
            faults.append(f"{entry[:80]!r}: seconds are a divisor of 60")
        elif venue is None:
            faults.append(f"{name[:80]!r} is no known series")
        elif name in chosen.get(venue, {}):
            faults.append(f"{name} is given twice")
        else:
            chosen.setdefault(venue, {})[name] = interval_s
    if faults or not chosen:
        known = ", ".join(name for venue in venues.values() for name in venue.series)
        raise ConfigError(
            f"HAWK_SERIES {text[:200]!r}: {'; '.join(faults) or 'it is empty'}; choose of {known}"
        )
    return chosen


def underlyings_of(
    chosen: Mapping[str, Mapping[str, int]], venues: Mapping[str, Venue]
) -> tuple[str, ...]:
    """Return the underlyings of the chosen series, sorted."""
    found = {
        venues[venue].series[name].underlying for venue, series in chosen.items() for name in series
    }
    return tuple(sorted(found))


def _interval_s(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 2):
        return None
    value = int(text)
    return value if 1 <= value <= INTERVAL_S_MAX and INTERVAL_S_MAX % value == 0 else None
