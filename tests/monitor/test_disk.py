"""Bytes of the archive, counted once per day folder, and of the disk that it is on."""

import os
from pathlib import Path

from services.monitor.disk import ArchiveSize, space

DAY = "archive/quote_snapshot/underlying=BTC-USD/date=2026-01-0"


def put(root: Path, name: str, size: int, *, at_s: int = 1_000) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path.parent, (at_s, at_s))


def test_sealed_files_and_journals_are_summed(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}1/00.parquet", 100)
    put(tmp_path, f"{DAY}1/manifest.json", 10)
    put(tmp_path, "archive/alert/underlying=control/date=2026-01-01/00.parquet", 5)
    put(tmp_path, "archive/journal/collector/snapshots/underlying=BTC-USD/h.journal", 7)
    put(tmp_path, "elsewhere/big", 1_000)
    assert ArchiveSize(tmp_path).look() == 122


def test_a_day_that_did_not_change_is_not_listed_again_and_a_changed_one_is(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}1/00.parquet", 100)
    put(tmp_path, f"{DAY}2/00.parquet", 100)
    size = ArchiveSize(tmp_path)
    assert size.look() == 200 and size.listed == 2
    assert size.look() == 200 and size.listed == 2
    put(tmp_path, f"{DAY}2/01.parquet", 50, at_s=2_000)
    assert size.look() == 250 and size.listed == 3


def test_a_day_that_has_just_changed_is_listed_until_its_time_is_past(tmp_path: Path) -> None:
    put(tmp_path, f"{DAY}1/00.parquet", 100)
    folder = tmp_path / f"{DAY}1"
    os.utime(folder)
    stamp = folder.stat()
    size = ArchiveSize(tmp_path)
    assert size.look() == 100
    (folder / "01.parquet").write_bytes(b"x" * 20)
    os.utime(folder, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # within one tick of its clock
    assert size.look() == 120


def test_journals_grow_without_a_sign_on_their_folder(tmp_path: Path) -> None:
    name = "archive/journal/collector/snapshots/underlying=BTC-USD/h.journal"
    put(tmp_path, name, 7)
    size = ArchiveSize(tmp_path)
    size.look()
    put(tmp_path, name, 9)
    assert size.look() == 9


def test_a_removed_day_and_a_missing_archive_take_nothing(tmp_path: Path) -> None:
    size = ArchiveSize(tmp_path)
    assert size.look() == 0
    put(tmp_path, f"{DAY}1/00.parquet", 100)
    assert size.look() == 100
    (tmp_path / f"{DAY}1/00.parquet").unlink()
    (tmp_path / f"{DAY}1").rmdir()
    assert size.look() == 0


def test_the_disk_is_asked_where_the_archive_is_or_will_be(tmp_path: Path) -> None:
    found = space(tmp_path)
    assert found is not None and 0 < found.free < found.total
    assert space(tmp_path / "nowhere") is None
