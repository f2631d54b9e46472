"""The running hour of one stream: an append-only file of CRC-framed event bodies.

One writer appends a batch and syncs once; what `append` has returned from survives SIGKILL, and a
power cut costs nothing that was synced. A frame carries the payload sequence and the millisecond of
the stream entry id, chosen here once, so that whatever Redis loses can be published again under the
same id. A torn tail (a kill inside a write) is cut off on opening: it was never acknowledged. A bad
frame with good frames behind it is not a torn tail but damage, and is refused.

Frame: little-endian u32 length of body, u32 CRC-32 of the rest, u64 seq, u64 entry ms, body.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError, InvariantError, check
from libs.common.events import Event, body, decode

_HEADER = struct.Struct("<IIQQ")
_CHECKED = struct.Struct("<QQ")

BODY_BYTES_MAX = 1 << 20
"""No event is near 1 MiB; a longer length field is damage, not a body."""


class Entry(NamedTuple):
    """One journalled event with the millisecond of its stream entry id (`<ms>-<seq>`).

    `content` is the event's body where it is at hand, so that it is encoded once for the journal
    and the stream; empty: encode it.
    """

    event: Event
    entry_ms: int
    content: bytes = b""


@dataclass(frozen=True)
class Frames:
    """What a journal holds: its entries, the bytes they span, and the bytes of a torn tail."""

    entries: tuple[Entry, ...]
    good_bytes: int
    torn_bytes: int


def read_journal(path: Path) -> Frames:
    """Read a journal; raise `ArchiveError` naming the byte if it is damaged before its tail."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"cannot read journal {path}: {error.strerror}") from error
    entries: list[Entry] = []
    offset = 0
    while (end := _frame_end(content, offset)) is not None:
        _, _, seq, entry_ms = _HEADER.unpack_from(content, offset)
        try:
            event = decode(content[offset + _HEADER.size : end], seq=seq)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArchiveError(
                f"journal {path} byte {offset}: the frame is whole but its body is not an event "
                f"({error}): it was written by another version; restore it from a backup"
            ) from error
        entries.append(Entry(event, entry_ms))
        offset = end
    if _has_frame_behind(content, offset):
        raise ArchiveError(
            f"journal {path} is damaged at byte {offset}, with good frames behind it: "
            "restore it from a backup, or cut the file there to give up what follows"
        )
    return Frames(tuple(entries), offset, len(content) - offset)


class Journal:
    """Appender of one journal file; opening cuts off a torn tail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            if not is_new:
                frames = read_journal(path)
                if frames.torn_bytes:
                    os.truncate(path, frames.good_bytes)
            # Services share the archive: a link that another has put here leads out of it.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(path, flags, 0o644)
            if is_new:
                durable.sync_folder(path.parent)
        except OSError as error:
            raise durable.cannot_write(path, error) from error

    def append(self, entries: Iterable[Entry]) -> None:
        """Append `entries` as one batch with one sync; on a full disk the file is cut back.

        Raises `InvariantError` for an event that could not be read back (a NaN where a number is
        due, a body above BODY_BYTES_MAX): one such frame would close the whole file to readers.
        """
        content = b"".join(_frame(entry) for entry in entries)
        size = os.fstat(self._descriptor).st_size
        durable.step("journal.before_write")
        try:
            durable.write_all(self._descriptor, content)
            durable.step("journal.after_write")
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise durable.cannot_write(self.path, error) from error
        durable.step("journal.after_fsync")

    def keep(self, is_kept: Callable[[Entry], bool]) -> None:
        """Drop every other entry: what lies behind the last complete tick."""
        entries = read_journal(self.path).entries
        kept = [entry for entry in entries if is_kept(entry)]
        if len(kept) < len(entries):
            content = b"".join(_frame(entry) for entry in kept)
            os.close(self._descriptor)
            durable.write_atomic(self.path, content, name="journal.cut")
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _frame(entry: Entry) -> bytes:
    content = entry.content or body(entry.event)
    check(len(content) <= BODY_BYTES_MAX, f"body of {entry.event.id} has {len(content)} bytes")
    try:
        decode(content)
    except msgspec.DecodeError as error:
        raise InvariantError(f"{content[:200]!r} could not be read back: {error}") from error
    rest = _CHECKED.pack(entry.event.seq, entry.entry_ms) + content
    return _HEADER.pack(len(content), zlib.crc32(rest), *_CHECKED.unpack_from(rest)) + content


def _frame_end(content: bytes, offset: int) -> int | None:
    """Return the end of the good frame at `offset`, or None if there is none."""
    if offset + _HEADER.size > len(content):
        return None
    length, crc, _, _ = _HEADER.unpack_from(content, offset)
    end = offset + _HEADER.size + length
    if length > BODY_BYTES_MAX or end > len(content):
        return None
    checked = content[offset + 8 : end]
    return end if zlib.crc32(checked) == crc else None


def _has_frame_behind(content: bytes, offset: int) -> bool:
    """Tell whether a good frame starts anywhere behind `offset`: then the tail is not just torn."""
    start = content.find(b'{"type":"', offset + 1)
    while start != -1:
        if start - _HEADER.size > offset and _frame_end(content, start - _HEADER.size) is not None:
            return True
        start = content.find(b'{"type":"', start + 1)
    return False
