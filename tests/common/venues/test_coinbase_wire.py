"""Times of Coinbase: the quick way says what the exact one says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.venues.coinbase_wire import moment_ns
from libs.common.venues.numbers import WireError, time_ns

DIGITS = st.text("0123456789", max_size=10)


@given(fraction=DIGITS, end=st.sampled_from(["Z", "+00:00", "", "z", "+01:00"]))
def test_quick_time_is_the_exact_time(fraction: str, end: str) -> None:
    text = f"2026-04-07T14:30:00.{fraction}{end}"
    try:
        expected = time_ns(text)
    except WireError:
        with pytest.raises(WireError):
            moment_ns(text)
    else:
        assert moment_ns(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "Z", ".Z", "2026-04-07T14:30:00,123Z", "2026-04-07T14:30:00x123Z",
        "2026-04-07T14:30:00.\u0661\u0662\u0663Z", "2026-04-07T14:30:00.1_2Z",
        "2026-04-07T14:30:60.123Z", "2026-02-30T14:30:00.123Z", "0001-01-01T00:00:00.000Z",
        "2026-04-07 14:30:10.000000000 +0000 UTC m=+91717.52",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        moment_ns(text)
