"""Walk-forward folds: train before, test after, whole hour blocks, nothing known too early.

In goes a `Dataset`, out come folds of row numbers. The first share of the windows only trains; the
rest is cut into test folds by time, each learnt from everything whose label was known an embargo
before its first row. The same function cuts the *inside* of a train set, for early stopping and
calibration.

Never shuffled K-fold, though it would use all rows for both: a window's settlement is the next
window's strike, so a shuffled train set holds the answers of its test set (a canary shows it).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from libs.common.scoring import IntArray
from services.trainer.dataset import Dataset

FOLDS = 4
"""Test folds by default; 6 are as good and cost half as much again."""

INNER_FOLDS = 3
"""Test folds inside a train set: each costs a fit of its own per outer fold."""

INNER_INITIAL_SHARE = 0.25
"""Inside a train set the first quarter only trains: three quarters then calibrate the map."""

INITIAL_SHARE = 0.40
"""Windows that only train: less starves the first fold, more leaves too little to test on."""


@dataclass(frozen=True)
class Fold:
    """Row numbers to learn from and to be scored on, both ascending."""

    train: IntArray
    test: IntArray


def walk_forward(
    dataset: Dataset, *, folds: int = FOLDS, initial_share: float = INITIAL_SHARE
) -> tuple[Fold, ...]:
    """Cut `dataset` into folds of about equally many test windows, in order of time.

    A fold without a row to learn from or to be scored on is left out, so there may be fewer.
    """
    if len(dataset) == 0:
        return ()
    blocks, cuts = _cuts(dataset, folds, initial_share)
    found = []
    for start, end in pairwise(cuts):
        if start in (0, end):
            continue
        test = (dataset.block >= blocks[start]) & (dataset.block <= blocks[end - 1])
        known_by_ns = int(dataset.ts_ns[test].min()) - dataset.embargo_ns
        train = (dataset.block < blocks[start]) & (dataset.known_ns <= known_by_ns)
        if train.any():
            found.append(Fold(np.flatnonzero(train), np.flatnonzero(test)))
    return tuple(found)


def overlap(dataset: Dataset, folds: tuple[Fold, ...]) -> str | None:
    """Say which promise of a split `folds` break, or None: the gate's own look, not the maker's."""
    for number, fold in enumerate(folds, start=1):
        for unit in ("block", "window", "market"):
            codes = getattr(dataset, unit)
            both = np.intersect1d(codes[fold.train], codes[fold.test])
            if len(both) > 0:
                return f"fold {number}: {len(both)} {unit}s stand on both sides of the split"
        first_ns = int(dataset.ts_ns[fold.test].min())
        late = int((dataset.known_ns[fold.train] > first_ns - dataset.embargo_ns).sum())
        if late:
            return f"fold {number}: {late} train rows whose label was not known in time"
    tested = np.concatenate([fold.test for fold in folds]) if folds else np.empty(0, np.int64)
    if len(np.unique(tested)) < len(tested):
        return "a row is tested in two folds"
    return None


def _cuts(dataset: Dataset, folds: int, initial_share: float) -> tuple[IntArray, list[int]]:
    """Return the sorted blocks and, per test fold, the index of its first block (and the end)."""
    blocks, of_row = np.unique(dataset.block, return_inverse=True)
    first = np.unique(dataset.window, return_index=True)[1]
    windows = np.cumsum(np.bincount(of_row[first], minlength=len(blocks)))
    shares = [initial_share + (1.0 - initial_share) * i / folds for i in range(folds)]
    # A block belongs to the side on which most of its windows fall; it is never cut.
    before = np.concatenate(([0], windows))
    starts = [int(np.abs(before - share * windows[-1]).argmin()) for share in shares]
    return blocks, [*starts, len(blocks)]
