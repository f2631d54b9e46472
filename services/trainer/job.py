"""A training run in a process of its own: how it is started, watched and stopped, and what it does.

`Job` is the side of the live service, `work` the side of the child; what crosses is a command line
and one JSON line on the child's standard output. A process of its own, because a run takes up to a
gigabyte and minutes of two cores: it is niced, its memory goes back when it ends, and killing it at
any instant is safe (`publish.reconcile` completes what was begun).

A reader would question the pipe that nobody writes to. A service that is killed cannot stop its
child, so the child watches its standard input: at the end of it, it takes itself and what it has
started down. No second run then starts beside an orphan.
"""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from libs.common.archive import Archive
from libs.common.checks import ArchiveError, GateRejected, HawkError, UnavailableError
from libs.common.events import Resolution
from libs.common.journal import read_journal
from libs.common.manifests import require_whole
from services.trainer.candidates import Tables, run, run_folder
from services.trainer.shell import Effort

NICE = 10
"""Behind everything that answers to somebody."""

RUN_S_MAX = 6 * 3600.0
"""A run that takes longer than a night is stuck: a year of one series trains in minutes."""

STOP_S = 5.0
"""What SIGTERM leaves a run before it is killed; a service has ten seconds in all."""

STOP_LOOK_S = 0.02

ROWS_FILE = "rows.arrow"


@dataclass(frozen=True)
class Result:
    """How a run ended: its figures, or the reason why there are none."""

    figures: dict[str, Any] | None
    fault: str | None = None


class Job:
    """A run under way."""

    def __init__(self, root: Path, *, cause: str, end_ns: int) -> None:
        self.cause = cause
        self._began_s = time.monotonic()
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        command = (sys.executable, "-m", "services.trainer", "train")
        options = ("--data", str(root), "--cause", cause, "--to", str(end_ns))
        self._running = subprocess.Popen(
            (*command, *options),
            stdin=subprocess.PIPE,
            stdout=self._answer,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._running.pid

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._began_s

    def result(self) -> Result | None:
        """Return how it ended, None while it runs; one that runs for too long is stopped."""
        if not self._has_exited():
            if self.seconds < RUN_S_MAX:
                return None
            self.stop()
            return Result(None, f"stopped after {RUN_S_MAX:.0f} s")
        self._answer.seek(0)
        text = self._answer.read().decode(errors="replace").strip()
        code = self.stop()
        with suppress(json.JSONDecodeError):
            found = json.loads(text.splitlines()[-1] if text else "")
            if code in (0, GateRejected.exit_code):
                return Result(found)
            return Result(None, str(found.get("fault", f"exit code {code}")))
        return Result(None, _death(code))

    def stop(self) -> int:
        """End it and everything it has started, in STOP_S at most; return its exit code."""
        deadline_s = time.monotonic() + STOP_S
        self._signal(signal.SIGTERM)
        while not self._has_exited() and time.monotonic() < deadline_s:
            time.sleep(STOP_LOOK_S)
        # The leader is not reaped yet, so its group is still ours; what it left goes with it.
        self._signal(signal.SIGKILL)
        code = self._running.wait()
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._answer.close()
        return code

    def _has_exited(self) -> bool:
        """Tell without reaping: a reaped leader's number may belong to others."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._running.pid, options) is not None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._running.pid, number)


def work(root: Path, *, cause: str, end_ns: int, workers: int) -> int:
    """Run once on what was known before `end_ns`, print the answer, return the exit code."""
    os.nice(NICE)
    if _is_child():
        threading.Thread(target=_watch_parent, name="watch", daemon=True).start()
    began_s = time.monotonic()
    try:
        outcome, figures = run(
            root,
            lambda: _tables(root, end_ns),
            cause=cause,
            known_ns=lambda: newest_ns(root),
            effort=Effort(workers=workers),
        )
    except HawkError as error:
        print(json.dumps({"fault": str(error)}), flush=True)
        return error.exit_code
    figures["seconds"] = round(time.monotonic() - began_s, 1)
    figures["rss_mb_max"] = _rss_mb_max()
    print(json.dumps(figures), flush=True)
    return 0 if outcome.verdict.accepted else GateRejected.exit_code


def newest_ns(root: Path) -> int:
    """Return the newest instant of the archive; raise `ArchiveError` if it is empty.

    While the collector runs that is its last tick, which is far cheaper to find than the edges of
    every kind of event.
    """
    archive = Archive(root)
    with suppress(ArchiveError):  # a journal that is sealed while we look
        paths = [archive.journals("snapshots", name)[-1:] for name in archive.underlyings()]
        ends = [read_journal(path).entries[-1:] for found in paths for path in found]
        ticks = [entry.event.ts_ns for end in ends for entry in end]
        if ticks:
            return max(ticks)
    span = archive.span_ns()
    if span is None:
        raise ArchiveError(f"{root} has an empty archive: there is nothing to learn from")
    return span[1]


def _tables(root: Path, end_ns: int) -> Tables:
    """Have the rows made by the service whose they are, and read them."""
    require_whole(root)
    path = run_folder(root) / ROWS_FILE
    command = (sys.executable, "-m", "services.features", "rows")
    options = ("--data", str(root), "--to", str(end_ns), "--out", str(path))
    made = subprocess.run(
        (*command, *options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if made.returncode != 0:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        raise UnavailableError(f"no feature rows: {said[-1] if said else _death(made.returncode)}")
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return Tables(rows, Archive(root).table(Resolution, end_ns=end_ns))


def _watch_parent() -> None:
    """Wait for the end of standard input, which is the parent's; then go with it."""
    while os.read(0, 1):
        pass
    os.killpg(os.getpid(), signal.SIGTERM)


def _is_child() -> bool:
    """Tell whether a `Job` started us; by hand, standard input is a terminal or nothing."""
    return stat.S_ISFIFO(os.fstat(0).st_mode) and os.getpgid(0) == os.getpid()


def _death(code: int) -> str:
    if code >= 0:
        return f"the run ended with exit code {code} and no answer"
    name = signal.Signals(-code).name
    hint = ": out of memory?" if -code == signal.SIGKILL else ""
    return f"the run was ended by {name}{hint}"


def _rss_mb_max() -> int:
    """Return the largest memory of this process or of one it started, in MB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds)
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
