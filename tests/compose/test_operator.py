"""The operator's commands in their container, which holds no key and may change orders only."""

import json

import pytest

from tests.compose.stack import Stack, wait_until

pytestmark = pytest.mark.compose


def test_newest_forecasts_are_shown_one_a_line(stack: Stack) -> None:
    def shown() -> list[str]:
        return stack.hawk("tail", "forecasts", "-n", "3", "--json").stdout.splitlines()

    wait_until(lambda: len(shown()) == 3, "three forecasts", seconds=60)
    assert {json.loads(line)["type"] for line in shown()} == {"Forecast"}


def test_streams_are_listed_with_their_readers(stack: Stack) -> None:
    told = stack.compose("run", "--rm", "-T", "hawk", "streams", "--json").stdout
    lines = {line["name"]: line for line in json.loads(told)}
    groups = {group["name"] for group in lines["hawk:{BTC-USD}:snapshots"]["groups"]}
    assert groups == {"features", "trader", "monitor"}
    assert not [name for name, line in lines.items() if line["missing"]]


def test_trading_is_stopped_and_goes_on(stack: Stack) -> None:
    assert "kill" in stack.hawk("kill").stdout
    stopped = stack.hawk("tail", "commands", "-n", "1", "--json").stdout
    assert json.loads(stopped)["command"] == "kill"

    def reasons() -> str:
        return stack.hawk("tail", "orders", "-n", "3").stdout

    # At twenty times its speed a market opens or closes every fifteen seconds.
    wait_until(lambda: "halted: kill" in reasons(), "the trader has stopped", seconds=90)
    assert "resume" in stack.hawk("resume").stdout
    given = stack.hawk("tail", "commands", "-n", "1", "--json").stdout
    assert json.loads(given)["command"] == "resume"


def test_models_are_listed(stack: Stack) -> None:
    listed = json.loads(stack.hawk("models", "list", "--json").stdout)
    assert [line["bundle"] for line in listed if line["serves"]] == ["base"]


def test_what_was_written_can_be_proven(stack: Stack) -> None:
    verdict = json.loads(stack.hawk("verify", "--json").stdout)
    assert verdict["ok"], verdict["fault"]
    assert verdict["checked"]["journals"] > 0


def test_no_command_has_the_key_that_signs_or_makes_another(stack: Stack) -> None:
    done = stack.hawk("models", "activate", "base", is_checked=False)
    assert "Traceback" not in done.stderr
    keys = sorted(path for path in stack.secret_files() if path.startswith("key-"))
    assert keys == [
        "key-signing/signing.key",
        "key-signing/signing.pub",
        "key-verifying/signing.pub",
    ]
