"""The shapes of Kalshi's WebSocket frames: fields that are read, and nothing else. Pure.

In goes JSON, out come these structs; their meaning is `kalshi_feed`'s. Field names are the venue's
(docs.kalshi.com/asyncapi.yaml, read 2026-11-22); fields that are not named here are skipped without
being built, whatever they hold. Types are strict: a number where text is due is another shape.

The decision a reader would question: `msg` of a frame is read in a second step, by the type of the
frame. That is faster than one step over a union of all types (0.77 against 0.94 us for a delta),
and a frame with a damaged `msg` still tells its place in the sequence.
"""

from typing import Annotated, Literal

import msgspec

from libs.common.venues.kalshi_market import PriceRange

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Outcome = Literal["yes", "no"]
Levels = list[tuple[str, str]]
_NULL = msgspec.Raw(b"null")


class Envelope(msgspec.Struct, gc=False):
    """What all frames share."""

    type: str
    sid: Number | None = None
    seq: Number | None = None
    id: Number | None = None
    msg: msgspec.Raw = _NULL


class Loose(msgspec.Struct, gc=False):
    """An envelope with a field of a wrong type: each is then read on its own."""

    type: msgspec.Raw = _NULL
    sid: msgspec.Raw = _NULL
    seq: msgspec.Raw = _NULL
    msg: msgspec.Raw = _NULL


class Named(msgspec.Struct, gc=False):
    """Whose message it is."""

    market_ticker: str


class Snapshot(msgspec.Struct, gc=False):
    """A whole book: bids for YES and bids for NO; an empty side is left out."""

    market_ticker: str
    yes_dollars_fp: Levels = []
    no_dollars_fp: Levels = []


class Delta(msgspec.Struct, gc=False):
    """A signed change of one level."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Outcome
    ts_ms: Number | None = None


class DeltaTime(msgspec.Struct, gc=False):
    """The deprecated time of a delta, the only one until spring 2026."""

    ts: str | None = None


class Ticker(msgspec.Struct, gc=False):
    """Best prices of YES; size 0 is an empty side. `time` is deprecated."""

    market_ticker: str
    price_dollars: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    ts_ms: Number | None = None
    time: str | None = None


class Print(msgspec.Struct, gc=False):
    """A trade. `taker_side` and `ts` (seconds) are deprecated."""

    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    taker_outcome_side: Outcome | None = None
    taker_book_side: Literal["bid", "ask"] | None = None
    taker_side: Outcome | None = None
    is_block_trade: bool = False
    ts_ms: Number | None = None
    ts: Number | None = None


class Metadata(msgspec.Struct, gc=False):
    """The rest of what is told of a market when it is created."""

    rules_primary: str = ""
    rules_secondary: str = ""
    strike_type: str | None = None
    floor_strike: float | None = None


class Lifecycle(msgspec.Struct, gc=False):
    """A change in the life of a market; which fields are there depends on `event_type`."""

    market_ticker: str
    event_type: str
    open_ts: Number | None = None
    close_ts: Number | None = None
    determination_ts: Number | None = None
    settled_ts: Number | None = None
    result: str = ""
    strike_type: str | None = None
    floor_strike: float | None = None
    price_ranges: list[PriceRange] = []
    additional_metadata: Metadata = msgspec.field(default_factory=Metadata)


class FeeUpdate(msgspec.Struct, gc=False):
    """A fee of one event in place of its series'; null when it is taken back."""

    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: float | None


class Average(msgspec.Struct, gc=False):
    """A mean of the prints of an index, one a second, up to `window_end_ts_exclusive` (ms)."""

    value: str
    window_size: Number
    window_end_ts_exclusive: Number


class Index(msgspec.Struct, gc=False):
    """A print of an index; `data` is JSON in text, an `IndexData`."""

    index_id: str
    received_at: Number
    data: str
    avg_60s_data: Average | None = None
    last_60s_windowed_average_15min: Average | None = None


class IndexData(msgspec.Struct, gc=False):
    """The print as CF Benchmarks sent it; `time` in ms."""

    id: str
    time: Number
    value: str


class Subscribed(msgspec.Struct, gc=False):
    """A subscription stands."""

    channel: str
    sid: Number


class Refusal(msgspec.Struct, gc=False):
    """A command failed, or a subscription ended."""

    code: Number
    msg: str = ""
    market_ticker: str | None = None


envelope = msgspec.json.Decoder(Envelope).decode
loose = msgspec.json.Decoder(Loose).decode
named = msgspec.json.Decoder(Named).decode
snapshot = msgspec.json.Decoder(Snapshot).decode
delta = msgspec.json.Decoder(Delta).decode
delta_time = msgspec.json.Decoder(DeltaTime).decode
ticker = msgspec.json.Decoder(Ticker).decode
trade = msgspec.json.Decoder(Print).decode
lifecycle = msgspec.json.Decoder(Lifecycle).decode
fee_update = msgspec.json.Decoder(FeeUpdate).decode
index = msgspec.json.Decoder(Index).decode
index_data = msgspec.json.Decoder(IndexData).decode
subscribed = msgspec.json.Decoder(Subscribed).decode
refusal = msgspec.json.Decoder(Refusal).decode
number = msgspec.json.Decoder(Number).decode
text = msgspec.json.Decoder(str).decode
