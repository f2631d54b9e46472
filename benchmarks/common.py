"""What every benchmark shares: bars as printed lines, the machine, interleaved timing."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

LIBRARIES = ("numpy", "pyarrow", "lightgbm", "pandas", "msgspec")


def machine() -> str:
    """Describe machine and versions in one line."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    cores = os.cpu_count()
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {libraries}"


def bar(name: str, value: float, *, limit: float, **facts: Any) -> dict[str, Any]:
    """Return one bar: it holds if `value` is at most `limit`."""
    return {"bar": name, "value": value, "limit": limit, "holds": value <= limit, **facts}


def interleaved(candidates: Sequence[Callable[[], Any]], *, rounds: int) -> list[list[float]]:
    """Time each candidate `rounds` times in turn (A B A B ...), in seconds."""
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for measured, run in zip(times, candidates, strict=True):
            began_s = time.perf_counter()
            run()
            measured.append(time.perf_counter() - began_s)
    return times


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def report(bars: Sequence[dict[str, Any]], *, note: str) -> None:
    """Print the bars, as JSON lines with --json, else for a person with the machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="one line of JSON per bar")
    if parser.parse_args().json:
        for entry in bars:
            sys.stdout.write(json.dumps({**entry, "machine": machine()}) + "\n")
        return
    sys.stdout.write(f"{machine()}\n{note}\n")
    for entry in bars:
        mark = "holds" if entry["holds"] else "FAILS"
        value, limit = f"{entry['value']:.4g}", f"{entry['limit']:.4g}"
        rest = {k: v for k, v in entry.items() if k not in ("bar", "value", "limit", "holds")}
        sys.stdout.write(f"  {mark}  {entry['bar']}: {value} (limit {limit}) {rest}\n")
