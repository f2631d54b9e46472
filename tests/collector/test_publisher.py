"""Writing instants: a tick for all at each, journal before stream, and no event twice."""

from pathlib import Path

import pytest

from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.events import Alert, SpotSnapshot, Tick, event_id
from libs.common.reader import OrderedReader
from libs.common.service import begin_ns, underlyings
from libs.common.stream_writer import StreamWriter, counter_path
from libs.common.streams import stream_name
from services.collector.instants import Instant
from services.collector.publisher import Lag, Publisher
from services.collector.recording import import_recording
from tests.collector import folders, stage
from tests.collector.stage import context, shape, spot, spots, streamed, ticks

T0 = folders.OPEN_NS
S = folders.S
BTC, ETH, SOL = "BTC-USD", "ETH-USD", "SOL-USD"


def test_every_underlying_ticks_at_every_instant_behind_its_events(tmp_path: Path) -> None:
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [ETH, BTC])
    assert publisher.publish([*spots(T0), *spots(T0 + 1, underlying=ETH)])
    assert shape(streamed(bus, BTC)) == [("SpotSnapshot", T0), ("Tick", T0), ("Tick", T0 + 1)]
    assert shape(streamed(bus, ETH)) == [("Tick", T0), ("SpotSnapshot", T0 + 1), ("Tick", T0 + 1)]


def test_a_tick_has_the_id_that_replay_gives_it(tmp_path: Path) -> None:
    bus = stage.Bus()
    Publisher(context(tmp_path, bus), [BTC]).publish(spots(T0))
    assert streamed(bus, BTC)[-1].id == event_id("Tick", BTC, T0)


def test_what_was_streamed_before_ticks_on(tmp_path: Path) -> None:
    bus = stage.Bus()
    Publisher(context(tmp_path, bus), [BTC, ETH]).publish(spots(T0))
    later = Publisher(context(tmp_path, bus), [BTC])
    assert later.underlyings == [BTC, ETH]
    later.publish(spots(T0 + 1))
    assert ticks(streamed(bus, ETH)) == [T0, T0 + 1]


def test_the_position_is_the_last_tick(tmp_path: Path) -> None:
    first = Publisher(context(tmp_path), [BTC])
    assert first.position_ns == 0
    first.publish(spots(T0, T0 + 5))
    assert first.position_ns == T0 + 5
    assert Publisher(context(tmp_path), [BTC]).position_ns == T0 + 5


def test_the_first_start_goes_on_behind_the_archive(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "r", spots=[folders.spot(n) for n in range(100)])
    import_recording(folder, tmp_path / "data")
    newest = folders.CLOSE_NS + 60 * S  # the result of the one market
    publisher = Publisher(context(tmp_path / "data"), [BTC, ETH])
    assert publisher.position_ns == newest
    for name in (BTC, ETH):
        assert begin_ns(tmp_path / "data", "collector", "snapshots", name) == newest


@pytest.mark.parametrize("is_early", [True, False])
def test_a_reader_finds_nothing_lost_in_the_first_numbers_behind_an_archive(
    tmp_path: Path, is_early: bool
) -> None:
    places = range(100)
    quotes, trades = [folders.quote(n) for n in places], [folders.spot(n) for n in places]
    folder = folders.write(tmp_path / "r", spots=trades, quotes=quotes)
    import_recording(folder, tmp_path / "data")
    bus = stage.Bus()
    bus.readers = ()
    publisher = Publisher(context(tmp_path / "data", bus), [BTC])
    reading = context(tmp_path / "data", bus, name="trader")

    began_ns = publisher.position_ns

    def reader() -> OrderedReader:
        return OrderedReader(
            reading, kind="snapshots", underlying=BTC, group="trader", after_ns=began_ns
        )

    early = reader()
    assert early.read(block_s=0) == []
    publisher.publish(spots(began_ns + S, began_ns + 2 * S))
    found = (early if is_early else reader()).read(block_s=0)
    assert shape(found) == shape(streamed(bus, BTC))
    assert found[0].seq > 1, "the archive's numbers are not counted on from: nothing is tested"
    assert list(Archive(tmp_path / "data").scan({Alert: 0}, end_ns=TIME_MAX_NS)) == []


def test_a_counter_that_was_removed_stops_no_reader(tmp_path: Path) -> None:
    Publisher(context(tmp_path), [BTC]).publish(spots(T0, T0 + 1))
    path = counter_path(tmp_path, writer="collector", kind="snapshots", underlying=BTC)
    path.unlink()  # as the error about a damaged one says
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [BTC])
    assert underlyings(tmp_path, writer="collector", kind="snapshots") == [BTC]
    assert publisher.position_ns == T0 + 1
    assert begin_ns(tmp_path, "collector", "snapshots", BTC) == T0 - 1
    publisher.publish(spots(T0 + 1, T0 + 2))
    assert streamed(bus, BTC)[-1].seq == 6


def test_what_lies_at_or_before_the_position_is_not_written_again(tmp_path: Path) -> None:
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [BTC])
    publisher.publish(spots(T0, T0 + 1))
    publisher.publish(spots(T0, T0 + 1, T0 + 2))
    assert ticks(streamed(bus, BTC)) == [T0, T0 + 1, T0 + 2]
    assert [event.seq for event in streamed(bus, BTC)] == list(range(1, 7))


def test_a_batch_that_a_kill_cut_is_completed_only_where_it_is_missing(tmp_path: Path) -> None:
    batch = [Instant(T0 + n, {u: [spot(T0 + n, u)] for u in (BTC, ETH)}) for n in range(3)]
    Publisher(context(tmp_path, stage.Bus()), [BTC, ETH]).publish(batch)
    StreamWriter(tmp_path, writer="collector", kind="snapshots", underlying=ETH).cut_after(T0)
    bus = stage.Bus()
    again = Publisher(context(tmp_path, bus), [BTC, ETH])
    assert again.position_ns == T0
    again.publish(batch)
    for name in (BTC, ETH):
        assert ticks(streamed(bus, name)) == [T0, T0 + 1, T0 + 2]
        assert [e.seq for e in streamed(bus, name)] == list(range(1, 7))


def test_a_new_underlying_begins_behind_those_that_run(tmp_path: Path) -> None:
    bus = stage.Bus()
    Publisher(context(tmp_path, bus), [BTC]).publish(spots(T0, T0 + 10))
    publisher = Publisher(context(tmp_path, bus), [BTC, SOL])
    publisher.publish(spots(T0 + 5, T0 + 11, underlying=SOL))
    assert begin_ns(tmp_path, "collector", "snapshots", SOL) == T0 + 10
    assert shape(streamed(bus, SOL)) == [("SpotSnapshot", T0 + 11), ("Tick", T0 + 11)]


def test_a_start_that_was_killed_between_two_begins_goes_on(tmp_path: Path) -> None:
    StreamWriter(tmp_path, writer="collector", kind="snapshots", underlying=BTC).begin(0)
    publisher = Publisher(context(tmp_path), [BTC, ETH])
    assert publisher.position_ns == 0
    assert begin_ns(tmp_path, "collector", "snapshots", ETH) == 0


def test_while_the_bus_is_away_everything_is_journalled_and_comes_later(tmp_path: Path) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC, ETH])
    bus.is_down = True
    assert not publisher.publish(spots(T0, T0 + 1))
    assert not publisher.is_in_step()
    assert "bus" in running.health.reasons()
    stored = Archive(tmp_path).scan({SpotSnapshot: 0}, end_ns=TIME_MAX_NS)
    assert [e.ts_ns for e in stored] == [T0, T0 + 1]
    bus.is_down = False
    while not publisher.flush():
        pass  # until the back-off lets it try
    assert publisher.is_in_step()
    assert ticks(streamed(bus, ETH)) == [T0, T0 + 1]
    assert "bus" not in running.health.reasons()


def test_the_hours_that_are_over_are_sealed(tmp_path: Path) -> None:
    publisher = Publisher(context(tmp_path), [BTC, ETH])
    publisher.publish(spots(T0))
    journals = list((tmp_path / "archive/journal/collector/snapshots").rglob("*.journal"))
    assert len(journals) == 2
    publisher.publish(spots(T0 + HOUR_NS))
    left = list((tmp_path / "archive/journal/collector/snapshots").rglob("*.journal"))
    assert len(left) == 2 and not {*left} & {*journals}
    assert len(list((tmp_path / "archive/spot_snapshot").rglob("*.parquet"))) == 1


def test_a_reader_that_is_not_there_yet_has_read_nothing(tmp_path: Path) -> None:
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [BTC, ETH])
    assert publisher.lag() == Lag(0, "")
    bus.readers = ("features",)
    publisher.publish(spots(T0, T0 + 1))
    assert publisher.lag() == Lag(4, "trader of BTC-USD")


def test_the_lag_is_that_of_the_slowest_reader(tmp_path: Path) -> None:
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [BTC, ETH])
    publisher.publish(spots(T0))
    assert publisher.lag() is not None and publisher.lag()[0] == 0  # type: ignore[index]
    bus.readers = ()
    publisher.publish(spots(T0 + 1, T0 + 2))
    bus.follow(stream_name("snapshots", BTC), "features", "trader")
    bus.follow(stream_name("snapshots", ETH), "features")
    assert publisher.lag() == Lag(2, "trader of ETH-USD")


def test_a_monitor_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    bus = stage.Bus()
    publisher = Publisher(context(tmp_path, bus), [BTC])
    bus.read(stream_name("snapshots", BTC), group="monitor", consumer="c", count=1, block_s=0)
    publisher.publish(spots(T0))
    assert publisher.lag() == Lag(0, "trader of BTC-USD")


def test_a_bus_that_cannot_say_is_no_lag_at_all(tmp_path: Path) -> None:
    bus = stage.Bus()
    running = context(tmp_path, bus)
    publisher = Publisher(running, [BTC])
    bus.is_down = True
    assert publisher.lag() is None
    assert "bus" in running.health.reasons()
    bus.is_down = False
    assert publisher.lag() is not None
    assert "bus" not in running.health.reasons()


@pytest.mark.parametrize("names", [[], [BTC]])
def test_nothing_to_write_is_fine(tmp_path: Path, names: list[str]) -> None:
    publisher = Publisher(context(tmp_path), names)
    assert publisher.publish([])
    publisher.close()
    assert not list(Archive(tmp_path).scan({Tick: 0}, end_ns=TIME_MAX_NS))


def test_an_hour_that_a_kill_left_unsealed_is_sealed_at_the_next_start(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path, writer="collector", kind="snapshots", underlying=BTC)
    writer.begin(0)
    for ts_ns in (T0, T0 + HOUR_NS):
        writer.append([spot(ts_ns), Tick(ts_ns=ts_ns, id="0" * 16, underlying=BTC)])
    writer.close()
    Publisher(context(tmp_path), [BTC])
    assert len(list((tmp_path / "archive/spot_snapshot").rglob("*.parquet"))) == 1
    assert len(list((tmp_path / "archive/journal").rglob("*.journal"))) == 1
