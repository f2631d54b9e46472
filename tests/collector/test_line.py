"""One connection: its numbers, its books, its silence, and a book that is true or not believed."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.venues import VENUES
from libs.common.venues.messages import (
    Acknowledged,
    BookSnapshot,
    BookVoid,
    Frame,
    Heartbeat,
    Message,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from services.collector.held import FRAMES_MAX
from services.collector.line import REJECTS_MAX, SNAPSHOT_S_MAX, TRIES_MAX, Line
from tests.collector.toy_venue import S, ToyFeed, book, change, wire

NAMES = ("T-1", "T-2")


def line(**options: bool) -> Line:
    """Return a line that asked for two books."""
    made = Line(ToyFeed(**options), 1, 0)
    made.want(NAMES, 0)
    made.sends.clear()
    return made


def standing(**options: bool) -> Line:
    """Return a line with two books, frames 0 and 1 read."""
    made = line(**options)
    made.receive(S, wire(book("T-1"), sequence=0))
    made.receive(S, wire(book("T-2"), sequence=1))
    return made


class TestNumbers:
    def test_a_gap_voids_all_books_of_the_channel_at_once_and_asks_for_fresh_ones(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_800, 1), sequence=3))
        assert [made.books[name].void_reason for name in NAMES] == ["sequence_gap"] * 2
        assert made.sends == ["resync T-1 T-2"]
        assert made.counts["gap"] == 1

    def test_a_gap_on_one_channel_leaves_books_of_another_alone(self) -> None:
        made = line()
        made.receive(S, wire(book("T-1"), channel="a", sequence=0))
        made.receive(S, wire(book("T-2"), channel="b", sequence=0))
        made.receive(S, wire(Heartbeat(), channel="b", sequence=2))
        assert made.books["T-1"].void_reason is None
        assert made.books["T-2"].void_reason == "sequence_gap"

    def test_a_duplicate_and_an_older_frame_change_nothing(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_800, 5, is_signed=True), sequence=2))
        before = made.books["T-1"].levels(5)
        for number in (2, 1, 0):
            made.receive(2 * S, wire(change(4_800, 5, is_signed=True), sequence=number))
        assert made.books["T-1"].levels(5) == before
        assert made.counts["duplicate"] == 3

    def test_frames_of_acknowledgements_take_their_place_in_the_sequence(self) -> None:
        made = standing()
        made.receive(2 * S, wire(Acknowledged("books"), sequence=2))
        made.receive(2 * S, wire(change(4_800, 5), sequence=3))
        assert made.counts["gap"] == 0

    def test_a_snapshot_behind_a_gap_heals_and_the_heal_is_counted(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_800, 1), sequence=3))
        made.receive(3 * S, wire(book("T-1", bid=4_000), sequence=4))
        assert made.books["T-1"].best() == (4_000, 5_100)
        assert made.counts["heal"] == 1

    def test_the_first_snapshot_is_no_heal(self) -> None:
        assert standing().counts["heal"] == 0

    def test_two_subscriptions_that_tell_one_book_are_not_added_up(self) -> None:
        made = line()
        for channel in ("1", "2"):
            made.receive(S, wire(book("T-1"), channel=channel, sequence=0))
        signed = change(4_900, -4, is_signed=True)
        for channel in ("1", "2"):
            made.receive(2 * S, wire(signed, channel=channel, sequence=1))
        told = made.books["T-1"]
        assert told.void_reason is not None or told.bids == {4_900: 6_000_000}


CHANGES = st.tuples(
    st.sampled_from(NAMES), st.integers(4_700, 4_899).map(lambda p: p // 50 * 50), st.integers(0, 9)
)
SNAPSHOT = st.tuples(st.sampled_from(NAMES), st.just(0), st.integers(1, 9))


class TestOvertaking:
    def test_a_frame_that_comes_late_heals_the_books_that_it_voided(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_700, 2), sequence=3))
        made.receive(2 * S, wire(change(4_600, 3), sequence=4))
        assert made.books["T-1"].void_reason == "sequence_gap"
        others = made.receive(2 * S, wire(change(4_700, 1), trade(), sequence=2))[1]
        assert [made.books[name].void_reason for name in NAMES] == [None, None]
        assert made.books["T-1"].bids == {4_900: 10**7, 4_700: 2 * 10**6, 4_600: 3 * 10**6}
        assert others == [trade()]
        assert made.counts["reordered"] == made.counts["gap"] == 1
        made.receive(3 * S, wire(change(4_800, 4), sequence=5))
        assert made.books["T-1"].bids[4_800] == 4 * 10**6

    def test_a_frame_later_than_a_snapshot_changes_nothing(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_700, 2), sequence=3))
        made.receive(2 * S, wire(book("T-1", bid=4_500), sequence=4))
        made.receive(2 * S, wire(change(4_700, 1), change(4_300, 7, name="T-2"), sequence=2))
        assert made.books["T-1"].bids == {4_500: 10**7}
        assert made.books["T-2"].bids == {4_900: 10**7, 4_300: 7 * 10**6}

    def test_of_two_missing_frames_none_is_waited_for(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_700, 2), sequence=4))
        for number in (2, 3):
            made.receive(2 * S, wire(change(4_600, 1), sequence=number))
        assert made.books["T-1"].void_reason == "sequence_gap"
        assert made.counts["duplicate"] == 2

    def test_a_book_that_is_void_for_another_reason_stays_so(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_700, 2), sequence=3))
        made.void("T-1", "implausible", 2 * S)
        made.receive(2 * S, wire(change(4_600, 1), sequence=2))
        assert [made.books[n].void_reason for n in NAMES] == ["implausible", None]

    def test_what_is_held_is_bounded(self) -> None:
        made = standing()
        numbers = range(3, FRAMES_MAX + 5)
        for number in numbers:
            made.receive(2 * S, wire(change(4_700, 2), sequence=number))
        made.receive(2 * S, wire(change(4_600, 1), sequence=2))
        assert made.books["T-1"].void_reason == "sequence_gap"

    @given(
        frames=st.lists(st.lists(CHANGES | SNAPSHOT, max_size=3), min_size=2, max_size=20),
        is_signed=st.booleans(),
        data=st.data(),
    )
    def test_neighbours_that_change_places_leave_the_same_books(
        self, frames: list[list[tuple[str, int, int]]], is_signed: bool, data: st.DataObject
    ) -> None:
        texts = [
            wire(*(told(*one, is_signed=is_signed) for one in frame), sequence=2 + place)
            for place, frame in enumerate(frames)
        ]
        swapped, place = list(texts), 0
        while place < len(texts) - 1:
            if data.draw(st.booleans()):
                swapped[place : place + 2] = reversed(swapped[place : place + 2])
                place += 1
            place += 1
        ordered, overtaken = standing(), standing()
        for text in texts:
            ordered.receive(2 * S, text)
        for text in swapped:
            overtaken.receive(2 * S, text)
        for name in NAMES:
            one, other = ordered.books[name], overtaken.books[name]
            assert other.void_reason in (one.void_reason, "sequence_gap")
            if other.void_reason is None:
                assert (one.bids, one.asks) == (other.bids, other.asks)
        if not any(price == 0 for frame in frames for _, price, _ in frame):
            assert [overtaken.books[n].void_reason for n in NAMES] == [
                ordered.books[n].void_reason for n in NAMES
            ]


def trade() -> Trade:
    """Tell a trade."""
    return Trade("T-1", "t-1", 4_800, 1, "buy")


def told(name: str, price: int, size: int, *, is_signed: bool) -> Message:
    """Tell a changed bid, or without a price a whole book."""
    if not price:
        return book(name, size=size)
    return change(price, size, name=name, is_signed=is_signed)


class TestAge:
    def test_a_change_that_comes_late_is_as_old_as_it_says(self) -> None:
        made = line(is_numbered=False)
        made.receive(S, wire(book("T-1"), about_ns=-900 * S))
        assert made.age_ns("T-1", 2 * S) == S
        made.receive(9 * S, wire(change(4_800, 1), about_ns=5 * S))
        assert made.age_ns("T-1", 10 * S) == 5 * S
        for late in (trade(), TopOfBook("T-1", 4_900, 5_100), book("T-1")):
            made.receive(10 * S, wire(late, about_ns=6 * S))
            assert made.age_ns("T-1", 10 * S) == 4 * S
        made.receive(10 * S, wire(change(4_800, 2), about_ns=10 * S))
        made.receive(10 * S, wire(change(4_800, 3), about_ns=6 * S))
        assert made.age_ns("T-1", 10 * S) == 0

    @pytest.mark.parametrize("is_numbered", [True, False])
    def test_a_text_without_a_time_is_as_old_as_the_newest_told_before_it(
        self, is_numbered: bool
    ) -> None:
        made = standing(is_numbered=is_numbered)
        number = iter(range(2, 9))
        made.receive(3 * S, wire(Heartbeat(), sequence=next(number), about_ns=3 * S))
        # All that follows waited in the socket meanwhile.
        made.receive(60 * S, wire(change(4_800, 1), sequence=next(number)))
        assert made.age_ns("T-1", 60 * S) == 57 * S
        made.receive(60 * S, wire(book("T-1"), sequence=next(number)))
        assert made.age_ns("T-1", 60 * S) == 57 * S
        made.receive(60 * S, wire(Heartbeat(), sequence=next(number), about_ns=4 * S))
        made.receive(60 * S, wire(change(4_800, 2), sequence=next(number)))
        assert made.age_ns("T-1", 60 * S) == 56 * S

    @pytest.mark.parametrize("is_numbered", [True, False])
    def test_a_book_that_was_asked_for_is_as_old_as_the_question(self, is_numbered: bool) -> None:
        made = standing(is_numbered=is_numbered)
        made.receive(3 * S, wire(Heartbeat(), sequence=2, about_ns=3 * S))
        made.resync(["T-1"], 50 * S)
        made.resync(["T-1"], 55 * S)
        made.receive(60 * S, wire(book("T-1"), sequence=3))
        assert made.age_ns("T-1", 60 * S) == 10 * S
        made.receive(70 * S, wire(book("T-1"), sequence=4))
        assert made.age_ns("T-1", 70 * S) == 20 * S, "nobody asked for this one"

    def test_a_book_that_cannot_be_asked_for_answers_nothing(self) -> None:
        made = standing(is_numbered=False, can_resync=False)
        made.receive(3 * S, wire(Heartbeat(), about_ns=3 * S))
        made.resync(["T-1"], 50 * S)
        made.receive(60 * S, wire(book("T-1")))
        assert made.age_ns("T-1", 60 * S) == 57 * S

    def test_without_any_time_a_change_is_as_old_as_its_arrival(self) -> None:
        made = line(is_numbered=False)
        made.receive(S, wire(book("T-1"), about_ns=-900 * S))
        made.receive(9 * S, wire(change(4_800, 1)))
        assert made.age_ns("T-1", 10 * S) == S

    def test_a_clock_of_the_venue_that_is_ahead_makes_nothing_younger(self) -> None:
        made = line(is_numbered=False)
        made.receive(S, wire(book("T-1")))
        made.receive(2 * S, wire(change(4_800, 1), about_ns=9 * S))
        assert made.age_ns("T-1", 3 * S) == S


class TestTending:
    def test_a_snapshot_that_does_not_come_is_asked_for_again_and_at_last_the_line_ends(
        self,
    ) -> None:
        made = line()
        asked = 0
        for second in range(1, 60):
            made.receive(second * S, wire(Heartbeat(), sequence=second))
            made.tend(second * S)
            asked += len(made.sends)
            made.sends.clear()
            if made.hangup:
                break
        assert made.hangup == "no_snapshot"
        assert asked == TRIES_MAX - 1
        assert second <= TRIES_MAX * (SNAPSHOT_S_MAX + 1) + 1

    def test_a_quiet_book_is_asked_for_and_an_equal_answer_is_counted(self) -> None:
        made = standing()
        made.tend(22 * S)
        assert made.sends == ["resync T-1 T-2"]
        made.receive(23 * S, wire(book("T-1"), sequence=2))
        made.receive(23 * S, wire(book("T-2"), sequence=3))
        made.tend(30 * S)
        assert made.hangup is None
        assert made.counts["snapshot_equal"] == 2

    def test_a_line_without_any_data_ends_however_alive_its_heartbeats_are(self) -> None:
        made = standing()
        for second in range(2, 43):
            made.receive(second * S, wire(Heartbeat(), sequence=second))
            made.tend(second * S)
        assert made.hangup is not None

    def test_an_index_that_prints_nothing_more_ends_its_line(self) -> None:
        made = Line(ToyFeed(carries="index"), 1, 0)
        made.want(["BTC-USD"], 0)
        for second in range(1, 60):
            made.receive(second * S, wire(Heartbeat(), sequence=second))
            made.tend(second * S)
            if made.hangup:
                break
        assert (made.hangup, second) == ("silent", 2 * ToyFeed.silence_s_max + 1)

    def test_age_counts_from_data_and_not_from_heartbeats(self) -> None:
        made = standing()
        made.receive(5 * S, wire(Heartbeat(), sequence=2))
        assert made.age_ns("T-1", 6 * S) == 5 * S

    def test_texts_that_come_late_are_as_old_as_they_say(self) -> None:
        made = standing()
        made.receive(60 * S, wire(change(4_800, 1), sequence=2, about_ns=20 * S))
        assert made.age_ns("T-1", 60 * S) == 40 * S
        made.receive(61 * S, wire(change(4_800, 2), sequence=3, about_ns=61 * S - 5))
        assert made.age_ns("T-1", 61 * S) == 5

    def test_a_venue_whose_clock_is_ahead_makes_nothing_younger(self) -> None:
        made = standing()
        made.receive(2 * S, wire(change(4_800, 1), sequence=2, about_ns=900 * S))
        assert made.age_ns("T-1", 5 * S) == 3 * S

    def test_a_ticker_is_no_life_of_a_book_of_another_channel(self) -> None:
        made = line()
        made.receive(S, wire(book("T-1"), channel="1", sequence=0))
        made.receive(5 * S, wire(TopOfBook("T-1", 1, 2), channel="2"))
        assert made.age_ns("T-1", 6 * S) == 5 * S

    @pytest.mark.parametrize("can_resync", [True, False])
    def test_a_voided_book_is_never_believed_before_a_snapshot(self, can_resync: bool) -> None:
        made = standing(is_numbered=False, can_resync=can_resync)
        made.receive(2 * S, wire(BookVoid("T-1", "tick_size")))
        made.receive(2 * S, wire(change(4_800, 1)))
        assert made.books["T-1"].void_reason == "tick_size"
        made.receive(3 * S, wire(book("T-1")))
        assert made.books["T-1"].void_reason is None and made.hangup is None

    @pytest.mark.parametrize(("can_resync", "asked"), [(True, ["resync T-1"]), (False, [])])
    def test_a_quiet_book_costs_the_others_their_connection_nowhere(
        self, can_resync: bool, asked: list[str]
    ) -> None:
        made = standing(is_numbered=False, can_resync=can_resync)
        for second in range(2, 600):
            made.receive(second * S, wire(change(4_800, second, "T-2")))
            made.tend(second * S)
            if made.sends:
                assert made.sends == asked
                made.receive(second * S, wire(book("T-1")))
                made.sends.clear()
        assert made.hangup is None and made.books["T-1"].void_reason is None

    def test_a_connection_on_which_all_is_quiet_ends_however_long_it_stood(self) -> None:
        made = standing(is_numbered=False, can_resync=False)
        for second in range(2, 300):
            if second < 200:
                made.receive(second * S, wire(change(4_800, second), change(4_800, second, "T-2")))
            made.tend(second * S)
            if made.hangup:
                break
        assert made.hangup == "resync" and second < 199 + 2 * ToyFeed.silence_s_max

    def test_where_only_a_new_connection_heals_the_line_ends_when_nothing_comes(self) -> None:
        made = standing(is_numbered=False, can_resync=False)
        made.receive(2 * S, wire(BookVoid("T-1", "rejected")))
        for second in range(2, 200):
            made.receive(second * S, wire(change(4_800, second, "T-2")))
            made.tend(second * S)
            if made.hangup:
                break
        # Late, because the book beside it is believed and would be lost with the connection.
        assert made.hangup == "resync" and 100 <= second <= 130


class TestErrors:
    @pytest.mark.parametrize(
        ("remedy", "hangup", "sends"),
        [("ignore", None, []), ("resubscribe", None, ["resync T-1 T-2"]),
         ("reconnect", "error_7", []), ("stop", "error_7", [])],
    )  # fmt: skip
    def test_an_error_is_met_by_its_remedy(
        self, remedy: str, hangup: str | None, sends: list[str]
    ) -> None:
        made = standing()
        made.receive(2 * S, wire(VenueError("7", "x", remedy)))  # type: ignore[arg-type]
        assert (made.hangup, made.sends, made.is_refused) == (hangup, sends, remedy == "stop")

    def test_more_than_ten_rejects_a_minute_end_the_line_and_fewer_do_not(self) -> None:
        made = standing()
        for number in range(REJECTS_MAX * 3):
            made.receive((2 + 7 * number) * S, "{")
        assert made.hangup is None
        for number in range(REJECTS_MAX + 1):
            made.receive(10_000 * S + number, "{")
        assert made.hangup == "rejects"

    def test_kinds_of_messages_that_a_venue_adds_do_not_end_the_line(self) -> None:
        class Newer(ToyFeed):
            def parse(self, text: str) -> Frame:
                return Frame([reject("unknown_type", text)])

        made = Line(Newer(), 1, 0)
        for _ in range(100):
            made.receive(S, "")
        assert made.hangup is None and made.counts["unknown_type"] == 100

    def test_texts_too_large_are_rejects(self) -> None:
        made = standing()
        for number in range(REJECTS_MAX + 1):
            made.oversized(2 * S + number, "\x1b[2J")
        assert made.hangup == "rejects"

    def test_messages_of_books_that_were_not_asked_for_are_ignored(self) -> None:
        made = standing()
        made.receive(2 * S, wire(book("../../x"), change(1, 1, "y" * 10_000), sequence=2))
        assert set(made.books) == set(NAMES)

    def test_messages_that_are_not_about_books_are_handed_on(self) -> None:
        made = standing()
        trade = Trade("T-1", "t", 5_000, 1, "buy")
        _, others = made.receive(2 * S, wire(trade, Heartbeat(), change(1, 1), sequence=2))
        assert others == [trade]


class TestWanting:
    def test_what_is_new_is_subscribed_and_what_is_gone_is_not_any_more(self) -> None:
        made = standing()
        made.want(["T-2", "T-3"], 2 * S)
        assert made.sends == ["unsubscribe T-1", "subscribe T-3"]
        assert set(made.books) == {"T-2", "T-3"}

    def test_no_more_is_subscribed_than_the_feed_takes(self) -> None:
        made = Line(ToyFeed(), 1, 0)
        made.want([f"T-{n}" for n in range(500)], 0)
        assert len(made.books) == ToyFeed.instruments_max

    def test_a_book_that_comes_back_starts_without_its_old_levels(self) -> None:
        made = standing()
        made.want(["T-2"], 2 * S)
        made.want(NAMES, 3 * S)
        assert made.books["T-1"].void_reason == "no_book"


STEP = st.tuples(
    st.sampled_from(("deliver", "deliver", "deliver", "drop", "twice", "late")),
    st.integers(1, 99),
    st.integers(-30, 30),
)


@settings(max_examples=400)
@given(st.lists(STEP, max_size=80), st.booleans())
def test_a_book_is_the_truth_of_the_last_frame_or_not_believed_whatever_the_network_does(
    steps: list[tuple[str, int, int]], is_signed: bool
) -> None:
    server, made, delayed = _Server(is_signed), Line(ToyFeed(), 1, 0), list[str]()
    made.want(["T-1"], 0)
    frames = [server.snapshot()]
    for now, (fate, cents, size) in enumerate(steps, 1):
        frames.append(server.change(cents * 100, size))
        frames += [server.snapshot() for text in made.sends if text.startswith("resync")]
        made.sends.clear()
        arriving = frames + ([delayed.pop()] if delayed and now % 3 == 0 else [])
        if fate == "drop":
            arriving = arriving[1:]
        elif fate == "twice":
            arriving = [text for text in arriving for _ in range(2)]
        elif fate == "late":
            delayed.append(arriving.pop(0))
        frames = []
        for text in arriving:
            made.receive(now * S, text)
            newest, found = server.newest(text), made.books["T-1"]
            if found.void_reason is None:
                assert found.bids == server.history[newest]
    # The network is whole again: the book must be, too.
    for now in range(1, 9):
        frames = [server.snapshot() for text in made.sends if text.startswith("resync")]
        made.sends.clear()
        for text in [*frames, server.change(5_000, now)]:
            made.receive((100 + 3 * now) * S, text)
        made.tend((100 + 3 * now) * S)
    assert made.hangup is not None or made.books["T-1"].bids == server.bids


class _Server:
    """A venue's side of a numbered feed: the true bids, and those after each frame."""

    def __init__(self, is_signed: bool) -> None:
        self.is_signed = is_signed
        self.bids: dict[int, int] = {}
        self.history: list[dict[int, int]] = []
        self._newest = -1

    def snapshot(self) -> str:
        return self._frame(BookSnapshot("T-1", list(self.bids.items()), []))

    def change(self, price: int, size: int) -> str:
        """Add `size`, or set it; never below zero."""
        before = self.bids.get(price, 0) // 1_000_000
        added = max(size, -before) if self.is_signed else 0
        after = before + added if self.is_signed else abs(size)
        if after:
            self.bids[price] = after * 1_000_000
        else:
            self.bids.pop(price, None)
        return self._frame(
            change(price, added if self.is_signed else after, is_signed=self.is_signed)
        )

    def newest(self, text: str) -> int:
        """Return the highest number that has arrived with `text`."""
        self._newest = max(self._newest, json.loads(text)["sequence"])
        return self._newest

    def _frame(self, message: Message) -> str:
        self.history.append(dict(self.bids))
        return wire(message, sequence=len(self.history) - 1)


class _Kalshi:
    """The venue's side of the market channels: subscriptions by number, signed changes."""

    def __init__(self) -> None:
        self.bids: dict[str, dict[int, int]] = {}
        self._books: dict[int, set[str]] = {}
        self._seq: dict[int, int] = {}
        self.waiting: list[str] = []

    def hear(self, text: str) -> None:
        told = json.loads(text)
        params = told["params"]
        if told["cmd"] == "subscribe":
            for channel in params["channels"]:
                sid = len(self._seq) + 1
                self._seq[sid] = 0
                ack = {"id": told["id"], "type": "subscribed",
                       "msg": {"channel": channel, "sid": sid}}  # fmt: skip
                self.waiting.append(json.dumps(ack))
                if channel == "orderbook_delta":
                    self._books[sid] = set(params["market_tickers"])
                    self._snapshots(sid, params["market_tickers"])
            return
        for sid in params["sids"]:
            if sid not in self._books:
                continue
            if params["action"] == "add_markets":
                self._books[sid] |= set(params["market_tickers"])
            elif params["action"] == "delete_markets":
                self._books[sid] -= set(params["market_tickers"])
            elif params["action"] == "get_snapshot":
                self._snapshots(sid, params["market_tickers"])

    def trade(self, market: str, price_e4: int, contracts: int) -> None:
        """Change the book of `market`, told on each subscription that carries it."""
        bids = self.bids.setdefault(market, {})
        bids[price_e4] = bids.get(price_e4, 0) + contracts
        for sid, markets in self._books.items():
            if market in markets:
                msg = {
                    "market_ticker": market,
                    "price_dollars": f"{price_e4 / 1e4:.4f}",
                    "delta_fp": f"{contracts}.00",
                    "side": "yes",
                    "ts_ms": 1,
                }
                self._say(sid, "orderbook_delta", msg)

    def _snapshots(self, sid: int, markets: Sequence[str]) -> None:
        for market in markets:
            levels = [[f"{p / 1e4:.4f}", f"{n}.00"] for p, n in self.bids.get(market, {}).items()]
            self._say(sid, "orderbook_snapshot", {"market_ticker": market,
                                                  "yes_dollars_fp": levels})  # fmt: skip

    def _say(self, sid: int, kind: str, msg: object) -> None:
        self._seq[sid] += 1
        self.waiting.append(
            json.dumps({"type": kind, "sid": sid, "seq": self._seq[sid], "msg": msg})
        )


def test_markets_added_before_an_acknowledgement_came_are_not_counted_twice_on_kalshi() -> None:
    first, second, third = (f"KXBTC15M-26AUG1701{m}-{m}" for m in ("15", "30", "45"))
    made, server = Line(VENUES["kalshi"].feeds[0], 1, 0), _Kalshi()
    made.want([first], 0)
    made.want([first, second], S)  # the acknowledgement is still on its way

    def exchange(now_ns: int) -> None:
        for text in made.sends:
            server.hear(text)
        made.sends.clear()
        while server.waiting:
            made.receive(now_ns, server.waiting.pop(0))

    exchange(2 * S)
    made.want([first, second, third], 3 * S)
    exchange(3 * S)
    for market in (first, second, third):
        server.trade(market, 4_100, 5)
    exchange(4 * S)
    for market in (first, second, third):
        found = made.books[market]
        truth = {price: size * 1_000_000 for price, size in server.bids[market].items()}
        assert found.void_reason is not None or found.bids == truth, market
