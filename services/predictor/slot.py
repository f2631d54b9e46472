"""The slot: which bundle scores the next row of one underlying. Pure.

A `ModelEvent` (a recorded swap, or an activation where no predictor ran) changes the bundle from
its instant on; at equal instants the higher generation wins, and a generation that does not rise is
ignored. Loading touches files, so it comes in as a function; a bundle that cannot be loaded leaves
the old one serving and is answered with a `refused` event.
"""

from collections.abc import Callable, Mapping, Sequence

from libs.common.checks import BundleError
from libs.common.events import Event, FeatureRow, ModelEvent, Tick, event_id
from services.predictor.scorer import Scorer


class Slot:
    """Handler of one underlying: feature rows and model events in, forecasts out."""

    def __init__(self, underlying: str, base: Scorer, load: Callable[[str], Scorer]) -> None:
        self._underlying = underlying
        self._scorer = base
        self._load = load
        self._generation = 0
        self._feature_id_last: str | None = None

    @property
    def lookback_s(self) -> Mapping[type[Event], int]:
        """Nothing: a forecast depends on its row and the bundle alone."""
        return {}

    @property
    def scorer(self) -> Scorer:
        """The bundle that serves now."""
        return self._scorer

    def handle(self, event: Event) -> Sequence[Event]:
        """Return the forecast of a feature row; pass ticks on; follow model events."""
        if isinstance(event, FeatureRow):
            made = self._scorer.forecast(event)
            self._feature_id_last = event.id
            return (made,) if made else ()
        if isinstance(event, Tick):
            return (event,)
        if isinstance(event, ModelEvent):
            return self._follow(event)
        return ()

    def _follow(self, event: ModelEvent) -> Sequence[Event]:
        is_swap = event.action in ("activated", "swapped", "rolled_back")
        if not is_swap or (event.generation or 0) <= self._generation:
            return ()
        if event.underlying not in (None, self._underlying):
            return ()
        try:
            scorer = self._load(event.bundle)
        except BundleError as error:
            return (self._model_event(event, "refused", str(error)),)
        self._scorer, self._generation = scorer, event.generation or 0
        return (self._model_event(event, "swapped", event.reason),)

    def _model_event(self, cause: ModelEvent, action: str, reason: str) -> ModelEvent:
        return ModelEvent(
            ts_ns=cause.ts_ns,
            id=event_id("ModelEvent", action, cause.id, self._underlying),
            bundle=cause.bundle,
            action="swapped" if action == "swapped" else "refused",
            reason=reason,
            cause=cause.id,
            generation=cause.generation,
            underlying=self._underlying,
            feature_id_last=self._feature_id_last,
        )
