"""Redis as a bus: what every bus must do, and what Redis does when it is hurt."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import pytest

from libs.common.bus import Bus
from libs.common.checks import BusError, BusForeignError, BusFullError
from libs.common.entry_codec import EntryId
from libs.common.redis_bus import PIPELINE_ENTRIES_MAX, SOCKET_TIMEOUT_S, connect
from tests.common.bus_contract import (
    CONTROL_NAME,
    NAME,
    ROOMY,
    BusContract,
    entries,
    id_of,
    numbers_of,
    pending,
    read,
)
from tests.common.samples import model_event
from tests.redis_server import Connects, RedisServer, needs_redis, redis_server, wait_until

pytestmark = needs_redis

T = TypeVar("T")

ENDLESS = {"group": "g", "consumer": "c", "count": 1, "block_s": 1e6}

SHORT_S = 0.2
"""Time-out of a client that is to run into it."""


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def server(shared: RedisServer) -> Iterator[RedisServer]:
    """The module's server, empty and as it was started."""
    shared.flush()
    yield shared
    if not shared.is_running:
        shared.start()
    shared.raw("REPLICAOF", "NO", "ONE")
    shared.config(maxmemory=0)
    shared.user("default", "on", "nopass", "~*", "&*", "+@all")
    shared.raw("CONFIG", "RESETSTAT")


@pytest.fixture
def bus(server: RedisServer) -> Iterator[Bus]:
    opened = connect(server.url)
    yield opened
    opened.close()


class TestRedisBus(BusContract):
    @pytest.fixture(autouse=True)
    def _keep_server(self, server: RedisServer) -> None:
        self.server = server

    def is_waiting(self, bus: Bus) -> bool:
        return bool(self.server.facts("clients")["blocked_clients"])


def test_an_entry_is_readable_with_redis_cli(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    [[entry_id, fields]] = server.raw("XRANGE", NAME, "-", "+")
    assert entry_id == str(id_of(1)).encode()
    assert list(fields) == [b"type", b"v", b"id", b"ts", b"body"]
    event = entries(1)[0].event
    assert fields[b"type"] == b"QuoteSnapshot"
    assert fields[b"v"] == b"1"
    assert fields[b"id"] == event.id.encode()
    assert fields[b"ts"] == str(event.ts_ns).encode()
    assert fields[b"body"].startswith(b'{"type":"QuoteSnapshot","ts_ns":')


GOOD = entries(1)[0].event
GOOD_BODY = (
    b'{"type":"Tick","ts_ns":1,"id":"0000000000000000","underlying":"BTC-USD"}'
)  # fmt: skip
NESTED = GOOD_BODY[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (["body", GOOD_BODY], "version none"),
        (["v", "2", "body", GOOD_BODY], "version 2"),
        (["v", "1\x1b[31m" * 9, "body", GOOD_BODY], "version 1"),
        (["v", "1"], "not an event"),
        (["v", "1", "body", ""], "not an event"),
        (["v", "1", "body", b"\xff\xfe"], "not an event"),
        (["v", "1", "body", b'{"type":"Tick"'], "not an event"),
        (["v", "1", "body", b"[]"], "not an event"),
        (["v", "1", "body", b"{}"], "not an event"),
        (["v", "1", "body", b'{"type":"Tick"}'], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"Tick", b"Tock")], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"1,", b"NaN,")], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"1,", b"1e999,")], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"1,", b"true,")], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"1,", b'"1",')], "not an event"),
        (["v", "1", "body", GOOD_BODY.replace(b"1,", b"9" * 5000 + b",")], "not an event"),
        (["v", "1", "body", NESTED], "not an event"),
        (["type", "Tick", "v", "1", "id", "x", "ts", "1", "body", "no"], "not an event"),
        (["v", "v", "v", "v", "v", "1", "v", "1", "body", GOOD_BODY], "version v"),
    ],
)  # fmt: skip
def test_an_entry_that_is_none_of_ours_is_a_fault_and_not_a_failure(
    bus: Bus, server: RedisServer, fields: list[str | bytes], fault: str
) -> None:
    server.raw("XADD", NAME, "5-1", *fields)
    server.raw("XADD", NAME, "5-2", "v", "1", "body", GOOD_BODY)
    bad, good = read(bus)
    assert (bad.entry_id, bad.event) == (EntryId(5, 1), None)
    assert bad.fault and fault in bad.fault
    # It will stand in a log: one short line without control characters.
    assert len(bad.fault) < 300 and bad.fault.isprintable()
    assert good.event is not None and good.fault is None


def test_a_server_that_is_absent_is_one_clear_line(server: RedisServer) -> None:
    server.kill()
    bus, connects = connect(server.url), Connects(server)
    for call in every_call(bus):
        with pytest.raises(BusError, match=str(server.socket)) as caught:
            call()
        assert "\n" not in str(caught.value)
    # One attempt per call: when to try again is for the caller to say.
    assert connects() == len(every_call(bus))


def test_a_wrong_password_says_so_and_shows_no_secret(server: RedisServer) -> None:
    server.user("default", "on", ">right", "~*", "&*", "+@all")
    for bus in (
        connect(server.url, password="wrong-secret"),
        connect(server.url),
        connect(server.url.replace("unix://", "unix://nobody:wrong-secret@")),
    ):
        with pytest.raises(BusError, match="HAWK_REDIS_PASSWORD_FILE") as caught:
            bus.ping()
        assert "secret" not in str(caught.value)
    connect(server.url, password="right").ping()


def test_a_user_without_the_right_says_so(server: RedisServer) -> None:
    server.user("default", "on", "nopass", "~hawk:*", "&*", "+@read", "+ping")
    bus = connect(server.url)
    with pytest.raises(BusError, match="HAWK_REDIS_URL"):
        bus.publish(NAME, entries(1), entries_max=ROOMY)


def test_a_full_server_refuses_entries_but_obeys_a_trim(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(*range(1, 2000)), entries_max=ROOMY)
    server.config(maxmemory=server.facts("memory")["used_memory"])
    with pytest.raises(BusFullError, match="full"):
        bus.publish(NAME, entries(2000), entries_max=10)
    assert bus.trim(NAME, entries_max=10) == 1989
    bus.publish(NAME, entries(2000), entries_max=10)
    assert bus.last_id(NAME) == id_of(2000)


def test_what_a_full_server_refuses_is_not_sent_to_its_end(bus: Bus, server: RedisServer) -> None:
    bus.ping()
    server.config(maxmemory=1)
    with pytest.raises(BusFullError):
        bus.publish(NAME, entries(*range(1, 2000)), entries_max=ROOMY)
    assert server.calls("xadd") <= PIPELINE_ENTRIES_MAX


def test_a_full_server_is_still_read_and_acknowledged(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
    read(bus, count=1)
    server.config(maxmemory=1)
    assert numbers_of(read(bus)) == [2]
    assert bus.ack(NAME, group="g", ids=[id_of(1), id_of(2)]) == 2
    with pytest.raises(BusFullError):
        read(bus, group="new")


def test_a_server_that_may_only_be_read_refuses_entries(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    server.raw("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(BusError, match="read only"):
        bus.publish(NAME, entries(2), entries_max=ROOMY)
    with pytest.raises(BusError, match="read only"):
        read(bus)
    server.raw("REPLICAOF", "NO", "ONE")
    bus.publish(NAME, entries(2), entries_max=ROOMY)
    assert numbers_of(read(bus)) == [1, 2]


def test_a_stall_is_an_error_and_what_it_left_is_sent_again_once(server: RedisServer) -> None:
    bus = connect(server.url, timeout_s=SHORT_S)
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    with server.paused(), pytest.raises(BusError):
        bus.publish(NAME, entries(2, 3), entries_max=ROOMY)
    # Whether the stalled server took them is unknown; sending them again is always right.
    answered(lambda: bus.publish(NAME, entries(2, 3), entries_max=ROOMY))
    assert numbers_of(bus.entries(NAME, count=ROOMY)) == [1, 2, 3]
    assert server.facts("stats")["total_connections_received"] >= 2


def test_a_silent_server_is_waited_for_once_and_not_by_each_call(server: RedisServer) -> None:
    bus = connect(server.url, timeout_s=SHORT_S)
    bus.ping()
    with server.paused():
        connects = Connects(server)
        for call in every_call(bus):
            with pytest.raises(BusError, match="does not answer"):
                call()
    # The first waited on its open connection, the others were told at once.
    assert connects() <= 1
    answered(bus.ping)


def test_an_answer_that_came_too_late_is_given_to_nobody(server: RedisServer) -> None:
    bus = connect(server.url, timeout_s=SHORT_S)
    bus.publish(NAME, entries(1, 2), entries_max=ROOMY)
    with server.paused(), pytest.raises(BusError):
        bus.entries(NAME, count=1)
    assert answered(lambda: bus.last_id(NAME)) == id_of(2)
    assert numbers_of(bus.entries(NAME, after=id_of(1), count=1)) == [2]


def test_a_read_that_timed_out_leaves_its_entries_pending(server: RedisServer) -> None:
    bus = connect(server.url, timeout_s=SHORT_S)
    read(bus)
    with server.paused():
        thread = threading.Thread(target=connect(server.url).publish, args=(NAME, entries(1)),
                                  kwargs={"entries_max": ROOMY})  # fmt: skip
        with pytest.raises(BusError):
            read(bus)
        thread.start()
    thread.join()
    answered(bus.ping)
    wait_until(lambda: numbers_of(pending(bus)) + numbers_of(read(bus)) == [1], "entry 1")


def test_a_connection_that_broke_is_made_anew(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(BusError):
        bus.ping()
    bus.ping()


def test_a_server_that_came_back_empty_is_used_as_it_is(bus: Bus, server: RedisServer) -> None:
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    read(bus)
    server.restart()
    with pytest.raises(BusError):
        bus.last_id(NAME)
    assert bus.last_id(NAME) == EntryId(0, 0)
    assert bus.ack(NAME, group="g", ids=[id_of(1)]) == 0
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    assert numbers_of(read(bus)) == [1]


def test_an_intruder_far_above_the_top_shuts_the_writer_out_with_one_clear_line(
    bus: Bus, server: RedisServer
) -> None:
    bus.publish(NAME, entries(1), entries_max=ROOMY)
    server.raw("XADD", NAME, "9999999999999-0", "a", "b")
    with pytest.raises(BusForeignError, match=str(id_of(2))):
        bus.publish(NAME, entries(2), entries_max=ROOMY)


def test_a_key_that_is_no_stream_is_an_error(bus: Bus, server: RedisServer) -> None:
    server.raw("SET", NAME, "text")
    for call in (*every_call(bus)[:3], lambda: bus.facts(NAME)):
        with pytest.raises(BusError, match=r"WRONGTYPE|wrong kind"):
            call()


def test_posting_is_tried_once(bus: Bus, server: RedisServer) -> None:
    bus.ping()
    server.config(maxmemory=1)
    with pytest.raises(BusFullError):
        bus.post(CONTROL_NAME, [model_event(1)], entries_max=ROOMY)
    assert server.calls("xadd") == 1


def test_each_thread_has_a_connection_and_closing_ends_them_all(server: RedisServer) -> None:
    before = server.clients()
    bus = connect(server.url)
    ready, end = threading.Barrier(5), threading.Event()

    def use() -> None:
        bus.ping()
        ready.wait()
        end.wait()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    assert server.clients() == before + 4
    bus.close()
    wait_until(lambda: server.clients() == before, "the connections are closed")
    end.set()
    for thread in threads:
        thread.join()


def test_a_pipeline_of_many_is_in_order_and_complete(bus: Bus, server: RedisServer) -> None:
    numbers = list(range(1, 1000))
    bus.publish(NAME, entries(*numbers), entries_max=ROOMY)
    assert numbers_of(read(bus)) == numbers
    assert server.calls("xadd") == len(numbers)


def test_a_quiet_stream_is_not_taken_for_a_dead_server(server: RedisServer) -> None:
    server.config(slowlog_log_slower_than=0)
    for timeout_s in (SHORT_S, SOCKET_TIMEOUT_S):
        bus = connect(server.url, timeout_s=timeout_s)
        bus.publish(NAME, entries(1), entries_max=ROOMY)
        read(bus)
        server.raw("SLOWLOG", "RESET")
        reading = threading.Thread(target=bus.read, args=(NAME,), kwargs=ENDLESS, daemon=True)
        reading.start()
        wait_until(lambda: server.facts("clients")["blocked_clients"], "the read waits")
        connect(server.url).publish(NAME, entries(2), entries_max=ROOMY)
        reading.join()
        asked = [entry[3] for entry in server.raw("SLOWLOG", "GET", 128)]
        [words] = [words for words in asked if b"BLOCK" in words]
        assert int(words[words.index(b"BLOCK") + 1]) < timeout_s * 1000
        server.flush()


def answered(call: Callable[[], T]) -> T:
    """Call again until the server answers: after a stall it is not asked at once."""
    given: list[T] = []

    def is_answered() -> bool:
        with suppress(BusError):
            given.append(call())
        return bool(given)

    wait_until(is_answered, "the server answers")
    return given[0]


def every_call(bus: Bus) -> list[Callable[[], object]]:
    """One call of every verb that talks to the server."""
    return [
        lambda: bus.publish(NAME, entries(1), entries_max=ROOMY),
        lambda: bus.entries(NAME, count=1),
        lambda: read(bus),
        lambda: bus.last_id(NAME),
        lambda: bus.post(CONTROL_NAME, [model_event(1)], entries_max=ROOMY),
        lambda: bus.ack(NAME, group="g", ids=[id_of(1)]),
        lambda: bus.claim(NAME, group="g", consumer="c", idle_s_min=0, count=1),
        lambda: bus.facts(NAME),
        lambda: bus.trim(NAME, entries_max=1),
        lambda: bus.remove(NAME),
        bus.ping,
    ]


def test_a_name_without_address_is_asked_for_once_and_not_by_each_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def unknown(*place: object, **_: object) -> None:
        asked.append(place)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    bus = connect("redis://redis:6379/0")
    for _ in range(3):
        with pytest.raises(BusError, match="redis:6379"):
            bus.ping()
    # It takes seconds where no answer comes: ten readers would ask ten times, and a drain has ten.
    assert len(asked) == 1
