"""Run every benchmark and keep what it printed in benchmarks/results/."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "common", "run_all", "wire_faults", "wire_truth"}


def main() -> None:
    """Run them one after the other; the exit code is 1 if one could not run."""
    (HERE / "results").mkdir(exist_ok=True)
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem in NOT_BENCHMARKS:
            continue
        sys.stdout.write(f"== {path.stem}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", f"benchmarks.{path.stem}", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
        (HERE / "results" / f"{path.stem}.jsonl").write_text(done.stdout)
        sys.stdout.write(done.stdout)
        if done.returncode:
            failed.append(path.stem)
            sys.stdout.write(done.stderr[-2000:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
