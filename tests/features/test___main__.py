"""The rows that another service gets through a file are the rows, bit for bit."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from libs.common.archive import Archive
from libs.common.events import Market, QuoteSnapshot, SpotSnapshot
from libs.common.rows import FEATURE_SET_KEY
from services.collector.recording import import_recording
from services.features.__main__ import write_rows
from services.features.batch import build_rows
from services.simulator.recording import Setup, write_simulation


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    setup = Setup(days=1, seed=3, interval_s=300, underlyings=("BTC-USD", "ETH-USD"))
    write_simulation(folder / "recording", setup)
    import_recording(folder / "recording", folder / "data")
    return folder / "data"


def made(root: Path, end_ns: int) -> pa.Table:
    archive = Archive(root)
    tables = (archive.table(kind, end_ns=end_ns) for kind in (Market, SpotSnapshot, QuoteSnapshot))
    return build_rows(*tables)


def test_the_file_holds_the_rows_of_what_was_known_before_the_instant(
    root: Path, tmp_path: Path
) -> None:
    span = Archive(root).span_ns()
    assert span is not None
    end_ns = (span[0] + span[1]) // 2
    path = tmp_path / "new" / "rows.arrow"
    command = [sys.executable, "-m", "services.features", "rows"]
    options = ["--data", str(root), "--to", str(end_ns), "--out", str(path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    expected = made(root, end_ns)
    assert 0 < rows.num_rows == int(done.stdout) < made(root, span[1] + 1).num_rows
    assert rows.equals(expected)
    assert rows.schema.metadata[FEATURE_SET_KEY] == expected.schema.metadata[FEATURE_SET_KEY]
    assert [p.name for p in path.parent.iterdir()] == ["rows.arrow"]


def test_an_empty_archive_gives_an_empty_table(tmp_path: Path) -> None:
    assert write_rows(tmp_path, tmp_path / "rows.arrow", end_ns=1) == 0


def test_a_fault_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    command = [sys.executable, "-m", "services.features", "rows"]
    options = ["--data", str(tmp_path), "--to", "1", "--out", str(blocked / "rows.arrow")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("cannot write") and len(done.stderr.splitlines()) == 1
