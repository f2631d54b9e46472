"""Polymarket's REST APIs: Gamma, the order book's, and the website's price to beat.

In go a path and a query, out comes the answer of that instant. Gamma answers lists with arrays,
empty where nothing fits. A market far ahead is listed but quiet: its book stands still.
"""

import msgspec

from services.simulator.life import Kind, Market
from services.simulator.naming import (
    NS_PER_S,
    condition_id,
    condition_place,
    token_place,
    unix_s,
)
from services.simulator.polymarket import (
    EVENT_IDS,
    ONE_E4,
    Value,
    book_value,
    crypto_price,
    event_value,
    is_closed,
    market_value,
    place_of_number,
    tick_size,
)
from services.simulator.wire import Answer, Context, Query, answer, first, trimmed, whole

LIST_MAX, LIST_USUAL = 500, 20
HISTORY_ROWS_MAX = 20_000
VARIANTS = {"fiveminute": 300, "fifteen": 900}

_NO_BOOK = {"error": "No orderbook exists for the requested token id"}


def respond_gamma(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET on the Gamma host."""
    match [part for part in path.split("/") if part]:
        case ["markets"]:
            found = _listed(query, context, now_ns)
            return answer([market_value(m, context, now_ns) for m in found])
        case ["events"]:
            found = _listed(query, context, now_ns)
            return answer([event_value(m, context, now_ns) for m in found])
        case ["markets" | "events" as what, "slug", slug]:
            named = _visible(context.world.find(slug), now_ns)
        case ["markets" | "events" as what, text]:
            if not text.isdigit():
                return answer({"type": "validation error", "error": "id is invalid"}, 422)
            number = int(text) - (EVENT_IDS if what == "events" else 0)
            named = _visible(_of_number(number, context), now_ns)
        case _:
            return answer({"type": "not found error", "error": "not found"}, 404)
    if named is None:
        return answer({"type": "not found error", "error": f"{what} not found"}, 404)
    value = market_value if what == "markets" else event_value
    return answer(value(named, context, now_ns))


def respond_clob(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET on the order book's host."""
    parts = [part for part in path.split("/") if part]
    if parts == ["time"]:
        return Answer(200, str(context.venue_ns("polymarket", now_ns) // NS_PER_S))
    if len(parts) == 2 and parts[0] == "markets":
        return _condition(parts[1], context, now_ns)
    if parts == ["prices-history"]:
        return _history(query, context, now_ns)
    if len(parts) != 1 or parts[0] not in _TOKEN_PATHS:
        return answer({"error": "not found"}, 404)
    place = context.world.market_of(token_place(first(query, "token_id")))
    if place is None or place[0].created_ns > now_ns or is_closed(place[0], now_ns):
        return answer(_NO_BOOK, 404)
    return _token(parts[0], query, place, context, now_ns)


def respond_books(tokens: list[str], context: Context, now_ns: int) -> Answer:
    """Answer a POST of `/books`; tokens without a book are left out."""
    places = [context.world.market_of(token_place(token)) for token in tokens]
    return answer(
        [
            _book(place, context, now_ns)
            for place in places
            if place is not None and place[0].created_ns <= now_ns < place[0].determined_ns
        ]
    )


def respond_site(path: str, query: Query, context: Context, now_ns: int) -> Answer:
    """Answer a GET on the website: the price to beat, and whether orders are blocked here."""
    if path.rstrip("/") == "/api/geoblock":
        place = {"ip": "203.0.113.42", "country": "US", "region": "NY"}
        return answer({"blocked": True, **place})
    if path.rstrip("/") != "/api/crypto/crypto-price":
        return answer({"error": "not found"}, 404)
    open_s = unix_s(first(query, "eventStartTime"))
    length_s = VARIANTS.get(first(query, "variant"))
    code = first(query, "symbol").upper()
    kinds = [k for k in _kinds(context) if k.code == code]
    if open_s is None or not kinds:
        return answer({"error": "Invalid parameters"}, 400)
    if length_s is None:
        # A variant it does not know gets the window from the top of the hour, as at the venue.
        length_s, open_s = 900, open_s // 3_600 * 3_600
    kind = next(k for k in kinds if k.length_s == length_s)
    market = context.world.find(f"{kind.name}-{open_s}")
    if market is None or market.open_ns > now_ns:
        nothing: Value = dict.fromkeys(("openPrice", "closePrice"))
        ms = now_ns // 1_000_000
        state = {"timestamp": ms, "completed": False, "incomplete": True, "cached": False}
        return answer({**nothing, **state})
    return answer(crypto_price(market, context, now_ns))


def _kinds(context: Context) -> list[Kind]:
    return [kind for kind in context.world.kinds if kind.venue == "polymarket"]


def _visible(market: Market | None, now_ns: int) -> Market | None:
    if market is None or market.kind.venue != "polymarket" or market.created_ns > now_ns:
        return None
    return market


def _of_number(number: int, context: Context) -> Market | None:
    kind, open_s = place_of_number(number)
    found = context.world.market_of((kind, open_s, 0))
    return found[0] if found is not None else None


def _listed(query: Query, context: Context, now_ns: int) -> list[Market]:
    """Return the markets a query means, by name, or a page of them by time."""
    named: list[Market | None] = [context.world.find(slug) for slug in query.get("slug", [])]
    named += [_of_number(int(t), context) for t in query.get("id", []) if t.isdigit()]
    for text in query.get("condition_ids", []):
        place = condition_place(text)
        found = context.world.market_of((*place, 0)) if place else None
        named.append(found[0] if found else None)
    for token in query.get("clob_token_ids", []):
        found = context.world.market_of(token_place(token))
        named.append(found[0] if found else None)
    names = {"slug", "id", "condition_ids", "clob_token_ids"} & set(query)
    markets = [m for one in named if (m := _visible(one, now_ns)) is not None]
    if not names:
        markets = _by_time(query, context, now_ns)
    closed = first(query, "closed")
    if closed:
        markets = [m for m in markets if is_closed(m, now_ns) == (closed == "true")]
    start = max(whole(query, "offset", 0), 0)
    limit = min(max(whole(query, "limit", LIST_USUAL), 0), LIST_MAX)
    return markets[start : start + limit]


def _by_time(query: Query, context: Context, now_ns: int) -> list[Market]:
    now_s = now_ns // NS_PER_S
    low_s = unix_s(first(query, "end_date_min")) or 0
    high_s = unix_s(first(query, "end_date_max")) or now_s + 86_400
    series = first(query, "series_slug")
    found: list[Market] = []
    for kind in _kinds(context):
        slug = f"{kind.code.lower()}-up-or-down-{kind.length_s // 60}m"
        if not series or series == slug:
            last_s = min(high_s - kind.length_s, now_s + kind.listed_s)
            found += context.world.markets(kind, low_s - kind.length_s, last_s)
    found = [m for m in found if _visible(m, now_ns) and low_s <= m.close_s <= high_s]
    is_rising = first(query, "ascending", "false") == "true"
    return sorted(found, key=lambda m: (m.close_s, m.name), reverse=not is_rising)


def _condition(text: str, context: Context, now_ns: int) -> Answer:
    place = condition_place(text)
    found = context.world.market_of((*place, 0)) if place else None
    market = _visible(found[0], now_ns) if found else None
    if market is None:
        return answer({"error": "market not found"}, 404)
    gamma = market_value(market, context, now_ns)
    closed = is_closed(market, now_ns)
    prices = _texts(gamma["outcomePrices"])
    winner = [p == "1" and closed for p in prices]
    names, tokens = _texts(gamma["outcomes"]), _texts(gamma["clobTokenIds"])
    return answer(
        {
            "enable_order_book": not closed,
            "active": True,
            "closed": closed,
            "archived": False,
            "accepting_orders": gamma["acceptingOrders"],
            "minimum_order_size": 5,
            "minimum_tick_size": gamma["orderPriceMinTickSize"],
            "condition_id": condition_id(market.kind.number, market.open_s),
            "question_id": gamma["questionID"],
            "question": gamma["question"],
            "market_slug": market.name,
            "end_date_iso": gamma["endDate"],
            "game_start_time": None,
            "seconds_delay": 0,
            "maker_base_fee": 1000,
            "taker_base_fee": 1000,
            "neg_risk": False,
            "is_50_50_outcome": False,
            "tokens": [
                {"token_id": t, "outcome": n, "price": float(p), "winner": w}
                for t, n, p, w in zip(tokens, names, prices, winner, strict=True)
            ],
            "tags": ["Crypto"],
        }
    )


def _texts(value: object) -> list[str]:
    """Read a list that Gamma writes as a JSON text."""
    return msgspec.json.decode(str(value), type=list[str])


_TOKEN_PATHS = frozenset(
    {"book", "price", "midpoint", "spread", "last-trade-price", "tick-size", "neg-risk", "fee-rate"}
)


def _token(
    what: str, query: Query, place: tuple[Market, int], context: Context, now_ns: int
) -> Answer:
    market, outcome = place
    bids, asks = context.live.top(market)
    bid = bids[0][0] if bids else 0
    ask = asks[0][0] if asks else ONE_E4
    if outcome:
        bid, ask = ONE_E4 - ask, ONE_E4 - bid
    last = context.live.last_trade(market.name)
    price = last.trade.price if last and last.trade else 5_000
    is_buy = first(query, "side").upper() == "BUY"
    values: dict[str, Value] = {
        "price": {"price": trimmed(bid if is_buy else ask, 4)},
        "midpoint": {"mid": trimmed((bid + ask) * 5, 5)},
        "spread": {"spread": trimmed(ask - bid, 4)},
        "last-trade-price": {
            "price": trimmed(ONE_E4 - price if outcome else price, 4),
            "side": "BUY" if last and last.trade and last.trade.is_buy else "SELL",
        },
        "tick-size": {"minimum_tick_size": float(tick_size(market, context, now_ns))},
        "neg-risk": {"neg_risk": False},
        "fee-rate": {"base_fee": 1000},
    }
    return answer(values[what] if what in values else _book(place, context, now_ns))


def _book(place: tuple[Market, int], context: Context, now_ns: int) -> Value:
    value = book_value(*place, context, now_ns)
    if context.is_on("polymarket", "ghost_book"):
        value["bids"] = [{"price": "0.01", "size": "10464.22"}]
        value["asks"] = [{"price": "0.99", "size": "11055.41"}]
    return {**value, "min_order_size": "5", "neg_risk": False}


def _history(query: Query, context: Context, now_ns: int) -> Answer:
    """Return mid prices of a token every `fidelity` minutes, oldest first."""
    place = context.world.market_of(token_place(first(query, "market")))
    if place is None:
        return answer({"history": []})
    market, outcome = place
    step_s = max(whole(query, "fidelity", 1), 1) * 60
    quotes = context.world.quotes(market)
    low_s = max(whole(query, "startTs", 0), quotes.first_s)
    high_s = min(whole(query, "endTs", 1 << 40), market.close_s - 1, now_ns // NS_PER_S)
    rows = []
    for second in range(low_s, high_s + 1, step_s)[:HISTORY_ROWS_MAX]:
        bid, ask = quotes.touch(second)
        mid = ((bid or 0) + (ask or ONE_E4)) / (2 * ONE_E4)
        rows.append({"t": second, "p": round(1 - mid if outcome else mid, 5)})
    return answer({"history": rows})
