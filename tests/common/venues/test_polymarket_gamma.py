"""Markets as Gamma tells them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import FeeSchedule, TickRange
from libs.common.pricing import POLYMARKET_FEE, POLYMARKET_TICKS
from libs.common.venues.messages import MarketFacts, Message, Reject
from libs.common.venues.numbers import time_ns
from libs.common.venues.polymarket_gamma import read_markets, read_member
from tests.common.venues.polymarket_wire import DOWN, UP, mutated, text, wire

START_S = 1_790_000_100
SLUG = f"btc-updown-15m-{START_S}"
FREE = FeeSchedule(name="polymarket_free", rate_e4=0, exponent=1, round_e6=10)
TENTHS = (TickRange(start_e4=0, end_e4=10_000, step_e4=10),)

POINT_TEXT = (
    'Resolves to "Up" if the price at the end is greater than or equal to the price at the '
    'beginning. Otherwise "Down".'
)
MARKET: dict[str, Any] = {
    "id": "1",
    "conditionId": "0xaa",
    "slug": SLUG,
    "resolutionSource": "https://data.chain.link/streams/btc-usd-twap-60s-streams",
    "description": POINT_TEXT.replace("the price at the end", "the average"),
    "startDate": "2026-09-20T13:30:00Z",
    "eventStartTime": "2026-09-21T14:15:00Z",
    "endDate": "2026-09-21T14:30:00Z",
    "outcomes": '["Down", "Up"]',
    "outcomePrices": '["0.495", "0.505"]',
    "clobTokenIds": f'["{DOWN}", "{UP}"]',
    "active": True,
    "closed": False,
    "acceptingOrders": True,
    "orderPriceMinTickSize": 0.01,
    "takerBaseFee": 1000,
    "feesEnabled": True,
    "feeType": "crypto_fees_v2",
    "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
    "cryptoMarketConfig": {
        "asset": "btc",
        "duration": "15m",
        "twapEnabled": True,
        "twapLookbackSeconds": 60,
    },
}
CLOSED = MARKET | {
    "closed": True,
    "acceptingOrders": False,
    "umaResolutionStatus": "resolved",
    "outcomePrices": '["0", "1"]',
}
EVENT: dict[str, Any] = {
    "slug": SLUG,
    "startTime": "2026-09-21T14:15:00Z",
    "eventMetadata": {"priceToBeat": 66624.16, "finalPrice": 66731.98},
    "markets": [CLOSED],
}


def one(market: dict[str, Any]) -> MarketFacts:
    """The facts of a market of which everything is understood."""
    (facts,) = read_markets(text([market]))
    assert isinstance(facts, MarketFacts)
    return facts


def test_open_window_is_told_whole_and_in_hawks_order() -> None:
    facts = one(MARKET)
    assert facts == MarketFacts(
        SLUG,
        series="btc-updown-15m",
        underlying="BTC-USD",
        instruments=(UP, DOWN),
        open_ns=START_S * 10**9,
        close_ns=(START_S + 900) * 10**9,
        comparator=">=",
        rule="chainlink_twap60",
        fee=POLYMARKET_FEE,
        tick_ranges=POLYMARKET_TICKS,
        fingerprint=facts.fingerprint,
        status="open",
    )


def test_event_brings_strike_and_settlement_of_its_market() -> None:
    facts = one(EVENT)
    assert (facts.strike_usd, facts.settlement_usd) == (66624.16, 66731.98)
    assert (facts.strike_trust, facts.status, facts.result) == (0, "settled", "yes")


def test_market_with_its_event_inside_is_the_same_market() -> None:
    inside = CLOSED | {"events": [{k: v for k, v in EVENT.items() if k != "markets"}]}
    assert one(inside) == one(EVENT)


@pytest.mark.parametrize(
    "told",
    [
        {"priceToBeat": 66624.16},
        {"priceToBeat": "66624.16"},
        {"priceToBeat": "66624160000000000000000"},
        '{"priceToBeat": 66624.16}',
        '{"priceToBeat": "66624.16", "other": [1]}',
    ],
)
def test_price_to_beat_is_read_in_each_way_it_is_told(told: object) -> None:
    assert one(EVENT | {"eventMetadata": told}).strike_usd == 66624.16


@pytest.mark.parametrize("told", [None, {}, "", {"priceToBeat": None}, {"context": "long"}])
def test_price_to_beat_that_is_not_told_is_none(told: object) -> None:
    assert one(EVENT | {"eventMetadata": told}).strike_usd is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"priceToBeat": 0}, "out_of_range"),
        ({"priceToBeat": -5.0}, "out_of_range"),
        ({"priceToBeat": "NaN"}, "bad_number"),
        ({"priceToBeat": True}, "wrong_shape"),
        ({"priceToBeat": [1]}, "wrong_shape"),
        ("not json", "wrong_shape"),
        ('"\\"{}\\""', "wrong_shape"),
        ([], "wrong_shape"),
    ],
)
def test_bad_price_to_beat_is_rejected_and_the_rest_is_told(told: object, reason: str) -> None:
    facts, bad = read_markets(text([EVENT | {"eventMetadata": told}]))
    assert isinstance(facts, MarketFacts)
    assert (facts.strike_usd, facts.result) == (None, "yes")
    assert isinstance(bad, Reject)
    assert bad.reason == reason


def test_final_price_of_a_market_that_is_not_closed_is_no_settlement() -> None:
    assert one(EVENT | {"markets": [MARKET]}).settlement_usd is None


def test_start_of_the_event_stands_in_for_the_markets() -> None:
    bare = {k: v for k, v in CLOSED.items() if k != "eventStartTime"}
    assert one(EVENT | {"markets": [bare]}).open_ns == START_S * 10**9
    assert one(bare).open_ns is None


def test_start_of_the_event_is_not_that_of_a_market_of_no_series() -> None:
    other = {k: v for k, v in CLOSED.items() if k != "eventStartTime"} | {"slug": "nvda-240"}
    assert one(EVENT | {"markets": [other]}).open_ns is None


@pytest.mark.parametrize(
    ("change", "status", "result"),
    [
        ({}, "settled", "yes"),
        ({"outcomePrices": '["1", "0"]'}, "settled", "no"),
        ({"outcomePrices": '["0.0", "1.00"]'}, "settled", "yes"),
        ({"umaResolutionStatus": "proposed"}, "determined", "yes"),
        ({"umaResolutionStatus": None}, "determined", "yes"),
        ({"acceptingOrders": True}, "settled", "yes"),
        ({"outcomePrices": '["0", "0"]'}, "closed", None),
        ({"outcomePrices": '["1", "1"]'}, "closed", None),
        ({"outcomePrices": '["0.4", "1"]'}, "closed", None),
        ({"outcomePrices": '["0.0005", "0.9995"]'}, "closed", None),
        ({"outcomePrices": None}, "closed", None),
        ({"outcomePrices": '["0.5", "0.5"]'}, "void", None),
        ({"outcomePrices": '["0.5", "0.5"]', "umaResolutionStatus": None}, "closed", None),
        ({"closed": False}, "paused", None),
        ({"closed": False, "acceptingOrders": True}, "open", None),
        ({"closed": False, "acceptingOrders": None}, None, None),
        ({"closed": False, "active": False, "acceptingOrders": True}, "listed", None),
        ({"closed": False, "clobTokenIds": '["", ""]', "acceptingOrders": True}, "listed", None),
        ({"closed": False, "clobTokenIds": "[]"}, "listed", None),
        ({"closed": False, "clobTokenIds": ""}, "listed", None),
    ],
)
def test_life_of_a_market(change: dict[str, Any], status: str, result: str | None) -> None:
    facts = one(CLOSED | change)
    assert (facts.status, facts.result) == (status, result)


POINT_SOURCE = "https://data.chain.link/streams/btc-usd"
AVERAGE_SOURCE = "https://data.chain.link/streams/btc-usd-twap-60s-streams"


@pytest.mark.parametrize(
    ("source", "config", "rule"),
    [
        (POINT_SOURCE, None, "chainlink_point"),
        (POINT_SOURCE, {"twapEnabled": False}, "chainlink_point"),
        (POINT_SOURCE, {"twapEnabled": True, "twapLookbackSeconds": 60}, "unknown"),
        (AVERAGE_SOURCE, None, "chainlink_twap60"),
        (AVERAGE_SOURCE, {"twapEnabled": True, "twapLookbackSeconds": 60}, "chainlink_twap60"),
        (AVERAGE_SOURCE, {"twapEnabled": True, "twapLookbackSeconds": 30}, "unknown"),
        (AVERAGE_SOURCE, {"twapEnabled": True}, "unknown"),
        (AVERAGE_SOURCE, {"twapEnabled": False, "twapLookbackSeconds": 60}, "unknown"),
        (AVERAGE_SOURCE.replace("60s", "30s"), None, "unknown"),
        (AVERAGE_SOURCE.replace("btc", "eth"), None, "unknown"),
        ("https://www.binance.com/en/trade/BTC_USDT", None, "unknown"),
        ("", None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_rule_is_known_only_where_source_and_configuration_agree(
    source: str | None, config: dict[str, Any] | None, rule: str
) -> None:
    assert one(MARKET | {"resolutionSource": source, "cryptoMarketConfig": config}).rule == rule


def test_rule_names_the_stream_of_the_series_own_underlying() -> None:
    ether = MARKET | {"slug": SLUG.replace("btc", "eth"), "cryptoMarketConfig": None}
    source = "https://data.chain.link/streams/eth-usd"
    assert one(ether | {"resolutionSource": source}).rule == "chainlink_point"
    assert one(ether).rule == "unknown"


@pytest.mark.parametrize("description", [None, "", "Up if the price is greater than at the start."])
def test_market_whose_text_does_not_call_a_tie_has_no_known_rule(description: str | None) -> None:
    facts = one(MARKET | {"description": description})
    assert (facts.comparator, facts.rule) == (None, "unknown")


@pytest.mark.parametrize(
    ("change", "fee"),
    [
        ({}, POLYMARKET_FEE),
        ({"feesEnabled": False}, FREE),
        ({"feesEnabled": None}, None),
        ({"feeSchedule": None}, None),
        ({"feeType": None}, msgspec.structs.replace(POLYMARKET_FEE, name="polymarket_fees")),
        (
            {"feeSchedule": {"exponent": 2, "rate": 0.0725}},
            FeeSchedule(name="polymarket_crypto_v2", rate_e4=725, exponent=2, round_e6=10),
        ),
    ],
)
def test_fee_is_the_markets_schedule_or_unknown(
    change: dict[str, Any], fee: FeeSchedule | None
) -> None:
    assert one(MARKET | change).fee == fee


@pytest.mark.parametrize(
    "schedule",
    [
        {"exponent": 0, "rate": 0.07},
        {"exponent": 99, "rate": 0.07},
        {"exponent": 1, "rate": -0.07},
        {"exponent": 1, "rate": 7},
        {"exponent": 1, "rate": 0.070001},
    ],
)
def test_fee_that_cannot_be_is_rejected_and_unknown(schedule: dict[str, Any]) -> None:
    facts, bad = read_markets(text([MARKET | {"feeSchedule": schedule}]))
    assert isinstance(facts, MarketFacts)
    assert facts.fee is None
    assert isinstance(bad, Reject)


@pytest.mark.parametrize("step", [0, -0.01, 1, 0.02, 0.0123456, 1e308])
def test_tick_that_cannot_be_is_rejected_and_unknown(step: float) -> None:
    facts, bad = read_markets(text([MARKET | {"orderPriceMinTickSize": step}]))
    assert isinstance(facts, MarketFacts)
    assert facts.tick_ranges is None
    assert isinstance(bad, Reject)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"eventStartTime": "2026-09-21T14:15:01Z"}, "bad_time"),
        ({"eventStartTime": "2025-09-21T14:15:00Z"}, "bad_time"),
        ({"endDate": "2026-09-21T14:45:00Z"}, "bad_time"),
        ({"endDate": "2026-09-31T14:30:00Z"}, "bad_time"),
        ({"endDate": "tomorrow"}, "bad_time"),
        ({"slug": ""}, "bad_name"),
        ({"slug": "../" + SLUG}, "bad_name"),
        ({"slug": 7}, "wrong_shape"),
        ({"outcomes": ["Up", "Down"]}, "wrong_shape"),
        ({"outcomes": '["Up", "Down"'}, "wrong_shape"),
        ({"outcomes": "[" * 100_000}, "wrong_shape"),
        ({"outcomes": '["Long", "Short"]'}, "unknown_type"),
        ({"outcomes": '["Up", "Down", "Flat"]'}, "wrong_shape"),
        ({"clobTokenIds": f'["{UP}"]'}, "wrong_shape"),
        ({"clobTokenIds": f'["{UP}", "{UP}"]'}, "bad_name"),
        ({"clobTokenIds": f'["{UP}", ""]'}, "bad_name"),
        ({"clobTokenIds": "[1, 2]"}, "wrong_shape"),
        ({"clobTokenIds": "", "outcomes": '["Long", "Short"]'}, "unknown_type"),
        ({"closed": "false"}, "wrong_shape"),
        ({"active": None}, "wrong_shape"),
    ],
)
def test_market_that_contradicts_itself_is_refused(change: dict[str, Any], reason: str) -> None:
    (bad,) = read_markets(text([MARKET | change]))
    assert isinstance(bad, Reject)
    assert bad.reason == reason


def test_one_bad_market_does_not_cost_the_others() -> None:
    found = read_markets(text([MARKET | {"closed": None}, 7, MARKET]))
    assert [type(message) for message in found] == [Reject, Reject, MarketFacts]


def test_fingerprint_is_a_series_own_and_outlives_dates_and_amounts() -> None:
    dated = MARKET["description"] + " From March 12, 5:20AM to 5:25 PM ET, above $66,624.16."
    later = MARKET["description"] + " From April 3, 11:45PM to 12:00 AM ET, above $71,000.5."
    assert one(MARKET | {"description": dated}).fingerprint == (
        one(MARKET | {"description": later}).fingerprint
    )


@pytest.mark.parametrize(
    "change",
    [
        {"description": POINT_TEXT},
        {"description": "Over 30s: " + MARKET["description"]},
        {"resolutionSource": POINT_SOURCE},
        {"cryptoMarketConfig": {"twapEnabled": True, "twapLookbackSeconds": 30}},
        {"feeSchedule": {"exponent": 1, "rate": 0.072}},
        {"feesEnabled": False},
    ],
)
def test_fingerprint_tells_a_changed_rule_or_fee(change: dict[str, Any]) -> None:
    assert one(MARKET | change).fingerprint != one(MARKET).fingerprint


@given(
    mutated([MARKET, CLOSED, EVENT])
    | st.sampled_from(["[" * 100_000, "\ud800", "[" + '{"a":' * 100_000])
    | st.text()
)
def test_only_text_that_is_no_array_raises_and_facts_are_in_range(plain: str) -> None:
    try:
        found = read_markets(plain)
    except (ValueError, RecursionError):
        return
    for message in found:
        if isinstance(message, Reject):
            assert message.detail.isprintable()
            continue
        assert isinstance(message, MarketFacts)
        assert message.market.isprintable() and 0 < len(message.market) <= 200
        assert message.strike_usd is None or 0 < message.strike_usd <= 1e9
        assert message.fee is None or 0 <= message.fee.rate_e4 <= 10_000
        if message.series is not None and message.open_ns and message.close_ns:
            assert message.open_ns < message.close_ns


def facts_of(plain: str) -> list[Message]:
    """Messages of a real answer, without the hash that no reader can work out."""
    answer = plain if plain.startswith("[") else f"[{plain}]"
    return [
        msgspec.structs.replace(m, fingerprint=None) if isinstance(m, MarketFacts) else m
        for m in read_markets(answer)
    ]


NOMINEE = "-win-the-2028-democratic-presidential-nomination-"
RECORDED: dict[str, list[Message]] = {
    # Spring 2026: fees apply, but no schedule is told yet, so nobody may trade it.
    "gamma_market.json": [
        MarketFacts(
            "btc-updown-5m-1773307200",
            series="btc-updown-5m",
            underlying="BTC-USD",
            instruments=(
                "104239898038807136052399800151408521467737075933964991162589336683346093173875",
                "71183960810705820955071415844881728181970340514894896943812046065452395013351",
            ),
            open_ns=1_773_307_200_000_000_000,
            close_ns=1_773_307_500_000_000_000,
            comparator=">=",
            rule="chainlink_point",
            tick_ranges=POLYMARKET_TICKS,
            status="open",
        )
    ],
    "gamma_event.json": [
        MarketFacts(
            f"will-stephen-a-smith{NOMINEE}914",
            instruments=(
                "60590045489347122735554346200880179420435533609307820342798544098823516727807",
                "76005700027045000587004110133818166617024719626220722682005164003117993034812",
            ),
            close_ns=time_ns("2028-11-07T00:00:00Z"),
            rule="unknown",
            fee=FREE,
            tick_ranges=TENTHS,
            status="open",
        ),
        MarketFacts(
            f"will-gretchen-whitmer{NOMINEE}676",
            instruments=(
                "57761428076807364758801249497410455358987881775226117256631754592198558850468",
                "64300336035644500626313522990854070672468621241744347587785777226296613235598",
            ),
            close_ns=time_ns("2028-11-07T00:00:00Z"),
            rule="unknown",
            fee=FREE,
            tick_ranges=TENTHS,
            status="open",
        ),
    ],
    "gamma_market_closed_binary_accepting_false.json": [
        MarketFacts(
            "katana-fdv-above-1b-one-day-after-launch-395-996",
            instruments=(
                "108872296183993054938831082799825620165440189659433018108548854929333464287226",
                "89711174926330519158043401581181146613785179104141808554061413232025882707365",
            ),
            close_ns=time_ns("2028-01-01T05:00:00Z"),
            rule="unknown",
            fee=FREE,
            tick_ranges=TENTHS,
            status="settled",
            result="no",
        )
    ],
    # Closed with a result, but UMA's word on it is not told: not final by what Gamma says.
    "gamma_market_closed_binary_accepting_true.json": [
        MarketFacts(
            "russia-x-ukraine-ceasefire-by-end-of-2027",
            instruments=(
                "22978793223071892222859460592277435458011604214087068523744633723809814935807",
                "108268928354766371660560153450121076545199284531791348447523752861907448942629",
            ),
            close_ns=time_ns("2027-12-31T00:00:00Z"),
            rule="unknown",
            fee=FREE,
            tick_ranges=POLYMARKET_TICKS,
            status="determined",
            result="yes",
        )
    ],
    # Outcome prices of 0 and 0: closed, and nothing is known of how it ended.
    "gamma_market_closed_zero_zero_legacy.json": [
        MarketFacts(
            "will-joe-biden-get-coronavirus-before-the-election",
            instruments=(
                "53135072462907880191400140706440867753044989936304433583131786753949599718775",
                "60869871469376321574904667328762911501870754872924453995477779862968218702336",
            ),
            close_ns=time_ns("2020-11-04T00:00:00Z"),
            rule="unknown",
            fee=FREE,
            status="closed",
        )
    ],
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answer_means_what_a_reader_sees_in_it(name: str) -> None:
    assert facts_of(wire(name)) == RECORDED[name]


def test_recorded_closed_window_is_settled_with_its_fee() -> None:
    # The recorder's own wrapping; Gamma's market is inside.
    raw = msgspec.json.decode(wire("gamma_market_2026-06-08.json"))["raw"]
    assert facts_of(text(raw)) == [
        MarketFacts(
            "btc-updown-5m-1780878000",
            series="btc-updown-5m",
            underlying="BTC-USD",
            instruments=(
                "86164835079251224520287596700059307801159587990693443206953433191632534311678",
                "86197518776665962290389905928510574547703588051057398999837763985301920344144",
            ),
            open_ns=1_780_878_000_000_000_000,
            close_ns=1_780_878_300_000_000_000,
            comparator=">=",
            rule="chainlink_point",
            fee=POLYMARKET_FEE,
            tick_ranges=POLYMARKET_TICKS,
            status="settled",
            result="yes",
        )
    ]


@pytest.mark.parametrize(
    "name",
    [
        "gamma_market_closed_nonbinary_legacy.json",
        "gamma_market_sports_market_map_handicap.json",
        "gamma_market_sports_market_money_line.json",
    ],
)
def test_recorded_market_whose_outcomes_are_no_yes_and_no_is_refused(name: str) -> None:
    # Long/Short pays in between, and of two teams neither is YES.
    (bad,) = facts_of(wire(name))
    assert isinstance(bad, Reject)
    assert bad.reason == "unknown_type"


def test_two_windows_of_one_recorded_rule_differ_by_their_fee_only() -> None:
    early = msgspec.json.decode(wire("gamma_market.json"))
    late = msgspec.json.decode(wire("gamma_market_2026-06-08.json"))["raw"]
    same_fee = early | {key: late[key] for key in ("feeSchedule", "feeType")}
    (first,), (second,), (third,) = (read_member(text(m)) for m in (early, late, same_fee))
    assert isinstance(first, MarketFacts)
    assert isinstance(second, MarketFacts)
    assert isinstance(third, MarketFacts)
    assert first.fingerprint != second.fingerprint == third.fingerprint
