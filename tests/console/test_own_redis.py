"""Our own Redis: no port, a private socket, durable, and one that refuses rather than forgets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.checks import UnavailableError
from libs.common.redis_bus import connect
from services.console.own_redis import OwnRedis, own_redis
from services.console.supervisor import Supervisor
from tests.redis_server import needs_redis, wait_until


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.kill()


def answers(own: OwnRedis) -> bool:
    from libs.common.checks import BusError

    bus = connect(own.url)
    try:
        bus.ping()
        return True
    except BusError:
        return False
    finally:
        bus.close()


@needs_redis
@pytest.mark.parametrize("name", ["data", 'odd "name" of\ta folder'])
def test_it_listens_on_a_private_socket_alone_and_keeps_what_it_is_told(
    tmp_path: Path, supervisor: Supervisor, name: str
) -> None:
    import redis

    own = own_redis(tmp_path / name)
    supervisor.add(own.child, now_s=0.0)
    wait_until(lambda: answers(own), "redis answers")
    assert mode(own.socket) == 0o700
    assert mode(tmp_path / name / "redis") == 0o700
    client = redis.Redis(unix_socket_path=str(own.socket))
    said = {
        key: client.config_get(key)[key]
        for key in ("port", "appendonly", "appendfsync", "save", "maxmemory-policy", "maxmemory")
    }
    client.close()
    assert said == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(512 << 20),
    }
    supervisor.drain(within_s=30.0)
    own.remove()
    assert not own.socket.exists()


@needs_redis
def test_a_path_too_long_for_a_socket_gets_a_private_folder(tmp_path: Path) -> None:
    own = own_redis(tmp_path / ("x" * 100))
    try:
        assert own.private is not None
        assert len(os.fsencode(own.socket)) <= 100
        assert mode(own.private) == 0o700
    finally:
        own.remove()
    assert not own.socket.parent.exists()


def test_without_the_program_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="--bus memory"):
        own_redis(tmp_path)
