"""Weights count windows, thinning keeps means, taking rows keeps codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.assemble import assemble
from services.trainer.dataset import row_weights, thinned
from tests.trainer.synthetic import Plan, tables

cells = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=80)


@settings(deadline=None)
@given(cells)
def test_rows_of_a_fully_covered_window_weigh_one_together(rows):
    market = np.array([r[0] for r in rows])
    bucket = np.array([r[1] for r in rows])
    window = market // 2
    weight = row_weights(market, bucket, window=window, coverage=np.ones(len(rows)))
    for w in np.unique(window):
        assert weight[window == w].sum() == pytest.approx(1.0)
    for m in np.unique(market):
        per_bucket = np.bincount(bucket[market == m], weight[market == m])
        assert np.ptp(per_bucket[per_bucket > 0]) < 1e-12


def test_a_glimpse_of_a_market_weighs_pro_rata():
    whole, glimpse = (
        row_weights(np.zeros(3, int), np.zeros(3, int), window=np.zeros(3, int), coverage=c)
        for c in (np.full(3, 0.6), np.full(3, 0.05))
    )
    assert glimpse.sum() == pytest.approx(0.25 * whole.sum())


@settings(deadline=None)
@given(cells, st.integers(1, 5))
def test_thinning_keeps_few_rows_and_all_the_mass(rows, rows_max):
    market = np.array([r[0] for r in rows])
    bucket = np.array([r[1] for r in rows])
    kept, mass = thinned(market, bucket, rows_max=rows_max)
    assert (np.diff(kept) > 0).all()
    for cell in {tuple(r) for r in rows}:
        everywhere = (market == cell[0]) & (bucket == cell[1])
        here = everywhere[kept]
        assert 1 <= here.sum() <= rows_max
        assert mass[here].sum() == pytest.approx(everywhere.sum())


def test_taken_rows_keep_their_codes_and_weights():
    dataset = assemble(*tables(Plan(windows=20))).dataset
    some = dataset.take(np.array([7, 3]))
    assert some.market.tolist() == dataset.market[[7, 3]].tolist()
    assert some.features.tolist() == dataset.features[[7, 3]].tolist()
    assert some.embargo_ns == dataset.embargo_ns
