"""The venues on one loopback port: sockets, the clock, and everything else that touches the world.

`http://HOST:PORT/<host of the real address>/<real path>` is what the real address would be, and
`ws://` likewise. `/clock`, `/healthz` and `/faults` are the simulator's own. One loop lets the
engine do what is due; sockets have a queue and a writer each.

A reader would question the loop that wakes 200 times a second rather than a timer per event: at a
speed of twenty a busy second holds two thousand events, and timers would cost more than they time.
"""

import asyncio
import time
from pathlib import Path
from typing import TextIO

from aiohttp import WSCloseCode, WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from libs.common.checks import UsageError
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from services.simulator.connection import Connection
from services.simulator.engine import Client, Engine, Setup
from services.simulator.faults import EVERY, FAULTS, Switch
from services.simulator.routing import Gate, Refused, Session

POLL_S = 0.005
CLOSE_S = 0.5
BODY_MAX = 1_000_000
TRUTH_FILE = "truth.jsonl"


class Server:
    """The running venues; `app` answers requests, `run` lets time pass until `stop`."""

    def __init__(
        self,
        setup: Setup,
        clock: StreamTime,
        *,
        key: RSAPublicKey | None = None,
        truth: Path | None = None,
    ) -> None:
        self.clock = clock
        self._seed = setup.seed
        self._lines: TextIO | None = None
        if truth is not None:
            truth.mkdir(parents=True, exist_ok=True)
            self._lines = (truth / TRUTH_FILE).open("a", buffering=1)
        self.engine = Engine(setup, write=self._write, report=_report)
        self._gate = Gate(self.engine.context, key)
        self._stops = asyncio.Event()

    def app(self) -> web.Application:
        """Return the application: its own pages, and every venue's."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_get("/clock", self._clock)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._health)
        app.router.add_get("/faults", self._faults)
        app.router.add_post("/faults", self._switch_on)
        app.router.add_delete("/faults/{name}", self._switch_off)
        app.router.add_route("*", "/{host}", self._venue)
        app.router.add_route("*", "/{host}/{path:.*}", self._venue)
        return app

    def now_ns(self) -> int:
        """Return the stream time."""
        return self.clock.at(time.time_ns())

    def stop(self) -> None:
        """End `run` and every connection."""
        self._stops.set()

    async def run(self) -> None:
        """Let time pass until stopped."""
        try:
            while not self._stops.is_set():
                while self.engine.is_behind(self.now_ns()) and not self._stops.is_set():
                    self.engine.draw()
                    self.engine.deliver(self.now_ns())
                    # Answers in between: a second takes milliseconds to draw.
                    await asyncio.sleep(0)
                self.engine.advance(self.now_ns())
                await asyncio.sleep(POLL_S)
        finally:
            for client in list(self.engine.clients):
                client.abort()
            if self._lines is not None:
                self._lines.close()
                self._lines = None

    def _write(self, line: str) -> None:
        if self._lines is not None:
            self._lines.write(line)

    async def _clock(self, _: web.Request) -> web.Response:
        clock = self.clock
        value = {"start_ns": clock.start_ns, "began_ns": clock.began_ns, "speed": clock.speed}
        return web.json_response({**value, "seed": self._seed})

    async def _health(self, _: web.Request) -> web.Response:
        engine, now_ns = self.engine, self.now_ns()
        late_ms, engine.late_ns_max = engine.late_ns_max / 1e6, 0
        return web.json_response(
            {
                "now_ns": now_ns,
                "late_ms_max": late_ms,
                "connections": len(engine.clients),
                "markets": len(engine.world.live_markets()),
            }
        )

    async def _faults(self, _: web.Request) -> web.Response:
        active = self.engine.board.active(self.now_ns())
        on = {venue: sorted(names) for venue, names in active.items()}
        return web.json_response({"on": on, "known": {n: f.what for n, f in FAULTS.items()}})

    async def _switch_on(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            name, venue = str(asked["name"]), str(asked.get("venue", EVERY))
            seconds = asked.get("seconds")
            duration = None if seconds is None else float(seconds)
            new = self.engine.switch_on(name, venue, now_ns=self.now_ns(), seconds=duration)
        except (UsageError, ValueError, TypeError, KeyError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response([switch._asdict() for switch in new], status=201)

    async def _switch_off(self, request: web.Request) -> web.Response:
        name, venue = request.match_info["name"], request.query.get("venue", EVERY)
        ended = self.engine.switch_off(name, venue, now_ns=self.now_ns())
        return web.json_response([switch._asdict() for switch in ended])

    async def _venue(self, request: web.Request) -> web.StreamResponse:
        """Answer what was asked of a venue's host: a REST answer, or a socket."""
        host, path = request.match_info["host"], "/" + request.match_info.get("path", "")
        now_ns = self.now_ns()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            opened = self._gate.opened(host, path, request.headers, now_ns)
            if not isinstance(opened, Refused):
                return await self._serve(request, opened)
            if opened.breaks and request.transport is not None:
                request.transport.abort()
            return _response(opened.answer_status, opened.text, opened.media)
        body = await request.text() if request.method == "POST" else ""
        query = {name: request.query.getall(name) for name in request.query}
        found = self._gate.answer(
            request.method, (host, path), query, headers=request.headers, body=body, now_ns=now_ns
        )
        response = _response(found.status, found.text, found.media)
        response.headers["Date"] = self._gate.date(host, now_ns)
        return response

    async def _serve(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Run one connection until either side ends it."""
        socket = web.WebSocketResponse(timeout=CLOSE_S, compress=False, max_msg_size=BODY_MAX)
        await socket.prepare(request)
        connection = Connection(socket, request, feed=session.feed)
        client = Client(session, connection.push, connection.abort)
        self.engine.clients.add(client)
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    session.receive(message.data, self.now_ns())
                    # Answer at once, not at the next pass; the order of what was said is kept.
                    self.engine.flush(self.now_ns())
        finally:
            self.engine.clients.discard(client)
            writer.cancel()
        if not socket.closed:
            await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket


def _response(status: int, text: str, media: str) -> web.Response:
    return web.Response(status=status, text=text, content_type=media)


def _report(switch: Switch, is_on: bool) -> None:
    log().info("fault.on" if is_on else "fault.off", fault=switch.name, venue=switch.venue)
