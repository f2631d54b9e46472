"""Forecasts of a whole table of feature rows by one bundle: the same formula as the stream's.

The arithmetic is `model.forecast`, row by row, so that what is evaluated is what is served; only
the trees are scored as a matrix, which gives the same bits as row by row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from libs.common.bundle import Bundle
from libs.common.checks import BundleError
from libs.common.model import forecast
from libs.common.rows import FAIR_VALUE, FEATURE_SET_KEY, MID, TIME_LEFT, feature_names

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class BatchForecasts:
    """p_raw, p and base_p of n rows; NaN where there is no forecast."""

    p_raw: Floats
    p: Floats
    base_p: Floats


def forecast_rows(bundle: Bundle, rows: pa.Table) -> BatchForecasts:
    """Score `rows` (format of `libs.common.rows`) with `bundle`.

    Raises `BundleError` if the bundle was made for another feature set.
    """
    made_for = (rows.schema.metadata or {}).get(FEATURE_SET_KEY, b"").decode()
    if bundle.manifest is not None and bundle.manifest.feature_set != made_for:
        raise BundleError(
            f"bundle {bundle.id} is for feature set {bundle.manifest.feature_set}, "
            f"these rows are {made_for}: run `hawk train`"
        )
    residual = _residuals(bundle, rows)
    inputs = zip(
        rows.column("series").to_pylist(),
        rows.column(MID).to_pylist(),
        rows.column(FAIR_VALUE).to_pylist(),
        rows.column(TIME_LEFT).to_pylist(),
        residual.tolist(),
        rows.column("unusable").is_valid().to_pylist(),
        strict=True,
    )
    result = np.full((rows.num_rows, 3), np.nan)
    for i, (series, mid, fair_value, time_left_s, score, is_unusable) in enumerate(inputs):
        if is_unusable or time_left_s is None:
            continue
        found = forecast(
            bundle.formula,
            series,
            mid=mid,
            fair_value=fair_value,
            time_left_s=time_left_s,
            residual=score,
        )
        if found is not None:
            result[i] = found
    return BatchForecasts(*(np.ascontiguousarray(column) for column in result.T))


def _residuals(bundle: Bundle, rows: pa.Table) -> Floats:
    if bundle.trees_text is None or not rows.num_rows:
        return np.zeros(rows.num_rows)
    import lightgbm

    matrix = np.column_stack(
        [rows.column(n).to_numpy(zero_copy_only=False) for n in feature_names(rows)]
    )
    booster = lightgbm.Booster(model_str=bundle.trees_text)
    scores = booster.predict(matrix, raw_score=True, num_threads=1)
    return np.asarray(scores, dtype=np.float64)
