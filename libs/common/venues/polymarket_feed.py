"""Polymarket's order books and trades: the WebSocket of the CLOB's market channel. Pure.

Out go subscriptions by token, in come books, absolute changes and trades of each token in its own
terms; both tokens of a market have a book, and a bid for Up also stands as an ask for Down. There
are no sequence numbers, so a freeze shows only as age, and an unreadable text (`malformed`) puts
every book of the connection in doubt. A market is named by its slug. `market_resolved` may know
only the condition id: then that stands in `MarketFacts.market`, and whoever holds the market finds
it by `instruments`.

The decision a reader would question: all kinds of events are decoded into one struct with optional
fields. Some messages come without `event_type` and are told apart by their fields, which a tagged
union cannot do, and the text is read once.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from libs.common.events import Side
from libs.common.venues.messages import (
    Acknowledged,
    BookChange,
    BookSnapshot,
    BookVoid,
    Frame,
    Heartbeat,
    MarketFacts,
    Message,
    Price,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.numbers import WireError, name, scaled, size_e6
from libs.common.venues.polymarket_terms import (
    SIDES,
    Level,
    edge_e4,
    levels,
    open_price_e4,
    text_ms_ns,
    tick_ranges,
    tokens,
    window,
)

_IN_DOUBT = VenueError("unreadable_book", "a book of no token", "resubscribe")
"""Without numbers no gap will tell later that a change was lost with what could not be read."""

PARTS_MAX = 1_000
"""Parts of a faulty array that are judged one by one; a dump of all tokens has a fifth of it."""

_T = TypeVar("_T")


class _Change(msgspec.Struct, gc=False):
    asset_id: str
    price: str
    size: str
    side: str
    best_bid: str | None = None
    best_ask: str | None = None


class _Event(msgspec.Struct, gc=False):
    event_type: str | None = None
    market: str | None = None
    asset_id: str | None = None
    timestamp: str | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    price_changes: list[_Change] | None = None
    price: str | None = None
    size: str | None = None
    side: str | None = None
    transaction_hash: str | None = None
    best_bid: str | None = None
    best_ask: str | None = None
    new_tick_size: str | None = None
    slug: str | None = None
    outcomes: list[str] | None = None
    assets_ids: list[str] | None = None
    winning_asset_id: str | None = None
    winning_outcome: str | None = None
    order_price_min_tick_size: str | None = None


_DECODER = msgspec.json.Decoder(list[_Event] | _Event)
_ANY = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


class PolymarketBooks:
    """The market channel; public. Instruments are token ids."""

    name = "polymarket.ws"
    address = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    carries: Literal["books", "index"] = "books"
    is_signed = False
    subscribe_s_max = 10.0
    keepalive_text: str | None = "PING"
    keepalive_s = 10.0
    silence_s_max = 30.0
    message_bytes_max = 4 * 1024 * 1024
    # 500 are taken, but above that no first books come; far below it, that cannot happen.
    instruments_max = 200
    is_numbered = False

    def subscribe(
        self,
        instruments: Sequence[str],
        *,
        request_id: int,
        standing: Sequence[Acknowledged] = (),
    ) -> list[str]:
        """Return the text for `instruments`; with `request_id` 1 it is a connection's first.

        The first names the channel and asks for the books that stand; later ones are operations.
        """
        if not instruments:
            return []
        if request_id == 1:
            first = {"type": "market", "initial_dump": True, "custom_feature_enabled": True}
            return [_text({"assets_ids": list(instruments)} | first)]
        later = {"operation": "subscribe", "custom_feature_enabled": True}
        return [_text({"assets_ids": list(instruments)} | later)]

    def unsubscribe(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return the text that ends the subscriptions; the venue acknowledges nothing."""
        if not instruments:
            return []
        return [_text({"assets_ids": list(instruments), "operation": "unsubscribe"})]

    def resync(
        self, instruments: Sequence[str], *, request_id: int, standing: Sequence[Acknowledged]
    ) -> list[str]:
        """Return nothing: whether a repeated subscription brings a new book is not documented."""
        return []

    def parse(self, text: str) -> Frame:
        """Read one event, or an array of them; never raises."""
        if text == "PONG":
            return Frame([Heartbeat()])
        try:
            decoded = _DECODER.decode(text)
        except (ValueError, RecursionError):
            return Frame(_salvage(text))
        if isinstance(decoded, _Event):
            return Frame(_read(decoded), about_ns=_sent_ns(decoded))
        return Frame([message for event in decoded for message in _read(event)])


def _text(value: object) -> str:
    return _ENCODER.encode(value).decode()


def _salvage(text: str) -> list[Message]:
    """Read the sound parts of a text of which one is not as it should be."""
    try:
        whole = _ANY.decode(text)
    except (ValueError, RecursionError):
        # A word of the server ("INVALID OPERATION") is no event that was cut.
        is_cut = text.lstrip()[:1] in ("{", "[")
        return [reject("malformed", text), *([_IN_DOUBT] if is_cut else [])]
    parts = whole if isinstance(whole, list) else [whole]
    if len(parts) > PARTS_MAX:
        return [reject("too_large", text), _IN_DOUBT]
    found: list[Message] = []
    for part in parts:
        try:
            found += _read(msgspec.convert(part, _Event))
        except msgspec.ValidationError as error:
            named = part if isinstance(part, dict) else {}
            detail = f"{named.get('event_type')}: {error}"
            found += [reject("wrong_shape", detail), *_voids(named)]
    return found


def _read(event: _Event) -> list[Message]:
    kind = event.event_type or _kind(event)
    reader = _READERS.get(kind)
    if reader is None:
        return [reject("unknown_type", kind)]
    try:
        return reader(event)
    except WireError as error:
        plain = msgspec.to_builtins(event) | {"event_type": kind}
        return [reject(error.reason, f"{kind}: {error}"), *_voids(plain)]


def _kind(event: _Event) -> str:
    """Tell an event without `event_type` by the fields that only its kind has."""
    if event.price_changes is not None:
        return "price_change"
    if event.bids is not None or event.asks is not None:
        return "book"
    if event.new_tick_size is not None:
        return "tick_size_change"
    if event.winning_asset_id is not None:
        return "market_resolved"
    if event.price is not None and event.size is not None:
        return "last_trade_price"
    if event.best_bid is not None and event.best_ask is not None:
        return "best_bid_ask"
    return "no event_type"


def _voids(event: dict[str, object]) -> list[Message]:
    """Give up the books that a rejected event was about, so that they are fetched anew.

    Where it cannot be told which they are, all of them may be meant.
    """
    kind = event.get("event_type")
    if kind in _NOT_ABOUT_BOOKS:
        return []
    changes = event.get("price_changes")
    parts = [event, *(changes if isinstance(changes, list) else [])]
    found: dict[str, Message] = {}
    for part in parts:
        instrument = part.get("asset_id") if isinstance(part, dict) else None
        if isinstance(instrument, str) and _is_name(instrument):
            found[instrument] = BookVoid(instrument, "rejected")
    is_of_a_book = not isinstance(kind, str) or kind in _READERS
    return list(found.values()) or ([_IN_DOUBT] if is_of_a_book else [])


def _is_name(text: str) -> bool:
    try:
        return bool(name(text))
    except WireError:
        return False


def _sent_ns(event: _Event) -> int | None:
    """Return when the venue sent an event; a book bears the time of its last change instead."""
    if event.bids is not None or event.asks is not None:
        return None
    try:
        return _about_ns(event)
    except WireError:
        return None


def _about_ns(event: _Event) -> int | None:
    return None if event.timestamp is None else text_ms_ns(event.timestamp)


def _told(value: _T | None, field: str) -> _T:
    if value is None:
        raise WireError("wrong_shape", f"no {field}")
    return value


def _book(event: _Event) -> list[Message]:
    instrument = name(_told(event.asset_id, "asset_id"))
    if event.bids is None and event.asks is None:
        raise WireError("wrong_shape", "neither bids nor asks")
    bids, asks = levels(event.bids or ()), levels(event.asks or ())
    return [BookSnapshot(instrument, bids, asks, _about_ns(event))]


def _price_change(event: _Event) -> list[Message]:
    """Turn a list over both tokens into one change each; each entry's best prices are after it."""
    about_ns = _about_ns(event)
    changes: dict[str, list[tuple[bool, Price, Price]]] = {}
    last: dict[str, _Change] = {}
    for change in _told(event.price_changes, "price_changes"):
        instrument = name(change.asset_id)
        level = (_is_buy(change.side), open_price_e4(change.price), size_e6(change.size))
        changes.setdefault(instrument, []).append(level)
        last[instrument] = change
    found: list[Message] = []
    for instrument, levels_changed in changes.items():
        found.append(BookChange(instrument, levels_changed, about_ns=about_ns))
        bid, ask = last[instrument].best_bid, last[instrument].best_ask
        if bid is None or ask is None:
            continue
        try:
            found.append(TopOfBook(instrument, edge_e4(bid), edge_e4(ask), about_ns=about_ns))
        except WireError as error:
            # The book itself is sound; only the figure to check it against is not.
            found.append(reject(error.reason, f"best prices: {error}", instrument=instrument))
    return found


def _is_buy(side: str) -> bool:
    if side not in ("BUY", "SELL"):
        raise WireError("wrong_shape", f"side {side}")
    return side == "BUY"


def _last_trade_price(event: _Event) -> list[Message]:
    """Read a trade; the wire has no id, so it is made of all that the wire tells about it.

    Two equal fills of one millisecond and transaction are one trade by that; a trade that is told
    twice is not two.
    """
    instrument = name(_told(event.asset_id, "asset_id"))
    price = open_price_e4(_told(event.price, "price"))
    size = size_e6(_told(event.size, "size"))
    about_ns = text_ms_ns(_told(event.timestamp, "timestamp"))
    if size == 0:
        raise WireError("out_of_range", "size 0")
    taker: Literal["buy", "sell"] | None = None
    if event.side is not None:
        taker = "buy" if _is_buy(event.side) else "sell"
    parts = (about_ns // 1_000_000, taker, price, size, event.transaction_hash)
    trade_id = name("-".join(str(part) for part in parts if part is not None))
    return [Trade(instrument, trade_id, price, size, taker, about_ns)]


def _tick_size_change(event: _Event) -> list[Message]:
    """Void the book, for a fresh one follows; the grid itself `tick_ranges` knows beforehand."""
    return [BookVoid(name(_told(event.asset_id, "asset_id")), "tick_size")]


def _best_bid_ask(event: _Event) -> list[Message]:
    instrument = name(_told(event.asset_id, "asset_id"))
    bid = edge_e4(_told(event.best_bid, "best_bid"))
    ask = edge_e4(_told(event.best_ask, "best_ask"))
    return [TopOfBook(instrument, bid, ask, about_ns=_about_ns(event))]


def _new_market(event: _Event) -> list[Message]:
    slug = name(_told(event.slug, "slug"))
    found = window(slug)
    tick = event.order_price_min_tick_size
    facts = MarketFacts(
        slug,
        series=found[0].name if found else None,
        underlying=found[0].underlying if found else None,
        instruments=tokens(
            _told(event.outcomes, "outcomes"), _told(event.assets_ids, "assets_ids")
        ),
        tick_ranges=None if tick is None else tick_ranges(scaled(tick, 4)),
        status="listed",
        about_ns=_about_ns(event),
    )
    return [facts]


def _market_resolved(event: _Event) -> list[Message]:
    ids = _told(event.assets_ids, "assets_ids")
    winner = _told(event.winning_asset_id, "winning_asset_id")
    label = _told(event.winning_outcome, "winning_outcome")
    result: Side | None = SIDES.get(label)
    if result is None:
        raise WireError("unknown_type", f"outcome {label}")
    if len(ids) != 2 or ids[0] == ids[1] or winner not in ids:
        raise WireError("wrong_shape", "the winner is none of two tokens")
    loser = ids[1] if ids[0] == winner else ids[0]
    yes, no = (winner, loser) if result == "yes" else (loser, winner)
    facts = MarketFacts(
        name(event.slug or _told(event.market, "market")),
        instruments=(name(yes), name(no)),
        status="determined",
        result=result,
        about_ns=_about_ns(event),
    )
    return [facts]


_READERS: dict[str, Callable[[_Event], list[Message]]] = {
    "book": _book,
    "price_change": _price_change,
    "last_trade_price": _last_trade_price,
    "tick_size_change": _tick_size_change,
    "best_bid_ask": _best_bid_ask,
    "new_market": _new_market,
    "market_resolved": _market_resolved,
}
_NOT_ABOUT_BOOKS = ("last_trade_price", "best_bid_ask", "new_market", "market_resolved")
