"""Feed silence: pure. Underlyings whose snapshots stream does not move any more.

In go the newest entry of each stream and the monotonic time at which it was looked at, out come
claims. The collector ends every instant with a tick for every underlying, so a stream that stands
still is a feed that stands still, and one small question a second sees it at any rate.

A reader would question the machine's clock. Silence has no event time: the stream's clock stands
still with the feed. So seconds are counted here, divided by the speed of the source; a feed that is
played as fast as possible has no rhythm to miss, and is never silent.
"""

from libs.common.entry_codec import EntryId
from libs.common.sources import Source
from services.monitor.claims import FEED_SILENT, Claim

INTERVALS_MAX = 6
"""Intervals without a tick: a venue's hiccup is over within two or three."""

RECORDED_QUIET_S = 90.0
"""Stream seconds for a recording, whose interval is not known: a span of up to 60 s without events
is played at its length, longer ones are skipped."""

QUIET_S_MIN = 10.0
"""A collector that was killed is back in less; shorter silence at high speed is no news."""


def quiet_s_max(source: Source) -> float | None:
    """Return the seconds on our clock after which a feed is silent; None: never.

    >>> from libs.common.sources import parse_source
    >>> quiet_s_max(parse_source("simulated@1")), quiet_s_max(parse_source("simulated@60"))
    (60.0, 10.0)
    """
    if source.speed is None:
        return None
    is_recorded = source.kind == "recording"
    stream_s = RECORDED_QUIET_S if is_recorded else float(INTERVALS_MAX * source.interval_s)
    return max(QUIET_S_MIN, stream_s / source.speed)


BEGIN_S_MIN = 60.0
"""Before the first movement that we see: a source needs time to begin (a day is drawn)."""


class FeedWatch:
    """Watches each underlying's newest entry; `limit_s` None: nothing is ever silent."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._newest: dict[str, EntryId] = {}
        self._moved_s: dict[str, float] = {}
        self._has_moved: set[str] = set()

    def see(self, underlying: str, newest: EntryId, now_s: float) -> None:
        """Take the newest entry of an underlying's snapshots at `now_s`."""
        before = self._newest.get(underlying)
        self._newest[underlying] = newest
        if before is None:
            self._moved_s[underlying] = now_s
        elif before != newest:
            self._moved_s[underlying] = now_s
            self._has_moved.add(underlying)

    def lose_sight(self, now_s: float) -> None:
        """Begin to count anew: while the bus is away nobody can tell a silent feed."""
        self._moved_s = dict.fromkeys(self._moved_s, now_s)
        self._has_moved.clear()

    def claims(self, now_s: float) -> list[Claim]:
        """Return a claim for each underlying of which something is known by now."""
        return [claim for name in sorted(self._moved_s) if (claim := self._claim(name, now_s))]

    def quiet_s(self, underlying: str, now_s: float) -> float:
        """Return how long an underlying has not moved."""
        return now_s - self._moved_s.get(underlying, now_s)

    def _claim(self, underlying: str, now_s: float) -> Claim | None:
        if self._limit_s is None:
            return None
        has_moved = underlying in self._has_moved
        quiet_s = self.quiet_s(underlying, now_s)
        limit_s = self._limit_s if has_moved else max(self._limit_s, BEGIN_S_MIN)
        if quiet_s > limit_s:
            evidence = f"no tick for {quiet_s:.0f} s, expected one within {limit_s:.0f} s"
            return Claim(FEED_SILENT, True, evidence, underlying)
        if has_moved:
            return Claim(FEED_SILENT, False, "it ticks again", underlying)
        return None
