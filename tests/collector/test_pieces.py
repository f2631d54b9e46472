"""Notes of complete days."""

from pathlib import Path

import pytest

from libs.common.checks import ArchiveError
from services.collector.pieces import Done, read_done, write_done

TARGET = "kalshi/KXBTC15M"


def test_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write_done(tmp_path, TARGET, Done({"2026-09-21": 7}))
    assert read_done(tmp_path, TARGET).days == {"2026-09-21": 7}
    assert read_done(tmp_path, "kalshi/KXETH15M").days == {}


def test_note_without_an_archive_is_none(tmp_path: Path) -> None:
    write_done(tmp_path, TARGET, Done({"2026-09-21": 7}))
    assert read_done(tmp_path, TARGET).days == {}


@pytest.mark.parametrize("content", [b"", b"{", b'{"days": 1}', b"\xff", b"[]"])
def test_damaged_note_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").mkdir()
    write_done(tmp_path, TARGET, Done({}))
    path = tmp_path / f"backfill/{TARGET}.json"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="remove it, and its days are asked again"):
        read_done(tmp_path, TARGET)
