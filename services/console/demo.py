"""`hawk demo`: the whole loop on simulated data, and a table that a person understands.

Six simulated days of two underlyings with a *planted* fault in the quotes are imported; the trainer
looks twice at the first five (early, when the honest answer is no, and with all of them), and the
sixth is replayed with what the gate let through, trading on paper. Then `hawk up` records simulated
venues live, at high speed; a retrain is judged meanwhile and a bundle swapped in between two
forecasts. Nothing here is a market: the fault that the model finds was put there by the simulator,
and the output says so. In the quotes of the live part there is none to find.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from libs.common.archive import DAY_NS, HOUR_NS, TIME_MAX_NS, Archive
from libs.common.checks import UsageError
from libs.common.events import Event, Fill, Gap, Market, Order, QuoteSnapshot, Settlement
from libs.common.settings import Settings
from services.collector.recording import import_recording
from services.console.evaluation import EvaluateRequest, run_evaluate
from services.console.live_demo import LivePart, play_live
from services.console.output import emit, emit_json, format_time, progress
from services.console.replaying import ReplayRequest, run_replay
from services.console.tables import interval, number
from services.console.training import run_train
from services.simulator.recording import ALL, Setup, write_simulation
from services.trader.summary import Line, summarise

DAYS_HISTORY, UNDERLYINGS = 5, 2
"""Two underlyings close 576 windows a day: five days are well past the 2,000 of the trees."""

SEED, INTERVAL_S, EDGE = 7, 10, 1.5
"""Sized so that the whole fits three minutes on two cores; edge: see docs/model.md."""

EARLY_HOURS = 12
"""When the trainer first looks: far too early, and the gate must say so."""

LIVE_BEHIND_NS = 4 * HOUR_NS
"""The live part begins so long behind the days: at midnight in New York, which names markets."""

MARKER = ".hawk-demo"
"""Marks a folder as the demo's own, so that only such a folder is ever emptied."""

_E6 = 1_000_000


def run_demo(folder: Path, settings: Settings, *, as_json: bool) -> None:
    """Run the loop in `folder` and print what happened."""
    began_s = time.monotonic()
    _prepare(folder)
    recording, root, out = folder / "recording", folder / "data", folder / "replay"
    setup = Setup(
        days=DAYS_HISTORY + 1,
        seed=SEED,
        interval_s=INTERVAL_S,
        edge=EDGE,
        underlyings=ALL[:UNDERLYINGS],
    )
    with progress(f"simulating {setup.days} days") as show:
        write_simulation(recording, setup, progress=lambda done, total: show(done / total))
    start_ns = int(time_of(setup))
    split_ns = start_ns + DAYS_HISTORY * DAY_NS
    live_ns = split_ns + DAY_NS + LIVE_BEHIND_NS
    with progress(f"importing {setup.days} days") as show:
        imported = import_recording(recording, root, on_progress=lambda step, share: show(share))
    verdicts = [_train(root, start_ns + EARLY_HOURS * HOUR_NS, "an early look")]
    verdicts.append(_train(root, split_ns, "five days"))
    with progress("replaying the sixth day") as show:
        request = ReplayRequest(start_ns=split_ns, out=out)
        replayed = run_replay(root, request, settings, on_progress=show)
    live = play_live(
        LivePart(root, folder / "live.log", live_ns, SEED, setup.underlyings),
        settings,
        retrain=lambda: _train(root, live_ns, "retrain while the venues are live"),
    )
    verdicts.append(live["retrain"])
    later = EvaluateRequest(_serving(verdicts), start_ns=split_ns)
    result = {
        "simulated": True,
        "planted_edge": EDGE,
        "imported": msgspec.to_builtins(imported),
        "coverage": coverage(root, split_ns),
        "verdicts": verdicts,
        "replay": replayed,
        "evaluation": run_evaluate(root, later),
        "strategies": _strategies(root, out, split_ns),
        "live": live,
        "archive": str(root / "archive"),
        "seconds": round(time.monotonic() - began_s, 1),
    }
    emit_json(result) if as_json else _print(result, root)


def time_of(setup: Setup) -> int:
    """Return the first instant of a simulation in ns UTC."""
    return (setup.start - type(setup.start)(1970, 1, 1)).days * DAY_NS


def coverage(root: Path, start_ns: int) -> float:
    """Return the share of the lives of markets opened since `start_ns` that was observed."""
    archive = Archive(root)
    markets = archive.table(Market, start_ns=start_ns)
    lives = {
        (venue, market): (open_ns, close_ns)
        for venue, market, open_ns, close_ns in zip(
            *(markets[c].to_pylist() for c in ("venue", "market", "open_ns", "close_ns")),
            strict=True,
        )
    }
    gaps = archive.table(Gap, start_ns=start_ns)
    names = zip(gaps["venue"].to_pylist(), gaps["market"].to_pylist(), strict=True)
    spans = (gaps["end_ns"].to_numpy() - gaps["start_ns"].to_numpy()).tolist()
    missed_ns = sum(span for name, span in zip(names, spans, strict=True) if name in lives)
    total_ns = sum(close_ns - open_ns for open_ns, close_ns in lives.values())
    return 1.0 - missed_ns / total_ns if total_ns else 0.0


def _prepare(folder: Path) -> None:
    """Empty the demo's own folder; refuse one that holds anything else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise UsageError(f"{folder} holds something else: give the demo a folder of its own")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("made by `hawk demo`, emptied by the next one\n")


def _train(root: Path, end_ns: int, title: str) -> dict[str, Any]:
    with progress(f"training: {title}") as show:
        _, figures = run_train(root, series=None, end_ns=end_ns, cause="demo", on_progress=show)
    return {"title": title, "to": format_time(end_ns), **figures}


def _serving(verdicts: Sequence[dict[str, Any]]) -> str:
    """Return what served during the replayed day: the last bundle accepted before it, else base."""
    accepted = [v["bundle"] for v in verdicts[:-1] if v["verdict"] == "accepted"]
    return str(accepted[-1]) if accepted else "base"


def _strategies(root: Path, out: Path, start_ns: int) -> dict[str, Any]:
    wanted: dict[type[Event], int] = {Order: 0, Fill: 0, Settlement: 0}
    events: list[Event] = list(Archive(root).scan({Market: 0}, end_ns=TIME_MAX_NS))
    events += Archive(out).scan(wanted, end_ns=TIME_MAX_NS)
    quotes = Archive(root).scan({QuoteSnapshot: start_ns}, end_ns=TIME_MAX_NS)
    lines = summarise(events, _quotes_only(quotes), rng=np.random.default_rng(SEED))
    return {name: msgspec.to_builtins(line) for name, line in lines.items()}


def _quotes_only(events: Any) -> Any:
    return (event for event in events if isinstance(event, QuoteSnapshot))


def _print(result: dict[str, Any], root: Path) -> None:
    emit("")
    emit("SIMULATED DATA, with a fault planted in the quotes: it shows that the loop works,")
    emit("not that real markets can be beaten (docs/model.md has the figures of real recordings).")
    emit("")
    imported = result["imported"]
    counts = f"{imported['markets']} markets, {imported['quotes']} quotes"
    emit(f"imported  {counts} in 6 days, all but the last hour")
    emit("")
    emit("verdicts of the gate")
    for verdict in result["verdicts"]:
        emit(f"  {verdict['verdict'].upper():<9}{verdict['title']} (data before {verdict['to']})")
        emit(f"    {verdict['windows']} windows, {verdict['blocks']} hours; {verdict['reason']}")
        if verdict["verdict"] == "accepted":
            emit(f"    bundle {verdict['bundle']}: {verdict['rung']}, {verdict['calibration']}")
    _print_scores(result)
    _print_strategies(result["strategies"])
    _print_live(result["live"])
    emit("")
    emit(f"archive   {result['archive']} (plain Parquet; `hawk verify --data {root}`)")
    emit(f"time      {result['seconds']} s")
    emit("")
    emit("This was SIMULATED data.")


def _print_scores(result: dict[str, Any]) -> None:
    scores = result["evaluation"]
    fair = scores["on_fair_value_rows"]
    emit("")
    emit(f"the sixth day, never trained on: {scores['markets']} markets in {scores['windows']}")
    emit(f"windows, {result['coverage']:.1%} of their lives observed")
    emit(f"  {'Brier score (lower is better)':<34}{'model':>8}{'market':>8}{'fair value':>12}")
    pair, own = scores["brier"], fair["brier"]
    emit(f"  {'all two-sided quotes':<34}{number(pair['model']):>8}{number(pair['market']):>8}")
    figures = f"{number(own['model']):>8}{number(own['market']):>8}{number(own['fair_value']):>12}"
    emit(f"  {'quotes with a fair value':<34}{figures}")
    emit(f"  model better than market by {interval(scores['skill_vs_market'])} (by market)")
    emit(f"                              {interval(scores['skill_vs_market_by_block'])} (by hour)")


def _print_strategies(strategies: dict[str, Any]) -> None:
    emit("")
    emit("paper trading in 23 hours of the sixth day (fills against the recorded book after")
    emit("latency, fees in)")
    if not strategies:
        emit("  no trade: nobody trades on the base model")
        return
    head = ("orders", "fills", "won", "lost", "fees $", "P&L $", "stressed $")
    emit(f"  {'strategy':<12}" + "".join(f"{title:>11}" for title in head))
    for name, found in strategies.items():
        line = msgspec.convert(found, Line)
        cells = (line.orders, line.fills, line.wins, line.losses)
        money = (line.fees_e6, line.pnl_e6, line.stress_pnl_e6)
        text = "".join(f"{cell:>11}" for cell in cells)
        emit(f"  {name:<12}{text}" + "".join(f"{amount / _E6:>11.2f}" for amount in money))
        if line.clv is not None and line.clv.low is not None and line.clv.high is not None:
            span = f"[{line.clv.low:+.4f}, {line.clv.high:+.4f}]"
            emit(f"    closing-line value {line.clv.mean:+.4f} {span} $ a contract (by hour)")
    emit("  stressed: the same trades at one tick worse and half the size")
    emit(f"  quotes are {INTERVAL_S} s apart here, and a fill needs both neighbours of its arrival")
    emit("  to allow it, at the worse price; the planted fault is worth far more than the fees")


def _print_live(live: dict[str, Any]) -> None:
    emit("")
    venues = "simulated venues (Coinbase, Kalshi, Polymarket)"
    emit(f"live: `hawk up` on {venues} at {live['speed']:g} times")
    emit("their speed; in these quotes no fault is planted")
    counts = [f"{live[n]} {n}" for n in ("instants", "snapshots", "forecasts", "orders")]
    emit(f"  {', '.join(counts)}")
    swap = live["swap"]
    if swap is None:
        emit("  no swap to show: no forecast of one market stands on each side of it")
    else:
        emit("  hot swap between two forecasts of one market,")
        emit(f"  by {live['swapped_by']}:")
        for when in ("before", "after"):
            told = swap[when]
            at = f"{format_time(told['ts_ns'])} {told['venue']} {told['market']}"
            emit(f"    {at}  p {told['p']:.4f}  by {told['bundle']}")
        emit(f"    reason: {swap['reason']}")
    compared = live["compared"]
    kinds = [f"{name} {found['recorded']['count']}" for name, found in compared["events"].items()]
    verdict = "equal" if compared["equal"] else "DIFFERENT: a fault, please report it"
    emit(f"  `hawk replay --compare`, recorded live against replayed: {verdict}")
    emit(f"    {', '.join(kinds)} (with their fills, skips and settlements)")
