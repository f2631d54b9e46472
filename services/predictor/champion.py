"""The champion: the one bundle that this process serves, and what `models/current` makes of it.

`current` alone decides. It is read about twice a second and whenever a model event comes by; its
generation must rise, above what serves and above every swap that was ever recorded here, so that an
old pointer, signed as it is, cannot be put back. What it names is verified whole and then one
reference is replaced: HTTP answers with it from the next request on, and every slot is moved to it
at its next instant. Whatever is refused leaves the old one serving.

The decision to question: a bundle that failed is tried again, ever more slowly, because a damaged
folder may be repaired in place; only its first failure is news.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.common.archive import DAY_NS, TIME_MAX_NS, Archive
from libs.common.bundle import BASE, BASE_BUNDLE, Current, read_current
from libs.common.checks import ArchiveError, BundleError, ConfigError
from libs.common.events import ModelEvent, event_id
from services.predictor.scorer import Scorer
from services.predictor.swaps import activation_of, recorded_swaps

RETRY_S_FIRST, RETRY_S_MAX = 1.0, 64.0
"""Waits between tries of a bundle that was refused."""

SCORERS_MAX = 4
"""Verified bundles kept at hand: the champion, what slots restart from, and room to roll back."""

RESTORE_MAX = 5
"""Bundles of recorded swaps that are tried at a start before the base model serves."""

SEARCH_NS = 7 * DAY_NS
"""How far back the cause of a new pointer is looked for before the whole archive is read."""

UNKNOWN = "unknown"
"""Stands for the bundle of a pointer that cannot be believed."""


@dataclass(frozen=True)
class Serving:
    """What serves: its scorer, what activated it (None: base, before any), since when (wall)."""

    scorer: Scorer
    activation: ModelEvent | None
    since_ns: int

    @property
    def generation(self) -> int:
        """The how-manieth pointer serves; 0 before the first."""
        return (self.activation.generation or 0) if self.activation is not None else 0


@dataclass(frozen=True)
class Refusal:
    """Why a pointer or what it names is not followed; `generation` None where it is not known."""

    bundle: str
    generation: int | None
    reason: str

    @property
    def id(self) -> str:
        """The id of its event: the same refusal has the same, whenever it is met."""
        return event_id("ModelEvent", "refused", self.bundle, self.generation, self.reason)

    def event(self, ts_ns: int, cause: str) -> ModelEvent:
        """Return the event that records it."""
        return ModelEvent(
            ts_ns=ts_ns,
            id=self.id,
            bundle=self.bundle,
            action="refused",
            reason=self.reason,
            cause=cause,
            generation=self.generation,
            wall_ns=time.time_ns(),
        )


class Champion:
    """Holds what serves. `poll` belongs to one thread; `serving` and `scorer` to all."""

    def __init__(self, root: Path, load: Callable[[str], Scorer]) -> None:
        self._root = root
        self._load = load
        self._lock = threading.Lock()
        self._scorers: dict[str, Scorer] = {}
        self._base = Scorer(BASE_BUNDLE)
        self._floor = 0
        self._failed: tuple[str, int] | None = None
        self._wait_s = RETRY_S_FIRST
        self._retry_s = 0.0
        self._standing: Refusal | None = None
        self.serving = Serving(self._base, None, time.time_ns())

    @property
    def base(self) -> Scorer:
        """The base model."""
        return self._base

    def scorer(self, bundle_id: str) -> Scorer:
        """Return a verified bundle; raise `BundleError` with the reason if it is refused."""
        if bundle_id == BASE:
            return self._base
        found = self._scorers.get(bundle_id)
        if found is not None:
            return found
        with self._lock:
            if bundle_id not in self._scorers:
                try:
                    self._scorers[bundle_id] = self._load(bundle_id)
                except ConfigError as error:  # without a public key nothing can be believed
                    raise BundleError(str(error)) from error
            while len(self._scorers) > SCORERS_MAX:
                del self._scorers[next(iter(self._scorers))]
            return self._scorers[bundle_id]

    def restore(self, events: Sequence[ModelEvent]) -> list[Refusal]:
        """Serve again what the newest recorded swap named; return what had to be passed over."""
        swaps = {event.generation or 0: event for event in recorded_swaps(events)}
        self._floor = max(swaps, default=0)
        refusals: list[Refusal] = []
        for generation in sorted(swaps, reverse=True)[:RESTORE_MAX]:
            try:
                self._serve(self.scorer(swaps[generation].bundle), activation_of(swaps[generation]))
                break
            except BundleError as error:
                refusals.append(Refusal(swaps[generation].bundle, generation, str(error)))
        return refusals

    def poll(self, now_s: float) -> Refusal | None:
        """Follow `current`; return the refusal that stands, None where all is as it should be.

        `now_s` is monotonic and only spaces the tries of a bundle that failed.
        """
        try:
            current = read_current(self._root)
        except (BundleError, ConfigError) as error:
            return Refusal(UNKNOWN, None, str(error))
        if current is None:
            return self._gone()
        if current.generation < self._floor:
            return self._refused(current, f"is older than generation {self._floor}, which served")
        if current.generation == self.serving.generation:
            if current.bundle == self.serving.scorer.bundle.id:
                self._failed = None
                return None
            return self._refused(current, f"named {self.serving.scorer.bundle.id} before")
        if current.generation < self.serving.generation:
            return self._refused(
                current, f"is older than generation {self.serving.generation}, which serves"
            )
        return self._follow(current, now_s)

    def _follow(self, current: Current, now_s: float) -> Refusal | None:
        """Load what a newer pointer names, or say why not; a failure is not repeated at once."""
        wanted = (current.bundle, current.generation)
        if wanted == self._failed and now_s < self._retry_s:
            return self._standing
        try:
            scorer = self.scorer(current.bundle)
        except BundleError as error:
            self._wait_s = (
                min(2 * self._wait_s, RETRY_S_MAX) if wanted == self._failed else RETRY_S_FIRST
            )
            self._failed, self._retry_s = wanted, now_s + self._wait_s
            self._standing = Refusal(current.bundle, current.generation, str(error))
            return self._standing
        self._failed = None
        self._serve(scorer, self._activation(current))
        return None

    def _serve(self, scorer: Scorer, activation: ModelEvent) -> None:
        self._floor = max(self._floor, activation.generation or 0)
        self.serving = Serving(scorer, activation, time.time_ns())

    def _gone(self) -> Refusal | None:
        if self.serving.generation == 0:
            return None
        serving = self.serving
        reason = f"models/current is gone; {serving.scorer.bundle.id} serves on"
        return Refusal(serving.scorer.bundle.id, serving.generation, reason)

    def _refused(self, current: Current, why: str) -> Refusal:
        reason = f"generation {current.generation} of models/current {why}: it must rise"
        return Refusal(current.bundle, current.generation, reason)

    def _activation(self, current: Current) -> ModelEvent:
        """Return the recorded activation behind a pointer, or one made from the pointer itself."""
        for found in self._recorded_activations(current):
            return found
        return ModelEvent(
            ts_ns=0,
            id=event_id("ModelEvent", "activated", current.bundle, current.generation),
            bundle=current.bundle,
            action="activated",
            reason=current.reason,
            cause="models/current",
            generation=current.generation,
        )

    def _recorded_activations(self, current: Current) -> list[ModelEvent]:
        archive = Archive(self._root)
        wanted = (current.bundle, current.generation)
        try:
            span = archive.span_ns()
            near_ns = max(0, span[1] - SEARCH_NS) if span else 0
            for start_ns in dict.fromkeys((near_ns, 0)):
                events = archive.scan({ModelEvent: start_ns}, end_ns=TIME_MAX_NS)
                found = [
                    event
                    for event in events
                    if isinstance(event, ModelEvent)
                    and event.action in ("activated", "rolled_back")
                    and (event.bundle, event.generation) == wanted
                ]
                if found:
                    return found
        except ArchiveError:
            pass  # a damaged hour is `hawk verify`'s matter; the pointer is signed and names all
        return []
