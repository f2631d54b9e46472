"""The price path as one endless line of seconds: days drawn on demand, prints as published.

In go a seed and the first day, out come index prints and spot by unix second. `path` draws days;
here they are cached, cut to windows and rounded to what an index provider publishes. Settlement is
the sum of sixty published prints, so whoever heard the prints can add them up.

A reader would question `ties`, the one thing that can be changed: a tie has measure zero on any
path, so the fault of that name moves the last sixty prints of a window until the sums agree.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from libs.common.checks import check
from services.simulator.path import (
    DAY_S,
    HISTORY_S,
    PRINTS,
    UNDERLYINGS,
    Chance,
    Day,
    Floats,
    State,
    first_state,
    next_day,
)

Ints = NDArray[np.int64]

UNIT_E4 = {"BTC-USD": 100, "ETH-USD": 100, "SOL-USD": 1}
"""Smallest step of a published print in 1e-4 USD: cents, and finer where a cent is much."""

DAYS_KEPT = 6
"""Drawn days in memory, 3 MB each and underlying; any other is drawn again in 20 ms."""

_SHARED, _OWN = 0, 1


class Window(NamedTuple):
    """A stretch of path: `prints_usd` (n + 1,) from its first second to its last, and what is
    known ahead of each of its increments, (n,)."""

    prints_usd: Floats
    drift_usd: Floats
    variance_usd2: Floats


class Prices:
    """The path of `seed` from day `first_day` (days since 1970) on, for the first few underlyings.

    `ties` maps (row, close) to what is added to each of the last sixty prints before that close and
    to the very last one, in 1e-4 USD.
    """

    def __init__(self, seed: int, *, first_day: int, rows: int) -> None:
        self.names = tuple(u.name for u in UNDERLYINGS[:rows])
        self.ties: dict[tuple[int, int], tuple[int, int]] = {}
        self._seed, self._first_day = seed, first_day
        self._days: dict[int, Day] = {}
        self._states: list[State] = [first_state(UNDERLYINGS[:rows], self._chance(0))]

    @property
    def first_s(self) -> int:
        """First second with a print whose hour before is known too."""
        return self._first_day * DAY_S

    def prints_e4(self, row: int, first_s: int, n: int) -> Ints:
        """Return `n` published index prints from second `first_s` on, in 1e-4 USD."""
        unit = UNIT_E4[self.names[row]]
        raw = self._slice(row, first_s, n, is_index=True)
        prints: Ints = np.rint(raw * (10_000 / unit)).astype(np.int64) * unit
        for (tied, close_s), (each, last) in self.ties.items():
            if tied == row and first_s <= close_s and first_s + n > close_s - PRINTS + 1:
                low = max(0, close_s - PRINTS + 1 - first_s)
                prints[low : close_s + 1 - first_s] += each
                if close_s < first_s + n:
                    prints[close_s - first_s] += last
        return prints

    def spots_e4(self, row: int, first_s: int, n: int) -> Ints:
        """Return the venue's last trade at `n` seconds from `first_s` on, in 1e-4 USD."""
        spots: Ints = np.rint(self._slice(row, first_s, n, is_index=False) * 100) * 100
        return spots.astype(np.int64)

    def sum_e4(self, row: int, close_s: int) -> int:
        """Add up the sixty prints up to and with the one at `close_s`."""
        return int(self.prints_e4(row, close_s - PRINTS + 1, PRINTS).sum())

    def window(self, row: int, open_s: int, length_s: int) -> Window:
        """Return the path of a window, which lies within one day."""
        day, second = self._day(open_s), open_s % DAY_S
        check(second + length_s <= DAY_S, f"window of {length_s} s from {open_s} leaves its day")
        return Window(
            self.prints_e4(row, open_s, length_s + 1) / 10_000.0,
            day.drift_usd[row, second : second + length_s],
            day.variance_usd2[row, second : second + length_s],
        )

    def tie(self, row: int, close_s: int, length_s: int) -> None:
        """Make the window that closes at `close_s` settle exactly where the one before did."""
        self.ties.pop((row, close_s), None)
        missing = self.sum_e4(row, close_s - length_s) - self.sum_e4(row, close_s)
        unit = UNIT_E4[self.names[row]]
        each = missing // PRINTS // unit * unit
        self.ties[row, close_s] = each, missing - PRINTS * each

    def _slice(self, row: int, first_s: int, n: int, *, is_index: bool) -> Floats:
        parts = []
        while n > 0:
            day = self._day(first_s)
            column = HISTORY_S + first_s % DAY_S
            prices = day.index_usd if is_index else day.spot_usd
            # The last column is midnight, the next day's first.
            part = prices[row, column : min(column + n, HISTORY_S + DAY_S)]
            parts.append(part)
            first_s, n = first_s + len(part), n - len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _day(self, second: int) -> Day:
        number = second // DAY_S - self._first_day + 1
        check(number >= 1, f"second {second} is before the first day of the path")
        if number not in self._days:
            while len(self._states) <= number:
                self._draw(len(self._states))
            if number not in self._days:
                self._draw(number)
        return self._days[number]

    def _draw(self, number: int) -> None:
        chosen = UNDERLYINGS[: len(self.names)]
        day, state = next_day(self._states[number - 1], chosen, self._chance(number))
        if number == len(self._states):
            self._states.append(state)
        self._days[number] = day
        while len(self._days) > DAYS_KEPT:
            self._days.pop(next(iter(self._days)))

    def _chance(self, number: int) -> Chance:
        def generator(*key: int) -> np.random.Generator:
            return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

        own = tuple(generator(number, _OWN, place) for place in range(len(self.names)))
        return Chance(generator(number, _SHARED), own)
