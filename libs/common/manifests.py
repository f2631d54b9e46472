"""Is every sealed file there, and the one that was sealed? For whoever reads in order to judge.

In goes a data folder, out comes nothing, or an `ArchiveError` that names the first file which is
gone or not the one its manifest names. Half an archive gives a whole-looking answer, so commands
that train, replay or score ask here first. Hashing is 0.3 s for 1,000 hours; reading every page is
`hawk verify`.

A reader would question the second look: a writer may replace a file and its manifest between our
reading of one and of the other, so a day that does not fit is read once more before it counts.
"""

from collections.abc import Iterator
from pathlib import Path

from libs.common import sealing
from libs.common.checks import ArchiveError
from libs.common.sealing import FileFact


def manifest_folders(root: Path) -> Iterator[Path]:
    """Yield the day folders that have a manifest."""
    return (p.parent for p in root.glob(f"archive/*/underlying=*/date=*/{sealing.MANIFEST}"))


def require_whole(root: Path) -> None:
    """Raise `ArchiveError` unless every sealed file is there and has its manifest's hash."""
    for folder in sorted(manifest_folders(root)):
        try:
            _require_day(folder)
        except ArchiveError:
            _require_day(folder)


def require_promise(path: Path, fact: FileFact) -> None:
    """Raise `ArchiveError` for a listed file that is gone, unless it was never there.

    A first write that was killed before its rename leaves a promise, not a file.
    """
    if fact.pending != fact.sha256:
        raise ArchiveError(f"{path} is in its manifest but gone: restore it")


def _require_day(folder: Path) -> None:
    for name, fact in sealing.read_manifest(folder).files.items():
        path = folder / name
        if not path.exists():
            require_promise(path, fact)
        elif sealing.hash_file(path) not in (fact.sha256, fact.pending):
            raise ArchiveError(f"{path} is not the file that was sealed (SHA-256): restore it")
