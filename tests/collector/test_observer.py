"""The observer as a whole: promises that hold for whatever arrives."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Event, Flag, Gap, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.venues import VENUES
from libs.common.venues.messages import (
    BookSnapshot,
    ExchangeStatus,
    Frame,
    Heartbeat,
    IndexValue,
    MarketFacts,
    RejectReason,
    TopOfBook,
    Trade,
    VenueError,
    reject,
)
from libs.common.venues.venue import Get, Venue
from services.collector.observer import SUSPENDED_S, Observer, Plan
from services.collector.traffic import (
    Answered,
    Arrival,
    Closed,
    Opened,
    Oversized,
    Passed,
    Received,
)
from tests.collector.toy_venue import (
    OPEN_NS,
    Run,
    S,
    Toy,
    ToyFeed,
    at,
    book,
    change,
    facts,
    second_of,
    times_covered,
    watched,
)


class Newer(ToyFeed):
    """A feed of which no text is understood, and none is a reason to connect anew."""

    def __init__(self, name: str, *, reason: RejectReason = "unknown_type") -> None:
        super().__init__(name, is_numbered=False)
        self._reason = reason

    def parse(self, text: str) -> Frame:
        """Refuse."""
        return Frame([reject(self._reason, text)])


def spot_venue(**options: bool) -> Toy:
    return Toy("spot", feeds=[ToyFeed("spot.ws", **options)], products={"BTC-USD": "BTC"})


def coins(mid: float = 100_000.0) -> BookSnapshot:
    return BookSnapshot("BTC", [(mid - 1.0, 2.0)], [(mid + 1.0, 3.0)])


def trade(number: int, size: float = 1.0) -> Trade:
    return Trade("BTC", f"t-{number}", 100_000.0, size, "buy")


def spot_run() -> Run:
    """Return a run with a spot book, seen whole from the tick at 1 s on."""
    run = Run(spot_venue(is_numbered=False))
    run.open(-0.5, "spot.ws")
    run.hear(-0.4, coins(), feed="spot.ws")
    run.until(0.0)
    return run


class TestTicks:
    def test_a_market_has_one_quote_a_second_on_the_second(self) -> None:
        run = watched()
        for second in range(1, 10):
            run.hear(second + 0.3, change(4_800, second))
        run.until(10.0)
        assert list(run.quotes()) == [float(second) for second in range(11)]

    def test_a_series_with_a_longer_interval_is_sampled_on_its_multiples(self) -> None:
        run = watched(interval_s=5)
        run.until(21.0)
        assert list(run.quotes()) == [0.0, 5.0, 10.0]
        assert list(run.gaps()) == [15.0, 20.0]

    def test_what_arrives_at_the_tick_is_seen_at_the_next_one(self) -> None:
        run = watched()
        run.hear(2.0, change(5_000, 7))
        run.until(3.0)
        assert run.quotes()[2.0].yes_bids_price_e4[0] == 4_900
        assert run.quotes()[3.0].yes_bids_price_e4[0] == 5_000

    def test_no_market_is_sampled_before_its_open_or_at_its_close(self) -> None:
        run = Run(start_s=-30)
        run.answer(-29.0, facts())
        run.open(-28.0)
        run.hear(-27.0, book())
        for second in range(-26, 905):
            run.hear(second + 0.5, change(4_800, second % 7 + 1))
        run.until(910.0)
        rows = times_covered(run, "T-1")
        assert min(rows) == at(0) and max(rows) == at(899)

    def test_facts_of_one_answer_stand_at_times_of_their_own(self) -> None:
        # A journal takes only what is later than what it has: an equal time in a later batch is
        # lost without a word.
        run = Run()
        run.until(1.0)
        run.answer(1.5, facts(), facts("T-2"), facts("T-3"))
        times = [ts_ns for ts_ns, _ in run.instants]
        assert all(a < b for a, b in pairwise(times)), [second_of(t) for t in times]
        assert {m.market for m in run.events() if hasattr(m, "series")} == {"T-1", "T-2", "T-3"}


class TestGaps:
    def test_a_lost_frame_makes_the_book_invalid_at_once_and_a_snapshot_heals_it(self) -> None:
        run = watched()
        run.hear(1.2, change(4_700, 1))
        run.skip()
        run.hear(1.4, change(4_600, 1))
        assert run.sends[-1].texts == ("resync T-1",)
        run.until(2.0)
        assert run.gaps()[2.0].reason == "sequence_gap"
        run.hear(2.5, book(bid=4_500))
        run.until(3.0)
        healed = run.quotes()[3.0]
        assert healed.yes_bids_price_e4 == (4_500,)
        assert healed.flags & Flag.GAP
        run.observer.settle_counts()
        assert run.observer.counts["toy.ws", "gap"] == 1
        assert run.observer.counts["toy.ws", "heal"] == 1

    def test_a_book_by_rest_stands_in_while_the_socket_has_none(self) -> None:
        run = watched()
        run.skip()
        run.hear(1.4, change(4_600, 1))
        run.until(2.0)
        assert [f.get.purpose for f in run.fetches][-1] == "book" and run.fetches[-1].is_urgent
        run.answer(2.2, book(bid=4_400), purpose="book", subject="T-1")
        run.until(3.0)
        assert run.quotes()[3.0].yes_bids_price_e4 == (4_400,)

    def test_a_book_by_rest_never_repairs_that_of_the_socket(self) -> None:
        run = watched()
        run.skip()
        run.hear(1.4, change(4_600, 1))
        run.answer(1.6, book(bid=4_400), purpose="book", subject="T-1")
        run.hear(1.7, change(4_450, 5))
        run.until(2.0)
        assert run.quotes()[2.0].yes_bids_price_e4 == (4_400,)

    def test_a_market_learned_late_accounts_for_all_ticks_since_its_open(self) -> None:
        run = Run()
        run.until(7.0)
        run.answer(7.3, facts())
        run.open(7.4)
        run.hear(7.5, book())
        run.until(9.0)
        assert run.gaps()[7.0].reason == "not_known"
        assert set(times_covered(run, "T-1").values()) == {1}
        assert run.quotes()[8.0].flags & Flag.GAP

    def test_what_passed_while_nothing_ran_is_accounted_for(self) -> None:
        run = Run(start_s=3.0, born_s=20.2)
        run.answer(20.3, facts())
        run.open(20.4)
        run.hear(20.5, book())
        run.until(22.0)
        assert run.gaps()[20.0].reason == "not_running"
        # Of a market that the run before never spoke of nothing was said since its open.
        assert run.gaps()[20.0].start_ns == at(0)
        assert run.gaps(None)[20.0].reason == "not_running"

    def test_a_series_without_a_known_open_market_is_missing_at_each_tick(self) -> None:
        run = Run(start_s=-3.0)
        run.until(2.0)
        run.answer(2.5, facts())
        run.until(905.0)
        gaps = run.series_gaps()
        assert list(gaps) == [-2.0, -1.0, 0.0, 1.0, 2.0, *(900.0 + i for i in range(6))]
        assert {(g.venue, g.market, g.underlying, g.reason) for g in gaps.values()} == {
            ("toy", None, "BTC-USD", "no_market_known")
        }
        assert {g.end_ns - g.start_ns for g in gaps.values()} == {S}

    def test_a_series_is_missing_at_its_own_interval_only(self) -> None:
        run = Run(start_s=-1.0, interval_s=5)
        run.until(12.0)
        gaps = run.series_gaps()
        assert [(g.start_ns, g.end_ns) for g in gaps.values()] == [
            (at(-5), at(0)),
            (at(0), at(5)),
            (at(5), at(10)),
        ]

    def test_windows_that_nobody_ever_heard_of_are_missing_with_their_series(self) -> None:
        run = Run(start_s=3.0, born_s=2_000.2)
        run.answer(2_000.3, facts(window=2))
        run.until(2_002.0)
        (gap,) = run.series_gaps().values()
        assert (gap.start_ns, gap.end_ns, gap.reason) == (at(3), at(2_000), "not_running")

    def test_a_capture_does_not_miss_a_series_that_it_has_not_shown(self) -> None:
        venue = Toy()
        plan = Plan(
            venues={"toy": venue}, series={"toy": {"TOY15": 1}}, underlyings=(), is_recorded=True
        )
        observer = Observer(plan, start_ns=-1, born_ns=at(-5))
        get = venue.get("list", "TOY15")
        told = Answered(at(1.5), get, 200, msgspec.json.encode([facts()]).decode())
        made: list[Event] = []
        for arrival in (Passed(at(-1)), told, *(Passed(at(second)) for second in range(2, 903))):
            for _, groups in observer.handle(arrival).instants:
                made += [event for events in groups.values() for event in events]
        missed = [e for e in made if isinstance(e, Gap) and e.feed == "TOY15"]
        assert [second_of(gap.end_ns) for gap in missed] == [900.0, 901.0, 902.0]

    def test_a_sleep_of_the_machine_is_one_gap_and_the_next_snapshot_says_so(self) -> None:
        run = watched()
        run.until(2.0)
        run.hear(62.5, change(4_800, 9))
        run.until(63.0)
        assert run.gaps()[62.0].reason == "suspended"
        assert run.gaps()[62.0].start_ns == at(2)
        assert set(times_covered(run, "T-1").values()) == {1}
        assert run.quotes()[63.0].flags & Flag.GAP

    def test_a_market_that_closed_during_a_sleep_has_a_gap_up_to_its_close(self) -> None:
        run = watched()
        for second in range(1, 890):
            run.hear(second + 0.5, change(4_800, second % 7 + 1))
        run.feed(Passed(at(950.5)))
        run.until(951.0)
        rows = times_covered(run, "T-1")
        expected = {at(second): 1 for second in range(900)}
        assert {ts_ns: n for ts_ns, n in rows.items() if ts_ns < at(900)} == expected

    def test_trades_of_a_whole_sleep_are_no_flow_of_one_second(self) -> None:
        run = spot_run()
        run.until(2.0)
        run.hear(62.5, trade(1, 50.0), coins(), feed="spot.ws")
        run.until(63.0)
        assert run.spots()[63.0].taker_buy_volume is None
        assert run.spots()[63.0].flags & Flag.GAP

    def test_no_gap_is_empty(self) -> None:
        run = Run()
        run.answer(0.3, facts())
        run.open(0.4)
        run.hear(0.5, book())
        run.until(3.0)
        assert all(gap.start_ns < gap.end_ns for gap in run.gaps().values())

    def test_a_market_learned_right_before_a_sleep_is_accounted_for_since_its_open(self) -> None:
        run = Run()
        run.until(3.0)
        run.answer(3.9, facts())
        run.feed(Passed(at(30.5)))
        run.until(33.0)
        rows = times_covered(run, "T-1")
        assert {at(s): rows.get(at(s)) for s in range(1, 34)} == {at(s): 1 for s in range(1, 34)}

    def test_what_the_disk_did_not_take_becomes_one_gap(self) -> None:
        run = watched()
        run.until(3.0)
        run.observer.lost(at(1))
        run.until(5.0)
        lost = run.gaps()[4.0]
        assert (lost.reason, lost.start_ns) == ("journal_unwritable", at(1))


class TestAge:
    def test_a_frozen_feed_with_heartbeats_is_stale_after_two_intervals(self) -> None:
        run = watched()
        for second in range(1, 15):
            run.hear(second + 0.1, Heartbeat())
        run.until(15.0)
        stale = {s for s, quote in run.quotes().items() if quote.flags & Flag.STALE}
        # Last data at 0.5 s: two intervals are over at 2.5 s, ten seconds at 10.5 s.
        assert stale == {float(s) for s in range(3, 11)}
        assert {s: g.reason for s, g in run.gaps().items()} == dict.fromkeys(
            [float(s) for s in range(11, 16)], "frozen"
        )

    def test_a_coinbase_that_sends_heartbeats_alone_is_stale_and_then_a_gap(self) -> None:
        plan = Plan({"coinbase": VENUES["coinbase"]}, {}, ("BTC-USD",))
        observer = Observer(plan, start_ns=-1, born_ns=OPEN_NS)
        stamp = datetime.fromtimestamp(OPEN_NS // S, UTC).replace(tzinfo=None)
        level = {"side": "bid", "price_level": "64000.00", "new_quantity": "1.5"}
        told = {"type": "snapshot", "product_id": "BTC-USD", "updates": [level]}
        observer.handle(Opened(at(0.1), "coinbase.ws", 1))
        rows: list[Event] = []
        for number in range(16):
            frame = {
                "channel": "l2_data" if number == 0 else "heartbeats",
                "timestamp": (stamp + timedelta(seconds=number + 0.5)).isoformat() + "Z",
                "sequence_num": number,
                "events": [told] if number == 0 else [{"heartbeat_counter": number}],
            }
            arrival = Received(at(number + 0.5), "coinbase.ws", 1, json.dumps(frame))
            for instant in observer.handle(arrival).instants:
                rows += [event for events in instant.events.values() for event in events]
        kinds = {second_of(row.ts_ns): _kind(row) for row in rows}
        expected = ["fresh"] * 2 + ["stale"] * 8 + ["frozen"] * 5
        assert list(kinds.values()) == expected and min(kinds) == 1.0

    def test_a_connection_without_data_is_ended_however_many_heartbeats_it_sends(self) -> None:
        run = watched()
        for second in range(1, 60):
            run.hear(second + 0.1, Heartbeat())
        assert run.hangups

    def test_life_of_another_book_of_the_channel_is_life_where_frames_are_numbered(self) -> None:
        run = Run()
        run.answer(-0.9, facts(), facts("T-2"))
        run.open(-0.8)
        run.hear(-0.7, book(), book("T-2"))
        for second in range(8):
            run.hear(second + 0.5, change(4_800, second + 1, "T-2"))
        run.until(8.0)
        assert not any(quote.flags & Flag.STALE for quote in run.quotes().values())

    def test_life_of_another_book_is_none_where_frames_are_not_numbered(self) -> None:
        run = Run(Toy(feeds=[ToyFeed(is_numbered=False)]))
        run.answer(-0.9, facts(), facts("T-2"))
        run.open(-0.8)
        run.hear(-0.7, book(), book("T-2"))
        for second in range(8):
            run.hear(second + 0.5, change(4_800, second + 1, "T-2"))
        run.until(8.0)
        assert run.quotes()[5.0].flags & Flag.STALE
        assert not run.quotes("T-2")[5.0].flags & Flag.STALE

    def test_a_closed_connection_leaves_nothing_to_be_seen(self) -> None:
        run = watched()
        run.close(1.5)
        run.until(3.0)
        assert [run.gaps()[s].reason for s in (2.0, 3.0)] == ["not_connected"] * 2


def _kind(row: Event) -> str:
    """Tell whether a row is fresh, stale, or a gap with its reason."""
    if isinstance(row, SpotSnapshot):
        return "stale" if row.flags & Flag.STALE else "fresh"
    return row.reason if isinstance(row, Gap) else type(row).__name__


class TestFlow:
    def test_volumes_of_an_interval_that_was_seen_whole(self) -> None:
        run = spot_run()
        run.hear(0.5, trade(1, 2.0), trade(2, 3.0), feed="spot.ws")
        run.until(1.0)
        assert run.spots()[1.0].taker_buy_volume == 5.0

    def test_volumes_are_unknown_after_a_sequence_gap_that_was_healed_in_time(self) -> None:
        run = Run(Toy("toy", products={"BTC-USD": "BTC"}))
        run.open(-0.5)
        run.hear(-0.4, coins())
        run.until(1.0)
        run.hear(1.2, trade(1, 2.0))
        run.skip()
        run.hear(1.4, trade(3, 2.0))
        run.hear(1.6, coins())
        run.until(2.0)
        assert run.spots()[2.0].taker_buy_volume is None

    def test_volumes_are_unknown_while_only_a_book_by_rest_is_seen(self) -> None:
        run = Run(spot_venue())
        for second in range(4):
            run.answer(second - 0.5, coins(), purpose="book", subject="BTC")
            run.until(float(second))
        assert [s.taker_buy_volume for s in run.spots().values()] == [None] * 4

    def test_volumes_are_unknown_of_the_whole_time_without_a_connection(self) -> None:
        run = spot_run()
        run.hear(0.5, trade(1), feed="spot.ws")
        run.close(1.1, "spot.ws")
        for second in range(2, 5):
            run.answer(second - 0.5, coins(), purpose="book", subject="BTC")
            run.until(float(second))
        assert [run.spots()[s].taker_buy_volume for s in (2.0, 3.0, 4.0)] == [None] * 3

    def test_a_trade_told_again_after_a_reconnect_is_not_counted_twice(self) -> None:
        run = spot_run()
        run.hear(0.5, trade(1, 2.0), feed="spot.ws")
        run.hear(0.6, trade(1, 2.0), feed="spot.ws")
        run.until(1.0)
        assert run.spots()[1.0].taker_buy_volume == 2.0


class TestSpot:
    def test_a_mid_that_jumps_by_a_fifth_is_refused_and_a_fresh_book_is_asked_for(self) -> None:
        run = spot_run()
        run.hear(0.5, coins(130_000.0), feed="spot.ws")
        run.until(1.0)
        assert run.gaps(None)[1.0].reason == "implausible"
        assert run.sends[-1].texts == ("resync BTC",)

    def test_a_mid_that_stays_where_it_jumped_is_believed(self) -> None:
        run = spot_run()
        for second in range(8):
            run.hear(second + 0.5, coins(130_000.0), feed="spot.ws")
        run.until(8.0)
        assert run.spots()[8.0].bid_usd == 129_999.0

    def test_the_index_stands_beside_spot_only_while_it_is_fresh(self) -> None:
        feeds = [ToyFeed("spot.ws"), ToyFeed("spot.index", carries="index")]
        run = Run(Toy("spot", feeds=feeds, products={"BTC-USD": "BTC"}))
        run.open(-0.5, "spot.ws")
        run.open(-0.5, "spot.index", 2)
        told = IndexValue("BRTI", "BTC-USD", 100_001.0, at(-0.3))
        run.hear(-0.3, told, feed="spot.index", connection=2)
        for second in range(5):
            run.hear(second - 0.2, coins(), feed="spot.ws")
        run.until(4.0)
        found = {second: spot.index_usd for second, spot in run.spots().items()}
        assert found == {0.0: 100_001.0, 1.0: 100_001.0, 2.0: None, 3.0: None, 4.0: None}


class TestWire:
    def test_a_connection_subscribes_the_moment_it_stands(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.open(-0.8)
        assert run.sends[0].texts == ("subscribe T-1",)

    def test_the_books_of_the_next_window_are_subscribed_before_it_opens(self) -> None:
        run = watched()
        run.answer(1.0, facts("T-2", 1, status="listed"))
        for second in range(1, 899):
            run.hear(second + 0.5, change(4_800, second % 7 + 1))
        assert ("subscribe T-2",) in [send.texts for send in run.sends]

    def test_every_market_that_is_sampled_is_subscribed(self) -> None:
        ladder = [
            facts(
                f"D-{rung:03}",
                open_ns=OPEN_NS - 86_400 * S,
                close_ns=OPEN_NS + 3_600 * S,
                comparator=">",
            )
            for rung in range(100)
        ]
        run = Run()
        run.answer(-0.9, *ladder, facts())
        run.open(-0.8)
        run.until(2.0)
        said = {text for send in run.sends for texts in send.texts for text in texts.split()[1:]}
        sampled = {
            gap.market
            for gap in run.events()
            if gap.ts_ns == at(2) and gap.__class__.__name__ == "Gap"
        } - {None}
        assert sampled and sampled <= said, sorted(sampled - said)[:3]

    def test_a_request_is_not_repeated_while_it_is_under_way(self) -> None:
        run = Run()
        run.answer(-0.9, facts())
        run.until(4.0)
        asked = Counter(fetch.get for fetch in run.fetches)
        assert max(asked.values()) == 1

    def test_a_feed_that_shows_no_book_has_its_successor_connected_beside_it(self) -> None:
        feeds = [ToyFeed("a.ws"), ToyFeed("b.ws")]
        run = Run(Toy("spot", feeds=feeds, products={"BTC-USD": "BTC"}))
        assert run.observer.feeds() == ["a.ws"]
        for second in range(13):
            run.until(float(second))
            wanted = run.observer.feeds()
        assert wanted == ["a.ws", "b.ws"]
        run.open(13.1, "a.ws")
        run.hear(13.2, coins(), feed="a.ws")
        assert run.observer.feeds() == ["a.ws"]

    def test_a_refusal_ends_the_connection_for_long_and_tells_a_person(self) -> None:
        run = watched()
        run.hear(1.5, VenueError("401", "bad key", "stop"))
        assert run.hangups[0].is_refused
        assert [n.rule for n in run.notices if n.is_firing] == ["venue_refused"]

    def test_texts_of_a_connection_that_was_given_up_are_not_read(self) -> None:
        run = watched()
        run.hear(1.5, VenueError("1", "", "reconnect"))
        run.hear(1.6, book(bid=1))
        run.until(2.0)
        assert run.gaps()[2.0].reason == "not_connected"

    def test_eleven_damaged_texts_in_a_minute_end_the_connection_and_ten_do_not(self) -> None:
        run = watched()
        for number in range(10):
            run.feed(Received(at(1 + number / 100), "toy.ws", 1, "{"))
        assert not run.hangups
        run.feed(Received(at(2), "toy.ws", 1, "{"))
        assert run.hangups[0].reason == "rejects"

    def test_many_texts_that_are_not_understood_are_told_and_few_are_not(
        self,
    ) -> None:
        run = Run(Toy(feeds=[Newer("toy.ws")]))
        run.answer(-0.9, facts())
        run.open(-0.8)
        for number in range(10):
            run.feed(Received(at(number / 10), "toy.ws", 1, "price_tier 7"))
        assert not run.notices
        run.feed(Received(at(2), "toy.ws", 1, "price_tier 8"))
        run.feed(Received(at(3), "toy.ws", 1, "price_tier 9"))
        (notice,) = run.notices
        assert (notice.rule, notice.is_firing, notice.severity) == ("feed_unreadable", True, "warn")
        assert notice.evidence.startswith("toy.ws: ") and notice.evidence.endswith("price_tier 8")
        assert not run.hangups
        run.until(650.0)
        assert [n.is_firing for n in run.notices if n.rule == "feed_unreadable"] == [True, False]

    def test_texts_too_large_are_told_like_those_that_are_not_understood(self) -> None:
        run = watched()
        for number in range(11):
            run.feed(Oversized(at(1 + number / 100), "toy.ws", 1, "too long"))
        assert [n.rule for n in run.notices if n.is_firing] == ["feed_unreadable"]

    def test_one_text_of_another_version_of_the_protocol_is_told_at_once(self) -> None:
        run = Run(Toy(feeds=[Newer("toy.ws", reason="unknown_schema")]))
        run.answer(-0.9, facts())
        run.open(-0.8)
        run.feed(Received(at(1), "toy.ws", 1, "v 9"))
        assert [n.rule for n in run.notices if n.is_firing] == ["feed_unreadable"]

    def test_a_pause_of_the_venue_is_told_once_and_its_end_too(self) -> None:
        run = Run()
        for second, is_trading in ((1.0, False), (2.0, False), (3.0, True)):
            run.answer(second, ExchangeStatus(is_trading), purpose="status", subject="toy")
        assert [n.is_firing for n in run.notices if n.rule == "venue_paused"] == [True, False]

    def test_a_clock_that_is_off_is_told_once_and_when_it_is_right_again(self) -> None:
        run = Run()
        get = Get("toy", "toy.rest", "/x", "status", "toy")
        for second in range(12):
            offset_ns = 2 * S if second < 6 else 0
            now = at(float(second))
            run.feed(Answered(now, get, 200, "[]", now - 20_000_000, now + offset_ns))
        assert [n.is_firing for n in run.notices if n.rule == "clock_offset"] == [True, False]

    @pytest.mark.parametrize(("status", "text"), [(0, "timeout"), (503, "<html>"), (200, "<html>")])
    def test_an_answer_that_is_none_changes_nothing(self, status: int, text: str) -> None:
        run = watched()
        run.feed(Answered(at(0.6), Toy().get("list", "TOY15"), status, text))
        run.answer(0.7)
        run.until(2.0)
        assert list(run.quotes()) == [0.0, 1.0, 2.0]


class TestTruth:
    def test_score_is_the_share_of_compared_ticks_that_were_proven(self) -> None:
        run = watched()
        for second in range(1, 5):
            ask = 5_100 if second != 3 else 9_000
            run.hear(second + 0.5, TopOfBook("T-1", 4_900, ask))
        run.until(7.0)
        assert run.observer.panel.truth_ratios() == {"toy.ws": 0.75}

    def test_a_proof_before_a_gap_proves_nothing_behind_it(self) -> None:
        run = watched()
        run.hear(1.2, TopOfBook("T-1", 4_900, 5_100))
        run.skip()
        run.hear(1.4, change(4_600, 1))
        run.until(2.0)
        run.hear(2.5, book(bid=4_000))
        run.until(3.0)
        assert run.observer.panel.truth["toy.ws", "proven"] == 0

    def test_a_book_that_is_contradicted_ten_ticks_in_a_row_is_given_up(self) -> None:
        run = watched()
        for second in range(1, 13):
            run.hear(second + 0.5, TopOfBook("T-1", 3_000, 3_100))
        run.until(13.0)
        assert "refuted" in {gap.reason for gap in run.gaps().values()}
        # Refuted at a tick, it is not seen at that tick either: a void book has no levels.
        assert all(row.yes_bids_price_e4 for row in run.quotes().values())
        assert ("resync T-1",) in [send.texts for send in run.sends]


class TestBounds:
    def test_what_a_venue_says_makes_no_new_kinds_of_counts_without_end(self) -> None:
        run = watched()
        for number in range(100):
            run.open(1 + number / 100, connection=number + 2)
            error = VenueError(f"code-{number}", "x", "reconnect")
            run.hear(1.005 + number / 100, error, connection=number + 2)
        assert len(run.observer.counts) < 30

    def test_thousands_of_windows_leave_nothing_behind(self) -> None:
        run = Run(Toy(feeds=[ToyFeed(is_numbered=False, can_resync=False)]))
        for window in range(300):
            _play_window(run, window)
            if window == 50:
                early = _held(run.observer)
        # Markets are remembered up to a limit of their own.
        known = {"lives", "_by_instrument", "_at"}
        late = {k: v for k, v in _held(run.observer).items() if v > early[k] + 50}
        assert set(late) <= known, late

    def test_trades_of_markets_that_are_over_are_forgotten_soon(self) -> None:
        run = Run(Toy(feeds=[ToyFeed(is_numbered=False, can_resync=False)]))
        for window in range(40):
            _play_window(run, window)
        # Each remembers thousands of ids; a day of quarter hours of three coins has 288 of them.
        assert _held(run.observer)["_tapes"] <= 12

    def test_what_nobody_asked_for_leaves_nothing_behind(self) -> None:
        run = watched()
        for number in range(200):
            name = f"X-{number}"
            messages = [
                Trade(name, "t", 5_000, 1_000_000, "buy"),
                TopOfBook(name, 1, 2),
                book(name),
            ]
            run.hear(1 + number / 1_000, *messages, change(1, 1, name))
            run.answer(1 + number / 1_000, book(name), purpose="book", subject=name)
        run.until(3.0)
        assert max(v for k, v in _held(run.observer).items()) <= 20, _held(run.observer)

    def test_spot_is_not_forgotten_after_many_markets(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.collector.sampling.REMEMBERED", 16, raising=False)
        run = Run(Toy(), spot_venue(is_numbered=False))
        run.open(-0.5, "spot.ws", 2)
        run.hear(-0.4, coins(), feed="spot.ws", connection=2)
        run.until(1.0)
        for window in range(12):
            second = 2.0 + window * 900
            run.hear(second - 0.5, coins(), feed="spot.ws", connection=2)
            run.instants.clear()
            names = [f"T-{window}-{rung}" for rung in range(4)]
            run.answer(second + 0.1, *(facts(name, window) for name in names))
            run.hear(second + 0.2, coins(), feed="spot.ws", connection=2)
            run.feed(Passed(at(second + 1)), Passed(at(second + 2)))
            found = run.spots()[second + 2]
            assert not found.flags & Flag.GAP, window
            assert found.taker_buy_volume is not None, window


def _play_window(run: Run, window: int) -> None:
    """Play one window with two books and a trade in a few arrivals."""
    second, yes, no = window * 900.0, f"Y-{window}", f"N-{window}"
    run.answer(second + 0.1, facts(f"T-{window}", window, instruments=(yes, no)))
    run.open(second + 0.2, connection=window + 1)
    told = [book(yes), book(no), TopOfBook(yes, 4_900, 5_100)]
    trades = [Trade(name, f"t-{window}", 5_000, 1_000_000, "buy") for name in (yes, no)]
    run.hear(second + 0.3, *told, *trades, connection=window + 1)
    run.answer(second + 0.4, book(yes), purpose="book", subject=yes)
    run.until(second + 2)
    run.close(second + 899, connection=window + 1)
    settled = MarketFacts(f"T-{window}", status="settled", result="yes", settlement_usd=100_000.0)
    run.answer(second + 900.5, settled, purpose="market", subject=f"T-{window}")
    run.until(second + 901)
    run.instants.clear()
    run.fed[:-1] = []


def _held(observer: Observer) -> dict[str, int]:
    """Count what an observer remembers, by attribute."""
    found: dict[str, int] = {}
    parts = [observer, observer.panel, observer.sampling, *observer.markets.values()]
    for part in parts:
        for name, value in vars(part).items():
            if isinstance(value, dict | set | list) and not isinstance(value, Counter):
                found[name] = len(value)
    return found


HOSTILE = (
    "",
    "null",
    "[" * 100_000,
    '{"a":' * 50_000,
    "9" * 5_000,
    '{"type":"orderbook_delta","sid":1,"seq":' + "9" * 5_000 + "}",
    "NaN",
    "\ud800",
    "\x00\x1b[2J",
    '{"channel":"l2_data","sequence_num":0,"events":[{"type":"snapshot","product_id":"../../etc",'
    '"updates":[]}]}',
    '[{"event_type":"book","asset_id":"' + "x" * 10_000 + '","bids":[],"asks":[]}]',
    '{"type":"market_lifecycle_v2","sid":1,"seq":1,"msg":{"event_type":"created","market_ticker":'
    '"KXBTC15M-\\u001b[2J"}}',
    '{"event_type":"new_market","slug":"../../../etc/passwd","outcomes":["Up","Down"],'
    '"assets_ids":["1","2"]}',
    '{"error":{"code":"x","message":"y"}}',
)


def _real() -> Observer:
    series = {name: dict.fromkeys(venue.series, 1) for name, venue in VENUES.items()}
    plan = Plan(VENUES, series, ("BTC-USD", "ETH-USD"), has_key=frozenset(VENUES))
    return Observer(plan, start_ns=-1, born_ns=OPEN_NS)


def _feeds() -> list[str]:
    return [feed.name for venue in VENUES.values() for feed in venue.feeds]


def _gets() -> list[Get]:
    found: list[Get | None] = []
    for venue in VENUES.values():
        for series in venue.series:
            found += [*venue.listing(series, now_ns=OPEN_NS, windows=2), venue.terms(series)]
        name = "../../" + "x" * 10_000
        found += [venue.clock(), venue.status(), venue.market(name), venue.book(name)]
        found += [venue.top(name), *_strikes(venue, name)]
    return [get for get in found if get is not None]


def _strikes(venue: Venue, name: str) -> list[Get]:
    rules = ("mean60", "chainlink_point", "chainlink_twap60", "unknown")
    spans = {"open_ns": OPEN_NS, "close_ns": OPEN_NS + 900 * S}
    return [get for rule in rules for get in venue.strike(name, rule=rule, **spans)]


def _arrivals() -> st.SearchStrategy[Arrival]:
    times = st.integers(0, 400).map(lambda n: OPEN_NS + n * 100_000_000)
    feeds, numbers = st.sampled_from(_feeds()), st.integers(1, 2)
    texts = st.sampled_from([text for text in HOSTILE if len(text) < 1_000]) | st.text(max_size=20)
    return st.one_of(
        st.builds(Passed, times),
        st.builds(Opened, times, feeds, numbers),
        st.builds(Closed, times, feeds, numbers, st.just("")),
        st.builds(Oversized, times, feeds, numbers, texts),
        st.builds(Received, times, feeds, numbers, texts),
        st.builds(
            Answered, times, st.sampled_from(_gets()), st.sampled_from((0, 200, 404, 429)), texts
        ),
    )


ARRIVALS = _arrivals()


class TestHostility:
    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_no_text_of_any_feed_or_server_raises(self, text: str) -> None:
        observer = _real()
        for number, feed in enumerate(_feeds(), 1):
            observer.handle(Opened(OPEN_NS + number, feed, number))
            wishes = observer.handle(Received(OPEN_NS + 100 + number, feed, number, text))
            assert not wishes.instants
        for get in _gets():
            observer.handle(Answered(OPEN_NS + 1_000, get, 200, text))
        observer.handle(Passed(OPEN_NS + 3 * S))

    @pytest.mark.parametrize("feed", _feeds())
    def test_what_a_person_is_told_is_printable_whatever_a_venue_says(self, feed: str) -> None:
        observer = _real()
        said = "\\u001b[2J\\n\\u202e" + "x" * 10_000
        errors = (
            f'{{"type":"error","id":1,"msg":{{"code":9,"msg":"{said}"}}}}',
            f'{{"type":"error","message":"{said}","reason":"{said}"}}',
            f'{{"op":"error","code":"{said}","rid":"1"}}',
            f'{{"op":"error","code":"auth_required","message":"{said}"}}',
        )
        for number, text in enumerate(errors, 1):
            observer.handle(Opened(OPEN_NS + number, feed, number))
            wishes = observer.handle(Received(OPEN_NS + number, feed, number, text))
            told = [notice.evidence for notice in wishes.notices]
            told += [hangup.reason for hangup in wishes.hangups]
            told += [kind for _, kind in observer.counts]
            assert all(text.isascii() and text.isprintable() for text in told)
            assert all(len(text) < 1_000 for text in told)

    @given(st.data())
    @settings(max_examples=100)
    def test_no_sequence_of_arrivals_raises_and_instants_only_rise(
        self, data: st.DataObject
    ) -> None:
        observer = _real()
        last_ns = -1
        for _ in range(data.draw(st.integers(1, 40))):
            wishes = observer.handle(data.draw(ARRIVALS))
            for instant in wishes.instants:
                assert instant.ts_ns > last_ns
                last_ns = instant.ts_ns
                rows = [e for events in instant.events.values() for e in events]
                assert all(e.ts_ns == instant.ts_ns for e in rows)
                if any(isinstance(e, QuoteSnapshot | SpotSnapshot) for e in rows):
                    assert instant.ts_ns % S == 0

    def test_clock_that_jumps_back_makes_no_second_row(self) -> None:
        run = watched()
        run.until(5.0)
        run.hear(3.0, change(4_700, 1))
        run.feed(Passed(at(2)), Passed(at(4)))
        run.until(7.0)
        assert list(run.quotes()) == [float(s) for s in range(8)]
        assert set(times_covered(run, "T-1").values()) == {1}


class TestRestart:
    def test_a_market_that_closed_while_nobody_ran_still_gets_its_result(self) -> None:
        before = watched()
        before.until(5.0)
        run = Run(start_s=5.0, born_s=930.2, unresolved=before.markets())
        run.until(932.0)
        assert ("market", "T-1") in {(f.get.purpose, f.get.subject) for f in run.fetches}
        done = facts(status="settled", result="yes", settlement_usd=100_001.0)
        run.answer(932.5, done, purpose="market", subject="T-1")
        assert [e.result for e in run.events() if isinstance(e, Resolution)] == ["yes"]
        (gap,) = run.gaps().values()
        assert (gap.start_ns, gap.end_ns, gap.reason) == (at(5), at(900), "not_running")

    @pytest.mark.parametrize("born_s", [5.3, 6.0, 6.7, 7.2, 40.2])
    def test_a_market_that_is_still_open_goes_on_without_a_hole_or_a_second_row(
        self, born_s: float
    ) -> None:
        before = watched()
        before.until(5.0)
        run = Run(start_s=5.0, born_s=born_s, unresolved=before.markets())
        run.answer(born_s + 0.1, facts())
        run.open(born_s + 0.2)
        run.hear(born_s + 0.3, book())
        run.until(45.0)
        assert times_covered(run, "T-1") == {at(s): 1 for s in range(6, 46)}
        assert not run.markets()

    def test_a_strike_that_changed_while_nobody_ran_is_said_and_told(self) -> None:
        before = watched()
        run = Run(start_s=5.0, born_s=8.2, unresolved=before.markets())
        run.answer(8.3, facts(strike_usd=1.0))
        assert [market.strike_usd for market in run.markets()] == [1.0]
        assert "market_changed" in [notice.rule for notice in run.notices]


class TestCoverage:
    @given(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 30)), max_size=60),
        st.sampled_from((1, 1, 5)),
        st.integers(-9, 60),
    )
    @settings(max_examples=200)
    def test_every_tick_of_an_open_market_has_exactly_one_row_whatever_arrives(
        self, steps: list[tuple[int, int]], interval_s: int, passed: int
    ) -> None:
        run, connection = Run(interval_s=interval_s), 0
        run.answer(passed / 10, facts())
        for kind, tenths in steps:
            passed += tenths + (10 * SUSPENDED_S if kind == 0 else 0)
            second = passed / 10
            if kind in (1, 2, 3):
                connection += 1
                run.open(second, connection=connection)
                run.hear(second, book(), connection=connection)
            elif kind == 4:
                run.close(second, connection=connection)
            elif kind == 5:
                run.skip(connection=connection)
            elif kind == 6:
                run.answer(second, book(bid=4_000), purpose="book", subject="T-1")
            elif kind == 7:
                run.answer(second, facts(strike_usd=1.0 + tenths))
            elif kind == 8:
                run.feed(Received(at(second), "toy.ws", connection, "{"))
            else:
                run.hear(second, change(4_800, kind), connection=connection)
        end_s = min(passed // 10 + 1 + interval_s, 899)
        run.until(end_s)
        rows = times_covered(run, "T-1", interval_s * S)
        # Whether a gap that begins with the life of a market speaks of the tick at its open is
        # not told by [start, end).
        assert rows.pop(at(0), 1) == 1
        assert rows == {at(s): 1 for s in range(interval_s, end_s + 1, interval_s)}


class TestLifeCycle:
    def test_a_window_from_listing_to_result(self) -> None:
        run = Run(start_s=-61)
        unstruck = facts(strike_usd=None, status="listed")
        run.answer(-60.5, unstruck)
        run.open(-60.4)
        for second in range(-60, 1):
            run.hear(second + 0.1, book())
        run.hear(0.7, MarketFacts("T-1", strike_usd=100_000.0))
        run.until(1.0)
        assert [(second_of(m.ts_ns), m.strike_usd) for m in run.markets()] == [
            (0.0, None),
            (0.7, 100_000.0),
        ]
        run.until(900.0)
        run.answer(901.0, facts(status="determined", result="yes"), purpose="market", subject="T-1")
        assert not [e for e in run.events() if isinstance(e, Resolution)]
        done = facts(status="settled", result="yes", settlement_usd=100_001.0)
        run.answer(902.2, done, purpose="market", subject="T-1")
        run.answer(903.2, done, purpose="market", subject="T-1")
        (told,) = (e for e in run.events() if isinstance(e, Resolution))
        assert (told.result, second_of(told.ts_ns), told.about_ns) == ("yes", 902.2, at(900))
