"""`hawk train` and `hawk models`: run the trainer offline, under its lock, and publish."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import bundle, durable, keys
from libs.common.bundle import Manifest
from libs.common.checks import BundleError
from libs.common.events import ModelEvent
from services.console import offline
from services.console.verification import require_whole
from services.features.catalog import FEATURE_SET
from services.trainer import publish
from services.trainer.evidence import Champion, TrainingHistory
from services.trainer.gate import GatePolicy
from services.trainer.publish import Change
from services.trainer.shell import Outcome, champion_of, train

LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")
"""What the fitted numbers depend on; a bundle names their versions."""


def run_train(
    root: Path,
    *,
    series: str | None,
    end_ns: int | None,
    cause: str,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[Outcome, dict[str, Any]]:
    """Train on what was known before `end_ns`, publish the verdict, activate if accepted."""
    upto_ns = end_ns if end_ns is not None else offline.newest_ns(root) + 1
    require_whole(root)
    offline.require_series(root, series)
    rows = offline.feature_rows(root, end_ns=upto_ns, series=series)
    on_progress(0.2)
    with durable.writer_lock(root, publish.WRITER):
        publish.reconcile(root)
        durable.sweep(bundle.models_folder(root))
        outcome = train(
            rows,
            offline.resolutions(root, end_ns=upto_ns),
            history=history(root),
            policy=GatePolicy(),
        )
        on_progress(0.9)
        bundle_id = write_candidate(root, outcome)
        # An offline verdict belongs to the archive's time: --to, else the newest event.
        ts_ns = end_ns if end_ns is not None else upto_ns - 1
        change = Change(bundle_id, outcome.verdict.reason, cause, ts_ns, time.time_ns())
        _publish(root, outcome, change)
    on_progress(1.0)
    return outcome, _figures(outcome, bundle_id)


def history(root: Path) -> TrainingHistory:
    """Return what came before: the champion that serves and every candidate that was judged."""
    verdicts = [e for e in publish.model_events(root) if e.action in ("accepted", "rejected")]
    accepted = [e for e in verdicts if e.action == "accepted"]
    superior = [e for e in accepted if e.route == "superiority"]
    fresh = [e for e in accepted if e.route == "freshness"]
    current = bundle.read_current(root)
    return TrainingHistory(
        champion=_champion(root, current.bundle if current else None),
        superior=_champion(root, superior[-1].bundle if superior else None),
        fingerprints=tuple(e.fingerprint for e in verdicts if e.fingerprint),
        fresh_accepted_ns=_data_end_ns(root, fresh[-1]) if fresh else None,
    )


def write_candidate(root: Path, outcome: Outcome) -> str:
    """Write the candidate's bundle, whatever the verdict: where nothing could be fitted it is the
    base model's formula with the report that says why.
    """
    findings = outcome.findings
    manifest = Manifest(
        version=bundle.MANIFEST_VERSION,
        feature_set=findings.feature_set or FEATURE_SET,
        feature_names=outcome.feature_names,
        series=findings.series,
        rung=outcome.model.formula.rung,
        calibration=outcome.model.formula.calibration.kind,
        data_start_ns=findings.start_ns,
        data_end_ns=findings.end_ns,
        rows=findings.rows,
        markets=findings.markets,
        windows=findings.windows,
        blocks=findings.blocks,
        scores=dict(outcome.scores),
        libraries={name: version(name) for name in LIBRARIES},
        probe=outcome.probe,
    )
    files = {
        **bundle.formula_files(outcome.model.formula, outcome.model.trees),
        bundle.REFERENCE_FILE: _parquet(
            pa.table({}) if outcome.reference is None else outcome.reference
        ),
        bundle.REPORT_FILE: outcome.report_html.encode(),
        bundle.REPORT_TEXT_FILE: outcome.report_text.encode(),
    }
    return bundle.write_bundle(root, keys.signing_key(root), manifest, files)


def activate(root: Path, bundle_id: str, *, reason: str, overrides_gate: bool) -> dict[str, Any]:
    """Serve a bundle by the operator's order; a rejected one only if the gate is overridden."""
    with durable.writer_lock(root, publish.WRITER):
        publish.reconcile(root)
        bundle.load_bundle(root, bundle_id)
        verdict = verdict_of(root, bundle_id)
        was_accepted = bundle_id == bundle.BASE or (verdict is not None and verdict == "accepted")
        if not was_accepted and not overrides_gate:
            raise BundleError(
                f"the gate did not accept {bundle_id}: `--override-gate` serves it all the same, "
                "and the audit chain will say so"
            )
        full_reason = reason if was_accepted else f"gate overridden by the operator: {reason}"
        return _switched(publish.activate(root, _change(root, bundle_id, full_reason)))


def rollback(root: Path, *, reason: str) -> dict[str, Any]:
    """Serve again what served before the current bundle."""
    with durable.writer_lock(root, publish.WRITER):
        publish.reconcile(root)
        change = _change(root, publish.rollback_target(root), reason)
        return _switched(publish.activate(root, change, is_rollback=True))


def verdict_of(root: Path, bundle_id: str) -> str | None:
    """Return the gate's last word on a bundle: accepted, rejected, None where it had none."""
    judged = [e for e in publish.model_events(root) if e.bundle == bundle_id]
    verdicts = [e.action for e in judged if e.action in ("accepted", "rejected")]
    return "accepted" if "accepted" in verdicts else (verdicts[-1] if verdicts else None)


def list_models(root: Path) -> list[dict[str, Any]]:
    """Return one line per bundle: what it is, what the gate said, whether it serves."""
    current = bundle.read_current(root)
    serving = current.bundle if current else bundle.BASE
    lines: list[dict[str, Any]] = [
        {"bundle": bundle.BASE, "rung": "identity", "verdict": None, "serves": serving == "base"}
    ]
    for bundle_id in bundle.bundle_ids(root):
        try:
            manifest = bundle.load_bundle(root, bundle_id).manifest
        except BundleError as error:
            # One damaged bundle must not hide the others.
            lines.append({"bundle": bundle_id, "rung": "damaged", "fault": str(error)})
            lines[-1] |= {"verdict": verdict_of(root, bundle_id), "serves": bundle_id == serving}
            continue
        if manifest is not None:
            lines.append(
                {
                    "bundle": bundle_id,
                    "rung": manifest.rung,
                    "calibration": manifest.calibration,
                    "windows": manifest.windows,
                    "data_end_ns": manifest.data_end_ns,
                    "verdict": verdict_of(root, bundle_id),
                    "serves": bundle_id == serving,
                }
            )
    return lines


def _publish(root: Path, outcome: Outcome, change: Change) -> None:
    verdict = outcome.verdict
    publish.record_verdict(
        root,
        change,
        is_accepted=verdict.accepted,
        fingerprint=outcome.fingerprint,
        route=verdict.route,
        scores=outcome.scores,
    )
    current = bundle.read_current(root)
    is_new = current is None or current.bundle != change.bundle_id
    if verdict.accepted and is_new:
        publish.activate(root, change)


def _change(root: Path, bundle_id: str, reason: str) -> Change:
    return Change(bundle_id, reason, "operator", offline.newest_ns(root), time.time_ns())


def _switched(current: bundle.Current) -> dict[str, Any]:
    return {
        "bundle": current.bundle,
        "generation": current.generation,
        "reason": current.reason,
    }


def _champion(root: Path, bundle_id: str | None) -> Champion | None:
    return champion_of(bundle.load_bundle(root, bundle_id)) if bundle_id else None


def _data_end_ns(root: Path, event: ModelEvent) -> int | None:
    manifest = bundle.load_bundle(root, event.bundle).manifest
    return manifest.data_end_ns if manifest else None


def _figures(outcome: Outcome, bundle_id: str) -> dict[str, Any]:
    findings = outcome.findings
    return {
        "verdict": "accepted" if outcome.verdict.accepted else "rejected",
        "reason": outcome.verdict.reason,
        "bundle": bundle_id,
        "markets": findings.markets,
        "windows": findings.windows,
        "blocks": findings.blocks,
        "rows": findings.rows,
        "rung": outcome.model.formula.rung,
        "calibration": outcome.model.formula.calibration.kind,
        "scores": dict(outcome.scores),
        # At rung identity these are the figures of the best rung that was tried.
        "scores_of": findings.shown,
        "left_out": dict(findings.left_out or {}),
    }


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
