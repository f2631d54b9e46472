"""Kalshi's REST answers into messages. Pure.

In goes the answer to one request, out come messages, the request for the next page, or a fault. In
a list each element is read on its own: a damaged one is rejected and the others stand. An answer
about one thing (a market, a book, a series) is believed whole or not at all.

The decision a reader would question: a market that is finalized without yes or no is void, and a
`floor_strike` that is not there stays unknown for ever. Some windows were never struck and still
say "no": that is not a price of 0, and nothing may learn from it.
"""

from collections.abc import Callable

import msgspec

from libs.common.venues import kalshi_answers as shape
from libs.common.venues import kalshi_market as meaning
from libs.common.venues.kalshi_book import edge, level_price, levels, taker, traded_size
from libs.common.venues.messages import (
    DETAIL_LENGTH_MAX,
    BookSnapshot,
    Candle,
    ExchangeStatus,
    HistoryCutoff,
    MarketFacts,
    Message,
    TopOfBook,
    Trade,
    reject,
)
from libs.common.venues.numbers import (
    PRICE_ONE_E4,
    WireError,
    name,
    price_e4,
    price_usd,
    seconds_ns,
    size_e6,
    time_ns,
)
from libs.common.venues.venue import Answer, Fault, Get, Purpose

HISTORICAL = "/historical/"
"""Begins the targets of the historical tier, whose candles have other names of fields."""

CANDLE_S = 60
_CURSOR_LENGTH_MAX = 2_000
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def answer(get: Get, *, status: int, text: str) -> Answer:
    """Read the answer to `get`; never raises.

    Candles are those that the venue sent: it has no clock here, so the caller drops what ends after
    the time of asking. The historical tier takes no interval for markets: the caller keeps its own.
    """
    fault = status_fault(status)
    if fault is not None:
        return Answer([], fault=fault, detail=_shown(text))
    try:
        if bytes(shape.error_body(text).error) != b"null":
            return Answer([], fault="unavailable", detail=_shown(text))
        messages, cursor = _READERS[get.purpose](get, text)
    except (WireError, msgspec.ValidationError, KeyError):
        return Answer([], fault="unexpected", detail=_shown(text))
    except (ValueError, RecursionError):
        return Answer([], fault="not_json", detail=_shown(text))
    return Answer(messages, next=_next(get, cursor))


def status_fault(status: int) -> Fault | None:
    """Return the fault that an HTTP status stands for; None for success.

    >>> status_fault(429), status_fault(503), status_fault(418), status_fault(200)
    ('throttled', 'unavailable', 'bad_request', None)
    """
    special: dict[int, Fault] = {
        429: "throttled",
        425: "restarting",
        401: "refused",
        403: "refused",
        404: "missing",
    }
    if status in special:
        return special[status]
    if 200 <= status < 300:
        return None
    if 400 <= status < 500:
        return "bad_request"
    return "unavailable" if status >= 500 else "unexpected"


def quoted(text: str) -> str:
    """Return `text` for a place in a path or query.

    >>> quoted("KXBTCD-26SEP0107-T78099.99"), quoted("a/b=?")
    ('KXBTCD-26SEP0107-T78099.99', 'a%2Fb%3D%3F')
    """
    if _UNRESERVED.issuperset(text):
        return text
    octets = text.encode(errors="replace")
    return "".join(chr(o) if chr(o) in _UNRESERVED else f"%{o:02X}" for o in octets)


def _shown(text: str) -> str:
    return reject("malformed", text).detail[:DETAIL_LENGTH_MAX]


def _next(get: Get, cursor: str | None) -> Get | None:
    """Return the request for the page after; None at the end, or where the venue repeats itself."""
    if not cursor or len(cursor) > _CURSOR_LENGTH_MAX:
        return None
    first = get.target.partition("&cursor=")[0]
    target = f"{first}&cursor={quoted(cursor)}"
    return None if target == get.target else msgspec.structs.replace(get, target=target)


_Read = tuple[list[Message], str | None]


def _read_status(get: Get, text: str) -> _Read:
    told = shape.status(text)
    resume = told.exchange_estimated_resume_time
    is_trading = told.exchange_active and told.trading_active
    return [ExchangeStatus(is_trading, time_ns(resume) if resume else None)], None


def _read_cutoff(get: Get, text: str) -> _Read:
    """Markets and their candles; trades move a little apart, so ask both tiers near it."""
    return [HistoryCutoff(time_ns(shape.cutoff(text).market_settled_ts))], None


def _read_terms(get: Get, text: str) -> _Read:
    """The fee of a series; `market` names the series."""
    told = shape.series_answer(text).series
    series = meaning.series_of(told.ticker)
    if series is None or told.ticker != get.subject:
        raise WireError("bad_name", told.ticker)
    fee = meaning.fee_schedule(told.fee_type, told.fee_multiplier)
    return [
        MarketFacts(series.name, series=series.name, underlying=series.underlying, fee=fee)
    ], None


def _read_market(get: Get, text: str) -> _Read:
    told = shape.market_answer(text).market
    if told.ticker != get.subject:
        raise WireError("bad_name", told.ticker)
    return [_facts(told)], None


def _read_markets(get: Get, text: str) -> _Read:
    told = shape.markets_answer(text)
    return [_one(raw, lambda r: _facts(shape.market(r))) for raw in told.markets], told.cursor


def _facts(told: shape.Market) -> MarketFacts:
    series = meaning.series_of(told.ticker)
    if series is None:
        raise WireError("unknown_type", told.ticker)
    market = name(told.ticker)
    rule = meaning.rule_of(series, told.rules_primary, told.rules_secondary)
    comparator, rule = meaning.settlement(series, told.strike_type, rule)
    return MarketFacts(
        market,
        series=series.name,
        underlying=series.underlying,
        instruments=(market,),
        open_ns=_time(told.open_time),
        close_ns=time_ns(told.close_time),
        comparator=comparator,
        strike_usd=meaning.strike_usd(told.floor_strike),
        rule=rule,
        tick_ranges=meaning.tick_ranges(told.price_ranges or ()),
        fingerprint=meaning.fingerprint(told.rules_primary, told.rules_secondary),
        status=meaning.market_status(told.status, told.result),
        result=meaning.market_result(told.result),
        settlement_usd=price_usd(told.expiration_value) if told.expiration_value else None,
        about_ns=_time(told.settlement_ts) or _time(told.updated_time),
    )


def _time(text: str | None) -> int | None:
    """Return a time, None where it is not set; the venue writes that in three ways."""
    return None if not text or text.startswith("0001-01-01T") else time_ns(text)


def _one(raw: msgspec.Raw, read: Callable[[msgspec.Raw], Message]) -> Message:
    """Read one element of a list, or reject it."""
    try:
        return read(raw)
    except WireError as error:
        reason = error.reason
    except (ValueError, RecursionError):
        reason = "wrong_shape"
    return reject(reason, bytes(raw)[:DETAIL_LENGTH_MAX].decode(errors="replace"))


def _read_book(get: Get, text: str) -> _Read:
    told = shape.book_answer(text)
    if told.orderbook_fp is not None:
        bids = levels(told.orderbook_fp.yes_dollars or (), is_bid=True)
        asks = levels(told.orderbook_fp.no_dollars or (), is_bid=False)
    elif told.orderbook is not None:
        bids = levels(_dollars(told.orderbook.yes), is_bid=True)
        asks = levels(_dollars(told.orderbook.no), is_bid=False)
    else:
        raise WireError("wrong_shape", "no book")
    return [BookSnapshot(name(get.subject), bids, asks)], None


def _dollars(told: list[tuple[int, int]] | None) -> list[tuple[str, str]]:
    """Return levels in cents as those in dollars; a price or count that cannot be stays one."""
    return [(f"{cents // 100}.{cents % 100:02}", str(count)) for cents, count in told or ()]


def _read_top(get: Get, text: str) -> _Read:
    told = shape.top_answer(text).market
    if told.ticker != get.subject:
        raise WireError("bad_name", told.ticker)
    bid, bid_size = edge(told.yes_bid_dollars, told.yes_bid_size_fp)
    ask, ask_size = edge(told.yes_ask_dollars, told.yes_ask_size_fp)
    last = price_e4(told.last_price_dollars) if told.last_price_dollars else 0
    top = TopOfBook(
        name(told.ticker), bid, ask, bid_size=bid_size, ask_size=ask_size, last=last or None
    )
    return [top], None


def _read_trades(get: Get, text: str) -> _Read:
    told = shape.trades_answer(text)
    return [_one(raw, _trade_of) for raw in told.trades], told.cursor


def _trade_of(raw: msgspec.Raw) -> Trade:
    told = shape.trade(raw)
    return Trade(
        name(told.ticker),
        name(told.trade_id),
        level_price(told.yes_price_dollars, is_bid=True),
        traded_size(told.count_fp),
        None if told.is_block_trade else taker(told),
        about_ns=time_ns(told.created_time),
        is_flow=False,
    )


def _read_candles(get: Get, text: str) -> _Read:
    told = shape.candles_answer(text)
    is_old = get.target.startswith(HISTORICAL)
    instrument = name(get.subject)
    return [_one(raw, lambda r: _candle(r, instrument, is_old)) for raw in told.candlesticks], None


def _candle(raw: msgspec.Raw, instrument: str, is_old: bool) -> Candle:
    told = shape.old_candle(raw) if is_old else shape.live_candle(raw)
    # The venue's end belongs to the interval, ours does not: one nanosecond later.
    end_ns = seconds_ns(told.end_period_ts) + 1
    return Candle(
        instrument,
        end_ns - CANDLE_S * 1_000_000_000,
        end_ns,
        open=_traded(told.price.open),
        high=_traded(told.price.high),
        low=_traded(told.price.low),
        close=_traded(told.price.close),
        volume=size_e6(told.volume),
        bid=_traded(told.yes_bid.close),
        ask=_traded(told.yes_ask.close),
    )


def _traded(text: str | None) -> int | None:
    """Return a price; None where nobody traded or quoted, which for quotes is told as 0 or 1."""
    price = price_e4(text) if text else 0
    return price if 0 < price < PRICE_ONE_E4 else None


_READERS: dict[Purpose, Callable[[Get, str], _Read]] = {
    "status": _read_status,
    "list": _read_markets,
    "settled": _read_markets,
    "market": _read_market,
    "book": _read_book,
    "top": _read_top,
    "terms": _read_terms,
    "candles": _read_candles,
    "trades": _read_trades,
    "cutoff": _read_cutoff,
}
