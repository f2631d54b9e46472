"""Answers of Polymarket's servers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pricing import POLYMARKET_TICKS
from libs.common.venues.messages import BookSnapshot, Candle, MarketFacts, Reject
from libs.common.venues.polymarket_rest import read_answer
from libs.common.venues.venue import Answer, Get
from tests.common.venues.polymarket_wire import CONDITION, DOWN, UP, mutated, text, wire
from tests.common.venues.test_polymarket_gamma import EVENT, MARKET, SLUG, TENTHS

LIST = Get("polymarket", "gamma", f"/events?slug={SLUG}", "list", SLUG)
ONE = Get("polymarket", "gamma", f"/events?slug={SLUG}", "market", SLUG)
BOOK = Get("polymarket", "clob", f"/book?token_id={UP}", "book", UP)
HISTORY = Get("polymarket", "clob", f"/prices-history?market={UP}", "candles", UP)
CLOB = Get("polymarket", "clob", f"/markets/{CONDITION}", "market", CONDITION)
STRIKE = Get("polymarket", "site", "/api/crypto/crypto-price?symbol=BTC", "strike", SLUG)
ALL = (LIST, ONE, BOOK, HISTORY, CLOB, STRIKE)

BOOK_TOLD: dict[str, Any] = {
    "market": CONDITION,
    "asset_id": UP,
    "hash": "0xabc123",
    "timestamp": "1703875200000",
    "bids": [{"price": "0.48", "size": "100.00"}, {"price": "0.50", "size": "150.00"}],
    "asks": [{"price": "0.51", "size": "120.00"}],
    "min_order_size": "5",
    "tick_size": "0.01",
    "neg_risk": False,
}
STRIKE_TOLD: dict[str, Any] = {
    "openPrice": 89299.0560483538,
    "closePrice": None,
    "timestamp": 1765012902842,
    "completed": False,
    "incomplete": False,
    "cached": True,
}
CLOB_TOLD: dict[str, Any] = {
    "condition_id": CONDITION,
    "market_slug": SLUG,
    "active": True,
    "closed": True,
    "accepting_orders": False,
    "is_50_50_outcome": False,
    "minimum_tick_size": 0.01,
    "tokens": [
        {"outcome": "Down", "price": 1, "token_id": DOWN, "winner": True},
        {"outcome": "Up", "price": 0, "token_id": UP, "winner": False},
    ],
}
HISTORY_TOLD: dict[str, Any] = {"history": [{"t": 1774138241, "p": 0.595}]}


def read(get: Get, told: object, status: int = 200) -> Answer:
    return read_answer(get, status=status, text=told if isinstance(told, str) else text(told))


@pytest.mark.parametrize("get", ALL, ids=lambda get: f"{get.endpoint}-{get.purpose}")
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
        (422, "bad_request"),
        (302, "unexpected"),
        (0, "unexpected"),
    ],
)
def test_status_is_judged_before_the_body(get: Get, status: int, fault: str) -> None:
    for body in ("<html>", text([EVENT]), text(BOOK_TOLD), ""):
        answer = read(get, body, status)
        assert (answer.messages, answer.fault) == ([], fault)
        assert answer.detail.isprintable()


@pytest.mark.parametrize("get", ALL, ids=lambda get: f"{get.endpoint}-{get.purpose}")
@pytest.mark.parametrize(
    "body",
    ["", "<html>sorry</html>", '{"history":[', "\ud800", "[" * 100_000, '{"a":' * 100_000,
     '{"error":NaN}', "NaN"],
)  # fmt: skip
def test_body_that_is_no_json_is_a_fault(get: Get, body: str) -> None:
    answer = read(get, body)
    assert answer.messages == []
    assert answer.fault in ("not_json", "unexpected")
    assert answer.detail.isprintable()


@pytest.mark.parametrize("get", ALL, ids=lambda get: f"{get.endpoint}-{get.purpose}")
@pytest.mark.parametrize("error", ["No orderbook exists", {"code": 1}, True])
def test_error_with_a_good_status_is_a_fault(get: Get, error: object) -> None:
    answer = read(get, {"error": error})
    assert (answer.messages, answer.fault) == ([], "unavailable")


@pytest.mark.parametrize("get", (BOOK, HISTORY, CLOB, STRIKE), ids=lambda get: get.purpose)
@pytest.mark.parametrize("told", [[], {}, 1, "null", {"history": {}}, {"incomplete": 0}])
def test_json_of_another_shape_is_a_fault(get: Get, told: object) -> None:
    answer = read(get, told)
    assert (answer.messages, answer.fault) == ([], "unexpected")


def test_listed_event_is_told() -> None:
    answer = read(LIST, [EVENT])
    assert answer.fault is None
    assert [m.market for m in answer.messages if isinstance(m, MarketFacts)] == [SLUG]


def test_empty_list_is_an_answer_to_a_list_and_missing_to_a_market() -> None:
    assert read(LIST, []) == Answer([])
    assert read(ONE, []).fault == "missing"


def test_market_that_was_not_asked_about_is_not_told() -> None:
    other = MARKET | {"slug": "nvda-above-240-on-january-30-2026"}
    answer = read(LIST, [MARKET, other])
    assert (answer.messages, answer.fault) == ([], "unexpected")


def test_list_of_which_nothing_is_understood_is_a_fault_with_its_rejections() -> None:
    answer = read(LIST, [7])
    assert answer.fault == "unexpected"
    assert isinstance(answer.messages[0], Reject)


def test_book_is_told_in_the_order_it_comes() -> None:
    bids, asks = [(4800, 100_000_000), (5000, 150_000_000)], [(5100, 120_000_000)]
    book = BookSnapshot(UP, bids, asks, 1_703_875_200_000_000_000)
    assert read(BOOK, BOOK_TOLD) == Answer([book])


@pytest.mark.parametrize(
    "change",
    [
        {"asset_id": DOWN},
        {"bids": [{"price": "0.48", "size": "1"}, {"price": "2", "size": "1"}]},
        {"bids": [{"price": 0.48, "size": "1"}]},
        {"asks": None},
        {"timestamp": "soon"},
    ],
)
def test_book_with_one_bad_part_tells_nothing(change: dict[str, Any]) -> None:
    answer = read(BOOK, BOOK_TOLD | change)
    assert (answer.messages, answer.fault) == ([], "unexpected")


def test_point_of_history_is_the_close_of_the_minute_before_it() -> None:
    end_ns = 1_774_138_241_000_000_000
    candle = Candle(UP, end_ns - 60_000_000_000, end_ns, close=5950)
    assert read(HISTORY, HISTORY_TOLD) == Answer([candle])


@pytest.mark.parametrize(
    "point",
    [
        {"t": -1, "p": 0.5},
        {"t": 2, "p": 0.5},
        {"t": 10**15, "p": 0.5},
        {"t": 1774138241, "p": 1.5},
        {"t": 1774138241, "p": -0.1},
    ],
)
def test_bad_point_is_rejected_and_the_others_are_told(point: dict[str, Any]) -> None:
    answer = read(HISTORY, {"history": [point, *HISTORY_TOLD["history"]]})
    assert answer.fault is None
    assert [type(message) for message in answer.messages] == [Reject, Candle]


def test_history_of_a_market_without_one_is_empty() -> None:
    assert read(HISTORY, {"history": []}) == Answer([])


def test_final_price_to_beat_is_told_with_less_trust_than_gammas() -> None:
    facts = MarketFacts(
        SLUG,
        strike_usd=89299.0560483538,
        strike_trust=1,
        about_ns=1_765_012_902_842_000_000,
    )
    assert read(STRIKE, STRIKE_TOLD) == Answer([facts])


@pytest.mark.parametrize("change", [{"incomplete": True}, {"openPrice": None}])
def test_price_to_beat_that_is_not_final_is_not_told(change: dict[str, Any]) -> None:
    assert read(STRIKE, STRIKE_TOLD | change) == Answer([])


@pytest.mark.parametrize(
    "change",
    [{"openPrice": 0}, {"openPrice": -1.5}, {"openPrice": "1"}, {"incomplete": None}],
)
def test_bad_price_to_beat_tells_nothing(change: dict[str, Any]) -> None:
    answer = read(STRIKE, STRIKE_TOLD | change)
    assert (answer.messages, answer.fault) == ([], "unexpected")


def test_market_of_the_clob_tells_its_slug_tokens_and_winner() -> None:
    facts = MarketFacts(
        SLUG,
        series="btc-updown-15m",
        underlying="BTC-USD",
        instruments=(UP, DOWN),
        tick_ranges=POLYMARKET_TICKS,
        status="determined",
        result="no",
    )
    assert read(CLOB, CLOB_TOLD) == Answer([facts])


NO_WINNER = [token | {"winner": False} for token in CLOB_TOLD["tokens"]]
TWO_WINNERS = [token | {"winner": True} for token in CLOB_TOLD["tokens"]]
NO_TOKENS = [{"token_id": "", "outcome": ""}] * 2


@pytest.mark.parametrize(
    ("change", "status", "result"),
    [
        ({"tokens": NO_WINNER}, "closed", None),
        ({"tokens": NO_WINNER, "is_50_50_outcome": True}, "void", None),
        ({"tokens": TWO_WINNERS}, "closed", None),
        ({"closed": False, "accepting_orders": True}, "open", None),
        ({"closed": False}, "paused", None),
        ({"closed": False, "active": False}, "listed", None),
        ({"closed": False, "tokens": NO_TOKENS}, "listed", None),
    ],
)
def test_life_of_a_market_by_the_clob(
    change: dict[str, Any], status: str, result: str | None
) -> None:
    (facts,) = read(CLOB, CLOB_TOLD | change).messages
    assert isinstance(facts, MarketFacts)
    assert (facts.status, facts.result) == (status, result)


@pytest.mark.parametrize(
    "change",
    [
        {"condition_id": "0xother"},
        {"market_slug": "a b"},
        {"minimum_tick_size": 1e308},
        {"tokens": [{"token_id": "1", "outcome": "FaZe"}, {"token_id": "2", "outcome": "illwill"}]},
    ],
)
def test_market_of_another_name_or_kind_is_not_told(change: dict[str, Any]) -> None:
    answer = read(CLOB, CLOB_TOLD | change)
    assert (answer.messages, answer.fault) == ([], "unexpected")


KATANA = "0x8ccc3f4951ff02c1d34b87988752b4444ad17228732780a6cf22afefe8478bb6"
CEASEFIRE = "0xd57eed0d44f5b8ca54925d8d6ff440b146b3e6e071da18136ee3ee572d34479e"
RECORDED = {
    "clob_market_closed_binary_accepting_false.json": (
        KATANA,
        MarketFacts(
            "katana-fdv-above-1b-one-day-after-launch-395-996",
            instruments=(
                "108872296183993054938831082799825620165440189659433018108548854929333464287226",
                "89711174926330519158043401581181146613785179104141808554061413232025882707365",
            ),
            tick_ranges=TENTHS,
            status="determined",
            result="no",
        ),
    ),
    "clob_market_closed_binary_accepting_true.json": (
        CEASEFIRE,
        MarketFacts(
            "russia-x-ukraine-ceasefire-by-end-of-2027",
            instruments=(
                "22978793223071892222859460592277435458011604214087068523744633723809814935807",
                "108268928354766371660560153450121076545199284531791348447523752861907448942629",
            ),
            tick_ranges=POLYMARKET_TICKS,
            status="determined",
            result="yes",
        ),
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_market_means_what_a_reader_sees_in_it(name: str) -> None:
    condition, facts = RECORDED[name]
    get = Get("polymarket", "clob", f"/markets/{condition}", "market", condition)
    assert read(get, wire(name)) == Answer([facts])


@pytest.mark.parametrize("get", ALL, ids=lambda get: f"{get.endpoint}-{get.purpose}")
@given(
    body=st.text()
    | mutated([EVENT, MARKET, BOOK_TOLD, CLOB_TOLD, HISTORY_TOLD, STRIKE_TOLD, {"error": ""}]),
    status=st.sampled_from([200, 200, 200, 201, 404, 429]),
)
def test_nothing_raises_and_what_is_told_is_in_range(get: Get, body: str, status: int) -> None:
    answer = read_answer(get, status=status, text=body)
    assert answer.detail.isprintable() and len(answer.detail) <= 200
    assert answer.next is None
    for message in answer.messages:
        match message:
            case BookSnapshot(instrument, bids, asks):
                assert instrument == get.subject
                assert all(0 < price < 10_000 and size > 0 for price, size in bids + asks)
            case Candle(instrument, start_ns, end_ns):
                assert instrument == get.subject and 0 <= start_ns < end_ns
                assert message.close is not None and 0 <= message.close <= 10_000
            case MarketFacts(market):
                assert market == get.subject or get is CLOB
                assert message.strike_usd is None or 0 < message.strike_usd <= 1e9
            case _:
                assert isinstance(message, Reject)
