"""A recording has the import format, repeats byte for byte, and never mixes two simulations."""

import json
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libs.common.checks import ArchiveError, UsageError
from services.simulator import recording
from services.simulator.recording import FILES, Counts, Setup, write_simulation
from services.simulator.tables import SCHEMAS

NS_PER_S = 1_000_000_000
MIDNIGHT_NS = 1_780_272_000 * NS_PER_S  # 2026-06-01, the default first day


def digests(directory: Path) -> dict[str, str]:
    return {name: sha256((directory / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture(scope="module")
def one_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    directory = tmp_path_factory.mktemp("one") / "recording"
    return directory, write_simulation(directory, Setup(days=1, seed=5, edge=1.0))


def test_files_have_the_columns_and_types_of_the_import_format(
    one_day: tuple[Path, Counts],
) -> None:
    directory, counts = one_day
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    for name in FILES:
        assert pq.read_schema(directory / name).remove_metadata() == SCHEMAS[name]
    rows = {name: pq.read_metadata(directory / name).num_rows for name in FILES}
    assert rows["markets.parquet"] == counts.markets == 3 * (96 + 288 + 24)
    assert rows["quotes.parquet"] == rows["truth.parquet"] == counts.quotes
    assert rows["spot.parquet"] == counts.spot


def test_values_are_finite_and_within_the_bounds_of_an_import(
    one_day: tuple[Path, Counts],
) -> None:
    directory, _ = one_day
    markets, quotes = (pq.read_table(directory / f"{n}.parquet") for n in ("markets", "quotes"))
    for name in ("strike_usd", "settlement_usd"):
        values = markets.column(name).to_numpy()
        assert np.isfinite(values).all() and (values > 0).all()
    assert set(markets.column("result").to_pylist()) == {"yes", "no"}
    for side in ("bids", "asks"):
        prices = quotes.column(f"yes_{side}_price").combine_chunks()
        sizes = quotes.column(f"yes_{side}_size").combine_chunks()
        assert prices.offsets.equals(sizes.offsets)
        flat = prices.values.to_numpy()
        assert ((flat > 0) & (flat < 1)).all()
        assert np.abs(flat * 10_000 - np.round(flat * 10_000)).max() < 1e-8
        size = sizes.values.to_numpy()
        assert (size >= 0.01).all() and np.abs(size * 100 - np.round(size * 100)).max() < 1e-6
        assert np.diff(prices.offsets.to_numpy()).max() == 5


def test_quotes_are_on_the_grid_and_inside_their_markets_life(
    one_day: tuple[Path, Counts],
) -> None:
    directory, _ = one_day
    quotes = pq.read_table(directory / "quotes.parquet", columns=["ts_ns", "market"])
    life = {
        row["market"]: (row["open_ns"], row["close_ns"])
        for row in pq.read_table(directory / "markets.parquet").to_pylist()
    }
    ts_ns = quotes.column("ts_ns").to_numpy()
    assert (np.diff(ts_ns) >= 0).all()
    assert (ts_ns % (10 * NS_PER_S)).max() < 12_000_000
    bounds = np.array([life[name] for name in quotes.column("market").to_pylist()])
    assert ((bounds[:, 0] <= ts_ns) & (ts_ns < bounds[:, 1])).all()


def test_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_simulation(tmp_path / name, Setup(days=1, seed=seed, interval_s=60))
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert all(first[name] != other[name] for name in FILES)


def test_equal_settings_written_otherwise_make_the_same_bytes(tmp_path: Path) -> None:
    names = ("BTC-USD", "ETH-USD")
    write_simulation(
        tmp_path / "a", Setup(days=1, seed=5, interval_s=300, edge=1, underlyings=names)
    )
    write_simulation(
        tmp_path / "b", Setup(days=1, seed=5, interval_s=300, edge=1.0, underlyings=names[::-1])
    )
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_fewer_days_are_the_beginning_of_more(tmp_path: Path) -> None:
    for days in (1, 3):
        write_simulation(tmp_path / str(days), Setup(days=days, seed=5, interval_s=60, edge=0.5))
    for name in FILES:
        short, long = (pq.read_table(tmp_path / days / name) for days in ("1", "3"))
        assert long.num_rows > 2 * short.num_rows
        assert long.slice(0, short.num_rows).equals(short)


def test_markets_chain_over_the_days_of_a_recording(tmp_path: Path) -> None:
    write_simulation(tmp_path / "r", Setup(days=2, seed=5, interval_s=300))
    rows = pq.read_table(tmp_path / "r/markets.parquet").to_pylist()
    for series in ("KXBTC15M", "sol-updown-5m"):
        chain = [row for row in rows if row["series"] == series]
        assert all(b["strike_usd"] == a["settlement_usd"] for a, b in pairwise(chain))
        assert all(a["close_ns"] == b["open_ns"] for a, b in pairwise(chain))


def test_start_shifts_time_only(tmp_path: Path, one_day: tuple[Path, Counts]) -> None:
    write_simulation(tmp_path / "r", Setup(days=1, seed=5, edge=1.0, start=date(2027, 1, 15)))
    shift_ns = (date(2027, 1, 15) - recording.START).days * 86_400 * NS_PER_S
    for name in FILES:
        here, there = (pq.read_table(d / name) for d in (one_day[0], tmp_path / "r"))
        for column in here.column_names:
            if column.endswith("_ns"):
                moved = there.column(column).to_numpy() - here.column(column).to_numpy()
                assert (moved == shift_ns).all()
            elif column != "market":
                assert here.column(column).equals(there.column(column))


def test_an_underlying_alone_is_recorded_as_in_company(
    tmp_path: Path, one_day: tuple[Path, Counts]
) -> None:
    write_simulation(tmp_path / "r", Setup(days=1, seed=5, edge=1.0, underlyings=("ETH-USD",)))
    alone = pq.read_table(tmp_path / "r/spot.parquet")
    company = pq.read_table(one_day[0] / "spot.parquet", filters=[("underlying", "=", "ETH-USD")])
    assert alone.to_pylist() == company.to_pylist()


def test_recorder_has_outages_of_all_feeds_and_single_misses(
    one_day: tuple[Path, Counts],
) -> None:
    directory, counts = one_day
    quotes = pq.read_table(directory / "quotes.parquet", columns=["ts_ns"])
    instants = np.unique(quotes.column("ts_ns").to_numpy() // (10 * NS_PER_S))
    spot = pq.read_table(directory / "spot.parquet", filters=[("underlying", "=", "BTC-USD")])
    ts_ns = spot.column("ts_ns").to_numpy()
    silent_s = np.diff(ts_ns) / NS_PER_S
    gaps = np.flatnonzero(silent_s > 10)
    assert 0 < len(gaps) < 12 and 10 < silent_s[gaps].sum() < 1_500
    for i in gaps:
        inside = (instants * 10 * NS_PER_S > ts_ns[i] + NS_PER_S) & (
            instants * 10 * NS_PER_S < ts_ns[i + 1] - 3 * NS_PER_S
        )
        assert not inside.any()
    missed = 1 - counts.quotes / (9 * len(instants))
    assert 0.001 < missed < 0.003


def test_spot_comes_in_time_for_every_print_of_a_last_minute(
    one_day: tuple[Path, Counts],
) -> None:
    spot = pq.read_table(one_day[0] / "spot.parquet", filters=[("underlying", "=", "BTC-USD")])
    ts_ns = spot.column("ts_ns").to_numpy()
    prints_ns = MIDNIGHT_NS + np.arange(10, 86_400, dtype=np.int64) * NS_PER_S
    age_s = (prints_ns - ts_ns[np.searchsorted(ts_ns, prints_ns, side="right") - 1]) / NS_PER_S
    assert (age_s <= 2).mean() > 0.98  # the rest lies in outages
    assert (ts_ns % NS_PER_S % 1_000_000 == 0).all() and (np.diff(ts_ns) > 0).all()


@pytest.mark.parametrize(("interval_s", "step_s"), [(1, 1), (5, 1), (15, 1), (10, 2), (60, 2)])
def test_spot_is_told_more_often_for_finer_samples(interval_s: int, step_s: int) -> None:
    assert recording._spot_step_s(interval_s) == step_s


def test_progress_is_told_after_each_day(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_simulation(
        tmp_path / "r",
        Setup(days=2, seed=5, interval_s=300),
        progress=lambda *now: told.append(now),
    )
    assert told == [(1, 2), (2, 2)]


def test_an_earlier_simulation_is_replaced(tmp_path: Path) -> None:
    for seed in (5, 6):
        write_simulation(tmp_path / "r", Setup(days=1, seed=seed, interval_s=300))
    write_simulation(tmp_path / "s", Setup(days=1, seed=6, interval_s=300))
    assert digests(tmp_path / "r") == digests(tmp_path / "s")


def foreign_text(directory: Path) -> None:
    (directory / "notes.txt").write_text("mine")


def foreign_recording(directory: Path) -> None:
    pq.write_table(pa.table({"ts_ns": [1]}), directory / "quotes.parquet")


def damaged_recording(directory: Path) -> None:
    (directory / "markets.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize("put", [foreign_text, foreign_recording, damaged_recording])
def test_a_folder_with_anything_else_is_refused_and_left_alone(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    put(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="no simulation wrote"):
        write_simulation(tmp_path, Setup(days=1, seed=5, interval_s=300))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"days": 0}, "days 0"),
        ({"seed": -1}, "seed -1"),
        ({"interval_s": 7}, "interval-s 7"),
        ({"interval_s": 0}, "interval-s 0"),
        ({"edge": float("nan")}, "edge nan"),
        ({"edge": -0.5}, "edge -0.5"),
        ({"underlyings": ("DOGE-USD",)}, "DOGE-USD"),
        ({"underlyings": ()}, "underlyings"),
        ({"underlyings": ("BTC-USD", "BTC-USD")}, "underlyings"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    settings: dict[str, Any] = {"days": 1, "seed": 5, **change}
    with pytest.raises(UsageError, match=named):
        write_simulation(tmp_path / "r", Setup(**settings))
    assert not (tmp_path / "r").exists()


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"days 0.*seed -1"):
        write_simulation(tmp_path / "r", Setup(days=0, seed=-1))


def test_a_path_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_simulation(tmp_path / "file", Setup(days=1, seed=5))
    with pytest.raises(ArchiveError, match="cannot write the simulation"):
        write_simulation(tmp_path / "file" / "r", Setup(days=1, seed=5))


def test_a_run_that_dies_leaves_the_earlier_simulation_whole(tmp_path: Path) -> None:
    write_simulation(tmp_path / "r", Setup(days=1, seed=5, interval_s=300))
    before = digests(tmp_path / "r")

    def stop(done: int, days: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulation(tmp_path / "r", Setup(days=2, seed=6, interval_s=300), progress=stop)
    assert digests(tmp_path / "r") == before
    write_simulation(tmp_path / "r", Setup(days=1, seed=5, interval_s=300))
    assert digests(tmp_path / "r") == before
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == sorted(FILES)


def test_settings_stand_in_the_files(one_day: tuple[Path, Counts]) -> None:
    for name in FILES:
        mark = (pq.read_schema(one_day[0] / name).metadata or {})[b"hawk_simulation"]
        assert json.loads(mark)["seed"] == 5 and json.loads(mark)["edge"] == 1.0


def test_a_swap_that_stops_half_way_leaves_no_markets_to_import(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    write_simulation(directory, Setup(days=1, seed=5, interval_s=300))
    part = tmp_path / "part"
    write_simulation(part, Setup(days=1, seed=6, interval_s=300))
    (part / "spot.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        recording._swap(part, directory)
    assert not (directory / "markets.parquet").exists()
    # What is left is still known as a simulation's own and may be replaced.
    write_simulation(directory, Setup(days=1, seed=6, interval_s=300))
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
