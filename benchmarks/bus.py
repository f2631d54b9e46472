"""How fast is the bus, beside the fastest client there is and beside bare redis-py?

Four questions, each against a reference that takes its turns with ours on one Redis of its own:
producing (redis-benchmark at the same pipeline depth; both send bodies that are encoded already,
ours by the journal), consuming (a bare redis-py loop of read, decode and acknowledge), the schema
layer (bare msgspec JSON), and latency: one hop at 1,000 entries a second, and snapshot to forecast
through the real features and predictor processes, beside a chain of bare redis-py relays that
carries the same entries over as many streams as the bar allows.

The services sync three journals on the way, the bare chain none, so on a slow disk that bar is the
disk's. A second chain of relays, over the three streams there are and with a synced file at each,
shows what is left as ours (`synced`, and the printed fsync). What it does not show: a network, or a
Redis that syncs to disk. All have the same cores, so beside other work only ratios mean something.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import chain, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import bus_peers as peers
from benchmarks.common import bar, interleaved, ratio, report
from libs.common.entry_codec import EntryId, delivery, fields_of
from libs.common.events import Event, Market, QuoteSnapshot, SpotSnapshot, Tick, body, event_id
from libs.common.outbox import Outbox
from libs.common.redis_bus import PIPELINE_ENTRIES_MAX, connect
from tests.console.ports import free_port
from tests.redis_server import RedisServer, redis_server

ROUNDS, HOP_ROUNDS = 21, 7
ENTRIES = 10_000
NAME = "hawk:{BTC-USD}:snapshots"
FORECASTS = "hawk:{BTC-USD}:forecasts"
UNDERLYING = "BTC-USD"

PRODUCER_MAX, CONSUMER_MAX, HOP_MAX, CODEC_MAX = 2.0, 1 / 0.9, 1.5, 1.3
"""Times of the reference; the first two are 0.5x and 0.9x of its rate."""

HOP_PER_S, HOP_S = 1_000, 2.0
MARKETS, RATES, CHAIN_S, CHAIN_ROUNDS = 8, (100, 1_000), 2.0, 5
HOPS = 4
"""Of the bar: a wire message to a forecast is four. A snapshot crosses three streams to the reader
of its forecast; the journals are what the fourth pays for."""

NS = 1_000_000_000
T0_NS = 1_780_272_000 * NS
spawn = get_context("spawn")

Latencies = list[float]


def main() -> None:
    """Print the bars."""
    # Leave no server behind when the run is cut short.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with redis_server() as server:
        facts = {"redis": server.facts("server")["redis_version"], "redis_py": version("redis")}
        bars = [
            producer_bar(server),
            consumer_bar(server),
            codec_bar(),
            hop_bar(server),
            *chain_bars(server),
        ]
    note = (
        f"Redis {facts['redis']} on a Unix socket, redis-py {facts['redis_py']} with hiredis "
        f"{version('hiredis')}, snapshots of {len(body(peers.snapshot(1, ts_ns=T0_NS)))} "
        f"bytes, no seed: nothing is drawn, {ROUNDS} rounds in turn"
    )
    report([{**one, **facts} for one in bars], note=note)


def snapshots(count: int) -> list[QuoteSnapshot]:
    """Return `count` numbered snapshots, a millisecond apart."""
    return [peers.snapshot(n, ts_ns=T0_NS + n * 1_000_000) for n in range(1, count + 1)]


def producer_bar(server: RedisServer) -> dict[str, Any]:
    """Publish ENTRIES; redis-benchmark sends as many of the same size, as deep a pipeline."""
    bus = connect(server.url)
    entries = [peers.entry(event) for event in snapshots(ENTRIES)]
    words = [w if isinstance(w, str) else w.decode() for w in fields_of(entries[0].event)]
    limit = str(peers.ENTRIES_MAX)
    command = [
        *("redis-benchmark", "-s", str(server.socket), "-n", str(ENTRIES), "--csv"),
        *("-P", str(PIPELINE_ENTRIES_MAX), "-c", "1"),
        *("XADD", "reference", "MAXLEN", "~", limit, "*", *words),
    ]
    theirs: Latencies = []
    ours: Latencies = []
    for _ in range(ROUNDS):
        server.flush()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # The last of eight columns are the latencies; the words before hold commas of their own.
        theirs.append(ENTRIES / float(done.stdout.splitlines()[-1].split(",")[-7].strip('"')))
        server.flush()
        [[took_s]] = interleaved(
            [lambda: bus.publish(NAME, entries, entries_max=peers.ENTRIES_MAX)], rounds=1
        )
        ours.append(took_s)
    return bar(
        "producer_time_of_redis_benchmark",
        ratio(ours, theirs),
        limit=PRODUCER_MAX,
        n=ENTRIES,
        pipeline=PIPELINE_ENTRIES_MAX,
        entries_per_s=rates(ours, theirs, names=("bus", "redis_benchmark")),
    )


def consumer_bar(server: RedisServer) -> dict[str, Any]:
    """Read, decode and acknowledge the same entries, COUNT at a time, both ways."""
    bus, client = connect(server.url), peers.bare(str(server.socket))
    server.flush()
    bus.publish(NAME, [peers.entry(e) for e in snapshots(ENTRIES)], entries_max=peers.ENTRIES_MAX)

    def all_of(read: Callable[[], list[Any]]) -> None:
        # The group begins anew: the same entries for everybody, in every round.
        with suppress(Exception):
            client.xgroup_destroy(NAME, peers.GROUP)
        client.xgroup_create(NAME, peers.GROUP, id="0")
        found = 0
        while events := read():
            found += len(events)
        if found != ENTRIES:
            raise SystemExit(f"read {found} of {ENTRIES}")

    ours, theirs = interleaved(
        [
            lambda: all_of(lambda: peers.bus_read(bus, NAME, block_s=0)),  # type: ignore[arg-type]
            lambda: all_of(lambda: peers.bare_read(client, NAME, block_ms=None)),
        ],
        rounds=ROUNDS,
    )
    return bar(
        "consumer_time_of_bare_redis_py",
        ratio(ours, theirs),
        limit=CONSUMER_MAX,
        n=ENTRIES,
        count=peers.COUNT,
        entries_per_s=rates(ours, theirs, names=("bus", "redis_py")),
    )


def codec_bar() -> dict[str, Any]:
    """Event to body and entry to event, version check and numbering included; msgspec alone.

    The bar is set for books of ten levels a side; Hawk keeps five, whose share of overhead is
    larger: `five_levels`.
    """
    times = codec_times(levels=10)
    per_event = [statistics.median(t) / ENTRIES * 1e6 for t in times]
    return bar(
        "codec_time_of_bare_msgspec",
        ratio(*times),
        limit=CODEC_MAX,
        n=ENTRIES,
        microseconds={"codec": round(per_event[0], 2), "msgspec": round(per_event[1], 2)},
        five_levels=round(ratio(*codec_times(levels=5)), 3),
    )


def codec_times(*, levels: int) -> list[Latencies]:
    """Return the seconds of both ways, round by round."""
    events = [
        msgspec.structs.replace(peers.snapshot(n, ts_ns=T0_NS + n, levels=levels), seq=0)
        for n in range(ENTRIES)
    ]
    bodies = [peers.encoder.encode(event) for event in events]
    entries = [[w.encode() if isinstance(w, str) else w for w in fields_of(e)] for e in events]
    encode, decode, entry_id = peers.encoder.encode, peers.decoder.decode, EntryId(1, 1)

    def ours() -> None:
        for event in events:
            body(event)
        for entry in entries:
            delivery(entry_id, entry, of_control=False)

    def bare() -> None:
        for event in events:
            encode(event)
        for content in bodies:
            decode(content)

    return interleaved([ours, bare], rounds=2 * ROUNDS)


def hop_bar(server: RedisServer) -> dict[str, Any]:
    """One process adds an entry at a time, on the second's thousandth; another reads it."""
    bus, client = connect(server.url), peers.bare(str(server.socket))
    count = int(HOP_PER_S * HOP_S)

    def ours(event: Event) -> None:
        bus.publish(NAME, [peers.entry(event)], entries_max=peers.ENTRIES_MAX)

    def theirs(event: Event) -> None:
        peers.bare_add(client, NAME, [event])

    measured: tuple[list[Latencies], list[Latencies]] = ([], [])
    for _ in range(HOP_ROUNDS):
        for place, (send, read) in enumerate(
            ((ours, peers.read_bus), (theirs, peers.read_bare)),
        ):
            server.flush()
            # As in service: a stream is there before anybody waits for its next entry.
            send(peers.snapshot(1, ts_ns=1))
            with process(read, str(server.socket), NAME, count) as pipe:
                began_ns = time.monotonic_ns() + NS // 10
                events = [
                    peers.snapshot(n + 2, ts_ns=began_ns + n * NS // HOP_PER_S)
                    for n in range(count)
                ]
                for event in events:
                    sleep_until(event.ts_ns)
                    send(event)
                seen = pipe.recv()
            measured[place].append([(at_ns - ts_ns) / 1e6 for ts_ns, at_ns in seen])
    return latency_bar("hop_p99_of_bare_redis_py", *measured, limit=HOP_MAX, per_s=HOP_PER_S)


def chain_bars(server: RedisServer) -> list[dict[str, Any]]:
    """Snapshot to forecast through the services, beside HOPS hops of bare redis-py."""
    server.flush()
    with tempfile.TemporaryDirectory(prefix="hawk-bench-") as name, services(Path(name), server):
        writer = Writer(Path(name), server)
        writer.play(server, rate=100, seconds=2.0)  # imports, warm-up, first allocations
        with (
            Chain(server, "bare", hops=HOPS) as bare,
            Chain(server, "synced", hops=HOPS - 1, folder=Path(name)) as synced,
        ):
            bars = []
            for rate in RATES:
                ours: list[Latencies] = []
                theirs: list[Latencies] = []
                alike: list[Latencies] = []
                for _ in range(CHAIN_ROUNDS):
                    ours.append(writer.play(server, rate=rate, seconds=CHAIN_S))
                    theirs.append(bare.play(rate))
                    alike.append(synced.play(rate))
                bars.append(
                    latency_bar(
                        f"snapshot_to_forecast_p99_of_{HOPS}_bare_hops_at_{rate}_per_s",
                        *(ours, theirs),
                        limit=1.0,
                        per_s=rate,
                        markets=MARKETS,
                        synced={
                            **percentiles([*chain(*alike)]),
                            "p99_ratio": p99_ratio(ours, alike),
                        },
                        fsync_ms=fsync_ms(Path(name)),
                    )
                )
    return bars


class Writer:
    """The collector's end: instants of MARKETS quotes, journalled and published."""

    def __init__(self, root: Path, server: RedisServer) -> None:
        self._bus = connect(server.url)
        self._outbox = Outbox(
            root, self._bus, writer="collector", kind="snapshots", underlying=UNDERLYING
        )
        self._outbox.begin(0)
        self._instant = 0
        self._outbox.append([*map(market, range(MARKETS)), tick(T0_NS)])
        self._outbox.flush()

    def play(self, server: RedisServer, *, rate: int, seconds: float) -> Latencies:
        """Write `rate` snapshots a second; return milliseconds from due to forecast."""
        instants = int(rate * seconds / MARKETS)
        due: dict[int, int] = {}
        with process(read_forecasts, str(server.socket), instants * MARKETS) as pipe:
            began_ns = time.monotonic_ns() + NS // 10
            for n in range(instants):
                self._instant += 1
                ts_ns = T0_NS + self._instant * NS
                due[ts_ns] = began_ns + n * NS * MARKETS // rate
                events = instant(ts_ns)
                sleep_until(due[ts_ns])
                self._outbox.append(events)
                self._outbox.flush()
            seen = pipe.recv()
        return [(at_ns - due[ts_ns]) / 1e6 for ts_ns, at_ns in seen]


def read_forecasts(socket: str, count: int, pipe: Connection) -> None:
    """Read until `count` new forecasts were seen; send (ts_ns, seen at) of each."""
    bus = connect(f"unix://{socket}")
    while peers.bus_read(bus, FORECASTS, block_s=0):  # type: ignore[arg-type]
        pass
    pipe.send("ready")
    seen: list[tuple[int, int]] = []
    while len(seen) < count:
        events = peers.bus_read(bus, FORECASTS, block_s=peers.BLOCK_S)  # type: ignore[arg-type]
        now_ns = time.monotonic_ns()
        seen += [(e.ts_ns, now_ns) for e in events if not isinstance(e, Tick)]
    pipe.send(seen)


class Chain:
    """Bare relays over `hops` streams, each in a process; with `folder`, synced files between."""

    def __init__(
        self, server: RedisServer, name: str, *, hops: int, folder: Path | None = None
    ) -> None:
        self._server, self._client = server, peers.bare(str(server.socket))
        self._streams = [f"{name}:{hop}" for hop in range(hops)]
        self._journals = [str(folder / stream) if folder else "" for stream in self._streams]
        self._relays: list[Any] = []
        self._number = 0

    def __enter__(self) -> "Chain":
        """Start the relays."""
        for hop, (source, sink) in enumerate(pairwise(self._streams)):
            ours, theirs = spawn.Pipe()
            arguments = (str(self._server.socket), source, sink, self._journals[hop], theirs)
            relay = spawn.Process(target=peers.relay_bare, args=arguments, daemon=True)
            relay.start()
            self._relays.append(relay)
            ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the relays."""
        for relay in self._relays:
            relay.kill()
            relay.join()

    def play(self, rate: int) -> Latencies:
        """Send as many entries, as many at a time, into the first stream; return milliseconds."""
        instants = int(rate * CHAIN_S / MARKETS)
        first, last = self._streams[0], self._streams[-1]
        self._client.delete(last)
        socket = str(self._server.socket)
        with process(peers.read_bare, socket, last, instants * MARKETS) as pipe:
            began_ns = time.monotonic_ns() + NS // 10
            for n in range(instants):
                due_ns = began_ns + n * NS * MARKETS // rate
                self._number += MARKETS
                events = [peers.snapshot(self._number + m, ts_ns=due_ns) for m in range(MARKETS)]
                sleep_until(due_ns)
                if self._journals[-1]:
                    peers.append_synced(self._journals[-1], events)
                peers.bare_add(self._client, first, events)
            seen = pipe.recv()
        return [(at_ns - ts_ns) / 1e6 for ts_ns, at_ns in seen]


@contextmanager
def services(root: Path, server: RedisServer) -> Iterator[None]:
    """Run features and predictor as processes on `root`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HAWK_")}
    env |= {"HAWK_DATA": str(root), "HAWK_REDIS_URL": server.url, "HAWK_PORT": str(free_port(6))}
    env["HAWK_LOG_LEVEL"] = "error"
    running = [
        subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=env)
        for name in ("features", "predictor")
    ]
    try:
        yield
    finally:
        for service in running:
            service.terminate()
        for service in running:
            service.wait(timeout=20)


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run `target` in a process of its own; the value is the pipe it answers on."""
    ours, theirs = spawn.Pipe()
    running = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
    running.start()
    try:
        if ours.recv() != "ready":
            raise SystemExit(f"{target.__name__} did not start")
        yield ours
    finally:
        running.join(timeout=10)
        if running.is_alive():
            running.kill()


def market(number: int) -> Market:
    """Return an open market."""
    name = f"KXBTC15M-BENCH-{number}"
    return Market(
        ts_ns=T0_NS,
        id=event_id("Market", name),
        venue="kalshi",
        market=name,
        series="KXBTC15M",
        underlying=UNDERLYING,
        open_ns=T0_NS - NS,
        close_ns=T0_NS + 86_400 * NS,
        comparator=">=",
        settlement_rule="mean60",
        fee=None,
        tick_ranges=(),
        rule_fingerprint="bench",
        strike_usd=100_000.0 + 10 * number,
    )


def tick(ts_ns: int) -> Tick:
    """Return the end of an instant."""
    return Tick(ts_ns=ts_ns, id=event_id("Tick", UNDERLYING, ts_ns), underlying=UNDERLYING)


def instant(ts_ns: int) -> list[Event]:
    """Return what a collector sees in one second: spot, a quote per market, the tick."""
    spot = SpotSnapshot(
        ts_ns=ts_ns,
        id=event_id("SpotSnapshot", UNDERLYING, ts_ns),
        underlying=UNDERLYING,
        source="coinbase",
        bid_usd=100_000.0,
        ask_usd=100_001.0,
        bid_size=1.0,
        ask_size=1.5,
        last_usd=100_000.5 + ts_ns // NS % 7,
        taker_buy_volume=0.5,
        taker_sell_volume=0.25,
    )
    number = ts_ns // NS * MARKETS
    quotes = [
        peers.snapshot(number + m, ts_ns=ts_ns, market=f"KXBTC15M-BENCH-{m}")
        for m in range(MARKETS)
    ]
    return [spot, *quotes, tick(ts_ns)]


def fsync_ms(root: Path) -> dict[str, float]:
    """Return what a sync of a small append costs here."""
    times = []
    with (root / "fsync").open("ab", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            began_s = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began_s) * 1e3)
    return percentiles(times)


def sleep_until(due_ns: int) -> None:
    """Sleep until an instant of the monotonic clock; return at once where it is over."""
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / NS)


def latency_bar(
    name: str, ours: list[Latencies], theirs: list[Latencies], *, limit: float, **facts: Any
) -> dict[str, Any]:
    """Return a bar of p99s, the median of the rounds' ratios, and both pooled distributions."""
    value = ratio(
        [percentile(one, 0.99) for one in ours], [percentile(one, 0.99) for one in theirs]
    )
    return bar(
        name,
        value,
        limit=limit,
        n=sum(map(len, ours)),
        rounds=len(ours),
        milliseconds=percentiles([*chain(*ours)]),
        bare_milliseconds=percentiles([*chain(*theirs)]),
        **facts,
    )


def p99_ratio(ours: list[Latencies], theirs: list[Latencies]) -> float:
    """Return the median of the rounds' ratios of their p99s."""
    p99s = ([percentile(one, 0.99) for one in side] for side in (ours, theirs))
    return round(ratio(*p99s), 3)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and p99."""
    return {"p50": round(percentile(values, 0.5), 3), "p99": round(percentile(values, 0.99), 3)}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def rates(ours: Latencies, theirs: Latencies, *, names: tuple[str, str]) -> dict[str, int]:
    """Return the median entries per second of both."""
    medians = (round(ENTRIES / statistics.median(times)) for times in (ours, theirs))
    return dict(zip(names, medians, strict=True))


if __name__ == "__main__":
    main()
