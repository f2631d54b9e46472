"""Kalshi: its servers, the series that are recorded, and the requests it answers. Pure.

Market data by REST needs no key (the book may), the WebSocket always does. Names of markets are
never made up: the list of a series tells them, because the close time in them is a local one and
the rest is the venue's business.

The decision a reader would question: the open market and the next ones take two requests. The venue
filters by one status at a time, and its filter by close time goes with none of the two.
"""

from collections.abc import Mapping, Sequence

from libs.common.venues import kalshi_rest
from libs.common.venues.kalshi_feed import KalshiFeed, KalshiIndexFeed
from libs.common.venues.kalshi_market import SERIES
from libs.common.venues.kalshi_rest import CANDLE_S, HISTORICAL, quoted
from libs.common.venues.venue import Answer, Endpoint, Feed, Get, Purpose, Series

REST = "kalshi.rest"

_SECOND_NS = 1_000_000_000
_PAGE = 1_000
"""Most that the venue puts on a page of markets or trades."""
_CANDLES_MAX = 5_000
"""Most candles that one request may span."""


class Kalshi:
    """The venue; stateless."""

    name = "kalshi"
    # Basic tier: 200 read tokens a second, 10 a request (rate limits page, read 2026-11-22). How
    # much it saves up is not stated: one second's worth.
    endpoints: Mapping[str, Endpoint] = {
        REST: Endpoint("https://external-api.kalshi.com/trade-api/v2", rate_per_s=15.0, burst=15.0)
    }
    feeds: Sequence[Feed] = (KalshiFeed(), KalshiIndexFeed())
    series: Mapping[str, Series] = SERIES
    products: Mapping[str, str] = {}

    def clock(self) -> Get | None:
        """None: the `Date` header of an answer must do."""
        return None

    def status(self) -> Get | None:
        """Ask whether the exchange trades (a pause each Thursday, 03:00 to 05:00 New York)."""
        return _get("/exchange/status", "status", self.name)

    def listing(self, series: str, *, now_ns: int, windows: int) -> list[Get]:
        """Ask for the open markets of a series, and for those that will open.

        The venue lists all it has announced (four to five hours of quarter hours); the caller takes
        the next `windows`.
        """
        query = f"/markets?series_ticker={quoted(series)}&limit={_PAGE}&status="
        return [_get(query + status, "list", series) for status in ("open", "unopened")]

    def market(self, market: str) -> Get:
        """Ask for all facts about one market."""
        return _get(f"/markets/{quoted(market)}", "market", market)

    def strike(self, market: str, *, open_ns: int, close_ns: int, rule: str) -> list[Get]:
        """Empty: the market itself tells its strike about a second after it opens."""
        return []

    def book(self, instrument: str) -> Get:
        """Ask for one whole book; to be signed where there is a key."""
        target = f"/markets/{quoted(instrument)}/orderbook?depth=0"
        return _get(target, "book", instrument, is_signed=True)

    def top(self, instrument: str) -> Get | None:
        """Ask for best prices as the market's own object tells them."""
        return _get(f"/markets/{quoted(instrument)}", "top", instrument)

    def terms(self, series: str) -> Get | None:
        """Ask for the fee of a series; the rules stand in each market."""
        return _get(f"/series/{quoted(series)}", "terms", series)

    def cutoff(self) -> Get | None:
        """Ask where the historical tier begins, about three months back."""
        return _get("/historical/cutoff", "cutoff", self.name)

    def settled(
        self, series: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the markets of a series that closed in [start, end).

        The historical tier has no filter by time: it tells all of the series, page by page.
        """
        query = f"markets?series_ticker={quoted(series)}&limit={_PAGE}"
        if is_historical:
            return [_get(HISTORICAL + query, "settled", series)]
        # The venue says "after" and "before"; one second earlier keeps a close at `start` itself.
        start_s, end_s = start_ns // _SECOND_NS - 1, -(-end_ns // _SECOND_NS)
        times = f"&min_close_ts={start_s}&max_close_ts={end_s}"
        return [_get(f"/{query}{times}", "settled", series)]

    def candles(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the candles that begin and end in [start, end], 5,000 a request."""
        ticker = quoted(instrument)
        path = f"/series/{ticker.partition('-')[0]}/markets/{ticker}/candlesticks"
        if is_historical:
            path = f"{HISTORICAL}markets/{ticker}/candlesticks"
        # The venue takes the ends of candles. The first ends one interval after the start.
        first_s, last_s = -(-start_ns // _SECOND_NS) + CANDLE_S, end_ns // _SECOND_NS
        span_s = (_CANDLES_MAX - 1) * CANDLE_S
        return [
            _get(
                f"{path}?start_ts={begin_s}&end_ts={min(begin_s + span_s, last_s)}"
                "&period_interval=1",
                "candles",
                instrument,
            )
            for begin_s in range(first_s, last_s + 1, span_s + CANDLE_S)
        ]

    def trades(
        self, instrument: str, *, start_ns: int, end_ns: int, is_historical: bool = False
    ) -> list[Get]:
        """Ask for the trades of a market in [start, end), newest first, page by page."""
        path = f"{HISTORICAL}trades" if is_historical else "/markets/trades"
        start_s, end_s = start_ns // _SECOND_NS, -(-end_ns // _SECOND_NS)
        query = f"?ticker={quoted(instrument)}&min_ts={start_s}&max_ts={end_s}&limit={_PAGE}"
        return [_get(path + query, "trades", instrument)]

    def answer(self, get: Get, *, status: int, text: str) -> Answer:
        """Read the answer to `get`; never raises."""
        return kalshi_rest.answer(get, status=status, text=text)


def _get(target: str, purpose: Purpose, subject: str, *, is_signed: bool = False) -> Get:
    return Get("kalshi", REST, target, purpose, subject, is_signed=is_signed)


KALSHI = Kalshi()
