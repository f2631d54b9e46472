"""Kalshi's wire texts: market objects, book levels, trades, life-cycle and index messages.

In go markets and events, out come values and texts as the venue sends them. Prices are dollars with
four places, counts have two; the book has bids only, on both sides, so a YES ask of the world is a
NO bid at one less its price. What the venue omits is omitted: a strike that is not known yet has no
key, an empty side of a snapshot neither.
"""

from dataclasses import dataclass

from services.simulator.books import Book
from services.simulator.chance import unit
from services.simulator.life import Market, settlement_of, strike_of
from services.simulator.naming import (
    NS_PER_MS,
    NS_PER_S,
    eastern_rule_words,
    rfc3339,
    uuid_of,
)
from services.simulator.path import PRINTS
from services.simulator.stepping import BookEvent, Traded
from services.simulator.wire import Context, dollars, hundredths, json_text
from services.simulator.world import Event, LifeEvent, PrintEvent, World

INDEX = {"BTC-USD": "BRTI", "ETH-USD": "ETHUSD_RTI", "SOL-USD": "SOLUSD_RTI"}
"""Settlement index by underlying."""

ONE_E4 = 10_000
WEEK_S = 604_800
CONTRACTS_PER_S = {True: 3.0, False: 900.0}
"""Traded volume a second, ladders and quarter hours: what the volume fields grow by."""

RANGES = {
    "tapered_deci_cent": [("0.0000", "0.1000", "0.0010"), ("0.1000", "0.9000", "0.0100"),
                          ("0.9000", "1.0000", "0.0010")],
    "linear_cent": [("0.0000", "1.0000", "0.0100")],
}  # fmt: skip

Value = dict[str, object]


def status_of(market: Market, now_ns: int) -> str:
    """Return a market's status in the vocabulary of answers."""
    for instant_ns, status in (
        (market.finalized_ns, "finalized"),
        (market.determined_ns, "determined"),
        (market.close_ns, "closed"),
        (market.open_ns, "active"),
    ):
        if now_ns >= instant_ns:
            return status
    return "initialized"


def market_value(market: Market, context: Context, now_ns: int) -> Value:
    """Return the market object of REST."""
    world, status = context.world, status_of(market, now_ns)
    structure = structure_of(market)
    value: Value = {
        "ticker": market.name,
        "event_ticker": market.event,
        "market_type": "binary",
        "title": f"{market.kind.code} price up in next 15 mins?",
        "yes_sub_title": "Target price: TBD",
        "no_sub_title": "Target price: TBD",
        "created_time": rfc3339(market.created_ns),
        "updated_time": rfc3339(_updated_ns(market, world, now_ns)),
        "open_time": rfc3339(market.open_ns, digits=0),
        "close_time": rfc3339(market.close_ns, digits=0),
        "expected_expiration_time": rfc3339((market.close_s + 300) * NS_PER_S, digits=0),
        "latest_expiration_time": rfc3339((market.close_s + WEEK_S) * NS_PER_S, digits=0),
        "settlement_timer_seconds": round(market.kind.settled_s),
        "status": status,
        "result": "",
        "expiration_value": "",
        "exchange_index": 0,
        "can_close_early": True,
        "notional_value_dollars": "1.0000",
        "liquidity_dollars": "0.0000",
        "price_level_structure": structure,
        "price_ranges": [
            {"start": start, "end": end, "step": step} for start, end, step in RANGES[structure]
        ],
        **_quoted(market, context, now_ns),
        **_rules(market),
    }
    value.update(_strike(market, world, now_ns))
    if status in ("determined", "finalized"):
        value.update(_result(market, world))
    return value


def structure_of(market: Market) -> str:
    """Name the tick structure of a market."""
    return "linear_cent" if market.kind.is_ladder else "tapered_deci_cent"


def _updated_ns(market: Market, world: World, now_ns: int) -> int:
    struck_ns = market.struck_ns(world.was_on)
    instants = (market.created_ns, market.open_ns, struck_ns, market.close_ns, market.determined_ns)
    return max((ns for ns in (*instants, market.finalized_ns) if ns <= now_ns), default=now_ns)


def _strike(market: Market, world: World, now_ns: int) -> Value:
    if market.is_never_struck(world.was_on) or now_ns < market.struck_ns(world.was_on):
        return {}
    strike = strike_of(market, world.prices)[1]
    if market.kind.is_ladder:
        above = f"${(strike + 1) / 100:,.2f} or above".replace(".00 ", " ")
        return {
            "title": f"{market.kind.code} price today?",
            "yes_sub_title": above,
            "no_sub_title": above,
            "strike_type": "greater",
            "floor_strike": strike / 100,
        }
    return {
        "yes_sub_title": f"Target Price: ${strike / 100:,.2f}",
        "strike_type": "greater_or_equal",
        "floor_strike": strike / 100,
        "custom_strike": {"round_digits": "2"},
    }


def _result(market: Market, world: World) -> Value:
    settled = settlement_of(market, world.prices, world.was_on)
    value: Value = {
        "result": "yes" if settled.is_yes else "no",
        "settlement_value_dollars": "1.0000" if settled.is_yes else "0.0000",
        "settlement_ts": rfc3339(market.finalized_ns),
    }
    if not market.is_never_struck(world.was_on):
        value["expiration_value"] = (
            f"{settled.settled_cents // 100}.{settled.settled_cents % 100:02d}"
        )
    return value


def _quoted(market: Market, context: Context, now_ns: int) -> Value:
    bids, asks = context.live.top(market)
    bid, bid_size = bids[0] if bids else (0, 0)
    ask, ask_size = asks[0] if asks else (ONE_E4, 0)
    last = context.live.last_trade(market.name)
    volume = hundredths(volume_e6(market, now_ns))
    return {
        "yes_bid_dollars": dollars(bid),
        "yes_ask_dollars": dollars(ask),
        "no_bid_dollars": dollars(ONE_E4 - ask),
        "no_ask_dollars": dollars(ONE_E4 - bid),
        "yes_bid_size_fp": hundredths(bid_size),
        "yes_ask_size_fp": hundredths(ask_size),
        "last_price_dollars": dollars(last.trade.price if last and last.trade else 0),
        "previous_price_dollars": "0.0000",
        "volume_fp": volume,
        "volume_24h_fp": volume,
        "open_interest_fp": hundredths(volume_e6(market, now_ns) * 3 // 10),
    }


_SECONDARY = (
    "Not all cryptocurrency price data is the same. While checking a source like Google or Coinbase"
    " may help guide your decision, the price used to determine this market is based on CF"
    " Benchmarks' corresponding Real Time Index (RTI). At the last minute before expiration, 60 RTI"
    " prices are collected. The official and final value is the average of these prices{rounding}."
)
"""The venue's own text (objects of KXBTC15M and KXBTCD, August 2026)."""


def _rules(market: Market) -> Value:
    index = INDEX[market.kind.underlying]
    average = f"the simple average of the sixty seconds of CF Benchmarks' {index} before"
    if market.kind.is_ladder:
        listed = f"{market.listed_cents // 100}.{market.listed_cents % 100:02d}"
        hour, date = eastern_rule_words(market.close_s, is_hour=True)
        primary = f"If {average} {hour} is above {listed} at {hour} on {date}, then"
        rounding = ""
    else:
        close, opens = (
            " on ".join(eastern_rule_words(at_s)) for at_s in (market.close_s, market.open_s)
        )
        primary = f"If {average} {close} is at least {average} {opens}, then"
        rounding = ", rounded to the nearest 2 decimal places"
    return {
        "rules_primary": f"{primary} the market resolves to Yes.",
        "rules_secondary": _SECONDARY.format(rounding=rounding),
    }


def volume_e6(market: Market, now_ns: int) -> int:
    """Return a market's traded volume, which grows evenly through its life."""
    lived_ns = min(max(now_ns - market.open_ns, 0), market.kind.length_s * NS_PER_S)
    rate = CONTRACTS_PER_S[market.kind.is_ladder] * (0.5 + unit(market.key, 0xB1))
    return int(lived_ns * rate / 1e7) * 10_000


def sides(book: Book, *, in_yes: bool = False) -> tuple[list[list[str]], list[list[str]]]:
    """Return YES and NO bids as [price, count], worst first as captures show them; `in_yes` writes
    the NO side at YES prices."""
    bids, asks = book
    yes = [[dollars(price), hundredths(bids[price])] for price in sorted(bids)]
    no = [
        [dollars(price if in_yes else ONE_E4 - price), hundredths(asks[price])]
        for price in sorted(asks, reverse=True)
    ]
    return yes, no


def snapshot_body(market: Market, book: Book, *, in_yes: bool) -> str:
    """Write the `msg` of an order book snapshot; an empty side is left out."""
    yes, no = sides(book, in_yes=in_yes)
    body: Value = {"market_ticker": market.name, "market_id": market_id(market)}
    if yes:
        body["yes_dollars_fp"] = yes
    if no:
        body["no_dollars_fp"] = no
    return json_text(body)


def market_id(market: Market) -> str:
    """Return the venue's other name of a market."""
    return uuid_of(market.name)


@dataclass(frozen=True)
class Texts:
    """What an event is on this venue's wire: the `msg` bodies by channel; `deltas` at default
    pricing and `deltas_yes` with the NO side at YES prices."""

    market: str = ""
    deltas: tuple[str, ...] = ()
    deltas_yes: tuple[str, ...] = ()
    ticker: str | None = None
    trade: str | None = None
    life: str | None = None
    index: str | None = None
    index_id: str = ""


class Codec:
    """Writes events as this venue does, each once however many listen."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quoted: dict[str, tuple[int, tuple[int, ...] | None]] = {}

    def texts(self, event: Event, market: Market | None) -> Texts | None:
        """Return the texts of an event, None where it is not this venue's."""
        if isinstance(event, PrintEvent):
            return self._print(event)
        if isinstance(event, LifeEvent):
            if event.what == "closed":
                self._quoted.pop(event.market.name, None)
            body = self._life(event) if event.market.kind.venue == "kalshi" else None
            return Texts(market=event.market.name, life=body) if body else None
        if market is None or market.kind.venue != "kalshi":
            return None
        ms = self._context.venue_ns("kalshi", event.ns) // NS_PER_MS
        deltas = tuple(self._deltas(event, market, ms, in_yes=False))
        deltas_yes = tuple(self._deltas(event, market, ms, in_yes=True))
        trade = self._trade(event, event.trade, ms) if event.trade else None
        return Texts(event.name, deltas, deltas_yes, self._ticker(event, market, ms), trade)

    def _deltas(self, event: BookEvent, market: Market, ms: int, *, in_yes: bool) -> list[str]:
        # Plain formatting: four fifths of all messages, and a third of the time of json.
        bodies = []
        for side, price, _, delta in event.changes:
            told = price if side == 0 or in_yes else ONE_E4 - price
            bodies.append(
                f'{{"market_ticker":"{event.name}","market_id":"{market_id_of(event.name)}",'
                f'"price_dollars":"{dollars(told)}","delta_fp":"{hundredths(delta)}",'
                f'"side":"{"no" if side else "yes"}","ts_ms":{ms}}}'
            )
        return bodies

    def _ticker(self, event: BookEvent, market: Market, ms: int) -> str | None:
        """Write a ticker once a second at most, where the touch moved or a trade was."""
        bid, bid_size = event.bids[0] if event.bids else (0, 0)
        ask, ask_size = event.asks[0] if event.asks else (ONE_E4, 0)
        state = (bid, bid_size, ask, ask_size)
        second, told = self._quoted.get(event.name, (0, None))
        if event.ns // NS_PER_S == second or (event.trade is None and told == state):
            return None
        self._quoted[event.name] = event.ns // NS_PER_S, state
        last = event if event.trade else self._context.live.last_trade(event.name)
        traded = last.trade if last else None
        volume = volume_e6(market, event.ns)
        price_e4 = traded.price if traded else 0
        return json_text(
            {
                "market_ticker": event.name,
                "market_id": market_id_of(event.name),
                "price_dollars": dollars(price_e4),
                "yes_bid_dollars": dollars(bid),
                "yes_ask_dollars": dollars(ask),
                "yes_bid_size_fp": hundredths(bid_size),
                "yes_ask_size_fp": hundredths(ask_size),
                "volume_fp": hundredths(volume),
                "open_interest_fp": hundredths(volume * 3 // 10),
                "dollar_volume": volume * price_e4 // 10**10,
                "dollar_open_interest": volume * 3 * price_e4 // 10**11,
                "last_trade_size_fp": hundredths(traded.size if traded else 0),
                "ts_ms": ms,
            }
        )

    def _trade(self, event: BookEvent, traded: Traded, ms: int) -> str:
        return json_text({**trade_value(event.name, traded), "is_block_trade": False, "ts_ms": ms})

    def _life(self, event: LifeEvent) -> str | None:
        market, what = event.market, event.what
        head: Value = {"market_ticker": market.name}
        if what == "created":
            extra: Value = {"event_ticker": market.event, "name": market.name}
            extra.update(_strike(market, self._context.world, event.ns))
            extra.pop("title", None)
            times = {"open_ts": market.open_s, "close_ts": market.close_s}
            structure = {"price_level_structure": structure_of(market)}
            return json_text(
                {**head, "event_type": what, **times, **structure, "additional_metadata": extra}
            )
        if what == "opened":
            return json_text({**head, "event_type": "activated", "is_deactivated": False})
        if what == "struck":
            value = _strike(market, self._context.world, event.ns)
            del value["yes_sub_title"]
            return json_text({**head, "event_type": "metadata_updated", **value})
        if what in ("determined", "settled"):
            settled = settlement_of(market, self._context.world.prices, self._context.world.was_on)
            result = {"result": "yes" if settled.is_yes else "no"}
            result["settlement_value"] = "1.0000" if settled.is_yes else "0.0000"
            determined = {"determination_ts": market.determined_ns // NS_PER_S}
            if what == "settled":
                return json_text(
                    {**head, "event_type": what, "settled_ts": market.finalized_ns // NS_PER_S}
                )
            return json_text({**head, "event_type": what, **result, **determined})
        return None

    def _print(self, event: PrintEvent) -> Texts:
        context = self._context
        index = INDEX[context.world.names[event.row]]
        ms = context.venue_ns("kalshi", event.second * NS_PER_S) // NS_PER_MS
        inner = {"type": "value", "id": index, "time": ms, "value": price_text(event.value_e4)}
        body: Value = {
            "index_id": index,
            "received_at": context.venue_ns("kalshi", event.ns) // NS_PER_MS,
            "data": json_text(inner),
            "avg_60s_data": _average(context, event, PRINTS),
        }
        within = (event.second - 1) % 900 + 1 - (900 - PRINTS)
        if within > 0:
            body["last_60s_windowed_average_15min"] = _average(context, event, within)
        return Texts(index=json_text(body), index_id=index)


def _average(context: Context, event: PrintEvent, n: int) -> Value:
    """Average the last `n` prints up to an event's."""
    total_e4 = int(context.world.prices.prints_e4(event.row, event.second - n + 1, n).sum())
    value_e8 = (total_e4 * 10_000 * 2 + n) // (2 * n)
    ms = context.venue_ns("kalshi", event.second * NS_PER_S) // NS_PER_MS
    return {
        "value": f"{value_e8 // 10**8}.{value_e8 % 10**8:08d}",
        "window_size": n,
        "window_start_ts_ms": ms - n * 1_000,
        "window_end_ts_exclusive": ms,
    }


def trade_value(name: str, traded: Traded) -> Value:
    """Return what a trade says over REST and WebSocket alike."""
    return {
        "trade_id": uuid_of(f"{name} {traded.trade_id}"),
        "market_ticker": name,
        "yes_price_dollars": dollars(traded.price),
        "no_price_dollars": dollars(ONE_E4 - traded.price),
        "count_fp": hundredths(traded.size),
        "taker_outcome_side": "yes" if traded.is_buy else "no",
        "taker_book_side": "bid" if traded.is_buy else "ask",
    }


def price_text(value_e4: int) -> str:
    """Write an index value: two places, or four where they are used."""
    text = dollars(value_e4)
    return text.removesuffix("00")


def market_id_of(name: str) -> str:
    """Return the venue's other name of a market, kept as it stands in every message."""
    found = _IDS.get(name)
    if found is None:
        if len(_IDS) > 4_096:
            _IDS.clear()
        found = _IDS[name] = uuid_of(name)
    return found


_IDS: dict[str, str] = {}
