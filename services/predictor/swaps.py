"""When the slot of one underlying is told of which bundle. Pure.

Recorded swaps come first, each at the instant it took effect: rows that are made again after a kill
must meet the bundle that replay would use, whatever `current` says by now. Only behind the last
recorded instant is the slot told of a newer generation, at the instant that is about to be scored;
it answers with a swap of its own, which is recorded before the first forecast.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from libs.common.checks import BundleError
from libs.common.events import ModelEvent
from services.predictor.scorer import Scorer


def recorded_swaps(events: Iterable[ModelEvent], underlying: str | None = None) -> list[ModelEvent]:
    """Return the recorded swaps (of one underlying) in the order in which they took effect."""
    swaps = [
        event
        for event in events
        if event.action == "swapped" and underlying in (None, event.underlying)
    ]
    return sorted(swaps, key=lambda event: (event.ts_ns, event.generation or 0, event.id))


def activation_of(swap: ModelEvent) -> ModelEvent:
    """Return what caused a recorded swap, for underlyings that had not followed it yet."""
    return msgspec.structs.replace(
        swap, id=swap.cause, action="activated", underlying=None, feature_id_last=None
    )


class Swaps:
    """What one underlying's slot must be told; `load` says whether a bundle can be had."""

    def __init__(self, recorded: Sequence[ModelEvent], load: Callable[[str], Scorer]) -> None:
        self._recorded = deque(recorded)
        self._load = load
        self._generation = 0
        self._recorded_ns = max((event.ts_ns for event in recorded), default=-1)

    def due(self, ts_ns: int, newest: ModelEvent | None) -> list[ModelEvent]:
        """Return what to feed ahead of the instant `ts_ns`; `newest` is the activation that serves.

        Instants must rise from call to call. The returned activation carries `ts_ns`.
        """
        given = self._past(ts_ns) if self._recorded else []
        generation = newest.generation or 0 if newest is not None else 0
        if newest is not None and generation > self._generation and ts_ns > self._recorded_ns:
            self._generation = generation
            given.append(msgspec.structs.replace(newest, ts_ns=ts_ns))
        return given

    def _past(self, ts_ns: int) -> list[ModelEvent]:
        """Return the recorded swaps that are over, from the last one that can be loaded on.

        What lies before it changes nothing, and would cost a check of a bundle each.
        """
        over: list[ModelEvent] = []
        while self._recorded and self._recorded[0].ts_ns <= ts_ns:
            event = self._recorded.popleft()
            if (event.generation or 0) > self._generation:
                self._generation = event.generation or 0
                over.append(event)
        for number in range(len(over) - 1, -1, -1):
            if self._can_load(over[number].bundle):
                return over[number:]
        return over

    def _can_load(self, bundle_id: str) -> bool:
        try:
            self._load(bundle_id)
        except BundleError:
            return False
        return True
