"""Ports to listen on in tests."""

import socket


def free_port(count: int = 1) -> int:
    """Return the first of `count` neighbouring ports that nobody listens on."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + count <= 60_000 and all(map(is_free, range(first, first + count))):
            return first
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    """Tell whether nobody listens on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
