"""Simulated days played by the hour: the events of the whole simulation, drawn by a child."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from libs.common.archive import DAY_NS, HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checks import UnavailableError
from libs.common.events import Gap, SpotSnapshot, body, decode
from libs.common.sources import SIMULATION_DAYS_MAX, SIMULATION_START_NS, Source, parse_source
from services.collector.instants import Instant, instants
from services.collector.recording import import_recording
from services.collector.simulation import LATE_NS, Simulation
from services.simulator.recording import ALL, Setup, write_simulation
from tests.collector.folders import S
from tests.collector.stage import KINDS

SOURCE = parse_source("simulated@1,seed=5,interval=300,underlyings=1")
SETUP = Setup(days=3, seed=5, interval_s=300, underlyings=ALL[:1])
START = SIMULATION_START_NS


class Run:
    """A simulation of a test, and what it reported."""

    def __init__(self, root: Path, source: Source = SOURCE) -> None:
        self.stop = threading.Event()
        self.reasons: list[str | None] = []
        self.simulation = Simulation(root, source, stop=self.stop, report=self.reasons.append)

    def instants(self, *, after_ns: int) -> Iterator[Instant | None]:
        """Play behind `after_ns`."""
        return instants(self.simulation.pieces(after_ns), after_ns=after_ns)

    def upto(self, end_ns: int, *, after_ns: int = -1) -> list[bytes]:
        """Return the bodies of the events in (after_ns, end_ns)."""
        found: list[bytes] = []
        for instant in self.instants(after_ns=after_ns):
            if instant is not None:
                if instant.ts_ns >= end_ns:
                    break
                found += [body(e) for events in instant.events.values() for e in events]
        return found

    def close(self) -> None:
        """Stop it."""
        self.stop.set()
        self.simulation.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(root: Path) -> Iterator[Run]:
    made = Run(root)
    yield made
    made.close()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return the events of three simulated days as an import stores them."""
    folder = tmp_path_factory.mktemp("simulated")
    write_simulation(folder / "recording", SETUP)
    import_recording(folder / "recording", folder / "data")
    return list(Archive(folder / "data").scan(KINDS, end_ns=TIME_MAX_NS))


def between(events: list[Any], after_ns: int, end_ns: int) -> list[bytes]:
    return [body(event) for event in events if after_ns < event.ts_ns < end_ns]


TWO_DAYS = START + 2 * DAY_NS + HOUR_NS
"""Behind the second midnight: the last results of a day become known in the next one."""


@pytest.mark.slow
def test_the_events_are_those_of_an_import_of_the_whole(run: Run, imported: list[Any]) -> None:
    assert run.upto(TWO_DAYS) == between(imported, -1, TWO_DAYS)
    assert run.reasons[-1] is None


@pytest.mark.slow
def test_midnight_makes_no_gap_that_was_none(run: Run, imported: list[Any]) -> None:
    assert any(isinstance(event, Gap) for event in imported), "there are gaps to be wrong about"
    played = [e for e in run.upto(TWO_DAYS) if b'"type":"Gap"' in e]
    assert played == [body(e) for e in imported if isinstance(e, Gap) and e.ts_ns < TWO_DAYS]


@pytest.mark.slow
@pytest.mark.parametrize(
    "after_ns",
    [
        START - 10 * DAY_NS,
        START + 5 * HOUR_NS + 123,
        START + 6 * HOUR_NS,
        START + DAY_NS - 1,
        START + DAY_NS + 30 * 10**9,
        START + DAY_NS + LATE_NS,
    ],
)
def test_it_goes_on_behind_any_instant(run: Run, imported: list[Any], after_ns: int) -> None:
    end_ns = max(after_ns, START) + 2 * HOUR_NS
    assert run.upto(end_ns, after_ns=after_ns) == between(imported, after_ns, end_ns)


@pytest.mark.slow
def test_a_price_that_becomes_known_behind_midnight_is_played(tmp_path: Path, root: Path) -> None:
    """Below ten seconds every second has a price, also the last one of a day."""
    write_simulation(tmp_path / "whole", replace(SETUP, days=2, interval_s=5))
    midnight_ns = START + DAY_NS
    span = [("ts_ns", ">", midnight_ns - 5 * S), ("ts_ns", "<", midnight_ns + 5 * S)]
    prices = pq.read_table(tmp_path / "whole/spot.parquet", filters=span).to_pylist()
    run = Run(root, replace(SOURCE, interval_s=5))
    played = run.upto(midnight_ns + 5 * S, after_ns=midnight_ns - 5 * S)
    run.close()
    found = [decode(text) for text in played]
    spots = [(e.ts_ns, e.last_usd) for e in found if isinstance(e, SpotSnapshot)]
    assert spots == [(row["ts_ns"], row["price_usd"]) for row in prices]
    assert any(midnight_ns <= ts_ns < midnight_ns + S for ts_ns, _ in spots)


@pytest.mark.slow
def test_what_has_been_played_is_removed_and_tomorrow_is_drawn_ahead(run: Run) -> None:
    for instant in run.instants(after_ns=START + 3 * DAY_NS + HOUR_NS):
        if instant is not None:
            break
    folder = run.simulation.day_folder(1).parent
    for number in (1, 2):
        run.simulation.day_folder(number).mkdir()
    wait_for(lambda: run.simulation.day_folder(5).exists())
    wait_for(lambda: [p.name for p in sorted(folder.glob("day-*"))] == ["day-0004", "day-0005"])


def wait_for(holds: Any) -> None:
    """Look until it holds; the thread of the simulation is what is waited for."""
    pause = threading.Event()
    for _ in range(600):
        if holds():
            return
        pause.wait(0.05)
    raise AssertionError("it never came to hold")


def test_other_setups_are_removed(root: Path, run: Run) -> None:
    other = Run(root, replace(SOURCE, seed=6))
    kept = root / "simulator/notes"
    for folder in (other.simulation.day_folder(1), kept):
        folder.mkdir(parents=True)
    next(run.simulation.pieces(-1))
    assert not other.simulation.day_folder(1).parent.exists()
    assert kept.exists()


def test_while_a_day_is_drawn_there_is_a_reason(run: Run) -> None:
    assert list(islice(run.simulation.pieces(-1), 1)) == [None]
    assert run.reasons == ["waiting for the simulator: it draws day-0001"]


@pytest.mark.slow
def test_a_failing_child_is_tried_again_with_its_reason(root: Path, run: Run) -> None:
    states = run.simulation.day_folder(1).parent / "states"
    states.parent.mkdir(parents=True)
    states.write_text("in the way")
    pieces = run.simulation.pieces(-1)
    for piece in pieces:
        assert piece is None
        if "failed" in (run.reasons[-1] or ""):
            break
    assert "day 1 failed (exit 4: cannot write" in (run.reasons[-1] or "")
    assert "next try in" in (run.reasons[-1] or "")
    states.unlink()
    assert next(piece for piece in pieces if piece is not None).end_ns == START + HOUR_NS
    assert run.reasons[-1] is None


@pytest.mark.slow
def test_a_damaged_day_is_drawn_again(run: Run, imported: list[Any]) -> None:
    run.upto(START + HOUR_NS)
    run.close()
    again = Run(run.simulation.day_folder(1).parent.parent.parent)
    path = again.simulation.day_folder(1) / "quotes.parquet"
    path.write_bytes(path.read_bytes()[:1_000])
    assert again.upto(START + HOUR_NS) == between(imported, -1, START + HOUR_NS)
    again.close()


def test_an_archive_beyond_the_simulation_is_one_clear_line(run: Run) -> None:
    with pytest.raises(UnavailableError, match="ends after 3660 days"):
        next(run.simulation.pieces(START + SIMULATION_DAYS_MAX * DAY_NS + LATE_NS))


def test_the_stop_sign_ends_the_child(root: Path) -> None:
    run = Run(root, replace(SOURCE, interval_s=1, underlyings=ALL))
    pieces = run.simulation.pieces(-1)
    next(pieces)
    wait_for(lambda: children("--out", str(root)))
    run.stop.set()
    assert next(pieces, None) is None
    run.simulation.close()
    assert not children("--out", str(root))


def children(*words: str) -> list[str]:
    """Return the command lines of running processes that hold all `words`."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc to see processes in")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if all(word in line for word in words)]


@pytest.mark.slow
def test_a_day_is_read_by_the_hour_whatever_its_row_groups(run: Run, imported: list[Any]) -> None:
    run.upto(START + HOUR_NS)
    folder = run.simulation.day_folder(1)
    for name in ("markets", "quotes", "spot"):
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=1_000_000)
    run.close()
    again = Run(folder.parent.parent.parent)
    end_ns = START + 3 * HOUR_NS
    assert again.upto(end_ns) == between(imported, -1, end_ns)
    again.close()
    shutil.rmtree(folder)
