"""Kalshi: what is asked, to the letter."""

import pytest

from libs.common.pricing import TERMS
from libs.common.venues.kalshi import KALSHI
from libs.common.venues.venue import Get, Venue

NS = 1_000_000_000
OPEN_S = 1_786_941_900
BTC = "KXBTC15M-26AUG170100-00"


def targets(gets: list[Get]) -> list[str]:
    return [get.target for get in gets]


def test_it_is_a_venue() -> None:
    venue: Venue = KALSHI
    assert venue.name == "kalshi"
    assert [(feed.name, feed.carries) for feed in venue.feeds] == [
        ("kalshi.ws", "books"),
        ("kalshi.index", "index"),
    ]
    assert venue.products == {}


def test_every_recorded_series_has_terms() -> None:
    assert set(KALSHI.series) == {series for venue, series in TERMS if venue == "kalshi"}
    assert KALSHI.series["KXETHD"].underlying == "ETH-USD"


def test_three_quarters_of_the_twenty_requests_a_second_are_used() -> None:
    endpoint = KALSHI.endpoints["kalshi.rest"]
    assert endpoint.address == "https://external-api.kalshi.com/trade-api/v2"
    assert endpoint.rate_per_s == 15.0


def test_open_and_unopened_markets_are_two_requests() -> None:
    gets = KALSHI.listing("KXBTC15M", now_ns=OPEN_S * NS, windows=3)
    assert targets(gets) == [
        "/markets?series_ticker=KXBTC15M&limit=1000&status=open",
        "/markets?series_ticker=KXBTC15M&limit=1000&status=unopened",
    ]
    assert {(g.purpose, g.subject, g.endpoint, g.cost) for g in gets} == {
        ("list", "KXBTC15M", "kalshi.rest", 1.0)
    }


@pytest.mark.parametrize(
    ("get", "target", "purpose", "subject"),
    [
        (KALSHI.status(), "/exchange/status", "status", "kalshi"),
        (KALSHI.market(BTC), f"/markets/{BTC}", "market", BTC),
        (KALSHI.top(BTC), f"/markets/{BTC}", "top", BTC),
        (KALSHI.book(BTC), f"/markets/{BTC}/orderbook?depth=0", "book", BTC),
        (KALSHI.terms("KXBTCD"), "/series/KXBTCD", "terms", "KXBTCD"),
        (KALSHI.cutoff(), "/historical/cutoff", "cutoff", "kalshi"),
    ],
)
def test_each_question_has_its_target(get: Get, target: str, purpose: str, subject: str) -> None:
    assert (get.target, get.purpose, get.subject) == (target, purpose, subject)


def test_only_the_book_is_to_be_signed() -> None:
    assert KALSHI.book(BTC).is_signed
    assert not KALSHI.market(BTC).is_signed


def test_there_is_no_clock_and_no_further_source_of_a_strike() -> None:
    assert KALSHI.clock() is None
    assert KALSHI.strike(BTC, open_ns=0, close_ns=1, rule="mean60") == []


def test_a_name_cannot_change_the_request() -> None:
    assert KALSHI.market("A?b=c&d#e%f").target == "/markets/A%3Fb%3Dc%26d%23e%25f"
    assert KALSHI.market("\u0660\ud800").target == "/markets/%D9%A0%3F"


def test_settled_markets_of_an_interval_keep_its_first_close() -> None:
    gets = KALSHI.settled("KXBTC15M", start_ns=OPEN_S * NS, end_ns=(OPEN_S + 900) * NS)
    assert targets(gets) == [
        "/markets?series_ticker=KXBTC15M&limit=1000&min_close_ts=1786941899&max_close_ts=1786942800"
    ]


def test_the_historical_tier_tells_settled_markets_without_an_interval() -> None:
    gets = KALSHI.settled("KXBTC15M", start_ns=0, end_ns=NS, is_historical=True)
    assert targets(gets) == ["/historical/markets?series_ticker=KXBTC15M&limit=1000"]
    assert gets[0].purpose == "settled"


def test_candles_are_asked_by_their_ends() -> None:
    times = f"?start_ts={OPEN_S + 60}&end_ts={OPEN_S + 900}&period_interval=1"
    life = {"start_ns": OPEN_S * NS, "end_ns": (OPEN_S + 900) * NS}
    assert targets(KALSHI.candles(BTC, **life)) == [
        f"/series/KXBTC15M/markets/{BTC}/candlesticks{times}"
    ]
    assert targets(KALSHI.candles(BTC, **life, is_historical=True)) == [
        f"/historical/markets/{BTC}/candlesticks{times}"
    ]


def test_candles_of_days_are_asked_in_pieces_that_neither_overlap_nor_gap() -> None:
    gets = KALSHI.candles(BTC, start_ns=0, end_ns=86_400 * 7 * NS)
    spans = [
        tuple(int(part.partition("=")[2]) for part in get.target.partition("?")[2].split("&")[:2])
        for get in gets
    ]
    ends = [end_s for first, last in spans for end_s in range(first, last + 1, 60)]
    assert ends == list(range(60, 86_400 * 7 + 1, 60))
    assert all((last - first) // 60 < 5_000 for first, last in spans)


def test_an_interval_shorter_than_a_candle_asks_for_none() -> None:
    assert KALSHI.candles(BTC, start_ns=0, end_ns=59 * NS) == []


def test_trades_are_asked_from_the_whole_second_before() -> None:
    life = {"start_ns": OPEN_S * NS + 1, "end_ns": (OPEN_S + 900) * NS + 1}
    query = f"?ticker={BTC}&min_ts={OPEN_S}&max_ts={OPEN_S + 901}&limit=1000"
    assert targets(KALSHI.trades(BTC, **life)) == [f"/markets/trades{query}"]
    assert targets(KALSHI.trades(BTC, **life, is_historical=True)) == [f"/historical/trades{query}"]
