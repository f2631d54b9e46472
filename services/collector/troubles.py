"""What is wrong at the venues, as conditions that begin and end. Pure.

A rule fires while anything is in its state (a market that is quarantined, a feed that is refused)
and resolves when nothing is any more, so that an alert tells of now and the next one is heard.

The decision a reader would question: a market's trouble ends when its books are over, whatever it
was. What is wrong with a market of a quarter hour is either seen in the next one again, or over.
"""

from typing import NamedTuple

from services.collector.traffic import Notice, Severity

MARKET_QUARANTINED = "market_quarantined"
MARKET_CHANGED = "market_changed"
CHAIN_BROKEN = "chain_broken"
CLOCK_OFFSET = "clock_offset"
VENUE_PAUSED = "venue_paused"
VENUE_REFUSED = "venue_refused"

RULES: dict[str, Severity] = {
    MARKET_QUARANTINED: "warn",
    MARKET_CHANGED: "warn",
    CHAIN_BROKEN: "warn",
    CLOCK_OFFSET: "page",
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


class Troubles:
    """Who is in which trouble."""

    def __init__(self) -> None:
        """Start with none."""
        self._who: dict[str, set[str]] = {rule: set() for rule in RULES}

    def begin(self, rule: str, who: str, evidence: str) -> list[Notice]:
        """Note a trouble; return what to tell if it is new."""
        if who in self._who[rule]:
            return []
        self._who[rule].add(who)
        return [Notice(rule, True, f"{who}: {evidence}"[:500], RULES[rule])]

    def end(self, who: str, *, rule: str | None = None) -> list[Notice]:
        """End a trouble (or all) of somebody; return the rules that nobody is in any more."""
        over: list[Notice] = []
        for name in [rule] if rule is not None else list(self._who):
            if who in self._who[name]:
                self._who[name].discard(who)
                if not self._who[name]:
                    over.append(Notice(name, False, f"{who}: it is over", RULES[name]))
        return over
