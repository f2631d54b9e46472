"""`hawk replay --compare`: what was recorded live against what a replay of it makes.

In goes a data folder that services have written, out come both digests of features, forecasts and
orders over the span that all of them have done, and the first difference if there is one. Bodies
are compared one by one as the replay makes them, so that a difference has an instant and a text.

The decision to question is the span: from the first instant that the collector streamed to the
trader's position, because the trader is last in line; what others have made behind it is not
complete.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from libs.common.archive import Archive
from libs.common.checks import ArchiveError
from libs.common.events import Event, FeatureRow, Tick, body, decode
from libs.common.manifests import require_whole
from libs.common.replay import KINDS, Digest, Replay
from libs.common.settings import Settings
from libs.common.streams import stream
from services.console import offline, positions
from services.console.event_lines import json_of, line_of
from services.console.output import emit, format_time


class Compared(Digest):
    """Digest of what a replay makes, held against what was recorded, body by body."""

    def __init__(self, recorded: Iterator[Event]) -> None:
        super().__init__()
        self._recorded = recorded
        self._recorded_hash = sha256()
        self.recorded_count = 0
        self.difference: tuple[Event | None, Event | None] | None = None

    def add(self, content: bytes) -> None:
        """Take the next body that the replay made."""
        super().add(content)
        recorded = self._next()
        if self.difference is None and (recorded is None or body(recorded) != content):
            self.difference = (recorded, decode(content))

    def finish(self) -> None:
        """Take what was recorded and the replay did not make."""
        while (recorded := self._next()) is not None:
            if self.difference is None:
                self.difference = (recorded, None)

    @property
    def recorded_sha256(self) -> str:
        """The hash of what was recorded, as hex."""
        return self._recorded_hash.hexdigest()

    def _next(self) -> Event | None:
        event = next(self._recorded, None)
        if event is not None:
            self._recorded_hash.update(body(event))
            self.recorded_count += 1
        return event


def run_compare(
    root: Path,
    settings: Settings,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Replay what was recorded live and return both digests of each kind.

    Raises `ArchiveError` where nothing was recorded live.
    """
    require_whole(root)
    start_ns, end_ns = live_span(root)
    replay = Replay(
        root,
        offline.handlers(root, settings),
        model_events=offline.switches(root, bundle_id=None),
    )
    compared = {k: Compared(_recorded(root, k, start_ns=start_ns, end_ns=end_ns)) for k in KINDS}
    replay.digests = dict(compared)
    replay.run(
        start_ns=start_ns,
        end_ns=end_ns,
        on_progress=lambda ts_ns: on_progress((ts_ns - start_ns) / max(1, end_ns - start_ns)),
    )
    for digest in compared.values():
        digest.finish()
    return {
        "equal": all(digest.difference is None for digest in compared.values()),
        "from": format_time(start_ns),
        "to": format_time(end_ns),
        "events": {kind: _figures(digest) for kind, digest in compared.items()},
    }


def print_comparison(result: dict[str, Any]) -> None:
    """Print both digests of each kind, and the first difference."""
    emit(f"recorded live from {result['from']} to {result['to']}")
    for kind, found in result["events"].items():
        recorded, replayed = found["recorded"], found["replayed"]
        difference = found.get("first_difference")
        verdict = "equal" if difference is None else "DIFFERENT"
        emit(f"{kind:<10} recorded {recorded['count']:>9}  sha256 {recorded['sha256']}")
        emit(f"{'':<10} replayed {replayed['count']:>9}  sha256 {replayed['sha256']}  {verdict}")
        for side in ("recorded", "replayed") if difference else ():
            told = difference[side]
            emit(f"  first difference, {side}: {told['line'] if told else 'nothing'}")
            emit(f"    {told['event'] if told else ''}")
    emit("equal: the replay makes what was recorded" if result["equal"] else "DIFFERENT")


def live_span(root: Path) -> tuple[int, int]:
    """Return [start, end) of what all services have recorded, in ns UTC."""
    start_ns = positions.live_begin_ns(root)
    if start_ns is None:
        rows = (e.ts_ns for e in Archive(root).scan({FeatureRow: 0}, end_ns=2**63 - 1))
        start_ns = next(rows, None)
    end_ns = positions.trader_ns(root)
    if start_ns is None or end_ns is None:
        raise ArchiveError(
            f"{root} holds nothing that was recorded live: `hawk up --data {root}` records"
        )
    span = Archive(root).span_ns()
    return max(start_ns, span[0] if span else 0), end_ns + 1


def _recorded(root: Path, kind: str, *, start_ns: int, end_ns: int) -> Iterator[Event]:
    types = {t: start_ns for t in stream(kind).types if t is not Tick}
    return Archive(root).scan(types, end_ns=end_ns)


def _figures(digest: Compared) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "recorded": {"count": digest.recorded_count, "sha256": digest.recorded_sha256},
        "replayed": {"count": digest.count, "sha256": digest.sha256},
    }
    if digest.difference is not None:
        recorded, replayed = digest.difference
        figures["first_difference"] = {"recorded": _told(recorded), "replayed": _told(replayed)}
    return figures


def _told(event: Any) -> dict[str, str] | None:
    return None if event is None else {"line": line_of(event), "event": json_of(event)}
