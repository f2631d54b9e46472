"""A writer, a bus that can be hurt, and a service behind it: what the fault tests play with.

`Pipeline` writes instants as the collector does and runs a small handler as the features service
does, on one data folder; its questions are about the archive and about what the handler was fed,
never about Redis.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.bus import Bus
from libs.common.context import Context
from libs.common.events import (
    Alert,
    DeadLetter,
    Event,
    FeatureRow,
    QuoteSnapshot,
    SpotSnapshot,
    Tick,
    event_id,
)
from libs.common.journal import read_journal
from libs.common.outbox import Outbox
from libs.common.service import run_handlers
from libs.common.settings import Settings
from libs.common.streams import stream_name
from libs.common.web import Web
from tests.common.samples import T0_NS, quote, spot, tick
from tests.redis_server import wait_until

UNDERLYING = "BTC-USD"
SNAPSHOTS = stream_name("snapshots", UNDERLYING)
FEATURES = stream_name("features", UNDERLYING)
ALERTS = stream_name("alerts", UNDERLYING)
DEAD = stream_name("dead", UNDERLYING)


def instant(number: int) -> list[Event]:
    """Return what the collector sees at one instant, a second after the one before."""
    return [spot(number), quote(number), tick(number)]


def row(event: QuoteSnapshot) -> FeatureRow:
    """Return what the handler makes of a quote."""
    return FeatureRow(
        ts_ns=event.ts_ns,
        id=event_id("FeatureRow", event.id),
        quote_id=event.id,
        venue=event.venue,
        market=event.market,
        series="S",
        underlying=event.underlying,
        open_ns=T0_NS,
        close_ns=T0_NS + 10**12,
        feature_set="test",
        values={"x": 1.0},
    )


class Rows:
    """Handler: a row per quote, ticks passed on; `seen` collects what all of its kind were fed."""

    lookback_s: Mapping[type[Event], int] = {}

    def __init__(self, seen: list[str], meet: Callable[[Event], None]) -> None:
        self._seen, self._meet = seen, meet

    def handle(self, event: Event) -> Sequence[Event]:
        """Take one event."""
        self._meet(event)
        self._seen.append(event.id)
        if isinstance(event, QuoteSnapshot):
            return [row(event)]
        return [event] if isinstance(event, Tick) else []


def pass_by(event: Event) -> None:
    """Do nothing when an event is met."""


class Service:
    """The features service in threads of this process; `meet` is called with each event."""

    def __init__(
        self, root: Path, bus: Bus, *, seen: list[str], meet: Callable[[Event], None] = pass_by
    ) -> None:
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        self.context = Context("features", root, settings, bus, Web())
        self._died: BaseException | None = None
        self._make = lambda underlying: Rows(seen, meet)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_handlers(self.context, source="snapshots", sink="features", make=self._make)
        except BaseException as error:
            self._died = error
        self.context.flush()

    @property
    def position_ns(self) -> int:
        """The last instant done; raises what the service died of."""
        if self._died is not None:
            raise self._died
        return self.context.clock.now_ns

    def stop(self) -> None:
        """Drain and end."""
        self.context.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the service does not drain"
        self.context.alerts.close()
        if self._died is not None:
            raise self._died


class Pipeline:
    """A collector in this thread and a service behind it, on one folder and two connections."""

    def __init__(self, root: Path, connect: Callable[[], Bus]) -> None:
        self.root, self.connect = root, connect
        self.bus = connect()
        self.seen: list[str] = []
        self.sent: list[Event] = []
        self.service: Service | None = None
        self.poisoned = False
        self.offset_s = 0
        self.brake = threading.Event()
        """The handler that is started with `hold` goes on only while this is set."""
        self.outbox = self.open_outbox()
        self.outbox.begin(0)

    def open_outbox(self) -> Outbox:
        """Open the collector's outbox, as a restart does."""
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        self.collector = Context("collector", self.root, settings, self.bus, Web())
        self.outbox = self.collector.outbox("snapshots", UNDERLYING)
        return self.outbox

    def start(self, meet: Callable[[Event], None] = pass_by) -> Service:
        """Start the service."""
        self.service = Service(self.root, self.connect(), seen=self.seen, meet=meet)
        return self.service

    def hold(self, event: Event) -> None:
        """Meet an event as a slow handler does: wait for the brake."""
        self.brake.wait(60)

    def start_held(self) -> None:
        """Start the service, let it come abreast of the stream, then hold its handler."""
        self.brake.set()
        self.start(meet=self.hold)
        self.write(2)
        self.settle()
        self.brake.clear()

    def stop(self) -> None:
        """End the service, if it runs."""
        self.brake.set()
        if self.service is not None:
            service, self.service = self.service, None
            service.stop()

    def write(self, count: int, *, batch: int = 1, every_s: int = 1) -> None:
        """Journal and publish `count` more instants, `batch` at a time."""
        for start in range(0, count, batch):
            events: list[Event] = []
            for _ in range(start, min(start + batch, count)):
                number = self.offset_s + len(self.sent) // 3 * every_s
                new = instant(number)
                self.sent += new
                events += new
            self.outbox.append(events)
            self.outbox.flush()

    def settle(self) -> None:
        """Wait until everything written is on the stream, read and done.

        The writer writes nothing meanwhile, but goes on flushing, as one that waits for its feed.
        """
        assert self.service is not None
        service, last_ns = self.service, self.sent[-1].ts_ns
        wait_until(self.outbox.flush, "the stream has all that was journalled")
        wait_until(
            lambda: self.outbox.flush() and service.position_ns >= last_ns,
            "the service has done everything",
        )
        self.collector.flush()

    def assert_exact(self) -> None:
        """Nothing lost, nothing twice, in order: in the archive and in what the handler was fed."""
        ids = [event.id for event in self.sent]
        assert self.seen == ids, diff(self.seen, ids)
        quotes = [event for event in self.sent if isinstance(event, QuoteSnapshot)]
        snapshots = [e for e in self.sent if not isinstance(e, Tick)]
        archive = Archive(self.root)
        found = archive.scan({SpotSnapshot: 0, QuoteSnapshot: 0}, end_ns=TIME_MAX_NS)
        assert [e.id for e in found] == [e.id for e in snapshots]
        rows = [e.id for e in archive.scan({FeatureRow: 0}, end_ns=TIME_MAX_NS)]
        assert rows == [row(event).id for event in quotes], diff(rows, [row(q).id for q in quotes])

    def assert_stream_exact(self, name: str = SNAPSHOTS) -> None:
        """The stream holds no entry twice, and its numbers have no hole."""
        numbers = [d.entry_id.seq for d in self.bus.entries(name, count=1_000_000)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def archived(self, kind: type[Event]) -> list[Event]:
        """Return all archived events of a kind."""
        return list(Archive(self.root).scan({kind: 0}, end_ns=TIME_MAX_NS))

    def alerts(self, writer: str = "features") -> list[tuple[str, str]]:
        """Return (rule, state) of the alerts that a service journalled, in order."""
        folder = self.root / f"archive/journal/{writer}/alerts/underlying=control"
        entries = [
            e for path in sorted(folder.glob("*.journal")) for e in read_journal(path).entries
        ]
        alerts = [e.event for e in sorted(entries, key=lambda entry: entry.event.seq)]
        return [(a.rule, a.state) for a in alerts if isinstance(a, Alert)]

    def archived_rows(self) -> list[Event]:
        """Return all rows that the service made."""
        return self.archived(FeatureRow)

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters."""
        return [e for e in self.archived(DeadLetter) if isinstance(e, DeadLetter)]


def diff(found: Sequence[str], expected: Sequence[str]) -> str:
    """Say what is lost, what is twice, and whether the order is wrong."""
    lost = [place for place, one in enumerate(expected) if one not in set(found)]
    twice = len(found) - len(set(found))
    return f"lost {lost[:20]} ({len(lost)} of {len(expected)}), repeated {twice}"
