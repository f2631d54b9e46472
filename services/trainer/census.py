"""How much there is to learn from: resolutions, windows and hours, counted in the archive.

In goes a data folder, out come counts behind an instant. The live trainer asks once a stream
minute; only the hour of the newest resolution and what lies behind it is read again, because the
running hour's journal has to be decoded as a whole (half a second at its end with eight markets).

A reader would question the counts of windows: they are an upper bound. Whether a window has usable
rows is seen only when its rows are made; so a run may still find a few less, and its verdict says
so.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from libs.common.archive import HOUR_NS, Archive
from libs.common.events import Resolution
from libs.common.scoring import block_of

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Resolutions that became known, distinct windows and clock hours that closed."""

    resolutions: int
    windows: int
    hours: int


class Census:
    """The venue's resolutions of one data folder, as far as it was last asked."""

    def __init__(self, root: Path) -> None:
        self._archive = Archive(root)
        self._underlyings: list[str] = []
        self._known_ns: Ints = np.empty(0, np.int64)
        self._close_ns: Ints = np.empty(0, np.int64)
        self._underlying: Ints = np.empty(0, np.int64)

    def update(self) -> None:
        """Read what became known since; raise `ArchiveError` where that cannot be read."""
        start_ns = int(self._known_ns[-1]) // HOUR_NS * HOUR_NS if len(self._known_ns) else 0
        table = self._archive.table(
            Resolution, start_ns=start_ns, names=("underlying", "about_ns", "source")
        )
        table = table.filter(np.array([s == "venue" for s in table["source"].to_pylist()], bool))
        older = self._known_ns < start_ns
        names = [self._code(name) for name in table["underlying"].to_pylist()]
        self._known_ns = np.r_[self._known_ns[older], table["ts_ns"].to_numpy()]
        self._close_ns = np.r_[self._close_ns[older], table["about_ns"].to_numpy()]
        self._underlying = np.r_[self._underlying[older], np.array(names, np.int64)]

    @property
    def first_ns(self) -> int:
        """When the first resolution became known, 0 while there is none."""
        return int(self._known_ns[0]) if len(self._known_ns) else 0

    def after(self, ts_ns: int) -> Counts:
        """Count what became known after `ts_ns`; windows and hours that also closed after it."""
        is_new = self._known_ns > ts_ns
        closed = is_new & (self._close_ns > ts_ns)
        close_ns, underlying = self._close_ns[closed], self._underlying[closed]
        windows = len(np.unique(np.c_[close_ns, underlying], axis=0))
        return Counts(int(is_new.sum()), windows, len(np.unique(block_of(close_ns))))

    def _code(self, name: str) -> int:
        if name not in self._underlyings:
            self._underlyings.append(name)
        return self._underlyings.index(name)
