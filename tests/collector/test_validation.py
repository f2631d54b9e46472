"""Validation: every reason to drop or flag a row has a case, and nothing else is dropped."""

from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.columns import ABSENT
from libs.common.events import Flag
from services.collector import validation
from services.collector.validation import Books, Reasons, book_flags, flag_counts, judge_side


def side(
    prices: list[Any], sizes: list[Any] | None = None, *, is_bid: bool = True
) -> tuple[list[int], list[int], str]:
    """Judge one side of one row; return prices, sizes and the reason."""
    reasons = Reasons(1)
    kind = pa.list_(pa.float64())
    price, size = judge_side(
        pa.array([prices], kind), pa.array([sizes or []], kind), reasons, is_bid=is_bid
    )
    (reason,) = [*reasons.counts(), ""][:1]
    kept = (price[0] != ABSENT, size[0] != ABSENT)
    return price[0][kept[0]].tolist(), size[0][kept[1]].tolist(), reason


@pytest.mark.parametrize(
    ("prices", "sizes", "reason"),
    [
        ([0.5], [1.0], ""),
        ([], [], ""),
        ([0.5, 0.4, 0.3, 0.2, 0.1], [1.0] * 5, ""),
        ([0.5], [], ""),  # the recorder did not know sizes
        ([], [1.0], ""),  # a size without a price is of no side
        ([1.0], [1.0], ""),
        ([0.0], [1.0], ""),
        ([nan], [1.0], "not_finite"),
        ([inf], [1.0], "not_finite"),
        ([0.5], [nan], "not_finite"),
        ([0.5, None], [1.0, 1.0], "not_finite"),
        ([-0.01], [1.0], "price_out_of_range"),
        ([1.01], [1.0], "price_out_of_range"),
        ([0.5], [-1.0], "size_out_of_range"),
        ([0.5], [0.0], "size_out_of_range"),
        ([0.5], [1e13], "size_out_of_range"),
        ([0.50005], [1.0], "price_off_grid"),
        ([0.5], [1.005], "size_off_grid"),
        ([0.4, 0.5], [1.0, 1.0], "levels_not_best_first"),
        ([0.5, 0.5], [1.0, 1.0], "levels_not_best_first"),
        ([0.5, 0.4], [1.0], "sizes_do_not_match_prices"),
        ([0.5], [1.0, 2.0], "sizes_do_not_match_prices"),
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [1.0] * 6, "too_many_levels"),
    ],
)
def test_a_side_is_stored_or_dropped_for_its_reason(
    prices: list[float], sizes: list[float], reason: str
) -> None:
    assert side(prices, sizes)[2] == reason


def test_a_null_side_is_not_guessed_to_be_empty() -> None:
    kind = pa.list_(pa.float64())
    for prices, sizes in (([None], [[1.0]]), ([[0.5]], [None])):
        reasons = Reasons(1)
        judge_side(pa.array(prices, kind), pa.array(sizes, kind), reasons, is_bid=True)
        assert reasons.counts() == {"side_is_null": 1}


def test_asks_rise_and_bids_fall() -> None:
    assert side([0.5, 0.6], [1.0, 1.0], is_bid=False)[2] == ""
    assert side([0.6, 0.5], [1.0, 1.0], is_bid=False)[2] == "levels_not_best_first"


@given(st.integers(0, 10_000), st.floats(-0.9e-6, 0.9e-6))
def test_a_price_within_a_millionth_snaps_to_its_grid(price_e4: int, noise: float) -> None:
    price = min(max(price_e4 / 10_000 + noise, 0.0), 1.0)
    assert side([price], [1.0]) == ([price_e4], [100], "")


@given(st.integers(0, 9_999), st.floats(1.1e-6, 98.9e-6))
def test_a_price_further_off_is_dropped(price_e4: int, distance: float) -> None:
    assert side([price_e4 / 10_000 + distance], [1.0])[2] == "price_off_grid"


@given(st.integers(1, 400_000), st.floats(-0.9e-6, 0.9e-6))
def test_a_size_within_a_millionth_of_itself_snaps(size_e2: int, relative: float) -> None:
    assert side([0.5], [size_e2 / 100 * (1 + relative)])[1:] == ([size_e2], "")


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 10_000), max_size=5, unique=True),
            st.integers(1, 10**9),
        ),
        max_size=10,
    )
)
def test_a_good_book_comes_through_exactly(rows: list[tuple[list[int], int]]) -> None:
    books = [(sorted(levels, reverse=True), size) for levels, size in rows]
    kind = pa.list_(pa.float64())
    reasons = Reasons(len(books))
    price, size = judge_side(
        pa.array([[p / 10_000 for p in levels] for levels, _ in books], kind),
        pa.array([[s / 100] * len(levels) for levels, s in books], kind),
        reasons,
        is_bid=True,
    )
    assert reasons.counts() == {}
    for i, (levels, s) in enumerate(books):
        padding = [ABSENT] * (5 - len(levels))
        assert price[i].tolist() == levels + padding
        assert size[i].tolist() == [s] * len(levels) + padding


@given(
    st.lists(
        st.tuples(
            st.none() | st.lists(st.none() | st.floats(), max_size=7),
            st.none() | st.lists(st.none() | st.floats(), max_size=7),
        ),
        max_size=8,
    )
)
def test_no_row_of_any_content_is_kept_with_anything_off_the_grid(rows: list[Any]) -> None:
    kind = pa.list_(pa.float64())
    reasons = Reasons(len(rows))
    price, size = judge_side(
        pa.array([p for p, _ in rows], kind),
        pa.array([s for _, s in rows], kind),
        reasons,
        is_bid=True,
    )
    kept = reasons.kept
    assert (price[kept] >= ABSENT).all()
    assert (price[kept] <= 10_000).all()
    assert (size[kept] != 0).all()
    assert (size[kept] >= ABSENT).all()
    assert sum(reasons.counts().values()) == (~kept).sum()


def books(bids: list[int], asks: list[int]) -> Books:
    def matrix(values: list[int]) -> Any:
        full = np.full((len(values), 5), ABSENT, np.int64)
        full[:, 0] = values
        return full

    return Books(matrix(bids), matrix(bids), matrix(asks), matrix(asks))


@pytest.mark.parametrize(
    ("bid", "ask", "flags", "names"),
    [
        (4900, 5100, 0, set()),
        (5100, 4900, Flag.CROSSED, {"crossed"}),
        (5000, 5000, Flag.LOCKED | Flag.COARSE, {"locked", "coarse"}),
        (10_000, ABSENT, Flag.ROUNDED_TO_BOUND, {"rounded_to_bound", "one_sided"}),
        (ABSENT, 0, Flag.ROUNDED_TO_BOUND, {"rounded_to_bound", "one_sided"}),
        (0, 10_000, 0, set()),
        (ABSENT, ABSENT, 0, {"empty"}),
        (4900, ABSENT, 0, {"one_sided"}),
        (ABSENT, 5100, 0, {"one_sided"}),
        (
            10_000,
            10_000,
            Flag.LOCKED | Flag.COARSE | Flag.ROUNDED_TO_BOUND,
            {"locked", "coarse", "rounded_to_bound"},
        ),
    ],
)
def test_a_stored_book_carries_its_flags(bid: int, ask: int, flags: int, names: set[str]) -> None:
    book = books([bid], [ask])
    assert book_flags(book).tolist() == [int(flags)]
    assert set(flag_counts(book, book_flags(book))) == names


def test_the_first_reason_of_a_row_counts_and_only_that() -> None:
    reasons = Reasons(3)
    reasons.drop(np.array([True, False, False]), "one")
    reasons.drop(np.array([True, True, False]), "two")
    assert reasons.counts() == {"one": 1, "two": 1}
    assert reasons.kept.tolist() == [False, False, True]


def test_a_finer_source_covers_the_moments_it_saw_and_no_others() -> None:
    minute, second = 60, 1
    times = [*range(0, 600, minute), *range(180, 300, second)]
    sources = ["x_candle_1m"] * 10 + ["trade"] * 120
    ts_ns = np.array(times, np.int64) * 1_000_000_000
    marked = validation.superseded(ts_ns, np.array(sources))
    covered = [t for t, m in zip(times, marked.tolist(), strict=True) if m]
    # The candle at 180 closes on the first trade; the one at 300 has trades inside its minute.
    assert covered == [180, 240, 300]


@pytest.mark.parametrize("name", ["", None, "x" * 201, "x" * 10_000, "a\x1b[2J", "a\nb", "\u202eb"])
def test_a_hostile_name_is_no_name(name: str | None) -> None:
    assert not validation.is_name(name)
    assert not validation.is_place(name)


@pytest.mark.parametrize("name", ["../x", "a/b", "control", ".", "..", "BTC USD", "é"])
def test_a_place_is_a_folder_name_and_never_a_path(name: str) -> None:
    assert not validation.is_place(name)
    assert validation.is_place("BTC-USD")
