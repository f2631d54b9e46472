"""Instants: in order, complete, in the order of an import, however the tables were cut."""

import gc
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.events import QuoteSnapshot, body
from services.collector import instants as module
from services.collector.instants import Instant, Piece, instants, underlyings_of
from services.collector.judgement import Judged, judge
from services.collector.recording import import_recording, read_recording
from tests.collector.folders import CLOSE_NS, OPEN_NS, S, market, quote, spot, write
from tests.collector.stage import KINDS


def recorded(folder: Path) -> Judged:
    """Judge a recording with instants of several kinds, underlyings and markets at once."""
    markets = [
        market("M-1"),
        market("M-2"),
        market("E-1", underlying="ETH-USD", series="KXETH15M"),
        market("M-3", open_ns=CLOSE_NS, close_ns=CLOSE_NS + 900 * S),
    ]
    quotes = [quote(n, market=name) for n in range(0, 900, 30) for name in ("M-1", "M-2", "E-1")]
    quotes += [quote(900 + n, market="M-3") for n in range(0, 900, 30) if not 300 < n < 600]
    spots = [spot(n, underlying=u) for n in range(0, 1800, 15) for u in ("BTC-USD", "ETH-USD")]
    return judge(read_recording(write(folder, markets=markets, quotes=quotes, spots=spots)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instants")


@pytest.fixture(scope="module")
def judged(folder: Path) -> Judged:
    return recorded(folder / "recording")


@pytest.fixture(scope="module")
def whole(judged: Judged) -> list[Any]:
    return plain(instants([Piece(judged.kinds)], after_ns=-1))


def plain(found: Iterator[Instant | None]) -> list[Any]:
    """Return instants as values that compare."""
    return [
        i and (i.ts_ns, {name: [body_of(e) for e in events] for name, events in i.events.items()})
        for i in found
    ]


def body_of(event: Any) -> bytes:
    return body(event)


def test_instants_hold_what_an_import_stores_in_its_order(
    tmp_path: Path, folder: Path, whole: list[Any]
) -> None:
    import_recording(folder / "recording", tmp_path)
    expected = []
    stored = Archive(tmp_path).scan(KINDS, end_ns=TIME_MAX_NS)
    for ts_ns, at_once in groupby(stored, key=lambda e: e.ts_ns):
        events: dict[str, list[bytes]] = {}
        for event in at_once:
            events.setdefault(event.underlying, []).append(body(event))  # type: ignore[attr-defined]
        expected.append((ts_ns, events))
    assert whole == expected
    assert any(len(events) == 2 for _, events in expected), "several underlyings at once"


def test_what_is_not_later_is_left_out(judged: Judged, whole: list[Any]) -> None:
    for place in (0, 5, len(whole) - 2, len(whole) - 1):
        after_ns = whole[place][0]
        assert plain(instants([Piece(judged.kinds)], after_ns=after_ns)) == whole[place + 1 :]


@pytest.mark.parametrize("chunk", [1, 2, 7, 10_000])
def test_chunks_change_nothing(
    judged: Judged, whole: list[Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_INSTANTS", chunk)
    assert plain(instants([Piece(judged.kinds)], after_ns=-1)) == whole


@given(st.lists(st.integers(0, 1_900 * S), max_size=6), st.integers(0, 120 * S))
@settings(max_examples=60)
def test_pieces_whose_facts_come_late_give_the_whole(
    judged: Judged, whole: list[Any], cuts: list[int], late_ns: int
) -> None:
    assert plain(instants(cut(judged, cuts, late_ns), after_ns=-1)) == whole


def cut(judged: Judged, cuts: Sequence[int], late_ns: int) -> Iterator[Piece]:
    """Cut into pieces, each with the rows up to `late_ns` behind its own end, shuffled."""
    edges = [0, *(OPEN_NS + at for at in sorted(set(cuts))), TIME_MAX_NS]
    taken = dict.fromkeys(judged.kinds, -1)
    for end_ns in edges[1:]:
        kinds = {}
        for kind, table in judged.kinds.items():
            upto = end_ns if end_ns == TIME_MAX_NS else end_ns + late_ns
            rows = pc.and_(pc.greater(table["ts_ns"], taken[kind]), pc.less(table["ts_ns"], upto))
            taken[kind] = max(taken[kind], upto - 1)
            part = table.filter(rows)
            kinds[kind] = part.take(pa.array(range(part.num_rows)[::-1], pa.int64()))
        yield Piece(kinds, end_ns)


def test_what_the_last_piece_knows_late_is_played_too(judged: Judged, whole: list[Any]) -> None:
    assert plain(instants([Piece(judged.kinds, OPEN_NS + 100 * S)], after_ns=-1)) == whole


def test_a_source_that_has_nothing_yet_is_passed_on(judged: Judged, whole: list[Any]) -> None:
    pieces = [None, None, Piece(judged.kinds), None]
    assert plain(instants(pieces, after_ns=-1)) == [None, None, *whole, None]


def test_events_are_made_as_they_are_played(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_INSTANTS", 4)
    before = quotes_alive()
    played = instants([Piece(judged.kinds)], after_ns=-1)
    held = [next(played) for _ in range(5)]
    assert len(held) == 5
    assert quotes_alive() - before < judged.kinds[QuoteSnapshot].num_rows // 4


def quotes_alive() -> int:
    gc.collect()
    return sum(isinstance(o, QuoteSnapshot) for o in gc.get_objects())


def test_nothing_recorded_is_no_instant(tmp_path: Path) -> None:
    empty = judge(read_recording(write(tmp_path, markets=[])))
    assert list(instants([Piece(empty.kinds)], after_ns=-1)) == []
    assert list(instants([], after_ns=-1)) == []


def test_underlyings_are_those_that_anything_speaks_of(judged: Judged) -> None:
    assert underlyings_of(judged.kinds) == ["BTC-USD", "ETH-USD"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kalshi_btc15m", "polymarket_updown_1h"])
def test_a_real_recording_has_the_instants_of_its_import(
    tmp_path: Path, recordings: Path, name: str
) -> None:
    import_recording(recordings / name, tmp_path)
    stored = [body(e) for e in Archive(tmp_path).scan(KINDS, end_ns=TIME_MAX_NS)]
    found = instants([Piece(judge(read_recording(recordings / name)).kinds)], after_ns=-1)
    played = [body(e) for i in found if i for events in i.events.values() for e in events]
    assert played == stored
