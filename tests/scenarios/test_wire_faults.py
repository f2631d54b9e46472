"""Everything goes wrong at the venues, one fault after another, while the collector records them.

Two minutes run with the other tests and are held to what no slow machine excuses: nothing is
missing without a reason, nothing is there twice, no book was recorded that never stood at the
venue. Half an hour of its own (marked soak) is held to shares and memory as well.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire_faults import (
    COVERAGE_MIN,
    EQUALITY_MIN,
    FAULT_EVERY_S,
    MEMORY_GROWTH_MAX,
    NEVER,
    record,
)
from services.console.verification import verify
from services.simulator.faults import FAULTS

SECONDS, SPEED, EVERY_S = 120.0, 8.0, 40.0
SOAK_SECONDS, SOAK_SPEED = 1_800.0, 20.0
UP_MIN = 500
"""Ticks that a run must have seen to say anything."""


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the log of a process; a traceback that is no line of it fails here."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def is_sound(found: dict[str, Any], folder: Path) -> None:
    """Hold a run to what must be true on any machine."""
    assert found["exit_code"] == 0
    assert [line for line in lines(folder / "collector.log") if line["level"] == "error"] == []
    assert found["up"] > UP_MIN and found["strikes"] > 0 and found["settlements"] > 0
    for count in NEVER:
        assert found[count] == 0, (count, found["examples"])
    verdict = verify(folder / "data")
    assert verdict.ok, verdict.fault


def seen_faults(truth: Path) -> set[str]:
    """Return the faults that were switched on."""
    told = (json.loads(line) for line in truth.read_text().splitlines() if '"fault_on"' in line)
    return {line["fault"] for line in told}


@pytest.mark.slow
def test_two_minutes_of_all_faults_leave_a_true_archive(tmp_path: Path) -> None:
    found = record(tmp_path, seconds=SECONDS, speed=SPEED, seed=1, fault_every_s=EVERY_S)
    print(json.dumps(found, indent=1, default=str))
    is_sound(found, tmp_path)
    assert seen_faults(tmp_path / "truth/truth.jsonl") == set(FAULTS)


@pytest.mark.soak
def test_half_an_hour_of_all_faults_keeps_every_promise(tmp_path: Path) -> None:
    found = record(
        tmp_path, seconds=SOAK_SECONDS, speed=SOAK_SPEED, seed=1, fault_every_s=FAULT_EVERY_S
    )
    print(json.dumps(found, indent=1, default=str))
    is_sound(found, tmp_path)
    assert found["coverage"] >= COVERAGE_MIN
    assert found["equality"] >= EQUALITY_MIN
    assert found["memory_growth"] <= MEMORY_GROWTH_MAX
