"""SIGKILL at every named step of every write, and at random instants of an import.

A child writes, says what is done, and dies at a step. The folder it leaves must be whole: every
file readable and in its manifest, nothing acknowledged lost, nothing twice, `current` naming a
complete bundle. And the same work done again must end in the very bytes of a run that nobody
killed, with nothing left lying about.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from libs.common import bundle, keys
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.audit import verify_chain
from libs.common.checkpoint import read_checkpoint
from libs.common.durable import TEMPORARY_PREFIX
from libs.common.events import Skip
from libs.common.journal import read_journal
from libs.common.sealing import hash_file, read_manifest
from services.console.verification import verify
from tests.collector import folders
from tests.common.samples import T0_NS
from tests.scenarios.jobs import MINUTES, SNAPSHOTS, batch_at

STEPS_MAX = 45
RANDOM_KILLS = 30
KILLS_IN_A_ROW = 3
KILLED = 9


class Server:
    """The process that forks the children."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.scenarios.jobs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: str, root: Path, *, nth: int = 0, delay_ms: int = 0) -> int:
        """Run `job` in a child and return its wait status."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{job} {root} {nth} {delay_ms}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def fresh(self, job: str) -> Path:
        """Return an empty data folder; bundles are signed by one key, so that bytes compare."""
        root = self.folder / f"{job}.{len(list(self.folder.iterdir()))}"
        if job == "publish":
            shutil.copytree(self.folder / "template", root)
        return root


MEMORY = Path("/dev/shm")
"""A kill spares the page cache, so a disk would only make the many syncs of this file slow."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hawk-kill-", dir=place) as folder:
        yield from serving(Path(folder))


def serving(folder: Path) -> Iterator[Server]:
    """Write recordings and a key to compare by, and run the server beside them."""
    keys.signing_key(folder / "template")
    markets = [
        folders.market(f"M-{n}", open_ns=open_ns, close_ns=open_ns + HOUR_NS)
        for n, open_ns in enumerate((T0_NS, T0_NS + HOUR_NS))
    ]
    quotes = [
        folders.quote(0, ts_ns=T0_NS + n * HOUR_NS + s * folders.S, market=f"M-{n}")
        for n in range(2)
        for s in range(0, 3600, 50)
    ]
    spots = [folders.spot(0, ts_ns=quote["ts_ns"]) for quote in quotes]
    cut = len(quotes) // 3
    folders.write(folder / "whole", markets=markets, quotes=quotes, spots=spots)
    folders.write(folder / "early", markets=markets, quotes=quotes[: 2 * cut], spots=spots[:cut])
    folders.write(folder / "late", markets=markets, quotes=quotes[cut:], spots=spots[cut:])
    made = Server(folder)
    yield made
    assert made.process.stdin
    made.process.stdin.close()
    assert made.process.wait() == 0


def content(root: Path) -> dict[str, str]:
    """Hash everything but locks; a temporary file is a difference."""
    paths = [p for p in sorted(root.rglob("*")) if p.is_file() and "locks" not in p.parts]
    return {str(p.relative_to(root)): hash_file(p) for p in paths}


def is_whole(root: Path) -> None:
    """Every sealed file is readable and what its manifest says, every journal is readable."""
    for path in root.rglob("*.parquet"):
        if path.name.startswith(TEMPORARY_PREFIX):
            continue
        rows = pq.ParquetFile(path).read().num_rows
        fact = read_manifest(path.parent).files[path.name]
        assert hash_file(path) in (fact.sha256, fact.pending), path
        assert rows == fact.rows or fact.pending
    for path in root.rglob("*.journal"):
        read_journal(path)


def acks(root: Path) -> list[str]:
    """Return what any run in this folder said was done, each once, in order."""
    path = Path(f"{root}.acks")
    return list(dict.fromkeys(path.read_text().splitlines() if path.exists() else []))


def check_snapshots(root: Path, acknowledged: list[str]) -> None:
    found = [event.id for event in Archive(root).scan(SNAPSHOTS, end_ns=TIME_MAX_NS)]
    assert len(set(found)) == len(found)
    assert {ack for ack in acknowledged if len(ack) == 16} <= set(found)


def check_publish(root: Path, acknowledged: list[str]) -> None:
    for ack in acknowledged:
        bundle.load_bundle(root, ack.split()[1])
    for bundle_id in bundle.bundle_ids(root):
        bundle.load_bundle(root, bundle_id)
    current = bundle.read_current(root)
    assert (current.generation if current else 0) >= len(acknowledged)
    if current:
        assert current.bundle in bundle.bundle_ids(root)


def check_checkpoints(root: Path, acknowledged: list[str]) -> None:
    kept = read_checkpoint(root)
    made = list(Archive(root).scan({Skip: 0}, end_ns=TIME_MAX_NS))
    assert len({event.id for event in made}) == len(made) >= len(acknowledged)
    if acknowledged:
        assert kept is not None
        assert kept.tick_ns >= T0_NS + max(map(int, acknowledged)) * HOUR_NS // 2
    if kept is not None:
        assert len([e for e in made if e.ts_ns <= kept.tick_ns]) * HOUR_NS // 2 == (
            kept.tick_ns - T0_NS + HOUR_NS // 2
        )


def check_keys(root: Path, acknowledged: list[str]) -> None:
    if acknowledged:
        assert keys.public_key(root).public_bytes_raw().hex() == acknowledged[0]
        assert len(acknowledged) == 1


def check_audits(root: Path, acknowledged: list[str]) -> None:
    assert verify_chain(root) >= len(acknowledged)


CHECKS = {
    "journal": check_snapshots,
    "imports": check_snapshots,
    "merges": check_snapshots,
    "publish": check_publish,
    "checkpoints": check_checkpoints,
    "make_keys": check_keys,
    "audits": check_audits,
}


def check(job: str, root: Path) -> None:
    """Hold a folder to everything that must be true of it at any instant."""
    if not root.exists():
        assert acks(root) == []
        return
    is_whole(root)
    CHECKS[job](root, acks(root))
    # The ledger of checkpoints and the audit lines of audits are stand-ins, and a folder that was
    # killed before its first row has no archive to verify.
    if job not in ("checkpoints", "audits") and (root / "archive").is_dir():
        verdict = verify(root)
        assert verdict.ok, verdict.fault


def chosen(steps: list[str]) -> list[int]:
    """Return which steps to die at, from 1: all, or the first, middle and last of each name."""
    if len(steps) <= STEPS_MAX:
        return list(range(1, len(steps) + 1))
    found: set[int] = set()
    for name in sorted(set(steps)):
        places = [i for i, step in enumerate(steps, 1) if step == name]
        found |= {places[0], places[len(places) // 2], places[-1]}
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("job", CHECKS)
def test_a_kill_at_any_step_loses_nothing_and_the_work_can_be_done_again(
    server: Server, job: str
) -> None:
    whole = server.fresh(job)
    assert server.run(job, whole) == 0
    check(job, whole)
    steps = Path(f"{whole}.steps").read_text().splitlines()
    expected = content(whole)
    for nth in chosen(steps):
        root = server.fresh(job)
        assert server.run(job, root, nth=nth) == KILLED, steps[nth - 1]
        check(job, root)
        assert server.run(job, root) == 0, steps[nth - 1]
        check(job, root)
        if job == "make_keys":
            assert sorted(content(root)) == sorted(expected)
        elif job != "journal":
            assert content(root) == expected, steps[nth - 1]
        else:
            check_journal_ended(root)


def check_journal_ended(root: Path) -> None:
    """Every event once, counters strictly rising in each hour, nothing left but sealed files."""
    found = list(Archive(root).scan(SNAPSHOTS, end_ns=TIME_MAX_NS))
    assert {e.id for e in found} == {e.id for minute in MINUTES for e in batch_at(minute)}
    numbers = [event.seq for event in found]
    assert len(set(numbers)) == len(numbers)
    assert not list(root.rglob("*.journal"))
    assert not list(root.rglob(f"{TEMPORARY_PREFIX}*"))
    # A tick per batch is counted and not sealed; a batch cut in two by the kill has two.
    (last,) = [int(ack.split()[1]) for ack in acks(root) if ack.startswith("counted")][-1:]
    assert len(found) + len(MINUTES) <= last <= len(found) + len(MINUTES) + 1


@pytest.mark.parametrize("job", CHECKS)
def test_every_job_announces_its_steps(server: Server, job: str) -> None:
    root = server.fresh(job)
    assert server.run(job, root) == 0
    steps = set(Path(f"{root}.steps").read_text().splitlines())
    expected = {
        "journal": {"journal.after_write", "journal.after_fsync", "seal.before_remove"},
        "imports": {"seal.before_manifest", "manifest.after_rename", "seal.after_fsync"},
        "merges": {"seal.after_rename"},
        "publish": {"publish.after_write", "publish.after_rename", "current.after_fsync"},
        "checkpoints": {"checkpoint.after_rename", "counter.after_rename"},
        "make_keys": {"keys.after_rename"},
        "audits": {"audit.after_write", "audit.after_fsync"},
    }
    assert expected[job] <= steps


@pytest.mark.slow
def test_a_kill_at_a_random_instant_of_an_import_loses_nothing(server: Server) -> None:
    whole = server.fresh("merges")
    began_s = time.monotonic()
    assert server.run("merges", whole) == 0
    lasts_ms = int((time.monotonic() - began_s) * 1000)
    expected = content(whole)
    chance = random.Random(11)
    killed = 0
    for _ in range(RANDOM_KILLS // KILLS_IN_A_ROW):
        root = server.fresh("merges")
        for _ in range(KILLS_IN_A_ROW):  # killed again while it repairs what the kill before left
            delay_ms = chance.randrange(1, max(2, lasts_ms))
            killed += server.run("merges", root, delay_ms=delay_ms) == KILLED
            check("merges", root)
        assert server.run("merges", root) == 0
        check("merges", root)
        assert content(root) == expected
    assert killed
