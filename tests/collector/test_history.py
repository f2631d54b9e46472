"""History told afterwards: each row stands where it was known, and nothing is made up."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from libs.common import columns
from libs.common.archive import TIME_MAX_NS
from libs.common.events import Market, QuoteSnapshot, Resolution, SpotSnapshot
from libs.common.pricing import KALSHI_FEE, TAPERED_DECI_CENT
from libs.common.venues.messages import Candle, MarketFacts, Message, Reject
from services.collector import history
from services.collector.judgement import Judged, judge

S = 1_000_000_000
OPEN_NS = 1_790_000_100 * S
CLOSE_NS = OPEN_NS + 900 * S
LATER_NS = CLOSE_NS + 3_600 * S


def market(name: str = "KXBTC15M-A", **changes: Any) -> MarketFacts:
    """A settled quarter hour."""
    facts: dict[str, Any] = {
        "market": name,
        "series": "KXBTC15M",
        "underlying": "BTC-USD",
        "instruments": (name,),
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "comparator": ">=",
        "strike_usd": 65_000.0,
        "rule": "mean60",
        "fingerprint": "f1",
        "status": "settled",
        "result": "yes",
        "settlement_usd": 65_001.0,
    }
    return MarketFacts(**(facts | changes))


def candle(minute: int, *, bid: int | None = 4_800, ask: int | None = 4_900) -> Candle:
    """The candle of a contract that ends `minute` minutes behind the open, as Kalshi ends it."""
    end_ns = OPEN_NS + minute * 60 * S + 1
    return Candle("KXBTC15M-A", end_ns - 60 * S, end_ns, bid=bid, ask=ask)


def spot_candle(minute: int, close: float | None = 65_000.0) -> Candle:
    start_ns = OPEN_NS + minute * 60 * S
    return Candle("BTC-USD", start_ns, start_ns + 60 * S, close=close)


def judged(**rows: Any) -> Judged:
    return judge(history.tables(**rows))


def rows_of(*markets: MarketFacts, now_ns: int = LATER_NS, **choices: Any) -> list[history.Row]:
    choices = {"must_be_struck": True} | choices
    return history.market_rows("kalshi", markets, now_ns=now_ns, **choices)


def quotes_of(*messages: Message, now_ns: int = LATER_NS) -> tuple[list[history.Row], Counter[str]]:
    dropped = Counter[str]()
    rows = history.quote_rows("kalshi", market(), messages, now_ns=now_ns, dropped=dropped)
    return rows, dropped


def listed(*messages: Message) -> tuple[list[str], Counter[str]]:
    dropped = Counter[str]()
    found = history.ended(
        messages, series="KXBTC15M", span_ns=(CLOSE_NS, CLOSE_NS + 1), dropped=dropped
    )
    return [one.market for one in found], dropped


def test_an_ended_market_becomes_what_was_known_when() -> None:
    kinds = judged(markets=rows_of(market())).kinds
    first, struck = columns.from_table(Market, kinds[Market])
    assert isinstance(first, Market)
    assert isinstance(struck, Market)
    assert (first.ts_ns, first.strike_usd, first.status) == (OPEN_NS, None, "open")
    assert (struck.ts_ns, struck.strike_usd) == (OPEN_NS + S, 65_000.0)
    (end,) = columns.from_table(Resolution, kinds[Resolution])
    assert (end.ts_ns, end.result, end.settlement_usd) == (CLOSE_NS + 60 * S, "yes", 65_001.0)  # type: ignore[attr-defined]


def test_price_to_beat_is_known_half_a_minute_behind_the_open() -> None:
    (row,) = history.market_rows("polymarket", [market()], now_ns=LATER_NS, must_be_struck=False)
    assert row["strike_known_ns"] == OPEN_NS + 30 * S


def test_result_that_the_venue_dates_later_is_known_later() -> None:
    told_ns = CLOSE_NS + 600 * S
    (row,) = rows_of(market(about_ns=told_ns))
    assert (row["result"], row["result_known_ns"]) == ("yes", told_ns)


def test_time_of_a_change_before_the_close_brings_no_result_forward() -> None:
    (row,) = rows_of(market(about_ns=OPEN_NS))
    assert row["result_known_ns"] == CLOSE_NS + 60 * S


@pytest.mark.parametrize("status", [None, "open", "paused", "closed", "determined"])
def test_result_that_is_not_final_is_none(status: Any) -> None:
    (row,) = rows_of(market(status=status))
    assert (row["result"], row["settlement_usd"]) == (None, None)


def test_result_that_is_not_known_yet_is_none() -> None:
    known_ns = CLOSE_NS + 60 * S
    assert rows_of(market(), now_ns=known_ns - 1)[0]["result"] is None
    assert rows_of(market(), now_ns=known_ns)[0]["result"] == "yes"


def test_market_that_was_never_struck_has_no_result_where_it_alone_tells_strikes() -> None:
    unstruck = market(strike_usd=None, result="no")
    assert rows_of(unstruck)[0]["result"] is None
    assert rows_of(unstruck, must_be_struck=False)[0]["result"] == "no"


def test_void_market_is_no_row() -> None:
    assert rows_of(market(status="void", result=None)) == []


def test_rule_that_is_not_told_is_unknown() -> None:
    assert rows_of(market(rule=None))[0]["settlement_rule"] == "unknown"


def test_list_holds_the_markets_of_the_series_that_closed_in_the_span() -> None:
    names, dropped = listed(
        market("B"),
        market("A"),
        market("other-series", series="KXETH15M"),
        market("no-series", series=None),
        market("before", close_ns=CLOSE_NS - 1),
        market("behind", close_ns=CLOSE_NS + 1),
    )
    assert (names, dropped) == (["A", "B"], {})


def test_market_that_is_listed_twice_is_what_was_told_last() -> None:
    dropped = Counter[str]()
    (found,) = history.ended(
        [market(status="closed"), market()],
        series="KXBTC15M",
        span_ns=(0, TIME_MAX_NS),
        dropped=dropped,
    )
    assert found.status == "settled"


@pytest.mark.parametrize("changes", [{"open_ns": None}, {"comparator": None}, {"underlying": None}])
def test_market_without_something_essential_is_counted(changes: dict[str, Any]) -> None:
    assert listed(market(**changes)) == ([], {"incomplete": 1})


def test_listed_market_that_was_not_understood_is_counted() -> None:
    assert listed(Reject("bad_name", "a\\x1b")) == ([], {"bad_name": 1})


def test_candles_become_quotes_at_their_ends_without_sizes() -> None:
    rows, dropped = quotes_of(candle(2, bid=4_700), candle(1))
    kinds = judged(markets=rows_of(market()), quotes=rows).kinds
    quotes = columns.from_table(QuoteSnapshot, kinds[QuoteSnapshot])
    told = [(q.ts_ns, q.yes_bids_price_e4, q.yes_asks_price_e4) for q in quotes]  # type: ignore[attr-defined]
    assert told == [
        (OPEN_NS + 60 * S + 1, (4_800,), (4_900,)),
        (OPEN_NS + 120 * S + 1, (4_700,), (4_900,)),
    ]
    assert {q.yes_bids_size_e2 for q in quotes} == {()}  # type: ignore[attr-defined]
    assert not dropped


def test_one_side_of_a_candle_is_a_quote_of_one_side() -> None:
    ((row,), _) = quotes_of(candle(1, ask=None))
    assert (row["yes_bids_price"], row["yes_asks_price"]) == ([0.48], [])


def test_candle_without_any_quote_is_counted_and_no_empty_book() -> None:
    assert quotes_of(candle(1, bid=None, ask=None)) == ([], {"no_quote": 1})


def test_forming_candle_is_left_out() -> None:
    end_ns = candle(1).end_ns
    assert quotes_of(candle(1), now_ns=end_ns - 1) == ([], {})
    assert len(quotes_of(candle(1), now_ns=end_ns)[0]) == 1


def test_candle_that_ends_with_the_market_is_no_quote() -> None:
    assert quotes_of(candle(15)) == ([], {})


def test_middle_price_without_a_book_becomes_no_quote() -> None:
    point = Candle("token", OPEN_NS, OPEN_NS + 60 * S, close=5_050)
    assert quotes_of(point) == ([], {"no_quote": 1})


def test_candle_that_was_not_understood_is_counted() -> None:
    assert quotes_of(Reject("out_of_range", "7")) == ([], {"out_of_range": 1})


def test_spot_is_known_at_the_end_of_its_candle_and_not_before_it_ends() -> None:
    dropped = Counter[str]()
    messages = [spot_candle(1), spot_candle(0), spot_candle(2), Reject("bad_number", "x")]
    rows = history.spot_rows("BTC-USD", messages, now_ns=OPEN_NS + 120 * S, dropped=dropped)
    (first, second) = columns.from_table(SpotSnapshot, judged(spot=rows).kinds[SpotSnapshot])
    assert (first.ts_ns, second.ts_ns) == (OPEN_NS + 60 * S, OPEN_NS + 120 * S)
    assert (first.source, first.last_usd) == ("coinbase_candle_1m", 65_000.0)  # type: ignore[attr-defined]
    assert dropped == {"bad_number": 1}


def test_minute_that_was_recorded_more_finely_keeps_its_rows_only() -> None:
    rows = history.spot_rows(
        "BTC-USD",
        [spot_candle(0), spot_candle(1)],
        now_ns=LATER_NS,
        dropped=(dropped := Counter[str]()),
    )
    seconds = [OPEN_NS + 30 * S, OPEN_NS + 60 * S]
    archived = pa.table({"ts_ns": seconds, "source": ["coinbase", "coinbase_candle_1m"]})
    kept = history.without_covered(rows, archived, dropped=dropped)
    assert [row["ts_ns"] for row in kept] == [OPEN_NS + 120 * S]
    assert dropped == {"covered_by_finer_source": 1}


def test_own_rows_of_an_earlier_run_cover_nothing() -> None:
    rows = history.spot_rows("BTC-USD", [spot_candle(0)], now_ns=LATER_NS, dropped=Counter())
    archived = pa.table({"ts_ns": [OPEN_NS + 60 * S], "source": ["coinbase_candle_1m"]})
    assert history.without_covered(rows, archived, dropped=Counter()) == rows


def test_market_is_observed_if_it_has_quotes_between_the_ends_of_candles() -> None:
    own, seen = OPEN_NS + 60 * S + 1, OPEN_NS + 60 * S
    quotes = pa.table(
        {"ts_ns": [own, own, seen], "venue": ["kalshi"] * 3, "market": ["A", "B", "B"]}
    )
    assert history.observed(quotes) == {("kalshi", "B")}


def test_terms_are_those_that_the_venue_told() -> None:
    facts = market(fingerprint="its own", tick_ranges=TAPERED_DECI_CENT[:1], fee=None)
    table = judged(markets=rows_of(facts)).kinds[Market]
    for event in columns.from_table(Market, history.with_terms(table, {facts.market: facts})):
        assert isinstance(event, Market)
        assert event.rule_fingerprint == "its own"
        assert event.tick_ranges == TAPERED_DECI_CENT[:1]
        assert (event.fee, event.status) == (KALSHI_FEE, "open")


def test_market_of_a_rule_that_nobody_read_is_quarantined() -> None:
    facts = market(rule="unknown")
    table = judged(markets=rows_of(facts)).kinds[Market]
    told = columns.from_table(Market, history.with_terms(table, {facts.market: facts}))
    assert {event.status for event in told} == {"quarantined"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "now_ns", "expected"),
    [
        ({}, LATER_NS, True),
        ({}, CLOSE_NS + 59 * S, False),
        ({"status": "determined"}, LATER_NS, False),
        ({"result": None}, LATER_NS, False),
        ({"status": "void", "result": None}, CLOSE_NS, True),
        ({"status": "closed", "result": None}, CLOSE_NS + history.SETTLING_NS, True),
    ],
)
def test_market_is_final_when_nothing_about_it_can_change(
    changes: dict[str, Any], now_ns: int, expected: bool
) -> None:
    assert history.is_final(market(**changes), now_ns) is expected
