import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ops import COLUMNS, SCALARS

ANY = st.floats(allow_nan=True, allow_infinity=True)
PAIRS = st.lists(st.tuples(ANY, ANY), min_size=1, max_size=20)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one.hex() == other.hex()


@given(PAIRS)
def test_columns_give_the_bits_of_scalars(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    with np.errstate(all="ignore"):
        made = {
            "divide": COLUMNS.divide(a, b),
            "where": COLUMNS.where(a < b, a, b),
            **{name: getattr(COLUMNS, name)(a) for name in ("sqrt", "log", "erfc")},
        }
    for i, (x, y) in enumerate(pairs):
        assert same(SCALARS.divide(x, y), float(made["divide"][i]))
        assert same(SCALARS.where(x < y, x, y), float(made["where"][i]))
        for name in ("sqrt", "log", "erfc"):
            assert same(getattr(SCALARS, name)(x), float(made[name][i])), (name, x)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=20))
def test_bounded_functions_agree_on_finite_values_and_nan(values: list[float]) -> None:
    for name in ("sin", "cos", "floor"):
        column = getattr(COLUMNS, name)(np.array(values))
        for value, made in zip(values, column.tolist(), strict=True):
            assert same(getattr(SCALARS, name)(value), made), (name, value)


@pytest.mark.parametrize("ops", [SCALARS, COLUMNS])
def test_undefined_is_missing_not_an_error(ops: object) -> None:
    wrap = np.array if ops is COLUMNS else lambda values: values[0]
    with np.errstate(all="ignore"):
        zero, minus = wrap([0.0]), wrap([-1.0])
        for value in (ops.divide(minus, zero), ops.log(zero), ops.sqrt(minus)):  # type: ignore[attr-defined]
            assert math.isnan(float(np.asarray(value).reshape(-1)[0]))
