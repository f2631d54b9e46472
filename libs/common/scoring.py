"""How good a forecast is: losses, the units they are averaged over, and honest intervals.

In go arrays with one entry per row; out come figures. A score is linear in the rows: each row has
a *share* (shares sum to 1), a score is the share-weighted sum of losses, and a unit (market, window
or block) is resampled whole by its sums. Two sets of shares are in use: `market_shares`, the
headline (mean over markets of the market's mean over rows), and `standardised_shares` (equal mean
over time-left buckets), which decides between models: a pooled score mostly measures how often a
recorder happened to sample late rows, where every forecast is good.

A reader may question the block: BTC and ETH windows of one hour correlate at 0.51, so intervals
that resample markets are too narrow, and the clock hour of `close - 1 ns` is the unit of evidence
(docs/model.md). Windows are (underlying, close): all strikes and venues of one are one outcome.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

HOUR_NS = 3_600_000_000_000

LOG_LOSS_CLIP = 1e-4
"""Log loss sees every p in [1e-4, 1 - 1e-4]; else one mid of 0 that wins costs infinity."""

RESAMPLES = 2_000
"""Bootstrap resamples: the 2.5 % quantile is then known to about 0.1 standard error."""

_CHUNK_DRAWS = 4_000_000
"""Draws held at once (32 MB), so that a year of markets does not need gigabytes."""

_SPAN_MAX = 4_000_000
"""Keys that span at most this much are numbered by counting."""

TIME_LEFT_BUCKETS_S: tuple[tuple[float, float], ...] = (
    (0.0, 30.0),
    (30.0, 60.0),
    (60.0, 120.0),
    (120.0, 300.0),
    (300.0, 900.0),
    (900.0, 3_600.0),
    (3_600.0, 604_800.0),
)
"""Time-left buckets (from_s, to_s]. 30 and 60 s: inside the settlement average; 300, 900 and 3,600:
lives of the series. The last ends at a week, longer than any market traded here."""


class Interval(NamedTuple):
    """An estimate and its 95 % bootstrap interval; NaN where there is nothing to resample."""

    estimate: float
    low: float
    high: float


def block_of(close_ns: IntArray) -> IntArray:
    """Return the hour block of each close: 5m, 15m and 1h windows nest in it.

    >>> block_of(np.array([HOUR_NS, HOUR_NS + 1])).tolist()
    [0, 1]
    """
    blocks: IntArray = (close_ns - 1) // HOUR_NS
    return blocks


def time_left_bucket(time_left_s: FloatArray) -> IntArray:
    """Return the index into TIME_LEFT_BUCKETS_S of each time left > 0.

    >>> time_left_bucket(np.array([0.5, 30.0, 30.5, 899.0])).tolist()
    [0, 0, 1, 4]
    """
    ends = np.array([end for _, end in TIME_LEFT_BUCKETS_S[:-1]])
    return np.searchsorted(ends, time_left_s, side="left").astype(np.int64)


def squared_error(p: FloatArray, y: FloatArray) -> FloatArray:
    """Return the Brier loss of each row.

    >>> squared_error(np.array([0.25]), np.array([1.0])).tolist()
    [0.5625]
    """
    return (p - y) ** 2


def log_loss(p: FloatArray, y: FloatArray) -> FloatArray:
    """Return the log loss of each row in nats, p clipped to [1e-4, 1 - 1e-4].

    >>> round(float(log_loss(np.array([0.0]), np.array([1.0]))[0]), 4)
    9.2103
    """
    clipped = np.clip(p, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    return -np.log(np.where(y > 0.5, clipped, 1.0 - clipped))


def market_shares(market: IntArray, mass: FloatArray | None = None) -> FloatArray:
    """Return each row's share in the mean over markets of the market's mean over rows.

    `mass` is how many recorded rows a row stands for (thinned rows; default 1).

    >>> market_shares(np.array([7, 7, 9])).tolist()
    [0.25, 0.25, 0.5]
    """
    mass = np.ones(len(market)) if mass is None else mass
    codes, n = _codes(market)
    return mass / (np.bincount(codes, mass, n)[codes] * max(n, 1))


def standardised_shares(
    market: IntArray, bucket: IntArray, mass: FloatArray | None = None
) -> FloatArray:
    """Return each row's share in the equal mean over buckets of the bucket's market mean.

    >>> standardised_shares(np.array([0, 0, 1]), np.array([0, 1, 1])).tolist()
    [0.5, 0.25, 0.25]
    """
    share = np.zeros(len(market))
    present = np.unique(bucket)
    for b in present:
        rows = np.flatnonzero(bucket == b)
        share[rows] = market_shares(market[rows], None if mass is None else mass[rows])
    return share / max(len(present), 1)


def window_weights(
    market: IntArray, window: IntArray, mass: FloatArray | None = None
) -> FloatArray:
    """Return weights for calibration: a window's rows sum to 1, its markets weigh alike.

    >>> window_weights(np.array([0, 0, 1, 2]), np.array([5, 5, 5, 6])).tolist()
    [0.25, 0.25, 0.5, 1.0]
    """
    mass = np.ones(len(market)) if mass is None else mass
    codes, n = _codes(market)
    first = np.unique(codes, return_index=True)[1]
    windows, m = _codes(window)
    markets = np.bincount(windows[first], minlength=m)[windows]
    weight: FloatArray = mass / (np.bincount(codes, mass, n)[codes] * markets)
    return weight


def distinct(keys: IntArray) -> int:
    """Count the distinct keys.

    >>> distinct(np.array([4, 4, 9]))
    2
    """
    return _codes(keys)[1]


def score(loss: FloatArray, share: FloatArray) -> float:
    """Return the share-weighted sum of a loss; NaN without rows.

    >>> score(np.array([0.1, 0.3]), np.array([0.5, 0.5]))
    0.2
    """
    return float((loss * share).sum()) if len(loss) else float("nan")


def market_mean(loss: FloatArray, market: IntArray) -> float:
    """Return the mean over markets of the market's mean over rows: the headline score.

    >>> market_mean(np.array([0.0, 1.0, 1.0]), np.array([0, 0, 1]))
    0.75
    """
    return score(loss, market_shares(market))


def unit_sums(
    values: FloatArray, share: FloatArray, unit: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return per unit (sorted) the sum of share x value, and of share.

    >>> [s.tolist() for s in unit_sums(np.ones(3), np.array([0.2, 0.3, 0.5]), np.array([4, 4, 9]))]
    [[0.5, 0.5], [0.5, 0.5]]
    """
    codes, n = _codes(unit)
    sums: FloatArray = np.bincount(codes, values * share, n).astype(np.float64)
    return sums, np.bincount(codes, share, n).astype(np.float64)


def standard_error(values: FloatArray, share: FloatArray, unit: IntArray) -> float:
    """Return the standard error of the score of `values` over whole units; NaN below two units.

    Linearised ratio estimator (Cochran, Sampling Techniques, 6.4): units differ in size.

    >>> standard_error(np.array([1.0, 3.0]), np.array([0.5, 0.5]), np.array([0, 1]))
    1.0
    """
    sums, shares = unit_sums(values, share, unit)
    n = len(sums)
    if n < 2:
        return float("nan")
    total = shares.sum()
    deviation = (sums - shares * (sums.sum() / total)) / total
    return float(np.sqrt(n / (n - 1) * (deviation**2).sum()))


def bootstrap(
    values: FloatArray,
    share: FloatArray,
    *,
    unit: IntArray,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the score of `values` with a 95 % percentile bootstrap over whole units.

    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=400)
    >>> i = bootstrap(x, np.full(400, 1 / 400), unit=np.arange(400), rng=rng)
    >>> i.low < i.estimate < i.high, 0.15 < i.high - i.low < 0.25
    (True, True)
    """
    return bootstraps([(values, share)], unit=unit, rng=rng, resamples=resamples)[0]


def bootstraps(
    scores: Sequence[tuple[FloatArray, FloatArray]],
    *,
    unit: IntArray,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[Interval, ...]:
    """Return several scores (values, share) with intervals from one set of resampled units.

    A share may be 0 outside a part of the rows: the score is then of that part. A resample that
    holds nothing of a part says nothing about it and is left out of its interval.
    """
    codes, n = _codes(unit)
    if n == 0:
        return (Interval(float("nan"), float("nan"), float("nan")),) * len(scores)
    top = np.array([np.bincount(codes, values * share, n) for values, share in scores]).T
    bottom = np.array([np.bincount(codes, share, n) for _, share in scores]).T
    both = np.concatenate([top, bottom], axis=1)
    # einsum, not @: BLAS splits a sum by its thread count, and figures must not depend on it.
    drawn = np.concatenate([np.einsum("rn,ns->rs", c, both) for c in _counts(n, rng, resamples)])
    found = []
    for number in range(len(scores)):
        held = drawn[:, len(scores) + number] > 0
        means = drawn[held, number] / drawn[held, len(scores) + number]
        low, high = np.quantile(means, (0.025, 0.975))
        estimate = top[:, number].sum() / bottom[:, number].sum()
        found.append(Interval(float(estimate), float(low), float(high)))
    return tuple(found)


def _codes(keys: IntArray) -> tuple[IntArray, int]:
    """Number the keys 0, 1, ... in sorted order; return the codes and how many there are."""
    if len(keys) == 0:
        return np.empty(0, np.int64), 0
    low = int(keys.min())
    span = int(keys.max()) - low + 1
    if span > _SPAN_MAX:
        unique, codes = np.unique(keys, return_inverse=True)
        return codes.astype(np.int64), len(unique)
    # Codes and hours lie close together: counting them is ten times faster than sorting rows.
    present = np.bincount(keys - low, minlength=span) > 0
    place = np.cumsum(present) - 1
    return place[keys - low], int(place[-1]) + 1


def _counts(n: int, rng: np.random.Generator, resamples: int) -> Iterator[FloatArray]:
    """Draw how often each of n units enters each resample, in chunks of (chunk, n)."""
    chunk = max(1, min(resamples, _CHUNK_DRAWS // n))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        # One bincount over offset indices is ten times faster than n conditional binomials each.
        small = np.uint16 if n <= 65_536 else np.int64  # short numbers are drawn faster
        drawn = rng.integers(0, n, size=(size, n), dtype=small) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        yield counts.astype(np.float64)
