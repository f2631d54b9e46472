"""How many bytes does a stored quote take, and how fast is the newest tenth read back?

Bytes: the archive's quote files against what a user of pandas would write of the same events, hour
by hour: a flat float64 column per level and side, ids and names as strings, zstd level 3. Time:
eight columns of the last tenth of the rows through `Archive.table` (which looks for journals, cuts
at the instant, keeps order and drops repeated ids) against a bare `pyarrow.dataset` scan of the
very files that hold them, with the same filter. Rounds are interleaved. Real recordings where
HAWK_RECORDINGS names them, and a simulated day always. What it does not show: feature rows, whose
floats compress as floats do, or a disk that is not in the page cache.
"""

import io
import os
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.common import bar, interleaved, ratio, report
from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.columns import ABSENT, level_matrix
from libs.common.events import QuoteSnapshot
from services.collector.recording import import_recording
from services.simulator.recording import Setup, write_simulation

SEED, INTERVAL_S = 7, 10
ROUNDS = 31
BYTES_MAX, TIME_MAX = 0.5, 1.5
SHARE_READ = 0.1
RECORDINGS = ("kalshi_btc15m", "polymarket_btc15m", "polymarket_updown_1h")
SCALES = {
    "yes_bids_price_e4": 1e4,
    "yes_bids_size_e2": 1e2,
    "yes_asks_price_e4": 1e4,
    "yes_asks_size_e2": 1e2,
}
READ_COLUMNS = ("market", "flags", "age_ns", *SCALES, "venue")


def main() -> None:
    """Print the bars."""
    with tempfile.TemporaryDirectory() as folder:
        bars = []
        recorded = [Path(os.environ.get("HAWK_RECORDINGS", "")) / name for name in RECORDINGS]
        if all((path / "quotes.parquet").exists() for path in recorded):
            roots = {path.name: imported(path, Path(folder) / path.name) for path in recorded}
            bars += bars_of("recorded", roots)
        simulated = Path(folder) / "simulation"
        setup = Setup(days=1, seed=SEED, interval_s=INTERVAL_S, edge=1.0, underlyings=("BTC-USD",))
        write_simulation(simulated, setup)
        bars += bars_of("simulated", {"day": imported(simulated, Path(folder) / "simulated")})
    report(bars, note=f"quote snapshots; simulation seed {SEED}; {ROUNDS} rounds; page cache warm")


def imported(recording: Path, root: Path) -> Path:
    """Import a recording and return its data folder."""
    import_recording(recording, root)
    return root


def bars_of(what: str, roots: dict[str, Path]) -> list[dict[str, Any]]:
    """Return both bars of some data folders: bytes over all of them, time of the largest."""
    stored = {name: (rows_in(quotes(root)), *sizes(quotes(root))) for name, root in roots.items()}
    rows, ours, plain = (sum(column) for column in zip(*stored.values(), strict=True))
    each = {
        name: {"rows": n, "bytes_per_row": a / n, "plain_bytes_per_row": b / n, "ratio": a / b}
        for name, (n, a, b) in stored.items()
    }
    largest = roots[max(stored, key=lambda name: stored[name][0])]
    return [
        bar(
            f"bytes_of_plain_floats_{what}",
            ours / plain,
            limit=BYTES_MAX,
            n=rows,
            bytes_per_row=ours / rows,
            plain_bytes_per_row=plain / rows,
            each=each,
        ),
        read_bar(what, largest),
    ]


def quotes(root: Path) -> list[Path]:
    """Return the quote files of all underlyings, by name."""
    archive = Archive(root)
    return [
        file.path
        for underlying in archive.underlyings()
        for file in archive.files(QuoteSnapshot, underlying, end_ns=TIME_MAX_NS)
    ]


def rows_in(paths: Iterable[Path]) -> int:
    """Count rows."""
    return sum(int(pq.read_metadata(path).num_rows) for path in paths)


def sizes(paths: Iterable[Path]) -> tuple[int, int]:
    """Return the bytes of the files, and of the plain form of the same events."""
    ours = plain = 0
    for path in paths:
        ours += path.stat().st_size
        sink = io.BytesIO()
        frame = plain_frame(pq.ParquetFile(path).read())
        frame.to_parquet(sink, compression="zstd", compression_level=3, index=False)
        plain += sink.tell()
    return ours, plain


def plain_frame(table: pa.Table) -> pd.DataFrame:
    """Return the events as a user of pandas would hold them."""
    frame: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if name == "id":
            frame[name] = [value.hex() for value in column.to_pylist()]
        elif name in SCALES:
            levels = level_matrix(column)
            values = np.where(levels == ABSENT, np.nan, levels / SCALES[name])
            for place in range(values.shape[1]):
                frame[f"{name[:-3]}_{place + 1}"] = values[:, place]
        elif name == "last_price_e4":
            frame["last_price"] = column.to_pandas().astype(float) / 1e4
        else:
            frame[name] = column.to_pandas()
    return pd.DataFrame(frame)


def read_bar(what: str, root: Path) -> dict[str, Any]:
    """Time the newest tenth of the rows of the first underlying, both ways."""
    archive = Archive(root)
    underlying = archive.underlyings()[0]
    ts_ns = archive.table(QuoteSnapshot, underlying=underlying)["ts_ns"].to_numpy()
    start_ns = int(ts_ns[int(len(ts_ns) * (1 - SHARE_READ))])
    files = archive.files(QuoteSnapshot, underlying, start_ns=start_ns, end_ns=TIME_MAX_NS)
    paths = [str(file.path) for file in files]
    names = ["ts_ns", "seq", "id", *READ_COLUMNS]

    def ours() -> pa.Table:
        return archive.table(
            QuoteSnapshot, start_ns=start_ns, underlying=underlying, names=READ_COLUMNS
        )

    def bare() -> pa.Table:
        return ds.dataset(paths).to_table(columns=names, filter=ds.field("ts_ns") >= start_ns)

    if not ours().sort_by("id").equals(bare().cast(ours().schema).sort_by("id")):
        raise SystemExit("the two readings differ")
    interleaved([ours, bare], rounds=3)
    times = interleaved([ours, bare], rounds=ROUNDS)
    median, p99 = ([f(t) * 1e3 for t in times] for f in (statistics.median, max))
    return bar(
        f"read_last_tenth_of_bare_scan_{what}",
        ratio(*times),
        limit=TIME_MAX,
        n=len(ours()),
        files=len(files),
        columns=len(names),
        median_ms={"archive": median[0], "bare": median[1]},
        max_ms={"archive": p99[0], "bare": p99[1]},
    )


if __name__ == "__main__":
    main()
