"""How far a venue's clock is off: told when it stays, not when one answer was slow."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.collector.clocks import MEASUREMENTS, Offset

LIMIT_NS = 250_000_000
S = 1_000_000_000


def test_nothing_is_judged_before_three_measurements() -> None:
    offset = Offset()
    assert [offset.add(9 * S, LIMIT_NS) for _ in range(3)] == [None, None, True]


def test_one_slow_answer_is_no_wrong_clock() -> None:
    offset = Offset()
    assert [offset.add(n, LIMIT_NS) for n in (0, 0, 0, 9 * S, 0, 9 * S, 0)] == [None] * 7


def test_a_clock_that_is_wrong_is_told_once_and_once_when_it_is_right_again() -> None:
    offset = Offset()
    told = [offset.add(-S, LIMIT_NS) for _ in range(10)]
    told += [offset.add(0, LIMIT_NS) for _ in range(10)]
    assert [change for change in told if change is not None] == [True, False]


def test_the_limit_itself_is_not_wrong() -> None:
    offset = Offset()
    assert [offset.add(LIMIT_NS, LIMIT_NS) for _ in range(5)] == [None] * 5


def test_without_measurements_there_is_no_offset() -> None:
    assert Offset().median_ns == 0


@given(st.lists(st.integers(-10 * S, 10 * S), min_size=1))
def test_the_offset_is_between_the_last_measurements(measured: list[int]) -> None:
    offset = Offset()
    changes = [change for m in measured if (change := offset.add(m, LIMIT_NS)) is not None]
    last = measured[-MEASUREMENTS:]
    assert min(last) <= offset.median_ns <= max(last)
    assert all(a != b for a, b in pairwise(changes))
