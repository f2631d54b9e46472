"""The whole collector: a recording played live is a recording imported, whatever kills it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checks import ArchiveError, ConfigError
from libs.common.events import Event, Tick
from libs.common.journal import read_journal
from libs.common.redis_bus import connect
from libs.common.streams import stream_name
from services.collector import play, shell
from services.collector.recording import import_recording
from tests.collector import folders, stage
from tests.collector.folders import OPEN_NS, S
from tests.collector.stage import KINDS, bodies, context, sign, streamed, ticks
from tests.redis_server import RedisServer, needs_redis, redis_server, wait_until

BTC, ETH = "BTC-USD", "ETH-USD"
KILLED = 9


def recording(folder: Path, *, hours: int = 3, step_s: int = 60) -> Path:
    """Write a recording of two underlyings and a few hours, with a hole in it."""
    markets, quotes, spots = [], [], []
    for n in range(hours):
        first_ns = OPEN_NS + n * HOUR_NS
        life = {"open_ns": first_ns, "close_ns": first_ns + HOUR_NS}
        for name, place in (("B", BTC), ("E", ETH)):
            markets.append(folders.market(f"{name}-{n}", underlying=place, **life))
            times = [first_ns + s * S for s in range(0, 3_600, step_s) if not 900 < s < 1_800]
            quotes += [folders.quote(0, ts_ns=ts, market=f"{name}-{n}") for ts in times]
            spots += [folders.spot(0, ts_ns=ts + S, underlying=place) for ts in times]
    return folders.write(folder, markets=markets, quotes=quotes, spots=spots)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("recorded") / "recording")


@pytest.fixture(scope="module")
def imported(recorded: Path) -> dict[str, list[bytes]]:
    """Return what an import of the recording stores."""
    import_recording(recorded, recorded.parent / "imported")
    return bodies(recorded.parent / "imported")


def play_all(root: Path, folder: Path, *, speed: str = "max") -> stage.Bus:
    bus = stage.Bus()
    shell.run(context(root, bus, source=f"recording:{folder}@{speed}"))
    return bus


def test_a_recording_played_live_leaves_what_an_import_leaves(
    tmp_path: Path, recorded: Path, imported: dict[str, list[bytes]]
) -> None:
    play_all(tmp_path, recorded)
    assert bodies(tmp_path) == imported
    assert all(imported.values()), "of every kind"


def test_every_underlying_has_every_tick_and_ids_without_a_hole(
    tmp_path: Path, recorded: Path
) -> None:
    bus = play_all(tmp_path, recorded)
    btc, eth = streamed(bus, BTC), streamed(bus, ETH)
    assert ticks(btc) == ticks(eth) == sorted({e.ts_ns for e in [*btc, *eth]})
    for events in (btc, eth):
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_playing_again_changes_nothing_and_ends(tmp_path: Path, recorded: Path) -> None:
    play_all(tmp_path, recorded)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    play_all(tmp_path, recorded)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_was_played_before_takes_no_time(tmp_path: Path, recorded: Path) -> None:
    play_all(tmp_path, recorded)
    running = context(tmp_path, source=f"recording:{recorded}@1")
    sign(running).on_wait = running.stop.set
    shell.run(running)
    assert sign(running).waits == 0


def test_behind_an_import_of_the_first_part_it_goes_on(
    tmp_path: Path, recorded: Path, imported: dict[str, list[bytes]]
) -> None:
    first = recording(tmp_path / "first", hours=1)
    import_recording(first, tmp_path / "data")
    newest_ns = OPEN_NS + HOUR_NS + 60 * S  # the results of the first hour
    bus = play_all(tmp_path / "data", recorded)
    assert bodies(tmp_path / "data") == until_and_from(first, imported, newest_ns, tmp_path)
    assert min(ticks(streamed(bus, BTC))) > newest_ns


def until_and_from(
    first: Path, imported: dict[str, list[bytes]], newest_ns: int, place: Path
) -> dict[str, list[bytes]]:
    """Return the events of `first`, and those of the whole that are later than its newest."""
    import_recording(first, place / "only-first")
    known = bodies(place / "only-first")
    return {
        kind: sorted(known[kind] + [t for t in texts if json.loads(t)["ts_ns"] > newest_ns])
        for kind, texts in imported.items()
    }


def test_a_stop_and_a_start_go_on_where_it_was(
    tmp_path: Path, recorded: Path, imported: dict[str, list[bytes]]
) -> None:
    bus = stage.Bus()
    for upto_s in (600, 4_000):
        running = context(tmp_path, bus, source=f"recording:{recorded}@1000")
        # The pace is real here: what stops it is the stream clock.
        sign(running).on_wait = stop_behind(running, OPEN_NS + upto_s * S)
        shell.run(running)
    shell.run(context(tmp_path, bus, source=f"recording:{recorded}@max"))
    assert bodies(tmp_path) == imported
    found = ticks(streamed(bus, BTC))
    assert found == sorted({*found})


def stop_behind(running: stage.Context, ts_ns: int) -> Callable[[], None]:
    def look() -> None:
        if running.clock.now_ns >= ts_ns:
            running.stop.set()

    return look


def test_a_redis_that_comes_back_empty_gets_the_running_hour_again(
    tmp_path: Path, recorded: Path, imported: dict[str, list[bytes]]
) -> None:
    play_all(tmp_path, recorded)
    bus = play_all(tmp_path, recorded)
    stored = journalled(tmp_path, BTC)
    assert [e.id for e in streamed(bus, BTC)] == [e.id for e in stored]
    assert bodies(tmp_path) == imported


def journalled(root: Path, underlying: str) -> list[Event]:
    folder = root / f"archive/journal/collector/snapshots/underlying={underlying}"
    paths = sorted(folder.glob("*.journal"))
    return [entry.event for path in paths for entry in read_journal(path).entries]


def test_it_is_ready_once_it_plays(tmp_path: Path, recorded: Path) -> None:
    running = context(tmp_path, source=f"recording:{recorded}@max")
    assert running.health.reasons() == {"start": "starting"}
    shell.run(running)
    assert running.health.reasons() == {}


@pytest.mark.parametrize(
    ("source", "kind"),
    [("nonsense", ConfigError), ("recording:nowhere@1", ArchiveError)],
)
def test_a_source_that_cannot_be_is_one_clear_line(
    tmp_path: Path, source: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        shell.run(context(tmp_path, source=source))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_simulated_data_is_said_to_be_simulated_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    bus = stage.Bus()
    newest: list[int] = []
    for _ in range(2):
        running = context(tmp_path, bus, source="simulated@2000,interval=300,underlyings=1")
        running.stop = StopBehind(running, seconds=900)
        with structlog.testing.capture_logs() as logs:
            shell.run(running)
        told = [entry for entry in logs if entry["event"] == "source.simulated"]
        assert [entry["log_level"] for entry in told] == ["warning"]
        assert "SIMULATED DATA" in told[0]["note"]
        assert "SIMULATED DATA" in running.health.notes()["source"]
        newest.append(running.clock.now_ns)
    found = ticks(streamed(bus, BTC))
    assert found == sorted({*found})
    assert newest[0] < newest[1] == found[-1]


class StopBehind(threading.Event):
    """Stops once `seconds` of stream time were played; its waits are real, for a child works."""

    def __init__(self, running: stage.Context, *, seconds: int) -> None:
        super().__init__()
        self._running, self._seconds, self._end_ns = running, seconds, 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait."""
        now_ns = self._running.clock.now_ns
        if now_ns and not self._end_ns:
            self._end_ns = now_ns + self._seconds * S
        if self._end_ns and now_ns >= self._end_ns:
            self.set()
        return super().wait(timeout)


class Forks:
    """The process whose children play and die."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.collector.killing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def play(self, root: Path, folder: Path, *, nth: int) -> int:
        """Play in a child that dies at step `nth`; return its wait status."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(f"{root} {folder} {nth}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._server.stdin
        self._server.stdin.close()
        assert self._server.wait() == 0


@pytest.mark.slow
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(
    tmp_path: Path,
    recorded: Path,
    imported: dict[str, list[bytes]],
) -> None:
    forks = Forks()
    try:
        whole = tmp_path / "whole"
        assert forks.play(whole, recorded, nth=0) == 0
        files = content(whole)
        nth, kills = 1, 0
        while True:
            root = tmp_path / f"killed-{nth}"
            if forks.play(root, recorded, nth=nth) == 0:
                break
            # A second kill on the way, then to the end.
            kills += 1 + (forks.play(root, recorded, nth=7) == KILLED)
            assert forks.play(root, recorded, nth=0) == 0
            assert content(root) == files, f"killed at step {nth}"
            nth += 1 + nth // 8
        assert bodies(whole) == imported
        assert kills > 40
    finally:
        forks.close()


def content(root: Path) -> dict[str, bytes]:
    """Return every file of the archive: sealed hours, manifests, counters, the running journal."""
    paths = [p for p in sorted((root / "archive").rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths if "alerts" not in p.parts}


class Follower:
    """Reads both streams as features and trader do, and keeps what it was given."""

    def __init__(self, server: RedisServer) -> None:
        self._bus = connect(server.url)
        self.events: dict[str, list[Event]] = {BTC: [], ETH: []}

    def read(self) -> int:
        """Read what there is; return how many events there were so far."""
        for place, kept in self.events.items():
            name = stream_name("snapshots", place)
            for group in stage.GROUPS:
                found = self._bus.read(name, group=group, consumer="c", count=200, block_s=0)
                self._bus.ack(name, group=group, ids=[d.entry_id for d in found])
                if group == stage.GROUPS[0]:
                    kept += [d.event for d in found if d.event is not None]
        return sum(map(len, self.events.values()))

    def close(self) -> None:
        """Close the connection."""
        self._bus.close()


def collector(root: Path, server: RedisServer, source: str) -> subprocess.Popen[Any]:
    """Start the collector as a process."""
    settings = {"HAWK_DATA": str(root), "HAWK_REDIS_URL": server.url, "HAWK_SOURCE": source}
    own = {key: value for key, value in os.environ.items() if not key.startswith("HAWK_")}
    port = {"HAWK_PORT": str(20_000 + os.getpid() % 20_000)}
    command = [sys.executable, "-m", "services.collector"]
    return subprocess.Popen(command, env=own | settings | port, stderr=subprocess.PIPE)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


@needs_redis
@pytest.mark.slow
def test_a_collector_killed_on_a_real_redis_streams_each_event_once(
    tmp_path: Path, server: RedisServer
) -> None:
    folder = recording(tmp_path / "recording", hours=8, step_s=5)
    follower = Follower(server)
    for kill_behind in (100, 6_000, 14_000):
        running = collector(tmp_path / "data", server, f"recording:{folder}@max")
        wait_until(lambda n=kill_behind: follower.read() >= n, "the collector streams", seconds=120)  # type: ignore[misc]
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -KILLED
        assert running.stderr is not None
        running.stderr.close()
    running = collector(tmp_path / "data", server, f"recording:{folder}@max")
    wait_until(lambda: follower.read() >= 0 and running.poll() is not None, "the end", seconds=300)
    assert running.wait() == 0
    seen = -1
    while follower.read() > seen:
        seen = follower.read()
    for events in follower.events.values():
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert len({e.id for e in events}) == len(events)
    follower.close()
    import_recording(folder, tmp_path / "imported")
    assert bodies(tmp_path / "data") == bodies(tmp_path / "imported")
    assert len(follower.events[BTC]) > play.LAG_MAX


@needs_redis
@pytest.mark.slow
def test_sigterm_ends_a_collector_and_its_child(tmp_path: Path, server: RedisServer) -> None:
    running = collector(tmp_path, server, "simulated@1,interval=1")
    wait_until(
        lambda: list(tmp_path.glob("simulator/*/.tmp-day-*")), "the child draws", seconds=120
    )
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 0
    assert running.stderr is not None
    lines = running.stderr.read().decode().splitlines()
    running.stderr.close()
    assert [line for line in lines if "source.simulated" in line]


def test_nothing_recorded_is_played_at_once(tmp_path: Path) -> None:
    empty = folders.write(tmp_path / "empty", markets=[])
    bus = play_all(tmp_path / "data", empty)
    assert streamed(bus, BTC) == []
    assert not list(Archive(tmp_path / "data").scan({**KINDS, Tick: 0}, end_ns=TIME_MAX_NS))
