"""Rebuild the archive from raw captures: what was received, through the code that runs live. Shell.

Runs as the collector, offline, and writes the archive only. The observer is fed the arrivals of
each file in order; the facts that it makes are numbered and added like those of any import, so
importing twice, or beside what was recorded live, changes nothing that is there already.

The decision a reader would question: a file is a run of its own. The observer starts with it and
ends with it; what lies between two files was observed by nobody and is not accounted for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
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
from services.collector.traffic import Answered, Received

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
    total, rejected = CaptureImported(), Counter[str]()
    with durable.writer_lock(root, "collector"):
        for place, path in enumerate(paths):

            def report(share: float, place: int = place) -> None:
                on_progress((place + share) / len(paths))

            _import_one(path, root, total, rejected, report)
    total.rejected = dict(sorted(rejected.items()))
    return total


def _import_one(
    path: Path,
    root: Path,
    total: CaptureImported,
    rejected: Counter[str],
    report: Callable[[float], None],
) -> None:
    observer: Observer | None = None
    waiting: list[Instant] = []
    said: set[tuple[str, str]] = set()
    frames = 0
    for arrival in read_capture(path, VENUES, on_progress=report):
        if isinstance(arrival, str):
            rejected[arrival] += 1
            continue
        if observer is None:
            observer = Observer(plan_of_all(), start_ns=-1, born_ns=arrival.ts_ns)
        frames += isinstance(arrival, Received | Answered)
        waiting += observer.handle(arrival).instants
        if waiting and waiting[0].ts_ns // HOUR_NS != waiting[-1].ts_ns // HOUR_NS:
            hour = waiting[-1].ts_ns // HOUR_NS
            done = [instant for instant in waiting if instant.ts_ns // HOUR_NS < hour]
            waiting = waiting[len(done) :]
            total.new += _write(root, done, total, said)
    total.frames += frames
    total.new += _write(root, waiting, total, said)
    total.markets += len(said)
    if observer is not None:
        _count(observer, total, rejected)


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
