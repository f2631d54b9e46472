"""The command line of the live simulator: parse it, start the server, end it cleanly.

In go arguments, out comes a process that serves until SIGTERM or SIGINT. An accelerated world
starts now and runs ahead of the wall clock, unless told another start.
"""

import argparse
import asyncio
import gc
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from libs.common import durable
from libs.common.checks import HawkError, UsageError
from libs.common.stream_time import StreamTime
from libs.common.telemetry import log
from services.simulator.engine import Setup
from services.simulator.naming import NS_PER_S, unix_s
from services.simulator.path import UNDERLYINGS
from services.simulator.server import Server
from services.simulator.signature import read_key

PORT = 8_490
SPEED_MAX = 1_000.0


def main(arguments: list[str]) -> int:
    """Parse the command line and serve; return the exit code."""
    parser = argparse.ArgumentParser("python -m services.simulator", description=main.__doc__)
    parser.add_argument("--speed", type=float, default=1.0, help="stream seconds a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT, help="0 for any; it is logged")
    parser.add_argument("--start", default="now", help="stream time at the start, RFC 3339")
    parser.add_argument(
        "--underlyings", type=int, choices=range(1, len(UNDERLYINGS) + 1), default=1
    )
    parser.add_argument("--truth", type=Path, help="folder of truth.jsonl")
    parser.add_argument("--kalshi-key", type=Path, help="public key of Kalshi's signatures, PEM")
    parser.add_argument("--faults", choices=("none", "cycle"), default="none")
    parser.add_argument("--faults-every", type=float, default=120.0, help="stream seconds")
    parser.add_argument("--announce", type=Path, help="file to write the address to once it serves")
    parser.add_argument("--as", dest="known_as", help="that address; else the one listened on")
    wanted = parser.parse_args(arguments)
    try:
        if not 0 < wanted.speed <= SPEED_MAX:
            raise UsageError(f"speed {wanted.speed}: above 0, {SPEED_MAX:g} at most")
        if wanted.seed < 0:
            raise UsageError(f"seed {wanted.seed}: 0 or more")
        key = read_key(wanted.kalshi_key.read_bytes()) if wanted.kalshi_key else None
        began_ns = time.time_ns()
        clock = StreamTime(_start_ns(wanted.start, began_ns), began_ns, wanted.speed)
        every_s = wanted.faults_every if wanted.faults == "cycle" else 0.0
        setup = Setup(wanted.seed, clock.start_ns, wanted.underlyings, every_s)

        async def run() -> int:
            server = Server(setup, clock, key=key, truth=wanted.truth)
            # A full collection that looked at all of this again would be a venue that hangs for a
            # second of an accelerated world.
            gc.freeze()
            return await serve(
                server,
                wanted.host,
                wanted.port,
                announcement=Announcement(wanted.announce, wanted.known_as),
            )

        return asyncio.run(run())
    except HawkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return UsageError.exit_code


class Announcement(NamedTuple):
    """Where to write which address, so that a collector beside us finds us.

    It is withdrawn at the end; after a kill it stays, and a collector waits for us rather than
    taking the venues themselves for what it was recording.
    """

    path: Path | None = None
    address: str | None = None

    def write(self, host: str, port: int) -> None:
        """Write the address, whole or not at all."""
        if self.path is not None:
            text = self.address or f"http://{host}:{port}"
            durable.write_atomic(self.path, f"{text}\n".encode(), name="address")

    def withdraw(self) -> None:
        """Remove what was written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


async def serve(
    server: Server, host: str, port: int, *, announcement: Announcement | None = None
) -> int:
    """Serve until a signal comes."""
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    bound = runner.addresses[0][1] if runner.addresses else port
    if announcement is not None:
        announcement.write(host, bound)
    log().info("simulator.started", host=host, port=bound, speed=server.clock.speed)
    try:
        await server.run()
    finally:
        if announcement is not None:
            announcement.withdraw()
        await runner.cleanup()
    log().info("simulator.stopped")
    return 0


def _start_ns(text: str, began_ns: int) -> int:
    if text == "now":
        return began_ns
    second = unix_s(text)
    if second is None:
        raise UsageError(f"start {text!r}: expected now or RFC 3339 in UTC")
    return second * NS_PER_S
