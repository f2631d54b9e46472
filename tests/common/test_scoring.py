"""Scores are linear in rows, units are resampled whole, and intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import scoring
from libs.common.scoring import (
    HOUR_NS,
    bootstrap,
    bootstraps,
    market_mean,
    market_shares,
    score,
    squared_error,
    standard_error,
    standardised_shares,
    unit_sums,
    window_weights,
)

codes = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@given(codes, st.data())
def test_shares_sum_to_one_and_markets_share_alike(market, data):
    keys = np.array(market) * 1_000_003  # keys need not be small
    mass = np.array(data.draw(st.lists(st.floats(0.1, 9), min_size=len(keys), max_size=len(keys))))
    share = market_shares(keys, mass)
    assert share.sum() == pytest.approx(1.0)
    per_market = unit_sums(np.ones(len(keys)), share, keys)[1]
    assert per_market == pytest.approx(np.full(len(per_market), 1 / len(per_market)))


@given(codes, st.data())
def test_standardised_shares_weigh_buckets_alike(market, data):
    keys = np.array(market)
    bucket = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=len(keys), max_size=len(keys)))
    )
    share = standardised_shares(keys, bucket)
    per_bucket = unit_sums(np.ones(len(keys)), share, bucket)[1]
    assert per_bucket == pytest.approx(np.full(len(per_bucket), 1 / len(per_bucket)))


@given(codes)
def test_rows_of_a_window_weigh_one_together(market):
    keys = np.array(market)
    window = keys // 2
    sums = unit_sums(np.ones(len(keys)), window_weights(keys, window), window)[1]
    assert sums == pytest.approx(np.ones(len(sums)))


def test_market_mean_equals_the_mean_of_market_means():
    rng = np.random.default_rng(3)
    market = rng.integers(0, 9, 200)
    loss = rng.random(200)
    expected = np.mean([loss[market == m].mean() for m in np.unique(market)])
    assert market_mean(loss, market) == pytest.approx(expected)


def test_thinned_rows_with_masses_keep_the_headline():
    loss = np.array([1.0, 1.0, 3.0])
    whole = np.array([1.0, 1.0, 1.0, 1.0, 3.0])
    share = market_shares(np.zeros(3, int), np.array([2.0, 2.0, 1.0]))
    assert score(loss, share) == pytest.approx(whole.mean())


def test_block_is_the_hour_in_which_the_window_lies():
    assert scoring.block_of(np.array([HOUR_NS - 1, HOUR_NS, HOUR_NS + 1])).tolist() == [0, 0, 1]


def test_a_bucket_ends_at_its_upper_edge():
    assert scoring.time_left_bucket(np.array([60.0, 60.1, 10_000.0])).tolist() == [1, 2, 6]


def test_keys_far_apart_are_numbered_like_keys_close_together():
    near = np.array([3, 1, 3, 2])
    far = near * 10**12
    for a, b in zip(
        unit_sums(near * 1.0, near * 1.0, near),
        unit_sums(near * 1.0, near * 1.0, far),
        strict=True,
    ):
        assert a.tolist() == b.tolist()


def test_standard_error_matches_repeated_samples():
    rng = np.random.default_rng(5)
    found, errors = [], []
    for _ in range(300):
        unit = np.repeat(np.arange(60), 3)
        x = np.repeat(rng.normal(size=60), 3)  # the rows of a unit say the same thing
        share = np.full(180, 1 / 180)
        found.append(score(x, share))
        errors.append(standard_error(x, share, unit))
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.1)


def test_bootstrap_agrees_with_the_standard_error_of_whole_units():
    rng = np.random.default_rng(6)
    unit = np.repeat(np.arange(200), 4)
    x = np.repeat(rng.normal(size=200), 4)
    share = np.full(800, 1 / 800)
    interval = bootstrap(x, share, unit=unit, rng=rng)
    assert interval.high - interval.low == pytest.approx(
        3.92 * standard_error(x, share, unit), rel=0.1
    )


def test_bootstrap_of_a_part_resamples_only_that_part():
    rng = np.random.default_rng(7)
    x = np.concatenate([np.zeros(100), np.ones(100)])
    part = np.concatenate([np.zeros(100), np.full(100, 0.01)])
    whole, half = bootstraps(
        [(x, np.full(200, 1 / 200)), (x, part)], unit=np.arange(200), rng=rng, resamples=200
    )
    assert whole.estimate == 0.5
    assert tuple(half) == pytest.approx((1.0, 1.0, 1.0))


def test_same_seed_gives_the_same_interval():
    x, share, unit = np.arange(50) * 1.0, np.full(50, 0.02), np.arange(50)
    once = bootstrap(x, share, unit=unit, rng=np.random.default_rng(1), resamples=300)
    again = bootstrap(x, share, unit=unit, rng=np.random.default_rng(1), resamples=300)
    assert once == again


def test_nothing_scores_nan():
    empty = np.empty(0)
    none = np.empty(0, int)
    assert np.isnan(score(empty, empty))
    assert np.isnan(standard_error(np.ones(2), np.full(2, 0.5), np.zeros(2, int)))
    assert np.isnan(bootstrap(empty, empty, unit=none, rng=np.random.default_rng(1)).estimate)


@given(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
def test_log_loss_is_finite_and_brier_bounded(p, y):
    assert np.isfinite(scoring.log_loss(np.array([p]), np.array([y]))[0])
    assert 0.0 <= squared_error(np.array([p]), np.array([y]))[0] <= 1.0
