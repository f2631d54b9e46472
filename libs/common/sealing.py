"""Sealed hours: rows into Parquet files, late rows merged, manifests that tell the truth.

In go tables of one event kind, out come one file per hour with its row count and SHA-256 in the
day's manifest. Late rows (import, backfill) are merged into the hour's file by the same steps as a
finished hour (`stream_writer.py`), and a reader drops repeated ids, so a kill between any two steps
loses nothing and repeats nothing.

The manifest is written twice around a replacement, first with the new hash as `pending`: at every
instant the file on disk has one of the two hashes that the manifest names.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libs.common import durable
from libs.common.archive import (
    HOUR_NS,
    folder_of,
    hour_of,
    id_array,
    in_order,
)
from libs.common.checks import ArchiveError
from libs.common.events import Event

ZSTD_LEVEL = 9
"""Files are written once and read often."""

MANIFEST = "manifest.json"


class FileFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the manifest says of one file; `pending` is the hash of a replacement under way."""

    rows: int
    bytes: int
    sha256: str
    pending: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """All files of one event kind, underlying and day."""

    files: dict[str, FileFact]


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
