"""SIGKILL the live collector at random points of its life, again and again, on one data folder.

The venues go on meanwhile. Whatever was torn, the folder must be whole after each kill, and at the
end every market and tick has exactly one row or lies in a gap that the next life declared; what the
rows say is what stood at the venue.
"""

import json
import random
import time
from pathlib import Path

import pytest

from benchmarks.wire_faults import Run
from benchmarks.wire_truth import Checked
from services.console.verification import verify

SEED = 5
LIFE_S_MAX = 5.0
"""From one kill to the next, wall time. A life of its own begins after about two seconds, so that
a third of all kills hit the start: reading the archive, repairing a journal, first connections."""

NEVER = ("unexplained", "duplicates", "doubled", "strikes_wrong", "resolutions_wrong")
ROWS_MIN = 100


def killed(folder: Path, kills: int, *, speed: float, look_every: int) -> Checked:
    """Kill so many collectors, let the last live and stop; hold what they leave to the truth."""
    chance = random.Random(SEED)
    run = Run(folder, speed=speed, seed=SEED)
    try:
        run.start_simulator()
        for number in range(kills):
            run.start_collector()
            time.sleep(chance.uniform(0.05, LIFE_S_MAX))
            assert run.collector is not None
            assert run.collector.poll() is None, (folder / "collector.log").read_text()[-2_000:]
            run.collector.kill()
            run.collector.wait()
            if number % look_every == 0 and (run.root / "archive").is_dir():
                verdict = verify(run.root)
                assert verdict.ok, (number, verdict.fault)
        run.start_collector()
        time.sleep(2 * LIFE_S_MAX)
    finally:
        code = run.stop()
    assert code == 0
    verdict = verify(run.root)
    assert verdict.ok, verdict.fault
    return run.checked()


def is_true(found: Checked) -> None:
    """Hold what was found to what every kill must leave."""
    print(json.dumps(vars(found) | {"equality": found.equality}, indent=1, default=str))
    assert found.rows > ROWS_MIN and found.gaps["not_running"] > 0
    # A tick may fall between two texts of one change, see test_wire_faults.
    assert found.wrong <= max(1, 1e-4 * found.rows), found.examples
    assert {name: vars(found)[name] for name in NEVER} == dict.fromkeys(NEVER, 0), found.examples


@pytest.mark.slow
def test_twelve_kills_lose_only_what_is_declared(tmp_path: Path) -> None:
    is_true(killed(tmp_path, 12, speed=10.0, look_every=1))


@pytest.mark.soak
def test_two_hundred_kills_lose_only_what_is_declared(tmp_path: Path) -> None:
    is_true(killed(tmp_path, 200, speed=20.0, look_every=10))
