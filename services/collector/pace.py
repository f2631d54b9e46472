"""When an instant is due: stream time against a clock that is handed in. Pure.

In go the time of the next instant and the machine's monotonic clock, out comes how long to wait.
Stream time runs `speed` times as fast as the clock; a hole in a recording, where nobody recorded,
costs no time at all.

Decision to question: what is late by more than LATE_S_MAX is not caught up with. After a suspended
machine or a slow disk an hour of quotes in one burst would help nobody; stream time just stood
still, and no event is left out.
"""

LATE_S_MAX = 5.0
"""Lateness that is caught up with at full speed; beyond it stream time goes on from where it is."""

HOLE_NS_MAX = 60_000_000_000
"""A span of a recording without any event that still takes its time: recorders sample at least once
a minute, so a longer one is a hole."""

_NS = 1_000_000_000


class Pace:
    """Clock of one run: the first instant it is asked about is due at once.

    `hole_ns_max` None: holes take their time too.

    >>> pace = Pace(2.0, hole_ns_max=HOLE_NS_MAX)
    >>> pace.delay_s(10 * _NS, now_s=100.0), pace.delay_s(14 * _NS, now_s=100.5)
    (0.0, 1.5)
    >>> pace.delay_s(1_000 * _NS, now_s=102.0)
    0.0
    """

    def __init__(self, speed: float, *, hole_ns_max: int | None) -> None:
        self._speed = speed
        self._hole_ns_max = hole_ns_max
        self._anchor: tuple[int, float] | None = None
        self._last_ns = 0

    def delay_s(self, ts_ns: int, now_s: float) -> float:
        """Return the seconds until the instant `ts_ns` is due; 0 or less: it is."""
        last_ns, self._last_ns = self._last_ns, ts_ns
        if self._anchor is None:
            return self._go_on_from(ts_ns, now_s)
        if self._hole_ns_max is not None and ts_ns - last_ns > self._hole_ns_max:
            return self._go_on_from(ts_ns, now_s)
        anchor_ns, anchor_s = self._anchor
        delay_s = anchor_s + (ts_ns - anchor_ns) / (self._speed * _NS) - now_s
        return delay_s if delay_s > -LATE_S_MAX else self._go_on_from(ts_ns, now_s)

    def _go_on_from(self, ts_ns: int, now_s: float) -> float:
        self._anchor = (ts_ns, now_s)
        return 0.0


class NoPace:
    """Everything is due when it comes: a live source has its own pace."""

    def delay_s(self, ts_ns: int, now_s: float) -> float:
        """Return 0."""
        return 0.0
