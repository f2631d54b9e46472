"""How far a venue's clock is from ours, from the answers that tell it. Pure.

The decision a reader would question: the median of the last few measurements, each against the
middle of its round trip. One slow answer must not look like a clock that is wrong, and a signature
is refused, or the last seconds of a market misjudged, only by an offset that stays.
"""

from collections import deque
from statistics import median

MEASUREMENTS = 5
"""Measurements of which the median is taken; none is judged before there are three."""


class Offset:
    """Venue's clock minus ours."""

    def __init__(self) -> None:
        """Start without measurements."""
        self._last: deque[int] = deque(maxlen=MEASUREMENTS)
        self._is_wrong = False

    def add(self, offset_ns: int, limit_ns: int) -> bool | None:
        """Take a measurement; True when it is wrong from now on, False when it is right again."""
        self._last.append(offset_ns)
        if len(self._last) < 3:
            return None
        is_wrong = abs(self.median_ns) > limit_ns
        changed, self._is_wrong = is_wrong != self._is_wrong, is_wrong
        return is_wrong if changed else None

    @property
    def median_ns(self) -> int:
        """The offset; 0 before there is any measurement."""
        return int(median(self._last)) if self._last else 0
