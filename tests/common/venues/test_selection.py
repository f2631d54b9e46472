"""Which series to record, from one line of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.checks import ConfigError
from libs.common.venues import VENUES
from libs.common.venues.selection import parse_selection, underlyings_of


def parsed(text: str) -> dict[str, dict[str, int]]:
    return parse_selection(text, VENUES)


def test_a_series_is_sampled_each_second_unless_it_says_otherwise() -> None:
    assert parsed("KXBTC15M,KXETH15M@5") == {"kalshi": {"KXBTC15M": 1, "KXETH15M": 5}}


def test_series_of_several_venues_stand_by_venue() -> None:
    assert parsed("KXBTC15M,btc-updown-15m@2") == {
        "kalshi": {"KXBTC15M": 1},
        "polymarket": {"btc-updown-15m": 2},
    }


def test_white_space_and_empty_places_do_not_matter() -> None:
    assert parsed(" KXBTC15M , ,") == {"kalshi": {"KXBTC15M": 1}}


def test_every_series_of_every_venue_can_be_chosen() -> None:
    names = [name for venue in VENUES.values() for name in venue.series]
    chosen = parsed(",".join(names))
    assert sorted(names) == sorted(name for series in chosen.values() for name in series)


@pytest.mark.parametrize(
    "text",
    ["", " ,", "KXNONE", "KXBTC15M@", "KXBTC15M@0", "KXBTC15M@-1", "KXBTC15M@7", "KXBTC15M@120",
     "KXBTC15M@1.5", "KXBTC15M@x", "KXBTC15M@1@1", "kxbtc15m", "KXBTC15M;KXETH15M", "../..",
     "KXBTC15M@\u0661", "KXBTC15M@" + "9" * 5_000],
)  # fmt: skip
def test_what_cannot_be_chosen_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(ConfigError, match="KXBTC15M"):
        parsed(text)


@pytest.mark.parametrize(
    "text", ["KXBTC15M,KXBTC15M", "KXBTC15M,KXBTC15M@5", "KXBTC15M@5,KXBTC15M"]
)
def test_a_series_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="twice"):
        parsed(text)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as found:
        parsed("KXNONE,KXBTC15M@7,OTHER")
    assert all(part in str(found.value) for part in ("KXNONE", "KXBTC15M@7", "OTHER"))


@given(st.text(max_size=300))
def test_no_text_brings_down_the_parser_or_fills_a_screen(text: str) -> None:
    try:
        assert parsed(text)
    except ConfigError as error:
        assert len(str(error)) < 5_000
        assert str(error).isprintable()


def test_long_and_hostile_names_are_cut() -> None:
    with pytest.raises(ConfigError) as found:
        parsed("x" * 10_000 + "\x1b[2J")
    assert len(str(found.value)) < 2_000 and "\x1b" not in str(found.value)


def test_underlyings_are_those_of_the_chosen_series_once_each() -> None:
    chosen = parsed("KXETH15M,KXBTC15M,btc-updown-5m")
    assert underlyings_of(chosen, VENUES) == ("BTC-USD", "ETH-USD")
