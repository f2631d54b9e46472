"""Slugs, outcomes, prices and ticks of Polymarket, strictly."""

import pytest

from libs.common.events import TickRange
from libs.common.pricing import POLYMARKET_TICKS
from libs.common.venues.numbers import WireError
from libs.common.venues.polymarket_terms import (
    Level,
    edge_e4,
    levels,
    number_e4,
    open_price_e4,
    text_ms_ns,
    tick_ranges,
    tokens,
    underlying,
    usd,
    window,
    yes_first,
)


def test_slug_of_a_series_tells_series_and_start() -> None:
    found = window("eth-updown-5m-1773307200")
    assert found is not None
    assert (found[0].name, found[0].underlying, found[0].length_s, found[1]) == (
        "eth-updown-5m",
        "ETH-USD",
        300,
        1773307200,
    )


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "btc-updown-15m-",
        "btc-updown-15m-1773306901",  # off the grid
        "btc-updown-15m-1773307200-2",
        "btc-updown-4h-1773307200",
        "doge-updown-5m-1773307200",
        "btc-updown-5m-١٧٧٣٣٠٧٢٠٠",
        "bitcoin-up-or-down-october-7-2026-3pm-et",
        "btc-updown-5m-1773307200\n",
    ],
)
def test_other_slugs_belong_to_no_series(slug: str) -> None:
    assert window(slug) is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["Up", "Down"], ("a", "b")),
        (["Down", "Up"], ("b", "a")),
        (["Yes", "No"], ("a", "b")),
        (["No", "Yes"], ("b", "a")),
    ],
)
def test_yes_comes_first_whatever_the_order(labels: list[str], expected: tuple[str, str]) -> None:
    assert yes_first(labels, ["a", "b"]) == expected


@pytest.mark.parametrize(
    ("labels", "ids", "reason"),
    [
        (["Long", "Short"], ["1", "2"], "unknown_type"),
        (["Up", "Up"], ["1", "2"], "unknown_type"),
        (["up", "down"], ["1", "2"], "unknown_type"),
        (["Up", "Down", "Flat"], ["1", "2", "3"], "wrong_shape"),
        (["Up", "Down"], ["1"], "wrong_shape"),
        (["Up", "Down"], ["1", "1"], "bad_name"),
        (["Up", "Down"], ["1", ""], "bad_name"),
        (["Up", "Down"], ["1", "../2"], "bad_name"),
    ],
)
def test_outcomes_that_do_not_say_which_is_yes_are_refused(
    labels: list[str], ids: list[str], reason: str
) -> None:
    with pytest.raises(WireError) as error:
        tokens(labels, ids)
    assert error.value.reason == reason


@pytest.mark.parametrize("text", ["0", "1", "0.000", "1.0", "-0.5", "1.1", "0.00001", "nan", ""])
def test_no_order_rests_at_or_beyond_the_bounds(text: str) -> None:
    with pytest.raises(WireError):
        open_price_e4(text)


@pytest.mark.parametrize(
    ("text", "price"), [("", None), ("0", None), ("1", None), ("0.001", 10), ("0.99", 9900)]
)
def test_best_price_at_a_bound_is_an_empty_side(text: str, price: int | None) -> None:
    assert edge_e4(text) == price


def test_levels_keep_the_venues_order_and_leave_out_empty_ones() -> None:
    side = [Level("0.48", "500.0"), Level("0.49", "0"), Level("0.50", "0.123456")]
    assert levels(side) == [(4800, 500_000_000), (5000, 123_456)]


@pytest.mark.parametrize(
    "side",
    [
        [Level("0.5", "1"), Level("0.50", "2")],
        [Level("0.5", "-1")],
        [Level("0.5", "1e3")],
        [Level("0.5", "0.1234567")],
        [Level("0", "1")],
    ],
)
def test_one_bad_level_spoils_the_side(side: list[Level]) -> None:
    with pytest.raises(WireError):
        levels(side)


def test_cent_market_may_turn_to_tenths_at_its_ends() -> None:
    assert tick_ranges(100) == POLYMARKET_TICKS
    assert tick_ranges(10) == (TickRange(start_e4=0, end_e4=10_000, step_e4=10),)


@pytest.mark.parametrize("step_e4", [0, -100, 7, 5_000, 10_000])
def test_tick_that_the_venue_does_not_have_is_refused(step_e4: int) -> None:
    with pytest.raises(WireError):
        tick_ranges(step_e4)


@pytest.mark.parametrize("value", [0.12345, 1e-5, 0.00015, -0.1, 1.0001, 1e308])
def test_number_off_the_grid_is_refused(value: float) -> None:
    with pytest.raises(WireError):
        number_e4(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (61035.86, 61035.86),
        ("61035.86000000", 61035.86),
        ("65245091651786417500000", 65245.0916517864175),
        (6.52450916517864175e22, 65245.0916517864175),
        ("500000000000000", 0.0005),
        ("142", 142.0),
    ],
)
def test_price_is_read_in_each_way_it_is_told(value: str | float, expected: float) -> None:
    assert usd(value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "value",
    ["", "0", "-1", "nan", "1e5", "1_000", " 1", "1.", "9" * 31, "9" * 5000, 0, -1.0, 1e11, 1e30],
)
def test_price_that_cannot_be_is_refused(value: str | float) -> None:
    with pytest.raises(WireError):
        usd(value)


def test_time_in_text_milliseconds_becomes_nanoseconds() -> None:
    assert text_ms_ns("1703875200000") == 1_703_875_200_000_000_000


@pytest.mark.parametrize("text", ["", "-1", "1e12", "170387520000000000", "soon"])
def test_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        text_ms_ns(text)


@pytest.mark.parametrize("symbol", ["", "btcusd", "BTC/USD", "btc/usdt", "/usd", "a b/usd"])
def test_symbol_of_another_form_is_refused(symbol: str) -> None:
    with pytest.raises(WireError):
        underlying(symbol)
