"""The batch path: whole tables in, the table of feature rows out, equal in every bit to `engine`.

Training reads days of rows at a time; feeding them one by one would take a minute where columns
take less than a second. `build_rows` is the vectorised twin of `FeatureEngine`: same inputs by
other means, then the same formulas. The test that compares them row by row is what makes the
streaming forecast and the training row the same thing.

The decision a reader would question: all three tables are ranked together first and every "last
known" is by rank, not by time, because at one instant a spot snapshot may come before or after a
quote, and only the order of events says which was known.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libs.common.columns import ABSENT
from libs.common.fair_value import RULES
from libs.common.ops import COLUMNS
from libs.common.rows import FEATURE_SET_KEY, ROW_COLUMNS
from services.features.basis import StrikeWatch, Terms
from services.features.catalog import FEATURE_SET, compute
from services.features.inputs import (
    DAY_NS,
    IS_COARSE,
    IS_CROSSED,
    IS_LOCKED,
    IS_STALE,
    MARKET_AGE_NS_MAX,
    NO_FEED,
    QUARANTINED,
    UNUSABLE,
    Clock,
    Contract,
    Inputs,
    Price,
    Settlement,
    Venue,
    contract,
)
from services.features.settlement_columns import Rows, Strike, merged, settlement_inputs
from services.features.spot_columns import spot_of
from services.features.table_columns import (
    Floats,
    Ints,
    Mask,
    Names,
    Sides,
    as_of,
    book_inputs,
    encode,
    ints,
    last_known,
    ranks,
    sides,
)


class _Part(NamedTuple):
    """One of the three tables sorted by rank; `place` is the code of the underlying."""

    table: pa.Table
    rank: Ints
    place: Ints


class _Markets(NamedTuple):
    """`Market` events in order, and what of each decides."""

    ts: Ints
    rank: Ints
    place: Ints
    key: Ints
    open_ns: Ints
    close_ns: Ints
    strikes: list[float | None]
    rules: Names
    series: Names
    is_quarantined: Mask
    contract: Contract


class _Quotes(NamedTuple):
    """Quote snapshots in order; `market` is the row of `_Markets` known last, -1: none."""

    table: pa.Table
    ts: Ints
    rank: Ints
    place: Ints
    key: Ints
    flags: Ints
    market: Ints
    open_ns: Ints
    close_ns: Ints


def build_rows(markets: pa.Table, spot: pa.Table, quotes: pa.Table) -> pa.Table:
    """Return the feature rows of all `quotes`, in order of (ts_ns, underlying, seq, id).

    The tables are archive tables of `Market`, `SpotSnapshot` and `QuoteSnapshot`, in any row order
    and for any underlyings; format of the result: libs.common.rows. For rows from T on to equal
    those of the whole archive, feed at least `FeatureEngine.lookback_s` before T.
    """
    of_market, of_spot, of_quote = _parts((markets, spot, quotes))
    market_key, quote_key = _market_keys(of_market, of_quote)
    known = _markets(of_market, market_key)
    rows = _quotes(of_quote, quote_key, known)
    books = sides(rows.table)
    price, settlement, venue = _spot_inputs(of_spot, known, rows)
    inputs = Inputs(
        clock=_clock(rows),
        contract=Contract._make(_of_market(rows, column, np.nan) for column in known.contract),
        book=book_inputs(rows.table, books, ts=rows.ts, keys=rows.key),
        price=price,
        settlement=settlement,
        venue=venue,
    )
    with np.errstate(all="ignore"):
        values = compute(inputs, COLUMNS)
    return _table(rows, known, books, values)


def _parts(tables: tuple[pa.Table, ...]) -> list[_Part]:
    """Sort each table by its rank among the rows of all."""
    places = encode([table.column("underlying") for table in tables]).codes
    parts = []
    for table, rank, place in zip(tables, ranks(tables, places), places, strict=True):
        if (np.diff(rank) > 0).all():
            parts.append(_Part(table.combine_chunks(), rank, place))
        else:
            order = np.argsort(rank, kind="stable")
            parts.append(_Part(table.take(pa.array(order)), rank[order], place[order]))
    return parts


def _market_keys(markets: _Part, quotes: _Part) -> tuple[Ints, Ints]:
    """Number the markets, named by (underlying, venue, market), alike in both tables."""
    place = np.concatenate([markets.place, quotes.place])
    names = [
        encode([part.table.column(name) for part in (markets, quotes)])
        for name in ("venue", "market")
    ]
    for name in names:
        place = place * max(len(name.names), 1) + np.concatenate(name.codes)
    _, key = np.unique(place, return_inverse=True)
    return key[: len(markets.rank)], key[len(markets.rank) :]


def _markets(part: _Part, key: Ints) -> _Markets:
    table = part.table
    rules, series = encode([table.column("settlement_rule")]), encode([table.column("series")])
    strikes = table.column("strike_usd").to_pylist()
    contracts = [
        contract((venue, name), rule, strike_usd=strike, comparator=comparator)
        for venue, name, rule, strike, comparator in zip(
            table.column("venue").to_pylist(),
            table.column("series").to_pylist(),
            table.column("settlement_rule").to_pylist(),
            strikes,
            table.column("comparator").to_pylist(),
            strict=True,
        )
    ]
    columns = np.array(contracts, np.float64).reshape(-1, len(Contract._fields))
    return _Markets(
        ts=ints(table, "ts_ns"),
        rank=part.rank,
        place=part.place,
        key=key,
        open_ns=ints(table, "open_ns"),
        close_ns=ints(table, "close_ns"),
        strikes=strikes,
        rules=rules,
        series=series,
        is_quarantined=pc.equal(table.column("status"), QUARANTINED).to_numpy(),
        contract=Contract._make(columns.T),
    )


def _quotes(part: _Part, key: Ints, known: _Markets) -> _Quotes:
    """Join each quote to its market as known then; one last heard of too long ago is unknown."""
    ts = ints(part.table, "ts_ns")
    span = len(part.rank) + len(known.rank) + int(part.rank.max(initial=0))
    span = max(span, int(known.rank.max(initial=0)) + 1)
    market = last_known(as_of(known.key, known.rank, span=span), key, part.rank)
    if len(known.ts):
        market = np.where(known.ts[market] >= ts - MARKET_AGE_NS_MAX, market, -1)
    flags = ints(part.table, "flags")
    lives = [np.append(column, 0)[market] for column in (known.open_ns, known.close_ns)]
    return _Quotes(part.table, ts, part.rank, part.place, key, flags, market, *lives)


def _of_market(rows: _Quotes, column: Any, default: float) -> Any:
    """Return a column of `_Markets` by quote, `default` where the market is unknown."""
    # Row -1 is the last: the default stands there, and one look-up serves both cases.
    return np.append(column, np.array([default], column.dtype))[rows.market]


def _spot_inputs(spot: _Part, known: _Markets, rows: _Quotes) -> tuple[Price, Settlement, Venue]:
    """Return the inputs that depend on spot, one underlying after the other."""
    n, found = len(rows.ts), []
    for place in np.unique(rows.place).tolist():
        of_spot, at = np.flatnonzero(spot.place == place), np.flatnonzero(rows.place == place)
        observed = spot_of(spot.table.take(pa.array(of_spot)), spot.rank[of_spot])
        own = _rows(rows, known, at, observed.feeds)
        names, strikes = known.rules.names, _strikes(known, place)
        found.append((at, settlement_inputs(observed, own, rules=names, strikes=strikes)))
    return (
        merged(Price, n, [(at, groups[0]) for at, groups in found]),
        merged(Settlement, n, [(at, groups[1]) for at, groups in found]),
        merged(Venue, n, [(at, groups[2]) for at, groups in found]),
    )


def _rows(rows: _Quotes, known: _Markets, at: Ints, feeds: list[str]) -> Rows:
    """Return what the choice of S needs of the quotes `at`."""
    own = [RULES[name].feed if name in RULES else NO_FEED for name in known.rules.names]
    codes = np.array([*(feeds.index(f) if f in feeds else -1 for f in own), -1], np.int64)
    rule = _of_market(rows, known.rules.codes[0], -1)[at]
    return Rows(
        ts=rows.ts[at],
        rank=rows.rank[at],
        close_ns=rows.close_ns[at],
        is_average=_of_market(rows, known.contract.is_average, np.nan)[at] == 1.0,
        rule=rule,
        settle=codes[rule],
    )


def _strikes(known: _Markets, place: int) -> list[Strike]:
    """Return the strikes of one underlying that arrived late, by the watch of the engine."""
    watch, strikes = StrikeWatch(), []
    for at in np.flatnonzero(known.place == place).tolist():
        terms = Terms(
            known.rules.names[known.rules.codes[0][at]],
            int(known.open_ns[at]),
            int(known.close_ns[at]),
            known.strikes[at],
        )
        arrival = watch.observe(int(known.ts[at]), int(known.key[at]), terms)
        if arrival is not None:
            strikes.append(Strike(int(known.ts[at]), int(known.rank[at]), arrival))
    return strikes


def _clock(rows: _Quotes) -> Clock:
    spans = (rows.close_ns - rows.ts, rows.ts - rows.open_ns, rows.close_ns - rows.open_ns)
    seconds = [np.where(rows.market >= 0, span / 1e9, np.nan) for span in spans]
    return Clock._make((*seconds, (rows.ts % DAY_NS) / 1e9))


def _unusable(rows: _Quotes, known: _Markets, books: Sides) -> pa.Array:
    """Return the first reason of UNUSABLE that holds, null where none does."""
    bid, ask, flags = books.bids[0], books.asks[0], rows.flags
    two_sided = (bid != ABSENT) & (ask != ABSENT)
    reasons = (
        rows.market < 0,
        _of_market(rows, known.is_quarantined, False),
        (rows.ts < rows.open_ns) | (rows.ts >= rows.close_ns),
        (two_sided & (bid > ask)) | (flags & IS_CROSSED != 0),
        ((two_sided & (bid == ask)) | (flags & IS_LOCKED != 0)) & (flags & IS_COARSE == 0),
        flags & IS_STALE != 0,
    )
    reason = np.select(reasons, range(len(reasons)), -1)
    return _names(reason, list(UNUSABLE))


def _names(codes: Ints, names: list[str]) -> pa.Array:
    """Return a dictionary column; a negative code is null."""
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))


def _table(rows: _Quotes, known: _Markets, books: Sides, values: Mapping[str, Floats]) -> pa.Table:
    """Assemble the rows; an unknown market has series "" and a life of 0, as in `FeatureRow`."""
    table, n = rows.table, len(known.series.names)
    series = _of_market(rows, known.series.codes[0], n)
    bid, ask = books.bids[0], books.asks[0]
    columns = {
        "ts_ns": pa.array(rows.ts),
        "quote_id": table.column("id"),
        "venue": table.column("venue").dictionary_encode(),
        "market": table.column("market").dictionary_encode(),
        "series": _names(series, [*known.series.names, ""]),
        "underlying": table.column("underlying").dictionary_encode(),
        "open_ns": pa.array(rows.open_ns),
        "close_ns": pa.array(rows.close_ns),
        "bid_e4": pa.array(bid, pa.int32(), mask=bid == ABSENT),
        "ask_e4": pa.array(ask, pa.int32(), mask=ask == ABSENT),
        "flags": pa.array(rows.flags, pa.int32()),
        "unusable": _unusable(rows, known, books),
    }
    arrays = [columns[field.name].cast(field.type) for field in ROW_COLUMNS]
    arrays += [pa.array(column, mask=~np.isfinite(column)) for column in values.values()]
    names = [*ROW_COLUMNS.names, *values]
    made = pa.table(arrays, names=names)
    return made.replace_schema_metadata({FEATURE_SET_KEY: FEATURE_SET.encode()})
