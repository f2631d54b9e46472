"""Where the touch of every contract is: best bid and best ask around the true probability.

In go a market and the prices, out come the places of best bid and best ask on the tick grid for
each second of its life, and P(YES) itself. The mid is the truth but for the grid and a little
noise, the spread mostly one tick, and near the close the side of the outcome that is all but
excluded leaves. A window that has not begun is worth one half.

A reader would question that the truth includes the day's drawn drift: it is what the crowd knows
(see `path`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from services.simulator.books import (
    CENTS,
    FINE,
    QUIET,
    TAPERED,
    WHOLE,
    Book,
    Grid,
    contract_book,
)
from services.simulator.chance import Floats, Ints, normals, unit, units, words
from services.simulator.life import Market, strike_of
from services.simulator.path import PRINTS, settlement_moments
from services.simulator.prices import Prices

NOISE_TICKS = 0.3
HOLDS_S = 3
"""The crowd's error and the spread hold so long."""

WIDE = 0.19
"""Chance of each further tick of spread: 81 % of real Kalshi books are one tick wide."""

SURE, QUIT_S = 0.02, {300: 30.0, 900: 80.0, 3_600: 160.0}
"""A side of an outcome surer than this leaves so long before the close, in the mean."""

FINE_BELOW = 0.035
"""P(YES) below this, or above its complement, changes Polymarket's tick to a tenth of a cent."""

AHEAD_WINDOWS = 2
"""Polymarket windows are quoted, quietly, so many lengths before they begin."""


@dataclass(frozen=True)
class Quotes:
    """One market's quotes: `p_yes` (n,) and, by grid, places (n, 2) of best bid and best ask at
    open + i seconds; `fine_s` is the second from which on the finer grid holds, if ever."""

    market: Market
    p_yes: Floats
    coarse: Ints
    fine: Ints | None
    fine_s: int | None

    @property
    def first_s(self) -> int:
        """First second at which the market has a book."""
        return quoted_s(self.market)

    def grid(self, second: int) -> Grid:
        """Return the grid on which the market is quoted at a second."""
        if self.market.kind.venue == "kalshi":
            return CENTS if self.market.kind.is_ladder else TAPERED
        return WHOLE if self.fine_s is None or second <= self.fine_s else FINE

    def book(self, second: int) -> Book:
        """Return the book at a second; before the first and after the last it stands still."""
        second = min(max(second, self.first_s), self.market.close_s - 1)
        grid = self.grid(second)
        pace = QUIET if second < self.market.open_s else 1
        touch = self._place(grid, second)
        return contract_book(self.market.key, grid, second, touch, pace=pace)

    def touch(self, second: int) -> tuple[int | None, int | None]:
        """Return best bid and best ask in 1e-4 USD; None for a side that is absent."""
        second = min(max(second, self.first_s), self.market.close_s - 1)
        grid = self.grid(second)
        bid, ask = self._place(grid, second)
        prices = grid.prices_e4
        return (int(prices[bid]) if bid >= 0 else None), (int(prices[ask]) if ask >= 0 else None)

    def _place(self, grid: Grid, second: int) -> tuple[int, int]:
        if second < self.market.open_s:
            middle = int(np.searchsorted(grid.prices_e4, 5_000))
            return middle - 1, middle + 1
        places = self.coarse if grid is not FINE or self.fine is None else self.fine
        bid, ask = places[second - self.market.open_s].tolist()
        return bid, ask

    def probability(self, second: int) -> float:
        """Return P(YES) at a second of the market's life, one half before it."""
        i = second - self.market.open_s
        return 0.5 if i < 0 else float(self.p_yes[min(i, len(self.p_yes) - 1)])


def quoted_s(market: Market) -> int:
    """Return the first second at which a market has a book."""
    ahead = AHEAD_WINDOWS * market.kind.length_s if market.kind.venue == "polymarket" else 0
    return market.open_s - ahead


def quotes_of(market: Market, prices: Prices) -> Quotes:
    """Work out the quotes of a market over its whole life."""
    kind = market.kind
    window = prices.window(kind.row, market.open_s, kind.length_s)
    mean, variance = settlement_moments(
        window.prints_usd,
        drift=window.drift_usd,
        variance=window.variance_usd2,
        length_s=kind.length_s,
    )
    strike_usd = strike_of(market, prices)[0] / (PRINTS * 10_000)
    p_yes: Floats = ndtr((mean[0] - strike_usd) / np.sqrt(variance[0]))
    if kind.venue == "kalshi":
        grid = CENTS if kind.is_ladder else TAPERED
        return Quotes(market, p_yes, _places(market, p_yes, grid), None, None)
    extreme = np.flatnonzero((p_yes < FINE_BELOW) | (p_yes > 1 - FINE_BELOW))
    if len(extreme) == 0:
        return Quotes(market, p_yes, _places(market, p_yes, WHOLE), None, None)
    return Quotes(
        market,
        p_yes,
        _places(market, p_yes, WHOLE),
        _places(market, p_yes, FINE),
        market.open_s + int(extreme[0]),
    )


def _places(market: Market, p_yes: Floats, grid: Grid) -> Ints:
    """Return the places of best bid and ask on `grid`, (n, 2), -1 where the side is absent."""
    n, prices = len(p_yes), grid.prices_e4
    held = np.arange(n) // HOLDS_S
    tick = np.diff(prices, append=10_000)[
        np.clip(np.searchsorted(prices, p_yes * 10_000) - 1, 0, len(prices) - 1)
    ]
    noise = NOISE_TICKS * normals(words(market.key ^ 0x71, held))
    further = np.floor(np.log(units(words(market.key ^ 0x72, held)) + 1e-12) / np.log(WIDE))
    middle = p_yes * 10_000 + noise * tick
    half = tick * (1 + np.minimum(further, 6)) / 2
    bid = np.searchsorted(prices, middle - half, side="right") - 1
    ask = np.searchsorted(prices, middle + half, side="left")
    ask = np.where(ask <= bid, bid + 1, ask)
    quit_s = -QUIT_S[market.kind.length_s] * np.log(1 - unit(market.key, 0x73))
    leaves = np.arange(n) >= n - quit_s
    bid = np.where(leaves & (p_yes < SURE), -1, bid)
    ask = np.where((leaves & (p_yes > 1 - SURE)) | (ask >= len(prices)), -1, ask)
    return np.column_stack([bid, ask]).astype(np.int64)
