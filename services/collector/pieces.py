"""Which days of history are complete: one small file per target, replaced as a whole. Shell.

A target is `<venue>/<series>` or `<venue>/<product>`; its file is `backfill/<target>.json` of the
data folder. The archive is the truth and this is a note about it, so a file that is gone costs
requests and nothing else; that is why it is the one to remove where something was taken back out
of the archive.
"""

from pathlib import Path

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError
from services.collector.provenance import FILE


class Done(msgspec.Struct):
    """The complete days of one target, each with its number of rows."""

    days: dict[str, int] = {}


def read_done(root: Path, target: str) -> Done:
    """Return what is complete: nothing where there is no archive.

    Raises `ArchiveError` for a file that cannot be read.
    """
    path = _path(root, target)
    archive = root / "archive"
    # Who records here is noted in it before anything else is there.
    is_new = not archive.is_dir() or {p.name for p in archive.iterdir()} == {FILE.name}
    if not path.exists() or is_new:
        return Done()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Done)
    except (ValueError, OSError) as error:
        raise ArchiveError(
            f"{path} is damaged ({error}): remove it, and its days are asked again"
        ) from error


def write_done(root: Path, target: str, done: Done) -> None:
    """Note what is complete; a kill leaves the old note or the new one."""
    content = msgspec.json.format(msgspec.json.encode(done), indent=1)
    durable.write_atomic(_path(root, target), content, name="backfill")


def _path(root: Path, target: str) -> Path:
    return root / "backfill" / f"{target}.json"
