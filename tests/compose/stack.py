"""A Hawk stack of its own, from a clone of this working tree, by the plain `docker-compose.yml`.

The clone lies in a temporary folder, so no `.env` of the user and no file of the repository takes
part. Project name, image tag and published ports are the run's own: a stack that runs here for real
is not touched. Compose does what a user does with it (build, up, down, run); everything else, from
reading a page to killing a process, goes through the Docker SDK, and pages are read inside, because
what is published is only a part of them.
"""

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

ROOT = Path(__file__).parent.parent.parent
TAG = "hawktest"
CONSOLE_IMAGE = f"hawk-console:{TAG}"
SOURCE = "simulated@20,edge=1.5"

SERVICES = {
    "predictor": 8480,
    "collector": 8481,
    "features": 8482,
    "trader": 8483,
    "trainer": 8484,
    "monitor": 8485,
}
BESIDE = {"redis": 6379, "prometheus": 9090, "alertmanager": 9093}
"""What is not ours. Grafana is never started: there is not always an image to be had."""

ALERTMANAGER = "http://alertmanager:9093"

PORTS = {"predictor": "HAWK_PORT", "prometheus": "PROMETHEUS_PORT"} | {
    "alertmanager": "ALERTMANAGER_PORT",
    "grafana": "GRAFANA_PORT",
}
"""Published services and the variables of their ports."""

COMMAND_S_MAX = 420.0
"""Longest Compose command: a build without any cached layer."""

HEALTHY_S_MAX = 120.0
"""A service is ready within seconds, and Docker looks every ten; machines differ."""

SECRET_VOLUMES = ("secrets-", "key-")

KILL_ALL = "kill -{signal} $(cat /proc/1/task/1/children)"
"""Ends the service from inside: a kill from outside would tell Docker not to start it again."""

READ_PAGES = """
import base64, json, sys, urllib.request, urllib.error
found = {}
for url, headers in json.loads(sys.argv[1]):
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as page:
            found[url] = page.status, base64.b64encode(page.read()).decode()
    except urllib.error.HTTPError as error:
        found[url] = error.code, base64.b64encode(error.read()).decode()
    except OSError as error:
        found[url] = 0, base64.b64encode(str(error).encode()).decode()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Page:
    """An answer; status 0: there was none, and the body says why."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return what it says."""
        return json.loads(self.body)


class Stack:
    """One project: `up`, look at it, break it, `down`."""

    def __init__(self, folder: Path, project: str) -> None:
        self.folder, self.project = folder, project
        self.docker = docker.from_env(timeout=60)
        self.ports = {service: _free_port() for service in PORTS}
        self.settings = {"TAG": TAG, "HAWK_SOURCE": SOURCE} | {
            PORTS[service]: str(port) for service, port in self.ports.items()
        }
        self.past_logs: dict[str, bytes] = {}

    def compose(self, *words: str, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` as a user would, without a setting of who runs the test."""
        return self._run("docker", "compose", *words, is_checked=is_checked)

    def script(self, name: str, *words: str) -> None:
        """Run a script of `deploy`, which finds the project by its name in the environment.

        From its own folder: a script that looks for itself after going elsewhere does not find it.
        """
        self._run("env", "-C", "deploy", f"./{name}", *words)

    def started(self) -> list[str]:
        """Name what `up` starts here: every service but Grafana."""
        named = self.compose("config", "--services").stdout.split()
        return sorted(set(named) - {"grafana"})

    def up(self) -> None:
        """Start everything and wait until it is healthy."""
        # One at a time would be slower, more than two on two cores as well.
        self.compose("up", "-d", "--wait", *self.started())

    def down(self) -> None:
        """Stop and remove everything but the volumes; what was logged is kept here."""
        self.keep_logs()
        self.compose("down")

    def remove(self) -> None:
        """Remove all of it, volumes too."""
        self.compose("--profile", "*", "down", "-v", "--remove-orphans", is_checked=False)
        for volume in self.docker.volumes.list(filters={"label": self._label()}):
            volume.remove(force=True)
        self.docker.close()

    def keep_logs(self) -> None:
        """Remember what the present containers have logged."""
        for container in self.containers():
            name = f"{container.name} {container.id[:12]}"
            self.past_logs[name] = container.logs()

    def containers(self) -> list[Container]:
        """Return all containers of the project, also those that have ended."""
        found: list[Container] = self.docker.containers.list(
            all=True, filters={"label": self._label()}
        )
        return found

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        return self.docker.containers.get(f"{self.project}-{service}-1")

    def shell(self, service: str, script: str) -> str:
        """Run a script of `sh` inside a container as its own user; return what it prints."""
        code, output = self.container(service).exec_run(["sh", "-c", script])
        text = output.decode(errors="replace")
        assert code == 0, f"{service}: {script}: exit {code}: {text}"
        return text

    def pages(self, urls: Sequence[str], *, headers: Mapping[str, str] | None = None) -> list[Page]:
        """Read pages from inside the network of the pages, by the monitor's Python.

        Those of Alertmanager, which is not on it, are read where they are published.
        """
        outside = [url for url in urls if url.startswith(ALERTMANAGER)]
        if outside:
            inside = iter(self.pages([url for url in urls if url not in outside], headers=headers))
            return [self._published(url) if url in outside else next(inside) for url in urls]
        wanted = json.dumps([(url, dict(headers or {})) for url in urls])
        command = ["python", "-c", READ_PAGES, wanted]
        reader = self.container("monitor")
        code, (output, complaint) = reader.exec_run(command, demux=True)
        assert code == 0, complaint
        found = json.loads(output)
        return [Page(found[url][0], base64.b64decode(found[url][1])) for url in urls]

    def _published(self, url: str) -> Page:
        path = url.removeprefix(ALERTMANAGER)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports['alertmanager']}{path}", timeout=10
            ) as answer:
                return Page(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Page(error.code, error.read())
        except OSError as error:
            return Page(0, str(error).encode())

    def page(self, service: str, path: str) -> Page:
        """Read one page of a service."""
        port = (SERVICES | BESIDE)[service]
        return self.pages([f"http://{service}:{port}{path}"])[0]

    def api_key(self) -> str:
        """Return the key of the forecast page as the README tells to read it."""
        return self.compose("exec", "predictor", "cat", "/run/hawk/api_key").stdout.strip()

    def operator(self, *words: str) -> str:
        """Run `redis-cli` as the operator."""
        told = ["exec", "-T", "redis", "/etc/redis/operator-cli", *words]
        return self.compose(*told).stdout

    def hawk(self, *words: str, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `hawk` command as the manual tells, without looking after the other services."""
        return self.compose("run", "--rm", "-T", "--no-deps", "hawk", *words, is_checked=is_checked)

    def positions(self) -> dict[str, int]:
        """Return the writer's number of the newest entry of each market stream."""
        lines = json.loads(self.hawk("streams", "--json").stdout)
        market = (line for line in lines if "{control}" not in line["name"])
        return {line["name"]: int(line["last"].split("-")[1]) for line in market}

    def kill(self, service: str, signal: str = "KILL") -> None:
        """End the process of a service from inside its container."""
        before = self.restarts(service)
        script = KILL_ALL.format(signal=signal)
        self.container(service).exec_run(["sh", "-c", script])  # its shell may die with it
        wait_until(
            # Counted before it runs; in between Docker lets nothing into it.
            lambda: self.restarts(service) > before and self.container(service).status == "running",
            f"{service} is started again",
        )

    def restarts(self, service: str) -> int:
        """Return how often Docker has started the container again."""
        return int(self.container(service).attrs["RestartCount"])

    def wait_healthy(self) -> None:
        """Wait until everything runs, and everything that has a health check passes it."""

        def sick() -> list[str]:
            return [c.name for c in self.containers() if not _is_well(c)]

        wait_until(lambda: not sick(), f"all healthy, but {sick()}", seconds=HEALTHY_S_MAX)

    def volumes(self) -> dict[str, str]:
        """Return the volumes of the project: short name and name."""
        found = self.docker.volumes.list(filters={"label": self._label()})
        return {v.attrs["Labels"]["com.docker.compose.volume"]: v.name for v in found}

    def files_in(self, names: Sequence[str]) -> Iterator[tuple[str, tarfile.TarInfo, bytes]]:
        """Read volumes whole, without a process of anybody: (path, its facts, content)."""
        volumes = self.volumes()
        mounts = {volumes[name]: {"bind": f"/read/{name}", "mode": "ro"} for name in names}
        reader = self.docker.containers.create(CONSOLE_IMAGE, volumes=mounts)
        try:
            for name in names:
                stream, _ = reader.get_archive(f"/read/{name}")
                with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
                    for member in archive:
                        content = archive.extractfile(member) if member.isfile() else None
                        yield member.name, member, content.read() if content else b""
        finally:
            reader.remove(v=False)

    def secret_files(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Return every file of the volumes that hold secrets, by its path."""
        names = sorted(name for name in self.volumes() if name.startswith(SECRET_VOLUMES))
        found = self.files_in(names)
        return {path: (facts, content) for path, facts, content in found if facts.isfile()}

    def _run(self, *command: str, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or "DOCKER" in k}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=kept | {"COMPOSE_PROJECT_NAME": self.project} | self.settings,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not (is_checked and done.returncode), f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def _label(self) -> str:
        return f"com.docker.compose.project={self.project}"


def clone(folder: Path) -> Path:
    """Copy what a clone of this working tree would have; return the folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def wait_until(holds: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
    """Wait for a condition, looking four times a second; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.25)


def _is_well(container: Container) -> bool:
    state = container.attrs["State"]
    if container.labels["com.docker.compose.service"] == "init":
        return bool(state["Status"] == "exited" and state["ExitCode"] == 0)
    is_healthy = state.get("Health", {}).get("Status", "healthy") == "healthy"
    return bool(state["Running"] and is_healthy)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
