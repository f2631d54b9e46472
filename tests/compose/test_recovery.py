"""Whatever is killed comes back by itself, and nothing that was written is lost.

Processes are killed from inside their container: `docker kill` counts as a stop by hand, after
which the restart policy does nothing. The last two tests prove the whole run from its archive.
"""

import json
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.compose.stack import BESIDE, SERVICES, Stack, wait_until

pytestmark = pytest.mark.compose

DRAIN_S_MAX = 10.0
"""What a service promises; Compose would kill it after 15."""

ENGINE_S_MAX = 120.0
"""An engine waits for its containers when it stops."""

ENGINE = os.environ.get("HAWK_ENGINE", "")

READY = dict.fromkeys(SERVICES, "/readyz") | {
    "prometheus": "/-/ready",
    "alertmanager": "/-/ready",
}


def is_ready(stack: Stack, service: str) -> bool:
    if service == "redis":
        return (
            "PONG"
            in stack.compose(
                *("exec", "-T", "redis", "/etc/redis/operator-cli", "PING"), is_checked=False
            ).stdout
        )
    return stack.page(service, READY[service]).status == 200


def compared(stack: Stack) -> dict[str, Any]:
    """Replay the archive; return what `hawk replay --compare` says."""
    found: dict[str, Any] = json.loads(stack.hawk("replay", "--compare", "--json").stdout)
    return found


def engine(word: str) -> int:
    """Start or stop the engine; return the exit code."""
    return subprocess.run(
        [*shlex.split(ENGINE), word], check=False, timeout=ENGINE_S_MAX
    ).returncode


def engine_answers() -> bool:
    try:
        return bool(docker.from_env(timeout=5).ping())
    except (docker.errors.DockerException, OSError):
        return False


def ledger_of(stack: Stack) -> dict[str, Any]:
    """Return the trader's checkpoint as it stands in its volume."""
    contents = {path: content for path, _, content in stack.files_in(["ledger"])}
    found: dict[str, Any] = json.loads(contents["ledger/checkpoint.json"])
    return found


def wait_for_more(stack: Stack, before: dict[str, int]) -> None:
    """Wait until every stream of a market but the rare orders has gone on."""

    def behind() -> list[str]:
        after = stack.positions()
        return [n for n, at in before.items() if after[n] <= at and not n.endswith(":orders")]

    wait_until(lambda: not behind(), "all streams go on", seconds=90)


@pytest.fixture(scope="module")
def recorded_from(stack: Stack) -> str:
    """Since when there is a record that replays."""
    found = compared(stack)
    assert found["equal"], found
    return str(found["from"])


@pytest.fixture(scope="module")
def begun(stack: Stack, recorded_from: str) -> Iterator[dict[str, int]]:
    """Where the streams stood before anything was broken."""
    kinds = ("snapshots", "features", "forecasts")

    def found() -> dict[str, int]:
        return {n: at for n, at in stack.positions().items() if n.endswith(kinds)}

    wait_until(lambda: len(found()) == 9, "three streams of three underlyings", seconds=60)
    yield found()


@pytest.mark.parametrize("service", [*SERVICES, *BESIDE])
def test_what_is_killed_comes_back_by_itself(
    stack: Stack, begun: dict[str, int], service: str
) -> None:
    stack.kill(service)
    wait_until(lambda: is_ready(stack, service), f"{service} is ready again", seconds=60)


def test_after_all_kills_everything_goes_on(stack: Stack, begun: dict[str, int]) -> None:
    stack.wait_healthy()
    wait_for_more(stack, begun)
    assert not stack.operator("XLEN", "hawk:{control}:dead").strip().strip("0")


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_stopped_drains_and_ends_well(stack: Stack, service: str) -> None:
    container = stack.container(service)
    began_s = time.monotonic()
    container.stop(timeout=int(DRAIN_S_MAX) + 5)
    took_s = time.monotonic() - began_s
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0
    assert took_s < DRAIN_S_MAX
    container.start()


def test_everything_ends_well_also_without_redis(stack: Stack) -> None:
    # As when the engine stops: all at once, and Redis is gone first.
    stack.wait_healthy()
    stack.compose("stop", "redis")
    stack.compose("stop", *SERVICES)
    found = {name: stack.container(name).attrs["State"]["ExitCode"] for name in SERVICES}
    stack.compose("start", "redis", *SERVICES)
    assert found == dict.fromkeys(SERVICES, 0)
    stack.wait_healthy()


def test_down_and_up_goes_on_where_it_stopped(stack: Stack) -> None:
    before = stack.positions()
    secrets = {path: content for path, (_, content) in stack.secret_files().items()}
    stack.down()
    assert not stack.containers()
    ledger = ledger_of(stack)
    stack.up()
    assert {path: content for path, (_, content) in stack.secret_files().items()} == secrets
    after = ledger_of(stack)
    assert after["tick_ns"] >= ledger["tick_ns"] > 0
    assert all(after["seqs"][name] >= seq for name, seq in ledger["seqs"].items())
    wait_for_more(stack, before)


def test_a_backup_in_empty_volumes_is_the_same_machine(stack: Stack, tmp_path: Path) -> None:
    before = stack.positions()
    secrets = {path: content for path, (_, content) in stack.secret_files().items()}
    file = tmp_path / "hawk.tar"
    stack.script("backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    stack.keep_logs()
    stack.compose("down", "--volumes")
    assert not stack.volumes()
    stack.script("restore", str(file))
    stack.up()
    assert {path: content for path, (_, content) in stack.secret_files().items()} == secrets
    wait_for_more(stack, before)


@pytest.mark.skipif(not ENGINE, reason="$HAWK_ENGINE names no command that restarts the engine")
def test_the_engine_brings_everything_back(stack: Stack) -> None:
    before = stack.positions()
    assert engine("down") == 0
    wait_until(lambda: not engine_answers(), "the engine is down", seconds=ENGINE_S_MAX)
    # It stops answering at once and ends when its containers have; before that there is no second.
    wait_until(lambda: engine("up") == 0, "the engine is up", seconds=ENGINE_S_MAX)
    stack.docker.close()
    stack.docker = docker.from_env(timeout=60)
    stack.wait_healthy()
    wait_for_more(stack, before)


def test_all_that_was_written_can_be_proven(stack: Stack, recorded_from: str) -> None:
    verdict = json.loads(stack.hawk("verify", "--json").stdout)
    assert verdict["ok"], verdict["fault"]
    assert verdict["checked"]["journals"] > 0
    found = compared(stack)
    assert found["equal"], found
    assert found["from"] == recorded_from
    assert min(kind["recorded"]["count"] for kind in found["events"].values()) > 0
