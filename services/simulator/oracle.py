"""How much there was to gain: the score of a forecaster who knows the true probability.

In go the tables of a simulated recording, out comes what the mid gives away to the truth. Scores
are the headline ones: rows with both sides, mean over markets of the market's mean over rows. The
*expected* gain, the mean of (mid - truth)^2, has no noise of outcomes; the *realised* one has the
same noise as any model scored on the same rows, so a model's share of it is the steadier figure.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libs.common.checks import check
from services.simulator.path import Floats


@dataclass(frozen=True)
class Oracle:
    """Brier of mid and truth, and the gains between them, over `markets` with `rows`."""

    markets: int
    rows: int
    mid: float
    truth: float
    expected_gain: float

    @property
    def realised_gain(self) -> float:
        """What the truth would have gained over the mid on these outcomes."""
        return self.mid - self.truth


def oracle(markets: pa.Table, quotes: pa.Table, truth: pa.Table, *, from_ns: int = 0) -> Oracle:
    """Score mid and truth of a simulated recording, rows from `from_ns` on.

    The tables are those of `recording.FILES`; `truth` goes with `quotes` row for row. NaN scores
    where no row is left.
    """
    same = quotes.column("ts_ns").equals(truth.column("ts_ns"))
    check(same and quotes.column("market").equals(truth.column("market")), "truth of other quotes")
    bid, ask = (_best(quotes.column(f"yes_{side}_price")) for side in ("bids", "asks"))
    mid = (bid + ask) / 2.0
    kept = np.isfinite(mid) & (quotes.column("ts_ns").to_numpy() >= from_ns)
    p = truth.column("p_true").to_numpy()[kept]
    mid = mid[kept]
    at = pc.index_in(quotes.column("market"), markets.column("market")).to_numpy()[kept]
    result = pc.equal(markets.column("result"), "yes").to_numpy(zero_copy_only=False)[at]
    _, market = np.unique(at, return_inverse=True)
    return Oracle(
        markets=int(market.max(initial=-1)) + 1,
        rows=len(mid),
        mid=_headline((mid - result) ** 2, market),
        truth=_headline((p - result) ** 2, market),
        expected_gain=_headline((mid - p) ** 2, market),
    )


def _best(levels: pa.ChunkedArray) -> Floats:
    """Return the first price of each side, NaN where it is absent."""
    side = levels.combine_chunks()
    count = np.diff(side.offsets.to_numpy())
    best = np.full(len(side), np.nan)
    best[count > 0] = side.values.to_numpy()[side.offsets.to_numpy()[:-1][count > 0]]
    return best


def _headline(losses: Floats, market: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    if len(losses) == 0:
        return float("nan")
    means = np.bincount(market, weights=losses) / np.bincount(market)
    return float(means.mean())
