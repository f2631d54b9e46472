"""How many bytes does a day of one market take, in the archive and in the journals of its hour?

A simulated day of one underlying (three markets open at any time) is imported and replayed, which
seals what features, predictor and trader make of it, with a sample each 10 s; the same day with a
sample each second is replayed for four hours. Bytes are those of the sealed files; a market's day
is what one place for a market takes that is always filled, as 15-minute windows follow each other.
The underlying's own rows (spot, ticks of the journals) are counted apart. The running hour stands
uncompressed in journals until it is sealed: that is measured as the frames of the same events.

It does not show real books, which compress worse than simulated ones (benchmarks/archive.py has
both: 0.53 against 0.48 of plain floats), nor deeper ones.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import bar, report
from libs.common.archive import HOUR_NS, Archive
from libs.common.events import Event, FeatureRow, Forecast, QuoteSnapshot, SpotSnapshot
from libs.common.sources import SIMULATION_START_NS
from libs.common.streams import archive_kind

MARKETS_OPEN = 3
"""Of the simulated BTC-USD: a 15-minute window, an hour, and a strike of the day."""

DAY_S = 86_400
HOURS_AT_1_S = 4
FRAME_BYTES = 24
"""Of a journal's frame around the event's JSON: length, check sum, sequence, entry time."""

MB_PER_MARKET_DAY_MAX = {10: 4.0, 1: 25.0}
"""A year of nine markets then fits into 15 GB at 10 s, and into 85 GB at 1 s."""

KINDS: tuple[type[Event], ...] = (QuoteSnapshot, FeatureRow, Forecast)


def main() -> None:
    """Simulate, import, replay, count, print."""
    with tempfile.TemporaryDirectory(prefix="hawk-disk-") as name:
        bars = [measured(Path(name), interval_s) for interval_s in (10, 1)]
    report(bars, note="one simulated day of BTC-USD, sealed by import and replay")


def measured(folder: Path, interval_s: int) -> dict[str, Any]:
    """Return the bar of one interval."""
    recording, data, out = (folder / f"{what}{interval_s}" for what in ("r", "d", "o"))
    options = ("--days", "1", "--seed", "3", "--underlyings", "1")
    hawk("simulate", str(recording), *options, "--interval-s", str(interval_s))
    hawk("import", str(recording), "--data", str(data))
    until = ("--to", f"2026-06-01T{HOURS_AT_1_S:02d}:00:00Z") if interval_s == 1 else ()
    hawk("replay", "--data", str(data), "--out", str(out), *until)
    rows_a_day = DAY_S // interval_s
    per_row = {kind.__name__: row_bytes(data, out, kind) for kind in (*KINDS, SpotSnapshot)}
    spot_rows = Archive(data).table(SpotSnapshot).num_rows
    market_day = sum(per_row[kind.__name__] for kind in KINDS) * rows_a_day / 1e6
    return bar(
        f"MB of one market and day, a sample each {interval_s} s",
        market_day,
        limit=MB_PER_MARKET_DAY_MAX[interval_s],
        underlying_mb=round(per_row["SpotSnapshot"] * spot_rows / 1e6, 2),
        bytes_per_row={kind: round(size, 1) for kind, size in per_row.items()},
        journals_mb_an_hour=round(journal_mb_an_hour(data, out, interval_s), 1),
    )


def row_bytes(data: Path, out: Path, kind: type[Event]) -> float:
    """Return the bytes that a sealed row of `kind` takes."""
    root = out if kind in (FeatureRow, Forecast) else data
    files = list((root / "archive" / archive_kind(kind)).rglob("[0-9][0-9].parquet"))
    rows = Archive(root).table(kind).num_rows
    return sum(path.stat().st_size for path in files) / rows


def journal_mb_an_hour(data: Path, out: Path, interval_s: int) -> float:
    """Return what an hour of one market takes in all journals before it is sealed."""
    end_ns = SIMULATION_START_NS + 2 * HOUR_NS
    total = count = 0
    for root, kinds in ((data, (QuoteSnapshot,)), (out, (FeatureRow, Forecast))):
        for event in Archive(root).scan(dict.fromkeys(kinds, end_ns - HOUR_NS), end_ns=end_ns):
            total += len(msgspec.json.encode(event)) + FRAME_BYTES
            count += isinstance(event, QuoteSnapshot)
    return total / count * (3600 / interval_s) / 1e6


def hawk(*words: str) -> Any:
    """Run a command of Hawk and return its JSON answer."""
    command = [sys.executable, "-m", "services.console", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
