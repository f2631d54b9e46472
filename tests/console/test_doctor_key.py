"""The Kalshi key: its file, whether the venue takes it, what it may, and that it never shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.doctor_key import signer_of
from services.console.doctor_report import Check, Patience, exit_code
from services.console.doctor_venues import run_venue_checks
from tests.console import doctor_venues_server as fake


@pytest.fixture
def venues() -> Iterator[fake.Venues]:
    with fake.venues() as running:
        yield running


def checked(venues: fake.Venues, pem: Path, **settings: object) -> dict[str, Check]:
    key = {"kalshi_key_id": "the-key", "kalshi_key_file": pem, **settings}
    return {one.name: one for one in run_venue_checks(venues.settings(**key), Patience())}


def test_a_key_that_may_only_read_is_well(venues: fake.Venues, tmp_path: Path) -> None:
    venues.scopes = ["read", "read::block_trade_accept"]
    found = checked(venues, fake.key_file(tmp_path))
    assert found["kalshi key"].found.endswith("a private key of 2048 bits")
    assert found["kalshi key accepted"].level == found["kalshi key scope"].level == "ok"


@pytest.mark.parametrize("scopes", [["read", "write"], ["read", "write::transfer"]])
def test_a_key_that_may_do_more_is_warned_of(
    venues: fake.Venues, tmp_path: Path, scopes: list[str]
) -> None:
    venues.scopes = scopes
    found = checked(venues, fake.key_file(tmp_path))["kalshi key scope"]
    assert found.level == "warn"
    assert scopes[1] in found.found
    assert "scope `read` alone" in found.fix


def test_a_scope_that_the_venue_does_not_tell_cannot_be_seen(
    venues: fake.Venues, tmp_path: Path
) -> None:
    pem = fake.key_file(tmp_path)
    venues.scopes = None
    assert checked(venues, pem)["kalshi key scope"].found == "cannot be seen"
    venues.scopes = ["read"]
    other = checked(venues, pem, kalshi_key_id="another-key")["kalshi key scope"]
    assert (other.level, other.found) == ("info", "cannot be seen")


def test_a_key_that_the_venue_refuses_fails(venues: fake.Venues, tmp_path: Path) -> None:
    venues.modes = {fake.KALSHI: "401"}
    found = checked(venues, fake.key_file(tmp_path))["kalshi key accepted"]
    assert found.level == "fail"
    assert "the id and the file of one key" in found.fix


def test_files_that_hold_no_key_are_faults_of_the_settings(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----\n")
    good = fake.key_file(tmp_path)
    faulty = [(wrong, "the-key"), (tmp_path / "absent.pem", "the-key"), (good, "two words")]
    named = fake.Venues()
    named.url = "http://127.0.0.1:1"
    for path, key_id in faulty:
        settings = named.settings(kalshi_key_file=path, kalshi_key_id=key_id)
        sign, checks = signer_of(settings)
        assert sign is None
        assert [one.level for one in checks] == ["fail"]
        assert exit_code(checks) == 3
        assert checks[0].fix
        assert "canary" not in fake.shown(checks) and "two words" not in fake.shown(checks)


def test_no_key_is_no_fault_and_says_what_is_missed() -> None:
    named = fake.Venues()
    named.url = "http://127.0.0.1:1"
    sign, checks = signer_of(named.settings())
    assert sign is None
    assert checks[0].level == "info"
    assert "polled by REST" in checks[0].found
