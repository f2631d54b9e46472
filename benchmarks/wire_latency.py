"""How long after a tick does its snapshot stand on the stream, from a socket to the bus?

A venue of one process sends changes of a Coinbase book over a WebSocket on loopback, the last one
LEAD_S before each whole second; a collector of another process records it as in production (journal
with fsync, then the memory bus), and a reader of its bus notes when each snapshot can be read. The
clock is SPEED times as fast, so that ticks come sooner; a tick's own work is the same. Snapshots
are taken at whole seconds: what a message waits for its tick is no latency, so counted are

- tick to stream: from the tick's time until its snapshot can be read, which must hold the change
  that was sent just before it;
- text to book: parsing a text and applying it (`Line.receive`), beside which
- echo: a text over the same sockets and back, without any of Hawk's code.

It does not show a network, TLS, or a machine with other work; of many markets only that one tick
writes all of them, so that its time grows with their number.
"""

import asyncio
import json
import multiprocessing as mp
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

from benchmarks.common import bar, report
from libs.common.context import Context
from libs.common.events import SpotSnapshot
from libs.common.memory_bus import MemoryBus
from libs.common.settings import Settings
from libs.common.stream_time import StreamTime
from libs.common.streams import stream_name
from libs.common.telemetry import configure_logging
from libs.common.venues.coinbase_feed import AdvancedFeed
from libs.common.web import Web
from services.collector.line import Line
from services.collector.live import run_live

SPEED, TICKS, WARM = 5.0, 330, 30
LEAD_S = 0.02
"""Wall seconds before a tick at which the change is sent that its snapshot must hold."""

LEVELS = 2_000
TICK_MS_MAX = 50.0
MISSED_MAX = 0.01
"""A busy machine wakes the venue too late for its LEAD_S now and then."""

GIVE_UP_S = 120.0
NS = 1_000_000_000


def main() -> None:
    """Measure and print."""
    configure_logging("error")
    spawn = mp.get_context("spawn")
    ours, theirs = spawn.Pipe()
    venue = spawn.Process(target=serve, args=(theirs,), daemon=True)
    venue.start()
    try:
        port: int = ours.recv()
        echoes = asyncio.run(echoed(port))
        with tempfile.TemporaryDirectory(prefix="hawk-latency-") as folder:
            delays, missed = measured(Path(folder), port)
    finally:
        venue.terminate()
        venue.join(10)
    texts = quantiles(applied())
    facts = {"ticks": len(delays), "speed": SPEED, "echo_ms": quantiles(echoes)}
    report(
        [
            bar(
                "tick to snapshot on the stream, p99 ms",
                quantiles(delays)["p99"],
                limit=TICK_MS_MAX,
                **quantiles(delays),
                **facts,
            ),
            bar("snapshots without the last change", missed / len(delays), limit=MISSED_MAX),
            bar("text to book, p99 ms", texts["p99"], limit=1.0, **texts),
        ],
        note="one product, loopback, journal with fsync, memory bus",
    )


def measured(root: Path, port: int) -> tuple[list[float], int]:
    """Return ms from each tick to its snapshot, and how many lacked the last change."""
    context = recording(root, f"http://127.0.0.1:{port}")
    collector = threading.Thread(target=run_live, args=(context,))
    collector.start()
    delays: list[float] = []
    missed = 0
    clock: StreamTime | None = None
    end_s = time.monotonic() + GIVE_UP_S
    try:
        while len(delays) < TICKS and time.monotonic() < end_s:
            name = stream_name("snapshots", "BTC-USD")
            for delivery in context.bus.read(
                name, group="features", consumer="c", count=100, block_s=0.5
            ):
                now_ns = time.time_ns()
                context.bus.ack(name, group="features", ids=[delivery.entry_id])
                event = delivery.event
                if not isinstance(event, SpotSnapshot):
                    continue
                clock = clock or clock_of(port)
                delays.append((now_ns - clock.wall_of(event.ts_ns)) / 1e6)
                missed += len(delays) > WARM and event.bid_size != size_at(event.ts_ns)
    finally:
        context.stop.set()
        collector.join(30)
    return delays[WARM:], missed


def recording(root: Path, url: str) -> Context:
    """Return the context of a collector that records the venue at `url`."""
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, data=root, source="live", simulator_url=url, series="KXBTC15M"
    )
    return Context("collector", root, settings, MemoryBus(), Web())


def applied() -> list[float]:
    """Return ms for each of many texts, parsed and applied."""
    line = Line(AdvancedFeed(), 1, 0)
    line.want(["BTC-USD"], 0)
    line.receive(1, snapshot(0))
    times = []
    for number in range(20_000):
        text = change(number + 1, 1.0 + number / 100)
        began_s = time.perf_counter()
        line.receive(number + 2, text)
        times.append((time.perf_counter() - began_s) * 1e3)
    return times


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the largest."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    found = {"p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return {name: round(value, 4) for name, value in found.items()}


async def echoed(port: int) -> list[float]:
    """Return ms of texts to the venue's process and back."""
    times = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/echo") as socket,
    ):
        for number in range(2_000):
            began_s = time.perf_counter()
            await socket.send_str(change(number, 1.0))
            await socket.receive_str()
            times.append((time.perf_counter() - began_s) * 1e3)
    return times


def clock_of(port: int) -> StreamTime:
    """Ask for the venue's clock."""

    async def ask() -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/clock") as answer,
        ):
            told: dict[str, Any] = await answer.json()
            return told

    told = asyncio.run(ask())
    return StreamTime(told["start_ns"], told["began_ns"], told["speed"])


def size_at(ts_ns: int) -> float:
    """Return the size of the best bid that the venue tells for a tick, another for each."""
    return 1.0 + ts_ns // NS % 10_000


def serve(pipe: Connection) -> None:
    """Be the venue."""
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    now_ns = time.time_ns()
    clock = StreamTime(now_ns, now_ns, SPEED)
    fields = {"start_ns": clock.start_ns, "began_ns": clock.began_ns, "speed": clock.speed}

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(fields)

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    async def feed(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        saying = asyncio.create_task(_say(socket, clock))
        async for _ in socket:
            pass
        saying.cancel()
        return socket

    app = web.Application()
    app.router.add_get("/clock", tell)
    app.router.add_get("/echo", echo)
    app.router.add_get("/advanced-trade-ws.coinbase.com", feed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send(runner.addresses[0][1])
    await asyncio.sleep(GIVE_UP_S * 3)


async def _say(socket: web.WebSocketResponse, clock: StreamTime) -> None:
    """Tell the whole book, then a change before each tick."""
    await asyncio.sleep(0.2)
    number = 0
    await socket.send_str(snapshot(number))
    tick_ns = (clock.at(time.time_ns()) // NS + 1) * NS
    while True:
        await asyncio.sleep((clock.wall_of(tick_ns) - time.time_ns()) / 1e9 - LEAD_S)
        number += 1
        await socket.send_str(change(number, size_at(tick_ns)))
        tick_ns += NS


def snapshot(number: int) -> str:
    """Return a book of many levels as a text of Advanced Trade."""
    levels = [_level("bid", 50_000.0 - n / 100, 1.0) for n in range(LEVELS)]
    levels += [_level("offer", 50_000.01 + n / 100, 1.0) for n in range(LEVELS)]
    return _text("snapshot", levels, number)


def change(number: int, size: float) -> str:
    """Return a change of the best bid."""
    return _text("update", [_level("bid", 50_000.0, size)], number)


def _level(side: str, price: float, size: float) -> dict[str, str]:
    at = "2026-09-01T12:00:00.250000Z"
    told = {"side": side, "event_time": at, "price_level": f"{price:.2f}"}
    return told | {"new_quantity": f"{size:.2f}"}


def _text(kind: str, levels: list[dict[str, str]], number: int) -> str:
    book = {"type": kind, "product_id": "BTC-USD", "updates": levels}
    # Without a time of its own a text is as old as its arrival, whatever the clock's speed.
    return json.dumps({"channel": "l2_data", "sequence_num": number, "events": [book]})


if __name__ == "__main__":
    main()
