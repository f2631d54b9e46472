"""Prices of underlyings: the legacy feed and PolyBolt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.messages import (
    Acknowledged,
    Frame,
    Heartbeat,
    IndexValue,
    Reject,
    VenueError,
)
from libs.common.venues.polymarket_prices import PolymarketPrices, PolymarketRtds
from tests.common.venues.polymarket_wire import mutated, text

RTDS = PolymarketRtds()
BOLT = PolymarketPrices()
TS_NS = 1_780_730_269_000_000_000

POINT = {
    "topic": "crypto_prices_chainlink",
    "type": "update",
    "timestamp": 1780730269142,
    "payload": {
        "symbol": "btc/usd",
        "timestamp": 1780730269000,
        "value": 61035.86,
        "full_accuracy_value": "61035860000000000000000",
    },
}
AVERAGE = {
    "topic": "crypto_prices_twap_sixty",
    "type": "update",
    "timestamp": 1780730269142,
    "payload": {"symbol": "eth/usd", "timestamp": 1780730269000, "value": "2500.5", "window_s": 60},
}
HISTORY = {
    "topic": "crypto_prices_twap_sixty",
    "type": "subscribe",
    "timestamp": 1780730270000,
    "payload": {
        "symbol": "btc/usd",
        "window_s": 60,
        "data": [
            {"timestamp": 1780730268000, "value": 61034.5},
            {"timestamp": 1780730269000, "full_accuracy_value": "61035500000000000000000"},
        ],
    },
}
LIVE = {
    "v": 1,
    "channel": "price.crypto.twap",
    "seq": 2,
    "ts": 1780730269142,
    "payload": {
        "symbol": "btcusd",
        "value": 61035.8,
        "full_accuracy_value": "61035.86000000",
        "timestamp": 1780730269000,
        "source": "chainlink",
    },
}
SNAPSHOT = {
    "v": 1,
    "channel": "price.crypto.twap",
    "seq": 1,
    "ts": 1780730269100,
    "snapshot": True,
    "payload": {
        "symbol": "solusd",
        "source": "chainlink",
        "data": [{"timestamp": 1780730269000, "value": 142.5, "full_accuracy_value": "142.50"}],
    },
}


def test_price_at_a_point_has_no_window() -> None:
    value = IndexValue("chainlink", "BTC-USD", 61035.86, TS_NS, 0)
    assert RTDS.parse(text(POINT)) == Frame([value], about_ns=1_780_730_269_142_000_000)


def test_average_has_its_window() -> None:
    value = IndexValue("chainlink", "ETH-USD", 2500.5, TS_NS, 60)
    assert RTDS.parse(text(AVERAGE)).messages == [value]


def test_first_answer_is_an_acknowledgement_and_the_history() -> None:
    assert RTDS.parse(text(HISTORY)).messages == [
        Acknowledged("crypto_prices_twap_sixty"),
        IndexValue("chainlink", "BTC-USD", 61034.5, TS_NS - 1_000_000_000, 60),
        IndexValue("chainlink", "BTC-USD", 61035.5, TS_NS, 60),
    ]


def test_bad_value_of_a_history_does_not_cost_the_others() -> None:
    data = [{"timestamp": 1780730268000, "value": "NaN"}, {"timestamp": 1780730269000, "value": 1}]
    found = RTDS.parse(text(HISTORY | {"payload": {"symbol": "btc/usd", "data": data}})).messages
    assert isinstance(found[1], Reject)
    assert (found[1].reason, found[1].instrument) == ("bad_number", "BTC-USD")
    assert found[2] == IndexValue("chainlink", "BTC-USD", 1.0, TS_NS, 60)


@pytest.mark.parametrize("topic", [None, "crypto_prices", "crypto_prices_twap_thirty", "comments"])
def test_value_whose_topic_does_not_say_what_it_is_is_refused(topic: str | None) -> None:
    (bad,) = RTDS.parse(text(HISTORY | {"topic": topic})).messages
    assert isinstance(bad, Reject)
    assert bad.reason == "unknown_type"


def test_average_of_another_window_than_its_topics_is_refused() -> None:
    (bad,) = RTDS.parse(text(AVERAGE | {"payload": AVERAGE["payload"] | {"window_s": 30}})).messages  # type: ignore[operator]
    assert isinstance(bad, Reject)
    assert bad.reason == "unknown_type"


@pytest.mark.parametrize("answer", ["PONG", ""])
def test_both_answers_to_a_ping_are_signs_of_life(answer: str) -> None:
    assert RTDS.parse(answer).messages == [Heartbeat()]


def test_value_of_the_new_feed_bears_its_place_in_the_sequence() -> None:
    assert BOLT.parse(text(LIVE)) == Frame(
        [IndexValue("chainlink", "BTC-USD", 61035.86, TS_NS, 60)],
        channel="price.crypto.twap",
        sequence=2,
        about_ns=1_780_730_269_142_000_000,
    )


def test_history_of_the_new_feed_is_told_as_values() -> None:
    frame = BOLT.parse(text(SNAPSHOT))
    assert frame.sequence == 1
    assert frame.messages == [IndexValue("chainlink", "SOL-USD", 142.5, TS_NS, 60)]


def test_empty_history_says_nothing() -> None:
    empty = SNAPSHOT | {"payload": {"symbol": "btcusd", "data": []}}
    assert BOLT.parse(text(empty)).messages == []


def test_dropped_frames_are_told() -> None:
    assert (
        VenueError("dropped", "3 frames", "ignore")
        in BOLT.parse(text(LIVE | {"dropped": 3})).messages
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "unknown_schema"),
        ({"v": None}, "unknown_schema"),
        ({"channel": "price.crypto"}, "unknown_type"),
        ({"payload": None}, "wrong_shape"),
        ({"payload": []}, "wrong_shape"),
        ({"payload": {"symbol": "btcusd"}}, "wrong_shape"),
        ({"payload": {"symbol": "btcusd", "timestamp": 1}}, "wrong_shape"),
        ({"payload": {"symbol": "btcusd", "timestamp": -1, "value": 1.0}}, "bad_time"),
        ({"payload": {"symbol": "btcusd", "timestamp": 10**18, "value": 1.0}}, "bad_time"),
        ({"payload": {"symbol": "btcusd", "timestamp": 1, "value": 0}}, "out_of_range"),
        ({"payload": {"symbol": "btcusd", "timestamp": 1, "value": True}}, "wrong_shape"),
        ({"payload": {"symbol": "btcusd", "timestamp": 1, "value": "1e999"}}, "bad_number"),
        ({"payload": {"symbol": "../usd", "timestamp": 1, "value": 1.0}}, "bad_name"),
        ({"ts": "soon"}, "wrong_shape"),
    ],
)
def test_refused_frame_keeps_its_place_in_the_sequence(change: dict[str, Any], reason: str) -> None:
    frame = BOLT.parse(text(LIVE | change))
    assert frame.sequence == 2
    (bad,) = frame.messages
    assert isinstance(bad, Reject)
    assert bad.reason == reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"op": "authed", "rid": "0"}, Acknowledged("auth", request_id=0)),
        (
            {"op": "subscribed", "channel": "price.crypto.twap", "rid": "7"},
            Acknowledged("price.crypto.twap", request_id=7),
        ),
        ({"op": "authed", "rid": "9" * 5_000}, Acknowledged("auth")),
        ({"op": "authed", "rid": "\u0661"}, Acknowledged("auth")),
        ({"op": "pong"}, Heartbeat()),
        (
            {"op": "error", "code": "auth_required", "channel": "price.crypto.twap", "rid": "1"},
            VenueError("auth_required", "price.crypto.twap", "reconnect", request_id=1),
        ),
        (
            {"op": "error", "code": "auth_invalid", "rid": "0"},
            VenueError("auth_invalid", "-", "stop", request_id=0),
        ),
        ({"op": "error", "code": "rate_limited"}, VenueError("rate_limited", "-", "stop")),
        ({"op": "error", "code": "try_later"}, VenueError("try_later", "-", "reconnect")),
        ({"op": "error", "code": "\x1b[2J"}, VenueError("-", "-", "reconnect")),
    ],
)  # fmt: skip
def test_answers_to_requests_are_read(answer: dict[str, str], expected: object) -> None:
    assert BOLT.parse(text(answer)).messages == [expected]


@pytest.mark.parametrize("feed", [RTDS, BOLT], ids=lambda feed: feed.name)
@pytest.mark.parametrize(
    "plain",
    ["<html>", '{"topic":', "[" * 100_000, '{"a":' * 100_000, '{"v":NaN}', '{"rid":"\\ud800"}',
     "\ud800", "PING"],
)  # fmt: skip
def test_text_that_is_no_json_is_refused(
    feed: PolymarketRtds | PolymarketPrices, plain: str
) -> None:
    (bad,) = feed.parse(plain).messages
    assert isinstance(bad, Reject)
    assert bad.detail.isprintable()


@pytest.mark.parametrize("feed", [RTDS, BOLT], ids=lambda feed: feed.name)
@given(st.text() | mutated([POINT, AVERAGE, HISTORY, LIVE, SNAPSHOT, {"op": "error", "rid": "1"}]))
def test_nothing_raises_and_every_value_is_a_price(
    feed: PolymarketRtds | PolymarketPrices, plain: str
) -> None:
    for message in feed.parse(plain).messages:
        match message:
            case IndexValue(index, underlying, value_usd, about_ns, window_s):
                assert (index, window_s) in (("chainlink", 0), ("chainlink", 60))
                assert underlying.endswith("-USD") and underlying.isprintable()
                assert 0 < value_usd <= 1e9 and about_ns >= 0
            case VenueError(code, detail) | Reject(code, detail):
                assert (code + detail).isprintable()
            case Acknowledged(channel):
                assert channel.isprintable()


def test_legacy_subscription_is_a_text_a_topic_with_a_compact_filter() -> None:
    assert RTDS.subscribe(["BTC-USD"], request_id=1) == [
        '{"action":"subscribe","subscriptions":[{"topic":"crypto_prices_chainlink","type":"*",'
        '"filters":"{\\"symbol\\":\\"btc/usd\\"}"}]}',
        '{"action":"subscribe","subscriptions":[{"topic":"crypto_prices_twap_sixty","type":"*",'
        '"filters":"{\\"symbol\\":\\"btc/usd\\"}"}]}',
    ]


def test_legacy_unsubscription_has_the_same_form() -> None:
    asked, ended = (
        RTDS.subscribe(["SOL-USD"], request_id=1),
        RTDS.unsubscribe(["SOL-USD"], request_id=2, standing=[]),
    )
    assert ended == [one.replace('"subscribe"', '"unsubscribe"') for one in asked]


def test_new_subscription_is_one_text_after_a_login() -> None:
    login = BOLT.login(api_key="k", secret="s", passphrase="p")
    assert login == '{"op":"auth","rid":"0","auth":{"apiKey":"k","secret":"s","passphrase":"p"}}'
    assert BOLT.subscribe(["BTC-USD", "ETH-USD"], request_id=4) == [
        '{"op":"subscribe","rid":"4","subscriptions":['
        '{"channel":"price.crypto.twap","filter":{"symbol":"btcusd","window_seconds":60}},'
        '{"channel":"price.crypto.twap","filter":{"symbol":"ethusd","window_seconds":60}}]}'
    ]
    assert BOLT.subscribe([], request_id=5) == []


def test_new_unsubscription_names_the_same_filter() -> None:
    assert BOLT.unsubscribe(["BTC-USD"], request_id=6, standing=[]) == [
        '{"op":"unsubscribe","rid":"6","subscriptions":['
        '{"channel":"price.crypto.twap","filter":{"symbol":"btcusd","window_seconds":60}}]}'
    ]
