"""How far each service has come: from what it has written, because the archive knows.

A writer's position is the last tick in its own journal, the trader's stands in its checkpoint. The
decision to question is that "everything has been read" is not simply asked of Redis: its pending
lists and lags die with a flush, and a group that is missing looks like one that has nothing to do.
Only for the trader, whose checkpoint may be ten seconds behind it, is the bus believed as well.
"""

from pathlib import Path

from libs.common.archive import Archive
from libs.common.bus import Bus
from libs.common.checkpoint import read_checkpoint
from libs.common.checks import ArchiveError, BusError
from libs.common.events import Tick
from libs.common.journal import read_journal
from libs.common.service import begin_ns, underlyings
from libs.common.stream_writer import counter_path, read_counter
from libs.common.streams import stream, stream_name

PIPELINE = ("snapshots", "features", "forecasts")
"""Streams that pass the tick of an instant on, in the order in which it gets there."""

TRADED = ("snapshots", "forecasts")
"""What the trader reads of each underlying."""


def writer_ns(root: Path, kind: str, underlying: str) -> int:
    """Return the last instant that is complete in a market stream; -1 if there is none."""
    writer = stream(kind).writers[0]
    counter = read_counter(counter_path(root, writer=writer, kind=kind, underlying=underlying))
    for path in reversed(Archive(root).journals(kind, underlying)):
        try:
            entries = read_journal(path).entries
        except ArchiveError:
            if path.exists():
                raise
            continue  # sealed since it was listed; the counter is read again on the next look
        for entry in reversed(entries):
            if isinstance(entry.event, Tick):
                return max(counter.tick_ns, entry.event.ts_ns)
    return counter.tick_ns


def trader_ns(root: Path) -> int | None:
    """Return the last instant that the trader has done, None if there is none."""
    checkpoint = read_checkpoint(root)
    return checkpoint.tick_ns if checkpoint else None


def streamed(root: Path) -> list[str]:
    """Return the underlyings that were ever streamed live in this folder."""
    return underlyings(root, writer="collector", kind="snapshots")


def live_begin_ns(root: Path) -> int | None:
    """Return the instant behind which the collector's first stream begins, None if there is none.

    The counter keeps the newest instant of the archive when streaming began; the live part starts
    one nanosecond later.
    """
    begins = [begin_ns(root, "collector", "snapshots", name) for name in streamed(root)]
    return min((begin + 1 for begin in begins if begin is not None), default=None)


def unfinished(root: Path, bus: Bus) -> str | None:
    """Return who has not yet come to the end of what was collected, None if all have."""
    names = streamed(root)
    ends = {name: writer_ns(root, "snapshots", name) for name in names}
    for kind in PIPELINE[1:]:
        for name in names:
            done_ns = writer_ns(root, kind, name)
            if done_ns < ends[name]:
                return f"{stream(kind).writers[0]} of {name} is {_behind(ends[name], done_ns)}"
    end_ns = max(ends.values(), default=-1)
    done_ns = trader_ns(root) or -1
    if done_ns < end_ns and not _has_read_all(bus, names):
        return f"trader is {_behind(end_ns, done_ns)}"
    return None


def _has_read_all(bus: Bus, names: list[str]) -> bool:
    """Tell whether the trader was given everything and has done it."""
    for kind in TRADED:
        for name in names:
            try:
                facts = bus.facts(stream_name(kind, name))
            except BusError:
                return False
            groups = [g for g in facts.groups if g.name == "trader"] if facts else []
            if not groups or groups[0].pending or groups[0].lag_true:
                return False
    return True


def _behind(end_ns: int, done_ns: int) -> str:
    return "at the beginning" if done_ns < 0 else f"{(end_ns - done_ns) / 1e9:.3f} s behind"
