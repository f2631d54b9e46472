"""Troubles begin once, and end when nobody is in them any more."""

from services.collector.troubles import (
    CHAIN_BROKEN,
    MARKET_QUARANTINED,
    RULES,
    VENUE_REFUSED,
    Troubles,
)

S = 1_000_000_000


def test_a_trouble_is_told_once_and_its_end_when_the_last_is_out_of_it() -> None:
    troubles = Troubles()
    (begun,) = troubles.begin(MARKET_QUARANTINED, "toy A", "new rule", ts_ns=0)
    assert begun.is_firing and begun.evidence == "toy A: new rule"
    assert troubles.begin(MARKET_QUARANTINED, "toy A", "again", ts_ns=0) == []
    assert troubles.begin(MARKET_QUARANTINED, "toy B", "new rule", ts_ns=0)[0].is_firing
    assert troubles.end("toy A") == []
    (over,) = troubles.end("toy B")
    assert (over.rule, over.is_firing) == (MARKET_QUARANTINED, False)
    assert troubles.end("toy B") == []


def test_one_rule_of_somebody_ends_without_the_others() -> None:
    troubles = Troubles()
    troubles.begin(MARKET_QUARANTINED, "toy A", "x", ts_ns=0)
    troubles.begin(CHAIN_BROKEN, "toy A", "x", ts_ns=0)
    assert [n.rule for n in troubles.end("toy A", rule=CHAIN_BROKEN)] == [CHAIN_BROKEN]
    assert [n.rule for n in troubles.end("toy A")] == [MARKET_QUARANTINED]


def test_every_rule_has_a_severity_that_hawk_knows() -> None:
    assert set(RULES.values()) <= {"page", "warn", "info"}


def test_what_has_not_been_seen_for_long_is_over_by_itself() -> None:
    troubles = Troubles()
    troubles.begin(VENUE_REFUSED, "toy.ws", "401", ts_ns=0)
    troubles.begin(VENUE_REFUSED, "toy.ws", "401", ts_ns=500 * S)
    assert troubles.tick(900 * S) == []
    (over,) = troubles.tick(1_101 * S)
    assert (over.rule, over.is_firing) == (VENUE_REFUSED, False)
