"""Coinbase and Kalshi on one port of the loopback, as `hawk doctor` asks them, and what fails them.

Written by hand from the venues' documentation: one product, one series with one market. `modes`
says by host how a server behaves, `skew_s` how wrong its clock is; `asked` counts what came. While
a `Venues` stands, this interpreter may look up or call nothing but the loopback.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

from aiohttp import web

from libs.common.settings import Settings

ADVANCED, ADVANCED_WS = "api.coinbase.com", "advanced-trade-ws.coinbase.com"
EXCHANGE_WS = "ws-feed.exchange.coinbase.com"
KALSHI, KALSHI_WS = "external-api.kalshi.com", "external-api-ws.kalshi.com"

TICKER = "KXBTC15M-26NOV221200-00"
TIME = "2026-11-22T12:00:00.000000Z"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

BOOK = [{"side": "bid", "event_time": TIME, "price_level": "68900.00", "new_quantity": "1.5"}]
DATA = {
    ADVANCED_WS: {
        "channel": "l2_data",
        "timestamp": TIME,
        "sequence_num": 0,
        "events": [{"type": "snapshot", "product_id": "BTC-USD", "updates": BOOK}],
    },
    EXCHANGE_WS: {
        "type": "snapshot",
        "product_id": "BTC-USD",
        "bids": [["68900.00", "1.5"]],
        "asks": [["68901.00", "0.5"]],
    },
    KALSHI_WS: {
        "type": "orderbook_snapshot",
        "sid": 1,
        "seq": 1,
        "msg": {"market_ticker": TICKER, "yes_dollars_fp": [["0.0800", "300.00"]]},
    },
}
VALUE = '{"type":"value","id":"BRTI","time":1795348800123,"value":"68000.12"}'
INDEX = {
    "type": "cfbenchmarks_value",
    "sid": 1,
    "seq": 1,
    "msg": {"index_id": "BRTI", "received_at": 1795348800123, "data": VALUE},
}
ACKNOWLEDGED = {
    ADVANCED_WS: {
        "channel": "subscriptions",
        "timestamp": TIME,
        "sequence_num": 0,
        "events": [{"subscriptions": {"level2": ["BTC-USD"]}}],
    },
    EXCHANGE_WS: {"type": "subscriptions", "channels": [{"name": "level2", "product_ids": []}]},
    KALSHI_WS: {"id": 1, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}},
}


class Venues:
    """The servers; change `modes`, `skew_s`, `scopes` or `is_trading` before asking.

    Modes of a host: html, shape, hang, or a status such as "429"; of a feed also silent,
    acknowledged, closed.
    """

    def __init__(self) -> None:
        self.modes: dict[str, str] = {}
        self.skew_s = 0.0
        self.scopes: list[str] | None = ["read"]
        self.is_trading = True
        self.has_market = True
        self.asked: Counter[str] = Counter()
        self.url = ""

    def settings(self, **others: Any) -> Settings:
        """Return settings under which these servers stand in for all venues."""
        assert self.url
        chosen = {"source": "live", "series": "KXBTC15M", "simulator_url": self.url, **others}
        return Settings(_env_file=None, **chosen)  # type: ignore[call-arg]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request or handshake."""
        host, _, path = request.path.lstrip("/").partition("/")
        self.asked[host] += 1
        mode = self.modes.get(host, "")
        if host == "clock" and not mode:
            return web.json_response({"start_ns": 0, "began_ns": 0, "speed": 1.0})
        if mode == "hang":
            await asyncio.sleep(3_600)
        told = self._page(mode)
        if told is None and host in DATA:
            return await self._feed(request, host, mode)
        told = told or self._told(host, path, request.query.get("status", ""))
        told.headers["Date"] = formatdate(time.time() + self.skew_s, usegmt=True)
        return told

    def _page(self, mode: str) -> web.Response | None:
        if mode == "html":
            return web.Response(
                text="<html>Sign in to the network</html>", content_type="text/html"
            )
        if mode == "shape":
            return web.json_response({"surprise": []})
        return web.json_response({"error": "no"}, status=int(mode)) if mode.isdigit() else None

    def _told(self, host: str, path: str, status: str) -> web.Response:
        now_s = time.time() + self.skew_s
        if host == ADVANCED and path.endswith("/time"):
            return web.json_response({"epochMillis": str(int(now_s * 1000))})
        if host == ADVANCED:
            return web.json_response({"trades": [], "best_bid": "68900.00", "best_ask": "68901.00"})
        if path.endswith("/exchange/status"):
            return web.json_response({"exchange_active": True, "trading_active": self.is_trading})
        if path.endswith("/markets"):
            markets = [_market(now_s)] if self.has_market and status == "open" else []
            return web.json_response({"markets": markets, "cursor": ""})
        if path.endswith("/orderbook"):
            return web.json_response({"orderbook_fp": {"yes_dollars": [["0.4900", "1.00"]]}})
        if path.endswith("/api_keys") and self.scopes is not None:
            keys = [{"api_key_id": "the-key", "name": "hawk", "scopes": self.scopes}]
            return web.json_response({"api_keys": keys})
        return web.json_response({"error": "not found"}, status=404)

    async def _feed(self, request: web.Request, host: str, mode: str) -> web.StreamResponse:
        if host == KALSHI_WS and "KALSHI-ACCESS-SIGNATURE" not in request.headers:
            return web.json_response({"error": "unauthorized"}, status=401)
        feed = web.WebSocketResponse()
        await feed.prepare(request)
        asked = str((await feed.receive()).data)
        if mode == "closed":
            await feed.close(code=4008)
            return feed
        if mode != "silent":
            await feed.send_json(ACKNOWLEDGED[host])
        if not mode:
            await feed.send_json(INDEX if "cfbenchmarks" in asked else DATA[host])
        async for _ in feed:
            pass
        return feed


@contextmanager
def venues() -> Iterator[Venues]:
    """Run the servers for the block, in a thread of their own."""
    made, stop, started = Venues(), asyncio.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", made.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        loops.append(asyncio.get_running_loop())
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        with only_loopback():
            yield made
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


_guards: list[bool] = []


@contextmanager
def only_loopback() -> Iterator[None]:
    """Refuse every look-up and connection beyond this machine for the block."""
    if not _guards:
        sys.addaudithook(_refuse)  # it cannot be removed, so there is one for all
    _guards.append(True)
    try:
        yield
    finally:
        _guards[-1] = False


@contextmanager
def anywhere() -> Iterator[None]:
    """Let a name be tried for the block that is refused before anybody is asked."""
    before = list(_guards)
    _guards[:] = [False] * len(before)
    try:
        yield
    finally:
        _guards[:] = before


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not any(_guards) or event not in ("socket.getaddrinfo", "socket.connect"):
        return
    place = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    host = place[0] if isinstance(place, tuple) else place
    if isinstance(place, tuple) or event == "socket.getaddrinfo":
        assert host in LOOPBACK, f"beyond the loopback: {host}"


def _market(now_s: float) -> dict[str, Any]:
    open_s = now_s // 900 * 900
    return {
        "ticker": TICKER,
        "status": "active",
        "open_time": _iso(open_s),
        "close_time": _iso(open_s + 900),
        "strike_type": "greater_or_equal",
        "floor_strike": 68900.0,
    }


def _iso(unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def key_file(folder: Path) -> Path:
    """Write a private key as Kalshi hands it out."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = folder / "kalshi.pem"
    form = PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    path.chmod(0o600)
    return path


def shown(value: object) -> str:
    """Return everything that is printed of checks, to look for secrets in."""
    import msgspec

    return json.dumps(msgspec.to_builtins(value))
