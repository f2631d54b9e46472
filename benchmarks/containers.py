"""What does the Compose stack take: images on disk, seconds until ready, memory and CPU at rest?

`docker compose up` of everything but Grafana with the override for a 2 GB machine, under a project
and ports of its own, source simulated@1. Images are counted once per layer, as the disk holds them.
Each service is restarted by itself and asked for `/readyz` inside its container until it says yes.
Memory is what the control group holds without the file cache that can be dropped (`docker stats`
counts so); CPU is that of the containers, the health checks inside them included. Bars: at rest the
stack leaves half of 2 GB to the system, the cache and a training run; ready within 10 s; under a
tenth of a core for Hawk and Redis; the predictor's image without scikit-learn and pandas.

It does not show a training run (`rss_mb_max` of its verdict line says what that took), nor what the
engine itself spends on health checks.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from benchmarks.common import bar, report
from libs.common.service import PORT_OFFSETS
from libs.common.streams import SERVICES
from tests.console.ports import free_port

PROJECT = "hawk-benchmark"
FILES = ("docker-compose.yml", "deploy/compose.small.yml")
HERE = Path(__file__).parent.parent
OTHERS = ("redis", "prometheus", "alertmanager")

WARM_S, COUNTED_S = 90.0, 60.0
MEMORY_MIB_MAX, READY_S_MAX, CORE_SHARE_MAX, IMAGES_MB_MAX = 1024.0, 10.0, 0.10, 2500.0
GIVE_UP_S = 120.0
UNWANTED = ("sklearn", "pandas")


def main() -> None:
    """Build, start, count, restart, print."""
    with stack() as containers:
        bars = [*images(), *at_rest(containers), ready(containers)]
    report(bars, note="docker compose at simulated@1 with deploy/compose.small.yml, no Grafana")


@contextmanager
def stack() -> Iterator[dict[str, Any]]:
    """Give the containers of a stack of our own by service, and remove it afterwards."""
    port = free_port(4)
    names = ("HAWK_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")
    env = {key: value for key, value in os.environ.items() if not key.startswith("HAWK_")}
    env |= {name: str(port + place) for place, name in enumerate(names)}
    env |= {"COMPOSE_FILE": ":".join(FILES), "COMPOSE_PROJECT_NAME": PROJECT}
    env["HAWK_SOURCE"] = "simulated@1"

    def compose(*words: str) -> None:
        # The page of results is standard output's; what Compose says goes to standard error.
        subprocess.run(["docker", "compose", *words], cwd=HERE, env=env, stdout=2, check=True)

    try:
        compose("build", "--quiet")
        compose("up", "-d", "--wait", *SERVICES, *OTHERS)
        client = docker.from_env()
        found = {
            name: client.containers.get(f"{PROJECT}-{name}-1") for name in (*SERVICES, *OTHERS)
        }
        yield found
    finally:
        compose("down", "--volumes", "--remove-orphans")


def images() -> list[dict[str, Any]]:
    """Return the bars of the images."""
    client = docker.from_env()
    usage = client.df()["Images"]
    tagged = [image for image in usage if any(_is_ours(tag) for tag in image["RepoTags"] or ())]
    sizes = {_short(image): _mb(image["Size"]) for image in tagged}
    # All begin with the same layers, and what the smallest has beyond them is a megabyte.
    shared = min(sizes.values())
    own = {name: size - shared for name, size in sizes.items()}
    inside = client.containers.run(
        f"hawk-predictor:{os.environ.get('TAG', '0.1.0')}",
        ["-c", f"import importlib.util as u; print(*filter(u.find_spec, {UNWANTED!r}))"],
        entrypoint="python",
        remove=True,
        network_mode="none",
    )
    unwanted = inside.decode().split()
    return [
        bar(
            "images on disk, MB, each layer once",
            shared + sum(own.values()),
            limit=IMAGES_MB_MAX,
            shared_by_all=shared,
            beyond=own,
        ),
        bar("packages too many in the predictor", len(unwanted), limit=0, found=unwanted),
    ]


def at_rest(containers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the bars of memory and CPU."""
    time.sleep(WARM_S)
    before = {name: _stats(one) for name, one in containers.items()}
    began_s = time.monotonic()
    time.sleep(COUNTED_S)
    after = {name: _stats(one) for name, one in containers.items()}
    counted_s = time.monotonic() - began_s
    shares = {
        name: round((after[name][0] - before[name][0]) / 1e9 / counted_s, 4) for name in containers
    }
    memory = {name: round(after[name][1] / 2**20) for name in containers}
    ours = sum(shares[name] for name in (*SERVICES, "redis"))
    return [
        bar("memory at rest, MiB", sum(memory.values()), limit=MEMORY_MIB_MAX, of=memory),
        bar("CPU at rest of Hawk and Redis, cores", ours, limit=CORE_SHARE_MAX, of=shares),
    ]


def ready(containers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bar of the time from a start to ready."""
    seconds = {}
    for name in SERVICES:
        containers[name].stop()
        began_s = time.monotonic()
        containers[name].start()
        port = str(8480 + PORT_OFFSETS[name])
        while containers[name].exec_run(["healthcheck", port]).exit_code:
            if time.monotonic() > began_s + GIVE_UP_S:
                raise TimeoutError(f"{name} is not ready after {GIVE_UP_S:.0f} s")
        seconds[name] = round(time.monotonic() - began_s, 2)
    slowest = max(seconds.values())
    return bar(
        "seconds from start to ready, slowest service", slowest, limit=READY_S_MAX, of=seconds
    )


def _stats(container: Any) -> tuple[int, int]:
    """Return CPU time in ns and memory in bytes without droppable file cache."""
    found = container.stats(stream=False)
    memory = found["memory_stats"]
    # Control groups 2 and 1 name it differently.
    facts = memory["stats"]
    cache = facts.get("inactive_file", facts.get("total_inactive_file", 0))
    return found["cpu_stats"]["cpu_usage"]["total_usage"], memory["usage"] - cache


def _is_ours(tag: str) -> bool:
    return tag.startswith("hawk-") and tag.endswith(f":{os.environ.get('TAG', '0.1.0')}")


def _short(image: Mapping[str, Any]) -> str:
    return str(next(tag for tag in image["RepoTags"] if _is_ours(tag)))


def _mb(size: int) -> int:
    return round(size / 1e6)


if __name__ == "__main__":
    main()
