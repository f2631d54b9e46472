"""A book at a tick becomes a snapshot with its flags, never filled and never rounded up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import LEVELS_MAX, Flag, QuoteSnapshot, SpotSnapshot
from libs.common.venues.messages import BookSnapshot, Level, Trade
from services.collector import sampler
from services.collector.book import Book
from services.collector.life import Life
from services.collector.sampler import Sight, Slot, is_plausible, is_stale
from services.collector.tape import Tape
from tests.collector.toy_venue import S, at, facts

E6 = 1_000_000


def told(bids: list[Level], asks: list[Level]) -> Book:
    made = Book()
    made.replace(BookSnapshot("X", bids, asks))
    return made


def quoted(book: Book | None, *, age_ns: int = 0) -> QuoteSnapshot:
    return sampler.quote("toy", Life(facts()), Sight(book, age_ns), slot=Slot(at(1), S))


def spotted(
    book: Book,
    tape: Tape | None = None,
    *,
    index: tuple[int, float] | None = None,
    follows_gap: bool = False,
) -> SpotSnapshot:
    return sampler.spot(
        "coinbase",
        "BTC-USD",
        Sight(book, 0),
        slot=Slot(at(1), S, follows_gap),
        tape=tape or Tape(),
        index=index,
    )


class TestQuote:
    def test_the_best_levels_come_first_and_no_more_than_are_kept(self) -> None:
        book = told(
            [(n * 100, E6) for n in range(1, 40)], [(5_000 + n * 100, E6) for n in range(9)]
        )
        found = quoted(book)
        assert found.yes_bids_price_e4 == (3_900, 3_800, 3_700, 3_600, 3_500)
        assert found.yes_asks_price_e4 == (5_000, 5_100, 5_200, 5_300, 5_400)
        assert len(found.yes_bids_size_e2) == LEVELS_MAX

    def test_sizes_are_floored_to_a_hundredth_and_less_than_one_is_no_level(self) -> None:
        found = quoted(told([(4_900, 19_999), (4_800, 9_999), (4_700, 10_000)], []))
        assert found.yes_bids_price_e4 == (4_900, 4_700)
        assert found.yes_bids_size_e2 == (1, 1)

    def test_dust_does_not_hide_the_levels_behind_it(self) -> None:
        dust: list[Level] = [(9_000 + n, 1) for n in range(20)]
        assert quoted(told([*dust, (4_000, E6)], [])).yes_bids_price_e4 == (4_000,)

    def test_an_absent_side_is_empty_and_never_zero(self) -> None:
        found = quoted(told([(9_900, E6)], []))
        assert (found.yes_asks_price_e4, found.yes_asks_size_e2) == ((), ())

    @pytest.mark.parametrize(
        ("ask", "flag"), [(4_800, Flag.CROSSED), (4_900, Flag.LOCKED), (4_901, Flag(0))]
    )
    def test_crossed_and_locked_books_are_kept_and_flagged(self, ask: int, flag: Flag) -> None:
        found = quoted(told([(4_900, E6)], [(ask, E6)]))
        assert found.flags == flag and found.yes_asks_price_e4 == (ask,)

    @pytest.mark.parametrize(("age_ns", "is_flagged"), [(2 * S, False), (2 * S + 1, True)])
    def test_a_book_older_than_two_intervals_is_flagged(
        self, age_ns: int, is_flagged: bool
    ) -> None:
        found = quoted(told([(4_900, E6)], []), age_ns=age_ns)
        assert bool(found.flags & Flag.STALE) == is_flagged and found.age_ns == age_ns

    def test_two_books_have_two_ids_and_equal_ones_have_one(self) -> None:
        ids = [quoted(told([(4_900, size)], [])).id for size in (E6, 2 * E6, E6)]
        assert ids[0] == ids[2] != ids[1]

    @given(
        st.dictionaries(st.integers(1, 9_999), st.integers(1, 10**18), max_size=30),
        st.dictionaries(st.integers(1, 9_999), st.integers(1, 10**18), max_size=30),
    )
    def test_a_snapshot_never_tells_more_than_the_book_has(
        self, bids: dict[int, int], asks: dict[int, int]
    ) -> None:
        found = quoted(told(list(bids.items()), list(asks.items())))
        for prices, sizes, side in (
            (found.yes_bids_price_e4, found.yes_bids_size_e2, bids),
            (found.yes_asks_price_e4, found.yes_asks_size_e2, asks),
        ):
            assert len(prices) == len(sizes) <= LEVELS_MAX
            assert all(
                0 < size * 10_000 <= side[price] < (size + 1) * 10_000
                for price, size in zip(prices, sizes, strict=True)
            )
        assert list(found.yes_bids_price_e4) == sorted(found.yes_bids_price_e4, reverse=True)
        assert list(found.yes_asks_price_e4) == sorted(found.yes_asks_price_e4)


class TestSpot:
    def test_depth_is_what_lies_within_ten_basis_points(self) -> None:
        book = told([(99_999.0, 1.0), (99_901.0, 2.0), (99_000.0, 4.0)], [(100_001.0, 8.0)])
        found = spotted(book)
        assert (found.depth_bid, found.depth_ask) == (3.0, 8.0)
        assert (found.bid_usd, found.ask_usd, found.bid_size, found.ask_size) == (
            99_999.0,
            100_001.0,
            1.0,
            8.0,
        )

    def test_equal_books_have_equal_depths_whatever_order_they_were_told_in(self) -> None:
        levels: list[Level] = [(100.0 + n / 1_000, 0.1 * n) for n in range(1, 50)]
        asks: list[Level] = [(101.0, 1.0)]
        assert spotted(told(levels, asks)) == spotted(told(levels[::-1], asks))

    def test_one_side_has_no_depth(self) -> None:
        found = spotted(told([(100.0, 1.0)], []))
        assert (found.ask_usd, found.ask_size, found.depth_bid, found.depth_ask) == (None,) * 4

    @pytest.mark.parametrize(("age_ns", "index"), [(2 * S, 100.5), (2 * S + 1, None)])
    def test_the_index_is_left_out_when_it_is_older_than_two_intervals(
        self, age_ns: int, index: float | None
    ) -> None:
        found = spotted(told([(100.0, 1.0)], []), index=(at(1) - age_ns, 100.5))
        assert found.index_usd == index

    def test_volumes_and_last_price_come_from_the_tape(self) -> None:
        tape = Tape()
        tape.taken()
        tape.add(Trade("X", "1", 100.25, 2.0, "sell"))
        found = spotted(told([(100.0, 1.0)], []), tape)
        assert (found.last_usd, found.taker_buy_volume, found.taker_sell_volume) == (
            100.25,
            0.0,
            2.0,
        )

    @pytest.mark.parametrize(("ask", "flag"), [(99.0, Flag.CROSSED), (100.0, Flag.LOCKED)])
    def test_crossed_and_locked_spot_is_flagged(self, ask: float, flag: Flag) -> None:
        assert spotted(told([(100.0, 1.0)], [(ask, 1.0)])).flags == flag

    def test_a_snapshot_behind_a_gap_says_so(self) -> None:
        assert spotted(told([(100.0, 1.0)], []), follows_gap=True).flags == Flag.GAP

    def test_an_index_that_is_a_source_of_its_own_has_its_age(self) -> None:
        found = sampler.index_only("chainlink", "BTC-USD", (at(0), 100.5), ts_ns=at(1))
        assert (found.source, found.index_usd, found.bid_usd, found.age_ns) == (
            "chainlink",
            100.5,
            None,
            S,
        )


class TestGap:
    def test_gaps_of_one_span_have_one_id_whatever_the_reason(self) -> None:
        spans = {"start_ns": at(0), "end_ns": at(1), "ts_ns": at(1)}
        one, other = (sampler.gap("quotes", "BTC-USD", r, **spans) for r in ("frozen", "no_book"))
        assert one.id == other.id

    def test_gaps_of_two_markets_are_two(self) -> None:
        spans = {"start_ns": at(0), "end_ns": at(1), "ts_ns": at(1)}
        ids = {
            sampler.gap("quotes", "BTC-USD", "frozen", market=("toy", name), **spans).id
            for name in ("T-1", "T-2")
        }
        assert len(ids) == 2


@pytest.mark.parametrize(
    ("mid", "before", "expected"),
    [(120.0, 100.0, True), (120.1, 100.0, False), (80.0, 100.0, True), (79.9, 100.0, False)],
)
def test_a_mid_a_fifth_away_is_the_last_that_is_plausible(
    mid: float, before: float, expected: bool
) -> None:
    assert is_plausible(mid, before) == expected and is_plausible(mid, None)


def test_stale_is_more_than_two_intervals() -> None:
    assert [is_stale(age, 5) for age in (10, 11)] == [False, True]
