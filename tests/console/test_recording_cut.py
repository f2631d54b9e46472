"""A recording as it would have been earlier: nothing of what became known later."""

from pathlib import Path

import pyarrow.parquet as pq

from services.console.output import parse_time
from services.console.recording_cut import cut_recording
from tests.console.test_replaying import truncate

CUT_NS = parse_time("2026-06-01T09:41:13Z") or 0


def test_what_became_known_later_is_gone(world: Path, tmp_path: Path) -> None:
    cut_recording(world.parent / "recording", tmp_path / "past", CUT_NS)
    for name in ("quotes", "spot"):
        times = pq.read_table(tmp_path / f"past/{name}.parquet")["ts_ns"].to_pylist()
        assert times
        assert max(times) < CUT_NS
    markets = pq.read_table(tmp_path / "past/markets.parquet").to_pylist()
    assert all(market["open_ns"] < CUT_NS for market in markets)
    for known, name in (("strike_known_ns", "strike_usd"), ("result_known_ns", "result")):
        told = {m[known] < CUT_NS for m in markets if m[name] is not None}
        assert told == {True}
    assert any(market["result"] is None for market in markets)


def test_it_is_what_the_replay_tests_cut_by_hand(world: Path, tmp_path: Path) -> None:
    cut_recording(world.parent / "recording", tmp_path / "one", CUT_NS)
    truncate(world.parent / "recording", tmp_path / "two", CUT_NS)
    for name in ("markets", "quotes", "spot"):
        one, two = (pq.read_table(tmp_path / part / f"{name}.parquet") for part in ("one", "two"))
        assert one.to_pylist() == two.to_pylist()
