"""What a container may do and whom it reaches, held against tables that stand here in full.

The fields are looked up twice: in what Compose resolves, for every service with Grafana and the
tools, and in what Docker says of the containers that run. CIS Docker Benchmark items 4.1, 5.3, 5.4,
5.5, 5.9, 5.10, 5.11, 5.12, 5.13, 5.14, 5.15, 5.16, 5.25, 5.28 and 5.31 are among them.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from docker.models.containers import Container

from tests.compose.stack import BESIDE, CONSOLE_IMAGE, PORTS, SERVICES, Stack

pytestmark = pytest.mark.compose

USER = "10001:10001"
ONE_SHOT = {"init", "hawk", "hawk-venues", "volumes"}
ALL = " ".join(SERVICES)

MOUNTS = {
    # volume: (who writes, who only reads)
    "archive": (f"{ALL} hawk hawk-venues volumes", ""),
    "audit": ("predictor trainer volumes", "monitor hawk"),
    "ledger": ("trader volumes", "hawk"),
    "models": ("trainer volumes", "predictor monitor hawk"),
    "locks": (f"{ALL} hawk hawk-venues", ""),
    "backfill": ("collector hawk-venues", ""),
    "captures": ("collector", "hawk"),
    "simulator": ("collector", ""),
    "source": ("simulator", "collector hawk hawk-venues"),
    "training": ("trainer", ""),
    "key-signing": ("init volumes", "trainer"),
    "key-verifying": ("init volumes", "predictor monitor hawk"),
    **{f"secrets-{name}": ("init volumes", name) for name in SERVICES},
    "secrets-console": ("init volumes", "hawk hawk-venues"),
    **{f"secrets-{name}": ("init volumes", name) for name in ("redis", "grafana", "alertmanager")},
    "redis": ("init redis volumes", ""),
    **{name: (f"init {name}", "") for name in ("prometheus", "alertmanager", "grafana")},
}

NETWORKS = {
    "init": "",
    "volumes": "",
    "redis": "bus",
    **dict.fromkeys(("features", "trader", "trainer", "monitor"), "bus pages"),
    "collector": "bus pages venues",
    "simulator": "pages",
    "hawk": "bus pages",
    "hawk-venues": "bus pages venues",
    "predictor": "bus pages published",
    "prometheus": "pages alerts published",
    "grafana": "pages published",
    "alertmanager": "alerts outside",
}

INTERNAL = ("bus", "pages", "alerts")

PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def is_open(target):
    try:
        socket.create_connection(target, timeout=1).close()
        return True
    except OSError:
        return False
targets = [(host, port) for host, port in json.loads(sys.argv[1])]
with ThreadPoolExecutor(64) as pool:
    print(json.dumps([t for t, found in zip(targets, pool.map(is_open, targets)) if found]))
"""


@pytest.fixture(scope="module")
def resolved(stack: Stack) -> dict[str, Any]:
    """What Compose makes of the file, tools and Grafana too."""
    told = stack.compose("--profile", "*", "config", "--format", "json").stdout
    return dict(json.loads(told))


def service_of(container: Container) -> str:
    return str(container.labels["com.docker.compose.service"])


def probe(stack: Stack, targets: list[tuple[str, int]], *, network: str) -> set[tuple[str, int]]:
    """Return the targets that take a connection from a container on `network`."""
    said = stack.docker.containers.run(
        CONSOLE_IMAGE,
        ["-c", PROBE, json.dumps(targets)],
        entrypoint=["python"],
        network=network,
        remove=True,
    )
    return {(host, port) for host, port in json.loads(said)}


@pytest.fixture(scope="module")
def foreign(stack: Stack) -> Iterator[str]:
    """A network that is none of the stack's."""
    network = stack.docker.networks.create(f"{stack.project}-foreign")
    yield network.name
    network.remove()


def test_compose_resolves_every_service_to_a_container_without_rights(
    resolved: dict[str, Any],
) -> None:
    assert set(resolved["services"]) == set(NETWORKS)
    for name, service in resolved["services"].items():
        found = {
            "user": service.get("user"),
            "read_only": service.get("read_only"),
            "cap_drop": service.get("cap_drop"),
            "security_opt": service.get("security_opt"),
            "init": service.get("init"),
            "restart": service.get("restart"),
        }
        assert found == {
            "user": USER,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "init": True,
            "restart": "no" if name in ONE_SHOT else "unless-stopped",
        }, name
        assert 0 < service["pids_limit"] <= 128 and 0 < service["cpus"] <= 2, name
        assert 0 < int(service["mem_limit"]) <= 2 << 30, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        given = {"privileged", "cap_add", "devices", "pid", "ipc", "uts", "userns_mode", "cgroup"}
        assert not given & set(service), name
        assert service.get("network_mode") in (None, "none"), name


def test_no_socket_of_docker_and_nothing_of_the_host_is_mounted(
    stack: Stack, resolved: dict[str, Any]
) -> None:
    assert "docker.sock" not in json.dumps(resolved)
    for name, service in resolved["services"].items():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind":
                own = f"{mount['source']}/".startswith(f"{stack.folder}/deploy/")
                assert own or (name, mount["source"]) == ("init", "/dev/null"), name
                assert mount["read_only"], name


def test_ports_are_published_on_loopback_and_only_those_in_the_manual(
    resolved: dict[str, Any],
) -> None:
    published = {
        name: [port["host_ip"] for port in service["ports"]]
        for name, service in resolved["services"].items()
        if service.get("ports")
    }
    assert published == {name: ["127.0.0.1"] for name in PORTS}


def test_who_holds_which_volume_is_what_the_table_says(
    stack: Stack, resolved: dict[str, Any]
) -> None:
    found: dict[str, tuple[set[str], set[str]]] = {name: (set(), set()) for name in MOUNTS}
    for name, service in resolved["services"].items():
        for mount in service.get("volumes", ()):
            if mount["type"] == "volume":
                found[mount["source"]][bool(mount.get("read_only"))].add(name)
    wanted = {n: (set(write.split()), set(read.split())) for n, (write, read) in MOUNTS.items()}
    assert found == wanted
    assert set(resolved["volumes"]) == set(MOUNTS)
    # And the containers that run have what was resolved.
    names = {full: short for short, full in stack.volumes().items()}
    for container in stack.containers():
        for mount in container.attrs["Mounts"]:
            if mount["Type"] == "volume":
                holders = wanted[names[mount["Name"]]][0 if mount["RW"] else 1]
                assert service_of(container) in holders, mount


def test_docker_runs_every_container_without_rights(stack: Stack) -> None:
    for container in stack.containers():
        name, host = service_of(container), container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"] == USER, name
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert 0 < host["PidsLimit"] <= 128 and host["Memory"] > 0 and host["NanoCpus"] > 0, name
        assert host["Init"] and not host["Privileged"] and not host["Devices"], name
        assert {"Name": "core", "Soft": 0, "Hard": 0} in host["Ulimits"], name
        assert host["NetworkMode"] != "host" and host["PidMode"] == host["UTSMode"] == "", name
        assert host["IpcMode"] in ("private", ""), name
        assert host["RestartPolicy"]["Name"] == ("no" if name in ONE_SHOT else "unless-stopped")
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        assert "docker.sock" not in json.dumps(container.attrs), name
        bound = [b["HostIp"] for ports in (host["PortBindings"] or {}).values() for b in ports]
        assert bound == (["127.0.0.1"] if name in PORTS else []), name


def test_the_kernel_agrees_that_a_process_has_no_rights(stack: Stack) -> None:
    for name in (*SERVICES, *BESIDE):
        lines = stack.shell(name, "cat /proc/1/status").splitlines()
        status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert status["Uid"] == status["Gid"] == ["10001"] * 4, name
        sets = {status[f"Cap{kind}"][0].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
        assert sets == {""}, name
        assert status["NoNewPrivs"] == ["1"] and status["Seccomp"] == ["2"], name
        assert " 0 " in _line(stack.shell(name, "cat /proc/1/limits"), "Max core file size"), name


def test_the_image_is_read_only_and_nothing_in_tmp_runs(stack: Stack) -> None:
    places = "/ /etc /usr /usr/bin /opt /var /home /root /run /run/hawk /data /etc/redis /data/keys"
    script = f"for d in {places}; do [ -d $d ] && touch $d/x 2>/dev/null && echo $d; done; true"
    for name in (*SERVICES, *BESIDE):
        # Redis has its volume there.
        allowed = ["/data"] if name == "redis" else []
        assert stack.shell(name, script).split() == allowed, name
    stack.shell("redis", "rm /data/x")
    for name in SERVICES:
        stack.shell(name, "cp /bin/true /tmp/true; if /tmp/true 2>/dev/null; then exit 7; fi")
        stack.shell(name, "rm /tmp/true")


def test_networks_are_who_needs_whom(stack: Stack, resolved: dict[str, Any]) -> None:
    found = {
        name: " ".join(service.get("networks") or ())
        for name, service in resolved["services"].items()
    }
    assert {n: set(w.split()) for n, w in found.items()} == {
        n: set(w.split()) for n, w in NETWORKS.items()
    }
    networks: Mapping[str, Any] = resolved["networks"]
    assert all(networks[name]["internal"] for name in INTERNAL)
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert networks["published"]["driver_opts"] == {masquerade: "false"}
    for name in INTERNAL:
        assert stack.docker.networks.get(f"{stack.project}_{name}").attrs["Internal"]


def addresses(stack: Stack) -> tuple[dict[str, list[str]], set[str]]:
    """Return each service's addresses, and the addresses of the host on the stack's networks."""
    inside: dict[str, list[str]] = {}
    host = set()
    for container in stack.containers():
        networks = container.attrs["NetworkSettings"]["Networks"].values()
        inside[service_of(container)] = [n["IPAddress"] for n in networks if n["IPAddress"]]
    for network in stack.docker.networks.list(names=[f"{stack.project}_", "bridge"]):
        host |= {c["Gateway"] for c in network.attrs["IPAM"]["Config"] or () if "Gateway" in c}
    return inside, host


def test_from_another_network_nothing_answers(stack: Stack, foreign: str) -> None:
    inside, host = addresses(stack)
    host |= {c["Gateway"] for c in stack.docker.networks.get(foreign).attrs["IPAM"]["Config"]}
    ports = [*(SERVICES | BESIDE).values(), 3000]
    targets = [(address, port) for found in inside.values() for address in found for port in ports]
    targets += [(address, port) for address in host for port in stack.ports.values()]
    assert len(targets) > 100
    assert probe(stack, targets, network=foreign) == set()
    assert probe(stack, targets, network="bridge") == set()
    # The probe can find: on the network of the pages it sees them, and only them.
    pages = probe(stack, targets, network=f"{stack.project}_pages")
    seen = {(service, port) for service, own in inside.items() for a, port in pages if a in own}
    wanted = SERVICES | BESIDE
    del wanted["redis"], wanted["alertmanager"]
    assert seen == set(wanted.items())
    bus = probe(stack, targets, network=f"{stack.project}_bus")
    assert {port for address, port in bus if address in inside["redis"]} == {6379}


def test_what_is_published_answers_on_loopback_alone(stack: Stack) -> None:
    _, host = addresses(stack)
    for name in ("predictor", "prometheus", "alertmanager"):
        socket.create_connection(("127.0.0.1", stack.ports[name]), timeout=2).close()
        for address in host:
            with pytest.raises(OSError):
                socket.create_connection((address, stack.ports[name]), timeout=2).close()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start)) + " "
