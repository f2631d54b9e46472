"""What a person or a program sees: results on stdout, progress on a terminal's stderr.

Times go in and out as RFC 3339 UTC. A progress bar appears on a terminal only, so that a log file
holds lines and nothing else.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import msgspec

from libs.common.checks import UsageError


def emit_json(value: object) -> None:
    """Print `value` as one line of JSON; NaN becomes null."""
    sys.stdout.write(msgspec.json.encode(_plain(value)).decode() + "\n")


def emit(text: str) -> None:
    """Print a line for a person, without terminal escapes that a market's name may carry."""
    sys.stdout.write("".join(c for c in text if c.isprintable() or c in "\n\t") + "\n")


def parse_time(text: str | None) -> int | None:
    """Return ns UTC of an RFC 3339 time or date; raise `UsageError` if it is neither.

    >>> parse_time("2026-05-12T00:00:00Z")
    1778544000000000000
    >>> parse_time("2026-05-12")
    1778544000000000000
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time: write it like 2026-05-12T00:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int((moment.replace(microsecond=0)).timestamp())
    return seconds * 1_000_000_000 + moment.microsecond * 1_000


def format_time(ts_ns: int) -> str:
    """Return ns UTC as RFC 3339 with seconds.

    >>> format_time(1778544000000000000)
    '2026-05-12T00:00:00Z'
    """
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def progress(title: str) -> Iterator[Callable[[float], None]]:
    """Show a bar on a terminal; the yielded function takes the share done, 0 to 1."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=min(share, 1.0))
        bar.update(task, completed=1.0)


def _plain(value: object) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.to_builtins(value))
    return value
