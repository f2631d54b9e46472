"""When to train: by time, by resolutions, and never before a verdict can be positive."""

from dataclasses import replace

import pytest

from services.trainer.gate import GatePolicy
from services.trainer.schedule import HOUR_NS, Pace, Standing, due, need

POLICY = GatePolicy()
PACE = Pace(every_h=24.0, resolutions=500)
READY = Standing(now_ns=100 * HOUR_NS, last_ns=99 * HOUR_NS, resolutions=0, windows=400, hours=99)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, None),
        ({"last_ns": 76 * HOUR_NS}, "schedule"),
        ({"last_ns": 76 * HOUR_NS + 1}, None),
        ({"resolutions": 500}, "resolutions"),
        ({"resolutions": 499}, None),
        ({"resolutions": 500, "windows": 167}, "resolutions"),
        ({"resolutions": 500, "windows": 166}, None),
        ({"resolutions": 500, "hours": 67}, "resolutions"),
        ({"resolutions": 500, "hours": 66}, None),
        ({"last_ns": 0, "hours": 66}, None),
        ({"resolutions": 500, "hours": 42, "windows": 100, "has_champion": True}, "resolutions"),
        ({"resolutions": 500, "hours": 41, "windows": 100, "has_champion": True}, None),
        ({"resolutions": 500, "hours": 42, "windows": 99, "has_champion": True}, None),
    ],
)
def test_a_run_is_due(changes: dict[str, int], cause: str | None) -> None:
    assert due(replace(READY, **changes), PACE, POLICY) == cause


def test_what_is_needed_follows_the_gate() -> None:
    strict = replace(POLICY, windows_min=600, blocks_min=60)
    assert need(strict, has_champion=False).windows == 1_000
    assert need(strict, has_champion=False).hours == 100
    assert need(strict, has_champion=True).windows == 600
