"""Rung 1: the anchored logistic, fitted by Newton with a ridge towards the market.

z = L + b0 L + (F - L)(b1 + b2 log(time left / 60 s)), L the market's logit and F fair value's: all
b zero is the market itself. The ridge is in units of windows (a window's rows weigh 1 together), so
a penalty of 10 is worth ten windows saying "the market is right". Series may deviate from the
pooled fit, at a higher price.

A reader may miss BLAS: sums run over one column at a time, because a threaded product splits its
sums by the number of cores and the same archive must make the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from libs.common.model import Anchor
from libs.common.scoring import FloatArray, distinct, log_loss
from services.trainer.dataset import Dataset
from services.trainer.splits import Fold

PENALTIES = (10.0, 30.0, 100.0)
"""Ridges to choose from, in windows; without one, a + bL lost 0.003-0.007 Brier to the market."""

INTERCEPT_WINDOWS_MIN = 2_000
"""No free intercept below: a few days of drift in one direction look like a bias of the market."""

SERIES_WINDOWS_MIN = 500
"""A series deviates from the pooled fit only with this many windows of its own."""

SERIES_PENALTY_RATIO = 3.0
"""Deviations cost three times the pooled ridge: most of what a series shows alone is chance."""

_NEWTON_STEPS = 40
_STEP_MIN = 1e-6
"""Newton squares its error: after a step this small the next would change the 12th digit."""


@dataclass(frozen=True)
class _System:
    """Design of one fit, sorted by series: pooled columns, and the slice of each deviating one."""

    columns: tuple[FloatArray, ...]
    offset: FloatArray
    y: FloatArray
    weight: FloatArray
    slices: tuple[slice, ...]
    own: tuple[int, ...]

    @property
    def pooled(self) -> int:
        """Count the pooled coefficients: intercept (4) or none (3)."""
        return len(self.columns)

    @property
    def size(self) -> int:
        """Count all coefficients."""
        return self.pooled + 3 * len(self.own)


def fit_anchor(train: Dataset, *, penalty: float) -> Anchor:
    """Fit rung 1 on `train`; `penalty` in windows."""
    system = _system(train)
    return _anchor(train, system, _newton(system, penalty, np.zeros(system.size)))


def anchored_logits(anchor: Anchor, rows: Dataset) -> FloatArray:
    """Return rung 1's logit of each row, bit for bit as `libs.common.model.anchored_logit`."""
    own = np.array([anchor.series.get(name, (0.0, 0.0, 0.0)) for name in rows.series_names])
    deviation = own[rows.series]
    market = rows.market_logit
    z = anchor.intercept + market + (anchor.market + deviation[:, 0]) * market
    weight = (anchor.gap + deviation[:, 1]) + (
        anchor.gap_log_time + deviation[:, 2]
    ) * rows.log_time
    logits: FloatArray = np.where(np.isnan(rows.fair_value), z, z + rows.gap * weight)
    return logits


def choose_penalty(train: Dataset, folds: Sequence[Fold]) -> float:
    """Return the penalty with the least forward-chained log loss; the largest without folds."""
    if not folds:
        return max(PENALTIES)
    losses = dict.fromkeys(PENALTIES, 0.0)
    for fold in folds:
        inside, ahead = train.take(fold.train), train.take(fold.test)
        system = _system(inside)
        b = np.zeros(system.size)
        for penalty in PENALTIES:
            b = _newton(system, penalty, b)  # the next ridge's answer is near the last one's
            p = sigmoids(anchored_logits(_anchor(inside, system, b), ahead))
            losses[penalty] += float((ahead.weight * log_loss(p, ahead.y)).sum())
    # On a tie the stronger ridge: the market is the better guess.
    return min(reversed(PENALTIES), key=lambda penalty: losses[penalty])


def sigmoids(z: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-z)) by numpy: for fitting, never for a served forecast.

    >>> sigmoids(np.array([0.0, 800.0])).tolist()
    [0.5, 1.0]
    """
    probability: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(z, -700.0, 700.0)))
    return probability


def _deviating_series(train: Dataset) -> tuple[int, ...]:
    if len(train.series_names) < 2:
        return ()
    windows = [
        distinct(train.window[train.series == code]) for code in range(len(train.series_names))
    ]
    # A single series with rows *is* the pooled fit; a deviation from itself means nothing.
    if sum(n > 0 for n in windows) < 2:
        return ()
    return tuple(code for code, n in enumerate(windows) if n >= SERIES_WINDOWS_MIN)


def _system(train: Dataset) -> _System:
    rows = np.argsort(train.series, kind="stable") if len(train.series_names) > 1 else slice(None)
    series = train.series[rows]
    market, gap = train.market_logit[rows], train.gap[rows]
    columns: tuple[FloatArray, ...] = (market, gap, gap * train.log_time[rows])
    if train.windows() >= INTERCEPT_WINDOWS_MIN:
        columns = (np.ones(len(market)), *columns)
    edges = np.searchsorted(series, np.arange(len(train.series_names) + 1))
    return _System(
        columns=columns,
        offset=market,
        y=train.y[rows],
        weight=train.weight[rows],
        slices=tuple(slice(int(a), int(b)) for a, b in pairwise(edges)),
        own=_deviating_series(train),
    )


def _anchor(train: Dataset, system: _System, b: FloatArray) -> Anchor:
    shared = b[: system.pooled].tolist()
    intercept, market, gap, gap_log_time = shared if system.pooled == 4 else [0.0, *shared]
    own = b[system.pooled :].reshape(-1, 3).tolist()
    series = {
        train.series_names[code]: (v[0], v[1], v[2])
        for code, v in zip(system.own, own, strict=True)
    }
    return Anchor(
        intercept=intercept, market=market, gap=gap, gap_log_time=gap_log_time, series=series
    )


def _newton(system: _System, penalty: float, start: FloatArray) -> FloatArray:
    """Minimise weighted log loss + ridge / 2 |b|^2: strictly convex, so Newton with halving."""
    ridge = np.full(system.size, penalty)
    ridge[system.pooled :] *= SERIES_PENALTY_RATIO
    b, z = start, _logits(system, start)
    loss = _loss(system, z) + float((ridge * b * b).sum()) / 2.0
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = _derivatives(system, z)
        step = np.linalg.solve(hessian + np.diag(ridge), gradient + ridge * b)
        for _ in range(_NEWTON_STEPS):
            tried = b - step
            z_tried = _logits(system, tried)
            loss_tried = _loss(system, z_tried) + float((ridge * tried * tried).sum()) / 2.0
            if loss_tried <= loss:
                break
            step = step / 2.0
        else:
            return b
        b, z, loss = tried, z_tried, loss_tried
        if float(np.abs(step).max()) < _STEP_MIN:
            break
    return b


def _logits(system: _System, b: FloatArray) -> FloatArray:
    z = system.offset.copy()
    for column, value in zip(system.columns, b[: system.pooled], strict=True):
        z += value * column
    for number, code in enumerate(system.own):
        rows = system.slices[code]
        for j in range(3):
            value = b[system.pooled + 3 * number + j]
            z[rows] += value * system.columns[system.pooled - 3 + j][rows]
    return z


def _loss(system: _System, z: FloatArray) -> float:
    losses = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - system.y * z
    return float((system.weight * losses).sum())


def _derivatives(system: _System, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return gradient and Hessian of the loss: pooled sums are the sums of each series' own."""
    p = sigmoids(z)
    slack, curvature = system.weight * (p - system.y), system.weight * p * (1.0 - p)
    k = system.pooled
    gradient, hessian = np.zeros(system.size), np.zeros((system.size, system.size))
    for code, rows in enumerate(system.slices):
        if rows.start == rows.stop:
            continue
        columns = [column[rows] for column in system.columns]
        g = np.array([(slack[rows] * x).sum() for x in columns])
        h = np.empty((k, k))
        for i in range(k):
            bent = curvature[rows] * columns[i]
            for j in range(i + 1):
                h[i, j] = h[j, i] = (bent * columns[j]).sum()
        gradient[:k] += g
        hessian[:k, :k] += h
        if code in system.own:
            at = k + 3 * system.own.index(code)
            own = slice(at, at + 3)
            gradient[own] += g[k - 3 :]
            hessian[own, own] += h[k - 3 :, k - 3 :]
            hessian[:k, own] += h[:, k - 3 :]
            hessian[own, :k] += h[k - 3 :, :]
    return gradient, hessian
