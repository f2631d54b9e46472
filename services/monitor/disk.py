"""The disk: what is free on it, and what the archive takes.

In goes a data folder, out come bytes. Free space is asked of the file system. How much the archive
takes is summed from its files, each day folder once: a folder's modification time changes whenever
a file in it is replaced (writers rename), so a day that looks as before is not listed again, and a
look costs one `stat` per day and the files of the running journals.

A reader would question that no "days left" is computed here. Redis, Prometheus and logs grow on
the same disk, and the growth of one hour says little of the next: a rule of Prometheus fits a line
through a day of *free* bytes, and says nothing before it has seen some hours.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SETTLED_NS = 2_000_000_000
"""A day folder younger than this is listed again: two changes within one tick of the file system's
clock (4 ms and more) carry one time."""


class Space(NamedTuple):
    """Bytes of a file system."""

    free: int
    total: int


def space(root: Path) -> Space | None:
    """Return the space of the file system that the archive is on; None if it cannot be asked."""
    archive = root / "archive"
    try:
        found = shutil.disk_usage(archive if archive.is_dir() else root)
    except OSError:
        return None
    return Space(found.free, found.total)


class ArchiveSize:
    """How many bytes the archive of one data folder takes."""

    def __init__(self, root: Path) -> None:
        self._archive = root / "archive"
        self._days: dict[str, tuple[int, int]] = {}
        self.listed = 0

    def look(self) -> int:
        """Return the bytes of sealed files, manifests and journals; `listed` counts listings."""
        known, self._days, total = self._days, {}, 0
        now_ns = time.time_ns()
        for kind in _folders(self._archive):
            if kind.name == "journal":
                total += _walked(kind.path)
                continue
            for day in (day for place in _folders(kind.path) for day in _folders(place.path)):
                changed_ns, size = self._day(day, known.get(day.path))
                total += size
                if now_ns - changed_ns > SETTLED_NS:
                    self._days[day.path] = (changed_ns, size)
        return total

    def _day(self, day: "os.DirEntry[str]", known: tuple[int, int] | None) -> tuple[int, int]:
        try:
            changed_ns = day.stat().st_mtime_ns
        except OSError:
            return 0, 0
        if known is not None and known[0] == changed_ns:
            return known
        self.listed += 1
        return changed_ns, _walked(day.path)


def _folders(path: str | Path) -> "Iterator[os.DirEntry[str]]":
    """Yield the folders in `path`; what vanishes meanwhile takes no space."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return


def _walked(path: str) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name), follow_symlinks=False).st_size
            except OSError:
                continue
    return total
