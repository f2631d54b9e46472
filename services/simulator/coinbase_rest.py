"""Coinbase's REST APIs: Advanced Trade's public market data, and Exchange's.

In go a path and a query, out comes the answer of that instant. Candles come newest first, the first
of them still forming, and now and then one is missing.
"""

from services.simulator.coinbase import (
    Value,
    candle,
    coins,
    maker_side,
    price,
    trade_value,
)
from services.simulator.naming import NS_PER_S, rfc3339, unix_s
from services.simulator.path import UNDERLYINGS
from services.simulator.stepping import BookEvent
from services.simulator.wire import Answer, Context, Query, answer, first, whole

GRANULARITY = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1_800,
    "ONE_HOUR": 3_600,
    "TWO_HOUR": 7_200,
    "SIX_HOUR": 21_600,
    "ONE_DAY": 86_400,
}
EXCHANGE_GRANULARITY = (60, 300, 900, 3_600, 21_600, 86_400)
ADVANCED_ROWS_MAX, EXCHANGE_ROWS_MAX = 350, 300


def respond_advanced(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET of `path` below `/api/v3/brokerage`."""
    match [part for part in path.split("/") if part]:
        case ["time"]:
            own_ns = context.venue_ns("coinbase", now_ns)
            iso = rfc3339(own_ns, digits=0)
            text = str(own_ns // NS_PER_S)
            return answer(
                {"iso": iso, "epochSeconds": text, "epochMillis": str(own_ns // 1_000_000)}
            )
        case ["market", "products"]:
            names = context.world.names
            products = [_product(name, context) for name in names]
            return answer({"products": products, "num_products": len(products)})
        case ["market", "product_book"]:
            return _book(first(query, "product_id"), query, context, now_ns)
        case ["market", "products", name, *rest] if name in context.world.names:
            if rest == ["candles"]:
                return _advanced_candles(name, query, context, now_ns)
            if rest == ["ticker"]:
                return _ticker(name, query, context)
            if not rest:
                return answer(_product(name, context))
    return answer({"error": "NOT_FOUND", "error_details": "", "message": "not found"}, 404)


def respond_exchange(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET of `path` on the Exchange host."""
    match [part for part in path.split("/") if part]:
        case ["time"]:
            own_ns = context.venue_ns("coinbase", now_ns)
            return answer({"iso": rfc3339(own_ns), "epoch": own_ns / NS_PER_S})
        case ["products"]:
            return answer([_exchange_product(name) for name in context.world.names])
        case ["products", name, *rest] if name in context.world.names:
            if rest == ["candles"]:
                return _exchange_candles(name, query, context, now_ns)
            if rest == ["trades"]:
                return answer(
                    [_exchange_trade(e) for e in reversed(context.live.trades.get(name, ()))]
                )
            if rest == ["book"]:
                return answer(_exchange_book(name, query, context, now_ns))
            if not rest:
                return answer(_exchange_product(name))
    return answer({"message": "NotFound"}, 404)


def _advanced_candles(name: str, query: Query, context: Context, now_ns: int) -> Answer:
    length_s = GRANULARITY.get(first(query, "granularity"))
    if length_s is None:
        return _invalid("unknown granularity")
    now_s = now_ns // NS_PER_S
    end_s = whole(query, "end", now_s)
    start_s = whole(query, "start", end_s - ADVANCED_ROWS_MAX * length_s)
    limit = whole(query, "limit", ADVANCED_ROWS_MAX)
    if (end_s - start_s) // length_s > ADVANCED_ROWS_MAX or limit > ADVANCED_ROWS_MAX:
        return _invalid(f"number of candles requested should be less than {ADVANCED_ROWS_MAX}")
    rows = _candles(name, context, (start_s, end_s), length_s=length_s, now_ns=now_ns)[:limit]
    return answer(
        {
            "candles": [
                {
                    "start": str(row["start"]),
                    **{k: price(int(str(row[k]))) for k in ("low", "high", "open", "close")},
                    "volume": coins(int(str(row["volume"]))),
                }
                for row in rows
            ]
        }
    )


def _exchange_candles(name: str, query: Query, context: Context, now_ns: int) -> Answer:
    length_s = whole(query, "granularity", 60)
    if length_s not in EXCHANGE_GRANULARITY:
        return answer({"message": "Unsupported granularity"}, 400)
    now_s = now_ns // NS_PER_S
    end_s = unix_s(first(query, "end")) if first(query, "end") else now_s
    if end_s is None:
        return answer({"message": "Invalid end"}, 400)
    start_text = first(query, "start")
    start_s = unix_s(start_text) if start_text else end_s - EXCHANGE_ROWS_MAX * length_s
    if start_s is None:
        return answer({"message": "Invalid start"}, 400)
    if (end_s - start_s) // length_s > EXCHANGE_ROWS_MAX:
        message = "granularity too small for the requested time range. Count of aggregations "
        return answer({"message": f"{message}requested exceeds {EXCHANGE_ROWS_MAX}"}, 400)
    rows = _candles(name, context, (start_s, end_s), length_s=length_s, now_ns=now_ns)
    columns = ("low", "high", "open", "close")
    return answer(
        [
            [
                row["start"],
                *(int(str(row[k])) / 10_000 for k in columns),
                int(str(row["volume"])) / 1e8,
            ]
            for row in rows
        ]
    )


def _candles(
    name: str, context: Context, range_s: tuple[int, int], *, length_s: int, now_ns: int
) -> list[Value]:
    """Return candles that begin in a range, newest first."""
    low_s = max(-(-range_s[0] // length_s) * length_s, context.world.prices.first_s)
    high_s = min(range_s[1], now_ns // NS_PER_S)
    row = context.world.names.index(name)
    starts = range(low_s, high_s + 1, length_s)
    drawn = [candle(context, row, s, length_s=length_s, now_ns=now_ns) for s in reversed(starts)]
    return [value for value in drawn if value is not None]


def _invalid(message: str) -> Answer:
    return answer({"error": "INVALID_ARGUMENT", "error_details": message, "message": message}, 400)


def _product(name: str, context: Context) -> Value:
    base = name.split("-", maxsplit=1)[0]
    last = context.live.last_trade(name)
    return {
        "product_id": name,
        "price": price(last.trade.price if last and last.trade else 0),
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "base_currency_id": base,
        "quote_currency_id": "USD",
        "base_display_symbol": base,
        "quote_display_symbol": "USD",
        "status": "online",
        "trading_disabled": False,
        "product_type": "SPOT",
        "price_increment": "0.01",
        "display_name": name,
        "alias": "",
        "alias_to": [f"{name}C"],
    }


def _book(name: str, query: Query, context: Context, now_ns: int) -> Answer:
    if name not in context.world.names:
        return _invalid("product_id is invalid")
    limit = whole(query, "limit", 1_000)
    bids, asks = context.live.books[name]
    levels = {
        "bids": [{"price": price(p), "size": coins(bids[p])} for p in sorted(bids)[::-1][:limit]],
        "asks": [{"price": price(p), "size": coins(asks[p])} for p in sorted(asks)[:limit]],
    }
    mid_e4 = (max(bids, default=0) + min(asks, default=0)) // 2
    value = {"product_id": name, **levels, "time": rfc3339(now_ns)}
    gap_e4 = min(asks, default=0) - max(bids, default=0)
    return answer(
        {
            "pricebook": value,
            "last": price(mid_e4),
            "mid_market": price(mid_e4),
            "spread_bps": f"{gap_e4 / max(mid_e4, 1) * 1e4:.12f}",
            "spread_absolute": price(gap_e4),
        }
    )


def _ticker(name: str, query: Query, context: Context) -> Answer:
    limit = whole(query, "limit", 100)
    back = list(reversed(context.live.trades.get(name, ())))[:limit]
    extra = {"bid": "", "ask": "", "exchange": "coinbase"}
    trades = [{**trade_value(event, rfc3339(event.ns)), **extra} for event in back]
    bids, asks = context.live.tops[name]
    touch = {"best_bid": price(bids[0][0] if bids else 0)}
    return answer({"trades": trades, **touch, "best_ask": price(asks[0][0] if asks else 0)})


def _exchange_product(name: str) -> Value:
    base = next(u.code for u in UNDERLYINGS if u.name == name)
    return {
        "id": name,
        "base_currency": base,
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "status": "online",
        "trading_disabled": False,
    }


def _exchange_trade(event: BookEvent) -> Value:
    traded = event.trade
    if traded is None:
        return {}
    return {
        "time": rfc3339(event.ns),
        "trade_id": traded.trade_id,
        "price": price(traded.price),
        "size": coins(traded.size),
        "side": maker_side(traded).lower(),
    }


def _exchange_book(name: str, query: Query, context: Context, now_ns: int) -> Value:
    depth = {1: 1, 2: 50}.get(whole(query, "level", 1), 1)
    bids, asks = context.live.books[name]
    return {
        "bids": [[price(p), coins(bids[p]), 1] for p in sorted(bids)[::-1][:depth]],
        "asks": [[price(p), coins(asks[p]), 1] for p in sorted(asks)[:depth]],
        "sequence": now_ns // 1_000_000 - 1_600_000_000_000,
        "time": rfc3339(now_ns),
    }
