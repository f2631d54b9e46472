"""From a bundle's name to a scorer that may serve: every lock, in order.

Signature, hashes, structure (`bundle.load_bundle`), feature set, then load and probe in a child
process with limits on time, memory and CPU (`child.py`), and only then the load in this process,
which is asked the same rows once more. The text that goes to the child by pipe is the text that is
loaded here: no file is read twice. Any refusal is a `BundleError` whose text is the reason.

The child is started when the first bundle with trees comes and rests after REST_S without one: it
would hold 60 MB for a swap a day, and costs that swap 0.7 s more. A bundle without trees meets no
parser and needs no child.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from libs.common.bundle import BASE_BUNDLE, Bundle, Manifest, load_bundle
from libs.common.checks import BundleError
from libs.common.feature_set import FEATURE_NAMES, FEATURE_SET
from services.predictor.child import LENGTH, READY
from services.predictor.native import row_scorer
from services.predictor.probe import (
    Answered,
    Reply,
    Task,
    answers,
    require_answers,
    require_contract,
)
from services.predictor.scorer import Scorer

REST_S = 120.0
"""Seconds without a bundle after which the warm child is let go."""

STARTS_MAX = 2
"""A child that was killed between two checks is started again, once."""

CLOSE_PAUSE_S = 0.05
"""How often the end looks whether the check it cuts short has noticed."""

_MODULE = "services.predictor.child"
_ROOT = Path(__file__).parent.parent.parent
_FRAME_BYTES_MAX = 1 << 22
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a check may take; generous, because the old model serves meanwhile.

    `start_s` is the import of LightGBM (7 s were seen on a loaded machine), `wall_s` one check,
    `cpu_s` its processor time (a model of 50 MiB loads in 3 s), `memory_bytes` what a model may map
    on top of the libraries.
    """

    start_s: float = 60.0
    wall_s: float = 60.0
    cpu_s: int = 20
    memory_bytes: int = 1 << 30


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Contract:
    """The features that rows carry: what a bundle must be made for."""

    feature_set: str = FEATURE_SET
    feature_names: tuple[str, ...] = FEATURE_NAMES


DEFAULT_CONTRACT = Contract()


class _ChildGone(Exception):
    """The warm child was not there any more: nothing is said about the bundle."""


class Verifier:
    """Makes scorers of bundles that pass; owns the warm child. Thread-safe, one check at a time."""

    def __init__(
        self,
        root: Path,
        *,
        contract: Contract = DEFAULT_CONTRACT,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._root = root
        self._contract = contract
        self._limits = limits
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._used_s = 0.0
        self._is_closed = False

    def load(self, bundle_id: str) -> Scorer:
        """Return a bundle ready to serve; raise `BundleError` with the reason if it is refused."""
        bundle = load_bundle(self._root, bundle_id)
        if bundle is BASE_BUNDLE:
            return Scorer(bundle)
        manifest = require_contract(
            bundle,
            feature_set=self._contract.feature_set,
            feature_names=self._contract.feature_names,
        )
        return self.scorer(bundle, manifest)

    def scorer(self, bundle: Bundle, manifest: Manifest) -> Scorer:
        """Probe a bundle whose structure was checked, first in the child, and return its scorer."""
        names, rows = manifest.feature_names, manifest.probe
        residual = None
        if bundle.trees_text is not None:
            require_answers(bundle.id, rows, self._ask_child(bundle, manifest))
            residual = row_scorer(bundle.trees_text, len(names))
        scorer = Scorer(bundle, residual)
        require_answers(bundle.id, rows, answers(scorer, names, rows))
        return scorer

    def rest(self) -> None:
        """Let the child go if nothing was checked for a while."""
        with self._lock:
            if time.monotonic() - self._used_s > REST_S:
                self._kill()

    def close(self) -> None:
        """End the child, and with it a check that runs: that one is refused as not checked."""
        self._is_closed = True
        while not self._lock.acquire(timeout=CLOSE_PAUSE_S):
            if self._child is not None:  # again and again: it may just be starting
                _kill_group(self._child)
        self._kill()
        self._lock.release()

    def _ask_child(self, bundle: Bundle, manifest: Manifest) -> list[tuple[float, float] | None]:
        task = Task(
            formula=bundle.formula,
            trees_text=bundle.trees_text or "",
            feature_names=manifest.feature_names,
            rows=manifest.probe,
            memory_bytes=self._limits.memory_bytes,
            cpu_s=self._limits.cpu_s,
        )
        content = msgspec.msgpack.encode(task)
        with self._lock:
            reply = self._exchange(bundle.id, content)
            self._used_s = time.monotonic()
        return self._judged(bundle.id, reply).answers

    def _exchange(self, bundle_id: str, content: bytes) -> Reply:
        """Send the task and wait for the reply, however the child fares."""
        for _ in range(STARTS_MAX):
            if self._is_closed:
                break
            child = self._started(bundle_id)
            try:
                deadline_s = time.monotonic() + self._limits.wall_s
                _send(child, content, deadline_s)
                return msgspec.msgpack.decode(_receive(child, deadline_s), type=Reply)
            except TimeoutError as error:
                self._kill()
                raise BundleError(
                    f"bundle {bundle_id} hangs: its child process did not answer within "
                    f"{self._limits.wall_s:g} s"
                ) from error
            except _ChildGone:
                self._kill()
        raise BundleError(f"bundle {bundle_id} was not checked: the child process keeps dying")

    def _started(self, bundle_id: str) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._kill()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                bufsize=0,
                start_new_session=True,
            )
            is_ready = _receive(self._child, time.monotonic() + self._limits.start_s) == READY
        except (OSError, TimeoutError, _ChildGone) as error:
            self._kill()
            raise BundleError(
                f"bundle {bundle_id} was not checked: no child process could be started "
                f"({str(error) or type(error).__name__})"
            ) from error
        if not is_ready:
            raise BundleError(f"bundle {bundle_id} was not checked: the child does not know us")
        return self._child

    def _judged(self, bundle_id: str, reply: Reply) -> Answered:
        """Turn how the child ended into a reason, or into its answers."""
        if reply.status:
            raise BundleError(f"bundle {bundle_id} {self._how_it_ended(reply)}")
        try:
            answered = msgspec.msgpack.decode(reply.content, type=Answered)
        except msgspec.DecodeError as error:
            raise BundleError(f"bundle {bundle_id}: its child answered nonsense") from error
        if answered.fault is None:
            return answered
        if "bad_alloc" in answered.fault or "MemoryError" in answered.fault:
            raise BundleError(f"bundle {bundle_id} {self._needs_memory()}")
        raise BundleError(f"bundle {bundle_id}: {answered.fault[:200]}")

    def _how_it_ended(self, reply: Reply) -> str:
        signal_number = reply.status & 0x7F
        if b"bad_alloc" in reply.printed:
            return self._needs_memory()
        if signal_number == signal.SIGXCPU:
            return f"hangs: its child process used {self._limits.cpu_s} s of CPU"
        how = signal.Signals(signal_number).name if signal_number else "an error"
        return f"crashes its child process ({how})"

    def _needs_memory(self) -> str:
        return f"needs more than {self._limits.memory_bytes >> 20} MiB of memory"

    def _kill(self) -> None:
        """End the child and what it forked."""
        child, self._child = self._child, None
        if child is None:
            return
        _kill_group(child)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    # One that has ended by itself is not signalled: its number may be another's by now.
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Return what the child needs to find its code and its libraries: no setting, no secret."""
    kept = {k: os.environ[k] for k in ("LD_LIBRARY_PATH", "PATH") if k in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **threads, "PYTHONPATH": str(_ROOT), "LANG": "C.UTF-8"}


def _send(child: subprocess.Popen[bytes], content: bytes, deadline_s: float) -> None:
    descriptor = child.stdin.fileno() if child.stdin else -1
    os.set_blocking(descriptor, False)
    view = memoryview(LENGTH.pack(len(content)) + content)
    while view:
        _wait(descriptor, select.POLLOUT, deadline_s)
        try:
            view = view[os.write(descriptor, view[:_CHUNK_BYTES]) :]
        except OSError as error:
            raise _ChildGone from error


def _receive(child: subprocess.Popen[bytes], deadline_s: float) -> bytes:
    descriptor = child.stdout.fileno() if child.stdout else -1
    (length,) = LENGTH.unpack(_read(descriptor, LENGTH.size, deadline_s))
    if length > _FRAME_BYTES_MAX:
        raise _ChildGone
    return _read(descriptor, length, deadline_s)


def _read(descriptor: int, count: int, deadline_s: float) -> bytes:
    content = b""
    while len(content) < count:
        _wait(descriptor, select.POLLIN, deadline_s)
        chunk = os.read(descriptor, count - len(content))
        if not chunk:
            raise _ChildGone
        content += chunk
    return content


def _wait(descriptor: int, event: int, deadline_s: float) -> None:
    """Wait until the pipe is ready; raise `TimeoutError` at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1_000):
        raise TimeoutError
