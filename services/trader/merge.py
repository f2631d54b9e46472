"""The trader's merge: several ordered streams into instants, in the order that replay has. Pure.

In go the events of each (stream kind, underlying) as they are read, out come whole instants: at
each ts_ns, underlying by underlying in order of name, snapshots, then forecasts, then the tick. An
instant is whole when every stream has shown a tick at or behind it, so the trader never acts on one
underlying while another may still have something to say about the same moment.

`behind` is the decision to question: instead of a thread per stream the caller reads from the
stream that holds the merge back, and waits there. What the others have meanwhile is read when their
turn comes, or when a wait was in vain.
"""

from collections import deque
from collections.abc import Sequence

from libs.common.checks import check
from libs.common.events import Event, Tick

KINDS = ("snapshots", "forecasts")
"""In the order in which they are fed at one instant."""

WAITING_MAX = 200_000
"""Events held of one stream; the caller reads only from the stream that is behind."""

Source = tuple[str, str]
"""Stream kind, underlying."""


class Merge:
    """Instants out of the snapshots and forecasts of all underlyings."""

    def __init__(self) -> None:
        """Start without any stream."""
        self._waiting: dict[Source, deque[Event]] = {}
        self._complete_ns: dict[Source, int] = {}

    def open(self, underlying: str, after_ns: int) -> None:
        """Take in the streams of `underlying`, complete up to `after_ns`."""
        for kind in KINDS:
            self._waiting[(kind, underlying)] = deque()
            self._complete_ns[(kind, underlying)] = after_ns

    def add(self, source: Source, events: Sequence[Event]) -> None:
        """Take the next events of one stream, in order."""
        waiting = self._waiting[source]
        for event in events:
            waiting.append(event)
            if isinstance(event, Tick):
                self._complete_ns[source] = event.ts_ns
        check(len(waiting) <= WAITING_MAX, f"{len(waiting)} events of {source} wait for the others")

    def waiting(self, source: Source) -> int:
        """Return how many events of one stream are held."""
        return len(self._waiting[source])

    def behind(self) -> Source | None:
        """Return the stream that holds the merge back; None without any stream."""
        return min(self._complete_ns, key=lambda s: (self._complete_ns[s], s), default=None)

    def take(self) -> list[tuple[int, list[Event]]]:
        """Return the instants that are whole, in order, each with its events."""
        upto_ns = min(self._complete_ns.values(), default=-1)
        found: dict[int, dict[Source, list[Event]]] = {}
        for source, waiting in self._waiting.items():
            while waiting and waiting[0].ts_ns <= upto_ns:
                event = waiting.popleft()
                found.setdefault(event.ts_ns, {}).setdefault(source, []).append(event)
        return [(ts_ns, _in_order(found[ts_ns])) for ts_ns in sorted(found)]


def _in_order(by_source: dict[Source, list[Event]]) -> list[Event]:
    """Order one instant: by underlying; snapshots, forecasts, then the tick, once."""
    events: list[Event] = []
    for underlying in sorted({source[1] for source in by_source}):
        own = [e for kind in KINDS for e in by_source.get((kind, underlying), ())]
        events += [event for event in own if not isinstance(event, Tick)]
        events += [event for event in own if isinstance(event, Tick)][:1]
    return events
