"""Reads of the monitor: every stream a little at a time, so that it slows nobody.

In go streams, out come events. A market stream is read by the group `monitor` with plain
acknowledgements: nothing is filled from the archive, nothing is read twice, because the monitor's
rules look at the state of things and not at each entry. Where it falls behind (a recording at full
speed) it goes on with what the stream still has and counts what it skipped.
"""

from libs.common.backoff import Backoff
from libs.common.checks import BusError
from libs.common.context import Context
from libs.common.entry_codec import NO_ENTRY
from libs.common.events import Event
from libs.common.streams import stream_name
from services.monitor import metrics

GROUP = "monitor"


class LightReader:
    """Reader of one market stream; `read` never waits and never raises."""

    def __init__(self, context: Context, *, kind: str, underlying: str) -> None:
        self._context, self._kind = context, kind
        self._name = stream_name(kind, underlying)
        self._who = f"read {kind} {underlying}"
        self._seq = 0
        self._has_pending = True
        self._backoff = Backoff()
        self._retry_at_s = 0.0

    def read(self, count: int, now_s: float) -> list[Event]:
        """Return up to `count` new events and acknowledge them; empty while the bus is away."""
        if now_s < self._retry_at_s:
            return []
        try:
            if self._has_pending:
                self._drop_pending()
            events = self._read_new(count)
        except BusError as error:
            self._context.outage.report(self._who, error)
            self._retry_at_s = now_s + self._backoff.next_s()
            return []
        self._backoff.reset()
        self._context.outage.report(self._who, None)
        return events

    def _read_new(self, count: int) -> list[Event]:
        bus = self._context.bus
        found = bus.read(self._name, group=GROUP, consumer=GROUP, count=count, block_s=0)
        bus.ack(self._name, group=GROUP, ids=[delivery.entry_id for delivery in found])
        skipped = 0
        for delivery in found:
            if self._seq and delivery.entry_id.seq > self._seq + 1:
                skipped += delivery.entry_id.seq - self._seq - 1
            self._seq = max(self._seq, delivery.entry_id.seq)
        metrics.READ.labels(self._kind).inc(len(found))
        metrics.SKIPPED.labels(self._kind).inc(skipped)
        return [delivery.event for delivery in found if delivery.event is not None]

    def _drop_pending(self) -> None:
        """Acknowledge what a killed monitor was given: the rules look at what is now."""
        after = NO_ENTRY
        bus = self._context.bus
        while found := bus.read(
            self._name, group=GROUP, consumer=GROUP, count=1_000, block_s=0, pending_after=after
        ):
            after = found[-1].entry_id
            bus.ack(self._name, group=GROUP, ids=[delivery.entry_id for delivery in found])
        self._has_pending = False
