"""Times and figures as they are read and printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.checks import UsageError
from services.console import output


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_printed_time_reads_back(seconds: int) -> None:
    text = output.format_time(seconds * 1_000_000_000)
    assert output.parse_time(text) == seconds * 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ("1970-01-01T00:00:00.000250Z", 250_000),
        ("1970-01-02", 86_400_000_000_000),
    ],
)
def test_times_are_rfc_3339(text: str, expected_ns: int) -> None:
    assert output.parse_time(text) == expected_ns


@pytest.mark.parametrize("text", ["", "now", "12", "2026-13-01", "2026-01-01T25:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        output.parse_time(text)


def test_not_a_number_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"a": [float("nan"), float("inf"), 1.5], "b": {"c": None}})
    assert capsys.readouterr().out == '{"a":[null,null,1.5],"b":{"c":null}}\n'


def test_terminal_escapes_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit("title \x1b[2J\x07 end")
    assert capsys.readouterr().out == "title [2J end\n"
