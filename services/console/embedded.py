"""All services as threads of this process on the bus in memory: `hawk up` without Redis.

The same `run(context)` functions that are processes elsewhere, kept running by the same table of
waits as processes are, with one server for all pages. What a thread cannot have is a kill from
outside: a service that does not drain in time is left behind, and the caller ends the process.
"""

import time
import traceback
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from libs.common import durable
from libs.common.bus import Bus
from libs.common.checks import HawkError
from libs.common.context import Context
from libs.common.memory_bus import MemoryBus
from libs.common.service import role_of
from libs.common.settings import Settings
from libs.common.streams import SERVICES
from libs.common.telemetry import log
from libs.common.web import Web
from services.console.restarts import HOPELESS_CODES, Record
from services.console.supervisor import DRAIN_S

Run = Callable[[Context], None]


def all_services() -> dict[str, Run]:
    """Return the services' entries by name, in the order of the pipeline."""
    from services.collector.shell import run as collector
    from services.features.shell import run as features
    from services.monitor.shell import run as monitor
    from services.predictor.shell import run as predictor
    from services.trader.shell import run as trader
    from services.trainer.live import run as trainer

    runs = (collector, features, predictor, trader, trainer, monitor)
    return dict(zip(SERVICES, runs, strict=True))


@dataclass
class _Life:
    run: Run
    ends_well: bool
    record: Record = field(default_factory=Record)
    context: Context | None = None
    ends: "Future[None] | None" = None
    started_s: float = 0.0
    is_done: bool = False


class Embedded:
    """Keeps services running in threads; what `Supervisor` is to processes."""

    def __init__(
        self, root: Path, settings: Settings, *, runs: dict[str, Run], ends_well: Collection[str]
    ) -> None:
        self.bus: Bus = MemoryBus()
        self.web = Web()
        self.hopeless: tuple[str, int] | None = None
        self._root, self._settings = root, settings
        self._lives = {name: _Life(run, name in ends_well) for name, run in runs.items()}
        self._pool = ThreadPoolExecutor(len(runs), thread_name_prefix="service")

    def start(self, now_s: float) -> None:
        """Listen, and start all services; raise `UnavailableError` if the port is taken."""
        self.web.start(self._settings.http_host, self._settings.port)
        for name, life in self._lives.items():
            self._start(name, life, now_s)

    def step(self, now_s: float) -> None:
        """Notice ends, and start what is due."""
        for name, life in self._lives.items():
            if life.ends is not None and life.ends.done():
                self._bury(name, life, now_s)
            is_down = life.ends is None and not life.is_done
            if is_down and self.hopeless is None and now_s >= life.record.due_s:
                self._start(name, life, now_s)

    def is_done(self, name: str) -> bool:
        """Tell whether a service that may end well has ended well."""
        return self._lives[name].is_done

    def is_running(self, name: str) -> bool:
        """Tell whether a service runs, as of the last look."""
        return self._lives[name].ends is not None

    def drain(self, *, within_s: float = DRAIN_S) -> bool:
        """Stop all; False if one is still running after `within_s`."""
        for life in self._lives.values():
            life.is_done = True
            if life.context is not None:
                life.context.stop.set()
        running = {life.ends: name for name, life in self._lives.items() if life.ends is not None}
        _, left = wait(running, timeout=within_s)
        for ends in left:
            log().warning("child.left", child=running[ends], after_s=within_s)
        self._pool.shutdown(wait=not left)
        self.web.stop()
        return not left

    def _start(self, name: str, life: _Life, now_s: float) -> None:
        life.started_s = now_s
        life.ends = self._pool.submit(self._serve, name, life)

    def _serve(self, name: str, life: _Life) -> None:
        """Be one service, as `service.main` is in a process of its own."""
        with durable.writer_lock(self._root, role_of(name)):
            context = Context(name, self._root, self._settings, self.bus, self.web)
            life.context = context
            if life.is_done:  # told to drain before there was a sign to set
                context.stop.set()
            began_s = time.monotonic()
            log().info("service.started", service=name)
            try:
                life.run(context)
            finally:
                context.stop.set()
                with suppress(HawkError):  # what the service died of is what counts
                    context.flush()
                    context.close()
                seconds = round(time.monotonic() - began_s, 1)
                log().info("service.stopped", service=name, seconds=seconds)

    def _bury(self, name: str, life: _Life, now_s: float) -> None:
        """Take note of an end that nobody asked for."""
        error = life.ends.exception() if life.ends is not None else None
        life.ends, life.context = None, None
        if error is None and life.ends_well:
            life.is_done = True
            log().info("child.finished", child=name)
            return
        code = error.exit_code if isinstance(error, HawkError) else 1
        if code in HOPELESS_CODES:
            self.hopeless = (name, code)
            log().error("child.hopeless", child=name, how=str(error))
            return
        life.record = life.record.after_death(started_s=life.started_s, ended_s=now_s)
        log().warning(
            "child.died",
            child=name,
            how=f"{type(error).__name__}: {error}" if error else "it stopped by itself",
            deaths_in_a_row=life.record.deaths,
            restart_in_s=round(life.record.due_s - now_s, 3),
            **_trace(error),
        )


def _trace(error: BaseException | None) -> dict[str, str]:
    """Return where a bug is; an operating error is told by its line."""
    if error is None or isinstance(error, HawkError):
        return {}
    return {"trace": "".join(traceback.format_exception(error))}
