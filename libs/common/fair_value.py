"""Fair value of a digital option on a point or on a 60-second average of an index.

In go the state of the settlement index (spot, volatility, basis, prints already known) and the
time left, out comes the mean and variance of the *settlement value* and with them P(YES). The
formulas are those of the venues' settlement rules under a driftless Gaussian walk:

- average rules settle on the mean of 60 prints, one per second at close - 59 s ... close. With m of
  them still to come and phi seconds to the next one, the mean is
  M = (sum of known prints + m (S + B)) / 60, and the variance
  V = sigma^2 (tau - 60 + 20.5028) for tau >= 60 s,
  V = sigma^2 (phi m^2 + (m-1) m (2m-1) / 6) / 3600 below,
  plus (m/60)^2 (sigma^2 x spot age + s_B^2), with s_B^2 whole where the known prints are themselves
  spot + B. (Var of the sum: print j has weight (m - j) on the step before it.)
- point rules settle on one print: M = S + B, V = sigma^2 (tau + spot age) + s_B^2.

Everything is in USD. Two decisions a reader would question. Prints are discrete: the continuous
formula sigma^2 tau^3 / (3 x 60^2) has a quarter too little variance five seconds before the close.
And there is no fat tail: on real recordings a Student-t changed nothing.
"""

import math
from typing import NamedTuple

from libs.common.checks import check
from libs.common.events import Comparator
from libs.common.ops import SCALARS, Ops, Value

PRINTS = 60
"""Prints in a settlement average: venue rules of KXBTC15M and of the 60-second TWAP stream."""

AVERAGE_OFFSET_S = 70_210 / 3_600
"""sum of j^2 for j < 60, over 60^2 = 19.5028: variance of a mean of 60 prints, in sigma^2 s, when
the first is one step away less that step."""

FAIR_VALUE_SIGMA_MIN = 1e-5
"""Least volatility of fair value, log-return per sqrt second (5.6 % a year). The quietest quarter
of an hour of two real recordings had 1.1e-5; less is a frozen feed, and would claim certainty."""


class Rule(NamedTuple):
    """A settlement rule: what is settled on, and the feed that publishes it."""

    is_average: bool
    feed: str


RULES: dict[str, Rule] = {
    "mean60": Rule(is_average=True, feed="cfbenchmarks"),
    "chainlink_twap60": Rule(is_average=True, feed="chainlink"),
    "chainlink_point": Rule(is_average=False, feed="chainlink"),
    "binance_1h_close": Rule(is_average=False, feed="binance"),
}
"""Settlement rules with a fair value; any other rule has none."""


class Outlook(NamedTuple):
    """What is known about a settlement value before the close; scalars or columns alike.

    `sigma_usd` is in USD per square-root second; `basis_usd` is added to `spot_usd` to estimate the
    index, with variance `basis_variance` (USD^2). `known_sum_usd` is the sum of the prints of an
    average that are past (0 before the first, NaN where one is unknown); where they are own spot
    prints, the basis is in the sum and `known_has_basis` is 1, else 0.
    """

    spot_usd: Value
    sigma_usd: Value
    time_left_s: Value
    spot_age_s: Value = 0.0
    basis_usd: Value = 0.0
    basis_variance: Value = 0.0
    known_sum_usd: Value = 0.0
    known_has_basis: Value = 1.0


class Moments(NamedTuple):
    """Mean (USD) and variance (USD^2) of a settlement value."""

    mean_usd: Value
    variance: Value


def prints_to_come(time_left_s: Value, ops: Ops = SCALARS) -> Value:
    """Return how many of the 60 prints are still to come; the one due right now counts.

    >>> [prints_to_come(t) for t in (900.0, 59.0, 58.5, 0.5, 0.0, -0.5)]
    [60.0, 60.0, 59.0, 1.0, 1.0, 0.0]
    """
    due = ops.floor(time_left_s) + 1.0
    return ops.where(due > PRINTS, float(PRINTS), ops.where(due < 0.0, 0.0, due))


def average_moments(outlook: Outlook, ops: Ops = SCALARS) -> Moments:
    """Return the moments of the 60-print average; NaN where a past print is unknown."""
    tau = outlook.time_left_s
    m = prints_to_come(tau, ops)
    mean = (outlook.known_sum_usd + m * (outlook.spot_usd + outlook.basis_usd)) / PRINTS
    phi = tau - (m - 1.0)
    steps = (phi * m * m + (m - 1.0) * m * (2.0 * m - 1.0) / 6.0) / (PRINTS * PRINTS)
    # 20.5028 of the rule is one whole step more than the offset: tau - 60 + 1 to the first print.
    seconds = ops.where(tau >= PRINTS, tau - (PRINTS - 1) + AVERAGE_OFFSET_S, steps)
    sigma2 = outlook.sigma_usd * outlook.sigma_usd
    share = (m / PRINTS) * (m / PRINTS)
    basis_share = ops.where(outlook.known_has_basis == 1.0, 1.0, share)
    variance = sigma2 * (seconds + share * outlook.spot_age_s)
    return Moments(mean, variance + basis_share * outlook.basis_variance)


def point_moments(outlook: Outlook, ops: Ops = SCALARS) -> Moments:
    """Return the moments of the one print at the close."""
    tau = ops.where(outlook.time_left_s > 0.0, outlook.time_left_s, 0.0)
    seconds = tau + outlook.spot_age_s
    sigma2 = outlook.sigma_usd * outlook.sigma_usd
    mean = outlook.spot_usd + outlook.basis_usd
    return Moments(mean, sigma2 * seconds + outlook.basis_variance)


def strike_boundary(strike_usd: float, comparator: Comparator, unit_usd: float) -> float:
    """Return the unrounded value above which a settlement rounded to `unit_usd` is YES.

    >>> strike_boundary(100.0, ">=", 0.5), strike_boundary(100.0, ">", 0.5)
    (99.75, 100.25)
    """
    check(comparator in (">=", ">"), f"comparator {comparator!r}")
    half = unit_usd / 2.0
    return strike_usd - half if comparator == ">=" else strike_usd + half


def distance_sd(moments: Moments, boundary_usd: Value, ops: Ops = SCALARS) -> Value:
    """Return (M - boundary) / sqrt(V), in standard deviations; NaN where V is 0 or unknown."""
    return ops.divide(moments.mean_usd - boundary_usd, ops.sqrt(moments.variance))


def normal_cdf(z: Value, ops: Ops = SCALARS) -> Value:
    """Return P(N(0, 1) <= z).

    >>> normal_cdf(0.0)
    0.5
    """
    return 0.5 * ops.erfc(z * -math.sqrt(0.5))


def fair_value(
    rule: str, outlook: Outlook, *, strike_usd: float, comparator: Comparator, unit_usd: float
) -> float | None:
    """Return P(YES), or None where the rule is unknown or an input is missing.

    `unit_usd` is the rounding of the settlement value (0 = not rounded). Without any variance left
    the outcome is decided by the comparator.

    >>> at_the_money = Outlook(spot_usd=100.0, sigma_usd=0.01, time_left_s=300.0)
    >>> fair_value("mean60", at_the_money, strike_usd=100.0, comparator=">=", unit_usd=0.0)
    0.5
    """
    if rule not in RULES:
        return None
    moments = average_moments(outlook) if RULES[rule].is_average else point_moments(outlook)
    boundary = strike_boundary(strike_usd, comparator, unit_usd)
    if moments.variance == 0.0 and not math.isnan(moments.mean_usd - boundary):
        # The half unit already rounds a value on the boundary up, to the YES side of both rules.
        inclusive = comparator == ">=" or unit_usd > 0.0
        is_yes = moments.mean_usd >= boundary if inclusive else moments.mean_usd > boundary
        return 1.0 if is_yes else 0.0
    p: float = normal_cdf(distance_sd(moments, boundary))
    return None if math.isnan(p) else p
