"""Our own `redis-server`: the bus of `hawk up` where one is installed and none is named.

Least exposure is the choice to question: no port at all, a Unix socket of mode 700 in a folder of
mode 700 below the data folder. Nobody else on the machine can reach it, no password has to be kept,
and no other Redis on the machine is in the way. What it holds is a convenience: the folder may be
removed at any time, the services publish again from their journals.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from libs.common import durable
from libs.common.checks import UnavailableError
from services.console.supervisor import Child

NAME = "redis"
SERVER = "redis-server"

MEMORY_MAX = "512mb"
"""Three times what the streams of three underlyings take at their longest: 20,000 entries each of
snapshots (0.4 kB), features (1.5 kB) and forecasts (0.6 kB). A full Redis refuses, and evicts
nothing."""

SOCKET_PATH_MAX = 100
"""The kernel takes 107 bytes; a longer path gets a private folder of its own."""

_SOCKET, _CONFIG, _LOG = "redis.sock", "redis.conf", "redis.log"


@dataclass(frozen=True)
class OwnRedis:
    """How to start the server, where it answers, and the private folder to remove after it."""

    child: Child
    url: str
    socket: Path
    log_file: Path
    private: Path | None

    def remove(self) -> None:
        """Remove what only a running server needs."""
        self.socket.unlink(missing_ok=True)
        if self.private is not None:
            shutil.rmtree(self.private, ignore_errors=True)


def server_path() -> str | None:
    """Return where `redis-server` is, None if it is not installed."""
    return shutil.which(SERVER)


def own_redis(root: Path) -> OwnRedis:
    """Prepare the server of the data folder `root`; raise `UnavailableError` without the program.

    Its folder holds the configuration, readable, with a reason for each line that matters.
    """
    server = server_path()
    if server is None:
        raise UnavailableError(f"{SERVER} is not on PATH: install it, or use --bus memory")
    folder = (root / "redis").resolve()
    private: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
        socket = folder / _SOCKET
        if len(os.fsencode(socket)) > SOCKET_PATH_MAX:
            private = Path(tempfile.mkdtemp(prefix="hawk-redis-"))  # mode 700
            socket = private / _SOCKET
    except OSError as error:
        raise durable.cannot_write(folder, error) from error
    config = folder / _CONFIG
    durable.write_atomic(config, configuration(folder, socket).encode(), name="redis.conf")
    child = Child(NAME, (server, str(config)))
    return OwnRedis(child, f"unix://{socket}", socket, folder / _LOG, private)


def configuration(folder: Path, socket: Path) -> str:
    """Return the server's configuration."""
    return f"""\
# Written anew by each `hawk up`; what is changed here does not last.
port 0
unixsocket {_quoted(socket)}
unixsocketperm 700
dir {_quoted(folder)}
logfile {_quoted(folder / _LOG)}
daemonize no

# The archive is the truth: a power cut may cost two seconds here, and they are published again.
appendonly yes
appendfsync everysec
save ""

# A full server must refuse, never forget: an evicted stream takes its readers' places with it.
maxmemory {MEMORY_MAX}
maxmemory-policy noeviction
"""


def _quoted(path: Path) -> str:
    r"""Quote a path for the configuration file.

    >>> _quoted(Path('a b"c'))
    '"a b\\"c"'
    """
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
