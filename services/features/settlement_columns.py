"""Batch counterpart of the engine's choice of S: price, prints and basis of many rows at once.

Works on the rows of one underlying, sorted by rank. Feeds are codes into `Spot.feeds`, -1 for none;
the loops run over feeds and settlement rules, of which there are a handful, never over rows.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from libs.common.fair_value import PRINTS
from services.features.basis import (
    CONTRIBUTION_AGE_NS_MAX,
    CONTRIBUTIONS_MAX,
    Arrival,
    difference_e6,
    estimate,
)
from services.features.inputs import (
    INDEX_AGE_NS_MAX,
    SECOND_NS,
    SPOT_AGE_NS_MAX,
    Price,
    Settlement,
    Venue,
)
from services.features.spot_columns import Feed, Spot
from services.features.table_columns import Floats, Ints, Mask

Group = TypeVar("Group", Price, Settlement, Venue)


class Rows(NamedTuple):
    """Quotes of one underlying sorted by rank; `rule` is a code into `rules`, -1: none known.

    `left_ns` is to the close; `settle` the code of the rule's own feed, -1 where it was never seen.
    """

    ts: Ints
    rank: Ints
    close_ns: Ints
    is_average: Mask
    rule: Ints
    settle: Ints


class Strike(NamedTuple):
    """A strike that arrived after its open, and when."""

    ts_ns: int
    rank: int
    arrival: Arrival


class _Contributions(NamedTuple):
    """What one (rule, feed) learnt of its basis, in order: when, and 1e-6 USD."""

    ts: list[int]
    rank: list[int]
    difference: list[int]


def settlement_inputs(
    spot: Spot, rows: Rows, *, rules: Sequence[str], strikes: Sequence[Strike]
) -> tuple[Price, Settlement, Venue]:
    """Return the inputs that depend on spot: S, its windows, prints and basis, and the venue."""
    n = len(rows.ts)
    feeds = [Feed(spot, name) for name in spot.feeds]
    venue_at, venue_feed = _venue(spot, rows)
    chosen = _fresh_index(feeds, rows)
    is_index = chosen >= 0
    chosen = np.where(is_index, chosen, venue_feed)
    prices, prints = [], np.zeros(n)
    for code, feed in enumerate(feeds):
        at = np.flatnonzero(chosen == code)
        if len(at):
            prices.append((at, feed.prices(rows.rank[at], rows.ts[at])))
            _put_prints(prints, feed, rows, at)
    price = merged(Price, n, prices)
    usd, variance = _basis(feeds, rows, venue_feed, _contributions(feeds, rules, strikes))
    settled_on = (chosen == rows.settle) | (chosen < 0)
    compares = is_index & (venue_feed >= 0) & (venue_feed != chosen)
    venue_usd = spot.price[venue_at] / 1e6 if len(spot.ts) else np.zeros(n)
    settlement = Settlement(
        prints_usd=prints,
        basis_usd=np.where(settled_on, 0.0, usd),
        basis_variance=np.where(settled_on, 0.0, variance),
        index_usd=np.where(compares, price.spot_usd, np.nan),
        venue_usd=np.where(compares, venue_usd, np.nan),
        venue_basis_usd=np.where(compares, usd, np.nan),
    )
    for column in settlement[:3]:
        column[chosen < 0] = np.nan
    return price, settlement, _venue_inputs(spot, feeds, rows, (venue_at, venue_feed))


def merged(group: type[Group], n: int, parts: Sequence[tuple[Ints, Group]]) -> Group:
    """Return `n` rows of `group` from parts with their places; missing where there is none."""
    if len(parts) == 1 and len(parts[0][0]) == n:
        return parts[0][1]
    whole = group._make(np.full(n, np.nan) for _ in group._fields)
    for at, part in parts:
        for target, column in zip(whole, part, strict=True):
            target[at] = column
    return whole


def _venue(spot: Spot, rows: Rows) -> tuple[Ints, Ints]:
    """Return the newest venue price's position and feed code; code -1 where it is too old."""
    priced = np.flatnonzero(spot.price > 0)
    at = np.searchsorted(spot.rank[priced], rows.rank) - 1
    if not len(priced):
        return np.zeros(len(at), np.int64), np.full(len(at), -1, np.int64)
    position = priced[np.maximum(at, 0)]
    age_ns = rows.ts - spot.ts[position] + spot.age[position]
    is_fresh = (at >= 0) & (age_ns <= SPOT_AGE_NS_MAX)
    return position, np.where(is_fresh, spot.feed[position], -1)


def _fresh_index(feeds: Sequence[Feed], rows: Rows) -> Ints:
    """Return the code of the rule's own feed where it is fresh, else -1."""
    chosen = np.full(len(rows.ts), -1, np.int64)
    for code, feed in enumerate(feeds):
        at = np.flatnonzero(rows.settle == code)
        if len(at) and len(feed.ts):
            known = feed.known(rows.rank[at])
            newest = np.maximum(known - 1, 0)
            age_ns = rows.ts[at] - feed.ts[newest] + feed.age[newest]
            chosen[at[(known > 0) & (age_ns <= INDEX_AGE_NS_MAX)]] = code
    return chosen


def _put_prints(prints: Floats, feed: Feed, rows: Rows, at: Ints) -> None:
    """Write the sums of past prints of average markets in their last minute."""
    left_ns = rows.close_ns[at] - rows.ts[at]
    past = PRINTS - 1 - left_ns // SECOND_NS
    late = rows.is_average[at] & (past > 0) & (left_ns > 0)
    at, past = at[late], past[late]
    if len(at):
        closes, of_close = np.unique(rows.close_ns[at], return_inverse=True)
        sums, known = feed.prints_e6(closes)
        prints[at] = np.where(known[of_close, past - 1], sums[of_close, past - 1] / 1e6, np.nan)


def _contributions(
    feeds: Sequence[Feed], rules: Sequence[str], strikes: Sequence[Strike]
) -> dict[tuple[int, int], _Contributions]:
    """Return what each (rule code, feed code) learnt from the strikes."""
    learnt: dict[tuple[int, int], _Contributions] = defaultdict(lambda: _Contributions([], [], []))
    if not strikes:
        return learnt
    opens = np.array([strike.arrival.open_ns for strike in strikes], np.int64)
    for code, feed in enumerate(feeds):
        sums, known = feed.prints_e6(opens)
        minutes, whole = sums[:, -1].tolist(), known[:, -1].tolist()
        for strike, minute, is_known in zip(strikes, minutes, whole, strict=True):
            difference = difference_e6(strike.arrival.strike_e6, minute) if is_known else None
            if difference is not None:
                entry = learnt[rules.index(strike.arrival.rule), code]
                entry.ts.append(strike.ts_ns)
                entry.rank.append(strike.rank)
                entry.difference.append(difference)
    return learnt


def _basis(
    feeds: Sequence[Feed],
    rows: Rows,
    venue_feed: Ints,
    learnt: dict[tuple[int, int], _Contributions],
) -> tuple[Floats, Floats]:
    """Return the basis of the venue to each row's rule, and its variance; 0 where unlearnt."""
    usd, variance = np.zeros(len(rows.ts)), np.zeros(len(rows.ts))
    for (rule, code), entry in learnt.items():
        at = np.flatnonzero((rows.rule == rule) & (venue_feed == code))
        end = np.searchsorted(np.array(entry.rank), rows.rank[at])
        expired = np.searchsorted(
            np.array(entry.ts), rows.ts[at] - CONTRIBUTION_AGE_NS_MAX, side="right"
        )
        start = np.maximum(expired, end - CONTRIBUTIONS_MAX)
        # Few distinct windows: each is estimated once, by the scalar of the streaming path.
        width = len(entry.ts) + 1
        spans, of_span = np.unique(start * width + end, return_inverse=True)
        known = [estimate(entry.difference[s // width : s % width]) for s in spans.tolist()]
        usd[at] = np.array([b.usd for b in known])[of_span]
        variance[at] = np.array([b.variance for b in known])[of_span]
    return usd, variance


def _venue_inputs(spot: Spot, feeds: Sequence[Feed], rows: Rows, venue: tuple[Ints, Ints]) -> Venue:
    """Return the venue's book at its newest price, and its taker flow."""
    position, venue_feed = venue
    parts = []
    for code, feed in enumerate(feeds):
        at = np.flatnonzero(venue_feed == code)
        if len(at):
            book = (column[position[at]] for column in spot.book)
            flows = feed.flows(rows.rank[at], rows.ts[at])
            parts.append((at, Venue._make((*book, *flows))))
    return merged(Venue, len(rows.ts), parts)
