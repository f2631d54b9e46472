"""LightGBM is deterministic here, sees no test row, and its text is what is scored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.trees import check_trees
from services.trainer.trees import (
    TrainingError,
    TreeFit,
    TreeRows,
    TreeSettings,
    chain_scores,
    fit_trees,
    parameters,
    raw_scores,
    trees_in,
)

NAMES = ("a", "b", "c")


def _rows(n=600, seed=1, missing=0.2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[rng.random((n, 3)) < missing] = np.nan
    z = np.where(np.nan_to_num(x[:, 0]) > 0.5, 1.5, -0.5)
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    return TreeRows(x, y, np.ones(n), np.zeros(n))


def _fit(**changes):
    settings = TreeSettings(leaf_windows=10.0)
    return TreeFit(
        **{"rows": _rows(), "names": NAMES, "settings": settings, "trees": 30, **changes}
    )


def test_same_rows_make_the_same_bytes():
    assert fit_trees(_fit()) == fit_trees(_fit())


def test_the_text_passes_the_predictors_structural_check():
    assert check_trees(fit_trees(_fit()), NAMES) == 30


def test_early_stopping_cuts_the_text_at_its_best_round():
    noise = TreeRows(_rows(seed=9).features, _rows(seed=5).y, np.ones(600), np.zeros(600))
    text = fit_trees(_fit(rows=noise, stop_on=_rows(seed=7), trees=200))
    assert 1 <= trees_in(text) < 100


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.floats(0, 0.6), st.integers(0, 50))
def test_chain_scores_equal_lightgbms_bit_for_bit(leaves, missing, seed):
    fit = _fit(
        rows=_rows(seed=seed, missing=missing),
        settings=TreeSettings(leaves=leaves, leaf_windows=5.0),
    )
    text = fit_trees(fit)
    ahead = _rows(seed=seed + 1, missing=0.3).features
    assert chain_scores(text, ahead).tolist() == raw_scores(text, ahead).tolist()


def test_a_leaf_is_worth_the_stated_windows():
    rows = _rows()
    settings = TreeSettings(leaf_windows=50.0)
    tenfold = TreeRows(
        np.repeat(rows.features, 10, axis=0),
        np.repeat(rows.y, 10),
        np.repeat(rows.weight / 10, 10),
        np.repeat(rows.init, 10),
    )
    one, ten = (parameters(_fit(rows=r, settings=settings)) for r in (rows, tenfold))
    assert one["min_sum_hessian_in_leaf"] == pytest.approx(50 * 0.25)
    assert ten["min_sum_hessian_in_leaf"] == pytest.approx(one["min_sum_hessian_in_leaf"])


def test_one_thread_deterministic_and_anchored():
    asked = parameters(_fit())
    assert (asked["num_threads"], asked["deterministic"], asked["force_row_wise"]) == (
        1,
        True,
        True,
    )
    assert asked["boost_from_average"] is False


def test_what_lightgbm_refuses_raises_a_training_error():
    with pytest.raises(TrainingError, match=r"LightGBM refused 600 rows.*more than one time"):
        fit_trees(_fit(names=("a", "a", "b")))
