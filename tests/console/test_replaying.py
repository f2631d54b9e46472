"""Replay: same digests twice, in halves, after SIGKILL, with and without an output folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from libs.common.settings import Settings
from services.console import training
from services.console.offline import newest_ns
from services.console.output import parse_time
from services.console.replaying import ReplayRequest, run_replay
from services.console.verification import verify
from services.trainer import serving

ROOT = Path(__file__).parent.parent.parent
MIDDLE_NS = parse_time("2026-06-01T13:37:11Z")


def digests(root: Path, **request: Any) -> dict[str, Any]:
    result = run_replay(root, ReplayRequest(**request), Settings(_env_file=None))
    events: dict[str, Any] = result["events"]
    return events


@pytest.fixture(scope="module")
def traded(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world with a model that was activated halfway, so that there are trades to replay."""
    import shutil

    root = tmp_path_factory.mktemp("traded") / "data"
    shutil.copytree(world, root)
    _, trained = training.run_train(root, series=None, end_ns=MIDDLE_NS, cause="test")
    serving.activate(
        root, trained["bundle"], reason="test", overrides_gate=True, ts_ns=newest_ns(root)
    )
    move_activation(root)
    return root


def move_activation(root: Path) -> None:
    """Activations belong to the newest instant; for these tests one at six in the morning."""
    from libs.common import bundle, keys
    from libs.common.events import ModelEvent, event_id
    from libs.common.stream_writer import StreamWriter

    current = bundle.read_current(root)
    assert current is not None
    event = ModelEvent(
        ts_ns=parse_time("2026-06-01T06:00:00Z") or 0,
        id=event_id("test", current.bundle),
        bundle=current.bundle,
        action="activated",
        reason="test",
        cause="test",
        generation=current.generation + 1,
    )
    StreamWriter(root, writer="trainer", kind="models", underlying="control").append([event])
    bundle.write_current(root, keys.signing_key(root), bundle_id=current.bundle, reason="test")


@pytest.fixture(scope="module")
def whole(traded: Path) -> dict[str, Any]:
    return digests(traded)


def test_replaying_twice_gives_the_same_digests(traded: Path, whole: dict[str, Any]) -> None:
    assert digests(traded) == whole
    # What is compared must be there to compare: forecasts of two bundles, and orders.
    assert whole["forecasts"]["count"] > 1_000
    assert whole["orders"]["count"] > 100


def test_output_folder_holds_what_was_hashed_and_verifies(
    traded: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    assert digests(traded, out=tmp_path / "o") == whole
    verdict = verify(tmp_path / "o")
    assert verdict.ok, verdict.fault
    assert verdict.checked.archive > 0


@pytest.mark.parametrize("split", ["2026-06-01T00:00:01Z", "2026-06-01T13:37:11Z"])
def test_two_halves_equal_the_whole(
    traded: Path, whole: dict[str, Any], tmp_path: Path, split: str
) -> None:
    digests(traded, out=tmp_path / "o", end_ns=parse_time(split))
    assert digests(traded, resume=tmp_path / "o") == whole


def test_resuming_a_finished_output_changes_nothing(
    traded: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    digests(traded, out=tmp_path / "o")
    assert digests(traded, resume=tmp_path / "o") == whole


@pytest.mark.parametrize("after_s", [0.4, 0.9, 1.6])
def test_a_killed_run_continues_to_the_same_digests(
    traded: Path, whole: dict[str, Any], tmp_path: Path, after_s: float
) -> None:
    out = tmp_path / "o"
    command = [sys.executable, "-m", "services.console", "replay", "--data", str(traded)]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not out.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert digests(traded, resume=out) == whole


def test_replay_leaves_the_archive_as_it_is(traded: Path, tmp_path: Path) -> None:
    def listing() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(traded.rglob("*")) if p.is_file()}

    before = listing()
    digests(traded, out=tmp_path / "o")
    assert listing() == before


def test_the_named_bundle_overrides_the_recorded_ones(traded: Path, whole: dict[str, Any]) -> None:
    base = digests(traded, bundle_id="base")
    assert base["features"] == whole["features"]
    assert base["forecasts"]["sha256"] != whole["forecasts"]["sha256"]


def test_a_later_start_gives_the_tail_of_the_features(traded: Path, tmp_path: Path) -> None:
    from libs.common.archive import TIME_MAX_NS, Archive
    from libs.common.events import FeatureRow, Forecast, body

    digests(traded, out=tmp_path / "all")
    digests(traded, out=tmp_path / "tail", start_ns=MIDDLE_NS)
    for kind in (FeatureRow, Forecast):
        whole = [
            body(e)
            for e in Archive(tmp_path / "all").scan({kind: MIDDLE_NS or 0}, end_ns=TIME_MAX_NS)
        ]
        tail = [body(e) for e in Archive(tmp_path / "tail").scan({kind: 0}, end_ns=TIME_MAX_NS)]
        assert tail == whole
        assert tail


@pytest.mark.parametrize("cut", ["2026-06-01T00:00:30Z", "2026-06-01T09:41:13Z"])
def test_a_recording_without_its_future_gives_the_same_past(
    world: Path, tmp_path: Path, cut: str
) -> None:
    from services.collector.recording import import_recording

    cut_ns = parse_time(cut) or 0
    truncate(world.parent / "recording", tmp_path / "recording", cut_ns)
    import_recording(tmp_path / "recording", tmp_path / "data")
    past = digests(tmp_path / "data", end_ns=cut_ns)
    assert past == digests(world, end_ns=cut_ns)
    assert past["features"]["count"] > 0


def truncate(source: Path, target: Path, cut_ns: int) -> None:
    """Copy a recording as it would have been at `cut_ns`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    target.mkdir()
    for name in ("quotes", "spot"):
        table = pq.read_table(source / f"{name}.parquet")
        pq.write_table(table.filter(pc.less(table["ts_ns"], cut_ns)), target / f"{name}.parquet")
    markets = pq.read_table(source / "markets.parquet")
    rows = [row for row in markets.to_pylist() if row["open_ns"] < cut_ns]
    for row in rows:
        if row["strike_known_ns"] is not None and row["strike_known_ns"] >= cut_ns:
            row["strike_usd"] = None
        if row["result_known_ns"] is not None and row["result_known_ns"] >= cut_ns:
            row["result"] = row["settlement_usd"] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=markets.schema), target / "markets.parquet")
