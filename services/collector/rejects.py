"""What was not understood of late, by feed: when it is so much that a person is to be told. Pure.

The decision a reader would question: the texts themselves are kept nowhere but in a raw capture
(`HAWK_CAPTURE=1`). The alert shows the beginning of the last one, which names the field that has
changed; a store of what hostile servers send would be one more thing to bound and to clean.
"""

from collections import deque

from libs.common.venues.messages import Reject
from services.collector.line import REJECTS_MAX, REJECTS_S

NS = 1_000_000_000

AT_ONCE = ("unknown_schema",)
"""Rejects of which one is enough: the venue says itself that it speaks another protocol now."""


class Rejects:
    """The times of each feed's last rejects."""

    def __init__(self) -> None:
        """Start with none."""
        self._times: dict[str, deque[int]] = {}

    def note(self, feed: str, message: Reject, ts_ns: int) -> str | None:
        """Note a reject; return what to tell a person, None while there are few."""
        times = self._times.setdefault(feed, deque(maxlen=REJECTS_MAX + 1))
        times.append(ts_ns)
        is_often = len(times) > REJECTS_MAX and ts_ns - times[0] <= REJECTS_S * NS
        if not is_often and message.reason not in AT_ONCE:
            return None
        return f"texts are not understood, the last: {message.reason} {message.detail}"
