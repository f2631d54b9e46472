"""Markets of a recording: what was known when, late rather than early."""

from collections import Counter
from math import inf, nan
from typing import Any

import pyarrow as pa
import pytest

from libs.common.events import Market, Resolution
from services.collector.markets import judge_markets, market_facts
from tests.collector.folders import CLOSE_NS, KNOWN, MARKETS, OPEN_NS, S, market


def judged(*rows: dict[str, Any]) -> tuple[list[Any], Counter[str], Counter[str]]:
    dropped: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    extra = [f for f in KNOWN if any(f.name in row for row in rows)]
    table = pa.Table.from_pylist(list(rows), pa.schema([*MARKETS, *extra]))
    kept = judge_markets(table, dropped, flagged)
    facts = market_facts(kept)
    return [*facts[Market], *facts[Resolution]], dropped, flagged


def test_strike_and_result_are_known_late_where_the_recording_does_not_say() -> None:
    facts, dropped, flagged = judged(market())
    bare, struck, result = facts
    assert (bare.ts_ns, bare.strike_usd) == (OPEN_NS, None)
    assert (struck.ts_ns, struck.strike_usd) == (OPEN_NS + S, 100_000.0)
    assert isinstance(result, Resolution)
    assert (result.ts_ns, result.about_ns, result.result) == (CLOSE_NS + 60 * S, CLOSE_NS, "yes")
    assert not dropped
    assert not flagged


def test_known_times_of_the_recording_are_kept() -> None:
    known = {"strike_known_ns": OPEN_NS + 7 * S, "result_known_ns": CLOSE_NS + 3 * S}
    facts, _, _ = judged(market(**known))
    assert [f.ts_ns for f in facts] == [OPEN_NS, OPEN_NS + 7 * S, CLOSE_NS + 3 * S]


def test_nothing_is_known_before_it_can_be() -> None:
    early = {"strike_known_ns": OPEN_NS - 9 * S, "result_known_ns": OPEN_NS}
    facts, _, flagged = judged(market(**early))
    assert [f.ts_ns for f in facts] == [OPEN_NS, CLOSE_NS]  # the strike stands in the first fact
    assert facts[0].strike_usd == 100_000.0
    assert flagged["result_known_before_close"] == 1


def test_a_market_without_strike_or_result_is_kept_and_flagged() -> None:
    facts, dropped, flagged = judged(market(strike_usd=None, settlement_usd=None, result=None))
    assert [type(f) for f in facts] == [Market]
    assert not dropped
    assert flagged == {"no_strike": 1, "unresolved": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"strike_usd": 0.0}, "strike_not_positive"),
        ({"strike_usd": -5.0}, "strike_not_positive"),
        ({"strike_usd": nan}, "not_finite"),
        ({"strike_usd": inf}, "not_finite"),
        ({"settlement_usd": -inf}, "not_finite"),
        ({"settlement_usd": -1.0}, "settlement_not_positive"),
        ({"close_ns": OPEN_NS}, "bad_life"),
        ({"open_ns": None}, "bad_life"),
        ({"close_ns": None}, "bad_life"),
        ({"open_ns": -1}, "bad_life"),
        ({"open_ns": -(2**63)}, "bad_life"),
        ({"close_ns": 2**63 - 1}, "bad_life"),
        ({"strike_known_ns": 2**63 - 1}, "bad_known_time"),
        ({"result_known_ns": -(2**63)}, "bad_known_time"),
        ({"comparator": "<"}, "bad_comparator"),
        ({"comparator": None}, "bad_comparator"),
        ({"result": "maybe"}, "bad_result"),
        ({"venue": None}, "bad_name"),
        ({"market": ""}, "bad_name"),
        ({"market": "x" * 10_000}, "bad_name"),
        ({"market": "a\x1b[2Jb"}, "bad_name"),
        ({"series": "a\nb"}, "bad_name"),
        ({"settlement_rule": None}, "bad_name"),
        ({"underlying": "../../etc"}, "bad_name"),
        ({"underlying": "control"}, "bad_name"),
        ({"underlying": "x" * 10_000}, "bad_name"),
    ],
)
def test_a_bad_market_is_dropped_for_its_reason_and_others_are_kept(
    change: dict[str, Any], reason: str
) -> None:
    facts, dropped, _ = judged(market("good"), market("bad", **change))
    assert dropped == {reason: 1}
    assert {f.market for f in facts} == {"good"}


def test_a_market_named_twice_is_stored_once() -> None:
    facts, dropped, _ = judged(market(), market(strike_usd=5.0))
    assert dropped == {"duplicate_market": 1}
    assert facts[1].strike_usd == 100_000.0


def test_the_same_name_at_another_venue_is_another_market() -> None:
    facts, dropped, _ = judged(market(), market(venue="polymarket", series="btc-updown-15m"))
    assert not dropped
    assert len({f.id for f in facts}) == 6


@pytest.mark.parametrize(
    ("settled", "comparator", "result", "is_flagged"),
    [
        (100_000.0, ">=", "yes", False),
        (100_000.0, ">=", "no", True),
        (100_000.0, ">", "no", False),
        (100_000.0, ">", "yes", True),
        (99_999.0, ">=", "yes", True),
    ],
)
def test_a_result_that_contradicts_its_settlement_is_flagged(
    settled: float, comparator: str, result: str, is_flagged: bool
) -> None:
    row = market(settlement_usd=settled, comparator=comparator, result=result)
    _, dropped, flagged = judged(row)
    assert not dropped
    assert ("result_contradicts_settlement" in flagged) == is_flagged


def test_an_unknown_series_or_rule_is_stored_without_a_guessed_fee() -> None:
    facts, _, flagged = judged(market(series="NEW", settlement_rule="coin_toss"))
    assert flagged == {"no_fee_schedule": 1, "unknown_settlement_rule": 1}
    assert facts[0].fee is None
    assert facts[0].tick_ranges == ()


def test_a_known_series_has_its_fee_and_ticks() -> None:
    facts, _, _ = judged(market())
    assert facts[0].fee is not None
    assert facts[0].tick_ranges[0].end_e4 == 1_000


def test_the_same_row_makes_the_same_ids() -> None:
    assert [f.id for f in judged(market())[0]] == [f.id for f in judged(market())[0]]
    assert judged(market())[0][1].id != judged(market(strike_usd=100_001.0))[0][1].id
