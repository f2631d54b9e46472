"""The in-memory bus: what every bus must do, its own bounds, and random walks beside Redis."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from libs.common.bus import Bus, Claimed
from libs.common.checks import BusError
from libs.common.entry_codec import NO_ENTRY, EntryId
from libs.common.events import set_seq
from libs.common.journal import Entry
from libs.common.memory_bus import CLAIM_LOOKS, TRIM_ENTRIES, MemoryBus
from libs.common.redis_bus import RedisBus, connect
from tests.common.bus_contract import (
    NAME,
    ROOMY,
    BusContract,
    entries,
    id_of,
    numbers_of,
    pending,
    read,
)
from tests.common.samples import quote
from tests.redis_server import RedisServer, needs_redis, redis_server


class TestMemoryBus(BusContract):
    @pytest.fixture
    def bus(self) -> MemoryBus:
        return MemoryBus()

    def is_waiting(self, bus: Bus) -> bool:
        assert isinstance(bus, MemoryBus)
        return bool(bus._changed._waiters)  # type: ignore[attr-defined]


def test_idle_time_counts_from_the_last_delivery() -> None:
    now = [0.0]
    bus = MemoryBus(clock_s=lambda: now[0])
    bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
    read(bus, consumer="slow", count=1)
    now[0] = 5.0
    read(bus, consumer="slow", count=1)
    now[0] = 9.0
    taken = bus.claim(NAME, group="g", consumer="c", idle_s_min=9, count=9)
    assert numbers_of(taken.deliveries) == [1]
    # Reading what is pending is a delivery too: its consumer lives.
    pending(bus, consumer="slow")
    now[0] = 15.0
    taken = bus.claim(NAME, group="g", consumer="c", idle_s_min=7, count=9)
    assert numbers_of(taken.deliveries) == []


def test_a_claim_looks_at_so_many_entries_and_no_further() -> None:
    now = [0.0]
    bus = MemoryBus(clock_s=lambda: now[0])
    bus.publish(NAME, entries(*range(1, CLAIM_LOOKS + 2)), entries_max=ROOMY)
    read(bus, consumer="slow")
    now[0] = 9.0
    still = {"group": "g", "consumer": "slow", "count": CLAIM_LOOKS, "block_s": 0}
    bus.read(NAME, **still, pending_after=NO_ENTRY)
    named = {"group": "g", "consumer": "c", "idle_s_min": 9}
    assert bus.claim(NAME, **named, count=1) == ([], [])
    assert numbers_of(bus.claim(NAME, **named, count=2).deliveries) == [CLAIM_LOOKS + 1]


def test_a_stream_is_never_longer_than_its_bound_and_a_step() -> None:
    bus = MemoryBus()
    for number in range(1, 5 * TRIM_ENTRIES):
        bus.publish(NAME, entries(number), entries_max=10)
        facts = bus.facts(NAME)
        assert facts and min(number, 10) <= facts.length < 10 + TRIM_ENTRIES


def test_closing_keeps_the_streams_of_the_others() -> None:
    bus = MemoryBus()
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    bus.close()
    bus.ping()
    assert bus.last_id(NAME) == id_of(1)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


small = st.integers(1, 3)
groups = st.sampled_from(["g", "h"])
consumers = st.sampled_from(["a", "b"])


class Both(RuleBasedStateMachine):
    """The same operations on both: every answer must be equal, at every step."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.redis = connect(self.server.url)
        self.memory = MemoryBus()

    def teardown(self) -> None:
        self.redis.close()

    def both(self, verb: str, *arguments: Any, **named: Any) -> Any:
        """Do it on both and return the common answer."""
        answers = []
        for bus in (self.redis, self.memory):
            try:
                answers.append(getattr(bus, verb)(*arguments, **named))
            except BusError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(places=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=4))
    def publish(self, places: list[tuple[int, int]]) -> None:
        sent = []
        for ms, seq in places:
            event = quote(ms)
            set_seq(event, seq)
            sent.append(Entry(event, ms))
        self.both("publish", NAME, sent, entries_max=ROOMY)

    @rule(count=small)
    def publish_behind_the_top(self, count: int) -> None:
        last = self.both("last_id", NAME)
        sent = [Entry(quote(last.seq + n), last.ms) for n in range(1, count + 1)]
        for one in sent:
            set_seq(one.event, last.seq + 1 + sent.index(one))
        self.both("publish", NAME, sent, entries_max=ROOMY)

    @rule(group=groups, consumer=consumers, count=small)
    def read_new(self, group: str, consumer: str, count: int) -> None:
        self.both("read", NAME, group=group, consumer=consumer, count=count, block_s=0)

    @rule(group=groups, consumer=consumers, count=small, ms=st.integers(0, 9))
    def read_pending(self, group: str, consumer: str, count: int, ms: int) -> None:
        after = EntryId(ms, 0) if ms else NO_ENTRY
        named = {"group": group, "consumer": consumer, "count": count, "block_s": 0}
        self.both("read", NAME, **named, pending_after=after)

    @rule(group=groups, places=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9))))
    def ack(self, group: str, places: list[tuple[int, int]]) -> None:
        self.both("ack", NAME, group=group, ids=[EntryId(*place) for place in places])

    @rule(group=groups, consumer=consumers, count=small, idle_s=st.sampled_from([0, 3600]))
    def claim(self, group: str, consumer: str, count: int, idle_s: int) -> None:
        named = {"group": group, "consumer": consumer, "count": count}
        answer = self.both("claim", NAME, **named, idle_s_min=idle_s)
        assert isinstance(answer, Claimed)

    @rule(entries_max=st.integers(0, 4))
    def trim(self, entries_max: int) -> None:
        self.both("trim", NAME, entries_max=entries_max)

    @rule()
    def remove(self) -> None:
        self.both("remove", NAME)

    @rule(ms=st.integers(0, 9), count=small)
    def look(self, ms: int, count: int) -> None:
        self.both("entries", NAME, after=EntryId(ms, 3), count=count)

    @invariant()
    def facts_are_equal(self) -> None:
        self.both("facts", NAME)


@needs_redis
def test_random_operations_give_the_same_answers_as_redis(server: RedisServer) -> None:
    Both.server = server
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Both, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_the_two_have_the_same_verbs() -> None:
    verbs = {name for name in vars(Bus) if not name.startswith("_")}
    for bus in (RedisBus, MemoryBus):
        assert verbs <= set(vars(bus))
