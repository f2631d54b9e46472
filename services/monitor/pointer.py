"""Silent swaps on disk: pure. Does `models/current` say what the records say?

In go the pointer, the recorded activations and the ids that the audit chain names, out comes the
fault or None. The trainer journals an activation, then moves the pointer, then writes the audit
line; so for a moment the pointer, or the line, may lag. Whoever asks must see a fault twice before
it counts (`TwiceSeen`).
"""

from collections.abc import Collection, Sequence

from libs.common.bundle import Current
from libs.common.events import ModelEvent

ACTIVATING = ("activated", "rolled_back")


def pointer_fault(
    current: Current | None, events: Sequence[ModelEvent], chained: Collection[str]
) -> str | None:
    """Say how the pointer differs from the recorded activations, None where it does not."""
    activations = [event for event in events if event.action in ACTIVATING]
    last = max(activations, key=lambda event: event.generation or 0, default=None)
    if last is None:
        if current is None:
            return None
        return f"models/current names {current.bundle}, but no activation was ever recorded"
    generation = last.generation or 0
    if current is None:
        return f"models/current is gone; activation {generation} of {last.bundle} is the last"
    if current.generation > generation:
        return (
            f"models/current names {current.bundle} as generation {current.generation}, "
            f"the last recorded activation is {generation}"
        )
    if current.generation < generation:
        return (
            f"models/current is of generation {current.generation}, but activation {generation} "
            "was recorded: an old pointer was put back"
        )
    if current.bundle != last.bundle:
        return (
            f"models/current names {current.bundle}, activation {generation} was of {last.bundle}"
        )
    if last.id not in chained:
        return f"the audit chain lacks activation {generation} of {last.bundle}"
    return None


def chain_fault(events: Sequence[ModelEvent], chained: Collection[str]) -> str | None:
    """Say what the audit chain names and the archive lacks, None where there is nothing."""
    lost = sorted(set(chained) - {event.id for event in events})
    if not lost:
        return None
    return f"the archive lacks model event {lost[0]}, which the audit chain names"


class TwiceSeen:
    """Passes a fault on when it is seen for the second time in a row.

    >>> twice = TwiceSeen()
    >>> twice.confirmed("gone"), twice.confirmed("gone"), twice.confirmed(None)
    (None, 'gone', None)
    """

    def __init__(self) -> None:
        self._before: str | None = None

    def confirmed(self, fault: str | None) -> str | None:
        """Return `fault` if the look before found one, too."""
        before, self._before = self._before, fault
        return fault if before is not None else None

    @property
    def is_waiting(self) -> bool:
        """Tell whether a fault was seen once: neither well nor proven."""
        return self._before is not None
