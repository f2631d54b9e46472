"""Every fact that crosses a border in Hawk, as frozen structs.

In goes nothing; out come the types that streams, the archive and replay share. Time is `int`
nanoseconds UTC: `ts_ns` is when the fact became *known* to Hawk, `about_ns` what it is about where
the two differ. Money is `int` in 1e-6 USD (`*_e6`), contract prices `int` in 1e-4 USD (`*_e4`),
contract counts `int` in 1e-2 (`*_e2`), so count x price is exact in 1e-6 USD. Spot and index prices
are `float` USD. A probability is always P(YES). Missing is `None`, an absent book side is empty.

Two decisions a reader would question. `seq`, the writer's counter, is *not* part of a body: it is
set on reading, so that the same fact has the same bytes wherever and whenever it is written
(`body`). And the id is derived from the content (`event_id`), so that a fact imported, recorded or
replayed twice is recognised as one.
"""

from collections.abc import Sequence
from enum import IntFlag
from hashlib import blake2b
from typing import Literal

import msgspec

ID_BYTES = 8
"""Ids are compared within one hour of one stream (some 1e5 events): at 64 bits a collision there
has a chance below 1e-9, and an id, which no compression shortens, is a quarter of a stored row."""

LEVELS_MAX = 5
"""Book levels kept per side: what recordings hold and what an order of paper size can reach."""

Side = Literal["yes", "no"]
Comparator = Literal[">=", ">"]
Role = Literal["champion", "shadow"]


class Flag(IntFlag):
    """What is wrong or special about a snapshot."""

    CROSSED = 1  # best bid above best ask
    LOCKED = 2  # best bid equal to best ask
    COARSE = 4  # a recorder rounded the book to a coarser grid than the venue's (import only)
    STALE = 8  # book or feed older than two sample intervals
    GAP = 16  # the interval before this snapshot was not observed
    ROUNDED_TO_BOUND = 32  # a bid of 1 or an ask of 0: a recorder's rounding, not a price


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Base of all events: when it became known, its id, and the writer's counter."""

    ts_ns: int
    id: str
    seq: int = 0


class Tick(Event, frozen=True, kw_only=True):
    """Last entry of a collector tick of one underlying; carries the stream clock."""

    underlying: str


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Taker fee: rate x count x (price x (1 - price))^exponent, rounded up per order."""

    name: str
    rate_e4: int
    exponent: int
    round_e6: int


class TickRange(msgspec.Struct, frozen=True, kw_only=True):
    """Price step inside [start, end)."""

    start_e4: int
    end_e4: int
    step_e4: int


class Market(Event, frozen=True, kw_only=True):
    """One binary contract; repeated whenever something about it becomes known or changes."""

    venue: str
    market: str
    series: str
    underlying: str
    open_ns: int
    close_ns: int
    comparator: Comparator
    settlement_rule: str
    fee: FeeSchedule | None
    tick_ranges: tuple[TickRange, ...]
    rule_fingerprint: str
    strike_usd: float | None = None
    status: str = "open"


class SpotSnapshot(Event, frozen=True, kw_only=True):
    """State of one underlying's spot venue (and settlement index) at a sample instant."""

    underlying: str
    source: str
    bid_usd: float | None = None
    ask_usd: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    depth_bid: float | None = None
    depth_ask: float | None = None
    last_usd: float | None = None
    taker_buy_volume: float | None = None
    taker_sell_volume: float | None = None
    index_usd: float | None = None
    age_ns: int = 0
    flags: int = 0


class QuoteSnapshot(Event, frozen=True, kw_only=True):
    """Order book of one open market at a sample instant, best level first, at most LEVELS_MAX.

    A side that is absent is empty. Sizes are empty where the recorder did not know them.
    """

    venue: str
    market: str
    underlying: str
    yes_bids_price_e4: tuple[int, ...] = ()
    yes_bids_size_e2: tuple[int, ...] = ()
    yes_asks_price_e4: tuple[int, ...] = ()
    yes_asks_size_e2: tuple[int, ...] = ()
    last_price_e4: int | None = None
    age_ns: int = 0
    flags: int = 0


class Gap(Event, frozen=True, kw_only=True):
    """An interval [start_ns, end_ns) that was not observed, and why.

    `feed` is `spot`, `quotes` (of `market`), or a series of `venue`: then it is about the markets
    of that series which have neither a row nor a gap of their own, because nobody knew of them.
    """

    underlying: str
    feed: str
    start_ns: int
    end_ns: int
    reason: str
    venue: str | None = None
    market: str | None = None


class Resolution(Event, frozen=True, kw_only=True):
    """How a market ended; `about_ns` is its close, `ts_ns` when the result became known."""

    venue: str
    market: str
    underlying: str
    about_ns: int
    result: Side
    source: Literal["venue", "chained_strike", "rebuild"]
    settlement_usd: float | None = None


class FeatureRow(Event, frozen=True, kw_only=True):
    """Features of one quote snapshot; `values` in FEATURES order, missing is None."""

    quote_id: str
    venue: str
    market: str
    series: str
    underlying: str
    open_ns: int
    close_ns: int
    feature_set: str
    values: dict[str, float | None]
    bid_e4: int | None = None
    ask_e4: int | None = None
    flags: int = 0
    unusable: str | None = None


class Forecast(Event, frozen=True, kw_only=True):
    """P(YES) for one feature row and role; `base_p` is the base model's (mid or fair value)."""

    feature_id: str
    feature_hash: str
    venue: str
    market: str
    series: str
    underlying: str
    close_ns: int
    role: Role
    bundle: str
    p_raw: float
    p: float
    base_p: float
    is_fallback: bool
    bid_e4: int | None = None
    ask_e4: int | None = None


class Order(Event, frozen=True, kw_only=True):
    """Intent to take `size_e2` contracts of `side` at `price_limit_e4` or better, per contract."""

    strategy: str
    venue: str
    market: str
    underlying: str
    side: Side
    forecast_id: str
    price_limit_e4: int
    size_e2: int
    stake_e6: int
    fee_e6_max: int
    p: float
    edge: float
    arrival_ns: int
    bounds: tuple[str, ...] = ()


class Fill(Event, frozen=True, kw_only=True):
    """Contracts taken by an order at one price of its side.

    `rounding_e6` is the part of `fee_e6` that is the venue's rounding (negative where a later
    level uses up what an earlier one was rounded up by): an account of its own in the ledger.
    """

    order_id: str
    strategy: str
    venue: str
    market: str
    underlying: str
    side: Side
    price_e4: int
    size_e2: int
    fee_e6: int
    rounding_e6: int = 0
    liquidity: Literal["taker", "maker"] = "taker"


class Skip(Event, frozen=True, kw_only=True):
    """A decision not to order, or an order that ended without (all of) its fill, and why."""

    strategy: str
    venue: str
    market: str
    underlying: str
    reason: str
    forecast_id: str | None = None
    order_id: str | None = None


class Settlement(Event, frozen=True, kw_only=True):
    """End of a position: what the venue pays and the profit or loss of strategy and market."""

    strategy: str
    venue: str
    market: str
    underlying: str
    result: Side
    payout_e6: int
    pnl_e6: int


class ModelEvent(Event, frozen=True, kw_only=True):
    """Life of a bundle: verdict, activation, swap, refusal, rollback.

    `fingerprint` names a candidate whatever its verdict, `route` says by what an accepted one was
    carried (superiority, freshness, operator). `wall_ns` is the machine's clock; it is outside the
    id and outside digests.
    """

    bundle: str
    action: Literal["accepted", "rejected", "activated", "swapped", "refused", "rolled_back"]
    reason: str
    cause: str
    generation: int | None = None
    underlying: str | None = None
    feature_id_last: str | None = None
    scores: dict[str, float | None] = {}
    fingerprint: str | None = None
    route: str | None = None
    wall_ns: int = 0


class Alert(Event, frozen=True, kw_only=True):
    """A rule that fires or resolves."""

    rule: str
    severity: Literal["page", "warn", "info"]
    state: Literal["firing", "resolved"]
    evidence: str
    runbook: str
    underlying: str | None = None


class Command(Event, frozen=True, kw_only=True):
    """An operator's order."""

    command: Literal["kill", "resume", "train", "activate", "rollback"]
    who: str
    argument: str | None = None


class DeadLetter(Event, frozen=True, kw_only=True):
    """A stream entry that `group` gave up; `event` is the id of its event, empty if unreadable.

    Replay honours it: the handler of that group is not fed that event.
    """

    stream: str
    entry_id: str
    reason: str
    group: str = ""
    event: str = ""


EVENT_TYPES: tuple[type[Event], ...] = (
    Tick,
    Market,
    Resolution,
    Gap,
    SpotSnapshot,
    QuoteSnapshot,
    FeatureRow,
    Forecast,
    Order,
    Fill,
    Skip,
    Settlement,
    ModelEvent,
    Alert,
    Command,
    DeadLetter,
)
"""All event types, in the order that `import` numbers the rows of one instant."""

AnyEvent = (
    Tick | Market | Resolution | Gap | SpotSnapshot | QuoteSnapshot | FeatureRow | Forecast
    | Order | Fill | Skip | Settlement | ModelEvent | Alert | Command | DeadLetter
)  # fmt: skip

# msgspec leaves out a default by identity, not by value: the text "open" read from a file is
# another object than the default "open", and would stand in the body.
_TEXT_DEFAULTS = {
    kind: [(f.name, f.default) for f in msgspec.structs.fields(kind) if isinstance(f.default, str)]
    for kind in EVENT_TYPES
}

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def event_id(*parts: str | int | float | None) -> str:
    """Hash `parts` (the facts that identify an event) to an id of 16 hex digits.

    >>> event_id("Tick", "BTC-USD", 1)
    'd22c083de93e89db'
    """
    # str of a float is its shortest exact form, the same as repr.
    text = "\x1f".join([str(part) for part in parts])
    return blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()


def quote_id(venue: str, market: str, ts_ns: int, levels: Sequence[Sequence[int]]) -> str:
    """Return the id of a quote snapshot: where, when and what was seen.

    `levels` are bid prices, bid sizes, ask prices, ask sizes; the same book sampled at the same
    instant is the same fact, whether recorded live or imported.
    """
    text = ";".join(",".join(map(str, level)) for level in levels)
    return event_id("QuoteSnapshot", venue, market, ts_ns, text)


def body(event: Event) -> bytes:
    """Encode `event` as JSON without `seq` and the machine's clock: what a digest hashes."""
    texts = _TEXT_DEFAULTS[type(event)]
    changes: dict[str, object] = {n: text for n, text in texts if getattr(event, n) == text}
    if event.seq or getattr(event, "wall_ns", 0):
        changes |= {"seq": 0, "wall_ns": 0} if isinstance(event, ModelEvent) else {"seq": 0}
    return _encoder.encode(msgspec.structs.replace(event, **changes) if changes else event)


def wire(event: Event) -> bytes:
    """Encode `event` as JSON as it stands (with `seq` if set)."""
    return _encoder.encode(event)


def decode(data: bytes, *, seq: int = 0) -> AnyEvent:
    """Decode one body; raise `msgspec.ValidationError` or `DecodeError` if it is not an event."""
    event = _decoder.decode(data)
    if seq:
        set_seq(event, seq)
    return event


def set_seq(event: Event, seq: int) -> None:
    """Set the writer's counter: done once, by whoever writes or reads the event."""
    msgspec.structs.force_setattr(event, "seq", seq)


def order_key(event: Event) -> tuple[int, int, str]:
    """Order of events everywhere: time known, writer's counter, id."""
    return (event.ts_ns, event.seq, event.id)
