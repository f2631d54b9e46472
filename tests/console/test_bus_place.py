"""Where a command that looks on finds the bus."""

from pathlib import Path

import pytest

from libs.common.checks import BusError, ConfigError
from libs.common.settings import Settings
from services.console.bus_place import find_bus
from services.console.running import Running, announce, only_one
from tests.redis_server import RedisServer, needs_redis, redis_server


def settings(**more: object) -> Settings:
    return Settings(_env_file=None, **more)  # type: ignore[arg-type]


def state(server: RedisServer) -> Running:
    return Running(pid=1, bus="redis", source="s", host="h", ports={}, redis_url=server.url)


def test_nothing_named_and_nothing_running_is_no_bus(tmp_path: Path) -> None:
    assert find_bus(tmp_path, settings()) == (None, None)


@needs_redis
def test_the_redis_of_what_runs_is_found_and_a_stale_one_is_not(tmp_path: Path) -> None:
    with redis_server() as server:
        with only_one(tmp_path):
            announce(tmp_path, state(server))
            place = find_bus(tmp_path, settings())
            assert place.bus is not None
            assert place.running == state(server)
        announce(tmp_path, state(server))
        assert find_bus(tmp_path, settings()).bus is None


@needs_redis
def test_a_wrong_password_is_one_clear_line_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("guess\n")
    with redis_server() as server:
        server.user("default", "on", ">secret", "~*", "&*", "+@all")
        named = settings(redis_url=server.url, redis_password_file=tmp_path / "password")
        with pytest.raises(BusError, match="refuses this user") as caught:
            find_bus(tmp_path, named)
        assert "guess" not in str(caught.value)
        assert "\n" not in str(caught.value)
        (tmp_path / "password").write_text("secret\n")
        assert find_bus(tmp_path, named).bus is not None


def test_a_redis_that_is_named_and_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="cannot be used"):
        find_bus(tmp_path, settings(redis_url=f"unix://{tmp_path}/nobody.sock"))


def test_a_password_file_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    with pytest.raises(ConfigError, match="cannot be read"):
        find_bus(tmp_path, settings(redis_url=url, redis_password_file=tmp_path / "none"))
