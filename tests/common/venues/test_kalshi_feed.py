"""Kalshi's connections: texts to send, and that every text received becomes a frame."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.kalshi_feed import KalshiFeed, KalshiIndexFeed, parse
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    BookVoid,
    Frame,
    Reject,
    TopOfBook,
)
from tests.common.venues.kalshi_texts import (
    BTC,
    EXTREMES,
    ODD_TEXTS,
    assert_sound,
    captured,
    delta,
    frame,
    index,
    market,
    mutated,
    range_frames,
    snapshot,
    ticker,
    trade,
)

BOOKS, INDEX = KalshiFeed(), KalshiIndexFeed()
STANDING = [
    Acknowledged("orderbook_delta", 1, 1),
    Acknowledged("ticker", 2, 1),
    Acknowledged("trade", 3, 1),
]


def test_markets_are_subscribed_on_three_channels_with_prices_of_both_legs() -> None:
    assert BOOKS.subscribe([BTC, "KXETH15M-26AUG170100-00"], request_id=4) == [
        '{"id":4,"cmd":"subscribe","params":{"channels":["orderbook_delta","ticker","trade"],'
        '"market_tickers":["KXBTC15M-26AUG170100-00","KXETH15M-26AUG170100-00"],'
        '"send_initial_snapshot":true,"use_yes_price":false}}'
    ]


def test_later_markets_join_the_subscriptions_that_stand() -> None:
    head = '"cmd":"update_subscription","params":{"sids":'
    assert BOOKS.subscribe(["A"], request_id=7, standing=STANDING) == [
        f'{{"id":7,{head}[1],"market_tickers":["A"],"action":"add_markets"}}}}',
        f'{{"id":8,{head}[2],"market_tickers":["A"],"action":"add_markets"}}}}',
        f'{{"id":9,{head}[3],"market_tickers":["A"],"action":"add_markets"}}}}',
        f'{{"id":10,{head}[1],"market_tickers":["A"],"action":"get_snapshot"}}}}',
    ]


def test_markets_leave_every_subscription() -> None:
    texts = BOOKS.unsubscribe(["A"], request_id=7, standing=STANDING)
    assert [json.loads(text) for text in texts] == [
        {
            "id": 6 + sid,
            "cmd": "update_subscription",
            "params": {"sids": [sid], "market_tickers": ["A"], "action": "delete_markets"},
        }
        for sid in (1, 2, 3)
    ]


def test_a_fresh_snapshot_is_asked_of_the_subscription_of_books_alone() -> None:
    assert BOOKS.resync(["A", "B"], request_id=9, standing=STANDING) == [
        '{"id":9,"cmd":"update_subscription",'
        '"params":{"sids":[1],"market_tickers":["A","B"],"action":"get_snapshot"}}'
    ]


def test_before_anything_stands_there_is_nothing_to_resync_or_leave() -> None:
    assert BOOKS.resync(["A"], request_id=1, standing=[]) == []
    assert BOOKS.unsubscribe(["A"], request_id=1, standing=[]) == []


def test_the_index_is_subscribed_by_underlying_and_lifecycles_beside_it() -> None:
    assert INDEX.subscribe(["ETH-USD", "BTC-USD", "XRP-USD"], request_id=1) == [
        '{"id":1,"cmd":"subscribe","params":{"channels":["cfbenchmarks_value"],'
        '"index_ids":["BRTI","ETHUSD_RTI"]}}',
        '{"id":2,"cmd":"subscribe","params":{"channels":["market_lifecycle_v2"]}}',
    ]


def test_an_underlying_without_an_index_asks_for_none() -> None:
    assert INDEX.subscribe(["XRP-USD"], request_id=1) == [
        '{"id":1,"cmd":"subscribe","params":{"channels":["market_lifecycle_v2"]}}'
    ]


def test_later_underlyings_join_and_leave_without_lifecycles() -> None:
    standing = [Acknowledged("cfbenchmarks_value", 5, 1), Acknowledged("market_lifecycle_v2", 6, 2)]
    head = '{"id":3,"cmd":"update_subscription","params":{"sids":[5],"action":'
    tail = ',"index_ids":["SOLUSD_RTI"]}}'
    assert INDEX.subscribe(["SOL-USD"], request_id=3, standing=standing) == [
        f'{head}"subscribe_indices"{tail}'
    ]
    assert INDEX.unsubscribe(["SOL-USD"], request_id=3, standing=standing) == [
        f'{head}"unsubscribe_indices"{tail}'
    ]
    assert INDEX.resync(["SOL-USD"], request_id=3, standing=standing) == []


def test_both_feeds_read_the_same_frames() -> None:
    text = frame("ticker", ticker(), seq=None)
    assert BOOKS.parse(text) == INDEX.parse(text) == parse(text)


def test_the_sequence_counts_by_subscription() -> None:
    read = parse(frame("orderbook_delta", delta(), sid=12, seq=345))
    assert (read.channel, read.sequence) == ("12", 345)
    read = parse(frame("ticker", ticker(), sid=11, seq=None))
    assert (read.channel, read.sequence) == ("11", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (frame("fill", {"market_ticker": BTC}), "unknown_type"),
        (frame("orderbook_delta", delta(delta_fp="NaN")), "bad_number"),
        (frame("trade", trade(count_fp="0.00")), "out_of_range"),
        (frame("ticker", ticker(market_ticker=5)), "wrong_shape"),
        (frame("ticker", "text"), "wrong_shape"),
    ],
)
def test_a_rejected_frame_keeps_its_place(text: str, reason: str) -> None:
    read = parse(text)
    assert [m.reason for m in read.messages if isinstance(m, Reject)] == [reason]
    assert (read.channel, read.sequence) == ("2", 7)


@pytest.mark.parametrize(
    ("kind", "msg"),
    [
        ("orderbook_delta", delta(price_dollars="1.0001")),
        ("orderbook_delta", delta(price_dollars="0.0000")),
        ("orderbook_delta", delta(price_dollars="1.0000")),
        ("orderbook_delta", delta(price_dollars="0.00005")),
        ("orderbook_delta", delta(price_dollars=0.5)),
        ("orderbook_delta", delta(delta_fp="1e999")),
        ("orderbook_delta", delta(delta_fp="1_000")),
        ("orderbook_delta", delta(delta_fp=None)),
        ("orderbook_delta", delta(side="maybe")),
        ("orderbook_delta", delta(side=True)),
        ("orderbook_delta", delta(ts_ms=2**62)),
        ("orderbook_delta", delta(ts_ms=-1)),
        ("orderbook_delta", delta(ts_ms="1786942800123")),
        ("orderbook_delta", delta(ts_ms=None, ts="yesterday")),
        ("orderbook_snapshot", snapshot(yes_dollars_fp=[["0.5", "1"], ["0.6", "-1"]])),
        ("orderbook_snapshot", snapshot(yes_dollars_fp=[["0.5", "1"], ["0.50", "2"]])),
        ("orderbook_snapshot", snapshot(no_dollars_fp=[["0.5", "1", "1"]])),
        ("orderbook_snapshot", snapshot(no_dollars_fp=[["0.5"]])),
        ("orderbook_snapshot", snapshot(no_dollars_fp=[["0", "1"]])),
        ("orderbook_snapshot", snapshot(no_dollars_fp=None)),
        ("orderbook_snapshot", snapshot(yes_dollars_fp="")),
    ],
)
def test_one_bad_level_rejects_all_of_a_book_and_voids_it(kind: str, msg: dict[str, Any]) -> None:
    rejected, void = parse(frame(kind, msg)).messages
    assert isinstance(rejected, Reject)
    assert rejected.instrument == BTC
    assert void == BookVoid(BTC, "rejected")


@pytest.mark.parametrize("numbers", [{"seq": None}, {"sid": None}])
def test_a_book_without_its_number_is_void(numbers: dict[str, None]) -> None:
    read = parse(frame("orderbook_delta", delta(), **numbers))
    assert read.messages[1:] == [BookVoid(BTC, "rejected")]
    assert read.sequence is None


def test_a_number_of_another_type_rejects_the_frame_and_voids_its_book() -> None:
    text = frame("orderbook_delta", delta()).replace('"seq": 7', '"seq": "7"')
    read = parse(text)
    assert read.messages[1:] == [BookVoid(BTC, "rejected")]
    text = frame("orderbook_delta", delta()).replace('"type"', '"id": "x", "type"')
    assert parse(text).sequence == 7


@pytest.mark.parametrize("ticker_told", [None, 5, "", "x" * 300, "../../etc", "a\x1b[2J"])
def test_a_book_whose_market_is_not_told_leaves_a_gap(ticker_told: object) -> None:
    read = parse(frame("orderbook_delta", delta(market_ticker=ticker_told)))
    assert [type(m) for m in read.messages] == [Reject]
    assert read.sequence is None


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_text_is_one_rejection(text: str) -> None:
    read = parse(text)
    assert [type(m) for m in read.messages] == [Reject]
    assert_sound_frame(read)


def test_a_text_beyond_the_limit_is_not_read() -> None:
    text = frame("ticker", ticker(pad="x" * 1_000_000))
    assert [m.reason for m in parse(text).messages if isinstance(m, Reject)] == ["too_large"]


FRAMES = [
    json.loads(text)
    for text in (
        frame("orderbook_delta", delta()),
        frame("orderbook_snapshot", snapshot()),
        frame("ticker", ticker(), seq=None),
        frame("trade", trade()),
        frame("cfbenchmarks_value", index()),
        frame("market_lifecycle_v2", {"event_type": "created", "market_ticker": BTC,
              "open_ts": 1_786_941_900, "close_ts": 1_786_942_800, "result": "yes",
              "price_ranges": market()["price_ranges"], "additional_metadata": market()}),
        frame("event_fee_update", {"event_ticker": BTC[:-3], "fee_type_override": "quadratic",
              "fee_multiplier_override": 1}),
        frame("error", {"code": 7, "msg": "Unknown subscription ID"}),
        '{"id": 1, "type": "subscribed", "msg": {"channel": "ticker", "sid": 1}}',
    )
]  # fmt: skip


@given(mutated(FRAMES))
def test_a_damaged_frame_is_still_a_sound_one(text: str) -> None:
    assert_sound_frame(parse(text))


@given(
    st.sampled_from(["market_ticker", "price_dollars", "delta_fp", "side"]),
    st.sampled_from(EXTREMES),
)
def test_a_damaged_book_is_void_gapped_or_right(key: str, value: object) -> None:
    read = parse(frame("orderbook_delta", delta(**{key: value})))
    is_void = any(isinstance(m, BookVoid) for m in read.messages)
    is_read = any(isinstance(m, BookChange) for m in read.messages)
    assert is_void + is_read + (read.sequence is None) == 1


@given(st.text())
def test_any_text_is_a_sound_frame(text: str) -> None:
    assert_sound_frame(parse(text))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_any_json_is_a_sound_frame(value: object) -> None:
    assert_sound_frame(parse(json.dumps(value)))
    assert_sound_frame(parse(json.dumps({"type": "ticker", "msg": value})))


def assert_sound_frame(read: Frame) -> None:
    assert read.sequence is None or read.channel
    assert_sound(read.messages)


def test_every_frame_of_the_recorded_session_is_understood() -> None:
    frames = [e["frame"] for e in captured() if e["feed"] == "kalshi.ws" and "frame" in e]
    kinds: dict[type, int] = {}
    for text in frames:
        for message in parse(text).messages:
            kinds[type(message)] = kinds.get(type(message), 0) + 1
    # Counted in the file by its text alone: deltas, tickers, snapshots, subscriptions.
    assert kinds == {BookChange: 76_647, TopOfBook: 856, BookSnapshot: 3, Acknowledged: 4}


def test_the_recorded_sequences_have_no_gap() -> None:
    last: dict[tuple[int, str], int] = {}
    for entry in captured():
        if entry["feed"] == "kalshi.ws" and "frame" in entry:
            read = parse(entry["frame"])
            if read.sequence is not None:
                key = (entry["conn"], read.channel)
                assert read.sequence == last.get(key, 0) + 1
                last[key] = read.sequence
    assert len(last) == 2


def test_every_recorded_frame_of_a_range_series_is_understood() -> None:
    frames = [parse(text) for text in range_frames()]
    assert len(frames) == 74
    assert not [m for read in frames for m in read.messages if isinstance(m, Reject)]
