"""`hawk tail`: the events of a stream as they come, from Redis, else from the archive's journals.

In goes the name of a stream (a kind of the table, or a full name such as `hawk:{BTC-USD}:orders`),
out come its events in order, the last N first. Nothing is read through a group: looking on leaves
no trace and takes nothing away from anybody.

The decision to question is how the last N of a market stream are found: not by reading it whole
(100,000 entries), but by bisection over the milliseconds of the entry ids, because the writer's
counter in them rises by one.
"""

import re
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.common.archive import Archive, scan_key
from libs.common.bus import Bus
from libs.common.checks import ArchiveError, UsageError
from libs.common.entry_codec import NO_ENTRY, Delivery, EntryId
from libs.common.events import AnyEvent, Event, Tick
from libs.common.journal import read_journal
from libs.common.settings import Settings
from libs.common.streams import CONTROL, STREAMS, Stream, stream, stream_name
from services.console.bus_place import find_bus
from services.console.event_lines import json_of, line_of
from services.console.output import emit

READ_ENTRIES = 1_000
LOOK_S = 0.25
"""Between two looks for something new: below what a person notices."""

LOOK_FACTOR = 8
"""How much further back each look for shown events goes."""

REST_FACTOR = 4
"""Looking at a journal means reading it whole, so rest this many times as long as that took."""

_FULL_NAME = re.compile(r"hawk:\{(.+)\}:([a-z]+)")
_SEQ_MAX = 2**63 - 1


@dataclass(frozen=True)
class Wanted:
    """A stream kind and the underlyings of it that are wanted."""

    stream: Stream
    underlyings: tuple[str, ...]


class Follower(Protocol):
    """Where events of one stream come from; `last`, then `more` again and again."""

    def last(self, count: int) -> Sequence[Event]:
        """Return the newest `count` events; `more` goes on behind the last of them."""

    def more(self) -> Sequence[Event]:
        """Return what came since."""


@dataclass(frozen=True)
class TailRequest:
    """What to show: a stream, the newest `count` events of it, and those to come."""

    root: Path
    name: str
    underlying: str | None = None
    follow: bool = False
    count: int = 10
    ticks: bool = False


def run_tail(request: TailRequest, settings: Settings, *, as_json: bool) -> None:
    """Print events until there are no more, or until Ctrl-C."""
    wanted = wanted_of(request.name, request.underlying, request.root)
    place = find_bus(request.root, settings)
    followers: list[Follower] = [
        StreamFollower(place.bus, wanted.stream, underlying)
        if place.bus is not None
        else JournalFollower(request.root, wanted.stream, underlying)
        for underlying in wanted.underlyings
    ]
    if place.bus is None:
        sys.stderr.write(f"no Redis: from the running journals below {request.root}/archive\n")
    write = json_of if as_json else line_of
    with suppress(KeyboardInterrupt):
        for event in tail(
            followers,
            count=request.count,
            follow=request.follow,
            ticks=request.ticks,
            rest=time.sleep,
        ):
            emit(write(event))
            sys.stdout.flush()


def wanted_of(name: str, underlying: str | None, root: Path) -> Wanted:
    """Resolve what was asked for; raise `UsageError` that names the kinds."""
    full = _FULL_NAME.fullmatch(name)
    kind = full.group(2) if full else name
    known = ", ".join(entry.kind for entry in STREAMS)
    try:
        found = stream(kind)
    except KeyError:
        raise UsageError(f"no stream {name[:80]!r}; streams: {known}") from None
    if full and stream_name(kind, full.group(1)) != name:
        raise UsageError(f"no stream {name[:80]!r}: {kind} is {stream_name(kind, CONTROL)}")
    if found.is_control:
        if underlying is not None:
            raise UsageError(f"{kind} is one stream for all underlyings: leave out --underlying")
        return Wanted(found, (CONTROL,))
    named = full.group(1) if full else underlying
    chosen = (named,) if named else tuple(Archive(root).underlyings())
    if not chosen:
        raise UsageError(f"{root} knows no underlying yet: name one with --underlying")
    return Wanted(found, chosen)


def tail(
    followers: Sequence[Follower],
    *,
    count: int,
    follow: bool,
    ticks: bool = False,
    rest: Callable[[float], None],
) -> Iterator[Event]:
    """Yield the newest `count` events over all `followers` in order, then, to follow, new ones.

    Ticks are left out unless asked for: most entries are ticks. `rest` waits between two looks.
    """

    def is_shown(event: Event) -> bool:
        return ticks or not isinstance(event, Tick)

    newest = [e for follower in followers for e in _newest(follower, count, is_shown)]
    yield from sorted(newest, key=scan_key)[-count:] if count else []
    while follow:
        began_s = time.monotonic()
        new = sorted((e for follower in followers for e in follower.more()), key=scan_key)
        yield from filter(is_shown, new)
        if not new:
            rest(max(LOOK_S, REST_FACTOR * (time.monotonic() - began_s)))


def _newest(follower: Follower, count: int, is_shown: Callable[[Event], bool]) -> list[Event]:
    """Return the newest `count` events that are shown, looking ever further back for them."""
    looked = count
    while True:
        found = follower.last(looked)
        shown = [event for event in found if is_shown(event)]
        if len(shown) >= count or len(found) < looked:
            return shown[-count:] if count else []
        looked *= LOOK_FACTOR


class StreamFollower:
    """A stream of the bus."""

    def __init__(self, bus: Bus, kind: Stream, underlying: str) -> None:
        self._bus, self._kind = bus, kind
        self._name = stream_name(kind.kind, underlying)
        self._after = NO_ENTRY

    def last(self, count: int) -> Sequence[Event]:
        """Return the newest `count` events and go on behind them."""
        facts = self._bus.facts(self._name)
        if facts is None or not facts.length:
            return []
        self._after = facts.last
        if not count:
            return []
        found = self._behind(self._start(facts.first, facts.last, count))
        return _events([d for d in found if d.entry_id <= facts.last])[-count:]

    def more(self) -> Sequence[Event]:
        """Return what came behind the last one seen."""
        found = self._bus.entries(self._name, after=self._after, count=READ_ENTRIES)
        if found:
            self._after = found[-1].entry_id
        elif self._bus.last_id(self._name) < self._after:
            self._after = NO_ENTRY  # flushed, and begun anew
        return _events(found)

    def _start(self, first: EntryId, last: EntryId, count: int) -> EntryId:
        """Return an id behind which at least the newest `count` entries stand, and few more."""
        target = last.seq - count + 1
        if self._kind.is_control or target <= first.seq:
            return NO_ENTRY
        place = bisect_right(range(first.ms, last.ms + 1), target, key=self._seq_from)
        return EntryId(first.ms + place - 2, _SEQ_MAX)

    def _seq_from(self, ms: int) -> int:
        """Return the counter of the first entry at or after a millisecond."""
        found = self._bus.entries(self._name, after=EntryId(ms - 1, _SEQ_MAX), count=1)
        return found[0].entry_id.seq if found else _SEQ_MAX

    def _behind(self, after: EntryId) -> list[Delivery]:
        entries: list[Delivery] = []
        while found := self._bus.entries(self._name, after=after, count=READ_ENTRIES):
            entries += found
            after = found[-1].entry_id
        return entries


class JournalFollower:
    """The same from the running journals of the archive, of all writers."""

    def __init__(self, root: Path, kind: Stream, underlying: str) -> None:
        self._archive = Archive(root)
        self._kind, self._underlying = kind.kind, underlying
        self._seen: dict[str, int] = {}
        self._sizes: dict[Path, int] = {}

    def last(self, count: int) -> Sequence[Event]:
        """Return the newest `count` events; an hour that is sealed is over and is not looked at."""
        self._seen.clear()
        self._sizes.clear()
        new = self.more()
        return new[-count:] if count else []

    def more(self) -> Sequence[Event]:
        """Return what was journalled since the last look."""
        events: list[Event] = []
        for path in self._archive.journals(self._kind, self._underlying):
            size = _size(path)
            if size != self._sizes.get(path):
                self._sizes[path] = size
                events += self._new_of(path)
        return sorted(events, key=scan_key)

    def _new_of(self, path: Path) -> list[AnyEvent]:
        writer = path.parts[-4]
        try:
            entries = read_journal(path).entries
        except ArchiveError:
            if path.exists():
                raise
            return []  # sealed since it was listed
        seen = self._seen.get(writer, 0)
        new = [entry.event for entry in entries if entry.event.seq > seen]
        self._seen[writer] = max([seen, *(event.seq for event in new)])
        return new  # type: ignore[return-value]


def _events(found: Sequence[Delivery]) -> list[Event]:
    return [d.event for d in found if d.event is not None]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
