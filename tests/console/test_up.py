"""`hawk up` as a user runs it: to the end of a recording, to Ctrl-C, on both buses, and refused."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.common.checks import ConfigError, UnavailableError, UsageError
from libs.common.settings import Settings
from libs.common.streams import stream
from services.console.comparing import run_compare
from services.console.event_lines import line_of
from services.console.listing import run_streams
from services.console.output import parse_time
from services.console.running import path_of
from services.console.tailing import JournalFollower
from services.console.up import UpRequest, bus_kind, run_up
from services.console.verification import verify
from tests.console.conftest import Hawk
from tests.console.ports import free_port
from tests.recording_cut import cut_recording
from tests.redis_server import needs_redis, wait_until

ROOT = Path(__file__).parent.parent.parent
END_NS = parse_time("2026-06-01T00:20:00Z") or 0
WAIT_S = 120.0
BUSES = ["memory", pytest.param("redis", marks=needs_redis)]


@pytest.fixture(scope="module")
def recording(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty minutes."""
    folder = tmp_path_factory.mktemp("recording") / "r"
    cut_recording(world.parent / "recording", folder, END_NS)
    return folder


@contextmanager
def up(root: Path, source: str, bus: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `hawk up` for the block; it is killed behind it."""
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "services.console", "up", "--json"),
            *("--data", str(root), "--source", source, "--bus", bus),
        ],
        cwd=ROOT,
        env={**os.environ, "HAWK_PORT": str(free_port(6))},
        stdout=subprocess.PIPE,
        stderr=(root.parent / "log").open("w"),
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def members(root: Path) -> list[str]:
    """Return the command lines of processes that work on the data folder `root`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
            words = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if f"HAWK_DATA={root}\0".encode() in environment or bytes(root / "redis") in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("bus", BUSES)
def test_a_recording_is_played_out_read_to_the_end_and_equal_to_its_replay(
    recording: Path, tmp_path: Path, bus: str
) -> None:
    root = tmp_path / "data"
    with up(root, f"recording:{recording}@max", bus) as running:
        text, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    summary = json.loads(text)
    assert (summary["played_out"], summary["drained"]) == (True, True)
    assert summary["instants"] > 500
    assert summary["forecasts"] > 50
    assert not path_of(root).exists()
    assert not members(root)
    compared = run_compare(root, settings())
    assert compared["equal"]
    assert compared["events"]["forecasts"]["recorded"]["count"] == summary["forecasts"]
    assert verify(root).ok


@pytest.mark.slow
@pytest.mark.parametrize("bus", BUSES)
def test_while_it_runs_streams_can_be_seen_and_orders_given_and_ctrl_c_ends_it(
    tmp_path: Path, hawk: Hawk, bus: str
) -> None:
    root = tmp_path / "data"

    with up(root, "simulated@60,underlyings=1", bus) as running:
        await_announced(root, running)
        wait_until(lambda: has_forecasts(root), "a forecast", seconds=WAIT_S)
        code, _, stderr = hawk("up", "--data", root)
        assert (code, "already runs" in stderr) == (4, True)
        code, command, _ = hawk("kill", "--data", root, "--json")
        assert (code, command["command"]) == (0, "kill")
        orders = JournalFollower(root, stream("orders"), "BTC-USD")
        wait_until(
            lambda: any("kill" in line_of(e) for e in orders.last(500)), "it acts", seconds=WAIT_S
        )
        code, _, stderr = hawk("tail", "snapshots", "-n", "1", "--data", root)
        assert (code, "no Redis" in stderr) == (0, bus == "memory")
        running.send_signal(signal.SIGINT)
        text, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert json.loads(text)["played_out"] is False
    assert not members(root)


def await_announced(root: Path, running: "subprocess.Popen[str]") -> None:
    ends = running.poll
    wait_until(lambda: path_of(root).exists() or ends() is not None, "announced", seconds=WAIT_S)
    assert ends() is None, (root.parent / "log").read_text()[-3000:]


def has_forecasts(root: Path) -> bool:
    try:
        lines = run_streams(root, settings())
    except UnavailableError:
        return False  # announced, and not listening yet
    return any(":forecasts" in line.name and line.length for line in lines)


@pytest.mark.slow
@needs_redis
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_nothing_is_left_of_it_when_it_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with up(root, "simulated@60,underlyings=1", "redis") as running:
        await_announced(root, running)
        assert len(members(root)) >= 7
        running.kill()
        running.wait()
        wait_until(lambda: not members(root), "all gone", seconds=WAIT_S)


def settings(**more: Any) -> Settings:
    return Settings(_env_file=None, port=free_port(6), **more)  # type: ignore[call-arg]


def refused(tmp_path: Path, found: Settings, **request: Any) -> str:
    with pytest.raises((ConfigError, UnavailableError)) as caught:
        run_up(UpRequest(tmp_path / "data", **{"source": "simulated@1", **request}), found)
    assert not path_of(tmp_path / "data").exists()
    return str(caught.value)


def test_a_source_that_cannot_be_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    assert "the form is" in refused(tmp_path, settings(), source="recording:x")
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    found = settings()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", found.port))
        taken.listen()
        assert f"127.0.0.1:{found.port}" in refused(tmp_path, found, bus="memory")


def test_a_redis_that_is_named_and_silent_is_one_clear_line(tmp_path: Path) -> None:
    found = settings(redis_url=f"unix://{tmp_path}/nobody.sock")
    assert "nobody.sock cannot be used" in refused(tmp_path, found)


def test_a_password_for_no_redis_is_refused(tmp_path: Path) -> None:
    found = settings(redis_password_file=tmp_path / "password")
    assert "HAWK_REDIS_URL is not" in refused(tmp_path, found)


def test_a_bus_that_is_none_is_refused() -> None:
    assert [bus_kind(text) for text in (None, "memory", "redis")] == [None, "memory", "redis"]
    with pytest.raises(UsageError, match="choose memory or redis"):
        bus_kind("kafka")


@pytest.mark.slow
def test_a_recording_that_is_not_there_ends_with_its_code(tmp_path: Path, hawk: Hawk) -> None:
    code, _, stderr = hawk(
        *("up", "--data", tmp_path / "data", "--bus", "memory"),
        *("--source", f"recording:{tmp_path}/nothing@max"),
        env={"HAWK_PORT": str(free_port(6))},
    )
    assert code == 4
    assert "cannot read" in stderr
