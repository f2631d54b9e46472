"""How much of bare ASGI is left of `POST /v1/forecast` with a key, strict reading and metrics on?

Two servers side by side, each one process of uvicorn on loopback, score the same row with the same
model of trees: Hawk's pages as the predictor mounts them, and a bare ASGI function that decodes
with msgspec, scores and encodes, and checks nothing. Sixteen kept connections ask each in turn; the
client is one process of its own, on the other core of a two-core machine. The row's answer is
compared first. What it does not show: TLS, a proxy, clients that come and go, or a stream beside.

The bar is on the processor time that a server takes per request, the reciprocal of what one worker
can answer when nothing else runs; requests a second by the clock stand beside it and say the same
on a quiet machine, and mostly what else ran on a busy one.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import bar, ratio, report

CONNECTIONS, REQUESTS, ROUNDS = 16, 4_000, 7
SLOWER_MAX = 1 / 0.6
"""At least 0.6 of the requests a second of bare ASGI."""

SEED, TREES, LEAVES = 3, 300, 31
KEY = "benchmark-key-of-some-length"

SERVE = """
import socket, sys
from pathlib import Path
import msgspec, uvicorn
from libs.common.bundle import Bundle
from libs.common.feature_set import FEATURE_NAMES
from libs.common.model import Anchor, Formula
from libs.common.web import Web
from services.predictor.app import Api
from services.predictor.board import Board
from services.predictor.champion import Serving
from services.predictor.native import leave_out_extras, row_scorer
from services.predictor.scorer import Scorer, feature_hash
kind, listener, path, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
leave_out_extras()
text = Path(path).read_text()
formula = Formula(rung="residual", anchor=Anchor(gap=0.3))
bundle = Bundle(id="b" * 24, formula=formula, trees_text=text)
scorer = Scorer(bundle, row_scorer(text, len(FEATURE_NAMES)))
serving = Serving(scorer, None, 0)
web = Web()
web.mount("/v1", Api(lambda: serving, Board(), key=key))

class Row(msgspec.Struct):
    series: str
    values: dict[str, float | None]

decode = msgspec.json.Decoder(Row).decode
encode = msgspec.json.Encoder().encode
JSON = [(b"content-type", b"application/json")]

async def bare(scope, receive, send):
    row = decode((await receive())["body"])
    found = scorer.probability(row.series, row.values)
    body = encode({"bundle": bundle.id, "p": found.p, "feature_hash": feature_hash(row.values)})
    headers = [*JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

config = uvicorn.Config(
    web.app if kind == "hawk" else bare, interface="asgi3", log_config=None,
    access_log=False, lifespan="off", server_header=False,
)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener)])
"""


class Connection(asyncio.Protocol):
    """One kept connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, count: int, done: "asyncio.Future[bytes]") -> None:
        self.seconds: list[float] = []
        self._request, self._left, self._done = request, count, done
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take an answer when it is whole, and ask again."""
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {self._came[:300]!r}")
        self.seconds.append(time.perf_counter() - self._asked_s)
        self._left -= 1
        self._came = b""
        if self._left:
            self._ask()
        else:
            self._transport.close()
            self._done.set_result(body)

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self._transport.write(self._request)


def main() -> None:
    """Print the bar."""
    row = make_row()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.txt"
        model.write_text(make_trees())
        with server("bare", model) as bare, server("hawk", model) as hawk:
            require_equal(bare.ask(row, CONNECTIONS), hawk.ask(row, CONNECTIONS))
            for _ in range(ROUNDS):
                for own in (bare, hawk):
                    own.round(row)
    libraries = ", ".join(f"{n} {version(n)}" for n in ("fastapi", "uvicorn", "h11"))
    note = (
        f"{libraries}; {CONNECTIONS} connections, n = {REQUESTS} requests x {ROUNDS} rounds, "
        f"{TREES} trees x {LEAVES} leaves, seed {SEED}"
    )
    slower = ratio(hawk.cpu_s, bare.cpu_s)
    facts = {"clock_ratio": round(ratio(hawk.taken_s, bare.taken_s), 3)}
    facts |= hawk.figures("hawk") | bare.figures("bare")
    report([bar("serving_cpu_of_bare_asgi", slower, limit=SLOWER_MAX, **facts)], note=note)


class Server:
    """One server under load, and what its rounds took."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.taken_s: list[float] = []
        self.cpu_s: list[float] = []
        self._stat = Path(f"/proc/{pid}/stat")
        self._seconds: list[float] = []

    def ask(self, row: bytes, count: int) -> dict[str, Any]:
        """Ask without measuring; return one answer."""
        return asked(self.port, row, count=count)[2]

    def round(self, row: bytes) -> None:
        """Ask REQUESTS times and keep what it took."""
        before_s = self._cpu_s()
        taken_s, seconds, _ = asked(self.port, row, count=REQUESTS)
        self.cpu_s.append(self._cpu_s() - before_s)
        self.taken_s.append(taken_s)
        self._seconds += seconds

    def figures(self, name: str) -> dict[str, float]:
        """Return CPU per request, requests a second, and latency's median and 99th percentile."""
        ordered = sorted(self._seconds)
        return {
            f"{name}_cpu_us": round(1e6 * statistics.median(self.cpu_s) / REQUESTS, 1),
            f"{name}_rps": round(REQUESTS / statistics.median(self.taken_s)),
            f"{name}_p50_ms": round(1e3 * statistics.median(ordered), 3),
            f"{name}_p99_ms": round(1e3 * ordered[len(ordered) * 99 // 100], 3),
        }

    def _cpu_s(self) -> float:
        user, system = self._stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def asked(port: int, row: bytes, *, count: int) -> tuple[float, list[float], dict[str, Any]]:
    """Ask `count` times over all connections: seconds in all, of each, and one answer."""
    return asyncio.run(_asked(port, row, count))


async def _asked(port: int, row: bytes, count: int) -> tuple[float, list[float], dict[str, Any]]:
    head = (
        "POST /v1/forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {KEY}\r\nContent-Length: {len(row)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    ends: list[asyncio.Future[bytes]] = []
    began_s = time.perf_counter()
    for _ in range(CONNECTIONS):
        ends.append(loop.create_future())
        own = Connection(head.encode() + row, count // CONNECTIONS, ends[-1])
        made.append(own)
        await loop.create_connection(lambda own=own: own, "127.0.0.1", port)  # type: ignore[misc]
    bodies = await asyncio.gather(*ends)
    taken_s = time.perf_counter() - began_s
    return taken_s, [s for own in made for s in own.seconds], json.loads(bodies[0])


def require_equal(bare: dict[str, Any], hawk: dict[str, Any]) -> None:
    """Refuse to time two servers that do not do the same."""
    for name in ("p", "feature_hash", "bundle"):
        if bare[name] != hawk[name]:
            raise SystemExit(f"answers differ: {bare} {hawk}")


@contextmanager
def server(kind: str, model: Path) -> Iterator[Server]:
    """Run one server on a port of its own until it has answered and been used."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = int(listener.getsockname()[1])
    command = [sys.executable, "-c", SERVE, kind, str(listener.fileno()), str(model), KEY]
    with subprocess.Popen(command, pass_fds=[listener.fileno()]) as running:
        listener.close()
        own = Server(port, running.pid)
        try:
            own.ask(make_row(), CONNECTIONS)  # the socket listens before its server does
            yield own
        finally:
            running.kill()


def make_row() -> bytes:
    """Return one row as a client sends it, with all its digits."""
    import numpy as np

    from libs.common.feature_set import FEATURE_NAMES

    rng = np.random.default_rng(SEED)
    values: dict[str, float | None] = {n: float(rng.normal()) for n in FEATURE_NAMES}
    values |= {"mid": 0.4321, "fair_value": 0.4567, "time_left_s": 321.5, "basis_bp": None}
    return json.dumps({"series": "KXBTC15M", "values": values}).encode()


def make_trees() -> str:
    """Train a forest of the largest size that is served, and return what of it is served."""
    import lightgbm
    import numpy as np

    from libs.common.feature_set import FEATURE_NAMES
    from libs.common.trees import served_text

    rng = np.random.default_rng(SEED)
    matrix = rng.normal(size=(20_000, len(FEATURE_NAMES)))
    y = (matrix[:, 0] + rng.normal(size=len(matrix)) > 0).astype(float)
    settings = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "seed": SEED,
    }
    data = lightgbm.Dataset(matrix, y, feature_name=list(FEATURE_NAMES))
    return served_text(str(lightgbm.train(settings, data, TREES).model_to_string()))


if __name__ == "__main__":
    main()
