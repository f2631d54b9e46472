"""Playing: on time, in batches, behind its readers at full speed, whatever bus and disk do."""

from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import pytest

from libs.common import durable
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.events import SpotSnapshot
from libs.common.streams import stream_name
from services.collector import play as module
from services.collector.instants import Instant
from services.collector.pace import HOLE_NS_MAX, Pace
from services.collector.play import BATCH_EVENTS_MAX, LINGER_S, Player
from services.collector.publisher import Publisher
from tests.collector import folders, stage
from tests.collector.stage import context, sign, spots, streamed, ticks

T0, S = folders.OPEN_NS, folders.S
MS = S // 1_000
BTC = "BTC-USD"


class Recorder(Publisher):
    """A publisher that notes when each batch came, and how it was cut."""

    def __init__(self, running: stage.Context, names: list[str]) -> None:
        super().__init__(running, names)
        self.batches: list[tuple[float, list[int]]] = []
        self._sign = sign(running)

    def publish(self, batch: list[Instant]) -> bool:  # type: ignore[override]
        """Note and publish."""
        self.batches.append((round(self._sign.now_s, 6), [i.ts_ns - T0 for i in batch]))
        return super().publish(batch)


def played(
    tmp_path: Path, times: list[int], *, speed: float | None, bus: stage.Bus | None = None
) -> Recorder:
    """Play a price at each time; return what was written when."""
    running = context(tmp_path, bus)
    recorder = Recorder(running, [BTC])
    pace = Pace(speed, hole_ns_max=HOLE_NS_MAX) if speed else None
    Player(running, recorder, pace, clock_s=sign(running).clock_s).play(spots(*times))
    return recorder


def test_each_instant_is_written_when_it_is_due(tmp_path: Path) -> None:
    found = played(tmp_path, [T0, T0 + S, T0 + 4 * S], speed=2.0).batches
    assert found == [
        (0.0, [0]),
        (0.5 + LINGER_S, [S]),
        (2.0 + LINGER_S, [4 * S]),
    ]


def test_what_is_due_together_is_written_together(tmp_path: Path) -> None:
    times = [T0, T0 + S, T0 + S + 5 * MS, T0 + S + 19 * MS, T0 + S + 30 * MS]
    found = played(tmp_path, times, speed=1.0).batches
    assert [[t // MS for t in batch] for _, batch in found] == [[0], [1_000, 1_005, 1_019], [1_030]]


def test_a_hole_costs_no_time(tmp_path: Path) -> None:
    found = played(tmp_path, [T0, T0 + S, T0 + 10 * HOUR_NS], speed=1.0).batches
    assert found[-1][0] == pytest.approx(1.0 + LINGER_S)


def test_at_full_speed_a_batch_is_full(tmp_path: Path) -> None:
    found = played(tmp_path, [T0 + n for n in range(1_200)], speed=None).batches
    assert [len(batch) for _, batch in found] == [BATCH_EVENTS_MAX // 2] * 2 + [200]
    assert sum(len(batch) for _, batch in found) == 1_200


def test_a_batch_is_of_one_hour(tmp_path: Path) -> None:
    hour = T0 // HOUR_NS * HOUR_NS + HOUR_NS - T0
    found = played(tmp_path, [T0, T0 + hour - 1, T0 + hour, T0 + hour + 1], speed=None).batches
    assert [batch for _, batch in found] == [[0, hour - 1], [hour, hour + 1]]


def test_the_stream_clock_follows(tmp_path: Path) -> None:
    running = context(tmp_path)
    Player(running, Publisher(running, [BTC]), None).play(spots(T0, T0 + 7))
    assert running.clock.now_ns == T0 + 7


def test_a_source_that_has_nothing_yet_does_not_hold_back_what_is_due(tmp_path: Path) -> None:
    running = context(tmp_path)
    recorder = Recorder(running, [BTC])
    first, second = spots(T0, T0 + 1)

    def source() -> Iterator[Instant | None]:
        yield first
        assert recorder.batches == []
        yield None
        assert recorder.batches == [(0.0, [0])]
        yield second

    Player(running, recorder, None).play(source())
    assert [batch for _, batch in recorder.batches] == [[0], [1]]


def test_at_full_speed_it_waits_for_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAG_MAX", 50)
    monkeypatch.setattr(module, "BATCH_EVENTS_MAX", 20)
    bus = stage.Bus()
    bus.readers = ()
    running = context(tmp_path, bus)
    name = stream_name("snapshots", BTC)
    lags: list[int] = []

    def let_them_read() -> None:
        """The readers read only while the player waits, the trader every third time."""
        facts = bus.facts(name)
        assert facts is not None
        delivered = {group.name: group.delivered.seq for group in facts.groups}
        lags.append(facts.last.seq - min(delivered.get(g, 0) for g in stage.GROUPS))
        bus.follow(name, "features")
        if sign(running).waits % 3 == 0:
            bus.follow(name, "trader")

    sign(running).on_wait = let_them_read
    Player(running, Publisher(running, [BTC]), None).play(spots(*range(T0, T0 + 500)))
    assert len(ticks(streamed(bus, BTC))) == 500
    assert max(lags) <= 50 + 20 + 2
    assert sign(running).waits > 10


def test_at_a_speed_it_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAG_MAX", 0)
    bus = stage.Bus()
    bus.readers = ()
    played(tmp_path, [T0 + n * S for n in range(20)], speed=1.0, bus=bus)
    assert len(ticks(streamed(bus, BTC))) == 20
    assert bus.looks == 0


def test_at_a_speed_it_journals_on_while_the_bus_is_away_and_then_drains(tmp_path: Path) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC])
    bus.is_down = True
    pace = Pace(1.0, hole_ns_max=HOLE_NS_MAX)
    player = Player(running, publisher, pace, clock_s=sign(running).clock_s)
    player.play(spots(*range(T0, T0 + 5 * S, S)))
    assert len(list(Archive(tmp_path).scan({SpotSnapshot: 0}, end_ns=TIME_MAX_NS))) == 5
    assert streamed(bus, BTC) == []
    looks = sign(running).waits

    def come_back() -> None:
        bus.is_down = sign(running).waits < looks + 3

    sign(running).on_wait = come_back
    player.drain()
    assert len(ticks(streamed(bus, BTC))) == 5


@pytest.mark.parametrize("trouble", ["is_down", "is_full"])
def test_at_full_speed_it_waits_for_a_bus_that_takes_nothing(tmp_path: Path, trouble: str) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC])
    setattr(bus, trouble, True)
    journalled: list[int] = []

    def look() -> None:
        stored = Archive(tmp_path).scan({SpotSnapshot: 0}, end_ns=TIME_MAX_NS)
        journalled.append(len(list(stored)))
        setattr(bus, trouble, len(journalled) < 4)

    sign(running).on_wait = look
    Player(running, publisher, None).play(spots(*range(T0, T0 + 1_200)))
    assert set(journalled[:4]) == {BATCH_EVENTS_MAX // 2}, "no batch behind the one that waits"
    assert len(ticks(streamed(bus, BTC))) == 1_200


def test_a_drain_ends_at_the_stop_sign(tmp_path: Path) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC])
    bus.is_down = True
    publisher.publish(spots(T0))
    sign(running).on_wait = running.stop.set
    Player(running, publisher, None).drain()
    assert sign(running).waits == 1


def test_at_the_stop_sign_what_is_not_due_is_left_for_the_next_start(tmp_path: Path) -> None:
    running = context(tmp_path)
    recorder = Recorder(running, [BTC])
    sign(running).on_wait = running.stop.set
    pace = Pace(1.0, hole_ns_max=None)
    Player(running, recorder, pace, clock_s=sign(running).clock_s).play(spots(T0, T0 + S))
    assert recorder.batches == [(0.0, [0])]
    later = context(tmp_path)
    again = Publisher(later, [BTC])
    Player(later, again, None).play(spots(T0, T0 + S))
    assert again.position_ns == T0 + S


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """While [True], no journal takes a byte."""
    is_full = [False]

    def refuse(step: str) -> None:
        if is_full[0] and step == "journal.after_write":
            raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "on_step", refuse)
    yield is_full


def test_a_full_disk_is_waited_out_and_nothing_is_lost_or_twice(
    tmp_path: Path, full_disk: list[bool]
) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC, "ETH-USD"])
    publisher.publish(spots(T0))
    full_disk[0] = True
    reasons: list[str] = []

    def look() -> None:
        reasons.append(running.health.reasons().get("journal", ""))
        full_disk[0] = len(reasons) < 3

    sign(running).on_wait = look
    Player(running, publisher, None).play(spots(T0 + 1, T0 + 2))
    assert len(reasons) == 3 and all("No space left" in reason for reason in reasons)
    assert "journal" not in running.health.reasons()
    for name in (BTC, "ETH-USD"):
        assert ticks(streamed(bus, name)) == [T0, T0 + 1, T0 + 2]
        assert len({e.seq for e in streamed(bus, name)}) == len(streamed(bus, name))


def test_on_a_full_disk_the_stop_sign_is_heard(tmp_path: Path, full_disk: list[bool]) -> None:
    running = context(tmp_path)
    publisher = Publisher(running, [BTC])
    full_disk[0] = True
    sign(running).on_wait = running.stop.set
    Player(running, publisher, None).play(spots(T0))
    assert publisher.position_ns == 0
