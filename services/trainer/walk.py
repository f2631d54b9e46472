"""What one train set learns: every rung it has evidence for, each with its calibration map.

In goes a train set (a fold's, or the whole archive for the final fit), out come the rungs as they
would be served. Everything that is chosen (ridge, number of trees, calibration map) is chosen on
forward-chained folds *inside* the train set, by the same rule as outside: no decision sees a test
row. Forecasts that are scored go row by row through `libs.common.model.forecast`: what is scored is
what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from libs.common.model import Anchor, Formula, Rung, bound, calibrate, logit, sigmoid
from libs.common.scoring import FloatArray, IntArray
from services.trainer import trees
from services.trainer.calibrate import fit_calibration
from services.trainer.canaries import loose_forecasts
from services.trainer.dataset import Dataset, thinned
from services.trainer.fit import anchored_logits, choose_penalty, fit_anchor, sigmoids
from services.trainer.splits import INNER_FOLDS, INNER_INITIAL_SHARE, Fold, walk_forward

RESIDUAL_WINDOWS_MIN = 2_000
"""Below, 20 trees of 3 leaves cost 0.0045 Brier against the market on both real recordings."""

CHAIN_ROWS_MAX = 2
"""Rows per market and time bucket that choose the ridge and fit the map: both are decided by
windows, and neighbouring rows of one window say the same."""

LOGIT_MAX = logit(1.0)
"""The map sees logits clipped as `libs.common.model.logit` clips them when it serves."""


@dataclass(frozen=True)
class Model:
    """A fitted rung: the formula and, for rung 2, LightGBM's text."""

    formula: Formula
    trees: str | None = None


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of rows, in their order: before calibration and bound, and after."""

    p_raw: FloatArray
    p: FloatArray


@dataclass(frozen=True)
class FoldResult:
    """What one fold's train rows taught, and its test rows' forecasts, by rung.

    `loose`: forecasts of the canary's plain trees, learnt from shuffled labels.
    """

    models: dict[Rung, Model]
    forecasts: dict[Rung, Forecasts]
    loose: FloatArray


@dataclass(frozen=True)
class _Chain:
    """Forward-chained material inside a train set, on few rows per market and bucket.

    `folds` are whole, `anchors` rung 1 of each; `tests` number the few test rows of each fold,
    `ahead` holds them (without features) and `logits` rung 1's out-of-fold logits of them.
    """

    penalty: float
    folds: tuple[Fold, ...]
    anchors: tuple[Anchor, ...]
    tests: tuple[IntArray, ...]
    ahead: Dataset
    logits: FloatArray


def learn(train: Dataset, *, rungs: Sequence[Rung] = ("anchored", "residual")) -> dict[Rung, Model]:
    """Fit the rungs that are asked for and that `train` has windows enough for."""
    inner = walk_forward(train, folds=INNER_FOLDS, initial_share=INNER_INITIAL_SHARE)
    chain = _chain(train, inner)
    anchor = fit_anchor(train, penalty=chain.penalty)
    models: dict[Rung, Model] = {}
    if "anchored" in rungs:
        models["anchored"] = Model(_formula("anchored", anchor, chain.ahead, chain.logits))
    if "residual" in rungs and train.windows() >= RESIDUAL_WINDOWS_MIN and inner:
        models["residual"] = _residual(train, anchor, chain)
    return models


def walk_fold(train: Dataset, test: Dataset, shuffled: FloatArray) -> FoldResult:
    """Learn from a fold's `train` rows and forecast its `test` rows with each rung.

    `shuffled`: labels of `train` for the canary, dealt out anew by whole window.
    """
    models = learn(train)
    made = {rung: forecasts(model, test) for rung, model in models.items()}
    # With too few windows for trees, this fold's procedure would have served rung 1.
    models.setdefault("residual", models["anchored"])
    made.setdefault("residual", made["anchored"])
    return FoldResult(models, made, loose_forecasts(train, test, shuffled))


def forecasts(model: Model, rows: Dataset) -> Forecasts:
    """Forecast `rows` (all two-sided) as `libs.common.model.forecast` does, bit for bit.

    Rung 1's logit is the one part that is vectorised: it has no transcendental function left.
    """
    formula = model.formula
    if formula.rung == "identity":
        p_raw = rows.mid.tolist()
    else:
        z = anchored_logits(formula.anchor, rows)
        if model.trees is not None:
            z = z + trees.raw_scores(model.trees, rows.features)
        p_raw = [sigmoid(v) for v in z.tolist()]
    calibration, reach = formula.calibration, formula.distance_max
    p = [
        bound(calibrate(calibration, raw), mid=mid, distance_max=reach)
        for raw, mid in zip(p_raw, rows.mid.tolist(), strict=True)
    ]
    return Forecasts(np.array(p_raw), np.array(p))


def _chain(train: Dataset, folds: tuple[Fold, ...]) -> _Chain:
    """Choose the ridge and make rung 1's out-of-fold logits on a thinned train set."""
    kept, mass = thinned(train.market, train.bucket, rows_max=CHAIN_ROWS_MAX)
    few = train.without_features().take(kept)
    few = replace(few, weight=few.weight * mass)
    place = np.full(len(train), -1, np.int64)
    place[kept] = np.arange(len(kept))
    thin = tuple(
        Fold(*(at[at >= 0] for at in (place[fold.train], place[fold.test]))) for fold in folds
    )
    penalty = choose_penalty(few, thin)
    anchors = tuple(fit_anchor(few.take(fold.train), penalty=penalty) for fold in thin)
    ahead = few.take(np.concatenate([np.empty(0, np.int64), *(fold.test for fold in thin)]))
    logits = [
        anchored_logits(anchor, few.take(fold.test))
        for anchor, fold in zip(anchors, thin, strict=True)
    ]
    return _Chain(
        penalty=penalty,
        folds=folds,
        anchors=anchors,
        tests=tuple(kept[fold.test] for fold in thin),
        ahead=ahead,
        logits=np.concatenate([np.empty(0), *logits]),
    )


def _formula(rung: Rung, anchor: Anchor, ahead: Dataset, logits: FloatArray) -> Formula:
    calibration = fit_calibration(
        sigmoids(logits),
        ahead.y,
        logits=np.clip(logits, -LOGIT_MAX, LOGIT_MAX),
        weight=ahead.weight,
        windows=ahead.windows(),
    )
    return Formula(rung=rung, anchor=anchor, calibration=calibration)


def _residual(train: Dataset, anchor: Anchor, chain: _Chain) -> Model:
    """Fit rung 2: trees counted on the last inner fold, calibrated on all of them."""
    last = len(chain.folds) - 1
    texts = {last: _inner_trees(train, chain, last, trees.TREES_MAX)}
    count = max(1, trees.trees_in(texts[last]))
    for number in range(last):
        texts[number] = _inner_trees(train, chain, number, count)
    scores = [
        trees.chain_scores(texts[number], train.features[rows])
        for number, rows in enumerate(chain.tests)
    ]
    init = anchored_logits(anchor, train)
    text = trees.fit_trees(
        trees.TreeFit(
            trees.TreeRows(train.features, train.y, train.weight, init), train.names, trees=count
        )
    )
    logits = chain.logits + np.concatenate(scores)
    return Model(_formula("residual", anchor, chain.ahead, logits), text)


def _inner_trees(train: Dataset, chain: _Chain, number: int, count: int) -> str:
    """Fit an inner fold's trees; the last fold's stop early on its own test rows."""
    fold = chain.folds[number]
    stops = number == len(chain.folds) - 1
    fit = trees.TreeFit(
        _tree_rows(train, fold.train, chain.anchors[number]),
        train.names,
        trees=count,
        stop_on=_tree_rows(train, fold.test, chain.anchors[number]) if stops else None,
    )
    return trees.fit_trees(fit)


def _tree_rows(train: Dataset, rows: IntArray, anchor: Anchor) -> trees.TreeRows:
    taken = train.take(rows)
    return trees.TreeRows(taken.features, taken.y, taken.weight, anchored_logits(anchor, taken))
