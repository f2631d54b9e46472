"""What does the whole stack cost at rest, and how soon is a killed service ready again?

`hawk up` on the simulation at speed 1, one snapshot a second on nine markets of three underlyings,
all services as processes on a Redis of their own. After a warm-up the CPU time of every process is
counted for a minute; then each service is killed with SIGKILL and the time until its `/readyz` says
yes is taken, the supervisor's wait included. Bars: under a tenth of one core in all, ready within
10 s.

It does not show a loaded market (hundreds of markets), nor a machine without other work: CPU time
is what the processes used, whatever ran beside them, but seconds until ready suffer.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

from benchmarks.common import bar, report

WARM_S, COUNTED_S = 45.0, 60.0
CORE_SHARE_MAX, READY_S_MAX = 0.10, 10.0
PORT = 18_880
GIVE_UP_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Start the stack, count, kill, print."""
    with tempfile.TemporaryDirectory(prefix="hawk-live-") as name:
        root = Path(name)
        env = {key: value for key, value in os.environ.items() if not key.startswith("HAWK_")}
        source = "simulated@1,seed=7,interval=1,underlyings=3"
        up = subprocess.Popen(
            [
                *(sys.executable, "-m", "services.console", "up", "--bus", "redis"),
                *("--data", str(root), "--source", source),
            ],
            env={**env, "HAWK_PORT": str(PORT), "HAWK_LOG_LEVEL": "error"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            bars = measured(root, up.pid)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(timeout=30)
    report(bars, note="simulated@1, one snapshot a second on 9 markets, all services and Redis")


def measured(root: Path, parent: int) -> list[dict[str, Any]]:
    """Return the bars of a stack that is starting."""
    ports = waited(lambda: json.loads((root / "run/up.json").read_text())["ports"])
    for port in ports.values():
        waited(lambda port=port: is_ready(port))
    time.sleep(WARM_S)
    before = {pid: cpu_s(pid) for pid in children(parent)}
    time.sleep(COUNTED_S)
    shares = {named(pid): round((cpu_s(pid) - was) / COUNTED_S, 4) for pid, was in before.items()}
    sizes = {named(pid): round(rss_bytes(pid) / 2**20) for pid in before}
    ready = {service: ready_again_s(parent, service, port) for service, port in ports.items()}
    return [
        bar("CPU of the whole stack, cores", sum(shares.values()), limit=CORE_SHARE_MAX, of=shares),
        bar(
            "seconds until ready after SIGKILL, slowest service",
            max(ready.values()),
            limit=READY_S_MAX,
            of=ready,
            rss_mib=sizes,
            rss_mib_all=sum(sizes.values()),
        ),
    ]


def ready_again_s(parent: int, service: str, port: int) -> float:
    """Kill a service and time it until it is ready."""
    (pid,) = (pid for pid in children(parent) if named(pid) == service)
    began_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    waited(lambda: not is_ready(port))
    waited(lambda: is_ready(port))
    return round(time.monotonic() - began_s, 2)


def waited(look: Any) -> Any:
    """Look until there is something; fail after GIVE_UP_S."""
    deadline = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise TimeoutError("the stack did not come up")


def is_ready(port: int) -> bool:
    """Ask `/readyz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def children(parent: int) -> list[int]:
    """Return the processes that `parent` started."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if stat(pid)[1:2] == [str(parent)]]


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and the children it has waited for."""
    return sum(map(int, stat(pid)[11:15])) / TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Return the resident size."""
    return int(stat(pid)[21]) * PAGE


def named(pid: int) -> str:
    """Name a process by its module, or its program."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    modules = [word.rpartition(".")[2] for word in words if word.startswith("services.")]
    return modules[0] if modules else Path(words[0].split()[0]).name


if __name__ == "__main__":
    main()
