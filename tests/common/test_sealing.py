"""Sealing: counters without a break, one file per hour, manifests that hold at every instant."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from libs.common import columns, durable, sealing, stream_writer
from libs.common.archive import HOUR_NS, Archive
from libs.common.checks import ArchiveError, InvariantError
from libs.common.events import Event, ModelEvent, SpotSnapshot
from libs.common.sealing import add_late_rows, hash_file, read_manifest
from libs.common.stream_writer import StreamWriter
from tests.common.samples import T0_NS, model_event, quote, spot, tick

END_NS = T0_NS + 100 * HOUR_NS


def collector(root: Path) -> StreamWriter:
    return StreamWriter(root, writer="collector", kind="snapshots", underlying="BTC-USD")


def late(root: Path, events: list[Event]) -> int:
    return add_late_rows(root, type(events[0]), columns.to_table(type(events[0]), events))


def hashes(root: Path) -> dict[str, str]:
    paths = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hash_file(p) for p in paths}


def manifests_hold(root: Path) -> bool:
    for folder in {p.parent for p in root.rglob("*.parquet")}:
        facts = read_manifest(folder).files
        for path in folder.glob("*.parquet"):
            fact = facts[path.name]
            if hash_file(path) != fact.sha256 or fact.pending:
                return False
            if pq.read_metadata(path).num_rows != fact.rows or path.stat().st_size != fact.bytes:
                return False
    return True


def test_the_counter_is_unbroken_over_hours_seals_and_restarts(tmp_path: Path) -> None:
    seen: list[int] = []
    for hour in range(4):
        writer = collector(tmp_path)
        seen += [
            entry.event.seq
            for entry in writer.append(
                [event for n in range(3) for event in (spot(n, ts_ns=T0_NS + hour * HOUR_NS),)]
            )
        ]
        if hour % 2:
            writer.seal(T0_NS + (hour + 1) * HOUR_NS)
        writer.close()
    assert seen == list(range(1, 13))


def test_the_counter_goes_on_behind_the_last_tick_although_ticks_are_not_sealed(
    tmp_path: Path,
) -> None:
    writer = collector(tmp_path)
    last = writer.append([spot(0), *(tick(n) for n in range(50))])[-1]
    writer.seal(END_NS)
    (entry,) = collector(tmp_path).append([spot(60)])
    assert entry.event.seq == last.event.seq + 1
    assert entry.entry_ms >= last.entry_ms


def test_imported_rows_do_not_set_the_live_counter_back(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(n) for n in range(20)])
    writer.seal(END_NS)
    late(tmp_path, [spot(0, ts_ns=T0_NS + 5 * HOUR_NS), quote(0, ts_ns=T0_NS + 5 * HOUR_NS)][:1])
    assert collector(tmp_path).seq == 20


def test_entry_ids_never_decrease_although_the_clock_steps_back(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    entries = writer.append([spot(7200), spot(10), spot(20)])
    writer.close()
    entries += collector(tmp_path).append([spot(30)])
    places = [(entry.entry_ms, entry.event.seq) for entry in entries]
    assert places == sorted(set(places))
    assert [seq for _, seq in places] == [1, 2, 3, 4]


def test_what_failed_to_be_written_uses_up_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0)])

    def refuse(descriptor: int, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        for _ in range(3):
            with pytest.raises(ArchiveError, match="No space left"):
                writer.append([spot(1), spot(2)])
    entries = writer.append([spot(1), spot(2)])
    assert [entry.event.seq for entry in entries] == [2, 3]
    assert len(list(Archive(tmp_path).scan({SpotSnapshot: 0}, end_ns=END_NS))) == 3


def test_an_event_of_another_stream_is_not_taken(tmp_path: Path) -> None:
    """It would be journalled, and then be lost at the seal."""
    with pytest.raises(InvariantError):
        collector(tmp_path).append([model_event(0)])


def test_a_seal_splits_by_kind_and_removes_the_journal(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0), quote(0), tick(0), spot(0, ts_ns=T0_NS + HOUR_NS)])
    assert writer.seal(T0_NS + HOUR_NS - 1) == 0
    assert writer.seal(T0_NS + HOUR_NS) == 1
    kinds = {p.relative_to(tmp_path / "archive").parts[0] for p in tmp_path.rglob("*.parquet")}
    assert kinds == {"spot_snapshot", "quote_snapshot"}
    assert len(list(tmp_path.rglob("*.journal"))) == 1
    assert manifests_hold(tmp_path)
    assert writer.seal(T0_NS + HOUR_NS) == 0


def test_an_id_journalled_twice_is_sealed_once(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0), spot(1), spot(0)])
    writer.seal(END_NS)
    (path,) = tmp_path.rglob("*.parquet")
    assert pq.read_metadata(path).num_rows == 2
    assert Archive(tmp_path).table(SpotSnapshot).num_rows == 2


def test_rows_of_a_file_stand_in_order(tmp_path: Path) -> None:
    late(tmp_path, [spot(n) for n in (5, 1, 3)])
    late(tmp_path, [spot(n) for n in (4, 2)])
    (path,) = tmp_path.rglob("*.parquet")
    times = pq.read_table(path)["ts_ns"].to_pylist()
    assert times == sorted(times)
    assert len(times) == 5


def test_late_rows_twice_change_nothing_and_are_counted_once(tmp_path: Path) -> None:
    rows: list[Event] = [spot(n * 700) for n in range(12)]
    assert late(tmp_path, rows) == 12
    before = hashes(tmp_path)
    assert late(tmp_path, rows) == 0
    assert late(tmp_path, rows[3:5]) == 0
    assert hashes(tmp_path) == before
    assert manifests_hold(tmp_path)


def test_late_rows_in_parts_make_the_same_archive_as_at_once(tmp_path: Path) -> None:
    rows: list[Event] = [spot(n * 700) for n in range(12)]
    late(tmp_path / "once", rows)
    for start in (6, 0, 3, 9):
        late(tmp_path / "parts", rows[start : start + 4])
    assert hashes(tmp_path / "once") == hashes(tmp_path / "parts")


@pytest.mark.parametrize("what", ["seal", "late"])
def test_a_full_disk_leaves_old_files_and_the_journal_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    writer = collector(tmp_path)
    late(tmp_path, [spot(0)])
    writer.append([spot(1), spot(2)])
    before = hashes(tmp_path)

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(ArchiveError, match="No space left") as caught:
            if what == "seal":
                writer.seal(END_NS)
            else:
                late(tmp_path, [spot(3)])
    assert "\n" not in str(caught.value)
    assert hashes(tmp_path) == before
    writer.seal(END_NS)
    assert Archive(tmp_path).table(SpotSnapshot).num_rows == 3
    assert manifests_hold(tmp_path)


FILL = """
import resource, signal, sys
from pathlib import Path
from libs.common.archive import HOUR_NS
from libs.common.checks import ArchiveError
from libs.common.stream_writer import StreamWriter
from tests.common.samples import T0_NS, spot
writer = StreamWriter(Path(sys.argv[1]), writer="collector", kind="snapshots", underlying="BTC-USD")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] == "append":
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
n = 0
try:
    for n in range(0, 300, 3):
        writer.append([spot(n), spot(n + 1), spot(n + 2)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
    writer.seal(T0_NS + HOUR_NS)
except ArchiveError as error:
    print(n, error)
"""


@pytest.mark.parametrize("what", ["append", "seal"])
def test_a_real_limit_on_files_loses_nothing_acknowledged(tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    acknowledged = int(line.split(" ")[0]) if what == "append" else 300
    assert "cannot write" in line
    assert "File too large" in line
    assert acknowledged > 10
    found = list(Archive(tmp_path).scan({SpotSnapshot: 0}, end_ns=END_NS))
    assert [e.id for e in found] == [spot(n).id for n in range(acknowledged)]
    assert not list(tmp_path.rglob(f"{durable.TEMPORARY_PREFIX}*"))
    writer = collector(tmp_path)
    assert writer.seq == acknowledged
    writer.seal(END_NS)
    assert Archive(tmp_path).table(SpotSnapshot).num_rows == acknowledged


def test_a_file_that_went_missing_stays_in_the_manifest(tmp_path: Path) -> None:
    rows: list[Event] = [spot(n * 700) for n in range(12)]
    late(tmp_path, rows)
    first, *others = sorted(tmp_path.rglob("*.parquet"))
    first.unlink()
    late(tmp_path, rows[-1:])
    assert first.name in read_manifest(first.parent).files
    late(tmp_path, rows)  # importing again brings it back
    assert manifests_hold(tmp_path)
    assert len(list(tmp_path.rglob("*.parquet"))) == len(others) + 1


def test_nothing_is_merged_into_a_file_that_is_not_the_sealed_one(tmp_path: Path) -> None:
    late(tmp_path, [spot(0)])
    late(tmp_path / "other", [spot(1)])
    (path,) = (tmp_path / "archive").rglob("*.parquet")
    (other,) = (tmp_path / "other").rglob("*.parquet")
    path.write_bytes(other.read_bytes())
    with pytest.raises(ArchiveError, match="not the file that was sealed"):
        late(tmp_path, [spot(2)])
    with pytest.raises(ArchiveError, match="not the file that was sealed"):
        late(tmp_path, [spot(2)])


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"files":{"00.parquet":{"rows":"x"}}}', b'"\xff"']
)
def test_a_damaged_manifest_or_counter_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0)])
    writer.seal(END_NS)
    (manifest,) = tmp_path.rglob(sealing.MANIFEST)
    (counter,) = tmp_path.rglob(stream_writer.COUNTER)
    manifest.write_bytes(content)
    with pytest.raises(ArchiveError, match="manifest") as caught:
        read_manifest(manifest.parent)
    assert "\n" not in str(caught.value)
    counter.write_bytes(content)
    with pytest.raises(ArchiveError, match="counter"):
        collector(tmp_path)


def test_two_writers_of_a_control_stream_do_not_lose_each_others_manifest_lines(
    tmp_path: Path,
) -> None:
    script = (
        "import sys; from pathlib import Path; from libs.common.stream_writer import StreamWriter;"
        "from tests.common.samples import T0_NS, model_event; from libs.common.archive import *\n"
        "w = StreamWriter(Path(sys.argv[1]), writer=sys.argv[2], kind='models', underlying='x')\n"
        "for h in range(12):\n"
        "    at_ns = T0_NS // DAY_NS * DAY_NS + h * HOUR_NS\n"
        "    w.append([model_event(len(sys.argv[2]), ts_ns=at_ns)])\n"
        "    w.seal(2**62)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name])
        for name in ("trainer", "predictor")
    ]
    assert [process.wait() for process in writers] == [0, 0]
    assert Archive(tmp_path).table(ModelEvent).num_rows == 24
    assert manifests_hold(tmp_path)


def test_cutting_back_numbers_on_from_what_is_left(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(n * 1200) for n in range(6)])
    writer.seal(T0_NS + HOUR_NS)
    writer.cut_after(spot(4 * 1200).ts_ns)
    assert writer.seq == 5
    (entry,) = writer.append([spot(5 * 1200)])
    assert entry.event.seq == 6


def test_a_manifest_says_rows_bytes_and_hash(tmp_path: Path) -> None:
    late(tmp_path, [spot(0), spot(1)])
    (path,) = tmp_path.rglob("*.parquet")
    (fact,) = msgspec.json.decode((path.parent / "manifest.json").read_bytes())["files"].values()
    content = path.read_bytes()
    assert fact == {
        "rows": 2,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_opening_sweeps_what_a_kill_left(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0)])
    writer.close()
    (journal,) = tmp_path.rglob("*.journal")
    stray = journal.with_name(f"{durable.TEMPORARY_PREFIX}x")
    stray.write_bytes(b"half")
    collector(tmp_path)
    assert not stray.exists()
