"""The clock of an accelerated world: stream time as a straight line of wall time.

A world that starts at `start_ns` when the wall clock says `began_ns` and runs `speed` times as fast
stands at start_ns + (wall_ns - began_ns) x speed. The simulator serves the three numbers and
whoever talks to it computes with them, so both ends agree to the nanosecond. Time-outs of an
accelerated world are stated in stream seconds and waited for in wall seconds (`wall_s`).

A reader would question the wall clock rather than the monotonic one: two processes on one machine
share the wall clock alone, and a step of it then moves both of them alike.
"""

from dataclasses import dataclass
from math import isfinite

from libs.common.checks import check


@dataclass(frozen=True)
class StreamTime:
    """Stream time of a world: `start_ns` in stream time, `began_ns` in wall time, `speed` > 0.

    >>> clock = StreamTime(start_ns=1_000, began_ns=400, speed=60.0)
    >>> clock.at(401), clock.wall_of(1_060), clock.wall_s(30.0)
    (1060, 401, 0.5)
    """

    start_ns: int
    began_ns: int
    speed: float

    def __post_init__(self) -> None:
        """Refuse a speed that would stop the clock or turn it round."""
        check(isfinite(self.speed) and self.speed > 0, f"speed {self.speed}, expected above 0")

    def at(self, wall_ns: int) -> int:
        """Return the stream time at wall time `wall_ns`."""
        return self.start_ns + _scaled(wall_ns - self.began_ns, self.speed)

    def wall_of(self, stream_ns: int) -> int:
        """Return the wall time at which the stream time is `stream_ns`."""
        return self.began_ns + _scaled(stream_ns - self.start_ns, 1.0 / self.speed)

    def wall_s(self, stream_s: float) -> float:
        """Return how long `stream_s` stream seconds take, in wall seconds."""
        return stream_s / self.speed


def _scaled(duration_ns: int, factor: float) -> int:
    # A whole factor is exact for any duration; a float has 53 bits, 104 days of nanoseconds.
    return duration_ns * int(factor) if factor == int(factor) else round(duration_ns * factor)
