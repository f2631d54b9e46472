"""The scorecard says better where the model is better, and says nothing where there is nothing."""

import numpy as np
import pytest

from libs.common.scorecard import ScoredRows, scorecard


def _rows(n_markets=300, rows=4, seed=1, noise=0.1):
    rng = np.random.default_rng(seed)
    market = np.repeat(np.arange(n_markets), rows)
    truth = rng.uniform(0.05, 0.95, n_markets)
    y = (rng.random(n_markets) < truth).astype(float)[market]
    p = truth[market]
    n = len(market)
    return ScoredRows(
        y=y,
        p=p,
        mid=np.clip(p + rng.choice([-noise, noise], n), 0.0, 1.0),
        fair_value=np.where(np.arange(n) % 2 == 0, p, np.nan),
        time_left_s=np.tile([20.0, 100.0, 400.0, 800.0], n_markets)[:n],
        market=market,
        window=market,
        block=market // 4,
        mass=np.ones(n),
    )


def test_a_better_model_has_positive_skill_in_both_intervals():
    card = scorecard(_rows())
    assert card.skill_vs_market.low > 0.0
    assert card.skill_vs_market_by_block.low > 0.0
    assert card.skill_vs_market.estimate == pytest.approx(card.brier.market - card.brier.model)
    assert (card.rows, card.markets, card.windows, card.blocks) == (1200, 300, 300, 75)


def test_buckets_and_fair_value_rows_are_scored_on_their_own_rows():
    rows = _rows()
    card = scorecard(rows)
    assert [(b.from_s, b.to_s) for b in card.by_time_left] == [(0, 30), (60, 120), (300, 900)]
    assert [b.rows for b in card.by_time_left] == [300, 300, 600]
    last = rows.take(np.flatnonzero(rows.time_left_s < 30))
    assert card.by_time_left[0].brier.model == pytest.approx(((last.p - last.y) ** 2).mean())
    assert card.on_fair_value_rows.rows == 600
    assert card.on_fair_value_rows.fair_value == pytest.approx(card.on_fair_value_rows.model)


def test_no_rows_give_nan_scores_and_zero_counts():
    card = scorecard(_rows().take(np.empty(0, int)))
    assert card.rows == 0
    assert np.isnan(card.brier.model)
    assert np.isnan(card.skill_vs_market_by_block.estimate)
    assert card.by_time_left == ()


def test_the_same_rows_give_the_same_card():
    assert scorecard(_rows()) == scorecard(_rows())
