"""Ask venues for history: page by page, within what they allow, with patience that ends. Shell.

The same allowance and the same answers as live (`rest`), but who asks here waits: a venue that says
"slower" or is down is left alone for a while and asked again, up to TRIES_MAX times. What then
still does not answer ends the piece of history that it belongs to (`GaveUp`).

The decision a reader would question: an answer that is understood by nobody is not asked for again
at once. It is told as a fault of that one question, so that one odd market does not hold up a day,
and whoever asked does not call the day complete.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import aiohttp

from libs.common.checks import UnavailableError
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from libs.common.venues.messages import Message
from libs.common.venues.venue import Answer, Fault, Get, Venue
from services.collector.rest import (
    ANSWER_S_MAX,
    ANSWER_WALL_S_MIN,
    WORKERS,
    Allowance,
    fetch_text,
)

TRIES_MAX = 8
"""With pauses of up to 1, 2, 4, ... 60 s some two minutes: longer than a restart, shorter than a
person's patience."""

PAGES_MAX = 5_000
"""Of one question: five million markets. A cursor that never ends is a fault of the venue."""

PASSING: tuple[Fault, ...] = ("throttled", "restarting", "unavailable", "not_json")
"""Faults that waiting helps against. HTML in place of JSON is a gateway's word for "not now"."""

FINAL: tuple[Fault, ...] = ("refused",)
"""Faults that every further question would meet too."""


class GaveUp(UnavailableError):
    """A venue does not tell what was asked."""


class Told:
    """What was told to one question: messages, or the fault of a page that told nothing."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self.messages: list[Message] = []
        self.fault: Fault | None = None


class Historian:
    """The REST client of `venues` for history; `requests` counts what was asked."""

    def __init__(
        self,
        venues: Mapping[str, Venue],
        clock: StreamTime,
        session: aiohttp.ClientSession,
        *,
        address: Callable[[str], str],
    ) -> None:
        """Prepare; `address` turns a venue's address into the one to connect to."""
        self._venues, self._clock, self._session = venues, clock, session
        self._address = address
        self._servers = {
            name: _Server(Allowance(endpoint, clock.speed))
            for venue in venues.values()
            for name, endpoint in venue.endpoints.items()
        }
        self.requests = 0

    async def ask(
        self, get: Get, *, keep: Callable[[Message], bool] = lambda message: True
    ) -> Told:
        """Return what all pages of an answer told, as far as `keep` wants it; raise `GaveUp`."""
        told, following = Told(), get
        for _ in range(PAGES_MAX):
            answer = await self._answer(following)
            told.messages += [message for message in answer.messages if keep(message)]
            if answer.fault is not None:
                told.fault = answer.fault
                log().warning("history.fault", fault=answer.fault, target=following.target)
            if answer.next is None:
                return told
            following = answer.next
        raise GaveUp(f"{get.venue} {get.target}: more than {PAGES_MAX} pages")

    async def ask_all(self, gets: Sequence[Get], *, heard: Callable[[], None]) -> list[Told]:
        """Ask several questions at once; `heard` is called after each. Raise `GaveUp`."""

        async def one(get: Get) -> Told:
            told = await self.ask(get)
            heard()
            return told

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(get)) for get in gets]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # one that failed has cancelled the others
        return [task.result() for task in tasks]

    async def _answer(self, get: Get) -> Answer:
        server = self._servers[get.endpoint]
        detail = ""
        for _ in range(TRIES_MAX):
            async with server.places:
                while await server.allowance.rest():
                    pass
                await server.allowance.take(get.cost)
                answer = await self._once(server.allowance.endpoint.address, get)
            if answer.fault not in PASSING:
                server.allowance.restore()
                if answer.fault in FINAL:
                    raise GaveUp(_line(get, f"{answer.fault}: {answer.detail}"))
                return answer
            server.allowance.pause()
            detail = f"{answer.fault}: {answer.detail}"
            log().info("history.waiting", endpoint=get.endpoint, fault=answer.fault)
        raise GaveUp(_line(get, f"no answer in {TRIES_MAX} tries, at last {detail}"))

    async def _once(self, address: str, get: Get) -> Answer:
        self.requests += 1
        status, text, _ = await fetch_text(
            self._session,
            self._address(address) + get.target,
            wait_s=max(self._clock.wall_s(ANSWER_S_MAX), ANSWER_WALL_S_MIN),
        )
        if status == 0:
            return Answer([], fault="unavailable", detail=text)
        return self._venues[get.venue].answer(get, status=status, text=text)

    def now_ns(self) -> int:
        """Return the stream time."""
        return self._clock.at(time.time_ns())


class _Server:
    """An endpoint's allowance, and room for a few questions at a time."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self.places = asyncio.Semaphore(WORKERS)


def _line(get: Get, text: str) -> str:
    line = f"{get.venue} {get.endpoint}, {get.purpose} of {get.subject}: {text}"[:300]
    return ascii(line)[1:-1]  # the text may be a venue's, and the line is printed
