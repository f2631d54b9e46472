"""The pages of a service: `/healthz`, `/readyz`, `/metrics`, `/version`, and what it mounts.

A plain ASGI application on uvicorn in a thread of its own, on loopback unless told otherwise. It is
written by hand because there is nothing to it, and because the predictor's hot route is mounted
behind the same door. In one process with all services it is one server for all of them.

The decision to question: `/healthz` says only that the process answers. A service that cannot work
is *not ready*, with reasons, and goes on trying; restarting it would not bring its Redis back.
"""

import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import version
from typing import Any

import msgspec
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from libs.common.checks import UnavailableError
from libs.common.http_deadline import DeadlineProtocol
from libs.common.vitals import ReportsHealth, Vitals

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

DRAIN_S = 3
"""Time that running requests get at the end; a service has ten seconds in all."""

BACKLOG = 128
_JSON, _PROBLEM = b"application/json", b"application/problem+json"


class Web:
    """The pages of this process; `app` is the ASGI application."""

    def __init__(self) -> None:
        self._services: dict[str, ReportsHealth] = {}
        # Not in the registry of the process: a test or a console may hold several of these.
        self._vitals = CollectorRegistry()
        self._vitals.register(Vitals(self._services))
        self._mounts: dict[str, Application] = {}
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def add(self, name: str, health: ReportsHealth) -> None:
        """Report the health of service `name`."""
        self._services[name] = health

    def mount(self, prefix: str, app: Application) -> None:
        """Serve paths that start with `prefix`, unchanged, by `app`; the longest prefix wins."""
        self._mounts[prefix] = app

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = str(scope["path"])
        for prefix in sorted(self._mounts, key=len, reverse=True):
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                await self._mounts[prefix](scope, receive, send)
                return
        pages = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/version": _version,
        }
        if path not in pages:
            await problem(send, 404, f"no page {path[:100]}")
        elif scope["method"] not in ("GET", "HEAD"):
            await problem(send, 405, f"{path} is read with GET")
        else:
            status, kind, content = pages[path]()
            await respond(send, status, content, kind=kind)

    def start(self, host: str, port: int) -> None:
        """Listen; raise `UnavailableError` if the port is taken."""
        listener = _listen(host, port)
        config = uvicorn.Config(
            self.app,
            interface="asgi3",  # what it would guess of a bound method is wrong
            http=DeadlineProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        server = uvicorn.Server(config)
        self._server = server
        self._thread = threading.Thread(
            target=lambda: server.run(sockets=[listener]), name="web", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for running requests."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=DRAIN_S + 1)

    def _healthz(self) -> tuple[int, bytes, bytes]:
        return 200, _JSON, b'{"alive":true}'

    def _readyz(self) -> tuple[int, bytes, bytes]:
        services = {
            name: {"reasons": dict(health.reasons()), "notes": dict(health.notes())}
            for name, health in self._services.items()
        }
        is_ready = not any(service["reasons"] for service in services.values())
        content = msgspec.json.encode({"ready": is_ready, "services": services})
        return (200 if is_ready else 503), _JSON, content

    def _metrics(self) -> tuple[int, bytes, bytes]:
        content = generate_latest() + generate_latest(self._vitals)
        return 200, CONTENT_TYPE_LATEST.encode(), content


async def respond(
    send: Send, status: int, content: bytes, *, kind: bytes = _JSON, headers: Any = ()
) -> None:
    """Send a whole answer."""
    fields = [(b"content-type", kind), (b"content-length", str(len(content)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": content})


async def problem(send: Send, status: int, detail: str, *, headers: Any = ()) -> None:
    """Send an error as problem+json (RFC 9457)."""
    content = msgspec.json.encode({"type": "about:blank", "status": status, "detail": detail})
    await respond(send, status, content, kind=_PROBLEM, headers=headers)


def _version() -> tuple[int, bytes, bytes]:
    python = ".".join(map(str, sys.version_info[:3]))
    content = msgspec.json.encode({"version": version("hawk"), "python": python})
    return 200, _JSON, content


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart within a minute would otherwise find its own old connections in the way.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses the port or set "
            "HAWK_PORT"
        ) from error
    return listener
