"""All scores of one set of forecasts beside the market's, as the trainer and `hawk evaluate` print.

In go scored rows (two-sided quotes of resolved markets), out comes a `Scorecard`. Skill is the
market's Brier minus the model's: above 0 is better than the market. Two intervals stand side by
side, over markets (the fixed headline) and over hour blocks (the one to believe).
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from libs.common.calibration_error import (
    Bin,
    Cox,
    Murphy,
    calibration_error,
    cox,
    expected_calibration_error,
    murphy,
    null_calibration_error,
    reliability_bins,
)
from libs.common.scoring import (
    TIME_LEFT_BUCKETS_S,
    FloatArray,
    IntArray,
    Interval,
    bootstrap,
    bootstraps,
    distinct,
    log_loss,
    market_shares,
    score,
    squared_error,
    standardised_shares,
    time_left_bucket,
    window_weights,
)

_SEED = 7
"""Resampling is part of the figure: the same rows give the same interval."""


@dataclass(frozen=True)
class ScoredRows:
    """Forecasts `p` beside the market's `mid`, one entry per row; `fair_value` NaN where missing.

    `market`, `window`, `block`: integer codes of any kind; `mass`: recorded rows a row stands for.
    """

    y: FloatArray
    p: FloatArray
    mid: FloatArray
    fair_value: FloatArray
    time_left_s: FloatArray
    market: IntArray
    window: IntArray
    block: IntArray
    mass: FloatArray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> "ScoredRows":
        """Return the rows named by index."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Pair:
    """One score of the model and of the market."""

    model: float
    market: float


@dataclass(frozen=True)
class BucketScore:
    """Brier inside one time-left bucket (from_s, to_s]; `skill` over blocks."""

    from_s: float
    to_s: float
    rows: int
    markets: int
    brier: Pair
    skill: Interval


@dataclass(frozen=True)
class FairValueScore:
    """Brier of three forecasters on the rows that have a fair value."""

    rows: int
    markets: int
    model: float
    market: float
    fair_value: float


@dataclass(frozen=True)
class Scorecard:
    """Every score of a set of rows; floats are NaN where there are no rows.

    `ece_null` is what a perfectly calibrated forecaster would get as `ece` on these rows.
    """

    rows: int
    markets: int
    windows: int
    blocks: int
    brier: Pair
    log_loss: Pair
    standardised: Pair
    calibration_error: Pair
    ece: float
    ece_null: float
    cox: Cox
    murphy: Murphy
    skill_vs_market: Interval
    skill_vs_market_by_block: Interval
    skill_standardised_by_block: Interval
    by_time_left: tuple[BucketScore, ...]
    on_fair_value_rows: FairValueScore
    reliability: tuple[Bin, ...]
    reliability_market: tuple[Bin, ...]


def scorecard(rows: ScoredRows) -> Scorecard:
    """Score `rows` in every way that is printed."""
    rng = np.random.default_rng(_SEED)
    share = market_shares(rows.market, rows.mass)
    even = standardised_shares(rows.market, time_left_bucket(rows.time_left_s), rows.mass)
    weight = window_weights(rows.market, rows.window, rows.mass)
    model, market = squared_error(rows.p, rows.y), squared_error(rows.mid, rows.y)
    better = market - model
    buckets = _bucket_shares(rows)
    by_block = bootstraps(
        [(better, s) for s in (share, even, *buckets.values())], unit=rows.block, rng=rng
    )
    return Scorecard(
        rows=len(rows),
        markets=distinct(rows.market),
        windows=distinct(rows.window),
        blocks=distinct(rows.block),
        brier=Pair(score(model, share), score(market, share)),
        log_loss=Pair(
            score(log_loss(rows.p, rows.y), share), score(log_loss(rows.mid, rows.y), share)
        ),
        standardised=Pair(score(model, even), score(market, even)),
        calibration_error=Pair(
            calibration_error(rows.p, rows.y, weight=weight, block=rows.block),
            calibration_error(rows.mid, rows.y, weight=weight, block=rows.block),
        ),
        ece=expected_calibration_error(rows.p, rows.y, weight=weight),
        ece_null=null_calibration_error(rows.p, weight=weight, window=rows.window, rng=rng),
        cox=cox(rows.p, rows.y, weight=weight),
        murphy=murphy(rows.p, rows.y, weight=weight),
        skill_vs_market=bootstrap(better, share, unit=rows.market, rng=rng),
        skill_vs_market_by_block=by_block[0],
        skill_standardised_by_block=by_block[1],
        by_time_left=tuple(
            _bucket_score(rows, b, shares, skill)
            for (b, shares), skill in zip(buckets.items(), by_block[2:], strict=True)
        ),
        on_fair_value_rows=_on_fair_value_rows(rows),
        reliability=reliability_bins(rows.p, rows.y, weight=weight, block=rows.block),
        reliability_market=reliability_bins(rows.mid, rows.y, weight=weight, block=rows.block),
    )


def _bucket_shares(rows: ScoredRows) -> dict[int, FloatArray]:
    """Return per time-left bucket with rows the rows' shares in its market mean, 0 outside."""
    bucket = time_left_bucket(rows.time_left_s)
    found = {}
    for number in range(len(TIME_LEFT_BUCKETS_S)):
        inside = np.flatnonzero(bucket == number)
        if len(inside):
            found[number] = np.zeros(len(rows))
            found[number][inside] = market_shares(rows.market[inside], rows.mass[inside])
    return found


def _bucket_score(rows: ScoredRows, bucket: int, share: FloatArray, skill: Interval) -> BucketScore:
    from_s, to_s = TIME_LEFT_BUCKETS_S[bucket]
    inside = share > 0
    return BucketScore(
        from_s,
        to_s,
        rows=int(inside.sum()),
        markets=distinct(rows.market[inside]),
        brier=Pair(
            score(squared_error(rows.p, rows.y), share),
            score(squared_error(rows.mid, rows.y), share),
        ),
        skill=skill,
    )


def _on_fair_value_rows(rows: ScoredRows) -> FairValueScore:
    part = rows.take(np.flatnonzero(~np.isnan(rows.fair_value)))
    share = market_shares(part.market, part.mass)
    return FairValueScore(
        rows=len(part),
        markets=distinct(part.market),
        model=score(squared_error(part.p, part.y), share),
        market=score(squared_error(part.mid, part.y), share),
        fair_value=score(squared_error(part.fair_value, part.y), share),
    )
