"""The trader's merge against the order that replay has, whatever comes in whichever pieces."""

import random
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import Event, SpotSnapshot, Tick, event_id
from services.trader.merge import KINDS, Merge, Source

PLACES = ("BTC-USD", "ETH-USD")


def tick(ts_ns: int, place: str) -> Tick:
    return Tick(ts_ns=ts_ns, id=event_id("Tick", place, ts_ns), underlying=place)


def event(ts_ns: int, kind: str, place: str, number: int) -> Event:
    """Any event will do; its source says from which stream it came."""
    name = event_id(kind, place, ts_ns, number)
    return SpotSnapshot(ts_ns=ts_ns, id=name, underlying=place, source=kind)


streams = st.fixed_dictionaries(
    {
        (kind, place): st.lists(st.integers(0, 3), min_size=6, max_size=6)
        for kind in KINDS
        for place in PLACES
    }
)


def made(counts: dict[Source, list[int]]) -> dict[Source, list[Event]]:
    """Return streams of six instants with so many events each, every instant ticked."""
    return {
        (kind, place): [
            e
            for ts_ns, n in enumerate(numbers, start=1)
            for e in (*(event(ts_ns, kind, place, i) for i in range(n)), tick(ts_ns, place))
        ]
        for (kind, place), numbers in counts.items()
    }


def in_replays_order(by_source: dict[Source, list[Event]]) -> list[tuple[int, list[Event]]]:
    keyed = [
        ((e.ts_ns, place, isinstance(e, Tick), KINDS.index(kind), place_in_stream), e)
        for (kind, place), events in by_source.items()
        for place_in_stream, e in enumerate(events)
        if not (isinstance(e, Tick) and kind == "forecasts")
    ]
    ordered = sorted(keyed, key=lambda pair: pair[0])
    return [
        (ts_ns, [e for _, e in group]) for ts_ns, group in groupby(ordered, key=lambda p: p[0][0])
    ]


@given(counts=streams, seed=st.integers(0, 1_000))
def test_instants_come_whole_and_in_replays_order(
    counts: dict[Source, list[int]], seed: int
) -> None:
    chance = random.Random(seed)
    by_source = made(counts)
    left = {source: list(events) for source, events in by_source.items()}
    merge = Merge()
    for place in PLACES:
        merge.open(place, 0)
    taken: list[tuple[int, list[Event]]] = []
    while any(left.values()):
        source = merge.behind()
        assert source is not None and left[source], "it waits for a stream that has something"
        n = chance.randrange(1, 6)
        merge.add(source, left[source][:n])
        del left[source][:n]
        taken += merge.take()
    assert taken == in_replays_order(by_source)


def test_an_instant_waits_for_the_last_stream() -> None:
    merge = Merge()
    for place in PLACES:
        merge.open(place, 0)
    sources = [(kind, place) for place in PLACES for kind in KINDS]
    for source in sources[:-1]:
        merge.add(source, [tick(1, source[1])])
        assert merge.take() == []
    assert merge.behind() == sources[-1]
    merge.add(sources[-1], [tick(1, "ETH-USD")])
    assert merge.take() == [(1, [tick(1, "BTC-USD"), tick(1, "ETH-USD")])]


def test_without_a_stream_nobody_is_behind() -> None:
    assert Merge().behind() is None
    assert Merge().take() == []
