"""Readers that fall behind: pure. Will, or did, a stream lose entries that a group still wants?

In go a stream's facts, out come claims per underlying. A stream keeps its newest entries only, so a
reader that is half of that behind has as long again; one that is trimmed past reads the archive
instead (`OrderedReader`), which costs time and no data, and is worth knowing.
"""

from collections.abc import Iterable, Mapping

from libs.common.bus import GroupFacts, StreamFacts
from libs.common.entry_codec import NO_ENTRY
from libs.common.streams import STREAMS, Stream
from services.monitor.claims import READER_BEHIND, READER_LOST, Claim

BEHIND_SHARE, CAUGHT_UP_SHARE = 0.5, 0.25
"""Share of a stream's bound at which a reader is behind, and has caught up: apart, so that one on
the edge does not flap."""

OWN_GROUP = "monitor"
"""The monitor itself may fall behind: it skips, and nothing depends on it."""

Facts = Mapping[str, StreamFacts]
"""Facts by kind, of one underlying."""


class ReaderWatch:
    """Who is behind, underlying by underlying."""

    def __init__(self) -> None:
        self._behind: set[tuple[str, str, str]] = set()

    def claims(self, underlying: str, facts: Facts) -> list[Claim]:
        """Return what the streams of one underlying say."""
        behind: list[str] = []
        lost: list[str] = []
        for kind, group, bound, stream in _groups(facts):
            key = (underlying, kind, group.name)
            share = CAUGHT_UP_SHARE if key in self._behind else BEHIND_SHARE
            if group.lag_true > share * bound:
                self._behind.add(key)
                behind.append(f"{group.name} is {group.lag_true} entries behind in {kind}")
            else:
                self._behind.discard(key)
            gone = stream.first.seq - group.delivered.seq - 1
            if gone > 0 and group.delivered != NO_ENTRY and group.lag_true > 0:
                lost.append(f"{gone} entries of {kind} were trimmed before {group.name} read them")
        well = "all readers are near"
        return [
            Claim(READER_BEHIND, bool(behind), "; ".join(behind) or well, underlying),
            Claim(READER_LOST, bool(lost), "; ".join(lost) or well, underlying),
        ]


def _groups(facts: Facts) -> Iterable[tuple[str, GroupFacts, int, StreamFacts]]:
    """Yield kind, group, the stream's bound and its facts, of the groups in the table."""
    for stream in market_streams():
        found = facts.get(stream.kind)
        for group in found.groups if found else ():
            if found and group.name in stream.readers and group.name != OWN_GROUP:
                yield stream.kind, group, stream.entries_max, found


def market_streams() -> tuple[Stream, ...]:
    """Return the market streams of the table."""
    return tuple(stream for stream in STREAMS if not stream.is_control)
