"""`hawk verify`: can the archive prove what it says? Nothing is changed, the first fault is named.

Every sealed file against its manifest (rows, SHA-256) and readable to the last page, every journal
frame against its CRC, the audit chain against itself, the current bundle against its signature, the
ledger against the orders, fills and settlements it was made from.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from libs.common import audit, bundle, durable, journal, sealing
from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.checkpoint import CHECKPOINT_FILE, read_checkpoint
from libs.common.checks import ArchiveError, HawkError
from libs.common.events import Event, Fill, Order, Settlement
from libs.common.manifests import manifest_folders, require_promise
from services.trader.engine import TraderEngine
from services.trader.ledger import Ledger
from services.trader.limits import TraderSettings
from services.trainer import publish


class Checked(msgspec.Struct):
    """How many files, journals, audit lines and ledger events were found to be right."""

    archive: int = 0
    journals: int = 0
    audit: int = 0
    ledger: int = 0


class Verdict(msgspec.Struct):
    """What `hawk verify` answers."""

    ok: bool
    fault: str | None
    checked: Checked


def verify(root: Path) -> Verdict:
    """Check the data folder `root`; a fault is in the verdict, not raised."""
    checked = Checked()
    try:
        if not (root / "archive").is_dir():
            raise ArchiveError(f"{root} has no archive: name a data folder with --data")
        # Journals first: one that is sealed meanwhile is then looked at as a file of its day.
        for path in sorted(root.glob("archive/journal/*/*/underlying=*/*.journal")):
            checked.journals += _verify_journal(path)
        for folder in sorted({path.parent for path in _sealed(root)} | set(manifest_folders(root))):
            checked.archive += _twice_at_most(folder)
        checked.audit = audit.verify_chain(root)
        _verify_model_events(root)
        _verify_current(root)
        checked.ledger = _verify_ledger(root)
    except HawkError as error:
        return Verdict(ok=False, fault=str(error), checked=checked)
    return Verdict(ok=True, fault=None, checked=checked)


def _sealed(root: Path) -> Iterator[Path]:
    return root.glob("archive/*/underlying=*/date=*/*.parquet")


def _verify_journal(path: Path) -> int:
    """Read one journal; 0 if it was sealed between our listing and our reading."""
    try:
        journal.read_journal(path)
    except ArchiveError:
        if path.exists():
            raise
        return 0
    return 1


def _twice_at_most(folder: Path) -> int:
    """Check a day, once more if it does not fit: a writer may be replacing file and manifest."""
    try:
        return _verify_day(folder)
    except ArchiveError:
        return _verify_day(folder)


def _verify_day(folder: Path) -> int:
    """Check one day's files of one kind against their manifest; return how many."""
    facts = sealing.read_manifest(folder).files
    present = {
        path.name: path
        for path in sorted(folder.glob("*.parquet"))
        if not path.name.startswith(durable.TEMPORARY_PREFIX)
    }
    for name, path in present.items():
        if name not in facts:
            raise ArchiveError(f"{path} is not in its manifest: it was put there by something else")
        _verify_file(path, facts[name])
    for name, fact in facts.items():
        if name not in present:
            require_promise(folder / name, fact)
    return len(present)


def _verify_file(path: Path, fact: sealing.FileFact) -> None:
    digest = sealing.hash_file(path)
    if digest not in (fact.sha256, fact.pending):
        raise ArchiveError(f"{path} is not the file that was sealed (SHA-256): restore it")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(f"cannot read {path}: {str(error).splitlines()[0][:160]}") from error
    if digest == fact.sha256 and table.num_rows != fact.rows:
        raise ArchiveError(f"{path} has {table.num_rows} rows, its manifest says {fact.rows}")


def _verify_model_events(root: Path) -> None:
    """Hold the audit chain and the archive's model events against each other.

    A kill can leave the last change without its lines (a swap has one per underlying); nothing can
    leave a line without its event.
    """
    events = publish.model_events(root)
    chained = audit.recorded_ids(root)
    lost = sorted(chained - {event.id for event in events})
    if lost:
        raise ArchiveError(
            f"the archive lacks model event {lost[0]}, which the audit chain names: "
            "a journal below archive/journal was cut or removed; restore it from a backup"
        )
    unchained = [event for event in events if event.id not in chained]
    if len({(event.action, event.bundle, event.generation) for event in unchained}) > 1:
        raise ArchiveError(
            f"{root / audit.AUDIT_FILE} lacks {len(unchained)} recorded model events, first "
            f"{unchained[0].id}: lines were removed; compare with a backup"
        )


def _verify_current(root: Path) -> None:
    current = bundle.read_current(root)
    chained = audit.recorded_ids(root)
    proven = [e.generation or 0 for e in publish.activations(root) if e.id in chained]
    # The line is written after the pointer moved: it may lag behind a kill, never run ahead.
    if proven and (current is None or current.generation < proven[-1]):
        raise ArchiveError(
            f"{bundle.models_folder(root) / 'current'} is older than activation {proven[-1]} of "
            "the audit chain: an old pointer was put back; run `hawk models activate` or restore"
        )
    if current is not None:
        bundle.load_bundle(root, current.bundle)


def _verify_ledger(root: Path) -> int:
    """Recompute the ledger from its events and compare it with the checkpoint's, to the unit."""
    checkpoint = read_checkpoint(root)
    if checkpoint is None:
        if any(Archive(root).scan({Order: 0, Fill: 0, Settlement: 0}, end_ns=TIME_MAX_NS)):
            raise ArchiveError(f"ledger {root / CHECKPOINT_FILE} is gone, its orders are not")
        return 0
    engine = TraderEngine(TraderSettings())
    engine.restore(bytes(checkpoint.trader))
    kept = engine.ledger
    types: dict[type[Event], int] = {Order: 0, Fill: 0, Settlement: 0}
    events = list(Archive(root).scan(types, end_ns=checkpoint.tick_ns + 1))
    recomputed = Ledger.from_events(events, capital_e6=kept.capital_e6)
    if recomputed.state() != kept.state():
        raise ArchiveError(
            f"ledger {root / CHECKPOINT_FILE} is not what its {len(events)} events add up "
            "to: stop trading and compare with a backup"
        )
    return len(events)
