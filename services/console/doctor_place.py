"""What `hawk doctor` sees on this machine: settings, the data folder, free space, secret files.

In go the settings and a folder, out come checks. The folder is tried by writing a file into it and
removing it, because permissions, a read-only mount and a full disk look alike only to that.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from libs.common import durable
from libs.common.checks import ConfigError
from libs.common.keys import PRIVATE_KEY
from libs.common.settings import Settings, load_settings
from libs.common.sources import parse_source
from libs.common.venues import VENUES
from libs.common.venues.selection import parse_selection, underlyings_of
from services.collector.lifecycle import SERIES_MARKETS_MAX
from services.console.doctor_report import Check
from services.monitor.disk import Space, space

MB = 1_000_000

MARKET_MB, UNDERLYING_MB = (0.9, 17.1), (0.62, 0.78)
"""What a day takes: the first figure, and the second over the seconds between samples. A line
through both rows of the table in docs/operating.md (benchmarks/disk.py)."""

REAL_BOOKS = 1.5
"""Real books are deeper and compress less than the simulated ones that were measured."""

RESERVE_MB = 2_000
"""Redis while it rewrites its file (1.5 GB) and logs (0.5 GB)."""

DAYS_WARN, DAYS_FAIL = 7, 2
"""The bounds of the alert `disk_days_left`."""

LADDER_S = 3_600
"""Series of an hour are ladders of strikes, of which as many as may be are recorded."""

SIMULATED_MARKETS = 3
"""Open at any time, per underlying."""

SECRETS = ("redis_password_file", "api_key_file", "kalshi_key_file", "alert_webhook_file")


def load() -> tuple[Settings | None, list[Check]]:
    """Read the settings; without them nothing else can be looked at."""
    try:
        settings = load_settings()
    except ConfigError as error:
        fix = "correct the lines of .env or of the environment that are named"
        return None, [Check("settings", "fail", str(error), fix, is_setting=True)]
    return settings, setting_checks(settings)


def setting_checks(settings: Settings) -> list[Check]:
    """Check what the settings mean together: source, series, and the two halves of a key."""
    faults: list[str] = []
    try:
        kind = parse_source(settings.source).kind
    except ConfigError as error:
        kind = None
        faults.append(f"HAWK_SOURCE: {error}")
    try:
        chosen = parse_selection(settings.series, VENUES)
    except ConfigError as error:
        faults.append(str(error))
    if (settings.kalshi_key_id is None) != (settings.kalshi_key_file is None):
        faults.append("HAWK_KALSHI_KEY_ID and HAWK_KALSHI_KEY_FILE belong together: set both")
    if faults:
        fix = "correct them in .env; `hawk config check` lists all"
        return [Check("settings", "fail", "; ".join(faults), fix, is_setting=True)]
    found = f"source {settings.source}"
    if kind == "live":
        found += f", {sum(map(len, chosen.values()))} series of {', '.join(sorted(chosen))}"
    return [Check("settings", "ok", found)]


def place_checks(root: Path, settings: Settings) -> list[Check]:
    """Check the data folder, the space below it, and who may read the secrets."""
    return [_folder(root), *_space(root, settings), *_secrets(root, settings)]


def secrets_of(root: Path, settings: Settings) -> list[str]:
    """Return every line of every secret file that can be read, and the id of the key."""
    lines = [settings.kalshi_key_id or ""]
    for _, path in _secret_files(root, settings):
        try:
            lines += path.read_text(errors="ignore").split()
        except OSError:
            continue
    return lines


def day_mb(settings: Settings) -> float | None:
    """Return the MB of archive that a day of the source takes; None if nobody can know.

    >>> round(day_mb(Settings(_env_file=None, source="live", series="KXBTC15M")))
    29
    """
    source = parse_source(settings.source)
    if source.kind == "recording":
        return None
    if source.kind == "simulated":
        markets = [source.interval_s] * SIMULATED_MARKETS * len(source.underlyings)
        count = len(source.underlyings)
    else:
        chosen = parse_selection(settings.series, VENUES)
        markets = [s for venue, series in chosen.items() for s in _markets(venue, series)]
        count = len(underlyings_of(chosen, VENUES))
    fastest_s = min(markets)
    total = sum(MARKET_MB[0] + MARKET_MB[1] / interval_s for interval_s in markets)
    total += count * (UNDERLYING_MB[0] + UNDERLYING_MB[1] / fastest_s)
    return total * REAL_BOOKS * (source.speed or 1.0)


def _markets(venue: str, series: Mapping[str, int]) -> list[int]:
    """Return the sample interval of each market that is open at once."""
    found: list[int] = []
    for name, interval_s in series.items():
        is_ladder = VENUES[venue].series[name].length_s >= LADDER_S
        found += [interval_s] * (SERIES_MARKETS_MAX if is_ladder else 1)
    return found


def _folder(root: Path) -> Check:
    name = "folder"
    if not root.exists():
        fix = f"`mkdir -p {root}`, or name the right folder in HAWK_DATA or --data"
        return Check(name, "warn", f"{root} is not there yet: `hawk up` makes it", fix)
    # In a container the archive is the volume that is written, its parent a part of the image.
    place = root / "archive" if (root / "archive").is_dir() else root
    try:
        with tempfile.TemporaryFile(dir=place, prefix=durable.TEMPORARY_PREFIX) as file:
            file.write(b"hawk")
            file.flush()
            os.fsync(file.fileno())
    except NotADirectoryError:
        return Check(name, "fail", f"{place} is a file", "name a folder in HAWK_DATA or --data")
    except OSError as error:
        found = f"{place} cannot be written: {error.strerror}"
        return Check(name, "fail", found, f"`sudo chown -R {os.geteuid()}:{os.getegid()} {root}`")
    return Check(name, "ok", f"{place} can be written")


def _space(root: Path, settings: Settings) -> list[Check]:
    place = next(folder for folder in (root, *root.resolve().parents) if folder.is_dir())
    found, needed = space(place), None
    with suppress(ConfigError):  # said with the settings
        needed = day_mb(settings)
    if found is None:
        fix = f"see why `df {place}` fails"
        return [Check("disk", "fail", f"the free space of {place} cannot be asked", fix)]
    told = judged_space(found, needed)
    if settings.capture:
        most = f"captures up to {settings.capture_gb_max:g} GB not counted"
        return [msgspec.structs.replace(told, found=f"{told.found}; {most}")]
    return [told]


def judged_space(found: Space, needed_mb: float | None) -> Check:
    """Judge the free space against what a day takes; without that, against the rest of Hawk."""
    free_mb = found.free / MB
    told = f"{free_mb / 1000:.1f} GB free of {found.total / MB / 1000:.1f} GB"
    if needed_mb is None:
        is_low = free_mb < RESERVE_MB
        fix = f"make room: Redis and logs alone take up to {RESERVE_MB / 1000:g} GB"
        return Check("disk", "warn" if is_low else "ok", told, fix if is_low else "")
    days = max(0.0, (free_mb - RESERVE_MB) / needed_mb)
    told += f", {needed_mb:.0f} MB a day: {min(days, 9_999):.0f} days beside Redis and logs"
    if days >= DAYS_WARN:
        return Check("disk", "ok", told)
    fix = "enlarge the disk, move the oldest days of the archive away after a backup, or sample "
    fix += "less often: HAWK_SERIES=NAME@10"
    return Check("disk", "fail" if days < DAYS_FAIL else "warn", told, fix)


def _secrets(root: Path, settings: Settings) -> list[Check]:
    return [_secret(label, path) for label, path in _secret_files(root, settings)]


def _secret_files(root: Path, settings: Settings) -> list[tuple[str, Path]]:
    named = [(f"HAWK_{name.upper()}", getattr(settings, name)) for name in SECRETS]
    found = [(label, path) for label, path in named if path is not None]
    own = root / PRIVATE_KEY
    return [*found, ("signing key", own)] if own.exists() else found


def _secret(label: str, path: Path) -> Check:
    name = f"secret {label.removeprefix('HAWK_').lower().removesuffix('_file')}"
    try:
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        fix = f"put the secret there, readable by user {os.geteuid()}, or correct {label}"
        return Check(name, "fail", f"{path}: {error.strerror}", fix, is_setting=True)
    if is_empty:
        return Check(name, "fail", f"{path} is empty", f"write it, or unset {label}", True)
    if mode & 0o077:
        # The trainer refuses a signing key that others may read; the rest works, and is readable.
        is_refused = label == "signing key"
        found = f"{path} has mode {mode:04o}: others may read or change it"
        return Check(
            name, "fail" if is_refused else "warn", found, f"`chmod 600 {path}`", is_setting=True
        )
    return Check(name, "ok", f"{path} has mode {mode:04o}")
