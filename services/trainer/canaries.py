"""Leak canaries: two tests that must stay silent, and must sing when the future leaks in.

(a) *Shuffled labels*: labels are dealt out anew, whole windows at a time, and plain unanchored
trees walk forward over them. They can only score at chance, unless the split lets them remember a
window: then they beat the base rate. (b) *Leak detector*: each feature column alone, binned on one
half of the hour blocks, predicts the market's residual y - mid on the other half. A real feature
removes a per cent or two of the squared error; one that knows the result removes a third or more.

A reader may ask why (b) needs both a share and a significance: on 60 windows, hour of day removes
several per cent by luck; on 60,000, a harmless real edge is significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libs.common.scoring import (
    FloatArray,
    IntArray,
    market_shares,
    score,
    squared_error,
    standard_error,
)
from services.trainer import trees
from services.trainer.dataset import Dataset
from services.trainer.fit import sigmoids
from services.trainer.splits import Fold

CANARY_TREES = 40
"""Loose trees remember a leaked window within a few dozen rounds; more only costs time."""

LEAK_BINS = 16
LEAK_RIDGE = 3.0
"""Windows of "no residual" added to a bin: a bin of two windows would shout by luck."""

LEAK_ROWS_MAX = 25_000
"""The leak detector looks at this many evenly spaced rows: a leak is no subtle thing."""


@dataclass(frozen=True)
class Canary:
    """What a canary found: `gain` over chance (Brier), its block standard error, and a name.

    `share`: gain as a share of the squared error at chance.
    """

    name: str
    gain: float
    error: float
    share: float


def shuffled_labels(dataset: Dataset, rng: np.random.Generator) -> FloatArray:
    """Return labels dealt out anew by whole window: a window gets another's markets' labels.

    A window with more markets than its donor reads the donor's labels round and round.
    """
    first = np.unique(dataset.market, return_index=True)[1]
    windows, place = np.unique(dataset.window[first], return_inverse=True)
    owned = [first[place == w] for w in range(len(windows))]
    donors = rng.permutation(len(windows))
    label = np.zeros(int(dataset.market.max()) + 1)
    for window, donor in enumerate(donors.tolist()):
        given = dataset.y[owned[donor]]
        for number, row in enumerate(owned[window].tolist()):
            label[dataset.market[row]] = given[number % len(given)]
    return label[dataset.market]


def loose_forecasts(train: Dataset, test: Dataset, labels: FloatArray) -> FloatArray:
    """Return forecasts of `test` by plain trees learnt from `labels` of `train`."""
    if labels.min() == labels.max():
        return np.full(len(test), float(labels[0]))
    rows = trees.TreeRows(train.features, labels, train.weight)
    text = trees.fit_trees(
        trees.TreeFit(rows, train.names, settings=trees.PLAIN, trees=CANARY_TREES)
    )
    return sigmoids(trees.raw_scores(text, test.features))


def chance_canary(
    dataset: Dataset, folds: Sequence[Fold], *, labels: FloatArray, loose: Sequence[FloatArray]
) -> Canary:
    """Score `loose` forecasts of the folds' test rows on shuffled `labels` against chance.

    Chance is the constant base rate of the fold's train rows.
    """
    tested = np.concatenate([fold.test for fold in folds])
    chance = np.concatenate(
        [np.full(len(fold.test), _base_rate(dataset, fold, labels)) for fold in folds]
    )
    y = labels[tested]
    at_chance = squared_error(chance, y)
    better = at_chance - squared_error(np.concatenate(loose), y)
    share = market_shares(dataset.market[tested], dataset.mass[tested])
    gain = score(better, share)
    error = standard_error(better, share, dataset.block[tested])
    return Canary("shuffled labels", gain, error, gain / score(at_chance, share))


def leak_canaries(dataset: Dataset) -> tuple[Canary, ...]:
    """Return per feature column how much of the residual y - mid it alone predicts.

    Two readings, the more telling counts: bins of the column (a result, a code), and a line in the
    column and the mid (a later price: what it adds is its difference to the mid).
    """
    dataset = dataset.take(np.arange(0, len(dataset), 1 + len(dataset) // LEAK_ROWS_MAX))
    residual = dataset.y - dataset.mid
    half = np.searchsorted(np.unique(dataset.block), dataset.block) % 2
    share = dataset.weight / dataset.weight.sum()
    at_chance = score(residual**2, share)
    found = []
    weight, constant, mid = dataset.weight, np.ones(len(dataset)), dataset.mid - 0.5
    told = _told_by_line((constant, mid), residual, weight=weight, half=half)
    by_mid = (residual - told) ** 2
    for number, name in enumerate(dataset.names):
        bins = _binned(dataset.features[:, number])
        by_bins = (residual - _told_by_bins(bins, residual, weight=weight, half=half)) ** 2
        known = (bins < LEAK_BINS).astype(np.float64)
        line = (known, known * mid, known * (bins.astype(np.float64) / LEAK_BINS - 0.5))
        by_line = (residual - _told_by_line(line, residual, weight=weight, half=half)) ** 2
        # A line in the mid alone shows a biased market, not a leak: only what the column adds.
        better = max(residual**2 - by_bins, by_mid - by_line, key=lambda b: score(b, share))
        gain, error = score(better, share), standard_error(better, share, dataset.block)
        found.append(Canary(name, gain, error, gain / at_chance if at_chance > 0 else 0.0))
    return tuple(found)


def _base_rate(dataset: Dataset, fold: Fold, labels: FloatArray) -> float:
    weight = dataset.weight[fold.train]
    return float((weight * labels[fold.train]).sum() / weight.sum())


def _binned(values: FloatArray) -> IntArray:
    """Return equal-mass bins of a column; missing values are a bin of their own."""
    known = values[~np.isnan(values)]
    cuts = np.arange(1, LEAK_BINS) / LEAK_BINS
    edges = np.unique(np.quantile(known, cuts)) if len(known) else np.empty(0)
    bins = np.searchsorted(edges, values, side="right").astype(np.int64)
    bins[np.isnan(values)] = LEAK_BINS
    return bins


def _told_by_bins(
    bins: IntArray, residual: FloatArray, *, weight: FloatArray, half: IntArray
) -> FloatArray:
    """Return for each row the mean residual of its bin in the half it is not in."""
    cell = bins * 2 + half
    mass = np.bincount(cell, weight, 2 * (LEAK_BINS + 1))
    sums = np.bincount(cell, weight * residual, 2 * (LEAK_BINS + 1))
    told: FloatArray = (sums / (mass + LEAK_RIDGE))[bins * 2 + 1 - half]
    return told


def _told_by_line(
    columns: Sequence[FloatArray], residual: FloatArray, *, weight: FloatArray, half: IntArray
) -> FloatArray:
    """Return what a line in `columns`, fitted on the other half, tells of each row's residual."""
    told = np.zeros(len(residual))
    size = len(columns)
    for side in (0, 1):
        mass = np.where(half == side, weight, 0.0)
        h, g = LEAK_RIDGE / 12.0 * np.eye(size), np.empty(size)
        for a, left in enumerate(columns):
            bent = mass * left
            g[a] = (bent * residual).sum()
            for b in range(a + 1):
                h[a, b] = h[b, a] = h[a, b] + (bent * columns[b]).sum()
        slopes = np.linalg.solve(h, g).tolist()
        line = sum(slope * column for slope, column in zip(slopes, columns, strict=True))
        told = np.where(half == side, told, line)
    return told
