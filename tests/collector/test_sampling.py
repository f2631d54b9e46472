"""Rows of a tick: which markets, which sources, and what is asked for because nobody shows it."""

import pytest

from libs.common.events import Flag, SpotSnapshot
from libs.common.venues.messages import BookSnapshot, IndexValue, TopOfBook, Trade
from services.collector.observer import Observer, Plan
from services.collector.traffic import Passed, Received
from tests.collector.toy_venue import Run, Toy, ToyFeed, at, book, change, facts, watched


def coins(mid: float) -> BookSnapshot:
    return BookSnapshot("BTC", [(mid - 1.0, 2.0)], [(mid + 1.0, 3.0)])


def spot(**options: bool) -> Toy:
    return Toy("spot", feeds=[ToyFeed("spot.ws", **options)], products={"BTC-USD": "BTC"})


class TestQuotes:
    def test_two_markets_have_a_row_each_at_each_tick(self) -> None:
        run = Run()
        run.answer(-0.9, facts(), facts("T-2"))
        run.open(-0.8)
        run.hear(-0.7, book(), book("T-2"))
        run.until(3.0)
        assert list(run.quotes()) == list(run.quotes("T-2")) == [0.0, 1.0, 2.0, 3.0]

    def test_a_book_that_was_never_told_is_a_gap_with_that_reason(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.open(-0.8)
        run.until(2.0)
        assert {gap.reason for gap in run.gaps().values()} == {"no_book"}

    def test_nothing_is_filled_forward_over_a_gap(self) -> None:
        run = watched()
        run.skip()
        run.hear(1.1, change(4_800, 1))
        run.until(8.0)
        assert list(run.quotes()) == [0.0, 1.0]

    def test_the_last_price_is_told_in_terms_of_yes(self) -> None:
        run = Run()
        run.answer(-0.9, facts(instruments=("Y", "N")))
        run.open(-0.8)
        run.hear(-0.7, book("Y"), book("N"))
        run.hear(-0.6, Trade("Y", "1", 4_950, 1_000_000, "buy"))
        run.until(0.0)
        run.hear(0.5, Trade("N", "2", 4_900, 1_000_000, "buy"))
        run.until(1.0)
        assert [quote.last_price_e4 for quote in run.quotes().values()] == [4_950, 5_100]

    def test_the_book_of_no_seen_in_the_mirror_proves_that_of_yes(self) -> None:
        run = Run()
        run.answer(-0.9, facts(instruments=("Y", "N")))
        run.open(-0.8)
        run.hear(-0.7, book("Y", 4_800, 4_900), book("N", 5_100, 5_200))
        run.until(2.0)
        assert run.observer.panel.truth["toy.ws", "proven"] == 3

    def test_a_paused_market_is_sampled_and_its_status_told(self) -> None:
        run = watched()
        run.answer(1.5, facts(status="paused"), purpose="market", subject="T-1")
        run.until(2.0)
        assert 2.0 in run.quotes() and run.markets()[-1].status == "paused"

    def test_crossed_books_are_kept_and_flagged(self) -> None:
        run = watched()
        run.hear(1.5, change(5_200, 1))
        run.until(2.0)
        assert run.quotes()[2.0].flags & Flag.CROSSED

    def test_a_book_is_asked_for_by_rest_while_no_socket_shows_it_fresh(self) -> None:
        run = watched()
        run.until(1.0)
        run.fetches.clear()
        for second in range(1, 4):
            run.hear(second + 0.5, change(4_800, second))
            run.until(second + 1.0)
        assert "book" not in [fetch.get.purpose for fetch in run.fetches]
        run.until(6.0)
        assert "book" in [fetch.get.purpose for fetch in run.fetches]

    def test_a_book_that_only_rest_shows_is_asked_for_at_each_tick(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.until(0.0)
        for second in range(8):
            run.fetches.clear()
            run.answer(second + 0.05, book(bid=4_900 - 10 * second), purpose="book", subject="T-1")
            run.until(second + 1.0)
            assert "book" in [fetch.get.purpose for fetch in run.fetches], second
        found = run.quotes()
        assert [found[float(n)].yes_bids_price_e4[0] for n in range(1, 9)] == [
            4_900 - 10 * n for n in range(8)
        ]

    def test_a_ghost_by_rest_is_not_taken_for_a_book(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.answer(0.5, book(bid=100, ask=9_900), purpose="book", subject="T-1")
        run.until(1.0)
        assert not run.quotes()

    def test_a_book_by_rest_has_its_own_age(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.answer(0.5, book(), purpose="book", subject="T-1")
        run.until(15.0)
        found = run.quotes()
        assert found[1.0].age_ns == 500_000_000
        assert found[3.0].flags & Flag.STALE and not found[2.0].flags & Flag.STALE
        assert run.gaps()[12.0].reason == "frozen"


class TestSpot:
    def test_each_underlying_has_one_row_a_second_from_the_start(self) -> None:
        run = Run(spot())
        run.until(2.0)
        run.open(2.1, "spot.ws")
        run.hear(2.2, coins(100.0), feed="spot.ws")
        run.until(4.0)
        assert sorted([*run.spots(), *run.gaps(None)]) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert list(run.spots()) == [3.0, 4.0]

    def test_an_underlying_that_a_capture_never_shows_is_not_missed(self) -> None:
        venue = spot()
        plan = Plan({"spot": venue}, {}, ("BTC-USD", "ETH-USD"), is_recorded=True)
        observer = Observer(plan, start_ns=-1, born_ns=at(-0.5))
        found = [i for s in range(5) for i in observer.handle(Passed(at(s))).instants]
        assert not [e for i in found for events in i.events.values() for e in events]

    def test_an_index_that_bears_the_products_name_breaks_no_trades(self) -> None:
        run = Run(
            Toy(
                "spot",
                feeds=[
                    ToyFeed("spot.ws", is_numbered=False),
                    ToyFeed("spot.index", carries="index", is_numbered=False),
                ],
                products={"BTC-USD": "BTC-USD"},
            )
        )
        run.open(-0.9, "spot.ws")
        run.open(-0.9, "spot.index", 2)
        for second in range(4):
            told = BookSnapshot("BTC-USD", [(99.0, 2.0)], [(101.0, 3.0)])
            trade = Trade("BTC-USD", str(second), 100.0, 1.0, "buy")
            run.hear(second - 0.5, told, trade, feed="spot.ws")
            if second == 2:
                run.feed(Received(at(1.6), "spot.index", 2, "{"))
            run.until(float(second))
        assert [run.spots()[float(n)].taker_buy_volume for n in range(1, 4)] == [1.0, 1.0, 1.0]

    @pytest.mark.parametrize("mid", [60_000.0, 140_000.0])
    def test_an_implausible_mid_is_refused_until_it_stays(self, mid: float) -> None:
        run = Run(spot(is_numbered=False))
        run.open(-0.9, "spot.ws")
        for second in range(9):
            told = coins(100_000.0 if second < 3 else mid)
            run.hear(second - 0.5, told, feed="spot.ws")
            run.until(float(second))
        refused = [s for s, gap in run.gaps(None).items() if gap.reason == "implausible"]
        assert refused[0] == 3.0 and refused == [3.0 + n for n in range(len(refused))]
        assert run.spots()[8.0].bid_usd == mid - 1.0

    def test_one_damaged_second_costs_that_second_and_no_more(self) -> None:
        run = Run(spot(is_numbered=False))
        run.open(-0.9, "spot.ws")
        for second in range(6):
            told = coins(1_000.0 if second == 3 else 100_000.0)
            run.hear(second - 0.5, told, feed="spot.ws")
            run.until(float(second))
        assert list(run.spots()) == [0.0, 1.0, 2.0, 4.0, 5.0]

    def test_an_index_of_its_own_is_a_row_of_its_own_while_it_is_fresh(self) -> None:
        feeds = [ToyFeed(), ToyFeed("toy.index", carries="index")]
        run = Run(Toy(feeds=feeds))
        run.open(-0.8, "toy.index", 2)
        told = IndexValue("chainlink", "BTC-USD", 100.5, at(-0.3))
        run.hear(-0.2, told, feed="toy.index", connection=2)
        run.until(4.0)
        found = [e for e in run.events() if isinstance(e, SpotSnapshot)]
        assert [(e.source, e.index_usd) for e in found] == [("chainlink", 100.5)] * 2

    def test_a_spot_book_is_proven_by_its_ticker(self) -> None:
        run = Run(spot(is_numbered=False))
        run.open(-0.9, "spot.ws")
        run.hear(-0.5, coins(100.0), TopOfBook("BTC", 99.0, 101.0), feed="spot.ws")
        run.until(1.0)
        assert run.observer.panel.truth_ratios() == {"spot.ws": 1.0}


def test_a_row_of_one_feed_is_not_mixed_with_another() -> None:
    feeds = [ToyFeed("a.ws", is_numbered=False), ToyFeed("b.ws", is_numbered=False)]
    run = Run(Toy("spot", feeds=feeds, products={"BTC-USD": "BTC"}))
    run.open(-0.9, "a.ws", 1)
    run.open(-0.9, "b.ws", 2)
    first, other = BookSnapshot("BTC", [(99.0, 1.0)], []), BookSnapshot("BTC", [], [(90.0, 1.0)])
    run.hear(-0.5, first, feed="a.ws", connection=1)
    run.hear(-0.4, other, feed="b.ws", connection=2)
    run.until(0.0)
    assert (run.spots()[0.0].bid_usd, run.spots()[0.0].ask_usd) == (99.0, None)
    run.close(0.5, "a.ws", 1)
    run.until(1.0)
    assert (run.spots()[1.0].bid_usd, run.spots()[1.0].ask_usd) == (None, 90.0)


def test_samples_of_a_longer_interval_cover_it_whole() -> None:
    run = watched(interval_s=5)
    run.close(6.0)
    run.until(20.0)
    spans = [(gap.start_ns, gap.end_ns) for gap in run.gaps().values()]
    assert spans == [(at(5), at(10)), (at(10), at(15)), (at(15), at(20))]
