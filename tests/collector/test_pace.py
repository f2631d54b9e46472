"""When an instant is due, by a clock that is handed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.pace import HOLE_NS_MAX, LATE_S_MAX, NoPace, Pace

S = 1_000_000_000
T0 = 1_780_000_000 * S


def test_the_first_instant_is_due_at_once() -> None:
    assert Pace(1.0, hole_ns_max=HOLE_NS_MAX).delay_s(T0, now_s=55.0) == 0.0


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_stream_time_runs_speed_times_as_fast(speed: float) -> None:
    pace = Pace(speed, hole_ns_max=HOLE_NS_MAX)
    pace.delay_s(T0, now_s=100.0)
    assert pace.delay_s(T0 + 10 * S, now_s=100.0) == pytest.approx(10 / speed)
    assert pace.delay_s(T0 + 20 * S, now_s=100.0 + 15 / speed) == pytest.approx(5 / speed)


def test_waiting_too_long_once_does_not_add_up() -> None:
    pace = Pace(1.0, hole_ns_max=HOLE_NS_MAX)
    pace.delay_s(T0, now_s=0.0)
    for second in range(1, 1_000):
        assert pace.delay_s(T0 + second * S, now_s=second + 0.3) == pytest.approx(-0.3)


def test_a_hole_takes_no_time_and_time_goes_on_behind_it() -> None:
    pace = Pace(1.0, hole_ns_max=HOLE_NS_MAX)
    pace.delay_s(T0, now_s=0.0)
    assert pace.delay_s(T0 + HOLE_NS_MAX, now_s=1.0) == 59.0
    after = T0 + 2 * HOLE_NS_MAX + 1
    assert pace.delay_s(after, now_s=60.0) == 0.0
    assert pace.delay_s(after + 5 * S, now_s=61.0) == pytest.approx(4.0)


def test_where_holes_count_they_take_their_time() -> None:
    pace = Pace(1.0, hole_ns_max=None)
    pace.delay_s(T0, now_s=0.0)
    assert pace.delay_s(T0 + 100 * HOLE_NS_MAX, now_s=0.0) == 6_000.0


def test_what_is_a_little_late_is_caught_up_with_and_what_is_very_late_is_not() -> None:
    pace = Pace(1.0, hole_ns_max=None)
    pace.delay_s(T0, now_s=0.0)
    late_s = LATE_S_MAX - 0.5
    assert pace.delay_s(T0 + S, now_s=1 + late_s) == -late_s
    assert pace.delay_s(T0 + 2 * S, now_s=3_600.0) == 0.0
    assert pace.delay_s(T0 + 4 * S, now_s=3_600.0) == 2.0


@given(
    st.floats(0.01, 1_000.0),
    st.lists(st.tuples(st.integers(1, 200 * S), st.floats(0.0, 30.0)), max_size=30),
)
def test_stream_time_never_runs_ahead_of_the_clock(
    speed: float, steps: list[tuple[int, float]]
) -> None:
    pace = Pace(speed, hole_ns_max=None)
    ts_ns, now_s = T0, 0.0
    pace.delay_s(ts_ns, now_s=now_s)
    for step_ns, work_s in steps:
        ts_ns, now_s = ts_ns + step_ns, now_s + work_s
        now_s += max(0.0, pace.delay_s(ts_ns, now_s=now_s))
        assert (ts_ns - T0) / S <= now_s * speed * (1 + 1e-9) + 1e-6


def test_without_a_pace_everything_is_due_when_it_comes() -> None:
    pace = NoPace()
    assert [pace.delay_s(ts_ns, 5.0) for ts_ns in (0, 10**18, 7)] == [0.0, 0.0, 0.0]
