"""Run handlers over the archive in order, at full speed: the same code that runs live.

In go the archived snapshots and model events, out come the features, forecasts and orders streams,
hashed and, with an output folder, written there; the archive that is read is never written. At each
instant every underlying's features and forecasts are made first, then the trader sees that
underlying's snapshots, forecasts and tick: the order in which its live merge releases them.

A digest is SHA-256 over the event bodies in order (ts_ns, underlying, seq). The decision to
question is how a run continues after a kill: not from the handlers' memory but from the last
*checkpoint*, an instant behind which all output is on disk, with the trader's ledger as it stood.
What lies behind it is cut off and made again, so two halves, or a killed run, equal one run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from libs.common import durable
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checkpoint import (
    CHECKPOINT_FILE,
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from libs.common.checks import UsageError
from libs.common.events import (
    DeadLetter,
    Event,
    FeatureRow,
    Forecast,
    Gap,
    Market,
    ModelEvent,
    QuoteSnapshot,
    Resolution,
    Skip,
    SpotSnapshot,
    Tick,
    body,
    event_id,
)
from libs.common.handler import CheckpointedHandler, Handler
from libs.common.stream_writer import StreamWriter
from libs.common.streams import STREAMS

KINDS = ("features", "forecasts", "orders")
WRITERS = {"features": "features", "forecasts": "predictor", "orders": "trader"}

CONTROLS = "*"
"""Strategy and venue of the `Skip` that records what an operator or an alert did to the trader."""

SNAPSHOT_TYPES: tuple[type[Event], ...] = (Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot)

CHECKPOINT_EVENTS = 6_000
"""Output events between two checkpoints: a second of work lost to a kill, 20 MB held back."""

_NS = 1_000_000_000


@dataclass(frozen=True)
class Handlers:
    """How to make the handlers: features and forecasts per underlying, one trader over all."""

    features: Callable[[str], Handler]
    predictor: Callable[[str], Handler]
    trader: Callable[[], CheckpointedHandler]


@dataclass
class Digest:
    """Count and hash of one kind's bodies."""

    count: int = 0
    _hash: Any = field(default_factory=sha256)

    def add(self, content: bytes) -> None:
        """Take the next body."""
        self.count += 1
        self._hash.update(content)

    @property
    def sha256(self) -> str:
        """The hash so far, as hex."""
        return str(self._hash.hexdigest())


class Replay:
    """One run over the archive of `root`, from `start_ns` (inclusive) to `end_ns` (exclusive)."""

    def __init__(
        self,
        root: Path,
        handlers: Handlers,
        *,
        out: Path | None = None,
        run: str = "",
        model_events: Iterable[ModelEvent] = (),
    ) -> None:
        self._archive = Archive(root)
        self._underlyings = self._archive.underlyings()
        self._features = {u: handlers.features(u) for u in self._underlyings}
        self._predictor = {u: handlers.predictor(u) for u in self._underlyings}
        self._trader = handlers.trader()
        self._dead = _given_up(self._archive)
        self._models = sorted(model_events, key=lambda e: (e.ts_ns, e.generation or 0, e.id))
        self._output = _Output(out, self._underlyings, run=run) if out else None
        self.digests = {kind: Digest() for kind in KINDS}

    def run(
        self,
        *,
        start_ns: int = 0,
        end_ns: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> dict[str, Digest]:
        """Replay and return the digests, which cover all of the output folder if there is one.

        Continues behind the output folder's last checkpoint if it has one.
        """
        done_ns = self._resume()
        begin_ns = max(start_ns, done_ns + 1)
        self._warm_up(begin_ns)
        if done_ns < 0:
            self._warm_trader(begin_ns)
        pending = 0
        types: dict[type[Event], int] = dict.fromkeys((*SNAPSHOT_TYPES, Skip), begin_ns)
        last_ns = done_ns
        for ts_ns, events in _by_instant(self._archive.scan(types, end_ns=end_ns)):
            pending += self._instant(ts_ns, events)
            is_hour_new = ts_ns // HOUR_NS != last_ns // HOUR_NS
            last_ns = ts_ns
            if self._output and (pending >= CHECKPOINT_EVENTS or is_hour_new):
                self._output.checkpoint(ts_ns, self._trader.checkpoint())
                pending = 0
            if on_progress and is_hour_new:
                on_progress(ts_ns)
        if self._output and last_ns > done_ns:
            self._output.checkpoint(last_ns, self._trader.checkpoint())
        if self._output:
            self.digests = self._output.digests()
        return self.digests

    @property
    def trader(self) -> CheckpointedHandler:
        """The trader, for its state at the end."""
        return self._trader

    def _resume(self) -> int:
        """Return the instant up to which the output is complete, -1 if there is none."""
        if self._output is None:
            return -1
        checkpoint = self._output.recover()
        if checkpoint is None:
            return -1
        self._trader.restore(bytes(checkpoint.trader))
        return checkpoint.tick_ns

    def _warm_up(self, begin_ns: int) -> None:
        """Feed the features handlers what rebuilds their state, with output off."""
        for underlying, handler in self._features.items():
            types = _since(handler.lookback_s, begin_ns)
            for event in self._archive.scan(types, end_ns=begin_ns):
                is_own = getattr(event, "underlying", None) == underlying
                if is_own and event.id not in self._dead.get("features", ()):
                    handler.handle(event)
        self._switch_models(begin_ns)

    def _warm_trader(self, begin_ns: int) -> None:
        """Tell a trader that starts empty about the markets that are already open."""
        types = _since(self._trader.lookback_s, begin_ns)
        for event in self._archive.scan(types, end_ns=begin_ns):
            self._trader.handle(event)

    def _switch_models(self, ts_ns: int) -> None:
        while self._models and self._models[0].ts_ns <= ts_ns:
            event = self._models.pop(0)
            for handler in self._predictor.values():
                handler.handle(event)

    def _instant(self, ts_ns: int, events: list[Event]) -> int:
        """Handle everything that became known at one instant; return the number of outputs."""
        self._switch_models(ts_ns)
        made: dict[str, list[Event]] = {kind: [] for kind in KINDS}
        handle = self._trader.handle
        for underlying, own in groupby(events, key=lambda e: getattr(e, "underlying", "")):
            snapshots = [event for event in own if not isinstance(event, Skip)]
            tick = Tick(ts_ns=ts_ns, id=event_id("Tick", underlying, ts_ns), underlying=underlying)
            rows = self._fed("features", underlying, (*snapshots, tick), FeatureRow)
            forecasts = self._fed("predictor", underlying, rows, Forecast)
            made["features"] += rows
            made["forecasts"] += forecasts
            dead = self._dead.get("trader", ())
            for event in (*snapshots, *forecasts, tick):
                if event.id not in dead:
                    made["orders"] += handle(event)
        for event in events:
            # What stopped or resumed trading acted behind the instant at which it is recorded.
            if isinstance(event, Skip) and event.strategy == event.venue == CONTROLS:
                made["orders"] += handle(event)
        if self._output:
            self._output.append(made)
        else:
            for kind, outputs in made.items():
                digest = self.digests[kind]
                # Stable, so that within an underlying the order of its stream stays. The time
                # stands first because a trader's skip may carry an earlier, due time.
                for output in sorted(outputs, key=_digest_key):
                    digest.add(body(output))
        return sum(len(outputs) for outputs in made.values())

    def _fed(
        self, service: str, underlying: str, events: Iterable[Event], kind: type[Event]
    ) -> list[Event]:
        """Return the outputs of `kind`; what the service gave up live, it is not fed here."""
        handlers = self._features if service == "features" else self._predictor
        handle, dead = handlers[underlying].handle, self._dead.get(service, ())
        return [
            made
            for event in events
            if event.id not in dead
            for made in handle(event)
            if type(made) is kind
        ]


class _Output:
    """The streams that a run writes below its output folder, and its checkpoint."""

    def __init__(self, root: Path, underlyings: list[str], *, run: str) -> None:
        self._root = root
        self._run = run
        root.mkdir(parents=True, exist_ok=True)
        durable.sweep((root / CHECKPOINT_FILE).parent)
        self._writers = {
            (kind, u): StreamWriter(root, writer=WRITERS[kind], kind=kind, underlying=u)
            for kind in KINDS
            for u in underlyings
        }
        self._batches: dict[tuple[str, str], list[Event]] = {key: [] for key in self._writers}

    def recover(self) -> Checkpoint | None:
        """Cut off what lies behind the last checkpoint and return it."""
        checkpoint = read_checkpoint(self._root)
        if checkpoint and checkpoint.run != self._run:
            raise UsageError(
                f"{self._root} was begun as {checkpoint.run!r} and cannot be continued as "
                f"{self._run!r}: start a new output with --out"
            )
        tick_ns = checkpoint.tick_ns if checkpoint else -1
        for writer in self._writers.values():
            writer.cut_after(tick_ns)
        return checkpoint

    def append(self, made: Mapping[str, list[Event]]) -> None:
        """Hold back one instant's outputs until the next checkpoint."""
        for kind, events in made.items():
            for event in events:
                self._batches[(kind, getattr(event, "underlying", ""))].append(event)

    def checkpoint(self, tick_ns: int, state: bytes) -> None:
        """Write everything up to `tick_ns`, then say so, then seal the hours that are over."""
        for key, events in self._batches.items():
            if events:
                self._writers[key].append(events)
                events.clear()
        write_checkpoint(self._root, state, tick_ns=tick_ns, run=self._run)
        for writer in self._writers.values():
            writer.seal(tick_ns // HOUR_NS * HOUR_NS)

    def digests(self) -> dict[str, Digest]:
        """Hash all that the folder holds, read back from disk."""
        digests: dict[str, Digest] = {}
        archive = Archive(self._root)
        for stream in STREAMS:
            if stream.kind in KINDS:
                types = {t: 0 for t in stream.types if t is not Tick}
                digests[stream.kind] = Digest()
                for event in archive.scan(types, end_ns=2**63 - 1):
                    digests[stream.kind].add(body(event))
        return digests


def _digest_key(event: Event) -> tuple[int, str]:
    return (event.ts_ns, getattr(event, "underlying", None) or "")


def _by_instant(events: Iterable[Event]) -> Iterator[tuple[int, list[Event]]]:
    for ts_ns, group in groupby(events, key=lambda event: event.ts_ns):
        yield ts_ns, list(group)


def _given_up(archive: Archive) -> dict[str, set[str]]:
    """Return the ids of the events that each service gave up when it ran live."""
    dead: dict[str, set[str]] = {}
    for letter in archive.scan({DeadLetter: 0}, end_ns=TIME_MAX_NS):
        if isinstance(letter, DeadLetter) and letter.event:
            dead.setdefault(letter.group, set()).add(letter.event)
    return dead


def _since(lookback_s: Mapping[type[Event], int], begin_ns: int) -> dict[type[Event], int]:
    return {t: max(0, begin_ns - seconds * _NS) for t, seconds in lookback_s.items()}
