"""The contracts of a simulated day: names, strikes, results, and what each is truly worth.

In goes a day of path, out come the windows of every series with their true P(YES) at each second.
Three series per underlying: quarter hours (Kalshi) and five minutes (Polymarket), whose strike is
the settlement of the window before, and hours (Kalshi), whose strike is listed. Both venues settle
on one index: the point of the simulation is the quotes, not a quarrel between oracles.

A reader would question the tickers: Kalshi's carry US Eastern time; here they carry UTC, because in
the hour that autumn repeats two markets would share a name. Tickers are opaque to the product.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from libs.common.events import Comparator
from libs.common.pricing import TERMS
from services.simulator.path import (
    HISTORY_S,
    PRINTS,
    Day,
    Floats,
    Underlying,
    settlement_moments,
    settlements,
)

NS_PER_S = 1_000_000_000
MONTHS = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
SETTLEMENT_DECIMALS = 6
"""Of a settlement that the venue does not round: the Chainlink feed's own decimals."""


@dataclass(frozen=True)
class Series:
    """One kind of contract. Delays are the range, in seconds, in which a fact becomes known: the
    strike after the open (0 when listed), the result after the close."""

    venue: str
    name: str
    underlying: Underlying
    length_s: int
    comparator: Comparator
    settlement_rule: str
    strike: Literal["previous", "listed"]
    strike_delay_s: tuple[float, float]
    result_delay_s: tuple[float, float]

    @property
    def unit_usd(self) -> float:
        """Rounding unit of the settlement; 0 where the venue does not round."""
        return TERMS[self.venue, self.name].settlement_unit_usd


@dataclass(frozen=True)
class Windows:
    """All windows of one series on one day, in time order.

    `names`, `strike_usd`, `settlement_usd`, `is_yes`, `strike_known_ns`, `result_known_ns`: one per
    window; `open_ns`: (k,) int64; `p_true`: (k, length_s), column i is P(YES) at open + i seconds
    given the index so far and the day's drift and variance.
    """

    series: Series
    names: tuple[str, ...]
    open_ns: NDArray[np.int64]
    strike_usd: Floats
    settlement_usd: Floats
    is_yes: NDArray[np.bool_]
    strike_known_ns: NDArray[np.int64]
    result_known_ns: NDArray[np.int64]
    p_true: Floats


def series_of(underlying: Underlying) -> tuple[Series, ...]:
    """List the series of `underlying`; each is in the table of terms.

    >>> from services.simulator.path import UNDERLYINGS
    >>> [series.name for series in series_of(UNDERLYINGS[0])]
    ['KXBTC15M', 'btc-updown-5m', 'KXBTCD']
    """
    code = underlying.code
    return (
        Series(
            venue="kalshi",
            name=f"KX{code}15M",
            underlying=underlying,
            length_s=900,
            comparator=">=",
            settlement_rule="mean60",
            strike="previous",
            strike_delay_s=(0.6, 0.8),
            result_delay_s=(5.0, 60.0),
        ),
        Series(
            venue="polymarket",
            name=f"{code.lower()}-updown-5m",
            underlying=underlying,
            length_s=300,
            comparator=">=",
            settlement_rule="chainlink_twap60",
            strike="previous",
            strike_delay_s=(1.0, 3.0),
            result_delay_s=(60.0, 120.0),
        ),
        Series(
            venue="kalshi",
            name=f"KX{code}D",
            underlying=underlying,
            length_s=3_600,
            comparator=">",
            settlement_rule="mean60",
            strike="listed",
            strike_delay_s=(0.0, 0.0),
            result_delay_s=(5.0, 60.0),
        ),
    )


def windows_of(
    series: Series, day: Day, row: int, *, midnight_ns: int, generator: np.random.Generator
) -> Windows:
    """Work out every window of `series` on row `row` of `day`; chance decides the delays only."""
    length_s = series.length_s
    prints = day.index_usd[row, HISTORY_S:]
    settled = rounded(settlements(prints, length_s), series.unit_usd)
    strikes = _strikes(series, day.index_usd[row], settled)
    mean, variance = settlement_moments(
        prints, drift=day.drift_usd[row], variance=day.variance_usd2[row], length_s=length_s
    )
    edge_usd = threshold(strikes, series.comparator, series.unit_usd)
    opens = midnight_ns + np.arange(len(settled), dtype=np.int64) * length_s * NS_PER_S
    closes = opens + length_s * NS_PER_S
    return Windows(
        series=series,
        names=tuple(
            market_name(series, open_ns, strike)
            for open_ns, strike in zip(opens.tolist(), strikes.tolist(), strict=True)
        ),
        open_ns=opens,
        strike_usd=strikes,
        settlement_usd=settled,
        is_yes=settled >= strikes if series.comparator == ">=" else settled > strikes,
        strike_known_ns=opens + _delays_ns(series.strike_delay_s, len(opens), generator),
        result_known_ns=closes + _delays_ns(series.result_delay_s, len(opens), generator),
        p_true=ndtr((mean - edge_usd[:, None]) / np.sqrt(variance)),
    )


def rounded(settlement_usd: Floats, unit_usd: float) -> Floats:
    """Round settlements as their venue publishes them: to cents, or to the feed's decimals."""
    values: Floats = np.round(settlement_usd, 2 if unit_usd > 0 else SETTLEMENT_DECIMALS)
    return values


def threshold(strike_usd: Floats, comparator: Comparator, unit_usd: float) -> Floats:
    """Return the unrounded settlement from which on the rounded one makes YES.

    >>> threshold(np.array([100.0]), ">=", 0.01), threshold(np.array([99.99]), ">", 0.01)
    (array([99.995]), array([99.995]))
    """
    half = unit_usd / 2.0
    return strike_usd - half if comparator == ">=" else strike_usd + half


def market_name(series: Series, open_ns: int, strike_usd: float) -> str:
    """Name a market as its venue would, but for the time zone.

    >>> from services.simulator.path import UNDERLYINGS
    >>> market_name(series_of(UNDERLYINGS[0])[2], 1_780_272_000_000_000_000, 78_099.99)
    'KXBTCD-26JUN0101-T78099.99'
    """
    open_s = open_ns // NS_PER_S
    if series.venue == "polymarket":
        return f"{series.name}-{open_s}"
    # "2026-06-01T01:00:00": pure modules read no clock, so they import no datetime either.
    close = np.datetime_as_string(np.datetime64(open_s + series.length_s, "s"))
    month = int(close[5:7])
    date = f"{close[2:4]}{MONTHS[3 * month - 3 : 3 * month]}{close[8:10]}{close[11:13]}"
    if series.strike == "previous":
        return f"{series.name}-{date}{close[14:16]}-{close[14:16]}"
    return f"{series.name}-{date}-T{strike_usd:.2f}"


def _strikes(series: Series, index_usd: Floats, settled: Floats) -> Floats:
    """Return each window's strike; `index_usd` is the row with its history."""
    if series.strike == "previous":
        before = settlements(index_usd[HISTORY_S - PRINTS : HISTORY_S + 1], PRINTS)
        return np.concatenate([rounded(before, series.unit_usd), settled[:-1]])
    opens = index_usd[HISTORY_S : -1 : series.length_s]
    step = series.underlying.strike_step_usd
    # One cent below a round number: strictly above 78,099.99 reads "78,100 or above".
    return np.round(np.round(opens / step) * step - 0.01, 2)


def _delays_ns(
    range_s: tuple[float, float], n: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    milliseconds = np.round(generator.uniform(*range_s, size=n) * 1_000)
    return milliseconds.astype(np.int64) * 1_000_000
