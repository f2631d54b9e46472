"""Posts what was published: model events that stand in the trainer's journal and not in the stream.

Whoever publishes (a run's process, `hawk models activate` in a shell) writes the journal and does
not need the bus; the live trainer alone posts. It looks at the journal's files each second, and at
the stream's last id, which falls when Redis was flushed or started empty.

A reader would question opening the outbox anew each time. Its writer counts on from what it read at
opening, and it is not the only one who appends; so it is opened under the trainer's lock, flushed
and closed. Posting is a courtesy: `models/current` decides what serves, and readers poll it.
"""

from contextlib import suppress
from pathlib import Path

from libs.common import bundle
from libs.common.backoff import Backoff
from libs.common.checks import BundleError, UnavailableError
from libs.common.context import Context
from libs.common.entry_codec import NO_ENTRY
from libs.common.streams import CONTROL, stream_name
from libs.common.telemetry import log
from services.trainer import publish

BLOCKED = "publication_blocked"
"""The alert that fires while the trainer's records cannot be completed."""

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each journal, and of the pointer where it is gone."""


class Announcer:
    """Keeps the `models` stream up to the trainer's journal."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._name = stream_name("models", CONTROL)
        self._posted: Stamp | None = None
        self._last = NO_ENTRY
        self._backoff = Backoff()
        self._retry_at_s = 0.0

    def step(self, now_s: float) -> None:
        """Post what is missing, if anything changed; a bus that is away is asked again later."""
        if now_s < self._retry_at_s:
            return
        stamp = journal_stamp(self._context.root)
        try:
            if self._has_lost() or stamp != self._posted:
                self._post(stamp)
        except BundleError as error:
            # Nobody may publish over a pointer that was forged; an operator must look.
            self._context.alerts.fire(BLOCKED, severity="page", evidence=str(error))
            self._retry_at_s = now_s + self._backoff.next_s()
        except UnavailableError as error:
            log().debug("models.unposted", reason=str(error))
            self._retry_at_s = now_s + self._backoff.next_s()
        else:
            self._backoff.reset()
            self._context.alerts.resolve(BLOCKED, evidence="model events are posted again")

    def _has_lost(self) -> bool:
        last = self._context.bus.last_id(self._name)
        has_lost, self._last = last < self._last, last
        return has_lost

    def _post(self, stamp: Stamp) -> None:
        self._posted = None
        with publish.publishing(self._context.root):
            outbox = self._context.outbox("models", CONTROL)
            try:
                is_posted = outbox.flush()
            finally:
                outbox.close()
        if not is_posted:
            raise UnavailableError("the bus does not take model events yet")
        self._posted, self._last = stamp, self._context.bus.last_id(self._name)


def journal_stamp(root: Path) -> Stamp:
    """Return what changes whenever the trainer's model events change, or the pointer is lost."""
    folder = root / f"archive/journal/{publish.WRITER}/models/underlying={CONTROL}"
    found: list[tuple[str, int, int]] = []
    for path in sorted(folder.glob("*.journal")):
        with suppress(FileNotFoundError):  # sealed since it was listed
            facts = path.stat()
            found.append((path.name, facts.st_size, facts.st_mtime_ns))
    if found and not (bundle.models_folder(root) / "current").exists():
        found.append(("current is gone", 0, 0))
    return tuple(found)
