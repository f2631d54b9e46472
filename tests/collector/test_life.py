"""One market: facts merged, and the events that they make."""

import msgspec
import pytest

from libs.common.events import Market
from libs.common.venues.messages import MarketFacts
from services.collector.life import (
    APPROXIMATE,
    Life,
    differs,
    fee_fingerprint,
    market_event,
    merged,
    remembered,
    resolution_event,
)
from tests.collector.toy_venue import FEE, at, facts


def event(told: MarketFacts, **state: object) -> Market:
    found = market_event("toy", Life(told, **state), at(1))  # type: ignore[arg-type]
    assert found is not None
    return found


class TestMerging:
    def test_what_is_not_told_stays(self) -> None:
        assert merged(facts(), MarketFacts("T-1")) == facts()

    def test_a_strike_gives_way_to_an_equal_or_better_source_only(self) -> None:
        known = facts(strike_usd=1.0, strike_trust=1)
        found = [
            merged(known, MarketFacts("T-1", strike_usd=2.0, strike_trust=trust)).strike_usd
            for trust in (0, 1, 2)
        ]
        assert found == [2.0, 2.0, 1.0]

    def test_trust_comes_with_its_strike_alone(self) -> None:
        told = MarketFacts("T-1", strike_trust=2, status="paused")
        assert merged(facts(), told).strike_trust == 0


class TestMarketEvent:
    @pytest.mark.parametrize(
        "lacking", ["open_ns", "close_ns", "comparator", "underlying", "series"]
    )
    def test_nothing_is_said_while_something_essential_is_not_known(self, lacking: str) -> None:
        assert market_event("toy", Life(facts(**{lacking: None})), at(1)) is None

    @pytest.mark.parametrize(
        ("changes", "quarantine", "status"),
        [
            ({"status": "listed"}, None, "open"),
            ({"status": None}, None, "open"),
            ({"status": "paused"}, None, "paused"),
            ({"strike_trust": APPROXIMATE}, None, "approximate"),
            ({}, "rule changed", "quarantined"),
            ({"strike_trust": APPROXIMATE}, "rule changed", "quarantined"),
        ],
    )
    def test_status_says_whether_it_may_be_traded(
        self, changes: dict[str, object], quarantine: str | None, status: str
    ) -> None:
        assert event(facts(**changes), quarantine=quarantine).status == status

    def test_an_unknown_rule_is_called_unknown_and_a_fee_not_told_is_none(self) -> None:
        found = event(facts(rule=None, fee=None, fingerprint=None))
        assert (found.settlement_rule, found.fee, found.rule_fingerprint) == ("unknown", None, "")

    def test_time_id_and_number_make_no_difference_and_all_else_does(self) -> None:
        said = event(facts())
        again = msgspec.structs.replace(said, ts_ns=at(9), id="x", seq=7)
        assert not differs(said, again) and differs(None, said)
        assert differs(said, msgspec.structs.replace(said, strike_usd=1.0))

    def test_what_an_earlier_run_said_is_not_said_again(self) -> None:
        said = event(facts())
        life = remembered(said)
        assert not differs(life.said, event(life.facts))

    def test_an_approximate_strike_of_an_earlier_run_gives_way_to_the_venues(self) -> None:
        life = remembered(event(facts(strike_usd=1.0, strike_trust=APPROXIMATE)))
        assert merged(life.facts, MarketFacts("T-1", strike_usd=2.0)).strike_usd == 2.0
        assert event(life.facts).status == "approximate"


def test_a_life_lasts_from_its_open_to_before_its_close_unless_it_is_void() -> None:
    life = Life(facts())
    assert [life.is_open(at(s)) for s in (-0.001, 0, 899.999, 900)] == [False, True, True, False]
    assert not Life(facts(status="void")).is_open(at(1))
    assert not Life(MarketFacts("T-1")).is_open(at(1))


def test_a_resolution_has_one_id_whenever_it_becomes_known() -> None:
    said, done = event(facts()), facts(result="no", settlement_usd=5.0)
    one, other = (resolution_event(said, done, at(second)) for second in (901, 902))
    assert one.id == other.id and (one.result, one.about_ns) == ("no", at(900))


def test_two_fees_have_two_fingerprints() -> None:
    dear = msgspec.structs.replace(FEE, rate_e4=1)
    assert len({fee_fingerprint(None), fee_fingerprint(FEE), fee_fingerprint(dear)}) == 3
