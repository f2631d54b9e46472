"""A recording as it would have been earlier: nothing of what became known later."""

from pathlib import Path

import pyarrow.parquet as pq

from libs.common.archive import HOUR_NS
from services.collector.instants import Piece, instants
from services.collector.judgement import judge
from services.collector.recording import read_recording
from services.console.output import parse_time
from services.console.recording_cut import cut_recording, end_of_recording
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


def test_both_parts_together_are_the_whole(world: Path, tmp_path: Path) -> None:
    source = world.parent / "recording"
    cut_recording(source, tmp_path / "past", CUT_NS)
    end_of_recording(source, tmp_path / "end", CUT_NS)
    for name in ("quotes", "spot"):
        parts = [pq.read_table(tmp_path / part / f"{name}.parquet") for part in ("past", "end")]
        rows = parts[0].to_pylist() + parts[1].to_pylist()
        assert rows == pq.read_table(source / f"{name}.parquet").to_pylist()
    markets = pq.read_table(tmp_path / "end/markets.parquet").to_pylist()
    assert markets
    assert all(market["close_ns"] >= CUT_NS for market in markets)


def test_the_end_played_behind_the_first_part_gives_what_the_whole_gives(
    world: Path, tmp_path: Path
) -> None:
    source = world.parent / "recording"
    end_of_recording(source, tmp_path / "end", CUT_NS - HOUR_NS)
    events = []
    for folder in (source, tmp_path / "end"):
        kinds = judge(read_recording(folder)).kinds
        events.append([i.events for i in instants([Piece(kinds)], after_ns=CUT_NS) if i])
    assert events[0] == events[1]
    assert len(events[0]) > 1_000
