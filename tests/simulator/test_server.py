"""The server on a loopback port: real sockets, a fast clock, a clean end."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web

from libs.common.stream_time import StreamTime
from services.simulator.engine import Setup
from services.simulator.server import TRUTH_FILE, Server
from tests.simulator.running import START_S

Visit = Callable[[Server, ClientSession, str], Awaitable[None]]
NS = 1_000_000_000


def visited(visit: Visit, *, truth: Path | None = None, speed: float = 5.0) -> None:
    """Start a server on any port, visit it, and stop it.

    Not too fast: who subscribes within a wall second must not be five stream seconds late.
    """

    async def run() -> None:
        clock = StreamTime(START_S * NS, time.time_ns(), speed)
        server = Server(Setup(5, clock.start_ns), clock, truth=truth)
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        running = asyncio.create_task(server.run())
        try:
            async with ClientSession() as client:
                port = runner.addresses[0][1]
                await asyncio.wait_for(visit(server, client, f"http://127.0.0.1:{port}"), 20)
        finally:
            server.stop()
            await running
            await runner.cleanup()

    asyncio.run(run())


def test_the_clock_is_one_formula_for_both_ends() -> None:
    async def visit(server: Server, client: ClientSession, base: str) -> None:
        async with client.get(f"{base}/clock") as answer:
            told = await answer.json()
        clock = StreamTime(told["start_ns"], told["began_ns"], told["speed"])
        assert clock == server.clock

    visited(visit)


def test_a_rest_answer_comes_from_its_real_host_and_path() -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        async with client.get(f"{base}/clob.polymarket.com/time") as answer:
            assert answer.status == 200
            assert int(await answer.text()) >= START_S
            assert answer.headers["Date"].startswith("Sun, 22 Nov 2026")
        async with client.get(f"{base}/example.com/") as answer:
            assert answer.status == 404

    visited(visit)


@pytest.mark.parametrize("path", ["", "/"])
def test_a_socket_hears_its_feed_in_order(path: str) -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        url = f"{base}/advanced-trade-ws.coinbase.com{path}"
        async with client.ws_connect(url, max_msg_size=0) as socket:
            asked = {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"}
            await socket.send_str(json.dumps(asked))
            told = [json.loads((await socket.receive()).data) for _ in range(50)]
        assert [m["sequence_num"] for m in told] == list(range(50))

    visited(visit)


def test_an_unsigned_kalshi_socket_is_refused_in_the_handshake() -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect(f"{base}/external-api-ws.kalshi.com/trade-api/ws/v2")
        assert refused.value.status == 401

    visited(visit)


def test_a_fault_is_switched_by_request_and_breaks_connections() -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        async with client.ws_connect(f"{base}/ws-live-data.polymarket.com") as socket:
            order = {"name": "drop", "venue": "polymarket", "seconds": 1_000}
            async with client.post(f"{base}/faults", json=order) as answer:
                assert answer.status == 201
            assert (await socket.receive()).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        async with client.get(f"{base}/faults") as answer:
            assert (await answer.json())["on"] == {"polymarket": ["drop"]}
        async with client.delete(f"{base}/faults/drop?venue=polymarket") as answer:
            assert len(await answer.json()) == 1
        async with client.ws_connect(f"{base}/ws-live-data.polymarket.com") as socket:
            await socket.send_str("PING")
            assert (await socket.receive()).data == "PONG"

    visited(visit)


@pytest.mark.parametrize("body", ["", "[]", '{"name":"sleep"}', '{"name":"drop","seconds":"x"}'])
def test_a_wrong_order_is_a_bad_request(body: str) -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        async with client.post(f"{base}/faults", data=body) as answer:
            assert answer.status == 400

    visited(visit)


def test_a_client_that_does_not_read_does_not_hold_up_another() -> None:
    async def visit(_: Server, client: ClientSession, base: str) -> None:
        url = f"{base}/advanced-trade-ws.coinbase.com"
        asked = {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"}
        deaf = [await client.ws_connect(url, max_msg_size=0) for _ in range(3)]
        for one in deaf:
            await one.send_str(json.dumps(asked))
        async with client.ws_connect(url, max_msg_size=0) as socket:
            await socket.send_str(json.dumps(asked))
            told = [json.loads((await socket.receive()).data) for _ in range(100)]
        assert told[-1]["sequence_num"] == 99
        assert not any(one.closed for one in deaf)

    visited(visit)


def test_the_truth_is_written_and_every_line_is_whole(tmp_path: Path) -> None:
    async def visit(server: Server, client: ClientSession, base: str) -> None:
        while server.now_ns() < (START_S + 20) * NS:
            async with client.get(f"{base}/healthz") as answer:
                assert answer.status == 200

    visited(visit, truth=tmp_path / "truth", speed=50.0)
    lines = (tmp_path / "truth" / TRUTH_FILE).read_text().splitlines()
    ticks = [line["ts_ns"] for line in map(json.loads, lines) if line["kind"] == "tick"]
    assert ticks[:15] == [(START_S + i) * NS for i in range(15)]
