"""Coinbase, the spot venue: its feeds, servers and requests, and what its answers tell. Pure.

Two feeds and two servers say the same in different words. Advanced Trade is asked first; Exchange
stands by for the day on which it is not there. There are no markets here, only products, so there
is no series, no strike and nothing that settles.

The decision a reader would question: candles are asked in pieces a little smaller than the limits.
Whether `end` counts is told by no page, a request for one candle too many is refused whole, and
what lies outside the asked range is left out when the answer is read.
"""

from collections.abc import Mapping, Sequence

from libs.common.venues.coinbase_exchange import ExchangeFeed
from libs.common.venues.coinbase_feed import AdvancedFeed
from libs.common.venues.coinbase_rest import (
    ADVANCED,
    EXCHANGE,
    MINUTE_NS,
    NS,
    TRADES_LIMIT,
    read_answer,
)
from libs.common.venues.venue import Answer, Endpoint, Feed, Get, Purpose, Series

BROKERAGE = "/api/v3/brokerage"

ADVANCED_CANDLES, EXCHANGE_CANDLES = 300, 299
"""Candles of one request. The limits are 350 and 300, of which `end` itself may be one."""

CANDLES_LIMIT = 350


class Coinbase:
    """Coinbase's public market data."""

    name = "coinbase"
    # Ten a second are allowed to an address; half of it leaves room for others behind it.
    endpoints: Mapping[str, Endpoint] = {
        ADVANCED: Endpoint("https://api.coinbase.com", 5.0, 10.0),
        EXCHANGE: Endpoint("https://api.exchange.coinbase.com", 5.0, 10.0),
    }
    feeds: Sequence[Feed] = (AdvancedFeed(), ExchangeFeed())
    series: Mapping[str, Series] = {}
    products: Mapping[str, str] = {name: name for name in ("BTC-USD", "ETH-USD", "SOL-USD")}

    def clock(self) -> Get | None:
        """Ask for the venue's time; it is answered with a `Heartbeat`."""
        return _advanced("clock", "/time", "")

    def status(self) -> Get | None:
        """Return None: each product has its own status, see `market`."""
        return None

    def listing(self, series: str, *, now_ns: int, windows: int) -> list[Get]:
        """Return nothing: there are no series."""
        return []

    def market(self, market: str) -> Get:
        """Ask for a product: whether it trades."""
        return _advanced("market", f"/market/products/{market}", market)

    def strike(self, market: str, *, open_ns: int, close_ns: int, rule: str) -> list[Get]:
        """Return nothing: a product has no strike."""
        return []

    def book(self, instrument: str) -> Get:
        """Ask for one whole book."""
        return _advanced("book", f"/market/product_book?product_id={instrument}", instrument)

    def top(self, instrument: str) -> Get | None:
        """Ask for best prices and the last trade; Coinbase answers from a cache of a second."""
        return _advanced("top", f"/market/products/{instrument}/ticker?limit=1", instrument)

    def terms(self, series: str) -> Get | None:
        """Return None: there are no series."""
        return None

    def cutoff(self) -> Get | None:
        """Return None: there is one tier."""
        return None

    def settled(
        self, series: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Return nothing: nothing settles."""
        return []

    def candles(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for one-minute candles that start in [start, end).

        Minutes without a trade are missing in the answer. The present minute is still forming:
        `end_ns` must not be later than its start.

        >>> COINBASE.candles("BTC-USD", start_ns=0, end_ns=60 * NS)[0].target.partition("?")[2]
        'start=0&end=60&granularity=ONE_MINUTE&limit=350'
        """
        path = f"/market/products/{instrument}/candles"
        last = f"granularity=ONE_MINUTE&limit={CANDLES_LIMIT}"
        return [
            _advanced("candles", f"{path}?{asked}&{last}", instrument)
            for asked in _pieces(start_ns, end_ns, ADVANCED_CANDLES)
        ]

    def candles_of_exchange(self, instrument: str, *, start_ns: int, end_ns: int) -> list[Get]:
        """Ask the other server for the same candles, where the first one fails."""
        path = f"/products/{instrument}/candles"
        return [
            Get("coinbase", EXCHANGE, f"{path}?{asked}&granularity=60", "candles", instrument)
            for asked in _pieces(start_ns, end_ns, EXCHANGE_CANDLES)
        ]

    def trades(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the trades in [start, end), newest first; full answers ask for older ones."""
        start_s, end_s = start_ns // NS, -(-end_ns // NS)
        if start_s >= end_s:
            return []
        asked = f"start={start_s}&end={end_s}&limit={TRADES_LIMIT}"
        return [_advanced("trades", f"/market/products/{instrument}/ticker?{asked}", instrument)]

    def answer(self, get: Get, *, status: int, text: str) -> Answer:
        """Read the answer to `get`; never raises."""
        return read_answer(get, status=status, text=text)


COINBASE = Coinbase()


def _advanced(purpose: Purpose, path: str, subject: str) -> Get:
    return Get("coinbase", ADVANCED, BROKERAGE + path, purpose, subject)


def _pieces(start_ns: int, end_ns: int, candles: int) -> list[str]:
    """Return `start=..&end=..` in seconds for all minutes that start in [start, end)."""
    first, last = (-(-ts_ns // MINUTE_NS) * 60 for ts_ns in (start_ns, end_ns))
    step = candles * 60
    return [f"start={begin}&end={min(begin + step, last)}" for begin in range(first, last, step)]
