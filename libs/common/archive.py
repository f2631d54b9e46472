"""The archive: layout on disk, and reading it in order.

The archive is the truth, streams are a convenience. A file holds one event kind, underlying and
hour, as plain Parquet; the running hour stands in journals. A reader sees both, drops repeated ids
and delivers events in the one order that exists: (ts_ns, underlying, seq, id). Underlying stands
before seq because each underlying's stream counts for itself; within a stream it is (ts_ns, seq,
id). Writing is in `sealing.py`.

Decision to question: paths, not a catalogue, say what exists (a manifest lists rows and hashes for
`hawk verify`, readers do not need it). A folder listing is atomic under rename; a catalogue would
be a second truth.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from libs.common import columns
from libs.common.checks import ArchiveError
from libs.common.events import EVENT_TYPES, ID_BYTES, Event, Tick
from libs.common.journal import Entry, read_journal
from libs.common.streams import CONTROL, STREAMS, archive_kind

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
TIME_MAX_NS = 2**63 - 1

_UNDERLYING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may become a folder name: a symbol such as BTC-USD, never a path."""


@dataclass(frozen=True)
class HourFile:
    """One Parquet file of the archive."""

    path: Path
    hour_ns: int


def folder_of(root: Path, event_type: type[Event], underlying: str, ts_ns: int) -> Path:
    """Return the day folder of `event_type` and `underlying` below the data folder `root`."""
    kind = root / "archive" / archive_kind(event_type)
    return kind / f"underlying={safe_name(underlying)}" / f"date={date_of(ts_ns)}"


def safe_name(underlying: str) -> str:
    """Return `underlying` if it may name a folder; raise `ArchiveError` otherwise.

    >>> safe_name("BTC-USD")
    'BTC-USD'
    """
    if not _UNDERLYING.fullmatch(underlying) or ".." in underlying:
        raise ArchiveError(
            f"underlying {underlying[:80]!r} cannot name a folder: "
            "use letters, digits, '-', '_', '.', at most 64, such as BTC-USD"
        )
    return underlying


def date_of(ts_ns: int) -> str:
    """Return the UTC date of `ts_ns`.

    >>> date_of(0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def hour_of(ts_ns: int) -> str:
    """Return the UTC hour of `ts_ns` as two digits.

    >>> hour_of(HOUR_NS)
    '01'
    """
    return f"{ts_ns // HOUR_NS % 24:02d}"


class Archive:
    """Reader of one data folder; knows nothing about who writes it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def underlyings(self) -> list[str]:
        """Return the underlyings that have any market traffic, sorted."""
        folders = self.root.glob("archive/*/underlying=*")
        journals = self.root.glob("archive/journal/*/*/underlying=*")
        names = {path.name.removeprefix("underlying=") for path in (*folders, *journals)}
        return sorted(names - {CONTROL})

    def files(
        self, event_type: type[Event], underlying: str, *, start_ns: int = 0, end_ns: int
    ) -> list[HourFile]:
        """Return the sealed files that can hold rows of [start_ns, end_ns), by hour."""
        base = self.root / "archive" / archive_kind(event_type) / f"underlying={underlying}"
        found: list[HourFile] = []
        for day in _days(base, start_ns, end_ns):
            day_ns = _day_ns(day.name)
            if day_ns + DAY_NS <= start_ns or day_ns >= end_ns:
                continue
            for path in sorted(day.glob("[0-9][0-9].*parquet")):
                hour_ns = day_ns + int(path.name[:2]) * HOUR_NS
                if hour_ns + HOUR_NS > start_ns and hour_ns < end_ns:
                    found.append(HourFile(path, hour_ns))
        return found

    def table(
        self,
        event_type: type[Event],
        *,
        start_ns: int = 0,
        end_ns: int = TIME_MAX_NS,
        underlying: str | None = None,
        names: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the rows of [start_ns, end_ns) in order, each id once.

        `names` selects columns; ts_ns, seq, id always come first. Raises `ArchiveError` naming the
        file if one cannot be read.
        """
        chosen = [underlying] if underlying else self._places(event_type)
        parts = [
            self._table_of(event_type, place, start_ns=start_ns, end_ns=end_ns, names=names)
            for place in chosen
        ]
        parts = [part for part in parts if part.num_rows]
        if not parts:
            empty = columns.schema(event_type).empty_table()
            return empty.select(_with_keys(names)) if names else empty
        if len(parts) == 1:
            return parts[0]
        # Places are sorted, so a stable sort by time leaves (ts_ns, underlying, seq, id).
        table = pa.concat_tables(parts, promote_options="default").combine_chunks()
        order = np.argsort(table.column("ts_ns").to_numpy(), kind="stable")
        return table.take(pa.array(order))

    def scan(
        self, types: Mapping[type[Event], int], *, start_ns: int | None = None, end_ns: int
    ) -> Iterator[Event]:
        """Yield events before `end_ns` in order, hour by hour, so that memory stays flat.

        `types` says from which instant on each type is wanted; `start_ns` overrides a smaller one.
        """
        wanted = {t: max(begin, start_ns or 0) for t, begin in types.items()}
        hours = sorted(
            self._journal_hours(wanted, end_ns)
            | {
                file.hour_ns
                for event_type, begin in wanted.items()
                for place in self._places(event_type)
                for file in self.files(event_type, place, start_ns=begin, end_ns=end_ns)
            }
        )
        for hour_ns in hours:
            events: list[Event] = []
            for event_type, begin in wanted.items():
                table = self.table(
                    event_type,
                    start_ns=max(begin, hour_ns),
                    end_ns=min(end_ns, hour_ns + HOUR_NS),
                )
                events += columns.from_table(event_type, table)
            events.sort(key=scan_key)
            yield from events

    def span_ns(self) -> tuple[int, int] | None:
        """Return the first and the last instant of the snapshots stream; None if it is empty."""
        edges: list[int] = []
        for event_type in STREAMS[0].types:
            if event_type is Tick:
                continue
            for place in self._places(event_type):
                files = self.files(event_type, place, end_ns=TIME_MAX_NS)
                hours = sorted(
                    self._journal_hours({event_type: 0}, TIME_MAX_NS) | {f.hour_ns for f in files}
                )
                # A running hour may hold nothing but ticks, so look on until a row is found.
                for ordered in (hours, hours[::-1]):
                    times = (self._hour_times(event_type, place, hour) for hour in ordered)
                    edges += next((t for t in times if t), [])
        return (min(edges), max(edges)) if edges else None

    def _hour_times(self, event_type: type[Event], place: str, hour_ns: int) -> list[int]:
        """Return the first and last instant of one hour; empty where it has no row."""
        end_ns = hour_ns + HOUR_NS
        table = self._table_of(event_type, place, start_ns=hour_ns, end_ns=end_ns, names=("ts_ns",))
        ts = table.column("ts_ns")
        return [ts[0].as_py(), ts[-1].as_py()] if table.num_rows else []

    def _places(self, event_type: type[Event]) -> list[str]:
        sealed = (self.root / "archive" / archive_kind(event_type)).glob("underlying=*")
        running = self.root.glob(f"archive/journal/*/{_stream_kind(event_type)}/underlying=*")
        return sorted({path.name.removeprefix("underlying=") for path in (*sealed, *running)})

    def _table_of(
        self,
        event_type: type[Event],
        underlying: str,
        *,
        start_ns: int,
        end_ns: int,
        names: Sequence[str] | None,
    ) -> pa.Table:
        # Journals first: an hour that is sealed between the two readings is seen twice and its ids
        # dropped once; the other way round it would be seen by neither.
        journalled = self._journalled(event_type, underlying, start_ns=start_ns, end_ns=end_ns)
        files = self.files(event_type, underlying, start_ns=start_ns, end_ns=end_ns)
        wanted = _with_keys(names) if names else None
        table = _read([f.path for f in files], event_type, start_ns, end_ns, wanted)
        if journalled is not None:
            part = journalled.select(wanted) if wanted else journalled
            table = pa.concat_tables([table, part], promote_options="default")
        is_single = journalled is None and len({f.hour_ns for f in files}) == len(files)
        return table if is_single else in_order(table)

    def _journalled(
        self, event_type: type[Event], underlying: str, *, start_ns: int, end_ns: int
    ) -> pa.Table | None:
        events: list[Event] = []
        for path in self.journals(_stream_kind(event_type), underlying):
            hour_ns = journal_hour_ns(path)
            if hour_ns < end_ns and hour_ns + HOUR_NS > start_ns:
                events += [
                    entry.event
                    for entry in _entries(path)
                    if type(entry.event) is event_type and start_ns <= entry.event.ts_ns < end_ns
                ]
        return columns.to_table(event_type, events) if events else None

    def journals(self, kind: str, underlying: str) -> list[Path]:
        """Return the journals of stream `kind`, of all writers, oldest first."""
        found = self.root.glob(f"archive/journal/*/{kind}/underlying={underlying}/*.journal")
        return sorted(found, key=lambda path: (path.name, str(path)))

    def _journal_hours(self, types: Mapping[type[Event], int], end_ns: int) -> set[int]:
        kinds = {_stream_kind(event_type) for event_type in types}
        paths = (p for k in kinds for p in self.root.glob(f"archive/journal/*/{k}/*/*.journal"))
        first = min(types.values(), default=0)
        hours = {journal_hour_ns(path) for path in paths}
        return {hour for hour in hours if hour < end_ns and hour + HOUR_NS > first}


def _entries(path: Path) -> Sequence[Entry]:
    """Read a journal; one that was sealed since it was listed is gone, and its rows are sealed."""
    try:
        return read_journal(path).entries
    except ArchiveError:
        if path.exists():
            raise
        return ()


def scan_key(event: Event) -> tuple[int, str, int, str]:
    """Order of a scan over several underlyings: (ts_ns, underlying, seq, id)."""
    return (event.ts_ns, getattr(event, "underlying", None) or "", event.seq, event.id)


def journal_hour_ns(path: Path) -> int:
    """Return the hour of a journal named `<date>T<HH>.journal`."""
    try:
        hour = datetime.strptime(path.stem, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError as error:
        raise ArchiveError(
            f"journal {path}: the name is not <date>T<HH>.journal; move the file away"
        ) from error
    return int(hour.timestamp()) * 1_000_000_000


def _days(base: Path, start_ns: int, end_ns: int) -> list[Path]:
    """Return the day folders that can matter; a scan asks hour by hour, so name them directly."""
    if end_ns - start_ns <= DAY_NS:
        names = sorted({date_of(start_ns), date_of(end_ns - 1)})
        return [base / f"date={name}" for name in names]
    return sorted(base.glob("date=*"))


def _day_ns(folder_name: str) -> int:
    try:
        day = datetime.strptime(folder_name, "date=%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ArchiveError(
            f"archive folder {folder_name!r} is not date=YYYY-MM-DD; move it away"
        ) from error
    return int(day.timestamp()) * 1_000_000_000


def _with_keys(names: Sequence[str] | None) -> list[str]:
    keys = ["ts_ns", "seq", "id"]
    return keys + [name for name in names or () if name not in keys]


def _read(
    paths: Sequence[Path],
    event_type: type[Event],
    start_ns: int,
    end_ns: int,
    names: list[str] | None,
) -> pa.Table:
    base = columns.schema(event_type)
    if not paths:
        return base.empty_table().select(names) if names else base.empty_table()
    try:
        # The schema is given for types whose columns are fixed, so that no file is opened to infer
        # one; feature rows carry a column per feature and are read as they stand.
        is_open = event_type.__name__ == "FeatureRow"
        if is_open:
            tables = [ds.dataset([str(p)]).to_table(columns=names) for p in paths]
            table = pa.concat_tables(tables, promote_options="default")
        else:
            table = ds.dataset([str(p) for p in paths], schema=base).to_table(columns=names)
    except (pa.ArrowException, OSError) as error:
        broken = next((p for p in paths if not _is_readable(p)), paths[0])
        raise ArchiveError(
            f"cannot read {broken}: {str(error).splitlines()[0][:200]}; "
            "run `hawk verify` and restore the file from a backup"
        ) from error
    ts = table.column("ts_ns").to_numpy()
    # Files of several writers follow one another, so neither end of the column is an extreme.
    if len(ts) and (ts.min() < start_ns or ts.max() >= end_ns):
        table = table.filter(pa.array((ts >= start_ns) & (ts < end_ns)))
    return table


def _is_readable(path: Path) -> bool:
    try:
        ds.dataset([str(path)]).count_rows()
    except (pa.ArrowException, OSError):
        return False
    return True


def in_order(table: pa.Table) -> pa.Table:
    """Sort by (ts_ns, seq, id) and keep each id once: late files and journals may repeat rows."""
    table = table.combine_chunks()
    ids = id_array(table.column("id"))
    seq = table.column("seq").to_numpy()
    ts = table.column("ts_ns").to_numpy()
    order = np.lexsort((ids, seq, ts))
    _, first = np.unique(ids[order], return_index=True)
    return table.take(pa.array(order[np.sort(first)]))


def id_array(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Return an id column as fixed-width bytes, without a Python object per row."""
    ids = column.combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.binary(ID_BYTES))
    if not len(ids):
        return np.empty(0, f"S{ID_BYTES}")
    start = ids.offset * ID_BYTES
    buffer = ids.buffers()[1][start : start + len(ids) * ID_BYTES]
    return np.frombuffer(buffer, dtype=f"S{ID_BYTES}")


@cache
def _stream_kind(event_type: type[Event]) -> str:
    for stream in STREAMS:
        if event_type in stream.types and (event_type is not Tick or stream.kind == "snapshots"):
            return stream.kind
    raise KeyError(event_type)


ARCHIVED_TYPES: tuple[type[Event], ...] = tuple(t for t in EVENT_TYPES if t is not Tick)
"""Ticks are journalled and dropped at the seal; everything else is kept."""
