"""`hawk evaluate`: a bundle's forecasts beside the market's own price, with intervals.

Scored are rows of resolved markets, inside their life, whose quote is fresh and has both sides;
only those after the bundle's training data, unless in-sample is asked for by name. What was left
out is counted by reason, so that nobody has to guess what a score is a score of.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common import bundle
from libs.common.batch import forecast_rows
from libs.common.bundle import Bundle
from libs.common.checks import UsageError
from libs.common.events import Flag
from libs.common.manifests import require_whole
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from libs.common.scorecard import Scorecard, ScoredRows, scorecard
from libs.common.scoring import Interval, block_of
from services.console import offline

ROW_CHOICES = ("two-sided", "clean")


@dataclass(frozen=True)
class EvaluateRequest:
    """What to score; times in ns, half-open."""

    bundle_id: str | None = None
    series: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    rows: str = "two-sided"
    in_sample: bool = False


def run_evaluate(root: Path, request: EvaluateRequest) -> dict[str, Any]:
    """Score and return the figures as printed."""
    if request.rows not in ROW_CHOICES:
        raise UsageError(f"--rows {request.rows!r}: choose {' or '.join(ROW_CHOICES)}")
    require_whole(root)
    offline.require_series(root, request.series)
    chosen = chosen_bundle(root, request.bundle_id)
    rows = offline.feature_rows(root, series=request.series)
    scored, left_out = select(root, rows, chosen, request)
    return {"bundle": chosen.id, **figures(scorecard(scored), left_out)}


def chosen_bundle(root: Path, wanted: str | None) -> Bundle:
    """Return the bundle that is named: an id, `base`, `current`; by default current, else base."""
    if wanted in (None, "current"):
        current = bundle.read_current(root)
        if current is None and wanted == "current":
            raise UsageError("no bundle was ever activated: `--bundle base` scores the base model")
        wanted = current.bundle if current else bundle.BASE
    return bundle.load_bundle(root, str(wanted))


def select(
    root: Path, rows: pa.Table, chosen: Bundle, request: EvaluateRequest
) -> tuple[ScoredRows, dict[str, int]]:
    """Return the rows to score and how many were left out for which reason."""
    ts_ns, close_ns = rows["ts_ns"].to_numpy(), rows["close_ns"].to_numpy()
    market, labels = _labels(root, rows)
    flags = rows["flags"].fill_null(0).to_numpy()
    unusable = np.asarray(rows["unusable"].to_pylist(), dtype=object)
    reason = np.full(rows.num_rows, "", dtype=object)

    def leave(mask: np.ndarray[Any, Any], why: str) -> None:
        reason[mask & (reason == "")] = why

    leave(ts_ns < (request.start_ns or 0), "before_from")
    leave(ts_ns >= (request.end_ns if request.end_ns is not None else 2**63 - 1), "after_to")
    for why in sorted({u for u in unusable.tolist() if u}):
        leave(unusable == why, str(why))
    has_bid, has_ask = (rows[c].is_valid().to_numpy() for c in ("bid_e4", "ask_e4"))
    leave(~has_bid & ~has_ask, "empty_book")
    leave(~has_bid | ~has_ask, "one_sided")
    if request.rows == "clean":
        leave((flags & int(Flag.LOCKED)) != 0, "locked")
    leave(np.isnan(labels), "unresolved")
    if chosen.manifest is not None and not request.in_sample:
        leave(ts_ns <= chosen.manifest.data_end_ns, "training_data")
    kept = np.flatnonzero(reason == "")
    p = forecast_rows(chosen, rows.take(pa.array(kept))).p
    left_out = Counter(r for r in reason.tolist() if r)
    fair = rows[FAIR_VALUE].to_numpy(zero_copy_only=False)[kept]
    _, place = np.unique(
        np.asarray(rows["underlying"].to_pylist(), dtype=object), return_inverse=True
    )
    _, close = np.unique(close_ns, return_inverse=True)
    scored = ScoredRows(
        y=labels[kept],
        p=p,
        mid=rows[MID].to_numpy(zero_copy_only=False)[kept],
        fair_value=fair,
        time_left_s=rows[TIME_LEFT].to_numpy(zero_copy_only=False)[kept],
        market=market[kept],
        window=(place * (close.max(initial=0) + 1) + close)[kept],
        block=block_of(close_ns)[kept],
        mass=np.ones(len(kept)),
    )
    return scored, dict(sorted(left_out.items()))


def figures(card: Scorecard, left_out: dict[str, int]) -> dict[str, Any]:
    """Return a scorecard in the printed form; NaN becomes null on output."""
    fair = card.on_fair_value_rows
    return {
        "rows": card.rows,
        "markets": card.markets,
        "windows": card.windows,
        "blocks": card.blocks,
        "brier": _pair(card.brier),
        "log_loss": _pair(card.log_loss),
        "calibration_error": card.calibration_error.model,
        "calibration_error_market": card.calibration_error.market,
        "expected_calibration_error": {"estimate": card.ece, "null_mean": card.ece_null},
        "cox": {"intercept": card.cox.intercept, "slope": card.cox.slope},
        "skill_vs_market": _interval(card.skill_vs_market),
        "skill_vs_market_by_block": _interval(card.skill_vs_market_by_block),
        "standardised": {
            **_pair(card.standardised),
            "skill_by_block": _interval(card.skill_standardised_by_block),
        },
        "by_time_left": [
            {
                "from_s": bucket.from_s,
                "to_s": bucket.to_s,
                "markets": bucket.markets,
                "brier": _pair(bucket.brier),
            }
            for bucket in card.by_time_left
        ],
        "on_fair_value_rows": {
            "rows": fair.rows,
            "markets": fair.markets,
            "brier": {"model": fair.model, "market": fair.market, "fair_value": fair.fair_value},
        },
        "left_out": left_out,
    }


def _labels(root: Path, rows: pa.Table) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return per row the market's code and its result as 1, 0 or NaN."""
    table = offline.resolutions(root)
    results = dict(
        zip(
            zip(table["venue"].to_pylist(), table["market"].to_pylist(), strict=True),
            (1.0 if r == "yes" else 0.0 for r in table["result"].to_pylist()),
            strict=True,
        )
    )
    names = list(zip(rows["venue"].to_pylist(), rows["market"].to_pylist(), strict=True))
    codes: dict[tuple[str, str], int] = {}
    market = np.fromiter((codes.setdefault(n, len(codes)) for n in names), np.int64, len(names))
    by_code = np.array([results.get(name, np.nan) for name in codes])
    return market, by_code[market] if names else np.empty(0)


def _pair(pair: Any) -> dict[str, float]:
    return {"model": pair.model, "market": pair.market}


def _interval(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
