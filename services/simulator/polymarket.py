"""Polymarket's wire texts: Gamma markets and events, books of both tokens, price changes.

In go markets and events, out come values and texts as the venue sends them. The world knows one book
a market, in terms of Up; a bid at p there is an ask at 1 - p on Down, and both are told. Lists inside
a Gamma market are JSON texts, and outcomes may stand in either order.
"""

from dataclasses import dataclass

from services.simulator.books import Book
from services.simulator.life import FINAL_PRICE_S, Market, settlement_of, strike_of
from services.simulator.naming import NS_PER_MS, NS_PER_S, digest, eastern_words, rfc3339
from services.simulator.path import PRINTS
from services.simulator.stepping import BookEvent, Change
from services.simulator.wire import Context, json_text, trimmed
from services.simulator.world import Event, LifeEvent

Value = dict[str, object]

ONE_E4 = 10_000
OUTCOMES = ("Up", "Down")
TWAP_S = 60
ID_SLOT, ID_UNIT_S = 10_000_000, 300
"""A market's numeric id is its opening in units of five minutes, in a slot a series."""

EVENT_IDS = 1_000_000_000
"""An event's numeric id is its market's and this."""


def number_of(market: Market) -> int:
    """Return the numeric id of a market; `place_of_number` leads back."""
    return (market.kind.number + 1) * ID_SLOT + market.open_s // ID_UNIT_S


def place_of_number(number: int) -> tuple[int, int]:
    """Return series and opening of a numeric id."""
    return number // ID_SLOT - 1, number % ID_SLOT * ID_UNIT_S


def usd(sum_e4: int) -> float:
    """Return the mean of sixty prints in USD.

    >>> usd(60 * 634_410_300)
    63441.03
    """
    return sum_e4 / (PRINTS * 10_000)


def is_closed(market: Market, now_ns: int) -> bool:
    """Tell whether a market is resolved."""
    return now_ns >= market.determined_ns


def market_value(market: Market, context: Context, now_ns: int) -> Value:
    """Return the market object of Gamma."""
    kind, closed = market.kind, is_closed(market, now_ns)
    order = (1, 0) if context.is_on("polymarket", "reversed_outcomes") else (0, 1)
    prices = _prices(market, context, now_ns)
    fine = market.kind.venue == "polymarket" and _is_fine(market, context, now_ns)
    bids, asks = context.live.top(market)
    value: Value = {
        "id": str(number_of(market)),
        "question": title(market),
        "conditionId": market.condition,
        "slug": market.name,
        "resolutionSource": f"https://data.chain.link/streams/{kind.code.lower()}-usd-twap-60s-streams",
        "endDate": rfc3339(market.close_ns, digits=0),
        "startDate": rfc3339(market.created_ns),
        "eventStartTime": rfc3339(market.open_ns, digits=0),
        "description": (
            'This market will resolve to "Up" if the time-weighted average price (TWAP) generated '
            "by Chainlink of the time range specified in the title is greater than or equal to the "
            'price at the beginning of that range. Otherwise, it will resolve to "Down".'
        ),
        "outcomes": json_text([OUTCOMES[i] for i in order]),
        "outcomePrices": json_text([prices[i] for i in order]),
        "clobTokenIds": json_text([market.tokens[i] for i in order]),
        "volume": "543.643918",
        "liquidity": "20328.3747",
        "active": True,
        "closed": closed,
        "archived": False,
        "restricted": True,
        "acceptingOrders": now_ns < market.close_ns,
        "enableOrderBook": True,
        "orderPriceMinTickSize": 0.001 if fine else 0.01,
        "orderMinSize": 5,
        "negRisk": False,
        "makerBaseFee": 1000,
        "takerBaseFee": 1000,
        "feesEnabled": True,
        "feeType": "crypto_fees_v2",
        "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
        "cryptoMarketConfig": {
            "asset": kind.code.lower(),
            "duration": f"{kind.length_s // 60}m",
            "twapEnabled": True,
            "twapLookbackSeconds": TWAP_S,
        },
        "questionID": "0x" + digest(f"question {market.name}"),
        "createdAt": rfc3339(market.created_ns),
        "updatedAt": rfc3339(now_ns),
        "spread": 0.01,
        "automaticallyActive": True,
        "umaResolutionStatuses": "[]",
        "events": [event_head(market, context, now_ns)],
    }
    if bids and not closed:
        value["bestBid"] = bids[0][0] / ONE_E4
    if asks and not closed:
        value["bestAsk"] = asks[0][0] / ONE_E4
    last = context.live.last_trade(market.name)
    if last is not None and last.trade is not None:
        value["lastTradePrice"] = last.trade.price / ONE_E4
    if closed:
        value["closedTime"] = rfc3339(market.determined_ns, digits=0)[:-1].replace("T", " ") + "+00"
        value["umaResolutionStatus"] = "resolved"
        value["umaEndDate"] = rfc3339(market.determined_ns, digits=0)
    return value


def event_value(market: Market, context: Context, now_ns: int) -> Value:
    """Return the event object of Gamma, with its one market."""
    inner = market_value(market, context, now_ns)
    del inner["events"]
    return {**event_head(market, context, now_ns), "markets": [inner]}


def event_head(market: Market, context: Context, now_ns: int) -> Value:
    """Return what an event says besides its markets; the price to beat appears late."""
    kind = market.kind
    value: Value = {
        "id": str(EVENT_IDS + number_of(market)),
        "ticker": market.name,
        "slug": market.name,
        "title": title(market),
        "seriesSlug": f"{kind.code.lower()}-up-or-down-{kind.length_s // 60}m",
        "startDate": rfc3339(market.created_ns),
        "creationDate": rfc3339(market.created_ns),
        "startTime": rfc3339(market.open_ns, digits=0),
        "endDate": rfc3339(market.close_ns, digits=0),
        "active": True,
        "closed": is_closed(market, now_ns),
        "archived": False,
    }
    world = context.world
    metadata: Value = {}
    if now_ns >= market.beat_ns(world.was_on) and not market.is_never_struck(world.was_on):
        metadata["priceToBeat"] = usd(strike_of(market, world.prices)[0])
    if is_closed(market, now_ns):
        metadata["finalPrice"] = usd(settlement_of(market, world.prices, world.was_on).settled_e4)
    if metadata:
        value["eventMetadata"] = metadata
    return value


def title(market: Market) -> str:
    """Return the question of a market."""
    names = {"BTC": "Bitcoin", "ETH": "Ethereum", "SOL": "Solana"}
    opens, closes = eastern_words(market.open_s), eastern_words(market.close_s)
    span = f"{opens.removesuffix(' ET')}-{closes.split(', ')[1]}"
    return f"{names[market.kind.code]} Up or Down - {span}"


def _prices(market: Market, context: Context, now_ns: int) -> tuple[str, str]:
    if is_closed(market, now_ns):
        is_up = settlement_of(market, context.world.prices, context.world.was_on).is_yes
        return ("1", "0") if is_up else ("0", "1")
    bids, asks = context.live.top(market)
    bid = bids[0][0] if bids else 0
    ask = asks[0][0] if asks else ONE_E4
    # Half a tick needs a digit more than a price has.
    return trimmed((bid + ask) * 5, 5), trimmed(2 * 50_000 - (bid + ask) * 5, 5)


def _is_fine(market: Market, context: Context, now_ns: int) -> bool:
    if now_ns < market.open_ns:
        return False
    fine_s = context.world.quotes(market).fine_s
    return fine_s is not None and now_ns >= fine_s * NS_PER_S


def tick_size(market: Market, context: Context, now_ns: int) -> str:
    """Return the tick size as the order book tells it."""
    return "0.001" if _is_fine(market, context, now_ns) else "0.01"


def crypto_price(market: Market, context: Context, now_ns: int) -> Value:
    """Return the price to beat as the website's own API does: provisional, then final.

    `openPrice` of an incomplete answer is the newest print, not the average that will settle it.
    """
    world = context.world
    is_struck = now_ns >= market.struck_ns(world.was_on) and not market.is_never_struck(
        world.was_on
    )
    is_over = now_ns >= market.close_ns + round(FINAL_PRICE_S * NS_PER_S)
    newest = context.live.prints[market.kind.row][-1].value_e4 / 10_000
    opened = usd(strike_of(market, world.prices)[0]) if is_struck else newest
    closed = usd(world.prices.sum_e4(market.kind.row, market.close_s)) if is_over else None
    return {
        "openPrice": opened if now_ns >= market.open_ns else None,
        "closePrice": closed,
        "timestamp": context.venue_ns("polymarket", now_ns) // NS_PER_MS,
        "completed": is_over,
        "incomplete": not is_struck,
        "cached": False,
    }


def levels(book: Book, outcome: int) -> tuple[list[Value], list[Value]]:
    """Return bids ascending and asks descending, best last, of Up (0) or Down (1)."""
    bids, asks = book
    if outcome:
        mirrored = {ONE_E4 - p: s for p, s in bids.items()}
        bids, asks = {ONE_E4 - p: s for p, s in asks.items()}, mirrored
    return (
        [{"price": trimmed(p, 4), "size": trimmed(bids[p], 6)} for p in sorted(bids)],
        [{"price": trimmed(p, 4), "size": trimmed(asks[p], 6)} for p in sorted(asks, reverse=True)],
    )


def book_value(market: Market, outcome: int, context: Context, now_ns: int) -> Value:
    """Return a token's book as REST and WebSocket share it."""
    book = context.live.book(market)
    bids, asks = levels(book, outcome)
    told_ms = context.venue_ns("polymarket", now_ns) // NS_PER_MS
    return {
        "market": market.condition,
        "asset_id": market.tokens[outcome],
        "timestamp": str(told_ms),
        "hash": digest(f"{market.name} {outcome} {told_ms}")[:40],
        "bids": bids,
        "asks": asks,
        "tick_size": tick_size(market, context, now_ns),
    }


def book_message(market: Market, outcome: int, context: Context, now_ns: int) -> Value:
    """Return a token's book as the market channel tells it."""
    value = {"event_type": "book", **book_value(market, outcome, context, now_ns)}
    last = context.live.last_trade(market.name)
    if last is not None and last.trade is not None:
        price = last.trade.price
        value["last_trade_price"] = trimmed(ONE_E4 - price if outcome else price, 4)
    return value


@dataclass(frozen=True)
class Texts:
    """What an event is on the market channel: by outcome token it concerns (both, as a rule), and
    whether only clients with custom features hear it, or all of them (`to_all`)."""

    market: Market
    messages: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    to_all: bool = False
    is_fresh: bool = False


class Codec:
    """Writes events as this venue does, each once however many listen."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quoted: dict[str, tuple[int, int]] = {}

    def texts(self, event: Event, market: Market | None) -> Texts | None:
        """Return the texts of an event, None where it is not this venue's."""
        if isinstance(event, LifeEvent):
            return self._life(event) if event.market.kind.venue == "polymarket" else None
        if not isinstance(event, BookEvent) or market is None:
            return None
        if market.kind.venue != "polymarket":
            return None
        ms = self._context.venue_ns("polymarket", event.ns) // NS_PER_MS
        bid = event.bids[0][0] if event.bids else 0
        ask = event.asks[0][0] if event.asks else ONE_E4
        messages = []
        if event.changes:
            messages.append(_price_change(event, market, ms, (bid, ask)))
        if event.trade is not None:
            messages.append(_last_trade(event, market, ms))
        custom: tuple[str, ...] = ()
        if self._quoted.get(event.name) != (bid, ask):
            self._quoted[event.name] = bid, ask
            custom = tuple(_best(market, outcome, (bid, ask), ms) for outcome in (0, 1))
        return Texts(market, tuple(messages), custom)

    def _life(self, event: LifeEvent) -> Texts | None:
        market, ms = event.market, self._context.venue_ns("polymarket", event.ns) // NS_PER_MS
        head: Value = {"market": market.condition, "timestamp": str(ms)}
        if event.what == "fine":
            tick = {"old_tick_size": "0.01", "new_tick_size": "0.001"}
            kind: Value = {"event_type": "tick_size_change"}
            texts = [json_text({**kind, **head, "asset_id": t, **tick}) for t in market.tokens]
            return Texts(market, tuple(texts), is_fresh=True)
        if event.what == "determined":
            self._quoted.pop(market.name, None)
            settled = settlement_of(market, self._context.world.prices, self._context.world.was_on)
            winner = 0 if settled.is_yes else 1
            value = {
                "event_type": "market_resolved",
                "id": str(number_of(market)),
                **head,
                "assets_ids": list(market.tokens),
                "winning_asset_id": market.tokens[winner],
                "winning_outcome": OUTCOMES[winner],
                "tags": ["crypto"],
            }
            return Texts(market, custom=(json_text(value),))
        if event.what == "created":
            value = {
                "event_type": "new_market",
                "id": str(number_of(market)),
                "question": title(market),
                **head,
                "slug": market.name,
                "description": title(market),
                "assets_ids": list(market.tokens),
                "outcomes": list(OUTCOMES),
                "tags": ["crypto"],
                "condition_id": market.condition,
                "active": True,
                "clob_token_ids": list(market.tokens),
                "order_price_min_tick_size": "0.01",
            }
            return Texts(market, custom=(json_text(value),), to_all=True)
        return None


def _price_change(event: BookEvent, market: Market, ms: int, touch: tuple[int, int]) -> str:
    """Write all changes of an instant, each for both tokens."""
    parts = []
    for change in event.changes:
        for outcome in (0, 1):
            parts.append(_change(change, market.tokens[outcome], outcome, touch, ms))
    return (
        f'{{"market":"{market.condition}","price_changes":[{",".join(parts)}],'
        f'"timestamp":"{ms}","event_type":"price_change"}}'
    )


def _change(change: Change, token: str, outcome: int, touch: tuple[int, int], ms: int) -> str:
    price = ONE_E4 - change.price if outcome else change.price
    bid, ask = (ONE_E4 - touch[1], ONE_E4 - touch[0]) if outcome else touch
    side = "SELL" if change.side != outcome else "BUY"
    mark = (change.price * 1_000_003 + change.size * 31 + ms) & 0xFFFFFFFFFFFFFFFF
    return (
        f'{{"asset_id":"{token}","price":"{trimmed(price, 4)}","size":"{trimmed(change.size, 6)}",'
        f'"side":"{side}","hash":"{mark:040x}","best_bid":"{trimmed(bid, 4)}",'
        f'"best_ask":"{trimmed(ask, 4)}"}}'
    )


def _last_trade(event: BookEvent, market: Market, ms: int) -> str:
    traded = event.trade
    return json_text(
        {
            "market": market.condition,
            "asset_id": market.tokens[0],
            "price": trimmed(traded.price if traded else 0, 4),
            "size": trimmed(traded.size if traded else 0, 6),
            "fee_rate_bps": "0",
            "side": "BUY" if traded and traded.is_buy else "SELL",
            "timestamp": str(ms),
            "event_type": "last_trade_price",
            "transaction_hash": "0x" + digest(f"transaction {traded}"),
        }
    )


def _best(market: Market, outcome: int, touch: tuple[int, int], ms: int) -> str:
    bid, ask = (ONE_E4 - touch[1], ONE_E4 - touch[0]) if outcome else touch
    return json_text(
        {
            "event_type": "best_bid_ask",
            "market": market.condition,
            "asset_id": market.tokens[outcome],
            "best_bid": trimmed(bid, 4),
            "best_ask": trimmed(ask, 4),
            "spread": trimmed(max(ask - bid, 0), 4),
            "timestamp": str(ms),
        }
    )
