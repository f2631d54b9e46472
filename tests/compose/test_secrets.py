"""Secrets are files of one owner, and nowhere else: searched after services have crashed.

The search finds what is planted in each kind of place; only then its silence says something.
"""

import io
import json
import stat
import urllib.request
from collections.abc import Iterator

import pytest

from tests.compose.canary import Place, forms, hits, places, secrets_of
from tests.compose.stack import CONSOLE_IMAGE, SERVICES, Stack, wait_until

pytestmark = pytest.mark.compose

CANARY = "canary-5f0c2b7e9a4d4f6e8b1a3c5d7e9f0a2b"
WEBHOOK = "http://127.0.0.1:9/hook-8d2f4b6a0c9e4713a5b7d9e1f3c50728"
"""Nobody listens there, so Alertmanager has a failure to tell of."""

KINDS = {"log", "container", "process", "image", "history", "page", "config", "file"}

LEAK = """
import http.server, sys
print(sys.argv[1], flush=True)
open("/leak/file", "w").write(sys.argv[1])
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
http.server.HTTPServer(("", 8000), Page).serve_forever()
"""

NOTICE = {
    "labels": {"alertname": "canary", "severity": "page", "service": "none"},
    "annotations": {"summary": "a test"},
}


@pytest.fixture(scope="module")
def crashed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with a webhook that fails, after every service has crashed."""
    file = tmp_path_factory.mktemp("webhook") / "address"
    file.write_text(f"{WEBHOOK}\n")
    file.parent.chmod(0o755)
    file.chmod(0o444)
    stack.settings["HAWK_ALERT_WEBHOOK_FILE"] = str(file)
    _tell_alertmanager(stack)
    _notify(stack)
    for place, service in enumerate(SERVICES):
        stack.kill(service, signal=("SEGV", "ABRT")[place % 2])
    stack.wait_healthy()
    wait_until(lambda: _failed_notices(stack), "Alertmanager has failed to post", seconds=90)
    yield stack
    del stack.settings["HAWK_ALERT_WEBHOOK_FILE"]
    _tell_alertmanager(stack)


@pytest.fixture
def leaking(stack: Stack) -> Iterator[str]:
    """A container of the stack that does everything wrong; yields its page."""
    labels = {"com.docker.compose.project": stack.project}
    service = labels | {"com.docker.compose.service": "leak"}
    kept = labels | {"com.docker.compose.volume": "leak"}
    client = stack.docker
    volume = client.volumes.create(f"{stack.project}_leak", labels=kept)
    recipe = io.BytesIO(f"FROM {CONSOLE_IMAGE}\nENV LEAK={CANARY}\n".encode())
    image, _ = client.images.build(fileobj=recipe, tag=f"{stack.project}-leak", rm=True)
    container = client.containers.run(
        image.id,
        ["-c", LEAK, CANARY],
        entrypoint=["python"],
        name=f"{stack.project}-leak-1",
        user="0:0",
        labels=service,
        volumes={volume.name: {"bind": "/leak", "mode": "rw"}},
        network=f"{stack.project}_pages",
        detach=True,
    )
    source = stack.settings["HAWK_SOURCE"]
    stack.settings["HAWK_SOURCE"] = CANARY
    page = f"http://{stack.project}-leak-1:8000/metrics"
    try:
        wait_until(lambda: stack.pages([page])[0].status == 200, "the leak is served")
        yield page
    finally:
        stack.settings["HAWK_SOURCE"] = source
        container.remove(force=True)
        volume.remove(force=True)
        client.images.remove(image.id, force=True)


def test_every_secret_is_a_file_that_its_owner_alone_may_read(stack: Stack) -> None:
    found = stack.secret_files()
    for path, (facts, _) in found.items():
        assert stat.S_IMODE(facts.mode) == 0o400, path
        assert (facts.uid, facts.gid) == (10001, 10001), path
    services = {f"secrets-{name}/redis_password" for name in (*SERVICES, "console")}
    assert set(secrets_of(stack)) == {
        *services,
        "secrets-redis/operator_password",
        "secrets-redis/health_password",
        "secrets-predictor/api_key",
        "secrets-grafana/admin_password",
        "key-signing/signing.key",
    }
    contents = list(secrets_of(stack).values())
    assert len(set(contents)) == len(contents), "no secret is used twice"
    assert min(map(len, contents)) >= 32


def test_the_search_finds_what_is_planted(stack: Stack, leaking: str) -> None:
    found = hits(places(stack, more_pages=(leaking,)), {"planted": CANARY.encode()})
    assert {kind for kind, _, _ in found} == KINDS
    assert {name for kind, name, _ in found if kind == "page"} >= {leaking}
    told = [Place("log", "x", b"key=" + form) for form in forms(b"\x00\xff-a secret\n")]
    assert all(hits([place], {"s": b"\x00\xff-a secret\n"}) for place in told)


def test_no_secret_is_anywhere_after_a_crash(crashed: Stack) -> None:
    secrets = secrets_of(crashed)
    assert secrets["secrets-alertmanager/webhook_url"].decode().strip() == WEBHOOK
    # What is secret of an address is behind its host.
    secrets["secrets-alertmanager/webhook_url"] = WEBHOOK.rpartition("/")[2].encode()
    read: dict[str, int] = {}

    def counted() -> Iterator[Place]:
        for place in places(crashed):
            read[place.kind] = read.get(place.kind, 0) + len(place.content)
            yield place

    assert hits(counted(), secrets) == []
    assert set(read) == KINDS and min(read.values()) > 1000, read


def _tell_alertmanager(stack: Stack) -> None:
    """Make its settings anew, and let it read them."""
    stack.compose("run", "--rm", "-T", "--no-deps", "init")
    stack.compose("restart", "alertmanager")


def _notify(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.ports['alertmanager']}/api/v2/alerts"
    headers = {"content-type": "application/json"}

    def is_taken() -> bool:
        request = urllib.request.Request(url, json.dumps([NOTICE]).encode(), headers)
        try:
            return bool(urllib.request.urlopen(request, timeout=5).status == 200)
        except OSError:
            return False

    wait_until(is_taken, "Alertmanager takes an alert")


def _failed_notices(stack: Stack) -> bool:
    said = stack.page("alertmanager", "/metrics").body.decode().splitlines()
    name = "alertmanager_notifications_failed_total{"
    shown = [line for line in said if line.startswith(name) and '"webhook"' in line]
    return sum(float(line.split()[-1]) for line in shown) > 0
