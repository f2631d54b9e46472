"""The table of `hawk` commands. Each parses its options, calls one function, prints what it gave.

Imports are inside the commands on purpose: `hawk --help` answers without loading pyarrow or
LightGBM. Results go to stdout (`--json`: one line), progress and logs to stderr.
"""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from libs.common.settings import Settings

app = typer.Typer(
    name="hawk",
    help="Record, forecast, gate, trade on paper, and prove it: short-horizon binary markets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
models_app = typer.Typer(no_args_is_help=True, help="Bundles: list, show, activate, roll back.")
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")

DataOption = Annotated[Path | None, typer.Option("--data", help="data folder [HAWK_DATA, data]")]
JsonOption = Annotated[bool, typer.Option("--json", help="one line of JSON")]
UnderlyingOption = Annotated[str | None, typer.Option("--underlying", help="only this one")]
VenueArgument = Annotated[str | None, typer.Argument(help="only this venue; all if left out")]
FromOption = Annotated[str | None, typer.Option("--from", help="RFC 3339, inclusive")]
ToOption = Annotated[str | None, typer.Option("--to", help="RFC 3339, exclusive")]
SeriesOption = Annotated[str | None, typer.Option("--series", help="only this series")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why, for the audit chain")]


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="folder to fill, emptied first")] = Path(
        "data/demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Simulate, import, train, gate, replay a day, its last hour live: the loop, in minutes."""
    from services.console.demo import run_demo

    run_demo(data, _settings(), as_json=as_json)


@app.command()
def up(
    data: DataOption = None,
    source: Annotated[
        str | None, typer.Option("--source", help="recording:DIR@SPEED|max or simulated@SPEED")
    ] = None,
    bus: Annotated[str | None, typer.Option("--bus", help="memory or redis, by hand")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run all services on live streams; a recording that has been played out ends it."""
    import os

    from services.console.output import emit_json
    from services.console.up import UpRequest, bus_kind, print_summary, run_up

    root, settings = _root(data), _settings()
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

    request = TailRequest(_root(data), name, underlying, follow, count, ticks)
    run_tail(request, _settings(), as_json=as_json)


@app.command()
def streams(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the streams: length, groups, what they have not read, who is missing."""
    from services.console.listing import print_streams, run_streams
    from services.console.output import emit_json

    lines = run_streams(_root(data), _settings())
    emit_json(lines) if as_json else print_streams(lines)


@app.command()
def kill(venue: VenueArgument = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop paper trading, everywhere or on one venue, until `hawk resume`."""
    from services.console.commanding import print_command

    print_command(_root(data), _settings(), "kill", venue=venue, as_json=as_json)


@app.command()
def resume(
    venue: VenueArgument = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Let paper trading go on after `hawk kill`, or after a venue was halted."""
    from services.console.commanding import print_command

    print_command(_root(data), _settings(), "resume", venue=venue, as_json=as_json)


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

    _settings()
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

    root = _root(data)
    with progress(f"importing {directory.name}") as show:
        done = import_recording(directory, root, on_progress=lambda step, share: show(share))
    if as_json:
        emit_json(msgspec.to_builtins(done))
        return
    emit(f"{done.markets} markets, {done.quotes} quotes, {done.spot} spot rows in {root}")
    emit(f"  {done.new} events were new")
    emit(f"  dropped: {_listed(done.dropped)}")
    emit(f"  flagged: {_listed(done.flagged)}")


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
        result = run_replay(_root(data), request, _settings(), on_progress=show)
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
    """Train a candidate and put it through the gate; exit 0 accepted, 5 rejected."""
    from libs.common.checks import GateRejected
    from services.console.output import emit, emit_json, parse_time, progress
    from services.console.training import run_train
    from services.trainer.shell import Effort

    effort = Effort(workers=_settings().train_workers)
    with progress("training") as show:
        outcome, figures = run_train(
            _root(data),
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
    result = run_evaluate(_root(data), request)
    emit_json(result) if as_json else print_evaluation(result)


@app.command()
def verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check archive, journals, audit chain, current bundle and ledger; exit 1 if one is wrong."""
    import msgspec

    from services.console.output import emit, emit_json
    from services.console.verification import verify as run_verify

    verdict = run_verify(_root(data))
    if as_json:
        emit_json(msgspec.to_builtins(verdict))
    else:
        emit("all is as it was written" if verdict.ok else f"fault: {verdict.fault}")
        emit(f"  checked: {_listed(msgspec.to_builtins(verdict.checked))}")
    if not verdict.ok:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the bundles, what the gate said of each, and which one serves."""
    from services.console.output import emit_json
    from services.console.tables import print_models
    from services.trainer.serving import list_models

    lines = list_models(_root(data))
    emit_json(lines) if as_json else print_models(lines)


@models_app.command("show")
def models_show(
    bundle: Annotated[str, typer.Argument(help="ID or current")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a bundle: its manifest, and the report that the gate wrote."""
    from services.console.tables import print_bundle

    print_bundle(_root(data), bundle, as_json=as_json)


@models_app.command("activate")
def models_activate(
    bundle: Annotated[str, typer.Argument(help="ID or base")],
    data: DataOption = None,
    reason: ReasonOption = "operator's choice",
    override_gate: Annotated[
        bool, typer.Option("--override-gate", help="serve a rejected bundle; is recorded")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a bundle from the archive's newest instant on."""
    from services.console.offline import newest_ns
    from services.console.tables import print_switch
    from services.trainer.serving import activate

    root = _root(data)
    switched = activate(
        root, bundle, reason=reason, overrides_gate=override_gate, ts_ns=newest_ns(root)
    )
    print_switch(switched, as_json=as_json)


@models_app.command("rollback")
def models_rollback(
    data: DataOption = None,
    reason: ReasonOption = "operator's choice",
    as_json: JsonOption = False,
) -> None:
    """Serve again what served before."""
    from services.console.offline import newest_ns
    from services.console.tables import print_switch
    from services.trainer.serving import rollback

    root = _root(data)
    print_switch(rollback(root, reason=reason, ts_ns=newest_ns(root)), as_json=as_json)


@config_app.command("check")
def config_check(as_json: JsonOption = False) -> None:
    """Check the settings; every fault is named at once, exit code 3."""
    from libs.common.settings import describe
    from services.console.output import emit, emit_json

    settings = _settings()
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
        result = run_compare(_root(data), _settings(), on_progress=show)
    emit_json(result) if as_json else print_comparison(result)
    if not result["equal"]:
        raise typer.Exit(1)


def _settings() -> "Settings":
    from libs.common.settings import load_settings
    from libs.common.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def _root(data: Path | None) -> Path:
    settings = _settings()  # always, so that a misspelt key is an error for every command
    return data if data is not None else settings.data


def _day(text: str) -> date:
    from libs.common.checks import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--start {text!r} is not a day: write it like 2026-01-31") from error


def _listed(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
