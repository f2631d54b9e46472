"""The writer of one stream: numbers events, journals the running hour, seals the finished ones.

One `StreamWriter` owns one (writer, stream, underlying). It numbers events without a break across
restarts and appends batches to the hour's journal; a finished hour becomes one Parquet file per
event kind (`sealing.py`). A journal is removed only after all its rows stand in sealed files, and a
reader drops repeated ids, so a kill between any two steps loses nothing and repeats nothing.

What the sealed files do not keep (the count of the last tick, its time, where the stream began)
stands in a small file beside the journals; that it exists twice for an instant, in the journal and
in the counter, is why it only ever rises.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libs.common import columns, durable
from libs.common.archive import (
    HOUR_NS,
    Archive,
    date_of,
    folder_of,
    hour_of,
    journal_hour_ns,
    safe_name,
)
from libs.common.checks import ArchiveError, check
from libs.common.events import Event, Tick, body, set_seq
from libs.common.journal import Entry, Journal, read_journal
from libs.common.sealing import put_rows
from libs.common.streams import CONTROL, stream

COUNTER = "counter.json"
"""Beside the journals: what a writer had counted to when it last sealed an hour."""


class Counted(msgspec.Struct, frozen=True, order=True):
    """The last sequence number and entry millisecond that a writer gave."""

    seq: int
    entry_ms: int


class Counter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a writer has counted to in sealed hours, its last tick there, and where it began.

    `begin_ns` is the newest instant of the archive when this writer first streamed: readers without
    a position of their own start behind it. -1: none.
    """

    seq: int
    entry_ms: int
    tick_ns: int = -1
    begin_ns: int = -1


class StreamWriter:
    """Sole writer of one stream of one underlying; opening it recovers from any kill."""

    def __init__(self, root: Path, *, writer: str, kind: str, underlying: str) -> None:
        self._root = root
        self._stream = stream(kind)
        self._underlying = CONTROL if self._stream.is_control else safe_name(underlying)
        self._suffix = f".{writer}" if self._stream.is_control else ""
        self._folder = root / "archive/journal" / writer / kind / f"underlying={self._underlying}"
        durable.sweep(self._folder)
        self._journal: Journal | None = None
        self._hour_ns = -1
        self._counted = self._last_written()

    @property
    def seq(self) -> int:
        """The last sequence number given."""
        return self._counted.seq

    @property
    def counted(self) -> Counted:
        """The last sequence number and entry millisecond given."""
        return self._counted

    def counter(self) -> Counter:
        """Return what stands in the counter file; what the journals hold comes on top."""
        return read_counter(self._folder / COUNTER)

    def begin(self, begin_ns: int) -> None:
        """Remember from where this writer streams; once, later calls change nothing.

        The numbers of an archive that was there before are counted on from, and must be told: a
        reader that came before the first event would take them for lost.
        """
        counter = self.counter()
        if counter.begin_ns < 0:
            last = max(Counted(counter.seq, counter.entry_ms), self._last_sealed())
            self._write_counter(
                msgspec.structs.replace(
                    counter, seq=last.seq, entry_ms=last.entry_ms, begin_ns=begin_ns
                )
            )

    def entries(self, *, after_seq: int = 0) -> Iterator[Entry]:
        """Yield what the running journals hold behind `after_seq`, in order."""
        for path in sorted(self._folder.glob("*.journal")):
            for entry in read_journal(path).entries:
                if entry.event.seq > after_seq:
                    yield entry

    def append(self, events: Sequence[Event]) -> list[Entry]:
        """Number `events`, write them as one synced batch per hour, and return their entries.

        What fails to be written uses up no number: the same events may be appended again.
        """
        entries: list[Entry] = []
        for hour_ns, of_hour in groupby(events, key=lambda e: e.ts_ns // HOUR_NS * HOUR_NS):
            batch: list[Entry] = []
            counted = self._counted
            for event in of_hour:
                check(type(event) in self._stream.types, f"{event} on {self._stream.kind}")
                entry_ms = max(counted.entry_ms, event.ts_ns // 1_000_000)
                counted = Counted(counted.seq + 1, entry_ms)
                content = body(event)
                set_seq(event, counted.seq)
                batch.append(Entry(event, entry_ms, content))
            self._open(hour_ns).append(batch)
            self._counted = counted
            entries += batch
        return entries

    def seal(self, before_ns: int) -> int:
        """Seal the journals of hours that ended at or before `before_ns`; return how many."""
        self.close()
        sealed = 0
        for path in sorted(self._folder.glob("*.journal")):
            if journal_hour_ns(path) + HOUR_NS <= before_ns:
                self._seal_one(path)
                sealed += 1
        return sealed

    def cut_after(self, ts_ns: int) -> None:
        """Drop journalled events later than `ts_ns`, and number on from what is left."""
        self._cut(lambda entry: entry.event.ts_ns <= ts_ns)

    def cut_behind(self, seq: int) -> None:
        """Drop journalled events numbered above `seq`, and number on from there."""
        self._cut(lambda entry: entry.event.seq <= seq)

    def _cut(self, is_kept: Callable[[Entry], bool]) -> None:
        self.close()
        for path in sorted(self._folder.glob("*.journal")):
            journal = Journal(path)
            journal.keep(is_kept)
            journal.close()
        self._counted = self._last_written()

    def close(self) -> None:
        """Close the open journal; appending opens it again."""
        if self._journal is not None:
            self._journal.close()
            self._journal, self._hour_ns = None, -1

    def _open(self, hour_ns: int) -> Journal:
        if self._journal is None or self._hour_ns != hour_ns:
            self.close()
            name = f"{date_of(hour_ns)}T{hour_of(hour_ns)}.journal"
            self._journal, self._hour_ns = Journal(self._folder / name), hour_ns
        return self._journal

    def _seal_one(self, path: Path) -> None:
        entries = read_journal(path).entries
        hour_ns = journal_hour_ns(path)
        for event_type in self._stream.types:
            events = [e.event for e in entries if type(e.event) is event_type]
            if events and event_type is not Tick:
                table = columns.to_table(event_type, events)
                folder = folder_of(self._root, event_type, self._underlying, hour_ns)
                with self._folder_lock():
                    put_rows(folder, f"{hour_of(hour_ns)}{self._suffix}.parquet", table)
        self._write_counter(_raised(self.counter(), entries))
        durable.step("seal.before_remove")
        path.unlink()
        durable.sync_folder(path.parent)
        durable.step("seal.after_remove")

    def _write_counter(self, counter: Counter) -> None:
        content = msgspec.json.encode(counter)
        durable.write_atomic(self._folder / COUNTER, content, name="counter")

    def _folder_lock(self) -> AbstractContextManager[None]:
        """Keep apart the writers of a control stream: a day's folder and manifest are shared."""
        if not self._stream.is_control:
            return nullcontext()
        return durable.writer_lock(self._root, f"{self._stream.kind}-folder", waits=True)

    def _last_written(self) -> Counted:
        """Return what was counted to: by the counter and the journals, else the sealed files."""
        counter = self.counter()
        last = Counted(counter.seq, counter.entry_ms)
        for path in self._folder.glob("*.journal"):
            last = max([last, *map(_counted, read_journal(path).entries)])
        return last if last.seq else self._last_sealed()

    def _last_sealed(self) -> Counted:
        last = Counted(0, 0)
        archive = Archive(self._root)
        for event_type in self._stream.types:
            if event_type is Tick:
                continue
            files = archive.files(event_type, self._underlying, end_ns=2**63 - 1)
            own = [f for f in files if not self._suffix or self._suffix in f.path.name]
            if own:
                table = pq.read_table(own[-1].path, columns=["ts_ns", "seq"])
                seq, ts_ns = pc.max(table["seq"]).as_py(), pc.max(table["ts_ns"]).as_py()
                last = max(last, Counted(seq, ts_ns // 1_000_000))
        return last


def _counted(entry: Entry) -> Counted:
    return Counted(entry.event.seq, entry.entry_ms)


def _raised(counter: Counter, entries: Sequence[Entry]) -> Counter:
    """Return `counter` with what `entries` of a journal count to."""
    seq, entry_ms = counter.seq, counter.entry_ms
    for entry in entries:
        seq, entry_ms = max((seq, entry_ms), (entry.event.seq, entry.entry_ms))
    ticks = [entry.event.ts_ns for entry in entries if isinstance(entry.event, Tick)]
    tick_ns = max([counter.tick_ns, *ticks])
    return Counter(seq=seq, entry_ms=entry_ms, tick_ns=tick_ns, begin_ns=counter.begin_ns)


def counter_path(root: Path, *, writer: str, kind: str, underlying: str) -> Path:
    """Return where the counter of a writer's stream stands."""
    folder = root / "archive/journal" / writer / kind / f"underlying={underlying}"
    return folder / COUNTER


def read_counter(path: Path) -> Counter:
    """Read a counter; all zero where there is none yet. Raise `ArchiveError` if it is damaged."""
    if not path.exists():
        return Counter(0, 0)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counter)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise ArchiveError(
            f"counter {path} cannot be read ({error}): restore it from a backup, or remove it "
            "to count on from the sealed files"
        ) from error
