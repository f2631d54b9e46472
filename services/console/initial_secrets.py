"""Makes the secrets of the Compose stack that are missing: what its one-shot `init` runs.

Each service has a folder, a volume of its own: what is in it is all that the service can read.

    <service>/redis_password   predictor/api_key   grafana/admin_password
    redis/users.acl, operator_password, health_password
    signing/signing.key, signing.pub   verifying/signing.pub
    alertmanager/alertmanager.yml, webhook_url   collector/kalshi_key

A secret that is there is never written over. What is made from others is made anew at each run:
`users.acl`, because the table of streams may have changed, and what Alertmanager is told. All that
is there is looked at before anything is written, and every fault is named at once.

A reader would question that a damaged file stops everything rather than being replaced. A new
signing key refuses every model that there is, and a new password locks out who holds the old one:
that is for a person to decide, who deletes the file. No content is ever printed, nor put into an
error.
"""

import argparse
import fcntl
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import durable
from libs.common.checks import ConfigError, HawkError
from libs.common.keys import PRIVATE_KEY, PUBLIC_KEY
from libs.common.redis_acl import CONSOLE, HEALTH, OPERATOR, password_hash, users_acl
from libs.common.settings import load_settings
from libs.common.streams import SERVICES
from libs.common.venues.kalshi_key import load_key

MODE = 0o400
"""Its owner reads, nobody writes; the owner is the user of all containers."""

PASSWORD_BYTES = 32
KEY_BYTES = 32

BYTES_MAX = 65_536
"""More than any file here has: what is longer is something else."""

URL_CHARACTERS_MAX = 2_000

USER_FILES = {user: f"{user}/redis_password" for user in (*SERVICES, CONSOLE)} | {
    OPERATOR: "redis/operator_password",
    HEALTH: "redis/health_password",
}
"""Where the password of each user of Redis stands."""

PASSWORD_FILES = (*USER_FILES.values(), "predictor/api_key", "grafana/admin_password")

KEY = f"signing/{Path(PRIVATE_KEY).name}"
PUBLIC_KEYS = (f"signing/{Path(PUBLIC_KEY).name}", f"verifying/{Path(PUBLIC_KEY).name}")
USERS_ACL = "redis/users.acl"
ALERTMANAGER, WEBHOOK_URL = "alertmanager/alertmanager.yml", "alertmanager/webhook_url"

FOLDERS = sorted(
    {name.partition("/")[0] for name in (*PASSWORD_FILES, *PUBLIC_KEYS, USERS_ACL, ALERTMANAGER)}
)

KALSHI_KEY = "collector/kalshi_key"
OPTIONAL = (WEBHOOK_URL, KALSHI_KEY)
"""Files that are there only while the operator gives what they hold."""

SILENT, WEBHOOK = "silent.yml", "webhook.yml"

READABLE = "run `chmod -R go+rX deploy` in the clone, then start again"
NEW_PASSWORD = "delete it to get a new one, then start everything again"
NEW_KEY = (
    f"restore it from a backup, or delete {KEY} and both signing.pub to get new ones: models that "
    "were signed before are then refused"
)

_PASSWORD = re.compile(rb"[A-Za-z0-9_-]{43,128}\n")
"""What `token_urlsafe` makes of 32 bytes or more; a part of it is too short or has no end."""

Tell = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="initial_secrets", description="Make the secrets that are missing."
    )
    parser.add_argument("--to", type=Path, required=True, help="folder of the services' folders")
    parser.add_argument(
        "--alertmanager", type=Path, required=True, help=f"folder with {SILENT} and {WEBHOOK}"
    )
    parser.add_argument("--webhook", type=Path, help="file with the address to post alerts to")
    parser.add_argument("--kalshi-key", type=Path, help="file with the operator's Kalshi key")
    parser.add_argument(
        "--readable",
        type=Path,
        nargs="*",
        default=[],
        help="folders whose files all containers must be able to read",
    )
    asked = parser.parse_args(arguments)
    try:
        # Of all services: a misspelt name would otherwise be a restart loop of six.
        load_settings(env_file=None)
        for folder in asked.readable:
            require_readable(folder)
        given = Given(asked.alertmanager, asked.webhook, asked.kalshi_key)
        make_secrets(asked.to, given, tell=_print)
    except HawkError as error:
        sys.stderr.write(f"hawk: {error}\n")
        return error.exit_code
    return 0


class Given(NamedTuple):
    """What an operator gives: Alertmanager's templates, the address to post to, a Kalshi key."""

    alertmanager: Path
    webhook: Path | None = None
    kalshi_key: Path | None = None


def make_secrets(root: Path, given: Given, *, tell: Tell) -> None:
    """Make what is missing below `root`; `tell` is given one line per file.

    Raises `ConfigError` with every file that is damaged or does not fit the others, and then has
    written nothing.
    """
    with _locked(root):
        _sweep(root)
        faults: list[str] = []
        passwords = {name: _password(root / name, faults) for name in PASSWORD_FILES}
        key = _private_key(root, faults)
        derived = _alertmanager_files(given.alertmanager, given.webhook, faults)
        derived |= _kalshi_files(given.kalshi_key, faults)
        if faults:
            raise ConfigError("; ".join(faults))
        for name, password in passwords.items():
            passwords[name] = _kept_or_made(root / name, password, _new_password, tell)
        _make_keys(root, key, tell)
        hashes = {user: _hash(passwords[name]) for user, name in USER_FILES.items()}
        _make_anew(root, {USERS_ACL: users_acl(hashes).encode()} | derived, tell)


def require_readable(folder: Path) -> None:
    """Raise `ConfigError` that names a file below `folder` that the containers' user cannot read.

    They are mounted from a clone, whose files have the modes that its owner's umask left them.
    """

    def refuse(error: OSError) -> None:
        why = f"{error.filename} cannot be listed by user {os.getuid()}"
        raise ConfigError(f"{why}: {READABLE}") from error

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            path = Path(place, name)
            # What its owner may run, the containers run.
            wanted = os.R_OK | (os.X_OK if path.stat().st_mode & stat.S_IXUSR else 0)
            if not os.access(path, wanted):
                raise ConfigError(f"{path} cannot be read by user {os.getuid()}: {READABLE}")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Wait for another init; the lock is on a folder of the volumes, where both can see it."""
    place = root / Path(KEY).parent
    try:
        for folder in FOLDERS:
            (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise durable.cannot_write(root, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> None:
    for folder in FOLDERS:
        try:
            durable.sweep(root / folder)
        except OSError as error:
            raise durable.cannot_write(root / folder, error) from error


def _password(path: Path, faults: list[str]) -> bytes | None:
    """Return what a file of a password holds, None where there is none or it is damaged."""
    content = _content(path, faults)
    if content is not None and not _PASSWORD.fullmatch(content):
        faults.append(f"{path} holds no password of ours ({len(content)} bytes): {NEW_PASSWORD}")
        return None
    return content


def _private_key(root: Path, faults: list[str]) -> bytes | None:
    """Return the private key, None where there is none; hold the public ones to it."""
    found_before = len(faults)
    contents = {name: _content(root / name, faults) for name in (KEY, *PUBLIC_KEYS)}
    for name, content in contents.items():
        if content is not None and len(content) != KEY_BYTES:
            faults.append(f"{root / name} has {len(content)} bytes, not {KEY_BYTES}: {NEW_KEY}")
    if len(faults) > found_before:
        return None
    key = contents.pop(KEY)
    expected = _public(key) if key is not None else None
    for name, content in contents.items():
        if content is not None and content != expected:
            what = "is there without its key" if key is None else "is not that of our key"
            faults.append(f"{root / name} {what}, {root / KEY}: {NEW_KEY}")
    return key


def _content(path: Path, faults: list[str]) -> bytes | None:
    """Return what a file holds, None where there is none or it cannot be trusted."""
    try:
        facts = path.lstat()
        mode = stat.S_IMODE(facts.st_mode)
        if not stat.S_ISREG(facts.st_mode):
            faults.append(f"{path} is no file: remove it")
        elif mode != MODE:
            faults.append(f"{path} has mode {mode:04o}: run `chmod {MODE:04o}` on it")
        else:
            return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        faults.append(_unreadable(path, error))
    return None


def _alertmanager_files(folder: Path, webhook: Path | None, faults: list[str]) -> dict[str, bytes]:
    """Return what Alertmanager is to be told: nothing to anybody, or where to post."""
    try:
        url = _read(webhook).strip() if webhook is not None else b""
    except OSError as error:
        faults.append(_unreadable(webhook or folder, error))
        return {}
    if url and not _is_address(url):
        faults.append(f"{webhook} holds no address: expected one line, http:// or https://")
        return {}
    template = folder / (WEBHOOK if url else SILENT)
    try:
        settings = {ALERTMANAGER: _read(template)}
    except OSError as error:
        faults.append(_unreadable(template, error))
        return {}
    return settings | ({WEBHOOK_URL: url} if url else {})


def _kalshi_files(path: Path | None, faults: list[str]) -> dict[str, bytes]:
    """Return the operator's key for the collector; nothing where none is given."""
    try:
        pem = _read(path) if path is not None else b""
        if pem.strip():
            load_key(pem)
            return {KALSHI_KEY: pem}
    except OSError as error:
        faults.append(_unreadable(path or Path(), error))
    except ConfigError as error:
        faults.append(f"{path}: {error}")
    return {}


def _is_address(url: bytes) -> bool:
    """Tell whether this is one address that can be posted to.

    >>> [_is_address(url) for url in (b"https://a.b/c", b"http://a:80", b"ftp://a", b"http://a b")]
    [True, True, False, False]
    """
    try:
        parts = urlsplit(url.decode("ascii"))
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # also what is no text, and what is no port
        return False
    is_one = len(url) <= URL_CHARACTERS_MAX and re.fullmatch(rb"[!-~]+", url) is not None
    return is_one and is_whole and parts.scheme in ("http", "https")


def _make_keys(root: Path, key: bytes | None, tell: Tell) -> None:
    """Make the private half first: after a kill the public ones follow from it."""
    key = _kept_or_made(root / KEY, key, _new_key, tell)
    for name in PUBLIC_KEYS:
        known = _public(key) if (root / name).exists() else None
        _kept_or_made(root / name, known, lambda: _public(key), tell)


def _make_anew(root: Path, files: dict[str, bytes], tell: Tell) -> None:
    """Write what differs; remove what is no longer given."""
    for name, content in files.items():
        path = root / name
        if _holds(path, content):
            tell(f"kept {path}")
            continue
        verb = "changed" if path.exists() else "made"
        _write(path, content)
        tell(f"{verb} {path}")
    for name in OPTIONAL:
        stale = root / name
        if name not in files and stale.exists():
            stale.unlink()
            durable.sync_folder(stale.parent)
            tell(f"removed {stale}")


def _kept_or_made(path: Path, known: bytes | None, make: Callable[[], bytes], tell: Tell) -> bytes:
    """Return what the file holds, made where it is not `known`."""
    if known is not None:
        tell(f"kept {path}")
        return known
    content = make()
    _write(path, content)
    tell(f"made {path}")
    return content


def _new_password() -> bytes:
    return f"{secrets.token_urlsafe(PASSWORD_BYTES)}\n".encode()


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes_raw()


def _public(key: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def _hash(password: bytes | None) -> str:
    return password_hash((password or b"").decode().strip())


def _write(path: Path, content: bytes) -> None:
    """Write a file that is never readable for others, not even while it is being written."""

    def fill(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        try:
            os.fchmod(descriptor, MODE)  # whatever the umask takes away
            durable.write_all(descriptor, content)
        finally:
            os.close(descriptor)

    durable.write_atomic(path, fill, name="secrets")


def _holds(path: Path, content: bytes) -> bool:
    """Tell whether a file is as it would be written."""
    try:
        mode = path.lstat().st_mode
        return stat.S_ISREG(mode) and stat.S_IMODE(mode) == MODE and _read(path) == content
    except OSError:
        return False


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX)


def _unreadable(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be read as user {os.getuid()} ({error.strerror}): "
        "see that it is a file, and that this user may read it"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
