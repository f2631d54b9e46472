"""Ports to listen on in tests: below those that the kernel gives to connections by itself."""

import random
import socket

FIRST, LAST = 20_000, 32_000


def free_port(count: int = 1) -> int:
    """Return the first of `count` neighbouring ports that nobody has; drawn, for parallel runs."""
    for _ in range(100):
        first = random.randint(FIRST, LAST)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    """Tell whether `port` can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
