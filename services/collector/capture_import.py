"""Rebuild the archive from raw captures: what was received, through the code that runs live. Shell.

Runs as the collector, offline, and writes the archive only. The observer is fed the arrivals of
each file in order; the facts that it makes are numbered and added like those of any import, so
importing twice, or beside what was recorded live, changes nothing that is there already.

The decision a reader would question: all files of one import are one run, in the order of their
first lines. A collector begins a new file each hour while its connections go on, so the second file
alone would be texts of connections that nobody saw open; those are counted, not guessed at.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa

from libs.common import columns, durable, sealing
from libs.common.archive import HOUR_NS
from libs.common.events import Event, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.venues import VENUES
from services.collector import snapshot_tables
from services.collector.capture import read_capture
from services.collector.instants import Instant
from services.collector.observer import Observer, Plan
from services.collector.traffic import Answered, Arrival, Received

NS = 1_000_000_000
BEGIN_S = 600
"""Within it every product of a run has shown itself, also behind an outage at its start."""

KINDS: tuple[type[Event], ...] = (Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot)


class Agreement(msgspec.Struct):
    """Best prices that a venue told beside its book, and those equal to the book at arrival."""

    compared: int = 0
    equal: int = 0


class CaptureImported(msgspec.Struct):
    """What captures held and became.

    `frames` are received texts. `rejected` counts what was not understood, by reason; `gaps` jumps
    of sequence numbers; `gap_rows` intervals without a row of their own. Snapshots that replaced a
    believed book are counted by whether they were equal to it. `new` rows were not there before.
    """

    frames: int = 0
    rejected: dict[str, int] = {}
    gaps: int = 0
    negative_levels: int = 0
    quotes: int = 0
    spot: int = 0
    markets: int = 0
    gap_rows: int = 0
    snapshots_equal: int = 0
    snapshots_different: int = 0
    ticker_agreement: Agreement = msgspec.field(default_factory=Agreement)
    new: int = 0


def import_captures(
    paths: Sequence[Path],
    root: Path,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> CaptureImported:
    """Import captures into the data folder `root`; `on_progress` hears the share that is done.

    Raises `ArchiveError` for a file that cannot be read.
    """
    ordered = sorted(paths, key=_begins_ns)
    importing = _Importing(root, plan_of(ordered))
    with durable.writer_lock(root, "collector"):
        for place, path in enumerate(ordered):

            def report(share: float, place: int = place) -> None:
                on_progress((place + share) / len(paths))

            importing.read(path, report)
        return importing.end()


def _begins_ns(path: Path) -> int:
    """Return the time of a capture's first line."""
    found = (a.ts_ns for a in read_capture(path, VENUES) if not isinstance(a, str))
    return next(found, 0)


def plan_of(paths: Sequence[Path]) -> Plan:
    """Return the plan that observes what these captures hold, in the order of their times.

    A product that was not recorded must not be waited for: a connection on which its book never
    comes is taken for broken.
    """
    whole = plan_of_all()
    spot = {feed.name for v in VENUES.values() if v.products for feed in v.feeds}
    quoted = {f'"{name}"': u for v in VENUES.values() for u, name in v.products.items()}
    found: set[str] = set()
    for arrival in _beginning(paths):
        if isinstance(arrival, Received) and arrival.feed in spot:
            found |= {u for name, u in quoted.items() if name in arrival.text}
    return replace(whole, underlyings=tuple(sorted(found))) if found else whole


def _beginning(paths: Sequence[Path]) -> Iterator[Arrival]:
    """Yield the arrivals of the first BEGIN_S."""
    begin_ns: int | None = None
    for path in paths:
        for arrival in read_capture(path, VENUES):
            if isinstance(arrival, str):
                continue
            begin_ns = arrival.ts_ns if begin_ns is None else begin_ns
            if arrival.ts_ns - begin_ns > BEGIN_S * NS:
                return
            yield arrival


class _Importing:
    """One observer, and what it has made of the files so far."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self._root, self._plan = root, plan
        self._observer: Observer | None = None
        self._waiting: list[Instant] = []
        self._said: set[tuple[str, str]] = set()
        self._rejected: Counter[str] = Counter()
        self._total = CaptureImported()

    def read(self, path: Path, report: Callable[[float], None]) -> None:
        """Feed one file to the observer, and write the hours that are over."""
        for arrival in read_capture(path, VENUES, on_progress=report):
            if isinstance(arrival, str):
                self._rejected[arrival] += 1
                continue
            if self._observer is None:
                self._observer = Observer(self._plan, start_ns=-1, born_ns=arrival.ts_ns)
            self._total.frames += isinstance(arrival, Received | Answered)
            if isinstance(arrival, Received) and not self._observer.is_open(arrival):
                self._rejected["unknown_connection"] += 1
                continue
            self._waiting += self._observer.handle(arrival).instants
            newest_ns = self._waiting[-1].ts_ns if self._waiting else 0
            if self._waiting and self._waiting[0].ts_ns // HOUR_NS != newest_ns // HOUR_NS:
                hour = newest_ns // HOUR_NS
                done = [one for one in self._waiting if one.ts_ns // HOUR_NS < hour]
                self._waiting = self._waiting[len(done) :]
                self._total.new += _write(self._root, done, self._total, self._said)

    def end(self) -> CaptureImported:
        """Write the rest; return all figures."""
        self._total.new += _write(self._root, self._waiting, self._total, self._said)
        self._total.markets = len(self._said)
        if self._observer is not None:
            _count(self._observer, self._total, self._rejected)
        self._total.rejected = dict(sorted(self._rejected.items()))
        return self._total


def plan_of_all() -> Plan:
    """Return the plan that observes whatever a capture holds."""
    series = {name: dict.fromkeys(venue.series, 1) for name, venue in VENUES.items()}
    places = {u for venue in VENUES.values() for u in venue.products}
    return Plan(
        venues=VENUES,
        series=series,
        underlyings=tuple(sorted(places)),
        has_key=frozenset(VENUES),
        is_recorded=True,
    )


def _write(
    root: Path, instants: Sequence[Instant], total: CaptureImported, said: set[tuple[str, str]]
) -> int:
    """Add the facts of whole hours to the archive; return how many rows were new."""
    found: dict[type[Event], list[Event]] = {kind: [] for kind in KINDS}
    for instant in instants:
        for events in instant.events.values():
            for event in events:
                found[type(event)].append(event)
                if isinstance(event, Market):
                    said.add((event.venue, event.market))
    total.quotes += len(found[QuoteSnapshot])
    total.spot += len(found[SpotSnapshot])
    total.gap_rows += len(found[Gap])
    tables: dict[type[Event], pa.Table] = {
        kind: columns.to_table(kind, events) for kind, events in found.items()
    }
    new = 0
    for kind, table in snapshot_tables.numbered(tables).items():
        new += sealing.add_late_rows(root, kind, table) if table.num_rows else 0
    return new


_KINDS_OF_REJECTS = (
    "malformed",
    "too_large",
    "wrong_shape",
    "unknown_type",
    "bad_number",
    "out_of_range",
    "bad_time",
    "bad_name",
    "unknown_schema",
    "not_json",
    "unexpected",
)


def _count(observer: Observer, total: CaptureImported, rejected: Counter[str]) -> None:
    observer.settle_counts()
    for (_, kind), count in observer.counts.items():
        if kind in _KINDS_OF_REJECTS:
            rejected[kind] += count
        elif kind == "gap":
            total.gaps += count
        elif kind == "negative_level":
            total.negative_levels += count
        elif kind == "snapshot_equal":
            total.snapshots_equal += count
        elif kind == "snapshot_differs":
            total.snapshots_different += count
    compared, equal = observer.panel.agreement()
    total.ticker_agreement.compared += compared
    total.ticker_agreement.equal += equal
