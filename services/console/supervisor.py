"""Processes that are kept running: started, restarted when they die, stopped in time, never left.

In go command lines and the monotonic time of each look; what happens is on the log. `step` does one
look and returns at once, so that a test says what time it is.

The decision to question is how no process outlives us even if we are killed: the kernel sends each
child SIGKILL when the thread that started it is gone (Linux, PR_SET_PDEATHSIG), because a pipe that
children watch cannot bind `redis-server`, and a kill loses nothing here. So only the main thread
may start children. Each is leader of a session of its own: Ctrl-C reaches `hawk up` alone, which
then stops all in order, and what a dead child has left behind is killed with its group.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from libs.common.checks import UnavailableError
from libs.common.telemetry import log
from services.console.restarts import HOPELESS_CODES, Record, exit_text

DRAIN_S = 10.0
"""What SIGTERM leaves a service to finish its batch; then it is killed, which loses nothing."""

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.02
_STDERR = 2


@dataclass(frozen=True)
class Child:
    """A command line that is kept running.

    `ends_well` names one whose exit code 0 means that it is done and not started again.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ends_well: bool = False


@dataclass
class _Life:
    """One child: what runs now, and its record."""

    child: Child
    record: Record = field(default_factory=Record)
    running: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    is_done: bool = False


class Supervisor:
    """Keeps children running; to be used by the main thread, see the module."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        self.hopeless: tuple[str, int] | None = None

    def add(self, child: Child, *, now_s: float) -> None:
        """Start `child` and keep it running; raise `UnavailableError` if it cannot be started."""
        life = _Life(child)
        self._lives[child.name] = life
        self._start(life, now_s)

    def step(self, now_s: float) -> None:
        """Notice deaths, and start what is due.

        `hopeless` then names a child that will die again whatever is done, with its exit code.
        """
        for life in self._lives.values():
            if life.running is not None and _has_exited(life.running):
                self._bury(life, now_s)
            is_down = life.running is None and not life.is_done
            if is_down and self.hopeless is None and now_s >= life.record.due_s:
                self._restart(life, now_s)

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs now, by name."""
        return {name: life.running.pid for name, life in self._lives.items() if life.running}

    def pids_alive(self) -> dict[str, int]:
        """Return the same without those that have ended and were not looked at since."""
        running = {name: life.running for name, life in self._lives.items() if life.running}
        return {name: child.pid for name, child in running.items() if not _has_exited(child)}

    def is_done(self, name: str) -> bool:
        """Tell whether a child that `ends_well` has ended well."""
        return self._lives[name].is_done

    def drain(self, names: Collection[str] | None = None, *, within_s: float = DRAIN_S) -> bool:
        """Stop `names` (default all) by SIGTERM, after `within_s` by SIGKILL; False if one was.

        They are not started again.
        """
        chosen = [life for name, life in self._lives.items() if names is None or name in names]
        for life in chosen:
            life.is_done = True
            if life.running is not None:
                _send(life.running, signal.SIGTERM)
        deadline_s = time.monotonic() + within_s
        left = [life for life in chosen if life.running is not None]
        while left and time.monotonic() < deadline_s:
            left = [life for life in left if not self._has_ended(life)]
            if left:
                time.sleep(_LOOK_S)
        for life in left:
            log().warning("child.killed", child=life.child.name, after_s=within_s)
            self._end(life, signal.SIGKILL)
        return not left

    def kill(self) -> None:
        """Kill what runs, at once: the last resort of an error on the way."""
        for life in self._lives.values():
            life.is_done = True
            self._end(life, signal.SIGKILL)

    def _restart(self, life: _Life, now_s: float) -> None:
        """Start again; a machine that has no room for a process now may have it later."""
        try:
            self._start(life, now_s)
        except UnavailableError as error:
            log().warning("child.unstartable", child=life.child.name, reason=str(error))
            life.record = life.record.after_death(started_s=now_s, ended_s=now_s)

    def _start(self, life: _Life, now_s: float) -> None:
        child = life.child
        life.started_s = now_s
        try:
            life.running = subprocess.Popen(
                child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,  # the one stdout is for our own result
                stderr=_STDERR,
                start_new_session=True,
                preexec_fn=_tied_to(os.getpid()),  # noqa: PLW1509  # one thread, see the module
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot start {child.name} ({child.command[0]}): {error.strerror or error}"
            ) from error
        log().info("child.started", child=child.name, pid=life.running.pid)

    def _has_ended(self, life: _Life) -> bool:
        if life.running is None or not _has_exited(life.running):
            return False
        code = _reap(life.running)
        life.running = None
        log().info("child.stopped", child=life.child.name, how=exit_text(code))
        return True

    def _bury(self, life: _Life, now_s: float) -> None:
        """Take note of an end that nobody asked for."""
        if life.running is None:
            return
        code, name = _reap(life.running), life.child.name
        life.running = None
        if code == 0 and life.child.ends_well:
            life.is_done = True
            log().info("child.finished", child=name)
            return
        if code in HOPELESS_CODES:
            self.hopeless = (name, code)
            log().error("child.hopeless", child=name, how=exit_text(code))
            return
        life.record = life.record.after_death(started_s=life.started_s, ended_s=now_s)
        log().warning(
            "child.died",
            child=name,
            how=exit_text(code),
            deaths_in_a_row=life.record.deaths,
            restart_in_s=round(life.record.due_s - now_s, 3),
        )

    def _end(self, life: _Life, number: int) -> None:
        if life.running is not None:
            _send(life.running, number)
            _has_exited(life.running, waits=True)
            _reap(life.running)
            life.running = None


def _has_exited(running: "subprocess.Popen[bytes]", *, waits: bool = False) -> bool:
    """Tell whether a child is a zombie; it stays one, so that its pid still is its group's."""
    options = os.WEXITED | os.WNOWAIT | (0 if waits else os.WNOHANG)
    return os.waitid(os.P_PID, running.pid, options) is not None


def _send(running: "subprocess.Popen[bytes]", number: int) -> None:
    """Signal a child; `Popen.send_signal` would reap one that has just ended, behind our back."""
    os.kill(running.pid, number)


def _reap(running: "subprocess.Popen[bytes]") -> int:
    """Kill what a dead child has left of its group (workers), then take its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
    return running.wait()


def _tied_to(parent: int) -> Callable[[], None] | None:
    """Return what a child does before it becomes its command: ask to die with us."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we died in between
            os._exit(1)

    return tie


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line that runs a module with this interpreter.

    >>> python_module("services.trader")[1:]
    ('-m', 'services.trader')
    """
    return (sys.executable, "-m", name, *arguments)
