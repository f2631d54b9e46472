"""Find what a recording did not see: gaps in a market's quotes, from its own rhythm. Pure.

An interval that could not be observed is a `Gap`, nothing is filled forward. The rhythm is the
median of the market's own last distances, because recorders sample at 1 s, 10 s or a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.common.events import Flag, Gap, Market, event_id

Ints = np.ndarray[Any, np.dtype[np.int64]]

GAP_INTERVALS_MAX = 3
"""A distance above three sample intervals is a gap; below it is a recorder's jitter."""

GAP_NS_UNKNOWN = 65_000_000_000
"""Limit while the rhythm is not known yet: a minute is the coarsest recorder seen."""

RHYTHM_MIN, RHYTHM_DISTANCES = 3, 9
"""The rhythm is the median of the last nine distances, known after three."""

GAP_NS_MIN = 5_000_000_000
"""No distance below five seconds is called a gap, whatever the rhythm."""


@dataclass(frozen=True)
class Holes:
    """The gaps, and for each quote Flag.GAP where the interval before it was not observed."""

    gaps: list[Gap]
    flags: Ints


def quote_gaps(
    all_markets: Sequence[Market],
    codes: Ints,
    ts_ns: Ints,
    *,
    until_ns: int,
) -> Holes:
    """Return the unobserved intervals of each market's life, given the times of its quotes.

    `codes` says for each quote which of `all_markets` it is of. The recording ends at `until_ns`: a
    market that closes later was not missed, its rest is another recording's.
    """
    order = np.lexsort((ts_ns, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(all_markets) + 1))
    flags = np.zeros(len(ts_ns), np.int64)
    gaps: list[Gap] = []
    for i, market in enumerate(all_markets):
        rows = order[bounds[i] : bounds[i + 1]]
        times = ts_ns[rows]
        edges = np.r_[market.open_ns, times, market.close_ns]
        wide = np.flatnonzero(np.diff(edges) > _limits_ns(times))
        if market.close_ns > until_ns:
            wide = wide[wide < len(rows)]
        gaps += [_gap(market, int(edges[k]), int(edges[k + 1])) for k in wide.tolist()]
        flags[rows[wide[wide < len(rows)]]] = int(Flag.GAP)
    return Holes(gaps, flags)


def _limits_ns(times: Ints) -> Ints:
    """Return for each distance of (open, quotes, close) what is too long, from those before it.

    Only from those before: a rhythm taken from the whole life would let the future flag the past.
    """
    distances = np.diff(times)
    limits = np.full(len(times) + 1, GAP_NS_UNKNOWN, np.int64)
    for k in range(RHYTHM_MIN, min(len(distances), RHYTHM_DISTANCES - 1) + 1):
        limits[k + 1] = int(np.median(distances[:k])) * GAP_INTERVALS_MAX
    if len(distances) >= RHYTHM_DISTANCES:
        windows = np.lib.stride_tricks.sliding_window_view(distances, RHYTHM_DISTANCES)
        limits[RHYTHM_DISTANCES + 1 :] = np.median(windows, axis=1) * GAP_INTERVALS_MAX
    return np.maximum(limits, GAP_NS_MIN)


def _gap(market: Market, start_ns: int, end_ns: int) -> Gap:
    """Make a gap; it is known when it ends."""
    return Gap(
        ts_ns=end_ns,
        id=event_id("Gap", "quotes", market.venue, market.market, start_ns, end_ns),
        underlying=market.underlying,
        feed="quotes",
        start_ns=start_ns,
        end_ns=end_ns,
        reason="not_recorded",
        venue=market.venue,
        market=market.market,
    )
