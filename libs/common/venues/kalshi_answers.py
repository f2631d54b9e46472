"""The shapes of Kalshi's REST answers: fields that are read, and nothing else. Pure.

In goes JSON, out come these structs; their meaning is `kalshi_rest`'s. Field names are the venue's
(docs.kalshi.com/openapi.yaml 3.20, read 2026-11-22), types are strict, other fields are skipped.

The decision a reader would question: elements of lists stay raw here, and are read one by one. One
market of a thousand that cannot be understood must not hide the other 999.
"""

from typing import Literal

import msgspec

from libs.common.venues.kalshi_market import PriceRange
from libs.common.venues.kalshi_wire import Levels, Number, Outcome


class ErrorBody(msgspec.Struct, gc=False):
    """What an error looks like, whatever its status."""

    error: msgspec.Raw = msgspec.Raw(b"null")


class Market(msgspec.Struct, gc=False):
    """A market: what it is, how far it is, how it ended."""

    ticker: str
    status: str
    close_time: str
    open_time: str | None = None
    updated_time: str | None = None
    settlement_ts: str | None = None
    result: str = ""
    expiration_value: str | None = None
    strike_type: str | None = None
    floor_strike: float | None = None
    price_ranges: list[PriceRange] | None = None
    rules_primary: str = ""
    rules_secondary: str = ""


class Quoted(msgspec.Struct, gc=False):
    """The same object, read for its best prices."""

    ticker: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    last_price_dollars: str | None = None


class MarketAnswer(msgspec.Struct, gc=False):
    """One market."""

    market: Market


class TopAnswer(msgspec.Struct, gc=False):
    """One market, read for its best prices."""

    market: Quoted


class MarketsAnswer(msgspec.Struct, gc=False):
    """A page of markets; each is read on its own."""

    markets: list[msgspec.Raw]
    cursor: str | None = None


class DollarBook(msgspec.Struct, gc=False):
    """Bids for YES and for NO, in dollars and contracts as text."""

    yes_dollars: Levels | None = None
    no_dollars: Levels | None = None


class CentBook(msgspec.Struct, gc=False):
    """The shape until 2026: whole cents and whole contracts."""

    yes: list[tuple[Number, Number]] | None = None
    no: list[tuple[Number, Number]] | None = None


class BookAnswer(msgspec.Struct, gc=False):
    """A book in one of two shapes."""

    orderbook_fp: DollarBook | None = None
    orderbook: CentBook | None = None


class Print(msgspec.Struct, gc=False):
    """A trade. `taker_side` is deprecated."""

    trade_id: str
    ticker: str
    yes_price_dollars: str
    count_fp: str
    created_time: str
    taker_outcome_side: Outcome | None = None
    taker_book_side: Literal["bid", "ask"] | None = None
    taker_side: Outcome | None = None
    is_block_trade: bool = False


class TradesAnswer(msgspec.Struct, gc=False):
    """A page of trades; each is read on its own."""

    trades: list[msgspec.Raw]
    cursor: str | None = None


class Bar(msgspec.Struct, gc=False):
    """Prices of an interval in the historical tier; all null without a trade."""

    open: str | None = None
    high: str | None = None
    low: str | None = None
    close: str | None = None


class DollarBar(msgspec.Struct, gc=False):
    """The same in the live tier."""

    open: str | None = msgspec.field(default=None, name="open_dollars")
    high: str | None = msgspec.field(default=None, name="high_dollars")
    low: str | None = msgspec.field(default=None, name="low_dollars")
    close: str | None = msgspec.field(default=None, name="close_dollars")


class OldCandle(msgspec.Struct, gc=False):
    """A candle of the historical tier."""

    end_period_ts: Number
    yes_bid: Bar
    yes_ask: Bar
    price: Bar
    volume: str


class LiveCandle(msgspec.Struct, gc=False):
    """A candle of the live tier."""

    end_period_ts: Number
    yes_bid: DollarBar
    yes_ask: DollarBar
    price: DollarBar
    volume: str = msgspec.field(name="volume_fp")


class CandlesAnswer(msgspec.Struct, gc=False):
    """Candles; each is read on its own."""

    candlesticks: list[msgspec.Raw]


class Status(msgspec.Struct, gc=False):
    """Whether the exchange takes anything at all, and orders."""

    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: str | None = None


class SeriesFee(msgspec.Struct, gc=False):
    """The fee of a series."""

    ticker: str
    fee_type: str
    fee_multiplier: float


class SeriesAnswer(msgspec.Struct, gc=False):
    """One series."""

    series: SeriesFee


class Cutoff(msgspec.Struct, gc=False):
    """Where the historical tier begins; trades and orders have their own times."""

    market_settled_ts: str


error_body = msgspec.json.Decoder(ErrorBody).decode
market = msgspec.json.Decoder(Market).decode
market_answer = msgspec.json.Decoder(MarketAnswer).decode
top_answer = msgspec.json.Decoder(TopAnswer).decode
markets_answer = msgspec.json.Decoder(MarketsAnswer).decode
book_answer = msgspec.json.Decoder(BookAnswer).decode
trade = msgspec.json.Decoder(Print).decode
trades_answer = msgspec.json.Decoder(TradesAnswer).decode
candles_answer = msgspec.json.Decoder(CandlesAnswer).decode
old_candle = msgspec.json.Decoder(OldCandle).decode
live_candle = msgspec.json.Decoder(LiveCandle).decode
status = msgspec.json.Decoder(Status).decode
series_answer = msgspec.json.Decoder(SeriesAnswer).decode
cutoff = msgspec.json.Decoder(Cutoff).decode
