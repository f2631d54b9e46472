"""Native scoring: one row through the C interface gives the bits of Booster.predict."""

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.trees import served_text
from services.predictor.native import row_scorer
from tests.common.forest import FEATURES, model_text, rows


@cache
def served() -> tuple[Any, Callable[[Sequence[float | None]], float]]:
    import lightgbm

    text = served_text(model_text(20, 7))
    return lightgbm.Booster(model_str=text), row_scorer(text, len(FEATURES))


def test_a_row_scores_the_bits_of_the_matrix() -> None:
    booster, score = served()
    matrix = rows(500, seed=12)
    expected = booster.predict(matrix, raw_score=True, num_threads=1)
    assert [score(row) for row in matrix.tolist()] == expected.tolist()


def test_none_is_missing_as_nan_is() -> None:
    _, score = served()
    for row in rows(200, seed=13).tolist():
        assert score([None if x != x else x for x in row]) == score(row)  # noqa: PLR0124


@given(st.lists(st.none() | st.floats(allow_nan=True), min_size=4, max_size=4))
def test_any_row_scores_as_booster_predict(row: list[float | None]) -> None:
    booster, score = served()
    as_floats = [[float("nan") if x is None else x for x in row]]
    assert score(row) == booster.predict(as_floats, raw_score=True, num_threads=1)[0]


def test_all_missing_scores_a_number() -> None:
    assert np.isfinite(served()[1]([None] * len(FEATURES)))


def test_a_row_of_another_length_is_an_error() -> None:
    for n in (0, 3, 5):
        with pytest.raises(ValueError):
            served()[1]([0.0] * n)


def test_scorers_do_not_share_a_row() -> None:
    one, two = (row_scorer(served_text(model_text(n)), len(FEATURES)) for n in (4, 20))
    matrix = rows(20, seed=14).tolist()
    apart = [one(row) for row in matrix], [two(row) for row in matrix]
    mixed = [(one(row), two(row)) for row in matrix]
    assert [a for a, _ in mixed] == apart[0]
    assert [b for _, b in mixed] == apart[1]


def test_a_scorer_outlives_what_made_it_and_can_be_replaced_often() -> None:
    text, row = served_text(model_text()), rows(1, seed=15)[0].tolist()
    score = row_scorer(text, len(FEATURES))
    first = score(row)
    for _ in range(10):
        score = row_scorer(text, len(FEATURES))
        gc.collect()
        assert score(row) == first


def test_threads_that_share_a_scorer_get_their_own_rows_scores() -> None:
    _, score = served()
    matrix = rows(2_000, seed=16).tolist()
    expected = [score(row) for row in matrix]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [score(row) for row in matrix], range(4)))
    assert found == [expected] * 4


def test_lightgbm_loads_without_its_companions_and_scores_the_same() -> None:
    script = (
        "from services.predictor.native import leave_out_extras, row_scorer\n"
        "leave_out_extras()\n"
        "import sys\n"
        "import pyarrow as pa\n"
        "print(pa.array([1]).to_numpy().sum(), pa.array([None, {'a': 1}]).null_count)\n"
        "text = sys.stdin.read()\n"
        "print(row_scorer(text, 4)([0.5, None, 60.0, 1.0]), 'sklearn' in sys.modules)\n"
    )
    text = served_text(model_text(20, 7))
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True
    )
    _, score = served()
    assert done.stdout.split() == ["1", "1", str(score([0.5, None, 60.0, 1.0])), "False"]


def test_a_count_of_features_that_is_not_the_models_is_an_error_not_a_crash() -> None:
    script = (
        "from tests.common.forest import model_text\n"
        "from libs.common.trees import served_text\n"
        "from libs.common.checks import BundleError\n"
        "from services.predictor.native import row_scorer\n"
        "for n in (1, 3, 9):\n"
        "    try: row_scorer(served_text(model_text()), n)([0.0] * n)\n"
        "    except BundleError as error: print(n)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert [line for line in done.stdout.split() if line.isdigit()] == ["1", "3", "9"]
