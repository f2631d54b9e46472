"""The formulas of the features, each written once for floats and for columns.

A formula reads `x` (the inputs and the intermediates below) and computes with `ops`; the first line
of its docstring is the formula printed in docs/features.md. NaN is missing and spreads through
arithmetic by itself, so a formula has no special case for a missing input. Symbols: S spot, K
strike, sigma volatility per square-root second, tau time left, bid/ask of the market in dollars.
"""

import math
from typing import NamedTuple

from libs.common.fair_value import (
    FAIR_VALUE_SIGMA_MIN,
    PRINTS,
    Outlook,
    average_moments,
    distance_sd,
    normal_cdf,
    point_moments,
    prints_to_come,
)
from libs.common.model import GAP_CLIP_S, PROBABILITY_CLIP
from libs.common.ops import NAN, Ops, Value
from services.features.inputs import (
    Book,
    Clock,
    Inputs,
    Price,
    Settlement,
    Venue,
)


class Known(NamedTuple):
    """Inputs of a row and the intermediates that several formulas share."""

    clock: Clock
    book: Book
    price: Price
    settlement: Settlement
    venue: Venue
    mid: Value
    vol_15m: Value
    vol_60m: Value
    vol_short: Value
    distance_sd: Value
    fair_value: Value


def know(inputs: Inputs, ops: Ops) -> Known:
    """Compute the shared intermediates: mid, volatilities, distance and fair value."""
    price, book = inputs.price, inputs.book
    vol_15m = _volatility(price.squares_15m, price.times_15m, ops)
    vol_60m = _volatility(price.squares_60m, price.times_60m, ops)
    distance = _distance(inputs, _settlement_volatility(vol_15m, vol_60m, ops), ops)
    return Known(
        clock=inputs.clock,
        book=book,
        price=price,
        settlement=inputs.settlement,
        venue=inputs.venue,
        mid=(book.bid_e4 + book.ask_e4) / 20_000.0,
        vol_15m=vol_15m,
        vol_60m=vol_60m,
        vol_short=_volatility(price.squares_short, price.times_short, ops),
        distance_sd=distance,
        fair_value=normal_cdf(distance, ops),
    )


def _volatility(squares: Value, times: Value, ops: Ops) -> Value:
    """Return sqrt(squares / times) per sqrt second: units 1e-15 over 1e-9 s make the 1e-3."""
    return ops.sqrt(ops.divide(squares, times)) * 1e-3


def _settlement_volatility(vol_15m: Value, vol_60m: Value, ops: Ops) -> Value:
    """Return the volatility of fair value: mean variance of both windows, floored."""
    both = (vol_15m * vol_15m + vol_60m * vol_60m) / 2.0
    variance = ops.where(vol_60m > 0.0, both, vol_15m * vol_15m)
    floor = FAIR_VALUE_SIGMA_MIN * FAIR_VALUE_SIGMA_MIN
    return ops.sqrt(ops.where(variance < floor, floor, variance))


def _distance(inputs: Inputs, sigma: Value, ops: Ops) -> Value:
    """Return (M - K) / sqrt(V) by the market's rule; NaN where it has none, or life is over."""
    price, settlement, tau = inputs.price, inputs.settlement, inputs.clock.time_left_s
    past = PRINTS - prints_to_come(tau, ops)
    outlook = Outlook(
        spot_usd=price.spot_usd,
        sigma_usd=sigma * price.spot_usd,
        time_left_s=ops.where(tau > 0.0, tau, NAN),
        spot_age_s=price.age_s,
        basis_usd=settlement.basis_usd,
        basis_variance=settlement.basis_variance,
        # The prints are S's own: B is 0 where S is the settlement feed, else they are spot + B.
        known_sum_usd=settlement.prints_usd + past * settlement.basis_usd,
        known_has_basis=1.0,
    )
    kind, boundary = inputs.contract.is_average, inputs.contract.boundary_usd
    average = distance_sd(average_moments(outlook, ops), boundary, ops)
    point = distance_sd(point_moments(outlook, ops), boundary, ops)
    return ops.where(kind == 1.0, average, ops.where(kind == 0.0, point, NAN))


def distance(x: Known, ops: Ops) -> Value:
    """Return (M - K) / sqrt(V), K half a unit of rounding to the YES side."""
    return x.distance_sd


def fair_value(x: Known, ops: Ops) -> Value:
    """Return Phi(distance_sd)."""
    return x.fair_value


def fair_value_gap(x: Known, ops: Ops) -> Value:
    """Return logit(fair_value) - logit(mid), both clipped to [0.001, 0.999]."""
    return _logit(x.fair_value, ops) - _logit(x.mid, ops)


def _logit(p: Value, ops: Ops) -> Value:
    low, high = PROBABILITY_CLIP, 1.0 - PROBABILITY_CLIP
    clipped = ops.where(p < low, low, ops.where(p > high, high, p))
    return ops.log(ops.divide(clipped, 1.0 - clipped))


def vol_15m(x: Known, ops: Ops) -> Value:
    """Return sqrt(sum r^2 / sum dt) of overlapping 60 s log-returns of S over 15 min."""
    return x.vol_15m


def vol_60m(x: Known, ops: Ops) -> Value:
    """Return sqrt(sum r^2 / sum dt) of overlapping 60 s log-returns of S over 60 min."""
    return x.vol_60m


def vol_short(x: Known, ops: Ops) -> Value:
    """Return sqrt(sum r^2 / sum dt) of overlapping 1-5 s log-returns of S over 5 min."""
    return x.vol_short


def vol_ratio(x: Known, ops: Ops) -> Value:
    """Return vol_short / vol_15m."""
    return ops.divide(x.vol_short, x.vol_15m)


def vol_trend(x: Known, ops: Ops) -> Value:
    """Return vol_15m / vol_60m."""
    return ops.divide(x.vol_15m, x.vol_60m)


def momentum_5s(x: Known, ops: Ops) -> Value:
    """Return ln(S / S 5 s before) / (vol_15m sqrt(dt)), at the newest observation of S."""
    return _momentum(x, x.price.return_5, x.price.time_5, ops)


def momentum_15s(x: Known, ops: Ops) -> Value:
    """Return ln(S / S 15 s before) / (vol_15m sqrt(dt)), at the newest observation of S."""
    return _momentum(x, x.price.return_15, x.price.time_15, ops)


def momentum_60s(x: Known, ops: Ops) -> Value:
    """Return ln(S / S 60 s before) / (vol_15m sqrt(dt)), at the newest observation of S."""
    return _momentum(x, x.price.return_60, x.price.time_60, ops)


def momentum_300s(x: Known, ops: Ops) -> Value:
    """Return ln(S / S 300 s before) / (vol_15m sqrt(dt)), at the newest observation of S."""
    return _momentum(x, x.price.return_300, x.price.time_300, ops)


def _momentum(x: Known, return_e9: Value, time_ns: Value, ops: Ops) -> Value:
    return ops.divide(return_e9 / 1e9, x.vol_15m * ops.sqrt(time_ns / 1e9))


def spot_spread_bp(x: Known, ops: Ops) -> Value:
    """Return 1e4 (spot ask - spot bid) / spot mid."""
    bid, ask = x.venue.bid_usd, x.venue.ask_usd
    return ops.divide(1e4 * (ask - bid), (bid + ask) / 2.0)


def spot_imbalance(x: Known, ops: Ops) -> Value:
    """Return (bid size - ask size) / (bid size + ask size) at the spot touch."""
    return _imbalance(x.venue.bid_size, x.venue.ask_size, ops)


def spot_depth_imbalance(x: Known, ops: Ops) -> Value:
    """Return (bid depth - ask depth) / (bid depth + ask depth) of the spot book."""
    return _imbalance(x.venue.depth_bid, x.venue.depth_ask, ops)


def spot_microprice_offset_bp(x: Known, ops: Ops) -> Value:
    """Return 1e4 ((ask Qbid + bid Qask) / (Qbid + Qask) - mid) / mid of the spot touch."""
    venue = x.venue
    middle = (venue.bid_usd + venue.ask_usd) / 2.0
    micro = _microprice(venue.bid_usd, venue.ask_usd, venue.bid_size, venue.ask_size, ops)
    return ops.divide(1e4 * (micro - middle), middle)


def _imbalance(bid: Value, ask: Value, ops: Ops) -> Value:
    return ops.divide(bid - ask, bid + ask)


def _microprice(bid: Value, ask: Value, bid_size: Value, ask_size: Value, ops: Ops) -> Value:
    return ops.divide(ask * bid_size + bid * ask_size, bid_size + ask_size)


def taker_flow_15s(x: Known, ops: Ops) -> Value:
    """Return (bought - sold) / (bought + sold) by spot takers over 15 s."""
    return _imbalance(x.venue.buy_15, x.venue.sell_15, ops)


def taker_flow_60s(x: Known, ops: Ops) -> Value:
    """Return (bought - sold) / (bought + sold) by spot takers over 60 s."""
    return _imbalance(x.venue.buy_60, x.venue.sell_60, ops)


def mid(x: Known, ops: Ops) -> Value:
    """Return (bid + ask) / 2, two-sided books only."""
    return x.mid


def spread(x: Known, ops: Ops) -> Value:
    """Return ask - bid."""
    return (x.book.ask_e4 - x.book.bid_e4) / 1e4


def imbalance(x: Known, ops: Ops) -> Value:
    """Return (bid size - ask size) / (bid size + ask size) at the touch."""
    return _imbalance(x.book.bid_size, x.book.ask_size, ops)


def depth_imbalance(x: Known, ops: Ops) -> Value:
    """Return (bid size - ask size) / (bid size + ask size) over up to five levels."""
    return _imbalance(x.book.bid_depth, x.book.ask_depth, ops)


def depth_near(x: Known, ops: Ops) -> Value:
    """Return contracts bid or offered within 2 cents of the touch, both sides."""
    return x.book.near_depth / 100.0


def microprice_offset(x: Known, ops: Ops) -> Value:
    """Return (ask Qbid + bid Qask) / (Qbid + Qask) - mid."""
    book = x.book
    micro = _microprice(book.bid_e4, book.ask_e4, book.bid_size, book.ask_size, ops)
    return micro / 1e4 - x.mid


def mid_change_15s(x: Known, ops: Ops) -> Value:
    """Return mid - mid 15 s before."""
    return x.mid - x.book.touch_15_e4 / 20_000.0


def mid_change_60s(x: Known, ops: Ops) -> Value:
    """Return mid - mid 60 s before."""
    return x.mid - x.book.touch_60_e4 / 20_000.0


def last_trade_offset(x: Known, ops: Ops) -> Value:
    """Return last trade - mid."""
    return x.book.last_e4 / 1e4 - x.mid


def time_left_s(x: Known, ops: Ops) -> Value:
    """Return close - now."""
    return x.clock.time_left_s


def log_time_left(x: Known, ops: Ops) -> Value:
    """Return ln(max(tau, 1 s) / 60 s), while tau > 0."""
    tau = x.clock.time_left_s
    floored = ops.where(tau < GAP_CLIP_S, ops.where(tau > 0.0, GAP_CLIP_S, NAN), tau)
    return ops.log(floored / 60.0)


def life_elapsed(x: Known, ops: Ops) -> Value:
    """Return (now - open) / (close - open)."""
    return ops.divide(x.clock.elapsed_s, x.clock.life_s)


def day_sin(x: Known, ops: Ops) -> Value:
    """Return sin(2 pi x UTC time of day / 24 h)."""
    return ops.sin(x.clock.day_s * (math.tau / 86_400.0))


def day_cos(x: Known, ops: Ops) -> Value:
    """Return cos(2 pi x UTC time of day / 24 h)."""
    return ops.cos(x.clock.day_s * (math.tau / 86_400.0))


def spot_age_s(x: Known, ops: Ops) -> Value:
    """Return now - time S was known + its feed age then."""
    return x.price.age_s


def quote_age_s(x: Known, ops: Ops) -> Value:
    """Return age of the book at the snapshot."""
    return x.book.age_s


def basis_bp(x: Known, ops: Ops) -> Value:
    """Return 1e4 B / S; B = 0 where S is the settlement feed itself."""
    return ops.divide(1e4 * x.settlement.basis_usd, x.price.spot_usd)


def basis_deviation_bp(x: Known, ops: Ops) -> Value:
    """Return 1e4 (index - spot venue - B) / spot venue, where both are fresh."""
    s = x.settlement
    return ops.divide(1e4 * (s.index_usd - s.venue_usd - s.venue_basis_usd), s.venue_usd)
