"""`hawk replay`: the archive through features, predictor and trader, hashed or written out."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.common.checkpoint import CHECKPOINT_FILE
from libs.common.checks import UsageError
from libs.common.manifests import require_whole
from libs.common.replay import Replay
from libs.common.settings import Settings
from services.console import offline


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay: [start_ns, end_ns), into `out` (new), continuing `resume`, or only hashed."""

    start_ns: int | None = None
    end_ns: int | None = None
    out: Path | None = None
    resume: Path | None = None
    bundle_id: str | None = None


def run_replay(
    root: Path,
    request: ReplayRequest,
    settings: Settings,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Replay and return counts, digests and seconds."""
    began_s = time.monotonic()
    out = _output_folder(root, request)
    require_whole(root)
    newest_ns = offline.newest_ns(root)
    end_ns = request.end_ns if request.end_ns is not None else newest_ns + 1
    if request.start_ns is not None and request.start_ns >= end_ns:
        raise UsageError("--from is not before --to (or the archive's end): nothing to replay")
    span = offline.open_archive(root).span_ns()
    first_ns = max(request.start_ns or 0, span[0] if span else 0)
    replay = Replay(
        root,
        offline.handlers(root, settings, bundle_id=request.bundle_id),
        out=out,
        run=f"archive from {span[0] if span else 0}, {request.bundle_id or 'recorded'} bundles",
        model_events=offline.switches(root, bundle_id=request.bundle_id),
    )
    digests = replay.run(
        start_ns=request.start_ns or 0,
        end_ns=end_ns,
        on_progress=lambda ts_ns: on_progress((ts_ns - first_ns) / max(1, end_ns - first_ns)),
    )
    return {
        "events": {k: {"count": d.count, "sha256": d.sha256} for k, d in digests.items()},
        "seconds": round(time.monotonic() - began_s, 3),
        "machine": f"{platform.python_version()} {platform.machine()} {platform.libc_ver()[1]}",
    }


def _output_folder(root: Path, request: ReplayRequest) -> Path | None:
    """Return the output folder; a new one must hold no output yet."""
    if request.out is not None and request.resume is not None:
        raise UsageError("--out starts a new output and --resume continues one: give only one")
    out = request.out or request.resume
    if out is None:
        return None
    if out.resolve() == root.resolve():
        raise UsageError(
            f"the output must not be the data folder {root}: a replay never writes there"
        )
    has_output = (out / "archive").exists() or (out / CHECKPOINT_FILE).exists()
    if request.out is not None and has_output:
        raise UsageError(f"{out} already holds a replay: continue it with --resume, or remove it")
    if (root / "archive").resolve() in (out.resolve(), *out.resolve().parents):
        raise UsageError(f"{out} lies inside the archive of {root}: a replay never writes there")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder for the output")
    return out
