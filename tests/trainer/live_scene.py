"""A live trainer's surroundings: a context on a bus in memory that can be taken down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common.checks import BusError
from libs.common.context import Context
from libs.common.events import Alert, Command, Event, ModelEvent, Resolution, Tick, event_id
from libs.common.memory_bus import MemoryBus
from libs.common.settings import Settings
from libs.common.stream_writer import StreamWriter
from libs.common.streams import CONTROL, stream_name
from libs.common.web import Web
from services.trainer.candidates import Tables
from tests.trainer.synthetic import Plan, tables

HOUR_NS = 3_600_000_000_000
T0_NS = 1_780_000_000 // 3600 * HOUR_NS


class FlakyBus:
    """A bus in memory that answers only while it is up."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0
        self._bus = MemoryBus()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.is_down:
                raise BusError("Redis at nowhere cannot be used: down")
            return getattr(self._bus, name)(*arguments, **options)

        return call

    def empty(self) -> None:
        """Forget everything, as a Redis that was killed does."""
        self._bus = MemoryBus()


def context(root: Path, bus: FlakyBus, **settings: Any) -> Context:
    """Return a trainer's context."""
    chosen = Settings(_env_file=None, data=root, **settings)  # type: ignore[call-arg]
    return Context("trainer", root, chosen, bus, Web())  # type: ignore[arg-type]


def resolution(number: int, *, close_ns: int, underlying: str = "BTC-USD") -> Resolution:
    """Return how market `number` ended, known a minute after its close."""
    return Resolution(
        ts_ns=close_ns + 60_000_000_000,
        id=event_id("Resolution", underlying, number, close_ns),
        venue="kalshi",
        market=f"M-{number}",
        underlying=underlying,
        about_ns=close_ns,
        result="yes",
        source="venue",
    )


def hours(first: int, last: int, *, underlying: str = "BTC-USD") -> list[Event]:
    """Return four resolutions an hour for the hours [first, last) after T0."""
    return [
        resolution(
            number, close_ns=T0_NS + number * HOUR_NS // 4 + HOUR_NS // 4, underlying=underlying
        )
        for number in range(4 * first, 4 * last)
    ]


def record(root: Path, events: Sequence[Event], *, underlying: str = "BTC-USD") -> None:
    """Journal `events` as the collector does, and seal the hours before the last."""
    writer = StreamWriter(root, writer="collector", kind="snapshots", underlying=underlying)
    writer.append(events)
    writer.seal(max(e.ts_ns for e in events) // HOUR_NS * HOUR_NS)


def stream_at(bus: FlakyBus, root: Path, ts_ns: int) -> None:
    """Let the collector's stream stand at `ts_ns`."""
    tick = Tick(ts_ns=ts_ns, id=event_id("Tick", ts_ns), underlying="BTC-USD")
    writer = StreamWriter(root, writer="collector", kind="snapshots", underlying="BTC-USD")
    writer.begin(0)
    bus.publish(stream_name("snapshots", "BTC-USD"), writer.append([tick]), entries_max=1_000)


def order(bus: FlakyBus, command: str, argument: str | None = None, number: int = 0) -> None:
    """Post an operator's order."""
    event = Command(
        ts_ns=T0_NS,
        id=event_id("Command", command, argument, number),
        command=command,  # type: ignore[arg-type]
        who="ann",
        argument=argument,
    )
    bus.post(stream_name("commands", CONTROL), [event], entries_max=100)


def posted(bus: FlakyBus, kind: str) -> list[Any]:
    """Return the events of a control stream."""
    found = bus.entries(stream_name(kind, CONTROL), count=1_000)
    return [delivery.event for delivery in found]


def alerts(bus: FlakyBus) -> list[tuple[str, str]]:
    """Return rule and state of each alert posted."""
    return [(e.rule, e.state) for e in posted(bus, "alerts") if isinstance(e, Alert)]


def actions(bus: FlakyBus) -> list[tuple[str, str]]:
    """Return action and bundle of each model event posted."""
    return [(e.action, e.bundle) for e in posted(bus, "models") if isinstance(e, ModelEvent)]


def small_tables(*, edge: float = 1.2, windows: int = 600, seed: int = 2) -> Tables:
    """Return tables that the gate accepts (fair value shows the edge) or, at edge 0, rejects."""
    rows, resolutions = tables(Plan(windows=windows, edge=edge, seed=seed))
    return Tables(rows, resolutions)


def no_tables() -> Tables:
    """Return tables without a row: a verdict all the same."""
    empty = small_tables(windows=8)
    none = pa.array(np.zeros(empty.rows.num_rows, bool))
    return Tables(empty.rows.filter(none), empty.resolutions)
