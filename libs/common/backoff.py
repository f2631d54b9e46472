"""Waits between tries of something that is down: doubling, jittered, never giving up.

Jittered, so that services which lost something together do not come back in step; bounded, so that
a thing that is back is noticed within seconds. Chance here decides when something is tried again,
never what comes out.
"""

import random

FIRST_S, MAX_S = 0.1, 5.0
"""Soon at first, because most outages are a restart; never busy."""


class Backoff:
    """One sequence of waits."""

    def __init__(self, *, first_s: float = FIRST_S, max_s: float = MAX_S) -> None:
        self._first_s, self._max_s = first_s, max_s
        self._wait_s = first_s

    def next_s(self) -> float:
        """Return the next wait, between half and all of a doubling time."""
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._max_s)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with a short wait again."""
        self._wait_s = self._first_s
