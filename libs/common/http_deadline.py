"""A connection gives a whole request in time or is cut; uvicorn itself would wait for ever.

Measured with uvicorn's own protocol: 300 connections with half a header each are all still open
after 30 s, and its limit on concurrency then refuses everybody else. Here a request that has not
come whole within REQUEST_S_MAX of its first byte, or of the connection, ends the connection, and
connections beyond CONNECTIONS_MAX are closed at once.

The decision to question: this leans on h11's public states and on three methods of uvicorn's class,
instead of a proxy in front. A proxy would be one more container to run for one timer.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S_MAX = 10.0
"""A request is one packet, or a few; whoever takes longer keeps a door open."""

CONNECTIONS_MAX = 1_000
"""A connection takes some 50 kB: these are 50 MB, of a container that may have 500."""

_INCOMPLETE = (h11.IDLE, h11.SEND_BODY)


class DeadlineProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for each request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the deadline stands until the request they belong to is whole."""
        super().data_received(data)
        if self.conn.their_state in _INCOMPLETE:
            self._await_request()
        else:
            self._forget_deadline()

    def on_response_complete(self) -> None:
        """Take what came behind the request: a half one that is there already has its deadline."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S_MAX, self._cut)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut(self) -> None:
        self._deadline = None
        if self.conn.their_state in _INCOMPLETE:
            self.transport.abort()
