"""Basis between the settlement index and a spot venue, learnt from strikes as they arrive.

An up/down market's strike is the settlement index averaged over the minute before its open, and it
becomes known just after it. Strike minus the venue's own average over that minute is therefore one
observation of the basis per window, at no cost. The estimate is the mean of the last 20 within 24 h
shrunk towards 0, and its variance is that of *one new window* about it, because the basis of the
next settlement, not the long-run mean, is what fair value needs.

Shared by the streaming and the batch path: contributions are few, so both call the same scalars.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from libs.common.fair_value import RULES
from services.features.inputs import (
    DAY_NS,
    MARKET_AGE_NS_MAX,
    SECOND_NS,
    STRIKE_DELAY_NS_MAX,
    price_e6,
)

CONTRIBUTIONS_MAX = 20
CONTRIBUTIONS_MIN = 3
CONTRIBUTION_AGE_NS_MAX = DAY_NS

SHRINKAGE = 4
"""Pseudo-windows at 0: the mean of n windows counts n / (n + 4). On 30 recorded windows 0 to 4
differ by 0.001 Brier, which is noise; the shrinkage guards the first hours of an archive."""

BASIS_SHARE_MAX = 100
"""A difference above 1/100 of the price is not a basis: the strike was no average of the open."""


class Basis(NamedTuple):
    """Estimate of (index - spot) in USD and the variance (USD^2) of the next window about it."""

    usd: float = 0.0
    variance: float = 0.0


class Terms(NamedTuple):
    """What a `Market` event says that the basis needs."""

    rule: str
    open_ns: int
    close_ns: int
    strike_usd: float | None


class Arrival(NamedTuple):
    """A strike that became known after the open of its window."""

    rule: str
    open_ns: int
    strike_e6: int


class StrikeWatch:
    """Notice strikes that arrive after the open; one per window (rule, open, close).

    A market counts only if it was known *without* strike before: a ladder market discovered late
    carries a strike that is no average of anything. All state is bounded in time by definition.
    """

    def __init__(self) -> None:
        """Start with no market known."""
        self._unstruck: dict[Hashable, int] = {}
        self._windows: dict[tuple[str, int, int], None] = {}

    def observe(self, ts_ns: int, key: Hashable, terms: Terms) -> Arrival | None:
        """Take one `Market` event of market `key`; return its strike if it just arrived late."""
        waited_since = self._unstruck.pop(key, None)
        if terms.strike_usd is None:
            self._unstruck[key] = ts_ns
            self._forget(ts_ns)
            return None
        strike = price_e6(terms.strike_usd)
        late = terms.open_ns < ts_ns <= terms.open_ns + STRIKE_DELAY_NS_MAX
        known_before = waited_since is not None and waited_since >= ts_ns - MARKET_AGE_NS_MAX
        window = (terms.rule, terms.open_ns, terms.close_ns)
        if not (late and known_before and terms.rule in RULES) or window in self._windows:
            return None
        self._windows[window] = None
        return None if strike is None else Arrival(terms.rule, terms.open_ns, strike)

    def _forget(self, now_ns: int) -> None:
        """Drop what can no longer matter; dicts keep order of arrival, so the oldest is first."""
        while self._unstruck:
            key, ts_ns = next(iter(self._unstruck.items()))
            if ts_ns >= now_ns - MARKET_AGE_NS_MAX:
                break
            del self._unstruck[key]
        late_ns = now_ns - STRIKE_DELAY_NS_MAX
        for window in [w for w in self._windows if w[1] < late_ns]:
            del self._windows[window]


def difference_e6(strike_e6: int, prints_sum_e6: int) -> int | None:
    """Return strike minus the mean of 60 prints in 1e-6 USD, None if it is too large for a basis.

    >>> difference_e6(100_010_000, 6_000_000_000)
    10000
    """
    total = 60 * strike_e6 - prints_sum_e6
    return total // 60 if abs(total) * BASIS_SHARE_MAX <= prints_sum_e6 else None


def estimate(differences_e6: Sequence[int]) -> Basis:
    """Return the basis from the differences of the last windows (1e-6 USD, any order).

    >>> estimate([10_000_000, 10_000_000])
    Basis(usd=0.0, variance=0.0)
    """
    n = len(differences_e6)
    if n < CONTRIBUTIONS_MIN:
        return Basis()
    total = sum(differences_e6)
    squares = sum(d * d for d in differences_e6)
    # Integers to the last line: (n squares - total^2) would cancel in floats.
    variance = (n * squares - total * total) / (n * (n - 1)) / 1e12
    return Basis(total / (n + SHRINKAGE) / 1e6, variance * (n + 1) / n)


class BasisHistory:
    """The contributions of one (settlement rule, spot feed), newest last."""

    __slots__ = ("_differences", "_estimate", "_times")

    def __init__(self) -> None:
        """Start without contributions."""
        self._times: list[int] = []
        self._differences: list[int] = []
        self._estimate: Basis | None = None

    def add(self, ts_ns: int, difference: int) -> None:
        """Record a contribution (1e-6 USD) that became known at `ts_ns`."""
        self._times = [*self._times, ts_ns][-CONTRIBUTIONS_MAX:]
        self._differences = [*self._differences, difference][-CONTRIBUTIONS_MAX:]
        self._estimate = None

    def estimate(self, now_ns: int) -> Basis:
        """Return the estimate from the contributions of the last 24 h."""
        while self._times and self._times[0] <= now_ns - CONTRIBUTION_AGE_NS_MAX:
            self._times, self._differences = self._times[1:], self._differences[1:]
            self._estimate = None
        if self._estimate is None:
            self._estimate = estimate(self._differences)
        return self._estimate


BASIS_LOOKBACK_NS = CONTRIBUTION_AGE_NS_MAX + STRIKE_DELAY_NS_MAX + 120 * SECOND_NS
"""How far back a contribution of the last 24 h can reach: to the minute before its open."""
