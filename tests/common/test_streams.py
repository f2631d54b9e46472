"""The stream table: one place, one writer per market stream, every archived type on a stream."""

import pytest

from libs.common import streams
from libs.common.events import EVENT_TYPES, Tick
from libs.common.streams import STREAMS, archive_kind, stream, stream_name


def test_every_event_type_is_on_a_stream() -> None:
    on_streams = {kind for entry in STREAMS for kind in entry.types}
    assert on_streams == set(EVENT_TYPES)


def test_only_ticks_are_on_more_than_one_stream() -> None:
    for kind in EVENT_TYPES:
        owners = [entry.kind for entry in STREAMS if kind in entry.types]
        assert len(owners) == 1 or kind is Tick


def test_a_market_stream_has_exactly_one_writer() -> None:
    for entry in STREAMS:
        assert entry.writers
        assert entry.is_control or len(entry.writers) == 1


def test_every_stream_is_bounded() -> None:
    assert all(0 < entry.entries_max <= 1_000_000 for entry in STREAMS)


def test_kinds_and_folders_are_unique() -> None:
    assert len({entry.kind for entry in STREAMS}) == len(STREAMS)
    assert len({archive_kind(kind) for kind in EVENT_TYPES}) == len(EVENT_TYPES)


def test_a_name_carries_one_hash_tag() -> None:
    for entry in STREAMS:
        name = stream_name(entry.kind, "BTC-USD")
        assert name.count("{") == name.count("}") == 1
        tag = "{control}" if entry.is_control else "{BTC-USD}"
        assert name == f"hawk:{tag}:{entry.kind}"


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        stream("nothing")


def test_a_tick_is_the_last_type_nobody_archives() -> None:
    assert Tick in streams.stream("snapshots").types
