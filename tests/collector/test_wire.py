"""Sockets on loopback: connect, subscribe, keep alive, and connect again after anything."""

import asyncio

from aiohttp import web

from services.collector.wire import REFUSED_S
from tests.collector.toy_server import RUN_S_MAX, ToyServer, live, talk
from tests.collector.toy_venue import ToyFeed, book, wire


def padded(size: int) -> str:
    """Return a book as a text of more than `size` characters, by a field that nobody reads."""
    return f'{wire(book(), sequence=0)[:-1]},"padding":"{"x" * size}"}}'


def test_it_subscribes_as_the_first_thing_on_every_connection() -> None:
    async def drop(socket: web.WebSocketResponse, number: int) -> None:
        await socket.send_str(wire(book(), sequence=0))
        if number < 3:
            await asyncio.sleep(0.05)
            await socket.close()
        else:
            await asyncio.sleep(RUN_S_MAX)

    server = ToyServer(drop)
    lived = live(server, lambda observer: 3 in server.subscribed())
    assert server.subscribed() == [1, 2, 3]
    assert dict(reversed(server.texts)) == dict.fromkeys((1, 2, 3), "subscribe T-1")
    assert lived.observer.counts["toy.ws", "closed"] == 3


def test_an_end_without_a_goodbye_is_an_end() -> None:
    async def abort(socket: web.WebSocketResponse, number: int) -> None:
        if number == 1:
            assert socket._req is not None and socket._req.transport is not None
            socket._req.transport.abort()
        await asyncio.sleep(RUN_S_MAX)

    server = ToyServer(abort)
    live(server, lambda observer: 2 in server.subscribed())


def test_a_refused_handshake_is_told_and_tried_again_after_a_long_wait() -> None:
    speed = 200.0
    server = ToyServer(refusals=[401])
    lived = live(server, lambda observer: 2 in server.subscribed(), speed=speed)
    first_s, second_s = server.tried_s
    assert (second_s - first_s) * speed >= REFUSED_S
    assert [n.is_firing for n in lived.notices if n.rule == "venue_refused"] == [True, False]


def test_any_other_answer_to_a_handshake_is_tried_again() -> None:
    server = ToyServer(refusals=[503, 429, 200, 404])
    lived = live(server, lambda observer: bool(server.subscribed()))
    assert server.subscribed() == [5]
    assert lived.observer.counts["toy.ws", "refused"] == 0


def test_a_text_of_five_megabytes_is_read() -> None:
    text, feed = padded(5_000_000), ToyFeed()
    feed.message_bytes_max = 8_000_000

    async def tell(socket: web.WebSocketResponse, number: int) -> None:
        await socket.send_str(text)
        await asyncio.sleep(RUN_S_MAX)

    server = ToyServer(tell)
    lived = live(server, lambda observer: observer.sampling.quotes > 2, feed=feed)
    assert server.connections == 1
    assert lived.observer.counts["toy.ws", "too_large"] == 0


def test_a_text_over_the_limit_is_not_read_and_ends_the_connection() -> None:
    text = padded(2_000_000)

    async def tell(socket: web.WebSocketResponse, number: int) -> None:
        await socket.send_str(text if number == 1 else wire(book(), sequence=0))
        await asyncio.sleep(RUN_S_MAX)

    server = ToyServer(tell)
    lived = live(server, lambda observer: observer.sampling.quotes > 0)
    assert server.connections == 2
    assert lived.observer.counts["toy.ws", "too_large"] == 1


def test_bytes_are_counted_and_the_connection_goes_on() -> None:
    async def tell(socket: web.WebSocketResponse, number: int) -> None:
        await socket.send_bytes(b"\xff\x00")
        await talk(socket, number)

    server = ToyServer(tell)
    lived = live(server, lambda observer: observer.sampling.quotes > 0)
    assert server.connections == 1
    assert lived.observer.counts["toy.ws", "too_large"] == 1


def test_texts_without_sense_end_a_connection_and_the_next_one_is_sound() -> None:
    async def tell(socket: web.WebSocketResponse, number: int) -> None:
        for _ in range(30 if number == 1 else 0):
            await socket.send_str("<html>")
        await talk(socket, number)

    server = ToyServer(tell)
    lived = live(server, lambda observer: observer.sampling.quotes > 0)
    assert server.connections == 2
    assert lived.observer.counts["toy.ws", "hangup_rejects"] == 1
    assert 1 in server.closed


def test_the_keepalive_text_is_sent_again_and_again_behind_the_subscription() -> None:
    feed = ToyFeed()
    feed.keepalive_text, feed.keepalive_s = "PING", 2.0
    server = ToyServer()
    live(server, lambda observer: len(server.texts) > 3, feed=feed)
    texts = [text for _, text in server.texts]
    assert texts[0] == "subscribe T-1" and texts.count("PING") >= 3


def test_a_feed_that_is_signed_sends_its_headers() -> None:
    seen: list[str] = []

    async def tell(socket: web.WebSocketResponse, number: int) -> None:
        assert socket._req is not None
        seen.append(socket._req.headers.get("X-Signed", ""))
        await talk(socket, number)

    feed = ToyFeed()
    feed.is_signed = True
    server = ToyServer(tell)
    live(server, lambda observer: bool(seen), feed=feed)
    assert seen[0] == "toy GET /ws"


def test_the_stop_sign_ends_connections_and_leaves_no_task() -> None:
    server = ToyServer()
    lived = live(server, lambda observer: observer.sampling.quotes > 0)
    assert lived.tasks_left == []
    assert server.closed == [1]


def test_the_stop_sign_ends_a_wait_for_a_server_that_is_not_there() -> None:
    server = ToyServer(refusals=[500] * 10_000)
    lived = live(server, lambda observer: server.connections > 3)
    assert lived.tasks_left == []
