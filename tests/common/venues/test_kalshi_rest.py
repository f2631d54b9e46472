"""Kalshi's REST answers: what they say, page by page, and every way in which they may be none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pricing import KALSHI_FEE, TAPERED_DECI_CENT
from libs.common.venues.kalshi import KALSHI
from libs.common.venues.messages import (
    BookSnapshot,
    Candle,
    ExchangeStatus,
    HistoryCutoff,
    MarketFacts,
    Message,
    Reject,
    TopOfBook,
    Trade,
)
from libs.common.venues.venue import Answer, Get
from tests.common.venues.kalshi_texts import BTC, ODD_TEXTS, assert_sound, captured, market, mutated

MARKET = KALSHI.market(BTC)
LIST = KALSHI.listing("KXBTC15M", now_ns=0, windows=2)[0]
BOOK = KALSHI.book(BTC)
TRADES = KALSHI.trades(BTC, start_ns=0, end_ns=10**9)[0]
CANDLES = KALSHI.candles(BTC, start_ns=0, end_ns=900 * 10**9)[0]
OLD_CANDLES = KALSHI.candles(BTC, start_ns=0, end_ns=900 * 10**9, is_historical=True)[0]


def known(get: Get | None) -> Get:
    assert get is not None
    return get


STATUS, TOP = known(KALSHI.status()), known(KALSHI.top(BTC))
TERMS, CUTOFF = known(KALSHI.terms("KXBTC15M")), known(KALSHI.cutoff())


def answered(get: Get, value: object) -> Answer:
    return KALSHI.answer(get, status=200, text=json.dumps(value))


def told(get: Get, value: object) -> list[Message]:
    answer = answered(get, value)
    assert (answer.fault, answer.next) == (None, None)
    return answer.messages


def fact(**changes: object) -> MarketFacts:
    (message,) = told(MARKET, {"market": market(**changes)})
    assert isinstance(message, MarketFacts)
    return message


def test_a_struck_market_tells_all_its_facts() -> None:
    facts = fact()
    assert facts == MarketFacts(
        BTC,
        series="KXBTC15M",
        underlying="BTC-USD",
        instruments=(BTC,),
        open_ns=1_786_941_900_000_000_000,
        close_ns=1_786_942_800_000_000_000,
        comparator=">=",
        strike_usd=63441.03,
        rule="mean60",
        tick_ranges=TAPERED_DECI_CENT,
        fingerprint=facts.fingerprint,
        status="open",
        about_ns=1_786_941_900_707_862_000,
    )
    assert facts.fingerprint


def test_a_market_before_its_strike_has_none_and_is_compared_by_its_rule() -> None:
    value = market(status="initialized", no_sub_title="Target price: TBD")
    del value["floor_strike"], value["strike_type"], value["custom_strike"]
    (facts,) = told(MARKET, {"market": value})
    assert isinstance(facts, MarketFacts)
    assert (facts.status, facts.strike_usd, facts.comparator) == ("listed", None, ">=")
    assert facts.fingerprint == fact().fingerprint


def test_a_settled_market_tells_where_the_index_settled() -> None:
    facts = fact(
        status="finalized",
        result="yes",
        expiration_value="65617.74",
        settlement_value_dollars="1.0000",
        settlement_ts="2026-08-17T05:00:41Z",
    )
    assert (facts.status, facts.result, facts.settlement_usd) == ("settled", "yes", 65617.74)
    assert facts.about_ns == 1_786_942_841_000_000_000


def test_a_market_that_was_never_struck_has_a_result_and_no_strike() -> None:
    value = market(status="finalized", result="no")
    del value["floor_strike"], value["strike_type"]
    (facts,) = told(MARKET, {"market": value})
    assert isinstance(facts, MarketFacts)
    assert (facts.status, facts.result, facts.strike_usd) == ("settled", "no", None)
    assert facts.settlement_usd is None


def test_a_time_that_is_not_set_is_not_told() -> None:
    assert fact(updated_time="0001-01-01T00:00:00Z").about_ns is None
    assert fact(updated_time="").about_ns is None


def test_unknown_grids_names_and_null_fields_are_no_fault() -> None:
    facts = fact(price_ranges=None, price_level_structure=None, cap_strike=None, new=[1])
    assert facts.tick_ranges is None


@pytest.mark.parametrize(
    "changes",
    [
        {"ticker": "KXBTC15M-26AUG170115-15"},
        {"ticker": None},
        {"status": "open"},
        {"status": None},
        {"result": "maybe"},
        {"close_time": None},
        {"close_time": "2026-02-30T05:00:00Z"},
        {"close_time": 1_786_942_800},
        {"floor_strike": 0},
        {"floor_strike": -5.0},
        {"floor_strike": "63441.03"},
        {"floor_strike": True},
        {"floor_strike": 10**400},
        {"strike_type": "between"},
        {"expiration_value": "about 65,000"},
        {"price_ranges": [{"start": "0", "end": "1"}]},
        {"rules_primary": 5},
    ],
)
def test_a_market_with_a_bad_field_is_not_believed(changes: dict[str, Any]) -> None:
    answer = answered(MARKET, {"market": market(**changes)})
    assert (answer.messages, answer.fault) == ([], "unexpected")


def test_one_bad_market_of_a_list_hides_no_other() -> None:
    page = {"markets": [market(), market(status="x"), 5, market(ticker="KXBTC-26SEP2901-B73250")]}
    good, *bad = told(LIST, {**page, "cursor": ""})
    assert isinstance(good, MarketFacts)
    assert [m.reason for m in bad if isinstance(m, Reject)] == [
        "unknown_type",
        "wrong_shape",
        "unknown_type",
    ]


def test_an_empty_list_is_an_answer() -> None:
    assert answered(LIST, {"markets": [], "cursor": ""}) == Answer([])


def test_a_cursor_asks_for_the_next_page_of_the_same() -> None:
    first = answered(LIST, {"markets": [], "cursor": "CgwI+/="}).next
    assert first is not None
    assert first.target == f"{LIST.target}&cursor=CgwI%2B%2F%3D"
    second = answered(first, {"markets": [], "cursor": "B"}).next
    assert second is not None
    assert second.target == f"{LIST.target}&cursor=B"


@pytest.mark.parametrize("cursor", [None, "", "A", "x" * 3_000])
def test_the_end_and_a_repeated_cursor_ask_for_nothing(cursor: str | None) -> None:
    page = answered(LIST, {"markets": [], "cursor": "A"}).next
    assert page is not None
    assert answered(page, {"markets": [], "cursor": cursor}) == Answer([])


def test_a_book_is_read_in_terms_of_yes() -> None:
    levels = {"yes_dollars": [["0.4900", "100.00"], ["0.5000", "2522.25"]], "no_dollars": None}
    assert told(BOOK, {"orderbook_fp": levels}) == [
        BookSnapshot(BTC, [(4900, 100_000_000), (5000, 2_522_250_000)], [])
    ]


def test_a_book_in_cents_is_the_same_book() -> None:
    cents = {"orderbook": {"yes": [[50, 2522]], "no": [[4, 7]]}}
    assert told(BOOK, cents) == [BookSnapshot(BTC, [(5000, 2_522_000_000)], [(9600, 7_000_000)])]
    assert told(BOOK, {"orderbook": {"yes": None, "no": None}}) == [BookSnapshot(BTC, [], [])]


def test_of_two_shapes_of_a_book_the_newer_is_read() -> None:
    both = {"orderbook_fp": {"yes_dollars": [["0.5", "1"]]}, "orderbook": {"yes": [[49, 2]]}}
    (book,) = told(BOOK, both)
    assert isinstance(book, BookSnapshot)
    assert book.bids == [(5000, 1_000_000)]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"orderbook_fp": None},
        {"orderbook_fp": {"yes_dollars": [["0.5", "1"], ["0.5", "2"]]}},
        {"orderbook_fp": {"yes_dollars": [["1.0000", "1"]]}},
        {"orderbook_fp": {"yes_dollars": [["0.5", "-1"]]}},
        {"orderbook": {"yes": [[100, 1]]}},
        {"orderbook": {"yes": [[0, 1]]}},
        {"orderbook": {"yes": [[50.5, 1]]}},
        {"orderbook": {"yes": [["50", 1]]}},
        {"orderbook": {"yes": [[50, 2**62]]}},
    ],
)
def test_a_book_with_one_bad_level_is_not_believed(value: object) -> None:
    assert answered(BOOK, value).fault == "unexpected"


def test_best_prices_are_read_from_the_market() -> None:
    assert told(TOP, {"market": market()}) == [
        TopOfBook(BTC, 9520, 9530, bid_size=8_000_000, ask_size=813_440_000, last=9530)
    ]


def test_an_untraded_rung_has_no_bid_and_no_last_price() -> None:
    untraded = market(
        yes_bid_dollars="0.0000",
        yes_bid_size_fp="0.00",
        yes_ask_dollars="0.0100",
        last_price_dollars="0.0000",
    )
    assert told(TOP, {"market": untraded}) == [TopOfBook(BTC, None, 100, ask_size=813_440_000)]


def test_trades_of_the_past_are_no_flow() -> None:
    row = {
        "trade_id": "a-1",
        "ticker": BTC,
        "yes_price_dollars": "0.5000",
        "no_price_dollars": "0.5000",
        "count_fp": "3.00",
        "taker_side": "no",
        "created_time": "2026-08-17T04:50:00.974575Z",
    }
    rows = [row, {**row, "taker_outcome_side": "yes", "trade_id": "a-2"}, {**row, "count_fp": "0"}]
    first, second, third = told(TRADES, {"trades": rows, "cursor": ""})
    about_ns = 1_786_942_200_974_575_000
    assert first == Trade(BTC, "a-1", 5000, 3_000_000, "sell", about_ns, is_flow=False)
    assert second == Trade(BTC, "a-2", 5000, 3_000_000, "buy", about_ns, is_flow=False)
    assert isinstance(third, Reject)


def bar(suffix: str, *prices: str | None) -> dict[str, str | None]:
    return {
        f"{k}{suffix}": p for k, p in zip(("open", "high", "low", "close"), prices, strict=True)
    }


def candle(suffix: str, volume: str) -> dict[str, object]:
    return {
        "end_period_ts": 1_786_942_020,
        "yes_bid": bar(suffix, "0.4000", "0.4200", "0.3900", "0.4100"),
        "yes_ask": bar(suffix, "0.4300", "1.0000", "0.4200", "1.0000"),
        "price": bar(suffix, "0.4100", "0.4300", "0.4000", "0.4200"),
        volume: "12.50",
    }


@pytest.mark.parametrize(
    ("get", "row"),
    [(CANDLES, candle("_dollars", "volume_fp")), (OLD_CANDLES, candle("", "volume"))],
    ids=["live", "historical"],
)
def test_a_candle_ends_just_behind_the_end_that_the_venue_includes(
    get: Get, row: dict[str, object]
) -> None:
    end_ns = 1_786_942_020_000_000_001
    assert told(get, {"ticker": BTC, "candlesticks": [row]}) == [
        Candle(
            BTC,
            end_ns - 60_000_000_000,
            end_ns,
            open=4100,
            high=4300,
            low=4000,
            close=4200,
            volume=12_500_000,
            bid=4100,
            ask=None,
        )
    ]


def test_a_minute_without_trades_has_quotes_alone() -> None:
    row = {**candle("_dollars", "volume_fp"), "price": {"previous_dollars": "0.4100"}}
    row["price"] = {"open_dollars": None, "previous_dollars": "0.4100"}
    (quiet,) = told(CANDLES, {"candlesticks": [row]})
    assert isinstance(quiet, Candle)
    assert (quiet.open, quiet.close, quiet.bid) == (None, None, 4100)


def test_a_damaged_candle_hides_no_other() -> None:
    good = candle("_dollars", "volume_fp")
    rows = [{**good, "end_period_ts": "x"}, good, {**good, "volume_fp": "-1"}, None]
    kinds = [type(m) for m in told(CANDLES, {"candlesticks": rows})]
    assert kinds == [Reject, Candle, Reject, Reject]


def test_the_exchange_trades_only_if_both_say_so() -> None:
    value = {
        "exchange_active": True,
        "trading_active": True,
        "exchange_estimated_resume_time": None,
    }
    assert told(STATUS, value) == [ExchangeStatus(True)]
    resume = {**value, "trading_active": False}
    resume["exchange_estimated_resume_time"] = "2026-11-26T10:00:00Z"
    assert told(STATUS, resume) == [ExchangeStatus(False, 1_795_687_200_000_000_000)]
    assert told(STATUS, {**value, "exchange_active": False}) == [ExchangeStatus(False)]


def test_the_terms_of_a_series_are_its_fee() -> None:
    series = {"ticker": "KXBTC15M", "fee_type": "quadratic", "fee_multiplier": 1}
    assert told(TERMS, {"series": series}) == [
        MarketFacts("KXBTC15M", series="KXBTC15M", underlying="BTC-USD", fee=KALSHI_FEE)
    ]
    assert answered(TERMS, {"series": {**series, "ticker": "KXBTCD"}}).fault == "unexpected"


def test_the_historical_tier_begins_where_markets_settled() -> None:
    value = {
        "market_settled_ts": "2026-08-17T00:00:00Z",
        "trades_created_ts": "2026-08-16T00:00:00Z",
    }
    assert told(CUTOFF, value) == [HistoryCutoff(1_786_924_800_000_000_000)]


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, "throttled"),
        (425, "restarting"),
        (500, "unavailable"),
        (503, "unavailable"),
        (401, "refused"),
        (403, "refused"),
        (404, "missing"),
        (400, "bad_request"),
        (409, "bad_request"),
        (302, "unexpected"),
    ],
)
def test_the_status_of_an_answer_comes_before_its_body(status: int, fault: str) -> None:
    text = json.dumps({"market": market()})
    answer = KALSHI.answer(MARKET, status=status, text=text)
    assert (answer.messages, answer.fault) == ([], fault)


@pytest.mark.parametrize("error", ["too many requests", {"code": "internal", "message": "x"}, 5])
@pytest.mark.parametrize("rest", [{}, {"markets": [], "cursor": ""}])
def test_an_error_in_a_good_answer_is_no_success(error: object, rest: dict[str, object]) -> None:
    assert answered(LIST, {"error": error, **rest}).fault == "unavailable"


def test_a_null_error_is_none() -> None:
    assert answered(LIST, {"error": None, "markets": [], "cursor": ""}).fault is None


ALL = [MARKET, LIST, BOOK, TRADES, CANDLES, OLD_CANDLES, STATUS, TOP, TERMS, CUTOFF]


@pytest.mark.parametrize("get", ALL, ids=lambda g: g.purpose)
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_text_is_a_fault(get: Get, text: str) -> None:
    answer = KALSHI.answer(get, status=200, text=text)
    assert answer.fault in ("not_json", "unexpected")
    assert answer.messages == []
    assert answer.detail.isprintable()


def test_html_and_a_cut_body_are_not_json() -> None:
    for text in ("<html>Bad gateway</html>", json.dumps({"markets": [market()]})[:-5]):
        assert KALSHI.answer(LIST, status=200, text=text).fault == "not_json"


def test_a_purpose_that_is_never_asked_is_not_believed() -> None:
    get = Get("kalshi", "kalshi.rest", "/x", "clock", "x")
    assert answered(get, {}).fault == "unexpected"


ANSWERS: list[dict[str, Any]] = [
    {"market": market()},
    {"markets": [market(), market(status="finalized", result="yes")], "cursor": "A"},
    {"orderbook_fp": {"yes_dollars": [["0.4900", "100.00"]], "no_dollars": [["0.5", "1"]]}},
    {"orderbook": {"yes": [[50, 2522]], "no": [[49, 2574]]}},
    {"candlesticks": [candle("_dollars", "volume_fp"), candle("", "volume")]},
    {"series": {"ticker": "KXBTC15M", "fee_type": "quadratic", "fee_multiplier": 1}},
    {"exchange_active": True, "trading_active": True, "exchange_estimated_resume_time": None},
    {"market_settled_ts": "2026-08-17T00:00:00Z"},
]


@given(st.sampled_from(ALL), mutated(ANSWERS), st.sampled_from([200, 200, 200, 404, 503, 999, -1]))
def test_a_damaged_answer_is_still_a_sound_one(get: Get, text: str, status: int) -> None:
    answer = KALSHI.answer(get, status=status, text=text)
    assert answer.fault is None or answer.messages == []
    assert answer.detail.isprintable()
    assert_sound(answer.messages)


@given(st.sampled_from(ALL), st.text())
def test_any_text_is_an_answer(get: Get, text: str) -> None:
    assert KALSHI.answer(get, status=200, text=text).messages == []


def test_the_recorded_markets_say_what_a_reader_sees_in_them() -> None:
    facts: list[Message] = []
    for entry in captured():
        if entry["feed"] == "kalshi.rest":
            get = KALSHI.market(entry["url"].removeprefix("/markets/"))
            facts += KALSHI.answer(get, status=200, text=entry["frame"]).messages
    assert facts == [
        MarketFacts(
            name,
            series="KXBTC15M",
            underlying="BTC-USD",
            instruments=(name,),
            close_ns=close_ns,
            comparator=">=",
            strike_usd=strike,
            status="open",
        )
        for name, close_ns, strike in (
            ("KXBTC15M-26MAY131630-30", 1_778_704_200_000_000_000, 79625.14),
            ("KXBTC15M-26MAY131645-45", 1_778_705_100_000_000_000, 79601.88),
        )
    ]
