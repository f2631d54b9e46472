"""Archive: sealed files, journals and late rows read as one, in order, each id once."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import columns, sealing
from libs.common.archive import HOUR_NS, Archive, date_of, hour_of, id_array, safe_name, scan_key
from libs.common.checks import ArchiveError
from libs.common.events import (
    Event,
    Gap,
    ModelEvent,
    QuoteSnapshot,
    SpotSnapshot,
    Tick,
    event_id,
    set_seq,
)
from libs.common.sealing import add_late_rows
from libs.common.stream_writer import StreamWriter
from tests.common.samples import T0_NS, model_event, quote, spot, tick

END_NS = T0_NS + 100 * HOUR_NS
KINDS = {SpotSnapshot: 0, QuoteSnapshot: 0}


def collector(root: Path) -> StreamWriter:
    return StreamWriter(root, writer="collector", kind="snapshots", underlying="BTC-USD")


def late(root: Path, events: list[Event]) -> int:
    return add_late_rows(root, type(events[0]), columns.to_table(type(events[0]), events))


def scanned(root: Path, **span: int) -> list[Event]:
    return list(Archive(root).scan(KINDS, **({"end_ns": END_NS} | span)))  # type: ignore[arg-type]


def test_an_empty_folder_is_an_empty_archive(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert scanned(tmp_path) == []
    assert archive.table(QuoteSnapshot).num_rows == 0
    assert archive.table(QuoteSnapshot, names=["market"]).column_names[-1] == "market"
    assert archive.span_ns() is None
    assert archive.underlyings() == []


def test_sealed_hour_running_hour_and_late_rows_read_as_one(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    first = [spot(n) for n in range(5)]
    running = [quote(n, ts_ns=T0_NS + HOUR_NS) for n in range(5)]
    writer.append([*first, *running])
    assert writer.seal(T0_NS + HOUR_NS) == 1
    late_quote, late_spot = quote(2), spot(2, ts_ns=T0_NS + HOUR_NS)
    late(tmp_path, [late_quote])
    late(tmp_path, [late_spot])
    expected = sorted([*first, *running, late_quote, late_spot], key=scan_key)
    assert [e.id for e in scanned(tmp_path)] == [e.id for e in expected]
    assert Archive(tmp_path).span_ns() == (first[0].ts_ns, running[-1].ts_ns)


def test_an_id_that_stands_in_journal_file_and_late_rows_is_read_once(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    events: list[Event] = [spot(n) for n in range(5)]
    writer.append([*events, *events[:2]])
    assert [e.id for e in scanned(tmp_path)] == [e.id for e in events]
    late(tmp_path, events[1:4])
    assert [e.id for e in scanned(tmp_path)] == [e.id for e in events]
    writer.seal(END_NS)
    assert [e.id for e in scanned(tmp_path)] == [e.id for e in events]
    assert Archive(tmp_path).table(SpotSnapshot).num_rows == 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sealed", "journal", "late"]),
            st.integers(0, 2),
            st.integers(0, 4),
            st.booleans(),
        ),
        max_size=30,
    )
)
@settings(max_examples=40)
def test_any_mixture_is_read_in_order_without_repeats(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, bool]]
) -> None:
    root = tmp_path_factory.mktemp("mixture")
    made: dict[str, list[Event]] = {"sealed": [], "journal": [], "late": []}
    for place, hour, second, is_quote in rows:
        make = quote if is_quote else spot
        made[place].append(make(second, ts_ns=T0_NS + hour * HOUR_NS))
    writer = collector(root)
    writer.append(sorted(made["sealed"], key=lambda e: e.ts_ns))
    writer.seal(END_NS)
    writer.append(sorted(made["journal"], key=lambda e: e.ts_ns))
    for kind in KINDS:
        if chosen := [e for e in made["late"] if type(e) is kind]:
            late(root, chosen)
    found = scanned(root)
    assert {e.id for e in found} == {e.id for place in made.values() for e in place}
    assert len({e.id for e in found}) == len(found)
    assert [scan_key(e) for e in found] == sorted(scan_key(e) for e in found)
    table = Archive(root).table(SpotSnapshot)
    assert table["id"].to_pylist() == [
        bytes.fromhex(e.id) for e in found if type(e) is SpotSnapshot
    ]


def test_a_span_is_half_open_and_spans_put_together_are_the_whole(tmp_path: Path) -> None:
    late(tmp_path, [spot(n * 600) for n in range(24)])
    whole = [e.id for e in scanned(tmp_path)]
    for cut_s in (0, 1, 600, 601, 3599, 3600, 7200, 13_800, 13_801):
        cut_ns = T0_NS + cut_s * 1_000_000_000
        before, after = scanned(tmp_path, end_ns=cut_ns), scanned(tmp_path, start_ns=cut_ns)
        assert [e.id for e in (*before, *after)] == whole
        assert all(e.ts_ns < cut_ns for e in before)
        assert all(e.ts_ns >= cut_ns for e in after)


def test_each_type_begins_at_its_own_instant(tmp_path: Path) -> None:
    late(tmp_path, [spot(n) for n in range(4)])
    late(tmp_path, [quote(n) for n in range(4)])
    begin_ns = T0_NS + 2_000_000_000
    found = list(Archive(tmp_path).scan({SpotSnapshot: begin_ns, QuoteSnapshot: 0}, end_ns=END_NS))
    assert len([e for e in found if type(e) is SpotSnapshot]) == 2
    assert len([e for e in found if type(e) is QuoteSnapshot]) == 4


def test_a_span_of_a_control_stream_holds_nothing_later_from_any_writer(tmp_path: Path) -> None:
    """Two writers' files of one hour follow one another, so the last row is not the latest."""
    half_ns = HOUR_NS // 2
    for writer, number in (("predictor", 50 * 60), ("trainer", 10 * 60)):
        stream = StreamWriter(tmp_path, writer=writer, kind="models", underlying="BTC-USD")
        stream.append([model_event(number * 1_000_000_000)])
        stream.seal(END_NS)
    table = Archive(tmp_path).table(ModelEvent, start_ns=T0_NS, end_ns=T0_NS + half_ns)
    assert table["ts_ns"].to_pylist() == [T0_NS + 600 * 1_000_000_000]


def test_several_underlyings_read_in_one_order(tmp_path: Path) -> None:
    late(tmp_path, [spot(n, underlying="ETH-USD") for n in range(3)])
    late(tmp_path, [spot(n) for n in range(3)])
    found = scanned(tmp_path)
    assert [scan_key(e) for e in found] == sorted(scan_key(e) for e in found)
    table = Archive(tmp_path).table(SpotSnapshot)
    assert table["id"].to_pylist() == [bytes.fromhex(e.id) for e in found]
    only = Archive(tmp_path).table(SpotSnapshot, underlying="ETH-USD", names=["last_usd"])
    assert only.column_names == ["ts_ns", "seq", "id", "last_usd"]
    assert only.num_rows == 3
    assert Archive(tmp_path).underlyings() == ["BTC-USD", "ETH-USD"]


def test_the_span_does_not_end_early_where_the_running_hour_holds_only_ticks(
    tmp_path: Path,
) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0), spot(1, ts_ns=T0_NS + HOUR_NS)])
    writer.seal(END_NS)
    writer.append([tick(0, ts_ns=T0_NS + 2 * HOUR_NS)])
    assert Archive(tmp_path).span_ns() == (T0_NS, T0_NS + HOUR_NS + 1_000_000_000)


class Sealing(Archive):
    """An archive whose running hour is sealed by another process between two readings."""

    def __init__(self, root: Path, seal: Iterator[object]) -> None:
        super().__init__(root)
        self._seal = seal

    def journals(self, kind: str, underlying: str) -> list[Path]:
        found = super().journals(kind, underlying)
        next(self._seal, None)
        return found

    def files(self, *place: object, **span: int) -> list[object]:  # type: ignore[override]
        found = super().files(*place, **span)  # type: ignore[arg-type]
        next(self._seal, None)
        return found  # type: ignore[return-value]


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_an_hour_sealed_while_it_is_read_is_not_missed(tmp_path: Path, step: int) -> None:
    writer = collector(tmp_path)
    writer.append([spot(n) for n in range(5)])

    def seal() -> Iterator[object]:
        for _ in range(step):
            yield
        yield writer.seal(END_NS)

    table = Sealing(tmp_path, seal()).table(SpotSnapshot)
    assert table.num_rows == 5


def test_rows_of_one_instant_stand_by_the_writers_counter_before_the_id(tmp_path: Path) -> None:
    events: list[Event] = [quote(0, market=f"M-{n}") for n in range(20)]
    writer = collector(tmp_path)
    writer.append(events)
    late(tmp_path, [quote(0, market="late")])
    # The late row counts from 0, as an import does; ids are hashes and so in no order.
    expected = [quote(0, market="late").id, *(e.id for e in events)]
    for _ in range(2):
        assert [e.id for e in scanned(tmp_path)] == expected
        table = Archive(tmp_path).table(QuoteSnapshot)
        assert [i.hex() for i in table["id"].to_pylist()] == expected
        writer.seal(END_NS)


def test_ticks_are_journalled_and_dropped_at_the_seal(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0), tick(0)])
    assert Archive(tmp_path).table(Tick).num_rows == 1
    writer.seal(END_NS)
    assert Archive(tmp_path).table(Tick).num_rows == 0
    assert not list(tmp_path.rglob("*tick*"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all" * 100])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    late(tmp_path, [spot(0), spot(1, ts_ns=T0_NS + HOUR_NS)])
    broken = sorted((tmp_path / "archive").rglob("*.parquet"))[1]
    broken.write_bytes(content)
    with pytest.raises(ArchiveError, match=str(broken)) as caught:
        Archive(tmp_path).table(SpotSnapshot)
    assert "\n" not in str(caught.value)


def test_half_written_files_are_not_seen(tmp_path: Path) -> None:
    late(tmp_path, [spot(0)])
    folder = next((tmp_path / "archive").rglob("*.parquet")).parent
    (folder / ".tmp-00.parquet").write_bytes(b"half")
    assert len(scanned(tmp_path)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "a\0b",
        "x" * 65,
        "x" * 10_000,
        "a..b",
        ".a",
        "a\n",
        "é",
    ],
)
def test_a_hostile_underlying_names_no_folder(name: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        safe_name(name)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_foreign_names_in_the_folders_are_refused_by_name(tmp_path: Path) -> None:
    late(tmp_path, [spot(0)])
    (tmp_path / "archive/spot_snapshot/underlying=BTC-USD/date=tomorrow").mkdir()
    with pytest.raises(ArchiveError, match="date=tomorrow"):
        Archive(tmp_path).table(SpotSnapshot)


def test_a_file_holds_one_kind_underlying_and_hour(tmp_path: Path) -> None:
    late(tmp_path, [spot(0), spot(3600), spot(0, underlying="ETH-USD")])
    files = sorted(str(p.relative_to(tmp_path / "archive")) for p in tmp_path.rglob("*.parquet"))
    day, hours = date_of(T0_NS), [hour_of(T0_NS), hour_of(T0_NS + HOUR_NS)]
    assert files == [
        f"spot_snapshot/underlying=BTC-USD/date={day}/{hours[0]}.parquet",
        f"spot_snapshot/underlying=BTC-USD/date={day}/{hours[1]}.parquet",
        f"spot_snapshot/underlying=ETH-USD/date={day}/{hours[0]}.parquet",
    ]


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=20), st.integers(0, 5))
def test_ids_compare_as_their_bytes_even_with_zeroes(ids: list[bytes], skip: int) -> None:
    column = pa.chunked_array([pa.array(ids, pa.binary(8))]).slice(skip)
    found = id_array(column)
    assert [bytes(x).ljust(8, b"\0") for x in found] == ids[skip:]
    assert [bytes(x).ljust(8, b"\0") for x in sorted(found)] == sorted(ids[skip:])


def test_reading_changes_nothing(tmp_path: Path) -> None:
    writer = collector(tmp_path)
    writer.append([spot(0), tick(0)])
    late(tmp_path, [quote(0)])

    def state() -> dict[str, str]:
        paths = [p for p in sorted(tmp_path.rglob("*")) if p.is_file()]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

    before = state()
    os.chmod(tmp_path, 0o555)
    try:
        scanned(tmp_path)
        Archive(tmp_path).span_ns()
    finally:
        os.chmod(tmp_path, 0o755)
    assert state() == before


def test_a_gap_stands_at_the_instant_it_became_known(tmp_path: Path) -> None:
    gap = Gap(
        ts_ns=T0_NS + 5,
        id=event_id("Gap", 1),
        underlying="BTC-USD",
        feed="quotes",
        start_ns=T0_NS - HOUR_NS,
        end_ns=T0_NS + 5,
        reason="not_recorded",
    )
    set_seq(gap, 0)
    late(tmp_path, [gap])
    assert list(Archive(tmp_path).scan({Gap: 0}, end_ns=T0_NS + 5)) == []
    assert len(list(Archive(tmp_path).scan({Gap: 0}, end_ns=T0_NS + 6))) == 1


def test_rows_of_all_writers_of_a_control_stream_are_read(tmp_path: Path) -> None:
    for number, writer in enumerate(("trainer", "predictor")):
        stream = StreamWriter(tmp_path, writer=writer, kind="models", underlying="X")
        stream.append([model_event(number)])
        stream.seal(END_NS)
        assert sealing.read_manifest(next(tmp_path.rglob("manifest.json")).parent).files
    assert Archive(tmp_path).table(ModelEvent).num_rows == 2
