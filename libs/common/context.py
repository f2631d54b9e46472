"""What a running service is given: settings, bus, stop sign, health, alerts, stream clock, pages.

One `Context` per service, made by `service.main` for a process of its own or by the console for all
services in one process; a service is a function of it. Everything here is thread-safe, because a
service has one thread per underlying and one for its pages.

The decision to question: an outage of the bus is one state of the whole service, not an error of
whoever met it first. Ten readers that lose Redis together make one log line, one alert, one reason
in `/readyz`, and one of each when it is back.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from libs.common.archive import Archive
from libs.common.audit import append_audit
from libs.common.bus import Bus
from libs.common.checks import ArchiveError, BusError, BusLostError
from libs.common.events import Alert, DeadLetter, Event, ModelEvent, event_id
from libs.common.outbox import Outbox
from libs.common.settings import Settings
from libs.common.streams import CONTROL
from libs.common.telemetry import log
from libs.common.web import Web

BUS = "bus"
"""The component of `/readyz` that an outage of the bus is named under."""

BUS_DOWN, STREAM_FLUSHED = "bus_down", "stream_flushed"
"""Alerts of an outage: Redis cannot be used; or it can, and has forgotten."""

REASONS_TOLD_MAX = 10
"""Different reasons logged of one outage: connection, loading, read-only and the like."""

Severity = Literal["page", "warn", "info"]


class Health:
    """Why a service is not ready, by component; ready while no reason stands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {"start": "starting"}
        self._notes: dict[str, str] = {}

    def set(self, component: str, reason: str | None) -> None:
        """Set why `component` is not ready; None: it is."""
        with self._lock:
            if reason is None:
                self._reasons.pop(component, None)
            else:
                self._reasons[component] = reason

    def note(self, name: str, text: str) -> None:
        """Say something that is worth reading in `/readyz` and no reason to be unready."""
        with self._lock:
            self._notes[name] = text

    def reasons(self) -> Mapping[str, str]:
        """Return the reasons that stand."""
        with self._lock:
            return dict(self._reasons)

    def notes(self) -> Mapping[str, str]:
        """Return the notes."""
        with self._lock:
            return dict(self._notes)


class StreamClock:
    """The newest event time seen: what every age and schedule is compared with."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._now_ns = 0

    def see(self, ts_ns: int) -> None:
        """Move on; never back."""
        self._now_ns = max(self._now_ns, ts_ns)

    @property
    def now_ns(self) -> int:
        """The newest event time seen, 0 if there was none."""
        return self._now_ns

    def for_control(self) -> int:
        """Return the time of a control event: of the stream, else of the archive, else our own.

        What was guessed is not kept: a stream of last year must still be able to move the clock.
        """
        if self._now_ns:
            return self._now_ns
        try:
            span = Archive(self._root).span_ns()
        except ArchiveError:
            span = None  # an alert about a damaged archive must not fail on it
        return span[1] if span else time.time_ns()


class Alerts:
    """Alerts of one service: journalled and posted once per change of state."""

    def __init__(self, root: Path, bus: Bus, *, writer: str, clock: StreamClock) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._writer = writer
        self._outbox = Outbox(root, bus, writer=writer, kind="alerts", underlying=CONTROL)
        self._firing: dict[tuple[str, str | None], Severity] = {}
        self._last_ns = 0
        for entry in self._outbox.journalled():
            alert = entry.event
            self._last_ns = max(self._last_ns, alert.ts_ns)
            if isinstance(alert, Alert):
                self._keep(alert)

    def fire(
        self,
        rule: str,
        *,
        evidence: str,
        severity: Severity = "warn",
        underlying: str | None = None,
    ) -> None:
        """Fire `rule` unless it fires already."""
        with self._lock:
            if (rule, underlying) not in self._firing:
                self._raise(rule, severity, "firing", evidence=evidence, underlying=underlying)

    def resolve(self, rule: str, *, evidence: str, underlying: str | None = None) -> None:
        """Resolve `rule` if it fires."""
        with self._lock:
            severity = self._firing.get((rule, underlying))
            if severity is not None:
                self._raise(rule, severity, "resolved", evidence=evidence, underlying=underlying)

    def is_firing(self, rule: str, underlying: str | None = None) -> bool:
        """Tell whether `rule` fires."""
        with self._lock:
            return (rule, underlying) in self._firing

    def flush(self) -> None:
        """Post what the stream lacks, if the bus lets us."""
        with self._lock:
            self._outbox.flush()

    def close(self) -> None:
        """Close the journal."""
        with self._lock:
            self._outbox.close()

    def _raise(
        self,
        rule: str,
        severity: Severity,
        state: Literal["firing", "resolved"],
        *,
        evidence: str,
        underlying: str | None,
    ) -> None:
        ts_ns = self._clock.for_control()
        if self._clock.now_ns:  # before the first event it is a guess, and binds nobody
            ts_ns = self._last_ns = max(self._last_ns, ts_ns)
        alert = Alert(
            ts_ns=ts_ns,
            id=event_id("Alert", self._writer, rule, underlying, state, ts_ns, time.time_ns()),
            rule=rule,
            severity=severity,
            state=state,
            evidence=evidence[:500],
            runbook=f"docs/runbooks.md#{rule}",
            underlying=underlying,
        )
        write = log().warning if state == "firing" else log().info
        write(f"alert.{state}", rule=rule, evidence=evidence, underlying=underlying)
        try:
            self._outbox.append([alert])
        except ArchiveError as error:
            # A full disk: the line above has been seen, and what raised the alert must go on. What
            # could not be journalled was not said: it is said again at the next occasion.
            log().error("alert.not_journalled", rule=rule, reason=str(error))
            return
        self._keep(alert)
        self._outbox.flush()

    def _keep(self, alert: Alert) -> None:
        if alert.state == "firing":
            self._firing[(alert.rule, alert.underlying)] = alert.severity
        else:
            self._firing.pop((alert.rule, alert.underlying), None)


class Outage:
    """Whether the bus can be used, as one state of the service."""

    def __init__(self, health: Health, alerts: Alerts) -> None:
        self._lock = threading.RLock()
        self._health, self._alerts = health, alerts
        self._down: set[str] = set()
        # What a service that was killed during an outage left firing ends with the first success.
        self._is_stale = any(map(alerts.is_firing, (BUS_DOWN, STREAM_FLUSHED)))
        self._told: set[str] = set()

    def report(self, who: str, error: BusError | None) -> None:
        """Say that `who` met `error`, or (None) that it got through."""
        with self._lock:
            was_down = bool(self._down)
            if error is not None:
                self._down.add(who)
            else:
                self._down.discard(who)
            if error is not None:
                self._tell(error, is_new=not was_down)
            elif not self._down and (was_down or self._is_stale):
                self._is_stale = False
                log().info("bus.up")
                self._told.clear()
                self._health.set(BUS, None)
                for rule in (BUS_DOWN, STREAM_FLUSHED):
                    self._alerts.resolve(rule, evidence="the bus answers again")

    def _tell(self, error: BusError, *, is_new: bool) -> None:
        """Show the reason of the day; log each once, and fire one alert for all of them."""
        self._health.set(BUS, str(error))
        if str(error) not in self._told and len(self._told) < REASONS_TOLD_MAX:
            self._told.add(str(error))
            log().warning("bus.down", reason=str(error))
        if is_new:
            rule = STREAM_FLUSHED if isinstance(error, BusLostError) else BUS_DOWN
            self._alerts.fire(rule, evidence=str(error))


@dataclass
class Context:
    """Everything a service touches; `name` is the service's, and its role as a writer."""

    name: str
    root: Path
    settings: Settings
    bus: Bus
    web: Web
    stop: threading.Event = field(default_factory=threading.Event)
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        """Make what depends on the rest."""
        self.clock = StreamClock(self.root)
        self.alerts = Alerts(self.root, self.bus, writer=self.name, clock=self.clock)
        self.outage = Outage(self.health, self.alerts)
        self._control_lock = threading.Lock()
        self._controls: dict[str, Outbox] = {}
        self.web.add(self.name, self.health)

    def dead_letter(
        self, *, stream_name: str, entry_id: str, reason: str, event: Event | None
    ) -> None:
        """Give up one entry for good: archived, so that a restart and replay honour it."""
        log().error("entry.given_up", stream=stream_name, entry_id=entry_id, reason=reason)
        letter = DeadLetter(
            ts_ns=event.ts_ns if event else self.clock.for_control(),
            id=event_id("DeadLetter", stream_name, entry_id, self.name),
            stream=stream_name,
            entry_id=entry_id,
            reason=reason[:500],
            group=self.name,
            event=event.id if event else "",
        )
        self._record("dead", [letter])

    def record_models(self, events: Sequence[ModelEvent]) -> None:
        """Journal, post and chain changes of what this service serves."""
        self._record("models", events)
        for event in events:
            append_audit(self.root, event)

    def flush(self) -> None:
        """Post control events that the bus could not take before."""
        self.alerts.flush()
        with self._control_lock:
            for outbox in self._controls.values():
                outbox.flush()

    def _record(self, kind: str, events: Sequence[Event]) -> None:
        with self._control_lock:
            if kind not in self._controls:
                self._controls[kind] = self.outbox(kind, CONTROL)
            self._controls[kind].append(events)
            self._controls[kind].flush()

    def close(self) -> None:
        """Close the journals of control streams."""
        self.alerts.close()
        with self._control_lock:
            for outbox in self._controls.values():
                outbox.close()

    def outbox(self, kind: str, underlying: str) -> Outbox:
        """Return the outbox of this service's stream; its outages are the service's."""
        who = f"write {kind} {underlying}"
        return Outbox(
            self.root,
            self.bus,
            writer=self.name,
            kind=kind,
            underlying=underlying,
            report=lambda error: self.outage.report(who, error),
        )
