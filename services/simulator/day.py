"""Write one simulated day as a recording folder: what the live collector plays.

Day 200 of a simulation is the end of a chain: each day's path begins where the one before ended. So
the state at the end of each day is kept beside the days (170 kB, the last few), and where none is
left the chain is walked without drawing quotes, 0.04 s a day. The rows are those of `hawk simulate`
with the same setup. They are written hour by hour: a day at one sample a second (775,000 books)
then takes little more memory than its numbers, and the reader can take an hour at a time.

A reader would question that a state which cannot be read is walked to again rather than refused. It
is a cache: the truth is the seed.
"""

import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import durable
from libs.common.checks import ArchiveError, UsageError
from services.simulator.flow import Quotes
from services.simulator.markets import NS_PER_S
from services.simulator.path import DAY_S, State
from services.simulator.recording import (
    DAYS_MAX,
    EPOCH,
    FILES,
    Counts,
    Drawn,
    Setup,
    draw_day,
    mark_of,
    refuse_bad,
    state_after,
    state_before,
)
from services.simulator.tables import SCHEMAS, quotes_tables

HOUR_NS = 3_600 * NS_PER_S

_DAMAGE = (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error)
"""What numpy raises for a file that is not the archive it wrote."""

STATES_KEPT = 4
"""A collector that starts anew begins at most one day back, which needs the state before that."""


def write_day(directory: Path, setup: Setup, number: int, *, states: Path) -> Counts | None:
    """Write day `number` (counted from 1) of `setup` to `directory`, completely or not at all.

    `states` is where the ends of days are kept; two processes that share it take turns. Returns
    None where the day is already there. Raises `UsageError` for a setting out of range, and
    `ArchiveError` when it cannot be written.
    """
    refuse_bad(setup)
    if not 1 <= number <= DAYS_MAX:
        raise UsageError(f"simulate: day {number}: 1 to {DAYS_MAX}")
    with durable.writer_lock(states, "simulator", waits=True):
        if directory.exists():
            return None
        temporary = directory.with_name(f"{durable.TEMPORARY_PREFIX}{directory.name}")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            drawn, state = draw_day(setup, number, _state_at(setup, number, states))
            counts = _write(temporary, drawn, setup, number)
            _keep_state(states, setup, number, state)
            temporary.rename(directory)
        except OSError as error:
            raise ArchiveError(
                f"cannot write day {number} of the simulation to {directory}: "
                f"{error.strerror or error}; free space or choose another folder"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _state_at(setup: Setup, number: int, states: Path) -> State:
    """Return the state before day `number`: from the newest that is kept, else from the start."""
    state, done = None, 0
    for known in range(number - 1, 0, -1):
        state = _read_state(_state_path(states, known), setup)
        if state is not None:
            done = known
            break
    if state is None:
        state = state_before(setup)
    for day in range(done + 1, number):
        state = state_after(setup, day, state)
    return state


def _state_path(states: Path, number: int) -> Path:
    return states / f"day-{number:04d}.npz"


def _owner(setup: Setup) -> str:
    """Name what decides a path of prices; edge and interval do not."""
    return f"seed {setup.seed} of {', '.join(sorted(setup.underlyings))} from {setup.start}"


def _read_state(path: Path, setup: Setup) -> State | None:
    if not path.exists():
        return None
    with suppress(*_DAMAGE), np.load(path) as found:
        if str(found["owner"]) == _owner(setup):
            return State(
                shared_vol=float(found["shared_vol"]),
                own=found["own"],
                index_usd=found["index_usd"],
                spot_usd=found["spot_usd"],
            )
    return None


def _keep_state(states: Path, setup: Setup, number: int, state: State) -> None:
    """Keep the state at the end of day `number`, and of the oldest days no longer."""
    content = BytesIO()
    np.savez(content, owner=np.array(_owner(setup)), **state.__dict__)
    durable.write_atomic(_state_path(states, number), content.getvalue(), name="state")
    for path in sorted(states.glob("day-*.npz"))[:-STATES_KEPT]:
        path.unlink(missing_ok=True)


def _write(directory: Path, drawn: Drawn, setup: Setup, number: int) -> Counts:
    """Write the files of a day, quotes, spot and truth in a row group an hour."""
    midnight_ns = ((setup.start - EPOCH).days + number - 1) * DAY_S * NS_PER_S
    rows = dict.fromkeys(FILES, 0)
    writers = {
        name: pq.ParquetWriter(
            directory / name, SCHEMAS[name].with_metadata(mark_of(setup)), compression="zstd"
        )
        for name in FILES
    }
    try:
        for name, table in _tables(drawn, midnight_ns):
            if table.num_rows:
                writers[name].write_table(table.cast(writers[name].schema))
                rows[name] += table.num_rows
    finally:
        for writer in writers.values():
            writer.close()
    return Counts(rows["markets.parquet"], rows["quotes.parquet"], rows["spot.parquet"])


def _tables(drawn: Drawn, midnight_ns: int) -> Iterator[tuple[str, pa.Table]]:
    spot_ns = drawn.spot["ts_ns"].to_numpy()
    first = 0
    for start_ns in range(midnight_ns, midnight_ns + DAY_S * NS_PER_S, HOUR_NS):
        quotes, truth = quotes_tables([(w, _within(q, start_ns)) for w, q in drawn.quoted])
        yield "truth.parquet", truth
        yield "quotes.parquet", quotes
        # A price of the last second becomes known behind midnight; it stands in the last hour.
        is_last = start_ns + HOUR_NS == midnight_ns + DAY_S * NS_PER_S
        end = len(spot_ns) if is_last else int(np.searchsorted(spot_ns, start_ns + HOUR_NS))
        yield "spot.parquet", drawn.spot.slice(first, end - first)
        first = end
    yield "markets.parquet", drawn.markets


def _within(quotes: Quotes, start_ns: int) -> Quotes:
    """Return the books of the hour from `start_ns` on."""
    chosen = (quotes.ts_ns >= start_ns) & (quotes.ts_ns < start_ns + HOUR_NS)
    return Quotes(**{field.name: getattr(quotes, field.name)[chosen] for field in fields(quotes)})
