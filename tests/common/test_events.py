"""Events: what identifies a fact, what stands in its body, in which order facts stand."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import events
from libs.common.events import EVENT_TYPES, body, decode, event_id, order_key, quote_id, set_seq
from tests.common.samples import names, quote, spot, struct_strategy, tick

any_event = st.one_of([struct_strategy(kind) for kind in EVENT_TYPES])


@given(any_event)
def test_every_event_comes_back_from_its_body(event: events.Event) -> None:
    again = decode(body(event))
    assert type(again) is type(event)
    assert body(again) == body(event)


@given(any_event, st.integers(1, 2**62))
def test_the_writers_counter_is_no_part_of_a_body(event: events.Event, seq: int) -> None:
    before = body(event)
    set_seq(event, seq)
    assert body(event) == before
    assert decode(before, seq=seq).seq == seq


def test_the_machines_clock_is_no_part_of_a_body() -> None:
    one = events.ModelEvent(
        ts_ns=1, id="00" * 8, bundle="b", action="swapped", reason="r", cause="c", wall_ns=5
    )
    assert body(one) == body(msgspec.structs.replace(one, wall_ns=77))
    assert b'"wall_ns":5' in events.wire(one)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        spot(0).last_usd = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"type":"Nothing","ts_ns":1,"id":"00"}',
        b'{"type":"Tick","id":"00","underlying":"BTC-USD"}',
        b'{"type":"Tick","ts_ns":1.5,"id":"00","underlying":"BTC-USD"}',
        b'{"type":"Tick","ts_ns":"1","id":"00","underlying":"BTC-USD"}',
        b'{"type":"Tick","ts_ns":true,"id":"00","underlying":"BTC-USD"}',
        b'{"type":"Tick","ts_ns":1,"id":"00","underlying":"BTC-USD"',
        b"[" * 100_000,
    ],
)
def test_what_is_not_an_event_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(text)


@given(st.lists(names.filter(lambda n: "\x1f" not in n), min_size=1, max_size=4, unique=True))
def test_an_id_depends_on_every_part_and_its_place(parts: list[str]) -> None:
    own = event_id(*parts)
    assert own == event_id(*parts)
    assert len(bytes.fromhex(own)) == events.ID_BYTES
    assert own != event_id(*parts, "")
    if len(parts) > 1:
        assert own != event_id(*reversed(parts))
        assert own != event_id("".join(parts))


def test_the_same_book_at_the_same_instant_is_the_same_fact() -> None:
    book = ((4900,), (100,), (5100,), ())
    assert quote_id("kalshi", "M", 1, book) == quote_id("kalshi", "M", 1, [list(x) for x in book])
    others = [
        quote_id("polymarket", "M", 1, book),
        quote_id("kalshi", "N", 1, book),
        quote_id("kalshi", "M", 2, book),
        quote_id("kalshi", "M", 1, ((4900,), (100,), (), (5100,))),
        quote_id("kalshi", "M", 1, ((49, 0), (100,), (5100,), ())),
    ]
    assert len({quote_id("kalshi", "M", 1, book), *others}) == len(others) + 1


def test_events_are_ordered_by_time_then_counter_then_id() -> None:
    first, second, third = spot(0), spot(0), quote(1)
    set_seq(first, 1)
    set_seq(second, 2)
    assert sorted([third, second, first], key=order_key) == [first, second, third]


def test_import_numbers_kinds_of_one_instant_in_this_order() -> None:
    order = [events.Market, events.Resolution, events.Gap, events.SpotSnapshot]
    places = [EVENT_TYPES.index(kind) for kind in (*order, events.QuoteSnapshot)]
    assert places == sorted(places)


def test_a_tick_carries_its_underlying() -> None:
    assert tick(0).underlying == "BTC-USD"
