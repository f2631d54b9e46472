"""`hawk doctor`: can Hawk run here, and if not, what exactly mends it.

In go the settings and the data folder, out comes one check a line; each that is not well names its
fix. Settings come first, because without them nothing else means anything; then the machine, Redis
and the venues are looked at side by side, so that the whole is over within 20 s whatever hangs.

A reader would question that venues are asked only where the source is `live`. A demo or a recording
needs none of them, and a command that looks at a machine must not call strangers unasked.
"""

from pathlib import Path

from libs.common.checks import ConfigError
from libs.common.settings import Settings
from libs.common.sources import parse_source
from services.console.doctor_place import load, place_checks, secrets_of
from services.console.doctor_redis import redis_checks
from services.console.doctor_report import Check, Patience, in_parallel, without
from services.console.doctor_venues import run_venue_checks


def run_doctor(data: Path | None) -> list[Check]:
    """Check all there is; `data` is the data folder where it is not that of the settings."""
    settings, checks = load()
    if settings is None:
        return checks
    return examine(data if data is not None else settings.data, settings, checks)


def examine(
    root: Path, settings: Settings, checks: list[Check], *, patience: Patience | None = None
) -> list[Check]:
    """Check the machine, Redis and the venues; `checks` are those of the settings."""
    wait = patience if patience is not None else Patience()
    jobs = {
        "folder": lambda: place_checks(root, settings),
        "redis": lambda: redis_checks(root, settings, wait_s=wait.redis_s),
        "venues": lambda: _venues(settings, checks, wait),
    }
    found = checks + in_parallel(jobs, wait_s=wait.total_s)
    return without(secrets_of(root, settings), found)


def _venues(settings: Settings, checks: list[Check], patience: Patience) -> list[Check]:
    if any(one.level == "fail" for one in checks):
        return [Check("venues", "info", "not asked: correct the settings first")]
    try:
        kind = parse_source(settings.source).kind
    except ConfigError:
        return []  # said with the settings
    if kind != "live":
        found = f"not asked: the source is {settings.source}"
        return [Check("venues", "info", found, "to ask them: `HAWK_SOURCE=live hawk doctor`")]
    return run_venue_checks(settings, patience)
