"""The probe: rows with the answers a bundle must give before it may serve. Pure.

A manifest carries rows and what the trainer's model answered for them. A bundle is asked them in a
child process that it may kill, and again in the process that will serve it; both answers come from
`Scorer.probability`, the arithmetic of the stream and of HTTP.

The decision to question is the tolerance. On the machine that trained it the answers are equal bit
for bit, and tests hold that. What is *promised* is PROBE_TOLERANCE, because another C library may
round the last bit of `exp` or `log` otherwise, and a bundle must survive a restore elsewhere.
"""

from collections.abc import Sequence

import msgspec

from libs.common.bundle import Bundle, Manifest, ProbeRow
from libs.common.checks import BundleError
from libs.common.model import Formula
from services.predictor.scorer import Scorer

PROBE_TOLERANCE = 1e-12
"""Largest difference of p_raw and of p to the manifest's: 1e4 last bits, 1e-8 of a cent."""

PROBE_ROWS_MAX = 1_000
"""The trainer writes some twenty; more is no proof but a way to keep the checker busy."""

Answer = tuple[float, float] | None
"""(p_raw, p) of one row; None where the model has no forecast."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is given: the very text that will be served, and the rows to ask it."""

    formula: Formula
    trees_text: str
    feature_names: tuple[str, ...]
    rows: tuple[ProbeRow, ...]
    memory_bytes: int
    cpu_s: int


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the child's keeper saw: how it ended (`waitpid`), what it answered, what it printed."""

    status: int
    content: bytes = b""
    printed: bytes = b""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The child's own words: its answers, or the fault that Python could still name."""

    answers: list[Answer] = []
    fault: str | None = None


def require_contract(
    bundle: Bundle, *, feature_set: str, feature_names: tuple[str, ...]
) -> Manifest:
    """Return the manifest of a bundle that this version could serve and check.

    Raises `BundleError` if it is for other features or carries nothing to check it by.
    """
    manifest = bundle.manifest
    if manifest is None:
        raise BundleError(f"bundle {bundle.id} has no manifest")
    if manifest.feature_set != feature_set:
        raise BundleError(
            f"bundle {bundle.id} is for feature set {manifest.feature_set}, this version makes "
            f"{feature_set}: train again"
        )
    if manifest.feature_names != feature_names:
        raise BundleError(f"bundle {bundle.id}: feature names or their order are not this set's")
    if not 0 < len(manifest.probe) <= PROBE_ROWS_MAX:
        raise BundleError(
            f"bundle {bundle.id} has {len(manifest.probe)} probe rows, expected 1 to "
            f"{PROBE_ROWS_MAX}: nothing shows that it answers as it was trained to"
        )
    if any(len(row.values) != len(feature_names) for row in manifest.probe):
        raise BundleError(f"bundle {bundle.id}: a probe row has not one value per feature")
    return manifest


def answers(scorer: Scorer, names: Sequence[str], rows: Sequence[ProbeRow]) -> list[Answer]:
    """Ask `scorer` the probe rows."""
    found = [
        scorer.probability(row.series, dict(zip(names, row.values, strict=True))) for row in rows
    ]
    return [None if p is None else (p.p_raw, p.p) for p in found]


def require_answers(bundle_id: str, rows: Sequence[ProbeRow], found: Sequence[Answer]) -> None:
    """Raise `BundleError` unless every row got its expected answer, within PROBE_TOLERANCE."""
    if len(found) != len(rows):
        raise BundleError(f"bundle {bundle_id}: {len(found)} answers to {len(rows)} probe rows")
    for number, (row, answer) in enumerate(zip(rows, found, strict=True)):
        for name, expected, value in zip(
            ("p_raw", "p"), (row.p_raw, row.p), answer or (None, None), strict=True
        ):
            # Written so that a NaN on either side is a refusal.
            if value is None or not abs(value - expected) <= PROBE_TOLERANCE:
                raise BundleError(
                    f"bundle {bundle_id}: probe row {number} gets {name} {value}, the manifest "
                    f"says {expected}: it does not answer as it was trained to"
                )
