"""Record the simulated venues while everything goes wrong, and hold the recording to the truth.

`python -m benchmarks.wire_faults --minutes 30` starts the simulator with all its faults cycling and
a collector alone on it, both accelerated, stops them, and prints coverage, equality and memory. The
tests run two minutes of it. Both are processes of their own, as in production.

At a speed of twenty a host that takes a virtual processor away for a tenth of a second takes two
seconds from the collector. What Linux counts as stolen is noted, and coverage and equality are
printed twice: of all ticks, to which the promise is held, and of those at which the machine was
ours, which tell a reader of a red run whose fault it was.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from benchmarks.common import machine
from benchmarks.wire_truth import Checked, check_truth
from libs.common.stream_time import StreamTime

SERIES = "KXBTC15M,btc-updown-5m,btc-updown-15m"
START_S_MAX, STOP_S_MAX = 60.0, 30.0
NEVER = (
    "unexplained",
    "duplicates",
    "doubled",
    "wrong",
    "strikes_wrong",
    "resolutions_wrong",
    "settlements_wrong",
)
"""Counts that no slow machine excuses."""

SETTLE_S = 60
"""Stream seconds at the start that are not judged: connections, listings, first books."""

FAULT_EVERY_S = 60.0
"""Stream seconds from one fault to the next; each lasts 5 to 45, some a window."""

MEMORY_GROWTH_MAX = 1.15
"""Resident memory at the end over that a third into the run: Python's arenas breathe by some
percent, a leak of one kB a message would be far beyond."""

LATE_SHARE_MAX = 0.05
"""Ticks that could not be judged because the simulator was late itself; more, and a run says
nothing."""

COVERAGE_MIN, EQUALITY_MIN = 0.999, 0.9999

STOLEN_S_MIN, STOLEN_LOOK_S, STOLEN_BEHIND_S = 0.03, 0.05, 0.25
"""A look at what was stolen that finds so much of it, of all processors together, disturbs the
ticks from the look before until so much later, when what had piled up is worked off."""

_COLLECTOR = """
import sys
from pathlib import Path
from libs.common.context import Context
from libs.common.memory_bus import MemoryBus
from libs.common.settings import load_settings
from libs.common.telemetry import configure_logging
from libs.common.stop_sign import set_by_signals
from libs.common.web import Web
from services.collector.shell import run
settings = load_settings(None)
configure_logging("info")
context = Context("collector", settings.data, settings, MemoryBus(), Web())
set_by_signals(context.stop)
run(context)
context.close()
"""


class Run:
    """A simulator and a collector in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        speed: float,
        seed: int,
        fault_every_s: float = 0.0,
        start: str = "now",
        is_keyless: bool = False,
    ) -> None:
        """Prepare; nothing runs yet.

        A collector that `is_keyless` polls Kalshi by REST instead of its signed feeds.
        `start` is the stream time at which the world begins; every `fault_every_s` stream seconds
        the next of all faults is switched on (0: none).
        """
        self.folder, self._speed, self._seed, self._start = folder, speed, seed, start
        self._fault_every_s, self._is_keyless = fault_every_s, is_keyless
        self.root, self.truth = folder / "data", folder / "truth" / "truth.jsonl"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._write_key()
        self.simulator: subprocess.Popen[bytes] | None = None
        self.collector: subprocess.Popen[bytes] | None = None

    def start_simulator(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "services.simulator", "--port", str(self._port)]
        command += ["--speed", str(self._speed), "--seed", str(self._seed), "--start", self._start]
        command += ["--truth", str(self.folder / "truth"), "--kalshi-key"]
        command += [str(self.folder / "public.pem")]
        if self._fault_every_s:
            command += ["--faults", "cycle", "--faults-every", str(self._fault_every_s)]
        with (self.folder / "simulator.log").open("ab") as log:
            self.simulator = subprocess.Popen(command, stdout=log, stderr=log)
        deadline_s = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline_s and self.simulator.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/clock", timeout=2).read()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the simulator did not start: see {self.folder}/simulator.log")

    def start_collector(self, **settings: str) -> None:
        """Start a collector, also one after another."""
        environment = {key: v for key, v in os.environ.items() if not key.startswith("HAWK_")}
        environment |= {
            "HAWK_DATA": str(self.root),
            "HAWK_SOURCE": "live",
            "HAWK_SERIES": SERIES,
            "HAWK_SIMULATOR_URL": self.url,
            **settings,
        }
        if not self._is_keyless:
            environment["HAWK_KALSHI_KEY_ID"] = "test-key"
            environment["HAWK_KALSHI_KEY_FILE"] = str(self.folder / "private.pem")
        with (self.folder / "collector.log").open("ab") as log:
            self.collector = subprocess.Popen(
                [sys.executable, "-c", _COLLECTOR], env=environment, stdout=log, stderr=log
            )

    def hurt(self, name: str, venue: str, seconds: float) -> None:
        """Switch a fault on for so many stream seconds."""
        told = json.dumps({"name": name, "venue": venue, "seconds": seconds}).encode()
        urllib.request.urlopen(f"{self.url}/faults", data=told, timeout=10).read()

    def stop(self) -> int:
        """Stop both; return the collector's exit code."""
        code = -1
        for child in (self.collector, self.simulator):
            if child is None:
                continue
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            try:
                found = child.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                found = child.wait()
            code = found if child is self.collector else code
        return code

    def memory_bytes(self) -> int:
        """Return the collector's resident memory."""
        assert self.collector is not None
        fields = Path(f"/proc/{self.collector.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def clock(self) -> StreamTime:
        """Ask the simulator for its clock."""
        told = json.loads(urllib.request.urlopen(f"{self.url}/clock", timeout=10).read())
        return StreamTime(told["start_ns"], told["began_ns"], told["speed"])

    def checked(self, is_calm: Callable[[int], bool] | None = None) -> Checked:
        """Hold the archive against the truth."""
        series, products = frozenset(SERIES.split(",")), frozenset({"BTC-USD"})
        return check_truth(
            self.root,
            self.truth,
            series=series,
            products=products,
            settle_s=SETTLE_S,
            polled=frozenset({"kalshi"} if self._is_keyless else ()),
            is_calm=is_calm,
        )

    def _write_key(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "private.pem").write_bytes(private)
        (self.folder / "private.pem").chmod(0o600)
        (self.folder / "public.pem").write_bytes(public)


class Stolen:
    """Looks, in a thread of its own, at how much of the machine its host gave to others."""

    def __init__(self) -> None:
        """Begin to look."""
        self.total_s = 0.0
        self._spans: list[tuple[int, int]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End looking."""
        self._is_over.set()
        self._thread.join()

    def is_calm(self, wall_ns: int) -> bool:
        """Tell whether nothing to speak of was stolen shortly before a wall time."""
        place = bisect_right(self._spans, (wall_ns, 2**63)) - 1
        return place < 0 or wall_ns > self._spans[place][1]

    def _look(self) -> None:
        before_s, before_ns = _stolen_s(), time.time_ns()
        while not self._is_over.wait(STOLEN_LOOK_S):
            now_s, now_ns = _stolen_s(), time.time_ns()
            self.total_s += now_s - before_s
            if now_s - before_s >= STOLEN_S_MIN:
                self._spans.append((before_ns, now_ns + round(STOLEN_BEHIND_S * 1e9)))
            before_s, before_ns = now_s, now_ns


def _stolen_s() -> float:
    """Return the seconds stolen from all processors since the start; 0 where nobody counts them."""
    try:
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def record(
    folder: Path,
    *,
    seconds: float,
    speed: float,
    seed: int,
    fault_every_s: float,
    is_keyless: bool = False,
) -> dict[str, Any]:
    """Record for so many seconds of wall time; return the figures."""
    run = Run(folder, speed=speed, seed=seed, fault_every_s=fault_every_s, is_keyless=is_keyless)
    memory: list[int] = []
    stolen = Stolen()
    try:
        run.start_simulator()
        clock = run.clock()
        run.start_collector()
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            time.sleep(min(5.0, seconds / 20))
            assert run.collector is not None
            if run.collector.poll() is not None:
                break
            memory.append(run.memory_bytes())
    finally:
        code = run.stop()
        stolen.stop()
    checked = run.checked(lambda ts_ns: stolen.is_calm(clock.wall_of(ts_ns)))
    calm = checked.calm or Checked()
    third = max(1, len(memory) // 3)
    return {
        "seconds": seconds,
        "speed": speed,
        "exit_code": code,
        "stolen_s": round(stolen.total_s, 2),
        "coverage": checked.coverage,
        "equality": checked.equality,
        "calm_ticks": calm.ticks,
        "calm_coverage": calm.coverage,
        "calm_equality": calm.equality,
        "memory_bytes": memory[-1] if memory else 0,
        "memory_growth": max(memory[-third:]) / max(memory[: 2 * third][-third:]) if memory else 0,
        **vars(checked),
    }


def main() -> None:
    """Run and print; exit 1 where a promise is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--keyless", action="store_true", help="poll Kalshi by REST")
    parser.add_argument("--keep", type=Path, help="folder to keep")
    wanted = parser.parse_args()
    if wanted.keep is not None and wanted.keep.exists() and any(wanted.keep.iterdir()):
        parser.error(f"--keep {wanted.keep}: holds an earlier run; name a new or an empty folder")
    with tempfile.TemporaryDirectory(prefix="hawk-wire-") as folder:
        found = record(
            wanted.keep or Path(folder),
            seconds=wanted.minutes * 60,
            speed=wanted.speed,
            seed=wanted.seed,
            fault_every_s=0.0 if wanted.no_faults else FAULT_EVERY_S,
            is_keyless=wanted.keyless,
        )
    sys.stdout.write(json.dumps({**found, "machine": machine()}, indent=1, default=str) + "\n")
    kept = (
        found["coverage"] >= COVERAGE_MIN
        and found["equality"] >= EQUALITY_MIN
        and all(found[count] == 0 for count in ("exit_code", *NEVER))
        and found["memory_growth"] <= MEMORY_GROWTH_MAX
        and found["late"] <= LATE_SHARE_MAX * found["ticks"]
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
