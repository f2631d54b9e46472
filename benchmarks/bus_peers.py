"""What `bus.py` measures beside: bare redis-py, and the processes at the ends of a hop.

Every function here that takes a `pipe` is the body of a process: it says "ready" once connected,
and sends what it measured when it is done.
"""

import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import redis

from libs.common.events import AnyEvent, Event, QuoteSnapshot, body, event_id, set_seq
from libs.common.journal import Entry
from libs.common.redis_bus import RedisBus, connect

COUNT = 64
"""Entries of one read, as the bar has it."""

ENTRIES_MAX = 100_000
BLOCK_S = 1.0
GROUP = "bench"

decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
encoder = msgspec.json.Encoder()


def snapshot(
    number: int, *, ts_ns: int, market: str = "KXBTC15M-26NOV221100-00", levels: int = 5
) -> QuoteSnapshot:
    """Return a full book, numbered from 1."""
    size_e2 = 10_000 + number % 1000
    event = QuoteSnapshot(
        ts_ns=ts_ns,
        id=event_id("QuoteSnapshot", market, number),
        venue="kalshi",
        market=market,
        underlying="BTC-USD",
        yes_bids_price_e4=tuple(4900 - 100 * place for place in range(levels)),
        yes_bids_size_e2=tuple(size_e2 + 7_300 * place for place in range(levels)),
        yes_asks_price_e4=tuple(5100 + 100 * place for place in range(levels)),
        yes_asks_size_e2=tuple(size_e2 + 12_300 * place for place in range(levels)),
        last_price_e4=5_000,
        age_ns=123_456_789,
    )
    set_seq(event, number)
    return event


def entry(event: Event) -> Entry:
    """Return an event as its writer has journalled it: its body is at hand."""
    return Entry(event, event.ts_ns // 1_000_000, body(event))


def fields(event: Event) -> dict[str, str | bytes]:
    """Return the same fields as the bus writes, for redis-py."""
    return {
        "type": type(event).__name__,
        "v": "1",
        "id": event.id,
        "ts": str(event.ts_ns),
        "body": body(event),
    }


def bare(socket: str) -> redis.Redis:
    """Return redis-py as it comes, but for replies as lists."""
    return redis.Redis(unix_socket_path=socket, protocol=2)


def bare_add(client: redis.Redis, name: str, events: Sequence[Event]) -> None:
    """Add events in one pipeline."""
    pipe = client.pipeline(transaction=False)
    for event in events:
        entry_id = f"{event.ts_ns // 1_000_000}-{event.seq}"
        pipe.xadd(name, fields(event), id=entry_id, maxlen=ENTRIES_MAX, approximate=True)  # type: ignore[arg-type]
    pipe.execute()


def bare_read(client: redis.Redis, name: str, *, block_ms: int | None) -> list[Any]:
    """Read and decode up to COUNT entries and acknowledge them."""
    reply: Any = client.xreadgroup(GROUP, GROUP, {name: ">"}, count=COUNT, block=block_ms)
    rows = reply[0][1] if reply else []
    events = [decoder.decode(row[b"body"]) for _, row in rows]
    if rows:
        client.xack(name, GROUP, *[entry_id for entry_id, _ in rows])
    return events


def bus_read(bus: RedisBus, name: str, *, block_s: float) -> list[Any]:
    """Do the same through the bus."""
    found = bus.read(name, group=GROUP, consumer=GROUP, count=COUNT, block_s=block_s)
    if found:
        bus.ack(name, group=GROUP, ids=[delivery.entry_id for delivery in found])
    return [delivery.event for delivery in found]


def read_bare(socket: str, name: str, count: int, pipe: Connection) -> None:
    """Read `count` entries with redis-py; send (ts_ns, seen at) of each."""
    client = bare(socket)
    client.xgroup_create(name, GROUP, id="0", mkstream=True)
    bare_read(client, name, block_ms=None)
    pipe.send("ready")
    seen: list[tuple[int, int]] = []
    while len(seen) < count:
        events = bare_read(client, name, block_ms=int(BLOCK_S * 1000))
        now_ns = time.monotonic_ns()
        seen += [(event.ts_ns, now_ns) for event in events]
    pipe.send(seen)


def read_bus(socket: str, name: str, count: int, pipe: Connection) -> None:
    """Read `count` entries through the bus; send (ts_ns, seen at) of each."""
    bus = connect(f"unix://{socket}")
    bus_read(bus, name, block_s=0)  # type: ignore[arg-type]
    pipe.send("ready")
    seen: list[tuple[int, int]] = []
    while len(seen) < count:
        events = bus_read(bus, name, block_s=BLOCK_S)  # type: ignore[arg-type]
        now_ns = time.monotonic_ns()
        seen += [(event.ts_ns, now_ns) for event in events]
    pipe.send(seen)


def relay_bare(socket: str, source: str, sink: str, journal: str, pipe: Connection) -> None:
    """Pass entries on from one stream to the next, until killed; through `journal` if named."""
    client = bare(socket)
    client.xgroup_create(source, GROUP, id="0", mkstream=True)
    pipe.send("ready")
    number = 0
    while True:
        events = bare_read(client, source, block_ms=int(BLOCK_S * 1000))
        for event in events:
            number += 1
            set_seq(event, number)
        if events:
            if journal:
                append_synced(journal, events)
            bare_add(client, sink, events)


def append_synced(journal: str, events: Sequence[Event]) -> None:
    """Append the bodies to a file and sync it: what every writer of Hawk does first."""
    with open(journal, "ab", buffering=0) as file:
        file.write(b"\n".join(map(body, events)))
        os.fsync(file.fileno())
