"""Asks the other services whether they are alive, in a thread of its own: a page may take seconds.

In go settings, out comes who answers. `HAWK_SERVICE_HOST` says where the others are: `{service}` in
it stands for a service's name (containers on one network), without it all are on that host. Where
it is empty they are asked on loopback if this machine is where they run; `hawk up` in one process
has nobody else to ask.

A reader would question that a bad pattern ends the monitor. A monitor that asks nobody looks like
one that finds everybody well.
"""

import re
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from libs.common.checks import ConfigError
from libs.common.context import Context
from libs.common.memory_bus import MemoryBus
from libs.common.service import PORT_OFFSETS

TIMEOUT_S = 2.0
"""A page that takes longer does not answer."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


PLACE = "{service}"

_HOST = re.compile(r"(?!.{254})[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
"""A host name or an IPv4 address: what may stand in an address without changing its meaning."""

_HOST_V6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def neighbours(context: Context) -> dict[str, str]:
    """Return the pages of the other services by name; none where they cannot be asked.

    Raises `ConfigError` for a HAWK_SERVICE_HOST that names no host.
    """
    settings = context.settings
    others = {name: offset for name, offset in PORT_OFFSETS.items() if name != context.name}
    hosts = {name: host_of(settings.service_host, name) for name in others}
    if isinstance(context.bus, MemoryBus):
        return {}
    if not settings.service_host:
        if settings.http_host not in LOOPBACK:
            return {}
        hosts = {name: host_of(settings.http_host, name) for name in others}
    return {
        name: f"http://{hosts[name]}:{settings.port + offset}/healthz"
        for name, offset in others.items()
    }


def host_of(pattern: str, service: str) -> str:
    """Return the host of a service, as it stands in an address; empty for an empty pattern.

    >>> host_of("hawk-{service}", "trader"), host_of("10.0.0.7", "trader"), host_of("::1", "trader")
    ('hawk-trader', '10.0.0.7', '[::1]')
    """
    host = pattern.replace(PLACE, service)
    if _HOST_V6.fullmatch(host):
        return f"[{host}]"
    if host and not _HOST.fullmatch(host):
        raise ConfigError(
            f"HAWK_SERVICE_HOST is {pattern[:80]!r}, expected a host name or address without port, "
            f"such as {PLACE} or hawk-{PLACE}.internal"
        )
    return host


def ask(pages: Mapping[str, str]) -> dict[str, bool]:
    """Return who answers."""
    return {name: _answers(page) for name, page in pages.items()}


def _answers(page: str) -> bool:
    # No proxy of the environment: these are our own pages on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(page, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False
