"""Coinbase's wire texts: book levels, trades and tickers of both feeds, and candles.

In go events of a spot product, out come texts as Advanced Trade and Exchange send them; what
differs between connections (`sequence_num`) is left to the sessions. A trade's `side` is the
maker's: a taker who buys makes a SELL.
"""

from dataclasses import dataclass

from services.simulator.chance import unit, word
from services.simulator.naming import NS_PER_MS, NS_PER_S, rfc3339, uuid_of
from services.simulator.stepping import BookEvent, Traded
from services.simulator.wire import Context, json_text

Value = dict[str, object]

MISSING_CANDLES = 97
"""One minute in so many has no candle, as minutes without a trade have none."""


def price(price_e4: int) -> str:
    """Write a price in cents.

    >>> price(689_000_000), price(689_236_700)
    ('68900.00', '68923.67')
    """
    return f"{price_e4 // 10_000}.{price_e4 % 10_000 // 100:02d}"


def coins(size_e8: int) -> str:
    """Write a size with eight places.

    >>> coins(150_000_000)
    '1.50000000'
    """
    return f"{size_e8 // 10**8}.{size_e8 % 10**8:08d}"


@dataclass(frozen=True)
class Texts:
    """What an event is on both feeds: `events` arrays of Advanced Trade by channel, and whole
    messages of Exchange."""

    product: str
    time: str
    l2_events: str | None = None
    trade_events: str | None = None
    ticker_events: str | None = None
    exchange_l2: str | None = None
    exchange_match: str | None = None
    exchange_ticker: str | None = None


class Codec:
    """Writes events as this venue does, each once however many listen."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def texts(self, event: object) -> Texts | None:
        """Return the texts of an event, None where it is not this venue's."""
        if not isinstance(event, BookEvent) or event.name not in self._context.world.names:
            return None
        told_ns = self._context.venue_ns("coinbase", event.ns)
        time, l2, l2_exchange = rfc3339(told_ns), None, None
        if event.changes:
            l2 = _l2_events("update", event.name, _updates(event, time))
            changes = [
                ["sell" if c.side else "buy", price(c.price), coins(c.size)] for c in event.changes
            ]
            head: Value = {"type": "l2update", "product_id": event.name}
            l2_exchange = json_text({**head, "changes": changes, "time": time})
        if event.trade is None:
            return Texts(event.name, time, l2, exchange_l2=l2_exchange)
        return Texts(
            event.name,
            time,
            l2,
            json_text([{"type": "update", "trades": [trade_value(event, time)]}]),
            json_text([{"type": "update", "tickers": [ticker_value(event)]}]),
            l2_exchange,
            json_text(match_value(event, "match", time)),
            json_text(exchange_ticker(event, time)),
        )

    def snapshot_events(self, product: str, time: str) -> str:
        """Write the whole book as the `events` of a level2 snapshot."""
        bids, asks = self._context.live.books[product]
        head = f'"event_time":"{time}","price_level":"'
        updates = [
            f'{{"side":"bid",{head}{price(p)}","new_quantity":"{coins(bids[p])}"}}'
            for p in sorted(bids, reverse=True)
        ]
        updates += [
            f'{{"side":"offer",{head}{price(p)}","new_quantity":"{coins(asks[p])}"}}'
            for p in sorted(asks)
        ]
        if self._context.is_on("coinbase", "big_snapshot"):
            updates += self._far_levels(max(bids, default=0), head)
        return _l2_events("snapshot", product, updates)

    def _far_levels(self, best_e4: int, head: str) -> list[str]:
        """Write bids far below the market until a snapshot is past five million characters."""
        floor_e4 = best_e4 // 4 // 100 * 100
        return [
            f'{{"side":"bid",{head}{price(floor_e4 - 100 * i)}","new_quantity":"0.00010000"}}'
            for i in range(min(BIG_LEVELS, floor_e4 // 100 - 1))
        ]


BIG_LEVELS = 46_000
"""Levels that make a snapshot of five million characters: 112 each, with a margin."""


def _l2_events(kind: str, product: str, updates: list[str]) -> str:
    return f'[{{"type":"{kind}","product_id":"{product}","updates":[{",".join(updates)}]}}]'


def _updates(event: BookEvent, time: str) -> list[str]:
    return [
        f'{{"side":"{"offer" if c.side else "bid"}","event_time":"{time}",'
        f'"price_level":"{price(c.price)}","new_quantity":"{coins(c.size)}"}}'
        for c in event.changes
    ]


def maker_side(traded: Traded) -> str:
    """Return the side of the order that rested."""
    return "SELL" if traded.is_buy else "BUY"


def trade_value(event: BookEvent, time: str) -> Value:
    """Return a trade as Advanced Trade writes it."""
    traded = event.trade
    if traded is None:
        return {}
    return {
        "trade_id": str(traded.trade_id),
        "product_id": event.name,
        "price": price(traded.price),
        "size": coins(traded.size),
        "side": maker_side(traded),
        "time": time,
    }


def ticker_value(event: BookEvent) -> Value:
    """Return a ticker as Advanced Trade writes it."""
    price_e4 = event.trade.price if event.trade else 0
    return {
        "type": "ticker",
        "product_id": event.name,
        "price": price(price_e4),
        "volume_24_h": "15328.12345678",
        "low_24_h": price(price_e4 * 97 // 100),
        "high_24_h": price(price_e4 * 103 // 100),
        **_touch(event),
    }


def _touch(event: BookEvent) -> Value:
    bid, bid_size = event.bids[0] if event.bids else (0, 0)
    ask, ask_size = event.asks[0] if event.asks else (0, 0)
    return {
        "best_bid": price(bid),
        "best_bid_quantity": coins(bid_size),
        "best_ask": price(ask),
        "best_ask_quantity": coins(ask_size),
    }


def sequence_of(event: BookEvent) -> int:
    """Return a product's sequence on the Exchange feed: it grows, with jumps."""
    return event.ns // NS_PER_MS - 1_600_000_000_000


def match_value(event: BookEvent, kind: str, time: str) -> Value:
    """Return a trade as Exchange writes it: `match`, or `last_match` on subscribing."""
    traded = event.trade
    if traded is None:
        return {}
    return {
        "type": kind,
        "trade_id": traded.trade_id,
        "maker_order_id": uuid_of(f"maker {traded.trade_id}"),
        "taker_order_id": uuid_of(f"taker {traded.trade_id}"),
        "side": maker_side(traded).lower(),
        "size": coins(traded.size),
        "price": price(traded.price),
        "product_id": event.name,
        "sequence": sequence_of(event),
        "time": time,
    }


def exchange_ticker(event: BookEvent, time: str) -> Value:
    """Return a ticker as Exchange writes it; its side is the taker's."""
    traded = event.trade
    if traded is None:
        return {}
    touch = _touch(event)
    return {
        "type": "ticker",
        "sequence": sequence_of(event),
        "product_id": event.name,
        "price": price(traded.price),
        "open_24h": price(traded.price * 99 // 100),
        "volume_24h": "15328.12345678",
        "low_24h": price(traded.price * 97 // 100),
        "high_24h": price(traded.price * 103 // 100),
        "volume_30d": "459843.70370340",
        "best_bid": touch["best_bid"],
        "best_bid_size": touch["best_bid_quantity"],
        "best_ask": touch["best_ask"],
        "best_ask_size": touch["best_ask_quantity"],
        "side": "buy" if traded.is_buy else "sell",
        "time": time,
        "trade_id": traded.trade_id,
        "last_size": coins(traded.size),
    }


def candle(context: Context, row: int, start_s: int, *, length_s: int, now_ns: int) -> Value | None:
    """Return open, high, low, close and volume of the trades from `start_s` on; None where a candle
    is missing. The newest one is still forming."""
    last_s = min(start_s + length_s, now_ns // NS_PER_S)
    n = last_s - start_s
    is_missing = length_s == 60 and word(row, start_s, 0xC1) % MISSING_CANDLES == 0
    if n < 1 or is_missing:
        return None
    trades = context.world.prices.spots_e4(row, start_s + 1, n)
    volume = n * (0.02 + 0.2 * unit(row, start_s, 0xC2))
    return {
        "start": start_s,
        "low": int(trades.min()),
        "high": int(trades.max()),
        "open": int(trades[0]),
        "close": int(trades[-1]),
        "volume": round(volume * 1e8),
    }
