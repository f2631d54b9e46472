"""Everybody in Redis may do enough: Hawk's own code runs as its users, and Redis refuses nothing.

Outboxes, readers and the console run on their own streams, through a flush and a full server, then
all services as processes; after each, Redis's log of refusals has to be empty. What nobody may do
is in tests/common/test_redis_acl.py. At the end: what the container of Redis mounts.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.bus import Bus
from libs.common.context import Context
from libs.common.entry_codec import NO_ENTRY
from libs.common.events import Alert, Command, DeadLetter, Event, Skip, Tick
from libs.common.outbox import FLOOR, Outbox
from libs.common.reader import ControlReader, OrderedReader
from libs.common.redis_bus import connect
from libs.common.settings import Settings
from libs.common.streams import CONTROL, SERVICES, STREAMS, Stream
from libs.common.web import Web
from services.console.commanding import Wish, give
from services.console.listing import stream_lines
from services.console.tailing import StreamFollower
from services.monitor.reading import LightReader
from tests.common.samples import T0_NS, model_event
from tests.console.ports import free_port
from tests.redis_server import ADMIN, SERVER, RedisServer, needs_redis, wait_until
from tests.redis_users import (
    PAIRS,
    PASSWORDS,
    USERS_ACL,
    Asker,
    name_of,
    pair_id,
    server_with_users,
)
from tests.scenarios.pipeline import UNDERLYING

pytestmark = needs_redis

ROOT = Path(__file__).parent.parent.parent

WRITERS = [(user, entry) for user, entry in PAIRS if user in entry.writers and user in SERVICES]
READERS = [(user, entry) for user, entry in PAIRS if user in entry.readers]

FORECASTS = "hawk:{BTC-USD}:forecasts"


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with server_with_users() as made:
        yield made


@pytest.fixture
def server(running: RedisServer) -> Iterator[RedisServer]:
    """A server that is empty, and that has refused nothing when the test has ended."""
    running.flush()
    running.raw("ACL", "LOG", "RESET")
    yield running
    assert refusals(running) == set()


def bus(server: RedisServer, user: str) -> Bus:
    return connect(f"unix://{user}@{server.socket}", password=PASSWORDS.get(user, user))


def refusals(server: RedisServer) -> set[tuple[str, str]]:
    """Return (user, command or key) of what was refused; a client's greeting is not ours."""
    admin = Asker(server, ADMIN)
    log = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in admin("ACL", "LOG")]
    admin.close()
    found = {(entry[b"username"].decode(), entry[b"object"].decode()) for entry in log}
    return {(user, what) for user, what in found if what != "client|setinfo"}


def event_of(kind: str, number: int) -> Event:
    """Return an event that the stream takes; each has a time of its own."""
    if kind == "models":
        return model_event(number)
    own: dict[str, Any] = {"ts_ns": T0_NS + number * 1_000_000, "id": f"{number:016x}"}
    if kind == "orders":
        place = {"strategy": "s", "venue": "v", "market": "m", "underlying": UNDERLYING}
        return Skip(**own, **place, reason="r")
    if kind == "commands":
        return Command(**own, command="resume", who="test")
    if kind == "dead":
        return DeadLetter(**own, stream="s", entry_id="1-1", reason="r", group="g")
    if kind == "alerts":
        words = {"evidence": "e", "runbook": "docs/runbooks.md#r"}
        return Alert(**own, **words, rule=f"rule-{number}", severity="info", state="firing")
    return Tick(**own, underlying=UNDERLYING)


class Writing:
    """A writer's outbox on a bus; `go` writes more, `count` is how many events it has written."""

    def __init__(self, root: Path, on: Bus, user: str, entry: Stream) -> None:
        self.entry, self.count = entry, 0
        self.box = Outbox(
            root,
            on,
            writer=user,
            kind=entry.kind,
            underlying=CONTROL if entry.is_control else UNDERLYING,
        )
        self.box.begin(0)

    def go(self, more: int = 3) -> bool:
        kind = self.entry.kind
        self.box.append([event_of(kind, self.count + number) for number in range(more)])
        self.count += more
        return self.box.flush()


@pytest.mark.parametrize(("user", "entry"), WRITERS, ids=pair_id)
def test_an_outbox_writes_heals_and_makes_room_under_its_user(
    server: RedisServer, tmp_path: Path, user: str, entry: Stream
) -> None:
    on, name = bus(server, user), name_of(entry)
    writing = Writing(tmp_path, on, user, entry)
    assert writing.go(3 * FLOOR)
    server.flush()
    # A control stream is asked for now and then; the loss shows at the next look.
    wait_until(lambda: writing.box.flush() and server.raw("EXISTS", name), "it is written anew")
    assert server.raw("XLEN", name) == writing.count
    server.config(maxmemory=1)
    assert not writing.go()
    assert server.raw("XLEN", name) < writing.count - FLOOR
    server.config(maxmemory=0)
    wait_until(writing.box.flush, "it goes on where Redis has room")
    if not entry.is_control:
        server.raw("XADD", name, f"{2**62}-1", "a", "b")
        assert not writing.go()
        wait_until(writing.box.flush, "a foreign entry on top costs the stream")
        assert server.raw("XLEN", name) == writing.count
    writing.box.close()
    on.close()


@pytest.mark.parametrize(("user", "entry"), READERS, ids=pair_id)
def test_a_reader_reads_after_a_flush_as_well_under_its_user(
    server: RedisServer, tmp_path: Path, user: str, entry: Stream
) -> None:
    on, name = bus(server, user), name_of(entry)
    writing = Writing(tmp_path, bus(server, ADMIN), entry.writers[0], entry)
    context = Context(user, tmp_path, Settings(_env_file=None), on, Web())  # type: ignore[call-arg]
    read = reader_of(context, entry)
    ids: list[str] = []

    def has_read_all() -> bool:
        ids.extend(event.id for event in read())
        return len(set(ids)) == writing.count

    for _ in range(2):
        wait_until(writing.go, "written")
        wait_until(has_read_all, "read")
        server.flush()
    wait_until(writing.go, "written")
    wait_until(has_read_all, "read from a group made anew")
    assert server.raw("XPENDING", name, user)["pending"] == 0
    server.raw("XREADGROUP", "GROUP", user, "lost", "STREAMS", name, ">")
    on.claim(name, group=user, consumer=user, idle_s_min=0, count=10)
    writing.box.close()
    context.close()
    on.close()


def reader_of(context: Context, entry: Stream) -> Callable[[], list[Event]]:
    """Return what reads and acknowledges a stream as the service of the context does."""
    if entry.is_control:
        control = ControlReader(context, kind=entry.kind, group=context.name)
        return lambda: acknowledged(control, control.read(block_s=0.01))
    if context.name == "monitor":
        light = LightReader(context, kind=entry.kind, underlying=UNDERLYING)
        return lambda: light.read(100, 0.0)
    ordered = OrderedReader(
        context, kind=entry.kind, underlying=UNDERLYING, group=context.name, after_ns=0
    )
    return lambda: acknowledged(ordered, ordered.read(block_s=0.01))


def acknowledged(reader: OrderedReader | ControlReader, events: list[Event]) -> list[Event]:
    reader.ack()
    return events


def test_who_looks_on_sees_every_stream(server: RedisServer, tmp_path: Path) -> None:
    admin = bus(server, ADMIN)
    for entry in STREAMS:
        writing = Writing(tmp_path, admin, entry.writers[0], entry)
        if entry.kind != "commands":
            assert writing.go()
        writing.box.close()
    console = bus(server, "console")
    console.ping()
    assert give(tmp_path, console, Wish("kill", "test")).command == "kill"
    lines = stream_lines(console, tmp_path)
    assert {line.name for line in lines} == {name_of(entry) for entry in STREAMS}
    for entry in STREAMS:
        follower = StreamFollower(console, entry, CONTROL if entry.is_control else UNDERLYING)
        assert len(follower.last(2)) == (1 if entry.kind == "commands" else 2)
        assert not follower.more()
    monitor = bus(server, "monitor")
    assert all(monitor.facts(name_of(entry)) for entry in STREAMS)
    assert monitor.memory().used > 0
    trainer = bus(server, "trainer")
    assert trainer.last_id("hawk:{BTC-USD}:snapshots") > NO_ENTRY
    for one in (admin, console, monitor, trainer):
        one.close()


@pytest.mark.slow
def test_all_services_trade_and_obey_as_processes_under_their_users(
    server: RedisServer, tmp_path: Path
) -> None:
    fleet = Fleet(server, tmp_path)
    operator = Asker(server, "operator")
    try:
        for service in SERVICES:
            fleet.start(service)
        wait_until(
            lambda: operator("XLEN", FORECASTS) > 20 and fleet.all_run(), "forecasts", seconds=120
        )
        assert json.loads(fleet.hawk("kill", "--json"))["command"] == "kill"
        wait_until(fleet.has_acted, "the trader acts on the order", seconds=60)
        wait_until(fleet.are_all_read, "each stream is read by whom the table names")
        assert fleet.hawk("tail", "forecasts", "-n", "1")
        # What only Redis has forgotten is asked for and written anew by everybody.
        server.flush()
        wait_until(
            lambda: operator("XLEN", FORECASTS) > 20 and fleet.all_run(), "the streams", seconds=60
        )
    finally:
        codes = fleet.stop()
        operator.close()
    assert codes == dict.fromkeys(SERVICES, 0)


class Fleet:
    """Services as processes, each with its own user and password file."""

    def __init__(self, server: RedisServer, root: Path) -> None:
        self._server, self._root = server, root
        self._port = free_port(len(SERVICES))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, user: str) -> dict[str, str]:
        secret = self._root / f"{user}.password"
        secret.write_text(PASSWORDS[user])
        rest = {name: value for name, value in os.environ.items() if not name.startswith("HAWK_")}
        return rest | {
            "HAWK_DATA": str(self._root / "data"),
            "HAWK_PORT": str(self._port),
            "HAWK_REDIS_URL": f"unix://{user}@{self._server.socket}",
            "HAWK_REDIS_PASSWORD_FILE": str(secret),
            "HAWK_SOURCE": "simulated@120,underlyings=1,interval=10",
        }

    def start(self, service: str) -> None:
        with (self._root / f"{service}.log").open("wb") as log:
            self._running[service] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                env=self.environment(service),
                stderr=log,
                stdout=log,
                cwd=ROOT,
            )

    def all_run(self) -> bool:
        for service, process in self._running.items():
            assert process.poll() is None, self.told(service)
        return True

    def told(self, service: str) -> str:
        return (self._root / f"{service}.log").read_text()[-4000:]

    def hawk(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "services.console", *words],
            env=self.environment("console"),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has_acted(self) -> bool:
        return self.all_run() and "control.acted" in self.told("trader")

    def are_all_read(self) -> bool:
        listed = json.loads(self.hawk("streams", "--json"))
        kinds = {line["name"].rpartition(":")[2]: line["missing"] for line in listed}
        assert {"snapshots", "features", "forecasts", "commands"} <= set(kinds)
        return not any(kinds.values())

    def stop(self) -> dict[str, int]:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        try:
            return {name: process.wait(30) for name, process in self._running.items()}
        finally:
            for process in self._running.values():
                process.kill()


# deploy/redis, which the container mounts.


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run a server with deploy/redis/redis.conf, and return what runs a script beside it."""
    port = free_port()
    places = {"/run/hawk/": f"{tmp_path}/", "dir /data": f"dir {tmp_path}"}
    places |= {"port 6379": f"port {port}", "redis-cli": f"redis-cli -p {port}"}
    for name in ("redis.conf", "operator-cli", "health"):
        text = (ROOT / "deploy/redis" / name).read_text()
        for place, ours in places.items():
            text = text.replace(place, ours)
        (tmp_path / name).write_text(text)
    for user in ("operator", "health"):
        (tmp_path / f"{user}_password").write_text(f"{PASSWORDS[user]}\n")
    (tmp_path / "users.acl").write_text(USERS_ACL)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(tmp_path / words[0]), *words[1:]]
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )

    assert run("health").returncode != 0, "healthy without a server"
    command = [str(SERVER), str(tmp_path / "redis.conf")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: run("health").returncode == 0, "healthy", seconds=10)
        yield run
    finally:
        server.terminate()
        server.wait(10)


def test_the_container_is_durable_and_refuses_when_it_is_full(
    container: Any, tmp_path: Path
) -> None:
    facts = container("operator-cli", "INFO").stdout
    for fact in ("aof_enabled:1", "maxmemory_policy:noeviction", "maxmemory:536870912"):
        assert fact in facts
    assert "maxclients:500" in facts
    assert list((tmp_path / "appendonlydir").iterdir())
    assert not (tmp_path / "dump.rdb").exists()
    lines = (ROOT / "deploy/redis/redis.conf").read_text().splitlines()
    for line in ("appendfsync everysec", 'save ""', "aclfile /run/hawk/users.acl", 'logfile ""'):
        assert line in lines
    assert not [line for line in lines if line.startswith(("unixsocket", "user ", "requirepass"))]


def test_the_operator_looks_and_changes_nothing(container: Any) -> None:
    name = "hawk:{BTC-USD}:orders"
    for words in (
        ("XLEN", name),
        ("TYPE", name),
        ("SCAN", "0"),
        ("PING",),
        ("MEMORY", "USAGE", name),
    ):
        done = container("operator-cli", *words)
        assert done.returncode == 0 and "NOPERM" not in done.stdout, done.stdout
    for refused in (
        ("XADD", name, "*", "a", "b"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
    ):
        assert "NOPERM" in container("operator-cli", *refused).stdout


def test_only_a_pong_is_healthy(container: Any, tmp_path: Path) -> None:
    for content in ("", "wrong\n", f"{PASSWORDS['trader']}\n"):
        (tmp_path / "health_password").write_text(content)
        assert container("health").returncode != 0
    (tmp_path / "health_password").unlink()
    assert container("health").returncode != 0


def test_scripts_of_the_container_can_be_run() -> None:
    for name in ("operator-cli", "health"):
        assert os.access(ROOT / "deploy/redis" / name, os.X_OK)
