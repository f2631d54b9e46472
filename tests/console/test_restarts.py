"""The table of waits: doubling to a ceiling, forgotten after a minute up."""

import signal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.console.restarts import BACKOFF_S, SETTLED_S, Record, backoff_s, exit_text


def test_waits_double_from_half_a_second_to_thirty_seconds() -> None:
    assert BACKOFF_S[0] == 0.5
    assert BACKOFF_S[-1] == 30.0
    # The last step is cut to the ceiling.
    assert all(b == min(2 * a, 30.0) for a, b in pairwise(BACKOFF_S))


@given(st.integers(1, 10_000))
def test_no_number_of_deaths_waits_longer_than_the_ceiling(deaths: int) -> None:
    assert BACKOFF_S[0] <= backoff_s(deaths) <= 30.0


def test_deaths_in_a_row_wait_ever_longer() -> None:
    record, now_s = Record(), 0.0
    waits = []
    for _ in range(8):
        record = record.after_death(started_s=now_s, ended_s=now_s + 1.0)
        waits.append(record.due_s - (now_s + 1.0))
        now_s = record.due_s
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_minute_up_makes_the_next_death_a_first_one() -> None:
    worn = Record(deaths=6, due_s=100.0)
    assert worn.after_death(started_s=100.0, ended_s=100.0 + SETTLED_S).deaths == 1
    assert worn.after_death(started_s=100.0, ended_s=99.9 + SETTLED_S).deaths == 7


def test_how_a_process_ended_is_said_in_words() -> None:
    assert exit_text(0) == "exit code 0"
    assert exit_text(-signal.SIGSEGV) == "signal SIGSEGV"
    assert exit_text(-63).startswith("signal ")
