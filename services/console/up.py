"""`hawk up`: all services on one data folder, until the recording is played out or we are stopped.

In go a source and a choice of bus, out comes a summary. The services are processes on Redis where
there is one (named, or installed), else threads on the bus in memory; both are kept running by the
same loop. When the collector says that its recording has been played out, the rest is given the
time to read everything, then all is drained.

The decision to question: what can never work is looked for before anything is started (the source,
the ports, a Redis that is named and silent), because a service that cannot start is restarted for
ever, and a page of restarts hides the one line that says why.
"""

import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import pyarrow.compute as pc

from libs.common.archive import Archive
from libs.common.bus import Bus
from libs.common.checks import ConfigError, HawkError, UnavailableError, UsageError
from libs.common.events import Forecast, Order, QuoteSnapshot, SpotSnapshot
from libs.common.service import PORT_OFFSETS
from libs.common.settings import Settings
from libs.common.sources import Source, parse_source
from libs.common.stop_sign import STOP_SIGNALS, set_by_signals
from libs.common.streams import SERVICES
from libs.common.telemetry import log
from services.console import commanding, listing, positions, running
from services.console.embedded import Embedded, all_services
from services.console.event_lines import printable
from services.console.fleet import Fleet
from services.console.output import emit
from services.console.own_redis import own_redis, server_path
from services.console.running import Running

LOOK_S = 0.2
"""Between two looks at the services: a death is noticed within it."""

PLAYED_OUT_LOOK_S = 0.5
WAITING_LOG_S = 30.0

RECORDING_FILES = ("markets.parquet", "quotes.parquet", "spot.parquet")

BusKind = Literal["redis", "memory"]


@dataclass(frozen=True)
class UpRequest:
    """What to run; `bus` None takes what there is."""

    root: Path
    source: str
    bus: BusKind | None = None


class Keeper(Protocol):
    """What keeps services running: `Fleet` or `Embedded`."""

    bus: Bus

    @property
    def hopeless(self) -> tuple[str, int] | None:
        """A service that no restart can help, with its exit code."""

    def start(self, now_s: float) -> None:
        """Start all services."""

    def step(self, now_s: float) -> None:
        """Notice deaths, and start what is due."""

    def is_done(self, name: str) -> bool:
        """Tell whether a service has ended well."""

    def drain(self) -> bool:
        """Stop all; False if one did not drain in time."""


class _Hopeless(HawkError):
    """A service ended with a code that its settings will give again."""


def run_up(request: UpRequest, settings: Settings) -> dict[str, Any]:
    """Run until the end of the recording or a stop sign; return the summary.

    Raises `HawkError` for what can never work, with the exit code of its kind.
    """
    root = request.root
    _require_source(parse_source(request.source))
    with running.only_one(root), _stop_sign() as stop:
        before = Archive(root).span_ns()
        keeper, state = _keeper(request, settings)
        try:
            keeper.start(time.monotonic())
            running.announce(root, state)
            _say(_notices(root, state))
            is_played = watch(keeper, root, stop)
        finally:
            is_clean = keeper.drain()
        summary = _summary(root, before[1] + 1 if before else 0)
        summary = {"played_out": is_played, "drained": is_clean, **summary}
        if keeper.hopeless is not None:
            raise _given_up(*keeper.hopeless)
    return summary


def bus_kind(text: str | None) -> BusKind | None:
    """Return the bus that was asked for; raise `UsageError` if there is none of that name."""
    kinds: dict[str | None, BusKind | None] = {None: None, "memory": "memory", "redis": "redis"}
    if text in kinds:
        return kinds[text]
    raise UsageError(f"--bus {text!r}: choose memory or redis")


def print_summary(summary: dict[str, Any]) -> None:
    """Print what a run did, as one line."""
    how = "played out and read to the end" if summary["played_out"] else "stopped"
    counts = [f"{summary[n]} {n}" for n in ("instants", "snapshots", "forecasts", "orders")]
    emit(
        f"{how}: {', '.join(counts)}" + ("" if summary["drained"] else "; not all drained in time")
    )


def watch(keeper: Keeper, root: Path, stop: threading.Event) -> bool:
    """Keep all running; return whether everything there was has been played and read."""
    told_s = looked_s = time.monotonic()
    while not stop.wait(LOOK_S) and keeper.hopeless is None:
        now_s = time.monotonic()
        keeper.step(now_s)
        if not keeper.is_done("collector") or now_s < looked_s + PLAYED_OUT_LOOK_S:
            continue
        waits_for = positions.unfinished(root, keeper.bus)
        if waits_for is None:
            return True
        # A look reads journals; it must not take a core from those who are waited for.
        looked_s = time.monotonic() + 2 * (time.monotonic() - now_s)
        if now_s > told_s + WAITING_LOG_S:
            log().info("up.waiting", reason=waits_for)
            told_s = now_s
    return False


def _keeper(request: UpRequest, settings: Settings) -> tuple[Keeper, Running]:
    """Choose the bus and make what keeps the services running on it."""
    root, url = request.root, settings.redis_url
    if settings.redis_password_file is not None and url is None:
        raise ConfigError("HAWK_REDIS_PASSWORD_FILE is set, HAWK_REDIS_URL is not: name the Redis")
    has_redis = url is not None or server_path() is not None
    kind = request.bus or ("redis" if has_redis else "memory")
    is_memory = kind == "memory"
    offsets = dict.fromkeys(SERVICES, 0) if is_memory else PORT_OFFSETS
    ports = {name: settings.port + offsets[name] for name in SERVICES}
    _require_free(settings.http_host, sorted(set(ports.values())))
    state = Running(
        pid=os.getpid(),
        bus=kind,
        source=request.source,
        host=settings.http_host,
        ports=ports,
        token=secrets.token_hex(16) if is_memory else "",
    )
    if is_memory:
        return _embedded(root, settings.model_copy(update={"source": request.source}), state), state
    redis = url if url is not None else own_redis(root)
    fleet = Fleet(root, settings, source=request.source, redis=redis)
    return fleet, msgspec.structs.replace(state, redis_url=fleet.url)


def _embedded(root: Path, settings: Settings, state: Running) -> Embedded:
    embedded = Embedded(root, settings, runs=all_services(), ends_well=("collector",))
    embedded.web.mount(listing.PAGE, listing.page(embedded.bus, root))
    embedded.web.mount(commanding.PAGE, commanding.page(embedded.bus, root, state.token))
    return embedded


@contextmanager
def _stop_sign() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and the end of the terminal set."""
    stop = threading.Event()
    before = set_by_signals(stop, (*STOP_SIGNALS, signal.SIGHUP))
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_source(source: Source) -> None:
    """Raise `UnavailableError` for a recording that is not there: waiting does not bring it."""
    if source.directory is None:
        return
    for path in [source.directory / name for name in RECORDING_FILES]:
        if not path.is_file():
            raise UnavailableError(
                f"cannot read {path}: no such file; a recording is a folder with "
                f"{', '.join(RECORDING_FILES)}"
            )


def _require_free(host: str, ports: list[int]) -> None:
    """Raise `UnavailableError` that names the first port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise UnavailableError(
                    f"cannot listen on {host}:{port}: {error.strerror}; another `hawk up`? "
                    "Stop what uses the port or set HAWK_PORT"
                ) from error


def _notices(root: Path, state: Running) -> list[str]:
    """Return what a person wants to know at the start."""
    where = f"--data {root}"
    lines = [f"hawk up: {state.source} into {root}"]
    if state.redis_url is None:
        lines.append(
            "  streams   in the memory of this process (no Redis needed; it forgets at exit)"
        )
    else:
        path = state.redis_url.removeprefix("unix://")
        client = f"redis-cli -s {path}" if path != state.redis_url else f"redis-cli -u {path}"
        lines.append(f"  streams   Redis at {state.redis_url}")
        lines.append(f"            {client} XRANGE 'hawk:{{BTC-USD}}:forecasts' - + COUNT 3")
    ports = ", ".join(f"{name} {port}" for name, port in sorted(state.ports.items()))
    is_one = len(set(state.ports.values())) == 1
    lines += [
        f"  look      hawk tail forecasts --follow {where}; hawk streams {where}",
        f"  pages     curl http://{state.host}:{min(state.ports.values())}/readyz"
        + ("" if is_one else f"  ({ports})"),
        "  stop      Ctrl-C",
    ]
    return lines


def _say(lines: list[str]) -> None:
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stderr.flush()


def _summary(root: Path, start_ns: int) -> dict[str, int]:
    """Count what was added to the archive since `start_ns`."""
    archive = Archive(root)
    tables = {
        kind: archive.table(kind, start_ns=start_ns, names=("ts_ns",))
        for kind in (QuoteSnapshot, SpotSnapshot, Forecast, Order)
    }
    times = [tables[kind]["ts_ns"] for kind in (QuoteSnapshot, SpotSnapshot)]
    instants = {ts for column in times for ts in pc.unique(column).to_pylist()}
    return {
        "instants": len(instants),
        "snapshots": sum(map(len, times)),
        "forecasts": tables[Forecast].num_rows,
        "orders": tables[Order].num_rows,
    }


def _given_up(name: str, code: int) -> HawkError:
    """Return the error that ends `hawk up` with the exit code of the service."""
    for kind in (UsageError, ConfigError):
        if code == kind.exit_code:
            return kind(f"{name} cannot run with these settings: its log line above says why")
    return _Hopeless(f"{name} ended with exit code {code}: its log line above says why")
