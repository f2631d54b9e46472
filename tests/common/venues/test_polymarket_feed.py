"""Books and trades of Polymarket's market channel."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pricing import POLYMARKET_TICKS
from libs.common.venues.messages import (
    BookChange,
    BookSnapshot,
    BookVoid,
    Frame,
    Heartbeat,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)
from libs.common.venues.polymarket_feed import PARTS_MAX, PolymarketBooks
from tests.common.venues.polymarket_wire import CONDITION, DOWN, EXTREMES, UP, mutated, text, wire

FEED = PolymarketBooks()
NVDA = "76043073756653678226373981964075571318267289248134717369284518995922789326425"
NVDA_NO = "31690934263385727664202099278545688007799199447969475608906331829650099442770"
QUOTED = "85354956062430465315924116860125388538595433819574542752031640332592237464430"

BOOK = {
    "event_type": "book",
    "market": CONDITION,
    "asset_id": UP,
    "bids": [{"price": "0.48", "size": "30"}, {"price": "0.5", "size": "1.5"}],
    "asks": [{"price": "0.52", "size": "25"}],
    "hash": "0x0",
    "timestamp": "1757908892351",
}
CHANGE = {
    "event_type": "price_change",
    "market": CONDITION,
    "timestamp": "1757908892351",
    "price_changes": [
        {"asset_id": UP, "price": "0.5", "size": "0", "side": "BUY", "hash": "0x1",
         "best_bid": "0.48", "best_ask": "0.52"},
        {"asset_id": DOWN, "price": "0.5", "size": "0", "side": "SELL", "hash": "0x2",
         "best_bid": "0.48", "best_ask": "0.52"},
        {"asset_id": UP, "price": "0.51", "size": "7", "side": "SELL", "hash": "0x3",
         "best_bid": "0.48", "best_ask": "0.51"},
    ],
}  # fmt: skip
TRADE = {
    "event_type": "last_trade_price",
    "market": CONDITION,
    "asset_id": UP,
    "price": "0.456",
    "side": "SELL",
    "size": "219.217767",
    "fee_rate_bps": "0",
    "timestamp": "1750428146322",
    "transaction_hash": "0xeeefff",
}
TICK = {
    "event_type": "tick_size_change",
    "market": CONDITION,
    "asset_id": UP,
    "old_tick_size": "0.01",
    "new_tick_size": "0.001",
    "timestamp": "100000000",
}
BEST = {
    "event_type": "best_bid_ask",
    "market": CONDITION,
    "asset_id": UP,
    "best_bid": "0.999",
    "best_ask": "1",
    "spread": "0.001",
    "timestamp": "1766789469958",
}
NEW = {
    "event_type": "new_market",
    "id": "1",
    "market": CONDITION,
    "slug": "sol-updown-15m-1790000100",
    "assets_ids": [DOWN, UP],
    "outcomes": ["Down", "Up"],
    "order_price_min_tick_size": "0.01",
    "timestamp": "1766790415550",
}
RESOLVED = {
    "event_type": "market_resolved",
    "id": "1",
    "market": CONDITION,
    "assets_ids": [UP, DOWN],
    "winning_asset_id": DOWN,
    "winning_outcome": "Down",
    "timestamp": "1766790415550",
}
ALL: list[dict[str, Any]] = [BOOK, CHANGE, TRADE, TICK, BEST, NEW, RESOLVED]


def parsed(value: object) -> list[Message]:
    return FEED.parse(value if isinstance(value, str) else text(value)).messages


RECORDED: dict[str, list[Message]] = {
    "ws_book_snapshot.json": [
        BookSnapshot(
            UP,
            [(4800, 500_000_000), (4900, 350_000_000), (5000, 200_000_000)],
            [(5300, 400_000_000), (5200, 250_000_000), (5100, 150_000_000)],
            1_703_875_200_000_000_000,
        )
    ],
    "ws_market_book_msg.json": [
        BookSnapshot(
            UP,
            [(5000, 200_000_000), (4900, 350_000_000)],
            [(5100, 150_000_000), (5200, 250_000_000)],
            1_703_875_200_000_000_000,
        )
    ],
    "ws_last_trade.json": [
        Trade(UP, "1703875202000-buy-5100-25000000", 5100, 25_000_000, "buy",
              1_703_875_202_000_000_000)
    ],
    "ws_market_last_trade_msg.json": [
        Trade(UP, "1703875202000-buy-5100-25000000", 5100, 25_000_000, "buy",
              1_703_875_202_000_000_000)
    ],
    "ws_market_best_bid_ask_msg.json": [
        TopOfBook(QUOTED, 7300, 7700, about_ns=1_766_789_469_958_000_000)
    ],
    "ws_market_new_market_msg.json": [
        MarketFacts(
            "nvda-above-240-on-january-30-2026",
            instruments=(NVDA, NVDA_NO),
            tick_ranges=POLYMARKET_TICKS,
            status="listed",
            about_ns=1_766_790_415_550_000_000,
        )
    ],
    "ws_market_price_change_msg.json": [
        BookChange(UP, [(True, 5100, 150_000_000)], about_ns=1_703_875_201_000_000_000),
        TopOfBook(UP, 5100, 5200, about_ns=1_703_875_201_000_000_000),
    ],
    # Only the condition id is told; whoever holds the market finds it by its tokens.
    "ws_market_resolved_msg.json": [
        MarketFacts(
            "0x311d0c4b6671ab54af4970c06fcf58662516f5168997bdda209ec3db5aa6b0c1",
            instruments=(NVDA, NVDA_NO),
            status="determined",
            result="yes",
            about_ns=1_766_790_415_550_000_000,
        )
    ],
    "ws_market_tick_size_msg.json": [BookVoid(UP, "tick_size")],
    "ws_tick_size_change.json": [BookVoid(UP, "tick_size")],
    "ws_quotes.json": [
        BookChange(UP, [(True, 5100, 150_000_000)], about_ns=1_703_875_201_000_000_000),
        TopOfBook(UP, 5100, 5200, about_ns=1_703_875_201_000_000_000),
        BookChange(DOWN, [(False, 4900, 100_000_000)], about_ns=1_703_875_201_000_000_000),
        TopOfBook(DOWN, 4800, 4900, about_ns=1_703_875_201_000_000_000),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_message_means_what_a_reader_sees_in_it(name: str) -> None:
    assert FEED.parse(wire(name)).messages == RECORDED[name]


def test_book_keeps_the_venues_order_of_levels() -> None:
    ts_ns = 1_757_908_892_351_000_000
    bids = [(4800, 30_000_000), (5000, 1_500_000)]
    assert parsed(BOOK) == [BookSnapshot(UP, bids, [(5200, 25_000_000)], ts_ns)]


def test_side_that_is_left_out_of_a_book_is_empty() -> None:
    only_asks = {key: value for key, value in BOOK.items() if key != "bids"}
    assert parsed(only_asks)[0].bids == []  # type: ignore[attr-defined]


def test_change_of_both_tokens_is_one_change_each_and_the_best_prices_after_it() -> None:
    ts_ns = 1_757_908_892_351_000_000
    assert parsed(CHANGE) == [
        BookChange(UP, [(True, 5000, 0), (False, 5100, 7_000_000)], about_ns=ts_ns),
        TopOfBook(UP, 4800, 5100, about_ns=ts_ns),
        BookChange(DOWN, [(False, 5000, 0)], about_ns=ts_ns),
        TopOfBook(DOWN, 4800, 5200, about_ns=ts_ns),
    ]


def test_change_without_best_prices_tells_no_top() -> None:
    entry = {"asset_id": UP, "price": "0.5", "size": "3", "side": "BUY"}
    found = parsed({"event_type": "price_change", "price_changes": [entry]})
    assert found == [BookChange(UP, [(True, 5000, 3_000_000)])]


def test_bad_best_price_is_rejected_and_the_book_stands() -> None:
    entry = CHANGE["price_changes"][2] | {"best_bid": "NaN"}  # type: ignore[index, operator]
    change, bad = parsed(CHANGE | {"price_changes": [entry]})
    assert isinstance(change, BookChange)
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.instrument) == ("bad_number", UP)


def test_trade_id_is_made_of_what_the_wire_tells() -> None:
    trade_id = "1750428146322-sell-4560-219217767-0xeeefff"
    ts_ns = 1_750_428_146_322_000_000
    assert parsed(TRADE) == [Trade(UP, trade_id, 4560, 219_217_767, "sell", ts_ns)]
    assert parsed(TRADE) == parsed(dict(reversed(TRADE.items())))


def test_trade_without_side_has_no_taker() -> None:
    (trade,) = parsed({key: value for key, value in TRADE.items() if key != "side"})
    assert isinstance(trade, Trade)
    assert trade.taker is None


def test_changed_tick_voids_the_book() -> None:
    assert parsed(TICK) == [BookVoid(UP, "tick_size")]


def test_best_ask_of_one_dollar_is_an_empty_side() -> None:
    assert parsed(BEST) == [TopOfBook(UP, 9990, None, about_ns=1_766_789_469_958_000_000)]


def test_new_window_names_its_series_and_its_tokens_up_first() -> None:
    assert parsed(NEW) == [
        MarketFacts(
            "sol-updown-15m-1790000100",
            series="sol-updown-15m",
            underlying="SOL-USD",
            instruments=(UP, DOWN),
            tick_ranges=POLYMARKET_TICKS,
            status="listed",
            about_ns=1_766_790_415_550_000_000,
        )
    ]


def test_resolution_puts_the_token_of_up_first_though_down_won() -> None:
    (facts,) = parsed(RESOLVED)
    assert isinstance(facts, MarketFacts)
    assert (facts.market, facts.instruments, facts.result) == (CONDITION, (UP, DOWN), "no")


def test_resolution_that_tells_its_slug_is_named_by_it() -> None:
    (facts,) = parsed(RESOLVED | {"slug": "btc-updown-5m-1790000100"})
    assert isinstance(facts, MarketFacts)
    assert facts.market == "btc-updown-5m-1790000100"


@pytest.mark.parametrize("event", ALL, ids=lambda event: event["event_type"])
def test_event_without_type_is_known_by_its_fields(event: dict[str, Any]) -> None:
    untyped = {key: value for key, value in event.items() if key != "event_type"}
    if event is NEW:
        assert [m.reason for m in parsed(untyped)] == ["unknown_type"]  # type: ignore[attr-defined]
    else:
        assert parsed(untyped) == parsed(event)


def test_array_is_read_in_order_and_its_sound_parts_survive_a_bad_one() -> None:
    bad = BOOK | {"asset_id": DOWN, "bids": [{"price": 0.5, "size": "1"}]}
    found = parsed([BOOK, bad, TICK])
    assert found[0] == parsed(BOOK)[0]
    assert isinstance(found[1], Reject)
    assert found[2:] == [BookVoid(DOWN, "rejected"), BookVoid(UP, "tick_size")]


def test_unknown_fields_are_ignored() -> None:
    assert parsed(BOOK | {"new": {"deep": [1]}, "last_trade_price": "0.5"}) == parsed(BOOK)


def test_answer_to_a_ping_is_a_sign_of_life() -> None:
    assert FEED.parse("PONG") == Frame([Heartbeat()])


def test_empty_dump_says_nothing() -> None:
    assert FEED.parse("[]") == Frame([])


def test_frame_tells_the_venues_clock_but_for_a_book_which_bears_its_last_change() -> None:
    assert FEED.parse(text(TRADE)).about_ns == 1_750_428_146_322_000_000
    assert FEED.parse(text(BOOK)).about_ns is None


LEVEL = {"price": "0.5", "size": "1"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"bids": [LEVEL, {"price": "1.5", "size": "1"}]}, "out_of_range"),
        ({"bids": [LEVEL, {"price": "0", "size": "1"}]}, "out_of_range"),
        ({"bids": [LEVEL, {"price": "-0.5", "size": "1"}]}, "out_of_range"),
        ({"bids": [LEVEL, {"price": "0.1", "size": "-1"}]}, "out_of_range"),
        ({"bids": [LEVEL, {"price": "NaN", "size": "1"}]}, "bad_number"),
        ({"bids": [LEVEL, {"price": "0.1", "size": "1e999"}]}, "bad_number"),
        ({"bids": [LEVEL, {"price": "0.00001", "size": "1"}]}, "bad_number"),
        ({"bids": [LEVEL, {"price": "0.1", "size": "1" * 5000}]}, "bad_number"),
        ({"bids": [LEVEL, {"price": 0.1, "size": "1"}]}, "wrong_shape"),
        ({"bids": [LEVEL, {"price": True, "size": "1"}]}, "wrong_shape"),
        ({"bids": [LEVEL, {"price": "0.1"}]}, "wrong_shape"),
        ({"bids": [LEVEL, LEVEL]}, "wrong_shape"),
        ({"bids": None, "asks": None}, "wrong_shape"),
        ({"asks": {}}, "wrong_shape"),
        ({"timestamp": "-1"}, "bad_time"),
        ({"timestamp": 1757908892351}, "wrong_shape"),
    ],
)
def test_book_with_one_bad_part_is_refused_whole_and_given_up(
    part: dict[str, Any], reason: str
) -> None:
    bad, void = parsed(BOOK | part)
    assert isinstance(bad, Reject)
    assert bad.reason == reason
    assert void == BookVoid(UP, "rejected")


def test_change_with_one_bad_entry_gives_up_every_book_it_names() -> None:
    entries = CHANGE["price_changes"]
    bad_entry = entries[1] | {"side": "HOLD"}  # type: ignore[index, operator]
    found = parsed(CHANGE | {"price_changes": [entries[0], bad_entry]})  # type: ignore[index]
    assert isinstance(found[0], Reject)
    assert found[1:] == [BookVoid(UP, "rejected"), BookVoid(DOWN, "rejected")]


@pytest.mark.parametrize("asset_id", ["", "x" * 300, "../7", "7\n", "\u0660", "a b"])
def test_book_of_an_impossible_name_may_be_any_book(asset_id: str) -> None:
    bad, doubt = parsed(BOOK | {"asset_id": asset_id})
    assert isinstance(bad, Reject)
    assert bad.reason == "bad_name"
    assert isinstance(doubt, VenueError) and doubt.instrument is None


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (TRADE | {"size": "0"}, "out_of_range"),
        (TRADE | {"price": "1"}, "out_of_range"),
        (TRADE | {"side": "buy"}, "wrong_shape"),
        (TRADE | {"timestamp": None}, "wrong_shape"),
        (TRADE | {"transaction_hash": "x" * 300}, "bad_name"),
        (BEST | {"best_bid": None}, "wrong_shape"),
        (NEW | {"outcomes": ["FaZe", "illwill"]}, "unknown_type"),
        (NEW | {"assets_ids": [UP]}, "wrong_shape"),
        (NEW | {"slug": "../../etc/passwd"}, "bad_name"),
        (NEW | {"order_price_min_tick_size": "0.5"}, "out_of_range"),
        (RESOLVED | {"winning_asset_id": NVDA}, "wrong_shape"),
        (RESOLVED | {"assets_ids": [DOWN, DOWN]}, "wrong_shape"),
        (RESOLVED | {"winning_outcome": "FaZe"}, "unknown_type"),
        ({"event_type": "halt"}, "unknown_type"),
        ({}, "unknown_type"),
    ],
)
def test_bad_event_that_is_no_book_is_one_rejection(event: dict[str, Any], reason: str) -> None:
    (bad,) = parsed(event)
    assert isinstance(bad, Reject)
    assert bad.reason == reason


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "INVALID OPERATION",
        "<html></html>",
        '{"event_type":"book"',
        "[" * 100_000,
        '{"bids":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"event_type":' + "9" * 5_000 + "}",
        '{"price":NaN}',
        '{"price":Infinity}',
        '{"price":1e999}',
        '{"slug":"\\ud800"}',
        "\ud800",
        "\x00",
    ],
)
def test_text_that_is_no_json_is_malformed(plain: str) -> None:
    bad, *doubt = parsed(plain)
    assert isinstance(bad, Reject)
    assert bad.reason == "malformed"
    assert bad.detail.isprintable()
    is_cut = plain.startswith(("{", "["))
    assert [isinstance(m, VenueError) and m.remedy for m in doubt] == ["resubscribe"] * is_cut


@pytest.mark.parametrize(
    ("event", "is_doubted"),
    [
        ({"event_type": "price_change", "price_changes": 7}, True),
        ({"event_type": "book", "bids": 7}, True),
        ({"bids": 7}, True),
        ({"event_type": 7}, True),
        ({"event_type": "last_trade_price", "price": 7}, False),
        ({"event_type": "a_newer_kind", "price": 7}, False),
    ],
)
def test_a_lost_change_puts_all_books_in_doubt_where_it_names_none(
    event: dict[str, object], is_doubted: bool
) -> None:
    found = parsed(event)
    assert isinstance(found[0], Reject)
    assert any(isinstance(message, VenueError) for message in found) == is_doubted


@pytest.mark.parametrize("plain", ["1", "null", '"book"', "true", "[1,null]"])
def test_json_that_is_no_event_has_the_wrong_shape(plain: str) -> None:
    assert {m.reason for m in parsed(plain) if isinstance(m, Reject)} == {"wrong_shape"}


def test_endless_array_of_faults_is_one_rejection() -> None:
    bad, doubt = parsed([1] * (PARTS_MAX + 1))
    assert isinstance(bad, Reject) and isinstance(doubt, VenueError)
    assert bad.reason == "too_large"


def test_last_of_two_equal_keys_counts() -> None:
    doubled = text(BEST)[:-1] + ',"best_bid":"0.5"}'
    assert parsed(doubled) == parsed(BEST | {"best_bid": "0.5"})


def check_ranges(frame: Frame) -> None:
    """Every message is within what its type documents."""
    assert isinstance(frame, Frame)
    for message in frame.messages:
        match message:
            case BookSnapshot(instrument, bids, asks):
                names, sizes = [instrument], [size for _, size in bids + asks]
                assert all(0 < price < 10_000 for price, _ in bids + asks)
                assert all(0 < size <= 1e18 for size in sizes)
            case BookChange(instrument, changes):
                names = [instrument]
                assert all(0 < p < 10_000 and 0 <= s <= 1e18 for _, p, s in changes)
            case TopOfBook(instrument, bid, ask):
                names = [instrument]
                assert all(p is None or 0 < p < 10_000 for p in (bid, ask))
            case Trade(instrument, trade_id, price, size):
                names = [instrument, trade_id]
                assert 0 < price < 10_000 and 0 < size <= 1e18
            case MarketFacts(market):
                names = [market, *(message.instruments or ())]
            case Reject(_, detail):
                names = [detail] if detail else []
            case _:
                names = []
        assert all(name.isprintable() and 0 < len(name) <= 200 for name in names)


@given(st.text())
def test_any_text_is_read_without_raising(plain: str) -> None:
    check_ranges(FEED.parse(plain))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"])) |
    st.sampled_from(EXTREMES),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(
        {key for event in ALL for key in event})), inner),
)  # fmt: skip


@given(JSON)
def test_any_json_is_read_without_raising(value: object) -> None:
    check_ranges(FEED.parse(text(value)))


@given(mutated(ALL))
def test_any_damaged_event_is_read_without_raising(plain: str) -> None:
    check_ranges(FEED.parse(plain))


def test_first_subscription_of_a_connection_asks_for_the_books_that_stand() -> None:
    assert FEED.subscribe(["1", "2"], request_id=1) == [
        '{"assets_ids":["1","2"],"type":"market","initial_dump":true,"custom_feature_enabled":true}'
    ]


def test_later_subscription_is_an_operation() -> None:
    assert FEED.subscribe(["3"], request_id=2) == [
        '{"assets_ids":["3"],"operation":"subscribe","custom_feature_enabled":true}'
    ]


def test_unsubscription_is_an_operation() -> None:
    assert FEED.unsubscribe(["3"], request_id=3, standing=[]) == [
        '{"assets_ids":["3"],"operation":"unsubscribe"}'
    ]


def test_nothing_is_sent_for_no_instruments_nor_to_resync() -> None:
    assert FEED.subscribe([], request_id=1) == []
    assert FEED.unsubscribe([], request_id=1, standing=[]) == []
    assert FEED.resync(["1"], request_id=1, standing=[]) == []
