"""`hawk up` as a user runs it, hurt while it runs, then held to a replay of what it left.

Half an hour of a simulated recording is played through all services as processes on a real Redis
(and as threads of one process without). While it plays, every service is killed with SIGKILL twice;
or Redis is killed and comes back empty; or the model is swapped. Each time the archive must hold
what the recording holds, once, and a replay must make the very features, forecasts and orders.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.events import (
    Event,
    Forecast,
    Gap,
    Market,
    ModelEvent,
    Order,
    QuoteSnapshot,
    Resolution,
    SpotSnapshot,
    body,
)
from services.collector.recording import import_recording
from services.simulator.recording import Setup, write_simulation
from services.trainer import publish
from services.trainer.publish import Change
from tests.redis_server import RedisServer, needs_redis, redis_server, wait_until
from tests.scenarios.bundles import write_anchored

SERVICES = ("collector", "features", "predictor", "trader", "monitor", "trainer")
SNAPSHOTS = (Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot)
START_NS, SPAN_NS = 9 * HOUR_NS + 3 * HOUR_NS // 4, HOUR_NS // 2
"""Half an hour of the simulated day that crosses an hour, so that journals are sealed in it."""

PORTS_FIRST = 18_480
PORTS_EACH = 10
END_S_MAX = 120.0
LOOK_S = 0.1
"""Between two looks at the archive: reading it takes a few milliseconds of the two cores."""

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def slice_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of half an hour, its instants a quarter of a minute apart."""
    folder = tmp_path_factory.mktemp("slice")
    setup = Setup(days=1, seed=5, interval_s=15, edge=1.5, underlyings=("BTC-USD", "ETH-USD"))
    write_simulation(folder / "day", setup)
    begin_ns = pc.min(pq.read_table(folder / "day/markets.parquet")["open_ns"]).as_py()
    start_ns = begin_ns // HOUR_NS * HOUR_NS + START_NS
    target = folder / "slice"
    target.mkdir()
    for name, column in (("markets", "close_ns"), ("quotes", "ts_ns"), ("spot", "ts_ns")):
        table = pq.read_table(folder / f"day/{name}.parquet")
        is_in = pc.and_(
            pc.greater(table[column], start_ns),
            pc.less(table["open_ns" if name == "markets" else "ts_ns"], start_ns + SPAN_NS),
        )
        pq.write_table(table.filter(is_in), target / f"{name}.parquet")
    return target


@pytest.fixture(scope="module")
def expected(slice_: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The bodies that an import of the slice stores."""
    root = tmp_path_factory.mktemp("imported")
    import_recording(slice_, root)
    return snapshots(root)


def snapshots(root: Path) -> list[bytes]:
    types: dict[type[Event], int] = dict.fromkeys(SNAPSHOTS, 0)
    return sorted(body(event) for event in Archive(root).scan(types, end_ns=TIME_MAX_NS))


@dataclass
class Run:
    """One `hawk up` under way."""

    root: Path
    process: subprocess.Popen[str]
    log: Path

    def pids(self, service: str) -> list[int]:
        """Return the processes of a service that `hawk up` has running."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.process.pid and f"services.{service}".encode() in words:
                found.append(int(folder.name))
        return found

    def kill(self, service: str) -> None:
        """SIGKILL a service."""
        wait_until(lambda: self.pids(service), f"{service} runs")
        os.kill(self.pids(service)[0], signal.SIGKILL)

    def forecasts(self) -> int:
        """Count the forecasts journalled so far."""
        return sum(1 for _ in Archive(self.root).scan({Forecast: 0}, end_ns=TIME_MAX_NS))

    def reaches(self, count: int) -> None:
        """Wait until that many forecasts are journalled."""
        deadline = time.monotonic() + END_S_MAX
        while self.forecasts() < count:
            assert not self.has_ended(), self.told()
            assert time.monotonic() < deadline, f"no {count} forecasts: {self.told()}"
            time.sleep(LOOK_S)

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def told(self) -> str:
        """Return what it said."""
        return self.log.read_text()[-4000:]

    def end(self) -> dict[str, Any]:
        """Wait for the end and return the summary."""
        out, _ = self.process.communicate(timeout=END_S_MAX)
        assert self.process.returncode == 0, self.told()
        summary: dict[str, Any] = json.loads(out)
        return summary


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def root() -> Iterator[Path]:
    """A data folder in which a bundle is activated; on memory, where syncing is quick."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hawk-live-", dir=place) as name:
        path = Path(name)
        activate(path, gap=0.6, ts_ns=1)
        yield path


def activate(root: Path, *, gap: float, ts_ns: int) -> str:
    bundle_id = write_anchored(root, gap=gap)
    publish.activate(root, Change(bundle_id, "test", "operator", ts_ns, ts_ns))
    return bundle_id


@pytest.fixture
def start(root: Path, slice_: Path, worker_id: str) -> Iterator[Any]:
    """Start `hawk up` on the slice; whatever is left of it at the end is killed."""
    runs: list[Run] = []

    def go(speed: str, *, redis_url: str | None = None) -> Run:
        number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
        env = {name: value for name, value in os.environ.items() if not name.startswith("HAWK_")}
        env |= {"HAWK_PORT": str(PORTS_FIRST + PORTS_EACH * number)}
        env |= {"HAWK_REDIS_URL": redis_url} if redis_url else {}
        log = root / "up.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "services.console", "up", "--json"),
                    *("--data", str(root), "--source", f"recording:{slice_}@{speed}"),
                    *("--bus", "redis" if redis_url else "memory"),
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
                cwd=ROOT,
            )
        runs.append(Run(root, process, log))
        return runs[-1]

    yield go
    for run in runs:
        if not run.has_ended():
            run.process.kill()
        run.process.wait()


def is_replayed(root: Path) -> None:
    """Hold what was written live to a replay; it must have traded."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "services.console", "replay"),
            *("--data", str(root), "--compare", "--json"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(Archive(root).scan({Order: 0}, end_ns=TIME_MAX_NS))
    checked = subprocess.run(
        [sys.executable, "-m", "services.console", "verify", "--data", str(root)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def swaps(root: Path) -> list[str]:
    """Return the bundles that the predictor swapped to, in order."""
    events = Archive(root).scan({ModelEvent: 0}, end_ns=TIME_MAX_NS)
    return [e.bundle for e in events if isinstance(e, ModelEvent) and e.action == "swapped"]


@pytest.mark.slow
def test_in_one_process_with_a_swap_live_equals_replay(
    start: Any, root: Path, expected: list[bytes]
) -> None:
    run = start("200")
    run.reaches(150)
    second = activate(root, gap=0.9, ts_ns=2)
    run.end()
    assert snapshots(root) == expected
    assert second in swaps(root)
    assert len({e.bundle for e in forecasts(root)}) == 2
    is_replayed(root)


@needs_redis
@pytest.mark.slow
def test_every_service_killed_twice_and_a_swap_live_equals_replay(
    start: Any, root: Path, expected: list[bytes], server: RedisServer
) -> None:
    run = start("45", redis_url=server.url)
    run.reaches(30)
    for service in SERVICES:
        run.kill(service)
    run.reaches(run.forecasts() + 30)
    second = activate(root, gap=0.9, ts_ns=2)
    for service in SERVICES:
        run.kill(service)
    run.end()
    assert snapshots(root) == expected
    assert second in swaps(root)
    is_replayed(root)


@needs_redis
@pytest.mark.slow
def test_redis_killed_and_back_empty_live_equals_replay(
    start: Any, root: Path, expected: list[bytes], server: RedisServer
) -> None:
    run = start("max", redis_url=server.url)
    run.reaches(100)
    server.restart()
    run.end()
    assert snapshots(root) == expected
    is_replayed(root)


def forecasts(root: Path) -> list[Forecast]:
    events = Archive(root).scan({Forecast: 0}, end_ns=TIME_MAX_NS)
    return [event for event in events if isinstance(event, Forecast)]
