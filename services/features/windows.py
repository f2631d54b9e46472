"""Exact trailing windows over a stream: as-of look-ups and rolling sums of integers.

A `History` is a few parallel lists in time order, pruned from the left. Sums are differences of
running totals, so a window costs two look-ups, whatever its length, and a total does not depend on
when the history began: a restart from warm-up and numpy's `cumsum` give the same integers.

The decision a reader would question: bisect on a list, not one deque per window. A deque is O(1)
only for one window whose end moves with the stream; here some fifteen windows and look-backs share
one history, and a bisect over an hour of seconds costs 0.2 us.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from services.features.inputs import Horizon

PRUNE_AT = 1_024
"""Dead entries before the lists are cut: cutting is O(length), so it must be rare."""


class History:
    """Observations in time order: values to look up, and running totals to sum over windows.

    `add` takes values for the `values` columns first, then one integer per total.
    """

    __slots__ = ("times", "totals", "values")

    def __init__(self, *, values: int = 0, totals: int = 0) -> None:
        """Make an empty history with that many value columns and running totals."""
        self.times: list[int] = []
        self.values: tuple[list[int], ...] = tuple([] for _ in range(values))
        self.totals: tuple[list[int], ...] = tuple([0] for _ in range(totals))

    def __len__(self) -> int:
        """Count the observations kept."""
        return len(self.times)

    def add(self, time_ns: int, values: Sequence[int] = (), amounts: Sequence[int] = ()) -> None:
        """Append an observation; `time_ns` never falls."""
        self.times.append(time_ns)
        for column, value in zip(self.values, values, strict=True):
            column.append(value)
        for total, amount in zip(self.totals, amounts, strict=True):
            total.append(total[-1] + amount)

    def after(self, time_ns: int) -> int:
        """Return the position of the first observation later than `time_ns`.

        >>> history = History()
        >>> for time_ns in (10, 20, 20):
        ...     history.add(time_ns)
        >>> history.after(10), history.after(20)
        (1, 3)
        """
        return bisect_right(self.times, time_ns)

    def look_back(self, now_ns: int, horizon: Horizon) -> int:
        """Return the position of the observation a horizon ago, -1 where there is none."""
        at = bisect_right(self.times, now_ns - horizon.ns) - 1
        return at if at >= 0 and self.times[at] >= now_ns - horizon.oldest_ns else -1

    def total(self, column: int, start: int) -> int:
        """Sum a total's amounts from position `start` to the newest."""
        totals = self.totals[column]
        return totals[-1] - totals[start]

    def prune(self, before_ns: int) -> None:
        """Forget observations before `before_ns`, once they are many and most of the history."""
        times = self.times
        if len(times) < PRUNE_AT or times[len(times) // 2] >= before_ns:
            return
        dead = bisect_left(times, before_ns)
        del times[:dead]
        for column in self.values:
            del column[:dead]
        for total in self.totals:
            del total[:dead]
