"""The operator's Kalshi key, as `hawk doctor` sees it: its file, whether it is taken, what it may.

Hawk reads and never trades, so a key that may write is a risk without a use. Kalshi tells the
scopes of its keys to whoever holds one that may read (docs.kalshi.com, Get API keys and Create API
key, read 2026-11-22: `read`, `write`, and children such as `write::transfer`).

The decision a reader would question: nothing that was answered to a signed request is shown but
the names of scopes. An error that quotes the request would print what a log must not hold.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from libs.common.checks import ConfigError
from libs.common.settings import Settings
from libs.common.venues.kalshi import KALSHI, REST
from libs.common.venues.kalshi_key import load_key, signed_headers
from services.console.doctor_faults import trouble_of_answer
from services.console.doctor_report import Check

if TYPE_CHECKING:
    from services.console.doctor_asking import Asker

NAME = "kalshi key"
KEYS_TARGET = "/api_keys"
READ_SCOPE = "read"
SCOPES_SHOWN_MAX = 5

MAKE_KEY = (
    "make a key with the scope `read` alone (kalshi.com, account, API keys), name it in "
    "HAWK_KALSHI_KEY_ID and HAWK_KALSHI_KEY_FILE, and delete this one there"
)

Signer = Callable[[str, int], Mapping[str, str]]
"""Headers of a GET of a path at a time in ms."""


class _Key(msgspec.Struct):
    api_key_id: str
    scopes: list[str] | None = None


class _Keys(msgspec.Struct):
    api_keys: list[_Key]


def signer_of(settings: Settings) -> tuple[Signer | None, list[Check]]:
    """Return what signs, and what is wrong with the key; without a key that is told as well."""
    path, key_id = settings.kalshi_key_file, settings.kalshi_key_id
    if path is None or key_id is None:
        found = "none: Kalshi's books are polled by REST, its settlement index is not seen"
        return None, [Check(NAME, "info", found, f"to have them, {MAKE_KEY.partition(', and')[0]}")]
    try:
        key = load_key(path.read_bytes())

        def sign(target: str, stamp_ms: int) -> Mapping[str, str]:
            return signed_headers(key, key_id, timestamp_ms=stamp_ms, method="GET", path=target)

        sign("/", 0)  # the id may be none
    except OSError as error:
        found = f"HAWK_KALSHI_KEY_FILE {path}: {error.strerror}"
        fix = "put the file there that the venue gave, or correct its name"
        return None, [Check(NAME, "fail", found, fix, is_setting=True)]
    except ConfigError as error:
        return None, [Check(NAME, "fail", str(error), MAKE_KEY, is_setting=True)]
    return sign, [Check(NAME, "ok", f"{path} holds a private key of {key.key_size} bits")]


async def scope_checks(asker: "Asker", key_id: str) -> list[Check]:
    """Ask the venue whether it takes the key, and what the key may do."""
    address = KALSHI.endpoints[REST].address + KEYS_TARGET
    raw = await asker.fetch(address, is_signed=True)
    accepted, scope = f"{NAME} accepted", f"{NAME} scope"
    unseen = Check(scope, "info", "cannot be seen", "see it on kalshi.com, account, API keys")
    if raw.trouble is not None:
        return [Check(accepted, "fail", raw.trouble.found, raw.trouble.fix), unseen]
    if raw.status in (401, 403):
        trouble = trouble_of_answer("refused", raw.status, is_signed=True)
        return [Check(accepted, "fail", trouble.found, trouble.fix), unseen]
    if raw.status != 200:
        found = f"not told ({raw.status}): the signed feed kalshi.ws shows it"
        return [Check(accepted, "info", found), unseen]
    taken = Check(accepted, "ok", "a signed request was answered")
    try:
        keys = msgspec.json.decode(raw.text, type=_Keys).api_keys
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [taken, unseen]
    found_scopes = next((key.scopes for key in keys if key.api_key_id == key_id), None)
    return [taken, _scope(scope, found_scopes) if found_scopes else unseen]


def _scope(name: str, scopes: list[str]) -> Check:
    beyond = sorted({s for s in scopes if s.partition("::")[0] != READ_SCOPE})
    if not beyond:
        return Check(name, "ok", "it may read, and nothing else")
    shown = ", ".join(ascii(s[:40])[1:-1] for s in beyond[:SCOPES_SHOWN_MAX])
    found = f"it may do more than read: {shown}; Hawk never uses that, a thief of the file would"
    return Check(name, "warn", found, MAKE_KEY)
