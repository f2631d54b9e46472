"""Ask an ASGI application without a socket."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from libs.common.web import Application


def ask(
    app: Application,
    method: str = "GET",
    *,
    content: bytes = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Return status and body of one request."""
    sent: list[MutableMapping[str, Any]] = []
    pieces = [content[i : i + 1000] for i in range(0, len(content), 1000)] or [b""]

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    fields = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": fields}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]
