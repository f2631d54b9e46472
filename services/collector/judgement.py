"""Judge a whole recording: its three tables become the facts of the snapshots stream. Pure.

Import and the live collector judge through this one function, so that what is played live and what
is imported are the same events. In go tables with the columns of the import format, out come one
table per event kind, and what was dropped or flagged.

Decision to question: a recording is judged as a whole, not row by row as it is played. Nothing here
lets a later row decide about an earlier one (tests hold that), and columns are fifty times faster.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common import columns
from libs.common.events import Event, Gap, Market, QuoteSnapshot, Resolution, SpotSnapshot
from services.collector import gaps, snapshot_tables, validation
from services.collector.markets import RecordedMarket, judge_markets, market_facts
from services.collector.validation import Books, Reasons

Report = Callable[[str, float], None]
"""Hears of each step and of the share of an import that is done."""


def _silent(step: str, share: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Judged:
    """What passed, one table per kind in the order of an instant, and what did not.

    `kinds` are not numbered yet; `markets` counts the markets that passed.
    """

    kinds: Mapping[type[Event], pa.Table]
    markets: int
    dropped: Counter[str]
    flagged: Counter[str]


def judge(
    tables: Mapping[str, pa.Table], *, until_ns: int | None = None, report: Report = _silent
) -> Judged:
    """Judge the tables `markets`, `quotes` and `spot` of one recording.

    A recording ends with its last quote, and what a market lived behind that is another
    recording's; give `until_ns` where these tables are a part of one that goes on at least so far.
    """
    dropped: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    report("markets", 0.0)
    recorded = judge_markets(tables["markets"], dropped, flagged)
    facts = market_facts(recorded)
    report("spot", 0.1)
    spot = _judge_spot(tables["spot"], dropped)
    report("quotes", 0.2)
    reasons = Reasons(tables["quotes"].num_rows)
    quotes, holes = _judge_quotes(tables["quotes"], recorded, reasons, flagged, until_ns=until_ns)
    dropped.update(reasons.counts())
    kinds: dict[type[Event], pa.Table] = {
        Market: columns.to_table(Market, facts[Market]),
        Resolution: columns.to_table(Resolution, facts[Resolution]),
        Gap: columns.to_table(Gap, holes),
        SpotSnapshot: spot,
        QuoteSnapshot: quotes,
    }
    return Judged(kinds, len(recorded), dropped, flagged)


def _judge_spot(table: pa.Table, dropped: Counter[str]) -> pa.Table:
    reasons = Reasons(table.num_rows)
    price = table["price_usd"].to_numpy(zero_copy_only=False).astype(float)
    places, sources = table["underlying"].to_pylist(), table["source"].to_pylist()
    is_good = {name: validation.is_place(name) for name in {*places}}
    is_good_source = {name: validation.is_name(name) for name in {*sources}}
    reasons.drop(~np.array([is_good[name] for name in places], bool), "bad_name")
    reasons.drop(~np.array([is_good_source[name] for name in sources], bool), "bad_name")
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(~np.isfinite(price), "not_finite")
    reasons.drop(price <= 0, "price_not_positive")
    ts_ns = table["ts_ns"].fill_null(0).to_numpy()
    # A bad name is not spread into an array: its length would be every row's.
    place = np.array([name if is_good[name] else "" for name in places], str)
    source = np.array([name if is_good_source[name] else "" for name in sources], str)
    reasons.drop(_repeated((price, source, place, ts_ns), reasons.kept), "duplicate")
    for name in np.unique(place[reasons.kept]).tolist():
        rows = np.flatnonzero(reasons.kept & (place == name))
        mask = np.zeros(table.num_rows, bool)
        mask[rows] = validation.superseded(ts_ns[rows], source[rows])
        reasons.drop(mask, "covered_by_finer_source")
    dropped.update(reasons.counts())
    kept = np.flatnonzero(reasons.kept)
    return snapshot_tables.spot_table(ts_ns[kept], place[kept], source[kept], price[kept])


def _repeated(keys: Sequence[Any], kept: validation.Bools) -> validation.Bools:
    """Mark kept rows whose `keys` (last is the most significant) all stood in an earlier row."""
    rows = np.flatnonzero(kept)
    columns = [np.asarray(key)[rows] for key in keys]
    order = np.lexsort(columns)  # stable: of equal rows the first in the file stays first
    same = np.ones(max(len(rows) - 1, 0), bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    marked = np.zeros(len(kept), bool)
    marked[rows[order[1:][same]]] = True
    return marked


def _judge_quotes(
    table: pa.Table,
    recorded: dict[tuple[str, str], RecordedMarket],
    reasons: Reasons,
    flagged: Counter[str],
    *,
    until_ns: int | None,
) -> tuple[pa.Table, list[Gap]]:
    markets = [entry.market for entry in recorded.values()]
    code = _codes(table, list(recorded))
    ts_ns = table["ts_ns"].fill_null(0).to_numpy()
    reasons.drop(table["ts_ns"].is_null().to_numpy(zero_copy_only=False), "no_time")
    reasons.drop(code < 0, "unknown_market")
    opens = np.array([m.open_ns for m in markets] + [0], np.int64)[code]
    closes = np.array([m.close_ns for m in markets] + [0], np.int64)[code]
    books = _books(table, reasons)
    reasons.drop((ts_ns < opens) | (ts_ns >= closes), "outside_life")
    content = [column for matrix in vars(books).values() for column in matrix.T]
    reasons.drop(_repeated((*content, ts_ns, code), reasons.kept), "duplicate")
    reasons.drop(_repeated((ts_ns, code), reasons.kept), "contradicts_earlier_row")
    kept = np.flatnonzero(reasons.kept)
    if until_ns is None:
        until_ns = int(ts_ns[kept].max(initial=0))
    books = Books(*(matrix[kept] for matrix in vars(books).values()))
    holes = gaps.quote_gaps(markets, code[kept], ts_ns[kept], until_ns=until_ns)
    flags = validation.book_flags(books) | holes.flags
    flagged.update(validation.flag_counts(books, flags))
    quotes = snapshot_tables.quote_table(markets, code[kept], ts_ns[kept], books, flags=flags)
    return quotes, holes.gaps


def _codes(table: pa.Table, keys: list[tuple[str, str]]) -> validation.Ints:
    """Return per row the place of its (venue, market) in `keys`, -1 where it is not among them."""
    index = {key: i for i, key in enumerate(keys)}
    names = zip(table["venue"].to_pylist(), table["market"].to_pylist(), strict=True)
    return np.fromiter((index.get(name, -1) for name in names), np.int64, table.num_rows)


def _books(table: pa.Table, reasons: Reasons) -> Books:
    sides: list[validation.Ints] = []
    for side, is_bid in (("bids", True), ("asks", False)):
        prices = pa.concat_arrays(table[f"yes_{side}_price"].chunks)
        sizes = pa.concat_arrays(table[f"yes_{side}_size"].chunks)
        sides += validation.judge_side(prices, sizes, reasons, is_bid=is_bid)
    return Books(*sides)
