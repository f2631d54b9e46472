"""What serves, by the operator's order: activate a bundle, roll back, list what there is.

In goes a data folder and an order, out comes what serves now; the trainer's lock is held for the
moment of the switch. The console calls this from a shell and the live trainer for a `Command`, so
the gate is overridden, and that is recorded, in one way only.
"""

import time
from pathlib import Path
from typing import Any

from libs.common import bundle
from libs.common.checks import BundleError
from services.trainer import publish
from services.trainer.publish import Change

OPERATOR = "operator"


def activate(
    root: Path, bundle_id: str, *, reason: str, overrides_gate: bool, ts_ns: int
) -> dict[str, Any]:
    """Serve a bundle from `ts_ns` on; a rejected one only if the gate is overridden.

    Raises `BundleError` for a bundle that cannot be verified or that the gate did not accept.
    """
    with publish.publishing(root):
        bundle.load_bundle(root, bundle_id)
        was_accepted = bundle_id == bundle.BASE or verdict_of(root, bundle_id) == "accepted"
        if not was_accepted and not overrides_gate:
            raise BundleError(
                f"the gate did not accept {bundle_id}: `--override-gate` serves it all the same, "
                "and the audit chain will say so"
            )
        full_reason = reason if was_accepted else f"gate overridden by the operator: {reason}"
        return _switched(publish.activate(root, _change(bundle_id, full_reason, ts_ns)))


def rollback(root: Path, *, reason: str, ts_ns: int) -> dict[str, Any]:
    """Serve again what served before the current bundle."""
    with publish.publishing(root):
        change = _change(publish.rollback_target(root), reason, ts_ns)
        return _switched(publish.activate(root, change, is_rollback=True))


def verdict_of(root: Path, bundle_id: str) -> str | None:
    """Return the gate's last word on a bundle: accepted, rejected, None where it had none."""
    verdicts = [e.action for e in publish.verdicts(root) if e.bundle == bundle_id]
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


def _change(bundle_id: str, reason: str, ts_ns: int) -> Change:
    return Change(bundle_id, reason, OPERATOR, ts_ns, time.time_ns())


def _switched(current: bundle.Current) -> dict[str, Any]:
    return {
        "bundle": current.bundle,
        "generation": current.generation,
        "reason": current.reason,
    }
