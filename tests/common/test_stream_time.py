"""Stream time: one line through two clocks."""

import pytest

from libs.common.checks import InvariantError
from libs.common.stream_time import StreamTime

START_NS, BEGAN_NS = 1_780_000_000_000_000_000, 1_795_000_000_000_000_000


def test_the_world_stands_at_its_start_when_it_began() -> None:
    assert StreamTime(START_NS, BEGAN_NS, 60.0).at(BEGAN_NS) == START_NS


def test_a_wall_second_is_as_many_stream_seconds_as_the_speed() -> None:
    clock = StreamTime(START_NS, BEGAN_NS, 20.0)
    assert clock.at(BEGAN_NS + 1_000_000_000) == START_NS + 20_000_000_000


def test_a_whole_speed_is_exact_after_years() -> None:
    wall_ns = 3_155_760_000_000_000_001
    clock = StreamTime(START_NS, BEGAN_NS, 3.0)
    assert clock.at(BEGAN_NS + wall_ns) == START_NS + 3 * wall_ns


@pytest.mark.parametrize("speed", [0.25, 1.0, 7.5, 60.0])
def test_the_way_back_leads_to_the_same_instant(speed: float) -> None:
    clock = StreamTime(START_NS, BEGAN_NS, speed)
    wall_ns = BEGAN_NS + 123_456_789_012
    assert abs(clock.wall_of(clock.at(wall_ns)) - wall_ns) <= 1 / speed + 1


def test_a_wait_shrinks_with_the_speed() -> None:
    assert StreamTime(START_NS, BEGAN_NS, 50.0).wall_s(10.0) == 0.2


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clock_that_does_not_run_forward_is_refused(speed: float) -> None:
    with pytest.raises(InvariantError):
        StreamTime(START_NS, BEGAN_NS, speed)
