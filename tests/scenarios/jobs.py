"""The writing jobs that the kill scenarios interrupt, and the server that runs them to their death.

`python -m tests.scenarios.jobs` reads lines `job folder nth delay_ms`, runs each job in a forked
child that kills itself at its nth step (0: never) or is killed after a delay, and answers with the
wait status. What a job has acknowledged stands in `<folder>.acks`, its steps in `<folder>.steps`.
A forked child starts in milliseconds, so that hundreds of kills take a minute.
"""

import os
import sys
import time
from pathlib import Path

from libs.common import bundle, durable, keys, replay
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.audit import append_audit, verify_chain
from libs.common.events import (
    Event,
    Gap,
    Market,
    QuoteSnapshot,
    Resolution,
    Skip,
    SpotSnapshot,
    event_id,
)
from libs.common.model import Formula
from libs.common.stream_writer import StreamWriter
from services.collector.recording import import_recording
from tests.common.samples import T0_NS, model_event, quote, spot, tick
from tests.common.test_bundle import manifest

SNAPSHOTS: dict[type[Event], int] = {
    Market: 0,
    Resolution: 0,
    Gap: 0,
    SpotSnapshot: 0,
    QuoteSnapshot: 0,
}
MINUTES = range(0, 180, 30)


def acknowledge(text: str) -> None:
    """Say, past any buffer, that something is done."""
    os.write(1, f"{text}\n".encode())


def collector(root: Path) -> StreamWriter:
    """Open the snapshots stream."""
    return StreamWriter(root, writer="collector", kind="snapshots", underlying="BTC-USD")


def batch_at(minute: int) -> list[Event]:
    """Return what the collector saw in one minute."""
    at_ns = T0_NS + minute * 60_000_000_000
    return [make(n, ts_ns=at_ns) for n in range(3) for make in (spot, quote)]


def journal(root: Path) -> None:
    """Append batches over three hours and seal what is over; go on where a kill interrupted."""
    writer = collector(root)
    done = {event.id for event in Archive(root).scan(SNAPSHOTS, end_ns=TIME_MAX_NS)}
    for minute in MINUTES:
        batch = batch_at(minute)
        fresh = [event for event in batch if event.id not in done]
        if fresh:
            writer.append([*fresh, tick(3, ts_ns=batch[0].ts_ns)])
        for event in batch:
            acknowledge(event.id)
        writer.seal(batch[0].ts_ns // HOUR_NS * HOUR_NS)
    writer.seal(TIME_MAX_NS)
    acknowledge(f"counted {writer.seq}")


def imports(root: Path) -> None:
    """Import a recording."""
    import_recording(root.parent / "whole", root)
    acknowledge("imported")


def merges(root: Path) -> None:
    """Import two overlapping parts: the second is merged into the files of the first."""
    for part in ("early", "late"):
        import_recording(root.parent / part, root)
        acknowledge(part)


def publish(root: Path) -> None:
    """Publish two bundles and point at each."""
    key = keys.signing_key(root)
    durable.sweep(bundle.models_folder(root))
    for number in (1, 2):
        files = bundle.formula_files(Formula(rung="anchored"), None)
        bundle_id = bundle.write_bundle(root, key, manifest(rung="anchored", rows=number), files)
        current = bundle.read_current(root)
        if current is None or current.generation < number:
            bundle.write_current(root, key, bundle_id=bundle_id, reason=f"number {number}")
        acknowledge(f"{number} {bundle_id}")


def checkpoints(root: Path) -> None:
    """Write a replay's output, a checkpoint every half hour."""
    output = replay._Output(root, ["BTC-USD"], run="test")
    kept = output.recover()
    for number in range(6):
        at_ns = T0_NS + number * HOUR_NS // 2
        if kept is None or at_ns > kept.tick_ns:
            output.append({"orders": [skip(number, at_ns)]})
            output.checkpoint(at_ns, b'{"number":%d}' % number)
        acknowledge(str(number))


def skip(number: int, ts_ns: int) -> Skip:
    """Return a decision not to order."""
    return Skip(
        ts_ns=ts_ns,
        id=event_id("Skip", number),
        strategy="s",
        venue="v",
        market="m",
        underlying="BTC-USD",
        reason="none",
    )


def make_keys(root: Path) -> None:
    """Make keys and say which."""
    acknowledge(keys.signing_key(root).public_key().public_bytes_raw().hex())


def audits(root: Path) -> None:
    """Append to the chain, once per event."""
    for number in range(verify_chain(root), 5):
        append_audit(root, model_event(number))
        acknowledge(str(number))


JOBS = {
    job.__name__: job for job in (journal, imports, merges, publish, checkpoints, make_keys, audits)
}


def run(name: str, root: Path, nth: int) -> None:
    """Do a job in this process, and die at its step number `nth`."""
    steps: list[str] = []

    def die(step: str) -> None:
        steps.append(step)
        if len(steps) == nth:
            os.kill(os.getpid(), 9)

    durable.on_step = die
    acks = os.open(f"{root}.acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(acks, 1)
    JOBS[name](root)
    Path(f"{root}.steps").write_text("\n".join(steps))


def serve() -> None:
    """Run the jobs that standard input asks for, one after another."""
    for line in sys.stdin:
        name, root, nth, delay_ms = line.split()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(name, Path(root), int(nth))
                status = 0
            finally:
                os._exit(status)
        if int(delay_ms):
            time.sleep(int(delay_ms) / 1000)
            os.kill(child, 9)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
