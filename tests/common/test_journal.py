"""Journal: what append returned from is there; a torn tail is cut; damage is refused by byte."""

import errno
import math
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import journal
from libs.common.checks import ArchiveError, InvariantError
from libs.common.events import EVENT_TYPES, Alert, Forecast, body, set_seq
from libs.common.journal import Entry, Journal, read_journal
from tests.common.samples import quote, spot, struct_strategy, tick


def entries_of(*events: object) -> list[Entry]:
    made = []
    for number, event in enumerate(events, 1):
        set_seq(event, number)  # type: ignore[arg-type]
        made.append(Entry(event, 1_000 + number))  # type: ignore[arg-type]
    return made


def written(path: Path, entries: list[Entry]) -> list[int]:
    """Write `entries` one by one and return the size after each."""
    log = Journal(path)
    sizes = []
    for entry in entries:
        log.append([entry])
        sizes.append(path.stat().st_size)
    log.close()
    return sizes


def facts(path: Path) -> list[tuple[bytes, int, int]]:
    return [(body(e.event), e.event.seq, e.entry_ms) for e in read_journal(path).entries]


@given(st.lists(st.one_of([struct_strategy(k) for k in EVENT_TYPES]), min_size=1, max_size=6))
@settings(max_examples=60)
def test_every_event_type_comes_back_with_counter_and_millisecond(
    tmp_path_factory: pytest.TempPathFactory, events: list[object]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    entries = entries_of(*events)
    log = Journal(path)
    log.append(entries)
    log.close()
    assert facts(path) == [(body(e.event), e.event.seq, e.entry_ms) for e in entries]


def test_a_journal_torn_at_any_byte_of_its_last_frame_loses_only_that_frame(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    entries = entries_of(tick(0), spot(0), quote(0))
    _, before_last, end = written(path, entries)
    whole = path.read_bytes()
    expected = facts(path)[:2]
    for cut in range(before_last, end):
        path.write_bytes(whole[:cut])
        assert facts(path) == expected
        assert read_journal(path).torn_bytes == cut - before_last
        log = Journal(path)
        assert path.stat().st_size == before_last
        log.append(entries[2:])
        log.close()
        assert path.read_bytes() == whole


def test_damage_at_any_byte_before_the_last_frame_is_refused_naming_the_frames_byte(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    sizes = written(path, entries_of(tick(0), spot(0), quote(0)))
    whole = path.read_bytes()
    for at in range(sizes[1]):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        path.write_bytes(damaged)
        start = 0 if at < sizes[0] else sizes[0]
        with pytest.raises(ArchiveError, match=rf"damaged at byte {start},"):
            read_journal(path)
        with pytest.raises(ArchiveError, match=rf"damaged at byte {start},"):
            Journal(path)
        assert path.read_bytes() == damaged  # nothing is cut off on the way


def test_zeroes_in_the_middle_are_damage_and_at_the_end_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "j"
    sizes = written(path, entries_of(tick(0), spot(0), quote(0)))
    whole = path.read_bytes()
    path.write_bytes(whole[: sizes[0]] + bytes(sizes[1] - sizes[0]) + whole[sizes[1] :])
    with pytest.raises(ArchiveError, match=f"byte {sizes[0]}"):
        read_journal(path)
    path.write_bytes(whole + bytes(4096))
    assert len(read_journal(path).entries) == 3


@pytest.mark.parametrize(
    "text", [b'{"type":"Unknown"}', b'{"type":"\xff"}', b"\xff", b"[" * 99_999]
)
def test_a_good_frame_that_is_no_event_is_refused_naming_its_byte(
    tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "j"
    (size,) = written(path, entries_of(tick(0)))
    checked = struct.pack("<QQ", 7, 8) + text
    frame = struct.pack("<II", len(text), zlib.crc32(checked)) + checked
    path.write_bytes(path.read_bytes() + frame)
    with pytest.raises(ArchiveError, match=f"byte {size}"):
        read_journal(path)


def test_one_sync_per_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Journal(tmp_path / "j")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log.append(entries_of(*(spot(n) for n in range(50))))
    assert len(synced) == 1
    log.close()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_cuts_the_file_back_and_appending_again_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "j"
    entries = entries_of(spot(0), spot(1), spot(2))
    log = Journal(path)
    log.append(entries[:1])
    write = os.write
    calls: list[int] = []

    def refuse(descriptor: int, *content: memoryview) -> int:
        if content and not calls:
            calls.append(1)
            return write(descriptor, content[0][:20])  # a part still fits
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, call, refuse)
        with pytest.raises(ArchiveError, match=r"cannot write .*No space left") as caught:
            log.append(entries[1:])
    assert "\n" not in str(caught.value)
    assert [e.event.id for e in read_journal(path).entries] == [entries[0].event.id]
    assert read_journal(path).torn_bytes == 0
    log.append(entries[1:])
    log.close()
    assert len(read_journal(path).entries) == 3


def test_an_event_that_could_not_be_read_back_is_never_written(tmp_path: Path) -> None:
    forecast = Forecast(
        ts_ns=1,
        id="00" * 8,
        feature_id="00" * 8,
        feature_hash="h",
        venue="v",
        market="m",
        series="s",
        underlying="BTC-USD",
        close_ns=2,
        role="champion",
        bundle="base",
        p_raw=0.5,
        p=math.nan,
        base_p=0.5,
        is_fallback=True,
    )
    endless = Alert(
        ts_ns=1,
        id="00" * 8,
        rule="r",
        severity="info",
        state="firing",
        evidence="x" * (journal.BODY_BYTES_MAX + 1),
        runbook="",
    )
    path = tmp_path / "j"
    log = Journal(path)
    log.append(entries_of(spot(0)))
    for event in (forecast, endless):
        with pytest.raises(InvariantError):
            log.append([Entry(spot(1), 1), Entry(event, 2)])
    log.close()
    assert len(read_journal(path).entries) == 1


def test_cutting_keeps_what_was_known_until_then(tmp_path: Path) -> None:
    path = tmp_path / "j"
    entries = entries_of(*(spot(n) for n in range(5)))
    log = Journal(path)
    log.append(entries)
    log.keep(lambda entry: entry.event.ts_ns <= entries[2].event.ts_ns)
    assert [e.event.seq for e in read_journal(path).entries] == [1, 2, 3]
    log.append(entries[3:])
    log.close()
    assert [e.event.seq for e in read_journal(path).entries] == [1, 2, 3, 4, 5]


def test_a_journal_that_is_gone_gives_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot read journal"):
        read_journal(tmp_path / "absent")


@given(st.binary(max_size=200))
def test_a_file_of_noise_is_a_torn_tail_or_refused_and_never_an_event(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("noise") / "j"
    path.write_bytes(noise)
    assert read_journal(path).entries == ()


def test_a_journal_that_is_a_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "ledger.json"
    (tmp_path / "hour.journal").symlink_to(elsewhere)
    with pytest.raises(ArchiveError, match=r"hour\.journal"):
        Journal(tmp_path / "hour.journal")
    assert not elsewhere.exists()
