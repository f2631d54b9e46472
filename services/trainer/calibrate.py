"""The calibration map: fitted on forecasts made ahead of their outcomes, no finer than earned.

In go raw probabilities that were out of fold and forward-chained, with weights in windows; out
comes a `Calibration`: identity below 500 windows, a slope from 500, slope and intercept from 2,000,
isotonic from 5,000. The windows that count are those the map is fitted on, not those of the train
set. One map for all times left: per bucket an isotonic map has too few windows to hold its shape.

Isotonic steps end at exactly 0 and 1; one wrong 0 makes log loss infinite. Half a count of the
*windows* is the finest claim that n windows allow (rows of a window are one outcome).
"""

import numpy as np

from libs.common.checks import check
from libs.common.model import Calibration, CalibrationKind
from libs.common.scoring import FloatArray
from services.trainer.fit import sigmoids

SLOPE_WINDOWS_MIN = 500
INTERCEPT_WINDOWS_MIN = 2_000
ISOTONIC_WINDOWS_MIN = 5_000
"""Below, the null 10-bin calibration error (0.044 at 500, 0.014 at 5,000) exceeds what a finer map
could repair."""

RIDGE_WINDOWS = 10.0
"""Pull of slope and intercept towards (1, 0), in windows."""

_NEWTON_STEPS = 40


def kind_for(windows: int) -> CalibrationKind:
    """Return the finest map that `windows` windows earn.

    >>> [kind_for(n) for n in (499, 500, 2_000, 5_000)]
    ['identity', 'slope', 'slope_intercept', 'isotonic']
    """
    if windows < SLOPE_WINDOWS_MIN:
        return "identity"
    if windows < INTERCEPT_WINDOWS_MIN:
        return "slope"
    return "slope_intercept" if windows < ISOTONIC_WINDOWS_MIN else "isotonic"


def fit_calibration(
    p_raw: FloatArray, y: FloatArray, *, logits: FloatArray, weight: FloatArray, windows: int
) -> Calibration:
    """Fit the map that `windows` windows earn; `logits` are of `p_raw`, clipped as served."""
    kind = kind_for(windows)
    if kind == "identity":
        return Calibration()
    if kind == "isotonic" and (steps := _isotonic(p_raw, y, weight, windows)) is not None:
        return steps
    slope, intercept = _line(logits, y, weight, with_intercept=kind != "slope")
    if slope <= 0.0:
        return Calibration()  # a line that falls tells nothing, and a predictor refuses it
    kind = "slope" if kind == "slope" else "slope_intercept"
    return Calibration(kind=kind, slope=slope, intercept=intercept)


def _line(
    x: FloatArray, y: FloatArray, weight: FloatArray, *, with_intercept: bool
) -> tuple[float, float]:
    """Return slope and intercept by ridged Newton from (1, 0)."""
    slope, intercept = 1.0, 0.0
    for _ in range(_NEWTON_STEPS):
        p = sigmoids(intercept + slope * x)
        slack, curvature = weight * (p - y), weight * p * (1.0 - p)
        g = np.array([slack.sum() + RIDGE_WINDOWS * intercept, (slack * x).sum()])
        g[1] += RIDGE_WINDOWS * (slope - 1.0)
        cross = (curvature * x).sum()
        h = np.array([[curvature.sum(), cross], [cross, (curvature * x * x).sum()]])
        h += RIDGE_WINDOWS * np.eye(2)
        if not with_intercept:
            g[0], h[0, 1], h[1, 0] = 0.0, 0.0, 0.0
        step = np.linalg.solve(h, g)
        intercept, slope = intercept - float(step[0]), slope - float(step[1])
        if float(np.abs(step).max()) < 1e-10:
            break
    return slope, intercept


def _isotonic(
    p_raw: FloatArray, y: FloatArray, weight: FloatArray, windows: int
) -> Calibration | None:
    """Return the isotonic map as knots: x strictly rising, y never falling, never 0 or 1.

    None where it is constant: a map that tells nothing is no map (and a predictor refuses it).
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(p_raw, y, sample_weight=weight)
    finest = 0.5 / windows
    xs = np.asarray(fitted.X_thresholds_, np.float64)
    ys = np.clip(np.asarray(fitted.y_thresholds_, np.float64), finest, 1.0 - finest)
    rising = np.concatenate(([True], np.diff(xs) > 0))
    xs, ys = xs[rising], np.maximum.accumulate(ys[rising])
    check(bool(np.isfinite(xs).all() and np.isfinite(ys).all()), "isotonic knots are finite")
    if len(xs) < 2 or not ys[0] < ys[-1]:
        return None
    return Calibration(kind="isotonic", knots_x=tuple(xs.tolist()), knots_y=tuple(ys.tolist()))
