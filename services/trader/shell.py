"""The trader service: merges its streams, trades on paper, writes its ledger down.

One thread over all underlyings, because the limits are about one account. Each round reads from the
stream that is behind, takes commands and alerts, and feeds the instants that are whole. Outputs are
journalled per underlying, then the checkpoint says up to where they are complete, and only then are
they published: a kill in between leaves journals ahead of the checkpoint, which are cut back and
made again.

The decision to question: rounds without output write no checkpoint for up to CHECKPOINT_S. They are
made again after a kill, from the archive, with the same result, because the engine is pure.
Beside it a second thread compares the ledger with its record (`proof`); a difference is a page, and
a page stops trading.
"""

import threading
import time
from collections.abc import Sequence

import msgspec

from libs.common.archive import HOUR_NS, Archive
from libs.common.checkpoint import read_checkpoint, write_checkpoint
from libs.common.checks import ArchiveError, UnavailableError
from libs.common.context import Context
from libs.common.events import Alert, Command, Event, Fill, Forecast, Order, Settlement
from libs.common.outbox import Outbox
from libs.common.reader import BLOCK_S, ControlReader, OrderedReader
from libs.common.service import (
    POLL_S,
    Attempts,
    HandlerFailed,
    begin_ns,
    guarded,
    underlyings,
)
from libs.common.settings import Settings
from libs.common.streams import CONTROL, stream_name
from libs.common.telemetry import log
from services.trader import metrics
from services.trader.engine import TraderEngine
from services.trader.limits import SECOND_NS, USD_E6, TraderSettings
from services.trader.merge import KINDS, Merge, Source
from services.trader.proof import Proof
from services.trader.state import CheckpointError

RUN = "live"
"""What the checkpoint of a live trader calls itself; a replay's output is never continued by it."""

CHECKPOINT_S = 10.0
"""Longest time without a checkpoint: that much is made again after a kill, within a second."""

_TOLD = (
    *("id", "strategy", "venue", "market", "side", "price_limit_e4", "price_e4", "size_e2"),
    *("fee_e6", "pnl_e6", "reason"),
)

AHEAD_MAX = 10_000
"""Events held of a stream that is ahead of another one; half of what a stream holds."""

PROOF_S = 60.0
"""How often the ledger is compared with its record: the running hour's journal is decoded for it,
some tens of milliseconds."""

PROOF_S_MAX = 2.0
"""Waited for a comparison at the end: it writes nothing but an alert, and is made again."""

LEDGER_MISMATCH = "ledger_mismatch"
"""The alert that fires while the ledger is not what its record adds up to."""


def run(context: Context) -> None:
    """Trade on paper until the stop sign."""
    attempts = Attempts(context)
    context.health.set("start", None)
    prover = threading.Thread(target=_prove, args=(context,), name="proof", daemon=True)
    prover.start()
    while not context.stop.is_set():
        desk = Desk(context, attempts)
        try:
            desk.run()
        except HandlerFailed as failure:
            # The engine's state cannot be trusted: back to the last checkpoint, and on from there.
            attempts.failed(failure, name=_stream_of(failure.event))
        finally:
            desk.close()
    prover.join(timeout=PROOF_S_MAX)


def trader_settings(settings: Settings) -> TraderSettings:
    """Return the trader's settings with what the environment overrides."""
    return TraderSettings(
        stage="shadow" if settings.stage == "shadow" else "paper",
        capital_e6=round(settings.bankroll_usd * USD_E6),
        market_e6_max=round(settings.exposure_market_usd_max * USD_E6),
        total_e6_max=round(settings.exposure_usd_max * USD_E6),
        loss_day_e6_max=round(settings.loss_day_usd_max * USD_E6),
        latency_ms=settings.latency_ms,
    )


class Desk:
    """One run of the engine from the last checkpoint on; `tick_ns` is the last instant done."""

    def __init__(self, context: Context, attempts: Attempts) -> None:
        self._context, self._attempts = context, attempts
        self._root = context.root
        self._engine = TraderEngine(trader_settings(context.settings))
        self._merge = Merge()
        self._readers: dict[Source, OrderedReader] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._controls = [
            ControlReader(context, kind=kind, group=context.name) for kind in ("commands", "alerts")
        ]
        self._saved_s = time.monotonic()
        self._unsaved = False
        self.tick_ns = -1
        self._seqs: dict[str, int] = {}
        checkpoint = read_checkpoint(self._root)
        if checkpoint is not None:
            if checkpoint.run != RUN:
                raise UnavailableError(
                    f"the ledger in {self._root} was written by a replay ({checkpoint.run}): "
                    "give the live trader a data folder of its own"
                )
            self.tick_ns, self._seqs = checkpoint.tick_ns, dict(checkpoint.seqs)
            self._engine.restore(bytes(checkpoint.trader))
        metrics.show(self._engine)

    def run(self) -> None:
        """Work until the stop sign, then write the checkpoint."""
        while not self._context.stop.is_set():
            self.step()
        if self._unsaved:
            self._save()
        for outbox in self._outboxes.values():
            outbox.flush()
        self._ack()

    def close(self) -> None:
        """Close the journals."""
        for outbox in self._outboxes.values():
            outbox.close()

    def step(self, *, block_s: float = BLOCK_S) -> None:
        """Read once, take controls, and do the whole instants that there are."""
        source = self._merge.behind()
        if source is None:
            self._context.health.set("streams", "waiting for the first event of collector")
            self._context.stop.wait(POLL_S)
        else:
            events = self._readers[source].read(block_s=block_s)
            self._merge.add(source, events)
            if not events:
                self._read_ahead(source)
        # Before anything is taken: an underlying that is new is streamed from now on, and no
        # instant may be done without it.
        self._discover()
        outputs = self._take_controls()
        for ts_ns, events in self._merge.take():
            outputs += self._instant(ts_ns, events)
        if outputs:
            self._commit(outputs)
        elif self._unsaved and time.monotonic() - self._saved_s > CHECKPOINT_S:
            self._save()
        else:
            self._flush()
        self._ack()
        self._context.flush()

    def _read_ahead(self, source: Source) -> None:
        """Read what the other streams have, while nothing comes from the one that is behind.

        Else a stream that the archive has put ahead would keep its entries unacknowledged, and a
        collector at full speed waits for them before it writes what we wait for.
        """
        for other, reader in self._readers.items():
            if other != source and self._merge.waiting(other) < AHEAD_MAX:
                self._merge.add(other, reader.read(block_s=0.0))

    def _ack(self) -> None:
        for reader in self._readers.values():
            reader.ack()
        for control in self._controls:
            control.ack()

    def _discover(self) -> None:
        for underlying in underlyings(self._root, writer="collector", kind="snapshots"):
            if underlying not in self._outboxes:
                self._open(underlying)
                self._context.health.set("streams", None)

    def _open(self, underlying: str) -> None:
        outbox = self._context.outbox("orders", underlying)
        outbox.cut_behind(self._seqs.get(underlying, 0))
        began_ns = begin_ns(self._root, "collector", "snapshots", underlying) or 0
        if self.tick_ns < 0:
            self._start(self._earliest_ns())
        after_ns = max(self.tick_ns, began_ns)
        self._outboxes[underlying] = outbox
        self._merge.open(underlying, after_ns)
        for kind in KINDS:
            self._readers[(kind, underlying)] = OrderedReader(
                self._context,
                kind=kind,
                underlying=underlying,
                group=self._context.name,
                after_ns=after_ns,
            )

    def _earliest_ns(self) -> int:
        """Return from where the first of all underlyings is streamed."""
        places = underlyings(self._root, writer="collector", kind="snapshots")
        begins = [begin_ns(self._root, "collector", "snapshots", place) or 0 for place in places]
        return min(begins, default=0)

    def _start(self, began_ns: int) -> None:
        """Tell an engine that starts empty about the markets that are already open."""
        types = {
            event_type: max(0, began_ns + 1 - seconds * SECOND_NS)
            for event_type, seconds in self._engine.lookback_s.items()
        }
        for event in Archive(self._root).scan(types, end_ns=began_ns + 1):
            if event.id not in self._attempts.given_up:
                guarded(self._engine, event)
        self.tick_ns = began_ns
        self._save()

    def _take_controls(self) -> list[Event]:
        """Let commands and alerts act at the last instant that was done."""
        if not self._engine.has_ticked:
            return []  # nothing was decided yet, and their record needs an instant to stand at
        outputs: list[Event] = []
        for reader in self._controls:
            for event in reader.read():
                if event.id not in self._attempts.given_up:
                    # It acts at the instant that was done last. Its own time may be ahead of that,
                    # and must not move the engine's clock: replay would not know.
                    now = msgspec.structs.replace(event, ts_ns=self.tick_ns)
                    outputs += guarded(self._engine, now)
        for output in outputs:
            log().info("control.acted", **_told(output))
        return outputs

    def _instant(self, ts_ns: int, events: Sequence[Event]) -> list[Event]:
        outputs: list[Event] = []
        for event in events:
            if event.id not in self._attempts.given_up:
                outputs += guarded(self._engine, event)
        self.tick_ns = ts_ns
        self._unsaved = True
        return outputs

    def _commit(self, outputs: Sequence[Event]) -> None:
        for underlying, outbox in self._outboxes.items():
            outbox.append([e for e in outputs if getattr(e, "underlying", "") == underlying])
            self._seqs[underlying] = outbox.seq
        self._save()
        self._flush()
        for event in outputs:
            if isinstance(event, Order | Fill | Settlement):
                log().info(f"{type(event).__name__.lower()}.made", **_told(event))
        metrics.ORDERS.inc(sum(isinstance(event, Order) for event in outputs))
        metrics.FILLS.inc(sum(isinstance(event, Fill) for event in outputs))
        metrics.SETTLEMENTS.inc(sum(isinstance(event, Settlement) for event in outputs))

    def _save(self) -> None:
        state = self._engine.checkpoint()
        write_checkpoint(self._root, state, tick_ns=self.tick_ns, run=RUN, seqs=self._seqs)
        self._saved_s, self._unsaved = time.monotonic(), False
        self._context.clock.see(self.tick_ns)
        metrics.INSTANT.set(self.tick_ns / 1e9)
        metrics.show(self._engine)
        for outbox in self._outboxes.values():
            outbox.seal(self.tick_ns // HOUR_NS * HOUR_NS)

    def _flush(self) -> None:
        for outbox in self._outboxes.values():
            outbox.flush()


def prove(context: Context, proof: Proof) -> None:
    """Compare the ledger with its record once, show and say what came of it."""
    try:
        proven = proof.look()
    except (ArchiveError, CheckpointError) as error:
        # What cannot be read proves nothing: the metric's age says so, `hawk verify` says why.
        log().warning("ledger.not_proven", reason=str(error))
        return
    if proven is None:
        return
    metrics.LEDGER_MISMATCH.set(proven.fault is not None)
    metrics.LEDGER_PROVEN.set_to_current_time()
    if proven.fault is not None:
        context.alerts.fire(LEDGER_MISMATCH, evidence=proven.fault, severity="page")
    else:
        evidence = f"it is what its {proven.events} events add up to"
        context.alerts.resolve(LEDGER_MISMATCH, evidence=evidence)


def _prove(context: Context) -> None:
    proof = Proof(context.root)
    while not context.stop.wait(PROOF_S):
        prove(context, proof)


def _told(event: Event) -> dict[str, object]:
    """Return what a log line says of a decision."""
    return {name: getattr(event, name) for name in _TOLD if hasattr(event, name)}


def _stream_of(event: Event) -> str:
    """Name the stream that an event came in by."""
    kinds: dict[type[Event], str] = {Forecast: "forecasts", Command: "commands", Alert: "alerts"}
    kind = kinds.get(type(event), "snapshots")
    return stream_name(kind, getattr(event, "underlying", None) or CONTROL)
