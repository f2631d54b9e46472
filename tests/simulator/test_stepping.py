"""One second of one book."""

from hypothesis import given
from hypothesis import strategies as st

from services.simulator.books import Book
from services.simulator.stepping import BookEvent, Plan, Traded, changes_of, top

SECOND = 1_795_366_800
sides = st.dictionaries(st.integers(1, 99), st.integers(1, 50), max_size=12)


def book_of(low: dict[int, int], high: dict[int, int], middle: int) -> Book:
    """Make a book that is not crossed: bids below `middle`, asks from it on."""
    return (
        {price: size for price, size in low.items() if price < middle},
        {price: size for price, size in high.items() if price >= middle},
    )


def applied(book: Book, events: list[BookEvent]) -> Book:
    """Apply events to a book."""
    work = dict(book[0]), dict(book[1])
    for event in events:
        for side, price, size, delta in event.changes:
            assert size == work[side].get(price, 0) + delta
            work[side][price] = size
            if not size:
                del work[side][price]
        assert (event.bids, event.asks) == top(work)
    return work


def plan(old: Book, new: Book, trades: tuple[Traded, ...] = (), *, ends: bool = False) -> Plan:
    return Plan("X", 7, SECOND, old, new, 1_000_000, trades, ends_with_trade=ends)


@given(sides, sides, st.integers(1, 99), sides, sides, st.integers(1, 99))
def test_the_second_ends_with_the_new_book_and_was_never_crossed(
    bids: dict[int, int],
    asks: dict[int, int],
    middle: int,
    more_bids: dict[int, int],
    more_asks: dict[int, int],
    then: int,
) -> None:
    old, new = book_of(bids, asks, middle), book_of(more_bids, more_asks, then)
    events = changes_of(plan(old, new))
    assert applied(old, events) == new
    assert [e.ns for e in events] == sorted(e.ns for e in events)
    for event in events:
        assert not (event.bids and event.asks) or event.bids[0][0] < event.asks[0][0]


def test_a_trade_takes_from_its_level_which_is_filled_again() -> None:
    book: Book = ({40: 10}, {60: 10})
    events = changes_of(plan(book, book, (Traded(60, 4, True, 1),)))
    assert [event.changes for event in events] == [((1, 60, 6, -4),), ((1, 60, 10, 4),)]
    assert [event.trade is None for event in events] == [False, True]


def test_a_trade_larger_than_its_level_leaves_it_alone() -> None:
    book: Book = ({40: 10}, {60: 10})
    (event,) = changes_of(plan(book, book, (Traded(60, 25, True, 1),)))
    assert event.changes == ()
    assert event.trade == Traded(60, 25, True, 1)


def test_the_last_trade_of_a_second_leaves_the_book_as_planned() -> None:
    old: Book = ({40: 10}, {60: 10})
    new: Book = ({50: 8}, {60: 10})
    events = changes_of(plan(old, new, (Traded(50, 3, False, 1),), ends=True))
    assert applied(old, events) == new
    assert events[-1].trade is not None
    assert events[-1].changes == ((0, 50, 8, -3),)
