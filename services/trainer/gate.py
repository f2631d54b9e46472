"""The gate: evidence in, verdict out. Doubt, NaN and too little of anything mean *reject*.

Two steps stand here: integrity (schema, splits, amount of evidence, leak canaries) and walk-forward
(paired against the market's mid and, where one serves, the champion). `decide` is pure; only its
caller publishes.

A reader may question the level. A trainer that retries every hour would pass a 5 % test by luck
within a day, so candidate k is tested at 0.05 x 6 / (pi^2 k^2), which sums to 0.05 over any number
of candidates; every candidate counts that was looked at, also those whose ladder ended at identity
(or luck could be filtered first and tested afterwards), and the level is shared between the rungs
that were tried. Every comparison is written so that NaN makes it false, and false rejects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, pi

from libs.common.model import Rung
from services.trainer.canaries import Canary
from services.trainer.ladder import Step


@dataclass(frozen=True)
class GatePolicy:
    """Thresholds of the gate; Brier differences are in standardised Brier unless said otherwise."""

    windows_min: int = 100
    """Test windows: below, one lucky day decides (the block bound itself is then unreliable)."""

    blocks_min: int = 40
    """Test blocks: a t bound on fewer clustered units is optimistic (Cameron & Miller 2015)."""

    brier_worse_max: float = 0.001
    """Regression beyond this rejects whatever else is better; also on the headline score. A model
    0.001 worse than another costs about what the smallest accepted gain is worth."""

    calibration_worse_max: float = 0.01
    """Rise of the calibration error over the reference's on the same rows: half a price tick pair;
    an edge threshold in the trader is of the same size. Where chance alone gives a perfect
    forecaster more than this one time in twenty, that is the limit."""

    brier_better_min: float = 0.0005
    """A smaller gain is not worth the risk of a swap."""

    alpha_life: float = 0.05
    """Chance, over the life of the trainer, that a candidate no better is ever accepted."""

    fresh_margin: float = 0.001
    """"Not worse": the bound of the loss stays above minus this. At 0.002 a model worse by 0.001 is
    accepted with certainty in the end."""

    fresh_days_min: float = 14.0
    """Freshness is accepted at most this often, and only over a champion this much older."""

    canary_errors: float = 3.0
    """Shuffled labels may beat the base rate by this many block standard errors."""

    leak_share_max: float = 0.10
    """One column may remove this share of the market's squared error. On real recordings honest
    columns remove under 0.02, a planted last mid 0.24-0.43, a planted result 0.28-0.39. A mid of
    60 s ahead removes 0.03-0.08 and is *not* caught here: that is what the look-ahead property of
    the features is for. A true edge that one column carries this far is refused with the leaks."""

    leak_errors: float = 3.0
    """... and only beyond this many block standard errors, or sixty windows would cry wolf."""


@dataclass(frozen=True)
class Comparison:
    """Candidate beside a reference on the same later rows; gains > 0: the candidate is better.

    `error`: standard error of `gain` over blocks; `calibration_change`: candidate - reference;
    `calibration_noise`: what chance gives a perfect forecaster on these rows 1 time in 20.
    """

    reference: str
    windows: int
    blocks: int
    gain: float
    error: float
    gain_headline: float
    calibration_change: float
    calibration_noise: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """Everything the gate looks at.

    `faults` of integrity, first the gravest; `candidate_number` is k, counted from 1;
    `champion_age_days` is how much later the candidate's training ends than the champion's (None:
    no champion; identity is always fresh); `fresh_age_days` since the last acceptance by freshness.
    """

    faults: tuple[str, ...] = ()
    chance: Canary | None = None
    leaks: tuple[Canary, ...] = ()
    rung: Rung = "identity"
    steps: tuple[Step, ...] = ()
    against_mid: Comparison | None = None
    against_champion: Comparison | None = None
    against_superior: Comparison | None = None
    candidate_number: int = 1
    rungs_tried: int = 1
    champion_age_days: float | None = None
    fresh_age_days: float | None = None


@dataclass(frozen=True)
class Verdict:
    """Accepted or not, why in one line, and by which route ("superiority" or "freshness")."""

    accepted: bool
    reason: str
    route: str | None = None


def decide(evidence: Evidence, policy: GatePolicy) -> Verdict:
    """Return the verdict: the first objection, else the proof that carries the candidate.

    >>> decide(Evidence(faults=("no quotes",)), GatePolicy())
    Verdict(accepted=False, reason='no quotes', route=None)
    """
    objections: tuple[Callable[[Evidence, GatePolicy], str | None], ...] = (
        _faulty,
        _too_little,
        _leaking,
        _not_climbed,
        _not_a_number,
        _regressing,
        _miscalibrated,
    )
    for objection in objections:
        reason = objection(evidence, policy)
        if reason is not None:
            return Verdict(False, reason)
    return _proof(evidence, policy)


def level(evidence: Evidence, policy: GatePolicy) -> float:
    """Return the level of this candidate's test: alpha_k, shared between the rungs tried.

    >>> round(level(Evidence(candidate_number=1), GatePolicy()), 4)
    0.0304
    """
    k = max(1, evidence.candidate_number)
    return policy.alpha_life * 6.0 / (pi * pi * k * k) / max(1, evidence.rungs_tried)


def lower_bound(comparison: Comparison, alpha: float) -> float:
    """Return the one-sided lower bound of the gain at level `alpha`; NaN if it has no error.

    Student's t over blocks: quantiles of a bootstrap do not reach the levels of late candidates.
    """
    from scipy.special import stdtrit

    return comparison.gain - float(stdtrit(comparison.blocks - 1, 1.0 - alpha)) * comparison.error


def _faulty(evidence: Evidence, policy: GatePolicy) -> str | None:
    return evidence.faults[0] if evidence.faults else None


def _too_little(evidence: Evidence, policy: GatePolicy) -> str | None:
    """Object to missing or thin comparisons; the champion's is thin right after its training."""
    if evidence.against_mid is None:
        return "too little evidence: no fold could be trained and tested"
    for comparison in (evidence.against_mid, evidence.against_champion):
        if comparison is None:
            continue
        if not comparison.windows >= policy.windows_min:
            found = f"{comparison.windows} of {policy.windows_min} test windows"
        elif not comparison.blocks >= policy.blocks_min:
            found = f"{comparison.blocks} of {policy.blocks_min} test hours"
        else:
            continue
        outlook = _not_climbed(evidence, policy)
        so_far = "" if outlook is None else f"; so far {outlook}"
        return f"too little evidence against {comparison.reference}: {found}{so_far}"
    return None


def _leaking(evidence: Evidence, policy: GatePolicy) -> str | None:
    chance = evidence.chance
    if chance is None:
        return "the shuffled-label canary did not run"
    # One block has no error: NaN, and then chance itself could not be measured.
    if not chance.gain <= policy.canary_errors * chance.error:
        return (
            f"leak: trees on shuffled labels beat the base rate by {chance.gain:.4f} Brier, "
            f"standard error {chance.error:.4f} (limit {policy.canary_errors:g} of them)"
        )
    if not evidence.leaks:
        return "the leak detector did not run"
    found = [leak for leak in evidence.leaks if is_leak(leak, policy)]
    if found:
        worst = max(found, key=lambda leak: leak.share)
        return (
            f"leak: feature {worst.name} alone removes {worst.share:.0%} of the market's squared "
            f"error (limit {policy.leak_share_max:.0%}): it knows the result"
        )
    return None


def is_leak(canary: Canary, policy: GatePolicy) -> bool:
    """Tell whether a feature's canary sings: a large share, and not by luck.

    >>> is_leak(Canary("mid_last", 0.1, 0.01, 0.6), GatePolicy())
    True
    """
    by_luck = canary.gain <= policy.leak_errors * canary.error
    return not (canary.share <= policy.leak_share_max or by_luck)


def _not_climbed(evidence: Evidence, policy: GatePolicy) -> str | None:
    if evidence.rung != "identity":
        return None
    lost = [
        f"{s.rung} {s.gain:+.4f} (standard error {s.error:.4f})"
        for s in evidence.steps
        if s.below == "identity"
    ]
    return f"no rung beat the market's mid: {', '.join(lost) or 'none could be fitted'}"


def _references(evidence: Evidence) -> tuple[Comparison, ...]:
    found = (evidence.against_mid, evidence.against_champion)
    return tuple(c for c in found if c is not None)


def _not_a_number(evidence: Evidence, policy: GatePolicy) -> str | None:
    for c in _references(evidence):
        figures = (
            c.gain,
            c.error,
            c.gain_headline,
            c.calibration_change,
            c.calibration_noise,
        )
        if not all(isfinite(figure) for figure in figures):
            return f"a score against {c.reference} is not a number: nothing is proven"
    return None


def _regressing(evidence: Evidence, policy: GatePolicy) -> str | None:
    for c in _references(evidence):
        for name, gain in (("standardised", c.gain), ("headline", c.gain_headline)):
            if not gain >= -policy.brier_worse_max:
                return (
                    f"regression: {name} Brier {-gain:+.4f} against {c.reference} "
                    f"(limit {policy.brier_worse_max:+.4f})"
                )
    return None


def _miscalibrated(evidence: Evidence, policy: GatePolicy) -> str | None:
    for c in _references(evidence):
        limit = max(policy.calibration_worse_max, c.calibration_noise)
        if not c.calibration_change <= limit:
            return (
                f"calibration: error {c.calibration_change:+.4f} against {c.reference} "
                f"(limit {limit:+.4f})"
            )
    return None


def _proof(evidence: Evidence, policy: GatePolicy) -> Verdict:
    """Accept by superiority or freshness; else say how far the proof fell short."""
    reference = _references(evidence)[-1]
    alpha = level(evidence, policy)
    bound = lower_bound(reference, alpha)
    figures = (
        f"{reference.gain:+.4f} Brier against {reference.reference}, bound {bound:+.4f} at level "
        f"{alpha:.4f} (candidate {evidence.candidate_number}), {reference.windows} windows in "
        f"{reference.blocks} hours"
    )
    if reference.gain >= policy.brier_better_min and bound > 0.0:
        return Verdict(True, f"better: {figures}", "superiority")
    if _is_fresher(evidence, policy):
        age = f"trained {evidence.champion_age_days:.0f} days later"
        return Verdict(True, f"not worse and fresher ({age}): {figures}", "freshness")
    if bound > 0.0:
        return Verdict(False, f"better by less than {policy.brier_better_min:g}: {figures}")
    return Verdict(False, f"not proven better: {figures}")


def _is_fresher(evidence: Evidence, policy: GatePolicy) -> bool:
    """Tell whether the candidate is proven not worse and demonstrably fresher.

    The references are the mid and the last champion by superiority, never the previous fresh one:
    each step down within the margin would be allowed again.
    """
    if evidence.champion_age_days is None or evidence.against_superior is None:
        return False
    alpha = level(evidence, policy)
    for c in (evidence.against_mid, evidence.against_superior):
        enough = c is not None and c.windows >= policy.windows_min and c.blocks >= policy.blocks_min
        if c is None or not enough or not lower_bound(c, alpha) > -policy.fresh_margin:
            return False
    last = evidence.fresh_age_days
    rested = last is None or last >= policy.fresh_days_min
    return rested and evidence.champion_age_days >= policy.fresh_days_min
