"""A run as a process: it answers, it is refused with a reason, and it can be killed at any time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from libs.common import audit, bundle, durable
from libs.common.archive import Archive
from libs.common.checks import UnavailableError
from libs.common.events import Tick
from libs.common.stream_writer import StreamWriter
from services.collector.recording import import_recording
from services.simulator.recording import Setup, write_simulation
from services.trainer import candidates, publish
from services.trainer.job import STOP_S, Job, Result, newest_ns
from tests.redis_server import wait_until

RUN_S_MAX = 60.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of one underlying: a verdict in a second or two."""
    folder = tmp_path_factory.mktemp("world")
    setup = Setup(days=1, seed=3, interval_s=60, edge=1.0, underlyings=("BTC-USD",))
    write_simulation(folder / "recording", setup)
    import_recording(folder / "recording", folder / "data")
    return folder / "data"


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    shutil.copytree(world, tmp_path / "data")
    return tmp_path / "data"


def ended(job: Job) -> Result:
    found: list[Result] = []

    def look() -> bool:
        result = job.result()
        if result is not None:
            found.append(result)
        return bool(found)

    wait_until(look, "the run ends", seconds=RUN_S_MAX)
    return found[0]


def has_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_answers_with_its_figures_and_what_it_cost(root: Path) -> None:
    end_ns = newest_ns(root)
    result = ended(Job(root, cause="schedule", end_ns=end_ns))
    assert result.fault is None and result.figures is not None
    assert result.figures["verdict"] == "rejected"
    assert "too little evidence" in result.figures["reason"]
    assert result.figures["rss_mb_max"] > 50 and result.figures["seconds"] > 0
    verdict = publish.verdicts(root)[-1]
    # It became known now, not when its data ended.
    assert (verdict.cause, verdict.ts_ns) == ("schedule", newest_ns(root))
    assert not candidates.run_folder(root).exists()


def test_a_damaged_sealed_file_is_named_and_nothing_is_judged(root: Path) -> None:
    path = next(root.glob("archive/quote_snapshot/*/*/*.parquet"))
    # It can be read, and is not what was sealed: only its hash tells.
    pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    result = ended(Job(root, cause="schedule", end_ns=newest_ns(root)))
    assert result.figures is None and str(path) in (result.fault or "")
    assert publish.verdicts(root) == []


def test_a_second_run_is_refused_with_the_reason(root: Path) -> None:
    with durable.writer_lock(root, candidates.RUN_LOCK):
        result = ended(Job(root, cause="schedule", end_ns=newest_ns(root)))
    assert "another process is writing as training" in (result.fault or "")


def test_a_run_that_was_killed_says_so(root: Path) -> None:
    job = Job(root, cause="schedule", end_ns=newest_ns(root))
    os.kill(job.pid, signal.SIGKILL)
    assert "SIGKILL" in (ended(job).fault or "")


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_no_half_publication(root: Path) -> None:
    """At delays spread over the whole of a run, its publication included."""
    began_s = time.monotonic()
    ended(Job(root, cause="first", end_ns=newest_ns(root) - 1))
    whole_s = time.monotonic() - began_s
    for number in range(4):
        job = Job(root, cause=f"kill {number}", end_ns=newest_ns(root))
        deadline_s = time.monotonic() + whole_s * (0.6 + number * 0.12)
        wait_until(lambda until=deadline_s: time.monotonic() > until, "the moment")  # type: ignore[misc]
        began_s = time.monotonic()
        job.stop()
        assert time.monotonic() - began_s < STOP_S + 1
        wait_until(lambda pid=job.pid: not has_group(pid), "nothing is left")  # type: ignore[misc]
        with publish.publishing(root):
            assert audit.verify_chain(root) == len(publish.model_events(root))
        for bundle_id in bundle.bundle_ids(root):
            bundle.load_bundle(root, bundle_id)
    assert ended(Job(root, cause="last", end_ns=newest_ns(root))).fault is None


def test_a_run_whose_service_was_killed_goes_with_it(root: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from services.trainer.job import Job\n"
        "job = Job(Path(sys.argv[1]), cause='orphan', end_ns=int(sys.argv[2]))\n"
        "print(job.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root), str(newest_ns(root))], stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        lock = root / "locks/training.lock"
        wait_until(lock.exists, "the run holds its lock")
        service.kill()
        wait_until(lambda: not has_group(pid), "the run goes with its service")
    with durable.writer_lock(root, candidates.RUN_LOCK):
        assert publish.verdicts(root) == []


def test_the_newest_instant_is_the_last_tick_while_the_collector_runs(root: Path) -> None:
    span = Archive(root).span_ns()
    assert span is not None and newest_ns(root) == span[1]
    tick = Tick(ts_ns=span[1] + 7, id="0" * 16, underlying="BTC-USD")
    StreamWriter(root, writer="collector", kind="snapshots", underlying="BTC-USD").append([tick])
    assert newest_ns(root) == span[1] + 7


def test_an_empty_archive_has_no_newest_instant(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="empty archive"):
        newest_ns(tmp_path)
    assert Archive(tmp_path).underlyings() == []
