"""What is asked of Polymarket, and where."""

import msgspec
import pytest

from libs.common.venues.messages import MarketFacts
from libs.common.venues.polymarket import HISTORY_S_MAX, POLYMARKET
from libs.common.venues.venue import Get, Venue
from tests.common.venues.polymarket_wire import UP, text, wire
from tests.common.venues.test_polymarket_gamma import MARKET, SLUG

NS = 1_000_000_000
START_S = 1_790_000_100


def test_it_is_a_venue() -> None:
    venue: Venue = POLYMARKET
    assert venue.name == "polymarket"
    assert [feed.name for feed in venue.feeds] == [
        "polymarket.ws",
        "polymarket.rtds",
        "polymarket.prices",
    ]
    assert all(not endpoint.address.endswith("/") for endpoint in venue.endpoints.values())


def test_series_are_the_short_windows_of_three_underlyings() -> None:
    assert {(s.name, s.underlying, s.length_s) for s in POLYMARKET.series.values()} == {
        ("btc-updown-5m", "BTC-USD", 300),
        ("btc-updown-15m", "BTC-USD", 900),
        ("eth-updown-5m", "ETH-USD", 300),
        ("eth-updown-15m", "ETH-USD", 900),
        ("sol-updown-5m", "SOL-USD", 300),
        ("sol-updown-15m", "SOL-USD", 900),
    }


@pytest.mark.parametrize("now_s", [START_S, START_S + 1, START_S + 899])
def test_listing_asks_for_the_window_that_is_open_and_the_next(now_s: int) -> None:
    asked = POLYMARKET.listing("btc-updown-15m", now_ns=now_s * NS, windows=2)
    assert [get.target for get in asked] == [
        "/events?slug=btc-updown-15m-1790000100",
        "/events?slug=btc-updown-15m-1790001000",
        "/events?slug=btc-updown-15m-1790001900",
    ]
    assert asked[0] == Get(
        "polymarket", "gamma", "/events?slug=btc-updown-15m-1790000100", "list", SLUG
    )


def test_market_is_asked_for_by_slug_or_by_condition() -> None:
    assert POLYMARKET.market(SLUG) == Get(
        "polymarket", "gamma", f"/events?slug={SLUG}", "market", SLUG
    )
    assert POLYMARKET.market("0xaa") == Get("polymarket", "clob", "/markets/0xaa", "market", "0xaa")


def test_strike_is_asked_for_as_the_average_that_settles() -> None:
    asked = POLYMARKET.strike(
        SLUG, open_ns=START_S * NS, close_ns=(START_S + 900) * NS, rule="chainlink_twap60"
    )
    target = (
        "/api/crypto/crypto-price?symbol=BTC&eventStartTime=2026-09-21T14:15:00Z"
        "&endDate=2026-09-21T14:30:00Z&variant=fifteen&twap=true&twapLookbackSeconds=60"
    )
    assert asked == [Get("polymarket", "site", target, "strike", SLUG)]


def test_strike_of_an_older_rule_is_asked_for_at_a_point() -> None:
    (get,) = POLYMARKET.strike(
        "eth-updown-5m-1773307200",
        open_ns=1_773_307_200 * NS,
        close_ns=1_773_307_500 * NS,
        rule="chainlink_point",
    )
    assert get.target == (
        "/api/crypto/crypto-price?symbol=ETH&eventStartTime=2026-03-12T09:20:00Z"
        "&endDate=2026-03-12T09:25:00Z&variant=fiveminute"
    )


@pytest.mark.parametrize(("market", "rule"), [("nvda-240", "chainlink_twap60"), (SLUG, "unknown")])
def test_market_of_no_series_or_rule_has_no_further_strike(market: str, rule: str) -> None:
    assert POLYMARKET.strike(market, open_ns=0, close_ns=NS, rule=rule) == []


@pytest.mark.parametrize(
    ("ts_s", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_798_761_599, "2026-12-31T23:59:59Z"),
        (1_835_395_200, "2028-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ],
)
def test_time_of_a_request_is_the_calendars(ts_s: int, expected: str) -> None:
    (get,) = POLYMARKET.strike(SLUG, open_ns=ts_s * NS, close_ns=ts_s * NS, rule="chainlink_twap60")
    assert f"eventStartTime={expected}&" in get.target


def test_book_is_asked_for_by_token() -> None:
    assert POLYMARKET.book(UP) == Get("polymarket", "clob", f"/book?token_id={UP}", "book", UP)


def test_what_the_venue_does_not_tell_is_not_asked() -> None:
    asked = (POLYMARKET.clock(), POLYMARKET.status(), POLYMARKET.cutoff(), POLYMARKET.top(UP))
    assert asked == (None, None, None, None)
    assert POLYMARKET.terms("btc-updown-15m") is None
    assert POLYMARKET.trades(UP, start_ns=0, end_ns=NS) == []


def test_settled_windows_are_those_that_closed_in_the_range() -> None:
    start_ns, end_ns = START_S * NS, (START_S + 1_800) * NS
    asked = POLYMARKET.settled("btc-updown-15m", start_ns=start_ns, end_ns=end_ns)
    assert [get.subject for get in asked] == [
        "btc-updown-15m-1789999200",  # closes when the range begins
        "btc-updown-15m-1790000100",
    ]
    assert {get.purpose for get in asked} == {"settled"}
    later = POLYMARKET.settled("btc-updown-15m", start_ns=start_ns + 1, end_ns=end_ns + 1)
    assert [get.subject for get in later] == [
        "btc-updown-15m-1790000100",
        "btc-updown-15m-1790001000",
    ]


def test_price_history_is_asked_for_in_ranges() -> None:
    asked = POLYMARKET.candles(UP, start_ns=0, end_ns=(HISTORY_S_MAX + 60) * NS)
    assert [get.target for get in asked] == [
        f"/prices-history?market={UP}&startTs=0&endTs=604800&fidelity=1",
        f"/prices-history?market={UP}&startTs=604800&endTs=604860&fidelity=1",
    ]
    assert POLYMARKET.candles(UP, start_ns=NS, end_ns=NS) == []


def test_answer_is_read_by_what_was_asked() -> None:
    answer = POLYMARKET.answer(POLYMARKET.market(SLUG), status=200, text=text([MARKET]))
    assert [m.market for m in answer.messages if isinstance(m, MarketFacts)] == [SLUG]
    settled = POLYMARKET.settled("btc-updown-15m", start_ns=0, end_ns=1)[0]
    assert POLYMARKET.answer(settled, status=200, text="[]").fault is None


def test_recorded_windows_bear_the_slugs_and_times_that_are_asked_for() -> None:
    told = msgspec.json.decode(wire("clob_rest_2026-03-22.json"))["observations"]
    assert len(told) == 96
    for window in told:
        start_ns = int(window["slug"].rpartition("-")[2]) * NS
        (get,) = POLYMARKET.listing("btc-updown-5m", now_ns=start_ns, windows=0)
        assert get.subject == window["slug"]
        (strike,) = POLYMARKET.strike(
            get.subject,
            open_ns=start_ns,
            close_ns=start_ns + 300 * NS,
            rule="chainlink_twap60",
        )
        begins, ends = (
            window[key].replace(".000Z", "Z") for key in ("marketStartAt", "marketEndAt")
        )
        assert f"eventStartTime={begins}&endDate={ends}&" in strike.target


def test_recorded_history_is_a_middle_price_on_half_cents() -> None:
    told = msgspec.json.decode(wire("clob_rest_2026-03-22.json"))["observations"]
    for window in told:
        prices = [point["probabilityUp"] for point in window["quoteHistoryContext"]]
        get = POLYMARKET.candles(window["upTokenId"], start_ns=0, end_ns=NS)[0]
        body = text({"history": [{"t": 1_774_138_241, "p": price} for price in prices]})
        answer = POLYMARKET.answer(get, status=200, text=body)
        assert [m.close for m in answer.messages] == [round(p * 10_000) for p in prices]  # type: ignore[attr-defined]
