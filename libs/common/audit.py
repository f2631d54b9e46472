"""The audit chain: who changed which model is served, when and why, tamper-evident.

One JSON line per change; each carries the hash of the line before it, so that changing, dropping or
swapping a line breaks every later one, and `verify_chain` names the first. Appended under a lock
and synced, because whoever makes the change writes it (trainer, predictor, operator). An event has
one line however often it is appended: whoever finds an event without its line completes the chain,
also for another that was killed or is just about to.
"""

import fcntl
import os
from hashlib import sha256
from pathlib import Path

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError
from libs.common.events import ModelEvent, decode, wire

AUDIT_FILE = "audit/model-changes.jsonl"
GENESIS = "0" * 64
"""Previous hash of the first line."""


class AuditLine(msgspec.Struct, frozen=True):
    """One line: its number from 0, the event as JSON text, the hash before it and its own."""

    number: int
    event: str
    previous: str
    hash: str


def append_audit(root: Path, event: ModelEvent) -> AuditLine:
    """Append `event` to the chain of the data folder `root` and sync it; once, by its id."""
    path = root / AUDIT_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise durable.cannot_write(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        lines = _whole_lines(path, descriptor)
        if (found := _line_of(event.id, lines, path)) is not None:
            return found
        last = _decode(lines[-1], path, len(lines) - 1) if lines else None
        number, previous = (last.number + 1, last.hash) if last else (0, GENESIS)
        text = wire(event).decode()
        line = AuditLine(number, text, previous, _hash(number, text, previous))
        durable.step("audit.before_write")
        durable.write_all(descriptor, msgspec.json.encode(line) + b"\n")
        durable.step("audit.after_write")
        os.fsync(descriptor)
        durable.step("audit.after_fsync")
    except OSError as error:
        raise durable.cannot_write(path, error) from error
    finally:
        os.close(descriptor)
    return line


def recorded_ids(root: Path) -> set[str]:
    """Return the ids of the events in the chain."""
    path = root / AUDIT_FILE
    lines = _lines(path)
    return {decode(_decode(line, path, n).event.encode()).id for n, line in enumerate(lines)}


def verify_chain(root: Path) -> int:
    """Return the number of lines; raise `ArchiveError` naming the first line that does not fit."""
    path = root / AUDIT_FILE
    previous = GENESIS
    lines = _lines(path)
    for number, content in enumerate(lines):
        line = _decode(content, path, number)
        is_whole = line.hash == _hash(line.number, line.event, line.previous)
        if line.number != number or line.previous != previous or not is_whole:
            raise ArchiveError(
                f"audit {path} line {number + 1} does not follow from the line before it: "
                "it was changed, removed or reordered; compare with a backup"
            )
        previous = line.hash
    return len(lines)


def _line_of(event_id: str, lines: list[bytes], path: Path) -> AuditLine | None:
    """Return the line of an event, None if it has none."""
    # The event is text inside a JSON line: its own quotes are escaped, a quote within it twice.
    mark = rf"\"id\":\"{event_id}\"".encode()
    for number in range(len(lines) - 1, -1, -1):
        if mark in lines[number]:
            return _decode(lines[number], path, number)
    return None


def _lines(path: Path) -> list[bytes]:
    """Read the whole lines; what a kill left behind the last newline was never acknowledged."""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ArchiveError(f"cannot read audit {path}: {error.strerror}") from error
    return content[: content.rfind(b"\n") + 1].splitlines()


def _whole_lines(path: Path, descriptor: int) -> list[bytes]:
    """Cut off a torn last line (it was never acknowledged) and return the rest."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.ftruncate(descriptor, len(whole))
    return whole.splitlines()


def _decode(content: bytes, path: Path, number: int) -> AuditLine:
    try:
        return msgspec.json.decode(content, type=AuditLine)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"audit {path} line {number + 1} is not an audit line ({error}): compare with a backup"
        ) from error


def _hash(number: int, event: str, previous: str) -> str:
    return sha256(f"{number}\n{event}\n{previous}".encode()).hexdigest()
