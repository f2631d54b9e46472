"""Import: what the format says is stored, the rest is counted, and twice changes nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import ArchiveError, UnavailableError
from libs.common.durable import TEMPORARY_PREFIX, writer_lock
from libs.common.events import Flag, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.sealing import hash_file
from services.collector.recording import Imported, import_recording
from tests.collector.folders import CLOSE_NS, OPEN_NS, S, market, quote, spot, write

KINDS: dict[Any, int] = {Market: 0, Resolution: 0, Gap: 0, SpotSnapshot: 0, QuoteSnapshot: 0}


def hashes(root: Path) -> dict[str, str]:
    paths = [p for p in sorted((root / "archive").rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hash_file(p) for p in paths}


def events(root: Path) -> list[Any]:
    return list(Archive(root).scan(KINDS, end_ns=TIME_MAX_NS))


def imported(tmp_path: Path, **rows: Any) -> tuple[Imported, list[Any]]:
    report = import_recording(write(tmp_path / "recording", **rows), tmp_path / "data")
    return report, events(tmp_path / "data")


def test_every_file_becomes_its_events(tmp_path: Path) -> None:
    report, found = imported(
        tmp_path, quotes=[quote(n) for n in range(900)], spots=[spot(n) for n in range(10)]
    )
    assert (report.markets, report.quotes, report.spot) == (1, 900, 10)
    assert (report.dropped, report.flagged) == ({}, {})
    assert report.new == len(found) == 900 + 10 + 3
    first = next(e for e in found if type(e) is QuoteSnapshot)
    assert first.yes_bids_price_e4 == (4900, 4800)
    assert first.yes_bids_size_e2 == (1000, 250)
    assert first.yes_asks_size_e2 == (700, 1)
    assert first.underlying == "BTC-USD"


def test_importing_twice_changes_no_byte(tmp_path: Path) -> None:
    rows = {"quotes": [quote(n) for n in range(0, 900, 7)], "spots": [spot(n) for n in range(99)]}
    one, _ = imported(tmp_path, **rows)
    before = hashes(tmp_path / "data")
    two, _ = imported(tmp_path, **rows)
    assert hashes(tmp_path / "data") == before
    assert two.new == 0
    assert (one.quotes, one.dropped, one.flagged) == (two.quotes, two.dropped, two.flagged)


def test_a_recording_in_two_overlapping_parts_holds_each_row_once(tmp_path: Path) -> None:
    rows = [quote(n) for n in range(900)]
    for part in (rows[:600], rows[300:]):
        imported(tmp_path, quotes=part)
    _, found = imported(tmp_path, quotes=rows)
    quotes = [e for e in found if type(e) is QuoteSnapshot]
    assert len(quotes) == len({e.id for e in quotes}) == 900


def test_rows_of_one_instant_are_numbered_from_zero_by_kind_then_id(tmp_path: Path) -> None:
    markets = [market(f"M-{n}") for n in range(1, 4)]
    quotes = [quote(0, market=f"M-{n}") for n in range(1, 4)]
    _, found = imported(tmp_path, markets=markets, quotes=quotes, spots=[spot(0)])
    instant = [e for e in found if e.ts_ns == OPEN_NS]
    assert [type(e) for e in instant] == [Market] * 3 + [SpotSnapshot] + [QuoteSnapshot] * 3
    assert [e.seq for e in instant] == list(range(7))
    for kind in (Market, QuoteSnapshot):
        ids = [e.id for e in instant if type(e) is kind]
        assert ids == sorted(ids)


def test_numbers_begin_anew_for_each_underlying(tmp_path: Path) -> None:
    spots = [spot(0), spot(0, underlying="ETH-USD"), spot(1)]
    _, found = imported(tmp_path, markets=[], spots=spots)
    assert [e.seq for e in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"yes_bids_price": [nan, 0.48]}, "not_finite"),
        ({"yes_asks_size": [inf, 1.0]}, "not_finite"),
        ({"yes_bids_price": [1.49, 0.48]}, "price_out_of_range"),
        ({"yes_asks_price": [-0.51, 0.52]}, "price_out_of_range"),
        ({"yes_bids_price": [0.49003, 0.48]}, "price_off_grid"),
        ({"yes_bids_size": [10.0012, 2.5]}, "size_off_grid"),
        ({"yes_bids_size": [-10.0, 2.5]}, "size_out_of_range"),
        ({"yes_bids_price": None}, "side_is_null"),
        ({"yes_bids_size": [10.0]}, "sizes_do_not_match_prices"),
        ({"yes_asks_price": [0.52, 0.51]}, "levels_not_best_first"),
        (
            {"yes_asks_price": [n / 10 for n in range(1, 7)], "yes_asks_size": []},
            "too_many_levels",
        ),
        ({"ts_ns": OPEN_NS - 1}, "outside_life"),
        ({"ts_ns": CLOSE_NS}, "outside_life"),
        ({"ts_ns": None}, "no_time"),
        ({"ts_ns": -(2**63)}, "outside_life"),
        ({"ts_ns": 2**63 - 1}, "outside_life"),
        ({"market": "M-9"}, "unknown_market"),
        ({"venue": "other"}, "unknown_market"),
        ({"market": None}, "unknown_market"),
        ({"market": "../" * 3000}, "unknown_market"),
        ({"ts_ns": OPEN_NS + 3 * S}, "duplicate"),
        ({"ts_ns": OPEN_NS + 3 * S, "yes_bids_size": [9.0, 2.5]}, "contradicts_earlier_row"),
    ],
)
def test_a_bad_quote_is_dropped_and_counted(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    good = [quote(n) for n in range(900)]
    report, found = imported(tmp_path, quotes=[*good, quote(3.5, **change)])
    assert report.dropped == {reason: 1}
    assert report.quotes == 900
    assert sum(type(e) is QuoteSnapshot for e in found) == 900
    assert all(e.yes_bids_size_e2 == (1000, 250) for e in found if type(e) is QuoteSnapshot)


@pytest.mark.parametrize(
    ("change", "flagged", "flag"),
    [
        ({"yes_bids_price": [0.6, 0.4]}, {"crossed": 1}, Flag.CROSSED),
        ({"yes_bids_price": [0.51, 0.4]}, {"coarse": 1, "locked": 1}, Flag.LOCKED | Flag.COARSE),
        (
            {"yes_asks_price": [0.0, 0.52], "yes_bids_price": [], "yes_bids_size": []},
            {"rounded_to_bound": 1, "one_sided": 1},
            Flag.ROUNDED_TO_BOUND,
        ),
        ({"yes_bids_price": [], "yes_bids_size": []}, {"one_sided": 1}, Flag(0)),
        (
            {
                "yes_bids_price": [],
                "yes_bids_size": [],
                "yes_asks_price": [],
                "yes_asks_size": [],
            },
            {"empty": 1},
            Flag(0),
        ),
    ],
)
def test_an_odd_quote_is_stored_with_its_flag(
    tmp_path: Path, change: dict[str, Any], flagged: dict[str, int], flag: Flag
) -> None:
    good = [quote(n) for n in range(900)]
    report, found = imported(tmp_path, quotes=[*good, quote(3.5, **change)])
    assert report.dropped == {}
    assert report.flagged == flagged
    odd = next(e for e in found if type(e) is QuoteSnapshot and e.ts_ns % S)
    assert odd.flags == int(flag)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price_usd": nan}, "not_finite"),
        ({"price_usd": None}, "not_finite"),
        ({"price_usd": -inf}, "not_finite"),
        ({"price_usd": 0.0}, "price_not_positive"),
        ({"price_usd": -1.0}, "price_not_positive"),
        ({"ts_ns": None}, "no_time"),
        ({"underlying": None}, "bad_name"),
        ({"underlying": "../../etc"}, "bad_name"),
        ({"underlying": "x" * 10_000}, "bad_name"),
        ({"underlying": "control"}, "bad_name"),
        ({"source": None}, "bad_name"),
        ({"source": "a\x1b[2J"}, "bad_name"),
        ({"ts_ns": OPEN_NS + 3 * S, "price_usd": 100_003.0}, "duplicate"),
    ],
)
def test_a_bad_spot_row_is_dropped_and_counted(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    rows = [*(spot(n) for n in range(10)), spot(3.5, **change)]
    report, found = imported(tmp_path, spots=rows)
    assert report.dropped == {reason: 1}
    assert report.spot == sum(type(e) is SpotSnapshot for e in found) == 10


def test_a_spot_price_is_the_last_trade_but_of_the_settlement_feed_the_index(
    tmp_path: Path,
) -> None:
    _, found = imported(tmp_path, markets=[], spots=[spot(0), spot(1, source="chainlink")])
    trade, index = found
    assert (trade.last_usd, trade.index_usd) == (100_000.0, None)
    assert (index.last_usd, index.index_usd) == (None, 100_001.0)


def test_a_finer_source_wins_where_both_cover_a_moment(tmp_path: Path) -> None:
    candles = [spot(n, source="coinbase_candle_1m") for n in range(0, 600, 60)]
    trades = [spot(n + 0.5) for n in range(200, 260)]
    report, _ = imported(tmp_path, spots=[*candles, *trades])
    assert report.dropped == {"covered_by_finer_source": 2}


def test_no_quote_no_spot_no_market_is_an_empty_import(tmp_path: Path) -> None:
    report, found = imported(tmp_path, markets=[])
    assert (report.markets, report.quotes, report.spot, report.new) == (0, 0, 0, 0)
    assert found == []


def test_all_rows_null_are_dropped_without_a_crash(tmp_path: Path) -> None:
    blank = dict.fromkeys(quote(0))
    report, _ = imported(
        tmp_path,
        markets=[dict.fromkeys(market())],
        quotes=[blank, blank],
        spots=[dict.fromkeys(spot(0))],
    )
    assert sum(report.dropped.values()) == 4
    assert report.new == 0


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def cast(name: str, kind: pa.DataType) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        i = table.schema.get_field_index(name)
        return table.set_column(i, name, pa.array([0] * table.num_rows, pa.int64()).cast(kind))

    return rewrite(change)


def not_utf8(path: Path) -> None:
    table = pq.read_table(path)
    bad = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary()).view(pa.string())
    pq.write_table(
        table.set_column(table.schema.get_field_index("underlying"), "underlying", bad), path
    )


def twice_named(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.append_column("ts_ns", table["ts_ns"]), path)


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD_FILES: list[tuple[str, Callable[[Path], None]]] = [
    *((name, Path.unlink) for name in ("markets", "quotes", "spot")),
    ("markets", lambda path: path.write_bytes(b"")),
    ("quotes", lambda path: path.write_bytes(b"not parquet")),
    ("spot", lambda path: path.write_bytes(path.read_bytes()[:-30])),
    ("quotes", lambda path: path.write_bytes(path.read_bytes()[:200] + bytes(300))),
    ("spot", folder_in_its_place),
    ("quotes", cast("ts_ns", pa.float64())),
    ("quotes", cast("ts_ns", pa.timestamp("ns"))),
    ("quotes", cast("market", pa.int64())),
    ("quotes", cast("yes_bids_price", pa.float64())),
    ("spot", cast("price_usd", pa.string())),
    ("spot", cast("price_usd", pa.int64())),
    ("markets", cast("open_ns", pa.int32())),
    ("markets", cast("strike_usd", pa.string())),
    ("markets", cast("result", pa.bool_())),
    ("markets", rewrite(lambda table: table.drop_columns(["comparator"]))),
    ("quotes", rewrite(lambda table: table.drop_columns(["yes_asks_size"]))),
    ("markets", not_utf8),
    ("spot", not_utf8),
    ("quotes", twice_named),
]


@pytest.mark.parametrize(("name", "damage"), BAD_FILES)
def test_a_bad_file_is_one_clear_line_and_nothing_is_written(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = write(tmp_path / "r", quotes=[quote(0)], spots=[spot(0)])
    damage(folder / f"{name}.parquet")
    with pytest.raises(ArchiveError) as caught:
        import_recording(folder, tmp_path / "data")
    line = str(caught.value)
    assert str(folder / f"{name}.parquet") in line
    assert "\n" not in line
    assert len(line) < 600
    assert not (tmp_path / "data").exists()


def test_another_collector_at_work_is_one_clear_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", quotes=[quote(0)])
    with (
        writer_lock(tmp_path / "data", "collector"),
        pytest.raises(UnavailableError, match="another process is writing as collector"),
    ):
        import_recording(folder, tmp_path / "data")
    assert not (tmp_path / "data/archive").exists()


def test_text_as_dictionary_or_large_text_is_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", quotes=[quote(n) for n in range(5)], spots=[spot(0)])
    for name, column, kind in (
        ("quotes", "market", pa.dictionary(pa.int32(), pa.string())),
        ("spot", "source", pa.large_string()),
    ):
        path = folder / f"{name}.parquet"
        table = pq.read_table(path)
        i = table.schema.get_field_index(column)
        pq.write_table(table.set_column(i, column, table[column].cast(kind)), path)
    assert import_recording(folder, tmp_path / "data").quotes == 5


def test_nothing_outside_the_data_folder_is_touched(tmp_path: Path) -> None:
    names = ["../../x", "a/b", "..", "x" * 10_000, "nul\0"]
    markets = [market("good"), *(market(f"M-{i}", underlying=n) for i, n in enumerate(names))]
    markets += [market("../../../escape"), market("/etc/passwd")]
    report, _ = imported(tmp_path, markets=markets)
    assert report.dropped == {"bad_name": len(names)}
    assert report.markets == 3  # a market's own name is never a path
    assert {p.name for p in tmp_path.iterdir()} == {"recording", "data"}
    assert not [p for p in tmp_path.rglob("*") if "escape" in p.name or "passwd" in p.name]


FULL = """
import sys
from pathlib import Path
from libs.common.checks import ArchiveError
from services.collector.recording import import_recording
try:
    import_recording(Path(sys.argv[1]), Path(sys.argv[2]))
except ArchiveError as error:
    print(error)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A volume of 160 kB; skips where this user may not mount one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    try:
        mounted = (
            os.geteuid() == 0
            and not subprocess.run(command, check=False, capture_output=True).returncode
        )
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small volume needs root and mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_truly_full_disk_is_one_line_and_what_was_there_stays(
    tmp_path: Path, small_disk: Path
) -> None:
    first = write(tmp_path / "first", quotes=[quote(n) for n in range(20)])
    import_recording(first, small_disk)
    before = events(small_disk)
    hour_s = 3600
    markets, quotes = [], []
    for hour in range(40):
        shift_ns = (hour + 1) * hour_s * S
        life = {"open_ns": OPEN_NS + shift_ns, "close_ns": CLOSE_NS + shift_ns}
        markets.append(market(f"H-{hour}", **life))
        for n in range(100):
            sizes = [float(n * 37 % 91 + 1), float(n * 53 % 97 + 1)]
            at_ns = OPEN_NS + shift_ns + n * S
            quotes.append(quote(0, ts_ns=at_ns, market=f"H-{hour}", yes_bids_size=sizes))
    second = write(tmp_path / "second", markets=markets, quotes=quotes)
    command = [sys.executable, "-c", FULL, str(second), str(small_disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "No space left on device" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not list(small_disk.rglob(f"{TEMPORARY_PREFIX}*"))
    found = {e.id for e in events(small_disk)}  # every file is readable
    assert {e.id for e in before} <= found
    whole = tmp_path / "whole"
    import_recording(first, whole)
    import_recording(second, whole)
    assert found < {e.id for e in events(whole)}
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    import_recording(second, small_disk)
    assert hashes(small_disk) == hashes(whole)


EXPECTED = {
    "kalshi_btc15m": (
        212,
        56_077,
        22_711,
        {"covered_by_finer_source": 132, "outside_life": 144},
        {"coarse": 7_284, "locked": 7_284, "crossed": 1, "one_sided": 3_571},
    ),
    "polymarket_btc15m": (68, 59_659, 0, {}, {"empty": 189, "one_sided": 6_517, "no_strike": 68}),
    "polymarket_updown_1h": (148, 8_654, 8_636, {}, {"coarse": 566, "locked": 566}),
    "chainlink_btc5m": (292, 0, 84_557, {}, {"no_strike": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_recording_imports_with_its_counts(
    tmp_path: Path, recordings: Path, name: str
) -> None:
    report = import_recording(recordings / name, tmp_path)
    markets, quotes, spots, dropped, flagged = EXPECTED[name]
    assert (report.markets, report.quotes, report.spot) == (markets, quotes, spots)
    assert report.dropped == dropped
    assert {key: report.flagged.get(key) for key in flagged} == flagged
    kept = pq.read_metadata(recordings / name / "quotes.parquet").num_rows
    assert quotes + sum(n for key, n in dropped.items() if key == "outside_life") == kept
    assert Archive(tmp_path).table(QuoteSnapshot).num_rows == quotes
    before = hashes(tmp_path)
    assert import_recording(recordings / name, tmp_path).new == 0
    assert hashes(tmp_path) == before
