from hypothesis import given
from hypothesis import strategies as st

from services.features.inputs import Horizon
from services.features.windows import PRUNE_AT, History

STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(-(10**15), 10**15)), max_size=40)


def filled(steps: list[tuple[int, int]]) -> tuple[History, list[tuple[int, int]]]:
    history, kept, now = History(values=1, totals=1), [], 0
    for step, amount in steps:
        now += step
        history.add(now, (amount,), (amount,))
        kept.append((now, amount))
    return history, kept


@given(STEPS, st.integers(0, 400))
def test_a_window_sums_exactly_what_lies_after_its_start(
    steps: list[tuple[int, int]], start: int
) -> None:
    history, kept = filled(steps)
    naive = sum(amount for time, amount in kept if time > start)
    assert history.total(0, history.after(start)) == naive


@given(STEPS, st.integers(0, 400), st.integers(0, 20), st.integers(0, 20))
def test_a_look_back_finds_the_last_one_old_enough_but_not_too_old(
    steps: list[tuple[int, int]], now: int, ns: int, more: int
) -> None:
    history, kept = filled(steps)
    old_enough = [i for i, (time, _) in enumerate(kept) if time <= now - ns]
    expected = old_enough[-1] if old_enough else -1
    if expected >= 0 and kept[expected][0] < now - ns - more:
        expected = -1
    assert history.look_back(now, Horizon(ns, ns + more)) == expected


def test_pruning_bounds_the_length_and_changes_no_sum_or_look_back() -> None:
    pruned, whole = History(values=1, totals=1), History(values=1, totals=1)
    for time in range(20 * PRUNE_AT):
        for history in (pruned, whole):
            history.add(time, (time * 7,), (time % 13,))
        pruned.prune(time - 500)
        if time % 97 == 0:
            for back in (0, 10, 499):
                a, b = pruned.after(time - back), whole.after(time - back)
                assert pruned.total(0, a) == whole.total(0, b)
                horizon = Horizon(back, 500)
                i, j = pruned.look_back(time, horizon), whole.look_back(time, horizon)
                assert (i < 0) == (j < 0)
                assert i < 0 or pruned.values[0][i] == whole.values[0][j]
        assert len(pruned) <= 2 * PRUNE_AT
