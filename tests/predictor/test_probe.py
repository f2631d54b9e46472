"""The probe: what a bundle must be made for, carry, and answer."""

from math import inf, nan
from typing import Any

import msgspec
import pytest

from libs.common.bundle import BASE_BUNDLE, Bundle
from libs.common.checks import BundleError
from libs.common.feature_set import FEATURE_NAMES, FEATURE_SET
from libs.common.model import Formula
from services.predictor.probe import (
    PROBE_ROWS_MAX,
    PROBE_TOLERANCE,
    answers,
    require_answers,
    require_contract,
)
from tests.predictor import models

OWN = models.scorer(3)
ROWS = models.probe(OWN)


def required(**changes: Any) -> None:
    bundle = Bundle(id="b" * 24, formula=Formula(), manifest=models.manifest(ROWS, **changes))
    require_contract(bundle, feature_set=FEATURE_SET, feature_names=FEATURE_NAMES)


def test_a_bundle_of_this_feature_set_is_let_through() -> None:
    required()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"feature_set": "other"}, "feature set other"),
        ({"feature_names": FEATURE_NAMES[::-1]}, "order"),
        ({"feature_names": ()}, "feature names"),
        ({"probe": ()}, "0 probe rows"),
        ({"probe": ROWS * PROBE_ROWS_MAX}, "probe rows"),
        ({"probe": (msgspec.structs.replace(ROWS[0], values=(0.5,)),)}, "one value per feature"),
    ],
)
def test_a_bundle_that_could_not_be_served_or_checked_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BundleError, match=reason):
        required(**changes)


def test_a_bundle_without_a_manifest_is_refused() -> None:
    with pytest.raises(BundleError, match="no manifest"):
        require_contract(BASE_BUNDLE, feature_set=FEATURE_SET, feature_names=FEATURE_NAMES)


def test_the_same_model_answers_bit_for_bit() -> None:
    found = answers(models.scorer(3), FEATURE_NAMES, ROWS)
    assert found == [(row.p_raw, row.p) for row in ROWS]
    require_answers("b", ROWS, found)


@pytest.mark.parametrize("name", ["p_raw", "p"])
def test_an_answer_may_differ_by_the_tolerance_and_no_more(name: str) -> None:
    found = answers(OWN, FEATURE_NAMES, ROWS)
    near, far = (
        (*ROWS[:-1], msgspec.structs.replace(ROWS[-1], **{name: getattr(ROWS[-1], name) + by}))
        for by in (0.5 * PROBE_TOLERANCE, 2 * PROBE_TOLERANCE)
    )
    require_answers("b", near, found)
    with pytest.raises(BundleError, match=f"probe row 1 gets {name} "):
        require_answers("b", far, found)


@pytest.mark.parametrize("answer", [None, (nan, 0.5), (0.5, nan), (inf, 0.5), (0.0, 0.0)])
def test_no_answer_and_no_number_are_refused(answer: Any) -> None:
    with pytest.raises(BundleError, match="probe row 0"):
        require_answers("b", ROWS[:1], [answer])


def test_an_expected_nan_is_no_excuse() -> None:
    rows = (msgspec.structs.replace(ROWS[0], p=nan),)
    with pytest.raises(BundleError, match="gets p "):
        require_answers("b", rows, answers(OWN, FEATURE_NAMES, rows))


def test_every_row_must_be_answered() -> None:
    with pytest.raises(BundleError, match="1 answers to 2"):
        require_answers("b", ROWS, answers(OWN, FEATURE_NAMES, ROWS[:1]))
