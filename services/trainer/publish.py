"""Publication: bundles, verdicts, activation, rollback. The trainer is the only writer here.

Order is the decision to question. A bundle is whole on disk before anything names it; a verdict and
an activation are journalled (the archive is the truth) before the pointer moves, and the audit line
is written last. A kill between two steps leaves a prefix of that order, and `reconcile`, run
before every write, completes it: `current` always names a whole bundle, and every change that took
effect has its event and its audit line.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.common import audit, bundle, durable, keys
from libs.common.archive import HOUR_NS, TIME_MAX_NS, Archive
from libs.common.bundle import BASE, Current
from libs.common.checks import BundleError, UnavailableError
from libs.common.events import ModelEvent, event_id, set_seq
from libs.common.stream_writer import StreamWriter
from libs.common.streams import CONTROL

WRITER = "trainer"
LOCK_S_MAX = 10.0
"""How long a publisher waits for another: each needs well under a second."""

LOCK_PAUSE_S = 0.05


@dataclass(frozen=True)
class Change:
    """A verdict or an activation to be recorded; `ts_ns` is the archive's time, `wall_ns` ours."""

    bundle_id: str
    reason: str
    cause: str
    ts_ns: int
    wall_ns: int


@contextmanager
def publishing(root: Path) -> Iterator[None]:
    """Hold the trainer's role, in a folder where nothing is half done.

    Raises `UnavailableError` if another process keeps the role for LOCK_S_MAX.
    """
    with ExitStack() as held:
        deadline_s = time.monotonic() + LOCK_S_MAX
        while True:
            try:
                held.enter_context(durable.writer_lock(root, WRITER))
                break
            except UnavailableError:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(LOCK_PAUSE_S)
        reconcile(root)
        yield


def model_events(root: Path) -> list[ModelEvent]:
    """Return all recorded model events, in order."""
    found = Archive(root).scan({ModelEvent: 0}, end_ns=TIME_MAX_NS)
    return [event for event in found if isinstance(event, ModelEvent)]


def verdicts(root: Path) -> list[ModelEvent]:
    """Return the gate's recorded verdicts, in order."""
    return [e for e in model_events(root) if e.action in ("accepted", "rejected")]


def activations(root: Path) -> list[ModelEvent]:
    """Return the recorded changes of what is served, by generation."""
    events = [e for e in model_events(root) if e.action in ("activated", "rolled_back")]
    return sorted(events, key=lambda e: e.generation or 0)


def record_verdict(
    root: Path,
    change: Change,
    *,
    is_accepted: bool,
    fingerprint: str,
    route: str | None,
    scores: Mapping[str, float | None],
) -> ModelEvent:
    """Record a candidate's verdict, accepted or rejected, in the archive and the audit chain."""
    action = "accepted" if is_accepted else "rejected"
    event = ModelEvent(
        ts_ns=change.ts_ns,
        id=event_id("ModelEvent", action, change.bundle_id, fingerprint, change.ts_ns),
        bundle=change.bundle_id,
        action="accepted" if is_accepted else "rejected",
        reason=change.reason,
        cause=change.cause,
        scores=dict(scores),
        fingerprint=fingerprint,
        route=route,
        wall_ns=change.wall_ns,
    )
    _record(root, event)
    return event


def activate(root: Path, change: Change, *, is_rollback: bool = False) -> Current:
    """Serve `change.bundle_id` from now on; raise `BundleError` if it cannot be verified."""
    reconcile(root)
    bundle.load_bundle(root, change.bundle_id)
    before = bundle.read_current(root)
    generation = before.generation + 1 if before else 1
    action = "rolled_back" if is_rollback else "activated"
    event = ModelEvent(
        ts_ns=change.ts_ns,
        id=event_id("ModelEvent", action, change.bundle_id, generation),
        bundle=change.bundle_id,
        action="rolled_back" if is_rollback else "activated",
        reason=change.reason,
        cause=change.cause,
        generation=generation,
        wall_ns=change.wall_ns,
    )
    _journal(root, event)
    current = _point(root, event)
    # Last, so that an audit line proves that the pointer had moved (`hawk verify` relies on it).
    audit.append_audit(root, event)
    return current


def rollback_target(root: Path) -> str:
    """Return the bundle that served before the current one; the base model before the first."""
    history = activations(root)
    if not history:
        raise BundleError("nothing was ever activated: the base model serves")
    current = history[-1].bundle
    earlier = [event.bundle for event in history if event.bundle != current]
    return earlier[-1] if earlier else BASE


def reconcile(root: Path) -> None:
    """Complete what a kill interrupted: the pointer of the last activation, missing audit lines."""
    history = activations(root)
    current = bundle.read_current(root)
    if history and (current is None or current.generation < (history[-1].generation or 0)):
        _point(root, history[-1])
    recorded = audit.recorded_ids(root)
    for event in model_events(root):
        if event.id not in recorded:
            audit.append_audit(root, event)


def _point(root: Path, event: ModelEvent) -> Current:
    key = keys.signing_key(root)
    # The recorded generation, not one more than the pointer's: the pointer may have been lost.
    return bundle.write_current(
        root, key, bundle_id=event.bundle, reason=event.reason, generation=event.generation
    )


def _record(root: Path, event: ModelEvent) -> None:
    """Journal `event` and chain it; once, however often it is called."""
    if _journal(root, event):
        audit.append_audit(root, event)


def _journal(root: Path, event: ModelEvent) -> bool:
    """Journal `event` and seal the hours before it; False if it was journalled before."""
    if any(known.id == event.id for known in model_events(root)):
        return False
    writer = StreamWriter(root, writer=WRITER, kind="models", underlying=CONTROL)
    writer.append([event])
    writer.seal(event.ts_ns // HOUR_NS * HOUR_NS)
    set_seq(event, 0)
    return True
