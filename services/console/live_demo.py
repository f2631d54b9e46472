"""The demo's live part: `hawk up` on simulated venues, a retrain meanwhile, a bundle swapped in.

In go a data folder with its past and how to retrain; out comes what was recorded, the two forecasts
around the swap, and whether a replay of it makes what was recorded. Simulator and services run
exactly as a user runs them, as processes: `python -m services.simulator`, and `hawk up` on it.

The decision to question: the live world begins hours behind the imported days, on the same path of
prices. Its markets are named in New York's time, those of the recording in UTC; right behind each
other, two of them would share a name.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from libs.common import bundle
from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checks import UnavailableError
from libs.common.events import Forecast, ModelEvent
from libs.common.service import PORT_OFFSETS
from libs.common.settings import Settings
from services.console import offline
from services.console.comparing import run_compare
from services.console.output import format_time
from services.console.supervisor import DRAIN_S, python_module
from services.trainer import serving

SPEED = "20"
"""Times real time: a quarter hour's market lasts 45 seconds, a training half of that."""

START_S_MAX, SWAP_S_MAX = 90.0, 60.0
"""What the first forecast, and a swap behind its activation, may take on a busy machine."""

BEHIND_SWAP_S = 10.0
"""Wall seconds recorded behind the swap: some minutes of the new bundle."""

END_S_MAX = 60.0

SERIES = ("KX{code}15M@5", "{lower}-updown-5m@5")
"""What is recorded of each underlying, a row each five seconds as the demo is no load test."""

LOOK_S = 0.5

COUNTS = ("instants", "snapshots", "forecasts", "orders")
_ACCEPTED = "the gate's verdict (it accepted the retrain)"
_REJECTED = "`hawk models activate` (the gate rejected the retrain)"

NO_TRAINING = {"HAWK_TRAIN_EVERY_H": "100000", "HAWK_TRAIN_RESOLUTIONS": "1000000"}
"""The demo asks for its one retrain by itself, so that the verdict can be shown."""


@dataclass(frozen=True)
class LivePart:
    """Simulated venues from `start_ns` on, with the path of prices that `seed` draws."""

    root: Path
    log_file: Path
    start_ns: int
    seed: int
    underlyings: tuple[str, ...]


def play_live(
    part: LivePart, settings: Settings, *, retrain: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Record the venues, swap a bundle in meanwhile, and compare what was recorded with a replay.

    Raises `UnavailableError` with the log's last line if simulator or `hawk up` end early.
    """
    before = bundle.read_current(part.root)
    with _venues(part) as url, _up(part, url) as running:
        _await(part, running, lambda: _has_forecast(part), seconds=START_S_MAX)
        verdict = retrain()
        other = _other(verdict, before)
        if other is not None:
            serving.activate(
                part.root,
                other,
                reason="shown in the demo",
                overrides_gate=True,
                ts_ns=offline.newest_ns(part.root),
            )
        _await(part, running, lambda: _has_swap(part), seconds=SWAP_S_MAX)
        time.sleep(BEHIND_SWAP_S)
        running.send_signal(signal.SIGTERM)
        summary = _summary(part, running)
    return {
        "speed": float(SPEED),
        **{name: summary[name] for name in COUNTS},
        "retrain": verdict,
        "swapped_by": _ACCEPTED if other is None else _REJECTED,
        "swap": swap_shown(part.root, part.start_ns),
        "compared": run_compare(part.root, settings),
    }


def swap_shown(root: Path, start_ns: int) -> dict[str, Any] | None:
    """Return the forecasts right before and behind the first swap within the live part.

    None where no forecast of one market stands on each side of one.
    """
    events = Archive(root).scan({ModelEvent: start_ns}, end_ns=TIME_MAX_NS)
    swaps = {
        (event.underlying, event.bundle): event.reason
        for event in events
        if isinstance(event, ModelEvent) and event.action == "swapped"
    }
    found = Archive(root).scan({Forecast: start_ns}, end_ns=TIME_MAX_NS)
    by_market: dict[tuple[str, str], list[Forecast]] = {}
    for forecast in found:
        if isinstance(forecast, Forecast):
            by_market.setdefault((forecast.venue, forecast.market), []).append(forecast)
    pairs = [
        (old, new)
        for forecasts in by_market.values()
        for old, new in pairwise(forecasts)
        if old.bundle != new.bundle and (new.underlying, new.bundle) in swaps
    ]
    if not pairs:
        return None
    old, new = min(pairs, key=lambda pair: (pair[1].ts_ns, pair[1].market))
    return {
        "reason": swaps[(new.underlying, new.bundle)],
        "before": _told(old),
        "after": _told(new),
    }


@contextmanager
def _venues(part: LivePart) -> Iterator[str]:
    """Run the simulator for the block; give its address."""
    port = _free_ports(1, 28_480)
    options = ["--port", str(port), "--speed", SPEED, "--seed", str(part.seed)]
    options += ["--start", format_time(part.start_ns), "--underlyings", str(len(part.underlyings))]
    with part.log_file.open("ab") as log:
        running = subprocess.Popen(
            python_module("services.simulator", *options), stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        _await(part, running, lambda: not _is_free(port), seconds=START_S_MAX)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(running)


@contextmanager
def _up(part: LivePart, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `hawk up` for the block; behind it, it is stopped if it still runs."""
    options = ("up", "--data", str(part.root), "--source", "live", "--json")
    codes = [name.partition("-")[0] for name in part.underlyings]
    series = [each.format(code=code, lower=code.lower()) for code in codes for each in SERIES]
    wanted = {
        "HAWK_PORT": str(_free_ports(max(PORT_OFFSETS.values()) + 1, 18_480)),
        "HAWK_SERIES": ",".join(series),
        "HAWK_SIMULATOR_URL": url,
    }
    with part.log_file.open("ab") as log:
        running = subprocess.Popen(
            python_module("services.console", *options),
            env={**os.environ, **NO_TRAINING, **wanted},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield running
    finally:
        _end(running)


def _summary(part: LivePart, running: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for the end and return what it says of itself."""
    try:
        text, _ = running.communicate(timeout=END_S_MAX)
    except subprocess.TimeoutExpired as error:
        raise _failed(part, "did not come to its end in time") from error
    if running.returncode != 0:
        raise _failed(part, f"ended with exit code {running.returncode}")
    summary: dict[str, Any] = json.loads(text)
    return summary


def _await(
    part: LivePart,
    running: "subprocess.Popen[bytes]",
    has_come: Callable[[], bool],
    *,
    seconds: float,
) -> None:
    """Wait until `has_come`."""
    deadline_s = time.monotonic() + seconds
    while not has_come():
        if running.poll() is not None:
            raise _failed(part, f"ended with exit code {running.returncode}")
        if time.monotonic() > deadline_s:
            raise _failed(part, f"showed nothing within {seconds:g} s")
        time.sleep(LOOK_S)


def _has_forecast(part: LivePart) -> bool:
    found = Archive(part.root).table(Forecast, start_ns=part.start_ns, names=())
    return bool(found.num_rows)


def _has_swap(part: LivePart) -> bool:
    return swap_shown(part.root, part.start_ns) is not None


def _other(verdict: dict[str, Any], before: bundle.Current | None) -> str | None:
    """Return the bundle to activate by hand; None where the gate has let the new one through."""
    if verdict["verdict"] == "accepted":
        return None
    served = before.bundle if before else bundle.BASE
    candidate = str(verdict["bundle"])
    return candidate if candidate != served else bundle.BASE


def _end(running: "subprocess.Popen[bytes]") -> None:
    if running.poll() is None:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(2 * DRAIN_S + 1)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _failed(part: LivePart, what: str) -> UnavailableError:
    lines = part.log_file.read_text(errors="replace").strip().splitlines()
    said = lines[-1][:300] if lines else "nothing"
    return UnavailableError(f"the live part {what}; it said: {said} (all of it: {part.log_file})")


def _free_ports(count: int, begin: int) -> int:
    """Return the first of so many free ports in a row.

    Another `hawk up` may have the usual ones, and the demo should not care.
    """
    for first in range(begin, begin + 10_000, 100):
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    raise UnavailableError("no free ports for the services of the demo")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _told(forecast: Forecast) -> dict[str, Any]:
    names = ("ts_ns", "underlying", "venue", "market", "p", "bundle")
    return {name: getattr(forecast, name) for name in names}
