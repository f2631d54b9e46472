"""Run a handler live: warm up, read, handle, journal, publish, acknowledge; one thread a stream.

The unit of work is the *instant*: the events of one ts_ns, ended by the collector's `Tick`. What a
handler makes of whole instants is journalled with the tick in one sync, so the last tick in a
service's own journal is its position: what lies behind it was never published, what lies before it
is never made again. Start, restart after SIGKILL, and a flushed Redis are then one procedure: feed
the handler its lookback up to the position with output off, and read on behind it.

A reader would question the one `except Exception` of Hawk. A handler that raises leaves a state
that nobody can trust, so it is made anew and the instant is tried again; an event that fails
ATTEMPTS_MAX times is given up as a `DeadLetter`, which the archive keeps and replay honours. The
alternative, a process that dies on the same entry for ever, stops the market for one bad row.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from libs.common import durable
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checks import ConfigError, HawkError, check
from libs.common.context import Context
from libs.common.events import DeadLetter, Event, ModelEvent, Tick, body, decode
from libs.common.handler import Handler
from libs.common.reader import BLOCK_S, OrderedReader
from libs.common.redis_bus import connect
from libs.common.settings import Settings, load_settings
from libs.common.stop_sign import set_by_signals
from libs.common.stream_writer import counter_path, read_counter
from libs.common.streams import SERVICES, stream, stream_name
from libs.common.telemetry import bind_service, configure_logging, log
from libs.common.web import Web

ATTEMPTS_MAX = 3
"""Tries of one event before it is given up; each on a handler made anew."""

INSTANT_EVENTS_MAX = 100_000
"""Events that may wait for their tick; an instant has some dozens."""

THREADS_MAX = 64
"""One per underlying; three of them are usual."""

POLL_S = 0.2
"""How often a service looks for a new underlying, a stop sign, or a thread that died."""

PORT_OFFSETS = {"predictor": 0} | {
    name: place for place, name in enumerate((s for s in SERVICES if s != "predictor"), start=1)
}
"""Port of a service's pages, counted from `HAWK_PORT`."""

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"

Before = Callable[[str, int], Sequence[Event]]

EVENTS_READ = Counter("hawk_worker_read_events_total", "Events read.", ["service", "underlying"])
EVENTS_MADE = Counter("hawk_worker_made_events_total", "Events made.", ["service", "underlying"])
COMMIT_SECONDS = Histogram(
    "hawk_worker_commit_seconds", "Journal, publish and acknowledge one batch.", ["service"]
)
INSTANT_SECONDS = Gauge(
    "hawk_worker_instant_seconds", "Event time of the last instant done.", ["service", "underlying"]
)
RESTARTS = Counter("hawk_worker_rebuilds_total", "Handlers made anew after an error.", ["service"])


class HandlerFailed(Exception):
    """A handler raised; carries the event it was fed."""

    def __init__(self, event: Event, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.event = event


def guarded(handler: Handler, event: Event) -> Sequence[Event]:
    """Feed one event; raise `HandlerFailed` whatever the handler raises."""
    try:
        made = handler.handle(event)
        for output in made:
            decode(body(output))  # what could not be read back must never be journalled
        return made
    except Exception as error:
        log().error("handler.failed", event_id=event.id, error=repr(error), exc_info=True)
        raise HandlerFailed(event, error) from error


class Attempts:
    """What `group` failed on: counted until it is given up, and what was given up before."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts: dict[str, int] = {}
        self.given_up = dead_events(context.root, context.name)

    def failed(self, failure: HandlerFailed, *, name: str) -> None:
        """Count a failure of the stream `name`; give its event up after ATTEMPTS_MAX."""
        event = failure.event
        RESTARTS.labels(self._context.name).inc()
        count = self._counts.get(event.id, 0) + 1
        self._counts[event.id] = count
        if count >= ATTEMPTS_MAX and event.id not in self.given_up:
            entry_id = f"{event.ts_ns // 1_000_000}-{event.seq}"
            self._context.dead_letter(
                stream_name=name, entry_id=entry_id, reason=str(failure), event=event
            )
            self.given_up.add(event.id)


def dead_events(root: Path, group: str) -> set[str]:
    """Return the ids of the events that `group` has given up."""
    letters = Archive(root).scan({DeadLetter: 0}, end_ns=TIME_MAX_NS)
    return {e.event for e in letters if isinstance(e, DeadLetter) and e.group == group and e.event}


def underlyings(root: Path, *, writer: str, kind: str) -> list[str]:
    """Return the underlyings that `writer` streams, in the order of their names."""
    folders = (root / "archive/journal" / writer / kind).glob("underlying=*")
    names = (folder.name.removeprefix("underlying=") for folder in folders)
    return sorted(name for name in names if begin_ns(root, writer, kind, name) is not None)


def begin_ns(root: Path, writer: str, kind: str, underlying: str) -> int | None:
    """Return from where `writer` streams an underlying, None if it does not yet."""
    path = counter_path(root, writer=writer, kind=kind, underlying=underlying)
    found = read_counter(path).begin_ns
    return found if found >= 0 else None


def warm_up(context: Context, handler: Handler, underlying: str, upto_ns: int) -> None:
    """Feed `handler` what rebuilds its state as of `upto_ns`, with output off."""
    seconds = handler.lookback_s
    types = {t: max(0, upto_ns + 1 - s * 1_000_000_000) for t, s in seconds.items()}
    if not types:
        return
    given_up = dead_events(context.root, context.name)
    for event in Archive(context.root).scan(types, end_ns=upto_ns + 1):
        if context.stop.is_set():
            return  # nothing will be fed to it any more
        if getattr(event, "underlying", None) == underlying and event.id not in given_up:
            handler.handle(event)


class Worker:
    """One handler on one stream of one underlying."""

    def __init__(
        self,
        context: Context,
        underlying: str,
        *,
        source: str,
        sink: str,
        make: Callable[[str], Handler],
        before: Before,
    ) -> None:
        self._context, self._underlying = context, underlying
        self._source, self._make, self._before = source, make, before
        self._source_name = stream_name(source, underlying)
        self._outbox = context.outbox(sink, underlying)
        first_ns = begin_ns(context.root, stream(source).writers[0], source, underlying)
        self._outbox.begin(first_ns if first_ns is not None else 0)
        self._position_ns = max(self._outbox.last_tick_ns, self._outbox.begin_ns)
        self._reader = OrderedReader(
            context,
            kind=source,
            underlying=underlying,
            group=context.name,
            after_ns=self._position_ns,
        )
        self._attempts = Attempts(context)
        self._waiting: list[Event] = []
        labels = (context.name, underlying)
        self._read, self._made = EVENTS_READ.labels(*labels), EVENTS_MADE.labels(*labels)
        self._instant = INSTANT_SECONDS.labels(*labels)
        self._commit_s = COMMIT_SECONDS.labels(context.name)
        self._handler = self._warmed()

    def run(self) -> None:
        """Work until the stop sign, then leave nothing half done."""
        try:
            while not self._context.stop.is_set():
                self.step()
            self._outbox.flush()
            self._reader.ack()
        finally:
            self._outbox.close()

    def step(self, *, block_s: float = BLOCK_S) -> None:
        """Read once, and do the whole instants that there are."""
        events = self._reader.read(block_s=block_s)
        self._read.inc(len(events))
        self._waiting += events
        whole = _whole(self._waiting)
        check(
            whole > 0 or len(self._waiting) <= INSTANT_EVENTS_MAX, f"{self._source_name}: no tick"
        )
        if whole:
            try:
                outputs = self._handle(self._waiting[:whole])
            except HandlerFailed as failure:
                self._attempts.failed(failure, name=self._source_name)
                self._handler = self._warmed()
                return
            with self._commit_s.time():
                self._commit(outputs)
            del self._waiting[:whole]
        else:
            self._outbox.flush()
        self._reader.ack()

    def _handle(self, events: Sequence[Event]) -> list[Event]:
        outputs: list[Event] = []
        last_ns = -1
        for event in events:
            if event.ts_ns != last_ns:
                last_ns = event.ts_ns
                for told in self._before(self._underlying, last_ns):
                    if told.id not in self._attempts.given_up:
                        outputs += guarded(self._handler, told)
            if event.id not in self._attempts.given_up:
                outputs += guarded(self._handler, event)
        return outputs

    def _commit(self, outputs: Sequence[Event]) -> None:
        """Make outputs durable, models first: a swap is journalled before what it scored."""
        models = [event for event in outputs if isinstance(event, ModelEvent)]
        if models:
            self._context.record_models(models)
        made = [_own(event) for event in outputs if not isinstance(event, ModelEvent)]
        self._outbox.append(made)
        self._outbox.flush()
        self._made.inc(len(made))
        self._position_ns = self._outbox.last_tick_ns
        self._context.clock.see(self._position_ns)
        self._instant.set(self._position_ns / 1e9)
        self._outbox.seal(self._position_ns // HOUR_NS * HOUR_NS)

    def _warmed(self) -> Handler:
        handler = self._make(self._underlying)
        warm_up(self._context, handler, self._underlying, self._position_ns)
        return handler


def run_handlers(
    context: Context,
    *,
    source: str,
    sink: str,
    make: Callable[[str], Handler],
    before: Before = lambda underlying, ts_ns: (),
) -> None:
    """Run one worker per underlying of the stream `source` until the stop sign.

    `make` gives a handler as of nothing; it is called again after a handler failed. `before` gives
    the events to feed ahead of the instant `ts_ns`. Raises what a worker died of.
    """

    def work(underlying: str) -> None:
        Worker(context, underlying, source=source, sink=sink, make=make, before=before).run()

    pool = Workers(context)
    writer = stream(source).writers[0]
    context.health.set("start", None)
    context.health.set("streams", f"waiting for the first event of {writer}")
    try:
        while not context.stop.is_set():
            for underlying in underlyings(context.root, writer=writer, kind=source):
                pool.start(underlying, partial(work, underlying))
                context.health.set("streams", None)
            pool.check()
            context.flush()
            context.stop.wait(POLL_S)
    finally:
        # Also when this loop fails: a worker must not outlive its role.
        context.stop.set()
        pool.join()


class Workers:
    """The threads of a service; the death of one is the death of the service."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix=context.name)
        self._running: dict[str, Future[None]] = {}

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Start `work` under `name`, once."""
        if name not in self._running:
            self._running[name] = self._pool.submit(work)

    def check(self) -> None:
        """Raise what a thread died of, after the others have drained."""
        if any(future.done() for future in self._running.values()):
            self._context.stop.set()
            self.join()

    def join(self) -> None:
        """Wait for all threads to drain; raise what one of them died of."""
        self._pool.shutdown(wait=True)
        for future in self._running.values():
            future.result()


def main(name: str, run: Callable[[Context], None]) -> NoReturn:
    """Run a service as a process: settings, logs, bus, role, pages, signals; then exit.

    Exit codes are those of `HawkError`; a broken invariant ends with its traceback and code 1.
    """
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        bind_service(name)
        with durable.writer_lock(settings.data, role_of(name)):
            _serve(name, run, settings)
    except HawkError as error:
        log().error("service.failed", reason=str(error))
        sys.exit(error.exit_code)
    sys.exit(0)


def role_of(name: str) -> str:
    """Return the lock of a service: its role, but the trainer holds that only while it trains."""
    return f"{name}-service" if name == "trainer" else name


def _serve(name: str, run: Callable[[Context], None], settings: Settings) -> None:
    bus = connect(settings.redis_url or DEFAULT_REDIS_URL, password=redis_password(settings))
    web = Web()
    context = Context(name, settings.data, settings, bus, web)
    set_by_signals(context.stop)
    began_s = time.monotonic()
    web.start(settings.http_host, settings.port + PORT_OFFSETS[name])
    log().info("service.started", pid=os.getpid(), port=settings.port + PORT_OFFSETS[name])
    try:
        run(context)
    finally:
        context.stop.set()
        context.flush()
        context.close()
        web.stop()
        bus.close()
        log().info("service.stopped", seconds=round(time.monotonic() - began_s, 1))


def redis_password(settings: Settings) -> str | None:
    """Read the password of Redis; raise `ConfigError` if its file cannot be read."""
    path = settings.redis_password_file
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"HAWK_REDIS_PASSWORD_FILE {path} cannot be read: {error}") from error


def _whole(events: Sequence[Event]) -> int:
    """Return how many events there are up to and with the last tick."""
    for place in range(len(events) - 1, -1, -1):
        if isinstance(events[place], Tick):
            return place + 1
    return 0


def _own(event: Event) -> Event:
    """Return `event` as one of our own stream: a tick that is passed on gets a number here."""
    return msgspec.structs.replace(event, seq=0) if event.seq else event
