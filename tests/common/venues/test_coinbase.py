"""Coinbase's requests: exact targets, pieces within the limits, nothing where there is nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.coinbase import ADVANCED_CANDLES, COINBASE, EXCHANGE_CANDLES
from libs.common.venues.venue import Get, Venue

NS = 1_000_000_000
MINUTE_NS = 60 * NS
T0_NS = 1_788_264_000 * NS
BASE = "/api/v3/brokerage"


def spans(gets: list[Get]) -> list[tuple[int, int]]:
    """Return start and end of each request, in seconds."""
    parts = [dict(p.split("=") for p in get.target.partition("?")[2].split("&")) for get in gets]
    return [(int(part["start"]), int(part["end"])) for part in parts]


def test_every_request_is_of_an_endpoint_that_is_named() -> None:
    venue: Venue = COINBASE
    top = venue.top("BTC-USD")
    clock = venue.clock()
    assert top is not None and clock is not None
    gets = [clock, top, venue.market("BTC-USD"), venue.book("BTC-USD")]
    gets += venue.candles("BTC-USD", start_ns=T0_NS, end_ns=T0_NS + MINUTE_NS)
    gets += COINBASE.candles_of_exchange("BTC-USD", start_ns=T0_NS, end_ns=T0_NS + MINUTE_NS)
    assert {get.endpoint for get in gets} == set(venue.endpoints)
    assert not any(get.is_signed for get in gets)


def test_targets_are_these() -> None:
    end_ns = T0_NS + 2 * MINUTE_NS
    assert COINBASE.clock() == Get("coinbase", "advanced", f"{BASE}/time", "clock", "")
    assert COINBASE.market("BTC-USD").target == f"{BASE}/market/products/BTC-USD"
    assert COINBASE.book("BTC-USD").target == f"{BASE}/market/product_book?product_id=BTC-USD"
    assert COINBASE.top("SOL-USD") == Get(
        "coinbase", "advanced", f"{BASE}/market/products/SOL-USD/ticker?limit=1", "top", "SOL-USD"
    )
    [trades] = COINBASE.trades("ETH-USD", start_ns=T0_NS + 1, end_ns=end_ns + 1)
    assert trades.target == (
        f"{BASE}/market/products/ETH-USD/ticker?start=1788264000&end=1788264121&limit=1000"
    )
    [candles] = COINBASE.candles("BTC-USD", start_ns=T0_NS, end_ns=end_ns)
    assert candles.target == (
        f"{BASE}/market/products/BTC-USD/candles"
        "?start=1788264000&end=1788264120&granularity=ONE_MINUTE&limit=350"
    )
    [fallback] = COINBASE.candles_of_exchange("BTC-USD", start_ns=T0_NS, end_ns=end_ns)
    assert (fallback.endpoint, fallback.target) == (
        "exchange",
        "/products/BTC-USD/candles?start=1788264000&end=1788264120&granularity=60",
    )


@given(start=st.integers(0, 10**12), minutes=st.floats(-5, 2_000))
def test_pieces_cover_the_range_once_within_the_limits(start: int, minutes: float) -> None:
    start_ns, end_ns = start * 1_000_000, start * 1_000_000 + int(minutes * MINUTE_NS)
    for ask, many in (
        (COINBASE.candles, ADVANCED_CANDLES),
        (COINBASE.candles_of_exchange, EXCHANGE_CANDLES),
    ):
        asked = spans(ask("BTC-USD", start_ns=start_ns, end_ns=end_ns))
        starts = [second for begin, end in asked for second in range(begin, end, 60)]
        wanted = range(-(-start_ns // MINUTE_NS) * 60, -(-end_ns // MINUTE_NS) * 60, 60)
        assert starts == list(wanted)
        assert all((end - begin) // 60 <= many for begin, end in asked)


def test_limits_hold_even_if_the_end_counts() -> None:
    assert ADVANCED_CANDLES < 350
    assert EXCHANGE_CANDLES < 300


@pytest.mark.parametrize("end_ns", [T0_NS, T0_NS - 1])
def test_empty_range_asks_nothing(end_ns: int) -> None:
    assert COINBASE.candles("BTC-USD", start_ns=T0_NS, end_ns=end_ns) == []
    assert COINBASE.trades("BTC-USD", start_ns=T0_NS, end_ns=end_ns) == []


def test_spot_venue_has_products_and_nothing_that_settles() -> None:
    assert set(COINBASE.products) == {"BTC-USD", "ETH-USD", "SOL-USD"}
    assert not COINBASE.series
    assert COINBASE.listing("x", now_ns=T0_NS, windows=1) == []
    assert COINBASE.strike("BTC-USD", open_ns=0, close_ns=1, rule="x") == []
    assert COINBASE.settled("x", start_ns=0, end_ns=1) == []
    assert (COINBASE.status(), COINBASE.terms("x"), COINBASE.cutoff()) == (None, None, None)


def test_feeds_are_the_advanced_one_and_its_fallback() -> None:
    facts = [(feed.name, feed.is_numbered, feed.subscribe_s_max) for feed in COINBASE.feeds]
    assert facts == [("coinbase.ws", True, 5.0), ("coinbase.exchange", False, 5.0)]
    assert all(feed.message_bytes_max >= 32 << 20 for feed in COINBASE.feeds)
