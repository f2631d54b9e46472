"""All lines together: which is looked at, which stands in, and which is connected."""

import pytest

from libs.common.venues.messages import BookSnapshot, TopOfBook
from services.collector.panel import FALLBACK_S, Panel
from tests.collector.toy_venue import S, Toy, ToyFeed, book, change, wire

ENDPOINT = "toy.rest"


def panel(*feeds: ToyFeed) -> tuple[Panel, Toy]:
    venue = Toy(feeds=feeds or [ToyFeed(is_numbered=False)])
    return Panel({"toy": venue}), venue


def opened(made: Panel, feed: str = "toy.ws", connection: int = 1, now_ns: int = 0) -> None:
    line = made.opened(feed, connection, now_ns)
    line.want(["T-1"], now_ns)


def receive(made: Panel, now_ns: int, *messages: object, feed: str = "toy.ws") -> None:
    line = next(line for line in made.lines() if line.feed.name == feed)
    line.receive(now_ns, wire(*messages))  # type: ignore[arg-type]


class TestSight:
    def test_without_a_connection_nothing_is_seen(self) -> None:
        made, venue = panel()
        assert made.sight(venue, "T-1", 0, S).reason == "not_connected"

    def test_the_first_feed_is_looked_at_while_it_is_fresh_and_then_the_next(self) -> None:
        made, venue = panel(ToyFeed("a.ws", is_numbered=False), ToyFeed("b.ws", is_numbered=False))
        for number, feed in enumerate(("a.ws", "b.ws"), 1):
            opened(made, feed, number)
        receive(made, 0, book(bid=4_000), feed="a.ws")
        receive(made, 0, book(bid=4_100), feed="b.ws")
        receive(made, 5 * S, change(4_050, 1), feed="b.ws")
        bids = [
            found.best()[0]
            for now in (1, 6)
            if (found := made.sight(venue, "T-1", now * S, S).book) is not None
        ]
        assert bids == [4_000, 4_100]

    def test_the_freshest_is_looked_at_where_all_are_stale(self) -> None:
        made, venue = panel()
        opened(made)
        receive(made, 0, book(bid=4_000))
        made.polled(book(bid=4_100), ENDPOINT, 3 * S)
        found = made.sight(venue, "T-1", 6 * S, S)
        assert found.book is not None and found.book.best()[0] == 4_100
        assert found.age_ns == 3 * S

    def test_what_is_older_than_ten_seconds_is_no_observation(self) -> None:
        made, venue = panel()
        opened(made)
        receive(made, 0, book())
        assert made.sight(venue, "T-1", 10 * S, S).book is not None
        frozen = made.sight(venue, "T-1", 10 * S + 1, S)
        assert (frozen.book, frozen.reason) == (None, "frozen")

    def test_a_void_book_tells_why(self) -> None:
        made, venue = panel()
        opened(made)
        receive(made, 0, book())
        made.lines()[0].void("T-1", "tick_size", S)
        assert made.sight(venue, "T-1", S, S).reason == "tick_size"


class TestPolled:
    def test_an_equal_book_by_rest_proves_that_a_feed_without_numbers_lives(self) -> None:
        made, _ = panel()
        opened(made)
        receive(made, 0, book())
        made.polled(book(), ENDPOINT, 5 * S)
        assert made.lines()[0].age_ns("T-1", 6 * S) == S

    def test_another_book_by_rest_proves_nothing(self) -> None:
        made, _ = panel()
        opened(made)
        receive(made, 0, book())
        made.polled(book(bid=4_000), ENDPOINT, 5 * S)
        assert made.lines()[0].age_ns("T-1", 6 * S) == 6 * S

    @pytest.mark.parametrize("deeper", [[(4_900, 10**7)], [(4_900, 10**7), (4_800, 2)]])
    def test_the_same_best_prices_over_another_depth_prove_nothing(
        self, deeper: list[tuple[int, int]]
    ) -> None:
        made, venue = panel()
        opened(made)
        receive(made, 0, BookSnapshot("T-1", [(4_900, 10**7), (4_800, 1)], [(5_100, 1)]))
        made.polled(BookSnapshot("T-1", list(deeper), [(5_100, 1)]), ENDPOINT, 5 * S)
        assert made.lines()[0].age_ns("T-1", 6 * S) == 6 * S
        seen = made.sight(venue, "T-1", 6 * S, S)
        assert seen.book is not None and seen.book.bids == dict(deeper)

    def test_a_book_by_rest_that_was_overtaken_makes_nothing_older(self) -> None:
        made, _ = panel()
        opened(made)
        receive(made, 6 * S, book())
        made.polled(book(), ENDPOINT, 5 * S)
        assert made.lines()[0].age_ns("T-1", 6 * S) == 0

    @pytest.mark.parametrize(
        ("bid", "ask", "is_seen"), [(100, 9_900, False), (200, 9_800, False), (300, 9_900, True)]
    )
    def test_a_ghost_is_no_book(self, bid: int, ask: int, is_seen: bool) -> None:
        made, venue = panel()
        made.polled(book(bid=bid, ask=ask), ENDPOINT, 0)
        assert (made.sight(venue, "T-1", 0, S).book is not None) == is_seen

    def test_one_side_near_the_close_is_no_ghost(self) -> None:
        made, venue = panel()
        made.polled(BookSnapshot("T-1", [(9_900, 1)], []), ENDPOINT, 0)
        assert made.sight(venue, "T-1", 0, S).book is not None

    def test_a_book_whose_top_is_contradicted_by_rest_is_forgotten(self) -> None:
        made, venue = panel()
        made.polled(book(), ENDPOINT, 0)
        made.compare_polled(TopOfBook("T-1", 1, 2))
        assert made.sight(venue, "T-1", 0, S).book is None


class TestWanted:
    def test_a_signed_feed_needs_a_key_and_any_feed_needs_work(self) -> None:
        signed = ToyFeed("a.ws")
        signed.is_signed = True
        made, _ = panel(signed, ToyFeed("b.ws"))
        assert made.wanted(frozenset(), lambda feed: True, 0) == ["b.ws"]
        assert made.wanted(frozenset({"toy"}), lambda feed: True, 0) == ["a.ws"]
        assert made.wanted(frozenset({"toy"}), lambda feed: False, 0) == []

    def test_index_feeds_are_connected_beside_those_with_books(self) -> None:
        made, _ = panel(ToyFeed("a.ws"), ToyFeed("i.ws", carries="index"))
        assert made.wanted(frozenset(), lambda feed: True, 0) == ["a.ws", "i.ws"]

    def test_the_successor_comes_when_the_first_shows_no_book_and_goes_when_it_does(self) -> None:
        made, _ = panel(ToyFeed("a.ws"), ToyFeed("b.ws"))

        def wanted(second: int) -> list[str]:
            return made.wanted(frozenset(), lambda feed: True, second * S)

        assert wanted(0) == ["a.ws"] and wanted(FALLBACK_S) == ["a.ws"]
        assert wanted(FALLBACK_S + 1) == ["a.ws", "b.ws"]
        opened(made, "a.ws")
        receive(made, 12 * S, book(), feed="a.ws")
        assert wanted(13) == ["a.ws"]


class TestLines:
    def test_a_connection_of_an_older_number_is_not_the_one_that_is_open(self) -> None:
        made, _ = panel()
        opened(made, connection=1)
        opened(made, connection=2)
        made.closed("toy.ws", 1)
        assert made.line("toy.ws", 1) is None and made.line("toy.ws", 2) is not None

    def test_agreement_counts_also_what_was_forgotten(self) -> None:
        made, _ = panel()
        opened(made)
        receive(made, 0, book())
        made.told(TopOfBook("T-1", 4_900, 5_100), made.lines()[0], 0)
        made.told(TopOfBook("T-1", 1, 2), made.lines()[0], 0)
        made.forget("T-1")
        assert made.agreement() == (2, 1)

    def test_connections_that_stand_are_told(self) -> None:
        made, _ = panel(ToyFeed("a.ws"), ToyFeed("b.ws"))
        opened(made, "a.ws")
        assert made.connected() == {"a.ws": True, "b.ws": False}
