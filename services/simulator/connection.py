"""One client's socket: a queue, a writer, and an end to patience.

In go messages, out they go over the WebSocket in order. A client that does not read fills its own
queue and nobody else's; past the limit it is given up as its venue does it.
"""

import asyncio
from collections import deque

from aiohttp import web

from services.simulator.wire import PING, Out, json_text

QUEUE_MAX = 20_000
"""Messages that wait for one client: a busy minute at twenty times the speed of the clock."""


class Connection:
    """Writes what is pushed until the connection ends."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, *, feed: str) -> None:
        self._socket, self._transport, self._feed = socket, request.transport, feed
        self._queue: deque[Out] = deque()
        self._wakes = asyncio.Event()
        self._is_over = False

    def push(self, messages: list[Out]) -> None:
        """Queue messages."""
        if self._is_over:
            return
        self._queue.extend(messages)
        if len(self._queue) > QUEUE_MAX:
            self._queue.clear()
            if self._feed == "kalshi.ws":
                message = {"code": 25, "msg": "Subscription buffer overflow"}
                self._queue.append(Out(json_text({"id": 0, "type": "error", "msg": message})))
            code = 4002 if self._feed == "polymarket.polybolt" else 1008
            self._queue.append(Out("slow consumer", code=code))
        self._wakes.set()

    def abort(self) -> None:
        """Break the connection off, without a word."""
        self._is_over = True
        self._wakes.set()
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Write what is queued until the connection ends."""
        while not self._is_over:
            await self._wakes.wait()
            self._wakes.clear()
            while self._queue and not self._is_over:
                try:
                    await self._send(self._queue.popleft())
                except (ConnectionError, RuntimeError):
                    self._is_over = True

    async def _send(self, out: Out) -> None:
        if out.code == 0:
            await self._socket.send_str(out.text)
        elif out.code == PING:
            await self._socket.ping(out.text.encode())
        else:
            self._is_over = True
            await self._socket.close(code=out.code, message=out.text.encode())
