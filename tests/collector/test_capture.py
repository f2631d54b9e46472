"""Raw captures: what was received comes back, whatever happened to the file."""

import json
from contextlib import suppress
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.checks import ArchiveError
from libs.common.venues import VENUES
from libs.common.venues.venue import Get
from services.collector.capture import FLUSH_BYTES, FLUSH_S, CaptureWriter, read_capture
from services.collector.observer import Observer
from services.collector.traffic import (
    Answered,
    Arrival,
    Closed,
    Opened,
    Oversized,
    Passed,
    Received,
)
from tests.collector.toy_venue import OPEN_NS, Run, S, at, book, change, facts

FEEDS = [feed.name for venue in VENUES.values() for feed in venue.feeds]
HOUR_NS = 3_600 * S


def captured(folder: Path, arrivals: list[Arrival]) -> list[Path]:
    """Write arrivals and return the files that came of them, in order."""
    writer = CaptureWriter(folder)
    for arrival in arrivals:
        writer.write(arrival)
    writer.flush()
    return sorted(folder.glob("*.capture.jsonl.zst"))


def read(paths: list[Path]) -> list[Arrival | str]:
    return [arrival for path in paths for arrival in read_capture(path, VENUES)]


def told(arrival: Arrival | str) -> object:
    """Return an arrival without what a capture does not keep: times of asking, and costs."""
    if isinstance(arrival, Answered):
        get = arrival.get
        return (arrival.ts_ns, get.venue, get.endpoint, get.target, get.purpose, get.subject,
                arrival.status, arrival.text)  # fmt: skip
    return arrival


def compressed(folder: Path, *lines: object) -> Path:
    path = folder / "x.capture.jsonl.zst"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(pa.Codec("zstd").compress(text.encode("utf-8", "surrogatepass"), asbytes=True))
    return path


TEXTS = st.text(max_size=50) | st.sampled_from(("", "\x1b[2J", "\n", '"', "\ud800", "\x00"))
TIMES = st.integers(OPEN_NS, OPEN_NS + 600 * S)
ARRIVALS = st.one_of(
    st.builds(Opened, TIMES, st.sampled_from(FEEDS), st.integers(0, 9)),
    st.builds(Closed, TIMES, st.sampled_from(FEEDS), st.integers(0, 9), TEXTS),
    st.builds(Oversized, TIMES, st.sampled_from(FEEDS), st.integers(0, 9), TEXTS),
    st.builds(Received, TIMES, st.sampled_from(FEEDS), st.integers(0, 9), TEXTS),
)


class TestRoundTrip:
    @given(arrivals=st.lists(ARRIVALS, max_size=20))
    def test_what_is_written_is_read_back_in_order(
        self, arrivals: list[Arrival], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        arrivals.sort(key=lambda arrival: arrival.ts_ns)
        assert read(captured(tmp_path_factory.mktemp("capture"), arrivals)) == arrivals

    @pytest.mark.parametrize("venue", VENUES)
    def test_every_answer_of_every_venue_is_read_back(self, venue: str, tmp_path: Path) -> None:
        asked = VENUES[venue]
        names = [asked.market("M-1"), asked.book("1234")]
        names += [get for s in asked.series for get in asked.listing(s, now_ns=at(0), windows=1)]
        names += [get for get in (asked.clock(), asked.status()) if get is not None]
        arrivals: list[Arrival] = [
            Answered(at(n), get, 200, f'{{"n":{n}}}') for n, get in enumerate(names)
        ]
        found = read(captured(tmp_path, arrivals))
        assert [told(a) for a in found] == [told(a) for a in arrivals]

    def test_a_failed_answer_is_kept_as_one(self, tmp_path: Path) -> None:
        get = VENUES["kalshi"].book("M-1")
        (found,) = read(captured(tmp_path, [Answered(at(0), get, 0, "timeout")]))
        assert isinstance(found, Answered) and (found.status, found.text) == (0, "timeout")

    def test_each_hour_has_a_file_and_order_holds_over_all(self, tmp_path: Path) -> None:
        arrivals: list[Arrival] = [
            Received(OPEN_NS + n * 600 * S, "kalshi.ws", 1, str(n)) for n in range(20)
        ]
        paths = captured(tmp_path, arrivals)
        assert len(paths) == len({a.ts_ns // HOUR_NS for a in arrivals})
        assert read(paths) == arrivals

    def test_the_files_of_one_run_together_rebuild_it_across_the_hour(self, tmp_path: Path) -> None:
        start_s = (OPEN_NS // HOUR_NS + 1) * 3_600 - OPEN_NS // S - 30
        window = start_s // 900
        run = Run(start_s=start_s)
        run.answer(start_s + 0.1, facts(window=window), facts("T-2", window + 1))
        run.open(start_s + 0.2)
        for n in range(100):
            run.hear(start_s + 1 + n, book(size=n + 1), book("T-2", size=n + 1))
        assert len(captured(tmp_path / "one", run.fed)) == 2
        assert run.quotes("T-2")
        _assert_replays(run, tmp_path / "two")


class TestReplay:
    @given(steps=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40)), max_size=60))
    def test_a_capture_gives_exactly_the_facts_of_the_run(
        self, steps: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        _assert_replays(_played(steps), tmp_path_factory.mktemp("capture"))

    def test_a_silence_longer_than_ten_seconds_gives_the_same_facts(self, tmp_path: Path) -> None:
        run = _played([(1, 1), (2, 5)])
        run.until(30.0)
        run.hear(30.5, change(4_700, 2))
        run.until(31.0)
        _assert_replays(run, tmp_path)


def _played(steps: list[tuple[int, int]]) -> Run:
    run, tenths, connection = Run(), -9, 0
    run.answer(-0.9, facts())
    for kind, passed in steps:
        run.until((tenths := tenths + passed) / 10)
        second = tenths / 10
        if kind in (0, 1):
            connection += 1
            run.open(second, connection=connection)
            run.hear(second, book(), connection=connection)
        elif kind == 2:
            run.close(second, connection=connection)
        elif kind == 3:
            run.skip(connection=connection)
        elif kind == 4:
            run.answer(second, book(bid=4_000), purpose="book", subject="T-1")
        elif kind == 5:
            run.answer(second, facts(strike_usd=1.0 + passed), facts("T-2"))
        else:
            run.hear(second, change(4_800, passed), connection=connection)
    return run


def _assert_replays(run: Run, folder: Path) -> None:
    """Hold the facts of a run against those that its capture gives, up to the last tick in it."""
    again = Observer(run.plan, start_ns=run.start_ns, born_ns=run.born_ns)
    instants = [
        instant
        for path in captured(folder, run.fed)
        for arrival in read_capture(path, run.plan.venues)
        if not isinstance(arrival, str)
        for instant in again.handle(arrival).instants
    ]
    assert instants == [i for i in run.instants if i[0] < again.tick_ns]
    last_ns = max(a.ts_ns for a in run.fed if not isinstance(a, Passed))
    assert again.tick_ns > last_ns


class TestDamage:
    def test_of_a_torn_file_all_but_the_last_piece_is_read(self, tmp_path: Path) -> None:
        arrivals: list[Arrival] = [
            Received(OPEN_NS + n * S, "kalshi.ws", 1, f"{n:0500}") for n in range(100)
        ]
        (path,) = captured(tmp_path, arrivals)
        whole = path.read_bytes()
        before = 0
        for end in range(0, len(whole), 97):
            path.write_bytes(whole[:end])
            found = read([path])
            kept = [a for a in found if not isinstance(a, str)]
            assert kept == arrivals[: len(kept)]
            assert len(kept) >= before
            before = len(kept)
            assert {a for a in found if isinstance(a, str)} <= {"torn_file", "bad_line"}
        assert before >= 100 - 2 * (FLUSH_S + 1)

    def test_a_file_that_is_none_is_never_taken_for_an_empty_one(self, tmp_path: Path) -> None:
        path = tmp_path / "x.zst"
        path.write_bytes(b"not compressed at all" * 100)
        with suppress(ArchiveError):
            assert read([path]) == ["torn_file"]
        with pytest.raises(ArchiveError, match="cannot read"):
            read([tmp_path / "absent.zst"])

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "{",
            "null",
            "[" * 100_000,
            "9" * 5_000,
            "[]",
            '{"recv_ns": NaN, "feed": "kalshi.ws", "frame": ""}',
            {"feed": "kalshi.ws", "frame": ""},
            {"recv_ns": "1", "feed": "kalshi.ws", "frame": ""},
            {"recv_ns": True, "feed": "kalshi.ws", "frame": ""},
            {"recv_ns": -1, "feed": "kalshi.ws", "frame": ""},
            {"recv_ns": 10**30, "feed": "kalshi.ws", "frame": ""},
            {"recv_ns": 1.5e18, "feed": "kalshi.ws", "frame": ""},
            {"recv_ns": OPEN_NS, "feed": 7, "frame": ""},
            {"recv_ns": OPEN_NS, "feed": "../../etc", "frame": ""},
            {"recv_ns": OPEN_NS, "feed": "kalshi.ws", "frame": {"a": 1}},
            {"recv_ns": OPEN_NS, "feed": "kalshi.ws", "conn": "1", "frame": ""},
            {"recv_ns": OPEN_NS, "feed": "kalshi.rest", "url": 7, "frame": "{}"},
            {"recv_ns": OPEN_NS, "feed": "kalshi.rest", "url": "/nowhere", "frame": "{}"},
            {"recv_ns": OPEN_NS, "feed": "none.rest", "url": "/markets/M", "frame": "{}"},
            {"recv_ns": OPEN_NS, "feed": "kalshi.rest", "url": "/markets/M", "status": "200"},
            {
                "recv_ns": OPEN_NS,
                "feed": "kalshi.nowhere",
                "url": "/markets/M",
                "purpose": "market",
                "subject": "M",
                "frame": "{}",
            },
        ],
        ids=lambda line: str(line)[:60],
    )
    def test_a_line_that_cannot_be_is_refused_alone(self, line: object, tmp_path: Path) -> None:
        good = {"recv_ns": OPEN_NS + S, "feed": "kalshi.ws", "conn": 1, "frame": "x"}
        found = read([compressed(tmp_path, line, good)])
        assert found[-1] == Received(OPEN_NS + S, "kalshi.ws", 1, "x")
        assert len(found) == 2 and isinstance(found[0], str), found[0]

    def test_a_disk_that_takes_nothing_stops_the_capture_and_nothing_else(
        self, tmp_path: Path
    ) -> None:
        place = tmp_path / "file"
        place.write_text("a file where a folder should be")
        writer = CaptureWriter(place)
        for n in range(100):
            writer.write(Received(OPEN_NS + n * S, "kalshi.ws", 1, "x"))
        writer.flush()

    def test_a_burst_is_written_before_it_fills_the_memory(self, tmp_path: Path) -> None:
        writer = CaptureWriter(tmp_path)
        for _ in range(3):
            writer.write(Received(OPEN_NS, "coinbase.ws", 1, "x" * FLUSH_BYTES))
        (path,) = tmp_path.glob("*.zst")
        assert len(read([path])) >= 2


class TestRoom:
    def test_the_oldest_files_go_when_all_are_too_large(self, tmp_path: Path) -> None:
        note = tmp_path / "2020-01-01T00.1.notes.txt"
        note.write_text("not a capture")
        writer = CaptureWriter(tmp_path, bytes_max=2_500)
        for hour in range(6):
            random = Random(hour).randbytes(500).hex()  # a thousand characters, half compressed
            writer.write(Received(OPEN_NS + hour * HOUR_NS, "kalshi.ws", 1, random * 2))
        writer.flush()
        files = sorted(tmp_path.glob("*.capture.jsonl.zst"))
        sizes = [path.stat().st_size for path in files]
        assert sum(sizes[:-1]) <= 2_500 < sum(sizes[:-1]) + max(sizes)
        (newest,) = (a for a in read([files[-1]]) if isinstance(a, Received))
        assert newest.ts_ns == OPEN_NS + 5 * HOUR_NS
        assert [int(path.name.split(".")[1]) for path in files] == [
            OPEN_NS + hour * HOUR_NS for hour in range(6 - len(files), 6)
        ]
        assert note.exists()

    def test_what_cannot_be_deleted_stops_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "2020-01-01T00.1.capture.jsonl.zst").mkdir()
        writer = CaptureWriter(tmp_path, bytes_max=1.0)
        writer.write(Received(OPEN_NS, "kalshi.ws", 1, "x"))
        writer.flush()
        assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1


class TestForeignCaptures:
    def test_an_answer_without_a_purpose_is_known_by_its_address(self, tmp_path: Path) -> None:
        venue = VENUES["kalshi"]
        asked = [venue.market("M-1"), venue.book("M-1")]
        lines = [
            {"recv_ns": OPEN_NS, "feed": "kalshi.rest", "url": get.target, "frame": "{}"}
            for get in asked
        ]
        found = read([compressed(tmp_path, *lines)])
        assert [a.get for a in found if isinstance(a, Answered)] == asked

    def test_an_answer_names_the_request_that_the_venue_itself_makes(self) -> None:
        for venue in VENUES.values():
            for get in (venue.market("M-1"), venue.book("1")):
                assert isinstance(get, Get) and get.endpoint in venue.endpoints
