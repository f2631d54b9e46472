"""From walk-forward forecasts to what the gate looks at: comparisons on the same later rows.

In go the test rows, the candidate's forecasts of them, and what came before (champions, earlier
candidates); out come `Comparison`s and the candidate's number. A champion is compared only on
windows that lie wholly after its own training data: on earlier ones it knows the answers.
"""

from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import numpy as np

from libs.common.calibration_error import calibration_error, calibration_noise
from libs.common.scorecard import ScoredRows
from libs.common.scoring import (
    FloatArray,
    market_shares,
    score,
    squared_error,
    standard_error,
    standardised_shares,
    window_weights,
)
from services.trainer.dataset import Dataset
from services.trainer.gate import Comparison
from services.trainer.walk import Model, forecasts

NOISE_SEED = 13
"""Chance is part of the verdict: the same rows give the same one."""

MID_NAME = "the market's mid"

DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Champion:
    """A model that serves or served; `data_end_ns`: the last instant its training saw."""

    name: str
    model: Model
    feature_set: str
    data_end_ns: int


@dataclass(frozen=True)
class TrainingHistory:
    """What came before this candidate.

    `champion` is what serves (None: the base model); `superior` the last champion that was accepted
    by superiority (often the same); `fingerprints` of every candidate judged so far, in order,
    rejected ones included; `fresh_accepted_ns` the `data_end_ns` of the last candidate that was
    accepted by freshness.
    """

    champion: Champion | None = None
    superior: Champion | None = None
    fingerprints: tuple[str, ...] = ()
    fresh_accepted_ns: int | None = None


def compare(test: Dataset, p: FloatArray, *, reference: FloatArray, name: str) -> Comparison:
    """Compare forecasts `p` with `reference` on the rows `test`, paired row by row."""
    share = standardised_shares(test.market, test.bucket, test.mass)
    headline = market_shares(test.market, test.mass)
    better = squared_error(reference, test.y) - squared_error(p, test.y)
    weight = window_weights(test.market, test.window, test.mass)
    candidate, other = (
        calibration_error(q, test.y, weight=weight, block=test.block) for q in (p, reference)
    )
    return Comparison(
        reference=name,
        windows=test.windows(),
        blocks=test.blocks(),
        gain=score(better, share),
        error=standard_error(better, share, test.block),
        gain_headline=score(better, headline),
        calibration_change=candidate - other,
        calibration_noise=calibration_noise(
            p,
            weight=weight,
            window=test.window,
            block=test.block,
            rng=np.random.default_rng(NOISE_SEED),
        ),
    )


def compare_with_champion(
    test: Dataset, p: FloatArray, champion: Champion | None
) -> Comparison | None:
    """Compare with `champion` on windows wholly after its training; None without one.

    A champion made for another feature set cannot be served any more, so it is no reference.
    """
    if champion is None or champion.feature_set != test.feature_set:
        return None
    starts = np.full(int(test.window.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(starts, test.window, test.ts_ns)
    rows = np.flatnonzero(starts[test.window] > champion.data_end_ns)
    name = f"champion {champion.name}"
    if len(rows) == 0:
        nan = float("nan")
        return Comparison(name, 0, 0, nan, nan, nan, nan)
    later = test.take(rows)
    theirs = forecasts(champion.model, later).p
    return compare(later, p[rows], reference=theirs, name=name)


def scored_rows(test: Dataset, p: FloatArray) -> ScoredRows:
    """Return `test` and forecasts `p` as the scorecard takes them."""
    return ScoredRows(
        y=test.y,
        p=p,
        mid=test.mid,
        fair_value=test.fair_value,
        time_left_s=test.time_left_s,
        market=test.market,
        window=test.window,
        block=test.block,
        mass=test.mass,
    )


def fingerprint(dataset: Dataset, model: Model) -> str:
    """Hash a candidate: the same model from the same rows is the same candidate, tried once."""
    digest = blake2b(digest_size=12)
    digest.update(msgspec.json.encode(model.formula, order="sorted"))
    digest.update((model.trees or "").encode())
    for column in (dataset.ts_ns, dataset.known_ns, dataset.mid, dataset.y):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def candidate_number(history: TrainingHistory, own: str) -> int:
    """Return k: the place of `own` among the distinct candidates judged, itself included.

    >>> candidate_number(TrainingHistory(fingerprints=("a", "b", "a")), "c")
    3
    >>> candidate_number(TrainingHistory(fingerprints=("a", "b")), "b")
    2
    """
    distinct = list(dict.fromkeys(history.fingerprints))
    return distinct.index(own) + 1 if own in distinct else len(distinct) + 1
