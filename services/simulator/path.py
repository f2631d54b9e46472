"""Price paths of several correlated underlyings, one print a second, with exact truth.

In go numpy generators, out come days of prices. The path is arithmetic (Bachelier): within a UTC
day the increment into each second is an independent Gaussian with a mean and a variance that were
drawn *before* the price shocks: log volatility is a mean-reverting common factor plus an own one on
a daily shape, a jump is a second with a large variance at a Poisson time, and news is a small
mean-reverting drift. Given those, any average of prints is Gaussian too, so P(YES) is one normal
cdf, without approximation (`settlement_moments`). Geometric Brownian motion would look no different
within an hour and has no closed form for an average. Across days the volatility follows the level
at midnight, so prices stay positive; markets close at the latest at midnight, so that costs no
exactness.

A reader would question the drift. It is what the crowd knows and spot does not yet show; without it
fair value from spot would be nearly the truth itself, and a model that only mixes in fair value
would repair any planted fault of the quotes. On real recordings fair value loses to the mid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from libs.common.checks import check

Floats = NDArray[np.float64]

DAY_S = 86_400
HISTORY_S = 3_600
"""Prints kept from before midnight: previous settlement needs 60, trailing volatility 900."""

PRINTS = 60
"""Prints in a settlement average: close - 59 s ... close (`mean60`, `chainlink_twap60`)."""

STEP_S = 60
"""Slow factors are drawn each minute and interpolated: they move over many minutes."""

# Log volatility of real one-minute BTC candles has sd 0.54 by quarter hour, autocorrelation 0.68
# after 15 minutes and 0.41 after four hours: a slow factor that all share and a quick own one.
SHARED_VOL_SD, SHARED_VOL_S = 0.35, 4 * 3_600.0
OWN_VOL_SD, OWN_VOL_S = 0.25, 1_200.0
DAILY_SHAPE, DAILY_PEAK_S = 0.25, 15 * 3_600.0

SHOCK_CORRELATION = 0.7
"""Of Gaussian shocks; outcomes of one hour then correlate 0.5, as BTC's and ETH's do."""

JUMPS_PER_DAY = 8.0
"""Each of shared and own jumps."""

JUMP_SD = 15.0
"""Size of a jump in units of the base volatility per square-root second: two calm minutes' sd."""

NEWS, NEWS_S = 0.03, 180.0
"""Drift per second in units of volatility, and its memory: NEWS sqrt(2 NEWS_S) = 0.57 sd of a long
window is known to the crowd before spot shows it."""

# Coinbase against the settlement index of Kalshi: index above spot by 9.6 USD, sd 5.4, at 80k.
BASIS_MEAN, BASIS_SD, BASIS_S = 1.2e-4, 0.65e-4, 2 * 3_600.0
TRADE_NOISE = 1.0e-5
"""Sd of a last trade about the venue's price, relative: bid-ask bounce."""


@dataclass(frozen=True)
class Underlying:
    """What is simulated: name, ticker code, first level, log volatility per square-root second, and
    the distance between listed hourly strikes."""

    name: str
    code: str
    level_usd: float
    vol_per_sqrt_s: float
    strike_step_usd: float


UNDERLYINGS = (
    Underlying("BTC-USD", "BTC", 80_000.0, 5.0e-5, 100.0),
    Underlying("ETH-USD", "ETH", 2_500.0, 7.0e-5, 5.0),
    Underlying("SOL-USD", "SOL", 150.0, 8.0e-5, 0.5),
)
"""All that can be simulated; an underlying's own draws do not depend on which others run."""


class Chance(NamedTuple):
    """Generators of one stretch of path: what underlyings share, and one per underlying."""

    shared: np.random.Generator
    own: tuple[np.random.Generator, ...]


@dataclass(frozen=True)
class State:
    """What a path needs to go on: factors in units of their sd, and the last hour's prices.

    `shared_vol`: one number; `own`: (n, 3), log volatility, news, basis; `index_usd` and
    `spot_usd`: (n, HISTORY_S + 1), the last column is midnight.
    """

    shared_vol: float
    own: Floats
    index_usd: Floats
    spot_usd: Floats


@dataclass(frozen=True)
class Day:
    """One UTC day. Column j of `index_usd` and `spot_usd`, (n, HISTORY_S + 1 + DAY_S), is second
    j - HISTORY_S; column j of `drift_usd` and `variance_usd2`, (n, DAY_S), belongs to the increment
    from second j to j + 1. Spot is the venue's last trade at that second, without latency."""

    index_usd: Floats
    spot_usd: Floats
    drift_usd: Floats
    variance_usd2: Floats


def first_state(underlyings: Sequence[Underlying], chance: Chance) -> State:
    """Draw stationary factors and the hour before the first midnight."""
    n = len(underlyings)
    flat = np.array([[u.level_usd] for u in underlyings])
    own = np.array([generator.standard_normal(3) for generator in chance.own])
    state = State(float(chance.shared.standard_normal()), own.reshape(n, 3), flat, flat)
    return _walk(state, underlyings, chance, first_s=DAY_S - HISTORY_S, seconds=HISTORY_S)[1]


def next_day(state: State, underlyings: Sequence[Underlying], chance: Chance) -> tuple[Day, State]:
    """Draw one UTC day that continues `state`; return it and the state at its end."""
    return _walk(state, underlyings, chance, first_s=0, seconds=DAY_S)


def settlements(prints: Floats, length_s: int) -> Floats:
    """Average the last PRINTS prints of each window of `length_s`.

    `prints`: (1 + k length_s,), the first one *before* the first window's first second of life
    ends, that is at its open; returns (k,), unrounded.

    >>> settlements(np.arange(121.0), 60)
    array([30.5, 90.5])
    """
    check((len(prints) - 1) % length_s == 0, f"{len(prints)} prints, windows of {length_s} s")
    last = np.ascontiguousarray(prints[1:].reshape(-1, length_s)[:, -PRINTS:])
    means: Floats = last.sum(axis=1) / PRINTS
    return means


def settlement_moments(
    prints: Floats, *, drift: Floats, variance: Floats, length_s: int
) -> tuple[Floats, Floats]:
    """Return mean and variance of each window's settlement as known at each second of its life.

    `prints`: (1 + k length_s,) from the first open on; `drift`, `variance`: (k length_s,) of the
    increments between them. Both results are (k, length_s): column i is the knowledge at open + i
    seconds, that second's print included.

    Derivation: with close c, print t is P_s + sum of increments X_j, s < j <= t. Increment j is in
    all prints from max(j, c - 59) on, min(60, c - j + 1) of them, so its weight in the average is
    w_j = min(60, c - j + 1) / 60. Known prints count as they are, the m = min(60, c - s) to come
    start from P_s: mean = (sum of known prints + m P_s) / 60 + sum w_j drift_j, and as increments
    are independent, variance = sum w_j^2 variance_j, both over j = s + 1 ... c. With constant
    variance v and m = 60 this is v (tau - 60 + 20.5028), the discrete-print form of fair value.
    """
    column = np.arange(length_s)
    weight = np.minimum(PRINTS, length_s - column) / PRINTS
    price = prints[:-1].reshape(-1, length_s)
    known = np.cumsum(np.where(column >= length_s - PRINTS + 1, price, 0.0), axis=1)
    mean = known / PRINTS + weight * price + _sum_ahead(weight * drift.reshape(-1, length_s))
    return mean, _sum_ahead(weight**2 * variance.reshape(-1, length_s))


def _sum_ahead(values: Floats) -> Floats:
    """Sum each row from each column to its end."""
    sums: Floats = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
    return sums


def _walk(
    state: State, underlyings: Sequence[Underlying], chance: Chance, *, first_s: int, seconds: int
) -> tuple[Day, State]:
    """Draw `seconds` of path from second `first_s` of a day; the heart of this module."""
    shared_nodes = _reverting(state.shared_vol, chance.shared, memory_s=SHARED_VOL_S, n=seconds)
    shared_jumps = _jumps(chance.shared, seconds)
    shared_shocks = chance.shared.standard_normal(seconds)
    shape = DAILY_SHAPE * np.cos(2 * np.pi * (first_s + np.arange(seconds) - DAILY_PEAK_S) / DAY_S)
    shared_vol = shape + SHARED_VOL_SD * _by_second(shared_nodes)
    rows = [
        _walk_one(state, i, underlying, chance, (shared_vol, shared_jumps, shared_shocks))
        for i, underlying in enumerate(underlyings)
    ]
    index = np.hstack([state.index_usd, np.array([row.index_usd for row in rows])])
    spot = np.hstack([state.spot_usd, np.array([row.spot_usd for row in rows])])
    end = State(
        shared_vol=float(shared_nodes[-1]),
        own=np.array([row.factors for row in rows]),
        index_usd=index[:, -HISTORY_S - 1 :],
        spot_usd=spot[:, -HISTORY_S - 1 :],
    )
    drift = np.array([row.drift_usd for row in rows])
    return Day(index, spot, drift, np.array([row.variance_usd2 for row in rows])), end


class _One(NamedTuple):
    """One underlying's part of a walk; prices at the *ends* of the seconds."""

    factors: Floats
    drift_usd: Floats
    variance_usd2: Floats
    index_usd: Floats
    spot_usd: Floats


def _walk_one(
    state: State,
    i: int,
    underlying: Underlying,
    chance: Chance,
    shared: tuple[Floats, Floats, Floats],
) -> _One:
    shared_vol, shared_jumps, shared_shocks = shared
    seconds = len(shared_vol)
    own = chance.own[i]
    vol, news, basis = (
        _reverting(float(first), own, memory_s=memory_s, n=seconds)
        for first, memory_s in zip(state.own[i], (OWN_VOL_S, NEWS_S, BASIS_S), strict=True)
    )
    level = float(state.index_usd[i, -1])
    # E[exp(2 x)] = exp(2 sd^2): without the correction mean variance would exceed the base's.
    log_vol = shared_vol + OWN_VOL_SD * _by_second(vol) - SHARED_VOL_SD**2 - OWN_VOL_SD**2
    per_sqrt_s = level * underlying.vol_per_sqrt_s * np.exp(log_vol)
    jump_usd2 = (level * underlying.vol_per_sqrt_s * JUMP_SD) ** 2
    variance = per_sqrt_s**2 + jump_usd2 * (shared_jumps + _jumps(own, seconds))
    drift = NEWS * per_sqrt_s * _by_second(news)
    shocks = SHOCK_CORRELATION**0.5 * shared_shocks
    shocks = shocks + (1.0 - SHOCK_CORRELATION) ** 0.5 * own.standard_normal(seconds)
    index = level + np.cumsum(drift + np.sqrt(variance) * shocks)
    gap = BASIS_MEAN + BASIS_SD * _by_second(basis) + TRADE_NOISE * own.standard_normal(seconds)
    spot = np.round(index - level * gap, 2)
    factors = np.array([vol[-1], news[-1], basis[-1]])
    return _One(factors, drift, variance, index, spot)


def _reverting(first: float, generator: np.random.Generator, *, memory_s: float, n: int) -> Floats:
    """Draw an AR(1) of unit sd at 0, STEP_S ... n seconds: (n / STEP_S + 1,), starting at `first`.

    `memory_s` is the time after which the correlation has fallen to 1/e.
    """
    keep = float(np.exp(-STEP_S / memory_s))
    nodes = [first]
    for shock in generator.standard_normal(n // STEP_S).tolist():
        nodes.append(keep * nodes[-1] + (1.0 - keep * keep) ** 0.5 * shock)
    return np.array(nodes)


def _by_second(nodes: Floats) -> Floats:
    """Interpolate minute nodes to the ends of seconds: ((len - 1) STEP_S,)."""
    part = np.arange(1, STEP_S + 1) / STEP_S
    values: Floats = (nodes[:-1, None] + np.diff(nodes)[:, None] * part).ravel()
    return values


def _jumps(generator: np.random.Generator, seconds: int) -> Floats:
    """Count the jumps in each second: Poisson in number, uniform in time."""
    n = generator.poisson(JUMPS_PER_DAY * seconds / DAY_S)
    times = generator.integers(0, seconds, size=n)
    return np.bincount(times, minlength=seconds).astype(np.float64)
