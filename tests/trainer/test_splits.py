"""No window, block or market on both sides, no label known late, whatever the history."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.assemble import assemble
from services.trainer.splits import Fold, overlap, walk_forward
from tests.trainer.synthetic import Plan, tables

plans = st.builds(
    Plan,
    windows=st.integers(2, 120),
    rows=st.integers(1, 3),
    life_s=st.sampled_from([300, 900, 3_600, 10_800]),
    seed=st.integers(0, 99),
    series=st.sampled_from([("A",), ("A", "B")]),
    strikes=st.integers(1, 2),
)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(1, 6), st.integers(0, 7_200))
def test_no_unit_sits_on_both_sides_and_no_label_is_known_late(plan, folds, delay_s):
    data = assemble(*tables(plan)).dataset
    late = np.random.default_rng(plan.seed).integers(0, delay_s + 1, len(data)) * 1_000_000_000
    data = replace(data, known_ns=data.known_ns + late[data.market])
    for fold in walk_forward(data, folds=folds):
        for unit in (data.block, data.window, data.market):
            assert not set(unit[fold.train]) & set(unit[fold.test])
        first = data.ts_ns[fold.test].min()
        assert (data.known_ns[fold.train] + data.embargo_ns <= first).all()
        assert data.ts_ns[fold.train].max() < first


@settings(max_examples=30, deadline=None)
@given(plans)
def test_folds_test_each_later_row_once_and_in_order(plan):
    data = assemble(*tables(plan)).dataset
    folds = walk_forward(data)
    assert overlap(data, folds) is None
    if folds:
        tested = np.concatenate([fold.test for fold in folds])
        assert len(np.unique(tested)) == len(tested)
        starts = [data.block[fold.test].min() for fold in folds]
        assert starts == sorted(starts)


def test_the_first_two_fifths_only_train_and_the_folds_are_alike():
    data = assemble(*tables(Plan(windows=1_000, rows=1))).dataset
    folds = walk_forward(data)
    sizes = [len(np.unique(data.window[fold.test])) for fold in folds]
    assert len(folds) == 4
    assert max(sizes) - min(sizes) <= 8  # whole blocks of four windows
    assert sum(sizes) == 600


def test_one_hour_of_data_gives_no_fold():
    assert walk_forward(assemble(*tables(Plan(windows=4))).dataset) == ()


def test_the_gates_own_look_finds_what_a_maker_could_get_wrong():
    data = assemble(*tables(Plan(windows=80, rows=2))).dataset
    fold = walk_forward(data)[0]
    shared = Fold(np.append(fold.train, fold.test[0]), fold.test)
    assert "both sides" in overlap(data, (shared,))
    hour = 3_600 * 1_000_000_000
    late = replace(data, known_ns=data.known_ns + 10 * hour)
    assert "not known in time" in overlap(late, (fold,))
    assert "tested in two folds" in overlap(data, (fold, fold))
