"""How far services have come, read from what they wrote."""

from pathlib import Path

from libs.common.archive import HOUR_NS
from libs.common.checkpoint import write_checkpoint
from libs.common.events import Event
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.streams import stream
from services.console.positions import live_begin_ns, streamed, trader_ns, unfinished, writer_ns
from tests.common.samples import T0_NS, quote, tick

BTC = "BTC-USD"


def write(root: Path, bus: MemoryBus, kind: str, *numbers: int, whole: bool = True) -> Outbox:
    """Write quotes (or nothing) with their ticks, as the stream's writer does."""
    outbox = Outbox(root, bus, writer=stream(kind).writers[0], kind=kind, underlying=BTC)
    outbox.begin(T0_NS - 1)
    events: list[Event] = []
    for n in numbers:
        events += [quote(n)] if kind == "snapshots" else []
        events += [tick(n)]
    outbox.append(events if whole else events[:-1])
    outbox.flush()
    return outbox


def read(bus: MemoryBus, kind: str, *, ack: bool = True) -> None:
    name = f"hawk:{{{BTC}}}:{kind}"
    found = bus.read(name, group="trader", consumer="trader", count=100, block_s=0)
    if ack:
        bus.ack(name, group="trader", ids=[d.entry_id for d in found])


def test_a_writer_stands_at_its_last_whole_instant(tmp_path: Path) -> None:
    assert writer_ns(tmp_path, "snapshots", BTC) == -1
    write(tmp_path, MemoryBus(), "snapshots", 1, 2, 3, whole=False)
    assert writer_ns(tmp_path, "snapshots", BTC) == tick(2).ts_ns


def test_a_sealed_hour_keeps_its_position(tmp_path: Path) -> None:
    outbox = write(tmp_path, MemoryBus(), "snapshots", 1, 2)
    outbox.seal(T0_NS + HOUR_NS)
    assert writer_ns(tmp_path, "snapshots", BTC) == tick(2).ts_ns


def test_the_live_part_begins_behind_what_was_archived(tmp_path: Path) -> None:
    assert live_begin_ns(tmp_path) is None
    write(tmp_path, MemoryBus(), "snapshots", 1)
    assert streamed(tmp_path) == [BTC]
    assert live_begin_ns(tmp_path) == T0_NS


def test_everyone_is_waited_for_in_the_order_of_the_pipeline(tmp_path: Path) -> None:
    bus = MemoryBus()
    write(tmp_path, bus, "snapshots", 1, 2)
    assert "features of BTC-USD is at the beginning" in (unfinished(tmp_path, bus) or "")
    write(tmp_path, bus, "features", 1)
    assert "features of BTC-USD is 1.000 s behind" in (unfinished(tmp_path, bus) or "")
    write(tmp_path, bus, "features", 2)
    assert "predictor" in (unfinished(tmp_path, bus) or "")
    write(tmp_path, bus, "forecasts", 1, 2)
    assert "trader" in (unfinished(tmp_path, bus) or "")
    write_checkpoint(tmp_path, b"{}", tick_ns=tick(2).ts_ns, run="live")
    assert trader_ns(tmp_path) == tick(2).ts_ns
    assert unfinished(tmp_path, bus) is None


def test_a_trader_that_has_read_all_need_not_have_written_it_down(tmp_path: Path) -> None:
    bus = MemoryBus()
    for kind in ("snapshots", "features", "forecasts"):
        write(tmp_path, bus, kind, 1, 2)
    read(bus, "snapshots")
    read(bus, "forecasts", ack=False)
    assert "trader is at the beginning" in (unfinished(tmp_path, bus) or "")
    bus = MemoryBus()
    for kind in ("snapshots", "features", "forecasts"):
        write(tmp_path, bus, kind)
    read(bus, "snapshots")
    read(bus, "forecasts")
    assert unfinished(tmp_path, bus) is None


def test_where_nothing_was_streamed_nothing_is_waited_for(tmp_path: Path) -> None:
    assert unfinished(tmp_path, MemoryBus()) is None
