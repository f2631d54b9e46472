"""`hawk train`: make the rows from the archive and have the trainer judge what they teach."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from libs.common.manifests import require_whole
from services.console import offline
from services.trainer import candidates
from services.trainer.candidates import Tables
from services.trainer.shell import DEFAULT_EFFORT, Effort, Outcome


def run_train(
    root: Path,
    *,
    series: str | None,
    end_ns: int | None,
    cause: str,
    effort: Effort = DEFAULT_EFFORT,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[Outcome, dict[str, Any]]:
    """Train on what was known before `end_ns`, publish the verdict, activate if accepted."""
    upto_ns = end_ns if end_ns is not None else offline.newest_ns(root) + 1
    require_whole(root)
    offline.require_series(root, series)
    # An offline verdict belongs to the archive's time: --to, else the newest event.
    ts_ns = end_ns if end_ns is not None else upto_ns - 1

    def make_tables() -> Tables:
        rows = offline.feature_rows(root, end_ns=upto_ns, series=series)
        return Tables(rows, offline.resolutions(root, end_ns=upto_ns))

    return candidates.run(
        root,
        make_tables,
        cause=cause,
        known_ns=lambda: ts_ns,
        effort=effort,
        on_progress=on_progress,
    )
