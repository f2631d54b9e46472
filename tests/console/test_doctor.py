"""`hawk doctor` as a whole: exit codes, what is left out, the bound, and canaries never printed."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.doctor import examine
from services.console.doctor_place import setting_checks
from services.console.doctor_report import Check, Patience, exit_code
from tests.console import doctor_venues_server as fake
from tests.console.conftest import Hawk

NOWHERE = {"HAWK_SIMULATOR_URL": "http://127.0.0.1:1"}


@pytest.fixture
def venues() -> Iterator[fake.Venues]:
    with fake.venues() as running:
        yield running


def examined(venues: fake.Venues, root: Path, **settings: object) -> dict[str, Check]:
    chosen = venues.settings(**settings)
    checks = examine(root, chosen, setting_checks(chosen))
    return {one.name: one for one in checks}


def test_the_longest_chain_of_waits_is_below_the_promise_of_20_s() -> None:
    wait = Patience()
    simulator_s, clock_spread_s = 2.0, 2 / 3
    assert simulator_s + clock_spread_s + wait.request_s + wait.socket_s < wait.total_s < 20


def test_a_machine_that_is_well_fails_nothing(venues: fake.Venues, tmp_path: Path) -> None:
    found = examined(
        venues, tmp_path, kalshi_key_id="the-key", kalshi_key_file=fake.key_file(tmp_path)
    )
    assert exit_code(list(found.values())) == 0
    assert list(found)[:3] == ["settings", "folder", "disk"]
    assert {"kalshi key scope", "clock kalshi", "feed kalshi.ws"} <= set(found)


def test_venues_are_asked_only_where_the_source_is_live(
    venues: fake.Venues, tmp_path: Path
) -> None:
    found = examined(venues, tmp_path, source="simulated@1")
    assert found["venues"].level == "info"
    assert not venues.asked


def test_wrong_settings_keep_venues_from_being_asked_and_the_rest_goes_on(
    venues: fake.Venues, tmp_path: Path
) -> None:
    found = examined(venues, tmp_path, series="NOSUCH")
    assert found["settings"].level == "fail"
    assert found["folder"].level == "ok"
    assert exit_code(list(found.values())) == 3
    assert not venues.asked


def test_no_part_of_a_secret_is_printed_whatever_fails(
    venues: fake.Venues, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    password, api_key = tmp_path / "password", tmp_path / "api_key"
    password.write_text("canary-password\n")
    api_key.write_text("canary-api-key\n")
    pem = fake.key_file(tmp_path)
    secrets = {"redis_password_file": password, "api_key_file": api_key, "kalshi_key_file": pem}
    canaries = ["canary-password", "canary-api-key", "canary-id", *pem.read_text().split()[4:-4]]
    faults: list[dict[str, str]] = [{}]
    faults += [{fake.KALSHI: mode, fake.KALSHI_WS: mode} for mode in ("401", "html", "shape")]
    for modes in faults:
        venues.modes = modes
        with caplog.at_level(logging.DEBUG):
            found = examined(
                venues,
                tmp_path,
                **secrets,
                kalshi_key_id="canary-id",
                redis_url="redis://canary-user@127.0.0.1:1/0",
            )
        printed = fake.shown(list(found.values())) + caplog.text
        assert found["redis"].level == "fail"
        assert not [word for word in [*canaries, "canary-user"] if word in printed]


def test_the_command_ends_with_3_for_settings_and_names_every_fault(
    hawk: Hawk, tmp_path: Path
) -> None:
    wrong = {"HAWK_PROT": "1", "HAWK_STAGE": "live", "HAWK_REDIS_URL": "redis://:canary@h/0"}
    code, told, log = hawk("doctor", "--data", tmp_path, "--json", env={**NOWHERE, **wrong})
    assert code == 3
    (found,) = told["checks"]
    assert found["level"] == "fail"
    for name in wrong:
        assert name in found["found"]
    assert "canary" not in str(told) + log


def test_the_command_ends_with_4_for_what_is_outside(hawk: Hawk, tmp_path: Path) -> None:
    env = {**NOWHERE, "HAWK_SOURCE": "live"}
    code, text, log = hawk("doctor", "--data", tmp_path, env=env)
    assert code == 4
    line = next(line for line in text.splitlines() if line.startswith("fail simulator"))
    assert "refuses the connection; fix: start it" in line
    assert "Traceback" not in log


def test_the_command_ends_with_0_where_nothing_failed(hawk: Hawk, tmp_path: Path) -> None:
    env = {**NOWHERE, "HAWK_SOURCE": "simulated@1"}
    code, told, _ = hawk("doctor", "--data", tmp_path, "--json", env=env)
    assert code == 0
    assert told["failed"] == 0
    assert {"settings", "folder", "disk", "venues"} <= {one["name"] for one in told["checks"]}
