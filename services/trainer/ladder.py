"""Which rung is earned: a climb is taken only if every rung below is clearly beaten.

In go the forecasts of all rungs on the same walk-forward rows, out come the rung and the steps that
led there. "Clearly" is one standard error over hour blocks in the standardised score. It is a
filter against noise, not the proof (the gate's bound is): a ladder that climbed on noise would
still be rejected, but the rung below would not have been tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.model import Rung
from libs.common.scoring import FloatArray, IntArray, score, squared_error, standard_error

ERRORS_MIN = 1.0
"""Block standard errors by which a rung must beat each rung below."""

RUNGS: tuple[Rung, ...] = ("identity", "anchored", "residual")


@dataclass(frozen=True)
class Step:
    """One comparison on the way up: `gain` in standardised Brier, > 0 where `rung` is better."""

    rung: Rung
    below: Rung
    gain: float
    error: float
    beaten: bool


@dataclass(frozen=True)
class Climb:
    """The rung earned and every comparison made."""

    rung: Rung
    steps: tuple[Step, ...]


def climb(
    p: Mapping[Rung, FloatArray], y: FloatArray, *, share: FloatArray, block: IntArray
) -> Climb:
    """Climb from the market's mid (`p["identity"]`) as far as the scores allow.

    A rung must beat *all* rungs below: trees that beat a bad rung 1 have not beaten the market.
    """
    earned: Rung = "identity"
    steps = []
    losses = {rung: squared_error(p[rung], y) for rung in RUNGS if rung in p}
    for number, rung in enumerate(RUNGS):
        if number == 0 or rung not in losses:
            continue
        made = [
            _step(rung, below, losses, share=share, block=block)
            for below in RUNGS[:number]
            if below in losses
        ]
        steps += made
        if all(step.beaten for step in made):
            earned = rung
    return Climb(earned, tuple(steps))


def _step(
    rung: Rung,
    below: Rung,
    losses: Mapping[Rung, FloatArray],
    *,
    share: FloatArray,
    block: IntArray,
) -> Step:
    better = losses[below] - losses[rung]
    gain, error = score(better, share), standard_error(better, share, block)
    # A NaN error (one block) makes the comparison false: not beaten.
    return Step(rung, below, gain, error, gain > ERRORS_MIN * error and gain > 0.0)
