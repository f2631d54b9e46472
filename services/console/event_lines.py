"""One event as one line: for a person, or as JSON for a program. Pure.

A market's name, a reason or an alert's evidence comes from outside and may carry terminal escapes
or line breaks; both forms are printable characters only, so that a line stays a line and nothing
in it moves a cursor.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.common.events import (
    Alert,
    Command,
    DeadLetter,
    Event,
    FeatureRow,
    Fill,
    Forecast,
    Gap,
    Market,
    ModelEvent,
    Order,
    QuoteSnapshot,
    Resolution,
    Settlement,
    Skip,
    SpotSnapshot,
    Tick,
    wire,
)

_MS_NS = 1_000_000
_NONE = "-"


def json_of(event: Event) -> str:
    """Return `event` as one line of JSON in ASCII."""
    return json.dumps(msgspec.json.decode(wire(event)), separators=(",", ":"))


def line_of(event: Event) -> str:
    """Return `event` as one line for a person: when, where, what.

    >>> from libs.common.events import Tick
    >>> line_of(Tick(ts_ns=1_778_544_000_250_000_000, id="t", underlying="BTC-USD"))
    '2026-05-12T00:00:00.250Z BTC-USD  Tick'
    """
    where = getattr(event, "underlying", None) or "*"
    what = _WORDS[type(event)](event)
    text = f"{_time(event.ts_ns)} {where:<8} {type(event).__name__} {what}"
    return printable(text).rstrip()


def printable(text: str) -> str:
    r"""Replace what is not printable, line breaks too.

    >>> printable("a\x1b[2J\nb")
    'a?[2J?b'
    """
    return "".join(c if c.isprintable() else "?" for c in text)


def _time(ts_ns: int) -> str:
    moment = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ns // _MS_NS % 1_000:03d}Z"


def _price(price_e4: int | None) -> str:
    return _NONE if price_e4 is None else f"{price_e4 / 1e4:.4f}"


def _usd(amount_e6: int) -> str:
    return f"{amount_e6 / 1e6:+.2f} $"


def _number(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _best(prices_e4: Sequence[int], sizes_e2: Sequence[int]) -> str:
    if not prices_e4:
        return _NONE
    size = f" x {sizes_e2[0] / 100:g}" if sizes_e2 else ""
    return _price(prices_e4[0]) + size


def _market(e: Market) -> str:
    strike = f"{e.comparator} {_number(e.strike_usd)}"
    return f"{e.venue} {e.market} {e.status} {strike} closes {_time(e.close_ns)}"


def _spot(e: SpotSnapshot) -> str:
    book = f"bid {_number(e.bid_usd)} ask {_number(e.ask_usd)}"
    return f"{e.source} {book} last {_number(e.last_usd)} index {_number(e.index_usd)}"


def _quote(e: QuoteSnapshot) -> str:
    bid = _best(e.yes_bids_price_e4, e.yes_bids_size_e2)
    ask = _best(e.yes_asks_price_e4, e.yes_asks_size_e2)
    return f"{e.venue} {e.market} bid {bid} ask {ask}" + (f" flags {e.flags}" if e.flags else "")


def _gap(e: Gap) -> str:
    what = f"{e.venue} {e.market}" if e.market else e.feed
    return f"{what} unseen {_time(e.start_ns)} to {_time(e.end_ns)}: {e.reason}"


def _resolution(e: Resolution) -> str:
    return f"{e.venue} {e.market} {e.result} at {_number(e.settlement_usd)} ({e.source})"


def _row(e: FeatureRow) -> str:
    known = sum(value is not None for value in e.values.values())
    fault = f" unusable: {e.unusable}" if e.unusable else ""
    return f"{e.venue} {e.market} {known} of {len(e.values)} values{fault}"


def _forecast(e: Forecast) -> str:
    quote = f"bid {_price(e.bid_e4)} ask {_price(e.ask_e4)}"
    by = f"{e.role} {e.bundle}" + (" fallback" if e.is_fallback else "")
    return f"{e.venue} {e.market} p {e.p:.4f} (base {e.base_p:.4f}) {quote} by {by}"


def _order(e: Order) -> str:
    what = f"{e.side} {e.size_e2 / 100:g} at {_price(e.price_limit_e4)}"
    return f"{e.strategy} {e.venue} {e.market} {what}, p {e.p:.4f}, edge {e.edge:.4f} $"


def _fill(e: Fill) -> str:
    what = f"{e.side} {e.size_e2 / 100:g} at {_price(e.price_e4)}"
    return f"{e.strategy} {e.venue} {e.market} {what}, fee {e.fee_e6 / 1e6:.4f} $"


def _skip(e: Skip) -> str:
    return f"{e.strategy} {e.venue} {e.market}: {e.reason}"


def _settlement(e: Settlement) -> str:
    return f"{e.strategy} {e.venue} {e.market} {e.result}, profit {_usd(e.pnl_e6)}"


def _model(e: ModelEvent) -> str:
    generation = f" generation {e.generation}" if e.generation is not None else ""
    return f"{e.action} {e.bundle}{generation} by {e.cause}: {e.reason}"


def _alert(e: Alert) -> str:
    return f"{e.state} {e.rule} ({e.severity}): {e.evidence}"


def _command(e: Command) -> str:
    return f"{e.command} {e.argument or 'everything'} by {e.who}"


def _dead(e: DeadLetter) -> str:
    return f"{e.stream} {e.entry_id} given up by {e.group or 'a reader'}: {e.reason}"


_WORDS: dict[type[Event], Callable[[Any], str]] = {
    Tick: lambda e: "",
    Market: _market,
    SpotSnapshot: _spot,
    QuoteSnapshot: _quote,
    Gap: _gap,
    Resolution: _resolution,
    FeatureRow: _row,
    Forecast: _forecast,
    Order: _order,
    Fill: _fill,
    Skip: _skip,
    Settlement: _settlement,
    ModelEvent: _model,
    Alert: _alert,
    Command: _command,
    DeadLetter: _dead,
}
