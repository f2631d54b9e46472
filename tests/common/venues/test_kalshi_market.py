"""What Kalshi says about a market: statuses, strikes, grids, fees and rules."""

import pytest

from libs.common.events import TickRange
from libs.common.pricing import KALSHI_FEE, TAPERED_DECI_CENT
from libs.common.venues.kalshi_market import (
    SERIES,
    UNKNOWN_FEE,
    PriceRange,
    fee_schedule,
    fingerprint,
    market_result,
    market_status,
    rule_of,
    series_of,
    settlement,
    strike_usd,
    tick_ranges,
)
from libs.common.venues.numbers import WireError
from tests.common.venues.kalshi_texts import (
    PRIMARY_15M,
    PRIMARY_HOURLY,
    SECONDARY_15M,
    SECONDARY_HOURLY,
)

BTC15M, ETH15M, BTCD, ETHD = (SERIES[n] for n in ("KXBTC15M", "KXETH15M", "KXBTCD", "KXETHD"))


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        ("initialized", "", "listed"),
        ("active", "", "open"),
        ("inactive", "", "paused"),
        ("closed", "", "closed"),
        ("determined", "yes", "determined"),
        ("disputed", "no", "determined"),
        ("amended", "no", "determined"),
        ("finalized", "no", "settled"),
        ("finalized", "scalar", "void"),
        ("finalized", "", "void"),
    ],
)
def test_each_status_has_one_word(status: str, result: str, expected: str) -> None:
    assert market_status(status, result) == expected


@pytest.mark.parametrize("status", ["open", "settled", "unopened", "", "Active"])
def test_a_word_of_the_query_vocabulary_is_not_a_status(status: str) -> None:
    with pytest.raises(WireError):
        market_status(status, "")


def test_results_are_yes_no_or_none() -> None:
    assert [market_result(r) for r in ("yes", "no", "scalar", "")] == ["yes", "no", None, None]
    with pytest.raises(WireError):
        market_result("void")


@pytest.mark.parametrize("strike", [0.0, -1.0, 1e300])
def test_a_strike_that_is_no_price_is_refused(strike: float) -> None:
    with pytest.raises(WireError):
        strike_usd(strike)


def test_a_missing_strike_stays_unknown() -> None:
    assert strike_usd(None) is None


def test_series_is_found_by_the_first_part_of_a_ticker() -> None:
    assert series_of("KXBTCD-26SEP0107-T78099.99") is BTCD
    assert series_of("KXBTC-26SEP2901-B73250") is None
    assert series_of("KXBTC15MX-1") is None


def test_ranges_become_the_grid_whatever_its_name() -> None:
    ranges = [
        PriceRange("0.0000", "0.1000", "0.0010"),
        PriceRange("0.1000", "0.9000", "0.0100"),
        PriceRange("0.9000", "1.0000", "0.0010"),
    ]
    assert tick_ranges(ranges) == TAPERED_DECI_CENT
    fine = TickRange(start_e4=0, end_e4=10_000, step_e4=1)
    assert tick_ranges([PriceRange("0", "1", "0.0001")]) == (fine,)
    assert tick_ranges([]) is None


@pytest.mark.parametrize(
    "ranges",
    [
        [PriceRange("0.1000", "0.1000", "0.0010")],
        [PriceRange("0.0000", "1.0000", "0.0000")],
        [PriceRange("0.0000", "1.0000", "0.00001")],
        [PriceRange("0.0000", "1.0001", "0.0100")],
        [PriceRange("0.0000", "0.5000", "0.01"), PriceRange("0.6000", "1.0000", "0.01")],
        [PriceRange("0.5000", "1.0000", "0.01"), PriceRange("0.0000", "0.5000", "0.01")],
        [PriceRange("nan", "1.0000", "0.01")],
    ],
)
def test_a_grid_that_is_none_is_refused(ranges: list[PriceRange]) -> None:
    with pytest.raises(WireError):
        tick_ranges(ranges)


def test_only_quadratic_times_one_is_the_known_fee() -> None:
    assert fee_schedule("quadratic", 1.0) is KALSHI_FEE
    maker = fee_schedule("quadratic_with_maker_fees", 1.0)
    assert maker.rate_e4 == KALSHI_FEE.rate_e4
    assert maker != KALSHI_FEE
    half = fee_schedule("quadratic", 0.5)
    assert (half.rate_e4, half.name) == (350, "kalshi_quadratic_x0.5")


def test_a_rate_between_two_steps_is_rounded_up() -> None:
    assert fee_schedule("quadratic", 0.3333).rate_e4 == 234


@pytest.mark.parametrize(("fee_type", "times"), [("flat", 1.0), (None, None), ("quadratic", None)])
def test_a_fee_without_a_known_formula_takes_the_whole_pay_out(
    fee_type: str | None, times: float | None
) -> None:
    assert fee_schedule(fee_type, times) is UNKNOWN_FEE


@pytest.mark.parametrize(
    ("fee_type", "times"),
    [("quadratic", -1.0), ("quadratic", 101.0), ("quadratic\n", 1.0), ("quadratic\u00e9", 1.0)],
)
def test_a_fee_that_cannot_be_is_refused(fee_type: str, times: float) -> None:
    with pytest.raises(WireError):
        fee_schedule(fee_type, times)


def test_the_rules_of_both_kinds_of_series_are_known() -> None:
    assert rule_of(BTC15M, PRIMARY_15M, SECONDARY_15M) == "mean60"
    assert rule_of(BTCD, PRIMARY_HOURLY, SECONDARY_HOURLY) == "mean60"
    eth = PRIMARY_15M.replace("BRTI", "ETHUSD_RTI")
    assert rule_of(ETH15M, eth, SECONDARY_15M) == "mean60"
    ethd = PRIMARY_HOURLY.replace(
        "Bitcoin Real-Time Index (BRTI)", "Ethereum Real-Time Index (ERTI)"
    )
    assert rule_of(ETHD, ethd, SECONDARY_HOURLY) == "mean60"


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [
        (PRIMARY_15M.replace("sixty", "thirty"), SECONDARY_15M),
        (PRIMARY_15M.replace("at least", "above"), SECONDARY_15M),
        (PRIMARY_15M.replace("BRTI", "ETHUSD_RTI"), SECONDARY_15M),
        (PRIMARY_15M.replace("BRTI", "BRR", 1), SECONDARY_15M),
        (PRIMARY_15M + " Ties resolve to No.", SECONDARY_15M),
        (PRIMARY_15M, SECONDARY_15M.replace("nearest 2", "nearest 3")),
        (PRIMARY_15M, SECONDARY_15M.replace("60 RTI", "30 RTI")),
        (PRIMARY_15M, SECONDARY_15M + " Otherwise the last price counts."),
        (PRIMARY_15M, SECONDARY_HOURLY),
        (PRIMARY_15M, ""),
        (PRIMARY_HOURLY, SECONDARY_15M),
    ],
)
def test_any_other_wording_is_another_rule(primary: str, secondary: str) -> None:
    assert rule_of(BTC15M, primary, secondary) == "unknown"


def test_a_rule_that_is_not_told_is_none() -> None:
    assert rule_of(BTC15M, "", "") is None
    assert fingerprint("", SECONDARY_15M) is None


@pytest.mark.parametrize(
    "primary",
    [
        PRIMARY_15M.replace("1:00 AM EDT", "11:15 PM EST").replace("12:45 AM EDT", "11 PM EST"),
        PRIMARY_15M.replace("Aug 17, 2026", "Dec 1, 2026").replace("August 17", "December 1"),
        PRIMARY_15M.replace(" before", "  before\n"),
    ],
)
def test_markets_of_a_series_share_a_fingerprint(primary: str) -> None:
    assert fingerprint(primary, SECONDARY_15M) == fingerprint(PRIMARY_15M, SECONDARY_15M)


def test_rungs_of_a_ladder_share_a_fingerprint() -> None:
    base = fingerprint(PRIMARY_HOURLY, SECONDARY_HOURLY)
    for strike in ("73249.99", "100000", "$72,750", "1,234,567.5"):
        rung = PRIMARY_HOURLY.replace("72749.99", strike)
        assert fingerprint(rung, SECONDARY_HOURLY) == base
        assert rule_of(BTCD, rung, SECONDARY_HOURLY) == "mean60"


def test_a_ticker_in_the_text_does_not_split_a_series() -> None:
    texts = [f"See KXBTC15M-26AUG17{t}." for t in ("0100-00", "0115-15")]
    assert len({fingerprint(text, "") for text in texts}) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("nearest 2", "nearest 3"), ("60 RTI", "30 RTI"), ("average", "median"), (".", "")],
)
def test_a_changed_rule_changes_the_fingerprint(old: str, new: str) -> None:
    changed = SECONDARY_15M.replace(old, new)
    assert fingerprint(PRIMARY_15M, changed) != fingerprint(PRIMARY_15M, SECONDARY_15M)


def test_a_text_of_a_megabyte_is_told_apart_but_not_read() -> None:
    long = PRIMARY_15M + " " * 1_000_000
    assert rule_of(BTC15M, long, SECONDARY_15M) == "unknown"
    assert fingerprint(long, "") != fingerprint(PRIMARY_15M, "")


def test_before_the_strike_the_known_rule_tells_the_comparison() -> None:
    assert settlement(BTC15M, None, "mean60") == (">=", "mean60")
    assert settlement(BTCD, "", "mean60") == (">", "mean60")
    assert settlement(BTC15M, None, "unknown") == (None, "unknown")
    assert settlement(BTC15M, None, None) == (None, None)


def test_a_strike_type_that_contradicts_the_rule_makes_it_unknown() -> None:
    assert settlement(BTC15M, "greater", "mean60") == (">", "unknown")
    assert settlement(BTC15M, "greater_or_equal", "mean60") == (">=", "mean60")
    assert settlement(BTC15M, "greater", None) == (">", None)


@pytest.mark.parametrize("strike_type", ["between", "less", "functional", "custom", "x"])
def test_other_strike_types_are_refused(strike_type: str) -> None:
    with pytest.raises(WireError):
        settlement(BTC15M, strike_type, "mean60")
