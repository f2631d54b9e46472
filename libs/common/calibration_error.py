"""Whether probabilities mean what they say: reliability, Murphy's parts, Cox, calibration error.

Rows carry weights in units of windows (all rows of a window sum to 1), so a market recorded every
second counts no more than one recorded every minute. The decision a reader would question: the
usual expected calibration error (ECE) is *not* the headline. A perfectly calibrated forecaster has
a 10-bin ECE of 0.126 / 0.101 / 0.044 / 0.014 at 60 / 100 / 500 / 5,000 windows, so it measures the
sample size. `calibration_error` subtracts each bin's own variance over blocks and is 0 in
expectation of its square for a perfect forecaster; raw ECE is printed with its simulated null.
"""

from typing import NamedTuple

import numpy as np

from libs.common.model import PROBABILITY_CLIP
from libs.common.scoring import FloatArray, IntArray

BINS = 10
"""Bins of equal weight: fewer hide a bend, more have too few windows each."""

NULL_SIMULATIONS = 100
"""Simulated outcomes behind the null mean of the ECE: its error is then about 3 % of it."""

NOISE_SIMULATIONS = 100
NOISE_QUANTILE = 0.95
"""At 72 hours of 36 windows a perfect forecaster shows 0.024 this often, at 300 hours 0.012."""

_NEWTON_STEPS = 50


class Bin(NamedTuple):
    """One bin of a reliability picture; `error` is the block standard error of its gap."""

    p_low: float
    p_high: float
    weight: float
    p_mean: float
    y_mean: float
    error: float


class Murphy(NamedTuple):
    """Brier = reliability - resolution + uncertainty, over the bins (Murphy 1973).

    `within` is what bins of unequal p add: Brier minus the three others.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


class Cox(NamedTuple):
    """Calibration line logit P(y) = intercept + slope logit(p) (Cox 1958); perfect is (0, 1)."""

    intercept: float
    slope: float


def equal_mass_bins(p: FloatArray, weight: FloatArray, *, bins: int = BINS) -> IntArray:
    """Return the bin of each row, bins of equal weight in order of p; equal p share a bin.

    >>> equal_mass_bins(np.array([0.4, 0.1, 0.3, 0.2]), np.ones(4), bins=2).tolist()
    [1, 0, 1, 0]
    """
    values, codes = np.unique(p, return_inverse=True)
    mass = np.bincount(codes, weight, len(values))
    # The middle of a value's mass decides, so that a heap at one price is not pushed upwards.
    middle = np.cumsum(mass) - mass / 2.0
    of_value = np.minimum((middle * bins / mass.sum()).astype(np.int64), bins - 1)
    rows: IntArray = of_value[codes]
    return rows


def reliability_bins(
    p: FloatArray, y: FloatArray, *, weight: FloatArray, block: IntArray, bins: int = BINS
) -> tuple[Bin, ...]:
    """Return mean forecast and outcome rate per equal-mass bin, empty bins left out.

    >>> p, y = np.array([0.2, 0.2, 0.8, 0.8]), np.array([0.0, 1.0, 1.0, 1.0])
    >>> [b[2:5] for b in reliability_bins(p, y, weight=np.ones(4), block=np.arange(4), bins=2)]
    [(2.0, 0.2, 0.5), (2.0, 0.8, 1.0)]
    """
    if len(p) == 0:
        return ()
    found = []
    which = equal_mass_bins(p, weight, bins=bins)
    for b in range(bins):
        rows = which == b
        if not rows.any():
            continue
        mass = float(weight[rows].sum())
        p_mean = float((weight[rows] * p[rows]).sum()) / mass
        y_mean = float((weight[rows] * y[rows]).sum()) / mass
        error = _gap_error(y[rows] - p[rows], weight[rows], block[rows])
        found.append(Bin(float(p[rows].min()), float(p[rows].max()), mass, p_mean, y_mean, error))
    return tuple(found)


def calibration_error(
    p: FloatArray, y: FloatArray, *, weight: FloatArray, block: IntArray, bins: int = BINS
) -> float:
    """Return sqrt(max(0, debiased squared error)): how far off p is beyond chance; NaN if empty.

    A bin seen in one block only says nothing about its own variance and counts as no error.

    >>> p = np.tile((0.2, 0.8), 500)
    >>> y = np.tile((0, 0, 0, 1, 0, 1, 0, 1, 1, 1), 100).astype(float)
    >>> w, b = np.ones(1000), np.arange(1000) // 10
    >>> calibration_error(p, y, weight=w, block=b), calibration_error(p, p, weight=w, block=b)
    (0.0, 0.0)
    >>> round(calibration_error(p * 0.5, y, weight=w, block=b), 3)
    0.292
    """
    found = reliability_bins(p, y, weight=weight, block=block, bins=bins)
    if not found:
        return float("nan")
    total = sum(b.weight for b in found)
    squared = sum(
        b.weight / total * ((b.y_mean - b.p_mean) ** 2 - b.error**2)
        for b in found
        if not np.isnan(b.error)
    )
    return float(np.sqrt(max(0.0, squared)))


def expected_calibration_error(
    p: FloatArray, y: FloatArray, *, weight: FloatArray, bins: int = BINS
) -> float:
    """Return the raw ECE: weighted mean |outcome rate - mean forecast| over equal-mass bins.

    >>> expected_calibration_error(np.array([0.5, 0.5]), np.array([1.0, 0.0]), weight=np.ones(2))
    0.0
    """
    if len(p) == 0:
        return float("nan")
    which = equal_mass_bins(p, weight, bins=bins)
    gaps = np.bincount(which, weight * (y - p), bins)
    return float(np.abs(gaps).sum() / weight.sum())


def null_calibration_error(
    p: FloatArray,
    *,
    weight: FloatArray,
    window: IntArray,
    rng: np.random.Generator,
    simulations: int = NULL_SIMULATIONS,
) -> float:
    """Return the mean raw ECE that a perfectly calibrated forecaster would have on these p.

    One uniform number per window decides all its rows (y = u < p), so each row is right at its own
    rate and a window stays one outcome.

    >>> p = np.full(100, 0.5)
    >>> rng = np.random.default_rng(1)
    >>> x = null_calibration_error(p, weight=np.ones(100), window=np.arange(100), rng=rng)
    >>> 0.03 < x < 0.05
    True
    """
    if len(p) == 0:
        return float("nan")
    which = equal_mass_bins(p, weight)
    windows, codes = np.unique(window, return_inverse=True)
    total = 0.0
    for _ in range(simulations):
        y = rng.random(len(windows))[codes] < p
        total += float(np.abs(np.bincount(which, weight * (y - p), BINS)).sum())
    return total / simulations / float(weight.sum())


def calibration_noise(
    p: FloatArray,
    *,
    weight: FloatArray,
    window: IntArray,
    block: IntArray,
    rng: np.random.Generator,
) -> float:
    """Return what `calibration_error` chance alone gives a perfect forecaster 1 time in 20.

    Outcomes as in `null_calibration_error`: one uniform number per window decides all its rows.

    >>> p, codes = np.full(400, 0.5), np.arange(400)
    >>> rng = np.random.default_rng(1)
    >>> x = calibration_noise(p, weight=np.ones(400), window=codes, block=codes // 10, rng=rng)
    >>> 0.0 < x < 0.1
    True
    """
    if len(p) == 0:
        return float("nan")
    # Bins and blocks do not depend on the outcomes: numbered once, a simulation is one count.
    which = equal_mass_bins(p, weight)
    blocks, of_block = np.unique(block, return_inverse=True)
    cell = which * len(blocks) + of_block
    shape, cells = (BINS, len(blocks)), BINS * len(blocks)
    mass = np.bincount(cell, weight, cells).reshape(shape).astype(np.float64)
    expected = np.bincount(cell, weight * p, cells).reshape(shape).astype(np.float64)
    windows, codes = np.unique(window, return_inverse=True)
    found = []
    for _ in range(NOISE_SIMULATIONS):
        y = rng.random(len(windows))[codes] < p
        came = np.bincount(cell, weight * y, cells).reshape(shape).astype(np.float64)
        found.append(_error_of_cells(mass, came - expected))
    return float(np.quantile(found, NOISE_QUANTILE))


def murphy(p: FloatArray, y: FloatArray, *, weight: FloatArray, bins: int = BINS) -> Murphy:
    """Split the weighted Brier score into Murphy's parts.

    >>> p, y = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    >>> murphy(p, y, weight=np.ones(4))
    Murphy(reliability=0.0, resolution=0.25, uncertainty=0.25, within=0.0)
    """
    if len(p) == 0:
        return Murphy(*[float("nan")] * 4)
    which = equal_mass_bins(p, weight, bins=bins)
    total = weight.sum()
    mass = np.bincount(which, weight, bins)
    held = mass > 0
    p_mean = np.bincount(which, weight * p, bins)[held] / mass[held]
    y_mean = np.bincount(which, weight * y, bins)[held] / mass[held]
    base = float((weight * y).sum() / total)
    share = mass[held] / total
    reliability = float((share * (p_mean - y_mean) ** 2).sum())
    resolution = float((share * (y_mean - base) ** 2).sum())
    uncertainty = base * (1.0 - base)
    brier = float((weight * (p - y) ** 2).sum() / total)
    within = brier - (reliability - resolution + uncertainty)
    return Murphy(reliability, resolution, uncertainty, within)


def cox(p: FloatArray, y: FloatArray, *, weight: FloatArray) -> Cox:
    """Fit Cox's calibration line by Newton; NaN where it has no finite answer (perfect split).

    >>> p = np.repeat((0.2, 0.8), 10)
    >>> y = np.concatenate((np.repeat((1.0, 0.0), (2, 8)), np.repeat((1.0, 0.0), (8, 2))))
    >>> [abs(round(v, 6)) for v in cox(p, y, weight=np.ones(20))]
    [0.0, 1.0]
    """
    clipped = np.clip(p, PROBABILITY_CLIP, 1.0 - PROBABILITY_CLIP)
    x = np.log(clipped / (1.0 - clipped))
    a, b = 0.0, 1.0
    for _ in range(_NEWTON_STEPS):
        fitted = 1.0 / (1.0 + np.exp(-np.clip(a + b * x, -30.0, 30.0)))
        slack, hessian = weight * (y - fitted), weight * fitted * (1.0 - fitted)
        h0, h1, h2 = hessian.sum(), (hessian * x).sum(), (hessian * x * x).sum()
        g0, g1 = slack.sum(), (slack * x).sum()
        determinant = h0 * h2 - h1 * h1
        if not determinant > 1e-12 * max(h0 * h2, 1e-300):
            break
        step = ((h2 * g0 - h1 * g1) / determinant, (h0 * g1 - h1 * g0) / determinant)
        a, b = a + float(step[0]), b + float(step[1])
        if max(abs(a), abs(b)) > 100.0:
            break
        if max(abs(step[0]), abs(step[1])) < 1e-9:
            return Cox(a, b)
    return Cox(float("nan"), float("nan"))


def _gap_error(gap: FloatArray, weight: FloatArray, block: IntArray) -> float:
    """Return the standard error over blocks of the weighted mean gap; NaN below two blocks."""
    blocks, codes = np.unique(block, return_inverse=True)
    n = len(blocks)
    if n < 2:
        return float("nan")
    mass = np.bincount(codes, weight, n)
    sums = np.bincount(codes, weight * gap, n)
    total = mass.sum()
    deviation = sums - mass * (sums.sum() / total)
    return float(np.sqrt(n / (n - 1) * (deviation**2).sum()) / total)


def _error_of_cells(mass: FloatArray, gaps: FloatArray) -> float:
    """Return `calibration_error` from weights and weighted gaps, both (bins, blocks)."""
    whole = float(mass.sum())
    blocks = (mass > 0).sum(axis=1)
    told = blocks >= 2
    mass, gaps, blocks = mass[told], gaps[told], blocks[told]
    weight = mass.sum(axis=1)
    mean = gaps.sum(axis=1) / weight
    deviation = gaps - mass * mean[:, None]
    variance = blocks / (blocks - 1) * (deviation**2).sum(axis=1) / weight**2
    squared = float((weight * (mean**2 - variance)).sum()) / whole
    return float(np.sqrt(max(0.0, squared)))
