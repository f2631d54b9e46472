"""Write instants to the snapshots streams of all underlyings, each ended by its tick.

At every instant every underlying that this data folder ever streamed gets a `Tick`, also one of
which nothing became known: readers that merge underlyings advance on ticks alone. All underlyings
are journalled before any is published, and each knows its own position (its last tick), so a batch
that a kill or a full disk cut in the middle is written again where it is missing, and only there.

Decision to question: a batch is journalled underlying by underlying, one sync each, not in one file
for all. Streams of different underlyings must be movable to different machines.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from libs.common.archive import HOUR_NS, Archive
from libs.common.checks import BusError
from libs.common.context import Context
from libs.common.events import Event, Tick, event_id
from libs.common.outbox import Outbox
from libs.common.service import underlyings
from libs.common.streams import stream_name
from services.collector import metrics
from services.collector.instants import Instant

KIND = "snapshots"

FOLLOWED_GROUPS = ("features", "trader")
"""Readers that play at full speed waits for; the monitor must not be able to stop the market."""


class Lag(NamedTuple):
    """Entries that the slowest followed reader still has to read, and which reader it is."""

    entries: int
    reader: str


class Publisher:
    """The outboxes of all underlyings, those of `named` and those streamed before."""

    def __init__(self, context: Context, named: Sequence[str]) -> None:
        self._bus = context.bus
        self._outage = context.outage
        streamed = underlyings(context.root, writer=context.name, kind=KIND)
        self.underlyings = sorted({*named, *streamed})
        self._outboxes = {name: context.outbox(KIND, name) for name in self.underlyings}
        self._begin(Archive(context.root))
        # What a kill left unsealed: where the source has ended no later batch would do it.
        self._seal(self.position_ns)

    def _begin(self, archive: Archive) -> None:
        """Let each underlying that was never streamed begin behind all that is known already.

        One whose counter was damaged and removed has begun where its journals do: readers wait for
        such a word.
        """
        if all(outbox.begin_ns >= 0 for outbox in self._outboxes.values()):
            return
        span_ns = archive.span_ns()
        newest_ns = span_ns[1] if span_ns else 0
        for outbox in self._outboxes.values():
            first = next(outbox.journalled(), None) if outbox.begin_ns < 0 else None
            outbox.begin(newest_ns if first is None else first.event.ts_ns - 1)

    @property
    def position_ns(self) -> int:
        """The instant up to which every underlying is complete."""
        return min(map(_position_ns, self._outboxes.values()), default=-1)

    def publish(self, batch: Sequence[Instant]) -> bool:
        """Journal `batch`, instants of one hour in order, then publish; False: the bus is away.

        Raises `ArchiveError` if it cannot be journalled; the same batch may then be given again.
        """
        if not batch:
            return self.flush()
        with metrics.JOURNAL_SECONDS.time():
            for name, outbox in self._outboxes.items():
                self._append(name, outbox, batch)
        metrics.LAST_INSTANT.set(batch[-1].ts_ns / 1e9)
        is_published = self.flush()
        self._seal(batch[0].ts_ns)
        return is_published

    def flush(self) -> bool:
        """Publish what the streams lack; False while the bus cannot take it."""
        # All of them, so that one stream in trouble does not hold up the others.
        flushed = [outbox.flush() for outbox in self._outboxes.values()]
        return all(flushed)

    def is_in_step(self) -> bool:
        """Tell whether the streams have all that is journalled."""
        return all(outbox.is_in_step() for outbox in self._outboxes.values())

    def lag(self) -> Lag | None:
        """Return the lag of the slowest followed reader; None while the bus cannot say."""
        try:
            lags = [lag for name in self.underlyings for lag in self._lags(name)]
        except BusError as error:
            self._outage.report("lag", error)
            return None
        self._outage.report("lag", None)
        return max(lags, default=Lag(0, ""))

    def close(self) -> None:
        """Close the journals."""
        for outbox in self._outboxes.values():
            outbox.close()

    def _seal(self, ts_ns: int) -> None:
        """Seal the hours that are over at `ts_ns`."""
        for outbox in self._outboxes.values():
            outbox.seal(ts_ns // HOUR_NS * HOUR_NS)

    def _lags(self, underlying: str) -> list[Lag]:
        facts = self._bus.facts(stream_name(KIND, underlying))
        if facts is None:
            return []
        known = {group.name: group.lag_true for group in facts.groups}
        # A group that does not exist yet has read nothing.
        return [
            Lag(known.get(name, facts.length), f"{name} of {underlying}")
            for name in FOLLOWED_GROUPS
        ]

    def _append(self, name: str, outbox: Outbox, batch: Sequence[Instant]) -> None:
        position_ns = _position_ns(outbox)
        events: list[Event] = []
        for instant in batch:
            if instant.ts_ns > position_ns:
                events += instant.events.get(name, ())
                events.append(_tick(name, instant.ts_ns))
        outbox.append(events)
        for kind, count in Counter(type(event).__name__ for event in events).items():
            metrics.EVENTS.labels(kind).inc(count)


def _position_ns(outbox: Outbox) -> int:
    return outbox.last_tick_ns if outbox.last_tick_ns >= 0 else outbox.begin_ns


def _tick(underlying: str, ts_ns: int) -> Tick:
    return Tick(ts_ns=ts_ns, id=event_id("Tick", underlying, ts_ns), underlying=underlying)
