"""All services as processes of their own on a Redis: what `hawk up` keeps running.

With a Redis that is named, that one; else with our own, which is started first, kept running by the
same rules, and stopped last, so that services can still publish what they drain.
"""

import time
from pathlib import Path

from libs.common.bus import Bus
from libs.common.checks import BusError, UnavailableError
from libs.common.redis_bus import connect
from libs.common.service import redis_password
from libs.common.settings import Settings
from libs.common.streams import SERVICES
from services.console.own_redis import OwnRedis
from services.console.supervisor import DRAIN_S, Child, Supervisor, python_module

REDIS_START_S = 20.0
"""A gigabyte of append-only file is read back in less."""

_LOOK_S = 0.02


class Fleet:
    """Keeps the services running as processes; what `Embedded` is to threads."""

    def __init__(
        self, root: Path, settings: Settings, *, source: str, redis: str | OwnRedis
    ) -> None:
        self._supervisor = Supervisor()
        self._own = redis if isinstance(redis, OwnRedis) else None
        self.url = redis.url if isinstance(redis, OwnRedis) else redis
        self.bus: Bus = connect(self.url, password=redis_password(settings))
        environment = {
            "HAWK_DATA": str(root.resolve()),
            "HAWK_SOURCE": source,
            "HAWK_REDIS_URL": self.url,
        }
        self._children = [
            Child(name, python_module(f"services.{name}"), environment, name == "collector")
            for name in SERVICES
        ]

    @property
    def hopeless(self) -> tuple[str, int] | None:
        """A service that no restart can help, with its exit code."""
        return self._supervisor.hopeless

    def start(self, now_s: float) -> None:
        """Start Redis if it is ours, see that it answers, then start all services.

        Raises `UnavailableError` if Redis does not answer.
        """
        if self._own is not None:
            self._supervisor.add(self._own.child, now_s=now_s)
            self._await_own(self._own)
        else:
            self.bus.ping()
        for child in self._children:
            self._supervisor.add(child, now_s=now_s)

    def step(self, now_s: float) -> None:
        """Notice deaths, and start what is due."""
        self._supervisor.step(now_s)

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs now, in the order of their start."""
        return self._supervisor.pids()

    def is_done(self, name: str) -> bool:
        """Tell whether a service that may end well has ended well."""
        return self._supervisor.is_done(name)

    def drain(self, *, within_s: float = DRAIN_S) -> bool:
        """Stop the services, then Redis if it is ours; False if one had to be killed."""
        is_clean = self._supervisor.drain(SERVICES, within_s=within_s)
        self.bus.close()
        is_clean = self._supervisor.drain(within_s=within_s) and is_clean
        if self._own is not None:
            self._own.remove()
        return is_clean

    def _await_own(self, own: OwnRedis) -> None:
        deadline_s = time.monotonic() + REDIS_START_S
        while True:
            try:
                self.bus.ping()
                return
            except BusError as error:
                if own.child.name not in self._supervisor.pids_alive():
                    raise UnavailableError(
                        f"redis-server ended at once: see {own.log_file}; {own.log_file.parent} "
                        "may be removed, nothing but the archive has to be kept"
                    ) from error
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(_LOOK_S)
