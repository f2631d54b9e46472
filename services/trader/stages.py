"""Stages of trading: shadow (decide, send nothing) -> paper (fill against the recorded book).

`live` is a word this release knows only to refuse it: no code that could send an order exists, so
a setting that asks for one is a misunderstanding that must stop the start. A promotion is a verdict
over evidence, like the gate's, and a comparison that NaN makes false refuses.
"""

from typing import Literal, NamedTuple

from libs.common.checks import ConfigError

Stage = Literal["shadow", "paper"]

STAGES: tuple[Stage, ...] = ("shadow", "paper")

BLOCKS_MIN = 300
"""Hour blocks of paper fills before closing-line value says anything (about two weeks)."""


class Verdict(NamedTuple):
    """Whether a stage may be entered, and why (not)."""

    accepted: bool
    reason: str


def parse_stage(text: str) -> Stage:
    """Return the stage named by a setting; raise `ConfigError` for `live` and for unknown names.

    >>> parse_stage("shadow")
    'shadow'
    """
    if text == "live":
        raise ConfigError(
            "trader stage 'live' does not exist in this release, which cannot send an order "
            "anywhere; set the stage to 'shadow' or 'paper'"
        )
    for stage in STAGES:
        if text == stage:
            return stage
    raise ConfigError(f"trader stage {text!r} is unknown; expected 'shadow' or 'paper'")


def promotion(target: str, *, blocks: int, clv_low: float | None) -> Verdict:
    """Judge the step to stage `target` on its evidence.

    `clv_low` is the lower bound of closing-line value per contract in USD over `blocks` hour
    blocks of paper fills. Paper risks nothing, so shadow -> paper needs none.

    >>> promotion("paper", blocks=0, clv_low=None)
    Verdict(accepted=True, reason='paper trading risks no money')
    """
    if target in STAGES:
        return Verdict(True, f"{target} trading risks no money")
    if blocks < BLOCKS_MIN:
        return Verdict(False, f"{blocks} blocks of paper fills, expected {BLOCKS_MIN}")
    if clv_low is None or not clv_low > 0:
        return Verdict(False, f"lower bound of closing-line value is {clv_low}, expected above 0")
    return Verdict(False, "the evidence suffices, but this release cannot trade live")
