"""Each canary is silent on honest rows and sings when the fault is real."""

import numpy as np
import pytest

from services.trainer.assemble import assemble
from services.trainer.canaries import (
    chance_canary,
    leak_canaries,
    loose_forecasts,
    shuffled_labels,
)
from services.trainer.gate import GatePolicy, is_leak
from services.trainer.splits import Fold, walk_forward
from tests.trainer.synthetic import Plan, tables, with_column

POLICY = GatePolicy()


def _chance(data, folds, seed=1):
    labels = shuffled_labels(data, np.random.default_rng(seed))
    loose = [loose_forecasts(data.take(f.train), data.take(f.test), labels[f.train]) for f in folds]
    return chance_canary(data, folds, labels=labels, loose=loose)


def _sings(canary):
    return not canary.gain <= POLICY.canary_errors * canary.error


def _with_level(rows, scale=1.0):
    """Add a feature that names the window: the level of a volatility, say."""
    level = np.random.default_rng(5).normal(size=4_000)[
        np.unique(rows.column("market").to_numpy(), return_inverse=True)[1]
    ]
    return with_column(rows, "level", level * scale)


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_labels_score_at_chance_in_a_walk_forward(seed):
    rows, resolutions = tables(Plan(windows=500, rows=6, seed=seed))
    data = assemble(_with_level(rows), resolutions).dataset
    assert not _sings(_chance(data, walk_forward(data), seed))


def test_shuffled_labels_sing_when_rows_of_a_window_stand_on_both_sides():
    rows, resolutions = tables(Plan(windows=500, rows=6))
    data = assemble(_with_level(rows), resolutions).dataset
    order = np.random.default_rng(2).permutation(len(data))
    parts = np.array_split(order, 4)
    mixed = [Fold(np.sort(np.setdiff1d(order, part)), np.sort(part)) for part in parts]
    assert _sings(_chance(data, mixed))


def test_labels_are_dealt_out_by_whole_window():
    data = assemble(*tables(Plan(windows=60, strikes=2))).dataset
    labels = shuffled_labels(data, np.random.default_rng(3))
    for market in range(data.markets()):
        assert len(np.unique(labels[data.market == market])) == 1
    assert labels.tolist() != data.y.tolist()
    assert _dealt(data, labels) == _dealt(data, data.y)


def _dealt(data, y):
    """Return the label pairs of all windows, in no order: dealing must only move them."""
    of_market = dict(zip(data.market.tolist(), y.tolist(), strict=True))
    window = dict(zip(data.market.tolist(), data.window.tolist(), strict=True))
    hands = {}
    for market, w in sorted(window.items()):
        hands.setdefault(w, []).append(of_market[market])
    return sorted(map(tuple, hands.values()))


def _leaks(rows, resolutions):
    data = assemble(rows, resolutions).dataset
    return {c.name for c in leak_canaries(data) if is_leak(c, POLICY)}


@pytest.mark.parametrize("windows", [60, 400])
def test_honest_columns_are_silent(windows):
    assert _leaks(*tables(Plan(windows=windows, rows=8, edge=0.4))) == set()


@pytest.mark.parametrize("windows", [60, 400])
def test_a_planted_future_column_sings(windows):
    rows, resolutions = tables(Plan(windows=windows, rows=8))
    names, mids = rows.column("market").to_pylist(), rows.column("mid").to_pylist()
    last = dict(zip(names, mids, strict=True))
    future = np.array([last[m] for m in rows.column("market").to_pylist()])
    assert _leaks(with_column(rows, "mid_last", future), resolutions) == {"mid_last"}


@pytest.mark.parametrize("windows", [60, 400])
def test_a_planted_result_column_sings(windows):
    rows, resolutions = tables(Plan(windows=windows, rows=8))
    result = dict(
        zip(
            resolutions.column("market").to_pylist(),
            resolutions.column("result").to_pylist(),
            strict=True,
        )
    )
    values = np.array([float(result[m] == "yes") for m in rows.column("market").to_pylist()])
    noisy = np.where(np.random.default_rng(1).random(len(values)) < 0.1, np.nan, values)
    assert _leaks(with_column(rows, "settled", noisy), resolutions) == {"settled"}


def test_a_column_without_a_value_is_silent():
    rows, resolutions = tables(Plan(windows=60))
    empty = with_column(rows, "empty", np.full(rows.num_rows, np.nan))
    assert _leaks(empty, resolutions) == set()
