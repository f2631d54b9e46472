"""The live predictor: feature rows in, forecasts out, HTTP beside, one bundle for both.

Three kinds of threads share one `Champion`. The watcher polls `models/current`, at least twice a
second and whenever a model event comes by, and replaces what serves; the worker of each underlying
moves its slot to that at its next instant (`Swaps`); HTTP takes the reference per request, so it
follows at once, also while no stream flows.

The decision to question: a refused model is no reason to be unready. What serves is sound, and a
balancer that took every predictor out because one bundle is damaged would make an outage of a
refusal. It is an alert, a model event, an audit line and a note in `/readyz`.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.audit import append_audit, recorded_ids
from libs.common.checks import ArchiveError
from libs.common.context import Context
from libs.common.events import Event, FeatureRow, Forecast, ModelEvent
from libs.common.handler import Handler
from libs.common.journal import read_journal
from libs.common.reader import ControlReader
from libs.common.service import run_handlers
from libs.common.telemetry import log
from services.predictor import metrics
from services.predictor.app import PREFIX, Api, read_key
from services.predictor.board import Board
from services.predictor.champion import Champion, Refusal, Serving
from services.predictor.scorer import Scorer
from services.predictor.slot import Slot
from services.predictor.swaps import Swaps, recorded_swaps
from services.predictor.verify import DEFAULT_CONTRACT, Contract, Verifier

POLL_S = 0.5
"""The pointer is read this often at least, so that an answer is of what was current a second ago,
the time to verify included."""

REFUSALS_RECORDED_MAX = 1_000
"""Distinct refusals journalled by one process; beyond that somebody plays, and logs are enough."""

REFUSED_RULE = "model_refused"
"""The alert that fires while `models/current` names what cannot be served."""

_FEATURES, _MODEL = "features", "model"
_NS = 1_000_000_000


def run(context: Context) -> None:
    """Serve until the stop sign; raise `ConfigError` if HTTP would be open to others."""
    settings = context.settings
    key = read_key(settings.api_key_file, host=settings.http_host)
    verifier = Verifier(context.root)
    predictor = Predictor(context, verifier)
    api = Api(
        lambda: predictor.champion.serving,
        predictor.board,
        key=key,
        shows_docs=settings.http_docs,
    )
    watcher = ThreadPoolExecutor(1, thread_name_prefix="predictor-watch")
    try:
        predictor.start()
        context.web.mount(PREFIX, api)
        watching = watcher.submit(predictor.watch)
        watching.add_done_callback(lambda _: context.stop.set())
        run_handlers(
            context,
            source="features",
            sink="forecasts",
            make=predictor.make,
            before=predictor.before,
        )
    finally:
        context.stop.set()
        verifier.close()
        watcher.shutdown(wait=True)
    watching.result()  # the death of the watcher is the death of the service


class Predictor:
    """What the threads of the service share."""

    def __init__(
        self, context: Context, verifier: Verifier, *, contract: Contract = DEFAULT_CONTRACT
    ) -> None:
        self._context, self._verifier, self._contract = context, verifier, contract
        self._swaps: dict[str, Swaps] = {}
        self._events: list[ModelEvent] = []
        self._refused: set[str] = set()
        self._refusals_left = REFUSALS_RECORDED_MAX
        self._is_strange = False
        self.champion = Champion(context.root, self._load)
        self.board = Board()

    def start(self) -> None:
        """Serve what the records and `models/current` say, before the first row and request."""
        self._events = model_events(self._context.root)
        own = [event for event in self._events if event.action in ("swapped", "refused")]
        self._refused = {event.id for event in own if event.action == "refused"}
        chained = recorded_ids(self._context.root)
        for event in own:
            if event.id not in chained:  # a kill came between the journal and the chain
                append_audit(self._context.root, event)
        for refusal in self.champion.restore(self._events):
            self._tell(refusal)
        self._announce(self.champion.serving)
        self.look()

    def make(self, underlying: str) -> Handler:
        """Return the handler of an underlying, and forget what an earlier one was told."""
        is_first = underlying not in self._swaps
        events = self._events if is_first else model_events(self._context.root)
        self._swaps[underlying] = Swaps(recorded_swaps(events, underlying), self.champion.scorer)
        slot = Slot(
            underlying,
            self.champion.base,
            self.champion.scorer,
            feature_id_last=last_scored(self._context.root, underlying),
        )
        return _Watched(slot, self)

    def before(self, underlying: str, ts_ns: int) -> Sequence[Event]:
        """Return what the slot is to be told ahead of the instant `ts_ns`."""
        return self._swaps[underlying].due(ts_ns, self.champion.serving.activation)

    def watch(self) -> None:
        """Follow `models/current` until the stop sign; a model event only wakes."""
        stop = self._context.stop
        reader = ControlReader(self._context, kind="models", group=self._context.name)
        while not stop.is_set():
            self.look()
            began_s = time.monotonic()
            if not reader.read(block_s=POLL_S):
                # A bus that is away answers at once: never poll faster for it.
                stop.wait(max(0.0, began_s + POLL_S - time.monotonic()))
            reader.ack()

    def look(self) -> None:
        """Look at `models/current` once and say what came of it."""
        before = self.champion.serving
        refusal = self.champion.poll(time.monotonic())
        if self._context.stop.is_set():
            return  # a check that the end has cut short says nothing about its bundle
        if self.champion.serving is not before:
            self._announce(self.champion.serving)
        self._tell(refusal)
        self._measure(self.champion.serving)
        self._verifier.rest()

    def saw(self, event: Event, made: Sequence[Event]) -> None:
        """Take note of what a slot was fed and what it made of it."""
        self.board.see(event, made)
        if isinstance(event, FeatureRow):
            is_strange = event.feature_set != self._contract.feature_set
            if is_strange != self._is_strange:
                self._is_strange = is_strange
                self._context.health.set(_FEATURES, self._stranger(event) if is_strange else None)
        for output in made:
            if isinstance(output, Forecast):
                metrics.FORECASTS.labels(str(output.is_fallback).lower()).inc()
            elif isinstance(output, ModelEvent):
                if output.action == "swapped":
                    metrics.SWAPS.labels("stream").inc()
                log().info(
                    f"model.{output.action}",
                    bundle=output.bundle,
                    generation=output.generation,
                    underlying=output.underlying,
                    reason=output.reason,
                )

    def _stranger(self, row: FeatureRow) -> str:
        return (
            f"rows are of feature set {row.feature_set}, this version serves "
            f"{self._contract.feature_set}: run features and predictor of one version"
        )

    def _load(self, bundle_id: str) -> Scorer:
        with metrics.VERIFY_SECONDS.time():
            return self._verifier.load(bundle_id)

    def _announce(self, serving: Serving) -> None:
        bundle = serving.scorer.bundle
        metrics.SWAPS.labels("http").inc()
        log().info(
            "model.serving",
            bundle=bundle.id,
            generation=serving.generation,
            rung=bundle.formula.rung,
            is_fallback=bundle.is_fallback,
        )
        self._context.health.note(_MODEL, f"generation {serving.generation}, bundle {bundle.id}")

    def _tell(self, refusal: Refusal | None) -> None:
        """Record a refusal once, however often it is met; the old model serves on."""
        alerts = self._context.alerts
        try:
            if refusal is None:
                alerts.resolve(REFUSED_RULE, evidence="models/current is followed again")
                return
            if refusal.id not in self._refused and self._refusals_left > 0:
                self._record(refusal)
            alerts.fire(REFUSED_RULE, evidence=refusal.reason)
        except ArchiveError as error:  # a full disk; it is tried again at the next look
            log().error("model.refusal_not_recorded", reason=str(error))

    def _record(self, refusal: Refusal) -> None:
        log().warning(
            "model.refused",
            bundle=refusal.bundle,
            generation=refusal.generation,
            reason=refusal.reason,
            serving=self.champion.serving.scorer.bundle.id,
        )
        ts_ns = self._context.clock.for_control()
        self._context.record_models([refusal.event(ts_ns, cause="models/current")])
        self._refused.add(refusal.id)
        self._refusals_left -= 1
        self._context.health.note("model refused", refusal.reason)
        metrics.REFUSALS.inc()

    def _measure(self, serving: Serving) -> None:
        metrics.GENERATION.set(serving.generation)
        metrics.IS_FALLBACK.set(serving.scorer.bundle.is_fallback)
        manifest = serving.scorer.bundle.manifest
        now_ns = self._context.clock.now_ns
        age_ns = max(0, now_ns - manifest.data_end_ns) if manifest is not None and now_ns else 0
        metrics.MODEL_AGE_SECONDS.set(age_ns / _NS)


class _Watched:
    """A slot whose doings are seen by the pages and metrics."""

    def __init__(self, slot: Slot, predictor: Predictor) -> None:
        self._slot, self._predictor = slot, predictor

    @property
    def lookback_s(self) -> Mapping[type[Event], int]:
        return self._slot.lookback_s

    def handle(self, event: Event) -> Sequence[Event]:
        made = self._slot.handle(event)
        self._predictor.saw(event, made)
        return made


def model_events(root: Path) -> list[ModelEvent]:
    """Return all recorded model events, in order."""
    found = Archive(root).scan({ModelEvent: 0}, end_ns=TIME_MAX_NS)
    return [event for event in found if isinstance(event, ModelEvent)]


def last_scored(root: Path, underlying: str) -> str | None:
    """Return the id of the last feature row of `underlying` that got a recorded forecast."""
    archive = Archive(root)
    for path in reversed(archive.journals("forecasts", underlying)):
        for entry in reversed(read_journal(path).entries):
            if isinstance(entry.event, Forecast):
                return entry.event.feature_id
    files = archive.files(Forecast, underlying, end_ns=TIME_MAX_NS)
    if not files:
        return None
    table = archive.table(
        Forecast, underlying=underlying, start_ns=files[-1].hour_ns, names=("feature_id",)
    )
    return str(table["feature_id"][-1].as_py().hex()) if table.num_rows else None
