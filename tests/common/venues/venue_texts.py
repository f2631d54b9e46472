"""Sound texts of every feed and endpoint of every venue, for the contract that all of them keep.

Written by hand after the venues' documentation; `recorded` gives real ones where they are. A venue
that is added to the table needs its lines here, or the contract test fails.
"""

import json
from collections.abc import Iterator
from typing import Any

from libs.common.venues import VENUES
from libs.common.venues.venue import Get
from tests.common.venues import coinbase_texts as coinbase
from tests.common.venues import kalshi_texts as kalshi
from tests.common.venues import polymarket_wire as polymarket
from tests.common.venues.test_coinbase_exchange import bodies
from tests.common.venues.test_polymarket_feed import BEST, BOOK, CHANGE, NEW, TICK, TRADE
from tests.common.venues.test_polymarket_gamma import EVENT, MARKET, SLUG
from tests.common.venues.test_polymarket_prices import AVERAGE, HISTORY, LIVE, POINT
from tests.common.venues.test_polymarket_rest import BOOK_TOLD, CLOB_TOLD, STRIKE_TOLD

_PRODUCT = {"product_id": "BTC-USD", "time": coinbase.AT}
_MATCH = {"trade_id": 11, "side": "sell", "size": "0.25", "price": "100.50", "sequence": 90}
_LEVELS = {"bids": [["100.50", "2"]], "asks": [["100.75", "1"]]}

FEEDS: dict[str, list[Any]] = {
    "coinbase.ws": [
        json.loads(coinbase.envelope("l2_data", [coinbase.book("snapshot", [coinbase.level()])])),
        json.loads(coinbase.envelope("l2_data", [coinbase.book("update", [coinbase.level()])])),
        json.loads(
            coinbase.envelope("market_trades", [{"type": "update", "trades": [coinbase.trade()]}])
        ),
        json.loads(coinbase.envelope("ticker", [{"type": "update", "tickers": [coinbase.tick()]}])),
    ],
    "coinbase.exchange": [
        {"type": "snapshot", **_PRODUCT, **_LEVELS},
        {"type": "l2update", **_PRODUCT, "changes": [["buy", "100.50", "3"]]},
        {"type": "match", **_PRODUCT, **_MATCH},
    ],
    "kalshi.ws": [
        json.loads(kalshi.frame("orderbook_snapshot", kalshi.snapshot())),
        json.loads(kalshi.frame("orderbook_delta", kalshi.delta())),
        json.loads(kalshi.frame("ticker", kalshi.ticker())),
        json.loads(kalshi.frame("trade", kalshi.trade())),
    ],
    "kalshi.index": [json.loads(kalshi.frame("cfbenchmarks_value", kalshi.index()))],
    "polymarket.ws": [BOOK, CHANGE, TRADE, TICK, BEST, NEW],
    "polymarket.rtds": [POINT, AVERAGE, HISTORY],
    "polymarket.prices": [LIVE],
}
"""Objects, one a text, by feed."""


def _known(get: Get | None) -> Get:
    assert get is not None
    return get


_COINBASE, _KALSHI, _POLYMARKET = (VENUES[n] for n in ("coinbase", "kalshi", "polymarket"))

ANSWERS: dict[str, list[tuple[Get, Any]]] = {
    "coinbase": [
        (
            _COINBASE.book("BTC-USD"),
            {
                "pricebook": {
                    "product_id": "BTC-USD",
                    "bids": [{"price": "100.50", "size": "2"}],
                    "asks": [{"price": "100.75", "size": "1"}],
                    "time": coinbase.AT,
                }
            },
        ),
        (
            _known(_COINBASE.clock()),
            {"iso": coinbase.AT, "epochSeconds": "1788264000", "epochMillis": "1788264000250"},
        ),
    ],
    "kalshi": [
        (_KALSHI.market(kalshi.BTC), {"market": kalshi.market()}),
        (
            _KALSHI.listing("KXBTC15M", now_ns=0, windows=2)[0],
            {"markets": [kalshi.market()], "cursor": ""},
        ),
        (_known(_KALSHI.status()), {"exchange_active": True, "trading_active": True}),
    ],
    "polymarket": [
        (_POLYMARKET.market(SLUG), [EVENT]),
        (_POLYMARKET.market(SLUG), [EVENT | {"markets": [MARKET]}]),
        (_POLYMARKET.book(polymarket.UP), BOOK_TOLD),
        (_POLYMARKET.market(polymarket.CONDITION), CLOB_TOLD),
        (
            _POLYMARKET.strike(SLUG, open_ns=0, close_ns=900 * 10**9, rule="chainlink_point")[0],
            STRIKE_TOLD,
        ),
    ],
}
"""Answers by venue, each with its request."""


def recorded(feed: str) -> list[str]:
    """Return real texts of a feed; skips where there are none."""
    if feed == "coinbase.exchange":
        return list(bodies().values())
    if feed == "coinbase.ws":
        names = ("l2_data_snapshot", "l2_data_update", "market_trades", "ticker", "heartbeats")
        return [coinbase.wire(f"advanced_ws_{name}.json") for name in names]
    if feed == "kalshi.ws":
        frames = [e["frame"] for e in kalshi.captured() if "url" not in e and "frame" in e]
        return frames + kalshi.range_frames()
    names = ("market_book_msg", "market_price_change_msg", "market_last_trade_msg", "quotes")
    return [polymarket.wire(f"ws_{name}.json") for name in names]


def replaced(value: Any, hostile: Any) -> Iterator[Any]:
    """Yield copies of `value`, each with one text or key somewhere replaced by `hostile`."""
    if isinstance(value, str):
        yield hostile
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            for new in replaced(inner, hostile):
                yield [*value[:place], new, *value[place + 1 :]]
    elif isinstance(value, dict):
        for key, inner in value.items():
            for new in replaced(inner, hostile):
                yield value | {key: new}
            yield {k: v for k, v in value.items() if k != key} | {hostile: inner}
