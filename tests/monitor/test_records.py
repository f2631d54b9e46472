"""The records on disk: what was changed is named, what a kill leaves for a moment is not."""

import os
from pathlib import Path

import pytest

from libs.common import audit, bundle
from libs.common.stream_writer import StreamWriter
from services.monitor.records import REREAD_S, VERIFY_S, Records
from services.trainer import publish
from tests.trainer.test_publish import change, make_bundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        own = make_bundle(tmp_path, number / 10)
        publish.activate(tmp_path, change(own, ts_ns=number))
    return tmp_path


def firing(records: Records, now_s: float) -> dict[str, str]:
    return {c.rule: c.evidence for c in records.look(now_s) if c.is_firing}


def test_whole_records_are_well(root: Path) -> None:
    records = Records(root)
    for second in range(0, 900, 5):
        assert [c.is_firing for c in records.look(float(second))] == [False, False]
    assert records.lines == 2


def test_an_empty_folder_is_well(tmp_path: Path) -> None:
    assert firing(Records(tmp_path), 0.0) == {}


def test_a_changed_line_is_named_also_if_its_file_looks_unchanged(root: Path) -> None:
    records = Records(root)
    records.look(0.0)
    path = root / audit.AUDIT_FILE
    facts = path.stat()
    path.write_bytes(path.read_bytes().replace(b"because", b"Because", 1))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert firing(records, 5.0) == {}
    assert "line 1 does not follow" in firing(records, VERIFY_S)["audit_broken"]


@pytest.mark.parametrize(
    "line", [b"garbage\n", b'{"number":2,"event":"{}","previous":"","hash":""}\n']
)
def test_a_line_that_is_none_is_named(root: Path, line: bytes) -> None:
    with (root / audit.AUDIT_FILE).open("ab") as file:
        file.write(line)
    assert "line 3" in firing(Records(root), 0.0)["audit_broken"]


def test_an_event_that_left_the_archive_is_named_at_the_second_look(root: Path) -> None:
    records = Records(root)
    records.look(0.0)
    writer = StreamWriter(root, writer="trainer", kind="models", underlying="control")
    writer.cut_behind(1)
    assert firing(records, 5.0) == {}
    records.look(REREAD_S)
    assert "the archive lacks model event" in firing(records, REREAD_S + 5)["audit_broken"]


def test_an_activation_under_way_is_no_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at between the pointer's move and its audit line, and again after."""
    records = Records(root)
    records.look(0.0)
    seen: list[dict[str, str]] = []
    append = audit.append_audit

    def slow(*arguments):  # type: ignore[no-untyped-def]
        seen.append(firing(records, 5.0))
        return append(*arguments)

    monkeypatch.setattr(publish.audit, "append_audit", slow)
    publish.activate(root, change(make_bundle(root, 0.3), ts_ns=3))
    assert seen == [{}]
    assert [c.is_firing for c in records.look(10.0)] == [False, False]


def test_a_pointer_that_is_not_signed_is_a_silent_swap_at_once(root: Path) -> None:
    path = root / "models/current"
    path.write_bytes(path.read_bytes().replace(b'"generation": 2', b'"generation": 3'))
    assert "not signed" in firing(Records(root), 0.0)["silent_swap"]


def test_an_old_pointer_is_one_at_the_second_look(tmp_path: Path) -> None:
    publish.activate(tmp_path, change(make_bundle(tmp_path, 0.1), ts_ns=1))
    old = (tmp_path / "models/current").read_bytes()
    publish.activate(tmp_path, change(make_bundle(tmp_path, 0.2), ts_ns=2))
    (tmp_path / "models/current").write_bytes(old)
    records = Records(tmp_path)
    assert firing(records, 0.0) == {}
    assert "an old pointer was put back" in firing(records, 5.0)["silent_swap"]


def test_a_bundle_that_is_gone_is_a_silent_swap(root: Path) -> None:
    current = bundle.read_current(root)
    assert current is not None
    (root / "models" / current.bundle / "manifest.json").unlink()
    assert "manifest.json" in firing(Records(root), 0.0)["silent_swap"]


def test_a_damaged_journal_of_models_is_told_and_heals(root: Path) -> None:
    path = next(root.glob("archive/journal/trainer/models/*/*.journal"))
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + b"!" + whole[41:])
    records = Records(root)
    assert "damaged" in firing(records, 0.0)["audit_broken"]
    path.write_bytes(whole)
    assert firing(records, 5.0) == {}
