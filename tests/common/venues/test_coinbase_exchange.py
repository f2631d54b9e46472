"""The Exchange feed: its capture, its messages by hand, damage named."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.coinbase_exchange import ExchangeFeed
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    Heartbeat,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)
from tests.common.venues.coinbase_texts import (
    AT,
    AT_NS,
    CAPTURE,
    NOT_A_MESSAGE,
    NOT_READABLE,
    check,
    mutated,
    wire,
)

FEED = ExchangeFeed()
T1643 = 1_618_677_780_000_000_000
"""2021-04-17 16:43:00 UTC."""

RECORDED: dict[int, Message] = {
    8: TopOfBook(
        "BAND-GBP", 14.7550, 14.8060, last=14.7775, about_ns=T1643 + 30_244_075_000
    ),
    10: Trade(
        "BAND-GBP", "881613", 14.7775, 0.04, "buy", T1643 + 30_244_075_000, is_flow=False
    ),
    34: BookChange(
        "SKL-BTC", [(False, 0.00001306, 660.5)], about_ns=T1643 + 37_075_687_000
    ),
    55: Trade("SKL-BTC", "280232", 0.00001305, 985.0, "buy", T1643 + 37_089_723_000),
    9949: BookChange("SKL-GBP", [(False, 0.5767, 0.0)], about_ns=T1643 + 67_859_760_000),
}  # fmt: skip
"""Line of the capture (from 0) and what it says, by hand."""

COUNTED = {"BookChange": 9719, "BookSnapshot": 10, "TopOfBook": 107, "Trade": 107}
"""As `grep -c` counts l2update, snapshot, ticker, and match with last_match."""


def text(kind: str, **fields: Any) -> str:
    """Write a message."""
    return json.dumps({"type": kind, "product_id": "BTC-USD", "time": AT, **fields})


def update(*changes: Any) -> str:
    """Write a change of the book."""
    return text("l2update", changes=list(changes))


def match(kind: str = "match", **fields: Any) -> str:
    """Write a trade whose maker sold."""
    row = {"trade_id": 11, "side": "sell", "size": "0.25", "price": "100.50", "sequence": 90}
    return text(kind, **row | fields)


VALID = [
    update(["buy", "100.5", "2"], ["sell", "101", "0"]),
    text("snapshot", bids=[["100.5", "2"]], asks=[["101", "1"]]),
    text("ticker", price="100.25", best_bid="100", best_ask="100.5", sequence=7),
    match(),
    text("heartbeat", sequence=90, last_trade_id=20),
    text("subscriptions", channels=[{"name": "level2", "product_ids": ["BTC-USD"]}]),
    text("error", message="x", reason="y"),
]


def said(line: str) -> list[Message]:
    """Return what a text says; Exchange frames never carry a number."""
    frame = FEED.parse(line)
    assert frame.sequence is None
    return frame.messages


def kinds(found: list[Message]) -> list[str]:
    """Return the reason of each reject, and the type of each other message."""
    return [m.reason if isinstance(m, Reject) else type(m).__name__ for m in found]


def bodies() -> dict[int, str]:
    """Return what the server sent in the capture, by line."""
    lines = enumerate(wire(CAPTURE).splitlines())
    return {n: body for n, line in lines if (body := line.partition(": ")[2]) and n > 3}


def test_capture_is_read_without_a_reject() -> None:
    found = Counter(kinds([m for body in bodies().values() for m in said(body)]))
    assert {kind: found[kind] for kind in COUNTED} == COUNTED
    assert set(found) - set(COUNTED) == {"Acknowledged"}


@pytest.mark.parametrize("line", RECORDED)
def test_recorded_message_says_what_was_read_from_it_by_hand(line: int) -> None:
    assert said(bodies()[line]) == [RECORDED[line]]


def test_recorded_whole_book_has_all_of_its_levels() -> None:
    [found] = said(bodies()[6])
    assert isinstance(found, BookSnapshot)
    assert (found.instrument, len(found.bids), len(found.asks)) == ("BAND-GBP", 152, 166)
    assert (found.bids[:2], found.asks[0]) == (
        [(14.7693, 27.51), (14.7659, 12.48)],
        (14.8024, 12.77),
    )


def test_recorded_subscriptions_are_acknowledged_by_channel() -> None:
    assert said(bodies()[5]) == [Acknowledged("level2"), Acknowledged("ticker")]


def test_changes_are_absolute_sizes_in_order() -> None:
    assert said(VALID[0]) == [
        BookChange("BTC-USD", [(True, 100.5, 2.0), (False, 101.0, 0.0)], about_ns=AT_NS)
    ]


def test_whole_book_needs_no_time() -> None:
    line = json.dumps({"type": "snapshot", "product_id": "X-Y", "bids": [], "asks": [["2", "1"]]})
    assert said(line) == [BookSnapshot("X-Y", [], [(2.0, 1.0)])]


@pytest.mark.parametrize(("side", "taker"), [("buy", "sell"), ("sell", "buy")])
def test_taker_is_the_opposite_of_the_side_that_rested(side: str, taker: str) -> None:
    assert said(match(side=side)) == [Trade("BTC-USD", "11", 100.5, 0.25, taker, AT_NS)]  # type: ignore[arg-type]


def test_last_match_is_no_flow_and_tells_nothing_of_the_clock() -> None:
    frame = FEED.parse(match("last_match"))
    assert frame.about_ns is None
    assert kinds(frame.messages) == ["Trade"]
    assert isinstance(frame.messages[0], Trade) and not frame.messages[0].is_flow


def test_heartbeat_tells_the_time() -> None:
    assert said(VALID[4]) == [Heartbeat(AT_NS)]


def test_error_with_its_reason_says_what_helps() -> None:
    [found] = said(text("error", message="Failed to subscribe", reason="require authentication"))
    assert found == VenueError(
        "authentication", "Failed to subscribe: require authentication", "stop"
    )


@pytest.mark.parametrize("kind", ["status", "received", "done"])
def test_known_kind_that_nobody_needs_says_nothing(kind: str) -> None:
    assert said(text(kind)) == []


def test_unknown_kind_is_named() -> None:
    assert kinds(said(text("l4update"))) == ["unknown_type"]


@pytest.mark.parametrize("line", NOT_READABLE.values(), ids=NOT_READABLE)
def test_text_that_is_no_json_is_malformed_and_may_have_been_a_book(line: str) -> None:
    assert kinds(said(line)) == ["malformed", "VenueError"]


@pytest.mark.parametrize("line", NOT_A_MESSAGE.values(), ids=NOT_A_MESSAGE)
def test_json_that_is_no_message_has_the_wrong_shape(line: str) -> None:
    assert kinds(said(line)) == ["wrong_shape", "VenueError"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (["buy", "-1", "1"], "out_of_range"),
        (["buy", "0", "1"], "out_of_range"),
        (["sell", "1", "-1"], "out_of_range"),
        (["sell", "nan", "1"], "bad_number"),
        (["sell", "1e999", "1"], "bad_number"),
        (["sell", "9" * 5_000, "1"], "bad_number"),
        (["ask", "1", "1"], "wrong_shape"),
        (["buy", 1.5, "1"], "wrong_shape"),
        (["buy", "1", True], "wrong_shape"),
        (["buy", "1"], "wrong_shape"),
        (None, "wrong_shape"),
    ],
)
def test_book_with_one_bad_level_is_refused_whole_and_void(bad: Any, reason: str) -> None:
    assert kinds(said(update(["buy", "100", "1"], bad))) == [reason, "BookVoid"]


def test_whole_book_with_one_price_twice_is_refused() -> None:
    rows = [["100", "1"], ["100.0", "2"]]
    assert kinds(said(text("snapshot", bids=rows, asks=[]))) == ["wrong_shape", "BookVoid"]


@pytest.mark.parametrize("product", [None, "", "a b", 5])
def test_book_of_nobody_asks_for_all_books_again(product: Any) -> None:
    found = said(text("l2update", product_id=product, changes=[]))
    assert kinds(found)[1:] == ["VenueError"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (match(price="0"), "out_of_range"),
        (match(size="x"), "bad_number"),
        (match(trade_id="11"), "wrong_shape"),
        (match(trade_id=10**300), "bad_name"),
        (match(time="x"), "bad_time"),
        (match(side="BUY"), "wrong_shape"),
        (text("heartbeat", time=5), "wrong_shape"),
        (text("heartbeat", time="5"), "bad_time"),
        (text("ticker", price="x", best_bid="1", best_ask="2"), "bad_number"),
        (text("subscriptions", channels=[{"name": "", "product_ids": ["x"]}]), "bad_name"),
    ],
)
def test_bad_message_is_named(bad: str, reason: str) -> None:
    assert kinds(said(bad)) == [reason]


@given(st.text())
def test_any_text_gives_a_frame(line: str) -> None:
    for message in said(line):
        check(message)


@given(mutated(VALID))
def test_damaged_message_gives_a_frame_within_its_ranges(line: str) -> None:
    for message in said(line):
        check(message)


def test_one_text_subscribes_all_channels() -> None:
    channels = '"channels":["level2_batch","ticker","matches","heartbeat"]'
    products = '"product_ids":["BTC-USD"]'
    assert FEED.subscribe(["BTC-USD"], request_id=1) == [
        f'{{"type":"subscribe",{products},{channels}}}'
    ]
    assert FEED.unsubscribe(["BTC-USD"], request_id=1, standing=()) == [
        f'{{"type":"unsubscribe",{products},{channels}}}'
    ]


def test_fresh_book_comes_by_subscribing_it_again() -> None:
    assert FEED.resync(["BTC-USD"], request_id=1, standing=()) == [
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}',
        '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}',
    ]
