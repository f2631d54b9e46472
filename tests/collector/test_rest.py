"""REST: one answer, bounded, not redirected and never an exception; many, within the allowance.

Waits are held to what they are at least: a busy machine only makes them longer.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from libs.common.stream_time import StreamTime
from libs.common.venues.venue import Endpoint, Get
from services.collector import rest
from services.collector.rest import PAUSE_FIRST_S, QUEUE_MAX, Rest, fetch_text
from services.collector.traffic import Answered, Fetch


class Site:
    """A small server in a thread; `headers` are those of the last request."""

    def __init__(self) -> None:
        """Start to serve on a free port."""
        self.headers: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._is_ready = threading.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._is_ready.wait(10)

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application()
        application.router.add_get("/{rest:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._is_ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _handle(self, request: web.Request) -> web.Response:
        self.headers = dict(request.headers)
        date = {"Date": "Thu, 01 Jan 1970 00:01:00 GMT"}
        match request.path:
            case "/moved":
                return web.Response(status=302, headers={"Location": "/text", **date})
            case "/bytes":
                return web.Response(body=b"a\xff", headers=date)
            case "/undated":
                return web.Response(text="x", headers={"Date": "yesterday"})
        return web.Response(status=503, text="x" * 100, headers=date)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def fetched(url: str, **headers: str) -> tuple[int, str, int | None]:
    async def run() -> tuple[int, str, int | None]:
        async with aiohttp.ClientSession() as session:
            return await fetch_text(session, url, headers=lambda: headers, wait_s=10.0)

    return asyncio.run(run())


def test_status_text_and_the_middle_of_the_venues_second_are_told(site: Site) -> None:
    assert fetched(site.url) == (503, "x" * 100, 60_500_000_000)


def test_redirect_is_not_followed(site: Site) -> None:
    assert fetched(f"{site.url}/moved")[0] == 302


def test_bytes_that_are_no_text_are_replaced(site: Site) -> None:
    assert fetched(f"{site.url}/bytes")[:2] == (200, "a\ufffd")


def test_date_that_is_none_is_none(site: Site) -> None:
    assert fetched(f"{site.url}/undated") == (200, "x", None)


def test_answer_that_is_too_large_is_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "ANSWER_BYTES_MAX", 99)
    assert fetched(site.url)[:2] == (0, "an answer of more than 99 bytes")
    monkeypatch.setattr(rest, "ANSWER_BYTES_MAX", 100)
    assert fetched(site.url)[0] == 503


def test_headers_are_sent(site: Site) -> None:
    fetched(site.url, **{"X-Key": "k"})
    assert site.headers["X-Key"] == "k"


def test_server_that_is_not_there_is_status_0() -> None:
    status, text, venue_ns = fetched("http://127.0.0.1:1")
    assert (status, venue_ns) == (0, None)
    assert text.startswith("ClientConnectorError")


def test_header_that_cannot_be_made_is_status_0(site: Site) -> None:
    def broken() -> dict[str, str]:
        raise ValueError("no key")

    async def run() -> tuple[int, str, int | None]:
        async with aiohttp.ClientSession() as session:
            return await fetch_text(session, site.url, headers=broken, wait_s=10.0)

    assert asyncio.run(run()) == (0, "ValueError: no key", None)


class Counter:
    """A server in the loop of the test: targets and times of what it was asked."""

    def __init__(self, statuses: list[int] | None = None, *, text: str = "x") -> None:
        """Answer with `statuses` first, then with 200; with `text`."""
        self._text = text
        self.asked: list[tuple[str, float]] = []
        self.signed: list[str | None] = []
        self._statuses = statuses or []
        self.then: Callable[[Rest, Answered], None] = lambda client, answer: None
        """Hears each answer, and may ask more."""

    @property
    def targets(self) -> list[str]:
        """What was asked, in order."""
        return [target for target, _ in self.asked]

    async def handle(self, request: web.Request) -> web.Response:
        """Note a request and answer it."""
        self.asked.append((request.path_qs, time.monotonic()))
        self.signed.append(request.headers.get("X-Signed"))
        number = len(self.asked)
        status = self._statuses[number - 1] if number <= len(self._statuses) else 200
        return web.Response(status=status, text=self._text)


def get(target: str, *, is_signed: bool = False, cost: float = 1.0) -> Get:
    return Get("toy", "toy.rest", target, "market", target, cost=cost, is_signed=is_signed)


def asked(
    server: Counter,
    fetches: list[Fetch],
    count: int,
    *,
    limit: tuple[float, float] = (1_000.0, 1_000.0),
    speed: float = 1.0,
) -> list[Answered]:
    """Ask a client until it has `count` answers; `limit` is its rate a second and its burst."""

    async def run() -> list[Answered]:
        app = web.Application()
        app.router.add_get("/{rest:.*}", server.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        answers: list[Answered] = []
        seen = asyncio.Event()

        def hear(answer: Answered) -> None:
            answers.append(answer)
            server.then(client, answer)
            if len(answers) == count:
                seen.set()

        client = Rest(
            {"toy.rest": Endpoint("https://toy.example", *limit)},
            StreamTime(0, 0, speed),
            address=lambda address: address.replace("https://toy.example", url),
            headers=lambda one: {"X-Signed": one.target},
            hear=hear,
        )
        for fetch in fetches:
            client.ask(fetch)
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(client.run(session))
            await asyncio.wait_for(seen.wait(), 60)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await runner.cleanup()
        return answers

    return asyncio.run(run())


def test_every_answer_is_told_with_its_request_and_the_times_of_both() -> None:
    server = Counter([404])
    (answer,) = asked(server, [Fetch(get("/a?b=c"))], 1)
    assert (answer.get, answer.status, answer.text) == (get("/a?b=c"), 404, "x")
    assert 0 < answer.sent_ns <= answer.ts_ns
    assert answer.venue_ns is not None


def test_only_what_is_to_be_signed_is_signed() -> None:
    server = Counter()
    asked(server, [Fetch(get("/a", is_signed=True))], 1)
    asked(server, [Fetch(get("/b"))], 1)
    assert server.signed == ["/a", None]


def test_a_burst_is_answered_at_once_and_the_rest_at_the_rate() -> None:
    server = Counter()
    fetches = [Fetch(get(f"/{n}")) for n in range(25)]
    asked(server, fetches, 25, limit=(20.0, 5.0))
    assert sorted(server.targets) == sorted(f.get.target for f in fetches)
    lasted_s = server.asked[-1][1] - server.asked[0][1]
    assert lasted_s >= 0.9 * (25 - 5) / 20.0


def test_a_dear_request_takes_more_of_the_allowance() -> None:
    server = Counter()
    fetches = [Fetch(get(f"/{n}", cost=5.0)) for n in range(5)]
    asked(server, fetches, 5, limit=(50.0, 5.0))
    assert server.asked[-1][1] - server.asked[0][1] >= 0.9 * 4 * 5.0 / 50.0


@pytest.mark.parametrize("status", [429, 425, 500, 503])
def test_a_venue_that_says_no_is_left_alone_for_a_while(status: int) -> None:
    server = Counter([status])

    def then(client: Rest, answer: Answered) -> None:
        if answer.status == status:
            client.ask(Fetch(get("/again")))

    server.then = then
    asked(server, [Fetch(get("/a"))], 2, speed=5.0)
    (_, no_s), (again, again_s) = server.asked
    assert again == "/again"
    # Jitter takes half of a wait at most.
    assert again_s - no_s >= 0.9 * PAUSE_FIRST_S / 2 / 5.0


def test_a_page_instead_of_an_answer_is_left_alone_for_a_while() -> None:
    server = Counter(text=" \n<!DOCTYPE html><html>Down for maintenance</html>")
    server.then = lambda client, answer: client.ask(Fetch(get("/again")))
    answers = asked(server, [Fetch(get("/a"))], 2, speed=5.0)
    assert [answer.status for answer in answers] == [200, 200]
    (_, page_s), (_, again_s) = server.asked[:2]
    assert again_s - page_s >= 0.9 * PAUSE_FIRST_S / 2 / 5.0


def test_an_answer_that_only_says_that_it_is_not_there_is_no_reason_to_wait() -> None:
    server = Counter([404, 400, 404])
    fetches = [Fetch(get(f"/{n}")) for n in range(4)]
    answers = asked(server, fetches, 4, speed=0.001)
    assert sorted(answer.status for answer in answers) == [200, 400, 404, 404]


def test_a_page_that_only_says_that_it_is_not_there_is_no_reason_to_wait_either() -> None:
    server = Counter([404, 404, 404], text="<html>Not found</html>")
    server.then = lambda client, answer: client.ask(Fetch(get("/again")))
    answers = asked(server, [Fetch(get("/a"))], 3, speed=0.001)
    assert [answer.status for answer in answers] == [404, 404, 404]


def test_what_is_urgent_goes_first() -> None:
    server = Counter()
    fetches = [Fetch(get(f"/{n}")) for n in range(8)] + [Fetch(get("/now"), is_urgent=True)]
    asked(server, fetches, 9, limit=(50.0, 1.0))
    assert server.targets[0] == "/now"


def test_what_waits_is_asked_once_however_often_it_is_wanted() -> None:
    server = Counter()
    asked(server, [Fetch(get("/a"))] * 50 + [Fetch(get("/b"))], 2)
    assert sorted(server.targets) == ["/a", "/b"]


def test_a_full_queue_forgets_its_oldest() -> None:
    server = Counter()
    fetches = [Fetch(get(f"/{n}")) for n in range(QUEUE_MAX + 7)]
    asked(server, fetches, QUEUE_MAX)
    assert set(server.targets) == {f"/{n}" for n in range(7, QUEUE_MAX + 7)}
