"""Results as tables for a person: a score beside the market's, an estimate with its interval."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from libs.common import bundle
from libs.common.checks import UsageError
from services.console.output import emit, emit_json, format_time

if TYPE_CHECKING:
    from services.collector.capture_import import CaptureImported

_MISSING = "-"


def number(value: float | None, digits: int = 4) -> str:
    """Return a figure, or a dash where there is none.

    >>> number(0.15), number(None)
    ('0.1500', '-')
    """
    return _MISSING if value is None or isnan(value) else f"{value:.{digits}f}"


def interval(found: dict[str, float | None]) -> str:
    """Return an estimate with its interval.

    >>> interval({"estimate": 0.001, "low": -0.002, "high": 0.004})
    '+0.0010 [-0.0020, +0.0040]'
    """
    if any(v is None or isnan(v) for v in found.values()):
        return _MISSING
    return f"{found['estimate']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def print_evaluation(result: dict[str, Any]) -> None:
    """Print what `hawk evaluate` found."""
    emit(f"bundle {result['bundle']}")
    counts = [f"{result[name]} {name}" for name in ("rows", "markets", "windows", "blocks")]
    emit("scored: " + ", ".join(counts))
    left_out = ", ".join(f"{name} {n}" for name, n in result["left_out"].items())
    emit(f"left out: {left_out or 'none'}")
    if not result["rows"]:
        emit("no row to score: only rows after the bundle's training data count (see --in-sample)")
        return
    emit(f"{'':<24}{'model':>10}{'market':>10}")
    for name in ("brier", "log_loss", "standardised"):
        pair = result[name]
        emit(f"{name:<24}{number(pair['model']):>10}{number(pair['market']):>10}")
    model, market = result["calibration_error"], result["calibration_error_market"]
    emit(f"{'calibration_error':<24}{number(model):>10}{number(market):>10}")
    emit(f"skill against the market's mid, by market: {interval(result['skill_vs_market'])}")
    by_block = interval(result["skill_vs_market_by_block"])
    emit(f"{'  by hour block:':<43}{by_block}")
    fair = result["on_fair_value_rows"]
    scores = ", ".join(f"{name} {number(value)}" for name, value in fair["brier"].items())
    emit(f"rows with a fair value: {fair['rows']} in {fair['markets']} markets: {scores}")
    emit(f"{'time left (s)':<16}{'markets':>8}{'model':>10}{'market':>10}")
    for bucket in result["by_time_left"]:
        span = f"{bucket['from_s']:g}-{bucket['to_s']:g}"
        pair = bucket["brier"]
        scores = f"{number(pair['model']):>10}{number(pair['market']):>10}"
        emit(f"{span:<16}{bucket['markets']:>8}{scores}")


def print_models(lines: list[dict[str, Any]]) -> None:
    """Print the list of bundles."""
    emit(
        f"  {'bundle':<26}{'rung':<10}{'calibration':<17}{'windows':>8}  {'verdict':<10}data until"
    )
    for line in lines:
        mark = "*" if line["serves"] else " "
        until = format_time(line["data_end_ns"]) if "data_end_ns" in line else _MISSING
        windows = line.get("windows", _MISSING)
        calibration = line.get("calibration", _MISSING)
        verdict = line["verdict"] or _MISSING
        emit(
            f"{mark} {line['bundle']:<26}{line['rung']:<10}{calibration:<17}{windows:>8}"
            f"  {verdict:<10}{until}"
        )
    emit("* serves now")


def print_bundle(root: Path, wanted: str, *, as_json: bool) -> None:
    """Print a bundle's manifest (JSON), or the report that was written with it."""
    if wanted == "current":
        current = bundle.read_current(root)
        if current is None:
            raise UsageError("no bundle was ever activated: the base model serves")
        wanted = current.bundle
    loaded = bundle.load_bundle(root, wanted)
    if as_json:
        emit_json({"bundle": loaded.id, "manifest": msgspec.to_builtins(loaded.manifest)})
        return
    if loaded.manifest is None:
        emit("base: the market's mid, fair value where a side is missing; nobody trades on it")
        return
    folder = bundle.models_folder(root) / loaded.id
    emit((folder / bundle.REPORT_TEXT_FILE).read_text())
    emit(f"report with pictures: {folder / bundle.REPORT_FILE}")


def print_switch(switched: dict[str, Any], *, as_json: bool) -> None:
    """Print what serves now."""
    if as_json:
        emit_json(switched)
    else:
        emit(f"{switched['bundle']} serves (generation {switched['generation']})")
        emit(f"  {switched['reason']}")


def print_capture(done: "CaptureImported", root: Path) -> None:
    """Print what captures held and what they became."""
    counts = f"{done.quotes} quotes, {done.spot} spot rows of {done.markets} markets"
    emit(f"{done.frames} frames: {counts} in {root}, {done.new} events were new")
    rejected = ", ".join(f"{reason} {n}" for reason, n in done.rejected.items()) or "none"
    emit(f"  rejected: {rejected}")
    emit(f"  jumps in sequences: {done.gaps}, intervals without a row: {done.gap_rows}")
    told = done.ticker_agreement
    emit(f"  best prices told beside the book: {told.equal} of {told.compared} equal on arrival")
    kept = f"{done.snapshots_equal} equal to the book they replaced, {done.snapshots_different} not"
    emit(f"  later snapshots: {kept}; sizes below zero: {done.negative_levels}")
