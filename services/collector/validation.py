"""Judge every row of a recording: stored, stored with a flag, or dropped with a reason. Pure.

In go the recorder's tables (docs/data.md, "Recordings"), out come columns on Hawk's integer grids,
one reason per dropped row and the flags of the stored ones. Rows are judged as whole columns: a
year of quotes is tens of millions of rows.

Decision to question: a row with one bad level is dropped whole. Half a book is a different book,
and nothing downstream could tell.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common.archive import safe_name
from libs.common.checks import ArchiveError
from libs.common.columns import ABSENT
from libs.common.events import LEVELS_MAX, Flag
from libs.common.pricing import PRICE_ONE_E4
from libs.common.streams import CONTROL

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

PRICE_SNAP = 1e-6
"""Dollars within which a price snaps to the 1e-4 grid: a float's noise, never another price."""

SIZE_SNAP = 1e-6
"""Relative distance within which a size snaps to the 0.01 grid."""

SIZE_MAX = 1e12
"""Contracts; beyond it a size in 1e-2 no longer fits a float's integers, so it is damage."""

TIME_NS_MAX = 7_258_118_400_000_000_000
"""Start of the year 2200; a later time is damage."""

NAME_LENGTH_MAX = 200
"""Longest venue, market or series name: real ones are below 80; a 10 kB id is an attack."""


@dataclass(frozen=True)
class Books:
    """Both sides of n books on the integer grids, LEVELS_MAX columns, ABSENT where empty."""

    bid_price_e4: Ints
    bid_size_e2: Ints
    ask_price_e4: Ints
    ask_size_e2: Ints


class Reasons:
    """First reason per row, by code; 0 is none."""

    def __init__(self, n: int) -> None:
        self.codes = np.zeros(n, np.int16)
        self._names: list[str] = [""]

    def drop(self, mask: Any, reason: str) -> None:
        """Give `reason` to the rows of `mask` that have none yet."""
        if reason not in self._names:
            self._names.append(reason)
        self.codes[mask & (self.codes == 0)] = self._names.index(reason)

    @property
    def kept(self) -> Bools:
        """Rows without a reason."""
        kept: Bools = self.codes == 0
        return kept

    def counts(self) -> dict[str, int]:
        """Return dropped rows by reason, only reasons that occurred."""
        totals = np.bincount(self.codes, minlength=len(self._names))
        return {n: int(c) for n, c in zip(self._names, totals, strict=True) if n and c}


def judge_side(
    prices: pa.ListArray, sizes: pa.ListArray, reasons: Reasons, *, is_bid: bool
) -> tuple[Ints, Ints]:
    """Put one book side on the grid: (n, LEVELS_MAX) prices in 1e-4 and sizes in 1e-2.

    Sizes may be empty where the recorder did not know them; where there is no price they do not
    matter. Rows that break a rule get their reason in `reasons`.
    """
    reasons.drop(_is_null(prices) | _is_null(sizes), "side_is_null")
    price, n_prices = _matrix(prices)
    size, n_sizes = _matrix(sizes)
    n_sizes = np.where(n_prices == 0, 0, n_sizes)
    reasons.drop((n_prices > LEVELS_MAX) | (n_sizes > LEVELS_MAX), "too_many_levels")
    reasons.drop((n_sizes > 0) & (n_sizes != n_prices), "sizes_do_not_match_prices")
    there = np.arange(LEVELS_MAX) < n_prices[:, None]
    sized = np.arange(LEVELS_MAX) < n_sizes[:, None]
    bad = (there & ~np.isfinite(price)) | (sized & ~np.isfinite(size))
    reasons.drop(bad.any(1), "not_finite")
    price, size = np.where(there & ~bad, price, 0.0), np.where(sized & ~bad, size, 1.0)
    reasons.drop(((price < 0) | (price > 1)).any(1), "price_out_of_range")
    reasons.drop(((size <= 0) | (size > SIZE_MAX)).any(1), "size_out_of_range")
    # What is dropped already may be 1e300: it must not overflow on its way out.
    price, size = np.clip(price, 0.0, 1.0), np.clip(size, 0.0, SIZE_MAX)
    price_e4, size_e2 = np.rint(price * PRICE_ONE_E4), np.rint(size * 100.0)
    reasons.drop((np.abs(price - price_e4 / PRICE_ONE_E4) > PRICE_SNAP).any(1), "price_off_grid")
    reasons.drop((np.abs(size - size_e2 / 100.0) > SIZE_SNAP * size).any(1), "size_off_grid")
    step = np.diff(price_e4, axis=1) * (-1 if is_bid else 1)
    reasons.drop(((step <= 0) & there[:, 1:]).any(1), "levels_not_best_first")
    as_int = np.where(there, price_e4, ABSENT).astype(np.int64)
    return as_int, np.where(sized, size_e2, ABSENT).astype(np.int64)


def book_flags(books: Books) -> Ints:
    """Return the flags of each book; a locked recorded book is COARSE (see docs/model.md)."""
    bid, ask = books.bid_price_e4[:, 0], books.ask_price_e4[:, 0]
    both = (bid != ABSENT) & (ask != ABSENT)
    locked = both & (bid == ask)
    at_bound = (bid == PRICE_ONE_E4) | (ask == 0)
    flags = np.zeros(len(bid), np.int64)
    flags[both & (bid > ask)] |= int(Flag.CROSSED)
    flags[locked] |= int(Flag.LOCKED | Flag.COARSE)
    flags[at_bound] |= int(Flag.ROUNDED_TO_BOUND)
    return flags


def flag_counts(books: Books, flags: Ints) -> dict[str, int]:
    """Count stored quotes by what is special about them, only what occurred."""
    no_bid, no_ask = books.bid_price_e4[:, 0] == ABSENT, books.ask_price_e4[:, 0] == ABSENT
    counts = {f.name.lower(): int(((flags & f) != 0).sum()) for f in Flag if f.name}
    counts["one_sided"] = int((no_bid ^ no_ask).sum())
    counts["empty"] = int((no_bid & no_ask).sum())
    return {name: count for name, count in counts.items() if count}


def superseded(ts_ns: Ints, source: Any) -> Bools:
    """Mark rows of a coarser source whose own interval a finer source covers.

    A candle stands for the interval before it that its source is named for, so one finer row inside
    (ts - interval, ts] supersedes it; a trade or an index stands for its instant and is never
    superseded. Intervals come from names, never from the rows: the future must not decide.
    """
    names = np.asarray(source)
    times = {name: np.sort(ts_ns[names == name]) for name in np.unique(names).tolist()}
    marked = np.zeros(len(ts_ns), bool)
    for name in times:
        own, interval = names == name, source_interval_ns(name)
        for finer, known_ns in times.items():
            if source_interval_ns(finer) < interval:
                upto = np.searchsorted(known_ns, ts_ns[own], side="right")
                since = np.searchsorted(known_ns, ts_ns[own] - interval, side="right")
                marked[own] |= upto > since
    return marked


def source_interval_ns(name: str) -> int:
    """Return the interval that one row of source `name` stands for, 0 for an instant.

    >>> source_interval_ns("coinbase_candle_1m"), source_interval_ns("coinbase_trade")
    (60000000000, 0)
    """
    found = re.search(r"_candle_(\d{1,4})([smh])$", name)
    seconds = {"s": 1, "m": 60, "h": 3_600}
    return int(found[1]) * seconds[found[2]] * 1_000_000_000 if found else 0


def is_name(text: str | None) -> bool:
    """Tell whether `text` can be a venue, market, series or source name: printable and short.

    >>> is_name("KXBTC15M-26MAY110115-15"), is_name("a\\x1b[2J"), is_name("")
    (True, False, False)
    """
    return bool(text) and len(text or "") <= NAME_LENGTH_MAX and (text or "").isprintable()


def is_place(underlying: str | None) -> bool:
    """Tell whether `underlying` may name a folder of the archive.

    >>> is_place("BTC-USD"), is_place("../BTC"), is_place("control")
    (True, False, False)
    """
    if underlying is None or underlying == CONTROL:
        return False
    try:
        safe_name(underlying)
    except ArchiveError:
        return False
    return True


def _is_null(lists: pa.ListArray) -> Bools:
    """Mark rows that do not say whether they have this side: empty would be a guess."""
    mask: Bools = lists.is_null().to_numpy(zero_copy_only=False)
    return mask


def _matrix(lists: pa.ListArray) -> tuple[Floats, Ints]:
    """Spread lists to (n, LEVELS_MAX) floats, NaN where there is none or a null; and lengths."""
    lengths = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    starts = np.cumsum(lengths) - lengths
    matrix = np.full((len(lengths), LEVELS_MAX), np.nan)
    for level in range(LEVELS_MAX):
        has = lengths > level
        matrix[has, level] = flat[starts[has] + level]
    return matrix, lengths
