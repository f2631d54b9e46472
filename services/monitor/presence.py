"""Who answers: pure. Services whose pages do not answer, and entries that were given up.

In go observations with the monotonic time at which they were made, out come claims.
"""

from collections.abc import Iterable, Mapping

from libs.common.events import DeadLetter
from services.monitor.claims import DEAD_LETTER, SERVICE_DOWN, Claim

MISSES_MAX = 3
"""Misses in a row before a service is down: one look may fall into a restart."""

START_S_MAX = 60.0
"""Time that a service gets to answer for the first time."""

LETTER_S = 3_600.0
"""How long a letter keeps its alert firing: an hour without another, and it was one entry."""


class ServiceWatch:
    """Which services answer."""

    def __init__(self, names: Iterable[str], *, now_s: float) -> None:
        self._names = tuple(names)
        self._began_s = now_s
        self._misses: dict[str, int] = {}
        self._was_up: set[str] = set()

    def see(self, answers: Mapping[str, bool]) -> None:
        """Take one round of looks."""
        for name, has_answered in answers.items():
            self._misses[name] = 0 if has_answered else self._misses.get(name, 0) + 1
            if has_answered:
                self._was_up.add(name)

    def is_up(self, name: str) -> bool:
        """Tell whether a service answered when it was last asked."""
        return self._misses.get(name) == 0

    def claims(self, now_s: float) -> list[Claim]:
        """Return one claim over all services; none while they may still be starting."""
        is_early = now_s - self._began_s < START_S_MAX
        down = [
            name
            for name in self._names
            if self._misses.get(name, 0) >= MISSES_MAX and (name in self._was_up or not is_early)
        ]
        if down:
            evidence = f"no answer on /healthz from {', '.join(down)}"
            return [Claim(SERVICE_DOWN, True, evidence)]
        if self._names and all(self.is_up(name) for name in self._names):
            return [Claim(SERVICE_DOWN, False, "all services answer")]
        return []


class DeadLetters:
    """Entries that were given up lately."""

    def __init__(self) -> None:
        self._last: DeadLetter | None = None
        self._last_s = 0.0
        self._count = 0

    def note(self, letter: DeadLetter, now_s: float) -> None:
        """Take one letter."""
        self._last, self._last_s = letter, now_s
        self._count += 1

    def claims(self, now_s: float) -> list[Claim]:
        """Return whether an entry was given up within the hour."""
        last = self._last
        if last is None or now_s - self._last_s > LETTER_S:
            return [Claim(DEAD_LETTER, False, "no entry was given up for an hour")]
        evidence = f"{last.group or 'a reader'} gave up {last.entry_id} of {last.stream}"
        return [Claim(DEAD_LETTER, True, f"{evidence}: {last.reason} ({self._count} in all)")]
