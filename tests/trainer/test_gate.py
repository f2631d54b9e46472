"""The gate as a table of verdicts, and as properties: it never accepts what it must not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.canaries import Canary
from services.trainer.gate import (
    Comparison,
    Evidence,
    GatePolicy,
    Verdict,
    decide,
    level,
    lower_bound,
)
from services.trainer.ladder import Step

POLICY = GatePolicy()
NAN = float("nan")

BETTER = Comparison(
    reference="the market's mid",
    windows=600,
    blocks=150,
    gain=0.003,
    error=0.0005,
    gain_headline=0.004,
    calibration_change=-0.002,
)
SAME = replace(BETTER, gain=0.0001, error=0.0002, gain_headline=0.0)
CHAMPION = replace(BETTER, reference="champion c0ffee")
SAME_AS_CHAMPION = replace(SAME, reference="champion c0ffee")

GOOD = Evidence(
    chance=Canary("shuffled labels", -0.001, 0.001, -0.004),
    leaks=(Canary("spread", 0.0001, 0.001, 0.001),),
    rung="anchored",
    steps=(Step("anchored", "identity", 0.003, 0.0005, True),),
    against_mid=BETTER,
)
FRESH = replace(
    GOOD,
    against_mid=SAME,
    against_champion=SAME_AS_CHAMPION,
    against_superior=SAME_AS_CHAMPION,
    champion_age_days=20.0,
)


def _mid(**changes):
    return replace(GOOD, against_mid=replace(BETTER, **changes))


@pytest.mark.parametrize(
    ("evidence", "accepted", "words"),
    [
        (GOOD, True, "better: +0.0030 Brier against the market's mid"),
        (replace(GOOD, faults=("no quotes",)), False, "no quotes"),
        (replace(GOOD, against_mid=None), False, "no fold could be trained"),
        (_mid(windows=61), False, "61 of 100 test windows"),
        (_mid(blocks=39), False, "39 of 40 test hours"),
        (replace(GOOD, chance=None), False, "canary did not run"),
        (replace(GOOD, leaks=()), False, "leak detector did not run"),
        (
            replace(GOOD, chance=Canary("shuffled labels", 0.01, 0.002, 0.04)),
            False,
            "trees on shuffled labels beat the base rate",
        ),
        (
            replace(GOOD, chance=Canary("shuffled labels", -0.01, NAN, NAN)),
            False,
            "trees on shuffled labels",
        ),
        (
            replace(GOOD, leaks=(Canary("mid_last", 0.05, 0.004, 0.4),)),
            False,
            "feature mid_last alone removes 40%",
        ),
        (
            replace(
                GOOD, rung="identity", steps=(Step("anchored", "identity", -0.001, 0.002, False),)
            ),
            False,
            "no rung beat the market's mid: anchored -0.0010",
        ),
        (_mid(gain=-0.0011), False, "regression: standardised Brier +0.0011"),
        (_mid(gain_headline=-0.0011), False, "regression: headline Brier +0.0011"),
        (_mid(calibration_change=0.011), False, "calibration: error +0.0110"),
        (_mid(gain=0.0004, error=0.00001), False, "better by less than 0.0005"),
        (_mid(error=0.002), False, "not proven better"),
        (_mid(gain=NAN), False, "is not a number"),
        (_mid(gain_headline=NAN), False, "is not a number"),
        (_mid(error=NAN), False, "is not a number"),
        (_mid(calibration_change=NAN), False, "is not a number"),
        (replace(GOOD, against_champion=CHAMPION), True, "against champion c0ffee"),
        (replace(GOOD, against_champion=SAME_AS_CHAMPION), False, "not proven better"),
        (
            replace(GOOD, against_champion=replace(CHAMPION, windows=0, gain=NAN)),
            False,
            "too little evidence against champion c0ffee: 0 of 100",
        ),
        (
            replace(GOOD, against_champion=replace(CHAMPION, gain=-0.002)),
            False,
            "regression: standardised Brier +0.0020 against champion",
        ),
        (FRESH, True, "not worse and fresher (trained 20 days later)"),
        (replace(FRESH, champion_age_days=13.9), False, "not proven better"),
        (replace(FRESH, champion_age_days=None), False, "not proven better"),
        (replace(FRESH, fresh_age_days=13.9), False, "not proven better"),
        (replace(FRESH, fresh_age_days=14.0), True, "fresher"),
        (replace(FRESH, against_superior=None), False, "not proven better"),
        (
            replace(FRESH, against_superior=replace(SAME_AS_CHAMPION, error=0.002)),
            False,
            "not proven",
        ),
        (replace(FRESH, against_mid=replace(SAME, error=0.002)), False, "not proven better"),
        (
            replace(FRESH, against_superior=replace(SAME_AS_CHAMPION, windows=5)),
            False,
            "not proven",
        ),
    ],
)
def test_table_of_verdicts(evidence, accepted, words):
    verdict = decide(evidence, POLICY)
    assert verdict.accepted is accepted
    assert words in verdict.reason


def test_routes_are_named():
    assert decide(GOOD, POLICY).route == "superiority"
    assert decide(FRESH, POLICY).route == "freshness"
    assert decide(replace(GOOD, faults=("x",)), POLICY) == Verdict(False, "x", None)


def test_a_thin_comparison_still_says_what_the_ladder_found():
    step = Step("anchored", "identity", -0.0003, 0.0005, False)
    thin = replace(_mid(windows=61), rung="identity", steps=(step,))
    assert "so far no rung beat the market's mid: anchored -0.0003" in decide(thin, POLICY).reason


numbers = st.one_of(st.floats(-0.02, 0.02), st.just(NAN))
comparisons = st.builds(
    Comparison,
    reference=st.just("r"),
    windows=st.integers(0, 3_000),
    blocks=st.integers(2, 800),
    gain=numbers,
    error=st.one_of(st.floats(1e-6, 0.01), st.just(NAN)),
    gain_headline=numbers,
    calibration_change=numbers,
)
evidences = st.builds(
    replace,
    st.just(GOOD),
    against_mid=comparisons,
    against_champion=st.one_of(st.none(), comparisons),
    against_superior=st.one_of(st.none(), comparisons),
    candidate_number=st.integers(1, 500),
    champion_age_days=st.one_of(st.none(), st.floats(0, 60)),
    fresh_age_days=st.one_of(st.none(), st.floats(0, 60)),
)


@given(evidences)
def test_no_candidate_worse_beyond_the_threshold_is_ever_accepted(evidence):
    if decide(evidence, POLICY).accepted:
        for c in (evidence.against_mid, evidence.against_champion):
            if c is not None:
                assert c.gain >= -POLICY.brier_worse_max
                assert c.gain_headline >= -POLICY.brier_worse_max
                assert c.calibration_change <= POLICY.calibration_worse_max
                assert c.windows >= POLICY.windows_min
                assert c.blocks >= POLICY.blocks_min


@given(evidences)
def test_nan_anywhere_that_counts_rejects(evidence):
    counted = [c for c in (evidence.against_mid, evidence.against_champion) if c is not None]
    figures = [v for c in counted for v in (c.gain, c.gain_headline, c.calibration_change)]
    if np.isnan([*figures, *(c.error for c in counted)]).any():
        assert not decide(evidence, POLICY).accepted


@given(evidences)
def test_acceptance_rests_on_a_bound_above_zero_or_above_the_fresh_margin(evidence):
    verdict = decide(evidence, POLICY)
    alpha = level(evidence, POLICY)
    if verdict.route == "superiority":
        reference = evidence.against_champion or evidence.against_mid
        assert lower_bound(reference, alpha) > 0.0
    if verdict.route == "freshness":
        for c in (evidence.against_mid, evidence.against_superior):
            assert lower_bound(c, alpha) > -POLICY.fresh_margin


def test_levels_of_all_candidates_together_stay_below_the_levels_of_a_life():
    total = sum(level(Evidence(candidate_number=k), POLICY) for k in range(1, 20_000))
    assert 0.0499 < total < 0.05


def test_rungs_tried_share_the_level():
    assert level(Evidence(rungs_tried=2), POLICY) == pytest.approx(level(Evidence(), POLICY) / 2)


def test_luck_does_not_pass_by_retrying():
    """Fifty candidates a life without an edge, each judged alone: few lives accept any."""
    rng = np.random.default_rng(1)
    lives = 400
    accepted = 0
    for _ in range(lives):
        gains = rng.normal(0.0, 0.001, 50)
        accepted += any(
            decide(
                replace(_mid(gain=g, gain_headline=g, error=0.001), candidate_number=k + 1), POLICY
            ).accepted
            for k, g in enumerate(gains.tolist())
        )
    assert accepted / lives < 0.08
