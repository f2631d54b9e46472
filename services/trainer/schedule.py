"""When to train: pure. In goes where things stand, out comes a cause or none, and what is missing.

Time is the stream's: a day of training schedule is a day of recorded market, at any speed.

A reader would question the waiting. Every candidate that is looked at lowers the level at which the
next is tested (`gate.level`), so a run whose verdict *cannot* be positive yet costs power and gives
nothing: the schedule waits until the gate's minimum of test windows and hours can have been seen.
A run that an operator asks for is never held back.
"""

from dataclasses import dataclass
from math import ceil

from services.trainer.gate import GatePolicy
from services.trainer.splits import INITIAL_SHARE

HOUR_NS = 3_600_000_000_000

HOURS_CUT = 2
"""Hours behind a champion's data that are not whole: the one in which it ended, and the windows of
the next that were open by then."""


@dataclass(frozen=True)
class Pace:
    """How often to look: every so many stream hours, or after so many new resolutions."""

    every_h: float
    resolutions: int


@dataclass(frozen=True)
class Standing:
    """Where training stands.

    `last_ns`: stream time of the last verdict, or of the first resolution where there was none (0:
    not even that); `resolutions` became known since; `windows`, `hours` can be tested, since the
    champion's data ended or from the beginning.
    """

    now_ns: int
    last_ns: int
    resolutions: int
    windows: int
    hours: int
    has_champion: bool = False


@dataclass(frozen=True)
class Need:
    """Windows and hours that a positive verdict needs at least."""

    windows: int
    hours: int


def need(policy: GatePolicy, *, has_champion: bool) -> Need:
    """Return what the gate needs to have been seen; a champion is tested on later windows only.

    >>> need(GatePolicy(), has_champion=False)
    Need(windows=167, hours=67)
    >>> need(GatePolicy(), has_champion=True)
    Need(windows=100, hours=42)
    """
    if has_champion:
        return Need(policy.windows_min, policy.blocks_min + HOURS_CUT)
    tested = 1.0 - INITIAL_SHARE
    return Need(ceil(policy.windows_min / tested), ceil(policy.blocks_min / tested))


def due(standing: Standing, pace: Pace, policy: GatePolicy) -> str | None:
    """Return the cause for which a run is due now, None while there is none.

    >>> week = Standing(now_ns=100 * HOUR_NS, last_ns=0, resolutions=9, windows=400, hours=99)
    >>> due(week, Pace(24.0, 500), GatePolicy()), due(week, Pace(200.0, 500), GatePolicy())
    ('schedule', None)
    """
    needed = need(policy, has_champion=standing.has_champion)
    if standing.windows < needed.windows or standing.hours < needed.hours:
        return None
    if standing.resolutions >= pace.resolutions:
        return "resolutions"
    if standing.now_ns - standing.last_ns >= pace.every_h * HOUR_NS:
        return "schedule"
    return None
