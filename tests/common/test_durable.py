"""Durable writes: the old or the new, never a part; one writer per role."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.common import durable
from libs.common.checks import ArchiveError, UnavailableError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    durable.write_atomic(path, b"old", name="test")
    durable.write_atomic(path, lambda temporary: temporary.write_bytes(b"new") and None, name="t")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file", "new"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file_and_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    durable.write_atomic(path, b"old", name="test")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(ArchiveError) as caught:
        durable.write_atomic(path, b"new", name="test")
    line = str(caught.value)
    assert str(path) in line
    assert "No space left" in line
    assert "\n" not in line
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_is_written_whole(tmp_path: Path) -> None:
    durable.write_folder_atomic(tmp_path / "f", {"a": b"1", "b": b"2"}, name="test")
    assert names(tmp_path) == ["a", "b", "f"]


def test_writing_an_existing_folder_again_repairs_only_what_is_damaged(tmp_path: Path) -> None:
    files = {"a": b"1", "b": b"2", "c": b"3"}
    durable.write_folder_atomic(tmp_path / "f", files, name="test")
    untouched = (tmp_path / "f/a").stat().st_ino
    (tmp_path / "f/b").write_bytes(b"x")
    (tmp_path / "f/c").unlink()
    durable.write_folder_atomic(tmp_path / "f", files, name="test")
    assert {p.name: p.read_bytes() for p in (tmp_path / "f").iterdir()} == files
    assert (tmp_path / "f/a").stat().st_ino == untouched


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"a file where a folder should be")
    with pytest.raises(ArchiveError, match="cannot write"):
        durable.write_folder_atomic(tmp_path / "plain" / "f", {"a": b"1"}, name="test")
    assert names(tmp_path) == ["plain"]


def test_sweeping_removes_what_a_kill_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/.tmp-12.parquet").write_bytes(b"half")
    (tmp_path / ".tmp-bundle/x").mkdir(parents=True)
    (tmp_path / ".tmp-bundle/x/y").write_bytes(b"half")
    (tmp_path / "12.parquet").write_bytes(b"whole")
    assert durable.sweep(tmp_path) == 2
    assert names(tmp_path) == ["12.parquet", "deep"]
    assert durable.sweep(tmp_path / "absent") == 0


def test_steps_are_announced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(durable, "on_step", seen.append)
    durable.write_atomic(tmp_path / "f", b"1", name="seal")
    steps = ("before_write", "after_write", "after_fsync", "after_rename")
    assert seen == [f"seal.{step}" for step in steps]


def test_all_bytes_are_written_however_few_a_call_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, bytes(content)[:3]))
    descriptor = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    durable.write_all(descriptor, b"0123456789")
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes() == b"0123456789"


HOLD = """
import sys
from pathlib import Path
from libs.common.durable import writer_lock
with writer_lock(Path(sys.argv[1]), "trainer"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_cannot_take_the_same_role_until_the_first_is_gone(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(UnavailableError, match="another process is writing as trainer"),
            durable.writer_lock(tmp_path, "trainer"),
        ):
            pass
        with durable.writer_lock(tmp_path, "collector"):
            pass
        other.kill()
        other.wait()
    with durable.writer_lock(tmp_path, "trainer"):
        pass


def test_a_data_folder_that_is_a_file_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with (
        pytest.raises(ArchiveError, match="cannot write"),
        durable.writer_lock(tmp_path / "data", "collector"),
    ):
        pass


def test_a_link_in_the_way_is_never_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "ledger.json"
    elsewhere.write_bytes(b"money")
    place = tmp_path / "archive"
    place.mkdir()
    (place / ".tmp-counter.json").symlink_to(elsewhere)
    durable.write_atomic(place / "counter.json", b"1", name="counter")
    assert elsewhere.read_bytes() == b"money"
    assert not (place / "counter.json").is_symlink()
    assert (place / "counter.json").read_bytes() == b"1"


def test_a_linked_folder_in_the_way_is_never_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "models"
    elsewhere.mkdir()
    (elsewhere / "current").write_bytes(b"signed")
    (tmp_path / ".tmp-bundle").symlink_to(elsewhere)
    durable.write_folder_atomic(tmp_path / "bundle", {"current": b"forged"}, name="bundle")
    assert (elsewhere / "current").read_bytes() == b"signed"
    assert (tmp_path / "bundle/current").read_bytes() == b"forged"


def test_sweeping_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "models"
    elsewhere.mkdir()
    (elsewhere / "current").write_bytes(b"signed")
    place = tmp_path / "archive"
    place.mkdir()
    (place / ".tmp-x").symlink_to(elsewhere)
    assert durable.sweep(place) == 1
    assert (elsewhere / "current").exists()
    assert not (place / ".tmp-x").is_symlink()
