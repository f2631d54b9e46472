"""A map is no finer than its windows allow, never falls, never says 0 or 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.model import Calibration, calibrate, logit
from services.trainer.calibrate import fit_calibration, kind_for


def _fit(p, y, windows, weight=None):
    logits = np.array([logit(v) for v in p.tolist()])
    weight = np.full(len(p), windows / len(p)) if weight is None else weight
    return fit_calibration(p, y, logits=logits, weight=weight, windows=windows)


def _distorted(n, slope, intercept, seed=1):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.98, n)
    z = intercept + slope * np.log(p / (1 - p))
    return p, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)


@pytest.mark.parametrize(
    ("windows", "kind"),
    [(0, "identity"), (499, "identity"), (500, "slope"), (1_999, "slope"),
     (2_000, "slope_intercept"), (4_999, "slope_intercept"), (5_000, "isotonic")],
)  # fmt: skip
def test_the_kind_follows_the_windows(windows, kind):
    assert kind_for(windows) == kind


def test_few_windows_leave_the_forecast_alone():
    assert _fit(*_distorted(400, 0.5, 0.5), 400) == Calibration()


def test_a_planted_slope_is_found_without_an_intercept():
    found = _fit(*_distorted(1_900, 0.6, 0.0), 1_900)
    assert found.slope == pytest.approx(0.6, abs=0.1)
    assert found.intercept == 0.0


def test_slope_and_intercept_are_found():
    found = _fit(*_distorted(4_900, 0.7, 0.4), 4_900)
    assert (found.slope, found.intercept) == pytest.approx((0.7, 0.4), abs=0.1)


def test_the_isotonic_map_repairs_a_bend_that_no_line_can():
    rng = np.random.default_rng(3)
    p = rng.uniform(0, 1, 20_000)
    truth = np.where(p < 0.5, 0.3, 0.8)
    y = (rng.random(20_000) < truth).astype(float)
    found = _fit(p, y, 20_000)
    assert calibrate(found, 0.2) == pytest.approx(0.3, abs=0.05)
    assert calibrate(found, 0.9) == pytest.approx(0.8, abs=0.05)


@given(st.integers(0, 200))
def test_isotonic_knots_rise_and_stay_off_0_and_1(seed):
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(0.3, 0.3, 5_000), 2)  # heaps, and many at 0 and 1
    y = (rng.random(5_000) < p).astype(float)
    found = _fit(p, y, 5_000)
    x, v = np.array(found.knots_x), np.array(found.knots_y)
    assert (np.diff(x) > 0).all()
    assert (np.diff(v) >= 0).all()
    assert v.min() >= 0.5 / 5_000
    assert v.max() <= 1 - 0.5 / 5_000


def test_the_served_map_equals_the_fitted_one():
    from sklearn.isotonic import IsotonicRegression

    p, y = _distorted(6_000, 1.4, 0.0)
    found = _fit(p, y, 6_000)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    ahead = np.linspace(0, 1, 501)
    served = np.array([calibrate(found, v) for v in ahead.tolist()])
    assert served == pytest.approx(np.clip(theirs.predict(ahead), 0.5 / 6_000, 1 - 0.5 / 6_000))


def test_outcomes_that_contradict_the_forecast_give_no_map():
    p = np.linspace(0.1, 0.9, 6_000)
    assert _fit(p, (p < 0.5).astype(float), 6_000) == Calibration()


def test_windows_and_not_rows_set_the_finest_claim():
    p, y = np.repeat([0.0, 1.0], 50_000), np.repeat([0.0, 1.0], 50_000)
    found = _fit(p, y, 5_000)
    assert calibrate(found, 0.0) == 0.5 / 5_000


def test_rows_count_by_their_weight_in_windows():
    p = np.tile(np.linspace(0.1, 0.9, 100), 100)
    y = np.concatenate([p[:5_000] > 0.5, np.zeros(5_000)]).astype(float)
    weight = np.concatenate([np.full(5_000, 1.0), np.full(5_000, 1e-6)])
    assert calibrate(_fit(p, y, 5_000, weight), 0.9) > 0.99
