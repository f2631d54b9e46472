"""Rung 2's trees: the only place that calls LightGBM, always through text.

In go arrays, out comes LightGBM's text model: what is scored was parsed from the bytes that are
served. One thread, deterministic, row-wise, a fixed seed: the same rows make the same text, and
cores are used by fitting folds side by side. Each fit builds a Dataset of its own: a shared one
would take its bin edges from rows of the test fold.

A reader may question the leaf size: LightGBM counts rows, but a window is one outcome however many
rows it has. So leaves are limited by their hessian: at least as much information as a stated number
of average windows carries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.common.checks import HawkError
from libs.common.scoring import FloatArray


class TrainingError(HawkError):
    """A fit failed on the rows it was given; the gate rejects and says so."""


SEED = 20_260_101
"""Nothing is sampled, so the seed decides nothing; it is fixed all the same."""

TREES_MAX = 300
PATIENCE = 25
"""Rounds without gain on the last inner fold after which early stopping stops."""

_Split = tuple[FloatArray, npt.NDArray[np.bool_] | None]
"""A feature's values, and where they are missing (None: nowhere)."""


@dataclass(frozen=True)
class TreeSettings:
    """Shape of the trees; `leaf_windows` and `ridge_windows` in units of windows."""

    leaves: int = 4  # real recordings punished 7 leaves twice as hard as 3
    learning_rate: float = 0.05
    leaf_windows: float = 50.0  # 5 % standard error of a leaf's rate at best
    ridge_windows: float = 10.0  # as the anchor's smallest ridge
    bins_max: int = 63  # 255 costs 2x the time, and a leaf of 50 windows needs no finer edge
    anchored: bool = True  # boosting starts from `init`; the canary's plain trees do not


RESIDUAL = TreeSettings()

PLAIN = TreeSettings(
    leaves=15, learning_rate=0.1, leaf_windows=5.0, ridge_windows=0.0, anchored=False
)
"""The canary's trees: loose on purpose, so that a leak has something to be remembered by."""


@dataclass(frozen=True)
class TreeRows:
    """Rows of a fit: `weight` sums to windows; `init` is the logit that boosting starts from."""

    features: FloatArray
    y: FloatArray
    weight: FloatArray
    init: FloatArray | None = None


@dataclass(frozen=True)
class TreeFit:
    """One fit, in full: rows, shape, number of trees, and rows to stop early on."""

    rows: TreeRows
    names: tuple[str, ...]
    settings: TreeSettings = RESIDUAL
    trees: int = TREES_MAX
    stop_on: TreeRows | None = None


def parameters(fit: TreeFit) -> dict[str, Any]:
    """Return LightGBM's parameters for `fit`."""
    settings, rows = fit.settings, fit.rows
    # Hessian of one window at the start: weight x p (1 - p), summed over its rows.
    start = np.zeros(len(rows.y)) if rows.init is None else rows.init
    spread = 1.0 / (2.0 + np.exp(-np.abs(start)) + np.exp(np.abs(start)))
    per_window = float((rows.weight * spread).sum() / rows.weight.sum())
    return {
        "objective": "binary",
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_sum_hessian_in_leaf": settings.leaf_windows * per_window,
        "min_data_in_leaf": 1,
        "lambda_l2": settings.ridge_windows * per_window,
        "max_bin": settings.bins_max,
        "boost_from_average": not settings.anchored,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": SEED,
        "verbosity": -1,
    }


def fit_trees(fit: TreeFit) -> str:
    """Fit and return the text model, cut at its best round where `stop_on` is given.

    Raises `TrainingError` with LightGBM's own words where it refuses the rows.
    """
    import lightgbm as lgb

    try:
        return _fitted_text(fit)
    except lgb.basic.LightGBMError as error:
        raise TrainingError(f"LightGBM refused {len(fit.rows.y)} rows: {error}") from error


def raw_scores(text: str, features: FloatArray) -> FloatArray:
    """Return the summed leaf values of each row: the residual that is added to rung 1's logit."""
    import lightgbm as lgb

    booster = lgb.Booster(model_str=text)
    return np.asarray(booster.predict(features, raw_score=True, num_threads=1), np.float64)


def chain_scores(text: str, features: FloatArray) -> FloatArray:
    """Return what `raw_scores` returns, bit for bit, tree by tree over whole columns.

    For out-of-fold scores of many rows: with few leaves it is five times faster than LightGBM's
    walk down each tree for each row. Scores that decide or are served come from LightGBM itself.
    """
    total = np.zeros(len(features))
    columns: dict[int, _Split] = {}
    for block in text.partition("end of trees")[0].split("\nTree=")[1:]:
        facts = dict(line.partition("=")[::2] for line in block.splitlines())
        for number in {int(v) for v in facts.get("split_feature", "").split()} - set(columns):
            x = np.ascontiguousarray(features[:, number])
            absent = np.isnan(x)
            columns[number] = (x, absent if absent.any() else None)
        total += _tree_scores(facts, columns)
    return total


def trees_in(text: str) -> int:
    r"""Count the trees of a text model.

    >>> trees_in("tree\nTree=0\nTree=1\n")
    2
    """
    return text.count("\nTree=")


def _tree_scores(facts: dict[str, str], columns: dict[int, _Split]) -> FloatArray | float:
    """Return one tree's leaf values of all rows, from the lines of its text."""
    leaves = [float(v) for v in facts["leaf_value"].split()]
    if facts["num_leaves"] == "1":
        return leaves[0]
    feature, kind, left, right = (
        [int(v) for v in facts[name].split()]
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    )
    threshold = [float(v) for v in facts["threshold"].split()]

    def below(node: int) -> FloatArray | float:
        if node < 0:
            return leaves[~node]
        x, absent = columns[feature[node]]
        goes_left = x <= threshold[node]
        if absent is not None:
            # Bits 2-3 are the missing type: 2 sends NaN to the default side (bit 1), 0 makes it 0.
            as_zero, by_default = threshold[node] >= 0.0, bool(kind[node] & 2)
            if as_zero if kind[node] >> 2 == 0 else by_default:
                goes_left |= absent
        return np.where(goes_left, below(left[node]), below(right[node]))

    return below(0)


def _fitted_text(fit: TreeFit) -> str:
    import lightgbm as lgb

    settings = parameters(fit)
    train = _lightgbm_rows(fit.rows, fit.names, settings)
    if fit.stop_on is None:
        booster = lgb.train(settings, train, num_boost_round=fit.trees)
        return str(booster.model_to_string())
    ahead = _lightgbm_rows(fit.stop_on, fit.names, settings, reference=train)
    booster = lgb.train(
        settings,
        train,
        num_boost_round=fit.trees,
        valid_sets=[ahead],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return str(booster.model_to_string(num_iteration=booster.best_iteration))


def _lightgbm_rows(
    rows: TreeRows, names: tuple[str, ...], settings: dict[str, Any], *, reference: Any = None
) -> Any:
    import lightgbm as lgb

    return lgb.Dataset(
        rows.features,
        rows.y,
        weight=rows.weight,
        init_score=rows.init,
        reference=reference,
        feature_name=list(names),
        params={"verbosity": -1, "max_bin": settings["max_bin"]},
    )
