"""The bus without Redis: the same streams in this process, for `hawk up` as one process and tests.

In go and out come what `RedisBus` takes and gives, with its meaning to the letter, because one
suite holds both to it: explicit ids, groups from the beginning, pending entries that outlive what a
stream was trimmed of, reads that a publish wakes. It forgets at exit, which is harmless: the
archive is the truth.

The decision to question: an entry is kept as encoded fields and decoded at every read, although the
event itself is at hand. Events are numbered in place by whoever writes them next (`set_seq`), so
two readers must never hold one object; and what is read live is then what replay reads back from
the journal, by the same bytes.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition
from typing import NamedTuple

from libs.common.bus import Claimed, GroupFacts, Memory, StreamFacts
from libs.common.checks import BusForeignError, BusLostError
from libs.common.entry_codec import (
    NO_ENTRY,
    Delivery,
    EntryId,
    delivery,
    fields_of,
    is_control,
)
from libs.common.events import Event
from libs.common.journal import Entry

TRIM_ENTRIES = 100
"""A stream may be this much too long: cutting the front of a list at each entry would cost more
than adding it. Redis, told `MAXLEN ~`, does the same with its nodes."""

CLAIM_LOOKS = 10
"""A claim of `count` looks at this many times as many pending entries, as XAUTOCLAIM does."""

Fields = tuple[bytes, ...]


class _Pending(NamedTuple):
    """To whom an entry was delivered, and when last."""

    consumer: str
    delivered_s: float


@dataclass
class _Group:
    delivered: EntryId = NO_ENTRY
    pending: dict[EntryId, _Pending] = field(default_factory=dict)

    def take(
        self, new: list[tuple[EntryId, Fields]], now: _Pending
    ) -> list[tuple[EntryId, Fields]]:
        for entry_id, _ in new:
            self.pending[entry_id] = now
            self.delivered = entry_id
        return new

    def again(self, after: EntryId, count: int, now: _Pending) -> list[EntryId]:
        mine = [i for i, p in self.pending.items() if i > after and p.consumer == now.consumer]
        ids = sorted(mine)[:count]
        self.pending |= dict.fromkeys(ids, now)
        return ids


@dataclass
class _Stream:
    """Entries oldest first, ids and fields side by side so that ids can be searched."""

    last: EntryId = NO_ENTRY
    ids: list[EntryId] = field(default_factory=list)
    fields: list[Fields] = field(default_factory=list)
    groups: dict[str, _Group] = field(default_factory=dict)

    def add(self, entry_id: EntryId, fields: Fields) -> None:
        self.last = entry_id
        self.ids.append(entry_id)
        self.fields.append(fields)

    def find(self, entry_id: EntryId) -> Fields | None:
        place = bisect_left(self.ids, entry_id)
        return self.fields[place] if self.ids[place : place + 1] == [entry_id] else None

    def behind(self, after: EntryId, count: int) -> list[tuple[EntryId, Fields]]:
        place = bisect_right(self.ids, after)
        chosen = slice(place, place + count)
        return list(zip(self.ids[chosen], self.fields[chosen], strict=True))

    def cut(self, entries_max: int) -> int:
        excess = max(0, len(self.ids) - entries_max)
        del self.ids[:excess], self.fields[:excess]
        return excess


class MemoryBus:
    """Streams of one process, shared by its threads. Nothing here raises `BusError` but a refusal.

    `clock_s` measures how long an entry has been pending.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._streams: dict[str, _Stream] = {}
        self._changed = Condition()

    def publish(
        self, name: str, entries: Sequence[Entry], *, entries_max: int, must_exist: bool = False
    ) -> None:
        """Add entries; a refused id that is there already is no fault."""
        refused: list[EntryId] = []
        with self._changed:
            if must_exist and name not in self._streams:
                raise BusLostError(f"stream {name} is gone from memory")
            stream = self._added_to(name, entries)
            for entry in entries:
                entry_id = EntryId(entry.entry_ms, entry.event.seq)
                if entry_id > stream.last:
                    stream.add(entry_id, _encoded(entry.event))
                elif stream.find(entry_id) is None:
                    refused.append(entry_id)
            self._end_of_adding(stream, entries_max)
        if refused:
            raise BusForeignError(
                f"stream {name} in memory refuses entry {refused[0]}: it holds later entries that "
                "this data folder never wrote"
            )

    def post(self, name: str, events: Sequence[Event], *, entries_max: int) -> None:
        """Add events under ids of the machine's clock, never falling."""
        with self._changed:
            stream = self._added_to(name, events)
            for event in events:
                now = EntryId(time.time_ns() // 1_000_000, 0)
                following = EntryId(stream.last.ms, stream.last.seq + 1)
                stream.add(max(now, following), _encoded(event))
            self._end_of_adding(stream, entries_max)

    def last_id(self, name: str) -> EntryId:
        """Return the newest id ever given, also of entries that are trimmed."""
        with self._changed:
            return self._streams[name].last if name in self._streams else NO_ENTRY

    def read(
        self,
        name: str,
        *,
        group: str,
        consumer: str,
        count: int,
        block_s: float,
        pending_after: EntryId | None = None,
    ) -> list[Delivery]:
        """Read new entries, woken by the first; or own pending ones, trimmed ones among them."""

        found: list[tuple[EntryId, Fields | None]] = []

        def has_found() -> bool:
            # Looked up at each look: the stream may have been removed meanwhile, and it is its
            # writer's to make, because that is how a writer notices.
            if name not in self._streams:
                return False
            stream = self._streams[name]
            of_group = stream.groups.setdefault(group, _Group())
            now = _Pending(consumer, self._clock_s())
            if pending_after is None:
                found.extend(of_group.take(stream.behind(of_group.delivered, count), now))
            else:
                ids = of_group.again(pending_after, count, now)
                found.extend((entry_id, stream.find(entry_id)) for entry_id in ids)
            return bool(found)

        with self._changed:
            if not has_found() and block_s > 0 and pending_after is None:
                self._changed.wait_for(has_found, block_s)
        return [delivery(i, fields, of_control=is_control(name)) for i, fields in found]

    def ack(self, name: str, *, group: str, ids: Sequence[EntryId]) -> int:
        """Take `ids` from the pending list; return how many were on it."""
        with self._changed:
            if name not in self._streams or group not in self._streams[name].groups:
                return 0
            pending = self._streams[name].groups[group].pending
            return sum(pending.pop(entry_id, None) is not None for entry_id in ids)

    def claim(
        self, name: str, *, group: str, consumer: str, idle_s_min: float, count: int
    ) -> Claimed:
        """Take over, oldest first; pending entries that were trimmed leave the list, whoever's."""
        claimed: list[tuple[EntryId, Fields]] = []
        deleted: list[EntryId] = []
        with self._changed:
            if name not in self._streams or group not in self._streams[name].groups:
                return Claimed([], [])
            stream, now_s = self._streams[name], self._clock_s()
            pending = stream.groups[group].pending
            for entry_id in sorted(pending)[: count * CLAIM_LOOKS]:
                fields = stream.find(entry_id)
                if fields is None:
                    del pending[entry_id]
                    deleted.append(entry_id)
                elif now_s - pending[entry_id].delivered_s >= idle_s_min:
                    pending[entry_id] = _Pending(consumer, now_s)
                    claimed.append((entry_id, fields))
                if len(claimed) + len(deleted) == count:
                    break
        return Claimed([delivery(*e, of_control=is_control(name)) for e in claimed], deleted)

    def entries(self, name: str, *, after: EntryId = NO_ENTRY, count: int) -> list[Delivery]:
        """Return entries behind `after`, without a group."""
        with self._changed:
            found = self._streams[name].behind(after, count) if name in self._streams else []
        return [delivery(i, fields, of_control=is_control(name)) for i, fields in found]

    def facts(self, name: str) -> StreamFacts | None:
        """Return the stream's facts, None where there is no such stream."""
        with self._changed:
            if name not in self._streams:
                return None
            stream = self._streams[name]
            first = stream.ids[0] if stream.ids else NO_ENTRY
            groups = [
                GroupFacts(key, len(group.pending), group.delivered, _lag(name, stream, group))
                for key, group in stream.groups.items()
            ]
            return StreamFacts(len(stream.ids), first, stream.last, tuple(sorted(groups)))

    def trim(self, name: str, *, entries_max: int) -> int:
        """Cut the stream to exactly its newest entries; return how many went."""
        with self._changed:
            return self._streams[name].cut(entries_max) if name in self._streams else 0

    def remove(self, name: str) -> None:
        """Forget the stream and its groups."""
        with self._changed:
            self._streams.pop(name, None)

    def memory(self) -> Memory:
        """Return nothing: it is this process's memory."""
        return Memory(0, 0)

    def ping(self) -> None:
        """Return: memory always answers."""

    def close(self) -> None:
        """Do nothing: the streams are shared by the services of this process."""

    def _added_to(self, name: str, added: Sequence[object]) -> _Stream:
        """Return the stream; adding nothing makes none."""
        return self._streams.setdefault(name, _Stream()) if added else _Stream()

    def _end_of_adding(self, stream: _Stream, entries_max: int) -> None:
        if len(stream.ids) >= entries_max + TRIM_ENTRIES:
            stream.cut(entries_max)
        self._changed.notify_all()


def _lag(name: str, stream: _Stream, group: _Group) -> int:
    """Count what the group has not been given, trimmed entries included on market streams."""
    if group.delivered == NO_ENTRY:
        return len(stream.ids)
    if is_control(name):
        return len(stream.ids) - bisect_right(stream.ids, group.delivered)
    return max(0, stream.last.seq - group.delivered.seq)


def _encoded(event: Event) -> Fields:
    return tuple(f.encode() if isinstance(f, str) else f for f in fields_of(event))
