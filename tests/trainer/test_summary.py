"""What the bundle and the monitor get is finite or plainly missing."""

import numpy as np
import pytest

from libs.common.scorecard import scorecard
from services.trainer.assemble import assemble
from services.trainer.evidence import scored_rows
from services.trainer.summary import (
    PROBE_ROWS,
    flat_scores,
    fold_brier,
    probe_indices,
    reference_table,
)
from tests.trainer.synthetic import Plan, tables, with_column

ROWS, RESOLUTIONS = tables(Plan(windows=100))


def test_reference_holds_quantiles_and_missing_rates_per_feature():
    values = np.arange(ROWS.num_rows, dtype=float)
    values[::5] = np.nan
    rows = with_column(ROWS, "half", values)
    rows = with_column(rows, "none", np.full(ROWS.num_rows, np.nan))
    table = reference_table(assemble(rows, RESOLUTIONS).dataset).to_pylist()
    found = {line["feature"]: line for line in table}
    assert list(found) == [
        "mid",
        "fair_value",
        "time_left_s",
        "a",
        *(f"noise_{i}" for i in range(3)),
        "half",
        "none",
    ]
    assert found["half"]["missing_rate"] == pytest.approx(0.2)
    assert (found["half"]["q000"], found["half"]["q100"]) == (1.0, 499.0)
    assert found["none"]["q050"] is None


def test_scores_are_finite_or_none():
    data = assemble(ROWS, RESOLUTIONS).dataset
    scores = flat_scores(scorecard(scored_rows(data, data.mid)))
    assert scores["brier_model"] == scores["brier_market"]
    assert scores["skill_vs_market"] == 0.0
    assert all(v is None or np.isfinite(v) for v in scores.values())
    none = flat_scores(scorecard(scored_rows(data.take(np.empty(0, int)), np.empty(0))))
    assert none["brier_model"] is None
    assert flat_scores(None) == {}


def test_probe_rows_are_spread_and_hold_one_without_fair_value():
    values = ROWS.column("fair_value").to_pylist()
    values[7] = None
    at = ROWS.column_names.index("fair_value")
    rows = ROWS.set_column(at, "fair_value", [values])
    data = assemble(rows.replace_schema_metadata(ROWS.schema.metadata), RESOLUTIONS).dataset
    found = probe_indices(data)
    assert PROBE_ROWS <= len(found) <= PROBE_ROWS + 1
    assert np.isnan(data.fair_value[found]).any()
    assert probe_indices(data.take(np.arange(3))).tolist() == [0, 1, 2]


def test_fold_brier_is_the_headline_of_its_rows():
    data = assemble(ROWS, RESOLUTIONS).dataset
    rows = np.flatnonzero(data.market == 0)
    found = fold_brier(data, {"identity": data.mid}, rows)
    assert found["identity"] == pytest.approx(((data.mid - data.y)[rows] ** 2).mean())
