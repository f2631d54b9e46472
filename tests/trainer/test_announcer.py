"""What is published by whomever reaches the stream, once, also after the bus was away."""

from pathlib import Path

import pytest

from services.trainer import serving
from services.trainer.announcer import Announcer
from tests.trainer.live_scene import FlakyBus, actions, context
from tests.trainer.test_publish import make_bundle


@pytest.fixture
def bus() -> FlakyBus:
    return FlakyBus()


def activate(root: Path, distance_max: float) -> str:
    own = make_bundle(root, distance_max)
    serving.activate(root, own, reason="wanted", overrides_gate=True, ts_ns=7)
    return own


def test_an_activation_from_a_shell_is_posted_once(tmp_path: Path, bus: FlakyBus) -> None:
    announcer = Announcer(context(tmp_path, bus))
    announcer.step(0.0)
    assert actions(bus) == []
    first = activate(tmp_path, 0.1)
    for now_s in (1.0, 2.0, 3.0):
        announcer.step(now_s)
    second = activate(tmp_path, 0.2)
    announcer.step(4.0)
    assert actions(bus) == [("activated", first), ("activated", second)]


def test_a_restart_posts_nothing_twice(tmp_path: Path, bus: FlakyBus) -> None:
    activate(tmp_path, 0.1)
    for _ in range(2):
        Announcer(context(tmp_path, bus)).step(0.0)
    assert len(actions(bus)) == 1


def test_a_redis_that_started_empty_is_told_again(tmp_path: Path, bus: FlakyBus) -> None:
    announcer = Announcer(context(tmp_path, bus))
    activate(tmp_path, 0.1)
    announcer.step(0.0)
    bus.empty()
    announcer.step(1.0)
    announcer.step(2.0)
    assert len(actions(bus)) == 1


def test_a_bus_that_is_away_is_asked_again_later_and_not_at_once(
    tmp_path: Path, bus: FlakyBus
) -> None:
    announcer = Announcer(context(tmp_path, bus))
    activate(tmp_path, 0.1)
    bus.is_down = True
    for tenth in range(600):
        announcer.step(tenth / 10)
    assert bus.calls < 60
    bus.is_down = False
    announcer.step(70.0)
    assert len(actions(bus)) == 1


def test_an_unchanged_journal_costs_one_question(tmp_path: Path, bus: FlakyBus) -> None:
    announcer = Announcer(context(tmp_path, bus))
    activate(tmp_path, 0.1)
    announcer.step(0.0)
    before = bus.calls
    announcer.step(1.0)
    assert bus.calls == before + 1
