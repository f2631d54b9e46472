"""One answer by REST: bounded, not redirected, and never an exception."""

import asyncio
import threading
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web

from services.collector import rest
from services.collector.rest import fetch_text


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
