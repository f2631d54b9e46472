"""Turn judged tables into instants: all that became known at one time, per underlying. Pure.

A recording comes in *pieces*, judged one after another: a recorded one is a single piece, a
simulated one a piece per hour. A piece may hold facts that become known only behind its end (a
result two minutes after the close); they wait and are merged with the next piece, so that the
instants of pieces equal those of the whole. Event objects are made for a few hundred instants at a
time: a month of quotes as Python objects would not fit a small machine.

Within an instant events stand in the order of an import: by kind, then by id (docs/data.md).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from libs.common import columns
from libs.common.archive import TIME_MAX_NS
from libs.common.events import Event
from services.collector.validation import Ints

CHUNK_INSTANTS = 256
"""Instants turned into events at once: the fixed cost of a table is spread, the pause is short."""

Kinds = Mapping[type[Event], pa.Table]


class Instant(NamedTuple):
    """What became known at `ts_ns`, in order, by underlying."""

    ts_ns: int
    events: dict[str, list[Event]]


@dataclass(frozen=True)
class Piece:
    """Judged tables by kind, in the order of an import, and the time at which the next begins."""

    kinds: Kinds
    end_ns: int = TIME_MAX_NS


def underlyings_of(kinds: Kinds) -> list[str]:
    """Return the underlyings that judged tables speak of, sorted."""
    columns_found = (table["underlying"].unique().to_pylist() for table in kinds.values())
    return sorted({name for names in columns_found for name in names})


def instants(pieces: Iterable[Piece | None], *, after_ns: int) -> Iterator[Instant | None]:
    """Yield the instants later than `after_ns` in order; None wherever `pieces` gives None."""
    late: Kinds = {}
    for piece in pieces:
        if piece is None:
            yield None
            continue
        merged = {kind: _sorted(_joined(late, kind, table)) for kind, table in piece.kinds.items()}
        bounds = {kind: _place(table, piece.end_ns) for kind, table in merged.items()}
        late = {kind: table.slice(bounds[kind]) for kind, table in merged.items()}
        now = {kind: table.slice(0, bounds[kind]) for kind, table in merged.items()}
        yield from _instants_of(now, after_ns)
    yield from _instants_of(late, after_ns)


def _instants_of(kinds: Kinds, after_ns: int) -> Iterator[Instant]:
    times = {kind: _times(table) for kind, table in kinds.items()}
    every = np.unique(np.concatenate([*times.values(), np.zeros(0, np.int64)]))
    every = every[every > after_ns]
    for start in range(0, len(every), CHUNK_INSTANTS):
        edges = every[start : start + CHUNK_INSTANTS][[0, -1]]
        found: list[tuple[tuple[int, str, int, str], Event]] = []
        for rank, (kind, table) in enumerate(kinds.items()):
            first = int(np.searchsorted(times[kind], edges[0], side="left"))
            end = int(np.searchsorted(times[kind], edges[1], side="right"))
            found += [
                (_key(event, rank), event)
                for event in columns.from_table(kind, table.slice(first, end - first))
            ]
        found.sort(key=lambda pair: pair[0])
        yield from _grouped(found)


def _grouped(found: Iterable[tuple[tuple[int, str, int, str], Event]]) -> Iterator[Instant]:
    for ts_ns, at_once in groupby(found, key=lambda pair: pair[0][0]):
        events: dict[str, list[Event]] = {}
        for key, event in at_once:
            events.setdefault(key[1], []).append(event)
        yield Instant(ts_ns, events)


def _key(event: Any, rank: int) -> tuple[int, str, int, str]:
    return (event.ts_ns, event.underlying, rank, event.id)


def _joined(late: Kinds, kind: type[Event], table: pa.Table) -> pa.Table:
    return pa.concat_tables([late[kind], table]) if kind in late else table


def _sorted(table: pa.Table) -> pa.Table:
    """Return `table` in order of time, without a copy where it already is."""
    times = _times(table)
    if np.all(times[1:] >= times[:-1]):
        return table
    return table.take(pa.array(np.argsort(times, kind="stable")))


def _times(table: pa.Table) -> Ints:
    times: Ints = table["ts_ns"].to_numpy()
    return times


def _place(table: pa.Table, ts_ns: int) -> int:
    return int(np.searchsorted(_times(table), ts_ns, side="left"))


def instant(ts_ns: int, events: Iterable[Event]) -> Instant:
    """Return what became known at `ts_ns`, each underlying's in the order of an import."""
    groups: dict[str, list[Event]] = {}
    for event in sorted(events, key=_rank):
        groups.setdefault(getattr(event, "underlying", ""), []).append(event)
    return Instant(ts_ns, groups)


_RANKS = ("Market", "Resolution", "Gap", "SpotSnapshot", "QuoteSnapshot")


def _rank(event: Event) -> tuple[int, str]:
    return (_RANKS.index(type(event).__name__), event.id)
