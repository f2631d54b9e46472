"""What Polymarket's servers answer: status and body in, `Answer` out. Pure.

Three servers: `gamma` tells markets, `clob` books and prices, `site` the price to beat. Each
answer is first judged by its status, then as JSON, then as the answer that was asked for: a market
of another name than the one asked about is never told, since a server that ignores a filter
answers with whatever it has.

The decision a reader would question: points of price history become candles of the minute that
ends with them, with a `close` and nothing else. The venue samples the middle of its book; there
may have been no trade.
"""

import msgspec

from libs.common.events import Side
from libs.common.venues.messages import (
    BookSnapshot,
    Candle,
    MarketFacts,
    MarketStatus,
    Message,
    reject,
)
from libs.common.venues.numbers import (
    WireError,
    milliseconds_ns,
    name,
    seconds_ns,
)
from libs.common.venues.polymarket_gamma import read_markets
from libs.common.venues.polymarket_terms import (
    SIDES,
    Level,
    levels,
    number_e4,
    text_ms_ns,
    tick_ranges,
    tokens,
    usd,
    window,
)
from libs.common.venues.venue import Answer, Fault, Get

MINUTE_NS = 60_000_000_000

_FAULTS: dict[int, Fault] = {
    401: "refused",
    403: "refused",
    404: "missing",
    425: "restarting",
    429: "throttled",
}


class _Error(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


class _Book(msgspec.Struct):
    asset_id: str
    bids: list[Level]
    asks: list[Level]
    timestamp: str | None = None


class _Point(msgspec.Struct):
    t: int
    p: float


class _History(msgspec.Struct):
    history: list[_Point]


class _Strike(msgspec.Struct, rename="camel"):
    incomplete: bool
    open_price: float | None = None
    timestamp: int | None = None


class _Token(msgspec.Struct):
    token_id: str
    outcome: str
    winner: bool = False


class _ClobMarket(msgspec.Struct):
    condition_id: str
    market_slug: str
    active: bool
    closed: bool
    accepting_orders: bool
    tokens: list[_Token]
    is_50_50_outcome: bool = False
    minimum_tick_size: float | None = None


_NO_ERROR = (b"", b"null", b'""')
_ERROR = msgspec.json.Decoder(_Error)
_BOOK = msgspec.json.Decoder(_Book)
_HISTORY = msgspec.json.Decoder(_History)
_STRIKE = msgspec.json.Decoder(_Strike)
_CLOB_MARKET = msgspec.json.Decoder(_ClobMarket)


def read_answer(get: Get, *, status: int, text: str) -> Answer:
    """Read the answer to `get`; never raises."""
    fault = _fault(status)
    if fault is not None:
        return _told_nothing(fault, f"{status} {text}")
    try:
        if get.endpoint == "gamma":
            return _markets(get, text)
        if text.lstrip()[:1] == "{" and bytes(_ERROR.decode(text).error) not in _NO_ERROR:
            return _told_nothing("unavailable", text)
        return Answer(_read(get, text))
    except WireError as error:
        return _told_nothing("unexpected", f"{error.reason}: {error}")
    except msgspec.ValidationError as error:
        return _told_nothing("unexpected", str(error))
    except (ValueError, RecursionError):
        return _told_nothing("not_json", text)


def _fault(status: int) -> Fault | None:
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "unavailable"
    return _FAULTS.get(status, "bad_request" if status >= 400 else "unexpected")


def _told_nothing(fault: Fault, text: str) -> Answer:
    return Answer([], fault=fault, detail=reject("malformed", text).detail)


def _markets(get: Get, text: str) -> Answer:
    """Tell the market that was asked about; an empty list is only an answer to a list."""
    if text.lstrip()[:1] == "{":
        # Gamma answers with arrays; an object is an error, whatever its status says.
        _ERROR.decode(text)
        return _told_nothing("unavailable", text)
    found = read_markets(text)
    named = {message.market for message in found if isinstance(message, MarketFacts)}
    if named - {get.subject}:
        return _told_nothing("unexpected", f"markets other than {get.subject}")
    if found and not named:
        return Answer(found, fault="unexpected", detail=f"nothing understood of {get.subject}")
    if not found and get.purpose == "market":
        return _told_nothing("missing", f"no market {get.subject}")
    return Answer(found)


def _read(get: Get, text: str) -> list[Message]:
    if get.purpose == "book":
        return _book(get, _BOOK.decode(text))
    if get.purpose == "candles":
        return _candles(get, _HISTORY.decode(text))
    if get.purpose == "strike":
        return _strike(get, _STRIKE.decode(text))
    if get.purpose == "market":
        return [_clob_market(get, _CLOB_MARKET.decode(text))]
    raise WireError("unknown_type", f"purpose {get.purpose}")


def _book(get: Get, book: _Book) -> list[Message]:
    """Read a book; the venue has served one of 0.01 and 0.99 for a market that had another.

    So the caller compares it with the best prices that the market channel tells.
    """
    if book.asset_id != get.subject:
        raise WireError("bad_name", f"book of {book.asset_id}, expected {get.subject}")
    about_ns = None if book.timestamp is None else text_ms_ns(book.timestamp)
    return [BookSnapshot(get.subject, levels(book.bids), levels(book.asks), about_ns)]


def _candles(get: Get, told: _History) -> list[Message]:
    """Read points of history; the newest may be of this moment, and a caller drops what is new."""
    found: list[Message] = []
    for point in told.history:
        try:
            end_ns, close = seconds_ns(point.t), number_e4(point.p)
            if end_ns < MINUTE_NS:
                raise WireError("bad_time", str(point.t))
            found.append(Candle(get.subject, end_ns - MINUTE_NS, end_ns, close=close))
        except WireError as error:
            found.append(reject(error.reason, f"history: {error}", instrument=get.subject))
    return found


def _strike(get: Get, told: _Strike) -> list[Message]:
    """Read the price to beat; before it is final (`incomplete`) nothing is told."""
    if told.incomplete or told.open_price is None:
        return []
    about_ns = None if told.timestamp is None else milliseconds_ns(told.timestamp)
    strike_usd = usd(told.open_price)
    return [MarketFacts(get.subject, strike_usd=strike_usd, strike_trust=1, about_ns=about_ns)]


def _clob_market(get: Get, market: _ClobMarket) -> MarketFacts:
    """Read a market as the CLOB tells it: no window, no fee, but its winner and its slug."""
    if market.condition_id != get.subject:
        raise WireError("bad_name", f"market {market.condition_id}, expected {get.subject}")
    labels = [token.outcome for token in market.tokens]
    ids = [token.token_id for token in market.tokens]
    found = window(market.market_slug)
    series = found[0] if found else None
    step = market.minimum_tick_size
    winners = [token.outcome for token in market.tokens if token.winner]
    result: Side | None = SIDES.get(winners[0]) if market.closed and len(winners) == 1 else None
    return MarketFacts(
        name(market.market_slug),
        series=series.name if series else None,
        underlying=series.underlying if series else None,
        instruments=tokens(labels, ids) if any(ids) else None,
        tick_ranges=None if step is None else tick_ranges(number_e4(step)),
        status=_clob_status(market, result, has_books=any(ids)),
        result=result,
    )


def _clob_status(market: _ClobMarket, result: Side | None, *, has_books: bool) -> MarketStatus:
    """Return the status; whether a result can still be disputed, only Gamma tells."""
    if market.closed and result is not None:
        return "determined"
    if market.closed:
        return "void" if market.is_50_50_outcome else "closed"
    if not market.active or not has_books:
        return "listed"
    return "open" if market.accepting_orders else "paused"
