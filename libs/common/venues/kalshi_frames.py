"""Kalshi's frames by their type: what each of them says. Pure.

In goes an envelope, out come its messages and the venue's time; a frame that says something else
than it should raises (`WireError`, or what the decoder raises), and `kalshi_feed` rejects it.

The decision a reader would question: lifecycles of other series are dropped unread. The channel
tells of every market of the exchange, thousands of sports and weather markets among them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from libs.common.venues import kalshi_market as meaning
from libs.common.venues import kalshi_wire as wire
from libs.common.venues.kalshi_book import edge, level_price, levels, taker, traded_size
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    IndexValue,
    MarketFacts,
    MarketStatus,
    Message,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.numbers import (
    WireError,
    change_e6,
    in_range_ns,
    milliseconds_ns,
    name,
    price_e4,
    price_usd,
    seconds_ns,
    time_ns,
)

INDEXES = {"BRTI": "BTC-USD", "ETHUSD_RTI": "ETH-USD", "SOLUSD_RTI": "SOL-USD"}
"""CF Benchmarks' indices that the recorded series settle on, and their underlyings."""

_PRINTS_MAX = 60
"""Prints in an average, one a second; a 61st is one that came a millisecond early."""

_EVENTS: dict[str, MarketStatus | None] = {
    "created": "listed",
    "activated": "open",
    "deactivated": "paused",
    "determined": "determined",
    "settled": "settled",
    "close_date_updated": None,
    "metadata_updated": None,
    "price_level_structure_updated": None,
}

Remedy = Literal["ignore", "resubscribe", "reconnect", "stop"]
_REMEDIES: dict[int, Remedy] = {
    1: "resubscribe",  # the command could not be processed
    7: "resubscribe",  # unknown subscription: what we take for standing is not
    9: "stop",  # authentication required
    10: "resubscribe",  # channel error, ends the subscription
    18: "resubscribe",  # the command timed out
    25: "resubscribe",  # our buffer overflowed, ends the subscription
    26: "reconnect",  # too many markets on one subscription: a new one begins with today's
    27: "reconnect",  # too many commands: its back-off is the pause that is asked for
}
_OWN_FAULTS = frozenset((2, 3, 4, 5, 8, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24, 28))
"""Codes of faults in our own command (14 and 24: no tickers, no indices); repeating mends none."""

# Deltas repeat each other's sizes; what is remembered has passed and is short.
_change = lru_cache(16_384)(change_e6)

Read = tuple[list[Message], int | None]
"""Messages, and the venue's clock when it sent them."""


def _snapshot(envelope: wire.Envelope) -> Read:
    _require_number(envelope)
    msg = wire.snapshot(envelope.msg)
    bids = levels(msg.yes_dollars_fp, is_bid=True)
    asks = levels(msg.no_dollars_fp, is_bid=False)
    return [BookSnapshot(name(msg.market_ticker), bids, asks)], None


def _delta(envelope: wire.Envelope) -> Read:
    _require_number(envelope)
    msg = wire.delta(envelope.msg)
    if msg.ts_ms is not None:
        # Not `milliseconds_ns`: it writes the number out for its error, a tenth of this function.
        about_ns: int | None = in_range_ns(msg.ts_ms * 1_000_000, "ts_ms")
    else:
        about_ns = _time(wire.delta_time(envelope.msg).ts)
    is_bid = msg.side == "yes"
    change = (is_bid, level_price(msg.price_dollars, is_bid=is_bid), _change(msg.delta_fp))
    return [BookChange(name(msg.market_ticker), [change], True, about_ns)], about_ns


def _require_number(envelope: wire.Envelope) -> None:
    """Refuse a book's frame that cannot be put in order."""
    if envelope.sid is None or envelope.seq is None:
        raise WireError("wrong_shape", "book without sid or seq")


def _ticker(envelope: wire.Envelope) -> Read:
    msg = wire.ticker(envelope.msg)
    about_ns = _time(msg.time) if msg.ts_ms is None else milliseconds_ns(msg.ts_ms)
    bid, bid_size = edge(msg.yes_bid_dollars, msg.yes_bid_size_fp)
    ask, ask_size = edge(msg.yes_ask_dollars, msg.yes_ask_size_fp)
    top = TopOfBook(
        name(msg.market_ticker),
        bid,
        ask,
        bid_size=bid_size,
        ask_size=ask_size,
        last=price_e4(msg.price_dollars) or None,  # 0 before the first trade
        about_ns=about_ns,
    )
    return [top], about_ns


def _trade(envelope: wire.Envelope) -> Read:
    msg = wire.trade(envelope.msg)
    about_ns = None
    if msg.ts_ms is not None:
        about_ns = milliseconds_ns(msg.ts_ms)
    elif msg.ts is not None:
        about_ns = seconds_ns(msg.ts)
    trade = Trade(
        name(msg.market_ticker),
        name(msg.trade_id),
        level_price(msg.yes_price_dollars, is_bid=True),
        traded_size(msg.count_fp),
        # A block is agreed off the book: nobody crossed its spread.
        None if msg.is_block_trade else taker(msg),
        about_ns=about_ns,
    )
    return [trade], about_ns


def _lifecycle(envelope: wire.Envelope) -> Read:
    series = meaning.series_of(wire.named(envelope.msg).market_ticker)
    if series is None:
        return [], None
    msg = wire.lifecycle(envelope.msg)
    if msg.event_type not in _EVENTS:
        raise WireError("unknown_type", msg.event_type)
    if msg.event_type == "price_level_structure_updated" and not msg.price_ranges:
        raise WireError("wrong_shape", "a new grid that is not told")
    market, more = name(msg.market_ticker), msg.additional_metadata
    status = _EVENTS[msg.event_type]
    rule = meaning.rule_of(series, more.rules_primary, more.rules_secondary)
    comparator, rule = meaning.settlement(series, msg.strike_type or more.strike_type, rule)
    told = MarketFacts(
        market,
        series=series.name,
        underlying=series.underlying,
        instruments=(market,),
        open_ns=_seconds(msg.open_ts),
        close_ns=_seconds(msg.close_ts),
        comparator=comparator,
        strike_usd=meaning.strike_usd(
            more.floor_strike if msg.floor_strike is None else msg.floor_strike
        ),
        rule=rule,
        tick_ranges=meaning.tick_ranges(msg.price_ranges),
        fingerprint=meaning.fingerprint(more.rules_primary, more.rules_secondary),
        status="void" if status == "settled" and msg.result == "scalar" else status,
        result=meaning.market_result(msg.result),
        # `settlement_value` is what a contract pays, not where the index settled: not read.
        about_ns=_seconds(msg.determination_ts or msg.settled_ts),
    )
    return [told], None


def _event(envelope: wire.Envelope) -> Read:
    """An event was announced; its markets tell of themselves."""
    return [], None


def _fee_update(envelope: wire.Envelope) -> Read:
    """A fee of one event: `market` names the event, which all its markets' names begin with."""
    msg = wire.fee_update(envelope.msg)
    series = meaning.series_of(msg.event_ticker)
    if series is None:
        return [], None
    fee = meaning.fee_schedule(msg.fee_type_override, msg.fee_multiplier_override)
    event = name(msg.event_ticker)
    told = MarketFacts(event, series=series.name, underlying=series.underlying, fee=fee)
    return [told], None


def _index(envelope: wire.Envelope) -> Read:
    """A print, and the average that is nearest to a settlement.

    In the last minute before a quarter of an hour that is the average of this minute's prints so
    far, with all 60 of them the settlement itself; else the average of the 60 s before the print.
    `window_s` counts its prints, one a second.
    """
    msg = wire.index(envelope.msg)
    data = wire.index_data(msg.data)
    if msg.index_id not in INDEXES or data.id != msg.index_id:
        raise WireError("unknown_type", msg.index_id)
    index, underlying = msg.index_id, INDEXES[msg.index_id]
    about_ns = milliseconds_ns(data.time)
    messages: list[Message] = [IndexValue(index, underlying, price_usd(data.value), about_ns)]
    average = msg.last_60s_windowed_average_15min or msg.avg_60s_data
    if average is not None and average.window_size:
        messages.append(
            IndexValue(
                index,
                underlying,
                price_usd(average.value),
                milliseconds_ns(average.window_end_ts_exclusive),
                min(average.window_size, _PRINTS_MAX),
            )
        )
    return messages, milliseconds_ns(msg.received_at)


def _subscribed(envelope: wire.Envelope) -> Read:
    msg = wire.subscribed(envelope.msg)
    return [Acknowledged(name(msg.channel), msg.sid, envelope.id)], None


def _done(envelope: wire.Envelope) -> Read:
    """A command succeeded; the frame only takes its place in the sequence."""
    return [], None


def _refusal(envelope: wire.Envelope) -> Read:
    msg = wire.refusal(envelope.msg)
    # An unknown code may end a subscription; a new connection is the safe side of the doubt.
    remedy = "ignore" if msg.code in _OWN_FAULTS else _REMEDIES.get(msg.code, "reconnect")
    instrument = name(msg.market_ticker) if msg.market_ticker else None
    text = reject("wrong_shape", msg.msg).detail
    return [VenueError(str(msg.code), text, remedy, envelope.id, instrument)], None


def _seconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds_ns(seconds)


def _time(text: str | None) -> int | None:
    return None if text is None else time_ns(text)


# Every type of frame on the channels that Hawk subscribes to.
READERS: dict[str, Callable[[wire.Envelope], Read]] = {
    "orderbook_delta": _delta,
    "orderbook_snapshot": _snapshot,
    "ticker": _ticker,
    "trade": _trade,
    "cfbenchmarks_value": _index,
    "market_lifecycle_v2": _lifecycle,
    "event_lifecycle": _event,
    "event_fee_update": _fee_update,
    "subscribed": _subscribed,
    "ok": _done,
    "unsubscribed": _done,
    "error": _refusal,
}
