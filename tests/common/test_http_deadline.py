"""Whoever does not finish a request is cut, whoever does is served meanwhile."""

import select
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from libs.common import http_deadline
from libs.common.context import Health
from libs.common.web import Receive, Scope, Send, Web, respond
from tests.console.ports import free_port

SHORT_S = 0.3
PATIENCE_S = 10.0


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_deadline, "REQUEST_S_MAX", SHORT_S)
    web, number = Web(), free_port()
    web.add("test", Health())
    web.start("127.0.0.1", number)
    yield number
    web.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def is_cut(connection: socket.socket) -> bool:
    """Wait until the other side ends the connection; False if it does not."""
    ready, _, _ = select.select([connection], [], [], PATIENCE_S)
    try:
        return bool(ready) and connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def served(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S) as answer:
        return bool(answer.status == 200)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
    ],
    ids=["nothing", "half a line", "half a head"],
)
def test_half_a_request_is_cut(port: int, begun: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(begun)
        assert is_cut(connection)


def test_a_body_that_never_ends_is_cut_though_it_drips(port: int) -> None:
    with connected(port) as connection:
        head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(10_000).startswith(b"HTTP/1.1 405")
        for _ in range(1_000):
            try:
                connection.sendall(b"x")
                ready, _, _ = select.select([connection], [], [], SHORT_S / 10)
                if ready and not connection.recv(10_000):
                    return
            except ConnectionError:
                return
    raise AssertionError("the connection was kept open")


def test_others_are_served_while_many_are_half_open(port: int) -> None:
    with ExitStack() as held:
        waiting = [held.enter_context(connected(port)) for _ in range(300)]
        for connection in waiting:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        assert served(port)
        assert all(map(is_cut, waiting))
        assert served(port)


def test_a_connection_is_kept_for_request_after_request(port: int) -> None:
    with connected(port) as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"alive":true}'):
                answer += connection.recv(10_000)
            # Longer than the deadline of a request: between two of them none runs.
            assert not select.select([connection], [], [], 2 * SHORT_S)[0]


def test_one_connection_too_many_is_closed_at_once(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_deadline, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(http_deadline, "REQUEST_S_MAX", PATIENCE_S * 2)
    with connected(port) as first, connected(port) as second:
        assert is_cut(second)
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(10_000).startswith(b"HTTP/1.1 200")


async def patient(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the whole body has come, however long it takes."""
    while (await receive()).get("more_body"):
        pass
    await respond(send, 200, b"{}")


def test_half_a_request_behind_a_whole_one_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_deadline, "REQUEST_S_MAX", SHORT_S)
    web, port = Web(), free_port()
    web.mount("/patient", patient)
    web.start("127.0.0.1", port)
    with connected(port) as connection:
        whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        half = b"POST /patient HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
        connection.sendall(whole + half)
        answer = b""
        while select.select([connection], [], [], PATIENCE_S)[0]:
            try:
                more = connection.recv(10_000)
            except ConnectionResetError:
                more = b""
            if not more:
                break
            answer += more
        else:
            raise AssertionError("the connection was kept open")
    web.stop()
    assert answer.endswith(b'{"alive":true}')
