"""`hawk tail` on a real Redis, on the bus in memory, and on the running journals."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.bus import Bus
from libs.common.checks import UsageError
from libs.common.events import Event
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.redis_bus import connect
from libs.common.streams import CONTROL, STREAMS, stream
from services.console.tailing import (
    JournalFollower,
    StreamFollower,
    tail,
    wanted_of,
)
from tests.common.samples import model_event, quote, tick
from tests.redis_server import needs_redis, redis_server

BTC = "BTC-USD"
SNAPSHOTS = stream("snapshots")


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    with redis_server() as server:
        found = connect(server.url)
        yield found
        found.close()


def outbox(root: Path, bus: Bus, kind: str = "snapshots", underlying: str = BTC) -> Outbox:
    writer = stream(kind).writers[0]
    return Outbox(root, bus, writer=writer, kind=kind, underlying=underlying)


def write(writer: Outbox, events: Sequence[Event]) -> None:
    writer.append(events)
    assert writer.flush()


def ids(events: Sequence[Event]) -> list[str]:
    return [event.id for event in events]


def never(seconds: float) -> None:
    raise AssertionError("nothing to wait for")


def test_the_newest_come_in_order(tmp_path: Path, bus: Bus) -> None:
    events = [quote(n) for n in range(50)]
    write(outbox(tmp_path, bus), events)
    follower = StreamFollower(bus, SNAPSHOTS, BTC)
    assert ids(list(tail([follower], count=7, follow=False, rest=never))) == ids(events[-7:])


def test_more_than_there_are_is_all_of_them(tmp_path: Path, bus: Bus) -> None:
    events = [quote(n) for n in range(3)]
    write(outbox(tmp_path, bus), events)
    assert ids(StreamFollower(bus, SNAPSHOTS, BTC).last(10)) == ids(events)
    assert StreamFollower(bus, SNAPSHOTS, BTC).last(0) == []
    assert StreamFollower(bus, SNAPSHOTS, "ETH-USD").last(10) == []


def test_following_yields_what_comes_after_once(tmp_path: Path, bus: Bus) -> None:
    writer = outbox(tmp_path, bus)
    write(writer, [quote(n) for n in range(5)])
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        write(writer, [quote(10 + len(rests)), tick(10 + len(rests))])

    follower = StreamFollower(bus, SNAPSHOTS, BTC)
    found = list(islice(tail([follower], count=2, follow=True, ticks=True, rest=rest), 6))
    assert ids(found[:2]) == ids([quote(3), quote(4)])
    assert ids(found[2:]) == ids([quote(11), tick(11), quote(12), tick(12)])
    assert len(rests) == 2


def test_ticks_are_left_out_and_do_not_hide_the_rest(tmp_path: Path, bus: Bus) -> None:
    events = [quote(0), quote(1), *(tick(n) for n in range(2, 300))]
    write(outbox(tmp_path, bus), events)
    for follower in (
        StreamFollower(bus, SNAPSHOTS, BTC),
        JournalFollower(tmp_path, SNAPSHOTS, BTC),
    ):
        assert ids(list(tail([follower], count=2, follow=False, rest=never))) == ids(events[:2])
        assert len(list(tail([follower], count=3, follow=False, ticks=True, rest=never))) == 3
        assert ids(list(tail([follower], count=9, follow=False, rest=never))) == ids(events[:2])
        assert follower.more() == []


def test_following_goes_on_after_the_stream_was_deleted(tmp_path: Path, bus: Bus) -> None:
    writer = outbox(tmp_path / "one", bus)
    write(writer, [quote(n) for n in range(5)])
    follower = StreamFollower(bus, SNAPSHOTS, BTC)
    follower.last(1)
    bus.remove(writer.name)
    write(outbox(tmp_path / "two", bus), [quote(1)])
    assert follower.more() == []
    assert ids(follower.more()) == ids([quote(1)])


def test_a_control_stream_is_tailed_like_any_other(tmp_path: Path, bus: Bus) -> None:
    writer = outbox(tmp_path, bus, "models", CONTROL)
    events = [model_event(n) for n in range(12)]
    write(writer, events)
    follower = StreamFollower(bus, stream("models"), CONTROL)
    assert ids(follower.last(4)) == ids(events[-4:])


def test_two_underlyings_are_merged_by_time(tmp_path: Path, bus: Bus) -> None:
    followers = []
    for underlying, numbers in ((BTC, (0, 2, 4)), ("ETH-USD", (1, 3, 5))):
        writer = outbox(tmp_path, bus, underlying=underlying)
        write(writer, [quote(n) for n in numbers])
        followers.append(StreamFollower(bus, SNAPSHOTS, underlying))
    found = list(tail(followers, count=4, follow=False, rest=never))
    assert ids(found) == ids([quote(n) for n in (2, 3, 4, 5)])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 70))
def test_bisection_finds_exactly_the_newest_whatever_shares_a_millisecond(
    steps: list[int], count: int
) -> None:
    import tempfile

    bus = MemoryBus()
    at, events = 0, []
    for n, step in enumerate(steps):
        at += step
        events.append(quote(at, market=f"M-{n}"))
    with tempfile.TemporaryDirectory() as folder:
        write(outbox(Path(folder), bus), events)
    found = StreamFollower(bus, SNAPSHOTS, BTC).last(count)
    assert ids(found) == ids(events[-count:])


def test_the_newest_of_a_long_stream_are_found_without_reading_it_whole(tmp_path: Path) -> None:
    class Counting(MemoryBus):
        read_entries = 0

        def entries(self, name, *, after, count):  # type: ignore[no-untyped-def]
            found = super().entries(name, after=after, count=count)
            self.read_entries += len(found)
            return found

    bus = Counting()
    write(outbox(tmp_path, bus), [quote(n) for n in range(3_000)])
    assert len(StreamFollower(bus, SNAPSHOTS, BTC).last(10)) == 10
    assert bus.read_entries < 100


def test_a_trimmed_stream_gives_what_is_left(tmp_path: Path, bus: Bus) -> None:
    writer = outbox(tmp_path, bus)
    events = [quote(n) for n in range(100)]
    write(writer, events)
    bus.trim(writer.name, entries_max=20)
    assert ids(StreamFollower(bus, SNAPSHOTS, BTC).last(90)) == ids(events[-20:])


def test_journals_give_the_same_without_a_bus(tmp_path: Path) -> None:
    writer = outbox(tmp_path, MemoryBus())
    writer.append([quote(n) for n in range(5)])
    follower = JournalFollower(tmp_path, SNAPSHOTS, BTC)
    assert ids(follower.last(2)) == ids([quote(3), quote(4)])
    assert follower.more() == []
    writer.append([quote(7)])
    assert ids(follower.more()) == ids([quote(7)])
    assert follower.more() == []


def test_journals_of_several_writers_of_a_control_stream_are_merged(tmp_path: Path) -> None:
    for number, name in enumerate(("trainer", "predictor")):
        Outbox(tmp_path, MemoryBus(), writer=name, kind="models", underlying=CONTROL).append(
            [model_event(number)]
        )
    follower = JournalFollower(tmp_path, stream("models"), CONTROL)
    assert ids(follower.last(5)) == ids([model_event(0), model_event(1)])


def test_names_of_streams_are_resolved(tmp_path: Path) -> None:
    outbox(tmp_path, MemoryBus()).append([quote(0)])
    outbox(tmp_path, MemoryBus(), underlying="ETH-USD").append([quote(0)])
    assert wanted_of("snapshots", None, tmp_path).underlyings == (BTC, "ETH-USD")
    assert wanted_of("snapshots", BTC, tmp_path).underlyings == (BTC,)
    assert wanted_of("hawk:{SOL-USD}:orders", None, tmp_path).underlyings == ("SOL-USD",)
    assert wanted_of("hawk:{control}:models", None, tmp_path).underlyings == (CONTROL,)
    assert wanted_of("models", None, tmp_path).underlyings == (CONTROL,)


@pytest.mark.parametrize(
    ("name", "underlying", "words"),
    [
        ("snapshot", None, "streams: snapshots, features, forecasts, orders, models"),
        ("hawk:{BTC-USD}:nope", None, "no stream"),
        ("hawk:{BTC-USD}:models", None, "models is hawk:{control}:models"),
        ("models", BTC, "leave out --underlying"),
        ("snapshots", None, "name one with --underlying"),
        ("\x1b[2J", None, "no stream '\\x1b[2J'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(
    tmp_path: Path, name: str, underlying: str | None, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        wanted_of(name, underlying, tmp_path)
    assert words in str(caught.value)
    assert len(STREAMS) == 8
