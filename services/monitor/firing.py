"""Which alerts fire, of every service: folded from the alert journals of all of them.

In goes a data folder, out come counts by service, rule and severity, 0 for what fired once and is
over (a series that only disappears would leave Prometheus in doubt). Each service
journals its alerts before it posts them, and alert journals are never sealed, so the journals are
the state: a monitor that was down, a stream that was trimmed and a Redis that is away change
nothing about it. What did not change on disk is not read again.

A reader would question that the stream is not used, which the monitor reads anyway. An alert there
does not say who raised it: six services tell of one outage of the bus, and the first that is well
again would end the alert of the other five.
"""

from pathlib import Path
from typing import NamedTuple

from libs.common.checks import ArchiveError
from libs.common.events import Alert
from libs.common.journal import read_journal
from libs.common.streams import SERVICES
from libs.common.telemetry import log
from services.monitor.claims import RULES_KNOWN

OTHER = "other"
"""Stands for a rule or a writer that is in no table: what is written in a file becomes no label."""


class Place(NamedTuple):
    """Who says what, and how bad it is."""

    service: str
    rule: str
    severity: str


_Stamp = tuple[int, int, int]
_Latest = dict[tuple[str, str | None], Alert]


class Firing:
    """The firing alerts of one data folder; `unreadable` counts the journals left out."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "archive/journal"
        self._stamps: dict[Path, _Stamp] = {}
        self._latest: dict[Path, _Latest] = {}
        self.unreadable = 0

    def look(self) -> dict[Place, int]:
        """Return how many alerts fire (one rule may, for several underlyings), by place."""
        paths = sorted(self._folder.glob("*/alerts/underlying=control/*.journal"))
        self._latest = {path: self._latest[path] for path in paths if path in self._latest}
        self.unreadable = sum(not self._read(path) for path in paths)
        by_writer: dict[str, _Latest] = {}
        for path, latest in self._latest.items():
            _merge(by_writer.setdefault(path.parts[-4], {}), latest)
        counts: dict[Place, int] = {}
        for writer, latest in by_writer.items():
            for alert in latest.values():
                place = _place(writer, alert)
                counts[place] = counts.get(place, 0) + (alert.state == "firing")
        return counts

    def _read(self, path: Path) -> bool:
        """Bring one journal up to date; False if it cannot be read, then what it said stands."""
        try:
            facts = path.stat()
            stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
            if self._stamps.get(path) != stamp:
                latest: _Latest = {}
                for entry in read_journal(path).entries:
                    if isinstance(entry.event, Alert):
                        _merge(latest, {(entry.event.rule, entry.event.underlying): entry.event})
                self._latest[path], self._stamps[path] = latest, stamp
        except (ArchiveError, OSError) as error:
            if path in self._stamps or path not in self._latest:
                log().error("alerts.unreadable", path=path.name, reason=str(error))
                self._stamps.pop(path, None)
                self._latest.setdefault(path, {})
            return False
        return True


def _merge(into: _Latest, latest: _Latest) -> None:
    """Keep the alert with the highest number: names of journals need not be in order of writing,
    because an alert before the first event carries a guessed time."""
    for key, alert in latest.items():
        if key not in into or alert.seq > into[key].seq:
            into[key] = alert


def _place(writer: str, alert: Alert) -> Place:
    return Place(
        writer if writer in SERVICES else OTHER,
        alert.rule if alert.rule in RULES_KNOWN else OTHER,
        alert.severity,
    )
