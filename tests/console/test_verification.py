"""`hawk verify` beside a stack that runs: what is sealed meanwhile is no fault."""

from pathlib import Path

import pytest

from libs.common import journal
from libs.common.checks import ArchiveError
from services.console import verification
from services.console.verification import verify


def test_a_journal_that_is_sealed_while_we_look_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive/journal/features/features/underlying=BTC-USD/2026-06-01T00.journal"
    path.parent.mkdir(parents=True)
    path.touch()
    read = journal.read_journal

    def sealed(path: Path) -> journal.Frames:
        path.unlink()
        return read(path)

    monkeypatch.setattr(journal, "read_journal", sealed)
    verdict = verify(tmp_path)
    assert (verdict.ok, verdict.checked.journals) == (True, 0)


def test_a_day_that_is_written_while_we_look_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archive/tick/underlying=BTC-USD/date=2026-06-01"
    folder.mkdir(parents=True)
    (folder / "00.parquet").touch()
    faults = [ArchiveError("not in its manifest")]

    def look(folder: Path) -> int:
        if faults:
            raise faults.pop()
        return 1

    monkeypatch.setattr(verification, "_verify_day", look)
    verdict = verify(tmp_path)
    assert (verdict.ok, verdict.checked.archive) == (True, 1)
    faults += [ArchiveError("still")] * 2
    assert verify(tmp_path).fault == "still"
