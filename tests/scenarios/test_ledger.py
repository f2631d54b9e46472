"""The trader's ledger after twenty SIGKILLs equals the one of a trader that nobody killed."""

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checkpoint import read_checkpoint
from libs.common.events import Event, Fill, Order, Settlement, Skip, body
from tests.scenarios.test_crashes import World, folder, one_hour

KILLS = 20
KILLED = 9
STEPS_MAX = 60

__all__ = ["folder", "one_hour"]


@pytest.fixture
def untouched(folder: Path, one_hour: list[Event]) -> Iterator[Path]:
    """An archive with snapshots and forecasts, and no trace of a trader."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        World(root, one_hour, seed=0, is_calm=True).run()
        shutil.rmtree(root / "ledger")
        shutil.rmtree(root / "archive/journal/trader")
        for kind in ("order", "fill", "skip", "settlement"):
            shutil.rmtree(root / "archive" / kind, ignore_errors=True)
        yield root


def outputs(root: Path) -> list[bytes]:
    types: dict[type[Event], int] = {Order: 0, Fill: 0, Skip: 0, Settlement: 0}
    return [body(event) for event in Archive(root).scan(types, end_ns=TIME_MAX_NS)]


def test_the_ledger_survives_twenty_kills_to_the_last_unit(untouched: Path) -> None:
    calm, killed = untouched.with_name("calm"), untouched.with_name("killed")
    for copy in (calm, killed):
        shutil.copytree(untouched, copy)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.scenarios.trade"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin and server.stdout

        def trade(root: Path, nth: int) -> int:
            assert server.stdin and server.stdout
            server.stdin.write(f"{root} {nth}\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        assert trade(calm, 0) == 0
        chance = random.Random(7)
        deaths = 0
        for _ in range(KILLS * 3):
            deaths += trade(killed, chance.randrange(1, STEPS_MAX)) == KILLED
            if deaths == KILLS:
                break
        assert deaths == KILLS
        assert trade(killed, 0) == 0
        server.stdin.close()
    ledgers = [read_checkpoint(root) for root in (calm, killed)]
    assert ledgers[0] and ledgers[1]
    assert bytes(ledgers[0].trader) == bytes(ledgers[1].trader)
    assert outputs(calm) == outputs(killed)
    fills = [e for e in Archive(calm).scan({Fill: 0}, end_ns=TIME_MAX_NS) if isinstance(e, Fill)]
    assert len(fills) > 10
