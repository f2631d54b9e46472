"""What the live collector runs on in tests: a bus with readers, a clock that waiting moves."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.bus import StreamFacts
from libs.common.checks import BusError, BusFullError
from libs.common.context import Context
from libs.common.events import (
    Event,
    Gap,
    Market,
    QuoteSnapshot,
    Resolution,
    SpotSnapshot,
    Tick,
    body,
)
from libs.common.journal import Entry
from libs.common.memory_bus import MemoryBus
from libs.common.settings import Settings
from libs.common.streams import stream_name
from libs.common.web import Web
from services.collector.instants import Instant

KINDS: dict[type[Event], int] = {Market: 0, Resolution: 0, Gap: 0, SpotSnapshot: 0}
KINDS |= {QuoteSnapshot: 0}
GROUPS = ("features", "trader")


class Bus(MemoryBus):
    """A bus that can go away, whose readers read at once unless they are told to be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.is_full = False
        self.readers: tuple[str, ...] = GROUPS
        self.looks = 0

    def publish(
        self, name: str, entries: Sequence[Entry], *, entries_max: int, must_exist: bool = False
    ) -> None:
        """Publish, and let the readers read."""
        self._ask()
        if self.is_full:
            raise BusFullError("full for a test")
        super().publish(name, entries, entries_max=entries_max, must_exist=must_exist)
        self.follow(name, *self.readers)

    def post(self, name: str, events: Sequence[Event], *, entries_max: int) -> None:
        """Post unless down."""
        self._ask()
        super().post(name, events, entries_max=entries_max)

    def last_id(self, name: str):  # type: ignore[no-untyped-def]
        """Answer unless down."""
        self._ask()
        return super().last_id(name)

    def facts(self, name: str) -> StreamFacts | None:
        """Answer unless down, and count how often."""
        self._ask()
        self.looks += 1
        return super().facts(name)

    def follow(self, name: str, *groups: str) -> None:
        """Let `groups` read and acknowledge all that is there."""
        for group in groups:
            while found := self.read(name, group=group, consumer="c", count=10_000, block_s=0):
                self.ack(name, group=group, ids=[d.entry_id for d in found])

    def _ask(self) -> None:
        if self.is_down:
            raise BusError("down for a test")


class StopSign(threading.Event):
    """A stop sign whose waits take no time but move `now_s`; `on_wait` is called at each."""

    def __init__(self, *, now_s: float = 0.0) -> None:
        super().__init__()
        self.now_s = now_s
        self.waits = 0
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, timeout: float | None = None) -> bool:
        """Move the clock on by `timeout`."""
        self.waits += 1
        self.now_s += timeout or 0.0
        self.on_wait()
        return self.is_set()

    def clock_s(self) -> float:
        """Return the time."""
        return self.now_s


def context(
    root: Path, bus: MemoryBus | None = None, *, source: str = "", name: str = "collector"
) -> Context:
    """Return a service's context on `root`, with a stop sign that moves time."""
    settings = Settings(_env_file=None, data=root, source=source)  # type: ignore[call-arg]
    return Context(
        name=name,
        root=root,
        settings=settings,
        bus=Bus() if bus is None else bus,
        web=Web(),
        stop=StopSign(),
    )


def sign(of: Context) -> StopSign:
    """Return the stop sign of a context made here."""
    assert isinstance(of.stop, StopSign)
    return of.stop


def bodies(root: Path) -> dict[str, list[bytes]]:
    """Return the bodies of the archive's events in order, by kind."""
    found: dict[str, list[bytes]] = {kind.__name__: [] for kind in KINDS}
    for event in Archive(root).scan(KINDS, end_ns=TIME_MAX_NS):
        found[type(event).__name__].append(body(event))
    return {kind: sorted(texts) for kind, texts in found.items()}


def streamed(bus: MemoryBus, underlying: str) -> list[Event]:
    """Return what stands in the snapshots stream of `underlying`."""
    name = stream_name("snapshots", underlying)
    return [d.event for d in bus.entries(name, count=10**6) if d.event is not None]


def shape(events: Sequence[Event]) -> list[tuple[str, int]]:
    """Return kinds and times."""
    return [(type(event).__name__, event.ts_ns) for event in events]


def spots(*times: int, underlying: str = "BTC-USD") -> list[Instant]:
    """Return one instant with one price for each time."""
    return [Instant(ts, {underlying: [spot(ts, underlying)]}) for ts in times]


def spot(ts_ns: int, underlying: str = "BTC-USD") -> SpotSnapshot:
    """Return a price."""
    return SpotSnapshot(
        ts_ns=ts_ns,
        id=f"{ts_ns:08x}{sum(underlying.encode()):08x}"[-16:],
        underlying=underlying,
        source="coinbase_trade",
        last_usd=float(ts_ns % 1_000),
    )


def ticks(events: Sequence[Event]) -> list[int]:
    """Return the times of the ticks among `events`."""
    return [event.ts_ns for event in events if isinstance(event, Tick)]
