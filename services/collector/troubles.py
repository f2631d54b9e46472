"""What is wrong at the venues, as conditions that begin and end. Pure.

A rule fires while anything is in its state (a market that is quarantined, a feed that is refused)
and resolves when nothing is any more, so that an alert tells of now and the next one is heard.

The decision a reader would question: a market's trouble ends when its books are over, whatever it
was. What is wrong with a market of a quarter hour is either seen in the next one again, or over.
"""

from typing import NamedTuple

from services.collector.traffic import Notice, Severity

NS = 1_000_000_000

MARKET_QUARANTINED = "market_quarantined"
MARKET_CHANGED = "market_changed"
CHAIN_BROKEN = "chain_broken"
CLOCK_OFFSET = "clock_offset"
FEED_UNREADABLE = "feed_unreadable"
VENUE_DARK = "venue_dark"
VENUE_PAUSED = "venue_paused"
VENUE_REFUSED = "venue_refused"

RULES: dict[str, Severity] = {
    MARKET_QUARANTINED: "warn",
    MARKET_CHANGED: "warn",
    CHAIN_BROKEN: "warn",
    CLOCK_OFFSET: "page",
    FEED_UNREADABLE: "warn",
    VENUE_DARK: "page",
    VENUE_PAUSED: "info",
    VENUE_REFUSED: "warn",
}
"""Every rule that the observer can raise. A wrong clock misjudges the last seconds of every market,
so as a page it stops trading; a refused feed is stood in for, and what is quarantined is not
traded anyway."""


class Told(NamedTuple):
    """A trouble that has begun: its rule, whose it is, and what shows it."""

    rule: str
    who: str
    evidence: str


LAST_S = {
    MARKET_QUARANTINED: 3_600,
    MARKET_CHANGED: 3_600,
    CHAIN_BROKEN: 3_600,
    FEED_UNREADABLE: 600,
    VENUE_REFUSED: 600,
}
"""Seconds behind the last sign of it at which a trouble is over by itself: a market that is long
closed, a feed that is no longer tried. One that is tried is refused again every two minutes."""


class Troubles:
    """Who is in which trouble, and since when it was last seen."""

    def __init__(self) -> None:
        """Start with none."""
        self._who: dict[str, dict[str, int]] = {rule: {} for rule in RULES}

    def begin(self, rule: str, who: str, evidence: str, *, ts_ns: int) -> list[Notice]:
        """Note a trouble; return what to tell if it is new."""
        is_new = who not in self._who[rule]
        self._who[rule][who] = ts_ns
        return [Notice(rule, True, f"{who}: {evidence}"[:500], RULES[rule])] if is_new else []

    def end(self, who: str, *, rule: str | None = None) -> list[Notice]:
        """End a trouble (or all) of somebody; return the rules that nobody is in any more."""
        over: list[Notice] = []
        for name in [rule] if rule is not None else list(self._who):
            if who in self._who[name]:
                del self._who[name][who]
                if not self._who[name]:
                    over.append(Notice(name, False, f"{who}: it is over", RULES[name]))
        return over

    def tick(self, ts_ns: int) -> list[Notice]:
        """End what has not been seen for long."""
        over: list[Notice] = []
        for rule, seconds in LAST_S.items():
            old = [w for w, at in self._who[rule].items() if ts_ns - at > seconds * NS]
            for who in old:
                over += self.end(who, rule=rule)
        return over
