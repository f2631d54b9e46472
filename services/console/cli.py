"""The table of `hawk` commands. Each parses its options, calls one function, prints what it gave.

Imports are inside the commands on purpose: `hawk --help` answers without loading pyarrow or
LightGBM. Results go to stdout (`--json`: one line), progress and logs to stderr.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from services.console.models_cli import models_app
from services.console.options import (
    DataOption,
    FromOption,
    JsonOption,
    SeriesOption,
    ToOption,
    UnderlyingOption,
    VenueArgument,
    root_of,
    settings_of,
)

app = typer.Typer(
    name="hawk",
    help="Record, forecast, gate, trade on paper, and prove it: short-horizon binary markets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="folder to fill, emptied first")] = Path(
        "data/demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Simulate, import, train, gate, replay a day, its last hour live: the loop, in minutes."""
    from services.console.demo import run_demo

    run_demo(data, settings_of(), as_json=as_json)


@app.command()
def up(
    data: DataOption = None,
    source: Annotated[
        str | None, typer.Option("--source", help="live, recording:DIR@SPEED|max, simulated@SPEED")
    ] = None,
    bus: Annotated[str | None, typer.Option("--bus", help="memory or redis, by hand")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run all services on live streams; a recording that has been played out ends it."""
    import os

    from services.console.output import emit_json
    from services.console.up import UpRequest, bus_kind, print_summary, run_up

    root, settings = root_of(data), settings_of()
    request = UpRequest(root, source or settings.source, bus_kind(bus))
    summary = run_up(request, settings)
    emit_json(summary) if as_json else print_summary(summary)
    if not summary["drained"]:
        os._exit(1)  # a service that did not drain in time is a thread that would be waited for


@app.command()
def tail(
    name: Annotated[str, typer.Argument(metavar="STREAM", help="such as forecasts")],
    data: DataOption = None,
    underlying: UnderlyingOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new ones")] = False,
    count: Annotated[int, typer.Option("-n", help="newest events first", min=0)] = 10,
    ticks: Annotated[bool, typer.Option("--ticks", help="ticks too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the newest events of a stream, one a line."""
    from services.console.tailing import TailRequest, run_tail

    request = TailRequest(root_of(data), name, underlying, follow, count, ticks)
    run_tail(request, settings_of(), as_json=as_json)


@app.command()
def streams(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the streams: length, groups, what they have not read, who is missing."""
    from services.console.listing import print_streams, run_streams
    from services.console.output import emit_json

    lines = run_streams(root_of(data), settings_of())
    emit_json(lines) if as_json else print_streams(lines)


@app.command()
def kill(venue: VenueArgument = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop paper trading, everywhere or on one venue, until `hawk resume`."""
    from services.console.commanding import print_command

    print_command(root_of(data), settings_of(), "kill", argument=venue, as_json=as_json)


@app.command()
def resume(
    venue: VenueArgument = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Let paper trading go on after `hawk kill`, or after a venue was halted."""
    from services.console.commanding import print_command

    print_command(root_of(data), settings_of(), "resume", argument=venue, as_json=as_json)


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(help="folder of the new recording")],
    days: Annotated[int, typer.Option("--days", help="UTC days", min=1)],
    seed: Annotated[int, typer.Option("--seed", help="same seed, same bytes", min=0)],
    interval_s: Annotated[int, typer.Option("--interval-s", help="between quotes")] = 10,
    start: Annotated[str | None, typer.Option("--start", help="first day, YYYY-MM-DD")] = None,
    edge: Annotated[float, typer.Option("--edge", help="planted fault of the quotes, 0 none")] = 0,
    underlyings: Annotated[int, typer.Option("--underlyings", min=1, max=3)] = 3,
    as_json: JsonOption = False,
) -> None:
    """Write a simulated recording in the import format, with its true probabilities beside."""
    from dataclasses import asdict

    from services.console.output import emit, emit_json, progress
    from services.simulator.recording import ALL, START, Setup, write_simulation

    settings_of()
    setup = Setup(
        days=days,
        seed=seed,
        interval_s=interval_s,
        start=_day(start) if start else START,
        edge=edge,
        underlyings=ALL[:underlyings],
    )
    with progress(f"simulating {days} days") as show:
        counts = write_simulation(directory, setup, progress=lambda done, total: show(done / total))
    if as_json:
        emit_json(asdict(counts))
    else:
        emit(f"simulated data in {directory}: {_listed(asdict(counts))}")


@app.command("import")
def import_(
    directory: Annotated[Path, typer.Argument(help="markets, quotes, spot .parquet")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a recording into the archive; says what was dropped or flagged, and why."""
    import msgspec

    from services.collector.recording import import_recording
    from services.console.output import emit, emit_json, progress

    root = root_of(data)
    with progress(f"importing {directory.name}") as show:
        done = import_recording(directory, root, on_progress=lambda step, share: show(share))
    if as_json:
        emit_json(msgspec.to_builtins(done))
        return
    emit(f"{done.markets} markets, {done.quotes} quotes, {done.spot} spot rows in {root}")
    emit(f"  {done.new} events were new")
    emit(f"  dropped: {_listed(done.dropped)}")
    emit(f"  flagged: {_listed(done.flagged)}")


@app.command("import-capture")
def import_capture(
    files: Annotated[list[Path], typer.Argument(help="captures, .jsonl.zst")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the archive from raw captures, by the code that records live."""
    import msgspec

    from services.collector.capture_import import import_captures
    from services.console.output import emit_json, progress
    from services.console.tables import print_capture

    root = root_of(data)
    with progress(f"importing {len(files)} captures") as show:
        done = import_captures(files, root, on_progress=show)
    emit_json(msgspec.to_builtins(done)) if as_json else print_capture(done, root)


@app.command()
def backfill(
    venue: Annotated[str, typer.Option("--venue", help="kalshi or polymarket")],
    series: Annotated[str, typer.Option("--series", help="such as KXBTC15M")],
    days: Annotated[int, typer.Option("--days", help="whole UTC days before today", min=0)],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch past markets, quotes and spot by REST into the archive; run it again to go on."""
    from services.collector.backfill import Request
    from services.console.backfilling import run_backfill

    run_backfill(root_of(data), Request(venue, series, days), settings_of(), as_json=as_json)


@app.command()
def replay(
    data: DataOption = None,
    start: FromOption = None,
    end: ToOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="new folder for the output")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="continue this output")] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="score with ID or base")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="with what was recorded live; exit 1 if different")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay the archive through features, predictor and trader; print counts and digests."""
    if compare:
        _compare(data, (start, end, out, resume, bundle), as_json=as_json)
        return
    from services.console.output import emit, emit_json, parse_time, progress
    from services.console.replaying import ReplayRequest, run_replay

    request = ReplayRequest(parse_time(start), parse_time(end), out, resume, bundle)
    with progress("replaying") as show:
        result = run_replay(root_of(data), request, settings_of(), on_progress=show)
    if as_json:
        emit_json(result)
        return
    for kind, digest in result["events"].items():
        emit(f"{kind:<10} {digest['count']:>9}  sha256 {digest['sha256']}")
    emit(f"{result['seconds']} s on {result['machine']}")


@app.command()
def train(
    data: DataOption = None,
    series: SeriesOption = None,
    end: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a candidate and put it through the gate; exit 0 accepted, 5 rejected.

    Beside containers, whose trainer has the key: order it to train.
    """
    from libs.common.checks import GateRejected, UsageError
    from services.console.commanding import is_trainers, print_command
    from services.console.output import emit, emit_json, parse_time, progress
    from services.console.training import run_train
    from services.trainer.shell import Effort

    root, settings = root_of(data), settings_of()
    if is_trainers(root, settings):
        if series is not None or end is not None:
            raise UsageError("the trainer trains on all there is: leave out --series and --to")
        print_command(root, settings, "train", as_json=as_json)
        return
    effort = Effort(workers=settings.train_workers)
    with progress("training") as show:
        outcome, figures = run_train(
            root,
            series=series,
            end_ns=parse_time(end),
            cause="operator",
            effort=effort,
            on_progress=show,
        )
    if as_json:
        emit_json(figures)
    else:
        emit(outcome.report_text)
    if not outcome.verdict.accepted:
        raise typer.Exit(GateRejected.exit_code)


@app.command()
def evaluate(
    data: DataOption = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="ID, current or base")] = None,
    series: SeriesOption = None,
    start: FromOption = None,
    end: ToOption = None,
    rows: Annotated[str, typer.Option("--rows", help="two-sided or clean")] = "two-sided",
    in_sample: Annotated[bool, typer.Option("--in-sample", help="also rows trained on")] = False,
    as_json: JsonOption = False,
) -> None:
    """Score a bundle beside the market's own price, with intervals."""
    from services.console.evaluation import EvaluateRequest, run_evaluate
    from services.console.output import emit_json, parse_time
    from services.console.tables import print_evaluation

    request = EvaluateRequest(bundle, series, parse_time(start), parse_time(end), rows, in_sample)
    result = run_evaluate(root_of(data), request)
    emit_json(result) if as_json else print_evaluation(result)


@app.command()
def verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check archive, journals, audit chain, current bundle and ledger; exit 1 if one is wrong."""
    import msgspec

    from services.console.output import emit, emit_json
    from services.console.verification import verify as run_verify

    verdict = run_verify(root_of(data))
    if as_json:
        emit_json(msgspec.to_builtins(verdict))
    else:
        emit("all is as it was written" if verdict.ok else f"fault: {verdict.fault}")
        emit(f"  checked: {_listed(msgspec.to_builtins(verdict.checked))}")
    if not verdict.ok:
        raise typer.Exit(1)


@app.command()
def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check settings, disk, Redis, keys and venues, with the fix of each fault; exit 3 or 4."""
    from services.console.doctor import run_doctor
    from services.console.doctor_report import exit_code, print_checks

    checks = run_doctor(data)
    print_checks(checks, as_json=as_json)
    raise typer.Exit(exit_code(checks))


@config_app.command("check")
def config_check(as_json: JsonOption = False) -> None:
    """Check the settings; every fault is named at once, exit code 3."""
    from libs.common.settings import describe
    from services.console.output import emit, emit_json

    settings = settings_of()
    lines: list[dict[str, Any]] = [
        {"key": key, "value": str(getattr(settings, key.removeprefix("HAWK_").lower()))}
        | {"default": default, "what": what}
        for key, default, what in describe()
    ]
    if as_json:
        emit_json(lines)
        return
    for line in lines:
        emit(f"{line['key']:<30} {line['value']:<10} {line['what']} (default {line['default']})")


def _compare(data: Path | None, others: tuple[object, ...], *, as_json: bool) -> None:
    from libs.common.checks import UsageError
    from services.console.comparing import print_comparison, run_compare
    from services.console.output import emit_json, progress

    if any(other is not None for other in others):
        raise UsageError(
            "--compare takes the span and the bundles that were recorded: give it alone"
        )
    with progress("comparing") as show:
        result = run_compare(root_of(data), settings_of(), on_progress=show)
    emit_json(result) if as_json else print_comparison(result)
    if not result["equal"]:
        raise typer.Exit(1)


def _day(text: str) -> date:
    from libs.common.checks import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--start {text!r} is not a day: write it like 2026-01-31") from error


def _listed(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
