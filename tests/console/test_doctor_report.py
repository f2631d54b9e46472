"""Checks side by side and in time, how they are printed, and what they end with."""

import json
import threading

import pytest

from services.console.doctor_report import (
    Check,
    exit_code,
    in_parallel,
    print_checks,
    without,
)

OK = Check("a", "ok", "fine")
WARN = Check("b", "warn", "so so", "mend it")
OUTSIDE = Check("c", "fail", "gone", "bring it")
SETTING = Check("d", "fail", "wrong", "right it", is_setting=True)


def test_a_job_that_hangs_is_told_as_failed_and_the_others_are_kept() -> None:
    never = threading.Event()

    def hang() -> list[Check]:
        never.wait()
        return [OK]

    found = in_parallel({"slow": hang, "fast": lambda: [OK], "none": list}, wait_s=0.2)
    never.set()
    assert [one.level for one in found] == ["fail", "ok"]
    assert "0.2 s" in found[0].found


def test_warnings_end_well_and_settings_come_before_what_is_outside() -> None:
    assert exit_code([OK, WARN]) == 0
    assert exit_code([OK, OUTSIDE]) == 4
    assert exit_code([OUTSIDE, SETTING]) == 3


def test_each_check_is_one_line_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    print_checks([OK, WARN, OUTSIDE], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["warn", "b", "so", "so;", "fix:", "mend", "it"]
    assert lines[3] == "3 checks, 1 failed, 1 warned"


def test_json_is_one_line_with_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_checks([WARN, SETTING], as_json=True)
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    told = json.loads(text)
    assert (told["failed"], told["warned"]) == (1, 1)
    assert told["checks"][1] == {
        "name": "d",
        "level": "fail",
        "found": "wrong",
        "fix": "right it",
        "setting": True,
    }


def test_secrets_are_struck_out_of_findings_and_fixes() -> None:
    found = without(["hunter22", "", "a"], [Check("a", "fail", "a hunter22", "hunter22")])
    assert found == [Check("a", "fail", "a ***", "***")]
