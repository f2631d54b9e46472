"""The demo's live hour: `hawk up` plays it, a retrain is judged meanwhile, a bundle is swapped in.

In go a data folder that holds everything before the hour, the recording, and how to retrain; out
comes what was played, the two forecasts around the swap, and whether a replay of the hour makes
what was recorded. The services run exactly as a user runs them: `hawk up` is started as a process.

The decision to question: `hawk up` runs twice. The verdict takes as long as the machine needs, so
the hour is played at a modest speed until the swap has been seen; then it is stopped, and started
again to play the rest as fast as it goes, which shows that it goes on where it was.
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
from services.console.supervisor import DRAIN_S, python_module
from services.trainer import serving

SPEED = "20"
"""Times real time until the swap: the hour lasts three minutes, a training half of one."""

START_S_MAX, SWAP_S_MAX = 90.0, 60.0
"""What the first forecast, and a swap behind its activation, may take on a busy machine."""

END_S_MAX = 300.0
"""What the rest of the hour may take; 20 s at SPEED's end, seconds at full speed."""

LOOK_S = 0.5

COUNTS = ("instants", "snapshots", "forecasts", "orders")
_ACCEPTED = "the gate's verdict (it accepted the retrain)"
_REJECTED = "`hawk models activate` (the gate rejected the retrain)"

NO_TRAINING = {"HAWK_TRAIN_EVERY_H": "100000", "HAWK_TRAIN_RESOLUTIONS": "1000000"}
"""The demo asks for its one retrain by itself, so that the verdict can be shown."""


@dataclass(frozen=True)
class LiveHour:
    """The hour from `start_ns` on, which `recording` holds."""

    root: Path
    recording: Path
    log_file: Path
    start_ns: int


def play_live(
    hour: LiveHour, settings: Settings, *, retrain: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Play the hour, swap a bundle in the middle, and compare what was recorded with a replay.

    Raises `UnavailableError` with the log's last line if `hawk up` ends early.
    """
    before = bundle.read_current(hour.root)
    with _up(hour, SPEED) as running:
        _await(hour, running, lambda: _has_forecast(hour), seconds=START_S_MAX)
        verdict = retrain()
        other = _other(verdict, before)
        if other is not None:
            serving.activate(
                hour.root,
                other,
                reason="shown in the demo",
                overrides_gate=True,
                ts_ns=offline.newest_ns(hour.root),
            )
        if running.poll() is None:  # else the hour is over, on a machine that is very busy
            _await(hour, running, lambda: _has_swap(hour), seconds=SWAP_S_MAX)
            running.send_signal(signal.SIGTERM)
        runs = [_summary(hour, running)]
    if not runs[0]["played_out"]:
        with _up(hour, "max") as running:
            runs.append(_summary(hour, running))
    return {
        "speed": float(SPEED),
        "played_out": runs[-1]["played_out"],
        **{name: sum(run[name] for run in runs) for name in COUNTS},
        "retrain": verdict,
        "swapped_by": _ACCEPTED if other is None else _REJECTED,
        "swap": swap_shown(hour.root, hour.start_ns),
        "compared": run_compare(hour.root, settings),
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
def _up(hour: LiveHour, speed: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `hawk up` for the block; behind it, it is stopped if it still runs."""
    source = f"recording:{hour.recording}@{speed}"
    options = ("up", "--data", str(hour.root), "--source", source, "--json")
    with hour.log_file.open("ab") as log:
        running = subprocess.Popen(
            python_module("services.console", *options),
            env={**os.environ, **NO_TRAINING, "HAWK_PORT": str(_free_ports())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield running
    finally:
        _end(running)


def _summary(hour: LiveHour, running: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for the end and return what it says of itself."""
    try:
        text, _ = running.communicate(timeout=END_S_MAX)
    except subprocess.TimeoutExpired as error:
        raise _failed(hour, "did not come to its end in time") from error
    if running.returncode != 0:
        raise _failed(hour, f"ended with exit code {running.returncode}")
    summary: dict[str, Any] = json.loads(text)
    return summary


def _await(
    hour: LiveHour,
    running: "subprocess.Popen[bytes]",
    has_come: Callable[[], bool],
    *,
    seconds: float,
) -> None:
    """Wait until `has_come`, or until the hour has been played to its end."""
    deadline_s = time.monotonic() + seconds
    while not has_come() and running.poll() != 0:
        if running.poll() is not None:
            raise _failed(hour, f"ended with exit code {running.returncode}")
        if time.monotonic() > deadline_s:
            raise _failed(hour, f"showed nothing within {seconds:g} s")
        time.sleep(LOOK_S)


def _has_forecast(hour: LiveHour) -> bool:
    found = Archive(hour.root).table(Forecast, start_ns=hour.start_ns, names=())
    return bool(found.num_rows)


def _has_swap(hour: LiveHour) -> bool:
    return swap_shown(hour.root, hour.start_ns) is not None


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


def _failed(hour: LiveHour, what: str) -> UnavailableError:
    lines = hour.log_file.read_text(errors="replace").strip().splitlines()
    said = lines[-1][:300] if lines else "nothing"
    return UnavailableError(f"`hawk up` {what}; it said: {said} (all of it: {hour.log_file})")


def _free_ports() -> int:
    """Return the first of as many free ports as the services listen on.

    Another `hawk up` may have the usual ones, and the demo should not care.
    """
    count = max(PORT_OFFSETS.values()) + 1
    for first in range(18_480, 60_000, 100):
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
