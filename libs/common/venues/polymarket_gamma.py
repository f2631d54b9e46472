"""Polymarket's markets as Gamma tells them: events and markets in, `MarketFacts` out. Pure.

Gamma answers with arrays, whose members are markets, or events that hold markets. Lists inside are
JSON in a text, outcomes stand in any order, and `startDate` is when a market was listed: a window
is `eventStartTime` to `endDate`. Closed markets bear their result and prices; a caller that builds
features from history strips them.

Which facts are told when:
- status: a closed market is `settled` once UMA has resolved it, `determined` while its result could
  be disputed, `void` if it was resolved half and half, else `closed`. An open one is `listed`
  without tokens or before it is active, then `open` or `paused` as it takes orders. Gamma does not
  say when a window has ended; a `paused` market after its `close_ns` has.
- result: only of a closed market whose outcome prices are exactly 1 and 0; old markets have 0 and
  0, which means nothing.
- fee: None where fees apply and no schedule is told; nobody may trade such a market.
- rule: `chainlink_point`, `chainlink_twap60`, or `unknown`: where source, configuration and text do
  not agree, where the averaging is another (30 s for a week of August 2026), or for other markets.

The decision a reader would question: a market whose outcomes are neither Up/Down nor Yes/No is a
rejection (`unknown_type`), since nothing says which is YES. A Yes/No market of no known series is
told without series: the broadcast of new markets and the answers to a wrong slug bring those, and
whoever asked sees that it is not what was asked for.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

import msgspec

from libs.common.events import Comparator, FeeSchedule, Side, TickRange
from libs.common.venues.messages import MarketFacts, MarketStatus, Message, reject
from libs.common.venues.numbers import WireError, name, time_ns
from libs.common.venues.polymarket_terms import (
    number_e4,
    tick_ranges,
    tokens,
    usd,
    window,
    yes_first,
)
from libs.common.venues.venue import Series

STREAMS = "https://data.chain.link/streams"
FEE_EXPONENT_MAX = 4
FEE_ROUND_E6 = 10
"""Fees are told at five decimals of a dollar."""

_AT_LEAST = "greater than or equal to"
_DATE = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b|\b\d{1,2}(:\d\d)?\s?[ap]m\b"
    r"|(?<![\w-])\$?\d[\d,.:]*(?![\w-])"
)
_ONE, _ZERO, _HALF = re.compile(r"1(\.0+)?"), re.compile(r"0(\.0+)?"), re.compile(r"0\.50*")
_A = TypeVar("_A")
_T = TypeVar("_T")


class _Fee(msgspec.Struct):
    rate: float
    exponent: int


class _Config(msgspec.Struct, rename="camel"):
    asset: str | None = None
    twap_enabled: bool | None = None
    twap_lookback_seconds: int | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    price_to_beat: float | str | None = None
    final_price: float | str | None = None


class _Event(msgspec.Struct, rename="camel"):
    start_time: str | None = None
    event_metadata: msgspec.Raw = msgspec.Raw()
    markets: list[msgspec.Raw] | None = None


class _Market(msgspec.Struct, rename="camel"):
    slug: str
    outcomes: str
    active: bool
    closed: bool
    clob_token_ids: str | None = None
    outcome_prices: str | None = None
    accepting_orders: bool | None = None
    uma_resolution_status: str | None = None
    event_start_time: str | None = None
    end_date: str | None = None
    description: str | None = None
    resolution_source: str | None = None
    crypto_market_config: _Config | None = None
    order_price_min_tick_size: float | None = None
    fees_enabled: bool | None = None
    fee_type: str | None = None
    fee_schedule: _Fee | None = None
    events: list[_Event] | None = None


_ANSWER = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT = msgspec.json.Decoder(_Event)
_MARKET = msgspec.json.Decoder(_Market)
_METADATA = msgspec.json.Decoder(_Metadata | str | None)
_TEXTS = msgspec.json.Decoder(list[str])


def read_markets(text: str) -> list[Message]:
    """Read an array of markets or events; a market that is not understood is a rejection.

    Raises `ValueError` if the text is no array, `RecursionError` if it is nested without end.
    """
    found: list[Message] = []
    for raw in _ANSWER.decode(text):
        found += read_member(raw)
    return found


def read_member(raw: msgspec.Raw | str) -> list[Message]:
    """Read one market, or one event with its markets."""
    try:
        event = _EVENT.decode(raw)
    except msgspec.ValidationError as error:
        return [reject("wrong_shape", str(error))]
    if event.markets is None:
        return _read_market(raw, None)
    return [message for market in event.markets for message in _read_market(market, event)]


def _read_market(raw: msgspec.Raw | str, event: _Event | None) -> list[Message]:
    try:
        market = _MARKET.decode(raw)
    except msgspec.ValidationError as error:
        return [reject("wrong_shape", str(error))]
    try:
        return _facts(market, event or next(iter(market.events or ()), _Event()))
    except WireError as error:
        return [reject(error.reason, f"{market.slug}: {error}")]


def _facts(market: _Market, event: _Event) -> list[Message]:
    """Put facts together; a part that is not understood is left out and rejected by itself."""
    slug, labels = name(market.slug), _texts(market.outcomes)
    yes_first(labels, labels)
    ids = _texts(market.clob_token_ids) if market.clob_token_ids else []
    # Before its books exist, a market has no tokens or empty ones.
    instruments = tokens(labels, ids) if any(ids) else None
    series, start_s = window(slug) or (None, 0)
    # Of other markets, the event's start is none of theirs; it can even follow their end.
    start = market.event_start_time or (event.start_time if series else None)
    open_ns, close_ns = _time_ns(start), _time_ns(market.end_date)
    faults: list[Message] = []
    strike_usd = final_usd = None
    if series is not None:
        _check_window(series, start_s, open_ns=open_ns, close_ns=close_ns)
        strike_usd, final_usd = _or_fault(_prices, event.event_metadata, faults) or (None, None)
    prices = _or_fault(_payouts, market, faults) or ("", "")
    fee = _or_fault(_fee, market, faults)
    facts = MarketFacts(
        slug,
        series=series.name if series else None,
        underlying=series.underlying if series else None,
        instruments=instruments,
        open_ns=open_ns,
        close_ns=close_ns,
        comparator=_comparator(market) if series else None,
        strike_usd=strike_usd,
        rule=_rule(market, series),
        fee=fee,
        tick_ranges=_or_fault(_ticks, market, faults),
        fingerprint=_fingerprint(market, fee),
        status=_status(market, prices, has_books=instruments is not None),
        result=_result(prices),
        settlement_usd=final_usd if market.closed else None,
    )
    return [facts, *faults]


def _or_fault(reader: Callable[[_A], _T], part: _A, faults: list[Message]) -> _T | None:
    try:
        return reader(part)
    except WireError as error:
        faults.append(reject(error.reason, f"{reader.__name__.lstrip('_')}: {error}"))
        return None


def _texts(text: str) -> list[str]:
    """Read a list that is JSON in a text."""
    try:
        return _TEXTS.decode(text)
    except (ValueError, RecursionError):
        raise WireError("wrong_shape", text) from None


def _time_ns(text: str | None) -> int | None:
    return None if text is None else time_ns(text)


def _check_window(
    series: Series, start_s: int, *, open_ns: int | None, close_ns: int | None
) -> None:
    """Refuse a market whose times are not those of its slug: one of the two is wrong."""
    start_ns = start_s * 1_000_000_000
    end_ns = start_ns + series.length_s * 1_000_000_000
    if open_ns not in (None, start_ns) or close_ns not in (None, end_ns):
        raise WireError("bad_time", f"window {open_ns} to {close_ns}")


def _prices(raw: msgspec.Raw) -> tuple[float | None, float | None]:
    """Return the price to beat and the final price; they are told late, as number or text."""
    try:
        told = _METADATA.decode(raw) if bytes(raw) else None
        if isinstance(told, str):
            told = _METADATA.decode(told) if told else None
    except (ValueError, RecursionError) as error:
        raise WireError("wrong_shape", str(error)) from None
    if told is None:
        return None, None
    if isinstance(told, str):
        raise WireError("wrong_shape", told)
    strike, final = told.price_to_beat, told.final_price
    return None if strike is None else usd(strike), None if final is None else usd(final)


def _payouts(market: _Market) -> tuple[str, str]:
    """Return the outcome prices of a closed market, that of YES first."""
    if not market.closed or market.outcome_prices is None:
        return "", ""
    return yes_first(_texts(market.outcomes), _texts(market.outcome_prices))


def _result(prices: tuple[str, str]) -> Side | None:
    yes, no = (bool(_ONE.fullmatch(price)) for price in prices)
    is_exact = all(_ONE.fullmatch(price) or _ZERO.fullmatch(price) for price in prices)
    if not is_exact or yes == no:
        return None
    return "yes" if yes else "no"


def _status(market: _Market, prices: tuple[str, str], *, has_books: bool) -> MarketStatus | None:
    is_resolved = market.uma_resolution_status == "resolved"
    if market.closed:
        if _result(prices) is not None:
            return "settled" if is_resolved else "determined"
        is_half = all(_HALF.fullmatch(price) for price in prices)
        return "void" if is_resolved and is_half else "closed"
    if not market.active or not has_books:
        return "listed"
    if market.accepting_orders is None:
        return None
    return "open" if market.accepting_orders else "paused"


def _fee(market: _Market) -> FeeSchedule | None:
    """Return the taker fee as the market tells it; `takerBaseFee` beside it is not the fee."""
    if market.fees_enabled is False:
        return FeeSchedule(name="polymarket_free", rate_e4=0, exponent=1, round_e6=FEE_ROUND_E6)
    schedule = market.fee_schedule
    if market.fees_enabled is None or schedule is None:
        return None
    if not 1 <= schedule.exponent <= FEE_EXPONENT_MAX:
        raise WireError("out_of_range", f"exponent {schedule.exponent}")
    kind = name((market.fee_type or "fees").replace("_fees", ""))
    return FeeSchedule(
        name=f"polymarket_{kind}",
        rate_e4=number_e4(schedule.rate),
        exponent=schedule.exponent,
        round_e6=FEE_ROUND_E6,
    )


def _ticks(market: _Market) -> tuple[TickRange, ...] | None:
    step = market.order_price_min_tick_size
    return None if step is None else tick_ranges(number_e4(step))


def _comparator(market: _Market) -> Comparator | None:
    return ">=" if _AT_LEAST in (market.description or "") else None


def _rule(market: _Market, series: Series | None) -> str:
    """Return the rule if source, configuration and text say the same; a tie goes to Up in both."""
    if series is None or _comparator(market) is None:
        return "unknown"
    stream = f"{STREAMS}/{series.underlying.lower()}"
    source, config = market.resolution_source, market.crypto_market_config
    is_average = config is not None and config.twap_enabled is True
    if source == stream and not is_average:
        return "chainlink_point"
    is_minute = config is None or (is_average and config.twap_lookback_seconds == 60)
    return "chainlink_twap60" if source == f"{stream}-twap-60s-streams" and is_minute else "unknown"


def _fingerprint(market: _Market, fee: FeeSchedule | None) -> str:
    """Hash what a trader must know of the rules; dates and amounts are taken out of the text."""
    text = _DATE.sub("#", (market.description or "").lower())
    config = market.crypto_market_config
    twap = config and (config.twap_enabled, config.twap_lookback_seconds)
    cost = fee and (fee.name, fee.rate_e4, fee.exponent, fee.round_e6)
    parts = (" ".join(text.split()), market.resolution_source, twap, cost)
    return blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
