"""Names and instants as the venues write them."""

import pytest

from services.simulator.naming import (
    condition_id,
    condition_place,
    eastern_stamp,
    place_of_stamp,
    rfc3339,
    token_id,
    token_place,
    unix_s,
)

AUTUMN_S = 1_793_509_200
"""2026-11-01 05:00 UTC, one in the morning in New York for the first time that night."""


@pytest.mark.parametrize(
    ("at_s", "stamp"),
    [
        (1_786_942_800, "26AUG170100"),
        (1_795_410_000, "26NOV230000"),
        (AUTUMN_S, "26NOV010100"),
        (AUTUMN_S + 3_600, "26NOV010100R"),
        (1_773_039_600, "26MAR090300"),
    ],
)
def test_a_ticker_carries_new_york_time_and_leads_back(at_s: int, stamp: str) -> None:
    assert eastern_stamp(at_s) == stamp
    assert place_of_stamp(stamp) == at_s


def test_no_two_quarter_hours_of_the_longest_day_share_a_stamp() -> None:
    stamps = {eastern_stamp(AUTUMN_S - 6 * 3_600 + 900 * i) for i in range(100)}
    assert len(stamps) == 100


def test_a_token_has_77_digits_and_leads_back_to_its_market() -> None:
    token = token_id(7, 1_795_368_600, 1)
    assert len(token) == 77
    assert token_place(token) == (7, 1_795_368_600, 1)


@pytest.mark.parametrize("text", ["", "7" * 77, "1" + "2" * 75 + "x", token_id(7, 1, 1)[:-1] + "9"])
def test_a_text_that_is_no_token_leads_nowhere(text: str) -> None:
    assert token_place(text) is None


@pytest.mark.parametrize("text", ["", "0x12", "zz" * 33, condition_id(2, 300)[:-1] + "0"])
def test_a_text_that_is_no_condition_leads_nowhere(text: str) -> None:
    assert condition_place(text) is None


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z", "NaT"])
def test_a_text_that_is_no_instant_is_none(text: str) -> None:
    assert unix_s(text) is None


def test_an_instant_is_cut_not_rounded() -> None:
    assert rfc3339(1_780_272_000_999_999_999, digits=3) == "2026-06-01T00:00:00.999Z"
