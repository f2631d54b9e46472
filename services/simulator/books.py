"""Books as functions of the second: what rests where, without any history.

In go a key, a second and where the touch is, out comes the whole book: {price: size} a side, whole
numbers. Every level has a size that lasts some seconds and is drawn anew by `chance`, so a book of
any second can be worked out alone, and the changes of a second are the difference of two books.
Prices are in 1e-4 USD; sizes in 1e-6 contracts, or 1e-8 coins.

A reader would question that there are no orders in it. A collector sees levels and their changes;
that a level's size is a sum of orders shows nowhere on the wire.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.simulator.chance import Floats, Ints, normals, unit, units, words

Side = dict[int, int]
Book = tuple[Side, Side]
"""Bids and asks."""

CENT_E4, TENTH_E4 = 100, 10
SIZE_SD = 1.1
SIZE_MEDIAN = 120.0
"""Contracts; real logs of sizes have sd 1.2 to 1.7."""

BLOCK = 0.02
"""Share of levels that hold a hundred times as much."""

LASTS_S = (3, 60)
"""How long a level keeps its size, by price; the touch changes every second."""

QUIET = 10
"""Before a window begins everything lasts so much longer."""

DENSITY_NEAR, NEAR, DENSITY_FAR = 0.96, 4, 0.5
LEVELS_SIDE = 60

_PRESENT, _SIZE, _PHASE, _BLOCK = 0x51, 0x52, 0x53, 0x54


@dataclass(frozen=True)
class Grid:
    """The prices at which a contract can be quoted, ascending, and how finely sizes are cut: units
    of `size_unit` in 1e-6 contracts, with a share `odd` of levels at one unit of 1e-6."""

    prices_e4: Ints
    size_unit: int
    odd: float = 0.0

    @cached_property
    def lasts_s(self) -> Ints:
        """How long each level keeps its size, in seconds."""
        low, high = LASTS_S
        drawn = words(_PHASE, np.arange(len(self.prices_e4))) % np.uint64(high - low)
        return low + drawn.astype(np.int64)


def _tapered(edge_e4: int) -> Ints:
    low = np.arange(TENTH_E4, edge_e4, TENTH_E4)
    middle = np.arange(edge_e4, 10_000 - edge_e4, CENT_E4)
    high = np.arange(10_000 - edge_e4, 10_000, TENTH_E4)
    return np.concatenate([low, middle, high])


TAPERED = Grid(_tapered(1_000), 10_000)
"""Kalshi's tapered_deci_cent: a tenth of a cent below 0.10 and from 0.90 on."""

CENTS = Grid(np.arange(CENT_E4, 10_000, CENT_E4), 10_000)
"""Kalshi's linear_cent."""

WHOLE = Grid(np.arange(CENT_E4, 10_000, CENT_E4), 10_000, odd=0.15)
FINE = Grid(_tapered(400), 10_000, odd=0.15)
"""Polymarket's ticks: cents, and after `tick_size_change` a tenth of a cent at the ends."""


def contract_book(key: int, grid: Grid, second: int, touch: tuple[int, int], *, pace: int) -> Book:
    """Draw the book of a contract at a second.

    `touch` are the places of best bid and best ask on the grid, -1 for a side that is absent;
    `pace` multiplies how long sizes last.
    """
    places = np.arange(len(grid.prices_e4))
    # What lasts how long is the grid's own, drawn once: no two markets move together for it.
    epoch = (second // pace + places * 7 + key % 9_973) // grid.lasts_s
    best_bid, best_ask = touch
    for best in touch:
        if best >= 0:
            epoch[best] = second // pace
    mixed = words(key ^ _SIZE, epoch * 1_024 + places)
    sizes = _sizes(mixed, words(key ^ _BLOCK, epoch * 1_024 + places), grid)
    draws = units(words(key ^ _PRESENT, epoch * 1_024 + places))
    bids = _chosen(grid, sizes, draws, best_bid - places) if best_bid >= 0 else {}
    asks = _chosen(grid, sizes, draws, places - best_ask) if best_ask >= 0 else {}
    return bids, asks


def _chosen(grid: Grid, sizes: Ints, draws: Floats, behind: Ints) -> Side:
    """Keep the levels at and behind the touch that chance lets stand."""
    stands = (behind >= 0) & (draws < np.where(behind < NEAR, DENSITY_NEAR, DENSITY_FAR))
    stands |= behind == 0
    chosen = np.flatnonzero(stands)
    chosen = chosen[np.argsort(behind[chosen], kind="stable")][:LEVELS_SIDE]
    prices: list[int] = grid.prices_e4[chosen].tolist()
    return dict(zip(prices, sizes[chosen].tolist(), strict=True))


def _sizes(mixed: np.ndarray, blocks: np.ndarray, grid: Grid) -> Ints:
    raw = SIZE_MEDIAN * np.exp(SIZE_SD * normals(mixed))
    raw = np.where(units(blocks) < BLOCK, raw * 100, raw)
    whole = (mixed & np.uint64(3)) != 0
    raw = np.where(whole, np.ceil(raw), raw)
    micro = np.rint(raw * 1e6).astype(np.int64)
    cut = np.maximum(micro // grid.size_unit, 1) * grid.size_unit
    if not grid.odd:
        return cut
    is_odd = units(words(0x0DD, mixed.astype(np.int64))) < grid.odd
    return np.where(is_odd, micro, cut)


SPOT_LEVELS = 300
SPOT_STEP = 1.25e-5
"""Width of a bucket that holds one spot level, relative to the price: a dollar at 80,000."""

SPOT_MEDIAN_USD = 4_000.0
SPOT_LASTS_S = (4, 90)


def spot_book(key: int, second: int, *, bid_e4: int, ask_e4: int, level_usd: float) -> Book:
    """Draw the book of a spot product: some hundred levels a side, at cents, sizes in 1e-8.

    `level_usd` fixes bucket widths and typical sizes, so that they do not move with the price.
    """
    width = max(200, round(level_usd * SPOT_STEP * 100) * 100)
    bids = _spot_side(key, second, first=(bid_e4 - 100) // width, width=width, sign=-1)
    asks = _spot_side(key, second, first=(ask_e4 + 100) // width, width=width, sign=1)
    coins = SPOT_MEDIAN_USD / level_usd
    bid_side = {p: s for p, s in _coins(bids, coins).items() if p < bid_e4}
    ask_side = {p: s for p, s in _coins(asks, coins).items() if p > ask_e4}
    bid_side[bid_e4] = round((0.05 + 2.0 * unit(key, second, 1)) * coins * 1e8)
    ask_side[ask_e4] = round((0.05 + 2.0 * unit(key, second, 2)) * coins * 1e8)
    return bid_side, ask_side


def _spot_side(key: int, second: int, *, first: int, width: int, sign: int) -> tuple[Ints, Floats]:
    """Return prices and sizes, in units of the median, of the buckets from `first` outwards."""
    buckets = first + sign * np.arange(SPOT_LEVELS)
    still = words(key ^ _PHASE, buckets)
    low, high = SPOT_LASTS_S
    lasts = low + (still % np.uint64(high - low)).astype(np.int64)
    epoch = (second + (still >> np.uint64(40)).astype(np.int64)) // lasts
    mixed = words(key ^ _SIZE, epoch * 4_194_304 + buckets)
    prices = buckets * width + (mixed % np.uint64(width // 100)).astype(np.int64) * 100
    return prices, np.exp(SIZE_SD * normals(mixed))


def _coins(side: tuple[Ints, Floats], coins: float) -> Side:
    prices, sizes = side
    counts = np.maximum(np.rint(sizes * (coins * 1e8)), 1.0).astype(np.int64)
    return dict(zip(prices.tolist(), counts.tolist(), strict=True))
