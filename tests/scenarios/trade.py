"""Trade a prepared archive in children that die at the nth step of a write: run by test_ledger.

Each line on stdin is `<root> <n>`: a forked child runs the trader over the archive of `root` until
there is nothing left to do, or kills itself with SIGKILL at its nth step (0: never). The answer is
the child's wait status.
"""

import os
import signal
import sys
from pathlib import Path

from libs.common import durable
from libs.common.context import Context
from libs.common.memory_bus import MemoryBus
from libs.common.reader import OrderedReader
from libs.common.service import Attempts
from libs.common.settings import Settings
from libs.common.telemetry import configure_logging
from libs.common.web import Web
from services.trader.shell import Desk

READ_COUNT = 24

QUIET_STEPS = 40
"""Rounds without progress after which everything has been read."""


def trade(root: Path, nth: int) -> None:
    """Run the trader to the end of the archive."""
    left = nth

    def count(step: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    durable.on_step = count
    # Small reads make many checkpoints, so that there is much to be killed between.
    OrderedReader.read.__kwdefaults__["count"] = READ_COUNT
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    context = Context("trader", root, settings, MemoryBus(), Web())
    desk = Desk(context, Attempts(context))
    quiet = 0
    while quiet < QUIET_STEPS:
        before_ns = desk.tick_ns
        desk.step(block_s=0.0)
        quiet = quiet + 1 if desk.tick_ns == before_ns else 0
    context.stop.set()
    desk.run()
    desk.close()


def main() -> None:
    """Serve children until stdin ends."""
    configure_logging("error")
    for line in sys.stdin:
        root, nth = line.split()
        child = os.fork()
        if child == 0:
            trade(Path(root), int(nth))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
