"""The slot: which bundle scores the next row of one underlying. Pure.

A `ModelEvent` changes the bundle from its instant on. A *recorded* swap is followed silently; an
activation or a rollback that the driver feeds ahead of an instant makes the slot switch and say so
(`swapped`, once per underlying), which is journalled before the first forecast of the new bundle:
that record, not the activation, is what a restart and a replay follow. At equal instants the higher
generation wins, and a generation that does not rise is ignored. Loading touches files, so it comes
in as a function; a bundle that cannot be loaded leaves the old one serving and is answered with a
`refused` event.

The decision to question: a row of a feature set that the bundle was not made for is scored by the
base model, flagged as fallback, rather than by nobody. It can only come while services of two
versions run side by side; nobody trades on it, and the boards do not go dark.
"""

from collections.abc import Callable, Mapping, Sequence

from libs.common.checks import BundleError
from libs.common.events import Event, FeatureRow, ModelEvent, Tick, event_id
from services.predictor.scorer import Scorer

SWITCHING = ("activated", "rolled_back", "swapped")
"""Actions of a `ModelEvent` that change what is served."""


class Slot:
    """Handler of one underlying: feature rows and model events in, forecasts out."""

    def __init__(
        self,
        underlying: str,
        base: Scorer,
        load: Callable[[str], Scorer],
        *,
        feature_id_last: str | None = None,
    ) -> None:
        self._underlying = underlying
        self._base = base
        self._scorer = base
        self._load = load
        self._generation = 0
        self._feature_id_last = feature_id_last

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
            return self._score(event)
        if isinstance(event, Tick):
            return (event,)
        if isinstance(event, ModelEvent):
            return self._follow(event)
        return ()

    def _score(self, row: FeatureRow) -> Sequence[Event]:
        scorer = self._scorer if self._scorer.fits(row.feature_set) else self._base
        made = scorer.forecast(row)
        if made is None:
            return ()
        self._feature_id_last = row.id
        return (made,)

    def _follow(self, event: ModelEvent) -> Sequence[Event]:
        if event.action not in SWITCHING or (event.generation or 0) <= self._generation:
            return ()
        if event.underlying not in (None, self._underlying):
            return ()
        try:
            scorer = self._load(event.bundle)
        except BundleError as error:
            return (self._model_event(event, "refused", str(error)),)
        self._scorer, self._generation = scorer, event.generation or 0
        if event.action == "swapped":
            return ()
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
