"""Redis as the doctor sees it: a real server, well and badly set, and the program of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.settings import Settings
from services.console.doctor_redis import judged, redis_checks
from services.console.doctor_report import Check, exit_code
from tests.redis_server import RedisServer, needs_redis, redis_server
from tests.redis_users import PASSWORDS, server_with_users

GOOD = {
    "redis_version": "7.0.15",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "used_memory": 1_000_000,
    "maxmemory": 512_000_000,
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


def checked(root: Path, url: str | None, wait_s: float = 3.0, **others: object) -> dict[str, Check]:
    settings = Settings(_env_file=None, redis_url=url, **others)  # type: ignore[call-arg, arg-type]
    return {one.name: one for one in redis_checks(root, settings, wait_s=wait_s)}


@needs_redis
def test_a_server_that_is_set_as_hawk_sets_it_is_well(server: RedisServer, tmp_path: Path) -> None:
    server.config(appendonly="yes", maxmemory="512mb", maxmemory_policy="noeviction")
    found = checked(tmp_path, server.url)
    assert {one.level for one in found.values()} == {"ok", "info"}
    assert found["redis version"].found.startswith("version ")
    assert "of 537 MB used" in found["redis memory"].found
    server.kill()  # asked to end, it would wait for the file that it has just begun


@needs_redis
def test_a_server_that_forgets_fails_with_the_commands_that_mend_it(
    server: RedisServer, tmp_path: Path
) -> None:
    server.config(maxmemory_policy="allkeys-lru")
    found = checked(tmp_path, server.url)
    assert found["redis policy"].level == "fail"
    assert "redis-cli CONFIG SET maxmemory-policy noeviction" in found["redis policy"].fix
    assert found["redis appendonly"].level == found["redis memory"].level == "warn"
    assert exit_code(list(found.values())) == 4


@needs_redis
def test_the_users_of_the_stack_are_told_what_they_may_not_see(tmp_path: Path) -> None:
    with server_with_users() as running:
        for user in ("console", "monitor"):
            secret = tmp_path / user
            secret.write_text(PASSWORDS[user])
            url = running.url.replace("unix://", f"unix://{user}@")
            found = checked(tmp_path, url, redis_password_file=secret)
            assert found["redis user"].level == "ok"
            sees = "redis memory" in found
            assert sees == (user == "monitor")
            assert not any(PASSWORDS[user] in one.found + one.fix for one in found.values())
        assert found["redis version"].level == "ok"


@needs_redis
def test_a_user_that_may_not_look_at_streams_fails(server: RedisServer, tmp_path: Path) -> None:
    server.user("narrow", "on", "nopass", "+xinfo", "~hawk:{control}:*")
    url = server.url.replace("unix://", "unix://narrow@")
    found = checked(tmp_path, url)["redis user"]
    assert found.level == "fail"
    assert "snapshots" in found.found and "models" not in found.found


@needs_redis
def test_a_wrong_password_is_told_without_it(server: RedisServer, tmp_path: Path) -> None:
    server.config(requirepass="the-right-one")
    secret = tmp_path / "password"
    secret.write_text("canary-password")
    found = checked(tmp_path, server.url, redis_password_file=secret)["redis"]
    assert found.level == "fail"
    assert "HAWK_REDIS_PASSWORD_FILE" in found.fix
    assert "canary" not in found.found + found.fix


@needs_redis
def test_a_server_that_hangs_does_not_answer(server: RedisServer, tmp_path: Path) -> None:
    with server.paused():
        found = checked(tmp_path, server.url, 0.2)["redis"]
    assert found.level == "fail"
    assert "does not answer" in found.found


def test_an_address_that_nobody_serves_says_how_to_start_one(tmp_path: Path) -> None:
    for url in ("redis://someone@127.0.0.1:1/0", f"unix://{tmp_path}/none.sock"):
        found = checked(tmp_path, url)["redis"]
        assert found.level == "fail"
        assert found.found.startswith("nothing listens at ")
        assert "someone" not in found.found
        assert "docker compose up -d redis" in found.fix


def test_without_an_address_the_program_that_would_be_started_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checked(tmp_path, None)["redis"].level == "warn"
    program = tmp_path / "redis-server"
    for version, level in (("7.0.15", "ok"), ("6.2.7", "fail"), ("", "warn")):
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
        program.chmod(0o755)
        found = checked(tmp_path, None)["redis version"]
        assert found.level == level
        assert version in found.found


@pytest.mark.parametrize(
    ("name", "facts", "level"),
    [
        ("redis version", {"redis_version": "6.2.14"}, "fail"),
        ("redis version", {"redis_version": "8.0.1"}, "ok"),
        ("redis version", {"redis_version": "?"}, "warn"),
        ("redis policy", {"maxmemory_policy": "volatile-ttl"}, "fail"),
        ("redis appendonly", {"aof_enabled": 0}, "warn"),
        ("redis memory", {"maxmemory": 0}, "warn"),
        ("redis memory", {"used_memory": 450_000_000}, "warn"),
        ("redis memory", {}, "ok"),
    ],
)
def test_what_info_tells_is_judged(name: str, facts: dict[str, object], level: str) -> None:
    found = {one.name: one for one in judged({**GOOD, **facts})}
    assert found[name].level == level
    assert (found[name].fix == "") == (level == "ok")
