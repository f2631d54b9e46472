"""Quotes: order books around the truth, with a fault planted in them or none.

In go the windows of a series, spot as recorded and a generator; out come books. Without an edge the
mid is the true probability but for the tick grid and a third of a tick of noise, so nothing can
beat it. With an edge the crowd errs by a *documented function of what the recording shows*
(`planted`): a model can learn it, and `truth` tells how much there was to learn.

A reader would question that depth is persistent pressure plus noise rather than an order flow. The
product sees sampled books, not messages; a queue model would cost minutes and change no sample.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from libs.common.events import LEVELS_MAX
from libs.common.pricing import PRICE_ONE_E4, TERMS, Terms
from services.simulator.markets import NS_PER_S, Windows
from services.simulator.path import DAY_S, HISTORY_S, Floats

Ints = NDArray[np.int64]

MOVE_S, TRAIL_S, RETURN_S = 60, 900, 10
"""The recent move is over 60 s; volatility is of 10-second returns over 900 s."""

PRESSURE_SD, PRESSURE_S = 1.3, 180.0
"""Log ratio of bid to ask sizes: sd, and the time after which its correlation is 1/e."""

SIZE_SD = 0.7
SIZE_MEDIAN = {"kalshi": 450.0, "polymarket": 900.0}
"""Contracts per level; real logs of sizes have sd 1.2-1.7, of which pressure is a part here."""

LEVEL_GAP = 0.012
"""Chance that the next level is two ticks away, not one: 1.1 % on Kalshi."""

NOISE_TICKS = 0.3
WIDE, WIDE_MAX = 0.19, 6
"""Chance of each further tick of spread in usual volatility: 81 % of Kalshi books are one wide."""

SURE = 0.02
QUIT_S = {300: 30.0, 900: 80.0, 3_600: 160.0}
"""A side of an outcome surer than SURE leaves some time before the close: the mean by length of
market. On Kalshi 6.4 % of rows lack a side, half of them in the last 43 s, and the side that stays
is right."""

CENT_E4 = 100
"""Until it leaves, a side holds at one tick: a tenth of a cent buys a lottery ticket. Not so on a
grid of whole cents, where that would hold a contract worth nothing at 1.5 cents, a fault of the
quotes that nobody planted; there a bid below a cent is absent however much time is left."""

EMPTY = 0.001
"""Rows with no book at all; 0.13 % on Kalshi."""

PRESSURE_WEIGHT, MOVE_WEIGHT = 0.55, 0.55
"""Height of the two planted faults in logits: together an oracle gains about 0.006 Brier."""


@dataclass(frozen=True)
class Sight:
    """What spot shows at each sample instant, all (n_instants,): second of the day, the last
    minute's move in units of its usual size, and recent over trailing volatility."""

    second: Ints
    move: Floats
    pace: Floats


@dataclass(frozen=True)
class Quotes:
    """Books of one series on one day, one row per sample instant that was recorded.

    `window`: row's position in its `Windows`; `bid_e4`, `ask_e4`: (n, LEVELS_MAX) prices, best
    first, of which the first `bids` / `asks` exist; `bid_size`, `ask_size`: (n, LEVELS_MAX)
    contracts; `shift`: what the plant added to the logit of the truth, 0 without an edge.
    """

    ts_ns: Ints
    window: Ints
    bid_e4: Ints
    ask_e4: Ints
    bid_size: Floats
    ask_size: Floats
    bids: Ints
    asks: Ints
    p_true: Floats
    shift: Floats


def planted(imbalance: Floats, move: Floats, time_left_s: Floats) -> Floats:
    """Return by how many logits the quote stands too low, at edge 1.

    g = T [0.55 B (1 - |M|) + 0.55 M], where
    T = clip((time left - 30 s) / 60 s, 0, 1): none in the last 30 s, all of it from 90 s on;
    B = clip(imbalance / 0.3, -1, 1), imbalance = (bid size - ask size) / (bid size + ask size) over
        five levels: the crowd ignores the pressure of its own book;
    M = sign(move) clip((|move| - 0.7) / 0.6, 0, 1), move = spot's change in 60 s over its trailing
        volatility x sqrt(60): the crowd under-reacts to a fast minute, and then only to that.

    Every input is in the recording. Market logit and fair value hold neither B nor the threshold of
    M, so an anchored logistic has well under half of the gain (tests); shallow trees have more.

    >>> planted(np.array([0.5, 0.5]), np.array([0.0, -2.0]), np.array([300.0, 300.0]))
    array([ 0.55, -0.55])
    """
    in_time = np.clip((time_left_s - 30.0) / 60.0, 0.0, 1.0)
    book = np.clip(imbalance / 0.3, -1.0, 1.0)
    fast = np.sign(move) * np.clip((np.abs(move) - 0.7) / 0.6, 0.0, 1.0)
    shift: Floats = PRESSURE_WEIGHT * book * (1.0 - np.abs(fast)) + MOVE_WEIGHT * fast
    return in_time * shift


def sight(spot_usd: Floats, interval_s: int) -> Sight:
    """Measure spot at each sample instant of a day, as a recorder one second behind sees it.

    `spot_usd`: (HISTORY_S + 1 + DAY_S,), as `Day` holds it.
    """
    second = np.arange(0, DAY_S, interval_s, dtype=np.int64)
    now = HISTORY_S + second - 1
    squares = np.concatenate([[0.0], np.cumsum((spot_usd[RETURN_S:] - spot_usd[:-RETURN_S]) ** 2)])
    at = now - RETURN_S + 1
    usual = np.sqrt((squares[at] - squares[at - TRAIL_S]) / (TRAIL_S * RETURN_S))
    recent = np.sqrt((squares[at] - squares[at - 2 * MOVE_S]) / (2 * MOVE_S * RETURN_S))
    change = spot_usd[now] - spot_usd[now - MOVE_S]
    return Sight(second, change / (usual * MOVE_S**0.5), recent / usual)


def quotes_of(
    windows: Windows,
    seen: Sight,
    *,
    edge: float,
    is_recorded: NDArray[np.bool_],
    generator: np.random.Generator,
) -> Quotes:
    """Quote every window of one series through a day; keep the instants that were recorded.

    `is_recorded`: (n_instants,), False where the recorder was down. Chance is drawn for every
    instant, recorded or not, and no draw depends on `edge`.
    """
    series = windows.series
    terms = TERMS[series.venue, series.name]
    window, age_s = np.divmod(seen.second, series.length_s)
    time_left_s = (series.length_s - age_s).astype(np.float64)
    p_true = windows.p_true[window, age_s]
    bid_size, ask_size = _sizes(seen, SIZE_MEDIAN[series.venue], generator)
    shift = -edge * planted(imbalance_of(bid_size, ask_size), seen.move, time_left_s)
    wanted = _shifted(p_true, shift)
    bid_e4, ask_e4, bids, asks = _books(terms, wanted, seen.pace, generator)
    gone_bid, gone_ask = _quit(
        wanted, time_left_s, window, quit_s=QUIT_S[series.length_s], generator=generator
    )
    bids, asks = np.where(gone_bid, 0, bids), np.where(gone_ask, 0, asks)
    # A recorder samples on the grid but reads its clock a few milliseconds later.
    jitter_ns = generator.integers(1_000, 12_000, size=len(window)) * 1_000
    ts_ns = windows.open_ns[window] + age_s * NS_PER_S + jitter_ns
    quotes = Quotes(ts_ns, window, bid_e4, ask_e4, bid_size, ask_size, bids, asks, p_true, shift)
    return Quotes(**{f.name: getattr(quotes, f.name)[is_recorded] for f in fields(quotes)})


def imbalance_of(bid_size: Floats, ask_size: Floats) -> Floats:
    """Return (bid - ask) / (bid + ask) of the summed levels, in [-1, 1]; rows are books."""
    bid, ask = bid_size.sum(axis=1), ask_size.sum(axis=1)
    ratio: Floats = (bid - ask) / (bid + ask)
    return ratio


def price_grid(terms: Terms) -> Ints:
    """List every price of a tick grid in 1e-4 USD, 0 and 1 USD included.

    >>> len(price_grid(TERMS["kalshi", "KXBTC15M"])), len(price_grid(TERMS["kalshi", "KXBTCD"]))
    (281, 101)
    """
    ranges = [np.arange(t.start_e4, t.end_e4, t.step_e4, dtype=np.int64) for t in terms.tick_ranges]
    return np.concatenate([*ranges, np.array([PRICE_ONE_E4], dtype=np.int64)])


def _shifted(p: Floats, shift: Floats) -> Floats:
    """Move probabilities by `shift` logits; written so that 0 and 1 stay where they are."""
    odds = np.exp(shift)
    moved: Floats = p * odds / (1.0 - p + p * odds)
    return moved


def _sizes(seen: Sight, median: float, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw five sizes per side and instant, tilted by a pressure that lasts minutes."""
    n = len(seen.second)
    keep = float(np.exp(-(seen.second[1] - seen.second[0]) / PRESSURE_S))
    pressure, now = [], float(generator.standard_normal())
    for shock in generator.standard_normal(n).tolist():
        now = keep * now + (1.0 - keep * keep) ** 0.5 * shock
        pressure.append(now)
    tilt = PRESSURE_SD / 2.0 * np.array(pressure)[:, None]
    noise = SIZE_SD * generator.standard_normal((2, n, LEVELS_MAX))
    bid = np.round(median * np.exp(noise[0] + tilt), 2)
    return np.maximum(bid, 0.01), np.maximum(np.round(median * np.exp(noise[1] - tilt), 2), 0.01)


def _books(
    terms: Terms, wanted: Floats, pace: Floats, generator: np.random.Generator
) -> tuple[Ints, Ints, Ints, Ints]:
    """Place books on the grid: bid and ask prices (n, LEVELS_MAX) and how many of each exist.

    The spread is a number of grid steps, one or more, and the pair whose mid is nearest to the
    wanted price is taken, so no book is locked or crossed. What would lie at 0 or 1 is absent.
    """
    grid = price_grid(terms)
    n = len(wanted)
    price_e4 = wanted * PRICE_ONE_E4
    at = np.clip(np.searchsorted(grid, price_e4, side="right") - 1, 0, len(grid) - 2)
    # The noise shrinks with the distance to the bound, so that it stays mean-zero there.
    room = np.minimum(price_e4, PRICE_ONE_E4 - price_e4) / 3.0
    noise = np.minimum(NOISE_TICKS * (grid[at + 1] - grid[at]), room) * generator.standard_normal(n)
    wide = np.clip(WIDE * pace, 0.02, 0.6)
    width = np.minimum(1 + np.log(1.0 - generator.random(n)) // np.log(wide), WIDE_MAX).astype(int)
    last = 1 if grid[1] < CENT_E4 else 0
    bid = np.zeros(n, dtype=np.int64)
    for steps in range(1, WIDE_MAX + 1):
        mids = (grid[:-steps] + grid[steps:]) / 2.0
        nearest = np.searchsorted((mids[:-1] + mids[1:]) / 2.0, price_e4 + noise)
        nearest = np.clip(nearest, last, len(mids) - 1 - last)
        bid = np.where(width == steps, nearest, bid)
    gaps = 1 + (generator.random((2, n, LEVELS_MAX)) < LEVEL_GAP)
    gaps[:, :, 0] = 0
    depth = np.cumsum(gaps, axis=2)
    bids, asks = bid[:, None] - depth[0], (bid + width)[:, None] + depth[1]
    has_bid, has_ask = bids > 0, asks < len(grid) - 1
    return (
        grid[np.maximum(bids, 0)],
        grid[np.minimum(asks, len(grid) - 1)],
        has_bid.sum(axis=1),
        has_ask.sum(axis=1),
    )


def _quit(
    wanted: Floats,
    time_left_s: Floats,
    window: Ints,
    *,
    quit_s: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell where no bid and no ask is quoted: nobody bids for a contract that is nearly lost."""
    leaves_s = quit_s * generator.standard_exponential(int(window[-1]) + 1)[window]
    # One sample in a while a side shows again, or goes before its time.
    leaves_s = leaves_s * np.exp(0.2 * generator.standard_normal(len(wanted)))
    is_late = time_left_s < leaves_s
    is_empty = generator.random(len(wanted)) < EMPTY
    return (is_late & (wanted < SURE)) | is_empty, (is_late & (1.0 - wanted < SURE)) | is_empty
