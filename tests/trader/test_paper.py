"""Paper fills: never better than displayed, never more than both books show."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import Flag
from libs.common.pricing import KALSHI_FEE, POLYMARKET_FEE, fee_e6, order_fee_e6
from services.trader.paper import (
    Bracket,
    Level,
    charges,
    is_sound,
    levels,
    refusal,
    remaining,
    still_taken,
    taken_after,
    walk,
)
from tests.trader.scene import S, at, quote

books = st.dictionaries(st.integers(1, 30), st.integers(0, 500), max_size=5).map(
    lambda book: [Level(price * 100, size) for price, size in sorted(book.items())]
)
takings = st.dictionaries(st.integers(1, 30), st.integers(1, 300), max_size=5).map(
    lambda book: [Level(price * 100, size) for price, size in sorted(book.items())]
)
fill_lists = st.lists(
    st.builds(Level, st.integers(1, 9_999), st.integers(1, 100_000)), min_size=1, max_size=5
)


def depth(book: list[Level], price_e4: int) -> int:
    return sum(level.size_e2 for level in book if level.price_e4 <= price_e4)


def cost(fills: list[Level]) -> int:
    return sum(level.price_e4 * level.size_e2 for level in fills)


@given(books, books, st.integers(1, 1_000), st.integers(0, 3_200))
def test_fills_never_exceed_either_book_at_any_price(
    before: list[Level], after: list[Level], size_e2: int, limit_e4: int
) -> None:
    fills = walk(before, after, size_e2=size_e2, price_limit_e4=limit_e4)
    assert all(level.price_e4 <= limit_e4 and level.size_e2 > 0 for level in fills)
    assert sum(level.size_e2 for level in fills) <= size_e2
    for level in fills:
        reached = depth(fills, level.price_e4)
        assert reached <= min(depth(before, level.price_e4), depth(after, level.price_e4))


@given(books, books, st.integers(1, 1_000), st.integers(0, 3_200))
def test_a_fill_is_as_large_as_the_worse_book_and_no_cheaper_than_either(
    before: list[Level], after: list[Level], size_e2: int, limit_e4: int
) -> None:
    fills = walk(before, after, size_e2=size_e2, price_limit_e4=limit_e4)
    filled = sum(level.size_e2 for level in fills)
    assert filled == min(depth(before, limit_e4), depth(after, limit_e4), size_e2)
    for book in (before, after):
        alone = walk(book, book, size_e2=filled, price_limit_e4=limit_e4) if filled else []
        assert cost(fills) >= cost(alone)


def test_a_single_book_is_walked_from_its_best_price() -> None:
    book = [Level(5_000, 30), Level(5_100, 0), Level(5_200, 50)]
    assert walk(book, book, size_e2=60, price_limit_e4=5_200) == [
        Level(5_000, 30),
        Level(5_200, 30),
    ]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), books, books, takings)
def test_orders_of_one_bracket_together_never_exceed_either_book(
    sizes: list[int], before: list[Level], after: list[Level], taken: list[Level]
) -> None:
    old, total = taken, 0
    for size_e2 in sizes:
        left = [remaining(book, taken) for book in (before, after)]
        filled = sum(f.size_e2 for f in walk(*left, size_e2=size_e2, price_limit_e4=3_200))
        taken = taken_after(taken, left, filled)
        total += filled
    for book in (before, after):
        assert total <= depth(remaining(book, old), 3_200)
    assert all(dict(taken)[price] >= size for price, size in old)


def test_taken_size_stays_subtracted_while_the_level_is_shown() -> None:
    taken = [Level(5_500, 100), Level(5_600, 20)]
    assert still_taken(taken, (5_500, 5_600, 5_700)) == taken
    assert remaining([Level(5_500, 150), Level(5_600, 10)], taken) == [
        Level(5_500, 50),
        Level(5_600, 0),
    ]


def test_taken_size_is_forgotten_when_its_price_leaves_the_book() -> None:
    assert still_taken([Level(5_500, 100)], (5_600, 5_700)) == []
    assert still_taken([Level(5_500, 100)], ()) == []


def test_a_better_touch_does_not_bring_back_what_was_taken_behind_it() -> None:
    assert still_taken([Level(5_500, 100)], (5_400, 5_500)) == [Level(5_500, 100)]


def test_a_level_below_a_full_book_is_not_known_to_be_gone() -> None:
    shown = (5_000, 5_100, 5_200, 5_300, 5_400)
    assert still_taken([Level(5_500, 100)], shown) == [Level(5_500, 100)]
    assert still_taken([Level(5_350, 100)], shown) == []


def test_no_is_bought_from_the_yes_bids() -> None:
    shown = quote(1, bids=[(5_400, 100), (5_300, 200)], asks=[(5_500, 300)])
    assert levels(shown, "no") == [Level(4_600, 100), Level(4_700, 200)]
    assert levels(shown, "yes") == [Level(5_500, 300)]


def test_unknown_sizes_offer_nothing() -> None:
    assert levels(quote(1, yes_asks_size_e2=()), "yes") == []


def test_bad_flags_and_crossed_or_locked_prices_are_unsound() -> None:
    assert is_sound(quote(1)) and is_sound(quote(1, bids=[])) and is_sound(quote(1, flags=16))
    for flag in (Flag.CROSSED, Flag.LOCKED, Flag.COARSE, Flag.STALE, Flag.ROUNDED_TO_BOUND):
        assert not is_sound(quote(1, flags=int(flag)))
    assert not is_sound(quote(1, bids=[(5_500, 1)]))
    assert not is_sound(quote(1, bids=[(5_600, 1)]))


def test_nothing_is_filled_across_a_gap_or_on_a_bad_row_or_too_late() -> None:
    def reason(before, after, has_gap=False):  # type: ignore[no-untyped-def]
        bracket = Bracket(before, after, has_gap)
        return refusal(bracket, no_fill_from_ns=at(870), span_ns_max=3 * S)

    assert reason(quote(10), quote(13)) is None
    assert reason(quote(10), quote(13.1)) == "unfilled: gap"
    assert reason(quote(10), quote(11), True) == "unfilled: gap"
    assert reason(quote(10), quote(11, flags=int(Flag.GAP))) == "unfilled: gap"
    assert reason(quote(10, flags=int(Flag.GAP)), quote(11)) is None
    for flag in (Flag.CROSSED, Flag.LOCKED, Flag.LOCKED | Flag.COARSE, Flag.STALE):
        assert reason(quote(10), quote(11, flags=int(flag))) == "unfilled: unsound_book"
        assert reason(quote(10, flags=int(flag)), quote(11)) == "unfilled: unsound_book"
    assert reason(quote(869), quote(870)) is None
    assert reason(quote(869), quote(870.1)) == "unfilled: too_late"


@given(fill_lists)
def test_fees_of_the_fills_sum_to_the_fee_of_the_order(fills: list[Level]) -> None:
    for schedule in (KALSHI_FEE, POLYMARKET_FEE):
        owed = charges(schedule, fills)
        total = order_fee_e6(schedule, fills)
        exact = sum(
            Fraction(7 * size * price * (10_000 - price), 1_000_000) for price, size in fills
        )
        assert sum(charge.fee_e6 for charge in owed) == total
        assert total - schedule.round_e6 < exact <= total
        assert all(charge.fee_e6 >= 0 for charge in owed)
        assert 0 <= sum(charge.rounding_e6 for charge in owed) < schedule.round_e6


def test_a_single_fill_carries_its_own_fee() -> None:
    (charge,) = charges(KALSHI_FEE, [Level(5_000, 100)])
    assert charge.fee_e6 == fee_e6(KALSHI_FEE, price_e4=5_000, size_e2=100) == 20_000
    assert charge.rounding_e6 == 2_500
