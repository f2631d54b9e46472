"""One event, one line, nothing in it that a terminal would obey."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import EVENT_TYPES, AnyEvent, Event, Market, decode, wire
from services.console.event_lines import json_of, line_of, printable
from tests.common.samples import quote, struct_strategy

events = st.one_of([struct_strategy(kind) for kind in EVENT_TYPES])

ESCAPES = "\x1b[2J\x9b31m\u202e\r\n\x07\u2028"


@given(events)
def test_every_event_is_one_printable_line(event: AnyEvent) -> None:
    line = line_of(event)
    assert line.isprintable()
    assert type(event).__name__ in line


@given(events)
def test_json_is_ascii_and_the_event_itself(event: AnyEvent) -> None:
    line = json_of(event)
    assert line.isascii()
    assert line.isprintable()
    assert decode(json.dumps(json.loads(line)).encode()) == decode(wire(event))


@pytest.mark.parametrize("write", [line_of, json_of])
def test_escapes_in_a_market_name_come_out_harmless(write: object) -> None:
    event: Event = quote(0, market=f"KX{ESCAPES}END")
    assert callable(write)
    line = write(event)
    assert not set(line) & set(ESCAPES) - set("[2J31m")
    assert "KX" in line
    assert "END" in line


def test_printable_text_stays_as_it_is() -> None:
    assert printable("KXBTC15M-26JUN01 é ≥ 5") == "KXBTC15M-26JUN01 é ≥ 5"


def test_a_quote_shows_its_best_levels() -> None:
    line = line_of(quote(3))
    assert "bid 0.4900 x 1 ask 0.5100 x 3" in line
    assert "BTC-USD" in line


def test_a_market_without_strike_shows_a_dash() -> None:
    event = Market(
        ts_ns=0,
        id="m",
        venue="kalshi",
        market="KX",
        series="S",
        underlying="BTC-USD",
        open_ns=0,
        close_ns=0,
        comparator=">=",
        settlement_rule="mean60",
        fee=None,
        tick_ranges=(),
        rule_fingerprint="f",
    )
    assert ">= - closes 1970-01-01T00:00:00.000Z" in line_of(event)
