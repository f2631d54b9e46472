"""The arithmetic of features in two forms, scalar and column, that give the same bits.

A formula is written once, over `ops` and values that are either Python floats (`SCALARS`, the
streaming path) or float64 arrays (`COLUMNS`, the batch path). NaN is "missing" in both. The plain
operators `+ - *` and comparison are the same IEEE operations in Python and numpy and are used as
they are; everything that could differ or raise goes through here.

The decision a reader would question: `log`, `erfc`, `sin` and `cos` of a column call the scalar
`math` function on every element. numpy's vectorised forms are faster but differ from `math` in the
last bit for 0.5-5 % of values, and with the CPU, which would break replay's equality of bytes.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Value: TypeAlias = Any
"""A float (streaming) or a float64 array of shape (n_rows,) (batch); NaN means missing."""

Column: TypeAlias = npt.NDArray[np.float64]

NAN = math.nan


class Ops(Protocol):
    """What a formula may use besides `+ - *` and comparison."""

    def divide(self, a: Value, b: Value) -> Value:
        """Return a / b, NaN where b is zero."""

    def sqrt(self, a: Value) -> Value:
        """Return the square root, NaN below zero."""

    def log(self, a: Value) -> Value:
        """Return the natural logarithm, NaN at and below zero."""

    def erfc(self, a: Value) -> Value:
        """Return the complementary error function."""

    def sin(self, a: Value) -> Value:
        """Return the sine of `a` radians; `a` is finite or NaN."""

    def cos(self, a: Value) -> Value:
        """Return the cosine of `a` radians; `a` is finite or NaN."""

    def floor(self, a: Value) -> Value:
        """Return the largest whole number at or below `a`; `a` is finite or NaN."""

    def where(self, condition: Value, a: Value, b: Value) -> Value:
        """Return a where `condition` holds, else b; a comparison with NaN does not hold."""


class Scalars:
    """`Ops` on Python floats.

    >>> SCALARS.divide(1.0, 0.0), SCALARS.log(-1.0), SCALARS.sqrt(4.0)
    (nan, nan, 2.0)
    """

    @staticmethod
    def divide(a: float, b: float) -> float:
        """Return a / b, NaN where b is zero."""
        return a / b if b != 0.0 else NAN

    @staticmethod
    def sqrt(a: float) -> float:
        """Return the square root, NaN below zero."""
        return NAN if a < 0.0 else math.sqrt(a)

    @staticmethod
    def log(a: float) -> float:
        """Return the natural logarithm, NaN at and below zero."""
        return math.log(a) if a > 0.0 else NAN

    @staticmethod
    def floor(a: float) -> float:
        """Return the largest whole number at or below `a`."""
        return float(math.floor(a)) if math.isfinite(a) else NAN

    @staticmethod
    def where(condition: bool, a: float, b: float) -> float:
        """Return a where `condition` holds, else b."""
        return a if condition else b

    erfc = staticmethod(math.erfc)
    sin = staticmethod(math.sin)
    cos = staticmethod(math.cos)


class Columns:
    """`Ops` on float64 arrays; call inside `np.errstate(all="ignore")`.

    >>> COLUMNS.log(np.array([1.0, 0.0]))
    array([ 0., nan])
    """

    @staticmethod
    def divide(a: Value, b: Value) -> Column:
        """Return a / b, NaN where b is zero."""
        quotient: Column = np.divide(a, b)
        is_zero = np.asarray(b) == 0.0
        if is_zero.any():
            quotient[is_zero] = NAN
        return quotient

    @staticmethod
    def sqrt(a: Column) -> Column:
        """Return the square root, NaN below zero."""
        root: Column = np.sqrt(a)
        return root

    @staticmethod
    def log(a: Column) -> Column:
        """Return the natural logarithm, NaN at and below zero."""
        return _map(math.log, a, a > 0.0)

    @staticmethod
    def erfc(a: Column) -> Column:
        """Return the complementary error function."""
        return _map(math.erfc, a, a == a)  # noqa: PLR0124 - NaN alone differs from itself

    @staticmethod
    def sin(a: Column) -> Column:
        """Return the sine of `a` radians."""
        return _map(math.sin, a, a == a)  # noqa: PLR0124

    @staticmethod
    def cos(a: Column) -> Column:
        """Return the cosine of `a` radians."""
        return _map(math.cos, a, a == a)  # noqa: PLR0124

    @staticmethod
    def floor(a: Column) -> Column:
        """Return the largest whole number at or below `a`."""
        # math.floor makes an int, which has no minus zero.
        whole: Column = np.floor(a) + 0.0
        return whole

    @staticmethod
    def where(condition: Value, a: Value, b: Value) -> Value:
        """Return a where `condition` holds, else b."""
        chosen: Value = np.where(condition, a, b)
        return chosen


def _map(function: Callable[[float], float], column: Column, defined: npt.NDArray[Any]) -> Column:
    """Apply a scalar `function` where `defined`, once per run of equal values; NaN elsewhere."""
    # Rows of one instant stand together: a function of time is the same for all of them.
    is_new = np.empty(len(column), np.bool_)
    is_new[:1] = True
    np.not_equal(column[1:], column[:-1], out=is_new[1:])
    first = np.flatnonzero(is_new)
    if 2 * len(first) < len(column):
        lengths = np.diff(first, append=len(column))
        return np.repeat(_map_all(function, column[first], defined[first]), lengths)
    return _map_all(function, column, defined)


def _map_all(
    function: Callable[[float], float], column: Column, defined: npt.NDArray[Any]
) -> Column:
    if defined.all():
        return np.fromiter(map(function, column.tolist()), np.float64, len(column))
    mapped = np.full(len(column), NAN)
    inputs = column[defined].tolist()
    mapped[defined] = np.fromiter(map(function, inputs), np.float64, len(inputs))
    return mapped


SCALARS: Ops = Scalars()
COLUMNS: Ops = Columns()
