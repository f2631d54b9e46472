"""Audit chain: a changed, dropped or swapped line is found and named."""

import errno
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from libs.common.audit import AUDIT_FILE, append_audit, recorded_ids, verify_chain
from libs.common.checks import ArchiveError
from tests.common.samples import model_event


def chain(root: Path, n: int = 6) -> list[bytes]:
    for number in range(n):
        append_audit(root, model_event(number))
    return (root / AUDIT_FILE).read_bytes().splitlines(keepends=True)


def test_a_chain_that_nobody_touched_holds(tmp_path: Path) -> None:
    assert verify_chain(tmp_path) == 0
    chain(tmp_path)
    assert verify_chain(tmp_path) == 6
    assert recorded_ids(tmp_path) == {model_event(n).id for n in range(6)}


def test_a_change_of_any_line_is_named(tmp_path: Path) -> None:
    lines = chain(tmp_path)
    path = tmp_path / AUDIT_FILE
    for number, line in enumerate(lines):
        for at in range(0, len(line) - 1, 7):
            damaged = bytearray(line)
            damaged[at] ^= 1
            path.write_bytes(b"".join([*lines[:number], bytes(damaged), *lines[number + 1 :]]))
            with pytest.raises(ArchiveError, match=f"line {number + 1} ") as caught:
                verify_chain(tmp_path)
            assert "\n" not in str(caught.value)


def test_a_dropped_line_is_named(tmp_path: Path) -> None:
    lines = chain(tmp_path)
    for number in range(len(lines) - 1):
        (tmp_path / AUDIT_FILE).write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        with pytest.raises(ArchiveError, match=f"line {number + 1} "):
            verify_chain(tmp_path)


def test_swapped_and_repeated_lines_are_named(tmp_path: Path) -> None:
    lines = chain(tmp_path)
    path = tmp_path / AUDIT_FILE
    for number in range(len(lines) - 1):
        swapped = lines.copy()
        swapped[number], swapped[number + 1] = swapped[number + 1], swapped[number]
        path.write_bytes(b"".join(swapped))
        with pytest.raises(ArchiveError, match=f"line {number + 1} "):
            verify_chain(tmp_path)
        path.write_bytes(b"".join([*lines[: number + 1], *lines[number:]]))
        with pytest.raises(ArchiveError, match=f"line {number + 2} "):
            verify_chain(tmp_path)


def test_a_line_made_whole_again_by_its_forger_is_found_by_the_next(tmp_path: Path) -> None:
    lines = chain(tmp_path)
    forged = msgspec.json.decode(lines[2])
    forged["event"] = forged["event"].replace("reason 2", "reason 9")
    text = f"{forged['number']}\n{forged['event']}\n{forged['previous']}"
    forged["hash"] = sha256(text.encode()).hexdigest()
    lines[2] = msgspec.json.encode(forged) + b"\n"
    (tmp_path / AUDIT_FILE).write_bytes(b"".join(lines))
    with pytest.raises(ArchiveError, match="line 4 "):
        verify_chain(tmp_path)


@pytest.mark.parametrize("text", [b"\n", b"{}\n", b"null\n", b'"\xff"\n', b"[" * 5000 + b"\n"])
def test_a_line_that_is_none_is_named(tmp_path: Path, text: bytes) -> None:
    lines = chain(tmp_path, 3)
    (tmp_path / AUDIT_FILE).write_bytes(b"".join([lines[0], text, *lines[2:]]))
    with pytest.raises(ArchiveError, match="line 2 "):
        verify_chain(tmp_path)


def test_a_last_line_torn_at_any_byte_was_never_acknowledged(tmp_path: Path) -> None:
    lines = chain(tmp_path, 3)
    path = tmp_path / AUDIT_FILE
    for cut in range(len(lines[2])):
        path.write_bytes(b"".join(lines[:2]) + lines[2][:cut])
        assert verify_chain(tmp_path) == 2
        append_audit(tmp_path, model_event(2))
        assert path.read_bytes() == b"".join(lines)


def test_a_full_disk_is_one_clear_line_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(tmp_path, 2)
    write = os.write
    calls: list[int] = []

    def refuse(descriptor: int, content: memoryview) -> int:
        if not calls:
            calls.append(1)
            return write(descriptor, content[:10])  # a nearly full disk takes a part
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        with pytest.raises(ArchiveError, match="No space left"):
            append_audit(tmp_path, model_event(2))
    assert verify_chain(tmp_path) == 2
    append_audit(tmp_path, model_event(2))
    assert verify_chain(tmp_path) == 3


def test_several_processes_append_one_chain(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from libs.common.audit import append_audit;"
        "from tests.common.samples import model_event\n"
        "for n in range(30): append_audit(Path(sys.argv[1]), model_event(n + int(sys.argv[2])))"
    )
    # The second and the third append the same events: each has one line.
    firsts = ("0", "30", "30")
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), first]) for first in firsts
    ]
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert verify_chain(tmp_path) == 60
    assert recorded_ids(tmp_path) == {model_event(n).id for n in range(60)}


def test_an_event_has_one_line_and_an_id_in_another_events_text_is_no_line(tmp_path: Path) -> None:
    third = model_event(3)
    append_audit(tmp_path, model_event(0, reason=f'{third.id} "id":"{third.id}"', cause=third.id))
    for _ in range(3):
        first, again = append_audit(tmp_path, third), append_audit(tmp_path, third)
        assert first == again
    assert verify_chain(tmp_path) == 2


def test_text_of_an_operator_cannot_break_a_line(tmp_path: Path) -> None:
    hostile = 'x\n{"number":1}\r\u2028"\\ \x1b[2J' + "y" * 10_000
    append_audit(tmp_path, model_event(0, reason=hostile))
    append_audit(tmp_path, model_event(1))
    assert verify_chain(tmp_path) == 2
    content = (tmp_path / AUDIT_FILE).read_bytes()
    assert b"\x1b" not in content
    assert len(content.splitlines()) == 2
