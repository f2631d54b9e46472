"""What says that a `hawk up` runs on a data folder, where its bus is, and where it listens.

`DIR/run/up.json` is for other commands and for people. It is believed only while the lock `up` of
the folder is held: a file that a kill left behind names a process id that may be anybody's by now,
the kernel drops a lock with its holder.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError, UnavailableError

LOCK = "up"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """One `hawk up`: `ports` by service; with the bus in memory all are the same one."""

    pid: int
    bus: Literal["redis", "memory"]
    source: str
    host: str
    ports: dict[str, int]
    redis_url: str | None = None
    token: str = ""


def path_of(root: Path) -> Path:
    """Return where the file stands."""
    return root / "run" / "up.json"


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the lock; raise `UnavailableError` that names the `hawk up` that has it."""
    with ExitStack() as held:
        try:
            held.enter_context(durable.writer_lock(root, LOCK))
        except ArchiveError:
            raise  # the folder cannot be written, nobody else has it
        except UnavailableError as error:
            other = _read(root)
            whose = f"process {other.pid}, source {other.source}" if other else "another process"
            raise UnavailableError(
                f"`hawk up` already runs on {root} ({whose}): stop it first, or use another --data"
            ) from error
        held.callback(path_of(root).unlink, missing_ok=True)
        yield


def announce(root: Path, running: Running) -> None:
    """Write the file; to be called inside `only_one`."""
    content = msgspec.json.format(msgspec.json.encode(running), indent=1)
    folder = path_of(root).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the token is for who may act for the folder's owner
    except OSError as error:
        raise durable.cannot_write(folder, error) from error
    durable.write_atomic(path_of(root), content, name="up")


def running_on(root: Path) -> Running | None:
    """Return the `hawk up` that runs on `root`, None if there is none."""
    found = _read(root)
    if found is None:
        return None
    try:
        with durable.writer_lock(root, LOCK):
            return None
    except UnavailableError:
        return found


def _read(root: Path) -> Running | None:
    try:
        return msgspec.json.decode(path_of(root).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # it is written by rename; what cannot be read is not ours
