"""`hawk streams`: the lag that is true, the readers that are missing, from both buses."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from libs.common.bus import Bus
from libs.common.checks import UnavailableError
from libs.common.events import Event
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.redis_bus import connect
from libs.common.settings import Settings
from libs.common.streams import stream
from libs.common.web import Web
from services.console.listing import (
    PAGE,
    StreamLine,
    page,
    print_streams,
    run_streams,
    stream_lines,
)
from services.console.running import Running, announce, only_one
from tests.common.samples import quote
from tests.console.asgi import ask
from tests.console.ports import free_port
from tests.redis_server import needs_redis, redis_server

NAME = "hawk:{BTC-USD}:snapshots"


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    with redis_server() as server:
        found = connect(server.url)
        yield found
        found.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


def write(root: Path, bus: Bus, count: int, *, first: int = 0) -> None:
    writer = Outbox(root, bus, writer="collector", kind="snapshots", underlying="BTC-USD")
    events: list[Event] = [quote(n) for n in range(first, first + count)]
    writer.append(events)
    assert writer.flush()


def read(bus: Bus, count: int, *, acks: int) -> None:
    found = bus.read(NAME, group="features", consumer="features", count=count, block_s=0)
    bus.ack(NAME, group="features", ids=[d.entry_id for d in found[:acks]])


def test_lag_pending_and_missing_readers(tmp_path: Path, bus: Bus) -> None:
    write(tmp_path, bus, 10)
    read(bus, 6, acks=4)
    (line,) = stream_lines(bus, tmp_path)
    assert (line.name, line.length) == (NAME, 10)
    assert line.last.endswith("-10")
    (group,) = line.groups
    assert (group.name, group.pending, group.lag) == ("features", 2, 4)
    assert set(line.missing) == set(stream("snapshots").readers) - {"features"}


def test_the_lag_counts_what_was_trimmed_unread(tmp_path: Path, bus: Bus) -> None:
    write(tmp_path, bus, 10)
    read(bus, 2, acks=2)
    bus.trim(NAME, entries_max=3)
    (line,) = stream_lines(bus, tmp_path)
    # Redis says 3 here: what it can still give. What was missed is 8.
    assert (line.length, line.groups[0].lag) == (3, 8)


def test_no_stream_is_no_line(tmp_path: Path, bus: Bus) -> None:
    assert stream_lines(bus, tmp_path) == []


def test_the_page_answers_with_the_same_lines(tmp_path: Path) -> None:
    bus = MemoryBus()
    write(tmp_path, bus, 3)
    status, content = ask(page(bus, tmp_path))
    assert status == 200
    assert msgspec.json.decode(content, type=list[StreamLine]) == stream_lines(bus, tmp_path)
    assert ask(page(bus, tmp_path), "DELETE")[0] == 405


def test_streams_in_memory_are_asked_of_the_process(tmp_path: Path, settings: Settings) -> None:
    bus, web = MemoryBus(), Web()
    write(tmp_path, bus, 3)
    web.mount(PAGE, page(bus, tmp_path))
    port = free_port()
    web.start("127.0.0.1", port)
    state = Running(pid=1, bus="memory", source="s", host="0.0.0.0", ports={"predictor": port})
    try:
        with only_one(tmp_path):
            announce(tmp_path, state)
            assert run_streams(tmp_path, settings) == stream_lines(bus, tmp_path)
    finally:
        web.stop()
    with only_one(tmp_path):
        announce(tmp_path, state)
        with pytest.raises(UnavailableError, match="does not answer"):
            run_streams(tmp_path, settings)


def test_without_anything_running_it_says_so(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(UnavailableError, match="no `hawk up` runs"):
        run_streams(tmp_path, settings)


def test_a_missing_reader_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bus = MemoryBus()
    write(tmp_path, bus, 3)
    print_streams(stream_lines(bus, tmp_path))
    out = capsys.readouterr().out
    assert "trader       MISSING" in out
    print_streams([])
    assert "no stream yet" in capsys.readouterr().out
