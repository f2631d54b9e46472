"""Kalshi's REST API: markets, books, trades, candles, status; live and historical.

In go a path below `/trade-api/v2` and a query, out comes the answer of that instant. Everything
settled longer than `CUTOFF_S` ago is served by the historical paths alone, as at the venue, only
sooner: there it is some three months.
"""

from services.simulator.kalshi import (
    ONE_E4,
    Value,
    market_value,
    sides,
    status_of,
    trade_value,
)
from services.simulator.life import Kind, Market
from services.simulator.naming import DAY_S, HOUR_S, NS_PER_S, rfc3339
from services.simulator.stepping import FIRST_TRADE_NS
from services.simulator.wire import (
    Answer,
    Context,
    Query,
    answer,
    dollars,
    first,
    hundredths,
    whole,
)

CUTOFF_S = 2 * DAY_S
LISTS_MAX, LISTS_USUAL = 1_000, 100
CANDLES_MAX = 5_000
SAMPLE_S = 5
"""A candle looks at the quotes so often."""

_STATUSES = {
    "unopened": {"initialized"},
    "open": {"active"},
    "closed": {"closed", "determined"},
    "settled": {"finalized"},
}
_MISSING = {"error": {"code": "not_found", "message": "not found", "service": "market"}}


def _bad(message: str) -> Answer:
    return answer({"error": {"code": "bad_request", "message": message, "service": "market"}}, 400)


def respond(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET of `path`, which begins behind `/trade-api/v2`."""
    parts = [part for part in path.split("/") if part]
    is_old = parts[:1] == ["historical"]
    if is_old:
        parts = parts[1:]
    match parts:
        case ["cutoff"] if is_old:
            cutoff = rfc3339(_cutoff_ns(now_ns), digits=0)
            names = ("market_settled_ts", "trades_created_ts", "orders_updated_ts")
            return answer(dict.fromkeys(names, cutoff))
        case ["markets"]:
            return _list(query, context, now_ns, is_old=is_old)
        case ["trades"] if is_old:
            return _trades(query, context, now_ns, is_old=True)
        case ["markets", "trades"] if not is_old:
            return _trades(query, context, now_ns, is_old=False)
        case ["markets", "orderbooks"] if not is_old:
            return _books(query, context)
        case ["markets", ticker, *rest]:
            return _of_market(ticker, rest, query, context, now_ns, is_old=is_old)
        case ["series", _, "markets", ticker, "candlesticks"] if not is_old:
            return _candles(ticker, query, context, now_ns, is_old=False)
    return answer(_MISSING, 404) if is_old else _of_exchange(parts, context, now_ns)


def _of_exchange(parts: list[str], context: Context, now_ns: int) -> Answer:
    """Answer what concerns no market: status, series, events, accounts."""
    match parts:
        case ["exchange", "status"]:
            is_paused = context.is_on("kalshi", "maintenance")
            status: Value = {"exchange_active": True, "trading_active": not is_paused}
            return answer({**status, "exchange_estimated_resume_time": None})
        case ["series"]:
            return answer({"series": [_series(kind) for kind in _kinds(context)]})
        case ["series", name]:
            found = [_series(kind) for kind in _kinds(context) if kind.name == name]
            return answer({"series": found[0]}) if found else answer(_MISSING, 404)
        case ["events", event]:
            return _event(event, context, now_ns)
        case ["portfolio" | "account", *_]:
            return answer({"error": {"code": "unauthorized", "message": "unauthorized"}}, 401)
    return answer(_MISSING, 404)


def _of_market(
    ticker: str, rest: list[str], query: Query, context: Context, now_ns: int, *, is_old: bool
) -> Answer:
    """Answer what concerns one market."""
    market = _known(ticker, context, now_ns, is_old=is_old)
    if market is None:
        return answer(_MISSING, 404)
    match rest:
        case []:
            return answer({"market": market_value(market, context, now_ns)})
        case ["orderbook"] if not is_old:
            return answer({"orderbook_fp": _book(market, context, whole(query, "depth", 0))})
        case ["candlesticks"] if is_old:
            return _candles(ticker, query, context, now_ns, is_old=True)
    return answer(_MISSING, 404)


def _kinds(context: Context) -> list[Kind]:
    return [kind for kind in context.world.kinds if kind.venue == "kalshi"]


def _cutoff_ns(now_ns: int) -> int:
    return (now_ns // NS_PER_S - CUTOFF_S) // HOUR_S * HOUR_S * NS_PER_S


def _series(kind: Kind) -> Value:
    return {
        "ticker": kind.name,
        "frequency": "hourly" if kind.is_ladder else "fifteen_min",
        "title": f"{kind.code} price",
        "category": "Crypto",
        "tags": [kind.code],
        "fee_type": "quadratic",
        "fee_multiplier": 1,
    }


def _known(ticker: str, context: Context, now_ns: int, *, is_old: bool) -> Market | None:
    """Return a market that is listed on the asked side of the cutoff."""
    market = context.world.find(ticker)
    if market is None or market.kind.venue != "kalshi":
        return None
    return market if _is_listed(market, now_ns, is_old=is_old) else None


def _is_listed(market: Market, now_ns: int, *, is_old: bool) -> bool:
    is_past = market.finalized_ns < _cutoff_ns(now_ns)
    return market.created_ns <= now_ns and is_past == is_old


def _list(query: Query, context: Context, now_ns: int, *, is_old: bool) -> Answer:
    status = first(query, "status")
    if status and status not in _STATUSES:
        return _bad(f"invalid status {status}")
    wanted = _STATUSES.get(status)
    # What is not closed yet need not be looked for among the months that are.
    closing_s = now_ns // NS_PER_S if status in ("unopened", "open") else 0
    found = []
    for market in _candidates(query, context, now_ns, low_s=closing_s):
        if not _is_listed(market, now_ns, is_old=is_old):
            continue
        if wanted is None or status_of(market, now_ns) in wanted:
            found.append(market)
    limit = min(max(whole(query, "limit", LISTS_USUAL), 1), LISTS_MAX)
    start = _cursor(query)
    page = found[start : start + limit]
    more = f"o{start + limit}" if start + limit < len(found) else ""
    return answer({"markets": [market_value(m, context, now_ns) for m in page], "cursor": more})


def _candidates(query: Query, context: Context, now_ns: int, low_s: int = 0) -> list[Market]:
    """List the markets a query may mean that close from `low_s` on, latest close first."""
    tickers = [t for text in query.get("tickers", []) for t in text.split(",") if t]
    if tickers:
        return [m for t in tickers if (m := context.world.find(t)) is not None]
    event, series = first(query, "event_ticker"), first(query, "series_ticker")
    low_s = max(low_s, whole(query, "min_close_ts", 0))
    high_s = whole(query, "max_close_ts", 1 << 40)
    found: list[Market] = []
    for kind in _kinds(context):
        if (series and kind.name != series) or (event and not event.startswith(kind.name + "-")):
            continue
        last_s = now_ns // NS_PER_S + kind.listed_s
        first_s = low_s - kind.length_s
        markets = context.world.markets(kind, first_s, min(last_s, high_s - kind.length_s))
        found += [m for m in markets if not event or m.event == event]
    return sorted(found, key=lambda m: (-m.close_s, m.name))


def _cursor(query: Query) -> int:
    text = first(query, "cursor").removeprefix("o")
    return int(text) if text.isdigit() and len(text) <= 12 else 0


def _event(event: str, context: Context, now_ns: int) -> Answer:
    markets = [
        m for m in _candidates({"event_ticker": [event]}, context, now_ns) if m.created_ns <= now_ns
    ]
    if not markets:
        return answer(_MISSING, 404)
    value = {
        "event_ticker": event,
        "series_ticker": markets[0].kind.name,
        "title": f"{markets[0].kind.code} price",
        "mutually_exclusive": False,
        "category": "Crypto",
    }
    return answer({"event": value, "markets": [market_value(m, context, now_ns) for m in markets]})


def _book(market: Market, context: Context, depth: int) -> Value:
    yes, no = sides(context.live.book(market))
    return {
        "yes_dollars": yes[-depth:] if depth > 0 else yes,
        "no_dollars": no[-depth:] if depth > 0 else no,
    }


def _books(query: Query, context: Context) -> Answer:
    tickers = [t for text in query.get("tickers", []) for t in text.split(",") if t]
    found = [m for t in tickers if (m := context.world.find(t)) is not None]
    return answer(
        {"orderbooks": [{"ticker": m.name, "orderbook_fp": _book(m, context, 0)} for m in found]}
    )


def _trades(query: Query, context: Context, now_ns: int, *, is_old: bool) -> Answer:
    """List a market's trades, newest first."""
    market = _known(first(query, "ticker"), context, now_ns, is_old=is_old)
    if market is None:
        return answer({"trades": [], "cursor": ""})
    low_s = max(whole(query, "min_ts", 0), market.open_s)
    high_s = min(whole(query, "max_ts", 1 << 40), market.close_s - 1, now_ns // NS_PER_S)
    limit = min(max(whole(query, "limit", LISTS_USUAL), 1), LISTS_MAX)
    last_s = min(high_s, _cursor(query) or high_s)
    found: list[Value] = []
    second = last_s
    while second >= low_s and len(found) < limit:
        traded = context.world.trade(market, second)
        ns = second * NS_PER_S + FIRST_TRADE_NS
        if traded is not None and ns <= now_ns:
            value = trade_value(market.name, traded)
            value["ticker"] = value.pop("market_ticker")
            found.append({**value, "created_time": rfc3339(ns)})
        second -= 1
    return answer({"trades": found, "cursor": f"o{second}" if second >= low_s else ""})


def _candles(ticker: str, query: Query, context: Context, now_ns: int, *, is_old: bool) -> Answer:
    market = _known(ticker, context, now_ns, is_old=is_old)
    if market is None:
        return answer(_MISSING, 404)
    period_s = 60 * whole(query, "period_interval", 1)
    if period_s not in (60, HOUR_S, DAY_S):
        return _bad("period_interval must be 1, 60 or 1440")
    start_s, end_s = whole(query, "start_ts", 0), whole(query, "end_ts", now_ns // NS_PER_S)
    # Both bounds are of candles' ends: "ending on or after", "on or before" (OpenAPI 3.20).
    first_s = -(-max(start_s, market.open_s + 1) // period_s) * period_s
    last_s = min(end_s, market.close_s)
    if (last_s - first_s) // period_s > CANDLES_MAX:
        return _bad("too many candlesticks")
    known = [e for e in range(first_s, last_s + 1, period_s) if e * NS_PER_S <= now_ns]
    candles = [_candle(market, context, e, period_s) for e in known]
    if is_old:
        candles = [_as_old(candle) for candle in candles]
    return answer({"ticker": ticker, "candlesticks": candles})


def _as_old(candle: Value) -> Value:
    """Return a candle as the historical tier names its fields: without what says their unit."""
    return {
        name.removesuffix("_fp"): (
            {key.removesuffix("_dollars"): v for key, v in value.items()}
            if isinstance(value, dict)
            else value
        )
        for name, value in candle.items()
    }


def _candle(market: Market, context: Context, end_s: int, period_s: int) -> Value:
    """Return the candle of quotes and trades that ends, inclusively, at `end_s`."""
    quotes, bids, asks = context.world.quotes(market), [], []
    start_s = max(end_s - period_s, market.open_s)
    for second in range(start_s, end_s, SAMPLE_S):
        bid, ask = quotes.touch(second)
        bids.append(bid or 0)
        asks.append(ask or ONE_E4)
    drawn = (context.world.trade(market, second) for second in range(start_s, end_s))
    trades = [trade for trade in drawn if trade is not None]
    prices = [trade.price for trade in trades]
    mean = sum(prices) // len(prices) if prices else None
    price: Value = {**_ohlc(prices), "mean_dollars": None if mean is None else dollars(mean)}
    return {
        "end_period_ts": end_s,
        "yes_bid": _ohlc(bids),
        "yes_ask": _ohlc(asks),
        "price": {**price, "previous_dollars": None},
        "volume_fp": hundredths(sum(trade.size for trade in trades)),
        "open_interest_fp": "0.00",
    }


def _ohlc(values: list[int]) -> Value:
    if not values:
        return dict.fromkeys(("open_dollars", "low_dollars", "high_dollars", "close_dollars"))
    chosen = {"open": values[0], "low": min(values), "high": max(values), "close": values[-1]}
    return {f"{name}_dollars": dollars(value) for name, value in chosen.items()}
