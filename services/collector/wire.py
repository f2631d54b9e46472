"""Sockets, REST and the clock: everything that the observer is fed, in one thread. Shell.

The same for every venue: connect, let the observer subscribe, hand over each text with its time of
arrival, keep alive, and connect again after a jittered wait that never gives up. What is decided is
decided by the observer; this page only carries its wishes out.

The decision a reader would question: one thread with one event loop calls the observer directly,
without a queue in between. A queue would make the stamp of arrival and the order of handling two
things; so the loop does nothing slow: instants go to the publisher's thread, and a text that is not
read yet waits in the kernel, whose window then slows the venue down.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import aiohttp

from libs.common.backoff import Backoff
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from libs.common.venues.venue import Feed, Venue
from services.collector.capture import CaptureWriter
from services.collector.observer import Observer
from services.collector.rest import Rest
from services.collector.traffic import (
    Arrival,
    Closed,
    Opened,
    Oversized,
    Passed,
    Received,
    Refused,
    Wishes,
)

RECONNECT_FIRST_S, RECONNECT_S_MAX = 0.25, 30.0
"""Stream seconds before a connection is tried again: soon at first, because most ends are a
restart; never so long that an outage lasts much longer for us than for the venue."""

LIVED_S = 20.0
"""A connection that lasted so long was sound: the next one is tried soon again."""

REFUSED_S = 120.0
"""After a refusal that trying again would only make worse (a bad key, a ban)."""

REFUSING = (401, 403)

CONNECT_S_MAX = 10.0
CLOSE_S_MAX = 2.0
WALL_S_MIN = 1.0
"""No handshake is given less of the machine's time, whatever the speed."""

LOOK_S = 0.25
"""Stream seconds between two looks at which feeds should be connected."""

SignFeed = Callable[[Feed], Mapping[str, str]]


class Wire:
    """Feeds `observer` from the venues; `take` is called with what follows from each arrival."""

    def __init__(
        self,
        observer: Observer,
        venues: Mapping[str, Venue],
        clock: StreamTime,
        *,
        address: Callable[[str], str],
        sign: Callable[[str, str, str], Mapping[str, str]],
        take: Callable[[Wishes], None],
        capture: CaptureWriter | None,
    ) -> None:
        """Prepare; `run` does the work.

        `address` turns a venue's address into the one to connect to; `sign` gives the headers of
        (venue, method, path).
        """
        self._observer, self._clock, self._address = observer, clock, address
        self._sign, self._take, self._capture = sign, take, capture
        self._feeds = {feed.name: feed for venue in venues.values() for feed in venue.feeds}
        self._venue = {feed.name: venue.name for venue in venues.values() for feed in venue.feeds}
        self._sockets: dict[str, _Open] = {}
        self._refused: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._connections = 0
        endpoints = {n: e for venue in venues.values() for n, e in venue.endpoints.items()}
        self._rest = Rest(
            endpoints,
            clock,
            address=address,
            headers=lambda get: sign(
                get.venue, "GET", _path(endpoints[get.endpoint].address, get.target)
            ),
            hear=self._hear,
        )

    async def run(self, is_stopped: Callable[[], bool]) -> None:
        """Work until `is_stopped`; the last tick has been taken when this returns."""
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[no_redirects()],
            trust_env=False,
        ) as session:
            rest = asyncio.create_task(self._rest.run(session))
            try:
                while not is_stopped():
                    self._connect(session)
                    await asyncio.sleep(self._next_look_s())
                    self._hear(Passed(self._clock.at(time.time_ns())))
                    if rest.done():
                        rest.result()
            finally:
                rest.cancel()
                for task in self._tasks.values():
                    task.cancel()
                with suppress(asyncio.CancelledError, BaseExceptionGroup):
                    await asyncio.wait([rest, *self._tasks.values()], timeout=CLOSE_S_MAX)
                if self._capture is not None:
                    self._capture.flush()

    def _next_look_s(self) -> float:
        """Return the wall seconds to the next tick, or to the next look if that is sooner."""
        tick_s = (self._clock.wall_of(self._observer.tick_ns) - time.time_ns()) / 1e9
        return min(max(tick_s, 0.001), max(self._clock.wall_s(LOOK_S), 0.005))

    def _connect(self, session: aiohttp.ClientSession) -> None:
        """Start what should be connected, end what should not."""
        wanted = self._observer.feeds()
        for name in wanted:
            task = self._tasks.get(name)
            if task is None or task.done():
                if task is not None and not task.cancelled():
                    task.result()  # a broken invariant ends the collector
                self._tasks[name] = asyncio.create_task(self._keep(self._feeds[name], session))
        for name in [name for name in self._tasks if name not in wanted]:
            self._tasks.pop(name).cancel()

    async def _keep(self, feed: Feed, session: aiohttp.ClientSession) -> None:
        """Keep one feed connected, for ever."""
        backoff = Backoff(first_s=RECONNECT_FIRST_S, max_s=RECONNECT_S_MAX)
        while True:
            began_s = time.monotonic()
            await self._live(feed, session)
            if time.monotonic() - began_s > self._clock.wall_s(LIVED_S):
                backoff.reset()
            wait_s = backoff.next_s()
            if feed.name in self._refused:
                self._refused.discard(feed.name)
                wait_s = REFUSED_S
            await asyncio.sleep(self._clock.wall_s(wait_s))

    async def _live(self, feed: Feed, session: aiohttp.ClientSession) -> None:
        """Connect once and read to the end."""
        self._connections += 1
        connection, is_open, texts, reason = self._connections, False, 0, "closed"
        wait_s = max(self._clock.wall_s(CONNECT_S_MAX), WALL_S_MIN)
        try:
            async with asyncio.timeout(wait_s):
                socket = await session.ws_connect(
                    self._address(feed.address),
                    headers=self._headers(feed),
                    max_msg_size=feed.message_bytes_max,
                    autoping=True,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._clock.wall_s(CLOSE_S_MAX)),
                )
            async with socket:
                is_open = True
                self._sockets[feed.name] = _Open(connection, socket)
                log().info("feed.connected", feed=feed.name, connection=connection)
                self._hear(Opened(self._now_ns(), feed.name, connection))
                texts, reason = await self._read(feed, connection, socket)
        except aiohttp.WSServerHandshakeError as error:
            reason = f"the handshake was answered with {error.status} {error.message}"[:200]
            if error.status in REFUSING:
                self._refused.add(feed.name)
                self._hear(Refused(self._now_ns(), feed.name, reason))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
        finally:
            opened = self._sockets.get(feed.name)
            if opened is not None and opened.connection == connection:
                del self._sockets[feed.name]
            if is_open:
                self._hear(Closed(self._now_ns(), feed.name, connection, reason))
        log().info("feed.closed", feed=feed.name, connection=connection, texts=texts, reason=reason)

    async def _read(
        self, feed: Feed, connection: int, socket: aiohttp.ClientWebSocketResponse
    ) -> tuple[int, str]:
        """Hand over every text until the connection ends; return how many, and why it ended."""
        texts = 0
        fault: BaseException | None = None
        writer = asyncio.create_task(self._write(feed, self._sockets[feed.name]))
        try:
            async for message in socket:
                now_ns = self._now_ns()
                if message.type is aiohttp.WSMsgType.TEXT:
                    texts += 1
                    self._hear(Received(now_ns, feed.name, connection, message.data))
                elif message.type is aiohttp.WSMsgType.BINARY:
                    self._hear(Oversized(now_ns, feed.name, connection, "not a text"))
                elif message.type is aiohttp.WSMsgType.ERROR:
                    fault = message.data
                    break
        finally:
            writer.cancel()
        # What a text did wrong stands in the message alone, what the wire did in the socket.
        error = fault or socket.exception()
        if error is not None and not isinstance(error, aiohttp.ClientError):
            # Too long, or not UTF-8: aiohttp ends the connection.
            self._hear(Oversized(self._now_ns(), feed.name, connection, str(error)[:200]))
        code = "" if socket.close_code is None else f" code {socket.close_code}"
        return texts, f"closed{code}{'' if error is None else f' {error}'}"[:200]

    async def _write(self, feed: Feed, opened: "_Open") -> None:
        """Send what is to be said in order, and the keep-alive text in between."""
        wait_s = self._clock.wall_s(feed.keepalive_s) if feed.keepalive_text is not None else None
        with suppress(ConnectionError, aiohttp.ClientError, RuntimeError):
            while not opened.socket.closed:
                text = feed.keepalive_text or ""
                with suppress(TimeoutError):
                    text = await asyncio.wait_for(opened.texts.get(), wait_s)
                if opened.is_ending:
                    await opened.socket.close()
                elif text:
                    await opened.socket.send_str(text)

    def _headers(self, feed: Feed) -> Mapping[str, str] | None:
        if not feed.is_signed:
            return None
        return self._sign(self._venue[feed.name], "GET", _path(feed.address, ""))

    def _hear(self, arrival: Arrival) -> None:
        """Feed the observer, and carry out what it wants of the wire."""
        if self._capture is not None:
            self._capture.write(arrival)
        wishes = self._observer.handle(arrival)
        for fetch in wishes.fetches:
            self._rest.ask(fetch)
        for send in wishes.sends:
            opened = self._sockets.get(send.feed)
            if opened is not None and opened.connection == send.connection:
                for text in send.texts:
                    opened.texts.put_nowait(text)
        for hangup in wishes.hangups:
            log().warning("feed.hangup", feed=hangup.feed, reason=hangup.reason)
            if hangup.is_refused:
                self._refused.add(hangup.feed)
            opened = self._sockets.get(hangup.feed)
            if opened is not None and opened.connection == hangup.connection:
                opened.is_ending = True
                opened.texts.put_nowait("")
        if wishes.instants or wishes.notices:
            self._take(wishes)

    def _now_ns(self) -> int:
        return self._clock.at(time.time_ns())


def no_redirects() -> aiohttp.TraceConfig:
    """Return what refuses to follow a venue elsewhere, with our headers, to wherever it says."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return trace


async def _refuse_redirect(session: object, context: object, told: object) -> None:
    raise aiohttp.ClientError("redirected elsewhere, which is not followed")


class _Open:
    """An open socket, and what is still to be said on it."""

    def __init__(self, connection: int, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.connection, self.socket = connection, socket
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.is_ending = False


def _path(address: str, target: str) -> str:
    """Return the path of an address and a target, which is what a venue wants signed."""
    path = address.partition("://")[2].partition("/")[2]
    return (f"/{path}" if path else "") + target.partition("?")[0]
