"""Turn a book as it stands at a tick into a snapshot, or say why there is none. Pure.

One `SpotSnapshot` per underlying and one `QuoteSnapshot` per open market and interval, aligned to
the clock; where there is nothing to be believed, a `Gap` of that interval with the reason stands in
its place, so that every market and tick has exactly one row. Nothing is ever filled forward: a
snapshot carries the age of the last proof that its feed was alive, is flagged when that is more
than two intervals, and becomes a gap when it is more than STALE_S_MAX.

The decision a reader would question: depth of spot is what lies within DEPTH_RATIO of the mid, not
a number of levels. A deep book has levels at every cent near the touch; five of them are noise.
"""

from dataclasses import dataclass

from libs.common.events import (
    LEVELS_MAX,
    Flag,
    Gap,
    QuoteSnapshot,
    SpotSnapshot,
    event_id,
    quote_id,
)
from libs.common.venues.messages import Level
from services.collector.book import Book
from services.collector.life import Life
from services.collector.tape import Tape

NS = 1_000_000_000

STALE_INTERVALS = 2
"""Intervals without a sign of life after which a snapshot is flagged stale."""

STALE_S_MAX = 10
"""Age beyond which a book is no observation any more."""

DEPTH_RATIO = 0.001
"""Ten basis points of the mid to either side."""

E6_PER_E2 = 10_000

SPOT_MOVE_MAX = 0.2
"""A spot mid that is further from the last one, a second ago, is damage of the feed."""


@dataclass(frozen=True)
class Sight:
    """What can be seen of an instrument at a tick: a book and its age, else the reason.

    A book that `is_polled` came by REST, and no later one comes unless it is asked for.
    """

    book: Book | None
    age_ns: int
    reason: str = ""
    is_polled: bool = False


@dataclass(frozen=True)
class Slot:
    """The place of a row: its tick, the interval of its series, and whether a gap lies before."""

    ts_ns: int
    interval_ns: int
    follows_gap: bool = False


def is_stale(age_ns: int, interval_ns: int) -> bool:
    """Tell whether a feed that was alive `age_ns` ago is too old to be trusted."""
    return age_ns > STALE_INTERVALS * interval_ns


def quote(venue: str, life: Life, sight: Sight, *, slot: Slot) -> QuoteSnapshot:
    """Return the snapshot of an open market's book in terms of YES; sizes floor to 1e-2."""
    book = sight.book or Book()
    bids, asks = (_whole(side) for side in book.levels(LEVELS_MAX, size_min=E6_PER_E2))
    bid_e4, ask_e4 = tuple(p for p, _ in bids), tuple(p for p, _ in asks)
    bid_e2, ask_e2 = tuple(s for _, s in bids), tuple(s for _, s in asks)
    flags = Flag.GAP if slot.follows_gap else Flag(0)
    if is_stale(sight.age_ns, slot.interval_ns):
        flags |= Flag.STALE
    if bid_e4 and ask_e4:
        flags |= Flag.CROSSED if bid_e4[0] > ask_e4[0] else Flag(0)
        flags |= Flag.LOCKED if bid_e4[0] == ask_e4[0] else Flag(0)
    name = life.facts.market
    return QuoteSnapshot(
        ts_ns=slot.ts_ns,
        id=quote_id(venue, name, slot.ts_ns, (bid_e4, bid_e2, ask_e4, ask_e2)),
        venue=venue,
        market=name,
        underlying=life.facts.underlying or "",
        yes_bids_price_e4=bid_e4,
        yes_bids_size_e2=bid_e2,
        yes_asks_price_e4=ask_e4,
        yes_asks_size_e2=ask_e2,
        last_price_e4=life.last_e4,
        age_ns=sight.age_ns,
        flags=int(flags),
    )


def _whole(side: list[Level]) -> list[tuple[int, int]]:
    """Return levels in 1e-2 contracts, cut."""
    return [(int(price), int(size) // E6_PER_E2) for price, size in side]


def spot(
    source: str,
    underlying: str,
    sight: Sight,
    *,
    slot: Slot,
    tape: Tape,
    index: tuple[int, float] | None,
) -> SpotSnapshot:
    """Return the snapshot of a spot venue's book; `index` is (arrival, value) of its newest print.

    An index print older than two intervals is not beside it.
    """
    book = sight.book or Book()
    bid, ask = book.best()
    flags = Flag.GAP if slot.follows_gap else Flag(0)
    if is_stale(sight.age_ns, slot.interval_ns):
        flags |= Flag.STALE
    if bid is not None and ask is not None and bid >= ask:
        flags |= Flag.CROSSED if bid > ask else Flag.LOCKED
    volumes = tape.taken()
    depth_bid, depth_ask = _depths(book, bid, ask)
    has_index = index is not None and not is_stale(slot.ts_ns - index[0], slot.interval_ns)
    return SpotSnapshot(
        ts_ns=slot.ts_ns,
        id=event_id("SpotSnapshot", bid, ask, tape.last, underlying, source, slot.ts_ns),
        underlying=underlying,
        source=source,
        bid_usd=bid,
        ask_usd=ask,
        bid_size=None if bid is None else book.bids[bid],
        ask_size=None if ask is None else book.asks[ask],
        depth_bid=depth_bid,
        depth_ask=depth_ask,
        last_usd=tape.last,
        taker_buy_volume=None if volumes is None else volumes[0],
        taker_sell_volume=None if volumes is None else volumes[1],
        index_usd=index[1] if has_index and index is not None else None,
        age_ns=sight.age_ns,
        flags=int(flags),
    )


def _depths(book: Book, bid: float | None, ask: float | None) -> tuple[float | None, float | None]:
    if bid is None or ask is None:
        return None, None
    reach = (bid + ask) / 2.0 * DEPTH_RATIO
    # Sums of floats depend on their order: by price, so that equal books have equal depths.
    near_bids = sorted((p, s) for p, s in book.bids.items() if p >= bid - reach)
    near_asks = sorted((p, s) for p, s in book.asks.items() if p <= ask + reach)
    return float(sum(s for _, s in near_bids)), float(sum(s for _, s in near_asks))


def index_only(
    source: str, underlying: str, index: tuple[int, float], *, ts_ns: int
) -> SpotSnapshot:
    """Return the snapshot of a settlement index that is a feed of its own (Chainlink)."""
    return SpotSnapshot(
        ts_ns=ts_ns,
        id=event_id("SpotSnapshot", index[1], None, None, underlying, source, ts_ns),
        underlying=underlying,
        source=source,
        index_usd=index[1],
        age_ns=ts_ns - index[0],
    )


def gap(
    feed: str,
    underlying: str,
    reason: str,
    *,
    start_ns: int,
    end_ns: int,
    ts_ns: int,
    market: tuple[str, str | None] | None = None,
) -> Gap:
    """Return the gap [start, end) of a feed, or of one (venue, market), known at `ts_ns`.

    Without a name of the market, `feed` is the series whose markets are meant.
    """
    venue, name = market or (None, None)
    return Gap(
        ts_ns=ts_ns,
        id=event_id("Gap", feed, underlying, venue, name, start_ns, end_ns),
        underlying=underlying,
        feed=feed,
        start_ns=start_ns,
        end_ns=end_ns,
        reason=reason,
        venue=venue,
        market=name,
    )


def is_plausible(mid: float, before: float | None) -> bool:
    """Tell whether a spot mid can follow the one before it.

    >>> is_plausible(81_000.0, 80_000.0), is_plausible(8_100.0, 80_000.0), is_plausible(1.0, None)
    (True, False, True)
    """
    return before is None or abs(mid / before - 1.0) <= SPOT_MOVE_MAX
