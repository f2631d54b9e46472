"""Write a simulated recording: the folder that `hawk import` reads, and the truth beside it.

In goes a seed, out come markets, quotes and spot as Parquet in the import format, and
`truth.parquet`, one row per quote, which the product never reads. Days are drawn one after another
and written as they come, so memory does not grow with their number. Every draw is keyed by seed,
day, purpose and place, so three days are the beginning of five, one underlying does not disturb
another, and the start date moves nothing but time. Bytes repeat on one build of numpy and pyarrow.

A reader would question the swap at the end. Everything is written into a folder inside the target
first; then the old files go, then the new ones come, `markets.parquet` last. Killed in between, the
folder has no markets and cannot be imported; it never mixes two simulations.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from libs.common.checks import ArchiveError, UsageError
from services.simulator.flow import Quotes, quotes_of, sight
from services.simulator.markets import NS_PER_S, Windows, series_of, windows_of
from services.simulator.path import (
    DAY_S,
    UNDERLYINGS,
    Chance,
    Day,
    State,
    Underlying,
    first_state,
    next_day,
)
from services.simulator.tables import SCHEMAS, markets_table, quotes_tables, spot_table

START = date(2026, 6, 1)
"""First day unless asked otherwise; recordings with one seed then agree without an argument."""

EPOCH = date(1970, 1, 1)

ALL = tuple(underlying.name for underlying in UNDERLYINGS)
GRID_S = 300
"""A sample interval divides it, so that samples fall on every open and close."""

DAYS_MAX = 3_660
EDGE_MAX = 4.0

OUTAGES_PER_DAY, OUTAGE_S = 3.0, (30, 120)
"""The recorder is down for a few minutes a day; then spot and all quotes are missing together."""

MISSED = 0.002
"""Single samples that never came, per row."""

SPARSE_S = 10
"""From this interval on, spot is told every other second: the odd ones, as samples are at even
ones. A print then finds a price that came at most 1.7 s ago, within the 2 s that fair value needs
in the last minute of an average. Below it, every second is told."""

SPOT_LATENCY_MS = (300, 1_000)
NS_PER_MS = 1_000_000

FILES = ("truth.parquet", "quotes.parquet", "spot.parquet", "markets.parquet")
"""In the order they are put in place: without markets a folder is no recording."""

_MARK = b"hawk_simulation"
_UNFINISHED = ".simulation.part"


@dataclass(frozen=True)
class Counts:
    """Rows written."""

    markets: int
    quotes: int
    spot: int


@dataclass(frozen=True)
class Setup:
    """What decides every byte of a simulation.

    `days` are UTC days from `start`; `interval_s` is between quotes of one market and divides 300;
    `edge` scales the planted fault of the quotes, 0 for none (`flow.planted`).
    """

    days: int
    seed: int
    interval_s: int = 10
    start: date = START
    edge: float = 0.0
    underlyings: tuple[str, ...] = ALL

    def generator(self, *key: int) -> np.random.Generator:
        """Return the generator of one day, purpose and place; no other setting enters."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


# Second part of a generator's key, after the day; day 0 is the hour before the first midnight.
_SHARED, _OWN, _DELAYS, _BOOKS, _MISSING, _OUTAGES, _LATENCY = range(7)


def write_simulation(
    directory: Path, setup: Setup, *, progress: Callable[[int, int], None] | None = None
) -> Counts:
    """Write `setup` to `directory`; `progress` hears of days done and days in all.

    Raises `UsageError` for a setting out of range or a directory that holds anything but an earlier
    simulation, which is replaced, and `ArchiveError` when it cannot be written.
    """
    refuse_bad(setup)
    try:
        _refuse_foreign(directory)
        part = directory / _UNFINISHED
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        counts = _write_days(part, setup, progress)
        _swap(part, directory)
    except OSError as error:
        shutil.rmtree(directory / _UNFINISHED, ignore_errors=True)
        raise ArchiveError(
            f"cannot write the simulation to {directory}: {error.strerror or error}; "
            "free space or choose another folder"
        ) from error
    return counts


def refuse_bad(setup: Setup) -> None:
    """Raise `UsageError` that names every setting out of range."""
    names = setup.underlyings
    faults = [
        fault
        for is_wrong, fault in (
            (not 1 <= setup.days <= DAYS_MAX, f"days {setup.days}: 1 to {DAYS_MAX}"),
            (setup.seed < 0, f"seed {setup.seed}: 0 or more"),
            (
                setup.interval_s < 1 or GRID_S % max(setup.interval_s, 1) != 0,
                f"interval-s {setup.interval_s}: a divisor of {GRID_S}",
            ),
            (
                not (isfinite(setup.edge) and 0 <= setup.edge <= EDGE_MAX),
                f"edge {setup.edge}: 0 to {EDGE_MAX:g}",
            ),
            (
                not names or len(set(names)) < len(names) or not set(names) <= set(ALL),
                f"underlyings {', '.join(names) or '(none)'}: each once, of {', '.join(ALL)}",
            ),
        )
        if is_wrong
    ]
    if faults:
        raise UsageError("simulate: " + "; ".join(faults))


def _refuse_foreign(directory: Path) -> None:
    """Refuse a directory with any file that is not this module's own."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"simulate: {directory} is a file; name a folder")
    for path in sorted(directory.iterdir()) if directory.exists() else ():
        if path.name != _UNFINISHED and not (path.name in FILES and _is_ours(path)):
            raise UsageError(
                f"simulate: {directory} holds {path.name}, which no simulation wrote; "
                "name an empty folder"
            )


def _is_ours(path: Path) -> bool:
    try:
        return _MARK in (pq.read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        return False


def _swap(part: Path, directory: Path) -> None:
    for name in reversed(FILES):
        (directory / name).unlink(missing_ok=True)
    for name in FILES:
        (part / name).replace(directory / name)
    part.rmdir()


def mark_of(setup: Setup) -> dict[bytes, bytes]:
    """Return the metadata that names a file as this simulation's."""
    # Equal settings make equal bytes, however they were written: 1 or 1.0, in any order.
    settings = {
        **asdict(setup),
        "edge": float(setup.edge),
        "underlyings": sorted(setup.underlyings),
    }
    return {_MARK: json.dumps(settings, sort_keys=True, default=str).encode()}


def _write_days(part: Path, setup: Setup, progress: Callable[[int, int], None] | None) -> Counts:
    mark = mark_of(setup)
    rows = dict.fromkeys(FILES, 0)
    writers = {
        name: pq.ParquetWriter(part / name, SCHEMAS[name].with_metadata(mark), compression="zstd")
        for name in FILES
    }
    try:
        for done, tables in enumerate(_days(setup), start=1):
            for name in FILES:
                writers[name].write_table(tables[name].cast(writers[name].schema))
                rows[name] += tables[name].num_rows
            if progress is not None:
                progress(done, setup.days)
    finally:
        for writer in writers.values():
            writer.close()
    return Counts(rows["markets.parquet"], rows["quotes.parquet"], rows["spot.parquet"])


def _days(setup: Setup) -> Iterator[dict[str, pa.Table]]:
    """Draw one day after another as tables by file name."""
    state = state_before(setup)
    for number in range(1, setup.days + 1):
        drawn, state = draw_day(setup, number, state)
        quotes, truth = quotes_tables(drawn.quoted)
        yield dict(zip(FILES, (truth, quotes, drawn.spot, drawn.markets), strict=True))


class Drawn(NamedTuple):
    """One day: what was quoted, by series, and the tables of spot and markets."""

    quoted: list[tuple[Windows, Quotes]]
    spot: pa.Table
    markets: pa.Table


def state_before(setup: Setup) -> State:
    """Draw what stands before the first midnight."""
    chosen = _chosen(setup)
    return first_state(chosen, _chance(setup, 0, chosen))


def state_after(setup: Setup, number: int, state: State) -> State:
    """Draw the path of day `number` after `state`, and no quotes: a twentieth of the work."""
    chosen = _chosen(setup)
    return next_day(state, chosen, _chance(setup, number, chosen))[1]


def draw_day(setup: Setup, number: int, state: State) -> tuple[Drawn, State]:
    """Draw day `number`, counted from 1, after `state`; return it and the state at its end."""
    chosen = _chosen(setup)
    day, state = next_day(state, chosen, _chance(setup, number, chosen))
    days_after_1970 = (setup.start - EPOCH).days + number - 1
    midnight_ns = days_after_1970 * DAY_S * NS_PER_S
    is_up = _is_up(setup.generator(number, _OUTAGES))
    quoted = [
        windows_and_quotes
        for row, underlying in enumerate(chosen)
        for windows_and_quotes in _quoted(
            setup,
            _Part(number, UNDERLYINGS.index(underlying), midnight_ns, day, row),
            is_up=is_up,
        )
    ]
    seconds = np.arange(1, DAY_S + 1, _spot_step_s(setup.interval_s), dtype=np.int64)
    draws = [
        setup.generator(number, _LATENCY, UNDERLYINGS.index(underlying)).integers(
            *SPOT_LATENCY_MS, size=len(seconds)
        )
        for underlying in chosen
    ]
    latency_ns = np.array(draws) * NS_PER_MS
    spot = spot_table(
        chosen,
        day,
        seconds=seconds,
        known_ns=midnight_ns + seconds * NS_PER_S + latency_ns,
        is_recorded=np.broadcast_to(is_up[seconds % DAY_S], latency_ns.shape),
    )
    return Drawn(quoted, spot, markets_table([windows for windows, _ in quoted])), state


def _chosen(setup: Setup) -> tuple[Underlying, ...]:
    return tuple(u for u in UNDERLYINGS if u.name in setup.underlyings)


def _chance(setup: Setup, number: int, chosen: tuple[Underlying, ...]) -> Chance:
    own = tuple(setup.generator(number, _OWN, UNDERLYINGS.index(u)) for u in chosen)
    return Chance(setup.generator(number, _SHARED), own)


class _Part(NamedTuple):
    """One underlying's part of a day: the day's number, its place in UNDERLYINGS, its row."""

    number: int
    place: int
    midnight_ns: int
    day: Day
    row: int


def _quoted(
    setup: Setup, part: _Part, *, is_up: NDArray[np.bool_]
) -> Iterator[tuple[Windows, Quotes]]:
    """Quote the series of one underlying through a day."""
    number, place, midnight_ns, day, row = part
    seen = sight(day.spot_usd[row], setup.interval_s)
    for j, series in enumerate(series_of(UNDERLYINGS[place])):
        delays = setup.generator(number, _DELAYS, place, j)
        windows = windows_of(series, day, row, midnight_ns=midnight_ns, generator=delays)
        missing = setup.generator(number, _MISSING, place, j).random(len(seen.second)) < MISSED
        yield (
            windows,
            quotes_of(
                windows,
                seen,
                edge=setup.edge,
                is_recorded=is_up[seen.second] & ~missing,
                generator=setup.generator(number, _BOOKS, place, j),
            ),
        )


def _spot_step_s(interval_s: int) -> int:
    return 2 if interval_s >= SPARSE_S and interval_s % 2 == 0 else 1


def _is_up(generator: np.random.Generator) -> NDArray[np.bool_]:
    """Tell for each second of a day, (DAY_S,), whether the recorder ran."""
    is_up = np.ones(DAY_S, dtype=np.bool_)
    n = generator.poisson(OUTAGES_PER_DAY)
    starts = generator.integers(0, DAY_S, size=n).tolist()
    lengths = generator.integers(*OUTAGE_S, size=n).tolist()
    for first, length in zip(starts, lengths, strict=True):
        is_up[first : first + length] = False
    return is_up
