"""A real `redis-server` to test against: on a Unix socket in a temporary folder, alone.

It is started empty, without persistence, in some 20 ms. `raw` speaks to it as the server's own
administrator, so that a test can look and interfere whatever it did to the default user. With the
text of a `users.acl` it has those users, and beside them the administrator.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not on PATH")

ADMIN = "admin"
START_S_MAX = 10.0


class RedisServer:
    """One server; every method returns when what it asked for has happened."""

    def __init__(self, *, users: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hawk-redis-"))
        self.socket = self.folder / "socket"
        self.url = f"unix://{self.socket}"
        self._running: subprocess.Popen[bytes] | None = None
        self._admin: redis.Redis | None = None
        admin = f"user {ADMIN} on >admin ~* &* +@all\n"
        if users:
            (self.folder / "users.acl").write_text(users + admin)
            admin = f"aclfile {self.folder}/users.acl\n"
        (self.folder / "redis.conf").write_text(
            f"port 0\nunixsocket {self.socket}\ndir {self.folder}\nsave ''\nappendonly no\n{admin}"
        )

    @property
    def pid(self) -> int:
        """Return the server's process id."""
        assert self._running is not None, "not started"
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and not ended."""
        return self._running is not None

    def start(self) -> "RedisServer":
        """Start empty and wait until it answers."""
        assert SERVER is not None and self._running is None
        with (self.folder / "log").open("ab") as log:
            command = [SERVER, str(self.folder / "redis.conf")]
            self._running = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                self.raw("PING")
                return self
            except redis.ConnectionError:
                assert self._running.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.002)

    def kill(self) -> None:
        """Kill -9: what is not persisted (all of it) is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop orderly; a server that does not run is fine."""
        if self._running is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill -9 and start again, empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause for the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def flush(self) -> None:
        """FLUSHALL."""
        self.raw("FLUSHALL")

    def config(self, **settings: str | int) -> None:
        """CONFIG SET; `_` in a name stands for `-`."""
        for name, value in settings.items():
            self.raw("CONFIG", "SET", name.replace("_", "-"), value)

    def user(self, name: str, *rules: str) -> None:
        """ACL SETUSER from nothing."""
        self.raw("ACL", "SETUSER", name, "reset", *rules)

    def facts(self, section: str) -> dict[str, Any]:
        """INFO of a section, as redis-py parses it."""
        answer: dict[str, Any] = self._client().info(section)
        return answer

    def clients(self) -> int:
        """How many connections stand."""
        return int(self.facts("clients")["connected_clients"])

    def calls(self, command: str) -> int:
        """How often a command was sent since the start, refused ones included."""
        stats = self.facts("commandstats").get(f"cmdstat_{command.lower()}", {})
        return int(stats.get("calls", 0)) + int(stats.get("rejected_calls", 0))

    def raw(self, *words: str | bytes | int | float) -> Any:
        """Send one command as the administrator and return the reply."""
        return self._client().execute_command(*words)

    def remove(self) -> None:
        """Stop and delete the folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _client(self) -> redis.Redis:
        if self._admin is None:
            self._admin = redis.Redis(
                unix_socket_path=str(self.socket),
                username=ADMIN,
                password=ADMIN,
                socket_timeout=START_S_MAX,
                retry=Retry(NoBackoff(), 0),
            )
        return self._admin

    def _end(self, number: int) -> None:
        assert self._running is not None, "not started"
        self._running.send_signal(number)
        self._running.wait(START_S_MAX)
        self._running = None
        if self._admin is not None:
            self._admin.close()
            self._admin = None


class Connects:
    """Counts this interpreter's attempts to connect to a server, also one that is not there.

    An audit hook sees the system call and needs nothing of ours replaced; it cannot be removed
    again, so there is one for all.
    """

    _counts: ClassVar[dict[str, int]] = {}
    _is_hooked = False

    def __init__(self, server: RedisServer) -> None:
        self._address = str(server.socket)
        self._counts[self._address] = 0
        if not Connects._is_hooked:
            sys.addaudithook(self._seen)
            Connects._is_hooked = True

    def __call__(self) -> int:
        """Attempts since this counter was made."""
        return self._counts[self._address]

    @classmethod
    def _seen(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[1] in cls._counts:
            cls._counts[arguments[1]] += 1


@contextmanager
def redis_server(*, users: str = "") -> Iterator[RedisServer]:
    """Run one for the block; `users` is the text of its `users.acl`."""
    server = RedisServer(users=users)
    try:
        yield server.start()
    finally:
        server.remove()


def wait_until(holds: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
    """Wait for a condition, looking often; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)
