"""What services need of a bus: streams of journalled entries behind a few verbs.

In go entries with the ids they were given, out come deliveries with the events decoded. A market
stream has explicit ids `<ms>-<seq>`, so that sending twice writes once and a hole shows in `seq`; a
control stream has the server's. `redis_bus.py` is the bus between processes, `memory_bus.py` the
one inside a process, and one suite of tests holds both to these words.

The decision to question: a stream is its writer's to make. A read of a stream that is not there
waits and returns nothing, and a writer says whether it must exist, because a reader that made it
would hide from the writer that Redis was flushed.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from libs.common.entry_codec import NO_ENTRY, Delivery, EntryId
from libs.common.events import Event
from libs.common.journal import Entry


class Claimed(NamedTuple):
    """What a claim took over, and the ids that were trimmed before anybody read them: loss."""

    deliveries: list[Delivery]
    deleted: list[EntryId]


class GroupFacts(NamedTuple):
    """One group: entries delivered and not acknowledged, last id delivered, entries behind."""

    name: str
    pending: int
    delivered: EntryId
    lag_true: int


class StreamFacts(NamedTuple):
    """One stream as it stands."""

    length: int
    first: EntryId
    last: EntryId
    groups: tuple[GroupFacts, ...]


class Memory(NamedTuple):
    """Bytes that the bus uses, and may use (0: no limit)."""

    used: int
    limit: int


class Bus(Protocol):
    """What services need of a bus; `RedisBus` and `MemoryBus` have it. Thread-safe.

    Every method raises `BusError` when the bus cannot be used.
    """

    def publish(
        self, name: str, entries: Sequence[Entry], *, entries_max: int, must_exist: bool = False
    ) -> None:
        """Add entries under the ids they were given; raise `BusForeignError` if one is refused."""

    def post(self, name: str, events: Sequence[Event], *, entries_max: int) -> None:
        """Add events to a control stream, under ids of the server."""

    def last_id(self, name: str) -> EntryId:
        """Return the newest id ever given in the stream, (0, 0) where there is none."""

    def read(
        self,
        name: str,
        *,
        group: str,
        consumer: str,
        count: int,
        block_s: float,
        pending_after: EntryId | None = None,
    ) -> list[Delivery]:
        """Read new entries, waiting up to `block_s`; or own pending ones after `pending_after`.

        A group that is absent (first start, flush) is made at the beginning of the stream.
        """

    def ack(self, name: str, *, group: str, ids: Sequence[EntryId]) -> int:
        """Acknowledge; return how many were pending (0 after a flush, without error)."""

    def claim(
        self, name: str, *, group: str, consumer: str, idle_s_min: float, count: int
    ) -> Claimed:
        """Take over entries that another consumer left pending."""

    def entries(self, name: str, *, after: EntryId = NO_ENTRY, count: int) -> list[Delivery]:
        """Return entries behind `after`, without a group."""

    def facts(self, name: str) -> StreamFacts | None:
        """Return the stream's facts, None where there is no such stream."""

    def trim(self, name: str, *, entries_max: int) -> int:
        """Cut the stream to its newest entries; works in a full Redis. Return how many went."""

    def remove(self, name: str) -> None:
        """Delete the stream and its groups."""

    def memory(self) -> Memory:
        """Return how much memory the bus uses and may use; (0, 0) where it has none of its own."""

    def ping(self) -> None:
        """Return if the bus answers."""

    def close(self) -> None:
        """Close the connections of this process."""
