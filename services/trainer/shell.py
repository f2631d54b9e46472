"""`train`: from tables to an outcome, the one door of the trainer.

In go the rows table, the resolutions, what came before and the gate's policy; out comes an
`Outcome` that carries the verdict, the model, the report and everything a bundle needs. It touches
the world only through its arguments and, for the folds, through `parallel`.

A reader may look for an exception: a fit that fails and a worker that dies are a verdict,
*rejected*, with the reason in it. A broken invariant does escape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan

import numpy as np
import pyarrow as pa

from libs.common.bundle import Bundle, ProbeRow
from libs.common.checks import check
from libs.common.model import Formula, Rung
from libs.common.scorecard import scorecard
from libs.common.scoring import (
    FloatArray,
    Interval,
    distinct,
    squared_error,
    standardised_shares,
)
from services.trainer.assemble import Assembly, assemble
from services.trainer.canaries import chance_canary, leak_canaries, shuffled_labels
from services.trainer.dataset import Dataset
from services.trainer.evidence import (
    DAY_NS,
    MID_NAME,
    Champion,
    TrainingHistory,
    candidate_number,
    compare,
    compare_with_champion,
    fingerprint,
    scored_rows,
)
from services.trainer.gate import Evidence, GatePolicy, Verdict, decide
from services.trainer.ladder import climb
from services.trainer.parallel import run_folds
from services.trainer.report import text_report
from services.trainer.report_html import html_report
from services.trainer.splits import FOLDS, Fold, overlap, walk_forward
from services.trainer.summary import (
    Findings,
    FoldLine,
    block_interval,
    flat_scores,
    fold_brier,
    probe_indices,
    reference_table,
)
from services.trainer.trees import TrainingError, trees_in
from services.trainer.walk import (
    RESIDUAL_WINDOWS_MIN,
    FoldResult,
    Model,
    forecasts,
    learn,
)

SHUFFLE_SEED = 11
"""Labels are shuffled the same way for the same rows: a verdict can be reproduced."""

_MODEL_OF_MID = Model(Formula())


@dataclass(frozen=True)
class Effort:
    """How much work a run does: test folds (4; 6 cost half as much again) and processes."""

    folds: int = FOLDS
    workers: int = 2


DEFAULT_EFFORT = Effort()


@dataclass(frozen=True)
class Outcome:
    """Everything that is known after a training run; counts, ranges and tables in `findings`.

    `model` is what was fitted on all rows at the rung that was earned (the base model at rung
    identity); `fingerprint` names the candidate (empty: none came about); `reference`: quantiles
    and missing rate per feature of the training rows; `scores`: walk-forward figures, None where
    there is none.
    """

    verdict: Verdict
    findings: Findings
    model: Model = _MODEL_OF_MID
    fingerprint: str = ""
    feature_names: tuple[str, ...] = ()
    probe: tuple[ProbeRow, ...] = ()
    reference: pa.Table | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    report_text: str = ""
    report_html: str = ""


@dataclass(frozen=True)
class _Walk:
    """Walk-forward results in the order of `test`, the test rows of all folds."""

    folds: tuple[Fold, ...]
    results: tuple[FoldResult, ...]
    labels: FloatArray
    test: Dataset
    p: dict[Rung, FloatArray]


def train(
    rows: pa.Table,
    resolutions: pa.Table,
    *,
    history: TrainingHistory,
    policy: GatePolicy,
    effort: Effort = DEFAULT_EFFORT,
) -> Outcome:
    """Train a candidate and judge it; every fault is a verdict, none is raised."""
    assembly = assemble(rows, resolutions)
    if assembly.dataset is None:
        return _empty_outcome(assembly)
    dataset = assembly.dataset
    try:
        folds = walk_forward(dataset, folds=effort.folds)
        walk = walk_folds(dataset, folds, workers=effort.workers)
        return _judge(assembly, dataset, walk, history=history, policy=policy)
    except TrainingError as error:
        return _empty_outcome(replace(assembly, fault=f"training failed: {error}"))


def walk_folds(dataset: Dataset, folds: tuple[Fold, ...], *, workers: int) -> _Walk | None:
    """Run all folds and gather their forecasts in order; None without a fold."""
    if not folds:
        return None
    labels = shuffled_labels(dataset, np.random.default_rng(SHUFFLE_SEED))
    results = run_folds(dataset, folds, labels, workers=workers)
    test = dataset.take(np.concatenate([fold.test for fold in folds]))
    p: dict[Rung, FloatArray] = {"identity": test.mid}
    rungs: tuple[Rung, ...] = ("anchored", "residual")
    if dataset.windows() < RESIDUAL_WINDOWS_MIN:
        rungs = ("anchored",)
    for rung in rungs:
        p[rung] = np.concatenate([result.forecasts[rung].p for result in results])
    return _Walk(folds, results, labels, test, p)


def champion_of(bundle: Bundle) -> Champion | None:
    """Return a loaded bundle as the gate's reference; None for the base model."""
    if bundle.manifest is None:
        return None
    return Champion(
        name=bundle.id,
        model=Model(bundle.formula, bundle.trees_text),
        feature_set=bundle.manifest.feature_set,
        data_end_ns=bundle.manifest.data_end_ns,
    )


def _judge(
    assembly: Assembly,
    dataset: Dataset,
    walk: _Walk | None,
    *,
    history: TrainingHistory,
    policy: GatePolicy,
) -> Outcome:
    """Climb, fit on all rows, gather evidence, decide, report."""
    evidence = Evidence(faults=_faults(dataset, walk))
    model: Model = _MODEL_OF_MID
    shown: Rung = "identity"
    if walk is not None:
        evidence = _climbed(evidence, dataset, walk)
        if evidence.rung != "identity":
            model = learn(dataset, rungs=(evidence.rung,))[evidence.rung]
        # At identity the figures that are shown are those of the best rung that was tried.
        shown = evidence.rung if evidence.rung != "identity" else _best_tried(evidence)
        evidence = _compared(evidence, walk, p=walk.p[shown], history=history)
    own = fingerprint(dataset, model)
    number = candidate_number(history, own)
    evidence = replace(_dated(evidence, dataset, history), candidate_number=number)
    findings = _findings(assembly, dataset, walk=walk, model=model, shown=shown)
    findings = replace(findings, evidence=evidence, rung=evidence.rung)
    return _outcome(decide(evidence, policy), findings, dataset=dataset, model=model, own=own)


def _faults(dataset: Dataset, walk: _Walk | None) -> tuple[str, ...]:
    """Return the integrity faults, the gravest first."""
    faults = []
    if np.isnan(dataset.fair_value).all():
        faults.append(
            "no strikes and spot together: fair value is missing on every row "
            "(strikes or spot were not recorded)"
        )
    broken = None if walk is None else overlap(dataset, walk.folds)
    if broken is not None:
        faults.append(f"splits: {broken}")
    if walk is not None and not all(np.isfinite(p).all() for p in walk.p.values()):
        faults.append("a forecast is not a number")
    return tuple(faults)


def _climbed(evidence: Evidence, dataset: Dataset, walk: _Walk) -> Evidence:
    """Add the ladder and the canaries."""
    test = walk.test
    share = standardised_shares(test.market, test.bucket, test.mass)
    climbed = climb(walk.p, test.y, share=share, block=test.block)
    loose = [result.loose for result in walk.results]
    return replace(
        evidence,
        rung=climbed.rung,
        steps=climbed.steps,
        rungs_tried=len(walk.p) - 1,
        leaks=leak_canaries(dataset),
        chance=chance_canary(dataset, walk.folds, labels=walk.labels, loose=loose),
    )


def _best_tried(evidence: Evidence) -> Rung:
    against_mid = [step for step in evidence.steps if step.below == "identity"]
    return max(against_mid, key=lambda step: step.gain).rung


def _compared(
    evidence: Evidence, walk: _Walk, *, p: FloatArray, history: TrainingHistory
) -> Evidence:
    """Add the paired comparisons with the mid and with the champions."""
    return replace(
        evidence,
        against_mid=compare(walk.test, p, reference=walk.p["identity"], name=MID_NAME),
        against_champion=compare_with_champion(walk.test, p, history.champion),
        against_superior=compare_with_champion(walk.test, p, history.superior),
    )


def _dated(evidence: Evidence, dataset: Dataset, history: TrainingHistory) -> Evidence:
    """Add how much fresher the candidate is, in days of event time."""
    end_ns = int(dataset.known_ns.max())
    champion, fresh_ns = history.champion, history.fresh_accepted_ns
    return replace(
        evidence,
        champion_age_days=None if champion is None else (end_ns - champion.data_end_ns) / DAY_NS,
        fresh_age_days=None if fresh_ns is None else (end_ns - fresh_ns) / DAY_NS,
    )


def _findings(
    assembly: Assembly, dataset: Dataset, *, walk: _Walk | None, model: Model, shown: Rung
) -> Findings:
    """Gather what the reports print."""
    findings = Findings(
        feature_set=dataset.feature_set,
        series=dataset.series_names,
        rows=len(dataset),
        markets=dataset.markets(),
        windows=dataset.windows(),
        blocks=dataset.blocks(),
        start_ns=int(dataset.ts_ns.min()),
        end_ns=int(dataset.known_ns.max()),
        left_out=assembly.left_out,
        shown=shown,
        calibration=model.formula.calibration.kind,
        trees=trees_in(model.trees or ""),
    )
    if walk is None:
        return findings
    mid_loss = squared_error(walk.p["identity"], walk.test.y)
    gains: dict[Rung, Interval] = {
        rung: block_interval(walk.test, mid_loss - squared_error(p, walk.test.y))
        for rung, p in walk.p.items()
        if rung != "identity"
    }
    return replace(
        findings,
        card=scorecard(scored_rows(walk.test, walk.p[shown])),
        rung_gains=gains,
        folds=_fold_lines(dataset, walk, shown),
    )


def _fold_lines(dataset: Dataset, walk: _Walk, shown: Rung) -> tuple[FoldLine, ...]:
    lines, start = [], 0
    for fold, result in zip(walk.folds, walk.results, strict=True):
        rows = np.arange(start, start + len(fold.test))
        start += len(fold.test)
        model = result.models[shown]
        lines.append(
            FoldLine(
                train_windows=distinct(dataset.window[fold.train]),
                test_windows=distinct(dataset.window[fold.test]),
                test_blocks=distinct(dataset.block[fold.test]),
                start_ns=int(dataset.ts_ns[fold.test].min()),
                end_ns=int(dataset.ts_ns[fold.test].max()),
                trees=trees_in(model.trees or ""),
                calibration=model.formula.calibration.kind,
                brier=fold_brier(walk.test, walk.p, rows),
            )
        )
    return tuple(lines)


def _outcome(
    verdict: Verdict, findings: Findings, *, dataset: Dataset, model: Model, own: str
) -> Outcome:
    return Outcome(
        verdict=verdict,
        findings=findings,
        model=model,
        fingerprint=own,
        feature_names=dataset.names,
        probe=_probe(dataset, model),
        reference=reference_table(dataset),
        scores=flat_scores(findings.card),
        report_text=text_report(verdict, findings),
        report_html=html_report(verdict, findings),
    )


def _probe(dataset: Dataset, model: Model) -> tuple[ProbeRow, ...]:
    """Return probe rows with what the model answers, from the text that will be served."""
    rows = dataset.take(probe_indices(dataset))
    made = forecasts(model, rows)
    check(len(made.p) == len(rows), "every probe row has a mid, so every one has a forecast")
    return tuple(
        ProbeRow(
            series=rows.series_names[code],
            values=tuple(None if isnan(v) else v for v in values),
            p_raw=p_raw,
            p=p,
        )
        for code, values, p_raw, p in zip(
            rows.series.tolist(),
            rows.features.tolist(),
            made.p_raw.tolist(),
            made.p.tolist(),
            strict=True,
        )
    )


def _empty_outcome(assembly: Assembly) -> Outcome:
    """Return the rejection of a run that could not get as far as a candidate."""
    verdict = Verdict(False, assembly.fault or "nothing to learn from")
    findings = Findings(left_out=assembly.left_out, evidence=Evidence(faults=(verdict.reason,)))
    return Outcome(
        verdict=verdict,
        findings=findings,
        report_text=text_report(verdict, findings),
        report_html=html_report(verdict, findings),
    )
