"""Find what a recording did not see: gaps in a market's quotes, from its own rhythm. Pure.

An interval that could not be observed is a `Gap`, nothing is filled forward. The rhythm is the
median distance of the market's own rows, because recorders sample at 1 s, 10 s or a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.common.events import Flag, Gap, Market, event_id

GAP_INTERVALS_MAX = 3
"""A distance above three sample intervals is a gap; below it is a recorder's jitter."""

GAP_NS_MIN = 5_000_000_000
"""No distance below five seconds is called a gap, whatever the rhythm."""


@dataclass(frozen=True)
class Holes:
    """The gaps, and for each quote Flag.GAP where the interval before it was not observed."""

    gaps: list[Gap]
    flags: np.ndarray[Any, np.dtype[np.int64]]


def quote_gaps(
    all_markets: Sequence[Market],
    codes: np.ndarray[Any, np.dtype[np.int64]],
    ts_ns: np.ndarray[Any, np.dtype[np.int64]],
) -> Holes:
    """Return the unobserved intervals of each market's life, given the times of its quotes.

    `codes` says for each quote which of `all_markets` it is of.
    """
    order = np.lexsort((ts_ns, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(all_markets) + 1))
    flags = np.zeros(len(ts_ns), np.int64)
    gaps: list[Gap] = []
    for i, market in enumerate(all_markets):
        rows = order[bounds[i] : bounds[i + 1]]
        times = ts_ns[rows]
        edges = np.r_[market.open_ns, times, market.close_ns]
        wide = np.flatnonzero(np.diff(edges) > _limit_ns(times))
        gaps += [_gap(market, int(edges[k]), int(edges[k + 1])) for k in wide.tolist()]
        flags[rows[wide[wide < len(rows)]]] = int(Flag.GAP)
    return Holes(gaps, flags)


def _limit_ns(times: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    if len(times) < 2:
        return GAP_NS_MIN
    return max(GAP_NS_MIN, int(np.median(np.diff(times))) * GAP_INTERVALS_MAX)


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
