"""Play instants at their pace: what is due is written as one batch, then wait for the next.

At a speed the machine's monotonic clock decides; at full speed (`pace` None) the readers do: the
player waits while the slowest of them is LAG_MAX entries behind, and while the bus is away, because
then nobody can follow. At a speed it goes on journalling whatever the bus does, as a market would.

Decision to question: instants that fall due within LINGER_S of each other share one batch and one
sync a stream. Nine books sampled at one second become known within 12 ms; nine times three syncs
for them would cost more than all else the collector does. Each keeps its own time and tick.
"""

import time
from collections.abc import Callable, Iterable

from libs.common.archive import HOUR_NS
from libs.common.backoff import Backoff
from libs.common.checks import ArchiveError
from libs.common.context import Context
from libs.common.telemetry import log
from services.collector import metrics
from services.collector.instants import Instant
from services.collector.pace import NoPace, Pace
from services.collector.publisher import Publisher

LINGER_S = 0.02
"""Wait behind the first due instant for others; well below the second between two samples."""

BATCH_EVENTS_MAX = 1_000
"""Events and ticks in one batch: a fraction of LAG_MAX, and some 300 kB of journal."""

LAG_MAX = 5_000
"""Entries a reader may be behind at full speed: enough to work in batches, a quarter of what a
stream holds, so nothing is ever trimmed unread."""

LAG_POLL_S, OUT_OF_STEP_POLL_S, IDLE_POLL_S = 0.02, 0.2, 1.0
"""Waits between two looks: at readers, at a bus that is away, at the stop sign."""

JOURNAL = "journal"
"""The component of `/readyz`, and with `_unwritable` the alert, of a disk that takes nothing."""


class Player:
    """Plays into `publisher` until the stop sign; `pace` None is as fast as readers follow.

    `clock_s` is the clock that the pace is measured by.
    """

    def __init__(
        self,
        context: Context,
        publisher: Publisher,
        pace: Pace | NoPace | None,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._publisher, self._pace = context, publisher, pace
        self._clock_s = clock_s
        self._stop = context.stop
        self._batch: list[Instant] = []
        self._size = 0

    def play(self, instants: Iterable[Instant | None]) -> None:
        """Play to the end; None among `instants` means that the source has nothing yet."""
        for instant in instants:
            if self._stop.is_set():
                break
            if instant is None:
                self._write()
                self._tend()
                continue
            delay_s = self._delay_s(instant)
            if delay_s > 0 or self._size >= BATCH_EVENTS_MAX or self._is_hour_over(instant):
                self._write()
            if delay_s > 0:
                self._rest(delay_s + LINGER_S)
                if self._stop.is_set():
                    break  # this one is not due yet
            self._add(instant)
        self._write()

    def drain(self) -> None:
        """Publish what the streams still lack, however long the bus is away."""
        while not self._stop.is_set() and not self._publisher.flush():
            self._context.flush()
            self._stop.wait(OUT_OF_STEP_POLL_S)
        self._context.flush()

    def _delay_s(self, instant: Instant) -> float:
        if self._pace is None:
            return 0.0
        delay_s = self._pace.delay_s(instant.ts_ns, self._clock_s())
        metrics.LATE_SECONDS.set(max(0.0, -delay_s))
        return delay_s

    def _is_hour_over(self, instant: Instant) -> bool:
        """Tell whether the batch is of an earlier hour: a journal holds one."""
        return bool(self._batch) and self._batch[0].ts_ns // HOUR_NS != instant.ts_ns // HOUR_NS

    def _add(self, instant: Instant) -> None:
        self._batch.append(instant)
        self._size += len(self._publisher.underlyings) + sum(map(len, instant.events.values()))

    def _write(self) -> None:
        """Write the batch; on a disk that takes nothing try again until it does or we stop."""
        if not self._batch:
            return
        backoff = Backoff()
        fault: ArchiveError | None = None
        while True:
            try:
                self._publisher.publish(self._batch)
                break
            except ArchiveError as error:
                if fault is None:
                    self._say_unwritable(error)
                fault = error
            # Not written at the stop sign: the next start plays it again.
            if self._stop.wait(backoff.next_s()):
                return
        # Also what a collector before us fired and could not take back.
        if fault is not None or self._context.alerts.is_firing(f"{JOURNAL}_unwritable"):
            self._say_writable()
        self._context.clock.see(self._batch[-1].ts_ns)
        self._batch, self._size = [], 0
        if self._pace is None:
            self._follow()

    def _follow(self) -> None:
        """Wait until every followed reader is near, and the bus there."""
        is_waiting = False
        while not self._stop.is_set():
            lag = self._publisher.lag() if self._publisher.flush() else None
            if lag is not None and lag.entries <= LAG_MAX:
                break
            if lag is not None:
                metrics.LAG_WAITS.inc(not is_waiting)
                is_waiting = True
                note = f"{lag.reader} was {lag.entries} entries behind when last waited for"
                self._context.health.note("pace", note)
            self._context.flush()
            self._stop.wait(LAG_POLL_S if lag else OUT_OF_STEP_POLL_S)

    def _rest(self, seconds: float) -> None:
        until_s = self._clock_s() + seconds
        while not self._stop.is_set() and (left_s := until_s - self._clock_s()) > 0:
            is_in_step = self._tend()
            self._stop.wait(min(left_s, IDLE_POLL_S if is_in_step else OUT_OF_STEP_POLL_S))

    def _tend(self) -> bool:
        self._context.flush()
        return self._publisher.flush()

    def _say_unwritable(self, error: ArchiveError) -> None:
        log().error("journal.unwritable", reason=str(error))
        self._context.health.set(JOURNAL, str(error))
        self._context.alerts.fire(f"{JOURNAL}_unwritable", evidence=str(error), severity="page")

    def _say_writable(self) -> None:
        log().info("journal.writable")
        self._context.health.set(JOURNAL, None)
        self._context.alerts.resolve(f"{JOURNAL}_unwritable", evidence="a batch was journalled")
