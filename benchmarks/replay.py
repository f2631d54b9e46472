"""How fast does the archive replay through features, predictor and trader, and does it stay linear?

One process, one core, base model plus the trader's decisions, output hashed. A simulated recording
of about 130,000 quote snapshots, a tenth of it for the slope, and the peak of memory of both runs.
What it does not show: a model with trees (benchmarks/skill.py trains one), or the bus.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import bar, report

SEED, INTERVAL_S, DAYS = 5, 10, 5
SECONDS_MAX, SLOPE_MAX, MEMORY_MAX = 60.0, 11.0, 1.3
RUN = """
import json, sys, time
from pathlib import Path
from libs.common.settings import Settings
from services.console.replaying import ReplayRequest, run_replay
request = ReplayRequest(end_ns=int(sys.argv[2]))
began = time.process_time()
result = run_replay(Path(sys.argv[1]), request, Settings(_env_file=None))
count = result["events"]["features"]["count"]
# VmHWM, because ru_maxrss still holds what the parent had when it forked.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps([time.process_time() - began, count, peak]))
"""


def main() -> None:
    """Print the bars."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_world(Path(folder))
        start_ns = 1_780_272_000_000_000_000
        day_ns = 86_400_000_000_000
        short = run(root, start_ns + day_ns * DAYS // 10)
        long = run(root, start_ns + day_ns * DAYS)
    # Per row, so that the shares of warm-up and of short hours do not matter.
    slope = (long[0] / long[1]) / (short[0] / short[1]) * 10
    seconds = long[0] * 130_000 / long[1]
    note = f"seed {SEED}, n = {long[1]} snapshots, {INTERVAL_S} s apart, 1 underlying, 3 series"
    report(
        [
            bar("replay_cpu_seconds_per_130k", seconds, limit=SECONDS_MAX, n=long[1], seed=SEED),
            bar("replay_time_of_10x_rows", slope, limit=SLOPE_MAX, n_short=short[1]),
            bar(
                "replay_memory_of_10x_rows", long[2] / short[2], limit=MEMORY_MAX, peak_kib=long[2]
            ),
        ],
        note=note,
    )


def make_world(folder: Path) -> Path:
    """Simulate and import; return the data folder."""
    from services.collector.recording import import_recording
    from services.simulator.recording import Setup, write_simulation

    setup = Setup(days=DAYS, seed=SEED, interval_s=INTERVAL_S, edge=1.0, underlyings=("BTC-USD",))
    write_simulation(folder / "recording", setup)
    import_recording(folder / "recording", folder / "data")
    return folder / "data"


def run(root: Path, end_ns: int) -> tuple[float, int, int]:
    """Replay to `end_ns` in a process of its own: CPU seconds, snapshots, peak KiB."""
    import json

    command = [sys.executable, "-c", RUN, str(root), str(end_ns)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, count, peak = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), int(count), int(peak)


if __name__ == "__main__":
    main()
