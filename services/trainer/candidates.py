"""One training run, from tables to a published verdict: the console's and the live trainer's.

In go the tables (the caller makes them, because features are another service's), out come the
outcome and its figures; the bundle, the verdict and, if accepted, the activation are on disk by
then.

A reader would question two locks. A run takes minutes and holds the lock of runs alone, so that no
two overlap; the trainer's own lock is held only to read what came before and to publish. So an
operator can roll back while a run trains, and that run is then given up: it was judged against a
model that no longer serves.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import bundle, durable, keys
from libs.common.bundle import Manifest
from libs.common.checks import UnavailableError
from libs.common.events import ModelEvent
from libs.common.feature_set import FEATURE_SET
from services.trainer import publish
from services.trainer.evidence import Champion, TrainingHistory
from services.trainer.gate import GatePolicy
from services.trainer.publish import Change
from services.trainer.shell import DEFAULT_EFFORT, Effort, Outcome, champion_of, train

LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")
"""What the fitted numbers depend on; a bundle names their versions."""

RUN_LOCK = "training"
"""Lock of a whole run, as a writer's."""


@dataclass(frozen=True)
class Tables:
    """What a run learns from: feature rows (`libs.common.rows`) and resolutions."""

    rows: pa.Table
    resolutions: pa.Table


def run_folder(root: Path) -> Path:
    """Return the folder that a run may fill and that is empty between runs."""
    return root / "training"


def run(
    root: Path,
    make_tables: Callable[[], Tables],
    *,
    cause: str,
    known_ns: Callable[[], int],
    effort: Effort = DEFAULT_EFFORT,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[Outcome, dict[str, Any]]:
    """Train, publish the verdict, activate if accepted; return the outcome and its figures.

    `known_ns` is asked when the verdict is there: the stream time at which it became known. Raises
    `UnavailableError` where another run is under way, or where another bundle was activated
    meanwhile: nothing is recorded then, run it again.
    """
    with _running(root):
        tables = make_tables()
        on_progress(0.2)
        with publish.publishing(root):
            durable.sweep(bundle.models_folder(root))
            before, served = history(root), bundle.read_current(root)
        outcome = train(
            tables.rows, tables.resolutions, history=before, policy=GatePolicy(), effort=effort
        )
        on_progress(0.9)
        ts_ns = known_ns()  # asked before the lock: it may take a while to find out
        with publish.publishing(root):
            _require_unmoved(root, served)
            bundle_id = write_candidate(root, outcome)
            reason = outcome.verdict.reason
            _publish(root, outcome, Change(bundle_id, reason, cause, ts_ns, time.time_ns()))
    on_progress(1.0)
    return outcome, _figures(outcome, bundle_id)


def history(root: Path) -> TrainingHistory:
    """Return what came before: the champion that serves and every candidate that was judged."""
    verdicts = publish.verdicts(root)
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
    """Write the candidate's bundle, whatever the verdict, and return its id.

    Where nothing could be fitted it is the base model's formula with the report that says why.
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


@contextmanager
def _running(root: Path) -> Iterator[None]:
    """Be the only run; its folder is emptied before and after, whatever a kill left."""
    with durable.writer_lock(root, RUN_LOCK):
        shutil.rmtree(run_folder(root), ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(run_folder(root), ignore_errors=True)


def _require_unmoved(root: Path, served: bundle.Current | None) -> None:
    current = bundle.read_current(root)
    if current != served:
        now = current.bundle if current else bundle.BASE
        raise UnavailableError(
            f"{now} was activated while this run trained: it was judged against another model; "
            "run it again"
        )


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
