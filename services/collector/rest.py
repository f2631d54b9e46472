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

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""A list of 1,000 markets has 3 MB, the deepest book some 5 MB."""

ANSWER_S_MAX = 10.0
"""Stream seconds, and never less than ANSWER_WALL_S_MIN of the machine's."""

ANSWER_WALL_S_MIN = 2.0
QUEUE_MAX = 200
ROUTINE_SHARE = 4
"""Every fourth request may be a routine one, however much is urgent: without a listing there would
soon be nothing urgent."""

WORKERS = 4
"""Requests in flight per endpoint."""

PAUSE_FIRST_S, PAUSE_S_MAX = 1.0, 60.0
PAUSED_STATUSES = (403, 418, 425, 429, 500, 502, 503, 504)
OK, PAGE_BEGIN_LENGTH = 200, 100
"""In so much of a text an HTML page shows itself: a venue in trouble sends one with status 200."""

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
            name: _Queue(Allowance(endpoint, clock.speed)) for name, endpoint in endpoints.items()
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
            is_sound = await self._answer(queue.allowance.endpoint, fetch.get, session)
            if not is_sound:
                queue.allowance.pause()
            else:
                queue.allowance.restore()

    async def _answer(self, endpoint: Endpoint, get: Get, session: aiohttp.ClientSession) -> bool:
        """Ask and hand the answer back; return whether the venue may be asked on as before."""
        sent_ns = self._clock.at(time.time_ns())
        status, text, venue_ns = await fetch_text(
            session,
            self._address(endpoint.address) + get.target,
            headers=lambda: self._headers(get) if get.is_signed else {},
            wait_s=max(self._clock.wall_s(ANSWER_S_MAX), ANSWER_WALL_S_MIN),
        )
        now_ns = self._clock.at(time.time_ns())
        self._hear(Answered(now_ns, get, status, text, sent_ns, venue_ns))
        is_page = status == OK and text[:PAGE_BEGIN_LENGTH].lstrip().startswith("<")
        return status != 0 and status not in PAUSED_STATUSES and not is_page


async def fetch_text(
    session: aiohttp.ClientSession,
    url: str,
    *,
    headers: Callable[[], Mapping[str, str]] = dict,
    wait_s: float,
) -> tuple[int, str, int | None]:
    """Return status, text and the venue's clock (`Date`) of one answer; never raises.

    Status 0 and a text of why: there was no answer within `wait_s`, or one that is too large.
    """
    try:
        async with session.get(
            url,
            headers=dict(headers()) or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=wait_s),
        ) as answer:
            body = await answer.content.read(ANSWER_BYTES_MAX + 1)
            while len(body) <= ANSWER_BYTES_MAX and not answer.content.at_eof():
                body += await answer.content.read(ANSWER_BYTES_MAX + 1)
            # A cache answers with the date of the original.
            date = None if "Age" in answer.headers else answer.headers.get("Date")
            venue_ns = _date_ns(date)
            if len(body) > ANSWER_BYTES_MAX:
                return 0, f"an answer of more than {ANSWER_BYTES_MAX} bytes", venue_ns
            text = body.decode("utf-8", "replace")
            return answer.status, text, venue_ns
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return 0, f"{type(error).__name__}: {error}"[:200], None


class Allowance:
    """How soon an endpoint may be asked: its rate, and a while of rest after it said no."""

    def __init__(self, endpoint: Endpoint, speed: float) -> None:
        """Begin with a full allowance; `speed` is that of the stream's clock."""
        self.endpoint = endpoint
        self._speed = speed
        self._backoff = Backoff(first_s=PAUSE_FIRST_S, max_s=PAUSE_S_MAX)
        self._limit = AsyncLimiter(endpoint.burst, endpoint.burst / endpoint.rate_per_s / speed)
        self._paused_until_s = 0.0

    def pause(self) -> None:
        """Leave the endpoint alone for a while, each time longer.

        In a pause this does nothing: it is an answer to what was asked before the pause.
        """
        if time.monotonic() < self._paused_until_s:
            return
        seconds = self._backoff.next_s() / self._speed
        self._paused_until_s = time.monotonic() + seconds

    def restore(self) -> None:
        """Note an answer: the next pause is short again."""
        self._backoff.reset()

    async def rest(self) -> bool:
        """Wait out a pause; return whether there was one."""
        left_s = self._paused_until_s - time.monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)
        return left_s > 0

    async def take(self, cost: float) -> None:
        """Take `cost` of the allowance as soon as there is so much."""
        await self._limit.acquire(min(cost, self.endpoint.burst))


class _Queue:
    """Waiting requests of one endpoint."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._urgent: dict[Get, Fetch] = {}
        self._routine: dict[Get, Fetch] = {}
        self._is_waiting = asyncio.Event()
        self._taken = 0

    def put(self, fetch: Fetch) -> None:
        waiting = self._urgent if fetch.is_urgent else self._routine
        waiting[fetch.get] = fetch
        if len(waiting) > QUEUE_MAX:
            del waiting[next(iter(waiting))]
        self._is_waiting.set()

    async def take(self) -> Fetch:
        while True:
            await self._is_waiting.wait()
            if await self.allowance.rest():
                continue
            self._taken += 1
            is_routines = self._taken % ROUTINE_SHARE == 0
            waiting = (self._routine if is_routines else {}) or self._urgent or self._routine
            if not waiting:
                self._is_waiting.clear()
                continue
            fetch = waiting.pop(next(iter(waiting)))
            await self.allowance.take(fetch.get.cost)
            return fetch


def _date_ns(text: str | None) -> int | None:
    """Return the middle of the second that an HTTP date names."""
    with suppress(TypeError, ValueError, OverflowError):
        return int(parsedate_to_datetime(text or "").timestamp()) * 1_000_000_000 + 500_000_000
    return None
