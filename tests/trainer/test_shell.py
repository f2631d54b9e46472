"""`train` as a whole: it climbs where it should, refuses where it must, repeats itself exactly."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from libs.common.bundle import Bundle
from libs.common.model import forecast
from libs.common.rows import FAIR_VALUE, MID, TIME_LEFT
from services.trainer import shell, trees, walk
from services.trainer.evidence import Champion, TrainingHistory
from services.trainer.gate import GatePolicy
from services.trainer.shell import Effort, champion_of, train
from services.trainer.trees import TrainingError
from tests.trainer.synthetic import FEATURE_SET, Plan, tables, with_column

EDGE = Plan(windows=9_000, rows=4, edge=0.5, noise=2)


def _train(plan_or_tables, **changes):
    found = tables(plan_or_tables) if isinstance(plan_or_tables, Plan) else plan_or_tables
    asked = {"history": TrainingHistory(), "policy": GatePolicy(), "effort": Effort(workers=1)}
    return train(*found, **{**asked, **changes})


@pytest.fixture(scope="module")
def edge():
    return _train(EDGE)


def test_a_planted_bend_climbs_to_trees_with_isotonic_calibration(edge):
    assert edge.verdict.accepted, edge.verdict.reason
    assert edge.verdict.route == "superiority"
    assert edge.findings.rung == "residual"
    assert edge.model.formula.rung == "residual"
    assert edge.model.formula.calibration.kind == "isotonic"
    assert edge.scores["skill_by_block_low"] > 0.0


def test_the_same_rows_make_the_same_bytes_of_everything(edge):
    again = _train(EDGE)
    assert again.model == edge.model
    assert again.fingerprint == edge.fingerprint
    assert again.scores == edge.scores
    assert again.report_html == edge.report_html
    assert again.reference.equals(edge.reference)


def test_probe_rows_answer_as_the_predictor_will(edge):
    names = edge.feature_names
    assert len(edge.probe) >= 20
    for row in edge.probe:
        values = dict(zip(names, row.values, strict=True))
        features = np.array([[np.nan if v is None else v for v in row.values]])
        served = forecast(
            edge.model.formula,
            row.series,
            mid=values[MID],
            fair_value=values[FAIR_VALUE],
            time_left_s=values[TIME_LEFT],
            residual=float(trees.raw_scores(edge.model.trees, features)[0]),
        )
        assert (row.p_raw, row.p) == (served.p_raw, served.p)


def test_the_accepted_model_does_not_beat_itself_as_champion(edge):
    """Once its candidate serves, the same rows prove nothing more."""
    champion = Champion("c", edge.model, FEATURE_SET, edge.findings.end_ns)
    history = TrainingHistory(champion, champion, fingerprints=(edge.fingerprint,))
    later = _train(replace(EDGE, windows=3_000), history=history)
    assert not later.verdict.accepted
    assert "0 of 100 test windows" in later.verdict.reason


@pytest.mark.parametrize("seed", range(6))
def test_without_an_edge_nothing_is_accepted(seed):
    outcome = _train(Plan(windows=2_600, rows=3, seed=seed))
    assert not outcome.verdict.accepted
    if outcome.findings.rung == "identity":
        assert "no rung beat the market's mid" in outcome.verdict.reason
        assert outcome.model == walk.Model(shell.Formula())


def test_six_folds_can_be_asked_for():
    outcome = _train(Plan(windows=300), effort=Effort(folds=6, workers=1))
    assert len(outcome.findings.folds) == 6


def test_too_few_windows_are_named_with_what_the_ladder_found():
    outcome = _train(Plan(windows=100))
    assert outcome.verdict.reason.startswith(
        "too little evidence against the market's mid: 60 of 100 test windows; so far"
    )


def test_one_hour_is_no_evidence():
    assert "no fold could be trained" in _train(Plan(windows=4)).verdict.reason


def test_no_quotes_is_the_reason():
    rows, resolutions = tables(Plan(windows=4))
    outcome = _train((rows.slice(0, 0), resolutions))
    assert outcome.verdict.reason.startswith("no quotes")
    assert outcome.findings.rows == 0


def test_rows_without_any_fair_value_name_strikes_and_spot():
    rows, resolutions = tables(Plan(windows=240))
    at = rows.column_names.index("fair_value")
    bare = rows.set_column(at, "fair_value", pa.nulls(rows.num_rows, pa.float64()))
    reason = _train((bare, resolutions)).verdict.reason
    assert reason.startswith("no strikes and spot")
    assert "fair value is missing on every row" in reason


def test_a_column_that_knows_the_result_rejects_an_edge_that_is_none():
    rows, resolutions = tables(Plan(windows=600))
    result = dict(
        zip(
            resolutions.column("market").to_pylist(),
            resolutions.column("result").to_pylist(),
            strict=True,
        )
    )
    values = np.array([float(result[m] == "yes") for m in rows.column("market").to_pylist()])
    outcome = _train((with_column(rows, "settled", values), resolutions))
    assert not outcome.verdict.accepted
    assert "feature settled alone removes" in outcome.verdict.reason


def test_a_fit_that_fails_is_a_rejection(monkeypatch):
    def refuse(fit):
        raise TrainingError("LightGBM refused 3 rows: out of luck")

    monkeypatch.setattr(trees, "fit_trees", refuse)
    outcome = _train(Plan(windows=300))
    assert not outcome.verdict.accepted
    assert outcome.verdict.reason == "training failed: LightGBM refused 3 rows: out of luck"


def test_a_forecast_that_is_not_a_number_is_a_rejection(monkeypatch):
    whole = shell.run_folds

    def spoilt(*args, **options):
        results = whole(*args, **options)
        results[0].forecasts["anchored"].p[0] = np.nan
        return results

    monkeypatch.setattr(shell, "run_folds", spoilt)
    outcome = _train(Plan(windows=300))
    assert not outcome.verdict.accepted
    assert "not a number" in outcome.verdict.reason


def test_the_same_candidate_is_numbered_once():
    found = tables(Plan(windows=240))
    first = _train(found)
    history = TrainingHistory(fingerprints=("other", first.fingerprint))
    assert _train(found, history=history).findings.evidence.candidate_number == 2
    assert (
        _train(
            found, history=TrainingHistory(fingerprints=("x",))
        ).findings.evidence.candidate_number
        == 2
    )


def test_the_base_bundle_is_no_champion():
    assert champion_of(Bundle(id="base", formula=shell.Formula())) is None
