"""Where the collector's events come from, as one line of text: parse it, refuse what is wrong.

In goes `live` (the venues themselves), `recording:DIR@SPEED` (SPEED a number, or `max` for as fast
as the readers follow) or `simulated@SPEED[,seed=S][,edge=E][,interval=I][,underlyings=N]`, out
comes a `Source`. Nothing is opened here: whether DIR is a recording is seen when it is read. What
live means (which series, from which addresses) are settings of their own.

Decision to question: `simulated@max` is refused. A recording at full speed has an end; a simulation
has none, and would fill the disk as fast as the machine allows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from libs.common.checks import ConfigError

FORM = (
    "live, recording:DIR@SPEED, recording:DIR@max or "
    "simulated@SPEED[,seed=S][,edge=E][,interval=SECONDS][,underlyings=N]"
)

SIMULATED_UNDERLYINGS = ("BTC-USD", "ETH-USD", "SOL-USD")
"""What can be simulated, in the simulator's order; `underlyings=N` takes the first N."""

SIMULATION_START_NS = 1_780_272_000_000_000_000
"""The first instant of every simulation, 2026-06-01 UTC."""

SIMULATION_DAYS_MAX = 3_660
"""Days from there on that can be drawn."""

SPEED_MIN, SPEED_MAX = 0.001, 100_000.0
"""Stream seconds per second; no machine keeps up with the largest (that is what `max` is for), and
below the smallest an hour would take longer than a month."""

EDGE_MAX = 4.0
"""Largest planted fault that the simulator draws."""

GRID_S = 300
"""A sample interval divides it, so that samples fall on every open and close."""

SEED_MAX = 2**63 - 1

_NUMBER = re.compile(r"-?[0-9.]+(e-?[0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """Where events come from; `speed` is stream seconds per second, None as fast as possible.

    Live, the speed is the clock's: 1, or the simulator's. `directory` belongs to a recording, the
    four last fields to a simulation.
    """

    kind: Literal["live", "recording", "simulated"]
    directory: Path | None = None
    speed: float | None = None
    seed: int = 1
    edge: float = 0.0
    interval_s: int = 10
    underlyings: tuple[str, ...] = SIMULATED_UNDERLYINGS


def parse_source(text: str) -> Source:
    """Parse the text of a source; raise `ConfigError` that names what is wrong and the form.

    >>> parse_source("recording:btc@max").speed is None
    True
    >>> source = parse_source("simulated@20,seed=7,underlyings=1")
    >>> source.speed, source.seed, source.interval_s, source.underlyings
    (20.0, 7, 10, ('BTC-USD',))
    >>> parse_source("simulated@20,interval=7")
    Traceback (most recent call last):
    ...
    libs.common.checks.ConfigError: source 'simulated@20,interval=7': interval '7' is not a divisor\
 of 300; the form is live, recording:DIR@SPEED, recording:DIR@max or\
 simulated@SPEED[,seed=S][,edge=E][,interval=SECONDS][,underlyings=N]
    """
    if text == "live":
        return Source("live", speed=1.0, interval_s=1)
    if text.startswith("recording:"):
        return _recording(text)
    if text.partition("@")[0] == "simulated":
        return _simulated(text)
    raise _fault(text, "it is neither live, a recording nor simulated")


def _recording(text: str) -> Source:
    # The last @, because a folder's name may hold one.
    directory, separator, speed = text.removeprefix("recording:").rpartition("@")
    if not separator:
        raise _fault(text, "it lacks @SPEED")
    if not directory or "\0" in directory:
        raise _fault(text, "it names no folder")
    if speed == "max":
        return Source("recording", Path(directory))
    return Source("recording", Path(directory), _speed(text, speed))


def _simulated(text: str) -> Source:
    speed, *options = text.partition("@")[2].split(",")
    if speed == "max":
        raise _fault(text, "a simulation has no end, so it needs a number for its speed")
    found: dict[str, Any] = {"speed": _speed(text, speed)}
    for option in options:
        name, _, value = option.partition("=")
        if name not in _OPTIONS:
            raise _fault(text, f"{option!r} is not one of {', '.join(_OPTIONS)}")
        field, read, expected = _OPTIONS[name]
        if field in found:
            raise _fault(text, f"{name} is given twice")
        try:
            found[field] = read(value)
        except ValueError as error:
            raise _fault(text, f"{name} {value!r} is not {expected}") from error
    return Source("simulated", **found)


def _speed(text: str, speed: str) -> float:
    try:
        return _number(speed, least=SPEED_MIN, most=SPEED_MAX)
    except ValueError as error:
        expected = f"a number from {SPEED_MIN:g} to {SPEED_MAX:.0f}"
        raise _fault(text, f"speed {speed!r} is not {expected}") from error


def _number(text: str, *, least: float, most: float) -> float:
    value = float(text)
    # float() also takes nan, underscores, white space and digits of other scripts.
    if not least <= value <= most or not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return value + 0.0  # minus zero becomes zero


def _whole(text: str, *, least: int, most: int) -> int:
    # int() also takes signs, underscores and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ValueError(text)
    return int(text)


def _seed(text: str) -> int:
    return _whole(text, least=0, most=SEED_MAX)


def _edge(text: str) -> float:
    return _number(text, least=0.0, most=EDGE_MAX)


def _interval(text: str) -> int:
    value = _whole(text, least=1, most=GRID_S)
    if GRID_S % value:
        raise ValueError(text)
    return value


def _underlyings(text: str) -> tuple[str, ...]:
    return SIMULATED_UNDERLYINGS[: _whole(text, least=1, most=len(SIMULATED_UNDERLYINGS))]


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any], str]] = {
    "seed": ("seed", _seed, "a whole number of 0 or more"),
    "edge": ("edge", _edge, f"a number from 0 to {EDGE_MAX:g}"),
    "interval": ("interval_s", _interval, f"a divisor of {GRID_S}"),
    "underlyings": ("underlyings", _underlyings, f"1 to {len(SIMULATED_UNDERLYINGS)}"),
}


def _fault(text: str, why: str) -> ConfigError:
    return ConfigError(f"source {text[:200]!r}: {why}; the form is {FORM}")
