"""Asks the other services whether they are alive, in a thread of its own: a page may take seconds.

Only where they are processes of this machine: `hawk up` in one process has nobody else to ask, and
services behind other addresses are watched by Prometheus.
"""

import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from libs.common.context import Context
from libs.common.memory_bus import MemoryBus
from libs.common.service import PORT_OFFSETS

TIMEOUT_S = 2.0
"""A page that takes longer does not answer."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def neighbours(context: Context) -> dict[str, str]:
    """Return the pages of the other services by name; none where they cannot be asked."""
    settings = context.settings
    if settings.http_host not in LOOPBACK or isinstance(context.bus, MemoryBus):
        return {}
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return {
        name: f"http://{host}:{settings.port + offset}/healthz"
        for name, offset in PORT_OFFSETS.items()
        if name != context.name
    }


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
