"""A predictor that runs in threads of the test: its stream, its pages, what it recorded."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.audit import recorded_ids, verify_chain
from libs.common.bus import Bus
from libs.common.context import Context
from libs.common.events import Event, Forecast, ModelEvent, Tick, event_id
from libs.common.journal import read_journal
from libs.common.memory_bus import MemoryBus
from libs.common.outbox import Outbox
from libs.common.settings import Settings
from libs.common.streams import CONTROL, stream, stream_name
from libs.common.web import Web
from services.predictor.shell import run
from tests.common.samples import T0_NS
from tests.predictor import models
from tests.redis_server import wait_until

STEP_NS = 1_000_000_000
HEADERS = {"content-type": "application/json"}


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Stream:
    """The features stream of one underlying, as its service writes it."""

    def __init__(self, root: Path, bus: Bus, underlying: str = "BTC-USD") -> None:
        self.underlying = underlying
        self.instants = 0
        self._outbox = Outbox(root, bus, writer="features", kind="features", underlying=underlying)
        self._outbox.begin(0)

    def instant(self, *seeds: int, **changes: Any) -> int:
        """Write one instant with a row per seed; return its time."""
        self.instants += 1
        ts_ns = T0_NS + self.instants * STEP_NS
        rows: list[Event] = [
            models.row(seed, ts_ns=ts_ns, underlying=self.underlying, **changes) for seed in seeds
        ]
        tick_id = event_id("Tick", self.underlying, ts_ns)
        tick = Tick(ts_ns=ts_ns, id=tick_id, underlying=self.underlying)
        self._outbox.append([*rows, tick])
        self._outbox.flush()
        return ts_ns


class Pages:
    """One kept-open connection to the pages."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> tuple[int, Any]:
        """Ask for a page."""
        return self._ask("GET", path, None, {})

    def forecast(self, *seeds: int) -> tuple[int, Any]:
        """Ask for forecasts of the rows of `seeds`: of one as one."""
        rows = [{"series": models.SERIES, "values": models.features(seed)} for seed in seeds]
        body = json.dumps(rows[0] if len(rows) == 1 else {"rows": rows})
        return self._ask("POST", "/v1/forecast", body, HEADERS)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None, headers: Any) -> tuple[int, Any]:
        self._connection.request(method, path, body, headers)
        reply = self._connection.getresponse()
        return reply.status, json.loads(reply.read())


class Live:
    """The running service."""

    def __init__(self, root: Path, bus: Bus, **settings: Any) -> None:
        self.root, self.bus = root, bus
        self.port = free_port()
        chosen = Settings(_env_file=None, data=root, **settings)  # type: ignore[call-arg]
        self.web = Web()
        self.context = Context("predictor", root, chosen, bus, self.web)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.web.start("127.0.0.1", self.port)
        self._thread.start()
        wait_until(lambda: self.failure or "start" not in self.context.health.reasons(), "ready")
        self.pages = Pages(self.port)

    def serving(self) -> tuple[str, int]:
        """Return bundle and generation by HTTP."""
        status, page = self.pages.get("/v1/model")
        assert status == 200
        return page["bundle"], page["generation"]

    def activate(self, bundle_id: str) -> None:
        """Point to a bundle, tell the stream, and wait until it serves."""
        event = models.activate(self.root, bundle_id)
        self.wake(event)
        wait_until(lambda: self.serving() == (bundle_id, event.generation), f"{bundle_id} serves")

    def wake(self, event: ModelEvent) -> None:
        """Post a model event, as the trainer does after it moved the pointer."""
        limit = stream("models").entries_max
        self.bus.post(stream_name("models", CONTROL), [event], entries_max=limit)

    def scored(self, ts_ns: int, underlying: str = "BTC-USD") -> None:
        """Wait until an instant is done."""
        wait_until(lambda: self.failure or is_scored(self.root, ts_ns, underlying), "it is scored")

    def stop(self) -> None:
        """Stop as SIGTERM does; raise what the service died of."""
        self.pages.close()
        self.context.stop.set()
        self._thread.join()
        self.context.alerts.close()
        self.web.stop()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            run(self.context)
        except BaseException as error:
            self.failure = error


@contextmanager
def live(root: Path, bus: Bus | None = None, **settings: Any) -> Iterator[Live]:
    """Run a predictor for the block."""
    own = Live(root, bus if bus is not None else MemoryBus(), **settings)
    try:
        yield own
    finally:
        own.stop()


def scored(root: Path, ts_ns: int, underlying: str = "BTC-USD") -> None:
    """Wait until an instant is done by whoever runs."""
    wait_until(lambda: is_scored(root, ts_ns, underlying), f"instant {ts_ns} is scored")


def is_scored(root: Path, ts_ns: int, underlying: str) -> bool:
    """Tell whether an instant's tick stands in the predictor's journal."""
    return any(
        isinstance(entry.event, Tick) and entry.event.ts_ns >= ts_ns
        for path in Archive(root).journals("forecasts", underlying)
        for entry in read_journal(path).entries
    )


def recorded(root: Path, kind: type[Event]) -> list[Any]:
    """Return what the archive holds of a kind, in order."""
    return list(Archive(root).scan({kind: 0}, end_ns=TIME_MAX_NS))


def forecasts(root: Path, underlying: str = "BTC-USD") -> list[Forecast]:
    """Return the recorded forecasts of an underlying."""
    return [f for f in recorded(root, Forecast) if f.underlying == underlying]


def model_events(root: Path, action: str) -> list[ModelEvent]:
    """Return the recorded model events of an action."""
    return [e for e in recorded(root, ModelEvent) if e.action == action]


def require_audited(root: Path, events: Sequence[ModelEvent]) -> None:
    """Every event has one line, and the chain holds."""
    assert {event.id for event in events} <= recorded_ids(root)
    assert verify_chain(root) == len(recorded_ids(root))
