"""Whether the Redis of the streams can be relied on: answers, version, policy, memory, rights.

It is the one that is named, else that of a `hawk up` that runs on the folder, else the program that
`hawk up` would start. The decision a reader would question: everything is read from INFO, nothing
from CONFIG. No user of Hawk may ask CONFIG, and INFO tells the same; what a user may not even see
by INFO is told as not seen, never guessed.
"""

import re
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from libs.common.checks import ConfigError
from libs.common.redis_acl import CONSOLE
from libs.common.redis_bus import RedisBus
from libs.common.service import redis_password
from libs.common.settings import Settings
from libs.common.streams import STREAMS, Stream, stream_name
from services.console.doctor_faults import Trouble
from services.console.doctor_report import Check
from services.console.own_redis import MEMORY_MAX, server_path
from services.console.running import running_on

VERSION_MIN = (7, 0)
"""The first whose ACL has selectors, and whose XAUTOCLAIM lists what was lost."""

USED_SHARE_WARN = 0.8
UNDERLYING = "BTC-USD"
"""Whose streams are looked at; rights are the same for all."""

_VERSION = re.compile(r"(?:v=|\b)(\d+)\.(\d+)[.\d]*", re.ASCII)

_ACL = "make users.acl anew (`docker compose up init`) and restart Redis"
_CONFIGURE = "in redis.conf, and at once by `redis-cli CONFIG SET"


def redis_checks(root: Path, settings: Settings, *, wait_s: float) -> list[Check]:
    """Check the Redis that commands and services would use."""
    running = running_on(root)
    url = settings.redis_url or (running.redis_url if running else None)
    if url is None:
        return [_program(wait_s)]
    try:
        password = redis_password(settings) if settings.redis_url else None
    except ConfigError:
        return [Check("redis", "info", "not asked: its password cannot be read")]
    address = RedisBus(url, password=None, timeout_s=wait_s).address
    client = redis.Redis(
        connection_pool=redis.ConnectionPool.from_url(
            url,
            password=password,
            protocol=2,
            socket_timeout=wait_s,
            socket_connect_timeout=wait_s,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            driver_info=None,  # it would give a command that our users may not
        )
    )
    try:
        return _asked(client, address)
    except (redis.RedisError, OSError, UnicodeError) as error:
        trouble = trouble_of(error, address)
        return [Check("redis", "fail", trouble.found, trouble.fix)]
    finally:
        client.close()


def trouble_of(error: Exception, address: str) -> Trouble:
    """Return what keeps Redis from being used; nothing of the error's own text."""
    cause = error.__context__
    if isinstance(cause, socket.gaierror):
        return Trouble(f"{address} has no address (DNS)", "correct the host in HAWK_REDIS_URL")
    if isinstance(error, redis.TimeoutError):
        return Trouble(
            f"{address} does not answer",
            "see whether it hangs (`redis-cli --latency`) or a firewall drops it",
        )
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return Trouble(f"{address} reads its file", "wait until `redis-cli PING` says PONG")
    if isinstance(error, redis.AuthenticationError):
        return Trouble(
            f"{address} refuses the user or the password",
            "name the user in HAWK_REDIS_URL (redis://user@host) and the file of its password in "
            "HAWK_REDIS_PASSWORD_FILE",
        )
    if isinstance(cause, ssl.SSLError):
        return Trouble(f"TLS to {address} fails", "use redis:// if it speaks none, else its CA")
    if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
        return Trouble(
            f"nothing listens at {address}",
            "start Redis (`docker compose up -d redis`), or correct HAWK_REDIS_URL; without that "
            "setting `hawk up` starts its own",
        )
    return Trouble(
        f"{address} cannot be used ({type(error).__name__})", "see its log: something else listens"
    )


def _asked(client: redis.Redis, address: str) -> list[Check]:
    refused = [one.kind for one in STREAMS if not _may_look(client, one)]
    checks = [Check("redis", "ok", f"{address} answers"), _rights(client, refused)]
    try:
        facts = client.info("all")
    except redis.exceptions.NoPermissionError:
        fix = "as operator: `docker compose exec redis /etc/redis/operator-cli INFO`"
        found = "this user may not ask INFO: version, policy and memory cannot be seen"
        return [*checks, Check("redis policy", "info", found, fix)]
    return [*checks, *judged(facts)]


def judged(facts: Mapping[str, Any]) -> list[Check]:
    """Judge what INFO told."""
    version = str(facts.get("redis_version", ""))
    checks = [_version_check(version, f"version {version or 'not told'}")]
    policy = str(facts.get("maxmemory_policy", "not told"))
    if policy == "noeviction":
        checks.append(Check("redis policy", "ok", "maxmemory-policy noeviction"))
    else:
        found = f"maxmemory-policy {policy}: a full server forgets streams, and readers' places"
        fix = f"`maxmemory-policy noeviction` {_CONFIGURE} maxmemory-policy noeviction`"
        checks.append(Check("redis policy", "fail", found, fix))
    if str(facts.get("aof_enabled")) == "1":
        checks.append(Check("redis appendonly", "ok", "appendonly yes"))
    else:
        found = "appendonly no: after its restart every stream is published again from journals"
        fix = f"`appendonly yes` {_CONFIGURE} appendonly yes`"
        checks.append(Check("redis appendonly", "warn", found, fix))
    return [*checks, _memory(int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0)))]


def _memory(used: int, limit: int) -> Check:
    name, used_mb = "redis memory", used / 1e6
    fix = f"`maxmemory {MEMORY_MAX}` or more {_CONFIGURE} maxmemory {MEMORY_MAX}`"
    if limit == 0:
        found = f"{used_mb:.1f} MB used, without limit: it may take the machine's last"
        return Check(name, "warn", found, fix)
    found = f"{used_mb:.1f} MB of {limit / 1e6:.0f} MB used ({used / limit:.0%})"
    is_low = used > USED_SHARE_WARN * limit
    return Check(name, "warn" if is_low else "ok", found, fix if is_low else "")


def _rights(client: redis.Redis, refused: Sequence[str]) -> Check:
    """Tell who we are to Redis, and whether that is enough for a command that looks on."""
    name = "redis user"
    if refused:
        found = f"it may not look at {', '.join(refused)}"
        return Check(name, "fail", found, f"use the user `{CONSOLE}` in HAWK_REDIS_URL, or {_ACL}")
    try:
        user = _call(client, "ACL", "WHOAMI")
        rules = _flat(_call(client, "ACL", "GETUSER", user)).split()
    except redis.exceptions.NoPermissionError:
        return Check(
            name, "ok", f"of few rights; it may look at all {len(STREAMS)} kinds of stream"
        )
    told = ascii(_flat(user).decode(errors="replace")[:40])[1:-1]
    if not {b"+@all", b"~*"} <= set(rules):
        return Check(name, "ok", f"{told}, with rights of its own")
    if b"nopass" not in rules:
        return Check(name, "info", f"{told} may do everything")
    fix = "let only this machine reach it (`bind 127.0.0.1 -::1`), or make users: docs/security.md"
    return Check(name, "info", f"{told} may do everything, and needs no password", fix)


def _may_look(client: redis.Redis, one: Stream) -> bool:
    """Ask for the facts of a stream; that there is none yet is an answer too."""
    try:
        _call(client, "XINFO", "STREAM", stream_name(one.kind, UNDERLYING))
    except redis.exceptions.NoPermissionError:
        return False
    except redis.ResponseError:
        return True  # there is no such stream yet
    return True


def _call(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def _flat(value: Any) -> bytes:
    """Return a nested reply as one text to look words up in."""
    if isinstance(value, dict):
        return _flat([*value.keys(), *value.values()])
    if isinstance(value, list | tuple):
        return b" ".join(map(_flat, value))
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def _program(wait_s: float) -> Check:
    """Check the `redis-server` that `hawk up` would start."""
    server = server_path()
    if server is None:
        found = "HAWK_REDIS_URL names none and redis-server is not on PATH: streams live in memory"
        return Check("redis", "warn", found, "`apt-get install redis-server`, 7.0 or later")
    try:
        done = subprocess.run(
            [server, "--version"], capture_output=True, timeout=wait_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        fix = "install it anew: `apt-get install --reinstall redis-server`"
        return Check("redis", "fail", f"{server} does not run", fix)
    told = _VERSION.search(done.stdout.decode(errors="replace"))
    version = told[0].removeprefix("v=") if told else ""
    text = f"{server} {version or 'of unknown version'}: `hawk up` starts its own"
    return _version_check(version, text)


def _version_check(version: str, text: str) -> Check:
    found = _VERSION.match(version)
    if found is None:
        return Check("redis version", "warn", text, "expected is 7.0 or later: look by hand")
    if (int(found[1]), int(found[2])) < VERSION_MIN:
        return Check("redis version", "fail", text, "install Redis 7.0 or later")
    return Check("redis version", "ok", text)
