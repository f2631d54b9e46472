"""What a model *is*: the arithmetic that turns a feature row into a probability.

Shared by the trainer (which fits the numbers and scores them) and the predictor (which serves
them), so that a forecast in a walk-forward and a forecast on the stream are one formula. A model is
a ladder anchored on the market: rung 0 is the market's mid (fair value where the book lacks a
side), rung 1 an anchored logistic, rung 2 LightGBM on the residual, then a calibration map, then a
bound on the distance to the mid. Evidence for each choice: docs/model.md.

The scalar functions of `math` are used even where a vector form exists: numpy's `log` and `exp`
differ from them in the last bit and with the CPU, and replay promises equal bytes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, log
from typing import Literal, NamedTuple

import msgspec

PROBABILITY_CLIP = 0.001
"""Logits are of probabilities in [0.001, 0.999]: 1,850 of 56k Kalshi rows have a mid of 0 or 1."""

GAP_CLIP_S = 1.0
"""Time left enters as log(time / 60 s), floored at 1 s: below it a 1 Hz index has no news."""

DISTANCE_MAX = 0.10
"""Default bound on |p - mid|: a model further from the market is more likely wrong than right, and
the sequential gate's power comes from a small bound."""

Rung = Literal["identity", "anchored", "residual"]
CalibrationKind = Literal["identity", "slope", "slope_intercept", "isotonic"]


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """Coefficients of rung 1: z = a + L + b0 L + (F - L)(b1 + b2 log(time left / 60 s)).

    L is the market's logit, F fair value's. `series` maps a series to its own (b0, b1, b2)
    deviations, shrunk to the pooled fit. Intercept 0 below 2,000 windows.
    """

    intercept: float = 0.0
    market: float = 0.0
    gap: float = 0.0
    gap_log_time: float = 0.0
    series: dict[str, tuple[float, float, float]] = {}


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Map from raw to calibrated probability; knots (isotonic only) are non-decreasing in both."""

    kind: CalibrationKind = "identity"
    slope: float = 1.0
    intercept: float = 0.0
    knots_x: tuple[float, ...] = ()
    knots_y: tuple[float, ...] = ()


class Formula(msgspec.Struct, frozen=True, kw_only=True):
    """All of a model but its trees; the default is the base model (rung 0)."""

    rung: Rung = "identity"
    anchor: Anchor = Anchor()
    calibration: Calibration = Calibration()
    distance_max: float = DISTANCE_MAX


class Probability(NamedTuple):
    """What one row gets: before calibration and bound, after, and the base model's."""

    p_raw: float
    p: float
    base_p: float


def forecast(
    formula: Formula,
    series: str,
    *,
    mid: float | None,
    fair_value: float | None,
    time_left_s: float,
    residual: float = 0.0,
) -> Probability | None:
    """Return the forecast of one row, or None where neither a mid nor a fair value exists.

    `residual` is the raw score of the trees for this row (rung "residual" only). Without a
    two-sided quote the forecast is the fair value itself: no rung, no map, no bound.

    >>> forecast(Formula(), "KXBTC15M", mid=0.25, fair_value=None, time_left_s=60.0)
    Probability(p_raw=0.25, p=0.25, base_p=0.25)
    """
    if mid is None:
        if fair_value is None:
            return None
        return Probability(fair_value, fair_value, fair_value)
    if formula.rung == "identity":
        p_raw = mid
    else:
        z = anchored_logit(
            formula.anchor, series, mid=mid, fair_value=fair_value, time_left_s=time_left_s
        )
        p_raw = sigmoid(z + residual)
    p = calibrate(formula.calibration, p_raw)
    return Probability(p_raw, bound(p, mid=mid, distance_max=formula.distance_max), mid)


def logit(probability: float) -> float:
    """Return log(p / (1 - p)) of `probability` clipped to [0.001, 0.999].

    >>> logit(0.5)
    0.0
    """
    p = min(max(probability, PROBABILITY_CLIP), 1.0 - PROBABILITY_CLIP)
    return log(p / (1.0 - p))


def sigmoid(z: float) -> float:
    """Return 1 / (1 + exp(-z)) without overflow.

    >>> sigmoid(0.0)
    0.5
    """
    if z >= 0:
        return 1.0 / (1.0 + exp(-z))
    e = exp(z)
    return e / (1.0 + e)


def anchored_logit(
    anchor: Anchor, series: str, *, mid: float, fair_value: float | None, time_left_s: float
) -> float:
    """Return rung 1's logit for a two-sided row; without fair value the (F - L) term is 0.

    >>> anchored_logit(Anchor(), "KXBTC15M", mid=0.5, fair_value=0.9, time_left_s=60.0)
    0.0
    """
    own = anchor.series.get(series, (0.0, 0.0, 0.0))
    market = logit(mid)
    z = anchor.intercept + market + (anchor.market + own[0]) * market
    if fair_value is not None:
        weight = (anchor.gap + own[1]) + (anchor.gap_log_time + own[2]) * log(
            max(time_left_s, GAP_CLIP_S) / 60.0
        )
        z += (logit(fair_value) - market) * weight
    return z


def calibrate(calibration: Calibration, probability: float) -> float:
    """Apply `calibration` to a raw `probability`."""
    if calibration.kind == "identity":
        return probability
    if calibration.kind == "isotonic":
        return _interpolate(calibration.knots_x, calibration.knots_y, probability)
    return sigmoid(calibration.intercept + calibration.slope * logit(probability))


def _interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Interpolate linearly, flat outside; bisect is 4x faster than numpy for one value."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    i = bisect_right(xs, x)
    x0, x1, y0, y1 = xs[i - 1], xs[i], ys[i - 1], ys[i]
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0)) if x1 > x0 else y1


def bound(probability: float, *, mid: float, distance_max: float) -> float:
    """Keep `probability` within `distance_max` of the market's `mid`, and within [0, 1].

    >>> bound(0.9, mid=0.5, distance_max=0.25)
    0.75
    """
    near = min(max(probability, mid - distance_max), mid + distance_max)
    return min(max(near, 0.0), 1.0)
