"""The outbox of one writer: journal first, then the stream, and the journal is the buffer.

`append` makes events durable and never touches the bus; `flush` brings the stream up to date.
While the bus is away nothing is held in memory: what the stream lacks is what stands in the journal
behind the stream's last id, and that is asked of the stream itself. So a crash, a flush, a stall
and a lost reply all have one cure, and sending twice is impossible.

A decision to question: entries that this data folder never wrote. At the first contact they mean
that the Redis belongs to another data folder, and the writer refuses to start. Later, or on top of
an entry that is ours, they are an intruder's: then the stream is deleted and written anew from the
journal, because ids only rise and a foreign one on top would block ours for ever. Readers take it
like any flush.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from libs.common.backoff import Backoff
from libs.common.bus import Bus
from libs.common.checks import BusError, BusForeignError, BusFullError, BusLostError
from libs.common.entry_codec import NO_ENTRY, EntryId
from libs.common.events import Alert, Event, Tick
from libs.common.journal import Entry
from libs.common.stream_writer import StreamWriter
from libs.common.streams import stream, stream_name
from libs.common.telemetry import log

FRESH_MAX = 20_000
"""Entries kept at hand between append and flush; a longer queue is read back from the journal."""

LOOK_S = 2.0
"""How often a writer that is in step asks whether its stream is still there."""

FLOOR = 100
"""Entries that a stream is not trimmed below when Redis is full."""

IDS_READ = 2_000
"""Entries of a control stream read at a time to see which events it has."""


def _ignore(error: BusError | None) -> None:
    """Do nothing with what the bus did."""


class Outbox:
    """Sole writer of one stream of one underlying; opening it recovers from any kill.

    A stream with ticks ends, after opening, with its last tick: what lay behind it was never
    published and is made again.
    """

    def __init__(
        self,
        root: Path,
        bus: Bus,
        *,
        writer: str,
        kind: str,
        underlying: str,
        report: Callable[[BusError | None], None] = _ignore,
    ) -> None:
        self._bus = bus
        self._report = report
        self._stream = stream(kind)
        self._writer = StreamWriter(root, writer=writer, kind=kind, underlying=underlying)
        self.name = stream_name(kind, underlying)
        self.last_tick_ns = self._recover() if Tick in self._stream.types else -1
        self._fresh: list[Entry] = []
        self._is_there = False  # the stream, as far as we know
        self._look_at_s = 0.0
        self._is_known = False  # what the stream holds; asked anew after every failure
        self._was_in_step = False
        self._retry_at_s = 0.0
        self._backoff = Backoff()
        self._sealed_ns = 0

    @property
    def begin_ns(self) -> int:
        """The newest instant of the archive when this writer first streamed; -1: never."""
        return self._writer.counter().begin_ns

    @property
    def seq(self) -> int:
        """The last sequence number given."""
        return self._writer.seq

    def begin(self, begin_ns: int) -> None:
        """Remember from where this writer streams; only the first call counts."""
        self._writer.begin(begin_ns)

    def journalled(self) -> Iterator[Entry]:
        """Yield the entries of the running journals, in order."""
        return self._writer.entries()

    def cut_behind(self, seq: int) -> None:
        """Drop what is journalled behind `seq` and was never published."""
        self._writer.cut_behind(seq)

    def append(self, events: Sequence[Event]) -> None:
        """Journal `events` with one sync; they are durable when this returns."""
        if not events:
            return
        entries = self._writer.append(events)
        if self._is_known and len(self._fresh) + len(entries) <= FRESH_MAX:
            self._fresh += entries
        else:
            self._is_known = False
            self._fresh.clear()
        for event in reversed(events):
            if isinstance(event, Tick):
                self.last_tick_ns = event.ts_ns
                break

    def is_in_step(self) -> bool:
        """Tell whether the stream has everything that was journalled."""
        return self._is_known and not self._fresh

    def flush(self) -> bool:
        """Publish what the stream lacks; False while the bus cannot take it.

        Raises `BusForeignError` at the first contact with a stream of another data folder.
        """
        if time.monotonic() < self._retry_at_s:
            return False
        try:
            if self.is_in_step():
                self._look()
                return True
            self._send()
        except BusLostError as error:
            self._is_known = self._is_there = False
            self._fresh.clear()
            self._report(error)
            return self.flush()
        except BusForeignError as error:
            if not self._was_in_step:
                raise
            log().warning("stream.foreign_entries", stream=self.name, reason=str(error))
            return self._failed(error)
        except BusFullError as error:
            return self._failed(error, is_full=True)
        except BusError as error:
            return self._failed(error)
        self._backoff.reset()
        self._was_in_step = True
        self._report(None)
        return True

    def seal(self, before_ns: int) -> None:
        """Seal the hours that ended at or before `before_ns`; cheap when there is none."""
        if before_ns > self._sealed_ns:
            self._writer.seal(before_ns)
            self._sealed_ns = before_ns

    def close(self) -> None:
        """Close the journal."""
        self._writer.close()

    def _send(self) -> None:
        limit = self._stream.entries_max
        if self._is_known and self._stream.is_control:
            self._bus.post(self.name, [e.event for e in self._fresh], entries_max=limit)
        elif self._is_known:
            self._bus.publish(self.name, self._fresh, entries_max=limit, must_exist=self._is_there)
        elif self._stream.is_control:
            self._post_missing(limit)
        else:
            self._publish_missing(limit)
        self._is_there = self._is_there or bool(self._fresh)
        self._fresh.clear()
        self._is_known = True

    def _look(self) -> None:
        """Look now and then whether the stream is still there: silence would not tell."""
        if self._is_there and time.monotonic() >= self._look_at_s:
            self._look_at_s = time.monotonic() + LOOK_S
            if self._bus.last_id(self.name) == NO_ENTRY:
                raise BusLostError(
                    f"stream {self.name} is gone from the bus (flushed or deleted): "
                    "it is written anew from the journal"
                )

    def _publish_missing(self, limit: int) -> None:
        """Publish what the journal holds behind the stream's last id."""
        last = self._bus.last_id(self.name)
        entries = list(self._writer.entries())
        if last != NO_ENTRY and not self._is_ours(last, entries):
            self._remove_foreign(last, entries)
            last = NO_ENTRY
        missing = [e for e in entries if EntryId(e.entry_ms, e.event.seq) > last][-limit:]
        self._bus.publish(self.name, missing, entries_max=limit)
        self._is_there = last != NO_ENTRY or bool(missing)
        if missing and self._was_in_step:
            log().info("stream.republished", stream=self.name, entries=len(missing))

    def _is_ours(self, last: EntryId, entries: list[Entry]) -> bool:
        """Tell whether this writer gave the id `last`, as far as it still knows."""
        for entry in reversed(entries):
            if entry.event.seq <= last.seq:
                return EntryId(entry.entry_ms, entry.event.seq) == last
        counter = self._writer.counter()
        if last.seq == counter.seq:
            return last.ms == counter.entry_ms
        return last.seq < counter.seq and last.ms <= counter.entry_ms

    def _remove_foreign(self, last: EntryId, entries: list[Entry]) -> None:
        """Delete a stream with foreign entries on top; refuse one that was never ours."""
        has_ours = False
        if entries and not self._was_in_step:
            top = entries[-1]
            before = EntryId(top.entry_ms, top.event.seq - 1)
            found = self._bus.entries(self.name, after=before, count=1)
            has_ours = bool(found) and found[0].event is not None
            has_ours = has_ours and found[0].event.id == top.event.id  # type: ignore[union-attr]
        if not (self._was_in_step or has_ours):
            raise BusForeignError(
                f"stream {self.name} ends at {last}, which this data folder never wrote: this "
                "Redis holds the streams of another one; use another Redis or database number, "
                f"or delete the old stream (`redis-cli DEL '{self.name}'`)"
            )
        log().warning("stream.rewritten", stream=self.name, foreign_id=str(last))
        self._bus.remove(self.name)

    def _post_missing(self, limit: int) -> None:
        """Post what the stream of many writers does not have yet, told by event id."""
        entries = [e.event for e in self._writer.entries()]
        if not entries:
            return
        known: set[str] = set()
        after = NO_ENTRY
        while found := self._bus.entries(self.name, after=after, count=IDS_READ):
            known |= {d.event.id for d in found if d.event is not None}
            after = found[-1].entry_id
        missing = _missing(entries, known)[-limit:]
        self._bus.post(self.name, missing, entries_max=limit)
        self._is_there = True

    def _failed(self, error: BusError, *, is_full: bool = False) -> bool:
        self._is_known = False
        self._fresh.clear()
        self._retry_at_s = time.monotonic() + self._backoff.next_s()
        self._report(error)
        if is_full:
            self._make_room()
        return False

    def _make_room(self) -> None:
        """Trim to half of what it is: a full Redis refuses even an XADD that would trim."""
        try:
            facts = self._bus.facts(self.name)
            length = facts.length // 2 if facts else 0
            # Whose memory it is does not show: below the floor it is not ours that fills it.
            cut = self._bus.trim(self.name, entries_max=length) if length > FLOOR else 0
        except BusError:
            return  # the next try of flush will say what is wrong now
        log().warning("stream.trimmed", stream=self.name, entries=cut, reason="Redis is full")

    def _recover(self) -> int:
        """Cut off what lies behind the last tick; return its time, -1 if there never was one."""
        counter = self._writer.counter()
        seq, tick_ns = counter.seq, counter.tick_ns
        for entry in self._writer.entries():
            if isinstance(entry.event, Tick):
                seq, tick_ns = entry.event.seq, entry.event.ts_ns
        if self._writer.seq > seq:
            self._writer.cut_behind(seq)
        return tick_ns


def _missing(events: Sequence[Event], known: set[str]) -> list[Event]:
    """Return what a control stream lacks of one writer's `events`, whose ids it has in `known`.

    One writer posts in order, so what stands before its last known event was posted once, and was
    trimmed since. On an empty stream only the newest word of each alert is news: what fired and was
    resolved must not stop anybody again.
    """
    posted = [place for place, event in enumerate(events) if event.id in known]
    if posted:
        return list(events[posted[-1] + 1 :])
    newest = {(e.rule, e.underlying): e.id for e in events if isinstance(e, Alert)}
    return [e for e in events if not isinstance(e, Alert) or newest[(e.rule, e.underlying)] == e.id]
