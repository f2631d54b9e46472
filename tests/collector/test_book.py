"""A book is what its snapshot and changes add up to, or void with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.messages import BookChange, BookSnapshot
from services.collector import book as module
from services.collector.book import TOPS_LEVELS_MAX, Book

PRICES = st.integers(1, 9)
CHANGES = st.lists(st.tuples(st.booleans(), PRICES, st.integers(0, 5)), max_size=8)


def whole(bids: dict[int, int], asks: dict[int, int]) -> Book:
    """Return a book that has just been told whole."""
    made = Book()
    made.replace(BookSnapshot("X", list(bids.items()), list(asks.items())))
    return made


class TestBelief:
    def test_a_new_book_is_not_believed(self) -> None:
        assert Book().void_reason == "no_book"

    def test_a_snapshot_makes_it_believed_and_forgets_what_was_before(self) -> None:
        made = whole({1: 1}, {9: 9})
        made.replace(BookSnapshot("X", [(2, 2)], []))
        assert (made.void_reason, made.bids, made.asks) == (None, {2: 2}, {})

    def test_a_void_book_has_no_levels_and_takes_no_changes(self) -> None:
        made = whole({1: 1}, {9: 9})
        made.void("sequence_gap")
        made.apply(BookChange("X", [(True, 3, 3)]))
        assert (made.void_reason, made.levels(5)) == ("sequence_gap", ([], []))

    def test_a_size_below_zero_voids(self) -> None:
        made = whole({1: 5}, {})
        assert made.apply(BookChange("X", [(True, 1, -6)], True)) == "negative_level"
        assert made.void_reason == "negative_level" and not made.bids

    def test_a_change_below_zero_of_a_level_that_is_not_there_voids(self) -> None:
        assert whole({1: 5}, {}).apply(BookChange("X", [(True, 2, -1)], True)) == "negative_level"

    def test_removing_an_absent_level_is_counted_as_a_hint(self) -> None:
        made = whole({1: 5}, {})
        made.apply(BookChange("X", [(True, 2, 0)]))
        assert (made.absent_removed, made.void_reason) == (1, None)

    @pytest.mark.parametrize("is_signed", [True, False])
    def test_too_many_levels_void(self, monkeypatch: pytest.MonkeyPatch, is_signed: bool) -> None:
        monkeypatch.setattr(module, "LEVELS_MAX_KNOWN", 3)
        made = whole({}, {})
        change = BookChange("X", [(True, price, 1) for price in range(1, 5)], is_signed)
        assert made.apply(change) == "too_many_levels"
        assert Book().replace(BookSnapshot("X", [(p, 1) for p in range(9)], [])) == (
            "too_many_levels"
        )


class TestLevels:
    def test_the_best_come_first_whatever_order_they_were_told_in(self) -> None:
        made = whole({1: 1, 3: 3, 2: 2}, {7: 7, 5: 5, 6: 6})
        assert made.levels(2) == ([(3, 3), (2, 2)], [(5, 5), (6, 6)])
        assert made.best() == (3, 5)

    def test_an_absent_side_is_none(self) -> None:
        assert whole({}, {4: 1}).best() == (None, 4)

    def test_changes_of_one_message_are_applied_in_order(self) -> None:
        made = whole({}, {})
        made.apply(BookChange("X", [(True, 1, 5), (True, 1, 0), (True, 1, 7)]))
        assert made.bids == {1: 7}

    @given(st.lists(CHANGES, max_size=20))
    def test_absolute_sizes_leave_the_last_one_told(
        self, frames: list[list[tuple[bool, int, int]]]
    ) -> None:
        made, truth = whole({}, {}), {True: dict[int, int](), False: dict[int, int]()}
        for changes in frames:
            made.apply(BookChange("X", list(changes)))
            for is_bid, price, size in changes:
                truth[is_bid][price] = size
        expected = [{p: s for p, s in truth[side].items() if s} for side in (True, False)]
        assert [made.bids, made.asks] == expected

    @given(st.lists(st.tuples(PRICES, st.integers(-5, 5)), max_size=40))
    def test_signed_sizes_add_up_or_the_book_is_void(self, steps: list[tuple[int, int]]) -> None:
        made, truth, is_void = whole({}, {}), dict[int, int](), False
        for price, size in steps:
            made.apply(BookChange("X", [(True, price, size)], True))
            truth[price] = truth.get(price, 0) + size
            is_void = is_void or truth[price] < 0
            assert (made.void_reason is not None) == is_void
            if not is_void:
                assert made.bids == {p: s for p, s in truth.items() if s}


class TestTops:
    def test_former_best_prices_are_kept_with_the_time_they_stood_until(self) -> None:
        made = whole({1: 1}, {5: 1})
        made.note_top(10)
        change = BookChange("X", [(True, 2, 1)])
        made.apply(change)
        made.note_top(20, change)
        assert made.tops[-1] == (20, (1, 5))

    @given(st.lists(CHANGES, max_size=30))
    def test_each_former_top_is_one_that_stood(
        self, frames: list[list[tuple[bool, int, int]]]
    ) -> None:
        made = whole({1: 1}, {9: 1})
        made.note_top(0)
        stood = [made.best()]
        for ts_ns, changes in enumerate(frames, 1):
            change = BookChange("X", list(changes))
            made.apply(change)
            made.note_top(ts_ns, change)
            if made.best() != stood[-1]:
                stood.append(made.best())
        assert [top for _, top in made.tops][1:] == stood[:-1]

    def test_a_deep_book_remembers_none(self) -> None:
        made = whole(dict.fromkeys(range(TOPS_LEVELS_MAX + 1), 1), {})
        made.note_top(1)
        assert not made.tops
