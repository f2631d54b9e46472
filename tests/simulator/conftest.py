"""Days of simulated path and quotes, drawn once: 4 days, 4,896 markets, under two seconds."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from services.simulator.flow import Quotes, Sight, quotes_of, sight
from services.simulator.markets import Windows, series_of, windows_of
from services.simulator.path import UNDERLYINGS, Chance, Day, Underlying, first_state, next_day

SEED = 20_260_601
DAYS = 4
INTERVAL_S = 10


class Quoted(NamedTuple):
    """One series on one day: what is true, what is seen, what is quoted."""

    day: Day
    row: int
    windows: Windows
    seen: Sight
    quotes: Quotes


def generator(*key: int) -> np.random.Generator:
    """Return a generator of its own for each key."""
    return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=key))


def draw_days(n: int, underlyings: tuple[Underlying, ...] = UNDERLYINGS) -> list[Day]:
    """Draw `n` days; each underlying has its own generators, whichever others run."""

    def chance(number: int) -> Chance:
        places = [UNDERLYINGS.index(underlying) for underlying in underlyings]
        return Chance(generator(number, 0), tuple(generator(number, 1, i) for i in places))

    state = first_state(underlyings, chance(0))
    days = []
    for number in range(1, n + 1):
        day, state = next_day(state, underlyings, chance(number))
        days.append(day)
    return days


@pytest.fixture(scope="session")
def days() -> list[Day]:
    return draw_days(DAYS)


@pytest.fixture(scope="session")
def quoted(days: list[Day]) -> Callable[[float], list[Quoted]]:
    """Return a function from an edge to all quotes of all days, nothing missing."""

    @cache
    def at_edge(edge: float) -> list[Quoted]:
        return [
            _quote(day, (number, row, j), edge=edge)
            for number, day in enumerate(days)
            for row in range(len(UNDERLYINGS))
            for j in range(3)
        ]

    return at_edge


def _quote(day: Day, key: tuple[int, int, int], *, edge: float) -> Quoted:
    number, row, j = key
    series = series_of(UNDERLYINGS[row])[j]
    midnight_ns = number * 86_400_000_000_000
    windows = windows_of(
        series, day, row, midnight_ns=midnight_ns, generator=generator(number, 2, row, j)
    )
    seen = sight(day.spot_usd[row], INTERVAL_S)
    everything = np.ones(len(seen.second), dtype=np.bool_)
    quotes = quotes_of(
        windows, seen, edge=edge, is_recorded=everything, generator=generator(number, 3, row, j)
    )
    return Quoted(day, row, windows, seen, quotes)
