"""Readers: a market stream without a hole, and a control stream without repetitions.

`OrderedReader` delivers one stream in the order of its writer's counter, from a position on: first
what the archive holds behind the position (journals, and sealed hours if the reader was away for
long), then what the stream brings. Whatever comes twice is dropped; a hole in the counter (trimmed,
flushed, undecodable) is filled from the archive and reported. The position is the reader's own: it
stands in what the reader's service has written, not in Redis.

The decision to question is that Redis's bookkeeping is not believed. Its pending list dies with a
flush, its lag lies after trimming, and acknowledging before or after the effect loses or repeats.
So entries are acknowledged to keep the pending list short, and for `hawk streams` to show; nothing
depends on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from libs.common import columns
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive, journal_hour_ns
from libs.common.backoff import Backoff
from libs.common.checks import ArchiveError, BusError
from libs.common.context import Context
from libs.common.entry_codec import NO_ENTRY, Delivery, EntryId
from libs.common.events import Event, Tick, event_id
from libs.common.journal import read_journal
from libs.common.stream_writer import counter_path, read_counter
from libs.common.streams import CONTROL, Stream, stream, stream_name
from libs.common.telemetry import log

COUNT = 512
"""Entries of one read: enough to share a sync among many instants when there is a queue."""

BLOCK_S = 0.5
"""Longest wait of one read: a stop sign and a bus that is back are seen within it."""

SEEN_MAX = 20_000
"""Event ids of a control stream remembered, twice what the stream holds."""


class OrderedReader:
    """Reader of one market stream for one group, gapless behind `after_ns`."""

    def __init__(
        self, context: Context, *, kind: str, underlying: str, group: str, after_ns: int
    ) -> None:
        self._context, self._group = context, group
        self._stream, self._underlying = stream(kind), underlying
        self._name = stream_name(kind, underlying)
        self._place = Place(context.root, self._stream, underlying)
        # Read first: an hour that is sealed while it is read must not count as seen.
        self._seq = self._place.seq_upto(after_ns)
        self._tick_ns = after_ns
        self._archived: Iterator[Event] | None = self._place.behind(after_ns)
        # Own pending entries are read first: after a start, and after an answer may have been lost.
        self._pending_after: EntryId | None = NO_ENTRY
        self._to_ack: list[EntryId] = []
        self._backoff = Backoff()
        self._who = f"read {kind} {underlying}"

    def read(self, *, count: int = COUNT, block_s: float = BLOCK_S) -> list[Event]:
        """Return the next events in order, ticks included; empty after `block_s` without any."""
        if self._archived is not None:
            events = list(islice(self._archived, count))
            self._seq = max([self._seq, *(event.seq for event in events)])
            if events:
                return self._once(events)
            # Everything that was journalled has been seen; the stream is believed from here on.
            self._archived = None
        try:
            deliveries = self._deliveries(count, block_s)
        except BusError as error:
            self._pending_after = NO_ENTRY
            self._context.outage.report(self._who, error)
            self._context.stop.wait(self._backoff.next_s())
            return []
        self._backoff.reset()
        self._context.outage.report(self._who, None)
        return self._once(self._in_order(deliveries))

    def ack(self) -> None:
        """Acknowledge what was returned so far; a bus that is away is asked again later."""
        if not self._to_ack:
            return
        try:
            self._context.bus.ack(self._name, group=self._group, ids=self._to_ack)
        except BusError as error:
            self._context.outage.report(self._who, error)
            del self._to_ack[:-SEEN_MAX]
            return
        self._to_ack.clear()

    def _once(self, events: list[Event]) -> list[Event]:
        """Drop events of instants that were delivered whole: instants only rise.

        Numbers alone do not tell, because a sealed hour has lost those of its ticks.
        """
        kept: list[Event] = []
        for event in events:
            if event.ts_ns > self._tick_ns:
                kept.append(event)
                if isinstance(event, Tick):
                    self._tick_ns = event.ts_ns
        return kept

    def _deliveries(self, count: int, block_s: float) -> list[Delivery]:
        found: list[Delivery] = []
        if self._pending_after is not None:
            found = self._read(count, 0.0, self._pending_after)
            self._pending_after = found[-1].entry_id if found else None
        return found or self._read(count, block_s, None)

    def _read(self, count: int, block_s: float, pending_after: EntryId | None) -> list[Delivery]:
        return self._context.bus.read(
            self._name,
            group=self._group,
            consumer=self._group,
            count=count,
            block_s=block_s,
            pending_after=pending_after,
        )

    def _in_order(self, deliveries: Sequence[Delivery]) -> list[Event]:
        events: list[Event] = []
        refilled = 0
        known = set(self._to_ack)
        for entry_id, event, fault in deliveries:
            if entry_id in known:
                continue  # read before, and the acknowledgement was lost
            self._to_ack.append(entry_id)
            seq = entry_id.seq
            if event is not None and seq == self._seq + 1:
                events.append(event)
                self._seq = seq
            elif event is None:
                self._give_up(entry_id, fault or "unreadable")
            elif seq > self._seq:
                found = self._refill(entry_id, event)
                refilled += max(0, len(found) - 1)
                events += found
        if refilled:
            self._report_hole(refilled)
        elif deliveries:
            for rule in ("stream_hole", "stream_lost"):
                self._context.alerts.resolve(
                    rule, evidence="read on without a hole", underlying=self._underlying
                )
        return events

    def _refill(self, entry_id: EntryId, event: Event) -> list[Event]:
        """Return what lies between the last event and this one, and this one."""
        if entry_id.seq > self._place.written_seq():
            self._give_up(entry_id, "its number was never given by the stream's writer")
            return []
        before = self._seq
        found = list(self._place.between(before, entry_id.seq + 1))
        # A tick made for this very instant would close it before the stream has told its rest.
        while found and not found[-1].seq and found[-1].ts_ns == event.ts_ns:
            found.pop()
        if found and found[-1].seq == entry_id.seq:
            event = found.pop()  # the archive's word, should the stream's be forged
        self._seq = entry_id.seq
        lost = self._place.lost(before, entry_id.seq, found)
        if lost:
            log().error("stream.lost", stream=self._name, group=self._group, entries=lost)
            self._context.alerts.fire(
                "stream_lost",
                severity="page",
                evidence=f"{lost} entries of {self._name} before {entry_id} are in no archive",
                underlying=self._underlying,
            )
        return [*found, event]

    def _report_hole(self, refilled: int) -> None:
        evidence = (
            f"{self._group} read {refilled} entries of {self._name} from the archive: "
            "the stream no longer had them"
        )
        log().warning("stream.hole", stream=self._name, group=self._group, entries=refilled)
        self._context.alerts.fire("stream_hole", evidence=evidence, underlying=self._underlying)

    def _give_up(self, entry_id: EntryId, reason: str) -> None:
        """Give up an entry that is no event; if it replaced a real one, that shows as a hole."""
        if reason.startswith("trimmed"):
            return
        self._context.dead_letter(
            stream_name=self._name, entry_id=str(entry_id), reason=reason, event=None
        )


class Place:
    """Where the events of one stream of one underlying stand in the archive."""

    def __init__(self, root: Path, kind: Stream, underlying: str) -> None:
        self._archive = Archive(root)
        self._stream, self._underlying = kind, underlying
        self._types = tuple(t for t in kind.types if t is not Tick)
        self._counter = counter_path(
            root, writer=kind.writers[0], kind=kind.kind, underlying=underlying
        )

    def sealed_seq(self) -> int:
        """Return the last number given in hours that are sealed."""
        return read_counter(self._counter).seq

    def seq_upto(self, ts_ns: int) -> int:
        """Return the last number given at or before `ts_ns`, as far as journals tell."""
        sealed = self.sealed_seq()
        journals = [self._journalled(path, is_last=False) for path in self._journals()]
        seqs = [e.seq for events in journals for e in events or () if e.ts_ns <= ts_ns]
        return max([sealed, *seqs])

    def written_seq(self) -> int:
        """Return the last number given."""
        last = self._journals()[-1:]
        events = self._journalled(last[0], is_last=False) if last else None
        # The counter last: an hour that was sealed meanwhile is counted there.
        return max([*(event.seq for event in events or ()), self.sealed_seq()])

    def behind(self, after_ns: int) -> Iterator[Event]:
        """Yield the events later than `after_ns` that are archived, up to the last whole instant.

        A sealed hour has no ticks, so one is made after each of its instants.
        """
        journals = {journal_hour_ns(path): path for path in self._journals()}
        last_ns = max(journals, default=0)
        for hour_ns in self._hours(after_ns, journals):
            start_ns = max(after_ns + 1, hour_ns)
            path = journals.get(hour_ns)
            events = self._journalled(path, is_last=hour_ns == last_ns) if path else None
            if events is None:
                yield from _with_ticks(self._sealed(start_ns, hour_ns + HOUR_NS), self._underlying)
            else:
                yield from (event for event in events if event.ts_ns > after_ns)

    def between(self, low_seq: int, high_seq: int) -> Iterator[Event]:
        """Yield the events numbered between the two, in order."""
        hours: set[int] = set()
        found: list[Event] = []
        for path in self._journals():
            events = self._journalled(path, is_last=False)
            if events is None:
                continue  # sealed since it was listed: looked for among the sealed hours
            hours.add(journal_hour_ns(path))
            found += [e for e in events if low_seq < e.seq < high_seq]
        if min([e.seq for e in found], default=high_seq) > low_seq + 1:
            sealed = self._sealed_between(low_seq, high_seq, hours)
            known = {event.id for event in found}
            found = [e for e in sealed if e.id not in known] + found
        yield from found

    def lost(self, low_seq: int, high_seq: int, found: Sequence[Event]) -> int:
        """Count the numbers between the two that are nowhere; those of sealed hours are trusted.

        Ticks of sealed hours are not kept, so a number missing there is no loss by itself.
        """
        first = max(low_seq, self.sealed_seq())
        present = sum(1 for event in found if event.seq > first)
        return max(0, high_seq - 1 - first - present)

    def _journals(self) -> list[Path]:
        return sorted(self._counter.parent.glob("*.journal"))

    def _journalled(self, path: Path, *, is_last: bool) -> list[Event] | None:
        """Return a journal's events; None if it was sealed since it was listed.

        Of the last one only whole instants count: a torn rest is cut off and made again.
        """
        try:
            events: list[Event] = [entry.event for entry in read_journal(path).entries]
        except ArchiveError:
            if path.exists():
                raise
            return None
        if is_last and Tick in self._stream.types:
            while events and not isinstance(events[-1], Tick):
                events.pop()
        return events

    def _hours(self, after_ns: int, journals: Iterable[int]) -> list[int]:
        sealed = {
            file.hour_ns
            for event_type in self._types
            for file in self._archive.files(
                event_type, self._underlying, start_ns=after_ns + 1, end_ns=TIME_MAX_NS
            )
        }
        return sorted(h for h in sealed | set(journals) if h + HOUR_NS > after_ns)

    def _sealed(self, start_ns: int, end_ns: int) -> list[Event]:
        events: list[Event] = []
        for event_type in self._types:
            table = self._archive.table(
                event_type, start_ns=start_ns, end_ns=end_ns, underlying=self._underlying
            )
            events += columns.from_table(event_type, table)
        return sorted(events, key=lambda event: (event.ts_ns, event.seq, event.id))

    def _sealed_between(self, low_seq: int, high_seq: int, journals: set[int]) -> list[Event]:
        """Look for numbers in sealed hours, from the newest back until they are all behind."""
        found: list[Event] = []
        for hour_ns in reversed([h for h in self._hours(-1, ()) if h not in journals]):
            events = self._sealed(hour_ns, hour_ns + HOUR_NS)
            own = [e for e in events if low_seq < e.seq < high_seq]
            found = list(_with_ticks(own, self._underlying)) + found
            if any(event.seq <= low_seq for event in events):
                break
        return found


class ControlReader:
    """Reader of a control stream: many writers, so repeated event ids are dropped."""

    def __init__(self, context: Context, *, kind: str, group: str) -> None:
        self._context, self._group = context, group
        self._name = stream_name(kind, CONTROL)
        self._seen: dict[str, None] = {}
        self._to_ack: list[EntryId] = []
        self._pending_after: EntryId | None = NO_ENTRY
        self._who = f"read {kind}"

    def read(self, *, block_s: float = 0.0) -> list[Event]:
        """Return new events, own pending ones first; an unreadable entry is given up."""
        try:
            deliveries = self._deliveries(block_s)
        except BusError as error:
            # What a lost answer held is pending now, and must be read: it may be a `kill`.
            self._pending_after = NO_ENTRY
            self._context.outage.report(self._who, error)
            return []
        self._context.outage.report(self._who, None)
        events: list[Event] = []
        for entry_id, event, fault in deliveries:
            self._to_ack.append(entry_id)
            if event is None:
                self._context.dead_letter(
                    stream_name=self._name, entry_id=str(entry_id), reason=fault or "", event=None
                )
            elif event.id not in self._seen:
                self._seen[event.id] = None
                events.append(event)
        for old in list(islice(self._seen, max(0, len(self._seen) - SEEN_MAX))):
            del self._seen[old]
        return events

    def ack(self) -> None:
        """Acknowledge what was returned so far."""
        if self._to_ack:
            try:
                self._context.bus.ack(self._name, group=self._group, ids=self._to_ack)
            except BusError as error:
                self._context.outage.report(self._who, error)
                return
            self._to_ack.clear()

    def _deliveries(self, block_s: float) -> list[Delivery]:
        found: list[Delivery] = []
        if self._pending_after is not None:
            found = self._read(0.0, self._pending_after)
            self._pending_after = found[-1].entry_id if found else None
        return found or self._read(block_s, None)

    def _read(self, block_s: float, pending_after: EntryId | None) -> list[Delivery]:
        return self._context.bus.read(
            self._name,
            group=self._group,
            consumer=self._group,
            count=COUNT,
            block_s=block_s,
            pending_after=pending_after,
        )


def _with_ticks(events: Iterable[Event], underlying: str) -> Iterator[Event]:
    """Yield `events` with a tick after each instant, as replay does."""
    for ts_ns, group in groupby(events, key=lambda event: event.ts_ns):
        yield from group
        yield Tick(ts_ns=ts_ns, id=event_id("Tick", underlying, ts_ns), underlying=underlying)
