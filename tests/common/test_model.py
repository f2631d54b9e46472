"""The model formula: anchored on the market, bounded, total on every input it can meet."""

from math import isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.model import (
    Anchor,
    Calibration,
    Formula,
    anchored_logit,
    bound,
    calibrate,
    forecast,
    logit,
    sigmoid,
)

probabilities = st.floats(0.0, 1.0)
coefficients = st.floats(-5.0, 5.0)
formulas = st.builds(
    Formula,
    rung=st.sampled_from(["identity", "anchored", "residual"]),
    anchor=st.builds(
        Anchor,
        intercept=coefficients,
        market=coefficients,
        gap=coefficients,
        gap_log_time=coefficients,
        series=st.dictionaries(
            st.sampled_from(["A", "B"]), st.tuples(coefficients, coefficients, coefficients)
        ),
    ),
    calibration=st.one_of(
        st.just(Calibration()),
        st.builds(
            Calibration,
            kind=st.just("slope_intercept"),
            slope=st.floats(0.01, 5.0),
            intercept=coefficients,
        ),
        st.just(Calibration(kind="isotonic", knots_x=(0.1, 0.5, 0.9), knots_y=(0.05, 0.5, 0.95))),
    ),
    distance_max=st.floats(0.0, 1.0),
)


@given(
    formulas,
    st.sampled_from(["A", "C"]),
    st.none() | probabilities,
    st.none() | probabilities,
    st.floats(0.0, 1e7),
    st.floats(-1e3, 1e3),
)
def test_a_forecast_is_a_probability_near_the_market(
    formula: Formula,
    series: str,
    mid: float | None,
    fair_value: float | None,
    time_left_s: float,
    residual: float,
) -> None:
    made = forecast(
        formula,
        series,
        mid=mid,
        fair_value=fair_value,
        time_left_s=time_left_s,
        residual=residual,
    )
    if made is None:
        assert mid is None
        assert fair_value is None
        return
    assert all(isfinite(p) and 0.0 <= p <= 1.0 for p in made)
    if mid is None:
        assert made == (fair_value, fair_value, fair_value)
    else:
        assert made.base_p == mid
        assert abs(made.p - mid) <= formula.distance_max + 1e-15


@given(probabilities, st.none() | probabilities, st.floats(0.0, 1e7))
def test_the_base_model_is_the_mid(mid: float, fair_value: float | None, left_s: float) -> None:
    made = forecast(Formula(), "X", mid=mid, fair_value=fair_value, time_left_s=left_s)
    assert made == (mid, mid, mid)


@given(st.floats(0.001, 0.999), st.none() | probabilities, st.floats(0.0, 1e7))
def test_zero_coefficients_give_back_the_market(
    mid: float, fair_value: float | None, left_s: float
) -> None:
    made = forecast(
        Formula(rung="anchored"), "X", mid=mid, fair_value=fair_value, time_left_s=left_s
    )
    assert made is not None
    assert made.p == pytest.approx(mid, abs=1e-12)


def test_full_weight_on_the_gap_gives_fair_value_at_one_minute() -> None:
    anchor = Anchor(gap=1.0, gap_log_time=0.5)
    z = anchored_logit(anchor, "X", mid=0.3, fair_value=0.6, time_left_s=60.0)
    assert sigmoid(z) == pytest.approx(0.6)


def test_a_series_deviates_from_the_pool_by_its_own_part() -> None:
    own = Anchor(market=0.1, series={"S": (0.2, 0.0, 0.0)})
    pooled = Anchor(market=0.30000000000000004)
    args = {"mid": 0.3, "fair_value": 0.6, "time_left_s": 60.0}
    assert anchored_logit(own, "S", **args) == anchored_logit(pooled, "S", **args)  # type: ignore[arg-type]
    assert anchored_logit(own, "T", **args) != anchored_logit(pooled, "T", **args)  # type: ignore[arg-type]


@given(probabilities)
def test_logit_and_sigmoid_undo_each_other_within_the_clip(p: float) -> None:
    assert sigmoid(logit(p)) == pytest.approx(min(max(p, 0.001), 0.999), rel=1e-12)


@given(st.floats(allow_nan=False))
def test_sigmoid_never_overflows(z: float) -> None:
    assert 0.0 <= sigmoid(z) <= 1.0


@given(
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=40, unique=True),
    st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40),
    probabilities,
)
def test_an_isotonic_map_is_numpys_interpolation_and_never_falls(
    xs: list[float], ys: list[float], p: float
) -> None:
    knots = (tuple(sorted(xs)), tuple(sorted(ys[: len(xs)])))
    calibration = Calibration(kind="isotonic", knots_x=knots[0], knots_y=knots[1])
    found = calibrate(calibration, p)
    assert found == pytest.approx(float(np.interp(p, *knots)), abs=1e-9)
    assert knots[1][0] <= found <= knots[1][-1]
    assert calibrate(calibration, min(1.0, p + 0.01)) >= found - 1e-12


def test_a_map_returns_its_knots_exactly() -> None:
    calibration = Calibration(kind="isotonic", knots_x=(0.1, 0.2, 0.9), knots_y=(0.0, 0.3, 1.0))
    assert [calibrate(calibration, x) for x in (0.0, 0.1, 0.2, 0.9, 1.0)] == [0, 0, 0.3, 1, 1]


@given(probabilities, probabilities, st.floats(0.0, 1.0))
def test_the_bound_holds_on_both_sides(p: float, mid: float, distance: float) -> None:
    near = bound(p, mid=mid, distance_max=distance)
    assert 0.0 <= near <= 1.0
    assert abs(near - mid) <= distance + 1e-15
    if abs(p - mid) < distance:
        assert near == p
