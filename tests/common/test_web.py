"""The pages of a service, asked as an ASGI server asks."""

import asyncio
import json
import socket
import urllib.request
from typing import Any

import pytest

from libs.common.checks import UnavailableError
from libs.common.context import Health
from libs.common.web import Web, respond


def ask(web: Web, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    """Return status, content type and body."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    asyncio.run(web.app({"type": "http", "path": path, "method": method}, receive, send))
    kind = dict(sent[0]["headers"])[b"content-type"].decode()
    return sent[0]["status"], kind, sent[1]["body"]


def test_ready_only_when_no_service_has_a_reason() -> None:
    web, health = Web(), Health()
    web.add("trader", health)
    status, _, content = ask(web, "/readyz")
    assert status == 503
    assert json.loads(content)["services"]["trader"]["reasons"] == {"start": "starting"}
    health.set("start", None)
    health.note("model", "generation 3")
    status, _, content = ask(web, "/readyz")
    assert status == 200
    assert json.loads(content) == {
        "ready": True,
        "services": {"trader": {"reasons": {}, "notes": {"model": "generation 3"}}},
    }


def test_alive_whatever_is_not_ready() -> None:
    web = Web()
    web.add("trader", Health())
    assert ask(web, "/healthz")[0] == 200


def test_metrics_and_version_are_pages() -> None:
    status, kind, content = ask(Web(), "/metrics")
    assert status == 200 and kind.startswith("text/plain") and b"python_info" in content
    assert json.loads(ask(Web(), "/version")[2])["version"]


def test_metrics_show_the_services_of_this_process_as_they_are_now() -> None:
    web, health = Web(), Health()
    web.add("trader", health)
    assert b'hawk_service_ready{service="trader"} 0.0' in ask(web, "/metrics")[2]
    health.set("start", None)
    assert b'hawk_service_ready{service="trader"} 1.0' in ask(web, "/metrics")[2]
    assert b"hawk_service_ready{" not in ask(Web(), "/metrics")[2]


def test_other_paths_and_methods_are_problems_in_json() -> None:
    assert ask(Web(), "/nothing")[:2] == (404, "application/problem+json")
    assert ask(Web(), "/readyz", "POST")[:2] == (405, "application/problem+json")


def test_the_longest_mounted_prefix_wins_and_only_at_a_slash() -> None:
    def page(content: bytes) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await respond(send, 200, content)

        return app

    web = Web()
    web.mount("/v1", page(b"all"))
    web.mount("/v1/streams", page(b"streams"))
    assert ask(web, "/v1/streams")[2] == b"streams"
    assert ask(web, "/v1/model")[2] == b"all"
    assert ask(web, "/v1streams")[0] == 404


def test_a_taken_port_is_one_clear_line_and_a_free_one_serves() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}.*HAWK_PORT"):
            Web().start("127.0.0.1", port)
    web = Web()
    web.start("127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
            assert "server" not in {name.lower() for name in answer.headers}
    finally:
        web.stop()
