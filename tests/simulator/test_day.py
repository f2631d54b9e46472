"""A single day is that day of the whole simulation, however one came to it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from libs.common import durable
from libs.common.checks import ArchiveError, UsageError
from services.simulator.day import STATES_KEPT, write_day
from services.simulator.recording import ALL, FILES, Setup, write_simulation

DAYS = 3
# An odd interval has a price at every second, so also one that becomes known behind midnight.
SETUP = Setup(days=DAYS, seed=11, interval_s=75, edge=1.0, underlyings=ALL[:2])
DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "recording"
    write_simulation(directory, SETUP)
    return directory


def rows_of_day(whole: Path, number: int, name: str) -> list[dict[str, object]]:
    """Return the rows that were drawn with day `number`: a day's spot ends just behind midnight."""
    midnight_ns = 1_780_272_000 * 10**9 + (number - 1) * DAY_NS
    rows = pq.read_table(whole / name).to_pylist()
    key = "open_ns" if name == "markets.parquet" else "ts_ns"
    late_ns = 10**9 if name == "spot.parquet" else 0
    first, end = midnight_ns + late_ns * (number > 1), midnight_ns + DAY_NS + late_ns
    return [row for row in rows if first <= row[key] < end]


def read(directory: Path, name: str) -> list[dict[str, object]]:
    return list(pq.read_table(directory / name).to_pylist())


def same_as_whole(directory: Path, whole: Path, number: int) -> bool:
    return all(read(directory, name) == rows_of_day(whole, number, name) for name in FILES)


def test_each_day_has_the_rows_of_the_whole(tmp_path: Path, whole: Path) -> None:
    for number in range(1, DAYS + 1):
        counts = write_day(tmp_path / f"d{number}", SETUP, number, states=tmp_path / "states")
        assert counts is not None and counts.markets == 2 * (96 + 288 + 24)
        assert same_as_whole(tmp_path / f"d{number}", whole, number)


def test_a_day_that_no_state_leads_to_is_walked_to(tmp_path: Path, whole: Path) -> None:
    write_day(tmp_path / "d3", SETUP, 3, states=tmp_path / "states")
    assert same_as_whole(tmp_path / "d3", whole, 3)


def test_a_kept_state_is_what_the_next_day_begins_with(tmp_path: Path, whole: Path) -> None:
    states = tmp_path / "states"
    write_day(tmp_path / "d2", SETUP, 2, states=states)
    content = dict(np.load(states / "day-0002.npz"))
    content["index_usd"] = content["index_usd"] + 1_000.0
    np.savez(states / "day-0002.npz", **content)
    write_day(tmp_path / "d3", SETUP, 3, states=states)
    assert not same_as_whole(tmp_path / "d3", whole, 3)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "another seed", "flipped"])
def test_a_state_that_is_damaged_or_another_s_is_not_used(
    tmp_path: Path, whole: Path, damage: str
) -> None:
    states = tmp_path / "states"
    other = Setup(days=1, seed=12, interval_s=75, underlyings=ALL[:2])
    write_day(tmp_path / "d2", other if damage == "another seed" else SETUP, 2, states=states)
    path = states / "day-0002.npz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:10_000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no array")
    elif damage == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    write_day(tmp_path / "d3", SETUP, 3, states=states)
    assert same_as_whole(tmp_path / "d3", whole, 3)


def test_only_the_last_states_are_kept(tmp_path: Path) -> None:
    setup = Setup(days=1, seed=11, interval_s=300, underlyings=ALL[:1])
    for number in range(1, STATES_KEPT + 3):
        write_day(tmp_path / f"d{number}", setup, number, states=tmp_path / "states")
    kept = sorted(path.name for path in (tmp_path / "states").glob("*.npz"))
    assert kept == [f"day-{number:04d}.npz" for number in range(3, STATES_KEPT + 3)]


def test_a_day_that_is_there_is_left_alone(tmp_path: Path) -> None:
    setup = Setup(days=1, seed=11, interval_s=300, underlyings=ALL[:1])
    assert write_day(tmp_path / "d1", setup, 1, states=tmp_path / "states") is not None
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "d1").iterdir()}
    assert write_day(tmp_path / "d1", setup, 1, states=tmp_path / "states") is None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "d1").iterdir()} == before


@pytest.mark.parametrize("number", [0, -1, 3_661])
def test_a_day_that_cannot_be_is_a_usage_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(UsageError, match=f"day {number}: 1 to 3660"):
        write_day(tmp_path / "d", SETUP, number, states=tmp_path / "states")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match="cannot write day 1 of the simulation"):
        write_day(tmp_path / "file/d1", SETUP, 1, states=tmp_path / "states")
    assert not list(tmp_path.glob(f"**/{durable.TEMPORARY_PREFIX}*"))


def test_a_state_that_cannot_be_written_leaves_no_half_day(tmp_path: Path) -> None:
    (tmp_path / "states/day-0001.npz/in-its-place").mkdir(parents=True)
    with pytest.raises(ArchiveError, match="day-0001"):
        write_day(tmp_path / "d1", SETUP, 1, states=tmp_path / "states")
    assert [p.name for p in tmp_path.iterdir()] == ["states"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.simulator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_a_day_and_says_its_counts(tmp_path: Path, whole: Path) -> None:
    place = ["--out", str(tmp_path / "d2"), "--states", str(tmp_path / "states")]
    setup = ["--seed", "11", "--edge", "1.0", "--interval-s", "75", "--underlyings", "2"]
    done = run(*place, "--day", "2", *setup)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["quotes"] == len(read(tmp_path / "d2", "quotes.parquet"))
    assert same_as_whole(tmp_path / "d2", whole, 2)


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    place = ["--out", str(tmp_path / "d"), "--states", str(tmp_path / "states")]
    done = run(*place, "--day", "1", "--seed", "1", "--edge", "9")
    assert done.returncode == 2
    assert done.stderr == "simulate: edge 9.0: 0 to 4\n"


KILLED_AT_A_STEP = """
import os, signal, sys
from pathlib import Path
from libs.common import durable
from services.simulator.day import write_day
from services.simulator.recording import ALL, Setup
def die(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
durable.on_step = die
setup = Setup(days=1, seed=11, interval_s=300, underlyings=ALL[:1])
write_day(Path(sys.argv[1]) / "d1", setup, 1, states=Path(sys.argv[1]) / "states")
"""


def test_a_kill_leaves_no_day_and_the_next_run_draws_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_A_STEP, str(tmp_path), "state.after_write"]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "d1").exists()
    setup = Setup(days=1, seed=11, interval_s=300, underlyings=ALL[:1])
    assert write_day(tmp_path / "d1", setup, 1, states=tmp_path / "states") is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d1", "states"]
