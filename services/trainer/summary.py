"""What a training run found, as values: for the report, the bundle's manifest and the monitor.

`Findings` is what the two reports print. `reference_table` is what the monitor will hold live
features against, `probe_indices` which rows a predictor must reproduce before it serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from libs.common.model import CalibrationKind, Rung
from libs.common.scorecard import Scorecard
from libs.common.scoring import (
    FloatArray,
    IntArray,
    Interval,
    market_shares,
    score,
    squared_error,
    standard_error,
)
from services.trainer.dataset import Dataset
from services.trainer.gate import Evidence

PROBE_ROWS = 32
"""Enough to meet every tree's both sides somewhere, few enough to be checked in milliseconds."""

QUANTILES = tuple(i / 20 for i in range(21))
"""Reference quantiles: twenty bins, which a ten-bin test can join."""

REFERENCE_ROWS_MAX = 50_000
"""Evenly spaced rows behind the reference: a 1 % quantile of them is within 0.05 % of the share."""


@dataclass(frozen=True)
class FoldLine:
    """One fold: its evidence and the headline Brier of the market and each rung on its rows."""

    train_windows: int
    test_windows: int
    test_blocks: int
    start_ns: int
    end_ns: int
    trees: int
    calibration: CalibrationKind
    brier: Mapping[Rung, float]


@dataclass(frozen=True)
class Findings:
    """What the reports show beside the verdict; `card` scores the walk-forward of `shown`.

    `rung` is what was earned; `shown` the same, or where that is identity the best that was tried.
    `rung_gains`: headline Brier below the market's per rung, estimate and block interval.
    """

    feature_set: str = ""
    series: tuple[str, ...] = ()
    rows: int = 0
    markets: int = 0
    windows: int = 0
    blocks: int = 0
    start_ns: int = 0
    end_ns: int = 0
    left_out: Mapping[str, int] | None = None
    rung: Rung = "identity"
    shown: Rung = "identity"
    calibration: CalibrationKind = "identity"
    trees: int = 0
    folds: tuple[FoldLine, ...] = ()
    card: Scorecard | None = None
    rung_gains: Mapping[Rung, Interval] | None = None
    evidence: Evidence = field(default_factory=Evidence)


def fold_brier(test: Dataset, p: Mapping[Rung, FloatArray], rows: IntArray) -> dict[Rung, float]:
    """Return the headline Brier per rung on the rows `rows` of `test`."""
    y, market = test.y[rows], test.market[rows]
    share = market_shares(market, test.mass[rows])
    return {rung: score(squared_error(q[rows], y), share) for rung, q in p.items()}


def block_interval(test: Dataset, better: FloatArray) -> Interval:
    """Return the headline mean of `better` per row with a 95 % interval by block standard error."""
    share = market_shares(test.market, test.mass)
    gain, error = score(better, share), standard_error(better, share, test.block)
    return Interval(gain, gain - 1.96 * error, gain + 1.96 * error)


def flat_scores(card: Scorecard | None) -> dict[str, float | None]:
    """Return the scorecard as plain named figures, None for what could not be computed.

    Skills are above 0 where the model is better than the market.
    """
    if card is None:
        return {}
    by_market, by_block = card.skill_vs_market, card.skill_vs_market_by_block
    even, fair = card.skill_standardised_by_block, card.on_fair_value_rows
    named = {
        "brier_model": card.brier.model,
        "brier_market": card.brier.market,
        "log_loss_model": card.log_loss.model,
        "log_loss_market": card.log_loss.market,
        "standardised_model": card.standardised.model,
        "standardised_market": card.standardised.market,
        "skill_vs_market": by_market.estimate,
        "skill_vs_market_low": by_market.low,
        "skill_vs_market_high": by_market.high,
        "skill_by_block_low": by_block.low,
        "skill_by_block_high": by_block.high,
        "skill_standardised": even.estimate,
        "skill_standardised_low": even.low,
        "skill_standardised_high": even.high,
        "fair_value_rows": float(fair.rows),
        "fair_value_rows_brier_model": fair.model,
        "fair_value_rows_brier_market": fair.market,
        "fair_value_rows_brier_fair_value": fair.fair_value,
        "calibration_error_model": card.calibration_error.model,
        "calibration_error_market": card.calibration_error.market,
        "ece": card.ece,
        "ece_null": card.ece_null,
        "cox_intercept": card.cox.intercept,
        "cox_slope": card.cox.slope,
        "murphy_reliability": card.murphy.reliability,
        "murphy_resolution": card.murphy.resolution,
        "murphy_uncertainty": card.murphy.uncertainty,
        "test_markets": float(card.markets),
        "test_windows": float(card.windows),
        "test_blocks": float(card.blocks),
    }
    return {name: float(v) if np.isfinite(v) else None for name, v in named.items()}


def reference_table(dataset: Dataset) -> pa.Table:
    """Return per feature its quantiles, missing rate and row count over the training rows."""
    stride = 1 + len(dataset) // REFERENCE_ROWS_MAX
    features = dataset.features[::stride]
    missing = np.isnan(features)
    quantiles = np.full((len(dataset.names), len(QUANTILES)), np.nan)
    for number in range(len(dataset.names)):
        known = features[~missing[:, number], number]
        if len(known):
            quantiles[number] = np.quantile(known, QUANTILES)
    columns = {
        "feature": pa.array(dataset.names, pa.string()),
        "rows": pa.array([len(features)] * len(dataset.names), pa.int64()),
        "missing_rate": pa.array(missing.mean(axis=0), pa.float64()),
    }
    for number, share in enumerate(QUANTILES):
        columns[f"q{round(share * 100):03d}"] = pa.array(
            quantiles[:, number], pa.float64(), from_pandas=True
        )
    return pa.table(columns)


def probe_indices(dataset: Dataset) -> IntArray:
    """Return the rows of the probe: evenly spaced in time, and the first without a fair value."""
    even = np.linspace(0, len(dataset) - 1, min(PROBE_ROWS, len(dataset))).astype(np.int64)
    without = np.flatnonzero(np.isnan(dataset.fair_value))[:1]
    return np.unique(np.concatenate([even, without]))
