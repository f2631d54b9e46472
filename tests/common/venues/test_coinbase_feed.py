"""Advanced Trade's WebSocket: texts to messages, numbers kept, damage named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.coinbase_feed import AdvancedFeed
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    BookVoid,
    Frame,
    Heartbeat,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)
from tests.common.venues.coinbase_texts import (
    ANY_JSON,
    AT_NS,
    NOT_A_MESSAGE,
    NOT_READABLE,
    book,
    check,
    envelope,
    level,
    mutated,
    tick,
    trade,
    wire,
)

FEED = AdvancedFeed()
T1430 = 1_775_572_200_000_000_000
"""2026-04-07 14:30:00 UTC."""

RECORDED: dict[str, Frame] = {
    "subscriptions": Frame(
        [Acknowledged("level2"), Acknowledged("market_trades")], "", 0, T1430
    ),
    "l2_data_snapshot": Frame(
        [
            BookSnapshot(
                "BTC-USD",
                bids=[(68900.0, 1.5), (68899.5, 0.75), (68899.0, 2.3)],
                asks=[(68901.0, 0.5), (68901.5, 1.2), (68902.0, 0.8)],
            )
        ],
        "",
        0,
    ),
    "l2_data_update": Frame(
        [BookChange("BTC-USD", [(True, 68900.0, 2.0), (False, 68901.0, 0.0)])], "", 1
    ),
    "market_trades": Frame(
        [
            Trade("BTC-USD", "995098700", 68900.5, 0.0015, "sell", T1430 + 2_789_012_000),
            Trade("BTC-USD", "995098701", 68900.0, 0.05, "buy", T1430 + 2_800_000_000),
        ],
        "",
        5,
        T1430 + 2_789_012_000,
    ),
    "ticker": Frame(
        [
            TopOfBook(
                "BTC-USD", 68900.0, 68901.0, 1.5, 0.5, last=68900.5,
                about_ns=T1430 + 3_000_000_000,
            )
        ],
        "",
        12,
        T1430 + 3_000_000_000,
    ),
    "heartbeats": Frame(
        [Heartbeat(T1430 + 10_000_000_000)], "", 0, T1430 + 10_000_000_000
    ),
    "candles": Frame([], "", 3),
    "user": Frame([], "", 1),
}  # fmt: skip
"""Every recorded message and what it says, by hand."""

CHANNELS = ("l2_data", "market_trades", "ticker", "subscriptions", "heartbeats")

VALID = [
    envelope("l2_data", [book("snapshot", [level(), level("offer", "101", "1")])]),
    envelope("l2_data", [book("update", [level(), level("offer", "101", "0")])]),
    envelope("market_trades", [{"type": "update", "trades": [trade(), trade(trade_id="12")]}]),
    envelope("ticker", [{"type": "snapshot", "tickers": [tick()]}]),
    envelope("heartbeats", [{"current_time": "x", "heartbeat_counter": "5"}]),
    envelope("subscriptions", [{"subscriptions": {"level2": ["BTC-USD"]}}]),
    '{"type":"error","message":"x","reason":"y"}',
]


def messages(channel: str, *events: Any) -> list[Message]:
    """Return what a text with these events says."""
    frame = FEED.parse(envelope(channel, list(events)))
    assert frame.sequence == 7
    return frame.messages


def kinds(found: list[Message]) -> list[str]:
    """Return the reason of each reject, and the type of each other message."""
    return [m.reason if isinstance(m, Reject) else type(m).__name__ for m in found]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_message_says_what_was_read_from_it_by_hand(name: str) -> None:
    assert FEED.parse(wire(f"advanced_ws_{name}.json")) == RECORDED[name]


def test_whole_book_is_a_snapshot_without_empty_levels() -> None:
    rows = [level(), level("bid", "99", "0"), level("offer", "101.5", "0.125")]
    assert messages("l2_data", book("snapshot", rows)) == [
        BookSnapshot("BTC-USD", [(100.5, 2.0)], [(101.5, 0.125)])
    ]


def test_changes_keep_their_order_and_zero_stands_for_removal() -> None:
    rows = [level("offer", "101", "1"), level(), level("offer", "101", "0.00000000")]
    assert messages("l2_data", book("update", rows)) == [
        BookChange("BTC-USD", [(False, 101.0, 1.0), (True, 100.5, 2.0), (False, 101.0, 0.0)])
    ]


def test_text_may_hold_books_of_several_products() -> None:
    events = [book("update", [level()]), book("update", [level()], product="ETH-USD")]
    found = messages("l2_data", *events)
    assert [m.instrument for m in found if isinstance(m, BookChange)] == ["BTC-USD", "ETH-USD"]


@pytest.mark.parametrize(("side", "taker"), [("BUY", "sell"), ("SELL", "buy")])
def test_taker_is_the_opposite_of_the_side_that_rested(side: str, taker: str) -> None:
    found = messages("market_trades", {"type": "update", "trades": [trade(side=side)]})
    assert found == [Trade("BTC-USD", "11", 100.5, 0.25, taker, AT_NS, is_flow=True)]  # type: ignore[arg-type]


def test_trades_that_come_with_the_subscription_are_no_flow() -> None:
    [found] = messages("market_trades", {"type": "snapshot", "trades": [trade()]})
    assert isinstance(found, Trade)
    assert not found.is_flow


@pytest.mark.parametrize("empty", ["", "0", "0.00"])
def test_ticker_without_a_best_price_tells_an_empty_side(empty: str) -> None:
    row = tick(best_bid=empty, best_bid_quantity="")
    assert messages("ticker", {"type": "update", "tickers": [row]}) == [
        TopOfBook("BTC-USD", None, 100.5, None, 4.0, last=100.25, about_ns=AT_NS)
    ]


@pytest.mark.parametrize("counter", [5, "5", None, []])
def test_heartbeat_is_read_whatever_its_counter_and_its_time(counter: Any) -> None:
    event = {"heartbeat_counter": counter, "current_time": "2023-06-23 20:31 m=+91717.52"}
    assert messages("heartbeats", event) == [Heartbeat(AT_NS)]


def test_channel_without_products_is_not_acknowledged() -> None:
    told = {"level2": [], "heartbeats": ["heartbeats"]}
    assert messages("subscriptions", {"subscriptions": told}) == [Acknowledged("heartbeats")]


@pytest.mark.parametrize("channel", ["user", "candles", "status", "ticker_batch"])
def test_known_channel_that_nobody_needs_only_takes_its_number(channel: str) -> None:
    assert FEED.parse(envelope(channel, 5, timestamp="x")) == Frame([], "", 7)


def test_unknown_channel_is_named_and_takes_its_number() -> None:
    assert kinds(messages("l3_data")) == ["unknown_type"]


def test_unknown_fields_are_ignored() -> None:
    row = level() | {"new": {"deep": [1]}}
    assert kinds(messages("l2_data", book("update", [row]) | {"x": 1})) == ["BookChange"]


@pytest.mark.parametrize(
    ("said", "code", "remedy"),
    [
        ("authentication failure", "authentication", "stop"),
        ("Rate limit exceeded", "rate_limit", "reconnect"),
        ("Failed to subscribe", "subscription", "reconnect"),
        ("we are sorry\x1b[2J", "other", "reconnect"),
    ],
)
def test_error_says_what_helps(said: str, code: str, remedy: str) -> None:
    [found] = FEED.parse(json.dumps({"type": "error", "message": said})).messages
    assert isinstance(found, VenueError)
    assert (found.code, found.remedy) == (code, remedy)
    assert found.text.isprintable()


@pytest.mark.parametrize("text", NOT_READABLE.values(), ids=NOT_READABLE)
def test_text_that_is_no_json_is_malformed(text: str) -> None:
    assert kinds(FEED.parse(text).messages) == ["malformed"]


@pytest.mark.parametrize("text", NOT_A_MESSAGE.values(), ids=NOT_A_MESSAGE)
def test_json_that_is_no_message_has_the_wrong_shape(text: str) -> None:
    assert kinds(FEED.parse(text).messages) == ["wrong_shape"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (level(price="-1"), "out_of_range"),
        (level(price="0"), "out_of_range"),
        (level(price="1000000001"), "out_of_range"),
        (level(size="-0.5"), "out_of_range"),
        (level(size="1000000000001"), "out_of_range"),
        (level(price="nan"), "bad_number"),
        (level(size="NaN"), "bad_number"),
        (level(price="Infinity"), "bad_number"),
        (level(size="inf"), "bad_number"),
        (level(price="1e999"), "bad_number"),
        (level(price="1_0"), "bad_number"),
        (level(price=" 1"), "bad_number"),
        (level(price="+1"), "bad_number"),
        (level(price="0x1"), "bad_number"),
        (level(price="\u0663"), "bad_number"),
        (level(price=""), "bad_number"),
        (level(price="9" * 5_000), "bad_number"),
        (level(price=None), "wrong_shape"),
        (level(size=True), "wrong_shape"),
        (level(size=["1"]), "wrong_shape"),
        (level(side="ask"), "wrong_shape"),
        (level(side=1), "wrong_shape"),
        ("x", "wrong_shape"),
        ({}, "wrong_shape"),
    ],
)
@pytest.mark.parametrize("kind", ["snapshot", "update"])
def test_book_with_one_bad_level_is_refused_whole_and_void(
    bad: Any, reason: str, kind: str
) -> None:
    good = book("update", [level()], product="ETH-USD")
    found = messages("l2_data", book(kind, [level("offer", "101"), bad]), good)
    assert kinds(found) == [reason, "BookVoid", "BookChange"]
    assert found[1] == BookVoid("BTC-USD", "rejected")


def test_whole_book_with_one_price_twice_is_refused() -> None:
    rows = [level(), level(price="100.500", size="3")]
    assert kinds(messages("l2_data", book("snapshot", rows))) == ["wrong_shape", "BookVoid"]


@pytest.mark.parametrize("kind", ["delta", None, 5])
def test_book_of_an_unknown_kind_is_void(kind: Any) -> None:
    assert kinds(messages("l2_data", book(kind, [level()]))) == ["wrong_shape", "BookVoid"]


@pytest.mark.parametrize("product", [None, "", "../x", "x" * 300, "BTC\u202e", 5, ["BTC-USD"]])
def test_book_of_nobody_asks_for_all_books_again(product: Any) -> None:
    found = messages("l2_data", book("update", [level()], product=product))
    assert isinstance(found[0], Reject)
    assert isinstance(found[1], VenueError)
    assert found[1].remedy == "resubscribe"


@pytest.mark.parametrize("events", [None, {}, "x", 5])
def test_books_that_are_no_list_ask_for_all_books_again(events: Any) -> None:
    found = FEED.parse(envelope("l2_data", events))
    assert kinds(found.messages) == ["wrong_shape", "VenueError"]
    assert found.sequence == 7


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (trade(price="0"), "out_of_range"),
        (trade(price=100.5), "wrong_shape"),
        (trade(size="1e5"), "bad_number"),
        (trade(size=True), "wrong_shape"),
        (trade(side="buy"), "wrong_shape"),
        (trade(side="UNKNOWN"), "wrong_shape"),
        (trade(time="yesterday"), "bad_time"),
        (trade(time="2026-02-30T00:00:00.000000Z"), "bad_time"),
        (trade(time="0001-01-01T00:00:00Z"), "bad_time"),
        (trade(trade_id=""), "bad_name"),
        (trade(trade_id=11), "wrong_shape"),
        (trade(product_id="a/b"), "bad_name"),
        (None, "wrong_shape"),
    ],
)
def test_bad_trade_is_left_out_alone(bad: Any, reason: str) -> None:
    event = {"type": "update", "trades": [trade(), bad, trade(trade_id="12")]}
    assert kinds(messages("market_trades", event)) == ["Trade", reason, "Trade"]


@pytest.mark.parametrize("bad", [tick(price="x"), tick(best_bid="-1"), tick(best_ask="1e9999")])
def test_bad_ticker_is_left_out_alone(bad: Any) -> None:
    found = messages("ticker", {"type": "update", "tickers": [tick(), bad]})
    assert kinds(found)[0] == "TopOfBook"
    assert isinstance(found[1], Reject)


@pytest.mark.parametrize("sequence", [None, "x", -1, 1.5, True, 10**30])
def test_frame_whose_number_is_unreadable_keeps_its_content(sequence: Any) -> None:
    found = FEED.parse(envelope("l2_data", [book("update", [level()])], sequence=sequence))
    assert found.sequence is None
    assert kinds(found.messages) == ["wrong_shape", "BookChange"]


@pytest.mark.parametrize("stamp", [None, "x", "2026-13-01T00:00:00Z", 5, ""])
def test_frame_whose_time_is_unreadable_keeps_its_content(stamp: Any) -> None:
    event = {"type": "update", "trades": [trade()]}
    found = FEED.parse(envelope("market_trades", [event], timestamp=stamp))
    assert (found.sequence, found.about_ns) == (7, None)
    assert kinds(found.messages) in (["wrong_shape", "Trade"], ["bad_time", "Trade"])


def test_name_that_would_harm_a_terminal_is_no_channel() -> None:
    told = {"level2": ["BTC-USD"], "a\x1b[2J": ["x"]}
    assert kinds(messages("subscriptions", {"subscriptions": told})) == [
        "Acknowledged",
        "bad_name",
    ]


@given(st.text())
def test_any_text_gives_a_frame(text: str) -> None:
    for message in FEED.parse(text).messages:
        check(message)


@given(ANY_JSON, st.sampled_from(CHANNELS))
def test_any_events_give_a_frame_with_its_number(events: Any, channel: str) -> None:
    text = envelope(channel, events)
    frame = FEED.parse(text)
    for message in frame.messages:
        check(message)
    if "NaN" not in text and "Infinity" not in text:
        assert frame.sequence == 7


@given(mutated(VALID))
def test_damaged_message_gives_a_frame_within_its_ranges(text: str) -> None:
    for message in FEED.parse(text).messages:
        check(message)


@given(st.decimals(min_value="0.00000001", max_value="999999999", places=8))
def test_price_is_the_nearest_float_of_its_text(price: Any) -> None:
    [found] = messages("l2_data", book("update", [level(price=f"{price:f}")]))
    assert isinstance(found, BookChange)
    assert found.changes == [(True, float(f"{price:f}"), 2.0)]


def test_subscription_is_one_text_per_channel_and_heartbeats() -> None:
    products = '"product_ids":["BTC-USD","ETH-USD"]'
    assert FEED.subscribe(["BTC-USD", "ETH-USD"], request_id=1) == [
        f'{{"type":"subscribe",{products},"channel":"level2"}}',
        f'{{"type":"subscribe",{products},"channel":"market_trades"}}',
        f'{{"type":"subscribe",{products},"channel":"ticker"}}',
        '{"type":"subscribe","channel":"heartbeats"}',
    ]


def test_end_of_a_subscription_leaves_the_heartbeats() -> None:
    assert FEED.unsubscribe(["BTC-USD"], request_id=1, standing=()) == [
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"}',
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"market_trades"}',
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"ticker"}',
    ]


def test_fresh_book_comes_by_subscribing_it_again() -> None:
    assert FEED.resync(["BTC-USD"], request_id=1, standing=()) == [
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"}',
        '{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}',
    ]
