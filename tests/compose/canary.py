"""Where a secret could leak to, read whole, and the search for every form of it.

In goes a stack, out come `Place`s: logs, what Docker tells of containers and images, the history of
images, every page that a service, Prometheus or Alertmanager has, the environment and the arguments
of every process, every file of the volumes that are no secret's, and what Compose resolves. Parquet
is compressed, so it is searched as it reads.
"""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tests.compose.stack import BESIDE, SECRET_VOLUMES, SERVICES, Stack

NO_SECRETS = ("users.acl", "signing.pub", "alertmanager.yml")
"""Files beside the secrets: hashes of passwords, the public key, where the webhook's file lies."""

PAGES = {
    **dict.fromkeys(SERVICES, ("/healthz", "/readyz", "/metrics", "/version", "/v1/streams")),
    "prometheus": (
        *("/metrics", "/federate?match[]={__name__!=%22%22}", "/debug/pprof/cmdline"),
        *(f"/api/v1/status/{name}" for name in ("config", "flags", "runtimeinfo", "buildinfo")),
        *(f"/api/v1/{name}" for name in ("targets", "rules", "alerts", "alertmanagers", "labels")),
        "/api/v1/targets/metadata",
    ),
    "alertmanager": (
        *("/metrics", "/debug/pprof/cmdline"),
        *(f"/api/v2/{name}" for name in ("status", "alerts", "receivers", "silences")),
    ),
}

FORECAST_PAGES = (
    "/v1/model",
    "/v1/markets",
    "/v1/forecasts/latest",
    "/v1/docs",
    "/v1/openapi.json",
)

PROCESSES = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline"


@dataclass(frozen=True)
class Place:
    """Something that was read; `kind` is the same for all of its sort."""

    kind: str
    name: str
    content: bytes


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return a secret as it could be written: as it is, in hex, in both kinds of base64."""
    bare = secret.strip() or secret
    encoded = {base64.b64encode(text).rstrip(b"=") for text in (secret, bare)}
    urlsafe = {base64.urlsafe_b64encode(text).rstrip(b"=") for text in (secret, bare)}
    return (bare, bare.hex().encode(), *sorted(encoded | urlsafe))


def secrets_of(stack: Stack) -> dict[str, bytes]:
    """Return every secret of the stack, by its path."""
    found = stack.secret_files().items()
    return {path: content for path, (_, content) in found if not path.endswith(NO_SECRETS)}


def hits(places: Iterable[Place], secrets: Mapping[str, bytes]) -> list[tuple[str, str, str]]:
    """Return (kind, place, secret) of every form of a secret that stands somewhere."""
    wanted = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
    return sorted(
        {
            (place.kind, place.name, name)
            for place in places
            for name, form in wanted
            if form in place.content
        }
    )


def places(stack: Stack, *, more_pages: tuple[str, ...] = ()) -> Iterator[Place]:
    """Read everything; the services are frozen while their files are read."""
    for name, content in stack.past_logs.items():
        yield Place("log", f"past {name}", content)
    images = {}
    for container in stack.containers():
        name = container.name
        yield Place("log", name, container.logs())
        yield Place("container", name, json.dumps(container.attrs).encode())
        if container.status == "running":
            yield Place("process", name, _processes(container.id, stack))
        images[container.image.id] = container.image
    for name, image in images.items():
        told = f"{image.tags} {name}"
        yield Place("image", told, json.dumps(image.attrs).encode())
        yield Place("history", told, json.dumps(image.history()).encode())
    yield from _pages(stack, more_pages)
    config = stack.compose("--profile", "*", "config").stdout
    yield Place("config", "docker compose config", config.encode())
    yield from _files(stack)


def _processes(container_id: str, stack: Stack) -> bytes:
    container = stack.docker.containers.get(container_id)
    _, output = container.exec_run(["sh", "-c", PROCESSES])  # one may have ended meanwhile
    assert b"PATH=" in output, f"{container.name}: no environment was read: {output[:200]!r}"
    return bytes(output)


def _pages(stack: Stack, more: tuple[str, ...]) -> Iterator[Place]:
    ports = SERVICES | BESIDE
    urls = [f"http://{name}:{ports[name]}{path}" for name, paths in PAGES.items() for path in paths]
    keyed = [f"http://predictor:{ports['predictor']}{path}" for path in FORECAST_PAGES]
    read = stack.pages([*urls, *more])
    read += stack.pages(keyed, headers={"X-API-Key": stack.api_key()})
    for url, page in zip([*urls, *more, *keyed], read, strict=True):
        assert page.status, f"{url} does not answer: {page.body!r}"
        yield Place("page", url, page.body)


def _files(stack: Stack) -> Iterator[Place]:
    names = sorted(name for name in stack.volumes() if not name.startswith(SECRET_VOLUMES))
    running = [c for c in stack.containers() if c.status == "running"]
    for container in running:
        container.pause()
    try:
        for path, _, content in stack.files_in(names):
            yield Place("file", path, content)
            if path.endswith(".parquet"):
                yield Place("file", f"{path}, as it reads", _uncompressed(content))
    finally:
        for container in running:
            container.unpause()


def _uncompressed(content: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
