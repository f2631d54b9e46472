"""When a service that died is started again: the table of waits, and what no restart can heal.

The decision to question is that there is no limit to the number of restarts. A service dies
because something outside is wrong (a full disk, a broken file), and stays useful to a person who
finds it running again once that is mended; a wait that grows to half a minute costs nothing. What
the same command line can never get over, a wrong setting or a wrong call, ends everything at once.
"""

import signal
from dataclasses import dataclass, replace

from libs.common.checks import ConfigError, UsageError

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Wait before the first, second, ... restart in a row; the last one repeats."""

SETTLED_S = 60.0
"""A service that has run this long has got over it: its next death is a first one."""

HOPELESS_CODES = (UsageError.exit_code, ConfigError.exit_code)
"""Exit codes that the same settings will give again."""


@dataclass(frozen=True)
class Record:
    """How often in a row a service died, and from when on it may be started again."""

    deaths: int = 0
    due_s: float = 0.0

    def after_death(self, *, started_s: float, ended_s: float) -> "Record":
        """Return the record after a death at `ended_s` of a service started at `started_s`.

        >>> Record().after_death(started_s=0.0, ended_s=1.0)
        Record(deaths=1, due_s=1.5)
        """
        deaths = 1 if ended_s - started_s >= SETTLED_S else self.deaths + 1
        return replace(self, deaths=deaths, due_s=ended_s + backoff_s(deaths))


def backoff_s(deaths: int) -> float:
    """Return the wait before a restart after `deaths` in a row, 1 or more.

    >>> [backoff_s(n) for n in (1, 2, 7, 70)]
    [0.5, 1.0, 30.0, 30.0]
    """
    return BACKOFF_S[min(deaths, len(BACKOFF_S)) - 1]


def exit_text(code: int) -> str:
    """Say how a process ended, from `Popen.returncode`.

    >>> exit_text(1), exit_text(-9)
    ('exit code 1', 'signal SIGKILL')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
