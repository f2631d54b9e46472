"""Does the gate find skill that is there, and none where there is none?

Simulates two histories with one seed, with a fault planted in the quotes (edge 1) and without
(edge 0), takes each through `hawk import`, `hawk train` up to a day and `hawk evaluate` on the days
after, and compares with the truth that the simulator kept. `share_of_oracle_gain` is the model's
gain in Brier over the mid on the later days, divided by what the true probability gains on the very
same rows and outcomes.

What it does not show: that real quotes have such a fault. The planted one is large (an oracle gains
0.006 Brier) and the same on every day; it proves the machinery, not the market. Nor how often the
gate errs: it is one history of each kind, of one seed. Prints one line per bar with `--json`, else
a table; exit 1 if a bar does not hold.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from services.simulator.oracle import Oracle, oracle
from services.simulator.recording import START

HAWK = Path(sys.executable).parent / "hawk"
COMMAND_S_MAX = 1_800
EXIT_ACCEPTED, EXIT_REJECTED = 0, 5

TRAIN_DAYS, LATER_DAYS = 11, 3
"""864 windows a day: 11 days leave more than the 5,000 out-of-fold windows that isotonic needs."""

SHARE_MIN = 0.5
"""Of the oracle's gain. A forecast within 0.10 of the mid, of four-leaf trees that saw a week and a
half, cannot have all of it; what an anchored logistic can have stays below
(tests/simulator/test_flow.py)."""

ORACLE_MIN, ORACLE_MAX, ORACLE_NONE = 0.004, 0.008, 1e-4
"""Range of the oracle's gain at edge 1, and its most at edge 0: rounding to ticks."""

LOSS_MAX = 0.0005
"""After a rejection the mid itself serves and this is 0; it bites if a candidate is accepted."""


@dataclass(frozen=True)
class Run:
    """What one history gave: the verdict of training, scores on later days, and the truth's."""

    trained: dict[str, Any]
    scored: dict[str, Any]
    truth: Oracle


def hawk(*arguments: str, allowed: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run one `hawk` command and return its JSON; raise `RuntimeError` on another exit code."""
    done = subprocess.run(
        [str(HAWK), *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    if done.returncode not in allowed:
        words = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"hawk {arguments[0]} ended with {done.returncode}: {words[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def run(folder: Path, *, edge: float, seed: int, interval_s: int) -> Run:
    """Take one simulated history through import, training and later days."""
    recording, archive = folder / "recording", str(folder / "archive")
    days = TRAIN_DAYS + LATER_DAYS
    until = datetime.combine(START, time(), UTC) + timedelta(days=TRAIN_DAYS)
    moment = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    options = ("--seed", str(seed), "--interval-s", str(interval_s), "--edge", str(edge))
    hawk("simulate", str(recording), "--days", str(days), *options)
    hawk("import", str(recording), "--data", archive)
    trained = hawk(
        *("train", "--data", archive, "--to", moment), allowed=(EXIT_ACCEPTED, EXIT_REJECTED)
    )
    print(f"edge {edge:g}: {trained['verdict']}: {trained['reason']}", file=sys.stderr)
    # Without --bundle: the bundle that serves, which is the base model after a rejection.
    scored = hawk("evaluate", "--data", archive, "--from", moment)
    markets, quotes, truth = (
        pq.read_table(recording / f"{name}.parquet") for name in ("markets", "quotes", "truth")
    )
    from_ns = int(until.timestamp()) * 1_000_000_000
    return Run(trained, scored, oracle(markets, quotes, truth, from_ns=from_ns))


def gain(scored: dict[str, Any]) -> float:
    """Return how much better than the mid the served model was, in Brier.

    >>> gain({"brier": {"model": 0.25, "market": 0.5}})
    0.25
    """
    return float(scored["brier"]["market"]) - float(scored["brier"]["model"])


def bars(planted: Run, clean: Run) -> list[dict[str, Any]]:
    """Judge both runs; each bar says its figure, its limit and whether it holds."""
    share = gain(planted.scored) / planted.truth.realised_gain
    on_later_days = {
        "model_gain": gain(planted.scored),
        "oracle_gain": planted.truth.realised_gain,
        "skill_by_block": planted.scored["skill_vs_market_by_block"],
        "markets": planted.truth.markets,
        "rows": planted.truth.rows,
    }
    left_alone = clean.trained["verdict"] == "rejected" or clean.trained["rung"] == "identity"
    return [
        _word("planted_verdict", planted.trained, "verdict", "accepted"),
        _word("planted_rung", planted.trained, "rung", "residual"),
        _word("planted_calibration", planted.trained, "calibration", "isotonic"),
        {
            "bar": "planted_oracle_gain",
            "value": planted.truth.expected_gain,
            "limit": [ORACLE_MIN, ORACLE_MAX],
            "holds": ORACLE_MIN <= planted.truth.expected_gain <= ORACLE_MAX,
        },
        {
            "bar": "planted_share_of_oracle_gain",
            "value": share,
            "limit": SHARE_MIN,
            "holds": share >= SHARE_MIN,
            **on_later_days,
        },
        {
            "bar": "planted_rows_agree_with_evaluate",
            "value": planted.scored["rows"],
            "limit": planted.truth.rows,
            "holds": planted.scored["rows"] == planted.truth.rows,
        },
        {
            "bar": "clean_oracle_gain",
            "value": clean.truth.expected_gain,
            "limit": ORACLE_NONE,
            "holds": clean.truth.expected_gain <= ORACLE_NONE,
        },
        {
            "bar": "clean_stays_at_identity_or_is_rejected",
            "value": f"{clean.trained['verdict']} at {clean.trained['rung']}",
            "limit": "rejected, or identity",
            "holds": left_alone,
            "reason": clean.trained["reason"],
        },
        {
            "bar": "clean_served_loses_nothing",
            "value": gain(clean.scored),
            "limit": -LOSS_MAX,
            "holds": gain(clean.scored) >= -LOSS_MAX,
        },
    ]


def _word(bar: str, trained: dict[str, Any], key: str, wanted: str) -> dict[str, Any]:
    found = trained[key]
    return {
        "bar": bar,
        "value": found,
        "limit": wanted,
        "holds": found == wanted,
        "reason": trained["reason"],
        "windows": trained["windows"],
    }


def main() -> int:
    """Run both histories and print the bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one line of JSON per bar")
    parser.add_argument("--seed", type=int, default=20_260_601)
    parser.add_argument("--interval-s", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hawk-skill-") as name:
        planted, clean = (
            run(Path(name) / label, edge=edge, seed=asked.seed, interval_s=asked.interval_s)
            for label, edge in (("planted", 1.0), ("clean", 0.0))
        )
    about = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("numpy", "pyarrow", "lightgbm")},
        "seed": asked.seed,
        "interval_s": asked.interval_s,
        "days": [TRAIN_DAYS, LATER_DAYS],
    }
    found = bars(planted, clean)
    if not asked.json:
        print(json.dumps(about))
    for bar in found:
        if asked.json:
            print(json.dumps({**bar, **about}))
        else:
            mark = "holds" if bar["holds"] else "FAILS"
            print(f"{mark}  {bar['bar']:<40} {bar['value']}  (limit {bar['limit']})")
    return 0 if all(bar["holds"] for bar in found) else 1


if __name__ == "__main__":
    sys.exit(main())
