"""`hawk backfill`: fetch history, say what came of it, and end with the exit code that fits."""

from pathlib import Path

import msgspec

from libs.common.checks import HawkError, UnavailableError
from libs.common.settings import Settings
from services.collector.backfill import WITH_BOOKS, Filled, Request, backfill
from services.console.output import emit, emit_json, progress


class Stopped(HawkError):
    """The operator ended the run before it was through."""


def run_backfill(root: Path, request: Request, settings: Settings, *, as_json: bool) -> None:
    """Fill `root` and print what was stored, also where the run ended early.

    Raises `UnavailableError` if a venue was given up, `Stopped` after Ctrl-C or SIGTERM.
    """
    filled: Filled | None = None
    try:
        with progress(f"backfilling {request.series}") as show:
            filled = backfill(root, request, settings, on_progress=show)
            _refuse_early_end(filled)  # inside, or the bar would be full
    finally:
        if filled is not None:
            emit_json(_result(filled)) if as_json else _print(filled, root)


def _refuse_early_end(filled: Filled) -> None:
    again = "what is complete is kept; the same command goes on from there"
    if filled.failures:
        raise UnavailableError(f"{'; '.join(filled.failures)}: {again}")
    if filled.is_stopped:
        raise Stopped(f"stopped: {again}")


def _result(filled: Filled) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(filled)
    told["stopped"] = told.pop("is_stopped")
    return told


def _print(filled: Filled, root: Path) -> None:
    emit(f"{filled.markets} markets, {filled.quotes} quotes, {filled.spot} spot rows in {root}")
    emit(f"  {filled.new} events were new, after {filled.requests} requests")
    emit(f"  {filled.skipped_pieces} days of series or spot were complete already")
    emit(f"  dropped: {_listed(filled.dropped)}")
    emit(f"  flagged: {_listed(filled.flagged)}")
    if filled.venue not in WITH_BOOKS:
        emit(f"  {filled.venue} tells no past book: quotes come from recording it live")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
