"""The path as seconds: published prints, windows, ties."""

import numpy as np
import pytest

from libs.common.checks import InvariantError
from services.simulator.path import DAY_S, HISTORY_S
from services.simulator.prices import DAYS_KEPT, Prices

FIRST_DAY = 20_776
START_S = FIRST_DAY * DAY_S


def test_seconds_continue_over_midnight() -> None:
    prices = Prices(1, first_day=FIRST_DAY, rows=1)
    over = prices.prints_e4(0, START_S + DAY_S - 5, 10)
    before = prices.prints_e4(0, START_S + DAY_S - 5, 5)
    after = prices.prints_e4(0, START_S + DAY_S, 5)
    assert over.tolist() == [*before.tolist(), *after.tolist()]


def test_a_day_dropped_from_memory_is_drawn_again_as_it_was() -> None:
    prices = Prices(1, first_day=FIRST_DAY, rows=2)
    first = prices.spots_e4(1, START_S + 100, 50)
    prices.spots_e4(1, START_S + (DAYS_KEPT + 3) * DAY_S, 1)
    assert prices.spots_e4(1, START_S + 100, 50).tolist() == first.tolist()


def test_an_underlying_does_not_depend_on_which_others_run() -> None:
    alone = Prices(3, first_day=FIRST_DAY, rows=1).prints_e4(0, START_S + 500, 100)
    among = Prices(3, first_day=FIRST_DAY, rows=3).prints_e4(0, START_S + 500, 100)
    assert alone.tolist() == among.tolist()


def test_prints_are_whole_cents() -> None:
    assert not (Prices(1, first_day=FIRST_DAY, rows=1).prints_e4(0, START_S, 500) % 100).any()


def test_a_tie_makes_two_sums_equal_and_moves_only_the_last_sixty_prints() -> None:
    prices = Prices(1, first_day=FIRST_DAY, rows=1)
    close_s = START_S + 9_000
    before = prices.prints_e4(0, close_s - 100, 200)
    prices.tie(0, close_s, 900)
    moved = np.flatnonzero(prices.prints_e4(0, close_s - 100, 200) != before)
    assert prices.sum_e4(0, close_s) == prices.sum_e4(0, close_s - 900)
    assert (moved.min(), moved.max()) == (41, 100)


@pytest.mark.parametrize("offset_s", [0, 20, 59, 60])
def test_a_tie_looks_the_same_from_wherever_a_slice_begins(offset_s: int) -> None:
    prices = Prices(1, first_day=FIRST_DAY, rows=1)
    close_s = START_S + 9_000
    prices.tie(0, close_s, 900)
    whole = prices.prints_e4(0, close_s - 60, 70)
    assert prices.prints_e4(0, close_s - 60 + offset_s, 5).tolist() == whole[offset_s:][:5].tolist()


def test_a_window_that_leaves_its_day_is_refused() -> None:
    with pytest.raises(InvariantError):
        Prices(1, first_day=FIRST_DAY, rows=1).window(0, START_S + DAY_S - 60, 900)


def test_there_is_nothing_before_the_first_day() -> None:
    with pytest.raises(InvariantError):
        Prices(1, first_day=FIRST_DAY, rows=1).prints_e4(0, START_S - HISTORY_S, 10)
