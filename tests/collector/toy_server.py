"""A toy venue's server on loopback, in the loop of the test: what it is told, and what it says."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import WSMsgType, web

from libs.common.stream_time import StreamTime
from libs.common.venues.messages import Message
from services.collector.observer import Observer, Plan
from services.collector.traffic import Notice, Wishes
from services.collector.wire import Wire
from tests.collector.toy_venue import OPEN_NS, S, Toy, ToyFeed, book, facts, wire

RUN_S_MAX = 60.0
"""A test that has not seen what it waits for by then has failed."""

Script = Callable[[web.WebSocketResponse, int], Awaitable[None]]


async def talk(socket: web.WebSocketResponse, number: int) -> None:
    """Tell the book once, and stay."""
    await socket.send_str(wire(book(), sequence=0))
    await asyncio.sleep(RUN_S_MAX)


@dataclass
class ToyServer:
    """Answers a listing with one market, and runs `script` on each connection."""

    script: Script = talk
    refusals: list[int] = field(default_factory=list)
    """Statuses of the first handshakes."""
    texts: list[tuple[int, str]] = field(default_factory=list)
    """What was received, with the number of the connection from 1."""
    tried_s: list[float] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    url: str = ""

    @property
    def connections(self) -> int:
        """How many were tried, with those that were refused."""
        return len(self.tried_s)

    def subscribed(self) -> list[int]:
        """Return the connections that have subscribed."""
        return [number for number, text in self.texts if text.startswith("subscribe")]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while inside."""
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/{rest:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        told: list[Message] = [] if request.path.startswith(("/book", "/top")) else [facts()]
        return web.Response(body=msgspec.json.encode(told))

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.tried_s.append(time.monotonic())
        number = self.connections
        if number <= len(self.refusals):
            return web.Response(status=self.refusals[number - 1])
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        saying = asyncio.create_task(self.script(socket, number))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.texts.append((number, message.data))
        finally:
            saying.cancel()
            self.closed.append(number)
        return socket


@dataclass
class Lived:
    """What became of a run of the wire."""

    observer: Observer
    notices: list[Notice]
    tasks_left: list[str]


def live(
    server: ToyServer,
    until: Callable[[Observer], bool],
    *,
    feed: ToyFeed | None = None,
    speed: float = 20.0,
) -> Lived:
    """Run a wire on `server` until something is so; the stop sign then ends it."""
    return asyncio.run(_live(server, until, feed or ToyFeed(), speed))


async def _live(
    server: ToyServer, until: Callable[[Observer], bool], feed: ToyFeed, speed: float
) -> Lived:
    venue = Toy(feeds=[feed])
    notices: list[Notice] = []

    def take(wishes: Wishes) -> None:
        notices.extend(wishes.notices)

    async with server.serving():
        clock = StreamTime(start_ns=OPEN_NS + 2 * S, began_ns=time.time_ns(), speed=speed)
        plan = Plan(
            venues={venue.name: venue},
            series={venue.name: dict.fromkeys(venue.series, 1)},
            underlyings=("BTC-USD",),
            has_key=frozenset({venue.name}),
        )
        observer = Observer(plan, start_ns=-1, born_ns=clock.at(time.time_ns()))
        made = Wire(
            observer,
            plan.venues,
            clock,
            address=lambda address: server.url + "".join(address.partition("/ws")[1:2]),
            sign=_sign,
            take=take,
            capture=None,
        )
        end_s = time.monotonic() + RUN_S_MAX
        # The listing is asked for at the first tick; the feed is wanted from then on.
        await made.run(lambda: until(observer) or time.monotonic() > end_s)
        assert time.monotonic() <= end_s, "it did not happen"
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        left = [name for name in names if name.startswith(("Wire.", "Rest."))]
        # Until the server has seen the connections end.
        await asyncio.sleep(0.05)
    return Lived(observer, notices, left)


def _sign(venue: str, method: str, path: str) -> Mapping[str, str]:
    return {"X-Signed": f"{venue} {method} {path}"}
