"""The light reader: acknowledges at once, counts what it skipped, waits out a bus that is away."""

from pathlib import Path

import pytest

from libs.common.streams import stream_name
from services.monitor import metrics
from services.monitor.reading import GROUP, LightReader
from tests.monitor.scene import BTC, Scene, tick

NAME = stream_name("snapshots", BTC)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def reader(scene: Scene) -> LightReader:
    return LightReader(scene.context, kind="snapshots", underlying=BTC)


def group(scene: Scene) -> tuple[int, int]:
    """Return the pending entries and the lag of the monitor's group."""
    facts = scene.bus.facts(NAME)
    found = next(g for g in facts.groups if g.name == GROUP)
    return found.pending, found.lag_true


def write(scene: Scene, first: int, last: int) -> None:
    scene.write(scene.collector, [tick(number) for number in range(first, last)])


def test_what_was_read_is_acknowledged_and_never_read_twice(scene: Scene) -> None:
    write(scene, 1, 8)
    own = reader(scene)
    assert [len(own.read(5, 0.0)) for _ in range(3)] == [5, 2, 0]
    assert group(scene) == (0, 0)


def test_what_a_killed_monitor_was_given_is_acknowledged(scene: Scene) -> None:
    write(scene, 1, 8)
    scene.bus.read(NAME, group=GROUP, consumer=GROUP, count=5, block_s=0)
    assert len(reader(scene).read(100, 0.0)) == 2
    assert group(scene) == (0, 0)


def test_what_was_trimmed_unread_is_counted(scene: Scene) -> None:
    skipped = metrics.SKIPPED.labels("snapshots")
    before = skipped._value.get()
    write(scene, 1, 4)
    own = reader(scene)
    own.read(2, 0.0)
    write(scene, 4, 10)
    scene.bus.trim(NAME, entries_max=1)
    assert len(own.read(100, 0.0)) == 1
    assert skipped._value.get() - before == 6


def test_a_bus_that_is_away_is_reported_once_and_not_asked_all_the_time(scene: Scene) -> None:
    own = reader(scene)
    scene.bus.is_down = True
    before = scene.bus.calls
    for hundredth in range(1_000):
        assert own.read(10, hundredth / 100) == []
    assert scene.bus.calls - before < 30
    assert scene.context.health.reasons() != {}
    scene.bus.is_down = False
    own.read(10, 20.0)
    assert scene.context.health.reasons() == {}
