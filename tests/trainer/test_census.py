"""Counting what there is to learn from: each window once, the venue's word only, up to date."""

from pathlib import Path

import msgspec
import pytest

from libs.common.checks import ArchiveError
from services.trainer.census import Census, Counts
from tests.trainer.live_scene import HOUR_NS, T0_NS, hours, record, resolution


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    census = Census(tmp_path)
    census.update()
    assert (census.first_ns, census.after(0)) == (0, Counts(0, 0, 0))


def test_windows_are_counted_once_per_underlying_and_close(tmp_path: Path) -> None:
    again = [msgspec.structs.replace(e, id=e.id[::-1], market="OTHER") for e in hours(0, 3)]
    record(tmp_path, [*hours(0, 3), *again])
    record(tmp_path, hours(0, 3, underlying="ETH-USD"), underlying="ETH-USD")
    census = Census(tmp_path)
    census.update()
    assert census.after(0) == Counts(resolutions=36, windows=24, hours=3)
    assert census.first_ns == T0_NS + HOUR_NS // 4 + 60_000_000_000


def test_only_what_became_known_and_closed_later_counts(tmp_path: Path) -> None:
    record(tmp_path, hours(0, 10))
    census = Census(tmp_path)
    census.update()
    # The window that closed at eight o'clock became known a minute later, and is not later data.
    assert census.after(T0_NS + 8 * HOUR_NS) == Counts(resolutions=9, windows=8, hours=2)


def test_only_the_venue_counts(tmp_path: Path) -> None:
    own = msgspec.structs.replace(resolution(1, close_ns=T0_NS), source="rebuild")
    record(tmp_path, [own])
    census = Census(tmp_path)
    census.update()
    assert census.after(0).resolutions == 0


def test_counting_on_equals_counting_anew(tmp_path: Path) -> None:
    census = Census(tmp_path)
    for first, last in ((0, 2), (2, 3), (3, 9)):
        record(tmp_path, hours(first, last))
        census.update()
        census.update()
        anew = Census(tmp_path)
        anew.update()
        for after_ns in (0, T0_NS + 2 * HOUR_NS):
            assert census.after(after_ns) == anew.after(after_ns)
    assert census.after(0).resolutions == 36


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    record(tmp_path, hours(0, 1)[:3])
    path = next(tmp_path.glob("archive/journal/*/*/*/*.journal"))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        Census(tmp_path).update()
