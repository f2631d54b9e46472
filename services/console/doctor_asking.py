"""Asks venues on behalf of `hawk doctor`: one request, one answer, its times, and never for long.

Everything goes through one session: no proxy of the environment, TLS verified, no redirects, as the
collector asks. The decision a reader would question is the own resolver. The usual one looks names
up in a pool of threads that the interpreter waits for at its end, and a name server that is silent
may take half a minute; these threads are left behind.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common.settings import Settings
from libs.common.stream_time import StreamTime
from libs.common.venues.venue import Answer, Endpoint, Get, Venue
from services.collector.live import CLOCK_ANSWER_S, address_of
from services.collector.rest import ANSWER_BYTES_MAX
from services.collector.wire import no_redirects
from services.console.doctor_faults import Trouble, trouble_of_answer, trouble_of_error
from services.console.doctor_key import Signer
from services.console.doctor_report import Check, Patience

NS = 1_000_000_000


class Raw(NamedTuple):
    """An answer as it came; without a status it is the `trouble` that kept it from coming.

    `date_ns` is the second that its head tells, on the venue's clock.
    """

    status: int
    text: str
    sent_ns: int
    received_ns: int
    date_ns: int | None = None
    trouble: Trouble | None = None


class Told(NamedTuple):
    """An answer as the venue's own file reads it; with `trouble` it tells nothing."""

    get: Get
    raw: Raw
    answer: Answer
    trouble: Trouble | None


@dataclass(frozen=True)
class Asker:
    """One session, the clock of the venues, and the key if there is one."""

    session: aiohttp.ClientSession
    clock: StreamTime
    simulator_url: str | None
    signer: Signer | None
    patience: Patience

    def now_ns(self) -> int:
        """Return the time on the clock that venues and we should share."""
        return self.clock.at(time.time_ns())

    def place(self, address: str) -> str:
        """Return where to connect for a venue's address."""
        return address_of(self.simulator_url)(address)

    def host(self, address: str) -> str:
        """Return the host that is connected to, for a person."""
        return self.place(address).partition("://")[2].partition("/")[0]

    def signed(self, address: str) -> Mapping[str, str]:
        """Return the headers that sign a GET of a venue's address, none without a key."""
        if self.signer is None:
            return {}
        path = "/" + address.partition("://")[2].partition("/")[2]
        return self.signer(path, self.now_ns() // 1_000_000)

    async def fetch(self, address: str, *, is_signed: bool = False) -> Raw:
        """Get an address; an error is an answer too."""
        sent = _Sent(time.time_ns())
        try:
            async with self.session.get(
                self.place(address),
                headers=self.signed(address) if is_signed else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self.patience.request_s),
                trace_request_ctx=sent,
            ) as answer:
                # The head tells the time, the body may take long.
                received_ns, date_ns = self.now_ns(), _date_ns(answer.headers)
                body = bytearray()
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        break
                text = body.decode("utf-8", "replace")
                return Raw(answer.status, text, self.clock.at(sent.wall_ns), received_ns, date_ns)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            host = self.host(address)
            trouble = trouble_of_error(error, host, wait_s=self.patience.request_s)
            return Raw(0, "", 0, 0, trouble=trouble)

    async def ask(self, venue: Venue, get: Get) -> Told:
        """Ask a venue and let its own file read the answer."""
        endpoint: Endpoint = venue.endpoints[get.endpoint]
        is_signed = get.is_signed and self.signer is not None
        raw = await self.fetch(endpoint.address + get.target, is_signed=is_signed)
        if raw.trouble is not None:
            return Told(get, raw, Answer([]), raw.trouble)
        answer = venue.answer(get, status=raw.status, text=raw.text)
        trouble = None
        if answer.fault is not None:
            trouble = trouble_of_answer(answer.fault, raw.status, is_signed=is_signed)
        return Told(get, raw, answer, trouble)


@asynccontextmanager
async def session_of_doctor() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the session that everything is asked through."""
    connector = aiohttp.TCPConnector(limit=0, resolver=_Resolver())
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[trace, no_redirects()],
    ) as session:
        yield session


async def clock_of(
    session: aiohttp.ClientSession, settings: Settings
) -> tuple[StreamTime, list[Check]]:
    """Return the clock of the venues; with a check that failed it is not theirs."""
    real = StreamTime(start_ns=0, began_ns=0, speed=1.0)
    url = settings.simulator()
    if url is None:
        return real, []
    fix = (
        "start it (`python -m services.simulator --port N`) and name the address that it prints in "
        "HAWK_SIMULATOR_URL, or unset that to reach the venues themselves"
    )
    try:
        wait = aiohttp.ClientTimeout(total=CLOCK_ANSWER_S)
        async with session.get(f"{url}/clock", timeout=wait) as answer:
            told = json.loads(await answer.content.read(10_000))
        clock = StreamTime(int(told["start_ns"]), int(told["began_ns"]), float(told["speed"]))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        trouble = trouble_of_error(error, url.partition("://")[2], wait_s=CLOCK_ANSWER_S)
        return real, [Check("simulator", "fail", trouble.found, fix)]
    except (ValueError, KeyError, TypeError):
        return real, [Check("simulator", "fail", f"{url} is no simulator of Hawk", fix)]
    found = f"{url} stands in for all venues at {clock.speed:g} times the speed"
    return clock, [Check("simulator", "info", f"SIMULATED: {found}")]


@dataclass
class _Sent:
    """When a request left, behind the look-up of its name and all handshakes."""

    wall_ns: int


async def _note_sent(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    sent: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    if isinstance(noted := context.trace_request_ctx, _Sent):
        noted.wall_ns = time.time_ns()


class _Resolver(AbstractResolver):
    """Looks names up in daemon threads."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raise `OSError` where there is none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def look() -> None:
            addresses: list[ResolveResult] = []
            with suppress(OSError, UnicodeError):
                addresses = _looked_up(host, port, family)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, addresses)

        def settle(addresses: list[ResolveResult]) -> None:
            if not found.done():
                found.set_result(addresses)

        threading.Thread(target=look, daemon=True).start()
        addresses = await found
        if not addresses:
            raise OSError(None, f"no address for {host}")
        return addresses

    async def close(self) -> None:
        """Do nothing: nothing is kept."""


def _looked_up(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(place[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST,
        )
        for kind, _, protocol, _, place in found
    ]


def _date_ns(headers: Mapping[str, str]) -> int | None:
    """Return the `Date` of an answer; from a cache it is older by `Age`."""
    try:
        date_s = int(parsedate_to_datetime(headers["Date"]).timestamp())
    except (KeyError, ValueError, OverflowError):
        return None
    age = headers.get("Age", "")
    return (date_s + (int(age) if age.isascii() and age.isdigit() and len(age) < 8 else 0)) * NS
