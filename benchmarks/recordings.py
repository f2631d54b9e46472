"""What do real recordings say? Every figure of docs/model.md, from import to verdict.

Imports each folder of HAWK_RECORDINGS into a folder of its own, scores the base model and fair
value, trains, and prints the verdict with its walk-forward figures. Bars: the market's mid scores
what was measured when the recordings were made, and a verdict takes a minute at most. Without
recordings it says so and prints no bar. What it does not show: anything about other days.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import bar, report

HAWK = Path(sys.executable).parent / "hawk"
FOLDERS = ("kalshi_btc15m", "polymarket_updown_1h", "polymarket_btc15m", "chainlink_btc5m")
MID_KALSHI = {"two-sided": 0.150, "clean": 0.160}
"""Brier per market of the Kalshi mid, as measured independently of this code."""

MID_TOLERANCE = 0.001
TRAIN_SECONDS_MAX = 60.0
EXIT_REJECTED = 5


def main() -> None:
    """Print figures and bars."""
    recordings = Path(os.environ.get("HAWK_RECORDINGS", ""))
    if not (recordings / FOLDERS[0] / "markets.parquet").exists():
        sys.stderr.write("no real recordings, no bar: set HAWK_RECORDINGS\n")
        return
    bars: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in FOLDERS:
            bars += figures(recordings / name, Path(folder) / name)
    report(bars, note="real recordings; model is the base model unless said otherwise")


def figures(recording: Path, root: Path) -> list[dict[str, Any]]:
    """Import, evaluate and train one recording; return its bars with all figures beside."""
    name = recording.name
    imported = hawk("import", recording, "--data", root)
    scored = {
        rows: hawk("evaluate", "--data", root, "--bundle", "base", "--rows", rows)
        for rows in MID_KALSHI
    }
    began_s = time.perf_counter()
    trained = hawk("train", "--data", root)
    seconds = time.perf_counter() - began_s
    facts = {
        "stored": {k: imported[k] for k in ("markets", "quotes", "spot")},
        "verdict": trained["verdict"],
        "reason": trained["reason"],
        "scores": trained["scores"],
        "fair_value_rows": scored["two-sided"]["on_fair_value_rows"],
        "by_time_left": scored["two-sided"]["by_time_left"],
    }
    bars = [bar(f"train_seconds_{name}", seconds, limit=TRAIN_SECONDS_MAX, **facts)]
    if name == FOLDERS[0]:
        for rows, expected in MID_KALSHI.items():
            brier = scored[rows]["brier"]["market"]
            distance = abs(brier - expected)
            bars.append(bar(f"mid_brier_off_{rows}", distance, limit=MID_TOLERANCE, brier=brier))
    return bars


def hawk(command: str, *arguments: object) -> dict[str, Any]:
    """Run the command; a rejection is an answer, any other failure is not."""
    line = [str(HAWK), command, *map(str, arguments), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode not in (0, EXIT_REJECTED):
        raise SystemExit(f"{' '.join(line)}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
