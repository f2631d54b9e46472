"""Where a command that looks on finds the bus: the Redis that is named, or that of a `hawk up`.

A Redis that is named in the settings and does not answer is an error, not a reason to look
elsewhere: an operator who is shown an old archive while the streams are down would trust it.
"""

from pathlib import Path
from typing import NamedTuple

from libs.common import bus
from libs.common.checks import UnavailableError
from libs.common.redis_bus import connect
from libs.common.service import redis_password
from libs.common.settings import Settings
from services.console.running import Running, running_on

REPLY_S_MAX = 3.0
"""A person waits for this answer."""


class Place(NamedTuple):
    """The bus if there is one to reach from here, and the `hawk up` that runs, if any."""

    bus: bus.Bus | None
    running: Running | None


def find_bus(root: Path, settings: Settings) -> Place:
    """Return the bus of the data folder `root`; raise `BusError` if a Redis does not answer."""
    running = running_on(root)
    url = settings.redis_url or (running.redis_url if running else None)
    if url is None:
        return Place(None, running)
    found = connect(url, password=redis_password(settings), timeout_s=REPLY_S_MAX)
    found.ping()
    return Place(found, running)


def nothing_runs(root: Path) -> UnavailableError:
    """Return the one clear line for a command that needs the streams."""
    return UnavailableError(
        f"no `hawk up` runs on {root} and HAWK_REDIS_URL names no Redis: there are no streams"
    )
