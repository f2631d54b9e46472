"""What a check of `hawk doctor` says, how checks are printed, and how none of them waits for ever.

The decision a reader would question: checks run in daemon threads that are left behind when their
time is over. A look-up of a name, or a file on a network that is gone, cannot be interrupted; a
command that waits for it would itself be the thing that hangs.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from libs.common.checks import ConfigError, UnavailableError, check
from services.console.output import emit, emit_json

Level = Literal["ok", "info", "warn", "fail"]

SECRET_LENGTH_MIN = 6
"""Shorter lines of a secret file are no secret, and would be struck out everywhere."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; `fix` is what mends it, empty where nothing is to be done."""

    name: str
    level: Level
    found: str
    fix: str = ""
    is_setting: bool = msgspec.field(default=False, name="setting")
    """Its cause stands in the settings or in a file that they name, not outside."""


@dataclass(frozen=True)
class Patience:
    """Wall seconds that are waited. The longest chain, simulator's clock, one answer after a second
    of asking, one socket, is below `total_s`, and that below the 20 s that a person is promised."""

    request_s: float = 5.0
    socket_s: float = 6.0
    redis_s: float = 3.0
    total_s: float = 16.0


def in_parallel(jobs: Mapping[str, Callable[[], list[Check]]], *, wait_s: float) -> list[Check]:
    """Run jobs side by side, return what they found in their order; a late one has failed."""
    results: dict[str, list[Check]] = {}

    def run(name: str) -> None:
        results[name] = jobs[name]()

    threads = {n: threading.Thread(target=run, args=(n,), name=n, daemon=True) for n in jobs}
    until_s = time.monotonic() + wait_s
    for thread in threads.values():
        thread.start()
    made: list[Check] = []
    for name, thread in threads.items():
        thread.join(max(0.0, until_s - time.monotonic()))
        check(name in results or thread.is_alive(), f"the checks of {name} died")
        made += results.get(name) or ([] if name in results else [_late(name, wait_s)])
    return made


def without(secrets: Iterable[str], checks: Sequence[Check]) -> list[Check]:
    """Return the checks with every secret struck out, whoever quoted it.

    >>> without(["hunter2"], [Check("a", "fail", "no user hunter2")])[0].found
    'no user ***'
    """
    struck = sorted((s for s in secrets if len(s) >= SECRET_LENGTH_MIN), key=len, reverse=True)

    def plain(text: str) -> str:
        for secret in struck:
            text = text.replace(secret, "***")
        return text

    return [
        msgspec.structs.replace(one, found=plain(one.found), fix=plain(one.fix)) for one in checks
    ]


def exit_code(checks: Sequence[Check]) -> int:
    """Return 0 if nothing failed, 3 for a setting, 4 for something outside; settings come first."""
    failed = [one for one in checks if one.level == "fail"]
    if not failed:
        return 0
    is_setting = any(one.is_setting for one in failed)
    return (ConfigError if is_setting else UnavailableError).exit_code


def print_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print one line a check and a sum, or all as one line of JSON."""
    counts = {level: sum(one.level == level for one in checks) for level in ("fail", "warn")}
    if as_json:
        emit_json({"failed": counts["fail"], "warned": counts["warn"], "checks": list(checks)})
        return
    for one in checks:
        fix = f"; fix: {one.fix}" if one.fix else ""
        emit(f"{one.level:<5}{one.name:<27} {one.found}{fix}")
    emit(f"{len(checks)} checks, {counts['fail']} failed, {counts['warn']} warned")


def _late(name: str, wait_s: float) -> Check:
    found = f"not finished within {wait_s:g} s: a name server or a file system does not answer"
    fix = "see whether `getent hosts` and `ls` on the data folder return, then run it again"
    return Check(name, "fail", found, fix)
