"""Rung 1 finds a planted stack, shrinks to the market without evidence, and scores as served."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from libs.common.model import Anchor, anchored_logit
from services.trainer import fit
from services.trainer.assemble import assemble
from services.trainer.fit import anchored_logits, choose_penalty, fit_anchor, sigmoids
from services.trainer.splits import walk_forward
from tests.trainer.synthetic import Plan, tables

small = st.floats(-0.5, 0.5)
anchors = st.builds(
    Anchor,
    intercept=small,
    market=small,
    gap=small,
    gap_log_time=small,
    series=st.dictionaries(st.sampled_from(["A", "B"]), st.tuples(small, small, small)),
)


def _data(**plan):
    return assemble(*tables(Plan(**plan))).dataset


def _relabelled(data, anchor, seed):
    """Draw results anew from `anchor`, one uniform number per market."""
    u = np.random.default_rng(seed).random(data.market.max() + 1)
    return replace(data, y=(u[data.market] < sigmoids(anchored_logits(anchor, data))) * 1.0)


@settings(max_examples=20, deadline=None)
@given(anchors)
def test_vectorised_logits_are_the_served_ones_bit_for_bit(anchor):
    data = _data(windows=30, series=("A", "B"))
    data = replace(
        data, fair_value=np.where(np.arange(len(data)) % 3 == 0, np.nan, data.fair_value)
    )
    served = [
        anchored_logit(
            anchor,
            data.series_names[data.series[i]],
            mid=float(data.mid[i]),
            fair_value=None if np.isnan(data.fair_value[i]) else float(data.fair_value[i]),
            time_left_s=float(data.time_left_s[i]),
        )
        for i in range(len(data))
    ]
    assert anchored_logits(anchor, data).tolist() == served


def test_newton_ends_where_a_general_optimiser_ends():
    data = _data(windows=300, seed=4)
    found = fit_anchor(data, penalty=10.0)
    x = np.column_stack([data.market_logit, data.gap, data.gap * data.log_time])

    def loss(b):
        z = data.market_logit + x @ b
        return (data.weight * (np.logaddexp(0, z) - data.y * z)).sum() + 5.0 * (b * b).sum()

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    assert [found.market, found.gap, found.gap_log_time] == pytest.approx(best, abs=1e-4)
    assert found.intercept == 0.0


def test_a_planted_stack_is_recovered():
    planted = Anchor(gap=0.6, gap_log_time=-0.1)
    data = _relabelled(_data(windows=8_000, rows=3), planted, 1)
    found = fit_anchor(data, penalty=10.0)
    assert found.gap == pytest.approx(0.6, abs=0.1)
    assert found.gap_log_time == pytest.approx(-0.1, abs=0.1)
    assert abs(found.intercept) < 0.08


def test_an_enormous_penalty_is_the_market():
    found = fit_anchor(_data(windows=200), penalty=1e9)
    assert max(abs(found.market), abs(found.gap), abs(found.gap_log_time)) < 1e-5


def test_no_intercept_below_two_thousand_windows_and_one_above():
    few, many = (
        replace(d, y=np.ones(len(d)))
        for d in (_data(windows=1_999, rows=1), _data(windows=2_000, rows=1))
    )
    assert fit_anchor(few, penalty=10.0).intercept == 0.0
    assert fit_anchor(many, penalty=10.0).intercept > 0.1


def test_series_deviate_only_with_windows_of_their_own_and_shrink():
    series = ("A", "B")
    data = _data(windows=3_000, rows=2, series=series)
    planted = Anchor(series={"A": (0.4, 0.0, 0.0), "B": (-0.4, 0.0, 0.0)})
    data = _relabelled(data, planted, 3)
    found = fit_anchor(data, penalty=10.0)
    assert 0.1 < found.series["A"][0] < 0.45
    assert -0.45 < found.series["B"][0] < -0.1
    few = fit_anchor(_data(windows=600, rows=2, series=series), penalty=10.0)
    assert few.series == {}


def test_the_penalty_is_chosen_ahead_and_is_strongest_without_folds():
    data = _data(windows=400, rows=2)
    assert choose_penalty(data, ()) == 100.0
    planted = _relabelled(_data(windows=2_500, rows=2), Anchor(gap=0.9), 5)
    assert choose_penalty(planted, walk_forward(planted, folds=3)) == 10.0


def test_deviations_cost_more_than_the_pooled_fit(monkeypatch):
    planted = Anchor(series={"A": (0.4, 0.0, 0.0), "B": (-0.4, 0.0, 0.0)})
    data = _relabelled(_data(windows=3_000, rows=2, series=("A", "B")), planted, 3)
    dear = fit_anchor(data, penalty=100.0).series["A"][0]
    monkeypatch.setattr(fit, "SERIES_PENALTY_RATIO", 1.0)
    assert abs(fit_anchor(data, penalty=100.0).series["A"][0]) > 1.1 * abs(dear)
