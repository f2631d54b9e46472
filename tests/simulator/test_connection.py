"""One client's queue: order, pings, closes, and the end of patience."""

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from services.simulator.connection import QUEUE_MAX, Connection
from services.simulator.wire import PING, Out


class Socket(web.WebSocketResponse):
    """Notes what is written, once `reads` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()
        self.written: list[tuple[str, str | int]] = []

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Note a text."""
        await self.reads.wait()
        self.written.append(("text", data))

    async def ping(self, message: bytes = b"") -> None:
        """Note a ping."""
        self.written.append(("ping", message.decode()))

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        """Note a close."""
        self.written.append(("close", code))
        return True


def written(batches: list[list[Out]], *, feed: str) -> list[tuple[str, str | int]]:
    """Push batches to a client that reads only then; return what it gets."""

    async def run() -> list[tuple[str, str | int]]:
        socket = Socket()
        connection = Connection(socket, make_mocked_request("GET", "/"), feed=feed)
        writer = asyncio.create_task(connection.write())
        for batch in batches:
            connection.push(batch)
            await asyncio.sleep(0)
        socket.reads.set()
        await asyncio.wait_for(writer, 5)
        return socket.written

    return asyncio.run(run())


END = Out("bye", code=1000)


def test_messages_pings_and_the_close_go_out_in_order() -> None:
    told = written([[Out("a"), Out("heartbeat", code=PING)], [Out("b"), END, Out("c")]], feed="x")
    assert told == [("text", "a"), ("ping", "heartbeat"), ("text", "b"), ("close", 1000)]


@pytest.mark.parametrize(
    ("feed", "code"), [("coinbase.ws", 1008), ("polymarket.polybolt", 4002), ("kalshi.ws", 1008)]
)
def test_a_client_too_far_behind_is_given_up_as_its_venue_does_it(feed: str, code: int) -> None:
    told = written([[Out("first")], [Out("x")] * (QUEUE_MAX + 1)], feed=feed)
    assert told[0] == ("text", "first")
    assert told[-1] == ("close", code)
    errors = [json.loads(str(text))["msg"]["code"] for _, text in told[1:-1]]
    assert errors == ([25] if feed == "kalshi.ws" else [])
