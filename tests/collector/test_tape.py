"""Trades of an interval: each counted once, and not at all where one may be missing."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.messages import IndexValue, Trade
from services.collector.tape import TRADES_REMEMBERED, IndexTape, Tape


def trade(number: int, size: float = 1.0, **changes: object) -> Trade:
    told = {"price": 100.0 + number, "taker": "buy", "is_flow": True} | changes
    return Trade("X", f"t-{number}", size=size, **told)  # type: ignore[arg-type]


def running() -> Tape:
    """Return a tape whose first, incomplete interval is over."""
    made = Tape()
    made.taken()
    return made


class TestTape:
    def test_the_first_interval_was_not_seen_whole(self) -> None:
        made = Tape()
        made.add(trade(1))
        assert made.taken() is None

    def test_volumes_are_by_taker_and_start_anew_each_interval(self) -> None:
        made = running()
        for told in (trade(1, 2.0), trade(2, 3.0, taker="sell"), trade(3, 5.0, taker=None)):
            made.add(told)
        assert (made.taken(), made.taken()) == ((2.0, 3.0), (0.0, 0.0))

    def test_an_interval_in_which_something_was_missed_has_no_volumes(self) -> None:
        made = running()
        made.add(trade(1))
        made.broken()
        made.add(trade(2))
        assert made.taken() is None
        assert made.taken() == (0.0, 0.0)

    def test_a_history_that_is_sent_along_is_no_flow(self) -> None:
        made = running()
        assert made.add(trade(1, is_flow=False))
        assert made.taken() == (0.0, 0.0)

    def test_a_history_tells_the_last_price_only_where_there_was_none(self) -> None:
        made = running()
        made.add(trade(1, is_flow=False))
        assert made.last == 101.0
        made.add(trade(2))
        made.add(trade(3, is_flow=False))
        assert made.last == 102.0

    def test_a_trade_of_a_history_that_comes_again_as_flow_is_known(self) -> None:
        made = running()
        made.add(trade(1, is_flow=False))
        assert not made.add(trade(1))
        assert made.taken() == (0.0, 0.0)

    @given(st.lists(st.integers(0, 30)))
    def test_a_trade_is_counted_once_however_often_it_is_told(self, numbers: list[int]) -> None:
        made = running()
        for number in numbers:
            made.add(trade(number))
        assert made.taken() == (float(len(set(numbers))), 0.0)

    def test_ids_are_remembered_up_to_a_limit(self) -> None:
        made = running()
        for number in range(TRADES_REMEMBERED + 1_000):
            made.add(trade(number))
        assert len(made._ids) == TRADES_REMEMBERED
        assert not made.add(trade(TRADES_REMEMBERED + 999))


class TestIndexTape:
    def value(self, about_ns: int, value: float = 1.0, window_s: int = 0) -> IndexValue:
        return IndexValue("BRTI", "BTC-USD", value, about_ns, window_s)

    def test_the_newest_print_counts_whatever_order_they_come_in(self) -> None:
        made = IndexTape()
        for about_ns, arrival_ns in ((5, 10), (9, 11), (7, 12)):
            made.add(self.value(about_ns, float(about_ns)), arrival_ns)
        assert made.newest("BRTI", "BTC-USD") == (9, 9.0)

    def test_a_repeated_print_is_no_sign_of_life(self) -> None:
        made = IndexTape()
        for arrival_ns in (10, 20):
            made.add(self.value(5), arrival_ns)
        assert made.newest("BRTI", "BTC-USD") == (5, 1.0)

    def test_a_print_of_a_clock_that_is_ahead_is_as_old_as_its_arrival(self) -> None:
        made = IndexTape()
        made.add(self.value(50), 10)
        assert made.newest("BRTI", "BTC-USD") == (10, 1.0)

    def test_an_average_is_no_print(self) -> None:
        made = IndexTape()
        made.add(self.value(5, window_s=60), 10)
        assert made.newest("BRTI", "BTC-USD") is None

    def test_an_index_of_another_underlying_is_another(self) -> None:
        made = IndexTape()
        made.add(self.value(5), 10)
        assert made.newest("BRTI", "ETH-USD") is None
