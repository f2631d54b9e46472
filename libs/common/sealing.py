"""Writing the archive: journals of the running hour, sealed hours, late rows, manifests.

One `StreamWriter` owns one (writer, stream, underlying): it numbers events without a break across
restarts, appends batches to the hour's journal, and turns a finished hour into one Parquet file
per event kind. Late rows (import, backfill) are merged into the hour's file by the same steps. A
journal is removed only after all its rows stand in sealed files, and a reader drops repeated ids,
so a kill between any two steps loses nothing and repeats nothing. What the files do not keep, the
count of the last tick, stands in a small file beside the journals.

The manifest is written twice around a replacement, first with the new hash as `pending`: at every
instant the file on disk has one of the two hashes that the manifest names.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libs.common import columns, durable
from libs.common.archive import (
    HOUR_NS,
    Archive,
    date_of,
    folder_of,
    hour_of,
    id_array,
    in_order,
    journal_hour_ns,
    safe_name,
)
from libs.common.checks import ArchiveError, check
from libs.common.events import Event, Tick, set_seq
from libs.common.journal import Entry, Journal, read_journal
from libs.common.streams import CONTROL, stream

ZSTD_LEVEL = 9
"""Files are written once and read often."""

MANIFEST = "manifest.json"

COUNTER = "counter.json"
"""Beside the journals: what a writer had counted to when it last sealed an hour."""


class Counted(msgspec.Struct, frozen=True, order=True):
    """The last sequence number and entry millisecond that a writer gave."""

    seq: int
    entry_ms: int


class FileFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the manifest says of one file; `pending` is the hash of a replacement under way."""

    rows: int
    bytes: int
    sha256: str
    pending: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """All files of one event kind, underlying and day."""

    files: dict[str, FileFact]


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
                set_seq(event, counted.seq)
                batch.append(Entry(event, entry_ms))
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
        self.close()
        for path in sorted(self._folder.glob("*.journal")):
            journal = Journal(path)
            journal.cut_after(ts_ns)
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
        counter = self._folder / COUNTER
        counted = max([_read_counter(counter), *map(_counted, entries)])
        durable.write_atomic(counter, msgspec.json.encode(counted), name="counter")
        durable.step("seal.before_remove")
        path.unlink()
        durable.sync_folder(path.parent)
        durable.step("seal.after_remove")

    def _folder_lock(self) -> AbstractContextManager[None]:
        """Keep apart the writers of a control stream: a day's folder and manifest are shared."""
        if not self._stream.is_control:
            return nullcontext()
        return durable.writer_lock(self._root, f"{self._stream.kind}-folder", waits=True)

    def _last_written(self) -> Counted:
        """Return what was counted to: by the counter and the journals, else the sealed files."""
        last = _read_counter(self._folder / COUNTER)
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


def put_rows(folder: Path, name: str, table: pa.Table) -> int:
    """Add `table` to the file `name` in `folder`, each id once; return how many rows were new."""
    return put_files(folder, {name: table})


def put_files(folder: Path, tables: Mapping[str, pa.Table]) -> int:
    """Add each table to its file in `folder`, each id once; return how many rows were new.

    One day at a time, because the manifest is written before and after, whatever the files' number.
    """
    durable.sweep(folder)
    changed: dict[str, pa.Table] = {}
    added: int = 0
    for name, table in tables.items():
        path = folder / name
        if not path.exists():
            changed[name] = in_order(table)
            added += changed[name].num_rows
            continue
        old = _read_file(path)
        new = table.filter(pa.array(~np.isin(id_array(table["id"]), id_array(old["id"]))))
        if new.num_rows:
            changed[name] = in_order(pa.concat_tables([old, new], promote_options="default"))
            added += changed[name].num_rows - old.num_rows
    if changed:
        _replace(folder, changed)
    elif (facts := _settled(folder)) != read_manifest(folder).files:
        write_manifest(folder, Manifest(facts))
    return added


def add_late_rows(root: Path, event_type: type[Event], table: pa.Table) -> int:
    """Add imported rows of any span; return how many the archive did not have.

    Rows are grouped by underlying and hour. Running it again, or after a kill, changes nothing.
    """
    added: int = 0
    for underlying in pc.unique(table["underlying"]).to_pylist():
        own = table.filter(pc.equal(table["underlying"], underlying)).combine_chunks()
        hours = own["ts_ns"].to_numpy() // HOUR_NS
        order = np.argsort(hours, kind="stable")
        own, hours = own.take(pa.array(order)), hours[order]
        starts = np.flatnonzero(np.r_[True, hours[1:] != hours[:-1]]).tolist()
        by_day: dict[Path, dict[str, pa.Table]] = {}
        for start, end in zip(starts, [*starts[1:], len(hours)], strict=True):
            ts_ns = int(hours[start]) * HOUR_NS
            day = by_day.setdefault(folder_of(root, event_type, underlying, ts_ns), {})
            day[f"{hour_of(ts_ns)}.parquet"] = own.slice(start, end - start)
        for folder, tables in by_day.items():
            added += put_files(folder, tables)
            durable.step("import.after_day")
    return added


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of `folder`."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    durable.write_atomic(folder / MANIFEST, content, name="manifest")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of `folder`; empty where there is none yet."""
    path = folder / MANIFEST
    if not path.exists():
        return Manifest({})
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise ArchiveError(
            f"manifest {path} is damaged ({error}): restore it from a backup, or remove it "
            "and run `hawk verify`, which says what it can no longer prove"
        ) from error


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    return sha256(path.read_bytes()).hexdigest()


def _replace(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write `tables` over the files of `folder`, their hashes in the manifest before and after."""
    # What a kill left pending is settled first: else a second kill could leave a file whose hash is
    # neither the old nor the new one.
    facts = _settled(folder)
    contents = {name: _parquet_bytes(table) for name, table in tables.items()}
    written: dict[str, FileFact] = {}
    for name, content in contents.items():
        digest = sha256(content).hexdigest()
        written[name] = FileFact(tables[name].num_rows, len(content), digest)
        facts[name] = msgspec.structs.replace(facts.get(name, written[name]), pending=digest)
    durable.step("seal.before_manifest")
    write_manifest(folder, Manifest(dict(sorted(facts.items()))))
    for name, content in contents.items():
        durable.write_atomic(folder / name, content, name="seal")
    write_manifest(folder, Manifest(dict(sorted({**facts, **written}.items()))))


def _settled(folder: Path) -> dict[str, FileFact]:
    """Return the manifest's facts after a kill: pending hashes resolved, empty promises dropped.

    A file that was sealed and is gone stays listed: that is what `hawk verify` must find.
    """
    facts: dict[str, FileFact] = {}
    for name, fact in read_manifest(folder).files.items():
        path = folder / name
        if path.exists() and fact.pending:
            rows = _read_file(path).num_rows
            facts[name] = FileFact(rows, path.stat().st_size, hash_file(path))
        elif path.exists() or fact.pending != fact.sha256:
            facts[name] = fact
    return facts


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        column_encoding=_encodings(table),
        use_dictionary=_dictionary_columns(table),
        write_statistics=["ts_ns"],
        store_schema=False,  # the Arrow schema would repeat 2-4 kB in each hour's footer
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _dictionary_columns(table: pa.Table) -> list[str]:
    return [f.name for f in table.schema if pa.types.is_string(f.type)]


def _encodings(table: pa.Table) -> dict[str, str]:
    """Delta for integers (neighbouring rows are alike), split bytes for floats, plain for ids."""
    encodings: dict[str, str] = {}
    for field in table.schema:
        if pa.types.is_list(field.type):
            encodings[f"{field.name}.list.element"] = (
                "PLAIN"  # zstd sees whole ladders, see columns
            )
        elif pa.types.is_integer(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_fixed_size_binary(field.type):
            encodings[field.name] = "PLAIN"
    return encodings


def _read_file(path: Path) -> pa.Table:
    """Read a sealed file; raise `ArchiveError` unless it is the one that its manifest names.

    Merging into a damaged file would seal the damage under a new hash.
    """
    fact = read_manifest(path.parent).files.get(path.name)
    try:
        if fact and hash_file(path) not in (fact.sha256, fact.pending):
            raise ArchiveError(f"{path} is not the file that was sealed (SHA-256): restore it")
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(
            f"cannot read {path}: {str(error).splitlines()[0][:200]}; "
            "run `hawk verify` and restore the file from a backup"
        ) from error


def _counted(entry: Entry) -> Counted:
    return Counted(entry.event.seq, entry.entry_ms)


def _read_counter(path: Path) -> Counted:
    if not path.exists():
        return Counted(0, 0)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counted)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise ArchiveError(
            f"counter {path} cannot be read ({error}): restore it from a backup, or remove it "
            "to count on from the sealed files"
        ) from error
