"""`python -m services.simulator`: serve simulated venues, or write one simulated day and end.

Without `--out` it serves the live world (`serving`). With `--out` it writes a day for the
collector: a process of its own, so that drawing a day neither stops the collector nor shares its
memory; at a low priority, because the day is needed only when the one before has been played.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from libs.common.checks import HawkError
from services.simulator.day import write_day
from services.simulator.recording import ALL, Setup

NICE = 10
"""Behind everything that answers to somebody, before what is idle."""


def main() -> int:
    """Write a day where `--out` is given, else serve; return the exit code."""
    if any(argument.split("=")[0] == "--out" for argument in sys.argv[1:]):
        return write()
    # The server needs aiohttp, which drawing a day does not.
    from services.simulator.serving import main as serve

    return serve(sys.argv[1:])


def write() -> int:
    """Parse the command line, write the day, print its counts as JSON; return the exit code."""
    parser = argparse.ArgumentParser("python -m services.simulator", description=write.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="new folder of the day")
    parser.add_argument("--states", type=Path, required=True, help="where ends of days are kept")
    parser.add_argument("--day", type=int, required=True, help="counted from 1")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--edge", type=float, default=0.0, help="planted fault, 0 none")
    parser.add_argument("--interval-s", type=int, default=10, help="between quotes of one market")
    parser.add_argument("--underlyings", type=int, choices=range(1, len(ALL) + 1), default=len(ALL))
    wanted = parser.parse_args()
    os.nice(NICE)
    setup = Setup(
        days=1,
        seed=wanted.seed,
        interval_s=wanted.interval_s,
        edge=wanted.edge,
        underlyings=ALL[: wanted.underlyings],
    )
    try:
        counts = write_day(wanted.out, setup, wanted.day, states=wanted.states)
    except HawkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(counts) if counts else {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
