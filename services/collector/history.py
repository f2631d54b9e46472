"""History as venues tell it afterwards, turned into the tables of the import format. Pure.

In go messages of REST answers and the time they were asked at, out come rows of `markets`, `quotes`
and `spot` (docs/data.md, "Recordings") that are judged like those of any recording. What a venue
tells today of a past market holds its end from the first word on; here each row stands where it was
known: quotes and prices of a candle at its end, a strike behind the open, a result behind the
close. A candle that was still forming, and an end that is not final, are left out.

The decision a reader would question: a single price a minute (Polymarket's history) is no quote and
becomes none. It is the middle of a book whose sides nobody tells: two sides made of it would be
prices at which nothing could have been bought. Trades have no place in the format at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from libs.common import columns
from libs.common.events import Market
from libs.common.venues.messages import Candle, MarketFacts, Message, Reject
from services.collector.markets import RESULT_DELAY_NS, identified
from services.collector.validation import superseded

NS = 1_000_000_000
MINUTE_NS, DAY_NS = 60 * NS, 86_400 * NS
PRICE_ONE_E4 = 10_000

SPOT_SOURCE = "coinbase_candle_1m"

STRIKE_DELAYS_NS = {"polymarket": 30 * NS}
"""How long behind the open a venue shows a strike, where that is not the import's second: the price
to beat stands on the web site within 30 s, and Gamma does not say since when it had it."""

SETTLING_NS = 3 * DAY_NS
"""A market without a final result so long behind its close is not waited for."""

UNKNOWN_RULE, QUARANTINED = "unknown", "quarantined"

_LEVELS = pa.list_(pa.float64())
_MARKETS = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("venue", "market", "series", "underlying", "comparator")
        ),
        ("settlement_rule", pa.string()),
        ("open_ns", pa.int64()),
        ("close_ns", pa.int64()),
        ("strike_usd", pa.float64()),
        ("settlement_usd", pa.float64()),
        ("result", pa.string()),
        ("strike_known_ns", pa.int64()),
        ("result_known_ns", pa.int64()),
    ]
)
_QUOTES = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("venue", pa.string()),
        ("market", pa.string()),
        *(
            (f"yes_{side}_{what}", _LEVELS)
            for side in ("bids", "asks")
            for what in ("price", "size")
        ),
    ]
)
_SPOT = pa.schema(
    [
        ("ts_ns", pa.int64()),
        ("underlying", pa.string()),
        ("price_usd", pa.float64()),
        ("source", pa.string()),
    ]
)

Row = dict[str, object]


def tables(
    *, markets: Sequence[Row] = (), quotes: Sequence[Row] = (), spot: Sequence[Row] = ()
) -> dict[str, pa.Table]:
    """Return rows as the three tables of the import format."""
    named = {"markets": (markets, _MARKETS), "quotes": (quotes, _QUOTES), "spot": (spot, _SPOT)}
    return {
        name: pa.Table.from_pylist(list(rows), schema).combine_chunks()
        for name, (rows, schema) in named.items()
    }


def ended(
    messages: Iterable[Message],
    *,
    series: str,
    span_ns: tuple[int, int],
    dropped: Counter[str],
) -> list[MarketFacts]:
    """Return the markets of `series` that closed in [start, end), by close and name, each once.

    Of a market that is told twice (pages shift while they are read) the later one counts. Damaged
    ones, and those without life, comparator or underlying, are counted in `dropped`.
    """
    found: dict[str, MarketFacts] = {}
    for message in messages:
        if isinstance(message, Reject):
            dropped[message.reason] += 1
        if not isinstance(message, MarketFacts) or message.series != series:
            continue
        if message.close_ns is None or not span_ns[0] <= message.close_ns < span_ns[1]:
            continue
        found[message.market] = message
    whole = [m for m in found.values() if m.open_ns and m.comparator and m.underlying]
    if len(found) > len(whole):
        dropped["incomplete"] += len(found) - len(whole)
    return sorted(whole, key=lambda market: (market.close_ns, market.market))


def result_known_ns(market: MarketFacts) -> int:
    """Return when the result of an ended market was known: as told, never before the import's rule.

    The time that a venue tells is that of its last change, so a result may be taken as known too
    late, and never too early.
    """
    return max((market.close_ns or 0) + RESULT_DELAY_NS, market.about_ns or 0)


def is_final(market: MarketFacts, now_ns: int) -> bool:
    """Tell whether nothing about a market can change any more, or nobody waits for it."""
    if market.status == "void" or (market.close_ns or 0) + SETTLING_NS <= now_ns:
        return True
    has_result = market.status == "settled" and market.result is not None
    return has_result and result_known_ns(market) <= now_ns


def market_rows(
    venue: str, markets: Iterable[MarketFacts], *, now_ns: int, must_be_struck: bool
) -> list[Row]:
    """Return the rows of markets, of those that were not void; a result only if it is final.

    `must_be_struck` where the market itself is the only source of its strike: then one without a
    strike never had any, and that it ended as "no" says nothing about a price.
    """
    rows: list[Row] = []
    for market in markets:
        if market.status == "void":
            continue
        open_ns = market.open_ns or 0
        delay_ns = STRIKE_DELAYS_NS.get(venue)
        known_ns = result_known_ns(market)
        is_told = market.status == "settled" and known_ns <= now_ns
        if must_be_struck and market.strike_usd is None:
            is_told = False
        rows.append(
            {
                "venue": venue,
                "market": market.market,
                "series": market.series,
                "underlying": market.underlying,
                "comparator": market.comparator,
                "settlement_rule": market.rule or UNKNOWN_RULE,
                "open_ns": open_ns,
                "close_ns": market.close_ns,
                "strike_usd": market.strike_usd,
                "settlement_usd": market.settlement_usd if is_told else None,
                "result": market.result if is_told else None,
                "strike_known_ns": None if delay_ns is None else open_ns + delay_ns,
                "result_known_ns": known_ns,
            }
        )
    return rows


def quote_rows(
    venue: str,
    market: MarketFacts,
    messages: Iterable[Message],
    *,
    now_ns: int,
    dropped: Counter[str],
) -> list[Row]:
    """Return the quotes at the ends of a market's candles, without sizes, one side or both.

    The candle that ends at the close or later, or later than `now_ns`, is none. One that tells
    neither side is counted: whether its book was empty or not told, it does not say.
    """
    rows: list[Row] = []
    for candle in _candles(messages, dropped):
        if candle.end_ns > now_ns or candle.end_ns >= (market.close_ns or 0):
            continue
        if candle.bid is None and candle.ask is None:
            dropped["no_quote"] += 1
            continue
        rows.append(
            {
                "ts_ns": candle.end_ns,
                "venue": venue,
                "market": market.market,
                "yes_bids_price": _side(candle.bid),
                "yes_bids_size": [],
                "yes_asks_price": _side(candle.ask),
                "yes_asks_size": [],
            }
        )
    return rows


def spot_rows(
    underlying: str, messages: Iterable[Message], *, now_ns: int, dropped: Counter[str]
) -> list[Row]:
    """Return the closes of finished candles, each known at its candle's end."""
    return [
        {
            "ts_ns": candle.end_ns,
            "underlying": underlying,
            "price_usd": candle.close,
            "source": SPOT_SOURCE,
        }
        for candle in _candles(messages, dropped)
        if candle.end_ns <= now_ns and candle.close is not None
    ]


def observed(quotes: pa.Table) -> set[tuple[str, str]]:
    """Return the markets of archived `quotes` (ts_ns, venue, market) that were seen as they lived.

    Those have quotes at other instants than the ends of candles, which is all that history tells.
    History would add worse rows beside better ones, so it leaves these markets alone.
    """
    ts_ns = quotes["ts_ns"].to_numpy()
    rows = quotes.filter(pa.array((ts_ns - 1) % MINUTE_NS != 0))
    return set(zip(rows["venue"].to_pylist(), rows["market"].to_pylist(), strict=True))


def without_covered(
    rows: Sequence[Row], archived: pa.Table, *, dropped: Counter[str]
) -> Sequence[Row]:
    """Return the spot rows whose minute `archived` rows (ts_ns, source) do not tell more finely."""
    own_ns = np.array([row["ts_ns"] for row in rows], np.int64)
    own = np.array([row["source"] for row in rows], str)
    known = np.array(archived["source"].to_pylist(), str)
    ts_ns = np.r_[own_ns, archived["ts_ns"].to_numpy().astype(np.int64)]
    covered = superseded(ts_ns, np.r_[own, known])[: len(rows)]
    if covered.any():
        dropped["covered_by_finer_source"] += int(covered.sum())
    return [row for row, is_covered in zip(rows, covered.tolist(), strict=True) if not is_covered]


def with_terms(markets: pa.Table, told: Mapping[str, MarketFacts]) -> pa.Table:
    """Return archive rows of markets with fee, ticks and rule as the venue tells them.

    A recording has no columns for these, so the judge puts the table of terms in their place. A
    live collector compares the fingerprint with what it hears, and a rule that nobody has read is
    quarantined here as it is there.
    """
    events = []
    for event in columns.from_table(Market, markets):
        facts = told[event.market]  # type: ignore[attr-defined]
        changes: dict[str, Any] = {
            "fee": facts.fee,
            "tick_ranges": facts.tick_ranges,
            "rule_fingerprint": facts.fingerprint,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if facts.rule in (None, UNKNOWN_RULE):
            changes["status"] = QUARANTINED
        events.append(identified(msgspec.structs.replace(event, **changes)))  # type: ignore[arg-type]
    return columns.to_table(Market, events)


def _candles(messages: Iterable[Message], dropped: Counter[str]) -> list[Candle]:
    """Return the candles, oldest first, and count what is none."""
    found = []
    for message in messages:
        if isinstance(message, Candle):
            found.append(message)
        elif isinstance(message, Reject):
            dropped[message.reason] += 1
    return sorted(found, key=lambda candle: candle.end_ns)


def _side(price: float | None) -> list[float]:
    return [] if price is None else [price / PRICE_ONE_E4]
