"""From listing to result: what is said when, what is asked, and what a person is told."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Event, FeeSchedule, Market, Resolution
from libs.common.venues import VENUES
from libs.common.venues.messages import IndexValue, MarketFacts
from libs.common.venues.venue import Series
from services.collector.life import APPROXIMATE, merged
from services.collector.lifecycle import (
    APPROXIMATE_S,
    LISTING_S,
    PRELOAD_S,
    SERIES_MARKETS_MAX,
    SETTLEMENT_S_MAX,
    Markets,
)
from tests.collector.toy_venue import FEE, OPEN_NS, S, Toy, at, facts

KNOWN = 50

DEAR = FeeSchedule(name="toy_x2", rate_e4=1_400, exponent=1, round_e6=10_000)


def toy(**options: object) -> Markets:
    return Markets(Toy(), ["TOY15"], **options)  # type: ignore[arg-type]


def said(events: list[Event]) -> list[Market]:
    return [event for event in events if isinstance(event, Market)]


def settled(name: str) -> MarketFacts:
    return MarketFacts(name, status="settled", result="yes", settlement_usd=1.5)


def rules(markets: Markets) -> list[str]:
    return [notice.rule for notice in markets.notices]


class TestSaying:
    def test_a_market_is_said_at_its_open_and_never_before(self) -> None:
        markets = toy()
        assert markets.learn(facts(status="listed"), at(-100)) == []
        assert markets.opened(at(-1), {}) == []
        (told,) = said(markets.opened(at(0), {}))
        assert (told.ts_ns, told.status) == (at(0), "open")
        assert markets.opened(at(1), {}) == []

    def test_a_strike_is_said_when_it_is_received(self) -> None:
        markets = toy()
        (first,) = said(markets.learn(facts(strike_usd=None), at(0.1)))
        (second,) = said(markets.learn(MarketFacts("T-1", strike_usd=64_000.0), at(0.7)))
        assert (first.strike_usd, second.strike_usd) == (None, 64_000.0)
        assert second.ts_ns == at(0.7)

    def test_a_strike_known_early_is_not_said_before_the_open(self) -> None:
        markets = toy()
        assert markets.learn(facts(strike_usd=64_000.0, status="listed"), at(-1)) == []
        (told,) = said(markets.opened(at(0), {}))
        assert told.ts_ns == at(0)

    def test_a_strike_that_another_source_rounds_is_not_said_again(self) -> None:
        markets = toy()
        exact = {"strike_usd": 89_299.0560483538, "strike_trust": 1}
        assert markets.learn(facts(**exact), at(1))
        for second in (2, 3):  # a listing tells it each minute
            assert markets.learn(MarketFacts("T-1", strike_usd=89_299.06), at(second)) == []
        assert rules(markets) == []
        (told,) = said(markets.learn(MarketFacts("T-1", strike_usd=89_299.07), at(4)))
        assert told.strike_usd == 89_299.07
        assert rules(markets) == ["market_changed"]

    def test_our_own_reading_gives_way_to_a_strike_however_near(self) -> None:
        markets = toy()
        seen = {"strike_usd": 89_299.056, "strike_trust": APPROXIMATE}
        assert said(markets.learn(facts(**seen), at(1)))[0].status == "approximate"
        (told,) = said(markets.learn(MarketFacts("T-1", strike_usd=89_299.06), at(2)))
        assert (told.strike_usd, told.status) == (89_299.06, "open")

    def test_what_is_told_again_is_not_said_again(self) -> None:
        markets = toy()
        assert markets.learn(facts(), at(1))
        assert markets.learn(facts(), at(2)) == []
        assert markets.learn(MarketFacts("T-1"), at(3)) == []

    def test_what_a_message_does_not_tell_stays_as_it_was(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        (told,) = said(markets.learn(MarketFacts("T-1", status="paused"), at(2)))
        assert (told.strike_usd, told.fee, told.status) == (100_000.0, FEE, "paused")

    def test_a_market_of_a_series_that_is_not_recorded_is_ignored(self) -> None:
        markets = toy()
        assert markets.learn(facts(series="OTHER"), at(1)) == []
        assert not markets.lives

    def test_a_message_that_names_only_a_book_finds_its_market(self) -> None:
        markets = toy()
        markets.learn(facts(instruments=("Y", "N")), at(1))
        found = MarketFacts("0xcondition", instruments=("Y", "N"), status="determined")
        (told,) = said(markets.learn(found, at(2)))
        assert (told.market, told.status) == ("T-1", "determined")

    @given(st.permutations(range(3)))
    def test_pieces_in_any_order_say_the_same_market_in_the_end(self, order: list[int]) -> None:
        pieces = (
            facts(strike_usd=None, fingerprint=None, status=None),
            MarketFacts("T-1", series="TOY15", strike_usd=64_000.0),
            MarketFacts("T-1", series="TOY15", fingerprint="f-1", status="open"),
        )
        markets = toy()
        events = [e for n, i in enumerate(order) for e in markets.learn(pieces[i], at(1 + n))]
        last = said(events)[-1]
        assert (last.strike_usd, last.fee, last.rule_fingerprint) == (64_000.0, FEE, "f-1")


class TestResult:
    def test_a_result_that_may_be_disputed_is_none(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        told = markets.learn(MarketFacts("T-1", status="determined", result="yes"), at(901))
        assert not [e for e in told if isinstance(e, Resolution)]

    def test_a_final_result_is_said_once_with_its_receive_time(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(MarketFacts("T-1", status="determined", result="no"), at(901))
        final = MarketFacts("T-1", status="settled", result="yes", settlement_usd=1.5)
        found = [e for n in range(3) for e in markets.learn(final, at(902 + n))]
        (told,) = (e for e in found if isinstance(e, Resolution))
        assert (told.result, told.settlement_usd, told.ts_ns, told.about_ns) == (
            "yes",
            1.5,
            at(902),
            at(900),
        )
        assert "market_changed" in rules(markets)

    def test_a_window_that_was_never_struck_has_a_result_and_no_strike(self) -> None:
        markets = toy()
        markets.learn(facts(strike_usd=None), at(1))
        found = markets.learn(MarketFacts("T-1", status="settled", result="no"), at(902))
        assert [e.strike_usd for e in said(found)] == [None]

    def test_a_result_without_the_price_it_was_settled_at_waits_for_the_markets_page(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.opened(at(890), {})
        markets.due(at(901.5))
        told = markets.learn(MarketFacts("T-1", status="settled", result="yes"), at(902))
        assert not [e for e in told if isinstance(e, Resolution)]
        assert "market" in [get.purpose for get in markets.due(at(902))]
        page = MarketFacts("T-1", status="settled", result="yes", settlement_usd=1.5)
        (found,) = markets.learn(page, at(903))
        assert isinstance(found, Resolution)
        assert (found.settlement_usd, found.ts_ns) == (1.5, at(903))
        assert not [e for e in markets.opened(at(990), {}) if isinstance(e, Resolution)]

    def test_a_price_that_nobody_tells_is_waited_for_half_a_minute(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(MarketFacts("T-1", status="settled", result="yes"), at(902))
        found = {n: markets.opened(at(902 + n), {}) for n in range(1, 60)}
        ((second, (told,)),) = ((n, events) for n, events in found.items() if events)
        assert isinstance(told, Resolution) and told.settlement_usd is None
        assert second == SETTLEMENT_S_MAX

    def test_a_market_that_is_void_has_no_result_and_is_not_sampled(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        (told,) = markets.learn(MarketFacts("T-1", status="void"), at(5))
        assert isinstance(told, Market) and told.status == "void"
        assert markets.open_now(at(6)) == []

    def test_an_open_market_whose_result_came_early_is_sampled_no_further_than_its_close(
        self,
    ) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(MarketFacts("T-1", status="settled", result="yes"), at(899))
        assert markets.open_now(at(900)) == []


class TestChain:
    @pytest.mark.parametrize("is_forward", [True, False])
    @pytest.mark.parametrize(("settled", "is_broken"), [(64_000.0, False), (64_000.02, True)])
    def test_a_strike_is_held_against_the_settlement_before_it(
        self, is_forward: bool, settled: float, is_broken: bool
    ) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        result = MarketFacts("T-1", status="settled", result="yes", settlement_usd=settled)
        strike = facts("T-2", 1, strike_usd=64_000.0)
        for told in (result, strike) if is_forward else (strike, result):
            markets.learn(told, at(905))
        assert ("chain_broken" in rules(markets)) == is_broken

    def test_windows_that_do_not_touch_are_not_compared(self) -> None:
        markets = toy()
        markets.learn(facts(settlement_usd=1.0), at(1))
        markets.learn(facts("T-3", 2, strike_usd=2.0), at(1_801))
        assert "chain_broken" not in rules(markets)

    def test_a_broken_chain_is_alerted_and_the_venue_believed(self) -> None:
        markets = toy()
        markets.learn(facts(settlement_usd=1.0), at(1))
        (told,) = said(markets.learn(facts("T-2", 1, strike_usd=2.0), at(901)))
        assert (told.strike_usd, told.status) == (2.0, "open")

    def test_our_own_reading_of_a_strike_is_no_link_of_the_chain(self) -> None:
        markets = toy()
        markets.learn(facts(settlement_usd=64_000.0), at(1))
        seen = {"strike_trust": APPROXIMATE, "strike_usd": 64_003.0}
        markets.learn(facts("T-2", 1, **seen), at(961))
        assert "chain_broken" not in rules(markets)
        markets.learn(facts("T-2", 1, strike_usd=64_010.0), at(970))
        assert "chain_broken" in rules(markets)


class TestApproximate:
    def learned(self) -> Markets:
        markets = toy()
        markets.learn(facts(strike_usd=None, rule="chainlink_point"), at(0))
        for second in range(3):
            markets.saw_index(IndexValue("chainlink", "BTC-USD", 64_000.0 + second, at(second)))
        return markets

    def test_a_strike_that_nobody_tells_is_the_first_print_at_the_open_and_marked(self) -> None:
        markets = self.learned()
        assert not said(markets.opened(at(APPROXIMATE_S - 1), {}))
        (told,) = said(markets.opened(at(APPROXIMATE_S), {}))
        assert (told.strike_usd, told.status) == (64_000.0, "approximate")

    def test_the_venues_own_strike_replaces_it_and_opens_the_market(self) -> None:
        markets = self.learned()
        markets.opened(at(APPROXIMATE_S), {})
        (told,) = said(markets.learn(MarketFacts("T-1", strike_usd=64_001.5), at(100)))
        assert (told.strike_usd, told.status) == (64_001.5, "open")
        assert not markets.notices

    def test_the_index_of_another_underlying_or_rule_or_time_says_nothing(self) -> None:
        markets = toy()
        markets.learn(facts(strike_usd=None, rule="chainlink_twap60"), at(0))
        for told in (
            IndexValue("chainlink", "ETH-USD", 1.0, at(0), 60),
            IndexValue("chainlink", "BTC-USD", 2.0, at(0)),
            IndexValue("chainlink", "BTC-USD", 3.0, at(-1), 60),
            IndexValue("chainlink", "BTC-USD", 4.0, at(10), 60),
        ):
            markets.saw_index(told)
        assert not markets.opened(at(APPROXIMATE_S), {})


class TestQuarantine:
    def test_the_first_rule_of_a_series_is_taken_as_it_is(self) -> None:
        markets = toy()
        assert said(markets.learn(facts(), at(1)))[0].status == "open"
        assert not markets.notices

    def test_a_changed_rule_quarantines_and_alerts_once_with_what_accepts_it(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        (told,) = said(markets.learn(facts("T-2", 1, fingerprint="f-2"), at(901)))
        markets.learn(facts("T-2", 1, fingerprint="f-2"), at(902))
        assert told.status == "quarantined"
        (notice,) = markets.notices
        assert notice.rule == "market_quarantined" and "HAWK_RULES_ACCEPTED=f-2" in notice.evidence

    def test_the_rule_of_the_run_before_counts(self) -> None:
        markets = toy(rules={"TOY15": ("f-0", "")})
        assert said(markets.learn(facts(), at(1)))[0].status == "quarantined"

    def test_an_accepted_rule_is_no_quarantine(self) -> None:
        markets = toy(rules={"TOY15": ("f-0", "")}, accepted=["f-1"])
        assert said(markets.learn(facts(), at(1)))[0].status == "open"

    def test_a_rule_with_an_unknown_text_is_quarantined_even_as_the_first(self) -> None:
        markets = toy()
        assert said(markets.learn(facts(rule="unknown"), at(1)))[0].status == "quarantined"

    def test_a_rule_that_changes_in_the_life_of_a_market_quarantines_it_at_once(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        (told,) = said(markets.learn(MarketFacts("T-1", fingerprint="f-2"), at(5)))
        assert told.status == "quarantined"

    def test_a_quarantined_market_is_recorded_and_resolved(self) -> None:
        markets = toy(rules={"TOY15": ("f-0", "")})
        markets.learn(facts(), at(1))
        assert [life.facts.market for life in markets.open_now(at(2))] == ["T-1"]
        found = markets.learn(settled("T-1"), at(901))
        assert [type(e) for e in found][-1] is Resolution

    def test_one_market_with_another_rule_does_not_change_that_of_the_series(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(facts("T-2", 1, fingerprint="f-2"), at(901))
        assert said(markets.learn(facts("T-3", 2), at(1_801)))[0].status == "open"

    def test_a_changed_fee_quarantines_and_alerts(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        (told,) = said(markets.learn(MarketFacts("T-1", fee=DEAR), at(5)))
        assert told.status == "quarantined"
        assert "market_quarantined" in rules(markets)


class TestKalshiFee:
    """The fee of a Kalshi market is told by its series, or for one event, never by the market."""

    MARKET = "KXBTC15M-26AUG170100-00"

    def markets(self) -> Markets:
        return Markets(VENUES["kalshi"], ["KXBTC15M"])

    def contract(self, name: str = MARKET) -> MarketFacts:
        return facts(name, series="KXBTC15M", fee=None)

    def terms(self, fee: FeeSchedule, of: str = "KXBTC15M") -> MarketFacts:
        return MarketFacts(of, series="KXBTC15M", underlying="BTC-USD", fee=fee)

    def test_the_fee_of_a_series_is_that_of_its_markets_in_whatever_order_they_come(self) -> None:
        for order in permutations((self.terms(FEE), self.contract())):
            markets = self.markets()
            events = [e for n, told in enumerate(order) for e in markets.learn(told, at(1 + n))]
            assert said(events)[-1].fee == FEE

    def test_terms_are_no_market(self) -> None:
        markets = self.markets()
        markets.learn(self.terms(FEE), at(1))
        markets.learn(self.terms(DEAR, "KXBTC15M-26AUG170100"), at(2))
        assert not markets.lives
        assert markets.instruments(at(3)) == [] and not [
            get for get in markets.due(at(3)) if get.purpose == "market"
        ]

    def test_a_fee_of_one_event_is_that_of_its_markets_alone(self) -> None:
        markets = self.markets()
        markets.learn(self.terms(FEE), at(1))
        markets.learn(self.contract(), at(2))
        (told,) = said(markets.learn(self.terms(DEAR, "KXBTC15M-26AUG170100"), at(3)))
        assert told.fee == DEAR
        other = self.contract("KXBTC15M-26AUG170115-15")
        assert said(markets.learn(other, at(4)))[-1].fee == FEE

    def test_a_changed_fee_of_a_series_quarantines_its_markets(self) -> None:
        markets = self.markets()
        markets.learn(self.terms(FEE), at(1))
        markets.learn(self.contract(), at(2))
        (told,) = said(markets.learn(self.terms(DEAR), at(3)))
        assert told.status == "quarantined"


class TestChanges:
    @pytest.mark.parametrize(
        "change",
        [{"strike_usd": 1.0}, {"close_ns": at(1_800)}, {"comparator": ">"}, {"rule": "other"}],
        ids=lambda change: next(iter(change)),
    )
    def test_what_must_not_change_in_a_life_is_told_once(self, change: dict[str, object]) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(facts(**change), at(2))
        markets.learn(facts(), at(3))
        assert rules(markets) == ["market_changed"]
        assert all(notice.who == "toy T-1" for notice in markets.notices)

    def test_a_better_source_of_a_strike_is_no_change_to_worry_about(self) -> None:
        markets = toy()
        markets.learn(facts(strike_usd=63_999.0, strike_trust=2), at(1))
        (told,) = said(markets.learn(facts(strike_usd=64_000.0, strike_trust=0), at(2)))
        assert told.strike_usd == 64_000.0 and not markets.notices

    def test_a_worse_source_of_a_strike_changes_nothing(self) -> None:
        markets = toy()
        markets.learn(facts(strike_usd=64_000.0), at(1))
        assert markets.learn(facts(strike_usd=1.0, strike_trust=1), at(2)) == []
        assert not markets.notices

    def test_merging_keeps_what_is_not_told(self) -> None:
        assert merged(facts(), MarketFacts("T-1")) == facts()


class TestAsking:
    def purposes(self, markets: Markets, second: float) -> list[str]:
        return [get.purpose for get in markets.due(at(second))]

    def test_a_series_is_listed_at_once_each_minute_and_right_behind_each_open(self) -> None:
        markets = toy()
        listed = [s for s in range(-120, 130) if "list" in self.purposes(markets, s)]
        assert listed[0] == -120
        assert all(b - a <= LISTING_S for a, b in pairwise(listed))
        assert any(0 <= second <= 2 for second in listed)

    def test_a_lacking_strike_is_asked_for_each_second_at_first(self) -> None:
        markets = toy()
        markets.learn(facts(strike_usd=None), at(-10))
        markets.due(at(-9))
        asked = [s for s in range(-5, 10) if "market" in self.purposes(markets, s)]
        assert asked == list(range(10))

    def test_a_result_is_asked_for_from_the_close_on_until_it_is_final(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        asked = [s for s in range(890, 910) if "market" in self.purposes(markets, s)]
        assert asked[0] == 900 and len(asked) >= 5
        markets.learn(settled("T-1"), at(911))
        assert "market" not in self.purposes(markets, 950)

    def test_a_ladder_asks_for_no_more_results_than_markets_are_recorded(self) -> None:
        markets = toy()
        for rung in range(200):
            markets.learn(facts(f"L-{rung}"), at(1))
        markets.due(at(899))
        assert self.purposes(markets, 900).count("market") <= SERIES_MARKETS_MAX


class TestChoosing:
    def test_books_are_subscribed_a_minute_before_the_open_and_a_while_behind_the_close(
        self,
    ) -> None:
        markets = toy()
        markets.learn(facts(status="listed"), at(-600))
        found = {}
        for second in (-PRELOAD_S - 1, -PRELOAD_S, 0, 899, 905, 1_000):
            markets.opened(at(second), {})
            found[second] = markets.instruments(at(second))
        assert [second for second, names in found.items() if names] == [-PRELOAD_S, 0, 899, 905]

    def test_no_more_markets_are_sampled_than_the_limit(self) -> None:
        markets = toy()
        for rung in range(200):
            markets.learn(facts(f"L-{rung}"), at(1))
        assert len(markets.open_now(at(2))) == SERIES_MARKETS_MAX

    def ladder(self) -> list[MarketFacts]:
        # As Kalshi lists them: strictly above, which no window is.
        return [
            facts(f"L-{n:03}", strike_usd=60_000.0 + 100 * n, status="listed", comparator=">")
            for n in range(200)
        ]

    def test_of_a_ladder_the_rungs_nearest_to_spot_are_recorded(self) -> None:
        markets = toy()
        for told in self.ladder():
            markets.learn(told, at(-600))
        markets.opened(at(-PRELOAD_S), {"BTC-USD": 70_000.0})
        markets.opened(at(0), {"BTC-USD": 70_000.0})
        strikes = [life.facts.strike_usd for life in markets.open_now(at(0))]
        assert len(strikes) == SERIES_MARKETS_MAX
        assert all(abs((strike or 0.0) - 70_000.0) <= 600.0 for strike in strikes)

    def test_rungs_are_not_chosen_blindly_while_spot_is_not_known_yet(self) -> None:
        markets = toy()
        for told in self.ladder():
            markets.learn(told, at(0.3))
        for second in range(1, 5):
            markets.opened(at(second), {"BTC-USD": 70_000.0} if second > 2 else {})
        strikes = [life.facts.strike_usd for life in markets.open_now(at(5))]
        assert strikes and all(abs((strike or 0.0) - 70_000.0) <= 600.0 for strike in strikes)

    def test_a_market_that_is_sampled_stays_sampled_when_others_are_listed(self) -> None:
        markets = toy()
        for rung in range(SERIES_MARKETS_MAX):
            markets.learn(facts(f"M-{rung:03}"), at(1))
        before = {life.facts.market for life in markets.open_now(at(2))}
        for rung in range(SERIES_MARKETS_MAX):
            markets.learn(facts(f"A-{rung:03}"), at(3))
        assert {life.facts.market for life in markets.open_now(at(4))} == before

    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 8)), max_size=60))
    def test_what_is_sampled_is_what_is_subscribed(self, spans: list[tuple[int, int]]) -> None:
        markets = toy()
        for number, (begin, length) in enumerate(spans):
            told = facts(
                f"T-{number * 7919 % 97:02}-{number}",
                open_ns=at(begin * 900),
                close_ns=at((begin + length) * 900),
            )
            markets.learn(told, at(1))
        markets.opened(at(1), {})
        sampled = {life.facts.market for life in markets.open_now(at(2))}
        assert sampled <= set(markets.instruments(at(2)))


class TestMemory:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.collector.lifecycle.KNOWN_MAX", KNOWN)

    def test_thousands_of_windows_stay_within_the_limit(self) -> None:
        markets = toy()
        for window in range(KNOWN + 500):
            name, second = f"T-{window}", window * 900.0
            markets.learn(facts(name, window), at(second))
            markets.learn(settled(name), at(second + 901))
        assert len(markets.lives) <= KNOWN + 1
        assert len(markets._by_instrument) <= KNOWN + 1

    def test_an_open_market_is_not_forgotten_for_a_flood_of_others(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        for number in range(KNOWN + 500):
            markets.learn(facts(f"F-{number}", 10, status="listed"), at(2))
        assert "T-1" in markets.lives and len(markets.lives) <= KNOWN + 1

    def test_a_result_that_is_told_again_after_it_was_forgotten_is_not_said_again(self) -> None:
        markets = toy()
        markets.learn(facts(), at(1))
        markets.learn(settled("T-1"), at(901))
        for number in range(1, KNOWN + 10):
            markets.learn(facts(f"T-{number + 1}", number), at(902))
        done = facts(status="settled", result="yes", settlement_usd=1.5)
        assert not [e for e in markets.learn(done, at(10_000)) if isinstance(e, Resolution)]


def test_hourly_and_quarter_hourly_series_live_side_by_side() -> None:
    series = (Series("Q", "BTC-USD", 900), Series("H", "BTC-USD", 3_600))
    markets = Markets(Toy(series=series), ["Q", "H"])
    ladder = [
        facts(f"H-{n:03}", series="H", open_ns=OPEN_NS - 3_600 * S, close_ns=at(1_800))
        for n in range(50)
    ]
    for told in (*ladder, facts("Q-1", series="Q")):
        markets.learn(told, at(1))
    assert "Q-1" in [life.facts.market for life in markets.open_now(at(2))]
    assert "Q-1" in markets.instruments(at(2))
