"""Services as processes: Redis first and last, and one that cannot start is told of."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.checks import BusError, UnavailableError
from libs.common.settings import Settings
from services.console import fleet as fleet_module
from services.console.fleet import Fleet
from services.console.own_redis import OwnRedis, own_redis
from services.console.supervisor import Child
from tests.redis_server import needs_redis, redis_server, wait_until

SOURCE = "simulated@1"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fleet]]:
    """Fleets of services that only wait; all are stopped in the end."""
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()"
    monkeypatch.setattr(
        fleet_module, "python_module", lambda name: (sys.executable, "-c", code, name)
    )
    made: list[Fleet] = []
    yield made
    for fleet in made:
        fleet.drain(within_s=30.0)


def new_fleet(made: list[Fleet], root: Path, redis: str | OwnRedis) -> Fleet:
    fleet = Fleet(root, Settings(_env_file=None), source=SOURCE, redis=redis)  # type: ignore[call-arg]
    made.append(fleet)
    return fleet


def environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)


@needs_redis
def test_our_redis_answers_before_any_service_starts(tmp_path: Path, made: list[Fleet]) -> None:
    own = own_redis(tmp_path)
    fleet = new_fleet(made, tmp_path, own)
    fleet.start(0.0)
    pids = fleet.pids()
    assert next(iter(pids)) == "redis"
    assert len(pids) == 7
    told = environment(pids["trader"])
    assert told["HAWK_DATA"] == str(tmp_path)
    assert (told["HAWK_SOURCE"], told["HAWK_REDIS_URL"]) == (SOURCE, own.url)
    assert fleet.drain(within_s=30.0)
    assert not own.socket.exists()


@needs_redis
def test_our_redis_is_started_again_when_it_dies(tmp_path: Path, made: list[Fleet]) -> None:
    fleet = new_fleet(made, tmp_path, own_redis(tmp_path))
    fleet.start(0.0)
    old = fleet.pids()["redis"]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: fleet.step(1.0) or "redis" not in fleet.pids(), "it is dead")
    fleet.step(1.5)
    assert fleet.pids()["redis"] != old

    def answers() -> bool:
        try:
            fleet.bus.ping()
            return True
        except BusError:
            return False

    wait_until(answers, "it answers")


@needs_redis
def test_a_redis_that_cannot_start_is_told_with_its_log(tmp_path: Path, made: list[Fleet]) -> None:
    own = own_redis(tmp_path)
    child = Child(own.child.name, (own.child.command[0], "--port", "no"))
    broken = OwnRedis(child, own.url, own.socket, own.log_file, own.private)
    with pytest.raises(UnavailableError, match=r"redis\.log"):
        new_fleet(made, tmp_path, broken).start(0.0)


@needs_redis
def test_a_named_redis_is_asked_first_and_left_alone_at_the_end(
    tmp_path: Path, made: list[Fleet]
) -> None:
    with redis_server() as server:
        fleet = new_fleet(made, tmp_path, server.url)
        fleet.start(0.0)
        assert len(fleet.pids()) == 6
        assert fleet.drain(within_s=30.0)
        assert server.raw("PING")


def test_a_named_redis_that_is_silent_starts_nothing(tmp_path: Path, made: list[Fleet]) -> None:
    fleet = new_fleet(made, tmp_path, f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(BusError):
        fleet.start(0.0)
    assert fleet.pids() == {}
