"""`hawk streams`: each stream with its length, its groups, what they have not read, who is missing.

The lag is counted from the writer's own numbers: Redis's `lag` counts what was trimmed as readable,
and is silent about what was trimmed unread.
"""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from libs.common.archive import Archive
from libs.common.bus import Bus
from libs.common.checks import UnavailableError
from libs.common.settings import Settings
from libs.common.streams import CONTROL, STREAMS, Stream, stream_name
from libs.common.web import Application, Receive, Scope, Send, problem, respond
from services.console.bus_place import REPLY_S_MAX, find_bus, nothing_runs
from services.console.output import emit
from services.console.running import Running

PAGE = "/v1/streams"
REPLY_BYTES_MAX = 500


class GroupLine(msgspec.Struct, frozen=True):
    """One reader: entries given and not acknowledged, entries not given yet, last id given."""

    name: str
    pending: int
    lag: int
    delivered: str


class StreamLine(msgspec.Struct, frozen=True):
    """One stream; `missing` are readers of the table that have never read it."""

    name: str
    length: int
    first: str
    last: str
    groups: tuple[GroupLine, ...]
    missing: tuple[str, ...]


def stream_lines(bus: Bus, root: Path) -> list[StreamLine]:
    """Return what the bus says of the streams of the data folder `root`, those that exist."""
    found = (_line(bus, kind, name) for kind, name in _names(root))
    return [line for line in found if line is not None]


def run_streams(root: Path, settings: Settings) -> list[StreamLine]:
    """Return the streams, from Redis or from the process that holds them in memory."""
    place = find_bus(root, settings)
    if place.bus is not None:
        return stream_lines(place.bus, root)
    if place.running is None:
        raise nothing_runs(root)
    content = ask(place.running, PAGE)
    return msgspec.json.decode(content, type=list[StreamLine])


def print_streams(lines: list[StreamLine]) -> None:
    """Print one line per stream and one per group."""
    if not lines:
        emit("no stream yet")
        return
    emit(f"{'stream':<32}{'length':>8}  {'first':<22}{'last':<22}")
    for line in lines:
        emit(f"{line.name:<32}{line.length:>8}  {line.first:<22}{line.last:<22}")
        for group in line.groups:
            unread = f"lag {group.lag}, pending {group.pending}"
            emit(f"  {group.name:<12} {unread:<28} read up to {group.delivered}")
        for reader in line.missing:
            emit(f"  {reader:<12} MISSING: has never read it")


def page(bus: Bus, root: Path) -> Application:
    """Return the page that answers with the streams of a bus in memory."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await problem(send, 405, f"{PAGE} is read with GET")
            return
        await respond(send, 200, msgspec.json.encode(stream_lines(bus, root)))

    return app


def ask(running: Running, path: str, *, content: bytes | None = None) -> bytes:
    """Ask the process of a `hawk up` for a page; raise `UnavailableError` if it does not answer."""
    host = "127.0.0.1" if running.host in ("0.0.0.0", "::") else running.host
    port = min(running.ports.values())
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    headers = {"content-type": "application/json", "x-hawk-token": running.token}
    request = urllib.request.Request(address, data=content, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=REPLY_S_MAX) as reply:
            answer: bytes = reply.read()
            return answer
    except urllib.error.HTTPError as error:
        said = error.read(REPLY_BYTES_MAX).decode(errors="replace")
        raise UnavailableError(f"`hawk up` at {address} says {error.code}: {said}") from error
    except OSError as error:
        raise UnavailableError(f"`hawk up` at {address} does not answer: {error}") from error


def _names(root: Path) -> Iterator[tuple[Stream, str]]:
    underlyings = Archive(root).underlyings()
    for kind in STREAMS:
        for underlying in [CONTROL] if kind.is_control else underlyings:
            yield kind, stream_name(kind.kind, underlying)


def _line(bus: Bus, kind: Stream, name: str) -> StreamLine | None:
    facts = bus.facts(name)
    if facts is None:
        return None
    groups = tuple(
        GroupLine(group.name, group.pending, group.lag_true, str(group.delivered))
        for group in facts.groups
    )
    known = {group.name for group in groups}
    missing = tuple(reader for reader in kind.readers if reader not in known)
    return StreamLine(name, facts.length, str(facts.first), str(facts.last), groups, missing)
