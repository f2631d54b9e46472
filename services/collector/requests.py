"""Which REST requests are due, and which of them are under way. Pure.

The decision a reader would question: a request that is under way is not asked again until
ASKED_S_MAX have passed, whoever wants it. A venue that is slow would otherwise be asked the more
the slower it gets.
"""

from collections.abc import Mapping

from libs.common.venues.venue import Get, Venue
from services.collector.lifecycle import Markets
from services.collector.traffic import Fetch

NS = 1_000_000_000

ROUTINE_S = {"clock": 60, "status": 60, "terms": 3_600}
"""How often a venue is asked for its time, whether it trades, and for the terms of a series."""

ASKED_S_MAX = 5
"""A request without an answer for so long is asked again."""

UNDER_WAY_MAX = 2_000
"""Requests remembered as under way; an answer that never comes must not be remembered for ever."""

PAGES_MAX = 40
"""Further pages a minute, of all venues: a listing has one or two."""

URGENT = ("market", "strike")


class Requests:
    """The requests of all venues."""

    def __init__(self, venues: Mapping[str, Venue], markets: Mapping[str, Markets]) -> None:
        """Start with nothing asked."""
        self._venues, self._markets = venues, markets
        self._asked_ns: dict[Get, int] = {}
        self._routine_ns: dict[Get, int] = {}
        self._pages: list[int] = []

    def due(self, ts_ns: int) -> list[Fetch]:
        """Return what should be asked at a tick."""
        wanted: list[Fetch] = []
        for name, venue in self._venues.items():
            series = self._markets[name].series
            for get in (venue.clock(), venue.status(), *map(venue.terms, series)):
                if get is not None and ts_ns >= self._routine_ns.get(get, 0):
                    self._routine_ns[get] = ts_ns + ROUTINE_S[get.purpose] * NS
                    wanted.append(Fetch(get))
            wanted += [
                Fetch(get, is_urgent=get.purpose in URGENT)
                for get in self._markets[name].due(ts_ns)
            ]
        return wanted

    def is_wanted(self, get: Get, now_ns: int) -> bool:
        """Tell whether to ask now, and note it as under way."""
        asked_ns = self._asked_ns.get(get)
        if asked_ns is not None and now_ns - asked_ns < ASKED_S_MAX * NS:
            return False
        self._asked_ns.pop(get, None)
        self._asked_ns[get] = now_ns
        if len(self._asked_ns) > UNDER_WAY_MAX:
            del self._asked_ns[next(iter(self._asked_ns))]
        return True

    def is_next(self, now_ns: int) -> bool:
        """Tell whether a further page may be asked for: a cursor without end must not eat all."""
        self._pages = [at for at in self._pages if now_ns - at < 60 * NS]
        if len(self._pages) >= PAGES_MAX:
            return False
        self._pages.append(now_ns)
        return True

    def answered(self, get: Get) -> None:
        """Note that a request has its answer."""
        self._asked_ns.pop(get, None)
