"""What the trainer learns from: rows as arrays, their units of evidence and their weights.

`assemble` makes a `Dataset` from the archive's tables. Its rows are usable, two-sided, labelled and
inside their market's life, in order of time. Codes name the units of evidence: window =
(underlying, close), block = clock hour of close - 1 ns, market.

A reader may question the weights. One window is one independent outcome, so the rows of a window
weigh 1 together: 1 / (rows of its market and time bucket x buckets present x strikes of its
window); a market covered for under 20 % of its life is scaled down pro rata, because a glimpse is
less evidence than a life. Long histories are thinned: rows seconds apart repeat each other, and
`mass` keeps the headline score a mean over *all* rows.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from libs.common.scoring import FloatArray, IntArray, distinct

ROWS_UNTHINNED_MAX = 200_000
"""Up to here every row is kept: it costs seconds, and small samples need no approximation."""

ROWS_PER_BUCKET_MAX = 8
"""Rows kept per market and time bucket of a longer history: about 40 a market, so that a year of
one 15-minute series (35,000 markets) is 1.4 million rows and trains in minutes."""

COVERAGE_SLOTS = 20
"""A life is cut into 20 slots; coverage is the share of slots with a row (a minute of an hour)."""

COVERAGE_MIN = 0.20
"""Below this coverage a market's weight shrinks in proportion (docs/model.md)."""


@dataclass(frozen=True)
class Dataset:
    """Arrays with one entry per row, in order of (ts_ns, as given).

    `features`: (n_rows, n_features) float64, NaN where missing, columns in `names` order.
    `market`, `window`, `block` are codes, `series` indexes `series_names`; `known_ns` is when the
    label was known (never before close); `gap` is fair-value logit minus market logit, 0 where fair
    value is missing; `mass` is how many recorded rows a row stands for.
    """

    names: tuple[str, ...]
    series_names: tuple[str, ...]
    feature_set: str
    embargo_ns: int
    features: FloatArray
    y: FloatArray
    mid: FloatArray
    fair_value: FloatArray
    time_left_s: FloatArray
    market_logit: FloatArray
    gap: FloatArray
    log_time: FloatArray
    ts_ns: IntArray
    known_ns: IntArray
    market: IntArray
    window: IntArray
    block: IntArray
    series: IntArray
    bucket: IntArray
    weight: FloatArray
    mass: FloatArray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> "Dataset":
        """Return the rows named by index, in that order; codes and weights stay as they are."""
        # Train and test rows are often one stretch of time: a view of it costs nothing.
        is_stretch = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        at = slice(int(rows[0]), int(rows[-1]) + 1) if is_stretch else rows
        arrays = {
            f.name: getattr(self, f.name)[at]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        return replace(self, **arrays)

    def without_features(self) -> "Dataset":
        """Return the same rows with no feature columns: cheap to take from."""
        return replace(self, features=np.empty((len(self), 0)))

    def windows(self) -> int:
        """Count windows."""
        return distinct(self.window)

    def blocks(self) -> int:
        """Count hour blocks."""
        return distinct(self.block)

    def markets(self) -> int:
        """Count markets."""
        return distinct(self.market)


def row_weights(
    market: IntArray, bucket: IntArray, *, window: IntArray, coverage: FloatArray
) -> FloatArray:
    """Return training weights; the rows of a fully covered window sum to 1.

    `coverage`: per row, the share of its market's life with rows.

    >>> market, bucket = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])
    >>> row_weights(market, bucket, window=np.zeros(4, int), coverage=np.ones(4)).tolist()
    [0.25, 0.125, 0.125, 0.5]
    """
    cell, rows_of = _count_of(market * 64 + bucket)
    first = np.unique(cell, return_index=True)[1]
    buckets = np.bincount(market[first], minlength=int(market.max()) + 1)[market]
    first = np.unique(market, return_index=True)[1]
    strikes = np.bincount(window[first], minlength=int(window.max()) + 1)[window]
    weight: FloatArray = np.minimum(coverage / COVERAGE_MIN, 1.0) / (rows_of * buckets * strikes)
    return weight


def thinned(market: IntArray, bucket: IntArray, *, rows_max: int) -> tuple[IntArray, FloatArray]:
    """Keep at most `rows_max` evenly spaced rows per market and bucket; return rows and masses.

    >>> rows, mass = thinned(np.zeros(5, int), np.array([0, 0, 0, 0, 1]), rows_max=2)
    >>> rows.tolist(), mass.tolist()
    ([1, 3, 4], [2.0, 2.0, 1.0])
    """
    cell, rows_of = _count_of(market * 64 + bucket)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], cell[order])
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - starts
    quota = np.minimum(rows_of, rows_max)
    rows = np.flatnonzero((rank + 1) * quota // rows_of > rank * quota // rows_of)
    return rows, (rows_of / quota)[rows]


def _count_of(keys: IntArray) -> tuple[IntArray, IntArray]:
    codes = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return codes, np.bincount(codes)[codes]
