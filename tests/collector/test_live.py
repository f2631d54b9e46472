"""The live collector as a process, on simulated venues: what it refuses, and what it leaves behind.

The strongest sentence is in `TestCapture`: what a faulty world let arrive, imported from the raw
capture, gives the rows that were recorded live, byte for byte.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.wire_faults import Run
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.events import Event, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot, body
from services.collector.capture_import import KINDS, CaptureImported, import_captures

SPEED = 10.0
START = "2026-03-02T13:57:40Z"
"""So that windows of five and of fifteen minutes end, and an hour, while it runs."""

WAIT_S_MAX = 120.0
FAULTS = (
    ("sequence_gap", "all", 25.0),
    ("reorder", "all", 15.0),
    ("duplicate", "all", 15.0),
    ("drop", "kalshi", 4.0),
    ("drop", "coinbase", 4.0),
    ("schema_change", "polymarket", 6.0),
    ("big_snapshot", "coinbase", 60.0),
)


def stored(root: Path) -> dict[str, Event]:
    """Return the rows of an archive by id."""
    kinds: dict[type[Event], int] = dict.fromkeys(KINDS, 0)
    return {event.id: event for event in Archive(root).scan(kinds, end_ns=TIME_MAX_NS)}


def recorded(root: Path, kind: type[Event]) -> list[Event]:
    """Return the rows of one kind so far."""
    if not (root / "archive").is_dir():
        return []
    return list(Archive(root).scan({kind: 0}, end_ns=TIME_MAX_NS))


def waited(is_true: Callable[[], bool]) -> None:
    """Wait until something is true; how long it takes depends on the machine."""
    end_s = time.monotonic() + WAIT_S_MAX
    while not is_true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A recording with captures that was stopped after a Kalshi market had its result."""
    run = Run(tmp_path_factory.mktemp("live"), speed=SPEED, seed=3, start=START)
    try:
        run.start_simulator()
        run.start_collector(HAWK_CAPTURE="true")
        waited(lambda: len(recorded(run.root, QuoteSnapshot)) > 60)
        for fault in FAULTS:
            run.hurt(*fault)
        waited(lambda: any(e.venue == "kalshi" for e in recorded(run.root, Resolution)))
        waited(lambda: len({e.ts_ns // HOUR_NS for e in recorded(run.root, SpotSnapshot)}) > 1)
    finally:
        code = run.stop()
    assert code == 0
    yield run


@pytest.fixture(scope="module")
def imported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CaptureImported]:
    """A new archive made from the captures alone, and what the import counted."""
    root = tmp_path_factory.mktemp("imported")
    return root, import_captures(sorted((run.root / "captures").iterdir()), root)


class TestCapture:
    def test_captures_of_a_faulty_day_give_the_archive_that_was_recorded_live(
        self, run: Run, imported: tuple[Path, CaptureImported]
    ) -> None:
        live, again = stored(run.root), stored(imported[0])
        begin_ns = min(e.ts_ns for e in live.values() if isinstance(e, SpotSnapshot))
        missing = [e for id_, e in live.items() if id_ not in again]
        # An import does not miss an underlying that the capture has not shown yet.
        assert all(
            isinstance(e, Gap) and e.feed == "spot" and e.end_ns < begin_ns for e in missing
        ), missing[:3]
        assert not [e for id_, e in again.items() if id_ not in live]
        assert [id_ for id_ in again if body(live[id_]) != body(again[id_])] == []

    def test_it_was_faulty_and_had_everything_in_it(
        self, run: Run, imported: tuple[Path, CaptureImported]
    ) -> None:
        kinds = {type(event) for event in stored(run.root).values()}
        assert kinds == {Market, Resolution, Gap, SpotSnapshot, QuoteSnapshot}
        counted = imported[1]
        assert counted.gaps > 0 and counted.rejected.get("wrong_shape", 0) > 0
        assert len(list((run.root / "captures").iterdir())) == 2
