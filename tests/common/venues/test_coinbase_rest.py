"""Coinbase's answers: recorded ones, faults by status, pages, damage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.coinbase import COINBASE
from libs.common.venues.coinbase_rest import TRADES_LIMIT
from libs.common.venues.messages import (
    BookSnapshot,
    Candle,
    Heartbeat,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
)
from libs.common.venues.venue import Answer, Get
from tests.common.venues.coinbase_texts import ANY_JSON, check, mutated, trade, wire

NS = 1_000_000_000
MINUTE_NS = 60 * NS
T0 = 1_788_264_000
T0_NS = T0 * NS
DAY_NS = 86_400 * NS
T0028 = 1_775_521_738_000_000_000
"""2026-04-07 00:28:58 UTC."""

BOOK, MARKET = COINBASE.book("BTC-USD"), COINBASE.market("BTC-USD")
CLOCK, TOP = COINBASE.clock() or BOOK, COINBASE.top("BTC-USD") or BOOK
CANDLES = COINBASE.candles("BTC-USD", start_ns=T0_NS, end_ns=T0_NS + 5 * MINUTE_NS)[0]
ROWS = COINBASE.candles_of_exchange("BTC-USD", start_ns=T0_NS, end_ns=T0_NS + 5 * MINUTE_NS)[0]
TRADES = COINBASE.trades("BTC-USD", start_ns=T0_NS, end_ns=T0_NS + 60 * NS)[0]

OPEN = MarketFacts("BTC-USD", underlying="BTC-USD", instruments=("BTC-USD",), status="open")
RECORDED: dict[str, tuple[Get, list[Message]]] = {
    "product_book": (
        BOOK,
        [
            BookSnapshot(
                "BTC-USD",
                bids=[
                    (68923.66, 0.17189468), (68923.0, 0.05795895), (68922.99, 0.02177956),
                    (68921.72, 0.000016), (68921.61, 0.04352771),
                ],
                asks=[
                    (68923.67, 0.16987193), (68926.0, 0.058), (68926.09, 0.01015616),
                    (68926.3, 0.0870495), (68928.0, 0.058),
                ],
                about_ns=T0028 + 1_662_782_000,
            )
        ],
    ),
    "ticker": (
        COINBASE.trades("BTC-USD", start_ns=T0028 - MINUTE_NS, end_ns=T0028 + MINUTE_NS)[0],
        [
            Trade("BTC-USD", "995098663", 68923.67, 0.00064, "buy", T0028 + 544_778_000, False),
            Trade("BTC-USD", "995098662", 68923.67, 0.00123858, "buy", T0028 + 250_358_000, False),
            Trade("BTC-USD", "995098661", 68924.94, 0.01450854, "sell", T0028 - 703_717_000, False),
        ],
    ),
    "candles": (
        COINBASE.candles(
            "BTC-USD", start_ns=1_712_188_800 * NS, end_ns=1_712_188_800 * NS + 61 * MINUTE_NS
        )[0],
        [
            Candle(
                "BTC-USD", 1_712_188_800 * NS, 1_712_188_860 * NS,
                65984.18, 66387.77, 65857.35, 66314.59, 358.74851052,
            ),
            Candle(
                "BTC-USD", 1_712_192_400 * NS, 1_712_192_460 * NS,
                66312.4, 66331.99, 66055.14, 66181.6, 355.82896243,
            ),
        ],
    ),
    "product": (MARKET, [OPEN]),
}  # fmt: skip
"""Every recorded answer that a request of Hawk has, and what it says, by hand."""


def said(get: Get, body: Any, *, status: int = 200) -> Answer:
    """Answer `get` with a body."""
    return COINBASE.answer(get, status=status, text=json.dumps(body))


def candle(start: Any = str(T0), **others: Any) -> dict[str, Any]:
    """Return a candle of Advanced Trade."""
    row = {"low": "99", "high": "103", "open": "100", "close": "102", "volume": "1.5"}
    return {"start": start, **row, **others}


def ticker(*trades: Any) -> dict[str, Any]:
    """Return an answer of trades."""
    return {"trades": list(trades), "best_bid": "100", "best_ask": "101"}


def pricebook(bids: Any, asks: Any) -> dict[str, Any]:
    """Return an answer of a book."""
    return {"pricebook": {"product_id": "BTC-USD", "bids": bids, "asks": asks}}


VALID = [
    json.dumps(pricebook([{"price": "100", "size": "1"}], [{"price": "101", "size": "1"}])),
    json.dumps({"candles": [candle(), candle(str(T0 + 60))]}),
    json.dumps([[T0, 99, 103, 100, 102, 1.5]]),
    json.dumps(ticker(trade(), trade(trade_id="12"))),
    json.dumps({"product_id": "BTC-USD", "status": "online", "trading_disabled": False}),
    json.dumps({"iso": "x", "epochSeconds": "1", "epochMillis": "1788264000250"}),
]
GETS = [BOOK, CANDLES, ROWS, TRADES, TOP, MARKET, CLOCK]


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answer_says_what_was_read_from_it_by_hand(name: str) -> None:
    get, expected = RECORDED[name]
    text = wire(f"advanced_http_{name}.json")
    assert COINBASE.answer(get, status=200, text=text) == Answer(expected)


@pytest.mark.parametrize("name", ["products", "products_future"])
def test_recorded_list_of_products_answers_no_request_of_hawk(name: str) -> None:
    found = COINBASE.answer(MARKET, status=200, text=wire(f"advanced_http_{name}.json"))
    assert (found.messages, found.fault) == ([], "unexpected")


def test_recorded_trades_tell_the_top_too() -> None:
    found = COINBASE.answer(TOP, status=200, text=wire("advanced_http_ticker.json"))
    assert found.messages == [TopOfBook("BTC-USD", 68923.66, 68923.67, last=68923.67)]


@pytest.mark.parametrize("get", GETS, ids=lambda get: get.purpose + get.endpoint)
@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, "throttled"), (425, "restarting"), (500, "unavailable"), (503, "unavailable"),
        (401, "refused"), (403, "refused"), (404, "missing"), (400, "bad_request"),
        (418, "bad_request"), (302, "unexpected"), (0, "unexpected"),
    ],
)  # fmt: skip
def test_status_comes_before_what_the_body_says(get: Get, status: int, fault: str) -> None:
    for text in [*VALID, "<html>", ""]:
        found = COINBASE.answer(get, status=status, text=text)
        assert (found.messages, found.next, found.fault) == ([], None, fault)


@pytest.mark.parametrize("get", GETS, ids=lambda get: get.purpose + get.endpoint)
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not_json"),
        ("<html>maintenance</html>", "not_json"),
        ('{"candles":[', "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"a":"\ud800"}', "not_json"),
        ("null", "unexpected"),
        ("5", "unexpected"),
        ("{}", "unexpected"),
        ('{"trades":5,"candles":5,"pricebook":5,"product_id":5}', "unexpected"),
        ('{"error":"INTERNAL","message":"try again"}', "unavailable"),
        ('{"message":"NotFound"}', "unavailable"),
        ('{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}', "throttled"),
    ],
)
def test_body_that_is_no_answer_is_a_fault(get: Get, text: str, fault: str) -> None:
    found = COINBASE.answer(get, status=200, text=text)
    assert (found.messages, found.next, found.fault) == ([], None, fault)
    assert found.detail.isprintable()


def test_error_beside_an_answer_is_no_success() -> None:
    body = {"candles": [candle()], "error": "INTERNAL"}
    assert said(CANDLES, body).fault == "unavailable"
    assert said(CANDLES, body | {"error": None}).fault is None
    assert said(CANDLES, body | {"error": ""}).fault is None


def test_clock_is_a_heartbeat_to_the_millisecond() -> None:
    body = {"iso": "x", "epochSeconds": "1", "epochMillis": "1788264000250"}
    assert said(CLOCK, body).messages == [Heartbeat(T0_NS + 250_000_000)]


@pytest.mark.parametrize("flag", ["is_disabled", "trading_disabled", "cancel_only", "view_only"])
def test_product_that_takes_no_orders_is_paused(flag: str) -> None:
    [found] = said(MARKET, {"product_id": "BTC-USD", "status": "online", flag: True}).messages
    assert isinstance(found, MarketFacts)
    assert found.status == "paused"


def test_candles_leave_oldest_first_with_their_columns_in_place() -> None:
    body = {"candles": [candle(str(T0 + 60), close="101"), candle()]}
    assert said(CANDLES, body).messages == [
        Candle("BTC-USD", T0_NS, T0_NS + MINUTE_NS, 100.0, 103.0, 99.0, 102.0, 1.5),
        Candle("BTC-USD", T0_NS + MINUTE_NS, T0_NS + 2 * MINUTE_NS, 100.0, 103.0, 99.0, 101.0, 1.5),
    ]


def test_rows_of_the_exchange_say_the_same() -> None:
    rows = [[T0 + 60, 99, 103, 100, 101, 1.5], [T0, 99, 103.0, 100, 102, 1.5]]
    texts = {"candles": [candle(str(T0 + 60), close="101"), candle()]}
    assert said(ROWS, rows) == said(CANDLES, texts)


@pytest.mark.parametrize("start", [T0 - 60, T0 + 300])
def test_candle_outside_the_asked_range_is_left_out(start: int) -> None:
    assert said(CANDLES, {"candles": [candle(str(start))]}) == Answer([])
    assert said(ROWS, [[start, 99, 103, 100, 102, 1.5]]) == Answer([])


def test_no_candle_is_an_answer() -> None:
    assert said(CANDLES, {"candles": []}) == Answer([])
    assert said(ROWS, []) == Answer([])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (candle(low="101"), "out_of_range"),
        (candle(high="101"), "out_of_range"),
        (candle(low="0"), "out_of_range"),
        (candle(volume="-1"), "out_of_range"),
        (candle(open="nan"), "bad_number"),
        (candle(close="1e5"), "bad_number"),
        (candle("-60"), "bad_time"),
        (candle("9" * 5_000), "bad_number"),
        (candle("99999999999999"), "bad_time"),
        (candle("1.5"), "bad_number"),
    ],
)
def test_bad_candle_is_left_out_alone(bad: Any, reason: str) -> None:
    found = said(CANDLES, {"candles": [bad, candle()]}).messages
    assert isinstance(found[0], Candle)
    assert isinstance(found[1], Reject) and found[1].reason == reason


@pytest.mark.parametrize(
    "row", [[T0, -1, 3, 2, 2, 1], [T0, 1, 2e9, 2, 2, 1], [T0, 1, 3, 2, 2, -1], [T0, 2, 1, 1, 1, 1]]
)
def test_bad_row_is_left_out_alone(row: Any) -> None:
    [found] = said(ROWS, [row]).messages
    assert isinstance(found, Reject)


@pytest.mark.parametrize(
    "body", [{"candles": [5]}, {"candles": [candle(low=5)]}, {"candles": None}]
)
def test_candles_of_another_shape_are_not_believed_at_all(body: Any) -> None:
    assert said(CANDLES, body).fault == "unexpected"


@pytest.mark.parametrize(
    "row", [[T0, 1, 2, 3, 4], [str(T0), 1, 2, 1, 1, 1], [T0, True, 2, 1, 1, 1]]
)
def test_rows_of_another_shape_are_not_believed_at_all(row: Any) -> None:
    assert said(ROWS, [row]).fault == "unexpected"


@pytest.mark.parametrize(
    "bids",
    [
        [{"price": "0", "size": "1"}],
        [{"price": "1", "size": "nan"}],
        [{"price": "1", "size": "1"}, {"price": "1.0", "size": "2"}],
        [{"price": 1, "size": "1"}],
        [],
        [{"price": "1", "size": "0"}],
    ],
)
def test_book_with_a_bad_level_or_with_none_is_not_believed(bids: Any) -> None:
    assert said(BOOK, pricebook(bids, [])).fault == "unexpected"


def test_answer_about_another_product_is_not_believed() -> None:
    book = pricebook([{"price": "1", "size": "1"}], [])
    book["pricebook"]["product_id"] = "ETH-USD"
    assert said(BOOK, book).fault == "unexpected"
    assert said(MARKET, {"product_id": "ETH-USD"}).fault == "unexpected"
    assert said(TRADES, ticker(trade(product_id="ETH-USD"))).fault == "unexpected"
    assert said(TOP, ticker(trade(product_id="ETH-USD"))).fault == "unexpected"


def stamped(second: int) -> dict[str, Any]:
    """Return a trade of a second behind T0."""
    return trade(trade_id=str(second), time=f"2026-09-01T12:00:{second:02d}.500000Z")


def test_full_answer_asks_for_what_is_older() -> None:
    found = said(TRADES, ticker(*[stamped(59)] * (TRADES_LIMIT - 1), stamped(40)))
    assert found.next is not None
    assert found.next.target == TRADES.target.replace(f"end={T0 + 60}", f"end={T0 + 41}")


def test_answer_that_is_not_full_is_the_last() -> None:
    assert said(TRADES, ticker(*[stamped(59)] * (TRADES_LIMIT - 1))).next is None


def test_full_answer_that_brings_nothing_older_is_the_last() -> None:
    assert said(TRADES, ticker(*[stamped(59)] * TRADES_LIMIT)).next is None


def test_bad_trade_is_left_out_alone() -> None:
    found = said(TRADES, ticker(trade(price="0"), trade())).messages
    assert [type(m) for m in found] == [Trade, Reject]


@given(st.sampled_from(GETS), st.integers(), st.text() | ANY_JSON.map(json.dumps))
def test_any_answer_is_read(get: Get, status: int, text: str) -> None:
    for message in COINBASE.answer(get, status=status, text=text).messages:
        check(message)


@given(st.sampled_from(GETS), mutated(VALID))
def test_damaged_answer_is_within_its_ranges(get: Get, text: str) -> None:
    found = COINBASE.answer(get, status=200, text=text)
    for message in found.messages:
        check(message)
    assert not (found.fault and found.messages)
