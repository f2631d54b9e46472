"""The records of what serves, held against each other and against the disk.

In goes a data folder, out come claims: the audit chain follows from itself and from the archive,
`models/current` says what was recorded, and the files of the bundle that serves are still those
that were signed. Looking costs a few small files; what costs more (the whole chain, the hashes, the
model events of all time) is read again when a file changed, and once in a while because a file that
was tampered with need not look changed.

The bundle is checked as whoever loads it would (`load_bundle`): signature, hashes, structure.
"""

from pathlib import Path

import msgspec

from libs.common import audit, bundle
from libs.common.archive import TIME_MAX_NS, Archive
from libs.common.bundle import Current
from libs.common.checks import ArchiveError, BundleError, ConfigError
from libs.common.events import ModelEvent
from services.monitor.claims import AUDIT_BROKEN, SILENT_SWAP, Claim
from services.monitor.pointer import TwiceSeen, chain_fault, pointer_fault

VERIFY_S = 60.0
"""How often the chain and the served bundle's files are read again if nothing looks changed."""

REREAD_S = 600.0
"""The same for the model events of the archive, of which a year has a thousand small files."""

_Stamp = tuple[int, int, int]


class Records:
    """Looks at one data folder's records; what a look could not decide is left out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.lines = 0
        self._events: list[ModelEvent] = []
        self._chained: set[str] = set()
        self._stamps: dict[str, _Stamp | None] = {}
        self._read_s: dict[str, float] = {}
        self._chain: str | None = None
        self._files: str | None = None
        self._lost, self._pointer = TwiceSeen(), TwiceSeen()

    def look(self, now_s: float) -> list[Claim]:
        """Return what the records say at `now_s` (monotonic)."""
        is_new = self._has_changed("audit", self._root / audit.AUDIT_FILE)
        try:
            if self._is_due("chain", now_s, VERIFY_S, is_new=is_new):
                self._chain = self._verify_chain()
            if self._chain is None and self._is_due("events", now_s, REREAD_S, is_new=is_new):
                # The chain first: an event stands in the archive before its line is written.
                self._chained = audit.recorded_ids(self._root)
                self._events = model_events(self._root)
        except (ArchiveError, msgspec.DecodeError) as error:
            self._chain = str(error)
            self._read_s.clear()
        return [*self._audit_claims(), *self._swap_claims(now_s)]

    def _audit_claims(self) -> list[Claim]:
        fault = self._chain or self._lost.confirmed(chain_fault(self._events, self._chained))
        return _claims(AUDIT_BROKEN, fault, self._lost, f"{self.lines} lines follow")

    def _swap_claims(self, now_s: float) -> list[Claim]:
        path = bundle.models_folder(self._root) / "current"
        is_new = self._has_changed("current", path)
        try:
            current = bundle.read_current(self._root)
        except (BundleError, ConfigError) as error:
            return [Claim(SILENT_SWAP, True, str(error))]
        if self._is_due("files", now_s, VERIFY_S, is_new=is_new):
            self._files = self._files_fault(current)
        fault = self._pointer.confirmed(pointer_fault(current, self._events, self._chained))
        serving = current.bundle if current else bundle.BASE
        return _claims(SILENT_SWAP, self._files or fault, self._pointer, f"{serving} is recorded")

    def _files_fault(self, current: Current | None) -> str | None:
        try:
            if current is not None:
                bundle.load_bundle(self._root, current.bundle)
        except (BundleError, ConfigError) as error:
            return str(error)
        return None

    def _verify_chain(self) -> str | None:
        try:
            self.lines = audit.verify_chain(self._root)
        except ArchiveError as error:
            return str(error)
        return None

    def _has_changed(self, what: str, path: Path) -> bool:
        try:
            facts = path.stat()
        except OSError:
            stamp = None
        else:
            stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        before, self._stamps[what] = self._stamps.get(what), stamp
        return before != stamp

    def _is_due(self, what: str, now_s: float, every_s: float, *, is_new: bool) -> bool:
        is_due = is_new or now_s - self._read_s.get(what, -every_s) >= every_s
        if is_due:
            self._read_s[what] = now_s
        return is_due


def model_events(root: Path, *, start_ns: int = 0) -> list[ModelEvent]:
    """Return the recorded model events from `start_ns` on, in order."""
    found = Archive(root).scan({ModelEvent: start_ns}, end_ns=TIME_MAX_NS)
    return [event for event in found if isinstance(event, ModelEvent)]


def _claims(rule: str, fault: str | None, twice: TwiceSeen, well: str) -> list[Claim]:
    if fault is not None:
        return [Claim(rule, True, fault)]
    return [] if twice.is_waiting else [Claim(rule, False, well)]
