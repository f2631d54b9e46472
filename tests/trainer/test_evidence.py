"""A champion is judged only on what it could not have learnt; a candidate is counted once."""

from dataclasses import replace

import numpy as np
import pytest

from libs.common.model import Anchor, Formula
from services.trainer.assemble import assemble
from services.trainer.evidence import (
    Champion,
    TrainingHistory,
    candidate_number,
    compare,
    compare_with_champion,
    fingerprint,
)
from services.trainer.walk import Model, forecasts
from tests.trainer.synthetic import FEATURE_SET, Plan, tables

DATA = assemble(*tables(Plan(windows=200))).dataset
WORSE = Model(Formula(rung="anchored", anchor=Anchor(intercept=0.5)))


def _champion(**changes):
    plain = Champion("c", Model(Formula()), FEATURE_SET, int(DATA.ts_ns[len(DATA) // 2]))
    return replace(plain, **changes)


def test_gains_are_positive_where_the_candidate_is_better():
    found = compare(DATA, DATA.mid, reference=forecasts(WORSE, DATA).p, name="worse")
    assert found.gain > 0.0
    assert found.gain_headline > 0.0
    assert (found.windows, found.blocks) == (200, 50)


def test_a_forecast_against_itself_gains_nothing():
    found = compare(DATA, DATA.mid, reference=DATA.mid, name="itself")
    assert (found.gain, found.error, found.calibration_change) == (0.0, 0.0, 0.0)


def test_a_champion_is_scored_only_on_windows_after_its_training():
    end = _champion().data_end_ns
    found = compare_with_champion(DATA, DATA.mid, _champion())
    starts = [DATA.ts_ns[DATA.window == w].min() for w in range(200)]
    assert found.windows == sum(start > end for start in starts) > 0


def test_a_champion_that_saw_everything_leaves_no_window():
    found = compare_with_champion(DATA, DATA.mid, _champion(data_end_ns=2**62))
    assert found.windows == 0
    assert np.isnan(found.gain)


def test_a_champion_of_another_feature_set_is_no_reference():
    assert compare_with_champion(DATA, DATA.mid, _champion(feature_set="old")) is None
    assert compare_with_champion(DATA, DATA.mid, None) is None


def test_the_champion_forecasts_with_its_own_formula():
    found = compare_with_champion(DATA, DATA.mid, _champion(model=WORSE))
    assert found.gain > 0.0
    assert found.reference == "champion c"


@pytest.mark.parametrize(
    ("seen", "own", "number"),
    [((), "a", 1), (("a",), "a", 1), (("a", "b"), "c", 3), (("a", "a"), "b", 2)],
)
def test_a_candidate_is_counted_once(seen, own, number):
    assert candidate_number(TrainingHistory(fingerprints=seen), own) == number


def test_the_fingerprint_tells_models_and_rows_apart():
    first = fingerprint(DATA, WORSE)
    assert first == fingerprint(DATA, WORSE)
    assert first != fingerprint(DATA, Model(Formula()))
    assert first != fingerprint(DATA.take(np.arange(len(DATA) - 1)), WORSE)
