"""A rung is taken only if every rung below is clearly beaten."""

import numpy as np

from services.trainer.ladder import climb


def _climb(n=400, *, seed=1, **shifts):
    """Climb over forecasts that miss the truth by the given shift, at random sign per row."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.2, 0.8, n)
    y = (rng.random(n) < truth).astype(float)
    p = {rung: truth + shift * rng.choice([-1.0, 1.0], n) for rung, shift in shifts.items()}
    return climb(p, y, share=np.full(n, 1 / n), block=np.arange(n) // 4)


def test_a_rung_that_beats_the_market_clearly_is_taken():
    assert _climb(identity=0.15, anchored=0.0).rung == "anchored"


def test_equal_rungs_stay_at_identity():
    assert _climb(identity=0.1, anchored=0.1).rung == "identity"


def test_trees_that_beat_only_a_bad_rung_1_have_not_beaten_the_market():
    assert _climb(identity=0.0, anchored=0.2, residual=0.1).rung == "identity"


def test_trees_may_be_taken_over_a_rung_1_that_ties():
    found = _climb(4_000, identity=0.1, anchored=0.1, residual=0.0)
    assert found.rung == "residual"
    assert [(s.rung, s.below) for s in found.steps] == [
        ("anchored", "identity"),
        ("residual", "identity"),
        ("residual", "anchored"),
    ]


def test_one_block_or_nan_beats_nothing():
    y = np.ones(5)
    p = {"identity": np.full(5, 0.5), "anchored": np.full(5, 0.9)}
    share = np.full(5, 0.2)
    assert climb(p, y, share=share, block=np.zeros(5, int)).rung == "identity"
    broken = {**p, "anchored": np.array([0.9, np.nan, 0.9, 0.9, 0.9])}
    assert climb(broken, y, share=share, block=np.arange(5)).rung == "identity"
