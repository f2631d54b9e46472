"""The monitor: looks at streams, records and services, and says once what has changed.

One thread reads and judges, another asks the services' pages. Everything that judges is pure
(`silence`, `swaps`, `pointer`, `readers`, `presence`); here is where it gets its facts, how often,
and how a change of a claim becomes one alert.

A reader would question that the monitor never waits for a stream. It looks a few times a second and
takes what is there, up to a bound: it must not be what makes Redis or the machine slow, and none of
its rules needs a tenth of a second.
"""

import threading
import time
from collections.abc import Iterable
from queue import SimpleQueue

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.bus import StreamFacts
from libs.common.checks import ArchiveError, BusError
from libs.common.context import Context
from libs.common.events import Alert, DeadLetter, Forecast, ModelEvent
from libs.common.reader import ControlReader
from libs.common.service import underlyings
from libs.common.sources import parse_source
from libs.common.streams import CONTROL, STREAMS, Stream, stream_name
from services.monitor import disk, metrics, probes
from services.monitor.claims import AUDIT_BROKEN, DEAD_LETTER, RULES_KNOWN, Claim, severity_of
from services.monitor.firing import OTHER, Firing
from services.monitor.presence import DeadLetters, ServiceWatch
from services.monitor.readers import ReaderWatch, market_streams
from services.monitor.reading import LightReader
from services.monitor.records import Records, model_events
from services.monitor.silence import FeedWatch, quiet_s_max
from services.monitor.swaps import SwapWatch

LOOK_S = 0.5
"""How often streams are read: each look asks every stream, also when nothing has come."""

ENTRIES_MAX = 4_000
"""Entries of one look: 8,000 a second, a tenth of a core; ten times what forty markets bring."""

FACTS_S = 5.0
"""How often facts, records and services are looked at: `service_down` needs three looks."""

FEED_S = 1.0

ARCHIVE_S = 60.0
"""How often the archive is measured, beside the looks: 70 ms for a year of three underlyings, and a
second for the first time."""

DISK = "disk"
"""The component of `/readyz` that is not ready while the data folder takes no alert."""

RELOAD_S = 2.0
"""How often the records are read again for a forecast that does not fit them."""


class Monitor:
    """One monitor; `step` does one look and returns at once."""

    def __init__(self, context: Context, *, now_s: float) -> None:
        self._context = context
        self._root = context.root
        self._underlyings: list[str] = []
        self._controls = {
            entry.kind: ControlReader(context, kind=entry.kind, group="monitor")
            for entry in STREAMS
            if entry.is_control
        }
        self._readers: dict[tuple[str, str], LightReader] = {}
        self._feed = FeedWatch(quiet_s_max(parse_source(context.settings.source)))
        self._swaps = SwapWatch()
        self._behind = ReaderWatch()
        self._letters = DeadLetters()
        self._records = Records(context.root)
        self._firing = Firing(context.root)
        self.pages = probes.neighbours(context)
        self.answers: SimpleQueue[dict[str, bool]] = SimpleQueue()
        self._services = ServiceWatch(self.pages, now_s=now_s)
        self._due_s: dict[str, float] = {}

    def start(self, now_s: float) -> None:
        """Remember an alert's reason; recorded swaps are read when a forecast asks for them."""
        try:
            if self._context.alerts.is_firing(DEAD_LETTER):
                for letter in Archive(self._root).scan({DeadLetter: 0}, end_ns=TIME_MAX_NS):
                    if isinstance(letter, DeadLetter):
                        self._letters.note(letter, now_s)
        except ArchiveError as error:
            self._apply([Claim(AUDIT_BROKEN, True, str(error))])
        self._context.health.set("start", None)

    def step(self, now_s: float) -> None:
        """Do one look at whatever is due."""
        self._read_controls(now_s)
        self._read_markets(now_s)
        if self._is_due("feed", now_s, FEED_S):
            self._find_streams()
            self._look_at_feed(now_s)
        if self._is_due("facts", now_s, FACTS_S):
            self._look_at_streams()
            while not self.answers.empty():
                self._services.see(self.answers.get())
            self._apply(self._records.look(now_s))
            self._apply(self._services.claims(now_s))
            self._apply(self._letters.claims(now_s))
            self._measure()

    def _read_controls(self, now_s: float) -> None:
        for reader in self._controls.values():
            for event in reader.read():
                if isinstance(event, ModelEvent):
                    self._swaps.note([event])
                elif isinstance(event, DeadLetter):
                    self._letters.note(event, now_s)
                elif isinstance(event, Alert):
                    rule = event.rule if event.rule in RULES_KNOWN else OTHER
                    metrics.ALERTS.labels(rule, event.state).inc()
            reader.ack()

    def _read_markets(self, now_s: float) -> None:
        count = ENTRIES_MAX // max(1, len(self._readers))
        for reader in self._readers.values():
            events = reader.read(count, now_s)
            for event in events[-1:]:
                self._context.clock.see(event.ts_ns)
            self._swaps.see(event for event in events if isinstance(event, Forecast))
        if self._swaps.has_suspects():
            if not self._is_due("reload", now_s, RELOAD_S):
                return
            self._reload()
        self._apply(self._swaps.claims())

    def _reload(self) -> None:
        """Read recorded swaps again: a swap is journalled before its forecasts, whoever is read
        first here."""
        try:
            self._swaps.note(model_events(self._root, start_ns=self._swaps.newest_ns))
        except ArchiveError:
            return  # the records' own look says so

    def _find_streams(self) -> None:
        """Read the streams of every underlying that the collector ever streamed here."""
        self._underlyings = underlyings(self._root, writer="collector", kind="snapshots")
        for name in self._underlyings:
            for stream in market_streams():
                if (stream.kind, name) not in self._readers:
                    reader = LightReader(self._context, kind=stream.kind, underlying=name)
                    self._readers[stream.kind, name] = reader

    def _look_at_feed(self, now_s: float) -> None:
        for underlying in self._underlyings:
            try:
                newest = self._context.bus.last_id(stream_name("snapshots", underlying))
            except BusError:
                self._feed.lose_sight(now_s)
                return
            self._feed.see(underlying, newest, now_s)
            metrics.QUIET_SECONDS.labels(underlying).set(self._feed.quiet_s(underlying, now_s))
        self._apply(self._feed.claims(now_s))

    def _look_at_streams(self) -> None:
        try:
            for underlying in self._underlyings:
                facts = self._facts(market_streams(), underlying)
                self._apply(self._behind.claims(underlying, facts))
                metrics.show_facts(underlying, facts)
            controls = tuple(entry for entry in STREAMS if entry.is_control)
            metrics.show_facts(CONTROL, self._facts(controls, CONTROL))
            used, limit = self._context.bus.memory()
            metrics.REDIS_USED.set(used)
            metrics.REDIS_LIMIT.set(limit)
        except BusError:
            return  # the readers report it

    def _measure(self) -> None:
        metrics.AUDIT_LINES.set(self._records.lines)
        for name in self.pages:
            metrics.SERVICE_UP.labels(name).set(self._services.is_up(name))
        metrics.show_firing(self._firing.look())
        metrics.UNREADABLE.set(self._firing.unreadable)

    def _facts(self, streams: Iterable[Stream], underlying: str) -> dict[str, StreamFacts]:
        found = {s.kind: self._context.bus.facts(stream_name(s.kind, underlying)) for s in streams}
        return {kind: facts for kind, facts in found.items() if facts is not None}

    def _apply(self, claims: Iterable[Claim]) -> None:
        """Turn claims into alerts: each change of state once."""
        for claim in claims:
            alerts = self._context.alerts
            if claim.is_firing:
                alerts.fire(
                    claim.rule,
                    evidence=claim.evidence,
                    severity=severity_of(claim.rule),
                    underlying=claim.underlying,
                )
            else:
                alerts.resolve(claim.rule, evidence=claim.evidence, underlying=claim.underlying)

    def _is_due(self, what: str, now_s: float, every_s: float) -> bool:
        is_due = now_s - self._due_s.get(what, -every_s) >= every_s
        if is_due:
            self._due_s[what] = now_s
        return is_due


def run(context: Context) -> None:
    """Be the monitor until the stop sign."""
    monitor = Monitor(context, now_s=time.monotonic())
    monitor.start(time.monotonic())
    asker = threading.Thread(target=_ask, args=(context, monitor), name="probes", daemon=True)
    asker.start()
    while not context.stop.wait(LOOK_S):
        began_s = time.monotonic()
        try:
            monitor.step(began_s)
            context.flush()
            context.health.set(DISK, None)
        except ArchiveError as error:
            # An alert cannot be journalled: the page and the metrics must say so.
            context.health.set(DISK, str(error))
        metrics.LOOK_SECONDS.set(time.monotonic() - began_s)
    # It writes nothing: an answer that is still awaited may be lost.
    asker.join(timeout=probes.TIMEOUT_S)


def _ask(context: Context, monitor: Monitor) -> None:
    """Ask what may take long: other services' pages, and the disk."""
    archive, measured_s = disk.ArchiveSize(context.root), -ARCHIVE_S
    while True:
        metrics.show_space(disk.space(context.root))
        if time.monotonic() - measured_s >= ARCHIVE_S:
            metrics.ARCHIVE.set(archive.look())
            measured_s = time.monotonic()
        if context.stop.wait(FACTS_S):
            return
        monitor.answers.put(probes.ask(monitor.pages))
