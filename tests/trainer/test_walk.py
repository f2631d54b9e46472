"""What is learnt is chosen inside the train set, and what is scored is what is served."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.model import Anchor, Calibration, Formula, forecast
from services.trainer import trees
from services.trainer.assemble import assemble
from services.trainer.splits import walk_forward
from services.trainer.walk import Model, forecasts, learn, walk_fold
from tests.trainer.synthetic import Plan, tables

small = st.floats(-0.5, 0.5)
calibrations = st.one_of(
    st.just(Calibration()),
    st.builds(Calibration, kind=st.just("slope"), slope=st.floats(0.5, 2)),
    st.just(Calibration(kind="isotonic", knots_x=(0.2, 0.5, 0.9), knots_y=(0.1, 0.6, 0.8))),
)


def _text(data):
    rows = trees.TreeRows(data.features, data.y, data.weight, data.market_logit)
    return trees.fit_trees(
        trees.TreeFit(rows, data.names, settings=trees.TreeSettings(leaf_windows=5.0), trees=10)
    )


@pytest.fixture(scope="module")
def data():
    found = assemble(*tables(Plan(windows=80, series=("A", "B")))).dataset
    return replace(
        found, fair_value=np.where(np.arange(len(found)) % 4 == 0, np.nan, found.fair_value)
    )


@settings(max_examples=25)
@given(small, small, calibrations, st.sampled_from(["identity", "anchored", "residual"]))
def test_forecasts_are_the_served_ones_bit_for_bit(data, market, gap, calibration, rung):
    anchor = Anchor(intercept=0.1, market=market, gap=gap, series={"A": (0.1, 0.0, -0.1)})
    formula = Formula(rung=rung, anchor=anchor, calibration=calibration)
    text = _text(data) if rung == "residual" else None
    made = forecasts(Model(formula, text), data)
    residual = np.zeros(len(data)) if text is None else trees.raw_scores(text, data.features)
    for i in range(len(data)):
        fair_value = float(data.fair_value[i])
        served = forecast(
            formula,
            data.series_names[data.series[i]],
            mid=float(data.mid[i]),
            fair_value=None if np.isnan(fair_value) else fair_value,
            time_left_s=float(data.time_left_s[i]),
            residual=float(residual[i]),
        )
        assert (made.p_raw[i], made.p[i]) == (served.p_raw, served.p)


def test_few_windows_learn_rung_1_only():
    found = learn(assemble(*tables(Plan(windows=300))).dataset)
    assert set(found) == {"anchored"}
    assert found["anchored"].formula.calibration.kind == "identity"


def test_enough_windows_learn_trees_and_a_calibration_map():
    train = assemble(*tables(Plan(windows=2_100, rows=2, edge=0.5))).dataset
    found = learn(train)
    assert set(found) == {"anchored", "residual"}
    assert found["residual"].trees is not None
    assert found["residual"].formula.calibration.kind == "slope"
    assert found["residual"].formula.anchor == found["anchored"].formula.anchor


def test_a_fold_with_too_few_windows_serves_rung_1_as_its_residual():
    dataset = assemble(*tables(Plan(windows=300))).dataset
    fold = walk_forward(dataset)[0]
    train, test = dataset.take(fold.train), dataset.take(fold.test)
    result = walk_fold(train, test, train.y)
    assert result.forecasts["residual"] is result.forecasts["anchored"]
    assert len(result.loose) == len(test)


def test_nothing_that_is_learnt_depends_on_test_rows():
    """Bins, ridge, trees, map: a fold's models are the same whatever happens later."""
    dataset = assemble(*tables(Plan(windows=4_000, rows=2, edge=0.3))).dataset
    fold = walk_forward(dataset)[-1]
    train, test = dataset.take(fold.train), dataset.take(fold.test)
    turned = replace(test, y=1.0 - test.y, features=test.features[::-1].copy())
    first, second = (walk_fold(train, rows, train.y) for rows in (test, turned))
    assert first.models == second.models
    assert first.models["residual"].trees is not None


def test_trees_stop_where_rows_ahead_gain_no_more():
    """Without an edge there is nothing to learn: stopping on train rows would go on to the end."""
    train = assemble(*tables(Plan(windows=2_100, rows=3, noise=6))).dataset
    assert trees.trees_in(learn(train)["residual"].trees) < 60
