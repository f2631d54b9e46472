"""`python -m services.simulator`: write one simulated day for the live collector, and end.

A process of its own, so that drawing a day neither stops the collector nor shares its memory; at a
low priority, because the day is needed only when the one before has been played.
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
    """Parse the command line, write the day, print its counts as JSON; return the exit code."""
    parser = argparse.ArgumentParser("python -m services.simulator", description=main.__doc__)
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
