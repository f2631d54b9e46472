"""Kalshi's frames by their type: what each of them says."""

import json
from typing import Any

import pytest

from libs.common.events import TickRange
from libs.common.pricing import KALSHI_FEE, TAPERED_DECI_CENT
from libs.common.venues.kalshi_feed import parse
from libs.common.venues.kalshi_market import UNKNOWN_FEE
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    Frame,
    IndexValue,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
    VenueError,
)
from tests.common.venues.kalshi_texts import (
    BTC,
    MS,
    NS,
    PRIMARY_15M,
    SECONDARY_15M,
    captured,
    delta,
    frame,
    index,
    market,
    range_frames,
    snapshot,
    ticker,
    trade,
)


def said(kind: str, msg: object, *, seq: int | None = 7) -> list[Message]:
    return parse(frame(kind, msg, seq=seq)).messages


def life(event: str, *, name: str = BTC, **more: object) -> MarketFacts:
    (told,) = said("market_lifecycle_v2", {"event_type": event, "market_ticker": name, **more})
    assert isinstance(told, MarketFacts)
    return told


def test_bids_for_no_are_asks_for_yes() -> None:
    read = parse(frame("orderbook_snapshot", snapshot()))
    bids: list[Any] = [(800, 300_000_000), (2200, 333_000_000)]
    asks: list[Any] = [(4600, 20_000_000), (4400, 146_250_000)]
    assert read == Frame([BookSnapshot(BTC, bids, asks)], "2", 7)


def test_a_side_that_is_left_out_is_empty() -> None:
    msg = snapshot()
    del msg["no_dollars_fp"]
    (book,) = said("orderbook_snapshot", msg)
    assert isinstance(book, BookSnapshot)
    assert (len(book.bids), book.asks) == (2, [])
    assert said("orderbook_snapshot", {"market_ticker": BTC}) == [BookSnapshot(BTC, [], [])]


def test_a_level_without_size_is_no_level() -> None:
    (book,) = said("orderbook_snapshot", snapshot(yes_dollars_fp=[["0.0800", "0.00"]]))
    assert isinstance(book, BookSnapshot)
    assert book.bids == []


def test_a_delta_is_signed_and_turned_round_for_no() -> None:
    yes = parse(frame("orderbook_delta", delta()))
    assert yes == Frame(
        [BookChange(BTC, [(True, 9600, -54_000_000)], is_signed=True, about_ns=NS)], "2", 7, NS
    )
    (no,) = said("orderbook_delta", delta(side="no", delta_fp="0.01"))
    assert no == BookChange(BTC, [(False, 400, 10_000)], is_signed=True, about_ns=NS)


def test_the_older_time_of_a_delta_is_read_where_the_new_one_lacks() -> None:
    msg = delta(ts="2026-04-18T05:34:49.816683Z")
    del msg["ts_ms"]
    (change,) = said("orderbook_delta", msg)
    assert isinstance(change, BookChange)
    assert change.about_ns == 1_776_490_489_816_683_000


def test_a_ticker_tells_best_prices() -> None:
    assert said("ticker", ticker(), seq=None) == [
        TopOfBook(
            BTC, 4500, 5300, bid_size=300_000_000, ask_size=150_500_000, last=4800, about_ns=NS
        )
    ]


def test_size_0_in_a_ticker_is_an_empty_side() -> None:
    empty = ticker(
        yes_bid_dollars="0.0000",
        yes_bid_size_fp="0.00",
        yes_ask_dollars="1.0000",
        yes_ask_size_fp="0.00",
        price_dollars="0.0000",
    )
    assert said("ticker", empty) == [TopOfBook(BTC, None, None, about_ns=NS)]


def test_a_quote_of_size_at_no_price_is_refused() -> None:
    (refused,) = said("ticker", ticker(yes_bid_dollars="0.0000"))
    assert isinstance(refused, Reject)
    assert refused.reason == "out_of_range"


def test_a_trade_tells_its_taker_in_terms_of_yes() -> None:
    assert said("trade", trade()) == [
        Trade(
            BTC,
            "d91bc706-ee49-470d-82d8-11418bda6fed",
            3600,
            136_000_000,
            "sell",
            about_ns=NS,
        )
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"taker_outcome_side": "yes", "taker_side": "no"}, "buy"),
        ({"taker_book_side": "bid"}, "buy"),
        ({"taker_book_side": "ask"}, "sell"),
        ({"taker_side": "no"}, "sell"),
        ({}, None),
        ({"taker_outcome_side": "yes", "is_block_trade": True}, None),
    ],
)
def test_the_taker_is_read_from_the_newest_field(
    fields: dict[str, object], expected: str | None
) -> None:
    msg = trade()
    del msg["taker_outcome_side"], msg["taker_book_side"]
    (told,) = said("trade", {**msg, **fields})
    assert isinstance(told, Trade)
    assert told.taker == expected


def test_a_trade_with_seconds_only_is_timed_by_them() -> None:
    msg = trade(ts=MS // 1000)
    del msg["ts_ms"]
    (told,) = said("trade", msg)
    assert isinstance(told, Trade)
    assert told.about_ns == MS // 1000 * 1_000_000_000


def test_a_created_market_is_listed_with_its_rule_and_without_a_strike() -> None:
    told = life(
        "created",
        open_ts=1_786_941_900,
        close_ts=1_786_942_800,
        price_level_structure="",
        price_ranges=market()["price_ranges"],
        additional_metadata={"rules_primary": PRIMARY_15M, "rules_secondary": SECONDARY_15M},
    )
    assert told == MarketFacts(
        BTC,
        series="KXBTC15M",
        underlying="BTC-USD",
        instruments=(BTC,),
        open_ns=1_786_941_900_000_000_000,
        close_ns=1_786_942_800_000_000_000,
        comparator=">=",
        rule="mean60",
        tick_ranges=TAPERED_DECI_CENT,
        fingerprint=told.fingerprint,
        status="listed",
    )
    assert told.fingerprint


def test_a_ladder_is_created_with_its_strike() -> None:
    told = life(
        "created",
        name="KXBTCD-26SEP0107-T78099.99",
        additional_metadata={"strike_type": "greater", "floor_strike": 78099.99},
    )
    assert (told.comparator, told.strike_usd, told.rule) == (">", 78099.99, None)


def test_a_strike_arrives_with_updated_metadata() -> None:
    told = life(
        "metadata_updated",
        strike_type="greater_or_equal",
        floor_strike=79800.71,
        custom_strike={"round_digits": "2"},
    )
    assert (told.comparator, told.strike_usd, told.status) == (">=", 79800.71, None)


def test_updated_metadata_without_a_strike_tells_none() -> None:
    told = life("metadata_updated", yes_sub_title="above $95,000")
    assert (told.comparator, told.strike_usd) == (None, None)


def test_a_determined_market_has_a_result_and_what_it_pays_is_no_settlement() -> None:
    told = life(
        "determined",
        result="yes",
        determination_ts=1_710_000_000,
        settlement_value="1.0000",
        settled_ts=1_710_000_100,
    )
    assert (told.status, told.result, told.settlement_usd) == ("determined", "yes", None)
    assert told.about_ns == 1_710_000_000_000_000_000


@pytest.mark.parametrize(
    ("event", "fields", "status"),
    [
        ("activated", {"is_deactivated": False}, "open"),
        ("deactivated", {"is_deactivated": True}, "paused"),
        ("settled", {"settled_ts": 1_710_000_100}, "settled"),
        ("settled", {"settled_ts": 1_710_000_100, "result": "scalar"}, "void"),
        ("determined", {"result": "scalar"}, "determined"),
        ("close_date_updated", {"close_ts": 1_786_942_800}, None),
    ],
)
def test_each_event_of_a_life_has_its_status(
    event: str, fields: dict[str, object], status: str | None
) -> None:
    assert life(event, **fields).status == status


def test_a_moved_close_is_told() -> None:
    assert life("close_date_updated", close_ts=1_786_942_800).close_ns == 1_786_942_800 * 10**9


def test_a_new_grid_is_told_or_refused() -> None:
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    told = life("price_level_structure_updated", price_ranges=ranges)
    assert told.tick_ranges == (TickRange(start_e4=0, end_e4=10_000, step_e4=10),)
    bare = {"event_type": "price_level_structure_updated", "market_ticker": BTC}
    (refused,) = said("market_lifecycle_v2", {**bare, "price_level_structure": "deci_cent"})
    assert isinstance(refused, Reject)


@pytest.mark.parametrize(
    "msg",
    [
        {"event_type": "merged", "market_ticker": BTC},
        {"event_type": "determined", "market_ticker": BTC, "result": "void"},
        {"event_type": "metadata_updated", "market_ticker": BTC, "strike_type": "between"},
        {"event_type": "metadata_updated", "market_ticker": BTC, "floor_strike": 0},
        {"event_type": "metadata_updated", "market_ticker": BTC, "floor_strike": True},
        {"event_type": "metadata_updated", "market_ticker": BTC, "floor_strike": "79800.71"},
        {"event_type": "created", "market_ticker": BTC, "open_ts": 10**12},
        {"event_type": "created", "market_ticker": BTC, "open_ts": 1.5},
        {"market_ticker": BTC},
    ],
)
def test_an_event_that_is_not_understood_is_refused_by_its_market(msg: dict[str, object]) -> None:
    (refused,) = said("market_lifecycle_v2", msg)
    assert isinstance(refused, Reject)
    assert refused.instrument == BTC


def test_lives_of_other_series_are_dropped_unread() -> None:
    other = {"event_type": 5, "market_ticker": "KXNFLGAME-25SEP09-KC"}
    assert parse(frame("market_lifecycle_v2", other)) == Frame([], "2", 7)
    event = {"event_ticker": "KXBTC15M-26AUG170100", "series_ticker": "KXBTC15M"}
    assert parse(frame("event_lifecycle", event)) == Frame([], "2", 7)


@pytest.mark.parametrize(
    ("fee_type", "times", "fee"),
    [("quadratic", 1, KALSHI_FEE), (None, None, UNKNOWN_FEE), ("flat", 1, UNKNOWN_FEE)],
)
def test_a_fee_of_an_event_names_the_event(
    fee_type: str | None, times: int | None, fee: object
) -> None:
    msg = {
        "event_ticker": "KXBTCD-26MAY2018",
        "fee_type_override": fee_type,
        "fee_multiplier_override": times,
    }
    (told,) = said("event_fee_update", msg)
    assert isinstance(told, MarketFacts)
    assert (told.market, told.series, told.fee) == ("KXBTCD-26MAY2018", "KXBTCD", fee)
    assert told.instruments is None


def test_a_fee_of_another_series_is_dropped() -> None:
    msg = {
        "event_ticker": "KXNFLGAME-25SEP09",
        "fee_type_override": None,
        "fee_multiplier_override": None,
    }
    assert said("event_fee_update", msg) == []


def test_a_print_of_the_index_comes_with_its_average() -> None:
    read = parse(frame("cfbenchmarks_value", index()))
    printed_ns = NS - 100_000_000
    assert read.messages == [
        IndexValue("BRTI", "BTC-USD", 68000.12, printed_ns),
        IndexValue("BRTI", "BTC-USD", 67999.5, printed_ns, 60),
    ]
    assert read.about_ns == NS


def test_in_the_last_minute_the_average_is_that_of_the_settlement() -> None:
    window = {"value": "68000.23000000", "window_size": 14, "window_end_ts_exclusive": MS}
    _, average = said("cfbenchmarks_value", index(last_60s_windowed_average_15min=window))
    assert average == IndexValue("BRTI", "BTC-USD", 68000.23, NS, 14)


def test_a_print_that_came_early_does_not_lengthen_the_window() -> None:
    window = {"value": "68000.23", "window_size": 61, "window_end_ts_exclusive": MS}
    average = said("cfbenchmarks_value", index(avg_60s_data=window))[1]
    assert isinstance(average, IndexValue)
    assert average.window_s == 60


def test_an_average_of_no_prints_is_left_out() -> None:
    window = {"value": "68000.12", "window_size": 0, "window_end_ts_exclusive": MS}
    assert len(said("cfbenchmarks_value", index(avg_60s_data=window))) == 1


@pytest.mark.parametrize(
    ("name", "underlying"), [("ETHUSD_RTI", "ETH-USD"), ("SOLUSD_RTI", "SOL-USD")]
)
def test_each_index_has_its_underlying(name: str, underlying: str) -> None:
    data = json.dumps({"id": name, "time": MS, "value": "2594.99"})
    value = said("cfbenchmarks_value", index(index_id=name, data=data))[0]
    assert isinstance(value, IndexValue)
    assert value.underlying == underlying


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "68000.12",
        '{"x":' + "[" * 100_000,
        {"id": "BRTI", "time": MS, "value": "1"},
        json.dumps({"id": "BRTI", "time": MS, "value": "NaN"}),
        json.dumps({"id": "BRTI", "time": MS, "value": "0"}),
        json.dumps({"id": "BRTI", "time": MS, "value": 68000.12}),
        json.dumps({"id": "ETHUSD_RTI", "time": MS, "value": "2594.99"}),
        json.dumps({"id": "BRTI", "time": 10**16, "value": "68000.12"}),
    ],
)
def test_a_damaged_print_is_refused(data: object) -> None:
    assert [type(m) for m in said("cfbenchmarks_value", index(data=data))] == [Reject]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (7, "resubscribe"),
        (9, "stop"),
        (10, "resubscribe"),
        (14, "ignore"),
        (24, "ignore"),
        (25, "resubscribe"),
        (26, "reconnect"),
        (27, "reconnect"),
        (8, "ignore"),
        (99, "reconnect"),
    ],
)
def test_each_error_has_a_remedy(code: int, remedy: str) -> None:
    text = json.dumps({"id": 123, "type": "error", "msg": {"code": code, "msg": "why\x1b[2J"}})
    (told,) = parse(text).messages
    assert isinstance(told, VenueError)
    assert (told.code, told.remedy, told.request_id) == (str(code), remedy, 123)
    assert told.text.isprintable()


def test_an_error_of_one_subscription_keeps_its_place_and_names_its_market() -> None:
    read = parse(frame("error", {"code": 10, "msg": "Channel error", "market_ticker": BTC}))
    assert read == Frame([VenueError("10", "Channel error", "resubscribe", None, BTC)], "2", 7)


def test_a_subscription_that_stands_is_acknowledged() -> None:
    text = '{"id":1,"type":"subscribed","msg":{"channel":"orderbook_delta","sid":3}}'
    assert parse(text).messages == [Acknowledged("orderbook_delta", 3, 1)]


@pytest.mark.parametrize(
    "text",
    [
        '{"id":123,"sid":456,"seq":222,"type":"ok","msg":{"market_tickers":["MARKET-1"]}}',
        '{"id":102,"sid":456,"seq":222,"type":"unsubscribed"}',
    ],
)
def test_replies_to_commands_take_a_number_and_say_nothing(text: str) -> None:
    assert parse(text) == Frame([], "456", 222)


def test_a_list_of_subscriptions_says_nothing() -> None:
    assert parse('{"id":3,"type":"ok","msg":[{"channel":"ticker","sid":2}]}') == Frame([])


# Written by hand from the recorded texts: line of the file, and what it says.
RECORDED = {
    2: Frame([Acknowledged("ticker", 1, 1)]),
    5: Frame(
        [
            BookChange(
                "KXBTC15M-26MAY131630-30",
                [(True, 7600, -50_000_000)],
                True,
                1_778_703_636_621_000_000,
            )
        ],
        "2",
        2,
        1_778_703_636_621_000_000,
    ),
    39: Frame(
        [
            TopOfBook(
                "KXBTC15M-26MAY131630-30",
                8200,
                8500,
                2_323_350_000,
                3_720_000,
                8500,
                1_778_703_637_517_000_000,
            )
        ],
        "1",
        None,
        1_778_703_637_517_000_000,
    ),
    51_731: Frame([BookSnapshot("KXBTC15M-26MAY131630-30", [], [])], "2", 51_178),
}


@pytest.mark.parametrize("line", RECORDED)
def test_a_recorded_frame_says_what_a_reader_sees_in_it(line: int) -> None:
    assert parse(captured()[line]["frame"]) == RECORDED[line]


def test_a_recorded_snapshot_has_the_levels_that_a_reader_sees() -> None:
    (book,) = parse(captured()[4]["frame"]).messages
    assert isinstance(book, BookSnapshot)
    assert book.asks[0] == (9990, 1_602_000_000)
    assert book.asks[5] == (9900, 1_660_430_000)


def test_recorded_frames_of_a_range_series_say_what_a_reader_sees() -> None:
    frames = [parse(text) for text in range_frames()]
    (book,) = frames[1].messages
    assert isinstance(book, BookSnapshot)
    assert book.instrument == "KXBTC-26APR1817-B76125"
    assert book.bids == [(100, 5_000_000_000), (200, 205_000_000)]
    assert frames[10].messages == [VenueError("8", "Unknown channel name", "ignore", 1)]
    when = 1_776_490_489_816_683_000
    change = BookChange("KXBTC-26APR1817-B76875", [(False, 1900, -5_000_000_000)], True, when)
    assert frames[12] == Frame([change], "1", 9, when)
