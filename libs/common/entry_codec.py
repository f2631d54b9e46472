"""How an event stands in a stream entry, and how it is read back. Pure.

Fields `type`, `v`, `id`, `ts`, `body`, in this order, so that `redis-cli` shows a line a person can
read and a reader finds the body by its place. Whatever is wrong with an entry becomes its fault,
never an exception: an entry is outside input, also from a Redis that only we should write to.

The decision to question is that XADD is put together as text here. The command has sixteen words
of which four change; packing all of them costs more than encoding the event.
"""

from collections.abc import Sequence
from typing import NamedTuple

import hiredis
import msgspec

from libs.common.events import EVENT_TYPES, AnyEvent, Event, body, decode
from libs.common.journal import Entry
from libs.common.streams import CONTROL

SCHEMA_VERSION = b"1"
"""Field `v`. An entry of another version is not read, never on a best effort."""

_CONTROL_TAG = "{" + CONTROL + "}"
_FIELDS = 10
"""Names and values of one of our entries."""


class EntryId(NamedTuple):
    """Id of a stream entry; on a market stream `seq` is the writer's counter."""

    ms: int
    seq: int

    def __str__(self) -> str:
        """Write it as Redis does: `<ms>-<seq>`."""
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str | bytes) -> "EntryId":
        """Read `<ms>-<seq>`.

        >>> EntryId.parse(b"12-3")
        EntryId(ms=12, seq=3)
        """
        ms, _, seq = text.partition(b"-") if isinstance(text, bytes) else text.partition("-")
        return cls(int(ms), int(seq or 0))


NO_ENTRY = EntryId(0, 0)
"""Below every id."""


class Delivery(NamedTuple):
    """One entry as read: its event, or the fault that keeps it from being one."""

    entry_id: EntryId
    event: AnyEvent | None
    fault: str | None = None


def is_control(name: str) -> bool:
    """Tell whether a stream has many writers and ids of the server.

    >>> is_control("hawk:{control}:alerts"), is_control("hawk:{BTC-USD}:snapshots")
    (True, False)
    """
    return _CONTROL_TAG in name


def fields_of(event: Event) -> tuple[str | bytes, ...]:
    """Return the fields of an entry, names and values in turn, as `redis-cli` shows them."""
    return (
        *("type", type(event).__name__, "v", SCHEMA_VERSION, "id", event.id),
        *("ts", str(event.ts_ns), "body", body(event)),
    )


def xadd_head(name: str, entries_max: int, *, must_exist: bool = False) -> str:
    """Return what all XADDs to one stream begin with."""
    limit = str(entries_max)
    words, guard = (17, _word("NOMKSTREAM")) if must_exist else (16, "")
    return (
        f"*{words}\r\n$4\r\nXADD\r\n{_word(name)}{guard}$6\r\nMAXLEN\r\n$1\r\n~\r\n{_word(limit)}"
    )


def xadd(head: str, entry: Entry) -> bytes:
    """Return the command that adds `entry` under the id it was given."""
    event = entry.event
    content = entry.content or body(event)
    entry_id, event_id, ts = f"{entry.entry_ms}-{event.seq}", event.id, str(event.ts_ns)
    # Word by word, as _word writes them: calling it for each would double the time.
    text = (
        f"{head}${len(entry_id)}\r\n{entry_id}\r\n{_TYPE_TEXT[type(event)]}${len(event_id)}\r\n"
        f"{event_id}\r\n$2\r\nts\r\n${len(ts)}\r\n{ts}\r\n$4\r\nbody\r\n${len(content)}\r\n"
    )
    if not text.isascii():  # lengths above count characters
        return _packed(head, entry, content)
    return b"%b%b\r\n" % (text.encode(), content)


def delivery(entry_id: EntryId, fields: Sequence[bytes] | None, *, of_control: bool) -> Delivery:
    """Decode one entry; whatever is wrong with it becomes its fault."""
    if fields is None:
        return Delivery(entry_id, None, "trimmed before it was read")
    # Our own entries have the fields in one order; others are looked through.
    if len(fields) == _FIELDS and fields[8] == b"body" and fields[2] == b"v":
        version, content = fields[3], fields[9]
    else:
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
        version, content = pairs.get(b"v", b""), pairs.get(b"body", b"")
    if version != SCHEMA_VERSION:
        found = ascii(version[:20].decode(errors="replace"))[1:-1] or "none"
        return Delivery(entry_id, None, f"schema version {found}, expected 1")
    try:
        return Delivery(entry_id, decode(content, seq=0 if of_control else entry_id.seq))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Delivery(entry_id, None, f"not an event: {str(error)[:200]!a}")


def _word(text: str) -> str:
    """Write one word of a command."""
    return f"${len(text)}\r\n{text}\r\n"


_TYPE_TEXT = {
    kind: f"{_word('type')}{_word(kind.__name__)}{_word('v')}{_word('1')}{_word('id')}"
    for kind in EVENT_TYPES
}


def _packed(head: str, entry: Entry, content: bytes) -> bytes:
    words = head.split("\r\n")[2::2]
    fields = fields_of(entry.event)
    entry_id = f"{entry.entry_ms}-{entry.event.seq}"
    command: tuple[str | bytes, ...] = (*words, entry_id, *fields[:-1], content)
    # The stub declares a tuple of one; the packer takes any.
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed
