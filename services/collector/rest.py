"""Ask venues by REST, within what each endpoint allows; every answer is handed back. Shell.

One queue and one allowance (aiolimiter's leaky bucket) per endpoint; what is urgent goes first, the
rest waits. A venue that says it is asked too much, or that it is down, is left alone for a
doubling, jittered while. Redirects are not followed, answers are bounded, TLS is verified.

The decision a reader would question: a queue that is full forgets its oldest routine request. The
observer asks again for whatever is still wanted, so a request that waited longer than that would
only bring an answer to yesterday's question.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

import aiohttp
from aiolimiter import AsyncLimiter

from libs.common.backoff import Backoff
from libs.common.stream_time import StreamTime
from libs.common.venues.venue import Endpoint, Get
from services.collector.traffic import Answered, Fetch

ANSWER_BYTES_MAX = 32 * 1024 * 1024
"""A list of 1,000 markets has 3 MB, the deepest book some 5 MB."""

ANSWER_S_MAX = 10.0
"""Stream seconds, and never less than ANSWER_WALL_S_MIN of the machine's."""

ANSWER_WALL_S_MIN = 2.0
QUEUE_MAX = 200
WORKERS = 4
"""Requests in flight per endpoint."""

PAUSE_FIRST_S, PAUSE_S_MAX = 1.0, 60.0
PAUSED_STATUSES = (425, 429, 500, 502, 503, 504)

Headers = Callable[[Get], Mapping[str, str]]
"""Headers of a signed request."""


class Rest:
    """The REST client of all endpoints; `hear` is called with every answer."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        clock: StreamTime,
        *,
        address: Callable[[str], str],
        headers: Headers,
        hear: Callable[[Answered], None],
    ) -> None:
        """Prepare; `run` does the work."""
        self._clock, self._address, self._headers, self._hear = clock, address, headers, hear
        self._endpoints = {
            name: _Queue(endpoint, clock.speed) for name, endpoint in endpoints.items()
        }

    def ask(self, fetch: Fetch) -> None:
        """Queue a request."""
        self._endpoints[fetch.get.endpoint].put(fetch)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Answer requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            for queue in self._endpoints.values():
                for _ in range(WORKERS):
                    group.create_task(self._work(queue, session))

    async def _work(self, queue: "_Queue", session: aiohttp.ClientSession) -> None:
        while True:
            fetch = await queue.take()
            status = await self._answer(queue.endpoint, fetch.get, session)
            if status in PAUSED_STATUSES or status == 0:
                queue.pause(self._clock.wall_s(queue.backoff.next_s()))
            else:
                queue.backoff.reset()

    async def _answer(self, endpoint: Endpoint, get: Get, session: aiohttp.ClientSession) -> int:
        sent_ns = self._clock.at(time.time_ns())
        status, text, venue_ns = 0, "", None
        wait_s = max(self._clock.wall_s(ANSWER_S_MAX), ANSWER_WALL_S_MIN)
        try:
            headers = dict(self._headers(get)) if get.is_signed else None
            async with session.get(
                self._address(endpoint.address) + get.target,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=wait_s),
            ) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX + 1)
                while len(body) <= ANSWER_BYTES_MAX and not answer.content.at_eof():
                    body += await answer.content.read(ANSWER_BYTES_MAX + 1)
                status, venue_ns = answer.status, _date_ns(answer.headers.get("Date"))
                text = body.decode("utf-8", "replace")
                if len(body) > ANSWER_BYTES_MAX:
                    status, text = 0, f"an answer of more than {ANSWER_BYTES_MAX} bytes"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            status, text = 0, f"{type(error).__name__}: {error}"[:200]
        now_ns = self._clock.at(time.time_ns())
        self._hear(Answered(now_ns, get, status, text, sent_ns, venue_ns))
        return status


class _Queue:
    """Waiting requests of one endpoint, and how soon the next may go."""

    def __init__(self, endpoint: Endpoint, speed: float) -> None:
        self.endpoint = endpoint
        self.backoff = Backoff(first_s=PAUSE_FIRST_S, max_s=PAUSE_S_MAX)
        period_s = endpoint.burst / endpoint.rate_per_s / speed
        self._limit = AsyncLimiter(endpoint.burst, period_s)
        self._urgent: dict[Get, Fetch] = {}
        self._routine: dict[Get, Fetch] = {}
        self._is_waiting = asyncio.Event()
        self._paused_until_s = 0.0

    def put(self, fetch: Fetch) -> None:
        waiting = self._urgent if fetch.is_urgent else self._routine
        waiting[fetch.get] = fetch
        if len(waiting) > QUEUE_MAX:
            del waiting[next(iter(waiting))]
        self._is_waiting.set()

    def pause(self, seconds: float) -> None:
        self._paused_until_s = max(self._paused_until_s, time.monotonic() + seconds)

    async def take(self) -> Fetch:
        while True:
            await self._is_waiting.wait()
            left_s = self._paused_until_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
                continue
            waiting = self._urgent or self._routine
            if not waiting:
                self._is_waiting.clear()
                continue
            fetch = waiting.pop(next(iter(waiting)))
            await self._limit.acquire(min(fetch.get.cost, self.endpoint.burst))
            return fetch


def _date_ns(text: str | None) -> int | None:
    """Return the middle of the second that an HTTP date names."""
    with suppress(TypeError, ValueError, OverflowError):
        return int(parsedate_to_datetime(text or "").timestamp()) * 1_000_000_000 + 500_000_000
    return None
