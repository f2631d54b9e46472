"""The board: the open markets and the latest forecast of each, as the stream has told. Pure.

A market is open until its close by the stream clock, the newest instant of its own stream, so that
a recording of last year shows its own markets. The board holds what is open and nothing else: after
a restart it fills with the first instant.

Fed by the thread of each underlying and read by HTTP without a lock: a market belongs to one
underlying, so each key has one writer, and readers take a copy of the whole in one step.
"""

from collections.abc import Sequence
from typing import NamedTuple

from libs.common.events import Event, FeatureRow, Forecast, Tick


class Place(NamedTuple):
    """One open market: its latest row, and its latest champion forecast if it ever had one."""

    row: FeatureRow
    forecast: Forecast | None


class Board:
    """`see` is called with every event of the stream and what the slot made of it."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], Place] = {}

    def see(self, event: Event, made: Sequence[Event]) -> None:
        """Take an event of the features stream and what the slot made of it."""
        if isinstance(event, FeatureRow):
            key = (event.venue, event.market)
            forecasts = [f for f in made if isinstance(f, Forecast) and f.role == "champion"]
            before = self._places.get(key)
            latest = forecasts[-1] if forecasts else (before.forecast if before else None)
            self._places[key] = Place(event, latest)
        elif isinstance(event, Tick):
            self._close(event)

    def places(self) -> list[Place]:
        """Return the open markets, the first to close first."""
        places = list(self._places.values())
        return sorted(places, key=lambda p: (p.row.close_ns, p.row.venue, p.row.market))

    def _close(self, tick: Tick) -> None:
        """Forget the markets of the tick's underlying that are closed by now."""
        for key, (row, _) in list(self._places.items()):
            if row.underlying == tick.underlying and row.close_ns <= tick.ts_ns:
                del self._places[key]
