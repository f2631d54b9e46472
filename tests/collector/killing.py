"""Run the collector in child processes that die at the n-th step of a write: `python -m` this file.

One line per job on stdin, `<data folder> <recording> <n>` (0: never), the wait status on stdout.
The bus is in memory and dies with the child, as an empty Redis would.
"""

import os
import signal
import sys
from pathlib import Path

from libs.common import durable
from libs.common.telemetry import configure_logging
from services.collector.shell import run
from tests.collector.stage import context


def job(root: Path, recording: str, nth: int) -> None:
    """Play a recording to its end, or die at step `nth`."""
    left = [nth]

    def die(step: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    durable.on_step = die
    run(context(root, source=f"recording:{recording}@max"))


def main() -> None:
    """Fork a child for each line."""
    configure_logging("error")  # standard output is for the answers
    for line in sys.stdin:
        root, recording, nth = line.split()
        child = os.fork()
        if child == 0:
            job(Path(root), recording, int(nth))
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
