"""Raw captures: everything received, written down as it came, and read back. Shell.

One JSON line per received text, opened or closed connection and REST answer (docs/data.md, "Raw
captures"), Zstandard-compressed in frames of a few seconds, one file per run and hour. What was
received is what the observer was fed, so an archive can be made anew from it.

Two decisions a reader would question. A capture is not fsynced: it is the belt beside the archive's
braces; a kill costs its last FLUSH_S, the file stays readable up to there, and a full disk stops
the capture, never the collector. And the oldest files are deleted when all of them are too large:
what runs unattended for months must end before the disk does.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from libs.common.archive import HOUR_NS, date_of, hour_of
from libs.common.checks import ArchiveError
from libs.common.telemetry import log
from libs.common.venues.numbers import TIME_NS_MAX
from libs.common.venues.venue import Get, Venue
from services.collector.traffic import (
    Answered,
    Arrival,
    Closed,
    Opened,
    Oversized,
    Passed,
    Received,
    Refused,
)

NS = 1_000_000_000
SUFFIX = ".capture.jsonl.zst"
CLOCK = "clock"
"""The feed of lines that only say that the collector ran: a silence is then not an absence."""

FLUSH_S = 5
"""Stream seconds of lines in one compressed frame."""

FLUSH_BYTES = 4 * 1024 * 1024
READ_BYTES = 4 * 1024
"""Read in small pieces: of a torn file all but the last piece can be read."""

LINE_BYTES_MAX = 128 * 1024 * 1024


class CaptureWriter:
    """Writes arrivals to `folder`; stops by itself when the disk takes nothing."""

    def __init__(self, folder: Path, *, bytes_max: float = math.inf) -> None:
        """Start without a file; one is made with the first arrival.

        With each new file the oldest are deleted, until all others are within `bytes_max`.
        """
        self._folder, self._bytes_max = folder, bytes_max
        self._lines: list[bytes] = []
        self._size = 0
        self._hour = self._flushed_ns = -1
        self._path: Path | None = None
        self._is_broken = False
        self._second = -1

    def write(self, arrival: Arrival) -> None:
        """Keep one arrival; of passing time the first of each second."""
        if self._is_broken or (isinstance(arrival, Passed) and arrival.ts_ns // NS == self._second):
            return
        self._second = arrival.ts_ns // NS
        line = _line(arrival)
        hour = arrival.ts_ns // HOUR_NS
        if hour != self._hour:
            self.flush()
            self._hour, self._flushed_ns = hour, arrival.ts_ns
            self._path = None
        if self._path is None:
            stamp = f"{date_of(arrival.ts_ns)}T{hour_of(arrival.ts_ns)}"
            self._path = self._folder / f"{stamp}.{arrival.ts_ns}{SUFFIX}"
            self._make_room()
        data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        self._lines.append(data)
        self._size += len(data)
        if self._size > FLUSH_BYTES or arrival.ts_ns - self._flushed_ns > FLUSH_S * 1_000_000_000:
            self.flush()
            self._flushed_ns = arrival.ts_ns

    def flush(self) -> None:
        """Write what is kept as one compressed frame."""
        if not self._lines or self._path is None or self._is_broken:
            return
        frame = pa.Codec("zstd").compress(b"".join(self._lines), asbytes=True)
        self._lines, self._size = [], 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(frame)
        except OSError as error:
            self._is_broken = True
            log().error("capture.stopped", path=str(self._path), reason=str(error))

    def _make_room(self) -> None:
        """Delete the oldest captures, as their names tell, while all together are too large."""
        files = sorted(self._folder.glob(f"*{SUFFIX}"), reverse=True)
        total = 0
        for path in files:
            try:
                size = path.stat().st_size
                total += size
                if total > self._bytes_max:
                    path.unlink()
                    log().warning("capture.deleted", path=str(path), bytes=size)
            except OSError as error:
                log().error("capture.not_deleted", path=str(path), reason=str(error))


def _line(arrival: Arrival) -> dict[str, Any]:
    """Return the fields of a line."""
    if isinstance(arrival, Passed):
        return {"recv_ns": arrival.ts_ns, "feed": CLOCK, "conn": 0, "event": "passed"}
    if isinstance(arrival, Refused):
        line = {"recv_ns": arrival.ts_ns, "feed": arrival.feed, "conn": 0, "event": "refused"}
        return line | {"reason": arrival.detail}
    if isinstance(arrival, Answered):
        get = arrival.get
        return {
            "recv_ns": arrival.ts_ns,
            "feed": get.endpoint,
            "conn": 0,
            "url": get.target,
            "purpose": get.purpose,
            "subject": get.subject,
            "status": arrival.status,
            "sent_ns": arrival.sent_ns,
            "frame": arrival.text,
        }
    line = {"recv_ns": arrival.ts_ns, "feed": arrival.feed, "conn": arrival.connection}
    if isinstance(arrival, Received):
        return line | {"frame": arrival.text}
    if isinstance(arrival, Opened):
        return line | {"event": "connected"}
    if isinstance(arrival, Closed):
        return line | {"event": "closed", "reason": arrival.reason}
    return line | {"event": "oversized", "reason": arrival.detail}


def read_capture(
    path: Path,
    venues: Mapping[str, Venue],
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Iterator[Arrival | str]:
    """Yield the arrivals of a capture in order; a text in place of one says what was refused.

    Raises `ArchiveError` if the file cannot be opened. REST answers without a purpose (captures
    made elsewhere) are taken for the request of a market, a book or a series with that address.
    """
    feeds = {feed.name for venue in venues.values() for feed in venue.feeds}
    for line in _lines(path, on_progress):
        if isinstance(line, str):
            yield line
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            yield "bad_line"
            continue
        yield _arrival(fields, feeds, venues)


def _lines(path: Path, report: Callable[[float], None]) -> Iterator[bytes | str]:
    rest = b""
    try:
        size = max(path.stat().st_size, 1)
        with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as stream:
            while True:
                report(file.tell() / size)
                try:
                    piece = stream.read(READ_BYTES)
                except (OSError, pa.ArrowException):
                    yield "torn_file"
                    return
                if not piece:
                    break
                rest += piece
                if b"\n" not in piece:
                    if len(rest) > LINE_BYTES_MAX:
                        yield "bad_line"
                        return
                    continue
                *whole, rest = rest.split(b"\n")
                yield from whole
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(
            f"cannot read the capture {path}: {error}; it is a Zstandard-compressed file of JSON "
            "lines, see docs/data.md"
        ) from error
    if rest:
        yield "torn_file"


def _arrival(fields: Any, feeds: set[str], venues: Mapping[str, Venue]) -> Arrival | str:
    if not isinstance(fields, dict):
        return "bad_line"
    ts_ns, feed, connection = fields.get("recv_ns"), fields.get("feed"), fields.get("conn", 0)
    if not isinstance(ts_ns, int) or isinstance(ts_ns, bool) or not isinstance(connection, int):
        return "bad_line"
    if not 0 <= ts_ns < TIME_NS_MAX:
        return "bad_line"
    if not isinstance(feed, str):
        return "bad_line"
    if "url" in fields:
        return _answered(fields, ts_ns, feed, venues)
    event, reason = fields.get("event"), str(fields.get("reason", ""))
    if feed == CLOCK and event == "passed":
        return Passed(ts_ns)
    if feed not in feeds:
        return "unknown_feed"
    text = fields.get("frame")
    if isinstance(text, str):
        return Received(ts_ns, feed, connection, text)
    known: dict[object, Arrival] = {
        "connected": Opened(ts_ns, feed, connection),
        "closed": Closed(ts_ns, feed, connection, reason),
        "oversized": Oversized(ts_ns, feed, connection, reason),
        "refused": Refused(ts_ns, feed, reason),
    }
    return known.get(event, "bad_line") if isinstance(event, str) else "bad_line"


def _answered(
    fields: dict[str, Any], ts_ns: int, endpoint: str, venues: Mapping[str, Venue]
) -> Arrival | str:
    venue = next((v for v in venues.values() if endpoint in v.endpoints), None)
    if venue is None:
        return "unknown_feed"
    text, status = fields.get("frame"), fields.get("status", 200)
    get = _get(fields, endpoint, venue)
    sent_ns = fields.get("sent_ns", 0)
    if get is None or not isinstance(text, str) or type(status) is not int:
        return "unknown_request"
    is_time = type(sent_ns) is int and 0 <= sent_ns <= ts_ns
    return Answered(ts_ns, get, status, text, sent_ns if is_time else 0)


def _get(fields: dict[str, Any], endpoint: str, venue: Venue) -> Get | None:
    target, purpose, subject = fields.get("url"), fields.get("purpose"), fields.get("subject")
    if not isinstance(target, str):
        return None
    if isinstance(purpose, str) and isinstance(subject, str):
        return Get(venue.name, endpoint, target, purpose, subject)  # type: ignore[arg-type]
    path = target.partition("?")[0]
    parts = [unquote(part) for part in path.split("/") if part]
    guesses = [get for part in parts for get in (venue.market(part), venue.book(part))]
    return next((get for get in guesses if get.target == target), None)
