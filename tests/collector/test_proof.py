"""Books held against what the venue tells of them elsewhere."""

import pytest

from libs.common.venues.messages import BookChange, BookSnapshot, TopOfBook
from services.collector.book import Book
from services.collector.proof import CONTRADICTED_MAX, PENDING_MAX, RECENT_NS, Proof, agrees

S = 1_000_000_000


def seen(bid: int | None = 40, ask: int | None = 60) -> Book:
    made = Book()
    sides = [[(price, 1)] if price else [] for price in (bid, ask)]
    made.replace(BookSnapshot("X", sides[0], sides[1]))
    made.note_top(0)
    return made


def moved(made: Book, bid: int, ts_ns: int) -> None:
    """Move the best bid up."""
    change = BookChange("X", [(True, bid, 1)])
    made.apply(change)
    made.note_top(ts_ns, change)


def top(bid: int | None = 40, ask: int | None = 60) -> TopOfBook:
    return TopOfBook("X", bid, ask)


class TestVerdict:
    def test_a_top_that_is_the_book_proves_it(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(), book, S)
        assert proof.tick(book) is True

    def test_an_interval_without_a_top_proves_nothing(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(), book, S)
        proof.tick(book)
        assert proof.tick(book) is None

    def test_a_top_that_never_was_contradicts(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(bid=41), book, S)
        assert proof.tick(book) is False

    def test_a_top_that_was_right_a_moment_ago_proves(self) -> None:
        proof, book = Proof(), seen()
        moved(book, 41, 10 * S)
        proof.told(top(bid=40), book, 10 * S + RECENT_NS)
        assert proof.tick(book) is True

    def test_a_top_that_was_right_too_long_ago_contradicts(self) -> None:
        proof, book = Proof(), seen()
        moved(book, 41, 10 * S)
        proof.told(top(bid=40), book, 10 * S + RECENT_NS + 1)
        assert proof.tick(book) is False

    def test_a_top_that_becomes_right_before_the_sample_proves(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(bid=41), book, S)
        moved(book, 41, S + 1)
        assert proof.tick(book) is True

    def test_a_top_that_was_right_between_arrival_and_sample_proves(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(bid=41), book, S)
        moved(book, 41, S + 1)
        moved(book, 42, S + 2)
        assert proof.tick(book) is True

    def test_a_void_book_is_compared_with_nothing(self) -> None:
        proof, book = Proof(), seen()
        book.void("sequence_gap")
        proof.told(top(), book, S)
        assert (proof.compared, proof.tick(book)) == (0, None)

    def test_what_was_compared_before_the_book_was_void_is_forgotten(self) -> None:
        proof, book = Proof(), seen()
        proof.told(top(), book, S)
        proof.told(top(bid=41), book, S)
        proof.reset()
        assert proof.tick(book) is None

    def test_tops_compared_and_equal_at_arrival_are_counted(self) -> None:
        proof, book = Proof(), seen()
        for bid in (40, 41, 40):
            proof.told(top(bid=bid), book, S)
        assert (proof.compared, proof.equal) == (3, 2)

    def test_pending_tops_have_a_limit(self) -> None:
        proof, book = Proof(), seen()
        for bid in range(1, 39):
            proof.told(top(bid=bid), book, S)
        assert len(proof._pending) == PENDING_MAX


class TestRefutation:
    def test_a_book_is_refuted_by_contradictions_in_a_row_once(self) -> None:
        proof, book = Proof(), seen()
        for _ in range(CONTRADICTED_MAX):
            assert not proof.is_refuted()
            proof.told(top(bid=1), book, S)
            proof.tick(book)
        assert proof.is_refuted() and not proof.is_refuted()

    def test_a_proof_in_between_begins_the_row_anew(self) -> None:
        proof, book = Proof(), seen()
        for number in range(3 * CONTRADICTED_MAX):
            proof.told(top() if number % CONTRADICTED_MAX == 5 else top(bid=1), book, number * S)
            proof.tick(book)
            assert not proof.is_refuted()

    def test_what_spoke_against_a_book_does_not_speak_against_the_next(self) -> None:
        proof, book = Proof(), seen()
        for _ in range(CONTRADICTED_MAX - 1):
            proof.told(top(bid=1), book, S)
            proof.tick(book)
        book.replace(BookSnapshot("X", [(45, 1)], [(60, 1)]))
        proof.told(top(bid=1), book, S)
        assert proof.tick(book) is False and not proof.is_refuted()


@pytest.mark.parametrize(
    ("told", "book", "expected"),
    [
        (top(), seen(), True),
        (top(bid=39), seen(), False),
        (top(ask=61), seen(), False),
        (top(bid=None), seen(), False),
        (top(bid=None), seen(bid=None), True),
        (top(), seen(bid=None), False),
        (top(None, None), seen(None, None), True),
    ],
)
def test_best_prices_agree_only_if_both_sides_do(
    told: TopOfBook, book: Book, expected: bool
) -> None:
    assert agrees(told, book) == expected


def test_a_level_behind_the_best_is_not_the_best() -> None:
    book = seen()
    moved(book, 45, S)
    assert not agrees(top(bid=40), book)
