"""The simulator's days as one endless recording: drawn ahead by a child process, read by the hour.

Services meet in files: `python -m services.simulator` writes a day as a recording folder below
`<root>/simulator`, and what stands there is judged like any recording. A thread of its own sees to
it that the day being played and the next one are there, tries again with a growing wait when a
child fails, and removes what has been played. Every market's life lies within one hour of UTC, so
an hour can be judged alone: its pieces together are what
`hawk simulate` and `hawk import` give.

Decision to question: a day that cannot be read is removed and drawn again, not reported as damage.
It is a cache; the seed is the truth.
"""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from libs.common.archive import DAY_NS, HOUR_NS, TIME_MAX_NS
from libs.common.backoff import Backoff
from libs.common.checks import ArchiveError, UnavailableError, check
from libs.common.sources import SIMULATION_DAYS_MAX, SIMULATION_START_NS, Source
from libs.common.telemetry import log
from services.collector import metrics
from services.collector.instants import Piece
from services.collector.judgement import judge
from services.collector.recording import read_recording

FOLDER = "simulator"

LATE_NS = 600_000_000_000
"""How far behind its hour a fact may become known: results of a close take up to two minutes."""

POLL_S = 0.1
CHILD_S_MAX = 900.0
"""A day takes seconds, the walk to day 3,660 minutes; a child that takes longer hangs."""

KILL_S = 2.0
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 60.0


class Simulation:
    """The days of one setup, from `start` until `close`; `report` hears why there is a wait."""

    def __init__(
        self,
        root: Path,
        source: Source,
        *,
        stop: threading.Event,
        report: Callable[[str | None], None],
    ) -> None:
        self._source, self._stop, self._report = source, stop, report
        setup = f"seed-{source.seed}-edge-{source.edge:g}-every-{source.interval_s}s"
        self._folder = root / FOLDER / f"{setup}-{len(source.underlyings)}"
        self._is_closed = threading.Event()
        self._wanted = 1
        self._fault = ""
        self._thread = threading.Thread(target=self._draw_ahead, name="simulator", daemon=True)

    def pieces(self, after_ns: int) -> Iterator[Piece | None]:
        """Yield the hours that matter behind `after_ns`, None (after a short wait) for none yet."""
        hour = max(0, after_ns - LATE_NS - SIMULATION_START_NS) // HOUR_NS
        self._remove_other_setups()
        self._wanted = hour // 24 + 1
        self._thread.start()
        while not self._stop.is_set():
            self._wanted = hour // 24 + 1
            if self._wanted > SIMULATION_DAYS_MAX:
                raise UnavailableError(
                    f"the simulation ends after {SIMULATION_DAYS_MAX} days, and the archive is "
                    "there already: use a new data folder"
                )
            piece = self._piece(hour)
            yield piece
            hour += piece is not None

    def close(self) -> None:
        """Stop the child and the thread."""
        self._is_closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=KILL_S + 1)

    def day_folder(self, number: int) -> Path:
        """Return where day `number` stands."""
        return self._folder / f"day-{number:04d}"

    def _piece(self, hour: int) -> Piece | None:
        """Return an hour, counted from the simulation's start, once its day is there."""
        folder = self.day_folder(hour // 24 + 1)
        start_ns = SIMULATION_START_NS + hour * HOUR_NS
        end_ns = start_ns + HOUR_NS
        # The last price of a day becomes known behind midnight, in the file of that day.
        is_last = end_ns % DAY_NS == 0
        if folder.exists():
            try:
                tables = read_recording(
                    folder, span_ns=(start_ns, TIME_MAX_NS if is_last else end_ns)
                )
            except ArchiveError as error:
                log().warning("simulator.day_damaged", reason=str(error))
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._report(None)
                return Piece(judge(tables, until_ns=end_ns).kinds, end_ns)
        check(self._thread.is_alive(), "the thread that draws simulated days died")
        self._report(f"waiting for the simulator: {self._fault or f'it draws {folder.name}'}")
        self._stop.wait(POLL_S)
        return None

    def _draw_ahead(self) -> None:
        backoff = Backoff(first_s=RETRY_FIRST_S, max_s=RETRY_MAX_S)
        while not self._is_over():
            wanted = self._wanted
            missing = [n for n in (wanted, wanted + 1) if not self.day_folder(n).exists()]
            missing = [n for n in missing if n <= SIMULATION_DAYS_MAX]
            self._remove_played(wanted)
            if not missing:
                self._is_closed.wait(POLL_S)
                continue
            fault = self._draw(missing[0])
            if fault is None or self._is_over():
                self._fault = ""
                backoff.reset()
                continue
            metrics.SIMULATOR_FAILURES.inc()
            wait_s = backoff.next_s()
            self._fault = f"day {missing[0]} failed ({fault}), next try in {wait_s:.0f} s"
            log().warning(
                "simulator.failed", day=missing[0], reason=fault, retry_s=round(wait_s, 1)
            )
            self._is_closed.wait(wait_s)

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._is_closed.is_set()

    def _draw(self, number: int) -> str | None:
        """Draw one day in a child process; return what went wrong."""
        source = self._source
        command = [sys.executable, "-m", "services.simulator"]
        command += ["--out", str(self.day_folder(number)), "--day", str(number)]
        command += ["--states", str(self._folder / "states"), "--seed", str(source.seed)]
        command += ["--edge", repr(source.edge), "--interval-s", str(source.interval_s)]
        command += ["--underlyings", str(len(source.underlyings))]
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us; we end the child
            )
        except OSError as error:
            return f"cannot start {command[0]}: {error.strerror}"
        said = self._awaited(child)
        if child.returncode == 0:
            return None
        return f"exit {child.returncode}: {said[-1][:300] if said else 'without a word'}"

    def _awaited(self, child: subprocess.Popen[str]) -> list[str]:
        """Wait for the child to end by itself, or end it; return what it said."""
        polls = int(CHILD_S_MAX / POLL_S)
        for _ in range(polls):
            try:
                return child.communicate(timeout=POLL_S)[1].splitlines()
            except subprocess.TimeoutExpired:
                if self._is_over():
                    break
        child.terminate()
        try:
            said = child.communicate(timeout=KILL_S)[1]
        except subprocess.TimeoutExpired:
            child.kill()
            said = child.communicate()[1]
        return [*said.splitlines(), "was ended before it had finished"]

    def _remove_played(self, number: int) -> None:
        """Remove the days before yesterday: a start anew never goes back further."""
        for folder in sorted(self._folder.glob("day-*")):
            if folder.name < self.day_folder(number - 1).name:
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_other_setups(self) -> None:
        for folder in sorted(self._folder.parent.glob("seed-*")):
            if folder != self._folder:
                shutil.rmtree(folder, ignore_errors=True)
