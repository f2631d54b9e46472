"""What every bus must do: `test_bus` runs this suite on Redis, `test_memory_bus` in memory."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from libs.common.bus import Bus
from libs.common.checks import BusForeignError, BusLostError
from libs.common.entry_codec import NO_ENTRY, Delivery, EntryId
from libs.common.events import Event, QuoteSnapshot, set_seq
from libs.common.journal import Entry
from tests.common.samples import T0_NS, model_event, quote, tick
from tests.redis_server import wait_until

NAME = "hawk:{BTC-USD}:snapshots"
CONTROL_NAME = "hawk:{control}:models"
MS = T0_NS // 1_000_000

ROOMY = 100_000
LONG_S = 20.0
"""A wait that ends early in a test that passes."""

SLACK_MAX = 110
"""How much longer than asked a stream may stand: nodes of Redis, steps of memory."""


def entry(number: int, *, seq: int | None = None) -> Entry:
    """Return quote `number` (from 1) as its writer would journal it."""
    event = quote(number)
    set_seq(event, number if seq is None else seq)
    return Entry(event, event.ts_ns // 1_000_000)


def entries(*numbers: int) -> list[Entry]:
    """Return several."""
    return [entry(number) for number in numbers]


def id_of(number: int) -> EntryId:
    """Return the entry id of quote `number`."""
    return EntryId(MS + number * 1000, number)


def numbers_of(deliveries: Sequence[Delivery]) -> list[int]:
    """Return which quotes were delivered."""
    return [d.entry_id.seq for d in deliveries]


def read(bus: Bus, *, group: str = "g", consumer: str = "c", count: int = ROOMY) -> list[Delivery]:
    """Read what is new, without waiting."""
    return bus.read(NAME, group=group, consumer=consumer, count=count, block_s=0)


def pending(bus: Bus, *, consumer: str = "c", after: EntryId = NO_ENTRY) -> list[Delivery]:
    """Read what is pending."""
    return bus.read(NAME, group="g", consumer=consumer, count=ROOMY, block_s=0, pending_after=after)


class BusContract:
    """Tests of the interface; a subclass gives the fixture `bus`, empty."""

    def test_entries_come_back_in_order_under_their_ids(self, bus: Bus) -> None:
        sent = [entry(1), Entry(tick(1), MS + 1000), entry(2)]
        set_seq(sent[1].event, 2)
        set_seq(sent[2].event, 3)
        bus.publish(NAME, sent, entries_max=ROOMY)
        found = bus.entries(NAME, count=ROOMY)
        assert [d.entry_id for d in found] == [EntryId(e.entry_ms, e.event.seq) for e in sent]
        assert [d.event for d in found] == [e.event for e in sent]
        assert [d.event and d.event.seq for d in found] == [1, 2, 3]
        assert not [d.fault for d in found if d.fault]

    def test_entries_behind_an_id_are_counted_off(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3, 4), entries_max=ROOMY)
        assert numbers_of(bus.entries(NAME, after=id_of(1), count=2)) == [2, 3]
        assert bus.entries(NAME, after=id_of(4), count=2) == []
        assert bus.entries("hawk:{NONE}:snapshots", count=2) == []

    def test_publishing_again_adds_nothing(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        bus.publish(NAME, entries(2), entries_max=ROOMY)
        assert numbers_of(bus.entries(NAME, count=ROOMY)) == [1, 2, 3]

    def test_an_id_below_the_top_that_was_never_there_is_refused(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 3), entries_max=ROOMY)
        with pytest.raises(BusForeignError, match=str(id_of(2))):
            bus.publish(NAME, entries(2, 4), entries_max=ROOMY)
        assert 2 not in numbers_of(bus.entries(NAME, count=ROOMY))

    def test_ids_are_refused_also_above_what_is_left_of_a_trimmed_stream(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 3), entries_max=ROOMY)
        bus.trim(NAME, entries_max=0)
        assert bus.last_id(NAME) == id_of(3)
        with pytest.raises(BusForeignError):
            bus.publish(NAME, entries(3), entries_max=ROOMY)
        bus.publish(NAME, entries(4), entries_max=ROOMY)

    def test_a_stream_that_must_exist_and_is_gone_is_not_begun_anew(self, bus: Bus) -> None:
        for _ in range(2):
            with pytest.raises(BusLostError, match=NAME):
                bus.publish(NAME, entries(1), entries_max=ROOMY, must_exist=True)
            assert bus.facts(NAME) is None
            # A reader that waits for the stream does not hide its loss.
            assert read(bus) == [] and bus.facts(NAME) is None
            bus.publish(NAME, entries(1), entries_max=ROOMY)
            bus.publish(NAME, entries(1, 2), entries_max=ROOMY, must_exist=True)
            assert numbers_of(bus.entries(NAME, count=ROOMY)) == [1, 2]
            bus.remove(NAME)

    def test_no_stream_has_no_last_id_and_no_facts(self, bus: Bus) -> None:
        assert bus.last_id(NAME) == NO_ENTRY
        assert bus.facts(NAME) is None
        assert bus.trim(NAME, entries_max=1) == 0
        bus.remove(NAME)

    def test_publishing_nothing_makes_nothing(self, bus: Bus) -> None:
        bus.publish(NAME, [], entries_max=ROOMY)
        bus.post(NAME, [], entries_max=ROOMY)
        assert bus.facts(NAME) is None
        assert bus.ack(NAME, group="g", ids=[]) == 0

    def test_a_group_begins_at_the_beginning(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
        assert numbers_of(read(bus)) == [1, 2]
        assert read(bus) == []
        assert numbers_of(read(bus, group="other")) == [1, 2]

    def test_a_group_may_be_there_before_its_stream(self, bus: Bus) -> None:
        assert read(bus) == []
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        assert numbers_of(read(bus)) == [1]

    def test_consumers_of_a_group_share_its_entries(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        assert numbers_of(read(bus, consumer="a", count=2)) == [1, 2]
        assert numbers_of(read(bus, consumer="b", count=2)) == [3]

    def test_what_is_not_acknowledged_is_read_again_by_its_consumer_alone(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus)
        assert bus.ack(NAME, group="g", ids=[id_of(2)]) == 1
        again = pending(bus)
        assert numbers_of(again) == [1, 3]
        assert again[0].event == entry(1).event
        assert numbers_of(pending(bus, after=id_of(1))) == [3]
        assert pending(bus, consumer="other") == []
        assert pending(bus, after=id_of(3)) == []

    def test_pending_entries_are_counted_off_and_never_waited_for(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus, count=3)
        found: list[list[Delivery]] = []

        def again(after: EntryId, count: int) -> None:
            named = {"group": "g", "consumer": "c", "count": count, "block_s": LONG_S}
            found.append(bus.read(NAME, **named, pending_after=after))

        for after, count in ((NO_ENTRY, 2), (id_of(1), 1), (id_of(3), 1)):
            thread = threading.Thread(target=again, args=(after, count), daemon=True)
            thread.start()
            thread.join(LONG_S / 2)
        assert [numbers_of(one) for one in found] == [[1, 2], [2], []]

    def test_acknowledging_counts_what_was_pending(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        assert bus.ack(NAME, group="g", ids=[id_of(1)]) == 0
        read(bus, count=2)
        assert bus.ack(NAME, group="g", ids=[id_of(1), id_of(2), id_of(3)]) == 2
        assert bus.ack(NAME, group="g", ids=[id_of(1)]) == 0
        assert bus.ack("hawk:{NONE}:snapshots", group="g", ids=[id_of(1)]) == 0

    def test_a_pending_entry_that_was_trimmed_is_read_as_a_fault(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus)
        assert bus.trim(NAME, entries_max=1) == 2
        again = pending(bus)
        assert [(d.entry_id.seq, d.event is None) for d in again] == [
            (1, True),
            (2, True),
            (3, False),
        ]
        assert again[0].fault and "trimmed" in again[0].fault

    def test_a_claim_takes_over_what_another_left(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus, consumer="dead")
        claimed = bus.claim(NAME, group="g", consumer="c", idle_s_min=0, count=2)
        assert numbers_of(claimed.deliveries) == [1, 2]
        assert claimed.deliveries[0].event == entry(1).event
        assert claimed.deleted == []
        assert numbers_of(pending(bus)) == [1, 2]
        assert numbers_of(pending(bus, consumer="dead")) == [3]

    def test_a_claim_leaves_what_is_in_work(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        read(bus, consumer="slow")
        taken = bus.claim(NAME, group="g", consumer="c", idle_s_min=60, count=9)
        assert taken == ([], [])
        assert numbers_of(pending(bus, consumer="slow")) == [1]

    def test_a_claim_reports_what_was_trimmed_unread_once(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus, consumer="dead")
        bus.trim(NAME, entries_max=1)
        claimed = bus.claim(NAME, group="g", consumer="c", idle_s_min=0, count=9)
        assert claimed.deleted == [id_of(1), id_of(2)]
        assert numbers_of(claimed.deliveries) == [3]
        again = bus.claim(NAME, group="g", consumer="c", idle_s_min=0, count=9)
        assert again.deleted == []

    def test_a_claim_without_a_group_finds_nothing(self, bus: Bus) -> None:
        arguments = {"group": "g", "consumer": "c"}
        assert bus.claim(NAME, **arguments, idle_s_min=0, count=9) == ([], [])
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        assert bus.claim(NAME, **arguments, idle_s_min=0, count=9) == ([], [])

    def test_after_removal_everything_begins_again(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
        read(bus)
        bus.remove(NAME)
        assert bus.last_id(NAME) == NO_ENTRY
        assert bus.ack(NAME, group="g", ids=[id_of(1)]) == 0
        bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
        assert numbers_of(read(bus)) == [1, 2]
        assert numbers_of(pending(bus)) == [1, 2]

    def test_pending_entries_of_a_removed_stream_are_gone(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        read(bus)
        bus.remove(NAME)
        assert pending(bus) == []

    def test_a_stream_stays_near_its_bound_and_keeps_the_newest(self, bus: Bus) -> None:
        for start in range(1, 1001, 50):
            bus.publish(NAME, entries(*range(start, start + 50)), entries_max=60)
        found = numbers_of(bus.entries(NAME, count=ROOMY))
        assert 60 <= len(found) <= 60 + SLACK_MAX
        assert found == list(range(1001 - len(found), 1001))

    def test_trim_is_exact(self, bus: Bus) -> None:
        bus.publish(NAME, entries(*range(1, 8)), entries_max=ROOMY)
        assert bus.trim(NAME, entries_max=3) == 4
        assert bus.trim(NAME, entries_max=3) == 0
        assert numbers_of(bus.entries(NAME, count=ROOMY)) == [5, 6, 7]

    def test_facts_of_a_stream_and_its_groups(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1, 2, 3), entries_max=ROOMY)
        read(bus, group="late", count=1)
        read(bus, group="asleep", count=1)
        bus.ack(NAME, group="late", ids=[id_of(1)])
        facts = bus.facts(NAME)
        assert facts is not None
        assert facts[:3] == (3, id_of(1), id_of(3))
        assert facts.groups == (("asleep", 1, id_of(1), 2), ("late", 0, id_of(1), 2))

    def test_lag_stays_true_when_unread_entries_were_trimmed(self, bus: Bus) -> None:
        # Redis's own figure is 50 less here: it knows only of what is left.
        bus.publish(NAME, entries(*range(1, 101)), entries_max=ROOMY)
        read(bus, count=10)
        bus.trim(NAME, entries_max=40)
        facts = bus.facts(NAME)
        assert facts is not None
        assert facts.groups[0].lag_true == 90

    def test_an_empty_stream_has_no_first_entry(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        bus.trim(NAME, entries_max=0)
        facts = bus.facts(NAME)
        assert facts is not None
        assert facts == (0, NO_ENTRY, id_of(1), ())

    def test_lag_of_a_control_group_counts_entries(self, bus: Bus) -> None:
        bus.post(CONTROL_NAME, [model_event(n) for n in range(5)], entries_max=ROOMY)
        bus.read(CONTROL_NAME, group="g", consumer="c", count=2, block_s=0)
        bus.read(CONTROL_NAME, group="fresh", consumer="c", count=5, block_s=0)
        facts = bus.facts(CONTROL_NAME)
        assert facts is not None
        assert [group.lag_true for group in facts.groups] == [0, 3]

    def test_posted_events_get_rising_ids_and_keep_no_counter(self, bus: Bus) -> None:
        began_ms = time.time_ns() // 1_000_000
        event = model_event(1)
        set_seq(event, 7)
        bus.post(CONTROL_NAME, [event, model_event(2), event], entries_max=ROOMY)
        found = bus.entries(CONTROL_NAME, count=ROOMY)
        assert [d.event.id for d in found if d.event] == [event.id, model_event(2).id, event.id]
        assert sorted({d.entry_id for d in found}) == [d.entry_id for d in found]
        assert began_ms <= found[0].entry_id.ms <= time.time_ns() // 1_000_000
        assert [d.event.seq for d in found if d.event] == [0, 0, 0]

    def test_readers_do_not_share_an_event(self, bus: Bus) -> None:
        sent = entries(1)
        bus.publish(NAME, sent, entries_max=ROOMY)
        found: list[Event | None] = [sent[0].event]
        found += [read(bus, group=group)[0].event for group in ("a", "b")]
        assert len({id(event) for event in found}) == 3

    def test_a_waiting_reader_is_woken_by_a_publish(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        got = self._read_waiting(bus, lambda: bus.publish(NAME, entries(2), entries_max=ROOMY))
        assert numbers_of(got) == [2]

    def test_a_reader_of_a_stream_to_come_gets_its_first_entry(self, bus: Bus) -> None:
        got = self._read_in_thread(bus)
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        assert numbers_of(got()) == [1]

    def test_a_waiting_reader_outlives_a_removal(self, bus: Bus) -> None:
        bus.publish(NAME, entries(1), entries_max=ROOMY)

        def begin_again() -> None:
            bus.remove(NAME)
            bus.publish(NAME, entries(1), entries_max=ROOMY)

        got = self._read_waiting(bus, begin_again)
        assert numbers_of(got) == [1]

    def test_a_reader_that_waited_in_vain_returns_nothing(self, bus: Bus) -> None:
        assert bus.read(NAME, group="g", consumer="c", count=1, block_s=0.01) == []

    def test_threads_deliver_each_entry_once(self, bus: Bus) -> None:
        total, found, lock = 400, list[int](), threading.Lock()

        def consume(consumer: str) -> None:
            while len(found) < total:
                got = bus.read(NAME, group="g", consumer=consumer, count=7, block_s=0.05)
                bus.ack(NAME, group="g", ids=[d.entry_id for d in got])
                with lock:
                    found.extend(numbers_of(got))

        threads = [threading.Thread(target=consume, args=(f"c{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, total + 1):
            bus.publish(NAME, entries(number), entries_max=ROOMY)
        for thread in threads:
            thread.join(LONG_S)
        assert sorted(found) == list(range(1, total + 1))
        facts = bus.facts(NAME)
        assert facts and facts.groups[0].pending == 0

    def test_every_type_of_event_survives(self, bus: Bus) -> None:
        sent = entries(1)
        bus.publish(NAME, sent, entries_max=ROOMY)
        event = read(bus)[0].event
        assert isinstance(event, QuoteSnapshot)
        assert event.yes_bids_price_e4 == (4900, 4800)

    def is_waiting(self, bus: Bus) -> bool:
        """Tell whether a reader waits; a subclass knows how."""
        raise NotImplementedError

    def _read_waiting(self, bus: Bus, act: Callable[[], None]) -> list[Delivery]:
        """Let `act` happen while a thread waits for entries; return what that got."""
        read(bus)
        got = self._read_in_thread(bus)
        wait_until(lambda: self.is_waiting(bus), "the reader waits")
        act()
        return got()

    @staticmethod
    def _read_in_thread(bus: Bus) -> Callable[[], list[Delivery]]:
        """Let a thread read until it gets something; the answer waits for it."""
        got: list[Delivery] = []

        def wait() -> None:
            while not got:
                got.extend(bus.read(NAME, group="g", consumer="c", count=9, block_s=LONG_S))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()

        def answer() -> list[Delivery]:
            thread.join(LONG_S / 2)
            assert not thread.is_alive()
            return got

        return answer
