"""The child process in which a bundle is loaded and asked, before it may serve.

LightGBM's parser ends the process on most damaged models and loops for ever on some, so the first
to touch a model is a process that may die. `python -m services.predictor.child` imports LightGBM
once and then forks for every task: a fork costs milliseconds where an import costs seconds, and
every bundle meets memory that no other bundle has touched. The forked process gives up CPU time,
memory, files, sockets, children and core files before it looks at a byte.

Frames on stdin and from stdout: 8 bytes of length, then msgpack. The first frame out says that the
import is done. The decision to question: this is a fuse, not a sandbox. It has no secret in its
environment and can open nothing, but who can sign a bundle can still run code as this user.
"""

import ctypes
import os
import resource
import select
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from libs.common.bundle import Bundle
from libs.common.checks import BundleError
from services.predictor.native import leave_out_extras, row_scorer
from services.predictor.probe import Answered, Reply, Task, answers
from services.predictor.scorer import Scorer

LENGTH = struct.Struct("<Q")
READY = b"ready"
NICE = 10
"""Checking a model must not take the processor from serving one."""

CONTENT_BYTES_MAX = 1 << 20
"""Answers of PROBE_ROWS_MAX rows take 20 kB."""

PRINTED_BYTES_MAX = 8_192
_CHUNK_BYTES = 1 << 16
_DESCRIPTORS = 64
_SAY = 0  # the child reads nothing, so its answer leaves by the lowest number
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Serve tasks from stdin until it closes."""
    os.nice(NICE)
    leave_out_extras()
    import lightgbm  # noqa: F401  # before the first fork, so that no child pays for it

    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # LightGBM prints there
    _write_frame(replies, READY)
    while (content := _read_frame(0)) is not None:
        _write_frame(replies, msgspec.msgpack.encode(run_forked(lambda: _serve(content))))


def run_forked(serve: Callable[[], Answered]) -> Reply:
    """Run `serve` in a forked child and return how that ended.

    Ends this process where its own parent is gone: a child that loops must not outlive both.
    """
    content_out, content_in = os.pipe()
    printed_out, printed_in = os.pipe()
    for descriptor in (printed_out, printed_in):
        os.set_blocking(descriptor, False)  # who prints more than fits loses it, and goes on
    child = os.fork()
    if child == 0:
        _be_child(serve, content_in=content_in, printed_in=printed_in)
    os.close(content_in)
    os.close(printed_in)
    try:
        content = _collect(content_out, child)
        _, status = os.waitpid(child, 0)
        return Reply(status=status, content=content, printed=_available(printed_out))
    finally:
        os.close(content_out)
        os.close(printed_out)


def _be_child(serve: Callable[[], Answered], *, content_in: int, printed_in: int) -> NoReturn:
    """Answer and end; whatever happens, never return into the loop that is the parent's."""
    status = 1
    try:
        for own, given in ((_SAY, content_in), (1, printed_in), (2, printed_in)):
            os.dup2(given, own)
        os.closerange(3, _DESCRIPTORS)  # of all others it keeps nothing
        try:
            answered = serve()
        except (BundleError, MemoryError, msgspec.DecodeError, RecursionError) as error:
            answered = Answered(fault=f"{type(error).__name__} {error}".strip())
        _write(_SAY, msgspec.msgpack.encode(answered))
        status = 0
    finally:
        os._exit(status)


def _serve(content: bytes) -> Answered:
    """Load what the task holds and ask it."""
    task = msgspec.msgpack.decode(content, type=Task)
    _limit(memory_bytes=task.memory_bytes, cpu_s=task.cpu_s)
    residual = row_scorer(task.trees_text, len(task.feature_names))
    bundle = Bundle(id="probed", formula=task.formula, trees_text=task.trees_text)
    return Answered(answers=answers(Scorer(bundle, residual), task.feature_names, task.rows))


def _limit(*, memory_bytes: int, cpu_s: int) -> None:
    """Give up what a check does not need; memory is counted on top of what is mapped already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_bytes = pages * resource.getpagesize() + memory_bytes
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    for kind in ("CORE", "FSIZE", "NOFILE", "NPROC"):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (0, 0))


def _collect(descriptor: int, child: int) -> bytes:
    """Read what the child says until it ends; end with it where our own parent has gone."""
    content = b""
    while True:
        ready, _, _ = select.select([0, descriptor], [], [])
        if descriptor in ready:
            chunk = os.read(descriptor, _CHUNK_BYTES)
            content += chunk
            if not chunk or len(content) > CONTENT_BYTES_MAX:
                break
        elif 0 in ready:  # nothing is sent before the reply: this is the end of the pipe
            os.kill(child, signal.SIGKILL)
            os._exit(0)
    if len(content) > CONTENT_BYTES_MAX:
        os.kill(child, signal.SIGKILL)
    return content


def _available(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK_BYTES)[-PRINTED_BYTES_MAX:]
    except BlockingIOError:
        return b""


def _read_frame(descriptor: int) -> bytes | None:
    """Return the next frame, None at the end of the pipe."""
    head = _read(descriptor, LENGTH.size)
    return None if len(head) < LENGTH.size else _read(descriptor, *LENGTH.unpack(head))


def _read(descriptor: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        chunk = os.read(descriptor, min(count - len(content), 1 << 20))
        if not chunk:
            break
        content += chunk
    return bytes(content)


def _write_frame(descriptor: int, content: bytes) -> None:
    _write(descriptor, LENGTH.pack(len(content)) + content)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
