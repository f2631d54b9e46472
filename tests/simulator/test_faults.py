"""Switches and what delivery does under them."""

import pytest

from libs.common.checks import UsageError
from services.simulator.faults import (
    FAULTS,
    ONLY,
    SWITCHES_MAX,
    VENUES,
    Board,
    Mangler,
    cycle,
)
from services.simulator.naming import NS_PER_S
from services.simulator.wire import Out


def on(*names: str, venue: str = "kalshi") -> dict[str, frozenset[str]]:
    return {venue: frozenset(names)}


def texts(n: int, *, first: int = 0) -> list[Out]:
    return [Out(str(i), is_data=True) for i in range(first, first + n)]


def numbers(sent: list[Out]) -> list[int]:
    return [int(out.text) for out in sent]


def test_a_switch_holds_for_its_seconds_and_is_remembered() -> None:
    board = Board()
    board.switch_on("freeze", "kalshi", now_ns=0, seconds=2)
    assert board.active(NS_PER_S) == on("freeze")
    assert board.active(2 * NS_PER_S) == {}
    assert board.was_on("freeze", "kalshi", NS_PER_S)
    assert not board.was_on("freeze", "coinbase", NS_PER_S)


def test_without_seconds_a_switch_holds_until_it_is_switched_off() -> None:
    board = Board()
    board.switch_on("html", "all", now_ns=0, seconds=None)
    assert board.active(10**18).keys() == set(VENUES)
    ended = board.switch_off("html", "coinbase", now_ns=5)
    assert [s.venue for s in ended] == ["coinbase"]
    assert board.active(6).keys() == {"kalshi", "polymarket"}


def test_days_of_faults_fill_no_list_and_what_decides_a_market_is_remembered() -> None:
    board, hour_ns = Board(), 3_600 * NS_PER_S
    board.switch_on("html", "kalshi", now_ns=0, seconds=None)
    board.switch_on("missing_strike", "kalshi", now_ns=0, seconds=60)
    for number in range(SWITCHES_MAX + 100):
        board.switch_on("freeze", "coinbase", now_ns=number * hour_ns, seconds=60)
    now_ns = (SWITCHES_MAX + 100) * hour_ns
    assert board.active(now_ns) == on("html")
    assert board.was_on("missing_strike", "kalshi", 59 * NS_PER_S)
    assert len(board.switches) < 10


def test_what_is_remembered_has_a_limit() -> None:
    board, hour_ns = Board(), 3_600 * NS_PER_S
    for number in range(SWITCHES_MAX):
        board.switch_on("late_strike", "kalshi", now_ns=number * hour_ns, seconds=60)
    with pytest.raises(UsageError, match="limit"):
        board.switch_on("late_strike", "kalshi", now_ns=SWITCHES_MAX * hour_ns, seconds=60)


def test_all_means_the_venues_at_which_a_fault_means_anything() -> None:
    board = Board()
    switched = board.switch_on("ghost_book", "all", now_ns=0, seconds=1)
    assert [s.venue for s in switched] == ["polymarket"]


@pytest.mark.parametrize(
    ("name", "venue", "seconds"),
    [
        ("nothing", "kalshi", 1.0),
        ("freeze", "binance", 1.0),
        ("maintenance", "coinbase", 1.0),
        ("freeze", "kalshi", 0.0),
        ("freeze", "kalshi", float("nan")),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, venue: str, seconds: float) -> None:
    with pytest.raises(UsageError):
        Board().switch_on(name, venue, now_ns=0, seconds=seconds)


def test_a_round_of_the_cycle_goes_through_every_fault_once() -> None:
    turns = [cycle(3, i) for i in range(len(FAULTS))]
    assert {name for name, _, _ in turns} == set(FAULTS)
    assert all(venue in ONLY.get(name, VENUES) for name, venue, _ in turns)
    assert turns == [cycle(3, i) for i in range(len(FAULTS))]
    assert turns != [cycle(4, i) for i in range(len(FAULTS))]


def test_without_faults_messages_pass() -> None:
    sent = texts(5)
    assert Mangler("kalshi", "kalshi.ws").mangle(sent, {}, 0) is sent


def test_a_freeze_loses_data_and_keeps_the_rest() -> None:
    sent = [*texts(3), Out("pong")]
    assert Mangler("kalshi", "kalshi.ws").mangle(sent, on("freeze"), 0) == [Out("pong")]


def test_a_gap_loses_one_message_each_ten_seconds() -> None:
    mangler = Mangler("kalshi", "kalshi.ws")
    told = [mangler.mangle(texts(10), on("sequence_gap"), s * NS_PER_S) for s in range(11)]
    assert [len(t) for t in told] == [9, *[10] * 9, 9]


def test_a_feed_without_numbers_loses_and_swaps_nothing() -> None:
    mangler = Mangler("polymarket", "polymarket.ws")
    faults = on("sequence_gap", "reorder", venue="polymarket")
    assert numbers(mangler.mangle(texts(30), faults, 0)) == list(range(30))


def test_one_in_five_is_doubled() -> None:
    told = numbers(Mangler("kalshi", "kalshi.ws").mangle(texts(10), on("duplicate"), 0))
    assert told == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 9]


def test_one_in_ten_comes_after_the_next_even_over_two_batches() -> None:
    mangler = Mangler("kalshi", "kalshi.ws")
    told = mangler.mangle(texts(10), on("reorder"), 0)
    told += mangler.mangle(texts(5, first=10), on("reorder"), 0)
    assert numbers(told) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14]


def test_what_reorder_held_back_comes_when_it_ends() -> None:
    mangler = Mangler("kalshi", "kalshi.ws")
    mangler.mangle(texts(10), on("reorder"), 0)
    assert numbers(mangler.mangle([], {}, 1)) == [9]


def test_a_slow_venue_sends_bursts_every_five_seconds_and_loses_nothing() -> None:
    mangler = Mangler("kalshi", "kalshi.ws")
    told = [mangler.mangle(texts(1, first=s), on("slow_reader"), s * NS_PER_S) for s in range(11)]
    assert [len(t) for t in told] == [1, 0, 0, 0, 0, 5, 0, 0, 0, 0, 5]
    assert numbers([out for t in told for out in t]) == list(range(11))


def test_a_schema_change_renames_the_fields_of_prices() -> None:
    sent = [Out('{"price_dollars":"0.5"}', is_data=True)]
    (told,) = Mangler("kalshi", "kalshi.ws").mangle(sent, on("schema_change"), 0)
    assert told.text == '{"price_usd":"0.5"}'
